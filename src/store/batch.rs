//! The statements of a group commit, in the order in which they lock: families, transactions, due checks,
//! uids, findings, and last the feed's counter. All of them take many rows at once, and there are few of them: to ask and to be answered costs as much as some rows do, and all jobs of a batch wait for it.

mod discrepancies;
mod families;
mod writing;

pub use discrepancies::{
    ResolvedDiscrepancy, heal_all, insert_orphans, open_discrepancies, resolve_discrepancies,
    update_discrepancies,
};
pub use families::{Family, children_of, lock_families, orphans_of};
pub use writing::{
    BatchWrites, TransactionUpdate, append_events, drop_checks, insert_transactions, insert_uids,
    merge, write,
};

use crate::store::rows::{course, raw_transaction};
use crate::store::{CheckRow, StoreError, StoredTransaction, uids};
use domain::{ShopId, Timestamp};
use sqlx::PgConnection;
use std::collections::HashSet;
use uuid::Uuid;

/// The server's clock. Taken first in each batch, so that everything in it has one time. Also sets
/// the limits of this transaction: a hung client must not hold a shop's rows, nor a hung statement
/// a client. They are set here and not at the connection, since PgBouncer shares connections.
///
/// Every statement of a batch looks rows up by key. A plan made while a table was still small would
/// read all of it, and be kept while the table grows; so the planner may use indexes alone, and
/// `LATERAL … LIMIT 1` in the statements makes it look up each key by itself.
///
/// All indexes begin with the shop. While a shop has next to no rows, any of them looks as good as the
/// one that has the key, and the whole shop would be read through it ever after. Where a table has several
/// that could serve, the key is therefore given as a range and asked for in its order: only the right
/// index gives that without sorting, and sorting is off. What has to be sorted all the same looks so dear by
/// that that the server would compile it anew each time, if it might. And since a plan never hangs on what
/// is in the parameters, it is made once.
pub async fn begin_batch(conn: &mut PgConnection) -> Result<Timestamp, StoreError> {
    let row = sqlx::query!(
        r#"-- begin_batch
        SELECT clock_timestamp() AS "now!", set_config('lock_timeout', '10s', true) AS a,
            set_config('statement_timeout', '30s', true) AS b,
            set_config('idle_in_transaction_session_timeout', '15s', true) AS c,
            set_config('enable_seqscan', 'off', true) AS d, set_config('enable_hashjoin', 'off', true) AS e,
            set_config('enable_mergejoin', 'off', true) AS f, set_config('enable_sort', 'off', true) AS g,
            set_config('jit', 'off', true) AS h, set_config('plan_cache_mode', 'force_generic_plan', true) AS i"#
    )
    .fetch_one(conn)
    .await?;
    Ok(row.now.into())
}

/// What the jobs of a batch name, to be looked up before anything is locked.
#[derive(Debug, Default)]
pub struct LookupKeys<'a> {
    /// The gateway's uids.
    pub uids: Vec<&'a str>,
    /// Merchants' names.
    pub tracking_ids: Vec<&'a str>,
    /// Uids of parents.
    pub parents: Vec<&'a str>,
}

impl LookupKeys<'_> {
    /// Whether nothing is named.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.tracking_ids.is_empty() && self.parents.is_empty()
    }
}

/// What goes by these names.
#[derive(Debug, Default)]
pub struct LookupResult {
    /// Which transactions own which uids: the first that did, or the one that it turned out to be.
    pub owners: Vec<(String, Uuid)>,
    /// Which transactions made through the API go by which tracking ids.
    pub ours: Vec<(String, Uuid)>,
    /// The children, made through the API and without a uid yet, of which parents.
    pub children: Vec<OpenChild>,
}

/// A child that has no uid yet: a possible owner of what the gateway tells of its parent.
#[derive(Debug, Clone)]
pub struct OpenChild {
    /// Which transaction.
    pub id: Uuid,
    /// Its parent.
    pub parent_uid: String,
}

