//! The statements of a group commit, in the order in which they lock: transactions, due checks,
//! uids, findings, and last the feed's counter. All of them take many rows at once.

mod findings;

pub use findings::{Healed, heal_discrepancies, open_discrepancies, put_orphans};

use crate::domain::{ShopId, State, Timestamp, TransactionType};
use crate::store::rows::RawTransaction;
use crate::store::{
    CheckRow, CheckWrite, EventWrite, EvidenceWrite, StoreError, StoredTransaction,
};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use std::collections::HashSet;
use uuid::Uuid;

/// The server's clock. Taken first in each batch, so that everything in it has one time. Also sets
/// the limits of this transaction: a hung client must not hold a shop's rows, nor a hung statement
/// a client. They are set here and not at the connection, since PgBouncer shares connections.
///
/// Every statement of a batch looks rows up by key. A plan made while a table was still small would
/// read all of it, and be kept while the table grows; so the planner may use indexes alone, and
/// `LATERAL … LIMIT 1` in the statements makes it look up each key by itself.
///
/// All indexes begin with the shop. While a shop has next to no rows, any of them looks as good as the
/// one that has the key, and the whole shop would be read through it ever after. Where a table has several
/// that could serve, the key is therefore given as a range and asked for in its order: only the right
/// index gives that without sorting, and sorting is off. What has to be sorted all the same looks so dear by
/// that that the server would compile it anew each time, if it might.
pub async fn begin_batch(conn: &mut PgConnection) -> Result<Timestamp, StoreError> {
    let row = sqlx::query!(
        r#"-- begin_batch
        SELECT clock_timestamp() AS "now!", set_config('lock_timeout', '10s', true) AS a,
            set_config('statement_timeout', '30s', true) AS b,
            set_config('idle_in_transaction_session_timeout', '15s', true) AS c,
            set_config('enable_seqscan', 'off', true) AS d, set_config('enable_hashjoin', 'off', true) AS e,
            set_config('enable_mergejoin', 'off', true) AS f, set_config('enable_sort', 'off', true) AS g,
            set_config('jit', 'off', true) AS h"#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.now.into())
}

/// Inserts transactions; those whose tracking id is taken are left out. Returns the ids inserted.
pub async fn insert_transactions(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[&StoredTransaction],
) -> Result<HashSet<Uuid>, StoreError> {
    let mut c = TransactionColumns::default();
    for stored in rows {
        c.push(stored)?;
    }
    let inserted = sqlx::query_scalar!(
        r#"-- insert_transactions
        INSERT INTO transactions (shop_id, id, tracking_id, type, origin, amount, currency, description,
            parent_uid, parent_tracking_id, card_data, test, fingerprint, fingerprint_key, created_at,
            state, state_since, uid, summary, sequence, updated_at, finalized_at, evidence_count, evidence_head)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::bool[], $12::bool[], $13::bytea[], $14::text[],
            $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[], $20::bigint[],
            $21::timestamptz[], $22::timestamptz[], $23::int[], $24::bytea[])
        -- A fixed order, so that two replicas with the same tracking ids cannot deadlock.
        ORDER BY 3, 2
        ON CONFLICT DO NOTHING
        RETURNING id"#,
        shop.as_str(),
        &c.id,
        &c.tracking_id as &[Option<String>],
        &c.kind as &[&str],
        &c.origin as &[&str],
        &c.amount as &[Option<i64>],
        &c.currency as &[Option<String>],
        &c.description as &[Option<String>],
        &c.parent_uid as &[Option<String>],
        &c.parent_tracking_id as &[Option<String>],
        &c.card_data,
        &c.test as &[Option<bool>],
        &c.fingerprint as &[Option<Vec<u8>>],
        &c.fingerprint_key as &[Option<String>],
        &c.created_at,
        &c.state as &[&str],
        &c.state_since,
        &c.uid as &[Option<String>],
        &c.summary,
        &c.sequence,
        &c.updated_at,
        &c.finalized_at as &[Option<OffsetDateTime>],
        &c.evidence_count,
        &c.evidence_head,
    )
    .fetch_all(conn)
    .await?;
    Ok(inserted.into_iter().collect())
}

