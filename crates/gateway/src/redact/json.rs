//! Rewrites valid JSON in place: what is not redacted keeps its bytes, its order, its spacing and
//! the spelling of its numbers.
//!
//! What it deliberately cannot do: read text that is not JSON; its caller makes sure.

use super::keys::{self, FieldSensitivity, Secret};
use super::secrets::{SecretPlace, Secrets};
use super::{OPEN_MARK, REDACTION_MARK, pairs, scan, text};
use crate::{fields, refusals};
use std::borrow::Cow;
use std::ops::Range;

/// What a redacted value becomes.
const QUOTED_MARK: &[u8] = b"\"[redacted]\"";

/// The name under which the texts of an error stand.
const ERRORS: &[u8] = b"\"errors\"";

/// What a redacted string becomes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead {
    /// Another text.
    Text(String),
    /// Nothing: a part of an address leads nowhere.
    Null,
}

/// Whether the bytes are one JSON document that a strict reader takes.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok()
        && serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

/// Finds what stands in the card fields of a document, also where a name is given twice.
pub(super) fn collect(json: &[u8], found: &mut Secrets, depth: u8) {
    let mut at = 0;
    // One for each object and list that is open: whether it is a card, or lies in one.
    let mut cards = vec![false];
    let mut next_is_card = false;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let end = string_end(json, at);
                let next = skip_blanks(json, end);
                if json.get(next) != Some(&b':') {
                    text_in_document(json, at..end, found, depth);
                    (at, next_is_card) = (end, false);
                    continue;
                }
                let name = unescape(&json[at + 1..end - 1]);
                let in_card = *cards.last().unwrap_or(&false);
                at = skip_blanks(json, next + 1);
                if name == "errors" {
                    // What stands there are messages.
                    at = value_end(json, at);
                } else if let Some(secret) = keys::secret(name.as_bytes()) {
                    let value_end = value_end(json, at);
                    let is_cards = in_card || name != "number";
                    collect_value(&json[at..value_end], secret, is_cards, found);
                    at = value_end;
                }
                next_is_card = in_card || keys::is_card(name.as_bytes());
            }
            b'{' | b'[' => {
                let inherited = *cards.last().unwrap_or(&false);
                cards.push(inherited || next_is_card);
                at += 1;
            }
            b'}' | b']' => {
                cards.pop();
                (at, next_is_card) = (at + 1, false);
            }
            b',' => (at, next_is_card) = (at + 1, false),
            _ => at += 1,
        }
    }
    for pair in pairs::values(json) {
        collect_value(&json[pair.value], pair.secret, true, found);
    }
}

fn collect_value(value: &[u8], secret: Secret, is_cards: bool, found: &mut Secrets) {
    match value {
        [b'"', inner @ .., b'"'] => found.add(secret, &unescape(inner), is_cards),
        [b'{', ..] => collect(value, found, 0),
        [b'[', ..] => {
            let mut at = 0;
            while let Some(offset) = value[at..].iter().position(|byte| *byte == b'"') {
                let start = at + offset;
                at = string_end(value, start);
                let is_name = value.get(skip_blanks(value, at)) == Some(&b':');
                if !is_name && value[..at].ends_with(b"\"") {
                    found.add(secret, &unescape(&value[start + 1..at - 1]), is_cards);
                }
            }
        }
        [b'-' | b'0'..=b'9', ..] => {
            found.add(
                secret,
                std::str::from_utf8(value).unwrap_or_default(),
                is_cards,
            );
        }
        _ => {}
    }
}

/// Documents and forms that lie as text in a document.
fn text_in_document(json: &[u8], range: Range<usize>, found: &mut Secrets, depth: u8) {
    let raw = &json[range.start + 1..(range.end - 1).max(range.start + 1)];
    if raw.iter().any(|b| b"{<=[:\\".contains(b)) {
        text::collect(unescape(raw).as_bytes(), found, depth + 1);
    }
}

