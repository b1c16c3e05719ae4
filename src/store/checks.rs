//! The hot table as workers see it: leases, and what gauges read.

use crate::store::rows::{course, raw_transaction};
use crate::store::{Store, StoreError, StoredTransaction};
use domain::schedule::Course;
use domain::{ShopId, State, Timestamp};
use sqlx::types::time::OffsetDateTime;
use std::time::Duration;
use uuid::Uuid;

/// A transaction that this worker alone may act on until the lease ends.
#[derive(Debug, Clone)]
pub struct LeasedCheck {
    /// The transaction, as it was when the lease was taken.
    pub transaction: StoredTransaction,
    /// The fencing token.
    pub lease: Uuid,
    /// When it had been due.
    pub due_at: Timestamp,
    /// When the lease was taken, by the server's clock.
    pub now: Timestamp,
    /// How its looks have gone, and what this one is for.
    pub course: Course,
}

/// Rows of the two queries below, which are of two types that look alike.
macro_rules! leased {
    ($rows:expr, $token:expr) => {
        $rows
            .into_iter()
            .map(|r| {
                let raw = raw_transaction!(r, None);
                Ok(LeasedCheck {
                    transaction: raw.try_into()?,
                    lease: $token,
                    due_at: r.was_due.into(),
                    now: r.now.into(),
                    course: course(r.misses, r.unanswered, r.ask_name, r.ask_uid.as_deref()),
                })
            })
            .collect()
    };
}

/// Takes leases on what is due at a shop, the longest due first. Rows that another worker has in
/// hand are skipped. (A bound that the index can use must not be volatile, as `clock_timestamp()` is.)
pub async fn lease_due(
    store: &Store,
    shop: &ShopId,
    limit: i64,
    lease: Duration,
    token: Uuid,
) -> Result<Vec<LeasedCheck>, StoreError> {
    let rows = sqlx::query!(
        r#"-- lease_due
        WITH due AS (
            SELECT ctid AS place, due_at FROM due_checks
            WHERE shop_id = $1 AND due_at <= statement_timestamp()
            ORDER BY due_at LIMIT $2 FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE due_checks d SET lease = $3, again = false,
                due_at = clock_timestamp() + make_interval(secs => $4)
            FROM due WHERE d.ctid = due.place
            RETURNING d.transaction_id, due.due_at AS was_due, clock_timestamp() AS now, d.misses,
                d.unanswered, d.ask_name, d.ask_uid
        )
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.description,
            t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint, t.fingerprint_key,
            t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at, t.finalized_at,
            t.evidence_count, t.evidence_head, taken.was_due, taken.now AS "now!", taken.misses,
            taken.unanswered, taken.ask_name, taken.ask_uid
        FROM taken CROSS JOIN LATERAL (
            SELECT * FROM transactions WHERE shop_id = $1 AND id = taken.transaction_id LIMIT 1) t"#,
        shop.as_str(),
        limit,
        token,
        lease.as_secs_f64()
    )
    .fetch_all(store.pool())
    .await?;
    leased!(rows, token)
}

/// The same for what has not been tried in vain: the newest due first, and nothing of which the last look
/// was not answered at all. Where more is due than there are places, so the newest does not wait for all
/// that hangs. `statement_timestamp()` bounds the index, as above.
pub async fn lease_untried(
    store: &Store,
    shop: &ShopId,
    limit: i64,
    lease: Duration,
    token: Uuid,
) -> Result<Vec<LeasedCheck>, StoreError> {
    let rows = sqlx::query!(
        r#"-- lease_untried
        WITH due AS (
            SELECT ctid AS place, due_at FROM due_checks
            WHERE shop_id = $1 AND due_at <= statement_timestamp() AND unanswered = 0
            ORDER BY due_at DESC LIMIT $2 FOR UPDATE SKIP LOCKED
        ), taken AS (
            UPDATE due_checks d SET lease = $3, again = false,
                due_at = clock_timestamp() + make_interval(secs => $4)
            FROM due WHERE d.ctid = due.place
            RETURNING d.transaction_id, due.due_at AS was_due, clock_timestamp() AS now, d.misses,
                d.unanswered, d.ask_name, d.ask_uid
        )
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.description,
            t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint, t.fingerprint_key,
            t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at, t.finalized_at,
            t.evidence_count, t.evidence_head, taken.was_due, taken.now AS "now!", taken.misses,
            taken.unanswered, taken.ask_name, taken.ask_uid
        FROM taken CROSS JOIN LATERAL (
            SELECT * FROM transactions WHERE shop_id = $1 AND id = taken.transaction_id LIMIT 1) t"#,
        shop.as_str(),
        limit,
        token,
        lease.as_secs_f64()
    )
    .fetch_all(store.pool())
    .await?;
    leased!(rows, token)
}