#[derive(Default)]
struct TransactionColumns {
    id: Vec<Uuid>,
    tracking_id: Vec<Option<String>>,
    kind: Vec<&'static str>,
    origin: Vec<&'static str>,
    amount: Vec<Option<i64>>,
    currency: Vec<Option<String>>,
    description: Vec<Option<String>>,
    parent_uid: Vec<Option<String>>,
    parent_tracking_id: Vec<Option<String>>,
    card_data: Vec<bool>,
    test: Vec<Option<bool>>,
    fingerprint: Vec<Option<Vec<u8>>>,
    fingerprint_key: Vec<Option<String>>,
    created_at: Vec<OffsetDateTime>,
    state: Vec<&'static str>,
    state_since: Vec<OffsetDateTime>,
    uid: Vec<Option<String>>,
    summary: Vec<String>,
    sequence: Vec<i64>,
    updated_at: Vec<OffsetDateTime>,
    finalized_at: Vec<Option<OffsetDateTime>>,
    evidence_count: Vec<i32>,
    evidence_head: Vec<Vec<u8>>,
}

impl TransactionColumns {
    fn push(&mut self, row: &StoredTransaction) -> Result<(), StoreError> {
        let opening = &row.opening;
        let named = !row.fingerprint.is_empty();
        self.id.push(row.record.id);
        self.tracking_id
            .push(opening.tracking_id.as_ref().map(ToString::to_string));
        self.kind.push(opening.kind.as_str());
        self.origin.push(opening.origin.as_str());
        self.amount.push(opening.amount);
        self.currency.push(opening.currency.map(|c| c.to_string()));
        self.description.push(row.record.description.clone());
        self.parent_uid
            .push(opening.parent_uid.as_ref().map(ToString::to_string));
        self.parent_tracking_id
            .push(opening.parent_tracking_id.as_ref().map(ToString::to_string));
        self.card_data.push(opening.card_data);
        self.test.push(opening.test);
        self.fingerprint
            .push(named.then(|| row.fingerprint.clone()));
        self.fingerprint_key
            .push(named.then(|| row.fingerprint_key.clone()));
        self.created_at.push(row.record.created_at.into());
        self.state.push(row.state.as_str());
        self.state_since.push(row.state_since.into());
        self.uid.push(row.derived().uid.map(|uid| uid.to_string()));
        self.summary.push(encode(&row.summary, row.record.id)?);
        self.sequence.push(row.record.sequence);
        self.updated_at.push(row.record.updated_at.into());
        self.finalized_at
            .push(row.record.finalized_at.map(OffsetDateTime::from));
        self.evidence_count.push(row.evidence_count);
        self.evidence_head.push(row.evidence_head.to_vec());
        Ok(())
    }
}

fn encode(summary: &crate::domain::Summary, row: Uuid) -> Result<String, StoreError> {
    serde_json::to_string(summary)
        .map_err(|_| StoreError::inconsistent("transactions", "summary", row))
}

/// Which transactions own these uids.
pub async fn owners_of_uids(
    conn: &mut PgConnection,
    shop: &ShopId,
    uids: &[&str],
) -> Result<Vec<(String, Uuid)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- owners_of_uids
        SELECT k.uid AS "uid!", u.transaction_id FROM UNNEST($2::text[]) AS k(uid)
        CROSS JOIN LATERAL (
            SELECT transaction_id FROM uids WHERE shop_id = $1 AND uid = k.uid LIMIT 1) u"#,
        shop.as_str(),
        uids as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| (r.uid, r.transaction_id))
        .collect())
}

/// Which transactions made through the API go by these tracking ids.
pub async fn by_tracking_ids(
    conn: &mut PgConnection,
    shop: &ShopId,
    tracking_ids: &[&str],
) -> Result<Vec<(String, Uuid)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- by_tracking_ids
        SELECT k.tracking_id AS "tracking_id!", t.id FROM UNNEST($2::text[]) AS k(tracking_id)
        CROSS JOIN LATERAL (
            SELECT id FROM transactions
            WHERE shop_id = $1 AND tracking_id >= k.tracking_id AND tracking_id <= k.tracking_id
              AND origin = 'api' ORDER BY tracking_id LIMIT 1) t"#,
        shop.as_str(),
        tracking_ids as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.tracking_id, r.id)).collect())
}

/// A child that has no uid yet: a possible owner of what the gateway tells of its parent.
#[derive(Debug, Clone)]
pub struct OpenChild {
    /// Which transaction.
    pub id: Uuid,
    /// Its parent.
    pub parent_uid: String,
}

