//! Reads bodies as JSON: all of it, or of a webhook what is looked at and nothing else.
//!
//! A transaction comes with some eighty fields, of which a third is read. What is left out here is what
//! nobody asks for. What is JSON is read where it lies; what is JSON but for its damage is mended first
//! (see [`super::decode`]), so that one bad byte hides nothing.
//!
//! What it deliberately cannot do: say what a body means. [`super::body_shape`] does, from what is kept.

use super::borrowed_json::{BorrowedJson, ObjectFields};
use super::fields::names_card_number;
use super::redact::names_what_recurs;
use super::{decode, numbers};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// So many fields of an object find room at once; most have fewer that are kept.
const INITIAL_CAPACITY: usize = 16;

/// Reads of a webhook what is looked at, and of any body what may recur in its texts.
#[cfg(test)]
pub(super) fn read(body: &[u8]) -> Result<BorrowedJson<'_>, serde_json::Error> {
    tolerant(body, KeptValue::Named)
}

/// Reads all of a body.
pub(super) fn read_all(body: &[u8]) -> Result<BorrowedJson<'_>, serde_json::Error> {
    tolerant(body, KeptValue::All)
}

/// Whether a body is JSON as it is.
pub(super) fn is_json(body: &[u8]) -> bool {
    kept(body, KeptValue::Holders).is_ok()
}

/// The same as `read`, of what is JSON as it is.
pub(super) fn read_plain(body: &[u8]) -> Result<BorrowedJson<'_>, serde_json::Error> {
    exactly(body, KeptValue::Named)
}

/// Numbers that a double does not hold are texts of their digits.
fn exactly(body: &[u8], what: KeptValue) -> Result<BorrowedJson<'_>, serde_json::Error> {
    match numbers::as_texts(body) {
        None => kept(body, what),
        Some(texts) => kept(&Zeroizing::new(texts), what).map(BorrowedJson::into_owned),
    }
}

fn tolerant(body: &[u8], what: KeptValue) -> Result<BorrowedJson<'_>, serde_json::Error> {
    exactly(body, what).or_else(|error| match decode::mended(body) {
        Cow::Owned(mended) => exactly(&mended, what).map(BorrowedJson::into_owned),
        Cow::Borrowed(same) if same.len() == body.len() => Err(error),
        Cow::Borrowed(text) => exactly(text, what),
    })
}

/// Reads all of a body of our own API, or of what we wrote ourselves, as a value of `serde_json`; damage is
/// not mended. Its own reader gives the name of a field a meaning: what
/// stands under `$serde_json::private::RawValue` it takes for a document, as deep again as the outer one may be.
///
/// # Errors
/// When the body is no JSON, or is nested more than 127 deep.
pub fn read_value(body: &[u8]) -> Result<Value, serde_json::Error> {
    Ok(kept(body, KeptValue::All)?.into_value())
}

/// The same of a request whose numbers are forwarded as they were written: one that is greater than every
/// double stands for the greatest.
///
/// # Errors
/// As of [`read_value`].
pub fn read_request(body: &[u8]) -> Result<Value, serde_json::Error> {
    read_value(body).or_else(|error| match numbers::finite(body) {
        None => Err(error),
        Some(finite) => read_value(&Zeroizing::new(finite)),
    })
}

fn kept(body: &[u8], kept: KeptValue) -> Result<BorrowedJson<'_>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = kept.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value.unwrap_or_default())
}

/// The fields that are read of a webhook, wherever they stand: of [`super::transaction`], of
/// [`super::body_shape`], and of [`super::webhook`].
fn is_read(name: &str) -> bool {
    matches!(
        name.as_bytes(),
        b"amount"
            | b"bin"
            | b"brand"
            | b"code"
            | b"created_at"
            | b"credit_card"
            | b"currency"
            | b"description"
            | b"error_code"
            | b"event"
            | b"expired"
            | b"first_1"
            | b"friendly_message"
            | b"id"
            | b"issuer_country"
            | b"issuer_name"
            | b"last_4"
            | b"manually_corrected_at"
            | b"message"
            | b"paid_at"
            | b"parent_transaction"
            | b"parent_uid"
            | b"payment_method"
            | b"product"
            | b"recipient"
            | b"recipient_credit_card"
            | b"redirect_url"
            | b"request_id"
            | b"response"
            | b"response_url"
            | b"result"
            | b"stamp"
            | b"state"
            | b"status"
            | b"status_url"
            | b"test"
            | b"token"
            | b"tracking_id"
            | b"transaction"
            | b"transactions"
            | b"type"
            | b"uid"
            | b"updated_at"
    )
}

/// What is kept of a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeptValue {
    /// All of it: what is under it goes by names of its own.
    All,
    /// It, and of the fields under it those that are read.
    Named,
    /// Only what stands in the fields of a card in it, which is looked for everywhere.
    Holders,
}

impl KeptValue {
    /// What is kept of the field of this name.
    fn of(self, name: &str) -> Self {
        match self {
            Self::All => Self::All,
            Self::Named | Self::Holders if names_what_recurs(name) || names_card_number(name) => {
                Self::All
            }
            Self::Named if name == "errors" => Self::All,
            Self::Named if is_read(name) => Self::Named,
            Self::Named | Self::Holders => Self::Holders,
        }
    }

