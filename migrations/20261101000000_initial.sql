-- The schema of the reconciler. Every primary key begins with the shop.

-- The lowest UUIDv7 of a moment: transaction ids sort by the time of creation, so that evidence can
-- be partitioned by the month in which its transaction was created.
CREATE FUNCTION uuid_v7_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid
$$;

CREATE TABLE transactions (
    -- fixed when it is opened
    shop_id             text        NOT NULL,
    id                  uuid        NOT NULL,
    tracking_id         text,
    type                text        NOT NULL,
    origin              text        NOT NULL,
    amount              bigint,
    currency            text,
    description         text,
    parent_uid          text,
    parent_tracking_id  text,
    card_data           boolean     NOT NULL,
    test                boolean,
    fingerprint         bytea,
    fingerprint_key     text,
    created_at          timestamptz NOT NULL,
    -- moved by the ledger alone
    state               text        NOT NULL,
    state_since         timestamptz NOT NULL,
    uid                 text,
    summary             text        NOT NULL,
    sequence            bigint      NOT NULL,
    updated_at          timestamptz NOT NULL,
    finalized_at        timestamptz,
    evidence_count      integer     NOT NULL,
    evidence_head       bytea       NOT NULL,
    PRIMARY KEY (shop_id, id),
    CONSTRAINT transactions_type_known CHECK (type IN ('payment', 'authorization', 'tokenization',
        'capture', 'void', 'refund', 'payout', 'chargeback', 'checkup')),
    CONSTRAINT transactions_origin_known CHECK (origin IN ('api', 'gateway')),
    CONSTRAINT transactions_state_known CHECK (state IN ('accepted', 'submitting', 'processing',
        'pending', 'in_doubt', 'successful', 'failed', 'expired', 'rejected', 'not_sent', 'not_found')),
    CONSTRAINT transactions_final_has_time CHECK ((finalized_at IS NOT NULL) =
        (state IN ('successful', 'failed', 'expired', 'rejected', 'not_sent', 'not_found'))),
    CONSTRAINT transactions_api_is_named CHECK (origin <> 'api'
        OR (tracking_id IS NOT NULL AND fingerprint IS NOT NULL AND fingerprint_key IS NOT NULL)),
    CONSTRAINT transactions_counts CHECK (sequence >= 1 AND evidence_count >= 0)
) WITH (fillfactor = 75);

-- The idempotency key. Transactions that the gateway told of share names with ours and each other.
CREATE UNIQUE INDEX transactions_tracking_id ON transactions (shop_id, tracking_id) WHERE origin = 'api';
CREATE INDEX transactions_gateway_tracking_id ON transactions (shop_id, tracking_id) WHERE origin = 'gateway';
CREATE INDEX transactions_parent ON transactions (shop_id, parent_uid) WHERE parent_uid IS NOT NULL;

COMMENT ON TABLE transactions IS 'What was asked of the gateway under one tracking_id, or what was learned to exist there. Its state is a cache of the fold over its evidence.';
COMMENT ON COLUMN transactions.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN transactions.id IS 'Ours; a UUIDv7, so that newest first is the order of the primary key.';
COMMENT ON COLUMN transactions.tracking_id IS 'The merchant''s name for it and our idempotency key; null only for what the gateway told without one.';
COMMENT ON COLUMN transactions.type IS 'The kind of transaction, in the gateway''s words.';
COMMENT ON COLUMN transactions.origin IS 'api: made through us. gateway: learned from the gateway.';
COMMENT ON COLUMN transactions.amount IS 'Asked for, in minor units; null where the request has none.';
COMMENT ON COLUMN transactions.currency IS 'ISO 4217 alphabetic code, as the gateway spells it; null where the request has none.';
COMMENT ON COLUMN transactions.description IS 'The description of the request.';
COMMENT ON COLUMN transactions.parent_uid IS 'The gateway''s uid of the parent of a capture, void, refund or chargeback.';
COMMENT ON COLUMN transactions.parent_tracking_id IS 'The parent''s tracking_id where the parent is known: the gateway may file a child under it.';
COMMENT ON COLUMN transactions.card_data IS 'The request carried card data: it is sent while its caller waits, or not at all.';
COMMENT ON COLUMN transactions.test IS 'The test flag of the request.';
COMMENT ON COLUMN transactions.fingerprint IS 'HMAC-SHA256 of the canonical request, so that card data counts and cannot be recovered.';
COMMENT ON COLUMN transactions.fingerprint_key IS 'Which key made the fingerprint.';
COMMENT ON COLUMN transactions.created_at IS 'When it was opened, by this server''s clock.';
COMMENT ON COLUMN transactions.state IS 'Ours; the gateway''s word is in the summary.';
COMMENT ON COLUMN transactions.state_since IS 'When it came into this state; the pace of checks counts from it.';
COMMENT ON COLUMN transactions.uid IS 'The gateway''s uid of the adopted transaction.';
COMMENT ON COLUMN transactions.summary IS 'The joined evidence (JSON); kept when the evidence itself is dropped, so that an old webhook changes nothing.';
COMMENT ON COLUMN transactions.sequence IS 'Counts the changes of this transaction from 1.';
COMMENT ON COLUMN transactions.updated_at IS 'When it last changed.';
COMMENT ON COLUMN transactions.finalized_at IS 'When it became final; null while it is not.';
COMMENT ON COLUMN transactions.evidence_count IS 'How many pieces of evidence it has: the last position of its chain.';
COMMENT ON COLUMN transactions.evidence_head IS 'The hash of the last piece of evidence: the head of its chain.';

