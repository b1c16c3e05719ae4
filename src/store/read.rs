//! Reads for the API: one transaction, lists of them, and their evidence.

use crate::store::rows::RawTransaction;
use crate::store::{EvidenceRow, Store, StoreError, StoredTransaction, uids};
use domain::{Channel, Origin, ShopId, State, Timestamp, TransactionId, TransactionType, Verdict};
use sqlx::types::time::OffsetDateTime;
use std::time::Duration;
use uuid::Uuid;

/// How a path names a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionRef {
    /// By our own id (`~` and the id).
    Id(Uuid),
    /// By tracking id: the one made through the API, else the only one of origin `gateway`.
    TrackingId(String),
}

impl TransactionRef {
    /// Reads a name as people write it; `None` when there is no id after the `~`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix('~') {
            Some(id) => TransactionId::parse(id).ok().map(|id| Self::Id(id.0)),
            None => Some(Self::TrackingId(text.to_owned())),
        }
    }
}

/// Finds one transaction.
pub async fn find(
    store: &Store,
    shop: &ShopId,
    name: &TransactionRef,
) -> Result<Option<StoredTransaction>, StoreError> {
    let id = match name {
        TransactionRef::Id(id) => *id,
        TransactionRef::TrackingId(tracking_id) => match id_of(store, shop, tracking_id).await? {
            Some(id) => id,
            None => return Ok(None),
        },
    };
    by_id(store, shop, id).await
}

async fn id_of(store: &Store, shop: &ShopId, name: &str) -> Result<Option<Uuid>, StoreError> {
    let ours = sqlx::query_scalar!(
        "-- id_of_api
        SELECT id FROM transactions WHERE shop_id = $1 AND tracking_id = $2 AND origin = 'api'",
        shop.as_str(),
        name
    )
    .fetch_optional(store.pool())
    .await?;
    if ours.is_some() {
        return Ok(ours);
    }
    let told = sqlx::query_scalar!(
        "-- id_of_gateway
        SELECT id FROM transactions
        WHERE shop_id = $1 AND tracking_id = $2 AND origin = 'gateway' AND state <> 'merged' LIMIT 2",
        shop.as_str(),
        name
    )
    .fetch_all(store.pool())
    .await?;
    Ok(match told.as_slice() {
        [only] => Some(*only),
        _ => None,
    })
}

/// Reads one transaction by our id.
pub async fn by_id(
    store: &Store,
    shop: &ShopId,
    id: Uuid,
) -> Result<Option<StoredTransaction>, StoreError> {
    let row = sqlx::query_as!(
        RawTransaction,
        r#"-- transaction_by_id
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.description,
            t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint, t.fingerprint_key,
            t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at, t.finalized_at,
            t.evidence_count, t.evidence_head, d.due_at AS "next_check_at?"
        FROM transactions t
        LEFT JOIN due_checks d ON d.shop_id = t.shop_id AND d.transaction_id = t.id
        WHERE t.shop_id = $1 AND t.id = $2"#,
        shop.as_str(),
        id
    )
    .fetch_optional(store.pool())
    .await?;
    row.map(StoredTransaction::try_from).transpose()
}

/// Which of our transactions a uid belongs to.
pub async fn owner_of(store: &Store, shop: &ShopId, uid: &str) -> Result<Option<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- owner_of
        SELECT coalesce(m.into_id, u.transaction_id) AS \"id!\" FROM uids u
        LEFT JOIN merges m ON m.shop_id = u.shop_id AND m.transaction_id = u.transaction_id
        WHERE u.shop_id = $1 AND u.key = $2",
        shop.as_str(),
        uids::key(uid)
    )
    .fetch_optional(store.pool())
    .await?)
}

/// The children of a parent, newest first.
pub async fn children_of(
    store: &Store,
    shop: &ShopId,
    parent_uid: &str,
) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- children_of
        SELECT id FROM transactions WHERE shop_id = $1 AND parent_uid = $2 ORDER BY id DESC LIMIT 1000",
        shop.as_str(),
        parent_uid
    )
    .fetch_all(store.pool())
    .await?)
}

