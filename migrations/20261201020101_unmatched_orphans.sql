-- no-transaction
-- The sweep looks every few seconds, at all shops, for signed webhooks that belong to nothing yet. They are few; those
-- that have found their owner stay.
CREATE INDEX CONCURRENTLY orphans_unmatched ON orphans (shop_id, id)
    WHERE matched_to IS NULL AND kind = 'transaction' AND signed;