/// The children of these parents that were made through the API and have no uid yet.
pub async fn open_children(
    conn: &mut PgConnection,
    shop: &ShopId,
    parents: &[&str],
) -> Result<Vec<OpenChild>, StoreError> {
    let rows = sqlx::query!(
        r#"-- open_children
        SELECT t.id, k.parent_uid AS "parent_uid!" FROM UNNEST($2::text[]) AS k(parent_uid)
        CROSS JOIN LATERAL (
            SELECT id FROM transactions
            WHERE shop_id = $1 AND parent_uid >= k.parent_uid AND parent_uid <= k.parent_uid
              AND parent_uid IS NOT NULL AND origin = 'api' AND uid IS NULL
            ORDER BY parent_uid OFFSET 0) t"#,
        shop.as_str(),
        parents as &[&str]
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| OpenChild {
            id: r.id,
            parent_uid: r.parent_uid,
        })
        .collect())
}

/// What one child has taken, or may have taken, from its parent.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The child's kind.
    pub kind: TransactionType,
    /// Its state.
    pub state: State,
    /// How much, in minor units.
    pub amount: Option<i64>,
    /// When it was opened.
    pub opened_at: Timestamp,
}

impl Spent {
    /// Whether this child lessens what is left for a new one of a kind: everything that succeeded
    /// or may still succeed does. Captures and voids share the hold; refunds and chargebacks share
    /// what was taken.
    pub fn counts_against(&self, kind: TransactionType) -> bool {
        let alive = !self.state.is_final() || self.state == State::Successful;
        let takes_hold = |kind| matches!(kind, TransactionType::Capture | TransactionType::Void);
        alive && takes_hold(self.kind) == takes_hold(kind)
    }
}

/// What the children of a parent have taken; the parent is locked, so that none is added meanwhile.
pub async fn spent_by_children(
    conn: &mut PgConnection,
    shop: &ShopId,
    parent_uid: &str,
) -> Result<Vec<Spent>, StoreError> {
    let rows = sqlx::query!(
        "-- spent_by_children
        SELECT id, type AS kind, state, amount, created_at FROM transactions
        WHERE shop_id = $1 AND parent_uid >= $2 AND parent_uid <= $2 ORDER BY parent_uid",
        shop.as_str(),
        parent_uid
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let bad = |column| StoreError::inconsistent("transactions", column, r.id);
            Ok(Spent {
                kind: TransactionType::parse(&r.kind).ok_or_else(|| bad("type"))?,
                state: State::parse(&r.state).ok_or_else(|| bad("state"))?,
                amount: r.amount,
                opened_at: r.created_at.into(),
            })
        })
        .collect()
}

/// Locks transactions in the order in which the ids are given, which is their own, and reads them.
pub async fn lock_transactions(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<Vec<StoredTransaction>, StoreError> {
    let rows = sqlx::query_as!(
        RawTransaction,
        r#"-- lock_transactions
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency,
            t.description, t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint,
            t.fingerprint_key, t.created_at, t.state, t.state_since, t.summary, t.sequence, t.updated_at,
            t.finalized_at, t.evidence_count, t.evidence_head, NULL::timestamptz AS next_check_at
        FROM UNNEST($2::uuid[]) AS k(id)
        CROSS JOIN LATERAL (
            SELECT * FROM transactions WHERE shop_id = $1 AND id = k.id LIMIT 1 FOR UPDATE) t"#,
        shop.as_str(),
        ids
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(StoredTransaction::try_from).collect()
}

/// Locks rows of the hot table in the order of their transactions. Workers that take leases skip
/// locked rows, so that nobody waits for anybody in a circle.
pub async fn lock_checks(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<Vec<CheckRow>, StoreError> {
    let rows = sqlx::query!(
        "-- lock_checks
        SELECT d.transaction_id, d.due_at, d.lease, d.again FROM UNNEST($2::uuid[]) AS k(id)
        CROSS JOIN LATERAL (
            SELECT * FROM due_checks
            WHERE shop_id = $1 AND transaction_id >= k.id AND transaction_id <= k.id
            ORDER BY transaction_id LIMIT 1 FOR UPDATE) d",
        shop.as_str(),
        ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| CheckRow {
            transaction_id: r.transaction_id,
            due_at: r.due_at.into(),
            lease: r.lease,
            again: r.again,
        })
        .collect())
}

/// Which of these pieces of evidence are stored already.
pub async fn known_evidence(
    conn: &mut PgConnection,
    shop: &ShopId,
    keys: &[(Uuid, Uuid)],
) -> Result<HashSet<(Uuid, Uuid)>, StoreError> {
    let (transactions, ids): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"-- known_evidence
        SELECT e.transaction_id, e.id
        FROM UNNEST($2::uuid[], $3::uuid[]) AS k(transaction_id, id)
        CROSS JOIN LATERAL (
            SELECT transaction_id, id FROM evidence
            WHERE shop_id = $1 AND transaction_id = k.transaction_id AND id = k.id LIMIT 1) e"#,
        shop.as_str(),
        &transactions,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.transaction_id, r.id)).collect())
}

