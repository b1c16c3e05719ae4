//! How far each subscriber has been served from a shop's feed, and what it has not taken yet.
//!
//! The lease of a cursor lets one replica serve a subscriber at a time. Only who holds it moves the
//! cursor, so that whatever a late holder did is at worst told twice and never left out.

use crate::store::feed::EventRow;
use crate::store::{Store, StoreError};
use domain::{ShopId, Timestamp};
use sqlx::types::time::OffsetDateTime;
use std::time::Duration;
use uuid::Uuid;

/// Which subscribers are told of which shops: each shop beside one subscriber.
#[derive(Debug, Clone, Default)]
pub struct Covered {
    /// The shops.
    pub shops: Vec<String>,
    /// The subscriber of each.
    pub subscribers: Vec<String>,
}

impl Covered {
    /// Adds a subscriber of a shop.
    pub fn push(&mut self, shop: &ShopId, subscriber: &str) {
        self.shops.push(shop.to_string());
        self.subscribers.push(subscriber.to_owned());
    }

    /// One subscriber of one shop.
    pub fn one(shop: &ShopId, subscriber: &str) -> Self {
        let mut covered = Self::default();
        covered.push(shop, subscriber);
        covered
    }
}

/// Whose cursor, under which lease.
#[derive(Debug, Clone)]
pub struct CursorLease {
    /// The shop.
    pub shop: ShopId,
    /// The subscriber's name.
    pub subscriber: String,
    /// The fencing token.
    pub token: Uuid,
    /// How long the lease lasts from each renewal.
    pub lease: Duration,
}

/// A delivery that failed, and when it is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct FailedDelivery {
    /// Which event.
    pub seq: i64,
    /// How often it has been tried now.
    pub tries: i32,
    /// How long until the next try.
    pub delay: Duration,
    /// What the last try came to.
    pub error: String,
}

/// What became of events since the last settlement.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CursorCheckpoint {
    /// Everything before this one is taken, passed over or among the failed.
    pub next_seq: i64,
    /// What is tried again.
    pub failed: Vec<FailedDelivery>,
    /// What need not be tried any more.
    pub done: Vec<i64>,
}

/// An event that is tried again.
#[derive(Debug, Clone)]
pub struct DueRetry {
    /// Which event.
    pub seq: i64,
    /// How often it was tried.
    pub tries: i32,
    /// The event; `None` when it is no longer kept.
    pub event: Option<EventRow>,
}

/// Makes sure that each of these subscribers has a cursor at its shop. A new one begins behind the feed's end: it
/// is told what follows.
pub async fn ensure_rows(store: &Store, covered: &Covered) -> Result<(), StoreError> {
    sqlx::query!(
        "-- ensure_cursors
        INSERT INTO subscriber_cursors (shop_id, subscriber, next_seq)
        SELECT s.shop_id, s.name, coalesce((SELECT last_seq FROM shop_feeds f WHERE f.shop_id = s.shop_id), 0) + 1
        FROM UNNEST($1::text[], $2::text[]) AS s(shop_id, name)
        ON CONFLICT (shop_id, subscriber) DO NOTHING",
        &covered.shops,
        &covered.subscribers
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// To whom of these something is to be delivered now, and whom nobody serves.
pub async fn waiting(
    store: &Store,
    covered: &Covered,
) -> Result<Vec<(String, String)>, StoreError> {
    let rows = sqlx::query!(
        "-- undelivered
        SELECT c.shop_id, c.subscriber FROM UNNEST($1::text[], $2::text[]) AS s(shop_id, subscriber)
        JOIN subscriber_cursors c ON c.shop_id = s.shop_id AND c.subscriber = s.subscriber
        LEFT JOIN shop_feeds f ON f.shop_id = c.shop_id
        WHERE NOT c.disabled AND (c.lease IS NULL OR c.lease_until < statement_timestamp())
          AND (coalesce(f.last_seq, 0) >= c.next_seq OR EXISTS (SELECT 1 FROM deliveries d
            WHERE d.shop_id = c.shop_id AND d.subscriber = c.subscriber AND d.due_at <= statement_timestamp()))",
        &covered.shops,
        &covered.subscribers
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.shop_id, row.subscriber))
        .collect())
}

/// Takes the lease when nobody has it. Gives the next event to be taken up.
pub async fn lease(store: &Store, holder: &CursorLease) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- lease_cursor
        UPDATE subscriber_cursors
        SET lease = $3, lease_until = clock_timestamp() + make_interval(secs => $4)
        WHERE shop_id = $1 AND subscriber = $2 AND NOT disabled
          AND (lease IS NULL OR lease_until < statement_timestamp())
        RETURNING next_seq",
        holder.shop.as_str(),
        holder.subscriber,
        holder.token,
        holder.lease.as_secs_f64()
    )
    .fetch_optional(store.pool())
    .await?)
}

