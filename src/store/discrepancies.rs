//! Findings: lists of them, and closing one.

use crate::store::{DiscrepancyRow, Store, StoreError};
use domain::{DiscrepancyKind, ShopId, Timestamp};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

/// The columns of a finding, as PostgreSQL has them.
#[derive(Debug)]
pub(crate) struct RawDiscrepancy {
    pub id: Uuid,
    pub kind: String,
    pub status: String,
    pub transaction_id: Option<Uuid>,
    pub tracking_id: Option<String>,
    pub uid: Option<String>,
    pub subject: String,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub detail: String,
    pub uids: String,
    pub opened_at: OffsetDateTime,
    pub resolved_at: Option<OffsetDateTime>,
    pub resolved_by: Option<String>,
    pub reason: Option<String>,
}

impl TryFrom<RawDiscrepancy> for DiscrepancyRow {
    type Error = StoreError;

    fn try_from(raw: RawDiscrepancy) -> Result<Self, StoreError> {
        let kind = DiscrepancyKind::parse(&raw.kind)
            .ok_or_else(|| StoreError::inconsistent("discrepancies", "kind", raw.id))?;
        Ok(Self {
            id: raw.id,
            kind,
            is_open: raw.status == "open",
            transaction_id: raw.transaction_id,
            tracking_id: raw.tracking_id,
            uid: raw.uid,
            subject: raw.subject,
            amount: raw.amount,
            currency: raw.currency,
            detail: raw.detail,
            uids: serde_json::from_str(&raw.uids)
                .map_err(|_| StoreError::inconsistent("discrepancies", "uids", raw.id))?,
            opened_at: raw.opened_at.into(),
            resolved_at: raw.resolved_at.map(Timestamp::from),
            resolved_by: raw.resolved_by,
            reason: raw.reason,
        })
    }
}

/// Brings an open finding about no transaction up to date. Returns whether there is one.
pub async fn refresh(
    store: &Store,
    shop: &ShopId,
    (kind, subject, detail): (DiscrepancyKind, &str, &str),
) -> Result<bool, StoreError> {
    let refreshed = sqlx::query!(
        "-- refresh_discrepancy
        UPDATE discrepancies SET detail_now = $4
        WHERE shop_id = $1 AND kind = $2 AND subject = $3 AND status = 'open'
          AND coalesce(transaction_id, '00000000-0000-0000-0000-000000000000'::uuid)
            = '00000000-0000-0000-0000-000000000000'::uuid",
        shop.as_str(),
        kind.as_str(),
        subject,
        detail,
    );
    Ok(refreshed.execute(store.pool()).await?.rows_affected() > 0)
}

