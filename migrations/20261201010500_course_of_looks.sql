-- How the looks at a transaction have gone, so that the pace survives a restart. An older program beside
-- this schema leaves the new columns at their defaults.
ALTER TABLE due_checks
    ADD COLUMN misses smallint NOT NULL DEFAULT 0,
    ADD COLUMN unanswered smallint NOT NULL DEFAULT 0,
    ADD COLUMN ask_name boolean NOT NULL DEFAULT false,
    ADD COLUMN ask_uid text;
ALTER TABLE due_checks
    ADD CONSTRAINT due_checks_counts CHECK (misses >= 0 AND unanswered >= 0) NOT VALID;
COMMENT ON COLUMN due_checks.misses IS 'How many looks in a row told nothing by the way that the state asks for.';
COMMENT ON COLUMN due_checks.unanswered IS 'How many looks in a row had no answer at all.';
COMMENT ON COLUMN due_checks.ask_name IS 'The next look also asks by tracking id: a person wished it.';
COMMENT ON COLUMN due_checks.ask_uid IS 'The next look asks for this transaction of the gateway, which was corrected or contradicted.';