/// The redacted document, or `None` when nothing in it has to go. `depth` counts documents that
/// lie as text in others.
pub(super) fn rewrite(json: &[u8], secrets: &Secrets, depth: u8) -> Option<Vec<u8>> {
    let mut copy = Rewrite {
        source: json,
        secrets,
        copied: 0,
        out: None,
    };
    let mut at = 0;
    let mut class = FieldSensitivity::Plain;
    // So far goes the value of the last `errors`.
    let mut errors = 0;
    let mut pairs = pairs::values(json).into_iter().peekable();
    while let Some(byte) = json.get(at) {
        while pairs.next_if(|pair| pair.value.start < at).is_some() {}
        if pairs.next_if(|pair| pair.value.start == at).is_some() {
            at = sensitive_value(&mut copy, at, at < errors);
            class = FieldSensitivity::Plain;
            continue;
        }
        match byte {
            b'"' => {
                let (end, weighs) = weighed_string(json, at);
                let is_worth_a_look = weighs || !secrets.is_empty();
                let next = skip_blanks(json, end);
                if json.get(next) == Some(&b':') {
                    class = key(&mut copy, at..end, is_worth_a_look, depth);
                    at = skip_blanks(json, next + 1);
                    if let FieldSensitivity::Sensitive(_) = class {
                        at = sensitive_value(&mut copy, at, at < errors);
                        class = FieldSensitivity::Plain;
                    } else if at >= errors && json[..next].trim_ascii_end().ends_with(ERRORS) {
                        errors = value_end(json, at);
                    }
                } else {
                    // Most are not, and an escape is worth a look itself.
                    let is_long =
                        class == FieldSensitivity::Address && end - at > keys::LONGEST_ADDRESS;
                    if is_worth_a_look || is_long {
                        string(&mut copy, at..end, class, depth);
                    }
                    class = FieldSensitivity::Plain;
                    at = end;
                }
            }
            b'-' | b'0'..=b'9' => {
                let end = scalar_end(json, at);
                if number_contains_pan(class, &json[at..end], secrets) {
                    copy.replace(at..end, QUOTED_MARK);
                }
                class = FieldSensitivity::Plain;
                at = end;
            }
            b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            // A bracket, a comma or a word: the key's value has begun or is over.
            _ => {
                class = FieldSensitivity::Plain;
                at += 1;
            }
        }
    }
    copy.finish()
}

/// Whether a string under a key of this class has to change, and into what.
pub(super) fn redacted_string(
    class: FieldSensitivity,
    value: &str,
    secrets: &Secrets,
    depth: u8,
) -> Option<Instead> {
    let exempt = match class {
        FieldSensitivity::Id => true,
        FieldSensitivity::LooseId => keys::is_uid(value),
        FieldSensitivity::Time => {
            fields::is_time(value) && !scan::has_unbroken_hit(value.as_bytes())
        }
        FieldSensitivity::Amount => keys::is_decimal(value),
        FieldSensitivity::Token => keys::is_token(value),
        FieldSensitivity::Word => value.len() <= keys::LONGEST_WORD,
        FieldSensitivity::Address => {
            let may_stay = is_whole_address(value, secrets);
            return (!may_stay).then_some(Instead::Null);
        }
        FieldSensitivity::Plain | FieldSensitivity::Sensitive(_) => false,
    };
    if exempt {
        return None;
    }
    let nothing = Secrets::default();
    let secrets = if class == FieldSensitivity::Word {
        &nothing
    } else {
        secrets
    };
    text::redacted(value, secrets, depth).map(Instead::Text)
}

/// Whether a payer can be sent there: an address is kept as it is, or not at all.
pub(super) fn is_whole_address(value: &str, secrets: &Secrets) -> bool {
    if value.len() > keys::LONGEST_ADDRESS {
        return false;
    }
    let mut spelled = Cow::Borrowed(value.as_bytes());
    // Escapes may be escaped again.
    for _ in 0..4 {
        if secrets.number_is_in(&String::from_utf8_lossy(&spelled)) {
            return false;
        }
        let decoded: Vec<u8> = percent_encoding::percent_decode(&spelled).collect();
        if decoded == *spelled {
            break;
        }
        spelled = Cow::Owned(decoded);
    }
    true
}