/// Lists findings, newest first.
pub async fn list(
    store: &Store,
    shop: &ShopId,
    open: Option<bool>,
    kind: Option<DiscrepancyKind>,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<DiscrepancyRow>, StoreError> {
    let status = open.map(|open| if open { "open" } else { "resolved" });
    let rows = sqlx::query_as!(
        RawDiscrepancy,
        r#"-- list_discrepancies
        SELECT id, kind, status, transaction_id, tracking_id, uid, subject, amount, currency,
            coalesce(detail_now, detail) AS "detail!", uids, opened_at, resolved_at, resolved_by, reason
        FROM discrepancies
        WHERE shop_id = $1 AND ($2::text IS NULL OR status = $2) AND ($3::text IS NULL OR kind = $3)
          AND id < coalesce($4::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
        ORDER BY id DESC LIMIT $5"#,
        shop.as_str(),
        status,
        kind.map(DiscrepancyKind::as_str),
        before,
        limit
    )
    .fetch_all(store.pool())
    .await?;
    rows.into_iter().map(DiscrepancyRow::try_from).collect()
}

/// One finding.
pub async fn by_id(
    store: &Store,
    shop: &ShopId,
    id: Uuid,
) -> Result<Option<DiscrepancyRow>, StoreError> {
    let row = sqlx::query_as!(
        RawDiscrepancy,
        r#"-- discrepancy_by_id
        SELECT id, kind, status, transaction_id, tracking_id, uid, subject, amount, currency,
            coalesce(detail_now, detail) AS "detail!", uids, opened_at, resolved_at, resolved_by, reason
        FROM discrepancies WHERE shop_id = $1 AND id = $2"#,
        shop.as_str(),
        id
    )
    .fetch_optional(store.pool())
    .await?;
    row.map(DiscrepancyRow::try_from).transpose()
}

/// A finding to be closed.
#[derive(Debug, Clone)]
pub struct ResolveDiscrepancy {
    /// Which finding.
    pub id: Uuid,
    /// Which person; nobody where what is known by now no longer indicates it.
    pub by: Option<String>,
    /// Why.
    pub reason: String,
}

/// Closes findings by id; those that are closed already are left alone. Returns them as they are now.
pub async fn close(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    closings: &[ResolveDiscrepancy],
) -> Result<Vec<DiscrepancyRow>, StoreError> {
    let rows = sqlx::query_as!(
        RawDiscrepancy,
        r#"-- close_discrepancies
        UPDATE discrepancies d SET status = 'resolved', resolved_at = $2, reason = c.reason,
            resolved_by = c.by
        FROM UNNEST($3::uuid[], $4::text[], $5::text[]) AS c(id, reason, by)
        WHERE d.shop_id = $1 AND d.status = 'open' AND d.id = c.id
        RETURNING d.id, d.kind, d.status, d.transaction_id, d.tracking_id, d.uid, d.subject, d.amount,
            d.currency, coalesce(d.detail_now, d.detail) AS "detail!", d.uids, d.opened_at, d.resolved_at,
            d.resolved_by, d.reason"#,
        shop.as_str(),
        OffsetDateTime::from(at),
        &closings.iter().map(|c| c.id).collect::<Vec<_>>(),
        &closings.iter().map(|c| c.reason.as_str()).collect::<Vec<_>>() as &[&str],
        &closings.iter().map(|c| c.by.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(DiscrepancyRow::try_from).collect()
}

/// Open findings about webhooks that belonged to nothing, whose uid has an owner by now.
pub async fn owned(store: &Store, shop: &ShopId, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let kinds = [
        DiscrepancyKind::OrphanWebhook.as_str(),
        DiscrepancyKind::ChargebackUnmatched.as_str(),
    ];
    Ok(sqlx::query_scalar!(
        "-- owned_discrepancies
        SELECT d.id FROM discrepancies d
        WHERE d.shop_id = $1 AND d.status = 'open' AND d.kind = ANY($2::text[])
          AND coalesce(d.transaction_id, '00000000-0000-0000-0000-000000000000'::uuid)
            = '00000000-0000-0000-0000-000000000000'::uuid
          AND EXISTS (SELECT 1 FROM uids u WHERE u.shop_id = $1 AND u.key = uid_key(d.uid))
        LIMIT $3",
        shop.as_str(),
        &kinds as &[&str],
        limit
    )
    .fetch_all(store.slow_pool())
    .await?)
}

/// How many findings of each kind are open at these shops. What a shop has none of is left out.
pub async fn open_counts(
    store: &Store,
    shops: &[String],
) -> Result<Vec<(String, DiscrepancyKind, i64)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- open_discrepancy_counts
        SELECT shop_id, kind, count(*) AS "count!" FROM discrepancies
        WHERE shop_id = ANY($1) AND status = 'open' GROUP BY shop_id, kind"#,
        shops
    )
    .fetch_all(store.pool())
    .await?;
    rows.into_iter()
        .map(|r| {
            let kind = DiscrepancyKind::parse(&r.kind)
                .ok_or_else(|| StoreError::inconsistent("discrepancies", "kind", &r.kind))?;
            Ok((r.shop_id, kind, r.count))
        })
        .collect()
}
