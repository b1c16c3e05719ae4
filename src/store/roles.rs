//! What the role of the service may do.

use crate::store::{Store, StoreError};

/// Whether the role of this connection could change or remove evidence.
pub async fn may_rewrite_evidence(store: &Store) -> Result<bool, StoreError> {
    let may = sqlx::query_scalar!(
        "-- may_rewrite_evidence
        SELECT has_table_privilege('evidence', 'UPDATE') OR has_table_privilege('evidence', 'DELETE')
            OR has_table_privilege('evidence', 'TRUNCATE')"
    )
    .fetch_one(store.pool())
    .await?;
    Ok(may.unwrap_or(false))
}
