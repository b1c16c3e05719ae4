//! A transaction as it is told to the outside: the object of the API, the feed and subscribers.

use domain::candidate::mode;
use domain::fold::{DerivedState, StateBasis, Summary};
use domain::snapshot::Card;
use domain::{
    Currency, DiscrepancyKind, DiscrepancyStatus, Mention, Origin, Refusal, Snapshot, State,
    StatusClass, Timestamp, TrackingId, TransactionRequest, TransactionType, Uid,
};
use serde::{Serialize, Serializer};
use std::borrow::Cow;
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
pub struct TransactionView<'a> {
    /// Our id. `~` and this id address the transaction in any path.
    pub id: Uuid,
    /// The merchant account at the gateway.
    pub shop_id: &'a str,
    /// The caller's name for it, and the idempotency key. Null only for what the gateway told of
    /// without one.
    pub tracking_id: Option<Cow<'a, str>>,
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
    pub currency: Option<Cow<'a, str>>,
    /// The description of the request, redacted.
    pub description: Option<Cow<'a, str>>,
    /// The gateway's own name for it, once one is known.
    pub uid: Option<Cow<'a, str>>,
    /// The parent of a capture, void, refund or chargeback.
    pub parent_uid: Option<Cow<'a, str>>,
    /// The gateway's task.
    pub request_id: Option<Cow<'a, str>>,
    /// The gateway's status, verbatim.
    pub status: Option<Cow<'a, str>>,
    /// The gateway's code, verbatim.
    pub code: Option<Cow<'a, str>>,
    /// The gateway's text, redacted; of what was given up before it was sent, why.
    pub message: Option<Cow<'a, str>>,
    /// The gateway's text for the payer, redacted.
    pub friendly_message: Option<Cow<'a, str>>,
    /// Where the payer has to go.
    pub redirect_url: Option<Cow<'a, str>>,
    /// The card, as far as it may be known.
    pub card: Option<CardView<'a>>,
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
    pub gateway_currency: Option<Cow<'a, str>>,
    /// Counts the changes of this transaction from 1; of two messages the greater is the newer.
    #[schema(minimum = 1)]
    pub sequence: i64,
}

/// The card of a transaction, as far as it may be kept. Absent values are null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Card)]
pub struct CardView<'a> {
    /// The scheme.
    pub brand: Option<Cow<'a, str>>,
    /// The last four digits.
    pub last_4: Option<Cow<'a, str>>,
    /// The first digit.
    pub first_1: Option<Cow<'a, str>>,
    /// The digits that name the issuer.
    pub bin: Option<Cow<'a, str>>,
    /// The gateway's token for it, good for further payments.
    pub token: Option<Cow<'a, str>>,
    /// The same for each token of one card.
    pub stamp: Option<Cow<'a, str>>,
    /// The issuer's country.
    pub issuer_country: Option<Cow<'a, str>>,
    /// The issuer.
    pub issuer_name: Option<Cow<'a, str>>,
    /// The product name of the card.
    pub product: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Card> for CardView<'a> {
    fn from(c: &'a Card) -> Self {
        Self {
            brand: borrow_text(c.brand.as_deref()),
            last_4: borrow_text(c.last_4.as_deref()),
            first_1: borrow_text(c.first_1.as_deref()),
            bin: borrow_text(c.bin.as_deref()),
            token: borrow_text(c.token.as_deref()),
            stamp: borrow_text(c.stamp.as_deref()),
            issuer_country: borrow_text(c.issuer_country.as_deref()),
            issuer_name: borrow_text(c.issuer_name.as_deref()),
            product: borrow_text(c.product.as_deref()),
        }
    }
}

fn borrow_text(text: Option<&str>) -> Option<Cow<'_, str>> {
    text.map(Cow::Borrowed)
}

