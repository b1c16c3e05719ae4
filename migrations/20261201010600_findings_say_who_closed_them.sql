-- Who closed a finding, and money that went back twice. Replicas that know nothing of it go on beside it.
ALTER TABLE discrepancies ADD COLUMN resolved_by text;
COMMENT ON COLUMN discrepancies.resolved_by IS 'Who closed it; null while it is open, and where it went away by itself.';

-- Checked for what is written from now on; what is there is checked by a later migration, without a lock that
-- anybody waits for.
ALTER TABLE discrepancies
    DROP CONSTRAINT discrepancies_kind_known,
    ADD CONSTRAINT discrepancies_kind_known CHECK (kind IN ('orphan_webhook', 'missing_at_gateway',
        'missing_here', 'status_conflict', 'amount_mismatch', 'currency_mismatch', 'type_mismatch',
        'duplicate_success', 'ambiguous_tracking_id', 'pending_too_long', 'late_success',
        'manual_correction', 'chargeback_unmatched', 'refunded_and_charged_back', 'test_live_mix',
        'signature_rejected', 'unknown_body')) NOT VALID;
