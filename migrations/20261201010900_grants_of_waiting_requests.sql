-- What the service may do with the requests that wait, beside all that it was granted before.
ALTER FUNCTION grant_reconciler_roles() RENAME TO grant_reconciler_roles_before_waiting_requests;
CREATE FUNCTION grant_reconciler_roles() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM grant_reconciler_roles_before_waiting_requests();
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_service') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON waiting_requests TO reconciler_service;
        GRANT SELECT ON fingerprint_keys TO reconciler_service;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'reconciler_auditor') THEN
        GRANT SELECT ON waiting_requests, fingerprint_keys TO reconciler_auditor;
    END IF;
END
$$;
SELECT grant_reconciler_roles();
