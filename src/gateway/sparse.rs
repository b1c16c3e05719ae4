//! Reads of a webhook's body what is looked at, and nothing else.
//!
//! A transaction comes with some eighty fields, of which a third is read. To make a value of each of the
//! others, and to throw it away, takes as long as all the rest that is done with a webhook but its
//! signature. What is left out here is what nobody asks for; whether a body is JSON at all is found out as
//! by any other reader.
//!
//! What it deliberately cannot do: say what a body means. [`super::wire`] does, from what is kept.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::borrow::Cow;
use std::fmt;

/// What `serde_json` takes for something else than a field. Such a body is not for this reader.
const PRIVATE: &str = "$serde_json::private::";

/// Reads a body. Of two fields with one name the last counts.
pub(super) fn read(body: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Kept::Named.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value.unwrap_or_default())
}

/// The fields that are read of a webhook, wherever they stand: of [`super::transaction`], of
/// [`super::wire`], and of [`super::webhook`].
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
enum Kept {
    /// All of it: what is under it goes by names of its own.
    All,
    /// It, and of the fields under it those that are read.
    Named,
    /// Only the names of card holders in it, which [`super::redact`] looks for everywhere.
    Holders,
}

impl Kept {
    /// What is kept of the field of this name.
    fn of(self, name: &str) -> Self {
        match self {
            Self::All => Self::All,
            Self::Named | Self::Holders if name.eq_ignore_ascii_case("holder") => Self::All,
            Self::Named if name == "errors" => Self::All,
            Self::Named if is_read(name) => Self::Named,
            Self::Named | Self::Holders => Self::Holders,
        }
    }

    fn plain(self, value: impl FnOnce() -> Value) -> Option<Value> {
        (self != Self::Holders).then(value)
    }
}

/// `None` where nothing is kept.
impl<'de> DeserializeSeed<'de> for Kept {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Kept {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(self.plain(|| Value::Null))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(self.plain(|| Value::Bool(value)))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(self.plain(|| Value::Number(value.into())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(self.plain(|| Value::Number(value.into())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(self.plain(|| Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.plain(|| Value::String(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            kept.extend(item);
        }
        let is_empty = kept.is_empty();
        let kept = Value::Array(kept);
        Ok(if is_empty {
            self.plain(|| kept)
        } else {
            Some(kept)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut kept = Map::new();
        while let Some(name) = fields.next_key_seed(Name)? {
            if name.starts_with(PRIVATE) {
                return Err(Error::custom(
                    "a name that the full reader takes for its own",
                ));
            }
            match fields.next_value_seed(self.of(&name))? {
                Some(value) => drop(kept.insert(name.into_owned(), value)),
                None if kept.is_empty() => {}
                None => drop(kept.remove(&*name)),
            }
        }
        let is_empty = kept.is_empty();
        let kept = Value::Object(kept);
        Ok(if is_empty {
            self.plain(|| kept)
        } else {
            Some(kept)
        })
    }
}

/// The name of a field, which is borrowed where it has no escapes.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
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
        read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn what_nobody_reads_is_left_out_and_what_is_kept_is_as_it_came() {
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
        assert_eq!(read(body).unwrap(), json!({"uid": "v"}));
    }

    #[test]
    fn what_the_full_reader_takes_for_its_own_is_left_to_it() {
        let body = br#"{"transaction":{"$serde_json::private::RawValue":"{}"}}"#;
        assert!(read(body).is_err());
    }

    #[test]
    fn what_is_no_json_is_none_for_this_reader_either() {
        let deep = format!("{{\"unknown\":{}{}}}", "[".repeat(200), "]".repeat(200));
        for body in [
            &b"{\"a\":1"[..],
            b"",
            b"{} {}",
            b"{\"a\":\"\xff\"}",
            b"{\"a\":1e999}",
            b"[1,]",
            deep.as_bytes(),
        ] {
            assert_eq!(
                read(body).is_ok(),
                serde_json::from_slice::<Value>(body).is_ok()
            );
            assert!(read(body).is_err(), "{}", String::from_utf8_lossy(body));
        }
    }
}
