//! Numbers of JSON that sixty-four bits do not hold.
//!
//! The reader has doubles: `1500.0000000000000000001` becomes 1500, and a uid of twenty-three digits becomes
//! `1.2345678901234568e22`. So such numbers are read as texts of their digits; and in a request that is
//! forwarded, one that no double is as great as stands for the greatest, while what is sent is what came.
//!
//! What it deliberately cannot do: say that something is no JSON.

use super::raw::beyond_a_double;
use std::ops::Range;

/// A double holds all numbers of fewer digits.
const FEW_DIGITS: usize = 16;

/// The body with every number that a double does not hold as a text; `None` when there is none.
pub(super) fn as_texts(body: &[u8]) -> Option<Vec<u8>> {
    // Most bodies have no such run of digits, or have it in a text.
    let is_part = |b: &u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let longest = body.split(|b| !is_part(b)).map(<[u8]>::len).max();
    if longest.unwrap_or(0) < FEW_DIGITS {
        return None;
    }
    replaced(body, |number| {
        let text = beyond_a_double(number).map(|_| [b"\"", number, b"\""].concat());
        // What is greater than every double is damage, which is mended elsewhere.
        text.filter(|_| number.len() >= FEW_DIGITS && !is_infinite(number))
    })
}

/// The body with the greatest double for every number that is greater; `None` when there is none.
pub(super) fn finite(body: &[u8]) -> Option<Vec<u8>> {
    replaced(body, |number| {
        let sign = if number.starts_with(b"-") { "-" } else { "" };
        is_infinite(number).then(|| format!("{sign}{:e}", f64::MAX).into_bytes())
    })
}

fn is_infinite(number: &[u8]) -> bool {
    let text = std::str::from_utf8(number).unwrap_or_default();
    text.parse::<f64>().is_ok_and(f64::is_infinite)
}

/// The body with other numbers in it. Nothing grows in memory: a copy would be left behind.
fn replaced(body: &[u8], instead: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let all: Vec<(Range<usize>, Vec<u8>)> = numbers(body)
        .filter_map(|range| Some((range.clone(), instead(&body[range])?)))
        .collect();
    if all.is_empty() {
        return None;
    }
    let more: usize = all.iter().map(|(_, with)| with.len()).sum();
    let mut out = Vec::with_capacity(body.len() + more);
    let mut copied = 0;
    for (range, with) in all {
        out.extend_from_slice(&body[copied..range.start]);
        out.extend_from_slice(&with);
        copied = range.end;
    }
    out.extend_from_slice(&body[copied..]);
    Some(out)
}

/// The numbers outside of texts.
fn numbers(body: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            match body.get(at)? {
                b'"' => {
                    at += 1;
                    while let Some(byte) = body.get(at) {
                        at += if *byte == b'\\' { 2 } else { 1 };
                        if *byte == b'"' {
                            break;
                        }
                    }
                }
                b'-' | b'0'..=b'9' => {
                    let start = at;
                    let is_part = |b: &&u8| {
                        b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')
                    };
                    at += body[at..].iter().take_while(is_part).count();
                    return Some(start..at);
                }
                _ => at += 1,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_lose_digits_become_text() {
        let texts = |body: &str| {
            as_texts(body.as_bytes()).map(|body| String::from_utf8_lossy(&body).into_owned())
        };
        assert_eq!(
            texts(r#"{"a":1500.0000000000000000001,"b":[-12345678901234567890123 ]}"#).as_deref(),
            Some(r#"{"a":"1500.0000000000000000001","b":["-12345678901234567890123" ]}"#)
        );
        for same in [
            r#"{"a":1500.0000000000000000000}"#,
            r#"{"a":9007199254740992,"b":1e300,"c":0.1}"#,
            r#"{"a":"1500.0000000000000000001","b\"":"12345678901234567890123"}"#,
            r#"{"a":1e400000000000000}"#,
        ] {
            assert_eq!(texts(same), None, "{same}");
        }
    }

    #[test]
    fn an_overflowing_number_is_the_maximum() {
        let body = finite(br#"{"a":1e400,"b":-1e999,"c":"1e400","d":5}"#);
        assert_eq!(
            body.as_deref(),
            Some(
                &br#"{"a":1.7976931348623157e308,"b":-1.7976931348623157e308,"c":"1e400","d":5}"#[..]
            )
        );
        assert_eq!(finite(b"{\"a\":1e300}"), None);
    }
}
