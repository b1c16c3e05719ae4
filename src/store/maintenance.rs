//! Statements of the slow sweeps: partitions, orphans and retention.

use crate::store::{Store, StoreError};
use domain::{DiscrepancyKind, ShopId};
use std::time::Duration;
use uuid::Uuid;

/// Makes partitions ahead, by a function that runs with its owner's rights.
pub async fn ensure_partitions(store: &Store, months_ahead: i32) -> Result<(), StoreError> {
    sqlx::query_scalar!(
        "-- ensure_partitions
        SELECT ensure_evidence_partitions($1)",
        months_ahead
    )
    .fetch_one(store.slow_pool())
    .await?;
    Ok(())
}

/// For how many months after this one evidence has a partition.
pub async fn months_ahead(store: &Store) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"-- months_ahead
        SELECT count(*) AS "ahead!" FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'evidence'::regclass AND c.relname ~ '^evidence_[0-9]{4}_[0-9]{2}$'
          AND right(c.relname, 7) > to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY_MM')"#
    )
    .fetch_one(store.slow_pool())
    .await?)
}

/// How many rows of evidence lie in the default partition and belong into a month, a thousand at most.
pub async fn misplaced_evidence(store: &Store) -> Result<i64, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"-- misplaced_evidence
        SELECT misplaced_evidence() AS "rows!""#
    )
    .fetch_one(store.slow_pool())
    .await?)
}

/// A webhook that had belonged to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrphanRow {
    /// Made of the content.
    pub id: Uuid,
    /// Whether its signature held.
    pub signed: bool,
    /// What was said, redacted.
    pub body: Vec<u8>,
    /// SHA-256 of the original.
    pub body_sha256: Vec<u8>,
}

/// Orphans whose uid, parent or name has an owner now, in the order of their ids from `after` on, so that
/// those that match nothing after all keep no others out.
pub async fn matchable_orphans(
    store: &Store,
    shop: &ShopId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<OrphanRow>, StoreError> {
    Ok(sqlx::query_as!(
        OrphanRow,
        "-- matchable_orphans
        SELECT o.id, o.signed, o.body, o.body_sha256 FROM orphans o
        WHERE o.shop_id = $1 AND o.matched_to IS NULL AND o.kind = 'transaction' AND o.signed
          AND o.id > $3
          AND (EXISTS (SELECT 1 FROM transactions t WHERE t.shop_id = $1
                 AND t.tracking_id = o.tracking_id AND t.origin = 'api')
            OR EXISTS (SELECT 1 FROM uids u WHERE u.shop_id = $1
                AND u.key IN (uid_key(o.uid), uid_key(o.parent_uid))))
        ORDER BY o.id LIMIT $2",
        shop.as_str(),
        limit,
        after
    )
    .fetch_all(store.slow_pool())
    .await?)
}

/// Notes to which transaction an orphan belongs.
pub async fn orphan_matched(
    store: &Store,
    shop: &ShopId,
    orphan: Uuid,
    transaction: Uuid,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- orphan_matched
        UPDATE orphans SET matched_to = $3 WHERE shop_id = $1 AND id = $2",
        shop.as_str(),
        orphan,
        transaction
    )
    .execute(store.slow_pool())
    .await?;
    Ok(())
}

/// What a sweep may find at a shop.
#[derive(Debug, Clone)]
pub struct Sweepable {
    /// The shop.
    pub shop: String,
    /// There are orphans that belong to nothing yet.
    pub orphans: bool,
    /// Findings about webhooks that belonged to nothing are open.
    pub findings: bool,
    /// A round over what earlier releases have ended is due, so long after the last one.
    pub earlier: bool,
}

/// At which of these shops a sweep may find something.
pub async fn sweepable(
    store: &Store,
    shops: &[String],
    rounds_apart: Duration,
) -> Result<Vec<Sweepable>, StoreError> {
    let kinds = [
        DiscrepancyKind::OrphanWebhook.as_str(),
        DiscrepancyKind::ChargebackUnmatched.as_str(),
    ];
    Ok(sqlx::query_as!(
        Sweepable,
        r#"-- sweepable
        SELECT shop AS "shop!", orphans AS "orphans!", findings AS "findings!", earlier AS "earlier!"
        FROM (SELECT s.shop_id AS shop,
            EXISTS (SELECT 1 FROM orphans o WHERE o.shop_id = s.shop_id AND o.matched_to IS NULL
                AND o.kind = 'transaction' AND o.signed) AS orphans,
            EXISTS (SELECT 1 FROM discrepancies d WHERE d.shop_id = s.shop_id AND d.status = 'open'
                AND d.kind = ANY($2::text[])) AS findings,
            EXISTS (SELECT 1 FROM transactions t WHERE t.shop_id = s.shop_id)
            AND EXISTS (SELECT 1 FROM shop_controls c WHERE c.shop_id = s.shop_id
                AND (c.looked_over_to IS NOT NULL OR coalesce(
                    c.looked_over_at < statement_timestamp() - make_interval(secs => $3), true))) AS earlier
            FROM unnest($1::text[]) AS s(shop_id)) AS found
        WHERE orphans OR findings OR earlier"#,
        shops,
        &kinds as &[&str],
        rounds_apart.as_secs_f64()
    )
    .fetch_all(store.slow_pool())
    .await?)
}

