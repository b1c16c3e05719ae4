-- The keys that fingerprints from before name. By now the triggers note every other one, and nothing is
-- locked while the table is read.
INSERT INTO fingerprint_keys (shop_id, key_id)
SELECT DISTINCT shop_id, fingerprint_key FROM transactions WHERE fingerprint_key IS NOT NULL
ON CONFLICT DO NOTHING;