/// Puts off one leased check, and gives the lease back; nothing happens when the lease is lost.
pub async fn postpone(
    store: &Store,
    shop: &ShopId,
    id: Uuid,
    token: Uuid,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "-- postpone
        UPDATE due_checks SET lease = NULL, due_at = CASE WHEN again THEN clock_timestamp() ELSE $4 END
        WHERE shop_id = $1 AND transaction_id = $2 AND lease = $3 AND due_at > clock_timestamp()",
        shop.as_str(),
        id,
        token,
        OffsetDateTime::from(until)
    )
    .execute(store.pool())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Something that is due soon at a shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueSoon {
    /// The shop.
    pub shop: String,
    /// When a check is due, if one is.
    pub check: Option<Timestamp>,
    /// The time of the server.
    pub now: Timestamp,
    /// Whether a uid that a webhook named is to be looked up.
    pub hint: bool,
}

/// What is due within a time at these shops: the first few checks of each, and whether hints are.
pub async fn due_soon(
    store: &Store,
    shops: &[String],
    within: Duration,
) -> Result<Vec<DueSoon>, StoreError> {
    let rows = sqlx::query!(
        r#"-- due_soon
        SELECT s.shop_id AS "shop_id!", c.due_at AS "due_at?", clock_timestamp() AS "now!",
            h.due_at IS NOT NULL AS "hint!"
        FROM unnest($1::text[]) AS s(shop_id)
        LEFT JOIN LATERAL (SELECT due_at FROM due_checks
            WHERE shop_id = s.shop_id AND due_at <= statement_timestamp() + make_interval(secs => $2)
            ORDER BY due_at LIMIT 16) c ON true
        LEFT JOIN LATERAL (SELECT due_at FROM hinted_uids
            WHERE shop_id = s.shop_id AND due_at <= statement_timestamp()
            ORDER BY due_at LIMIT 1) h ON true
        WHERE c.due_at IS NOT NULL OR h.due_at IS NOT NULL"#,
        shops,
        within.as_secs_f64()
    )
    .fetch_all(store.pool())
    .await?;
    let due = rows.into_iter().map(|row| DueSoon {
        shop: row.shop_id,
        check: row.due_at.map(Timestamp::from),
        now: row.now.into(),
        hint: row.hint,
    });
    Ok(due.collect())
}

/// What gauges tell of one state of one shop.
#[derive(Debug, Clone)]
pub struct OpenTransactionsRow {
    /// The shop.
    pub shop: String,
    /// The state.
    pub state: State,
    /// How many are in it.
    pub count: i64,
    /// The age of the oldest, in seconds.
    pub oldest_seconds: f64,
}

/// Counts the open transactions of these shops by state. Shops without any are left out.
pub async fn open_gauges(
    store: &Store,
    shops: &[String],
) -> Result<Vec<OpenTransactionsRow>, StoreError> {
    let rows = sqlx::query!(
        r#"-- open_gauges
        SELECT shop_id, state, count(*) AS "count!",
            extract(epoch FROM clock_timestamp() - min(since))::float8 AS "oldest!"
        FROM due_checks WHERE shop_id = ANY($1) GROUP BY shop_id, state"#,
        shops
    )
    .fetch_all(store.pool())
    .await?;
    rows.into_iter()
        .map(|r| {
            let state = State::parse(&r.state)
                .ok_or_else(|| StoreError::inconsistent("due_checks", "state", &r.state))?;
            Ok(OpenTransactionsRow {
                shop: r.shop_id,
                state,
                count: r.count,
                oldest_seconds: r.oldest,
            })
        })
        .collect()
}

/// How much money is in doubt at a shop, in minor units.
#[derive(Debug, Clone)]
pub struct InDoubt {
    /// The shop.
    pub shop: String,
    /// The currency.
    pub currency: String,
    /// The type of the transactions.
    pub kind: String,
    /// Their sum.
    pub amount: i64,
}

/// How much money is in doubt at these shops, by currency and type.
pub async fn money_in_doubt(store: &Store, shops: &[String]) -> Result<Vec<InDoubt>, StoreError> {
    Ok(sqlx::query_as!(
        InDoubt,
        r#"-- money_in_doubt
        SELECT t.shop_id AS shop, coalesce(t.currency, '') AS "currency!", t.type AS kind,
            coalesce(sum(t.amount), 0)::bigint AS "amount!"
        FROM due_checks d JOIN transactions t ON t.shop_id = d.shop_id AND t.id = d.transaction_id
        WHERE d.shop_id = ANY($1) AND d.state = 'in_doubt' GROUP BY 1, 2, 3"#,
        shops
    )
    .fetch_all(store.pool())
    .await?)
}

/// How many checks of these shops are due, and how late the latest is, in seconds.
pub async fn lag(store: &Store, shops: &[String]) -> Result<(i64, f64), StoreError> {
    let row = sqlx::query!(
        r#"-- lag
        SELECT count(*) AS "due!",
            coalesce(extract(epoch FROM clock_timestamp() - min(due_at)), 0)::float8 AS "lag!"
        FROM due_checks WHERE shop_id = ANY($1) AND due_at <= statement_timestamp()"#,
        shops
    )
    .fetch_one(store.pool())
    .await?;
    Ok((row.due, row.lag))
}