/// Gives the lease back.
pub async fn release(store: &Store, holder: &CursorLease) -> Result<(), StoreError> {
    sqlx::query!(
        "-- release_cursor
        UPDATE subscriber_cursors SET lease = NULL, lease_until = NULL
        WHERE shop_id = $1 AND subscriber = $2 AND lease = $3",
        holder.shop.as_str(),
        holder.subscriber,
        holder.token
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Stops to serve a subscriber that wants no more, and gives the lease back. The cursor stays, so
/// that nothing is lost when it is enabled again.
pub async fn disable(store: &Store, holder: &CursorLease) -> Result<bool, StoreError> {
    let done = sqlx::query!(
        "-- disable_cursor
        UPDATE subscriber_cursors SET disabled = true, lease = NULL, lease_until = NULL
        WHERE shop_id = $1 AND subscriber = $2 AND lease = $3",
        holder.shop.as_str(),
        holder.subscriber,
        holder.token
    )
    .execute(store.pool())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes down what became of events, moves the cursor and renews the lease, all in one statement.
/// `false` when the lease is lost: then nothing is written. May be repeated.
pub async fn save_checkpoint(
    store: &Store,
    holder: &CursorLease,
    settled: &CursorCheckpoint,
) -> Result<bool, StoreError> {
    let failed = &settled.failed;
    let held = sqlx::query_scalar!(
        r#"-- settle_deliveries
        WITH held AS (
            UPDATE subscriber_cursors SET next_seq = greatest(next_seq, $4),
                lease_until = clock_timestamp() + make_interval(secs => $5)
            WHERE shop_id = $1 AND subscriber = $2 AND lease = $3
            RETURNING true AS held
        ), put AS (
            INSERT INTO deliveries (shop_id, subscriber, seq, tries, due_at, last_error)
            SELECT $1, $2, f.seq, f.tries, clock_timestamp() + make_interval(secs => f.delay), f.error
            FROM held, UNNEST($6::bigint[], $7::int[], $8::float8[], $9::text[])
                AS f(seq, tries, delay, error)
            ON CONFLICT (shop_id, subscriber, seq) DO UPDATE
            SET tries = excluded.tries, due_at = excluded.due_at, last_error = excluded.last_error
        ), dropped AS (
            DELETE FROM deliveries USING held
            WHERE shop_id = $1 AND subscriber = $2 AND seq = ANY($10::bigint[])
        )
        SELECT held AS "held!" FROM held"#,
        holder.shop.as_str(),
        holder.subscriber,
        holder.token,
        settled.next_seq,
        holder.lease.as_secs_f64(),
        &failed.iter().map(|f| f.seq).collect::<Vec<_>>(),
        &failed.iter().map(|f| f.tries).collect::<Vec<_>>(),
        &failed
            .iter()
            .map(|f| f.delay.as_secs_f64())
            .collect::<Vec<_>>(),
        &failed.iter().map(|f| f.error.as_str()).collect::<Vec<_>>() as &[&str],
        &settled.done
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(held.unwrap_or(false))
}

/// Whether there is anything to do: the last event of the feed, and whether a failed one is due.
pub async fn poll(store: &Store, holder: &CursorLease) -> Result<(i64, bool), StoreError> {
    let row = sqlx::query!(
        r#"-- look_for_deliveries
        SELECT coalesce((SELECT last_seq FROM shop_feeds WHERE shop_id = $1), 0) AS "last_seq!",
            EXISTS (SELECT 1 FROM deliveries WHERE shop_id = $1 AND subscriber = $2
                AND due_at <= statement_timestamp()) AS "due!""#,
        holder.shop.as_str(),
        holder.subscriber
    )
    .fetch_one(store.pool())
    .await?;
    Ok((row.last_seq, row.due))
}

/// Events from a number on. The payloads of kinds that are not wanted are left out.
pub async fn events_from(
    store: &Store,
    shop: &ShopId,
    seq: i64,
    kinds: &[String],
    limit: i64,
) -> Result<Vec<EventRow>, StoreError> {
    let rows = sqlx::query!(
        r#"-- events_from
        SELECT seq, type AS kind, at, transaction_id,
            CASE WHEN type = ANY($3) THEN payload ELSE '' END AS "payload!"
        FROM events WHERE shop_id = $1 AND seq >= $2 ORDER BY seq LIMIT $4"#,
        shop.as_str(),
        seq,
        kinds,
        limit
    )
    .fetch_all(store.pool())
    .await?;
    let event = |seq, kind, at: OffsetDateTime, transaction_id, payload| EventRow {
        seq,
        kind,
        at: at.into(),
        transaction_id,
        payload,
    };
    Ok(rows
        .into_iter()
        .map(|r| event(r.seq, r.kind, r.at, r.transaction_id, r.payload))
        .collect())
}

/// Failed deliveries that are due, the longest due first, without those in hand.
pub async fn due_retries(
    store: &Store,
    holder: &CursorLease,
    in_hand: &[i64],
    limit: i64,
) -> Result<Vec<DueRetry>, StoreError> {
    let rows = sqlx::query!(
        r#"-- due_deliveries
        SELECT d.seq, d.tries, e.type AS "kind?", e.at AS "at?", e.transaction_id AS "transaction_id?",
            e.payload AS "payload?"
        FROM deliveries d LEFT JOIN events e ON e.shop_id = $1 AND e.seq = d.seq
        WHERE d.shop_id = $1 AND d.subscriber = $2 AND d.due_at <= statement_timestamp()
          AND d.seq <> ALL($3)
        ORDER BY d.due_at LIMIT $4"#,
        holder.shop.as_str(),
        holder.subscriber,
        in_hand,
        limit
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| DueRetry {
            seq: r.seq,
            tries: r.tries,
            event: r
                .kind
                .zip(r.at)
                .zip(r.payload)
                .map(|((kind, at), payload)| EventRow {
                    seq: r.seq,
                    kind,
                    at: at.into(),
                    transaction_id: r.transaction_id,
                    payload,
                }),
        })
        .collect())
}

/// What a subscriber has not been told of a shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The shop.
    pub shop: String,
    /// The subscriber's name.
    pub subscriber: String,
    /// Events behind the cursor and deliveries that wait.
    pub pending: i64,
    /// Whether it wants no more.
    pub disabled: bool,
}

/// What these subscribers have not been told.
pub async fn backlog(store: &Store, covered: &Covered) -> Result<Vec<Backlog>, StoreError> {
    Ok(sqlx::query_as!(
        Backlog,
        r#"-- backlog
        SELECT c.shop_id AS shop, c.subscriber, c.disabled,
            greatest(coalesce((SELECT last_seq FROM shop_feeds f WHERE f.shop_id = c.shop_id), 0) + 1 - c.next_seq, 0)
            + (SELECT count(*) FROM deliveries d WHERE d.shop_id = c.shop_id AND d.subscriber = c.subscriber)
            AS "pending!"
        FROM UNNEST($1::text[], $2::text[]) AS s(shop_id, subscriber)
        JOIN subscriber_cursors c ON c.shop_id = s.shop_id AND c.subscriber = s.subscriber"#,
        &covered.shops,
        &covered.subscribers
    )
    .fetch_all(store.pool())
    .await?)
}

/// Which events are told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplaySelection {
    /// Those after a number.
    After(i64),
    /// Those of a moment and later.
    Since(Timestamp),
    /// Those of one transaction.
    About(Uuid),
}

/// Makes a portion of events due once more, in order from `from` on, and enables the subscriber.
/// What its cursor has not passed yet is told anyway. Gives their numbers.
pub async fn replay(
    store: &Store,
    shop: &ShopId,
    subscriber: &str,
    kinds: &[String],
    again: ReplaySelection,
    from: i64,
) -> Result<Vec<i64>, StoreError> {
    let (after, since, about) = match again {
        ReplaySelection::After(seq) => (Some(seq), None, None),
        ReplaySelection::Since(at) => (None, Some(OffsetDateTime::from(at)), None),
        ReplaySelection::About(id) => (None, None, Some(id)),
    };
    let mut seqs = sqlx::query_scalar!(
        "-- replay_deliveries
        WITH cursor AS (
            UPDATE subscriber_cursors SET disabled = false WHERE shop_id = $1 AND subscriber = $2
            RETURNING next_seq
        )
        INSERT INTO deliveries (shop_id, subscriber, seq, due_at)
        SELECT $1, $2, e.seq, clock_timestamp() FROM events e, cursor
        WHERE e.shop_id = $1 AND e.type = ANY($3) AND e.seq >= $4 AND e.seq < cursor.next_seq
          AND e.seq > coalesce($5::bigint, 0) AND ($6::timestamptz IS NULL OR e.at >= $6)
          AND ($7::uuid IS NULL OR e.transaction_id = $7)
        ORDER BY e.seq LIMIT 5000
        ON CONFLICT (shop_id, subscriber, seq) DO UPDATE
        SET tries = 0, due_at = excluded.due_at, last_error = NULL
        RETURNING seq",
        shop.as_str(),
        subscriber,
        kinds,
        from,
        after,
        since,
        about
    )
    .fetch_all(store.pool())
    .await?;
    seqs.sort_unstable();
    Ok(seqs)
}
