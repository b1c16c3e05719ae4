-- How far the transactions of a shop have been looked over for what an earlier release has ended and the rules of
-- now would leave open. Three columns without a default: nothing is rewritten, and the table has a row for each shop.
ALTER TABLE shop_controls ADD COLUMN looked_over_to uuid, ADD COLUMN looked_over_at timestamptz,
    ADD COLUMN looked_over_since timestamptz;
COMMENT ON COLUMN shop_controls.looked_over_to IS 'The last transaction that was looked over for the end that an earlier release has left it; null between two rounds.';
COMMENT ON COLUMN shop_controls.looked_over_at IS 'When the last round that came to its end began.';
COMMENT ON COLUMN shop_controls.looked_over_since IS 'When the round under way, or the last one, began.';
