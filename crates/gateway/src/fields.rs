//! Reads single fields of the gateway's JSON, whatever type they come in.
//!
//! A field that is absent, null or empty is `None`. Fields on which money hangs distinguish that
//! from *malformed*, because a sum that cannot be read must not pass for a sum that agrees.
//! Every text comes out redacted and bounded.

use super::borrowed_json::{BorrowedJson, ObjectFields};
use super::redact::redact_text;
use domain::Timestamp;
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The longest text that is taken over, in bytes.
pub(super) const MAX_KEPT_TEXT_LEN: usize = 1024;
/// The longest word (a status, a type, a code) that is taken over, in bytes.
pub(super) const MAX_KEPT_WORD_LEN: usize = 64;

/// A field that is there and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {0} cannot be read")]
pub(super) struct UnreadableField(pub(super) &'static str);

/// The text of a field, exactly as it is; numbers count as their digits.
pub(super) fn exact<'a>(
    fields: &'a ObjectFields<'_>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, UnreadableField> {
    match fields.get(name) {
        None | Some(BorrowedJson::Null) => Ok(None),
        Some(BorrowedJson::Text(text)) if text.is_empty() => Ok(None),
        Some(BorrowedJson::Text(text)) => Ok(Some(Cow::Borrowed(text))),
        Some(BorrowedJson::Number(number)) => Ok(Some(Cow::Owned(number.to_string()))),
        Some(BorrowedJson::Flag(_) | BorrowedJson::List(_) | BorrowedJson::Object(_)) => {
            Err(UnreadableField(name))
        }
    }
}

/// The same of a field that cannot be empty: to have nothing in it is not to agree.
pub(super) fn filled<'a>(
    fields: &'a ObjectFields<'_>,
    name: &'static str,
) -> Result<Option<Cow<'a, str>>, UnreadableField> {
    match fields.get(name) {
        Some(BorrowedJson::Text(text)) if text.trim().is_empty() => Err(UnreadableField(name)),
        _ => exact(fields, name),
    }
}

/// A text for people: redacted, cut to [`MAX_KEPT_TEXT_LEN`]; what is no text is absent.
pub(super) fn text(fields: &ObjectFields<'_>, name: &'static str) -> Option<String> {
    exact(fields, name)
        .ok()
        .flatten()
        .map(|text| redact_and_truncate(&text, MAX_KEPT_TEXT_LEN))
}

/// A single word: redacted, cut to [`MAX_KEPT_WORD_LEN`]; what is no text is absent.
pub(super) fn word(fields: &ObjectFields<'_>, name: &'static str) -> Option<String> {
    exact(fields, name)
        .ok()
        .flatten()
        .map(|text| redact_and_truncate(&text, MAX_KEPT_WORD_LEN))
}

/// A number of minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Minor {
    pub(super) units: i64,
    /// How it was written, where it was written with a decimal point.
    pub(super) written: Option<String>,
}

/// A whole number of minor units; `"3245"`, `3245.0` and `"3245.00"` are whole numbers too.
pub(super) fn minor(
    fields: &ObjectFields<'_>,
    name: &'static str,
) -> Result<Option<Minor>, UnreadableField> {
    let read = match fields.get(name) {
        None | Some(BorrowedJson::Null) => return Ok(None),
        Some(BorrowedJson::Text(text)) => read_minor(text.trim()),
        Some(BorrowedJson::Number(number)) => {
            match (number.as_i64(), number.as_f64().and_then(whole)) {
                (Some(units), _) => Some(Minor {
                    units,
                    written: None,
                }),
                (None, Some(units)) => Some(Minor {
                    units,
                    written: Some(number.to_string()),
                }),
                (None, None) => None,
            }
        }
        Some(BorrowedJson::Flag(_) | BorrowedJson::List(_) | BorrowedJson::Object(_)) => None,
    };
    read.map(Some).ok_or(UnreadableField(name))
}

