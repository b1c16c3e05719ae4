-- What a shop's gateway was seen to do counts in proofs of absence, and so names the evidence that taught it. What
-- earlier releases have noted names none, and does not count any more: it is learned anew. Replicas of the release
-- before go on beside it; the words that they prove by are forgotten too.
CREATE TABLE shop_abilities (
    shop_id         text        NOT NULL,
    ability         text        NOT NULL,
    transaction_id  uuid        NOT NULL,
    evidence_id     uuid        NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (shop_id, ability)
);
COMMENT ON TABLE shop_abilities IS 'What a shop''s gateway was seen to do, and the evidence that taught it: a look-up that held the uid of its own transaction.';
COMMENT ON COLUMN shop_abilities.shop_id IS 'The merchant account at the gateway.';
COMMENT ON COLUMN shop_abilities.ability IS 'shows:<type>: children of this type are answered under their own tracking_id. finds:<signs>: look-ups by a name with these signs beside letters, digits, - and _ find what is there.';
COMMENT ON COLUMN shop_abilities.transaction_id IS 'The transaction that the evidence belongs to.';
COMMENT ON COLUMN shop_abilities.evidence_id IS 'The latest evidence that taught it.';
COMMENT ON COLUMN shop_abilities.at IS 'When that was answered.';
COMMENT ON COLUMN evidence.received_at IS 'When it was answered, by this server''s clock when it was recorded less what had passed since on the reader''s own; for what is no answer, when it was recorded.';

UPDATE shop_controls SET capabilities = array_to_string(ARRAY(
    SELECT word FROM unnest(string_to_array(capabilities, ',')) AS known(word)
    WHERE word <> '' AND word NOT LIKE 'own\_tracking\_id:%'), ',')
WHERE capabilities LIKE '%own\_tracking\_id:%';
UPDATE shop_controls SET lookup_worked_at = NULL WHERE lookup_worked_at IS NOT NULL;