-- Insert-only, so that the big table's rows can be updated in place.
CREATE TABLE uids (
    shop_id         text NOT NULL,
    uid             text NOT NULL,
    transaction_id  uuid NOT NULL,
    PRIMARY KEY (shop_id, uid)
);
COMMENT ON TABLE uids IS 'Which of our transactions a uid of the gateway belongs to: at most one.';
COMMENT ON COLUMN uids.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN uids.uid IS 'The gateway''s uid.';
COMMENT ON COLUMN uids.transaction_id IS 'Our id.';

CREATE TABLE evidence (
    shop_id         text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    id              uuid        NOT NULL,
    position        integer     NOT NULL,
    channel         text        NOT NULL,
    verdict         text        NOT NULL,
    received_at     timestamptz NOT NULL,
    http_status     integer,
    subject         text,
    signed          boolean,
    note            text        NOT NULL,
    body            bytea       NOT NULL,
    body_sha256     bytea       NOT NULL,
    chain           bytea       NOT NULL,
    PRIMARY KEY (shop_id, transaction_id, id),
    CONSTRAINT evidence_channel_known CHECK (channel IN ('ack', 'task_status', 'task_result',
        'webhook', 'query', 'report', 'operator', 'local')),
    CONSTRAINT evidence_verdict_known CHECK (verdict IN ('applied', 'duplicate', 'stale', 'mismatch',
        'hint', 'nothing_new', 'refused', 'correction')),
    CONSTRAINT evidence_hashes CHECK (octet_length(body_sha256) = 32 AND octet_length(chain) = 32)
) PARTITION BY RANGE (transaction_id);

COMMENT ON TABLE evidence IS 'Everything that was learned, by which channel, and what it changed. Only ever added to.';
COMMENT ON COLUMN evidence.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN evidence.transaction_id IS 'About which transaction; its creation month names the partition.';
COMMENT ON COLUMN evidence.id IS 'Made of the content where the same thing may be said again, so that a repetition is not stored twice; else a UUIDv7.';
COMMENT ON COLUMN evidence.position IS 'The place in the chain of this transaction, from 1: the order of arrival.';
COMMENT ON COLUMN evidence.channel IS 'The way it came.';
COMMENT ON COLUMN evidence.verdict IS 'What its arrival changed.';
COMMENT ON COLUMN evidence.received_at IS 'When it was recorded, by this server''s clock.';
COMMENT ON COLUMN evidence.http_status IS 'The HTTP status of an answer; null for webhooks and our own acts.';
COMMENT ON COLUMN evidence.subject IS 'What was asked: a task, a uid or a tracking_id; for our own acts, which act.';
COMMENT ON COLUMN evidence.signed IS 'Whether the signature of a webhook held; null for other channels.';
COMMENT ON COLUMN evidence.note IS 'What it says, in one sentence for a person.';
COMMENT ON COLUMN evidence.body IS 'What was said, after card data was taken out.';
COMMENT ON COLUMN evidence.body_sha256 IS 'SHA-256 of the bytes as they were received.';
COMMENT ON COLUMN evidence.chain IS 'SHA-256 over the previous piece''s hash and this piece.';

