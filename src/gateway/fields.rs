//! Reads single fields of the gateway's JSON, whatever type they come in.
//!
//! A field that is absent, null or empty is `None`. Fields on which money hangs distinguish that
//! from *malformed*, because a sum that cannot be read must not pass for a sum that agrees.
//! Every text comes out redacted and bounded.

use super::json::{Fields, Json};
use super::redact::redact_text;
use crate::domain::Timestamp;
use std::borrow::Cow;

/// The longest text that is taken over, in bytes.
pub(super) const MAX_TEXT: usize = 1024;
/// The longest word (a status, a type, a code) that is taken over, in bytes.
pub(super) const MAX_WORD: usize = 64;

/// A field that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {0} cannot be read")]
pub(super) struct Malformed(pub(super) &'static str);

/// The text of a field, exactly as it is; numbers count as their digits.
pub(super) fn exact<'a>(
    fields: &'a Fields<'_>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, Malformed> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) if text.is_empty() => Ok(None),
        Some(Json::Text(text)) => Ok(Some(Cow::Borrowed(text))),
        Some(Json::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
        Some(Json::Flag(_) | Json::List(_) | Json::Object(_)) => Err(Malformed(name)),
    }
}

/// A text for people: redacted, cut to [`MAX_TEXT`]; what is no text is absent.
pub(super) fn text(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    exact(fields, name)
        .ok()
        .flatten()
        .map(|text| clean(&text, MAX_TEXT))
}

/// A single word: redacted, cut to [`MAX_WORD`]; what is no text is absent.
pub(super) fn word(fields: &Fields<'_>, name: &'static str) -> Option<String> {
    exact(fields, name)
        .ok()
        .flatten()
        .map(|text| clean(&text, MAX_WORD))
}

/// A whole number; `"3245"` and `3245.0` are whole numbers too.
pub(super) fn integer(fields: &Fields<'_>, name: &'static str) -> Result<Option<i64>, Malformed> {
    match fields.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Json::Text(text)) => text.trim().parse().map(Some).map_err(|_| Malformed(name)),
        Some(Json::Number(number)) => number
            .as_i64()
            .or_else(|| number.as_f64().and_then(whole))
            .map(Some)
            .ok_or(Malformed(name)),
        Some(Json::Flag(_) | Json::List(_) | Json::Object(_)) => Err(Malformed(name)),
    }
}

/// Floats are whole numbers only as far as they hold every whole number exactly.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fits = value.fract() == 0.0 && value.abs() < EXACT;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and below 2^53")]
    fits.then_some(value as i64)
}

/// A flag; `"true"`, `1` and their like are flags too.
pub(super) fn flag(fields: &Fields<'_>, name: &'static str) -> Option<bool> {
    match fields.get(name)? {
        Json::Flag(flag) => Some(*flag),
        Json::Text(text) => match text.trim() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        Json::Number(number) => number.as_i64().map(|n| n != 0),
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

/// A time; what cannot be read is absent.
pub(super) fn time(fields: &Fields<'_>, name: &'static str) -> Option<Timestamp> {
    read_time(&exact(fields, name).ok().flatten()?)
}

/// Whether a text is a time and nothing else.
pub(super) fn is_time(text: &str) -> bool {
    text.len() <= 64 && read_time(text).is_some()
}

fn read_time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&straighten(text)))
}

/// Brings near misses into the form of RFC 3339: blanks inside, `UTC`, an offset without a colon.
fn straighten(text: &str) -> String {
    let text = text.trim().replace("UTC", "Z");
    let dated = match text.get(..11) {
        Some(date) if date.ends_with(' ') => format!("{}T{}", &text[..10], &text[11..]),
        Some(_) | None => text,
    };
    let mut plain: String = dated.chars().filter(|c| !c.is_whitespace()).collect();
    let offset = plain.len().checked_sub(5).and_then(|at| plain.get(at..));
    if offset.is_some_and(|o| o.is_ascii() && o.starts_with(['+', '-']) && !o.contains(':')) {
        plain.insert(plain.len() - 2, ':');
    }
    plain
}

/// Redacts a text and cuts it at a character boundary.
pub(super) fn clean(text: &str, max: usize) -> String {
    let redacted = redact_text(text);
    let mut end = redacted.len().min(max);
    while !redacted.is_char_boundary(end) {
        end -= 1;
    }
    let kept = &redacted[..end];
    // PostgreSQL keeps no zero byte in a text.
    if kept.contains('\0') {
        kept.replace('\0', "\u{fffd}")
    } else {
        kept.to_owned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::gateway::sparse::read_all;
    use serde_json::{Value, json};

    #[test]
    fn a_garbled_time_is_absent() {
        for text in ["+aжb", "2026-02-03 10:15 UTC-3 ч.", "-ж-ж", "+1ж", "ж"] {
            assert_eq!(of(&json!({"paid_at": text}), |f| time(f, "paid_at")), None);
        }
    }

    /// What is read of the fields of an object.
    fn of<T>(object: &Value, read: impl Fn(&Fields<'_>) -> T) -> T {
        let body = object.to_string();
        read(read_all(body.as_bytes()).unwrap().as_object().unwrap())
    }

    #[test]
    fn numbers_in_any_clothes() {
        let amount = |value: Value| {
            of(&json!({ "amount": value }), |fields| {
                integer(fields, "amount")
            })
        };
        assert_eq!(amount(json!(3245)), Ok(Some(3245)));
        assert_eq!(amount(json!("3245")), Ok(Some(3245)));
        assert_eq!(amount(json!(3245.0)), Ok(Some(3245)));
        assert_eq!(amount(json!(null)), Ok(None));
        assert_eq!(amount(json!("")), Ok(None));
        for bad in [
            json!("32.45"),
            json!(32.45),
            json!(1e300),
            json!({}),
            json!(true),
        ] {
            assert_eq!(amount(bad), Err(Malformed("amount")));
        }
        assert_eq!(amount(json!(u64::MAX)), Err(Malformed("amount")));
    }

    #[test]
    fn times_in_any_clothes() {
        let at = |text: &str| {
            of(&json!({ "paid_at": text }), |fields| {
                time(fields, "paid_at")
            })
        };
        let expected = Timestamp::parse("2026-02-03T10:15:30.120Z");
        for text in [
            "2026-02-03T10:15:30.120Z",
            "2026-02-03T13:15:30.120+03:00",
            "2026-02-03T13:15:30.120+0300",
            "2026-02-03 10:15:30.120 UTC",
            " 2026-02-03T10:15:30.120 Z ",
        ] {
            assert_eq!(at(text), expected, "{text}");
        }
        assert_eq!(at("yesterday"), None);
        assert_eq!(at("приблизительно полдень +0300"), None);
    }

    #[test]
    fn texts_are_redacted_and_bounded() {
        let long = "ж".repeat(2000);
        let body = json!({"a": "card 4200000000000000", "b": long, "c": "x\0y", "d": 7});
        of(&body, |fields| {
            assert_eq!(text(fields, "a").unwrap(), "card [redacted]");
            assert_eq!(text(fields, "b").unwrap().len(), 1024);
            assert_eq!(text(fields, "c").unwrap(), "x\u{fffd}y");
            assert_eq!(word(fields, "d").unwrap(), "7");
            assert_eq!(word(fields, "b").unwrap().len(), 64);
        });
    }
}
