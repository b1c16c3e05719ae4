//! The writes of a group commit.

use super::RowLocation;
use crate::store::{CheckWrite, EventWrite, EvidenceWrite, StoreError, StoredTransaction, uids};
use domain::{ShopId, Timestamp, Uid};
use sqlx::PgConnection;
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;

/// What nearly every batch writes: all of it about rows that are locked or new, so that nothing of it
/// waits for anybody.
#[derive(Debug, Default)]
pub struct BatchWrites<'a> {
    /// Transactions whose moving columns are written.
    pub changed: Vec<TransactionUpdate<'a>>,
    /// Evidence to be appended. All of it is new: the transactions are locked, and
    /// [`super::known_evidence`] was asked where it could be known.
    pub evidence: &'a [EvidenceWrite],
    /// Rows of the hot table.
    pub checks: Vec<CheckWrite>,
}

/// A transaction to be written.
#[derive(Debug)]
pub struct TransactionUpdate<'a> {
    /// As it is now.
    pub row: &'a StoredTransaction,
    /// The gateway's uid that follows from it.
    pub uid: Option<&'a str>,
    /// Where it lies.
    pub place: &'a RowLocation,
}

impl BatchWrites<'_> {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.evidence.is_empty() && self.checks.is_empty()
    }
}

/// Writes transactions, evidence and due checks in one statement. Rows are written where they lie, and
/// must be those that are meant; else nothing is. (Their key among the conditions would let the planner
/// read the whole shop by it.) Returns `false` when a piece of evidence or a due check is there already,
/// which nobody expected: the batch must be folded anew.
pub async fn write(
    conn: &mut PgConnection,
    shop: &ShopId,
    writes: &BatchWrites<'_>,
) -> Result<bool, StoreError> {
    let (changed, evidence) = (&writes.changed, writes.evidence);
    let (summaries, (known, new)) = (summaries(changed)?, known_and_new(&writes.checks));
    let written = sqlx::query_file!(
        "src/store/batch/write.sql",
        shop.as_str(),
        &column(evidence, |r| OffsetDateTime::from(r.received_at)),
        &column(changed, |c| c.place.0.as_str()) as &[&str],
        &column(changed, |c| c.row.record.id),
        &column(changed, |c| c.row.state.as_str()) as &[&str],
        &column(changed, |c| OffsetDateTime::from(c.row.state_since)),
        &column(changed, |c| c.uid) as &[Option<&str>],
        &summaries,
        &column(changed, |c| c.row.record.sequence),
        &column(changed, |c| OffsetDateTime::from(c.row.record.updated_at)),
        &column(changed, finalized_at) as &[Option<OffsetDateTime>],
        &column(changed, |c| c.row.evidence_count),
        &column(changed, |c| c.row.evidence_head.as_slice()) as &[&[u8]],
        &column(evidence, |r| r.transaction_id),
        &column(evidence, |r| r.id),
        &column(evidence, |r| r.position),
        &column(evidence, |r| r.channel.as_str()) as &[&str],
        &column(evidence, |r| r.verdict.as_str()) as &[&str],
        &column(evidence, |r| r.http_status.map(i32::from)) as &[Option<i32>],
        &column(evidence, |r| r.subject.as_deref()) as &[Option<&str>],
        &column(evidence, |r| r.signed) as &[Option<bool>],
        &column(evidence, |r| r.note.as_str()) as &[&str],
        &column(evidence, |r| &*r.body) as &[&[u8]],
        &column(evidence, |r| r.body_sha256.as_slice()) as &[&[u8]],
        &column(evidence, |r| r.chain.as_slice()) as &[&[u8]],
        &column(&known, |(_, place)| place.0.as_str()) as &[&str],
        &column(&known, |(r, _)| r.transaction_id),
        &column(&known, |(r, _)| OffsetDateTime::from(r.due_at)),
        &column(&known, |(r, _)| r.lease) as &[Option<Uuid>],
        &column(&known, |(r, _)| r.again),
        &column(&known, |(r, _)| r.state.as_str()) as &[&str],
        &column(&known, |(r, _)| OffsetDateTime::from(r.since)),
        &column(&new, |r| r.transaction_id),
        &column(&new, |r| OffsetDateTime::from(r.due_at)),
        &column(&new, |r| r.lease) as &[Option<Uuid>],
        &column(&new, |r| r.again),
        &column(&new, |r| r.state.as_str()) as &[&str],
        &column(&new, |r| OffsetDateTime::from(r.since)),
        &column(&known, |(r, _)| count(r.course.misses)),
        &column(&known, |(r, _)| count(r.course.unanswered)),
        &column(&known, |(r, _)| r.course.wishes.by_name),
        &column(&known, |(r, _)| wished(r)) as &[Option<&str>],
        &column(&new, |r| count(r.course.misses)),
        &column(&new, |r| count(r.course.unanswered)),
        &column(&new, |r| r.course.wishes.by_name),
        &column(&new, |r| wished(r)) as &[Option<&str>],
    )
    .fetch_one(conn)
    .await;
    let Some(written) = unless_taken(written)? else {
        return Ok(false);
    };
    all_of("transactions", written.moved, changed.len())?;
    all_of("due_checks", written.put_off, known.len())?;
    Ok(true)
}