impl<'a> TransactionView<'a> {
    /// Puts together what the outside sees. It is told at once as a rule, so that nearly nothing is copied.
    pub fn of(
        opening: &'a TransactionRequest,
        summary: &'a Summary,
        derived: &DerivedState,
        record: &'a Record,
    ) -> Self {
        let snapshot = best_snapshot(summary, derived);
        let refusal = match (&derived.basis, snapshot) {
            (StateBasis::Refusal(refusal), None) => Some(refusal),
            _ => None,
        };
        // What the snapshot says, or else the refusal, which is not kept anywhere to be lent.
        let told = |of_snapshot: fn(&Snapshot) -> &Option<String>,
                    of_refusal: fn(&Refusal) -> &Option<String>| {
            let owned = || refusal.and_then(|refusal| of_refusal(refusal).clone());
            let lent = snapshot.and_then(|snapshot| of_snapshot(snapshot).as_deref());
            lent.map(Cow::Borrowed).or_else(|| owned().map(Cow::Owned))
        };
        let given_up = summary
            .gave_up()
            .filter(|_| derived.state == State::NotSent);
        let adopted = derived
            .uid
            .as_ref()
            .and_then(|uid| summary.candidates.get_key_value(uid));
        let latest = adopted.and_then(|(_, candidate)| candidate.latest.as_deref());
        let task = summary
            .tasks
            .iter()
            .max_by_key(|(_, task)| (task.attempt, task.acked_at));
        Self {
            id: record.id,
            shop_id: opening.shop.as_str(),
            tracking_id: borrow_text(opening.tracking_id.as_ref().map(TrackingId::as_str)),
            kind: opening.kind.as_str(),
            origin: opening.origin.as_str(),
            state: derived.state.as_str(),
            is_final: derived.state.is_final(),
            amount: opening.amount,
            currency: borrow_text(opening.currency.as_ref().map(Currency::as_str)),
            description: borrow_text(record.description.as_deref()),
            uid: borrow_text(adopted.map(|(uid, _)| uid.as_str())),
            parent_uid: borrow_text(opening.parent_uid.as_ref().map(Uid::as_str)),
            request_id: borrow_text(task.map(|(id, _)| id.as_str())),
            status: borrow_text(snapshot.map(|s| s.status.as_str())),
            code: told(|s| &s.code, |r| &r.code),
            message: told(|s| &s.message, |r| &r.message).or_else(|| borrow_text(given_up)),
            friendly_message: told(|s| &s.friendly_message, |r| &r.friendly_message),
            redirect_url: snapshot.and_then(|s| borrow_text(s.redirect_url.as_deref())),
            card: snapshot.and_then(|s| s.card.as_ref()).map(CardView::from),
            test: mode(opening)
                .or(snapshot.and_then(|s| s.test))
                .unwrap_or(false),
            created_at: record.created_at,
            updated_at: record.updated_at,
            finalized_at: record.finalized_at,
            next_check_at: record.next_check_at,
            paid_at: snapshot.and_then(|s| s.paid_at),
            gateway_updated_at: snapshot.and_then(|s| s.updated_at),
            gateway_amount: latest.and_then(|s| s.amount),
            gateway_currency: borrow_text(
                latest
                    .and_then(|s| s.currency.as_ref())
                    .map(Currency::as_str),
            ),
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
fn best_snapshot<'a>(summary: &'a Summary, derived: &DerivedState) -> Option<&'a Snapshot> {
    let candidate = summary.candidates.get(derived.uid.as_ref()?)?;
    match derived.basis {
        StateBasis::Differs(_) => candidate.latest.as_deref(),
        _ => candidate.best_snapshot(),
    }
}

fn rfc3339<S: Serializer>(at: &Timestamp, s: S) -> Result<S::Ok, S::Error> {
    at.with_rfc3339(|text| s.serialize_str(text))
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
    /// All of the gateway's transactions that it is about, as they are known now. Brought up to date
    /// while it is open.
    pub uids: Vec<Mention>,
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
    /// Who closed it: the client or the person at a terminal. Null where it went away by itself.
    pub resolved_by: Option<String>,
    /// Why it was closed.
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests;
