-- What the service and an auditor may do with the table of histories, beside all others.
CREATE OR REPLACE FUNCTION grant_reconciler_roles() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_service') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_service', current_schema());
        GRANT SELECT, INSERT ON evidence, uids, merges TO reconciler_service;
        -- Kept by triggers.
        GRANT SELECT ON fingerprint_keys TO reconciler_service;
        -- So that it can be watched whether anything has fallen into the net.
        GRANT SELECT ON evidence_default TO reconciler_service;
        -- What was asked is fixed; the ledger moves the rest.
        GRANT SELECT, INSERT, UPDATE (state, state_since, uid, summary, sequence, updated_at,
            finalized_at, evidence_count, evidence_head) ON transactions TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON due_checks, hinted_uids, waiting_requests, subscriber_cursors, deliveries
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE ON shop_feeds, shop_controls, shop_abilities, pacing, database_histories
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (status, resolved_at, resolved_by, reason, detail_now, uids) ON discrepancies
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
        GRANT SELECT ON transactions, uids, hinted_uids, merges, shop_abilities, waiting_requests, fingerprint_keys, evidence, evidence_default, due_checks, shop_feeds, events,
            discrepancies, orphans, shop_controls, subscriber_cursors, deliveries, pacing, database_histories
            TO reconciler_auditor;
        GRANT EXECUTE ON FUNCTION uid_key(text) TO reconciler_auditor;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_auditor;
        END IF;
    END IF;
END
$$;
SELECT grant_reconciler_roles();
