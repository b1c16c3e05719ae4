//! Read-only statements of the audit. Rows come out as PostgreSQL has them, words unread: a word that
//! nobody knows is something to report and not a reason to stop.
//!
//! What it deliberately cannot do: write. Every statement runs in a READ ONLY
//! transaction at REPEATABLE READ, so that what is compared belongs to one moment.

use crate::Error;
use sqlx::types::time::OffsetDateTime;
use sqlx::{PgPool, PgTransaction};
use uuid::Uuid;
use words::{ShopId, Timestamp};

/// The migration from which on a summary says who has written it.
const EARLIER_ENDS: i64 = 20261201010700;

/// A transaction as the audit compares it.
#[derive(Debug, Clone)]
pub struct AuditedTransaction {
    /// Our id.
    pub id: Uuid,
    /// The merchant's name for it.
    pub tracking_id: Option<String>,
    /// `payment`, …
    pub kind: String,
    /// `api` or `gateway`.
    pub origin: String,
    /// Minor units.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// The parent of a child.
    pub parent_uid: Option<String>,
    /// The parent's own name.
    pub parent_tracking_id: Option<String>,
    /// The request carried card data.
    pub card_data: bool,
    /// The `test` flag of the request.
    pub test: Option<bool>,
    /// The stored state.
    pub state: String,
    /// The stored uid.
    pub uid: Option<String>,
    /// The stored summary (JSON).
    pub summary: String,
    /// Whether a time of finality is stored.
    pub finalized: bool,
    /// The last position of its chain.
    pub evidence_count: i32,
    /// The head of its chain.
    pub evidence_head: Vec<u8>,
    /// The state that its due check tells; none when there is no due check.
    pub check_state: Option<String>,
}

/// A piece of evidence as the audit reads it.
#[derive(Debug, Clone)]
pub struct AuditedEvidence {
    /// Its id.
    pub id: Uuid,
    /// Its place in the chain.
    pub position: i32,
    /// The way it came.
    pub channel: String,
    /// What its arrival changed.
    pub verdict: String,
    /// When it was recorded.
    pub received_at: Timestamp,
    /// The HTTP status of an answer.
    pub http_status: Option<i32>,
    /// What was asked, or which act it is.
    pub subject: Option<String>,
    /// Whether a signature held.
    pub signed: Option<bool>,
    /// One sentence; hashed, and not read.
    pub note: String,
    /// What was said, redacted.
    pub body: Vec<u8>,
    /// SHA-256 of the original.
    pub body_sha256: Vec<u8>,
    /// The hash of the chain up to here.
    pub chain: Vec<u8>,
}

/// What is kept of a shop's feed.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuditedFeed {
    /// The first number that should be kept.
    pub first: i64,
    /// The last number given.
    pub last: i64,
    /// How many events there are.
    pub count: i64,
    /// The lowest number among them.
    pub lowest: Option<i64>,
    /// The highest number among them.
    pub highest: Option<i64>,
}

/// An event that does not fit the one before it, or its transaction.
#[derive(Debug, Clone)]
pub struct OddEvent {
    /// Its number in the feed.
    pub seq: i64,
    /// About which transaction.
    pub transaction_id: Option<Uuid>,
    /// What it tells, and what it should fit.
    pub detail: String,
}

