//! Requests that wait to be sent, sealed, and the keys that may not be dropped while something names them.

use crate::store::{Store, StoreError};
use domain::ShopId;
use sqlx::PgConnection;
use uuid::Uuid;

/// A sealed request, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// The transaction that it is to open.
    pub transaction_id: Uuid,
    /// The id of the key.
    pub key_id: String,
    /// What was sealed.
    pub sealed: Vec<u8>,
}

/// Stores requests that may have to be sent later; one that a transaction has already gives way.
pub async fn put_waiting(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[WaitingRow],
) -> Result<(), StoreError> {
    let mut rows: Vec<&WaitingRow> = rows.iter().collect();
    // A fixed order, as for transactions.
    rows.sort_unstable_by_key(|row| row.transaction_id);
    let ids: Vec<Uuid> = rows.iter().map(|row| row.transaction_id).collect();
    let keys: Vec<&str> = rows.iter().map(|row| row.key_id.as_str()).collect();
    let sealed: Vec<&[u8]> = rows.iter().map(|row| row.sealed.as_slice()).collect();
    sqlx::query!(
        "-- put_waiting
        INSERT INTO waiting_requests (shop_id, transaction_id, key_id, sealed)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::text[], $4::bytea[])
        ON CONFLICT (shop_id, transaction_id)
            DO UPDATE SET key_id = EXCLUDED.key_id, sealed = EXCLUDED.sealed",
        shop.as_str(),
        &ids,
        &keys as &[&str],
        &sealed as &[&[u8]],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Removes requests that can be sent no more.
pub async fn drop_waiting(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- drop_waiting
        DELETE FROM waiting_requests WHERE ctid = ANY (ARRAY(
            SELECT w.ctid FROM UNNEST($2::uuid[]) AS k(id)
            CROSS JOIN LATERAL (
                SELECT ctid FROM waiting_requests
                WHERE shop_id = $1 AND transaction_id >= k.id AND transaction_id <= k.id
                ORDER BY transaction_id LIMIT 1) w))",
        shop.as_str(),
        ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The sealed request of a transaction.
pub async fn waiting(
    store: &Store,
    shop: &ShopId,
    transaction_id: Uuid,
) -> Result<Option<WaitingRow>, StoreError> {
    Ok(sqlx::query_as!(
        WaitingRow,
        "-- waiting
        SELECT transaction_id, key_id, sealed FROM waiting_requests
        WHERE shop_id = $1 AND transaction_id = $2",
        shop.as_str(),
        transaction_id
    )
    .fetch_optional(store.pool())
    .await?)
}

/// Removes requests of transactions that have gone on without anybody removing them: a replica of a release that
/// seals nothing has no word for them.
pub async fn forget(store: &Store, shops: &[String]) -> Result<(), StoreError> {
    sqlx::query!(
        "-- forget_waiting
        DELETE FROM waiting_requests w USING transactions t
        WHERE w.shop_id = ANY($1) AND t.shop_id = w.shop_id AND t.id = w.transaction_id
          AND t.state NOT IN ('accepted', 'submitting', 'in_doubt')",
        shops
    )
    .execute(store.slow_pool())
    .await?;
    Ok(())
}

/// The ids of the keys that a kept fingerprint or a sealed request of these shops names.
pub async fn keys_in_use(store: &Store, shops: &[String]) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- keys_in_use
        SELECT DISTINCT key_id FROM fingerprint_keys WHERE shop_id = ANY($1::text[]) ORDER BY key_id",
        shops
    )
    .fetch_all(store.pool())
    .await?)
}
