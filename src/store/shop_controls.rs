//! What all replicas share of a shop: the pause switch, the budget of requests to the gateway,
//! and what its gateway has been seen to do.

use crate::store::{Store, StoreError};
use domain::ShopId;
use domain::absence::Ability;
use sqlx::types::time::OffsetDateTime;
use std::time::Duration;
use uuid::Uuid;

/// Makes sure that each shop has its row.
pub async fn ensure_rows(store: &Store, shops: &[String]) -> Result<(), StoreError> {
    sqlx::query!(
        "-- ensure_shop_controls
        INSERT INTO shop_controls (shop_id) SELECT UNNEST($1::text[]) ON CONFLICT DO NOTHING",
        shops
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// A shop that is not among these and has transactions which have not ended.
pub async fn forgotten_shop(store: &Store, shops: &[String]) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- forgotten_shop
        SELECT shop_id FROM due_checks WHERE NOT shop_id = ANY($1)
            AND state IN ('accepted', 'submitting', 'processing', 'pending', 'in_doubt') LIMIT 1",
        shops
    )
    .fetch_optional(store.pool())
    .await?)
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

/// How the gateway has taken a shop's key of late.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyTaken {
    /// How many refusals in a row there are.
    pub refusals: i32,
    /// Whether the submit that may try the key is due.
    pub is_probe_due: bool,
}

/// How the gateway has taken the key of this shop's submits, over all replicas.
pub async fn key_taken(store: &Store, shop: &ShopId) -> Result<KeyTaken, StoreError> {
    let taken = sqlx::query_as!(
        KeyTaken,
        r#"-- key_taken
        SELECT key_refusals AS refusals,
            (key_probe_at IS NULL OR key_probe_at <= clock_timestamp()) AS "is_probe_due!"
        FROM shop_controls WHERE shop_id = $1"#,
        shop.as_str()
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(taken.unwrap_or_default())
}

/// The shops of which the gateway has refused the key so often.
pub async fn refused_keys(
    store: &Store,
    shops: &[String],
    threshold: i32,
) -> Result<Vec<String>, StoreError> {
    let refused = sqlx::query_scalar!(
        "-- refused_keys
        SELECT shop_id FROM shop_controls WHERE shop_id = ANY($1) AND key_refusals >= $2",
        shops,
        threshold
    );
    Ok(refused.fetch_all(store.pool()).await?)
}

/// Takes the one submit that may try the key, where it is due; `false` when it is not.
pub async fn take_key_probe(
    store: &Store,
    shop: &ShopId,
    pause: Duration,
) -> Result<bool, StoreError> {
    let taken = sqlx::query!(
        "-- take_key_probe
        UPDATE shop_controls SET key_probe_at = clock_timestamp() + make_interval(secs => $2)
        WHERE shop_id = $1 AND (key_probe_at IS NULL OR key_probe_at <= clock_timestamp())",
        shop.as_str(),
        pause.as_secs_f64()
    )
    .execute(store.pool())
    .await?;
    Ok(taken.rows_affected() > 0)
}

/// How many refusals in a row there were, and are.
#[derive(Debug, Clone, Copy)]
pub struct Refusals {
    /// Before this answer.
    pub before: i32,
    /// With this answer.
    pub now: i32,
}

/// Notes how the gateway took the key of a submit. Where it is taken as ever, nothing is written.
pub async fn note_key(
    store: &Store,
    shop: &ShopId,
    refused: bool,
    threshold: i32,
    pause: Duration,
) -> Result<Refusals, StoreError> {
    let noted = sqlx::query!(
        r#"-- note_key
        WITH known AS (
            SELECT key_refusals AS before FROM shop_controls WHERE shop_id = $1 FOR UPDATE
        )
        UPDATE shop_controls c
        SET key_refusals = CASE WHEN $2 THEN least(known.before + 1, 1000000) ELSE 0 END,
            key_probe_at = CASE WHEN $2 AND known.before + 1 >= $3
                THEN clock_timestamp() + make_interval(secs => $4) END
        FROM known WHERE c.shop_id = $1 AND (known.before > 0 OR $2)
        RETURNING known.before AS "before!", c.key_refusals AS now"#,
        shop.as_str(),
        refused,
        threshold,
        pause.as_secs_f64()
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(
        noted.map_or(Refusals { before: 0, now: 0 }, |noted| Refusals {
            before: noted.before,
            now: noted.now,
        }),
    )
}

/// Takes up to `wanted` requests out of a shop's budget: a bucket that fills at `rate` a second and
/// holds one second's worth, shared by all replicas. Returns how many were granted. A shop without a row
/// gets one: what is missing is no empty bucket.
pub async fn take_budget(
    store: &Store,
    shop: &ShopId,
    rate: f64,
    wanted: i32,
) -> Result<i32, StoreError> {
    if let Some(granted) = take(store, shop, rate, wanted).await? {
        return Ok(granted);
    }
    ensure_rows(store, &[shop.to_string()]).await?;
    let granted = take(store, shop, rate, wanted).await?;
    granted.ok_or(StoreError::Unavailable(sqlx::Error::RowNotFound))
}

async fn take(
    store: &Store,
    shop: &ShopId,
    rate: f64,
    wanted: i32,
) -> Result<Option<i32>, StoreError> {
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
    Ok(granted)
}

/// What this shop's gateway has been seen to do. Each names the evidence that taught it.
pub async fn abilities(store: &Store, shop: &ShopId) -> Result<Vec<Ability>, StoreError> {
    let rows = sqlx::query!(
        "-- abilities
        SELECT ability, transaction_id, evidence_id, at FROM shop_abilities WHERE shop_id = $1
        ORDER BY ability",
        shop.as_str()
    )
    .fetch_all(store.pool())
    .await?;
    let ability = |row| {
        let (word, transaction, evidence, at): (String, Uuid, Uuid, OffsetDateTime) = row;
        Ability {
            word,
            transaction,
            evidence,
            at: at.into(),
        }
    };
    let rows = rows.into_iter();
    Ok(rows
        .map(|r| ability((r.ability, r.transaction_id, r.evidence_id, r.at)))
        .collect())
}

/// Notes what a piece of evidence has taught, as of when it was answered. What is not stored teaches
/// nothing; what is not newer by `apart` teaches nothing new, so that a busy shop's control does not
/// outrun the look-ups that it stands between.
pub async fn teach(
    store: &Store,
    shop: &ShopId,
    ability: &str,
    transaction: Uuid,
    evidence: Uuid,
    apart: Duration,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- teach
        INSERT INTO shop_abilities AS known (shop_id, ability, transaction_id, evidence_id, at)
        SELECT e.shop_id, $2, e.transaction_id, e.id, e.received_at FROM evidence e
        WHERE e.shop_id = $1 AND e.transaction_id = $3 AND e.id = $4
        ON CONFLICT (shop_id, ability) DO UPDATE SET transaction_id = excluded.transaction_id,
            evidence_id = excluded.evidence_id, at = excluded.at
        WHERE known.at < excluded.at - make_interval(secs => $5)",
        shop.as_str(),
        ability,
        transaction,
        evidence,
        apart.as_secs_f64()
    )
    .execute(store.pool())
    .await?;
    Ok(())
}

/// Notes what a probe has seen. `dropped` are words, or what stands before the colon of words, that
/// hold no longer; of what was known, nothing else is touched.
pub async fn replace_capabilities(
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
