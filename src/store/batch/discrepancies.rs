//! The statements of a group commit about what does not fit: findings and orphans.

use crate::store::{DiscrepancyRow, OrphanWrite, StoreError};
use domain::{DiscrepancyKind, ShopId, Timestamp};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use std::collections::HashSet;
use uuid::Uuid;

/// Opens findings; one that is open already is not opened again. Returns the ids opened.
pub async fn open_discrepancies(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[DiscrepancyRow],
) -> Result<HashSet<Uuid>, StoreError> {
    let text = |f: fn(&DiscrepancyRow) -> Option<String>| rows.iter().map(f).collect::<Vec<_>>();
    let opened = sqlx::query_scalar!(
        "-- open_discrepancies
        INSERT INTO discrepancies (shop_id, id, kind, transaction_id, tracking_id, uid, subject, amount,
            currency, detail, uids, opened_at)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[],
            $8::bigint[], $9::text[], $10::text[], $11::text[], $12::timestamptz[])
        ON CONFLICT DO NOTHING
        RETURNING id",
        shop.as_str(),
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.transaction_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &text(|r| r.tracking_id.clone()) as &[Option<String>],
        &text(|r| r.uid.clone()) as &[Option<String>],
        &rows.iter().map(|r| r.subject.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.amount).collect::<Vec<_>>() as &[Option<i64>],
        &text(|r| r.currency.clone()) as &[Option<String>],
        &rows.iter().map(|r| r.detail.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(uids).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.opened_at.into()).collect::<Vec<OffsetDateTime>>(),
    )
    .fetch_all(conn)
    .await?;
    Ok(opened.into_iter().collect())
}

/// What a finding is about, as it is stored.
fn uids(row: &DiscrepancyRow) -> String {
    serde_json::to_string(&row.uids).unwrap_or_else(|_| "[]".to_owned())
}

/// Brings open findings of transactions up to date: what they say, and the uids that they name. Those that
/// say it already are left alone. At most one row for each kind and subject of a transaction.
pub async fn update_discrepancies(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[DiscrepancyRow],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- update_discrepancies
        UPDATE discrepancies d SET detail_now = f.detail, uids = f.uids
        FROM UNNEST($2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[])
            AS f(kind, transaction_id, subject, detail, uids)
        WHERE d.shop_id = $1 AND d.status = 'open' AND d.kind = f.kind AND d.subject = f.subject
          AND coalesce(d.transaction_id, '00000000-0000-0000-0000-000000000000'::uuid) = f.transaction_id
          AND (coalesce(d.detail_now, d.detail) <> f.detail OR d.uids <> f.uids)",
        shop.as_str(),
        &rows.iter().map(|r| r.kind.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.transaction_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.subject.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.detail.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(uids).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A finding of a transaction that is indicated no more.
#[derive(Debug, Clone)]
pub struct ResolvedDiscrepancy {
    /// Of which transaction.
    pub transaction_id: Uuid,
    /// Which kind.
    pub kind: DiscrepancyKind,
    /// About what.
    pub subject: String,
    /// Why it is closed.
    pub reason: String,
    /// Who closed it; `None` when it went away by itself.
    pub by: Option<String>,
}

/// Closes findings of transactions that are indicated no more. Returns them as they are now.
pub async fn resolve_discrepancies(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    healed: &[ResolvedDiscrepancy],
) -> Result<Vec<DiscrepancyRow>, StoreError> {
    let rows = sqlx::query_as!(
        crate::store::discrepancies::RawDiscrepancy,
        r#"-- heal_discrepancies
        UPDATE discrepancies d SET status = 'resolved', resolved_at = $2, reason = h.reason,
            resolved_by = h.by
        FROM UNNEST($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[])
            AS h(transaction_id, kind, subject, reason, by)
        WHERE d.shop_id = $1 AND d.status = 'open' AND d.transaction_id = h.transaction_id
          AND d.kind = h.kind AND d.subject = h.subject
        RETURNING d.id, d.kind, d.status, d.transaction_id, d.tracking_id, d.uid, d.subject, d.amount,
            d.currency, coalesce(d.detail_now, d.detail) AS "detail!", d.uids, d.opened_at, d.resolved_at,
            d.resolved_by, d.reason"#,
        shop.as_str(),
        OffsetDateTime::from(at),
        &healed.iter().map(|h| h.transaction_id).collect::<Vec<_>>(),
        &healed.iter().map(|h| h.kind.as_str()).collect::<Vec<_>>() as &[&str],
        &healed.iter().map(|h| h.subject.as_str()).collect::<Vec<_>>() as &[&str],
        &healed.iter().map(|h| h.reason.as_str()).collect::<Vec<_>>() as &[&str],
        &healed.iter().map(|h| h.by.as_deref()).collect::<Vec<_>>() as &[Option<&str>],
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(DiscrepancyRow::try_from).collect()
}

/// Closes all open findings of these transactions. Returns them as they are now.
pub async fn heal_all(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    ids: &[Uuid],
    reason: &str,
) -> Result<Vec<DiscrepancyRow>, StoreError> {
    let kinds: Vec<&str> = DiscrepancyKind::ALL
        .iter()
        .map(|kind| kind.as_str())
        .collect();
    let rows = sqlx::query_as!(
        crate::store::discrepancies::RawDiscrepancy,
        r#"-- heal_all
        UPDATE discrepancies d SET status = 'resolved', resolved_at = $2, reason = $5
        FROM UNNEST($3::uuid[]) AS h(transaction_id)
        WHERE d.shop_id = $1 AND d.status = 'open' AND d.kind = ANY($4::text[])
          AND coalesce(d.transaction_id, '00000000-0000-0000-0000-000000000000'::uuid) = h.transaction_id
        RETURNING d.id, d.kind, d.status, d.transaction_id, d.tracking_id, d.uid, d.subject, d.amount,
            d.currency, coalesce(d.detail_now, d.detail) AS "detail!", d.uids, d.opened_at, d.resolved_at,
            d.resolved_by, d.reason"#,
        shop.as_str(),
        OffsetDateTime::from(at),
        ids,
        &kinds as &[&str],
        reason,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(DiscrepancyRow::try_from).collect()
}

/// Keeps webhooks that belong to nothing of ours. Returns the ids that were new.
pub async fn insert_orphans(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    rows: &[OrphanWrite],
) -> Result<HashSet<Uuid>, StoreError> {
    let text = |f: fn(&OrphanWrite) -> Option<String>| rows.iter().map(f).collect::<Vec<_>>();
    let new = sqlx::query_scalar!(
        "-- put_orphans
        INSERT INTO orphans (shop_id, received_at, id, kind, uid, tracking_id, parent_uid, signed, note,
            body, body_sha256)
        SELECT $1, $2, * FROM UNNEST($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[],
            $8::bool[], $9::text[], $10::bytea[], $11::bytea[])
        ON CONFLICT DO NOTHING
        RETURNING id",
        shop.as_str(),
        OffsetDateTime::from(at),
        &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.kind).collect::<Vec<_>>() as &[&str],
        &text(|r| r.uid.clone()) as &[Option<String>],
        &text(|r| r.tracking_id.clone()) as &[Option<String>],
        &text(|r| r.parent_uid.clone()) as &[Option<String>],
        &rows.iter().map(|r| r.signed).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.note.as_str()).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| &*r.body).collect::<Vec<_>>() as &[&[u8]],
        &rows.iter().map(|r| r.body_sha256.as_slice()).collect::<Vec<_>>() as &[&[u8]],
    )
    .fetch_all(conn)
    .await?;
    Ok(new.into_iter().collect())
}