/// Looks names up. Nothing is locked.
pub async fn look_up(
    conn: &mut PgConnection,
    shop: &ShopId,
    names: &LookupKeys<'_>,
) -> Result<LookupResult, StoreError> {
    let keys: Vec<Uuid> = names.uids.iter().map(|uid| uids::key(uid)).collect();
    let rows = sqlx::query!(
        r#"-- look_up
        SELECT 0 AS "what!", k.uid AS "name!", coalesce((SELECT into_id FROM merges
            WHERE shop_id = $1 AND transaction_id = u.transaction_id), u.transaction_id) AS "id!"
        FROM UNNEST($2::text[], $5::uuid[]) AS k(uid, key) CROSS JOIN LATERAL (
            SELECT transaction_id FROM uids WHERE shop_id = $1 AND key = k.key LIMIT 1) u
        UNION ALL
        SELECT 1, k.tracking_id, t.id FROM UNNEST($3::text[]) AS k(tracking_id) CROSS JOIN LATERAL (
            SELECT id FROM transactions
            WHERE shop_id = $1 AND tracking_id >= k.tracking_id AND tracking_id <= k.tracking_id
              AND origin = 'api' ORDER BY tracking_id LIMIT 1) t
        UNION ALL
        SELECT 2, k.parent_uid, t.id FROM UNNEST($4::text[]) AS k(parent_uid) CROSS JOIN LATERAL (
            SELECT id FROM transactions
            WHERE shop_id = $1 AND parent_uid >= k.parent_uid AND parent_uid <= k.parent_uid
              AND parent_uid IS NOT NULL AND origin = 'api' AND uid IS NULL
            ORDER BY parent_uid OFFSET 0) t"#,
        shop.as_str(),
        &names.uids as &[&str],
        &names.tracking_ids as &[&str],
        &names.parents as &[&str],
        &keys,
    )
    .fetch_all(conn)
    .await?;
    let mut found = LookupResult::default();
    for row in rows {
        match row.what {
            0 => found.owners.push((row.name, row.id)),
            1 => found.ours.push((row.name, row.id)),
            _ => found.children.push(OpenChild {
                id: row.id,
                parent_uid: row.name,
            }),
        }
    }
    Ok(found)
}

/// Where a locked row lies. It stays there for as long as it is locked, so that it can be written
/// without being looked up again.
#[derive(Clone, Default)]
pub struct RowLocation(String);

impl std::fmt::Debug for RowLocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

/// Locks transactions in the order in which the ids are given, which is their own, and reads them.
pub async fn lock_transactions(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<Vec<(StoredTransaction, RowLocation)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- lock_transactions
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency,
            t.description, t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint,
            t.fingerprint_key, t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at,
            t.finalized_at, t.evidence_count, t.evidence_head, t.place AS "place!"
        FROM UNNEST($2::uuid[]) AS k(id)
        CROSS JOIN LATERAL (
            SELECT *, ctid::text AS place FROM transactions
            WHERE shop_id = $1 AND id = k.id LIMIT 1 FOR UPDATE) t"#,
        shop.as_str(),
        ids
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|r| {
            let raw = raw_transaction!(r, None);
            Ok((raw.try_into()?, RowLocation(r.place)))
        })
        .collect()
}

/// Locks rows of the hot table in the order of their transactions. Workers that take leases skip
/// locked rows, so that nobody waits for anybody in a circle. A statement of its own, begun when the
/// transactions are locked: one that had waited for a transaction would not see what was added meanwhile.
pub async fn lock_checks(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<Vec<(CheckRow, RowLocation)>, StoreError> {
    let rows = sqlx::query!(
        r#"-- lock_checks
        SELECT d.transaction_id, d.due_at, d.lease, d.again, d.misses, d.unanswered, d.ask_name,
            d.ask_uid, d.place AS "place!"
        FROM UNNEST($2::uuid[]) AS k(id)
        CROSS JOIN LATERAL (
            SELECT *, ctid::text AS place FROM due_checks
            WHERE shop_id = $1 AND transaction_id >= k.id AND transaction_id <= k.id
            ORDER BY transaction_id LIMIT 1 FOR UPDATE) d"#,
        shop.as_str(),
        ids
    )
    .fetch_all(conn)
    .await?;
    let locked = rows.into_iter().map(|r| {
        let check = CheckRow {
            transaction_id: r.transaction_id,
            due_at: r.due_at.into(),
            lease: r.lease,
            again: r.again,
            course: course(r.misses, r.unanswered, r.ask_name, r.ask_uid.as_deref()),
        };
        (check, RowLocation(r.place))
    });
    Ok(locked.collect())
}

/// Which of these pieces of evidence are stored already.
pub async fn known_evidence(
    conn: &mut PgConnection,
    shop: &ShopId,
    keys: &[(Uuid, Uuid)],
) -> Result<HashSet<(Uuid, Uuid)>, StoreError> {
    let (transactions, ids): (Vec<Uuid>, Vec<Uuid>) = keys.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"-- known_evidence
        SELECT e.transaction_id, e.id
        FROM UNNEST($2::uuid[], $3::uuid[]) AS k(transaction_id, id)
        CROSS JOIN LATERAL (
            SELECT transaction_id, id FROM evidence
            WHERE shop_id = $1 AND transaction_id = k.transaction_id AND id = k.id LIMIT 1) e"#,
        shop.as_str(),
        &transactions,
        &ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|r| (r.transaction_id, r.id)).collect())
}
