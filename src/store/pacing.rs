//! What was learned of the time to final, a row for each shop and type.

use crate::store::{Store, StoreError};
use domain::forecast::LatencyHistory;
use domain::{ShopId, TransactionType};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;

/// All that is stored of a shop and can be used. The rest is told of when it is written anew.
pub async fn load(
    store: &Store,
    shop: &ShopId,
) -> Result<Vec<(TransactionType, LatencyHistory)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- load_pacing
        SELECT type AS kind, counts, told, missed, at FROM pacing WHERE shop_id = $1"#,
        shop.as_str()
    )
    .fetch_all(store.pool())
    .await?;
    let sound = rows.into_iter().filter_map(|r| {
        let kind = TransactionType::parse(&r.kind)?;
        let stored = LatencyHistory::restore(&r.counts, r.told, r.missed, r.at.into())?;
        Some((kind, stored))
    });
    Ok(sound.collect())
}

/// Locks the row of a shop and type, which it makes where there is none, and reads it. `None`: what it
/// holds cannot be used.
pub async fn lock(
    conn: &mut PgConnection,
    shop: &ShopId,
    kind: TransactionType,
) -> Result<Option<LatencyHistory>, StoreError> {
    let row = sqlx::query!(
        "-- lock_pacing
        INSERT INTO pacing AS p (shop_id, type, counts, told, missed, at)
        VALUES ($1, $2, '{}', 0, 0, 'epoch')
        ON CONFLICT (shop_id, type) DO UPDATE SET at = p.at
        RETURNING counts, told, missed, at",
        shop.as_str(),
        kind.as_str()
    )
    .fetch_one(conn)
    .await?;
    if row.counts.is_empty() {
        return Ok(Some(LatencyHistory::default()));
    }
    let at = row.at.into();
    Ok(LatencyHistory::restore(
        &row.counts,
        row.told,
        row.missed,
        at,
    ))
}

/// Writes a locked row.
pub async fn save(
    conn: &mut PgConnection,
    shop: &ShopId,
    kind: TransactionType,
    experience: &LatencyHistory,
) -> Result<(), StoreError> {
    let (told, missed) = experience.webhook_hits_and_misses();
    sqlx::query!(
        "-- put_pacing
        UPDATE pacing SET counts = $3, told = $4, missed = $5, at = $6
        WHERE shop_id = $1 AND type = $2",
        shop.as_str(),
        kind.as_str(),
        experience.counts(),
        told,
        missed,
        OffsetDateTime::from(experience.at())
    )
    .execute(conn)
    .await?;
    Ok(())
}