/// What a list is narrowed down to. `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct TransactionQuery {
    /// Our state.
    pub state: Option<State>,
    /// The kind.
    pub kind: Option<TransactionType>,
    /// Who made it.
    pub origin: Option<Origin>,
    /// The merchant's name for it.
    pub tracking_id: Option<String>,
    /// The gateway's uid.
    pub uid: Option<String>,
    /// The parent's uid.
    pub parent_uid: Option<String>,
    /// Created at or after.
    pub created_from: Option<Timestamp>,
    /// Created before.
    pub created_to: Option<Timestamp>,
    /// Only older than this one (the cursor).
    pub before: Option<Uuid>,
}

/// Lists transactions, newest first.
pub async fn list(
    store: &Store,
    shop: &ShopId,
    filter: &TransactionQuery,
    limit: i64,
) -> Result<Vec<StoredTransaction>, StoreError> {
    let Some(among) = named(store, shop, filter).await? else {
        return Ok(Vec::new());
    };
    let open = filter.state.filter(|state| !state.is_final());
    let rows = match (among, open) {
        (Some(ids), _) => list_among(store, shop, filter, &ids, limit).await?,
        (None, Some(state)) => {
            let ids = in_state(store, shop, state).await?;
            list_among(store, shop, filter, &ids, limit).await?
        }
        (None, None) => list_all(store, shop, filter, limit).await?,
    };
    rows.into_iter().map(StoredTransaction::try_from).collect()
}

/// The few ids that a name narrows the list down to; `Some(None)` when no name is given, `None`
/// when nothing goes by it.
async fn named(
    store: &Store,
    shop: &ShopId,
    filter: &TransactionQuery,
) -> Result<Option<Option<Vec<Uuid>>>, StoreError> {
    let mut among: Option<Vec<Uuid>> = None;
    let mut narrow = |ids: Vec<Uuid>| {
        among = Some(match among.take() {
            Some(known) => known.into_iter().filter(|id| ids.contains(id)).collect(),
            None => ids,
        });
    };
    if let Some(uid) = &filter.uid {
        narrow(owner_of(store, shop, uid).await?.into_iter().collect());
    }
    if let Some(parent) = &filter.parent_uid {
        narrow(children_of(store, shop, parent).await?);
    }
    if let Some(tracking_id) = &filter.tracking_id {
        let ids = sqlx::query_scalar!(
            "-- ids_by_tracking_id
            SELECT id FROM transactions WHERE shop_id = $1 AND tracking_id = $2 AND origin = 'api'
            UNION ALL
            SELECT id FROM transactions WHERE shop_id = $1 AND tracking_id = $2 AND origin = 'gateway'
            LIMIT 1000",
            shop.as_str(),
            tracking_id
        )
        .fetch_all(store.pool())
        .await?;
        narrow(ids.into_iter().flatten().collect());
    }
    Ok(match among {
        Some(ids) if ids.is_empty() => None,
        among => Some(among),
    })
}

/// Open transactions are few and have a row in the hot table; the big one needs no index on state.
async fn in_state(store: &Store, shop: &ShopId, state: State) -> Result<Vec<Uuid>, StoreError> {
    Ok(sqlx::query_scalar!(
        "-- in_state
        SELECT transaction_id FROM due_checks WHERE shop_id = $1 AND state = $2
        ORDER BY transaction_id DESC LIMIT 100000",
        shop.as_str(),
        state.as_str()
    )
    .fetch_all(store.pool())
    .await?)
}

