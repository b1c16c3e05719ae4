//! What programs of earlier releases have written, page by page.

use crate::store::{Store, StoreError};
use domain::ShopId;
use domain::earlier::RULES;
use std::time::Duration;
use uuid::Uuid;

/// Where the round of a shop goes on; `None` while none is due.
pub async fn place(
    store: &Store,
    shop: &ShopId,
    apart: Duration,
) -> Result<Option<Uuid>, StoreError> {
    let row = sqlx::query!(
        r#"-- looked_over_to
        SELECT looked_over_to, coalesce(looked_over_at < statement_timestamp() - make_interval(secs => $2),
            true) AS "due!"
        FROM shop_controls WHERE shop_id = $1"#,
        shop.as_str(),
        apart.as_secs_f64()
    )
    .fetch_optional(store.slow_pool())
    .await?;
    Ok(row.and_then(|row| match row.looked_over_to {
        Some(to) => Some(to),
        None => row.due.then(Uuid::nil),
    }))
}

/// Notes where the round goes on; `None` ends it.
pub async fn passed(store: &Store, shop: &ShopId, to: Option<Uuid>) -> Result<(), StoreError> {
    sqlx::query!(
        "-- looked_over
        UPDATE shop_controls SET looked_over_to = $2,
            looked_over_since = CASE WHEN looked_over_to IS NULL THEN statement_timestamp()
                ELSE looked_over_since END,
            looked_over_at = CASE WHEN $2::uuid IS NULL
                THEN coalesce(looked_over_since, statement_timestamp()) ELSE looked_over_at END
        WHERE shop_id = $1",
        shop.as_str(),
        to
    )
    .execute(store.slow_pool())
    .await?;
    Ok(())
}

/// The next transactions of a shop, and which of them are final as a program of an earlier release left them, or were
/// taken over since by whatever touched them first. What
/// was looked over before is left out: what has not changed since a week before the last round began.
pub async fn page(
    store: &Store,
    shop: &ShopId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<(Uuid, bool)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- written_before
        SELECT id, finalized_at IS NOT NULL
            AND updated_at > coalesce((SELECT looked_over_at FROM shop_controls WHERE shop_id = $1)
                - interval '7 days', '-infinity')
            AND (NOT starts_with(summary, $4) OR position('"eb":{' IN summary) > 0) AS "is_old!"
        FROM transactions WHERE shop_id = $1 AND id > $2 ORDER BY id LIMIT $3"#,
        shop.as_str(),
        after,
        limit,
        format!("{{\"wr\":[{RULES},")
    )
    .fetch_all(store.slow_pool())
    .await?;
    Ok(rows.into_iter().map(|r| (r.id, r.is_old)).collect())
}

/// An answer to a request or a look-up of ours, as it is kept.
#[derive(Debug)]
pub struct KeptAnswer {
    /// Its id.
    pub id: Uuid,
    /// `ack`, `task_result` or `query`.
    pub channel: String,
    /// Which attempt, which task, or what was looked up.
    pub subject: Option<String>,
    /// The HTTP status.
    pub http_status: Option<i32>,
    /// What was said, redacted.
    pub body: Vec<u8>,
}

/// What the gateway answered to our own requests and look-ups of one transaction.
pub async fn answers(
    store: &Store,
    shop: &ShopId,
    id: Uuid,
) -> Result<Vec<KeptAnswer>, StoreError> {
    Ok(sqlx::query_as!(
        KeptAnswer,
        "-- answers
        SELECT id, channel, subject, http_status, body FROM evidence
        WHERE shop_id = $1 AND transaction_id = $2 AND channel IN ('ack', 'task_result', 'query')
        ORDER BY position",
        shop.as_str(),
        id
    )
    .fetch_all(store.slow_pool())
    .await?)
}