CREATE TABLE evidence_default PARTITION OF evidence DEFAULT;
COMMENT ON TABLE evidence_default IS 'A net: what no monthly partition takes. Empty as long as partitions are made ahead.';

-- Runs with the rights of its owner, so that the service itself needs no right to create tables.
CREATE FUNCTION ensure_evidence_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    month timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    made integer := 0;
    name text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('reconciler.evidence_partitions'));
    FOR i IN -1 .. least(months_ahead, 24) LOOP
        name := 'evidence_' || to_char((month + make_interval(months => i)) AT TIME ZONE 'UTC', 'YYYY_MM');
        IF to_regclass(format('%I.%I', current_schema(), name)) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF evidence FOR VALUES FROM (%L) TO (%L)', name,
                uuid_v7_floor(month + make_interval(months => i)),
                uuid_v7_floor(month + make_interval(months => i + 1)));
            made := made + 1;
        END IF;
    END LOOP;
    RETURN made;
END
$$;
SELECT ensure_evidence_partitions(3);

-- Drops whole months of evidence that are older than they are kept. What belongs to a transaction
-- that is still looked at, or that has an open finding, is carried over first: chains stay whole.
CREATE FUNCTION forget_evidence(keep interval) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    old record;
    dropped integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('reconciler.evidence_partitions'));
    FOR old IN
        SELECT c.relname AS name FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'evidence'::regclass AND c.relname ~ '^evidence_[0-9]{4}_[0-9]{2}$'
          AND to_date(substr(c.relname, 10), 'YYYY_MM') + interval '1 month' < now() - keep
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

