//! What all replicas share of a shop: the pause switch, the budget of requests to the gateway,
//! and when a look-up was last seen to work.

use crate::domain::{ShopId, Timestamp};
use crate::store::{Store, StoreError};
use sqlx::types::time::OffsetDateTime;

/// Makes sure that each shop has its row.
pub async fn ensure(store: &Store, shops: &[String]) -> Result<(), StoreError> {
    sqlx::query!(
        "-- ensure_shop_controls
        INSERT INTO shop_controls (shop_id) SELECT UNNEST($1::text[]) ON CONFLICT DO NOTHING",
        shops
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Whether new submits of a shop are stopped.
pub async fn is_paused(store: &Store, shop: &ShopId) -> Result<bool, StoreError> {
    let paused = sqlx::query_scalar!(
        "-- is_paused
        SELECT paused FROM shop_controls WHERE shop_id = $1",
        shop.as_str()
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(paused.unwrap_or(false))
}

/// Stops or allows new submits of a shop.
pub async fn set_paused(
    store: &Store,
    shop: &ShopId,
    paused: bool,
    by: &str,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- set_paused
        INSERT INTO shop_controls (shop_id, paused, paused_by) VALUES ($1, $2, $3)
        ON CONFLICT (shop_id) DO UPDATE SET paused = $2, paused_by = $3",
        shop.as_str(),
        paused,
        by
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Takes up to `wanted` requests out of a shop's budget: a bucket that fills at `rate` a second and
/// holds one second's worth, shared by all replicas. Returns how many were granted.
pub async fn take_budget(
    store: &Store,
    shop: &ShopId,
    rate: f64,
    wanted: i32,
) -> Result<i32, StoreError> {
    let granted = sqlx::query_scalar!(
        r#"-- take_budget
        WITH filled AS (
            SELECT least(greatest($2::float8, 1), tokens + $2 * greatest(0,
                extract(epoch FROM clock_timestamp() - tokens_at)::float8)) AS tokens
            FROM shop_controls WHERE shop_id = $1 FOR UPDATE
        )
        UPDATE shop_controls c
        SET tokens = filled.tokens - least(floor(filled.tokens), $3::int), tokens_at = clock_timestamp()
        FROM filled WHERE c.shop_id = $1
        RETURNING least(floor(filled.tokens), $3::int)::int AS "granted!""#,
        shop.as_str(),
        rate,
        wanted
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(granted.unwrap_or(0))
}

/// Records that a look-up by tracking id has found a transaction known to exist.
pub async fn lookup_worked(store: &Store, shop: &ShopId) -> Result<(), StoreError> {
    sqlx::query!(
        "-- lookup_worked
        INSERT INTO shop_controls (shop_id, lookup_worked_at) VALUES ($1, clock_timestamp())
        ON CONFLICT (shop_id) DO UPDATE SET lookup_worked_at = clock_timestamp()",
        shop.as_str()
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// When a look-up was last seen to work, and the server's time now.
pub async fn last_lookup_worked(
    store: &Store,
    shop: &ShopId,
) -> Result<(Option<Timestamp>, Timestamp), StoreError> {
    let row = sqlx::query!(
        r#"-- last_lookup_worked
        SELECT (SELECT lookup_worked_at FROM shop_controls WHERE shop_id = $1) AS "at?: OffsetDateTime",
            clock_timestamp() AS "now!""#,
        shop.as_str()
    )
    .fetch_one(store.pool())
    .await?;
    Ok((row.at.map(Timestamp::from), row.now.into()))
}

/// What this shop's gateway has been seen to do.
pub async fn capabilities(store: &Store, shop: &ShopId) -> Result<Vec<String>, StoreError> {
    let text = sqlx::query_scalar!(
        "-- capabilities
        SELECT capabilities FROM shop_controls WHERE shop_id = $1",
        shop.as_str()
    )
    .fetch_optional(store.pool())
    .await?;
    let text = text.unwrap_or_default();
    Ok(text
        .split(',')
        .filter(|word| !word.is_empty())
        .map(ToOwned::to_owned)
        .collect())
}

/// Notes that this shop's gateway has been seen to do something.
pub async fn add_capability(store: &Store, shop: &ShopId, word: &str) -> Result<(), StoreError> {
    sqlx::query!(
        "-- add_capability
        INSERT INTO shop_controls AS c (shop_id, capabilities) VALUES ($1, $2)
        ON CONFLICT (shop_id) DO UPDATE SET capabilities = c.capabilities || ',' || $2
        WHERE NOT $2 = ANY(string_to_array(c.capabilities, ','))",
        shop.as_str(),
        word
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Notes what a probe has seen. `dropped` are words, or what stands before the colon of words, that
/// hold no longer; of what was known, nothing else is touched.
pub async fn note_capabilities(
    store: &Store,
    shop: &ShopId,
    dropped: &[String],
    added: &[String],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- note_capabilities
        INSERT INTO shop_controls AS c (shop_id, capabilities)
        VALUES ($1, array_to_string($3::text[], ','))
        ON CONFLICT (shop_id) DO UPDATE SET capabilities = array_to_string(ARRAY(
            SELECT word FROM UNNEST(string_to_array(c.capabilities, ',')) AS known(word)
            WHERE NOT word = ANY($2) AND NOT split_part(word, ':', 1) = ANY($2)
            UNION SELECT UNNEST($3::text[])
        ), ',')",
        shop.as_str(),
        dropped,
        added
    )
    .execute(store.pool())
    .await?;
    Ok(())
}