/// Which of these shops have events that are older than they are kept.
pub async fn with_old_events(
    store: &Store,
    shops: &[String],
    keep: Duration,
) -> Result<Vec<String>, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"-- with_old_events
        SELECT s.shop_id AS "shop_id!" FROM unnest($1::text[]) AS s(shop_id)
        WHERE (SELECT at FROM events WHERE shop_id = s.shop_id ORDER BY seq LIMIT 1)
            < statement_timestamp() - make_interval(secs => $2)"#,
        shops,
        keep.as_secs_f64()
    )
    .fetch_all(store.slow_pool())
    .await?)
}

/// Drops a portion of events that are older than they are kept. Returns how many. Only the first of the
/// feed are looked at, up to one that is still kept: where nothing is old, nothing else is read.
pub async fn drop_old_events(
    store: &Store,
    shop: &ShopId,
    keep: Duration,
) -> Result<u64, StoreError> {
    let done = sqlx::query!(
        "-- forget_events
        WITH first AS (
            SELECT seq, at < statement_timestamp() - make_interval(secs => $2) AS is_old
            FROM events WHERE shop_id = $1 ORDER BY seq LIMIT 10000
        ), old AS (
            SELECT seq FROM first
            WHERE seq < ALL (SELECT min(seq) FROM first WHERE NOT is_old HAVING min(seq) IS NOT NULL)
        ), moved AS (
            UPDATE shop_feeds SET first_seq = greatest(first_seq, (SELECT max(seq) + 1 FROM old))
            WHERE shop_id = $1 AND EXISTS (SELECT 1 FROM old)
        )
        DELETE FROM events WHERE shop_id = $1 AND seq IN (SELECT seq FROM old)",
        shop.as_str(),
        keep.as_secs_f64()
    )
    .execute(store.slow_pool())
    .await?;
    Ok(done.rows_affected())
}

/// Drops months of evidence that are older than they are kept, by a function that runs with its
/// owner's rights. Returns how many months were dropped.
pub async fn drop_old_evidence(store: &Store, keep: Duration) -> Result<i32, StoreError> {
    let dropped = sqlx::query_scalar!(
        "-- forget_evidence
        SELECT forget_evidence(make_interval(secs => $1))",
        keep.as_secs_f64()
    )
    .fetch_one(store.slow_pool())
    .await?;
    Ok(dropped.unwrap_or(0))
}

/// Open transactions of these shops that have been in their state for longer than a time, and of which nobody
/// has been told yet: shop, id and state, at most so many of each shop.
pub async fn overdue_transactions(
    store: &Store,
    shops: &[String],
    longer_than: Duration,
    limit: i64,
) -> Result<Vec<(String, Uuid, String)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- stuck
        SELECT s.shop_id AS "shop_id!", d.transaction_id, d.state FROM unnest($1::text[]) AS s(shop_id)
        CROSS JOIN LATERAL (SELECT d.transaction_id, d.state FROM due_checks d
        WHERE d.shop_id = s.shop_id AND d.since < statement_timestamp() - make_interval(secs => $2)
          AND d.state IN ('accepted', 'processing', 'pending', 'in_doubt')
          AND NOT EXISTS (SELECT 1 FROM discrepancies f WHERE f.shop_id = s.shop_id
                AND f.transaction_id = d.transaction_id AND f.kind = 'pending_too_long'
                AND f.opened_at >= d.since)
        LIMIT $3) d"#,
        shops,
        longer_than.as_secs_f64(),
        limit
    )
    .fetch_all(store.slow_pool())
    .await?;
    Ok(rows
        .into_iter()
        .map(|r| (r.shop_id, r.transaction_id, r.state))
        .collect())
}
