-- Which course of this database the service has accepted. A backup that was restored, or a standby that was
-- promoted, begins a new timeline, and a dump that was loaded elsewhere has another system identifier.
CREATE TABLE database_histories (
    system_id bigint NOT NULL,
    timeline integer NOT NULL,
    accepted_as text NOT NULL
        CONSTRAINT database_histories_accepted_as CHECK (accepted_as IN ('first', 'failover', 'restore', 'behind')),
    accepted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    lookups_until timestamptz
        CONSTRAINT database_histories_lookups CHECK ((lookups_until IS NOT NULL) = (accepted_as = 'restore')),
    PRIMARY KEY (system_id, timeline)
);
COMMENT ON TABLE database_histories IS 'One row for each system identifier and timeline that this database was seen with.';
COMMENT ON COLUMN database_histories.system_id IS 'The system identifier of the server, as pg_control_system() shows it.';
COMMENT ON COLUMN database_histories.timeline IS 'The timeline that the server writes.';
COMMENT ON COLUMN database_histories.accepted_as IS 'first: the one the table began with; failover: nothing that was committed is missing; restore: commits may be missing, so that each submit is looked up first until lookups_until; behind: a process has seen a commit that is missing here, and nothing is submitted.';
COMMENT ON COLUMN database_histories.accepted_at IS 'When the row was written, or last decided again.';
COMMENT ON COLUMN database_histories.lookups_until IS 'After a restore: until when each transaction is looked up at the gateway before it is submitted.';
