//! Takes card data out of everything that is to be kept or logged.
//!
//! Card numbers, check values, expiry dates, holders and encrypted card blobs must never become
//! durable, so that this is the last thing that happens to a body before it is stored. It is
//! total: whatever the bytes are, it gives an answer, and giving it its own answer changes nothing.
//! What has nothing to hide comes back byte for byte, if it is UTF-8 without a mark in front.
//!
//! Three things go: what stands under the name of a card field; where the number, the holder or the check
//! value of the body's own card fields recur; and in free text what looks like a card number. Ids, times,
//! sums, words of the protocol and the addresses that payers are sent to are exempt. What is no text at all
//! is not kept: only its length and its SHA-256.
//!
//! What it deliberately cannot do: recognise a holder's name that stands in no field, digits given one by
//! one in an array, or anything that somebody has encrypted or encoded to hide it.

mod json;
mod keys;
mod named;
mod pairs;
mod scan;
mod secrets;
mod text;

use super::borrowed_json::{BorrowedJson, ObjectFields};
use super::{decode, webhook_json};
use keys::{FieldSensitivity, Secret};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::borrow::Cow;

pub use secrets::Secrets;
pub(super) use secrets::redact_holders;

/// What stands in the place of what was taken out.
pub const REDACTION_MARK: &str = "[redacted]";

/// The same of an error's text under the name of a card field that leaves the outcome open: that much of it
/// must be read again from what is kept.
pub const OPEN_MARK: &str = "[redacted] (already used, or not known)";

/// What is kept of such texts.
pub(super) fn mark_of_error(leaves_open: bool) -> &'static str {
    if leaves_open {
        OPEN_MARK
    } else {
        REDACTION_MARK
    }
}

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
    redact_with(bytes, &Secrets::default())
}

/// The same, and the card data of another body, wherever it recurs in this one: the answer to a request may
/// repeat what was in the request.
pub fn redact_with(bytes: &[u8], others: &Secrets) -> Redacted {
    let mut redacted = redact_text_of(bytes, None, others);
    // What is left of a broken document may be whole but for its damage.
    for _ in 0..MAX_MENDINGS {
        let Cow::Owned(mended) = decode::readable(&redacted.bytes) else {
            break;
        };
        redacted = Redacted {
            changed: true,
            ..redact_text_of(&mended, None, others)
        };
    }
    redacted
}

/// So often what is left is mended again; each time there is less to mend.
const MAX_MENDINGS: usize = 4;

/// The same for who has read the body as JSON already, and found this in it.
pub(super) fn redact_read(bytes: &[u8], read: Option<&BorrowedJson<'_>>) -> Redacted {
    redact_text_of(bytes, read, &Secrets::default())
}

fn redact_text_of(bytes: &[u8], read: Option<&BorrowedJson<'_>>, others: &Secrets) -> Redacted {
    if read.is_none() && is_wide_and_broken(bytes) {
        return Redacted {
            bytes: told_of(bytes),
            changed: true,
        };
    }
    let readable = match read {
        Some(_) => Cow::Borrowed(bytes),
        None => decode::readable(bytes),
    };
    let text = String::from_utf8_lossy(&readable);
    let rewritten = if read.is_some() || json::is_json(text.as_bytes()) {
        let mut own = Secrets::default();
        json::collect(text.as_bytes(), &mut own, 0);
        if let Cow::Owned(_) = readable {
            // What was left out of it may recur in the rest.
            text::collect(decode::text(bytes).as_bytes(), &mut own, 0);
        }
        json::rewrite(text.as_bytes(), &own.and(others), 0)
    } else {
        let mut own = Secrets::default();
        text::collect(text.as_bytes(), &mut own, 0);
        let clean = text::redacted(&text, &own.and(others), 0);
        if clean.as_deref().unwrap_or(&text).contains(is_no_text) {
            Some(told_of(bytes))
        } else {
            clean.map(String::into_bytes)
        }
    };
    let kept = match rewritten {
        Some(rewritten) => Cow::Owned(rewritten),
        None => Cow::Borrowed(text.as_bytes()),
    };
    Redacted {
        changed: *kept != *bytes,
        bytes: kept.into_owned(),
    }
}

/// Whether the bytes are letters of two bytes each, as it seems, and cannot be read as such: nothing would be
/// known by its name in them.
fn is_wide_and_broken(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().filter(|byte| **byte == 0).count();
    zeros * 8 > bytes.len() && decode::text(bytes).contains('\0')
}

/// Whether a letter is none that a text has.
fn is_no_text(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\t' | '\r' | '\n')
}

/// What is kept of a body that is no text.
fn told_of(bytes: &[u8]) -> Vec<u8> {
    let hash: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{{\"length\":{},\"sha256\":\"{hash}\"}}", bytes.len()).into_bytes()
}

/// Takes card data out of a text, an error message for example.
pub fn redact_text(text: &str) -> Cow<'_, str> {
    text::redacted(text, &Secrets::default(), 0).map_or(Cow::Borrowed(text), Cow::Owned)
}

/// Whether a request carries the fields of a card, with something in them. Such a request is sent while
/// the caller waits, or not at all. Digits in a text do not count, whatever they look like.
///
/// Recursion is bounded: values come from a reader that refuses deep nesting.
pub fn carries_card_data(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
        // A card that was encrypted for the gateway, whatever field it stands in.
        Value::String(text) => text::holds_encrypted(text),
        Value::Array(items) => items.iter().any(carries_card_data),
        Value::Object(fields) => fields.iter().any(|(name, value)| {
            if keys::is_sensitive(name.as_bytes()) {
                has_content(value)
            } else {
                carries_card_data(value)
            }
        }),
    }
}

fn has_content(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => json::has_content(text),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Whether a name that somebody gives, of a request in a header for example, holds what looks like a card
/// number.
pub fn looks_like_card_number(text: &str) -> bool {
    scan::first_hit(text.as_bytes(), 0).is_some()
}

/// Whether digits without anything between them could be a card's number.
pub fn is_card_number(digits: &[u8]) -> bool {
    scan::is_card_number(digits)
}

/// Whether a field of this name holds card data, whatever its value looks like.
pub fn mentions_card_data(name: &str) -> bool {
    keys::is_sensitive(name.as_bytes())
}

/// Whether what stands under this name may recur elsewhere in the body.
pub(super) fn names_what_recurs(name: &str) -> bool {
    keys::secret(name.as_bytes()).is_some_and(|secret| secret != Secret::Other)
}

/// What stands in the card fields of a body, and may recur in its texts.
pub(super) fn holders(fields: &ObjectFields<'_>) -> Secrets {
    Secrets::of_fields(fields)
}

/// Whether the value of `token` or `stamp` may be kept as it is.
pub(super) fn is_safe_token(token: &str) -> bool {
    json::redacted_string(FieldSensitivity::Token, token, &Secrets::default(), 0).is_none()
}

/// Redacts a value in place, for answers that are built from it.
pub fn redact_value(value: &Value) -> Value {
    let bytes = serde_json::to_vec(value).unwrap_or_default();
    let redacted = redact(&bytes);
    if !redacted.changed {
        return value.clone();
    }
    webhook_json::read_value(&redacted.bytes)
        .unwrap_or_else(|_| Value::String(REDACTION_MARK.to_owned()))
}

#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod tests;
