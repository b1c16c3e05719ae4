//! The feed of events, read in commit order.

use crate::store::{Store, StoreError};
use domain::{ShopId, Timestamp};
use uuid::Uuid;

/// An event as it is stored.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Consecutive per shop.
    pub seq: i64,
    /// `transaction.updated`, …
    pub kind: String,
    /// When.
    pub at: Timestamp,
    /// About which transaction.
    pub transaction_id: Option<Uuid>,
    /// The object as it was then (JSON).
    pub payload: String,
}

/// What is kept of a shop's feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedBounds {
    /// The first number that is kept.
    pub first: i64,
    /// The last number given.
    pub last: i64,
}

/// The bounds of a shop's feed; empty before its first event.
pub async fn bounds(store: &Store, shop: &ShopId) -> Result<FeedBounds, StoreError> {
    let row = sqlx::query!(
        "-- feed_bounds
        SELECT first_seq, last_seq FROM shop_feeds WHERE shop_id = $1",
        shop.as_str()
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(
        row.map_or(FeedBounds { first: 1, last: 0 }, |r| FeedBounds {
            first: r.first_seq,
            last: r.last_seq,
        }),
    )
}

/// Events after a number, in commit order.
pub async fn after(
    store: &Store,
    shop: &ShopId,
    after: i64,
    limit: i64,
) -> Result<Vec<EventRow>, StoreError> {
    let rows = sqlx::query!(
        "-- events_after
        SELECT seq, type AS kind, at, transaction_id, payload FROM events
        WHERE shop_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
        shop.as_str(),
        after,
        limit
    )
    .fetch_all(store.pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| EventRow {
            seq: r.seq,
            kind: r.kind,
            at: r.at.into(),
            transaction_id: r.transaction_id,
            payload: r.payload,
        })
        .collect())
}