async fn list_among(
    store: &Store,
    shop: &ShopId,
    filter: &TransactionQuery,
    ids: &[Uuid],
    limit: i64,
) -> Result<Vec<RawTransaction>, StoreError> {
    Ok(sqlx::query_as!(
        RawTransaction,
        r#"-- list_among
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.description,
            t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint, t.fingerprint_key,
            t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at, t.finalized_at,
            t.evidence_count, t.evidence_head, d.due_at AS "next_check_at?"
        FROM transactions t
        LEFT JOIN due_checks d ON d.shop_id = t.shop_id AND d.transaction_id = t.id
        WHERE t.shop_id = $1 AND t.id = ANY($9)
          AND ($2::text IS NULL OR t.state = $2) AND ($3::text IS NULL OR t.type = $3)
          AND ($4::text IS NULL OR t.origin = $4)
          AND ($5::timestamptz IS NULL OR t.created_at >= $5)
          AND ($6::timestamptz IS NULL OR t.created_at < $6)
          AND ($7::uuid IS NULL OR t.id < $7)
        ORDER BY t.id DESC LIMIT $8"#,
        shop.as_str(),
        filter.state.map(State::as_str),
        filter.kind.map(TransactionType::as_str),
        filter.origin.map(Origin::as_str),
        filter.created_from.map(OffsetDateTime::from),
        filter.created_to.map(OffsetDateTime::from),
        filter.before,
        limit,
        ids
    )
    .fetch_all(store.pool())
    .await?)
}

/// More than any two clocks of one service differ by.
const A_DAY: Duration = Duration::from_secs(86_400);

async fn list_all(
    store: &Store,
    shop: &ShopId,
    filter: &TransactionQuery,
    limit: i64,
) -> Result<Vec<RawTransaction>, StoreError> {
    // Ids carry their time of creation by the clock of a replica, rows that of the server: a day either
    // way covers any difference between them, and nothing else of a long history is read.
    let from = filter
        .created_from
        .map_or(Uuid::nil(), |t| first_id(t.minus(A_DAY)));
    let to = filter
        .created_to
        .map_or(Uuid::max(), |t| first_id(t.plus(A_DAY)));
    let before = filter.before.map_or(to, |before| before.min(to));
    Ok(sqlx::query_as!(
        RawTransaction,
        r#"-- list_all
        SELECT t.shop_id, t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.description,
            t.parent_uid, t.parent_tracking_id, t.card_data, t.test, t.fingerprint, t.fingerprint_key,
            t.created_at, t.state, t.state_since, t.uid, t.summary, t.sequence, t.updated_at, t.finalized_at,
            t.evidence_count, t.evidence_head, d.due_at AS "next_check_at?"
        FROM transactions t
        LEFT JOIN due_checks d ON d.shop_id = t.shop_id AND d.transaction_id = t.id
        WHERE t.shop_id = $1
          AND ($2::text IS NULL OR t.state = $2) AND ($3::text IS NULL OR t.type = $3)
          AND ($4::text IS NULL OR t.origin = $4)
          AND ($5::timestamptz IS NULL OR t.created_at >= $5)
          AND ($6::timestamptz IS NULL OR t.created_at < $6)
          AND t.id >= $9 AND t.id < $7
        ORDER BY t.id DESC LIMIT $8"#,
        shop.as_str(),
        filter.state.map(State::as_str),
        filter.kind.map(TransactionType::as_str),
        filter.origin.map(Origin::as_str),
        filter.created_from.map(OffsetDateTime::from),
        filter.created_to.map(OffsetDateTime::from),
        before,
        limit,
        from
    )
    .fetch_all(store.pool())
    .await?)
}

/// No id of this moment or later is less than this one.
fn first_id(at: Timestamp) -> Uuid {
    let millis = u128::try_from(at.micros() / 1_000).unwrap_or(0);
    Uuid::from_u128(millis << 80)
}

/// All evidence of a transaction, in the order of arrival.
pub async fn evidence(
    store: &Store,
    shop: &ShopId,
    id: Uuid,
) -> Result<Vec<EvidenceRow>, StoreError> {
    let rows = sqlx::query!(
        "-- evidence
        SELECT id, position, channel, verdict, received_at, http_status, subject, signed, note, body
        FROM evidence WHERE shop_id = $1 AND transaction_id = $2 ORDER BY position",
        shop.as_str(),
        id
    )
    .fetch_all(store.pool())
    .await?;
    rows.into_iter()
        .map(|r| {
            let bad = |column| StoreError::inconsistent("evidence", column, r.id);
            Ok(EvidenceRow {
                id: r.id,
                position: r.position,
                channel: Channel::parse(&r.channel).ok_or_else(|| bad("channel"))?,
                verdict: Verdict::parse(&r.verdict).ok_or_else(|| bad("verdict"))?,
                received_at: r.received_at.into(),
                http_status: r.http_status,
                subject: r.subject,
                signed: r.signed,
                note: r.note,
                body: r.body,
            })
        })
        .collect()
}

