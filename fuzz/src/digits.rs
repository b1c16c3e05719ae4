//! Card numbers, found in the plainest way there is: a second opinion on the redactor.

use serde::de::IgnoredAny;
use serde_json::Value;

/// Whether 13 to 19 digits in one run begin as cards do and pass the Luhn check.
fn is_card(run: &[u8]) -> bool {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let digits = run.iter().rev().map(|byte| u32::from(byte - b'0'));
    let sum: u32 = digits
        .enumerate()
        .map(|(place, digit)| {
            if place % 2 == 1 {
                doubled(digit)
            } else {
                digit
            }
        })
        .sum();
    (13..=19).contains(&run.len()) && (b'2'..=b'6').contains(&run[0]) && sum.is_multiple_of(10)
}

/// Fails when a run of digits in the bytes could be a card number.
pub fn assert_none(bytes: &[u8]) {
    for run in bytes.split(|byte| !byte.is_ascii_digit()) {
        let text = String::from_utf8_lossy(bytes);
        assert!(run.is_empty() || !is_card(run), "a card number in {text:?}");
    }
}

/// Fails when one is in a redacted body: anywhere, or, in JSON, anywhere but under the names that keep
/// what they have.
pub fn assert_none_in_body(body: &[u8]) {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => assert_none_in(&value, true),
        // JSON that is nested too deep for the reader, or has numbers that are too large for it.
        Err(_) if serde_json::from_slice::<IgnoredAny>(body).is_ok() => {}
        Err(_) => assert_none(body),
    }
}

fn assert_none_in(value: &Value, at_the_top: bool) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Number(number) => assert_none(number.to_string().as_bytes()),
        // A document as text in a document: there no name keeps anything.
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Array(_) | Value::Object(_) | Value::String(_))) => {
                assert_none_in(&inner, false);
            }
            _ => assert_none(text.as_bytes()),
        },
        Value::Array(items) => items
            .iter()
            .for_each(|item| assert_none_in(item, at_the_top)),
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert_none(name.as_bytes());
            let is_plain = !value.is_array() && !value.is_object();
            if !(at_the_top && is_plain && keeps(name)) {
                assert_none_in(value, at_the_top);
            }
        }),
    }
}

/// Names of ids, sums, times and tokens.
fn keeps(name: &str) -> bool {
    let names = [
        "uid",
        "parent_uid",
        "tracking_id",
        "request_id",
        "id",
        "amount",
        "token",
        "stamp",
    ];
    names.contains(&name) || name.ends_with("_at")
}
