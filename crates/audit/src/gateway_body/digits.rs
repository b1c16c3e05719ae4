//! Numbers to the digit: one that a float does not hold is read as the text of its digits, so that no amount
//! and no uid becomes another by being read.
//!
//! What it deliberately cannot do: read a body. It prepares one.

use std::borrow::Cow;

/// Every number with fewer signs is held by a float.
const SHORT: usize = 16;

/// The body with such numbers in quotes.
pub(super) fn quoted(body: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Vec::new();
    let (mut copied, mut at, mut in_text) = (0, 0, false);
    while at < body.len() {
        let length = body[at..].iter().take_while(|sign| is_sign(**sign)).count();
        match body[at] {
            b'\\' if in_text => at += 1,
            b'"' => in_text = !in_text,
            _ if !in_text && length > 0 => {
                let number = &body[at..at + length];
                if length >= SHORT && is_lost(number) {
                    out.extend_from_slice(&body[copied..at]);
                    out.push(b'"');
                    out.extend_from_slice(number);
                    out.push(b'"');
                    copied = at + length;
                }
                at += length - 1;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(body);
    }
    out.extend_from_slice(&body[copied..]);
    Cow::Owned(out)
}

const fn is_sign(sign: u8) -> bool {
    sign.is_ascii_digit() || matches!(sign, b'-' | b'+' | b'.' | b'e' | b'E')
}

/// Whether the nearest float is another number.
fn is_lost(number: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(number) else {
        return false;
    };
    match text.parse::<f64>() {
        Ok(float) if float.is_finite() => parts(text) != parts(&format!("{float:e}")),
        _ => false,
    }
}

/// The digits of a number without noughts around them, and the power of ten of the first one.
fn parts(text: &str) -> Option<(bool, String, i64)> {
    let (front, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let front = front.trim_start_matches('+');
    let bare = front.trim_start_matches('-');
    let (whole, _) = bare.split_once('.').unwrap_or((bare, ""));
    let digits: String = bare.chars().filter(char::is_ascii_digit).collect();
    let noughts = digits.len() - digits.trim_start_matches('0').len();
    let first = i64::try_from(whole.len()).ok()? - i64::try_from(noughts).ok()?;
    let digits = digits.trim_matches('0').to_owned();
    if digits.is_empty() {
        return Some((false, digits, 0));
    }
    Some((
        bare.len() < front.len(),
        digits,
        first + power.parse::<i64>().ok()?,
    ))
}
