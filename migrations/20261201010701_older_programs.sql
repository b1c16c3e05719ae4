-- Programs of the release before go on beside this schema for a while. They do not know what is sealed, and would send
-- a waiting request as it was redacted; and they may open an end that they cannot read. They leave out who has written
-- a summary, by which they are known: both are refused to them here, at the stamp that comes before the first byte. The
-- replica that is refused keeps nothing of it and goes on; another one does it. Nothing is asked of what this release
-- writes but the first bytes of a text that it holds already.
CREATE FUNCTION refuse_older_programs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.state = 'submitting' AND OLD.summary NOT LIKE '{"wr":%' AND NOT EXISTS (SELECT FROM waiting_requests w
            WHERE w.shop_id = NEW.shop_id AND w.transaction_id = NEW.id) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'an earlier release may not stamp or open transaction %, which this one has written', NEW.id
        USING ERRCODE = 'check_violation', CONSTRAINT = 'older_programs';
END
$$;
CREATE TRIGGER transactions_refuse_older_programs BEFORE UPDATE ON transactions FOR EACH ROW
    WHEN (NEW.summary NOT LIKE '{"wr":%' AND ((NEW.state = 'submitting' AND OLD.state <> 'submitting')
        OR (OLD.finalized_at IS NOT NULL AND NEW.finalized_at IS NULL AND OLD.summary LIKE '{"wr":%')))
    EXECUTE FUNCTION refuse_older_programs();