fn summaries(changed: &[TransactionUpdate<'_>]) -> Result<Vec<String>, StoreError> {
    let each = changed.iter();
    each.map(|c| encode(&c.row.summary, c.row.record.id))
        .collect()
}

fn finalized_at(changed: &TransactionUpdate<'_>) -> Option<OffsetDateTime> {
    changed.row.record.finalized_at.map(OffsetDateTime::from)
}

/// The rows that lie somewhere, and those that are to be added.
fn known_and_new(checks: &[CheckWrite]) -> (Vec<(&CheckWrite, &RowLocation)>, Vec<&CheckWrite>) {
    let known = checks.iter().filter_map(|r| Some((r, r.place.as_ref()?)));
    let new = checks.iter().filter(|r| r.place.is_none());
    (known.collect(), new.collect())
}

fn wished(check: &CheckWrite) -> Option<&str> {
    check.course.wishes.at.as_ref().map(Uid::as_str)
}

/// A count, as PostgreSQL has it.
fn count(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// Fails where fewer rows were written than are locked.
fn all_of(table: &'static str, written: i64, meant: usize) -> Result<(), StoreError> {
    match usize::try_from(written) {
        Ok(written) if written == meant => Ok(()),
        _ => Err(StoreError::inconsistent(
            table,
            "ctid",
            "a locked row is gone",
        )),
    }
}

/// One column of rows, as a parameter.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

/// Inserts transactions. Returns `false` when somebody else has taken a tracking id in between: the batch
/// must be folded anew.
pub async fn insert_transactions(
    conn: &mut PgConnection,
    shop: &ShopId,
    rows: &[&StoredTransaction],
) -> Result<bool, StoreError> {
    // A fixed order, so that two replicas with the same tracking ids cannot deadlock.
    let mut rows = rows.to_vec();
    rows.sort_unstable_by_key(|row| (row.opening.tracking_id.as_ref(), row.record.id));
    let mut c = TransactionColumns::default();
    for stored in rows {
        c.push(stored)?;
    }
    let inserted = sqlx::query!(
        r#"-- insert_transactions
        INSERT INTO transactions (shop_id, id, tracking_id, type, origin, amount, currency, description,
            parent_uid, parent_tracking_id, card_data, test, fingerprint, fingerprint_key, created_at,
            state, state_since, uid, summary, sequence, updated_at, finalized_at, evidence_count, evidence_head)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[],
            $8::text[], $9::text[], $10::text[], $11::bool[], $12::bool[], $13::bytea[], $14::text[],
            $15::timestamptz[], $16::text[], $17::timestamptz[], $18::text[], $19::text[], $20::bigint[],
            $21::timestamptz[], $22::timestamptz[], $23::int[], $24::bytea[])"#,
        shop.as_str(),
        &c.id,
        &c.tracking_id as &[Option<String>],
        &c.kind as &[&str],
        &c.origin as &[&str],
        &c.amount as &[Option<i64>],
        &c.currency as &[Option<String>],
        &c.description as &[Option<String>],
        &c.parent_uid as &[Option<String>],
        &c.parent_tracking_id as &[Option<String>],
        &c.card_data,
        &c.test as &[Option<bool>],
        &c.fingerprint as &[Option<Vec<u8>>],
        &c.fingerprint_key as &[Option<String>],
        &c.created_at,
        &c.state as &[&str],
        &c.state_since,
        &c.uid as &[Option<String>],
        &c.summary,
        &c.sequence,
        &c.updated_at,
        &c.finalized_at as &[Option<OffsetDateTime>],
        &c.evidence_count,
        &c.evidence_head,
    )
    .execute(conn)
    .await;
    Ok(unless_taken(inserted)?.is_some())
}

/// `None` where a unique key was taken. What nearly never happens need not be asked for each row, as
/// `ON CONFLICT` does.
fn unless_taken<T>(done: Result<T, sqlx::Error>) -> Result<Option<T>, StoreError> {
    match done {
        Ok(done) => Ok(Some(done)),
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[derive(Default)]
struct TransactionColumns {
    id: Vec<Uuid>,
    tracking_id: Vec<Option<String>>,
    kind: Vec<&'static str>,
    origin: Vec<&'static str>,
    amount: Vec<Option<i64>>,
    currency: Vec<Option<String>>,
    description: Vec<Option<String>>,
    parent_uid: Vec<Option<String>>,
    parent_tracking_id: Vec<Option<String>>,
    card_data: Vec<bool>,
    test: Vec<Option<bool>>,
    fingerprint: Vec<Option<Vec<u8>>>,
    fingerprint_key: Vec<Option<String>>,
    created_at: Vec<OffsetDateTime>,
    state: Vec<&'static str>,
    state_since: Vec<OffsetDateTime>,
    uid: Vec<Option<String>>,
    summary: Vec<String>,
    sequence: Vec<i64>,
    updated_at: Vec<OffsetDateTime>,
    finalized_at: Vec<Option<OffsetDateTime>>,
    evidence_count: Vec<i32>,
    evidence_head: Vec<Vec<u8>>,
}

impl TransactionColumns {
    fn push(&mut self, row: &StoredTransaction) -> Result<(), StoreError> {
        let opening = &row.opening;
        let named = !row.fingerprint.is_empty();
        self.id.push(row.record.id);
        self.tracking_id
            .push(opening.tracking_id.as_ref().map(ToString::to_string));
        self.kind.push(opening.kind.as_str());
        self.origin.push(opening.origin.as_str());
        self.amount.push(opening.amount);
        self.currency.push(opening.currency.map(|c| c.to_string()));
        self.description.push(row.record.description.clone());
        self.parent_uid
            .push(opening.parent_uid.as_ref().map(ToString::to_string));
        self.parent_tracking_id
            .push(opening.parent_tracking_id.as_ref().map(ToString::to_string));
        self.card_data.push(opening.card_data);
        self.test.push(opening.test);
        self.fingerprint
            .push(named.then(|| row.fingerprint.clone()));
        self.fingerprint_key
            .push(named.then(|| row.fingerprint_key.clone()));
        self.created_at.push(row.record.created_at.into());
        self.state.push(row.state.as_str());
        self.state_since.push(row.state_since.into());
        self.uid.push(row.derived().uid.map(|uid| uid.to_string()));
        self.summary.push(encode(&row.summary, row.record.id)?);
        self.sequence.push(row.record.sequence);
        self.updated_at.push(row.record.updated_at.into());
        self.finalized_at
            .push(row.record.finalized_at.map(OffsetDateTime::from));
        self.evidence_count.push(row.evidence_count);
        self.evidence_head.push(row.evidence_head.to_vec());
        Ok(())
    }
}

fn encode(summary: &domain::Summary, row: Uuid) -> Result<String, StoreError> {
    serde_json::to_string(summary)
        .map_err(|_| StoreError::inconsistent("transactions", "summary", row))
}

/// Claims uids. Returns `false` when somebody else has claimed one in between: the batch must be
/// folded anew.
pub async fn insert_uids(
    conn: &mut PgConnection,
    shop: &ShopId,
    claims: &[(String, Uuid)],
) -> Result<bool, StoreError> {
    let mut claims: Vec<(Uuid, &(String, Uuid))> =
        claims.iter().map(|c| (uids::key(&c.0), c)).collect();
    // A fixed order, as for names.
    claims.sort_unstable();
    let claimed = sqlx::query!(
        "-- claim_uids
        INSERT INTO uids (shop_id, key, uid, transaction_id)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::text[], $4::uuid[])",
        shop.as_str(),
        &column(&claims, |(key, _)| *key),
        &column(&claims, |(_, (uid, _))| uid.as_str()) as &[&str],
        &column(&claims, |(_, (_, id))| *id)
    )
    .execute(conn)
    .await;
    Ok(unless_taken(claimed)?.is_some())
}

/// Notes which transactions turned out to be which of ours. `false` when one of them is noted already.
pub async fn merge(
    conn: &mut PgConnection,
    shop: &ShopId,
    merges: &[(Uuid, Uuid)],
) -> Result<bool, StoreError> {
    let mut merges = merges.to_vec();
    merges.sort_unstable();
    let merged = sqlx::query!(
        "-- merge
        INSERT INTO merges (shop_id, transaction_id, into_id)
        SELECT $1, * FROM UNNEST($2::uuid[], $3::uuid[])",
        shop.as_str(),
        &column(&merges, |(from, _)| *from),
        &column(&merges, |(_, into)| *into)
    )
    .execute(conn)
    .await;
    Ok(unless_taken(merged)?.is_some())
}

/// Takes transactions out of the hot table: they are final and have been looked at again.
pub async fn drop_checks(
    conn: &mut PgConnection,
    shop: &ShopId,
    ids: &[Uuid],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- drop_checks
        DELETE FROM due_checks WHERE ctid = ANY (ARRAY(
            SELECT d.ctid FROM UNNEST($2::uuid[]) AS k(id)
            CROSS JOIN LATERAL (
                SELECT ctid FROM due_checks
                WHERE shop_id = $1 AND transaction_id >= k.id AND transaction_id <= k.id
                ORDER BY transaction_id LIMIT 1) d))",
        shop.as_str(),
        ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Appends events. The shop's counter is the last row that a batch locks, so that numbers follow
/// commit order without gaps. Returns the last number given.
pub async fn append_events(
    conn: &mut PgConnection,
    shop: &ShopId,
    at: Timestamp,
    rows: &[EventWrite],
) -> Result<i64, StoreError> {
    let last = sqlx::query_scalar!(
        r#"-- append_events
        WITH counter AS (
            INSERT INTO shop_feeds AS f (shop_id, last_seq) VALUES ($1, $2)
            ON CONFLICT (shop_id) DO UPDATE SET last_seq = f.last_seq + $2
            RETURNING last_seq
        ), appended AS (
            INSERT INTO events (shop_id, seq, type, at, transaction_id, payload)
            SELECT $1, counter.last_seq - $2 + e.place, e.type, $3, e.transaction_id, e.payload
            FROM counter, UNNEST($4::text[], $5::uuid[], $6::text[])
                WITH ORDINALITY AS e(type, transaction_id, payload, place)
        )
        SELECT last_seq AS "last_seq!" FROM counter"#,
        shop.as_str(),
        i64::try_from(rows.len()).unwrap_or(i64::MAX),
        OffsetDateTime::from(at),
        &rows.iter().map(|r| r.kind).collect::<Vec<_>>() as &[&str],
        &rows.iter().map(|r| r.transaction_id).collect::<Vec<_>>() as &[Option<Uuid>],
        &rows.iter().map(|r| r.payload.as_str()).collect::<Vec<_>>() as &[&str],
    )
    .fetch_one(conn)
    .await?;
    Ok(last)
}
