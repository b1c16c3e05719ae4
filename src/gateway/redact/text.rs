//! Redacts text that is not one JSON document: the strings inside documents, error texts, form
//! bodies, broken or cut JSON, XML, binary.
//!
//! What it deliberately cannot do: know a holder's name in running text. It knows values by the
//! name written before them, and card numbers by their digits.

use super::{MARK, json, keys, scan};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::ops::Range;

/// Documents as text in documents are followed so deep; what lies deeper goes as a whole.
const MAX_DEPTH: u8 = 4;
/// Rewriting is repeated until nothing changes; what still changes then goes as a whole.
const MAX_ROUNDS: usize = 6;
/// So far the end of a tag is looked for.
const MAX_TAG: usize = 256;
/// How encrypted card fields begin, wherever they are put.
const ENCRYPTED: &[u8] = b"$begatewaycse";

/// The redacted text, or `None` when nothing in it has to go.
pub(super) fn redacted(text: &str, depth: u8) -> Option<String> {
    redacted_bytes(text.as_bytes(), depth)
        .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|_| MARK.to_owned()))
}

/// The same for bytes that may be no text.
pub(super) fn redacted_bytes(bytes: &[u8], depth: u8) -> Option<Vec<u8>> {
    if !is_worth_a_look(bytes) {
        return None;
    }
    let mut last = one_round(bytes, depth)?;
    for _ in 0..MAX_ROUNDS {
        match one_round(&last, depth) {
            Some(next) => last = next,
            None => return Some(last),
        }
    }
    Some(MARK.as_bytes().to_vec())
}

/// Most texts are short and plain: no thirteen digits, and nothing that names or encodes a value.
pub(super) fn is_worth_a_look(bytes: &[u8]) -> bool {
    bytes.iter().map(|byte| weight(*byte)).sum::<usize>() >= WORTH_A_LOOK
}

/// The weight of a text that is worth a look: thirteen digits, or one telling sign.
pub(super) const WORTH_A_LOOK: usize = 13;

/// What a byte adds to the weight of a text. Read from a table, since every byte of a body is asked.
pub(super) fn weight(byte: u8) -> usize {
    usize::from(WEIGHTS[usize::from(byte)])
}

const WEIGHTS: [u8; 256] = {
    let mut weights = [0; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        weights[digit as usize] = 1;
        digit += 1;
    }
    let signs = *b"\"'<=%\\${[";
    let mut at = 0;
    while at < signs.len() {
        weights[signs[at] as usize] = WORTH_A_LOOK as u8;
        at += 1;
    }
    weights
};

fn one_round(bytes: &[u8], depth: u8) -> Option<Vec<u8>> {
    if bytes
        .windows(ENCRYPTED.len())
        .any(|window| window.eq_ignore_ascii_case(ENCRYPTED))
    {
        return Some(MARK.as_bytes().to_vec());
    }
    let inner = bytes.trim_ascii();
    if matches!(inner.first(), Some(b'{' | b'[' | b'"')) && json::is_json(inner) {
        return match depth {
            ..MAX_DEPTH => json::rewrite(inner, depth + 1),
            _ => Some(MARK.as_bytes().to_vec()),
        };
    }
    let plain = resolve_escapes(bytes);
    let named = without_named_values(&plain);
    let lean = named.as_deref().unwrap_or(&plain);
    let scanned = without_digit_runs(lean);
    let left = scanned.as_deref().unwrap_or(lean);
    if hides_behind_percent(left, depth) {
        return Some(MARK.as_bytes().to_vec());
    }
    scanned.or(named)
}

