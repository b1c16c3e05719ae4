//! Rows, and how they become words of the domain.

use crate::store::StoreError;
use crate::store::batch::RowLocation;
use crate::view::{Record, TransactionView};
use bytes::Bytes;
use domain::earlier::EarlierEnd;
use domain::fold::DerivedState;
use domain::schedule::{Course, Wishes};
use domain::{
    Channel, Currency, DiscrepancyKind, Origin, ShopId, State, Summary, Timestamp, TrackingId,
    TransactionRequest, TransactionType, Uid, Verdict, derive,
};
use sqlx::types::time::OffsetDateTime;
use uuid::Uuid;
use words::Mention;

/// A transaction as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTransaction {
    /// What was asked.
    pub opening: TransactionRequest,
    /// The joined evidence.
    pub summary: Summary,
    /// What the API shows beside the two.
    pub record: Record,
    /// The state that was stored; the fold gives the same.
    pub state: State,
    /// When it came into that state.
    pub state_since: Timestamp,
    /// HMAC of the request.
    pub fingerprint: Vec<u8>,
    /// Which key made it.
    pub fingerprint_key: String,
    /// The last position in the chain of evidence.
    pub evidence_count: i32,
    /// The hash of the last piece of evidence.
    pub evidence_head: [u8; 32],
}

impl StoredTransaction {
    /// The state and what it rests on.
    pub fn derived(&self) -> DerivedState {
        derive(&self.opening, &self.summary)
    }

    /// What the outside sees.
    pub fn view(&self) -> TransactionView<'_> {
        self.view_of(&self.derived())
    }

    /// The same for who has derived the state already.
    pub fn view_of(&self, derived: &DerivedState) -> TransactionView<'_> {
        TransactionView::of(&self.opening, &self.summary, derived, &self.record)
    }
}

/// The columns that every read of a transaction takes, as PostgreSQL has them.
#[derive(Debug)]
pub(crate) struct RawTransaction {
    pub shop_id: String,
    pub id: Uuid,
    pub tracking_id: Option<String>,
    pub kind: String,
    pub origin: String,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub description: Option<String>,
    pub parent_uid: Option<String>,
    pub parent_tracking_id: Option<String>,
    pub card_data: bool,
    pub test: Option<bool>,
    pub fingerprint: Option<Vec<u8>>,
    pub fingerprint_key: Option<String>,
    pub created_at: OffsetDateTime,
    pub state: String,
    pub state_since: OffsetDateTime,
    pub uid: Option<String>,
    pub summary: String,
    pub sequence: i64,
    pub updated_at: OffsetDateTime,
    pub finalized_at: Option<OffsetDateTime>,
    pub evidence_count: i32,
    pub evidence_head: Vec<u8>,
    pub next_check_at: Option<OffsetDateTime>,
}

impl TryFrom<RawTransaction> for StoredTransaction {
    type Error = StoreError;

