-- Reads the table beside all writers.
ALTER TABLE transactions VALIDATE CONSTRAINT transactions_state_known;
ALTER TABLE transactions VALIDATE CONSTRAINT transactions_final_has_time;
ALTER TABLE transactions VALIDATE CONSTRAINT transactions_merged_is_the_gateways;