/// Whether a number under a key of this class has to go.
pub(super) fn number_contains_pan(
    class: FieldSensitivity,
    number: &[u8],
    secrets: &Secrets,
) -> bool {
    match class {
        FieldSensitivity::Id | FieldSensitivity::Amount => return false,
        FieldSensitivity::Time => return scan::has_unbroken_hit(number),
        FieldSensitivity::Word if number.len() <= keys::LONGEST_WORD => return false,
        FieldSensitivity::Plain
        | FieldSensitivity::Sensitive(_)
        | FieldSensitivity::LooseId
        | FieldSensitivity::Token
        | FieldSensitivity::Word
        | FieldSensitivity::Address => {}
    }
    if number.len() >= scan::MIN_DIGITS && scan::has_any_unbroken_hit(number) {
        return true;
    }
    if class != FieldSensitivity::Word && secrets.is_in_number(number) {
        return true;
    }
    // `4.2e15` is a card number as well.
    if !number.iter().any(|b| matches!(b, b'e' | b'E')) {
        return false;
    }
    std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|value| (1e11..1e19).contains(&value.abs()))
        .is_some_and(|value| scan::has_any_unbroken_hit(format!("{:.0}", value.abs()).as_bytes()))
}

/// Whether a string under a sensitive key still says something.
pub(super) fn has_content(value: &str) -> bool {
    !value.is_empty() && value != REDACTION_MARK
}

fn key(
    copy: &mut Rewrite<'_>,
    range: Range<usize>,
    is_worth_a_look: bool,
    depth: u8,
) -> FieldSensitivity {
    let raw = &copy.source[range.start + 1..range.end - 1];
    // What is not worth a look has no escapes: the bytes are the name.
    let name = is_worth_a_look.then(|| unescape(raw));
    let spelled = name.as_ref().map_or(raw, |name| name.as_bytes());
    let class = match keys::classify(spelled) {
        FieldSensitivity::Sensitive(secret) => FieldSensitivity::Sensitive(secret),
        // Ids and sums of the gateway do not lie in texts; there the names prove nothing.
        _ if depth > 0 => FieldSensitivity::Plain,
        class => class,
    };
    let nothing = Secrets::default();
    let has_to_go = name.is_some_and(|name| {
        text::redacted(&name, &nothing, depth).is_some()
            || copy.secrets.struck(&name, SecretPlace::Name).is_some()
    });
    if has_to_go {
        copy.replace(range, QUOTED_MARK);
    }
    class
}

fn string(copy: &mut Rewrite<'_>, range: Range<usize>, class: FieldSensitivity, depth: u8) {
    let value = unescape(&copy.source[range.start + 1..range.end - 1]);
    match redacted_string(class, &value, copy.secrets, depth) {
        None => {}
        Some(Instead::Null) => copy.replace(range, b"null"),
        Some(Instead::Text(text)) => {
            let quoted = serde_json::to_vec(&text).unwrap_or_else(|_| QUOTED_MARK.to_vec());
            copy.replace(range, &quoted);
        }
    }
}

/// Whether a text in this value, of an error, leaves open what came of the request.
fn leaves_open(value: &[u8]) -> bool {
    let mut at = 0;
    while let Some(offset) = value[at..].iter().position(|byte| *byte == b'"') {
        let start = at + offset;
        at = string_end(value, start);
        let is_name = value.get(skip_blanks(value, at)) == Some(&b':');
        let text = &value[start + 1..(at - 1).max(start + 1)];
        if !is_name && refusals::is_open_text(&unescape(text)) {
            return true;
        }
    }
    false
}

/// Redacts the whole value that begins at `start`, and returns its end.
fn sensitive_value(copy: &mut Rewrite<'_>, start: usize, in_errors: bool) -> usize {
    let json = copy.source;
    let end = value_end(json, start);
    let value = &json[start..end];
    let silent = match value {
        b"null" => true,
        [b'"', inner @ .., b'"'] => !has_content(&unescape(inner)) || is_listed(inner),
        [b'{', inner @ .., b'}'] | [b'[', inner @ .., b']'] => {
            inner.iter().all(u8::is_ascii_whitespace)
        }
        _ => false,
    };
    if !silent && in_errors && leaves_open(value) {
        copy.replace(start..end, format!("\"{OPEN_MARK}\"").as_bytes());
    } else if !silent {
        copy.replace(start..end, QUOTED_MARK);
    }
    end
}

