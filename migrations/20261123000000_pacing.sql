-- What was learned of how long transactions take, so that looks are placed where they find most.

CREATE TABLE pacing (
    shop_id  text        NOT NULL,
    type     text        NOT NULL,
    counts   real[]      NOT NULL,
    told     real        NOT NULL,
    missed   real        NOT NULL,
    at       timestamptz NOT NULL,
    PRIMARY KEY (shop_id, type),
    CONSTRAINT pacing_type_known CHECK (type IN ('payment', 'authorization', 'tokenization',
        'capture', 'void', 'refund', 'payout', 'chargeback', 'checkup')),
    CONSTRAINT pacing_counts_plain CHECK (coalesce(array_ndims(counts), 1) = 1
        AND array_position(counts, NULL) IS NULL),
    CONSTRAINT pacing_at_finite CHECK (isfinite(at))
) WITH (fillfactor = 50);
COMMENT ON TABLE pacing IS 'How long transactions take until they are final, and how often a webhook tells: a hint for placing looks, and nothing else.';
COMMENT ON COLUMN pacing.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN pacing.type IS 'The kind of transaction, in the gateway''s words.';
COMMENT ON COLUMN pacing.counts IS 'A decayed histogram of the time from the stamp to the gateway''s own end, over buckets that grow by one factor from 0.2 s to 24 h.';
COMMENT ON COLUMN pacing.told IS 'Ends that a webhook told of, decayed.';
COMMENT ON COLUMN pacing.missed IS 'Ends that were found by asking, decayed.';
COMMENT ON COLUMN pacing.at IS 'As of when the counts are; they fade from then on.';

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
        GRANT EXECUTE ON FUNCTION ensure_evidence_partitions(integer), forget_evidence(interval)
            TO reconciler_service;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_service;
        END IF;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_auditor') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO reconciler_auditor', current_schema());
        GRANT SELECT ON transactions, uids, evidence, evidence_default, due_checks, shop_feeds, events,
            discrepancies, orphans, shop_controls, subscriber_cursors, deliveries, pacing
            TO reconciler_auditor;
        IF to_regclass('_sqlx_migrations') IS NOT NULL THEN
            GRANT SELECT ON _sqlx_migrations TO reconciler_auditor;
        END IF;
    END IF;
END
$$;
SELECT grant_reconciler_roles();