    fn try_from(raw: RawTransaction) -> Result<Self, StoreError> {
        let row = raw.id;
        let bad = |column| StoreError::inconsistent("transactions", column, row);
        let opening = TransactionRequest {
            shop: ShopId::parse(&raw.shop_id).map_err(|_| bad("shop_id"))?,
            tracking_id: optional(raw.tracking_id, TrackingId::from_gateway)
                .map_err(|()| bad("tracking_id"))?,
            kind: TransactionType::parse(&raw.kind).ok_or_else(|| bad("type"))?,
            origin: Origin::parse(&raw.origin).ok_or_else(|| bad("origin"))?,
            amount: raw.amount,
            currency: optional(raw.currency, Currency::parse).map_err(|()| bad("currency"))?,
            parent_uid: optional(raw.parent_uid, Uid::from_gateway)
                .map_err(|()| bad("parent_uid"))?,
            parent_tracking_id: optional(raw.parent_tracking_id, TrackingId::from_gateway)
                .map_err(|()| bad("parent_tracking_id"))?,
            card_data: raw.card_data,
            test: raw.test,
            opened_at: raw.created_at.into(),
        };
        let state = State::parse(&raw.state).ok_or_else(|| bad("state"))?;
        let mut summary: Summary =
            serde_json::from_str(&raw.summary).map_err(|_| bad("summary"))?;
        // What an earlier release has ended is read with that end, whatever the rules of now would say.
        if !summary.is_by_our_rules(raw.evidence_count)
            && state.is_final()
            && summary.earlier.is_none()
        {
            let uid = raw.uid.as_deref().and_then(Uid::from_gateway);
            let end = EarlierEnd::of(&opening, &summary, state, uid);
            summary.earlier = Some(Box::new(end));
        }
        Ok(Self {
            opening,
            summary,
            record: Record {
                id: raw.id,
                description: raw.description,
                created_at: raw.created_at.into(),
                updated_at: raw.updated_at.into(),
                finalized_at: raw.finalized_at.map(Timestamp::from),
                next_check_at: raw.next_check_at.map(Timestamp::from),
                sequence: raw.sequence,
            },
            state,
            state_since: raw.state_since.into(),
            fingerprint: raw.fingerprint.unwrap_or_default(),
            fingerprint_key: raw.fingerprint_key.unwrap_or_default(),
            evidence_count: raw.evidence_count,
            evidence_head: raw
                .evidence_head
                .try_into()
                .map_err(|_| bad("evidence_head"))?,
        })
    }
}

/// The columns of a transaction out of a row that has further ones.
macro_rules! raw_transaction {
    ($row:ident, $next_check_at:expr) => {
        $crate::store::rows::RawTransaction {
            shop_id: $row.shop_id,
            id: $row.id,
            tracking_id: $row.tracking_id,
            kind: $row.kind,
            origin: $row.origin,
            amount: $row.amount,
            currency: $row.currency,
            description: $row.description,
            parent_uid: $row.parent_uid,
            parent_tracking_id: $row.parent_tracking_id,
            card_data: $row.card_data,
            test: $row.test,
            fingerprint: $row.fingerprint,
            fingerprint_key: $row.fingerprint_key,
            created_at: $row.created_at,
            state: $row.state,
            state_since: $row.state_since,
            uid: $row.uid,
            summary: $row.summary,
            sequence: $row.sequence,
            updated_at: $row.updated_at,
            finalized_at: $row.finalized_at,
            evidence_count: $row.evidence_count,
            evidence_head: $row.evidence_head,
            next_check_at: $next_check_at,
        }
    };
}
pub(crate) use raw_transaction;

