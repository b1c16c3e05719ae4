//! Takes card data out of everything that is to be kept or logged.
//!
//! Card numbers, check values, expiry dates, holders and encrypted card blobs must never become
//! durable, so that this is the last thing that happens to a body before it is stored. It is
//! total: whatever the bytes are, it gives an answer, and giving it its own answer changes nothing.
//! What has nothing to hide comes back byte for byte.
//!
//! What it deliberately cannot do: recognise a holder's name in running text, digits given one by
//! one in an array, or anything that somebody has encrypted or encoded to hide it.

mod json;
mod keys;
mod names;
mod scan;
mod text;

use super::json::Json;
use super::{decode, sparse};
use keys::KeyClass;
pub(super) use names::{holders, strike};
use serde_json::Value;
use std::borrow::Cow;

/// What stands in the place of what was taken out.
pub const MARK: &str = "[redacted]";

/// A body that may be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted {
    /// The body; the original bytes when nothing had to go.
    pub bytes: Vec<u8>,
    /// Whether something had to go.
    pub changed: bool,
}

/// Takes card data out of a body of any kind.
pub fn redact(bytes: &[u8]) -> Redacted {
    let mut redacted = match decode::readable(bytes) {
        Cow::Borrowed(same) if same.len() == bytes.len() => redact_read(bytes, None),
        readable => Redacted {
            changed: true,
            ..redact_read(&readable, None)
        },
    };
    // What is left of a broken document may be whole but for its damage.
    for _ in 0..MAX_MENDINGS {
        let Cow::Owned(mended) = decode::readable(&redacted.bytes) else {
            break;
        };
        redacted = Redacted {
            changed: true,
            ..redact_read(&mended, None)
        };
    }
    redacted
}

/// So often what is left is mended again; each time there is less to mend.
const MAX_MENDINGS: usize = 4;

/// The same for who has read the body as JSON already, and found this in it.
pub(super) fn redact_read(bytes: &[u8], read: Option<&Json<'_>>) -> Redacted {
    let rewritten = if read.is_some() || json::is_json(bytes) {
        json::rewrite(bytes, 0)
    } else {
        text::redacted_bytes(bytes, 0)
    };
    match rewritten {
        Some(rewritten) => Redacted {
            bytes: without_names(bytes, read, rewritten),
            changed: true,
        },
        None => Redacted {
            bytes: bytes.to_vec(),
            changed: false,
        },
    }
}

/// A body that names its card holder may repeat the name in a message.
fn without_names(original: &[u8], read: Option<&Json<'_>>, rewritten: Vec<u8>) -> Vec<u8> {
    let names = match read {
        Some(read) => read.as_object().map(holders),
        None => sparse::read(original)
            .ok()
            .and_then(|read| read.as_object().map(holders)),
    };
    match names {
        Some(names) if !names.is_empty() && std::str::from_utf8(&rewritten).is_ok() => {
            names::strike_json(rewritten, &names)
        }
        Some(_) | None => rewritten,
    }
}

/// Takes card data out of a text, an error message for example.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    text::redacted(text, 0).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Whether the redactor would change this value: such a request is sent while the caller waits,
/// or not at all.
pub fn carries_card_data(value: &Value) -> bool {
    value_carries(value, KeyClass::Plain)
}

/// Whether a name, a tracking id for example, holds what the redactor takes for a card number.
pub fn looks_like_card_number(text: &str) -> bool {
    text::redacted(text, 0).is_some()
}

/// Whether a field of this name holds card data, whatever its value looks like.
pub fn names_card_data(name: &str) -> bool {
    keys::is_sensitive(name.as_bytes())
}

/// Whether the value of `token` or `stamp` may be kept as it is.
pub(super) fn is_harmless_token(token: &str) -> bool {
    json::redacted_string(KeyClass::Token, token, 0).is_none()
}

/// Recursion is bounded: values come from a reader that refuses deep nesting.
fn value_carries(value: &Value, class: KeyClass) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::Number(number) => json::number_carries_card(class, number.to_string().as_bytes()),
        Value::String(text) => json::redacted_string(class, text, 0).is_some(),
        Value::Array(items) => items
            .iter()
            .any(|item| value_carries(item, KeyClass::Plain)),
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            let class = keys::classify(name.as_bytes());
            text::redacted(name, 0).is_some()
                || match class {
                    KeyClass::Sensitive => says_something(value),
                    KeyClass::Plain
                    | KeyClass::Id
                    | KeyClass::LooseId
                    | KeyClass::Time
                    | KeyClass::Amount
                    | KeyClass::Token => value_carries(value, class),
                }
        }),
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => json::says_something(text),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Redacts a value in place, for answers that are built from it.
pub fn redact_value(value: &Value) -> Value {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let redacted = redact(&bytes);
    if !redacted.changed {
        return value.clone();
    }
    sparse::read_value(&redacted.bytes).unwrap_or_else(|_| Value::String(MARK.to_owned()))
}

#[cfg(test)]
mod tests;
