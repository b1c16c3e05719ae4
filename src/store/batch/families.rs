//! The statements of a group commit about families: a parent, its own parent, and their children.
//!
//! A family is locked by its uids, and not by rows alone: of a parent that is not known here there is no
//! row, and it may appear while two of its children are opened.

use crate::store::maintenance::OrphanRow;
use crate::store::rows::raw_transaction;
use crate::store::{StoreError, StoredTransaction, uids};
use domain::ShopId;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use std::collections::BTreeSet;
use uuid::Uuid;

/// A parent of a child, and its own parent, as far as they are known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The parent that a child names.
    pub parent_uid: String,
    /// Our id of it.
    pub parent: Option<Uuid>,
    /// The parent's own parent.
    pub root_uid: Option<String>,
    /// Our id of that one.
    pub root: Option<Uuid>,
}

/// Locks families, and tells who belongs to them. Nobody who holds another lock of a batch waits for one
/// of these. The locks are those of this transaction, so that a pooler may share the connection.
pub async fn lock_families(
    conn: &mut PgConnection,
    shop: &ShopId,
    parents: &[&str],
) -> Result<Vec<Family>, StoreError> {
    let known = families(conn, shop, parents).await?;
    let roots = known.iter().filter_map(|family| family.root_uid.as_deref());
    // In one order, so that nobody waits for anybody in a circle.
    let keys: BTreeSet<i64> = roots
        .chain(parents.iter().copied())
        .map(|uid| lock_key(shop, uid))
        .collect();
    sqlx::query!(
        "-- lock_families
        SELECT pg_advisory_xact_lock(k) FROM UNNEST($1::bigint[]) AS k",
        &keys.into_iter().collect::<Vec<_>>()
    )
    .execute(&mut *conn)
    .await?;
    let now = families(conn, shop, parents).await?;
    // A parent appeared while this waited, and with it perhaps a family that is not locked.
    if now != known {
        return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
    }
    Ok(now)
}

fn lock_key(shop: &ShopId, uid: &str) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(shop.as_str());
    hasher.update([0]);
    hasher.update(uid);
    let digest: [u8; 32] = hasher.finalize().into();
    let mut beginning = [0; 8];
    beginning.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(beginning)
}

async fn families(
    conn: &mut PgConnection,
    shop: &ShopId,
    parents: &[&str],
) -> Result<Vec<Family>, StoreError> {
    let keys: Vec<Uuid> = parents.iter().map(|uid| uids::key(uid)).collect();
    let rows = sqlx::query!(
        r#"-- families
        SELECT k.uid AS "parent_uid!", u.transaction_id AS "parent?", t.parent_uid AS "root_uid?",
            r.transaction_id AS "root?"
        FROM UNNEST($2::text[], $3::uuid[]) AS k(uid, key)
        LEFT JOIN LATERAL (
            SELECT coalesce((SELECT into_id FROM merges
                WHERE shop_id = $1 AND transaction_id = o.transaction_id), o.transaction_id) AS transaction_id
            FROM uids o WHERE o.shop_id = $1 AND o.key = k.key LIMIT 1) u ON true
        LEFT JOIN LATERAL (
            SELECT parent_uid FROM transactions WHERE shop_id = $1 AND id = u.transaction_id LIMIT 1) t ON true
        LEFT JOIN LATERAL (
            SELECT coalesce((SELECT into_id FROM merges
                WHERE shop_id = $1 AND transaction_id = o.transaction_id), o.transaction_id) AS transaction_id
            FROM uids o WHERE o.shop_id = $1 AND o.key = uid_key(t.parent_uid) LIMIT 1) r ON true"#,
        shop.as_str(),
        parents as &[&str],
        &keys,
    )
    .fetch_all(conn)
    .await?;
    let mut found: Vec<Family> = rows
        .into_iter()
        .map(|r| Family {
            parent_uid: r.parent_uid,
            parent: r.parent,
            root_uid: r.root_uid,
            root: r.root,
        })
        .collect();
    found.sort_by(|a, b| a.parent_uid.cmp(&b.parent_uid));
    Ok(found)
}