/// Absent stays absent; present must be readable.
fn optional<T>(text: Option<String>, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ()> {
    text.map(|text| read(&text).ok_or(())).transpose()
}

/// A piece of evidence to be inserted.
#[derive(Debug, Clone)]
pub struct EvidenceWrite {
    /// About which transaction.
    pub transaction_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// Its place in the chain.
    pub position: i32,
    /// When it was answered, or else recorded.
    pub received_at: Timestamp,
    /// The way it came.
    pub channel: Channel,
    /// What it changed.
    pub verdict: Verdict,
    /// The HTTP status of an answer.
    pub http_status: Option<u16>,
    /// What was asked.
    pub subject: Option<String>,
    /// Whether a signature held.
    pub signed: Option<bool>,
    /// One sentence.
    pub note: String,
    /// What was said, redacted.
    pub body: Bytes,
    /// SHA-256 of the original.
    pub body_sha256: [u8; 32],
    /// The hash of the chain up to here.
    pub chain: [u8; 32],
}

/// A piece of evidence as it is stored.
#[derive(Debug, Clone)]
pub struct EvidenceRow {
    /// Its id.
    pub id: Uuid,
    /// Its place in the chain.
    pub position: i32,
    /// The way it came.
    pub channel: Channel,
    /// What it changed.
    pub verdict: Verdict,
    /// When.
    pub received_at: Timestamp,
    /// The HTTP status of an answer.
    pub http_status: Option<i32>,
    /// What was asked.
    pub subject: Option<String>,
    /// Whether a signature held.
    pub signed: Option<bool>,
    /// One sentence.
    pub note: String,
    /// What was said, redacted.
    pub body: Vec<u8>,
}

/// A course as PostgreSQL has it. A uid that cannot be read wishes for nothing.
pub(crate) fn course(misses: i16, unanswered: i16, by_name: bool, at: Option<&str>) -> Course {
    Course {
        misses: u16::try_from(misses).unwrap_or(0),
        unanswered: u16::try_from(unanswered).unwrap_or(0),
        wishes: Wishes {
            by_name,
            at: at.and_then(Uid::from_gateway),
        },
    }
}

/// A row of the hot table, locked.
#[derive(Debug, Clone)]
pub struct CheckRow {
    /// Which transaction.
    pub transaction_id: Uuid,
    /// When it is due, or when the lease ends.
    pub due_at: Timestamp,
    /// The worker's token.
    pub lease: Option<Uuid>,
    /// Another look is wanted at once.
    pub again: bool,
    /// How its looks have gone, and what the next is for.
    pub course: Course,
}

/// A row of the hot table to be written.
#[derive(Debug, Clone)]
pub struct CheckWrite {
    /// Which transaction.
    pub transaction_id: Uuid,
    /// Where it lies; nowhere when it is new.
    pub place: Option<RowLocation>,
    /// When it is due, or when the lease ends.
    pub due_at: Timestamp,
    /// The worker's token.
    pub lease: Option<Uuid>,
    /// Another look is wanted at once.
    pub again: bool,
    /// How its looks have gone, and what the next is for.
    pub course: Course,
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
}

/// An event to be appended to the feed.
#[derive(Debug, Clone)]
pub struct EventWrite {
    /// `transaction.updated`, …
    pub kind: &'static str,
    /// About which transaction.
    pub transaction_id: Option<Uuid>,
    /// The object as it is now (JSON).
    pub payload: String,
}

/// A finding, to be inserted or as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiscrepancyRow {
    /// Its id.
    pub id: Uuid,
    /// What does not fit.
    pub kind: DiscrepancyKind,
    /// `open` or `resolved`.
    pub is_open: bool,
    /// About which transaction.
    pub transaction_id: Option<Uuid>,
    /// The name that it goes by.
    pub tracking_id: Option<String>,
    /// The gateway's uid.
    pub uid: Option<String>,
    /// Keeps findings of one kind apart.
    pub subject: String,
    /// How much, in minor units.
    pub amount: Option<i64>,
    /// In which currency.
    pub currency: Option<String>,
    /// In plain words.
    pub detail: String,
    /// The gateway's transactions that it is about.
    pub uids: Vec<Mention>,
    /// When it was found.
    pub opened_at: Timestamp,
    /// When it was closed.
    pub resolved_at: Option<Timestamp>,
    /// Who closed it; nobody where it went away by itself.
    pub resolved_by: Option<String>,
    /// Why it was closed.
    pub reason: Option<String>,
}

/// A webhook that belongs to nothing of ours, to be inserted.
#[derive(Debug, Clone)]
pub struct OrphanWrite {
    /// Made of the content.
    pub id: Uuid,
    /// What it seems to be.
    pub kind: &'static str,
    /// The uid that it names.
    pub uid: Option<String>,
    /// The tracking id that it names.
    pub tracking_id: Option<String>,
    /// The parent that it names.
    pub parent_uid: Option<String>,
    /// Whether its signature held.
    pub signed: bool,
    /// One sentence.
    pub note: String,
    /// What was said, redacted.
    pub body: Bytes,
    /// SHA-256 of the original.
    pub body_sha256: [u8; 32],
}
