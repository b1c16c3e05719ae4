-- The gateway's uids come in no order. Each look-up and each claim of one falls on a page of their index that
-- nobody has touched for long, and that is what a long history costs a webhook. Sixteen bytes in place of
-- thirty-six make fewer pages, and are compared faster (docs/adr/0010-uids-are-found-by-sixteen-bytes.md).
-- Replicas that know nothing of it go on beside it: their keys are filled in. What they look up by the text has no
-- index any more, which is slow where there is much.

-- The same as `store::uids::key`. A UUID is its own key, unless it is of version 8: that is what hashes look
-- like here, and nothing that the gateway says may be taken for one.
CREATE FUNCTION uid_key(uid text) RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN uid ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-79a-f][0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN uid::uuid
        ELSE overlay(encode(substr(sha256(convert_to(uid, 'UTF8')), 1, 16), 'hex') PLACING '8' FROM 13 FOR 1)::uuid
    END
$$;
COMMENT ON FUNCTION uid_key(text) IS 'By which key the gateway''s uid is found in uids.';

ALTER TABLE uids ADD COLUMN key uuid;
-- Rewrites the table once, and leaves nothing dead behind as an UPDATE would.
ALTER TABLE uids ALTER COLUMN key TYPE uuid USING uid_key(uid), ALTER COLUMN key SET NOT NULL;
ALTER TABLE uids DROP CONSTRAINT uids_pkey, ADD PRIMARY KEY (shop_id, key);
COMMENT ON COLUMN uids.key IS 'What the uid is found by: uid_key(uid).';

CREATE FUNCTION fill_uid_key() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.key := uid_key(NEW.uid);
    RETURN NEW;
END
$$;
CREATE TRIGGER uids_fill_key BEFORE INSERT ON uids FOR EACH ROW WHEN (NEW.key IS NULL)
    EXECUTE FUNCTION fill_uid_key();

CREATE OR REPLACE FUNCTION grant_reconciler_roles() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_service') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_service', current_schema());
        GRANT SELECT, INSERT ON evidence, uids TO reconciler_service;
        -- So that it can be watched whether anything has fallen into the net.
        GRANT SELECT ON evidence_default TO reconciler_service;
        -- What was asked is fixed; the ledger moves the rest.
        GRANT SELECT, INSERT, UPDATE (state, state_since, uid, summary, sequence, updated_at,
            finalized_at, evidence_count, evidence_head) ON transactions TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON due_checks, subscriber_cursors, deliveries
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE ON shop_feeds, shop_controls, pacing TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (status, resolved_at, reason) ON discrepancies
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (matched_to) ON orphans TO reconciler_service;
        -- Events go when they are older than they are kept; none is changed.
        GRANT SELECT, INSERT, DELETE ON events TO reconciler_service;
        GRANT EXECUTE ON FUNCTION ensure_evidence_partitions(integer), forget_evidence(interval),
            uid_key(text) TO reconciler_service;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_service;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_auditor') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_auditor', current_schema());
        GRANT SELECT ON transactions, uids, evidence, evidence_default, due_checks, shop_feeds, events,
            discrepancies, orphans, shop_controls, subscriber_cursors, deliveries, pacing
            TO reconciler_auditor;
        GRANT EXECUTE ON FUNCTION uid_key(text) TO reconciler_auditor;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_auditor;
        END IF;
    END IF;
END
$$;
SELECT grant_reconciler_roles();
