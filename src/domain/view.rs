//! A transaction as it is told to the outside: the object of the API, the feed and subscribers.

use crate::domain::fold::{Basis, Derived, Summary};
use crate::domain::snapshot::Card;
use crate::domain::{Opening, RefusalKind, Snapshot, State, StatusClass, Timestamp};
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// What the store keeps of a transaction beside the opening and the summary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Our id.
    pub id: Uuid,
    /// The description of the request.
    pub description: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it became final; `None` while it is not.
    pub finalized_at: Option<Timestamp>,
    /// When it is looked at next.
    pub next_check_at: Option<Timestamp>,
    /// Counts the changes of this transaction from 1.
    pub sequence: i64,
}

/// The transaction object of the contract. Absent values are null, never missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/api.md, one by one"
)]
pub struct TransactionView {
    pub id: Uuid,
    pub shop_id: String,
    pub tracking_id: Option<String>,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub origin: &'static str,
    pub state: &'static str,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub description: Option<String>,
    pub uid: Option<String>,
    pub parent_uid: Option<String>,
    pub request_id: Option<String>,
    pub status: Option<String>,
    pub code: Option<String>,
    pub message: Option<String>,
    pub friendly_message: Option<String>,
    pub redirect_url: Option<String>,
    pub card: Option<CardView>,
    pub test: bool,
    #[serde(serialize_with = "rfc3339")]
    pub created_at: Timestamp,
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: Timestamp,
    #[serde(serialize_with = "rfc3339_opt")]
    pub finalized_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_opt")]
    pub next_check_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_opt")]
    pub paid_at: Option<Timestamp>,
    #[serde(serialize_with = "rfc3339_opt")]
    pub gateway_updated_at: Option<Timestamp>,
    pub gateway_amount: Option<i64>,
    pub gateway_currency: Option<String>,
    pub sequence: i64,
}

/// The card of a transaction. Absent values are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are those of `Card`")]
pub struct CardView {
    pub brand: Option<String>,
    pub last_4: Option<String>,
    pub first_1: Option<String>,
    pub bin: Option<String>,
    pub token: Option<String>,
    pub stamp: Option<String>,
    pub issuer_country: Option<String>,
    pub issuer_name: Option<String>,
    pub product: Option<String>,
}

impl From<Card> for CardView {
    fn from(c: Card) -> Self {
        Self {
            brand: c.brand,
            last_4: c.last_4,
            first_1: c.first_1,
            bin: c.bin,
            token: c.token,
            stamp: c.stamp,
            issuer_country: c.issuer_country,
            issuer_name: c.issuer_name,
            product: c.product,
        }
    }
}

impl TransactionView {
    /// Puts together what the outside sees.
    pub fn of(opening: &Opening, summary: &Summary, derived: &Derived, record: &Record) -> Self {
        let snapshot = shown(summary, derived);
        let refusal = match (&derived.basis, snapshot) {
            (Basis::Refusal(refusal), None) => Some(refusal),
            _ => None,
        };
        let text = |of_snapshot: fn(&Snapshot) -> Option<&String>| snapshot.and_then(of_snapshot);
        let latest = derived
            .uid
            .as_ref()
            .and_then(|uid| summary.candidates.get(uid))
            .and_then(|candidate| candidate.latest.as_deref());
        let task = summary
            .tasks
            .iter()
            .max_by_key(|(_, task)| (task.attempt, task.acked_at));
        Self {
            id: record.id,
            shop_id: opening.shop.to_string(),
            tracking_id: opening.tracking_id.as_ref().map(ToString::to_string),
            kind: opening.kind.as_str(),
            origin: opening.origin.as_str(),
            state: derived.state.as_str(),
            is_final: derived.state.is_final(),
            amount: opening.amount,
            currency: opening.currency.map(|c| c.to_string()),
            description: record.description.clone(),
            uid: derived.uid.as_ref().map(ToString::to_string),
            parent_uid: opening.parent_uid.as_ref().map(ToString::to_string),
            request_id: task.map(|(id, _)| id.to_string()),
            status: snapshot.map(|s| s.status.clone()),
            code: text(|s| s.code.as_ref())
                .or(refusal.and_then(|r| r.code.as_ref()))
                .cloned(),
            message: text(|s| s.message.as_ref())
                .or(refusal.and_then(|r| r.message.as_ref()))
                .cloned(),
            friendly_message: text(|s| s.friendly_message.as_ref())
                .or(refusal.and_then(|r| r.friendly_message.as_ref()))
                .cloned(),
            redirect_url: text(|s| s.redirect_url.as_ref()).cloned(),
            card: snapshot.and_then(|s| s.card.clone()).map(CardView::from),
            test: opening
                .test
                .or(snapshot.and_then(|s| s.test))
                .unwrap_or(false),
            created_at: record.created_at,
            updated_at: record.updated_at,
            finalized_at: record.finalized_at,
            next_check_at: record.next_check_at,
            paid_at: snapshot.and_then(|s| s.paid_at),
            gateway_updated_at: snapshot.and_then(|s| s.updated_at),
            gateway_amount: latest.and_then(|s| s.amount),
            gateway_currency: latest.and_then(|s| s.currency).map(|c| c.to_string()),
            sequence: record.sequence,
        }
    }

    /// Whether a caller that waits has something to act on: the end, or where to send the payer. A
    /// finished transaction may still show its `redirect_url`; that is nothing to act on.
    pub fn is_answer(&self) -> bool {
        let ended = self
            .status
            .as_deref()
            .is_some_and(|s| StatusClass::of(s, None).is_final());
        let redirects = self.state == State::Pending.as_str() && self.redirect_url.is_some();
        self.is_final || (redirects && !ended)
    }
}

/// The snapshot that the state rests on, or the greatest one of the adopted transaction.
fn shown<'a>(summary: &'a Summary, derived: &Derived) -> Option<&'a Snapshot> {
    let candidate = summary.candidates.get(derived.uid.as_ref()?)?;
    match derived.basis {
        Basis::Differs(_) => candidate.latest.as_deref(),
        _ => candidate.shown(),
    }
}

/// Whether the refusal that a state rests on leaves the outcome open.
pub fn is_open_refusal(derived: &Derived) -> bool {
    let open =
        matches!(&derived.basis, Basis::Refusal(refusal) if refusal.kind != RefusalKind::Rejected);
    open && !derived.state.is_final()
}

fn rfc3339<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(&at.to_rfc3339())
}

fn rfc3339_opt<S: Serializer>(at: &Option<Timestamp>, s: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, s),
        None => s.serialize_none(),
    }
}

/// A finding as it is told to the outside. Absent values are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    missing_docs,
    reason = "the fields are described in docs/api.md, one by one"
)]
pub struct DiscrepancyView {
    pub id: Uuid,
    pub kind: &'static str,
    pub status: &'static str,
    pub tracking_id: Option<String>,
    pub uid: Option<String>,
    pub amount: Option<i64>,
    pub currency: Option<String>,
    pub detail: String,
    #[serde(serialize_with = "rfc3339")]
    pub opened_at: Timestamp,
    #[serde(serialize_with = "rfc3339_opt")]
    pub resolved_at: Option<Timestamp>,
    pub reason: Option<String>,
}
