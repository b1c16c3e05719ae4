//! One transaction of the gateway becomes a [`Snapshot`].
//!
//! Versions 2 and 3 differ in where the card lies; everything else that is kept has the same name.
//! An absent value counts as agreeing; one that is there and garbled must not. So a field on which a
//! binding hangs (sum, currency, type, names) that cannot be read is noted in the snapshot, which then
//! agrees with nothing and ends nothing. Only a uid must be readable.

use super::body_shape::row;
use super::borrowed_json::{BorrowedJson, ObjectFields};
use super::fields::{self, UnreadableField};
use super::redact;
use domain::snapshot::Card;
use domain::{Currency, Snapshot, StatusClass, Timestamp, TrackingId, Uid};
use std::borrow::Cow;

/// Where a transaction was read: the hash of the whole body, and when it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SnapshotSource {
    pub(super) sha256: [u8; 32],
    pub(super) at: Timestamp,
}

/// Reads one transaction.
pub(super) fn snapshot(
    transaction: &ObjectFields<'_>,
    source: SnapshotSource,
) -> Result<Snapshot, UnreadableField> {
    let code = fields::word(transaction, "code");
    let status = fields::word(transaction, "status").unwrap_or_default();
    let names = redact::holders(transaction);
    let mut numbers = Vec::new();
    fields::card_numbers(transaction, &mut numbers);
    let mut unread = Unread::default();
    let amount = unread.or_none(transaction, fields::minor(transaction, "amount"));
    let free =
        |name| fields::text(transaction, name).map(|text| redact::redact_holders(text, &names));
    let snapshot = Snapshot {
        uid: uid(transaction, "uid")?.ok_or(UnreadableField("uid"))?,
        class: StatusClass::of(&status, code.as_deref()),
        status,
        kind: unread.or_none(transaction, name_of_kind(transaction)),
        code,
        message: free("message"),
        friendly_message: free("friendly_message"),
        amount: amount.as_ref().map(|amount| amount.units),
        amount_written: amount.and_then(|amount| amount.written),
        currency: unread.or_none(transaction, currency(transaction)),
        tracking_id: unread.or_none(transaction, tracking_id(transaction)),
        parent_uid: unread.or_none(transaction, parent_uid(transaction)),
        description: free("description"),
        created_at: fields::time(transaction, "created_at"),
        updated_at: fields::time(transaction, "updated_at"),
        paid_at: fields::time(transaction, "paid_at"),
        manually_corrected_at: fields::time(transaction, "manually_corrected_at"),
        redirect_url: fields::url(transaction, "redirect_url", &numbers),
        card: card(transaction),
        test: fields::flag(transaction, "test"),
        unread: unread.into_text(),
        body_sha256: source.sha256,
    };
    Ok(snapshot.received(source.at))
}

/// The fields that are there and could not be read.
#[derive(Default)]
struct Unread(Vec<String>);

impl Unread {
    fn or_none<T>(
        &mut self,
        transaction: &ObjectFields<'_>,
        read: Result<Option<T>, UnreadableField>,
    ) -> Option<T> {
        read.unwrap_or_else(|UnreadableField(name)| {
            self.0.push(fields::spelled(transaction, name));
            None
        })
    }

    fn into_text(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.join(", "))
    }
}

/// A uid with a lost letter in it would be another's.
fn uid(transaction: &ObjectFields<'_>, name: &'static str) -> Result<Option<Uid>, UnreadableField> {
    let readable = |text: &Cow<'_, str>| !text.contains('\u{fffd}');
    fields::exact(transaction, name)?
        .map(|text| {
            let text = Some(text).filter(readable);
            text.and_then(|text| Uid::from_gateway(&text))
                .ok_or(UnreadableField(name))
        })
        .transpose()
}

/// The parent that it names; where it does not, that of the body which a chargeback carries along.
fn parent_uid(transaction: &ObjectFields<'_>) -> Result<Option<Uid>, UnreadableField> {
    let named = uid(transaction, "parent_uid")?;
    let is_chargeback = || fields::word(transaction, "type").as_deref() == Some("chargeback");
    if named.is_some() || !is_chargeback() {
        return Ok(named);
    }
    let carried = transaction.get("parent_transaction").and_then(row);
    carried.map_or(Ok(None), |parent| uid(parent, "uid"))
}

fn tracking_id(transaction: &ObjectFields<'_>) -> Result<Option<TrackingId>, UnreadableField> {
    const NAME: &str = "tracking_id";
    fields::exact(transaction, NAME)?
        .map(|text| TrackingId::from_gateway(&text).ok_or(UnreadableField(NAME)))
        .transpose()
}

fn currency(transaction: &ObjectFields<'_>) -> Result<Option<Currency>, UnreadableField> {
    const NAME: &str = "currency";
    fields::filled(transaction, NAME)?
        .map(|text| Currency::parse(text.trim()).ok_or(UnreadableField(NAME)))
        .transpose()
}

fn name_of_kind(transaction: &ObjectFields<'_>) -> Result<Option<String>, UnreadableField> {
    const NAME: &str = "type";
    fields::filled(transaction, NAME)?;
    Ok(fields::word(transaction, NAME))
}

/// Version 2 has `credit_card` or `recipient_credit_card`, version 3 `payment_method`, which lies
/// under `recipient` for a payout.
fn card(transaction: &ObjectFields<'_>) -> Option<Card> {
    fn object<'b, 'a>(fields: &'b ObjectFields<'a>, name: &str) -> Option<&'b ObjectFields<'a>> {
        fields.get(name).and_then(BorrowedJson::as_object)
    }
    let card = object(transaction, "credit_card")
        .or_else(|| object(transaction, "payment_method"))
        .or_else(|| object(transaction, "recipient_credit_card"))
        .or_else(|| object(object(transaction, "recipient")?, "payment_method"))?;
    let card = Card {
        brand: fields::word(card, "brand"),
        last_4: fields::word(card, "last_4"),
        first_1: fields::word(card, "first_1"),
        bin: fields::word(card, "bin"),
        token: token(card, "token"),
        stamp: token(card, "stamp"),
        issuer_country: fields::word(card, "issuer_country"),
        issuer_name: fields::text(card, "issuer_name"),
        product: fields::text(card, "product"),
    };
    (card != Card::default()).then_some(card)
}

/// A token must stay usable: it is kept whole, or not at all.
fn token(card: &ObjectFields<'_>, name: &'static str) -> Option<String> {
    let token = fields::exact(card, name).ok().flatten()?;
    let harmless = super::redact::is_safe_token(&token);
    (harmless && token.len() <= fields::MAX_KEPT_TEXT_LEN && !token.contains('\0'))
        .then(|| token.into_owned())
}