/// A recent transaction of a shop whose uid is known, to be used as a control: look-ups work when
/// they find it. Children are no controls: the gateway may file them under their parent's name.
/// Its own name has all of `signs`; names with signs have an index of their own.
pub async fn known_transaction(
    store: &Store,
    shop: &ShopId,
    signs: &str,
) -> Result<Option<(Uuid, String, String)>, StoreError> {
    if !signs.is_empty() {
        return odd_control(store, shop, signs).await;
    }
    let row = sqlx::query!(
        r#"-- control
        SELECT c.id, c.tracking_id AS "tracking_id!", c.uid AS "uid!" FROM (
            SELECT id, tracking_id, uid, type FROM transactions
            WHERE shop_id = $1 ORDER BY id DESC LIMIT 1000
        ) c WHERE c.uid IS NOT NULL AND c.tracking_id IS NOT NULL
          AND c.type NOT IN ('capture', 'void', 'refund', 'chargeback') LIMIT 1"#,
        shop.as_str()
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(row.map(|r| (r.id, r.tracking_id, r.uid)))
}

async fn odd_control(
    store: &Store,
    shop: &ShopId,
    signs: &str,
) -> Result<Option<(Uuid, String, String)>, StoreError> {
    let row = sqlx::query!(
        r#"-- odd_control
        SELECT c.id, c.tracking_id AS "tracking_id!", c.uid AS "uid!" FROM (
            SELECT id, tracking_id, uid, type FROM transactions
            WHERE shop_id = $1 AND tracking_id ~ '[^A-Za-z0-9_-]' ORDER BY id DESC LIMIT 1000
        ) c WHERE c.uid IS NOT NULL AND translate($2, c.tracking_id, '') = ''
          AND c.type NOT IN ('capture', 'void', 'refund', 'chargeback') LIMIT 1"#,
        shop.as_str(),
        signs
    )
    .fetch_optional(store.pool())
    .await?;
    Ok(row.map(|r| (r.id, r.tracking_id, r.uid)))
}

/// To whom uids belong, and who made those transactions.
pub async fn owners(
    store: &Store,
    shop: &ShopId,
    uids: &[String],
) -> Result<Vec<(String, Uuid, Origin)>, StoreError> {
    let keys: Vec<Uuid> = uids.iter().map(|uid| super::uids::key(uid)).collect();
    let rows = sqlx::query!(
        "-- owners
        SELECT u.uid, t.id, t.origin FROM uids u
        LEFT JOIN merges m ON m.shop_id = u.shop_id AND m.transaction_id = u.transaction_id
        JOIN transactions t ON t.shop_id = u.shop_id AND t.id = coalesce(m.into_id, u.transaction_id)
        WHERE u.shop_id = $1 AND u.key = ANY($2)",
        shop.as_str(),
        &keys
    )
    .fetch_all(store.pool())
    .await?;
    rows.into_iter()
        .map(|row| {
            let origin = Origin::parse(&row.origin)
                .ok_or_else(|| StoreError::inconsistent("transactions", "origin", row.id))?;
            Ok((row.uid, row.id, origin))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_lies_between_the_bounds_of_its_time() {
        let made = |millis: u64| {
            let nanos = u32::try_from(millis % 1_000).unwrap_or(0) * 1_000_000;
            Uuid::new_v7(uuid::Timestamp::from_unix(
                uuid::NoContext,
                millis / 1_000,
                nanos,
            ))
        };
        let bound = |millis: i64| first_id(Timestamp::from_micros(millis * 1_000));
        let millis = 1_763_900_000_123;
        let id = made(millis);
        let millis = millis.cast_signed();
        assert!(bound(millis) <= id && id < bound(millis + 1), "{id}");
        assert_eq!(bound(-1), Uuid::nil());
    }
}