    fn plain<'a>(self, value: impl FnOnce() -> BorrowedJson<'a>) -> Option<BorrowedJson<'a>> {
        (self != Self::Holders).then(value)
    }
}

/// `None` where nothing is kept.
impl<'de> DeserializeSeed<'de> for KeptValue {
    type Value = Option<BorrowedJson<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for KeptValue {
    type Value = Option<BorrowedJson<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Flag(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.plain(|| Number::from_f64(value).map_or(BorrowedJson::Null, BorrowedJson::Number)))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Text(Cow::Borrowed(text))))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.plain(|| BorrowedJson::Text(Cow::Owned(text.to_owned()))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            kept.extend(item);
        }
        let is_empty = kept.is_empty();
        let kept = BorrowedJson::List(kept);
        Ok(if is_empty {
            self.plain(|| kept)
        } else {
            Some(kept)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        let mut has_holders = false;
        while let Some(name) = fields.next_key_seed(FieldName)? {
            let what = self.of(&name);
            let value = fields.next_value_seed(what)?;
            has_holders |= what == Self::Holders && value.is_some();
            // Where names of holders were found, a later field of the same name takes them away again.
            let value = value.or_else(|| has_holders.then_some(BorrowedJson::Null));
            if let Some(value) = value {
                if kept.is_empty() {
                    kept.reserve(INITIAL_CAPACITY);
                }
                kept.push((name, value));
            }
        }
        let is_empty = kept.is_empty();
        let kept = BorrowedJson::Object(match self {
            Self::All => ObjectFields::new(kept),
            // Either of two may recur in a text.
            Self::Named | Self::Holders => ObjectFields::joined(kept, names_what_recurs),
        });
        Ok(if is_empty {
            self.plain(|| kept)
        } else {
            Some(kept)
        })
    }
}

/// The name of a field, which is borrowed where it has no escapes.
struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for FieldName {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    fn kept(body: &Value) -> Value {
        let body = body.to_string();
        assert_eq!(
            read_all(body.as_bytes()).unwrap().into_value(),
            serde_json::from_str::<Value>(&body).unwrap()
        );
        read(body.as_bytes()).unwrap().into_value()
    }

    #[test]
    fn unused_fields_are_skipped_others_kept_verbatim() {
        let body = json!({"transaction": {"uid": "u", "amount": 5, "test": true, "code": null, "fee": 1.5,
            "payment": {"status": "x"}, "credit_card": {"brand": "visa", "exp_month": 1}, "recipient": {}},
            "extra": [1, [2], {"a": "b"}]});
        let read = json!({"transaction": {"uid": "u", "amount": 5, "test": true, "code": null,
            "credit_card": {"brand": "visa"}, "recipient": {}}});
        assert_eq!(kept(&body), read);
        for plain in [json!(null), json!("text"), json!(1.5), json!([]), json!({})] {
            assert_eq!(kept(&plain), plain);
        }
    }

    #[test]
    fn holders_are_found_everywhere_and_errors_are_kept_whole() {
        let body = json!({"errors": {"any": {"field": ["text"]}},
            "deep": [{"x": {"Holder": "Jane Roe", "y": 1}}, "z"]});
        let read = json!({"errors": {"any": {"field": ["text"]}},
            "deep": [{"x": {"Holder": "Jane Roe"}}]});
        assert_eq!(kept(&body), read);
    }

    #[test]
    fn of_two_fields_with_one_name_the_last_counts() {
        let body = br#"{"x":{"holder":"A B"},"uid":"u","uid":"v","x":{},"y":1}"#;
        let read = read(body).unwrap().into_value();
        assert_eq!(read, json!({"uid": "v", "x": null, "y": null}));
        let all = read_all(body).unwrap().into_value();
        assert_eq!(all, json!({"uid": "v", "x": {}, "y": 1}));
    }

    #[test]
    fn escapes_are_resolved() {
        let body = br#"{"transaction":{"u\u0069d":"\u0041\n","message":"\ud83d\ude00"}}"#;
        let read = read(body).unwrap().into_value();
        assert_eq!(
            read,
            json!({"transaction": {"uid": "A\n", "message": "\u{1f600}"}})
        );
    }

    #[test]
    fn the_webhook_reader_rejects_what_is_not_json() {
        for body in [&b"{\"a\":1"[..], b"", b"{} {}", b"{\"a\":\"\xff", b"[1,]"] {
            assert_eq!(
                read(body).is_ok(),
                serde_json::from_slice::<Value>(body).is_ok()
            );
            assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
            assert!(read_all(body).is_err());
            assert!(!is_json(body) && read_value(body).is_err());
        }
    }

    #[test]
    fn damaged_json_is_read_leniently() {
        let deep = format!("{{\"unknown\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for body in [
            deep.as_bytes(),
            b"{\"a\":1}}",
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"a\":1e999}",
            b"\xEF\xBB\xBF{}",
            b"{\"a\":\"\\ud83d\"}",
            b"{\0\0}\0\0",
        ] {
            assert!(read(body).is_ok() && read_all(body).is_ok(), "{body:?}");
            assert!(!is_json(body) && read_value(body).is_err(), "{body:?}");
        }
    }
}