/// Appends evidence. All of it is new: the transactions are locked, and [`known_evidence`] was asked.
pub async fn insert_evidence(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    rows: &[EvidenceWrite],
) -> Result<(), StoreError> {
    let column = |f: fn(&EvidenceWrite) -> Uuid| rows.iter().map(f).collect::<Vec<_>>();
    sqlx::query!(
        "-- insert_evidence
        INSERT INTO evidence (shop_id, received_at, transaction_id, id, position, channel, verdict,
            http_status, subject, signed, note, body, body_sha256, chain)
        SELECT $1, $2, * FROM UNNEST($3::uuid[], $4::uuid[], $5::int[], $6::text[], $7::text[], $8::int[],
            $9::text[], $10::bool[], $11::text[], $12::bytea[], $13::bytea[], $14::bytea[])",
        shop.as_str(),
        OffsetDateTime::from(at),
        &column(|r| r.transaction_id),
        &column(|r| r.id),
        &rows.iter().map(|r| r.position).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.channel.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.verdict.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.http_status.map(i32::from)).collect::<Vec<_>>() as &[Option<i32>],
        &rows.iter().map(|r| r.subject.clone()).collect::<Vec<_>>() as &[Option<String>],
        &rows.iter().map(|r| r.signed).collect::<Vec<_>>() as &[Option<bool>],
        &rows.iter().map(|r| r.note.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.body.as_slice()).collect::<Vec<_>>() as &[&[u8]],
        &rows.iter().map(|r| r.body_sha256.as_slice()).collect::<Vec<_>>() as &[&[u8]],
        &rows.iter().map(|r| r.chain.as_slice()).collect::<Vec<_>>() as &[&[u8]],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes the moving columns of locked transactions. They are found by key, one by one, and joined by
/// their place, which cannot change while they are locked: no estimate of the planner's makes that slow.
pub async fn update_transactions(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[&StoredTransaction],
) -> Result<(), StoreError> {
    let summaries = rows
        .iter()
        .map(|r| encode(&r.summary, r.record.id))
        .collect::<Result<Vec<_>, _>>()?;
    let done = sqlx::query!(
        "-- update_transactions
        UPDATE transactions t SET state = w.state, state_since = w.state_since, uid = w.uid,
            summary = w.summary, sequence = w.sequence, updated_at = w.updated_at,
            finalized_at = w.finalized_at, evidence_count = w.evidence_count,
            evidence_head = w.evidence_head
        FROM (SELECT k.*, row.place FROM UNNEST($2::uuid[], $3::text[], $4::timestamptz[], $5::text[],
                $6::text[], $7::bigint[], $8::timestamptz[], $9::timestamptz[], $10::int[], $11::bytea[])
                AS k(id, state, state_since, uid, summary, sequence, updated_at, finalized_at,
                    evidence_count, evidence_head)
            CROSS JOIN LATERAL (
                SELECT ctid AS place FROM transactions WHERE shop_id = $1 AND id = k.id LIMIT 1) row
            OFFSET 0) w
        WHERE t.ctid = w.place",
        shop.as_str(),
        &rows.iter().map(|r| r.record.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.state.as_str()).collect::<Vec<_>>() as &[&str],
        &rows
            .iter()
            .map(|r| r.state_since.into())
            .collect::<Vec<OffsetDateTime>>(),
        &rows
            .iter()
            .map(|r| r.derived().uid.map(|uid| uid.to_string()))
            .collect::<Vec<_>>() as &[Option<String>],
        &summaries,
        &rows.iter().map(|r| r.record.sequence).collect::<Vec<_>>(),
        &rows
            .iter()
            .map(|r| r.record.updated_at.into())
            .collect::<Vec<OffsetDateTime>>(),
        &rows
            .iter()
            .map(|r| r.record.finalized_at.map(OffsetDateTime::from))
            .collect::<Vec<_>>() as &[Option<OffsetDateTime>],
        &rows.iter().map(|r| r.evidence_count).collect::<Vec<_>>(),
        &rows
            .iter()
            .map(|r| r.evidence_head.as_slice())
            .collect::<Vec<_>>() as &[&[u8]],
    )
    .execute(conn)
    .await?;
    if done.rows_affected() != rows.len() as u64 {
        return Err(StoreError::inconsistent(
            "transactions",
            "id",
            "a locked row is gone",
        ));
    }
    Ok(())
}

/// Claims uids. Returns `false` when somebody else has claimed one in between: the batch must be
/// folded anew.
pub async fn claim_uids(
    conn: &mut PgConnection,
    shop: &ShopId,
    claims: &[(String, Uuid)],
) -> Result<bool, StoreError> {
    let (uids, ids): (Vec<String>, Vec<Uuid>) = claims.iter().cloned().unzip();
    let done = sqlx::query!(
        "-- claim_uids
        INSERT INTO uids (shop_id, uid, transaction_id)
        SELECT $1, * FROM UNNEST($2::text[], $3::uuid[]) ORDER BY 2
        ON CONFLICT DO NOTHING",
        shop.as_str(),
        &uids,
        &ids
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == claims.len() as u64)
}

/// Writes rows of the hot table.
pub async fn put_checks(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[CheckWrite],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- put_checks
        INSERT INTO due_checks (shop_id, transaction_id, due_at, lease, again, state, since)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::timestamptz[], $4::uuid[], $5::bool[], $6::text[],
            $7::timestamptz[])
        ON CONFLICT (shop_id, transaction_id) DO UPDATE SET due_at = excluded.due_at,
            lease = excluded.lease, again = excluded.again, state = excluded.state,
            since = excluded.since",
        shop.as_str(),
        &rows.iter().map(|r| r.transaction_id).collect::<Vec<_>>(),
        &rows
            .iter()
            .map(|r| r.due_at.into())
            .collect::<Vec<OffsetDateTime>>(),
        &rows.iter().map(|r| r.lease).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.again).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.state.as_str()).collect::<Vec<_>>() as &[&str],
        &rows
            .iter()
            .map(|r| r.since.into())
            .collect::<Vec<OffsetDateTime>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes transactions out of the hot table: they are final and have been looked at again.