/// Writes `\u00XX` as the letter, digit or sign that it stands for: broken JSON must not keep a
/// value whose name is spelled with escapes.
fn resolve_escapes(bytes: &[u8]) -> Cow<'_, [u8]> {
    const LEAD: &[u8] = b"\\u00";
    if !bytes.windows(LEAD.len()).any(|window| window == LEAD) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let resolved = rest
            .strip_prefix(LEAD)
            .and_then(|after| std::str::from_utf8(after.get(..2)?).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
            .filter(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
        match resolved {
            Some(byte) => {
                out.push(byte);
                rest = &rest[LEAD.len() + 2..];
            }
            None => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    Cow::Owned(out)
}

fn without_digit_runs(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    while let Some(hit) = scan::first_hit(bytes, copied) {
        let out = out.get_or_insert_default();
        out.extend_from_slice(&bytes[copied..hit.start]);
        out.extend_from_slice(MARK.as_bytes());
        copied = hit.end;
    }
    let mut out = out?;
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

/// Whether something would have to go if percent signs were resolved.
fn hides_behind_percent(bytes: &[u8], depth: u8) -> bool {
    let encoded = bytes.windows(3).any(|window| {
        window[0] == b'%' && window[1].is_ascii_hexdigit() && window[2].is_ascii_hexdigit()
    });
    if !encoded {
        return false;
    }
    let decoded: Vec<u8> = percent_decode(bytes).collect();
    depth >= MAX_DEPTH || one_round(&decoded, depth + 1).is_some()
}

/// Redacts values that stand behind a sensitive name: `"number": …`, `?number=…`, `<number>…`.
fn without_named_values(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out: Option<Vec<u8>> = None;
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let Some(word) = next_word(bytes, at) else {
            break;
        };
        at = word.end;
        if !keys::is_sensitive(&bytes[word.clone()]) {
            continue;
        }
        let Some((value, mark)) = value_after(bytes, &word) else {
            continue;
        };
        if is_silent(&bytes[value.clone()]) {
            continue;
        }
        let out = out.get_or_insert_default();
        out.extend_from_slice(&bytes[copied..value.start]);
        out.extend_from_slice(mark);
        copied = value.end;
        at = value.end;
    }
    let mut out = out?;
    out.extend_from_slice(&bytes[copied..]);
    Some(out)
}

fn is_silent(value: &[u8]) -> bool {
    matches!(
        value.trim_ascii(),
        b"" | b"null" | b"[redacted]" | b"{}" | b"[]"
    )
}

fn next_word(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let start = from + bytes.get(from..)?.iter().position(is_word)?;
    let length = bytes[start..].iter().position(|b| !is_word(b));
    Some(start..length.map_or(bytes.len(), |n| start + n))
}

const BARE: &[u8] = b"[redacted]";
const QUOTED: &[u8] = b"\"[redacted]\"";

/// The value that the name at `word` announces, and what is to stand in its place.
fn value_after(bytes: &[u8], word: &Range<usize>) -> Option<(Range<usize>, &'static [u8])> {
    let before = word.start.checked_sub(1).map(|at| bytes[at]);
    let rest = &bytes[word.end..];
    match before {
        Some(quote @ (b'"' | b'\'')) => {
            let slashes = rest.iter().take_while(|b| **b == b'\\').count();
            let closed = rest.get(slashes) == Some(&quote);
            let after = json::skip_blanks(bytes, word.end + slashes + 1);
            let sign = bytes.get(after..)?;
            let length = usize::from(sign.starts_with(b":") || sign.starts_with(b"="));
            let length = if sign.starts_with(b"=>") { 2 } else { length };
            (closed && length > 0).then(|| quoted_style(bytes, after + length))
        }
        Some(b'<') => {
            let open = rest.iter().take(MAX_TAG).position(|b| *b == b'>')?;
            let start = word.end + open + 1;
            Some((start..until(bytes, start, b"<"), BARE))
        }
        None | Some(b'?' | b'&' | b';' | b'[' | b'.' | b'\n') => {
            let start = word.end + usize::from(rest.first() == Some(&b']'));
            let equals = bytes.get(start) == Some(&b'=');
            equals.then(|| (start + 1..until(bytes, start + 1, b"&;\"'<># \t\r\n"), BARE))
        }
        Some(_) => None,
    }
}

/// A value as JSON and its kin write it; what is cut off ends with the text.
fn quoted_style(bytes: &[u8], colon_end: usize) -> (Range<usize>, &'static [u8]) {
    let start = json::skip_blanks(bytes, colon_end);
    let slashes = bytes[start..].iter().take_while(|b| **b == b'\\').count();
    match bytes.get(start + slashes) {
        Some(b'"') if slashes == 0 => {
            let end = json::string_end(bytes, start);
            let closed = end > start + 1 && bytes[end - 1] == b'"';
            (start + 1..if closed { end - 1 } else { end }, BARE)
        }
        Some(quote @ (b'"' | b'\'')) => {
            let inner = start + slashes + 1;
            let end = until(bytes, inner, &[*quote]);
            (
                inner
                    ..end
                        - bytes[inner..end]
                            .iter()
                            .rev()
                            .take_while(|b| **b == b'\\')
                            .count(),
                BARE,
            )
        }
        Some(b'{' | b'[') => (start..json::bracket_end(bytes, start), QUOTED),
        Some(_) | None => (start..until(bytes, start, b",}]&\r\n"), QUOTED),
    }
}

fn until(bytes: &[u8], start: usize, stops: &[u8]) -> usize {
    bytes[start..]
        .iter()
        .position(|b| stops.contains(b))
        .map_or(bytes.len(), |n| start + n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        redacted(text, 0).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn cut_json_loses_its_named_values() {
        assert_eq!(
            clean(r#"{"credit_card":{"holder":"TEST CARD"#),
            r#"{"credit_card":{"holder":"[redacted]"#
        );
        assert_eq!(
            clean(r#"{"exp_month": 11, "exp_ye"#),
            r#"{"exp_month": "[redacted]", "exp_ye"#
        );
        assert_eq!(clean(r#"{"n\u0075mber":"123"#), r#"{"number":"[redacted]"#);
        assert_eq!(
            clean(r#"{"encrypted_credit_card":{"a":[1,{"b":2}]},"x":"#),
            r#"{"encrypted_credit_card":"[redacted]","x":"#
        );
        assert_eq!(clean(r#"log: {\"holder\":\"A B\",\"x\":1}"#), {
            r#"log: {\"holder\":\"[redacted]\",\"x\":1}"#
        });
    }

    #[test]
    fn forms_urls_and_markup() {
        assert_eq!(
            clean("number=1&holder=A+B&x=2"),
            "number=[redacted]&holder=[redacted]&x=2"
        );
        assert_eq!(clean("card[number]=1;x"), "card[number]=[redacted];x");
        assert_eq!(clean("<holder>A B</holder>"), "<holder>[redacted]</holder>");
        assert_eq!(
            clean("https://x/?a=4200000000000000"),
            "https://x/?a=[redacted]"
        );
        assert_eq!(clean("x=%34%32%30%30000000000000"), "[redacted]");
        assert_eq!(clean("card%5Bnumber%5D=1"), "[redacted]");
        assert_eq!(clean("a=$begatewaycse_1_0_0$abc"), "[redacted]");
    }

    #[test]
    fn running_text_keeps_its_words() {
        for text in [
            "Card number: is invalid",
            "Invoice number: 15",
            "Holder can't be blank",
            "100% sure = yes",
            "the \"number\" is missing",
            "https://shop.example/back?order=12&n=13",
        ] {
            assert_eq!(redacted(text, 0), None, "{text}");
        }
    }

    #[test]
    fn documents_in_documents() {
        assert_eq!(clean(r#"{"cvc":"123"}"#), r#"{"cvc":"[redacted]"}"#);
        let mut text = String::from(r#"{"holder":"A"}"#);
        for _ in 0..8 {
            text = serde_json::to_string(&text).unwrap_or_default();
        }
        assert!(!clean(&text).contains("\"A"));
    }
}
