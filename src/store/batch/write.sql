-- write
WITH moved AS (
    UPDATE transactions t SET state = w.state, state_since = w.state_since, uid = w.uid,
        summary = w.summary, sequence = w.sequence, updated_at = w.updated_at,
        finalized_at = w.finalized_at, evidence_count = w.evidence_count,
        evidence_head = w.evidence_head
    FROM UNNEST($3::text[]::tid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::text[], $8::text[],
            $9::bigint[], $10::timestamptz[], $11::timestamptz[], $12::int[], $13::bytea[])
        AS w(place, id, state, state_since, uid, summary, sequence, updated_at, finalized_at,
            evidence_count, evidence_head)
    WHERE t.ctid = w.place
    RETURNING t.shop_id = $1 AND t.id = w.id AS is_meant
), said AS (
    INSERT INTO evidence (shop_id, received_at, transaction_id, id, position, channel, verdict,
        http_status, subject, signed, note, body, body_sha256, chain)
    SELECT $1, * FROM UNNEST($2::timestamptz[], $14::uuid[], $15::uuid[], $16::int[], $17::text[], $18::text[],
        $19::int[], $20::text[], $21::bool[], $22::text[], $23::bytea[], $24::bytea[], $25::bytea[])
), put_off AS (
    UPDATE due_checks d SET due_at = w.due_at, lease = w.lease, again = w.again, state = w.state,
        since = w.since, misses = w.misses, unanswered = w.unanswered, ask_name = w.ask_name,
        ask_uid = w.ask_uid
    FROM UNNEST($26::text[]::tid[], $27::uuid[], $28::timestamptz[], $29::uuid[], $30::bool[],
            $31::text[], $32::timestamptz[], $39::smallint[], $40::smallint[], $41::bool[], $42::text[])
        AS w(place, id, due_at, lease, again, state, since, misses, unanswered, ask_name, ask_uid)
    WHERE d.ctid = w.place
    RETURNING d.shop_id = $1 AND d.transaction_id = w.id AS is_meant
), added AS (
    INSERT INTO due_checks (shop_id, transaction_id, due_at, lease, again, state, since, misses,
        unanswered, ask_name, ask_uid)
    SELECT $1, * FROM UNNEST($33::uuid[], $34::timestamptz[], $35::uuid[], $36::bool[], $37::text[],
        $38::timestamptz[], $43::smallint[], $44::smallint[], $45::bool[], $46::text[])
)
SELECT (SELECT count(*) FROM moved WHERE is_meant) AS "moved!",
    (SELECT count(*) FROM put_off WHERE is_meant) AS "put_off!"