pub async fn drop_checks(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- drop_checks
        DELETE FROM due_checks WHERE ctid = ANY (ARRAY(
            SELECT d.ctid FROM UNNEST($2::uuid[]) AS k(id)
            CROSS JOIN LATERAL (
                SELECT ctid FROM due_checks
                WHERE shop_id = $1 AND transaction_id >= k.id AND transaction_id <= k.id
                ORDER BY transaction_id LIMIT 1) d))",
        shop.as_str(),
        ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Appends events. The shop's counter is the last row that a batch locks, so that numbers follow
/// commit order without gaps. Returns the last number given.
pub async fn append_events(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    rows: &[EventWrite],
) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar!(
        r#"-- append_events
        WITH counter AS (
            INSERT INTO shop_feeds AS f (shop_id, last_seq) VALUES ($1, $2)
            ON CONFLICT (shop_id) DO UPDATE SET last_seq = f.last_seq + $2
            RETURNING last_seq
        ), appended AS (
            INSERT INTO events (shop_id, seq, type, at, transaction_id, payload)
            SELECT $1, counter.last_seq - $2 + e.place, e.type, $3, e.transaction_id, e.payload
            FROM counter, UNNEST($4::text[], $5::uuid[], $6::text[])
                WITH ORDINALITY AS e(type, transaction_id, payload, place)
        )
        SELECT last_seq AS "last_seq!" FROM counter"#,
        shop.as_str(),
        i64::try_from(rows.len()).unwrap_or(i64::MAX),
        OffsetDateTime::from(at),
        &rows.iter().map(|r| r.kind).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.transaction_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.payload.as_str()).collect::<Vec<_>>() as &[&str],
    )
    .fetch_one(conn)
    .await?;
    Ok(last)
}
