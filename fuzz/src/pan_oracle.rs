//! Card numbers, found in the plainest way there is: a second opinion on the redactor.

use serde::de::IgnoredAny;
use serde_json::Value;

/// Whether digits in one run begin as a network's cards do, have as many digits, and pass the Luhn check.
fn is_card(run: &[u8]) -> bool {
    let text = String::from_utf8_lossy(run);
    let length = run.len();
    let begins = |beginnings: &[&str]| beginnings.iter().any(|one| text.starts_with(one));
    let of_a_network = (begins(&["4"]) && [13, 16, 19].contains(&length))
        || (begins(&["51", "52", "53", "54", "55", "2300", "2500", "2700"]) && length == 16)
        || (begins(&["34", "37"]) && length == 15)
        || (begins(&["36", "38"]) && length == 14)
        || (begins(&["2200"]) && (16..=19).contains(&length))
        || (begins(&["50", "56", "57", "58", "6"]) && (12..=19).contains(&length));
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
    of_a_network && sum.is_multiple_of(10)
}

/// Fails when a run of digits in the bytes could be a card number. A word may hold any.
pub fn assert_none(bytes: &[u8]) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    for word in bytes.split(|byte| !is_word(byte)) {
        let text = String::from_utf8_lossy(bytes);
        let is_run = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        assert!(!is_run || !is_card(word), "a card number in {text:?}");
    }
}

/// Fails when one is in a redacted body: anywhere, or, in JSON, anywhere but under the names that keep
/// what they have.
pub fn assert_none_in_body(body: &[u8]) {
    match serde_json::from_slice::<Value>(body) {
        Ok(value) => assert_none_in(&value, true),
        // JSON that is nested too deep for the reader, or has numbers that are too large for it.
        Err(_) if serde_json::from_slice::<IgnoredAny>(body).is_ok() => {}
        // In what is broken the same names keep what they have.
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            if !KEEPING.iter().any(|name| text.contains(name)) && !text.contains("_at") {
                assert_none(body);
            }
        }
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

/// Names of ids, sums, words, addresses and tokens.
const KEEPING: [&str; 20] = [
    "uid",
    "parent_uid",
    "tracking_id",
    "request_id",
    "id",
    "amount",
    "token",
    "stamp",
    "redirect_url",
    "receipt_url",
    "acs_url",
    "pa_res_url",
    "status",
    "code",
    "type",
    "currency",
    "rrn",
    "bin",
    "last_4",
    "first_1",
];

fn keeps(name: &str) -> bool {
    let ends = ["_at", "_amount", "_code", "_status", "_type", "_currency"];
    KEEPING.contains(&name) || ends.iter().any(|end| name.ends_with(end))
}
