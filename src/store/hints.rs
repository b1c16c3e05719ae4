//! Uids that unsigned webhooks named, to be looked up: at most once a minute each, and at most so many at once.

use crate::store::{Store, StoreError, uids};
use domain::ShopId;
use sqlx::types::time::OffsetDateTime;
use std::time::Duration;

/// So many of ours wait at a shop at most, and so many of others: they do not shut out ours.
const MOST: i64 = 1_000;

/// A uid that is looked up now.
#[derive(Debug, Clone)]
pub struct Hint {
    /// The gateway's uid.
    pub uid: String,
    /// The token of this look: when it began.
    asked_at: OffsetDateTime,
}

/// Whether a webhook's uid is one that may be looked up: 1 to 64 letters, digits, `-` and `_`.
pub fn is_plain(uid: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&uid.len()) && uid.bytes().all(plain)
}

/// Makes a look-up of a uid due. `tracking_id` is the name that the webhook gives it. Returns `false` when too
/// many wait already.
pub async fn save(
    store: &Store,
    shop: &ShopId,
    uid: &str,
    tracking_id: Option<&str>,
) -> Result<bool, StoreError> {
    let put = sqlx::query_scalar!(
        r#"-- put_hint
        WITH new AS (
            SELECT EXISTS (SELECT 1 FROM uids WHERE shop_id = $1 AND key = $4)
                OR EXISTS (SELECT 1 FROM transactions
                    WHERE shop_id = $1 AND tracking_id = $3 AND origin = 'api') AS ours
        )
        INSERT INTO hinted_uids AS h (shop_id, uid, ours, hinted_at, due_at)
        SELECT $1, $2, new.ours, clock_timestamp(), clock_timestamp() FROM new
        WHERE (SELECT count(*) FROM hinted_uids
                WHERE shop_id = $1 AND due_at IS NOT NULL AND ours = new.ours) < $5
            OR EXISTS (SELECT 1 FROM hinted_uids
                WHERE shop_id = $1 AND uid = $2 AND due_at IS NOT NULL)
        ON CONFLICT (shop_id, uid) DO UPDATE SET ours = h.ours OR excluded.ours,
            hinted_at = excluded.hinted_at, due_at = coalesce(h.due_at,
                greatest(excluded.due_at, h.asked_at + interval '1 minute'))
        RETURNING true AS "put!""#,
        shop.as_str(),
        uid,
        tracking_id,
        uids::key(uid),
        MOST
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(put.is_some())
}

/// Takes uids that are due, for a while. `foreign`: those that nobody here knows, at most so many in ten
/// seconds over all replicas, and only while nothing else of the shop is due; else those of ours. (A bound that
/// an index can use must not be volatile, as `clock_timestamp()` is.)
pub async fn lease(
    store: &Store,
    shop: &ShopId,
    foreign: Option<i64>,
    limit: i64,
    lease: Duration,
) -> Result<Vec<Hint>, StoreError> {
    Ok(sqlx::query_as!(
        Hint,
        r#"-- lease_hints
        WITH due AS (
            SELECT uid FROM hinted_uids
            WHERE shop_id = $1 AND due_at <= statement_timestamp() AND ours = ($2::bigint IS NULL)
              AND ($2::bigint IS NULL OR (
                NOT EXISTS (SELECT 1 FROM due_checks WHERE shop_id = $1 AND due_at <= statement_timestamp())
                AND (SELECT count(*) FROM hinted_uids WHERE shop_id = $1 AND NOT ours
                    AND asked_at > clock_timestamp() - interval '10 seconds') < $2))
            ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE hinted_uids h SET asked_at = clock_timestamp(),
            due_at = clock_timestamp() + make_interval(secs => $4)
        FROM due WHERE h.shop_id = $1 AND h.uid = due.uid
        RETURNING h.uid, h.asked_at AS "asked_at!""#,
        shop.as_str(),
        foreign,
        limit,
        lease.as_secs_f64()
    )
    .fetch_all(store.pool())
    .await?)
}

/// Notes that a uid was looked up. One that told nothing, and one that was named again meanwhile, is looked up
/// once more a minute after; what has told nothing for a day is let go.
pub async fn mark_done(
    store: &Store,
    shop: &ShopId,
    hint: &Hint,
    told: bool,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- hint_done
        UPDATE hinted_uids SET due_at = CASE
            WHEN hinted_at > asked_at OR (NOT $4 AND hinted_at > clock_timestamp() - interval '1 day')
            THEN asked_at + interval '1 minute' END
        WHERE shop_id = $1 AND uid = $2 AND asked_at = $3",
        shop.as_str(),
        hint.uid,
        hint.asked_at,
        told
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Removes those that were looked up, when they may be looked up again.
pub async fn forget(store: &Store, shops: &[String]) -> Result<(), StoreError> {
    sqlx::query!(
        "-- forget_hints
        DELETE FROM hinted_uids
        WHERE shop_id = ANY($1) AND due_at IS NULL AND asked_at < clock_timestamp() - interval '1 minute'",
        shops
    )
    .execute(store.slow_pool())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_uid_is_accepted_as_a_hint() {
        for good in [
            "a",
            "2623d115-aa60-4c03-b889-07b1c9a4a63b",
            "A_9",
            &"x".repeat(64),
        ] {
            assert!(is_plain(good), "{good}");
        }
        for bad in ["", "a/b", "../x", "a b", "\u{436}", "a.b", &"x".repeat(65)] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
