-- Evidence that can be trusted later: append-only by permission, not by good will.
--
-- Two roles that nobody can log in as. The service runs as a login role that is a member of
-- `reconciler_service`, an auditor as a member of `reconciler_auditor`; the owner of the schema is
-- for migrations alone. Where one role does everything, nothing changes.

-- A server that lets nobody create roles is no reason to fail: somebody who may creates them there,
-- and then calls grant_reconciler_roles().
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['reconciler_service', 'reconciler_auditor'] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = role);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        EXCEPTION
            -- Another database of this server was migrated at the same moment.
            WHEN duplicate_object OR unique_violation THEN NULL;
            WHEN insufficient_privilege THEN
                RAISE NOTICE 'role % cannot be created here; create it, and call grant_reconciler_roles()', role;
        END;
    END LOOP;
END
$$;

-- The least age of evidence that may be dropped. A function, so that the owner of the schema alone can
-- change it (CREATE OR REPLACE FUNCTION), and whoever runs the service cannot.
CREATE FUNCTION evidence_min_keep() RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT interval '90 days' $$;

-- As it was, and with a least age that whoever calls it cannot choose.
CREATE OR REPLACE FUNCTION forget_evidence(keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    least_age interval := greatest(keep, evidence_min_keep());
    old record;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('reconciler.evidence_partitions'));
    FOR old IN
        SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'evidence'::regclass AND c.relname ~ '^evidence_[0-9]{4}_[0-9]{2}$'
          AND to_date(substr(c.relname, 10), 'YYYY_MM') + interval '1 month' < now() - least_age
    LOOP
        EXECUTE format('ALTER TABLE evidence DETACH PARTITION %I', old.name);
        EXECUTE format('INSERT INTO evidence SELECT e.* FROM %I e WHERE EXISTS (SELECT 1 FROM due_checks d
            WHERE d.shop_id = e.shop_id AND d.transaction_id = e.transaction_id)
            OR EXISTS (SELECT 1 FROM discrepancies f WHERE f.shop_id = e.shop_id
            AND f.transaction_id = e.transaction_id AND f.status = ''open'')', old.name);
        EXECUTE format('DROP TABLE %I', old.name);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;

-- Functions that run with their owner's rights look names up in our schema alone, and in a caller's
-- temporary one last, so that nobody can slip them a table or a function of his own.
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION ensure_evidence_partitions(integer) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION forget_evidence(interval) SET search_path = %I, pg_temp', current_schema());
END
$$;
REVOKE EXECUTE ON FUNCTION ensure_evidence_partitions(integer), forget_evidence(interval) FROM PUBLIC;

-- Grants what each role needs and nothing else. Called again by each migration that adds a table
-- (after CREATE OR REPLACE with the new line), and by hand where the roles were made later.
-- Partitions get no grants of their own: rights on `evidence` suffice for access through it.
CREATE FUNCTION grant_reconciler_roles() RETURNS void
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
        GRANT SELECT, INSERT, UPDATE ON shop_feeds, shop_controls TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (status, resolved_at, reason) ON discrepancies
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (matched_to) ON orphans TO reconciler_service;
        -- Events go when they are older than they are kept; none is changed.
        GRANT SELECT, INSERT, DELETE ON events TO reconciler_service;
        GRANT EXECUTE ON FUNCTION ensure_evidence_partitions(integer), forget_evidence(interval)
            TO reconciler_service;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_service;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_auditor') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_auditor', current_schema());
        GRANT SELECT ON transactions, uids, evidence, evidence_default, due_checks, shop_feeds, events,
            discrepancies, orphans, shop_controls, subscriber_cursors, deliveries
            TO reconciler_auditor;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_auditor;
        END IF;
    END IF;
END
$$;
REVOKE EXECUTE ON FUNCTION grant_reconciler_roles() FROM PUBLIC;
SELECT grant_reconciler_roles();
