-- A finding is brought up to date while it is open: what it says, and the gateway's transactions that it names,
-- each with its amount. What it said when it was opened is kept. Replicas that know nothing of it leave both as they
-- are.
ALTER TABLE discrepancies ADD COLUMN uids text NOT NULL DEFAULT '[]', ADD COLUMN detail_now text;
COMMENT ON COLUMN discrepancies.detail IS 'In plain words, as it was when it was opened.';
COMMENT ON COLUMN discrepancies.detail_now IS 'In plain words, as it is now; null while that is what it was when it was opened.';
COMMENT ON COLUMN discrepancies.uids IS 'The gateway''s transactions that it is about, with amount, currency and status (JSON).';