/// The children of parents, as they are committed now. Their families are locked, so that none is added
/// and none is stamped meanwhile.
pub async fn children_of(
    conn: &mut PgConnection,
    shop: &ShopId,
    parents: &[&str],
) -> Result<Vec<StoredTransaction>, StoreError> {
    let rows = sqlx::query!(
        r#"-- children_of_parents
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency,
            t.description, t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint,
            t.fingerprint_key, t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at,
            t.finalized_at, t.evidence_count, t.evidence_head
        FROM UNNEST($2::text[]) AS k(uid) CROSS JOIN LATERAL (
            SELECT * FROM transactions
            WHERE shop_id = $1 AND parent_uid >= k.uid AND parent_uid <= k.uid AND parent_uid IS NOT NULL
            ORDER BY parent_uid OFFSET 0) t"#,
        shop.as_str(),
        parents as &[&str],
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| raw_transaction!(r, None).try_into())
        .collect()
}

/// Signed webhooks that belong to nothing yet and name one of these parents, the parent's own parent, a
/// capture of either, or another of themselves: what they tell of was taken from these families.
pub async fn orphans_of(
    conn: &mut PgConnection,
    shop: &ShopId,
    parents: &[&str],
) -> Result<Vec<OrphanRow>, StoreError> {
    let keys: Vec<Uuid> = parents.iter().map(|uid| uids::key(uid)).collect();
    Ok(sqlx::query_as!(
        OrphanRow,
        r#"-- orphans_of
        WITH RECURSIVE near AS (
            SELECT k.uid FROM UNNEST($2::text[]) AS k(uid)
            UNION
            SELECT t.parent_uid FROM UNNEST($3::uuid[]) AS k(key)
            CROSS JOIN LATERAL (
                SELECT transaction_id FROM uids WHERE shop_id = $1 AND key = k.key LIMIT 1) u
            CROSS JOIN LATERAL (
                SELECT parent_uid FROM transactions
                WHERE shop_id = $1 AND id = u.transaction_id LIMIT 1) t
            WHERE t.parent_uid IS NOT NULL
        ), family AS (
            SELECT uid FROM near
            UNION
            SELECT t.uid FROM near n CROSS JOIN LATERAL (
                SELECT uid, type FROM transactions
                WHERE shop_id = $1 AND parent_uid >= n.uid AND parent_uid <= n.uid
                  AND parent_uid IS NOT NULL ORDER BY parent_uid OFFSET 0) t
            WHERE t.type = 'capture' AND t.uid IS NOT NULL
        ), waiting AS (
            SELECT o.id, o.uid, o.signed, o.body, o.body_sha256
            FROM family f CROSS JOIN LATERAL (
                SELECT * FROM orphans
                WHERE shop_id = $1 AND parent_uid >= f.uid AND parent_uid <= f.uid
                  AND parent_uid IS NOT NULL AND matched_to IS NULL
                ORDER BY parent_uid OFFSET 0) o
            WHERE o.kind = 'transaction' AND o.signed
            UNION
            SELECT o.id, o.uid, o.signed, o.body, o.body_sha256
            FROM waiting w CROSS JOIN LATERAL (
                SELECT * FROM orphans
                WHERE shop_id = $1 AND parent_uid >= w.uid AND parent_uid <= w.uid
                  AND parent_uid IS NOT NULL AND matched_to IS NULL
                ORDER BY parent_uid OFFSET 0) o
            WHERE o.kind = 'transaction' AND o.signed
        )
        SELECT id AS "id!", signed AS "signed!", body AS "body!", body_sha256 AS "body_sha256!"
        FROM waiting ORDER BY id"#,
        shop.as_str(),
        parents as &[&str],
        &keys,
    )
    .fetch_all(conn)
    .await?)
}
