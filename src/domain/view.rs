//! A transaction as it is told to the outside: the object of the API, the feed and subscribers.

use crate::domain::discrepancy::DiscrepancyStatus;
use crate::domain::fold::{Basis, Derived, Summary};
use crate::domain::snapshot::Card;
use crate::domain::{
    DiscrepancyKind, Opening, Origin, RefusalKind, Snapshot, State, StatusClass, Timestamp,
    TransactionType,
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
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

/// A transaction. Absent values are null, never missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Transaction)]
pub struct TransactionView {
    /// Our id. `~` and this id address the transaction in any path.
    pub id: Uuid,
    /// The merchant account at the gateway.
    pub shop_id: String,
    /// The caller's name for it, and the idempotency key. Null only for what the gateway told of
    /// without one.
    pub tracking_id: Option<String>,
    /// What it is.
    #[serde(rename = "type")]
    #[schema(value_type = TransactionType)]
    pub kind: &'static str,
    /// Who made it.
    #[schema(value_type = Origin)]
    pub origin: &'static str,
    /// Our state.
    #[schema(value_type = State)]
    pub state: &'static str,
    /// Whether the state is final. A final state can still be corrected to another one.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// What was asked for, in minor units. Null where the gateway told of it without an amount.
    pub amount: Option<i64>,
    /// Its currency, ISO 4217. Children have none of their own.
    pub currency: Option<String>,
    /// The description of the request, redacted.
    pub description: Option<String>,
    /// The gateway's own name for it, once one is known.
    pub uid: Option<String>,
    /// The parent of a capture, void, refund or chargeback.
    pub parent_uid: Option<String>,
    /// The gateway's task.
    pub request_id: Option<String>,
    /// The gateway's status, verbatim.
    pub status: Option<String>,
    /// The gateway's code, verbatim.
    pub code: Option<String>,
    /// The gateway's text, redacted.
    pub message: Option<String>,
    /// The gateway's text for the payer, redacted.
    pub friendly_message: Option<String>,
    /// Where the payer has to go.
    pub redirect_url: Option<String>,
    /// The card, as far as it may be known.
    pub card: Option<CardView>,
    /// Whether no real money moves.
    pub test: bool,
    /// When it was opened here.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed here.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it became final; null while it is not.
    #[serde(serialize_with = "rfc3339_opt")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finalized_at: Option<Timestamp>,
    /// When it is looked at next; null when nothing is due.
    #[serde(serialize_with = "rfc3339_opt")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_check_at: Option<Timestamp>,
    /// When the gateway says that it was paid.
    #[serde(serialize_with = "rfc3339_opt")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Timestamp>,
    /// The gateway's own time of its last change.
    #[serde(serialize_with = "rfc3339_opt")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub gateway_updated_at: Option<Timestamp>,
    /// The amount that the gateway has; one that differs opens a discrepancy.
    pub gateway_amount: Option<i64>,
    /// The currency that the gateway has.
    pub gateway_currency: Option<String>,
    /// Counts the changes of this transaction from 1; of two messages the greater is the newer.
    #[schema(minimum = 1)]
    pub sequence: i64,
}

/// The card of a transaction, as far as it may be kept. Absent values are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Card)]
pub struct CardView {
    /// The scheme.
    pub brand: Option<String>,
    /// The last four digits.
    pub last_4: Option<String>,
    /// The first digit.
    pub first_1: Option<String>,
    /// The digits that name the issuer.
    pub bin: Option<String>,
    /// The gateway's token for it, good for further payments.
    pub token: Option<String>,
    /// The same for each token of one card.
    pub stamp: Option<String>,
    /// The issuer's country.
    pub issuer_country: Option<String>,
    /// The issuer.
    pub issuer_name: Option<String>,
    /// The product name of the card.
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

/// A finding: something that does not fit. Absent values are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Discrepancy)]
pub struct DiscrepancyView {
    /// Its id.
    pub id: Uuid,
    /// What does not fit.
    #[schema(value_type = DiscrepancyKind)]
    pub kind: &'static str,
    /// Whether somebody has to look at it.
    #[schema(value_type = DiscrepancyStatus)]
    pub status: &'static str,
    /// The transaction that it is about, if it is about one.
    pub tracking_id: Option<String>,
    /// The gateway's transaction that it is about.
    pub uid: Option<String>,
    /// The amount at stake, in minor units.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<String>,
    /// In plain words.
    pub detail: String,
    /// When it was found.
    #[serde(serialize_with = "rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub opened_at: Timestamp,
    /// When it was closed.
    #[serde(serialize_with = "rfc3339_opt")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub resolved_at: Option<Timestamp>,
    /// Why it was closed.
    pub reason: Option<String>,
}
