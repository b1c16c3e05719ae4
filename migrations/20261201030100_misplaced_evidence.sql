-- Evidence that fell into the default partition kept its month from ever having one of its own: PostgreSQL refuses
-- a partition whose rows the default has. Each month is now made by itself, with the rows that are there already.
CREATE FUNCTION uuid_v7_month(id uuid) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT date_trunc('month', to_timestamp(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / 1000.0)
        AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
$$;
COMMENT ON FUNCTION uuid_v7_month(uuid) IS 'The beginning of the month, in UTC, in which a UUIDv7 was made.';

-- Makes the partition of one month. Waits for who writes to the default partition only where that has rows of it.
CREATE FUNCTION make_evidence_partition(month timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    name text := 'evidence_' || to_char(month AT TIME ZONE 'UTC', 'YYYY_MM');
    first uuid := uuid_v7_floor(month);
    next uuid := uuid_v7_floor((month AT TIME ZONE 'UTC' + interval '1 month') AT TIME ZONE 'UTC');
BEGIN
    IF to_regclass(format('%I.%I', current_schema(), name)) IS NOT NULL THEN
        RETURN false;
    END IF;
    IF NOT EXISTS (SELECT FROM evidence_default WHERE transaction_id >= first AND transaction_id < next) THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF evidence FOR VALUES FROM (%L) TO (%L)', name, first, next);
        RETURN true;
    END IF;
    LOCK TABLE evidence_default IN SHARE ROW EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE evidence INCLUDING ALL)', name);
    EXECUTE format('WITH moved AS (
        DELETE FROM evidence_default WHERE transaction_id >= %L AND transaction_id < %L RETURNING *
    ) INSERT INTO %I SELECT * FROM moved', first, next, name);
    EXECUTE format('ALTER TABLE evidence ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, first, next);
    RETURN true;
END
$$;
REVOKE EXECUTE ON FUNCTION make_evidence_partition(timestamptz) FROM PUBLIC;

CREATE OR REPLACE FUNCTION ensure_evidence_partitions(months_ahead integer) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    this_month timestamptz := date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC';
    month timestamptz;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('reconciler.evidence_partitions'));
    -- What retention has carried over from months that are gone stays in the default partition.
    FOR month IN
        SELECT (this_month AT TIME ZONE 'UTC' + make_interval(months => i)) AT TIME ZONE 'UTC'
            FROM generate_series(-1, least(months_ahead, 24)) AS i
        UNION SELECT m FROM (SELECT DISTINCT uuid_v7_month(transaction_id) AS m FROM evidence_default) AS fallen
            WHERE m > this_month
        ORDER BY 1 LIMIT 60
    LOOP
        -- One that cannot be made keeps no other from being made.
        BEGIN
            made := made + make_evidence_partition(month)::integer;
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'partition of evidence for % not made: %', month, SQLERRM;
        END;
    END LOOP;
    RETURN made;
END
$$;

-- How many rows of evidence lie in the default partition that belong into a month of their own, a thousand at most.
CREATE FUNCTION misplaced_evidence() RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT count(*) FROM (
        SELECT FROM evidence_default WHERE transaction_id >= uuid_v7_floor(
            date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '1 month')
        LIMIT 1000) AS misplaced
$$;

DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION ensure_evidence_partitions(integer) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION make_evidence_partition(timestamptz) SET search_path = %I, pg_temp', current_schema());
    EXECUTE format('ALTER FUNCTION misplaced_evidence() SET search_path = %I, pg_temp', current_schema());
END
$$;
