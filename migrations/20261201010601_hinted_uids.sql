-- The gateway's transactions of which a webhook told that cannot be believed by itself: each is to be looked up by
-- its uid, at most once a minute. Small: a row goes soon after its look.
CREATE TABLE hinted_uids (
    shop_id    text        NOT NULL,
    uid        text        NOT NULL,
    ours       boolean     NOT NULL,
    hinted_at  timestamptz NOT NULL,
    due_at     timestamptz,
    asked_at   timestamptz,
    PRIMARY KEY (shop_id, uid),
    CONSTRAINT hinted_uids_plain CHECK (uid ~ '^[A-Za-z0-9_-]{1,64}$')
) WITH (fillfactor = 60);
CREATE INDEX hinted_uids_due ON hinted_uids (shop_id, due_at) WHERE due_at IS NOT NULL;
COMMENT ON TABLE hinted_uids IS 'Uids that an unsigned webhook named, to be looked up: a hint, and nothing else.';
COMMENT ON COLUMN hinted_uids.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN hinted_uids.uid IS 'The gateway''s uid.';
COMMENT ON COLUMN hinted_uids.ours IS 'It is, or by its name may be, a transaction that we know; others come behind everything else.';
COMMENT ON COLUMN hinted_uids.hinted_at IS 'When a webhook named it last.';
COMMENT ON COLUMN hinted_uids.due_at IS 'When it is to be looked up; while somebody does, when another may; null when nothing is due.';
COMMENT ON COLUMN hinted_uids.asked_at IS 'When it was looked up last.';
