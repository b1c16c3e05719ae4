-- A transaction that was learned of from the gateway may turn out to be one of ours. It ends as merged, and ours owns
-- its uid from then on. Who was first to own a uid is never changed: a row here says who has it instead.
CREATE TABLE merges (
    shop_id         text NOT NULL,
    transaction_id  uuid NOT NULL,
    into_id         uuid NOT NULL,
    PRIMARY KEY (shop_id, transaction_id)
);
COMMENT ON TABLE merges IS 'Which transactions of origin gateway turned out to be which of ours.';
COMMENT ON COLUMN merges.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN merges.transaction_id IS 'The one of origin gateway, by our id.';
COMMENT ON COLUMN merges.into_id IS 'The one that it is, by our id: it owns the uids of the other.';

-- Checked for what is written from now on; what is there is checked by the next migration, without a lock that
-- anybody waits for.
ALTER TABLE transactions
    DROP CONSTRAINT transactions_state_known,
    ADD CONSTRAINT transactions_state_known CHECK (state IN ('accepted', 'submitting', 'processing',
        'pending', 'in_doubt', 'successful', 'failed', 'expired', 'rejected', 'not_sent', 'not_found',
        'merged')) NOT VALID,
    DROP CONSTRAINT transactions_final_has_time,
    ADD CONSTRAINT transactions_final_has_time CHECK ((finalized_at IS NOT NULL) =
        (state IN ('successful', 'failed', 'expired', 'rejected', 'not_sent', 'not_found', 'merged')))
        NOT VALID,
    ADD CONSTRAINT transactions_merged_is_the_gateways CHECK (state <> 'merged' OR origin = 'gateway')
        NOT VALID;

CREATE OR REPLACE FUNCTION grant_reconciler_roles() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_service') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_service', current_schema());
        GRANT SELECT, INSERT ON evidence, uids, merges TO reconciler_service;
        -- So that it can be watched whether anything has fallen into the net.
        GRANT SELECT ON evidence_default TO reconciler_service;
        -- What was asked is fixed; the ledger moves the rest.
        GRANT SELECT, INSERT, UPDATE (state, state_since, uid, summary, sequence, updated_at,
            finalized_at, evidence_count, evidence_head) ON transactions TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE, DELETE ON due_checks, subscriber_cursors, deliveries
            TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE ON shop_feeds, shop_controls, pacing TO reconciler_service;
        GRANT SELECT, INSERT, UPDATE (status, resolved_at, reason, detail_now, uids) ON discrepancies
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
        GRANT SELECT ON transactions, uids, merges, evidence, evidence_default, due_checks, shop_feeds, events,
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
