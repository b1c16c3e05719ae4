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