fn read_minor(text: &str) -> Option<Minor> {
    let (units, fraction) = match text.split_once('.') {
        Some((units, fraction)) => (units, Some(fraction)),
        None => (text, None),
    };
    let is_whole = fraction.is_none_or(|f| !f.is_empty() && f.bytes().all(|b| b == b'0'));
    let units = units.parse().ok().filter(|_| is_whole)?;
    let written = fraction.map(|_| redact_and_truncate(text, MAX_KEPT_WORD_LEN));
    Some(Minor { units, written })
}

/// What stands under a name, to be told to a person: bounded and redacted.
pub(super) fn spelled(fields: &ObjectFields<'_>, name: &'static str) -> String {
    match fields.get(name) {
        Some(BorrowedJson::Text(text)) => {
            format!("{name} {:?}", redact_and_truncate(text, MAX_KEPT_WORD_LEN))
        }
        Some(BorrowedJson::Number(number)) => format!(
            "{name} {}",
            redact_and_truncate(&number.to_string(), MAX_KEPT_WORD_LEN)
        ),
        Some(BorrowedJson::List(_)) => format!("{name} (a list)"),
        Some(BorrowedJson::Object(_)) => format!("{name} (an object)"),
        Some(BorrowedJson::Flag(flag)) => format!("{name} {flag}"),
        Some(BorrowedJson::Null) | None => format!("{name} (nothing)"),
    }
}

/// The longest address that is taken over, in bytes.
const MAX_URL: usize = 8 * 1024;

/// An address that somebody is sent to: whole or not at all, since an altered one leads nowhere. Not at
/// all when it is longer than [`MAX_URL`], or holds one of these card numbers.
pub(super) fn url(fields: &ObjectFields<'_>, name: &str, numbers: &[String]) -> Option<String> {
    let url = fields.get(name).and_then(BorrowedJson::as_str)?;
    let plain = percent_decode_str(url).decode_utf8_lossy();
    let digits: String = plain
        .chars()
        .filter(|c| !matches!(c, ' ' | '-' | '+'))
        .collect();
    let holds = |number: &String| digits.contains(number.as_str());
    let fits = !url.is_empty() && url.len() <= MAX_URL && !url.contains('\0');
    (fits && !numbers.iter().any(holds)).then(|| url.to_owned())
}

/// Whether a field of this name holds the number of a card.
pub(super) fn names_card_number(name: &str) -> bool {
    let plain = name.bytes().filter(|b| !matches!(b, b'_' | b'-' | b' '));
    let is = |known: &str| {
        plain
            .clone()
            .map(|b| b.to_ascii_lowercase())
            .eq(known.bytes())
    };
    ["number", "cardnumber", "pan", "ccnumber"]
        .into_iter()
        .any(is)
}

/// The card numbers in the card fields of a body. Recursion is bounded: values come from a reader that
/// refuses deep nesting.
pub(super) fn card_numbers(fields: &ObjectFields<'_>, found: &mut Vec<String>) {
    fn inside(value: &BorrowedJson<'_>, found: &mut Vec<String>) {
        match value {
            BorrowedJson::Object(fields) => card_numbers(fields, found),
            BorrowedJson::List(items) => items.iter().for_each(|item| inside(item, found)),
            BorrowedJson::Null
            | BorrowedJson::Flag(_)
            | BorrowedJson::Number(_)
            | BorrowedJson::Text(_) => {}
        }
    }
    for (name, value) in fields.iter() {
        let text = match value {
            BorrowedJson::Text(text) if names_card_number(name) => Cow::Borrowed(&**text),
            BorrowedJson::Number(number) if names_card_number(name) => {
                Cow::Owned(number.to_string())
            }
            other => {
                inside(other, found);
                continue;
            }
        };
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        if (12..=19).contains(&digits.len()) {
            found.push(digits);
        }
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
pub(super) fn flag(fields: &ObjectFields<'_>, name: &'static str) -> Option<bool> {
    match fields.get(name)? {
        BorrowedJson::Flag(flag) => Some(*flag),
        BorrowedJson::Text(text) => match text.trim() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        BorrowedJson::Number(number) => number.as_i64().map(|n| n != 0),
        BorrowedJson::Null | BorrowedJson::List(_) | BorrowedJson::Object(_) => None,
    }
}

/// A time; what cannot be read is absent.
pub(super) fn time(fields: &ObjectFields<'_>, name: &'static str) -> Option<Timestamp> {
    read_time(&exact(fields, name).ok().flatten()?)
}

/// Whether a text is a time and nothing else.
pub(super) fn is_time(text: &str) -> bool {
    text.len() <= 64 && read_time(text).is_some()
}

fn read_time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| Timestamp::parse(&normalize_timestamp(text)))
}