/// Whether it tells on which list of the shop a card is: under the name of its number, and nothing of it.
fn is_listed(word: &[u8]) -> bool {
    matches!(word, b"white" | b"black" | b"absent")
}

pub(super) fn value_end(json: &[u8], start: usize) -> usize {
    match json.get(start) {
        Some(b'"') => string_end(json, start),
        Some(b'{' | b'[') => bracket_end(json, start),
        Some(_) | None => scalar_end(json, start),
    }
}

/// The end of the object or array at `start`; the end of the text when it is cut off.
pub(super) fn bracket_end(json: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                at = string_end(json, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    json.len()
}

/// The end of the string at `start`, its closing quote included.
pub(super) fn string_end(json: &[u8], start: usize) -> usize {
    weighed_string(json, start).0
}

/// The same, and whether what stands between the quotes is worth a look, in one pass.
fn weighed_string(json: &[u8], start: usize) -> (usize, bool) {
    let (mut at, mut weight) = (start + 1, 0);
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return (at + 1, weight >= text::MIN_PAN_LEN),
            b'\\' => (at, weight) = (at + 2, text::MIN_PAN_LEN),
            _ => (at, weight) = (at + 1, weight + text::weight(*byte)),
        }
    }
    (json.len(), true)
}

fn scalar_end(json: &[u8], start: usize) -> usize {
    let ends = |b: &u8| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace();
    json[start..]
        .iter()
        .position(ends)
        .map_or(json.len(), |n| start + n)
}

pub(super) fn skip_blanks(json: &[u8], mut at: usize) -> usize {
    while json.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The text between the quotes, its escapes resolved. Lone surrogates become `U+FFFD`.
pub(super) fn unescape(raw: &[u8]) -> Cow<'_, str> {
    if !raw.contains(&b'\\') {
        return String::from_utf8_lossy(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        if *byte != b'\\' {
            out.push(*byte);
            at += 1;
            continue;
        }
        let (symbol, length) = escape(&raw[at..]);
        let mut room = [0_u8; 4];
        out.extend_from_slice(symbol.encode_utf8(&mut room).as_bytes());
        at += length;
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// What the escape at the beginning stands for, and its length.
pub(super) fn escape(raw: &[u8]) -> (char, usize) {
    let symbol = match raw.get(1) {
        Some(b'u') => return unicode_escape(raw),
        Some(b'n') => '\n',
        Some(b't') => '\t',
        Some(b'r') => '\r',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(other) => char::from(*other),
        None => '\\',
    };
    (symbol, 2)
}

fn unicode_escape(raw: &[u8]) -> (char, usize) {
    let Some(first) = hex_unit(raw) else {
        return ('u', 2);
    };
    if let Some(symbol) = char::from_u32(first) {
        return (symbol, 6);
    }
    let second = raw
        .get(6..)
        .filter(|rest| rest.starts_with(b"\\u"))
        .and_then(hex_unit);
    let pair = second.filter(|low| (0xDC00..0xE000).contains(low) && first < 0xDC00);
    match pair.and_then(|low| char::from_u32(0x10000 + ((first - 0xD800) << 10) + (low - 0xDC00))) {
        Some(symbol) => (symbol, 12),
        None => (char::REPLACEMENT_CHARACTER, 6),
    }
}

fn hex_unit(raw: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(raw.get(2..6)?).ok()?;
    let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain
        .then(|| u32::from_str_radix(digits, 16).ok())
        .flatten()
}

/// A copy that is made only when something differs.
struct Rewrite<'a> {
    source: &'a [u8],
    secrets: &'a Secrets,
    copied: usize,
    out: Option<Vec<u8>>,
}

impl Rewrite<'_> {
    fn replace(&mut self, range: Range<usize>, with: &[u8]) {
        let out = self
            .out
            .get_or_insert_with(|| Vec::with_capacity(self.source.len()));
        out.extend_from_slice(&self.source[self.copied..range.start]);
        out.extend_from_slice(with);
        self.copied = range.end;
    }

    fn finish(self) -> Option<Vec<u8>> {
        let mut out = self.out?;
        out.extend_from_slice(&self.source[self.copied..]);
        Some(out)
    }
}