/// One moment of the database, to be read and never written.
pub struct AuditReader(PgTransaction<'static>);

impl AuditReader {
    /// Begins to read at this moment.
    pub async fn begin(pool: &PgPool) -> Result<Self, Error> {
        let mut tx = pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        // The feed of a shop is looked at in one statement, however long that takes.
        sqlx::query!("-- audit_patience\nSELECT set_config('statement_timeout', '0', true)")
            .fetch_one(&mut *tx)
            .await?;
        Ok(Self(tx))
    }

    /// Every shop that has a transaction, found by hopping through the primary key.
    pub async fn shops(&mut self) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar!(
            r#"-- audit_shops
            WITH RECURSIVE hop AS (
                (SELECT shop_id FROM transactions ORDER BY shop_id LIMIT 1)
                UNION ALL
                SELECT (SELECT t.shop_id FROM transactions t WHERE t.shop_id > hop.shop_id
                    ORDER BY t.shop_id LIMIT 1)
                FROM hop WHERE hop.shop_id IS NOT NULL
            )
            SELECT shop_id AS "shop_id!" FROM hop WHERE shop_id IS NOT NULL"#
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// When the schema was made by which this release knows what an earlier one has left. The table belongs to
    /// the migrator, so that the statement cannot be checked at build time.
    pub async fn schema_made_at(&mut self) -> Result<Option<Timestamp>, Error> {
        let made: Option<OffsetDateTime> = sqlx::query_scalar(
            "-- audit_schema_made_at\nSELECT installed_on FROM _sqlx_migrations WHERE version = $1",
        )
        .bind(EARLIER_ENDS)
        .fetch_optional(&mut *self.0)
        .await?;
        Ok(made.map(Timestamp::from))
    }

    /// The months of evidence that are still kept, as `2026_11`.
    pub async fn kept_months(&mut self) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar!(
            r#"-- audit_kept_months
            SELECT substr(c.relname, 10) AS "month!" FROM pg_inherits i
            JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'evidence'::regclass AND c.relname ~ '^evidence_[0-9]{4}_[0-9]{2}$'"#
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// The next transactions of a shop after this id.
    pub async fn page(
        &mut self,
        shop: &ShopId,
        after: Uuid,
        limit: i64,
    ) -> Result<Vec<AuditedTransaction>, Error> {
        Ok(sqlx::query_as!(
            AuditedTransaction,
            r#"-- audit_page
            SELECT t.id, t.tracking_id, t.type AS kind, t.origin, t.amount, t.currency, t.parent_uid,
                t.parent_tracking_id, t.card_data, t.test, t.state, t.uid, t.summary,
                t.finalized_at IS NOT NULL AS "finalized!", t.evidence_count, t.evidence_head,
                d.state AS "check_state?"
            FROM transactions t
            LEFT JOIN due_checks d ON d.shop_id = t.shop_id AND d.transaction_id = t.id
            WHERE t.shop_id = $1 AND t.id > $2 ORDER BY t.id LIMIT $3"#,
            shop.as_str(),
            after,
            limit
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// All evidence of a transaction, by position.
    pub async fn evidence(
        &mut self,
        shop: &ShopId,
        id: Uuid,
    ) -> Result<Vec<AuditedEvidence>, Error> {
        let rows = sqlx::query!(
            "-- audit_evidence
            SELECT id, position, channel, verdict, received_at, http_status, subject, signed, note, body,
                body_sha256, chain
            FROM evidence WHERE shop_id = $1 AND transaction_id = $2 ORDER BY position, id",
            shop.as_str(),
            id
        )
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|r| AuditedEvidence {
                id: r.id,
                position: r.position,
                channel: r.channel,
                verdict: r.verdict,
                received_at: r.received_at.into(),
                http_status: r.http_status,
                subject: r.subject,
                signed: r.signed,
                note: r.note,
                body: r.body,
                body_sha256: r.body_sha256,
                chain: r.chain,
            })
            .collect())
    }

    /// Which transactions own these uids, and the origin of each.
    pub async fn owners(
        &mut self,
        shop: &ShopId,
        uids: &[String],
    ) -> Result<Vec<(String, Uuid, String)>, Error> {
        let rows = sqlx::query!(
            r#"-- audit_owners
            SELECT u.uid, coalesce(m.into_id, u.transaction_id) AS "owner!",
                coalesce(t.origin, 'api') AS "origin!"
            FROM uids u
            LEFT JOIN merges m ON m.shop_id = u.shop_id AND m.transaction_id = u.transaction_id
            LEFT JOIN transactions t ON t.shop_id = u.shop_id
                AND t.id = coalesce(m.into_id, u.transaction_id)
            WHERE u.shop_id = $1 AND u.key = ANY(ARRAY(SELECT uid_key(x) FROM unnest($2::text[]) AS x))"#,
            shop.as_str(),
            uids
        )
        .fetch_all(&mut *self.0)
        .await?;
        Ok(rows
            .into_iter()
            .map(|r| (r.uid, r.owner, r.origin))
            .collect())
    }

    /// Which of these uids belong to another transaction that was made through us.
    pub async fn made_here(
        &mut self,
        shop: &ShopId,
        id: Uuid,
        uids: &[String],
    ) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar!(
            "-- audit_made_here
            SELECT u.uid FROM uids u
            LEFT JOIN merges m ON m.shop_id = u.shop_id AND m.transaction_id = u.transaction_id
            JOIN transactions t ON t.shop_id = u.shop_id
                AND t.id = coalesce(m.into_id, u.transaction_id)
            WHERE u.shop_id = $1 AND u.key = ANY(ARRAY(SELECT uid_key(x) FROM unnest($2::text[]) AS x)) AND t.id <> $3 AND t.origin = 'api'",
            shop.as_str(),
            uids,
            id
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// Uids whose owner does not exist, or that are not found by their key. At most a hundred.
    pub async fn ownerless_uids(&mut self, shop: &ShopId) -> Result<Vec<String>, Error> {
        Ok(sqlx::query_scalar!(
            "-- audit_ownerless_uids
            SELECT u.uid FROM uids u WHERE u.shop_id = $1 AND (u.key <> uid_key(u.uid)
                OR NOT EXISTS (SELECT 1 FROM transactions t
                    WHERE t.shop_id = u.shop_id AND t.id = u.transaction_id))
            ORDER BY u.uid LIMIT 100",
            shop.as_str()
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// The bounds of a shop's feed, as they are noted and as they are.
    pub async fn feed(&mut self, shop: &ShopId) -> Result<AuditedFeed, Error> {
        Ok(sqlx::query_as!(
            AuditedFeed,
            r#"-- audit_feed
            SELECT coalesce((SELECT first_seq FROM shop_feeds WHERE shop_id = $1), 1) AS "first!",
                coalesce((SELECT last_seq FROM shop_feeds WHERE shop_id = $1), 0) AS "last!",
                count(*) AS "count!", min(seq) AS lowest, max(seq) AS highest
            FROM events WHERE shop_id = $1"#,
            shop.as_str()
        )
        .fetch_one(&mut *self.0)
        .await?)
    }

    /// Events whose sequence does not grow over the one before them of the same transaction. Read
    /// as text, so that a payload that is no JSON is one of them. At most a hundred.
    pub async fn shrinking_sequences(&mut self, shop: &ShopId) -> Result<Vec<OddEvent>, Error> {
        Ok(sqlx::query_as!(
            OddEvent,
            r#"-- audit_shrinking_sequences
            WITH told AS (
                SELECT seq, transaction_id,
                    substring(payload FROM '"sequence":([0-9]{1,18})')::bigint AS sequence
                FROM events WHERE shop_id = $1 AND type LIKE 'transaction.%'
            ), compared AS (
                SELECT seq, transaction_id, sequence,
                    lag(sequence) OVER (PARTITION BY transaction_id ORDER BY seq) AS before
                FROM told
            )
            SELECT seq, transaction_id, 'sequence ' || coalesce(sequence::text, 'unreadable')
                || ' after ' || coalesce(before::text, 'none') AS "detail!"
            FROM compared WHERE sequence IS NULL OR sequence <= before ORDER BY seq LIMIT 100"#,
            shop.as_str()
        )
        .fetch_all(&mut *self.0)
        .await?)
    }

    /// Transactions of which the last event tells another sequence or state than their row. At most
    /// a hundred.
    pub async fn misleading_events(&mut self, shop: &ShopId) -> Result<Vec<OddEvent>, Error> {
        Ok(sqlx::query_as!(
            OddEvent,
            r#"-- audit_misleading_events
            WITH latest AS (
                SELECT DISTINCT ON (transaction_id) seq, transaction_id,
                    substring(payload FROM '"sequence":([0-9]{1,18})') AS sequence,
                    substring(payload FROM '"state":"([a-z_]+)"') AS state
                FROM events WHERE shop_id = $1 AND type LIKE 'transaction.%'
                ORDER BY transaction_id, seq DESC
            )
            SELECT l.seq, l.transaction_id, 'the last event tells '
                || coalesce(l.state, 'no state') || ' at ' || coalesce(l.sequence, 'no sequence')
                || ', the row ' || coalesce(t.state, 'is missing')
                || coalesce(' at ' || t.sequence, '') AS "detail!"
            FROM latest l
            LEFT JOIN transactions t ON t.shop_id = $1 AND t.id = l.transaction_id
            WHERE t.id IS NULL OR t.sequence::text IS DISTINCT FROM l.sequence
                OR t.state IS DISTINCT FROM l.state
            ORDER BY l.seq LIMIT 100"#,
            shop.as_str()
        )
        .fetch_all(&mut *self.0)
        .await?)
    }
}