/// Brings near misses into the form of RFC 3339: blanks inside, `UTC`, an offset without a colon.
fn normalize_timestamp(text: &str) -> String {
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
pub(super) fn redact_and_truncate(text: &str, max: usize) -> String {
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
    use crate::webhook_json::read_all;
    use serde_json::{Value, json};

    #[test]
    fn a_garbled_time_is_absent() {
        for text in ["+aжb", "2026-02-03 10:15 UTC-3 ч.", "-ж-ж", "+1ж", "ж"] {
            assert_eq!(of(&json!({"paid_at": text}), |f| time(f, "paid_at")), None);
        }
    }

    /// What is read of the fields of an object.
    fn of<T>(object: &Value, read: impl Fn(&ObjectFields<'_>) -> T) -> T {
        let body = object.to_string();
        read(read_all(body.as_bytes()).unwrap().as_object().unwrap())
    }

    #[test]
    fn numbers_in_any_clothes() {
        let amount = |value: Value| {
            of(&json!({ "amount": value }), |fields| {
                minor(fields, "amount").map(|read| read.map(|minor| minor.units))
            })
        };
        assert_eq!(amount(json!(3245)), Ok(Some(3245)));
        assert_eq!(amount(json!("3245")), Ok(Some(3245)));
        assert_eq!(amount(json!(3245.0)), Ok(Some(3245)));
        assert_eq!(amount(json!("3245.00")), Ok(Some(3245)));
        assert_eq!(amount(json!(" -5.0 ")), Ok(Some(-5)));
        assert_eq!(amount(json!(null)), Ok(None));
        for bad in [
            json!(""),
            json!(" "),
            json!("32.45"),
            json!("3,245.00"),
            json!("3245."),
            json!("1e3"),
            json!(".0"),
            json!(32.45),
            json!(1e300),
            json!({}),
            json!(true),
        ] {
            assert_eq!(amount(bad), Err(UnreadableField("amount")));
        }
        assert_eq!(amount(json!(u64::MAX)), Err(UnreadableField("amount")));
    }

    #[test]
    fn a_decimal_amount_is_kept_verbatim() {
        let written = |value: Value| {
            of(&json!({ "amount": value }), |fields| {
                minor(fields, "amount").unwrap().unwrap().written
            })
        };
        assert_eq!(written(json!("15.00")).as_deref(), Some("15.00"));
        assert_eq!(written(json!(15.0)).as_deref(), Some("15.0"));
        assert_eq!(written(json!("15")), None);
    }

    #[test]
    fn an_address_is_whole_or_not_there() {
        let long = format!("https://x/?{}", "a".repeat(1547));
        let read = |url: &str, number: &str| {
            let body = json!({"url": url, "credit_card": {"Card_Number": number}});
            of(&body, |fields| {
                let mut numbers = Vec::new();
                card_numbers(fields, &mut numbers);
                super::url(fields, "url", &numbers)
            })
        };
        let order = "https://x/?orderid=4111111111111111";
        for url in [long.as_str(), order] {
            assert_eq!(read(url, "").as_deref(), Some(url));
        }
        for hidden in [order, "https://x/?n=4111%2D1111-1111+1111"] {
            assert_eq!(read(hidden, "4111 1111 1111 1111"), None);
        }
        assert_eq!(read(&"x".repeat(8193), ""), None);
        assert_eq!(read(&"x".repeat(8192), "").map(|url| url.len()), Some(8192));
        assert_eq!(read("a\0b", ""), None);
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
