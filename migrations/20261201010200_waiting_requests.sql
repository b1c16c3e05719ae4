-- Requests that wait to be sent are sealed, each in a row of its own that goes when it can be sent no more.
-- Until now what waits is read from the evidence of its opening, which older replicas go on with; what waits
-- from before is sent from there.

CREATE TABLE waiting_requests (
    shop_id         text  NOT NULL,
    transaction_id  uuid  NOT NULL,
    key_id          text  NOT NULL,
    sealed          bytea NOT NULL,
    PRIMARY KEY (shop_id, transaction_id)
) WITH (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE waiting_requests IS 'Requests that may still have to be sent, as they came, sealed.';
COMMENT ON COLUMN waiting_requests.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN waiting_requests.transaction_id IS 'The transaction that it is to open at the gateway; the seal is bound to it.';
COMMENT ON COLUMN waiting_requests.key_id IS 'The id of the fingerprint key from which the key of the seal is derived.';
COMMENT ON COLUMN waiting_requests.sealed IS 'A nonce, and the request under ChaCha20-Poly1305.';

-- Which keys may not be dropped from the configuration. Ten million fingerprints are not read for that.
CREATE TABLE fingerprint_keys (
    shop_id  text NOT NULL,
    key_id   text NOT NULL,
    PRIMARY KEY (shop_id, key_id)
);
COMMENT ON TABLE fingerprint_keys IS 'The fingerprint keys that a kept fingerprint or a sealed request names.';
COMMENT ON COLUMN fingerprint_keys.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN fingerprint_keys.key_id IS 'The id of the key.';

-- Kept by triggers, so that replicas of an earlier release keep it as well.
CREATE FUNCTION note_fingerprint_keys() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO fingerprint_keys (shop_id, key_id)
    SELECT DISTINCT n.shop_id, n.fingerprint_key FROM new_rows n WHERE n.fingerprint_key IS NOT NULL
    ORDER BY 1, 2
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE FUNCTION note_sealing_keys() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    INSERT INTO fingerprint_keys (shop_id, key_id)
    SELECT DISTINCT n.shop_id, n.key_id FROM new_rows n ORDER BY 1, 2
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
-- What runs with the rights of its owner cannot be given other tables.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION note_fingerprint_keys() SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION note_sealing_keys() SET search_path = %I, pg_temp', current_schema());
END
$$;
CREATE TRIGGER transactions_note_keys AFTER INSERT ON transactions
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_fingerprint_keys();
CREATE TRIGGER waiting_requests_note_keys AFTER INSERT ON waiting_requests
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_sealing_keys();
CREATE TRIGGER waiting_requests_note_new_keys AFTER UPDATE ON waiting_requests
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION note_sealing_keys();