-- Small and hot: one row for each transaction that is still to be looked at.
CREATE TABLE due_checks (
    shop_id         text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    due_at          timestamptz NOT NULL,
    lease           uuid,
    again           boolean     NOT NULL DEFAULT false,
    state           text        NOT NULL,
    since           timestamptz NOT NULL,
    PRIMARY KEY (shop_id, transaction_id)
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX due_checks_due ON due_checks (shop_id, due_at);
COMMENT ON TABLE due_checks IS 'What is to be looked at next. As long as a transaction is not final it has a row here.';
COMMENT ON COLUMN due_checks.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN due_checks.transaction_id IS 'Which transaction.';
COMMENT ON COLUMN due_checks.due_at IS 'When it is due; under a lease, when the lease ends.';
COMMENT ON COLUMN due_checks.lease IS 'The fencing token of the worker that has it; null when nobody has.';
COMMENT ON COLUMN due_checks.again IS 'Something came during a lease that makes another look due at once.';
COMMENT ON COLUMN due_checks.state IS 'The transaction''s state, so that gauges need not read the big table.';
COMMENT ON COLUMN due_checks.since IS 'When the transaction came into that state.';

CREATE TABLE shop_feeds (
    shop_id   text   PRIMARY KEY,
    last_seq  bigint NOT NULL DEFAULT 0,
    first_seq bigint NOT NULL DEFAULT 1
);
COMMENT ON TABLE shop_feeds IS 'The counter of each shop''s feed; the last row that a commit locks, so that seq follows commit order.';
COMMENT ON COLUMN shop_feeds.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN shop_feeds.last_seq IS 'The last number given.';
COMMENT ON COLUMN shop_feeds.first_seq IS 'The first number that is still kept.';

CREATE TABLE events (
    shop_id         text        NOT NULL,
    seq             bigint      NOT NULL,
    type            text        NOT NULL,
    at              timestamptz NOT NULL,
    transaction_id  uuid,
    payload         text        NOT NULL,
    PRIMARY KEY (shop_id, seq),
    CONSTRAINT events_type_known CHECK (type IN ('transaction.updated', 'transaction.finalized',
        'transaction.corrected', 'discrepancy.opened', 'discrepancy.resolved'))
);
COMMENT ON TABLE events IS 'The feed: what changed, in commit order, without gaps. Subscribers are served from it.';
COMMENT ON COLUMN events.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN events.seq IS 'Consecutive per shop.';
COMMENT ON COLUMN events.type IS 'What happened.';
COMMENT ON COLUMN events.at IS 'When, by this server''s clock.';
COMMENT ON COLUMN events.transaction_id IS 'About which transaction; null for a finding about none.';
COMMENT ON COLUMN events.payload IS 'The transaction or the discrepancy as it was then (JSON).';

CREATE TABLE discrepancies (
    shop_id         text        NOT NULL,
    id              uuid        NOT NULL,
    kind            text        NOT NULL,
    status          text        NOT NULL DEFAULT 'open',
    transaction_id  uuid,
    tracking_id     text,
    uid             text,
    subject         text        NOT NULL DEFAULT '',
    amount          bigint,
    currency        text,
    detail          text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    resolved_at     timestamptz,
    reason          text,
    PRIMARY KEY (shop_id, id),
    CONSTRAINT discrepancies_status_known CHECK (status IN ('open', 'resolved')),
    CONSTRAINT discrepancies_resolved_has_time CHECK ((status = 'resolved') = (resolved_at IS NOT NULL)),
    CONSTRAINT discrepancies_kind_known CHECK (kind IN ('orphan_webhook', 'missing_at_gateway',
        'missing_here', 'status_conflict', 'amount_mismatch', 'currency_mismatch', 'type_mismatch',
        'duplicate_success', 'ambiguous_tracking_id', 'pending_too_long', 'late_success',
        'manual_correction', 'chargeback_unmatched', 'test_live_mix', 'signature_rejected', 'unknown_body'))
);
CREATE UNIQUE INDEX discrepancies_open_once ON discrepancies
    (shop_id, kind, coalesce(transaction_id, '00000000-0000-0000-0000-000000000000'::uuid), subject)
    WHERE status = 'open';
COMMENT ON TABLE discrepancies IS 'What does not fit and a person should see.';
COMMENT ON COLUMN discrepancies.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN discrepancies.id IS 'Ours; a UUIDv7.';
COMMENT ON COLUMN discrepancies.kind IS 'What does not fit.';
COMMENT ON COLUMN discrepancies.status IS 'open or resolved.';
COMMENT ON COLUMN discrepancies.transaction_id IS 'About which transaction; null for an orphan or a refused webhook.';
COMMENT ON COLUMN discrepancies.tracking_id IS 'The name that it goes by.';
COMMENT ON COLUMN discrepancies.uid IS 'The gateway''s uid that it is about.';
COMMENT ON COLUMN discrepancies.subject IS 'Keeps findings of one kind apart; the uid, as a rule.';
COMMENT ON COLUMN discrepancies.amount IS 'How much money it is about, in minor units.';
COMMENT ON COLUMN discrepancies.currency IS 'In which currency.';
COMMENT ON COLUMN discrepancies.detail IS 'In plain words.';
COMMENT ON COLUMN discrepancies.opened_at IS 'When it was found.';
COMMENT ON COLUMN discrepancies.resolved_at IS 'When it was closed.';
COMMENT ON COLUMN discrepancies.reason IS 'Why it was closed.';

CREATE TABLE orphans (
    shop_id         text        NOT NULL,
    id              uuid        NOT NULL,
    kind            text        NOT NULL,
    uid             text,
    tracking_id     text,
    parent_uid      text,
    received_at     timestamptz NOT NULL,
    signed          boolean     NOT NULL,
    note            text        NOT NULL,
    body            bytea       NOT NULL,
    body_sha256     bytea       NOT NULL,
    matched_to      uuid,
    PRIMARY KEY (shop_id, id),
    CONSTRAINT orphans_kind_known CHECK (kind IN ('transaction', 'subscription', 'expired_token', 'unknown', 'quarantine', 'queried'))
);
CREATE INDEX orphans_tracking_id ON orphans (shop_id, tracking_id) WHERE matched_to IS NULL AND tracking_id IS NOT NULL;
CREATE INDEX orphans_parent ON orphans (shop_id, parent_uid) WHERE matched_to IS NULL AND parent_uid IS NOT NULL;
COMMENT ON TABLE orphans IS 'Webhooks that belong to no transaction of ours: kept, and tried again when a matching one appears.';
COMMENT ON COLUMN orphans.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN orphans.id IS 'Made of the content, so that a repetition is not stored twice.';
COMMENT ON COLUMN orphans.kind IS 'What it seems to be.';
COMMENT ON COLUMN orphans.uid IS 'The uid that it names.';
COMMENT ON COLUMN orphans.tracking_id IS 'The tracking_id that it names.';
COMMENT ON COLUMN orphans.parent_uid IS 'The parent that it names.';
COMMENT ON COLUMN orphans.received_at IS 'When it was recorded.';
COMMENT ON COLUMN orphans.signed IS 'Whether its signature held.';
COMMENT ON COLUMN orphans.note IS 'What it says, in one sentence.';
COMMENT ON COLUMN orphans.body IS 'What was said, after card data was taken out.';
COMMENT ON COLUMN orphans.body_sha256 IS 'SHA-256 of the bytes as they were received.';
COMMENT ON COLUMN orphans.matched_to IS 'The transaction whose evidence names it.';

CREATE TABLE shop_controls (
    shop_id           text        PRIMARY KEY,
    paused            boolean     NOT NULL DEFAULT false,
    paused_by         text,
    tokens            double precision NOT NULL DEFAULT 0,
    tokens_at         timestamptz NOT NULL DEFAULT now(),
    lookup_worked_at  timestamptz,
    capabilities      text        NOT NULL DEFAULT ''
);
COMMENT ON TABLE shop_controls IS 'What all replicas share of a shop beside its transactions.';
COMMENT ON COLUMN shop_controls.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN shop_controls.paused IS 'No new submits are taken.';
COMMENT ON COLUMN shop_controls.paused_by IS 'The client that paused it.';
COMMENT ON COLUMN shop_controls.tokens IS 'What is left of the budget of requests to the gateway, at tokens_at.';
COMMENT ON COLUMN shop_controls.tokens_at IS 'When tokens was counted.';
COMMENT ON COLUMN shop_controls.lookup_worked_at IS 'When a look-up by tracking_id last found a transaction known to exist: the control of proofs of absence.';
COMMENT ON COLUMN shop_controls.capabilities IS 'What this shop''s gateway has been seen to do: words, separated by commas.';

CREATE TABLE subscriber_cursors (
    shop_id     text        NOT NULL,
    subscriber  text        NOT NULL,
    next_seq    bigint      NOT NULL,
    lease       uuid,
    lease_until timestamptz,
    disabled    boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (shop_id, subscriber)
);
COMMENT ON TABLE subscriber_cursors IS 'How far each subscriber has been served from the feed of each shop.';
COMMENT ON COLUMN subscriber_cursors.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN subscriber_cursors.subscriber IS 'The subscriber''s name in the configuration.';
COMMENT ON COLUMN subscriber_cursors.next_seq IS 'The next event to be taken up.';
COMMENT ON COLUMN subscriber_cursors.lease IS 'The fencing token of the replica that serves it.';
COMMENT ON COLUMN subscriber_cursors.lease_until IS 'When that lease ends.';
COMMENT ON COLUMN subscriber_cursors.disabled IS 'The subscriber answered 410 Gone.';

CREATE TABLE deliveries (
    shop_id     text        NOT NULL,
    subscriber  text        NOT NULL,
    seq         bigint      NOT NULL,
    tries       integer     NOT NULL DEFAULT 0,
    due_at      timestamptz NOT NULL,
    last_error  text,
    PRIMARY KEY (shop_id, subscriber, seq)
);
CREATE INDEX deliveries_due ON deliveries (shop_id, subscriber, due_at);
COMMENT ON TABLE deliveries IS 'Events that a subscriber has not taken yet, each with its own retry.';
COMMENT ON COLUMN deliveries.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN deliveries.subscriber IS 'The subscriber''s name in the configuration.';
COMMENT ON COLUMN deliveries.seq IS 'Which event.';
COMMENT ON COLUMN deliveries.tries IS 'How often it was tried.';
COMMENT ON COLUMN deliveries.due_at IS 'When it is tried next.';
COMMENT ON COLUMN deliveries.last_error IS 'What the last try came to.';
