//! Finds in any text the values that the name of a field announces: in JSON that is broken, cut or in a
//! language's own style, in forms, and in markup.
//!
//! What it deliberately cannot do: tell a field from the same word in running text where only a colon
//! follows. There it counts at the beginning of a line, or after a bracket or a comma.

use super::json;
use super::keys::{self, FieldSensitivity, Secret};
use std::ops::Range;

/// So far the end of a tag is looked for.
const MAX_TAG: usize = 256;

/// No name in a cell is longer.
const MAX_NAME: usize = 64;

/// So far the end of an element is looked for.
const MAX_ELEMENT: usize = 2048;

/// A value with the name in front of it.
#[derive(Debug)]
pub(super) struct Named {
    /// What the name says.
    pub(super) class: FieldSensitivity,
    /// The name.
    pub(super) name: Range<usize>,
    /// The value, without its quotes.
    pub(super) value: Range<usize>,
    /// What may stand in the value's place.
    pub(super) mark: &'static str,
    /// The value with its quotes, where it is one that `null` may stand for.
    pub(super) whole: Option<Range<usize>>,
}

const BARE: &str = "[redacted]";
const QUOTED: &str = "\"[redacted]\"";

/// All of them, in their order. One may lie in another.
pub(super) fn named_values(text: &str) -> Vec<Named> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(word) = next_word(bytes, at) {
        at = word.end;
        let class = keys::classify(&bytes[word.clone()]);
        let neighbour = of_neighbour(bytes, &word);
        if class == FieldSensitivity::Plain && neighbour.is_none() {
            continue;
        }
        let (class, (value, mark, whole)) = match neighbour {
            Some((secret, value)) => (FieldSensitivity::Sensitive(secret), value),
            None => match value_after(bytes, &word, class) {
                Some(value) => (class, value),
                None => continue,
            },
        };
        // No letter is cut in two.
        if !text.is_char_boundary(value.start) || !text.is_char_boundary(value.end) {
            continue;
        }
        if matches!(
            class,
            FieldSensitivity::Sensitive(_) | FieldSensitivity::Address
        ) {
            // It may stand in front of its name.
            at = at.max(value.end);
        }
        found.push(Named {
            class,
            name: word,
            value,
            mark,
            whole,
        });
    }
    found.sort_by_key(|named| named.value.start);
    found
}

fn next_word(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    // Letters without width may stand in a name.
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || !b.is_ascii() || matches!(b, b'_' | b'-');
    let start = from + bytes.get(from..)?.iter().position(is_word)?;
    let length = bytes[start..].iter().position(|b| !is_word(b));
    Some(start..length.map_or(bytes.len(), |n| start + n))
}

type Value = (Range<usize>, &'static str, Option<Range<usize>>);

/// So far the value of a field that is exempt is looked at.
const MAX_EXEMPT: usize = 2 * keys::LONGEST_ADDRESS;

/// The same where no address is meant.
const MAX_ID: usize = 512;

fn value_after(bytes: &[u8], word: &Range<usize>, class: FieldSensitivity) -> Option<Value> {
    // What is exempt is short: nothing is read over and over.
    let most = match class {
        FieldSensitivity::Sensitive(_) => bytes.len(),
        FieldSensitivity::Address => word.end + MAX_EXEMPT,
        _ => word.end + MAX_ID,
    };
    let bytes = &bytes[..bytes.len().min(most)];
    let before = word.start.checked_sub(1).map(|at| bytes[at]);
    match before {
        Some(b'=') if in_tag(bytes, word.start) => of_attribute(bytes, word.start, word.end),
        Some(quote @ (b'"' | b'\'')) => after_quoted_name(bytes, word, quote),
        Some(b'<') => after_tag(bytes, word),
        Some(b':') if opens_tag(&bytes[..word.start - 1]) => after_tag(bytes, word),
        _ => after_bare_name(bytes, word, class),
    }
}

/// `"name": value`, `name="name" value="value"`, `name="name"` of a form in several parts.
fn after_quoted_name(bytes: &[u8], word: &Range<usize>, quote: u8) -> Option<Value> {
    let rest = &bytes[word.end..];
    let slashes = rest.iter().take_while(|b| **b == b'\\').count();
    if rest.get(slashes) != Some(&quote) {
        return None;
    }
    let closed = word.end + slashes + 1;
    let after = json::skip_blanks(bytes, closed);
    let sign = bytes.get(after..)?;
    let length = match sign {
        [b'=', b'>', ..] => 2,
        [b':' | b'=', ..] => 1,
        // As PHP writes it: `s:6:"holder";s:8:"JANE ROE";`.
        [b';', b's', b':', rest @ ..] => {
            let digits = rest.iter().take(8).take_while(|b| b.is_ascii_digit());
            let digits = digits.count();
            if rest.get(digits) == Some(&b':') {
                digits + 4
            } else {
                0
            }
        }
        [b';', b'i' | b'd', b':', ..] => {
            let start = after + 3;
            return Some((start..until(bytes, start, b";}"), BARE, None));
        }
        _ => 0,
    };
    if length > 0 {
        return Some(json_style(bytes, after + length));
    }
    let opened = word.start - 1;
    let is_attribute = bytes[..opened].trim_ascii_end().ends_with(b"=");
    if is_attribute {
        of_attribute(bytes, opened, closed)
    } else {
        None
    }
}

/// Whether these bytes lie in the tag of an element.
fn in_tag(bytes: &[u8], at: usize) -> bool {
    let near = &bytes[at.saturating_sub(MAX_TAG)..at];
    let sign = near.iter().rfind(|b| matches!(b, b'<' | b'>'));
    sign == Some(&b'<')
}

/// The text of the next cell, or element, where this one holds a name and nothing else:
/// `<td>Holder</td><td>…</td>`, `<dt>`, `<dd>`; or what stands behind a tab.
fn of_neighbour(bytes: &[u8], word: &Range<usize>) -> Option<(Secret, Value)> {
    let found = of_next_element(bytes, word).or_else(|| behind_a_tab(bytes, word));
    // In a list of names none is the value of another.
    found.filter(|(_, (value, ..))| keys::secret(&bytes[value.clone()]).is_none())
}

fn of_next_element(bytes: &[u8], word: &Range<usize>) -> Option<(Secret, Value)> {
    if !bytes[..word.start].trim_ascii_end().ends_with(b">") {
        return None;
    }
    let near = &bytes[word.start..bytes.len().min(word.start + MAX_NAME)];
    let end = word.start + near.iter().position(|b| *b == b'<')?;
    let name = bytes[word.start..end].trim_ascii();
    let secret = keys::secret(name.strip_suffix(b":").unwrap_or(name))?;
    let (mut at, mut closed, mut opened) = (end, false, false);
    while bytes.get(at) == Some(&b'<') {
        let near = &bytes[at..bytes.len().min(at + MAX_TAG)];
        closed |= near.starts_with(b"</");
        opened |= !near.starts_with(b"</");
        let end = at + near.iter().position(|b| *b == b'>')?;
        at = json::skip_blanks(bytes, end + 1);
        if at > word.start + MAX_ELEMENT {
            return None;
        }
    }
    let value = at..until(bytes, at, b"<");
    (closed && opened).then_some((secret, (value, BARE, None)))
}

fn behind_a_tab(bytes: &[u8], word: &Range<usize>) -> Option<(Secret, Value)> {
    if bytes.get(word.end) != Some(&b'\t') {
        return None;
    }
    let near = &bytes[word.end.saturating_sub(MAX_NAME)..word.end];
    let begins = near
        .iter()
        .rposition(|b| matches!(b, b'\t' | b'\n' | b'\r'));
    let name = &near[begins.map_or(0, |at| at + 1)..];
    let secret = keys::secret(name.trim_ascii())?;
    let start = word.end + 1;
    Some((secret, (start..until(bytes, start, b"\t\r\n"), BARE, None)))
}

/// The value of an element or part whose attribute holds the name, which begins at `opened` and ends at
/// `from`.
fn of_attribute(bytes: &[u8], opened: usize, from: usize) -> Option<Value> {
    let near = &bytes[from..bytes.len().min(from + MAX_TAG)];
    let tag_end = near.iter().position(|b| *b == b'>');
    let blank_line = [&b"\r\n\r\n"[..], b"\n\n"]
        .iter()
        .filter_map(|line| Some((find(near, line)?, line.len())))
        .min();
    if let Some((at, length)) = blank_line
        && tag_end.is_none_or(|end| at < end)
    {
        let start = from + at + length;
        let ends = [&b"\r\n--"[..], b"\n--"].map(|end| find(&bytes[start..], end));
        let end = ends.into_iter().flatten().min();
        return Some((start..end.map_or(bytes.len(), |n| start + n), BARE, None));
    }
    let tag = &near[..tag_end.unwrap_or(near.len())];
    let lower = tag.to_ascii_lowercase();
    if let Some(at) = find(&lower, b"value") {
        let equals = json::skip_blanks(bytes, from + at + b"value".len());
        if bytes.get(equals) == Some(&b'=') {
            return Some(json_style(bytes, equals + 1));
        }
    }
    let front = opened.saturating_sub(MAX_TAG);
    let before = bytes[front..opened].to_ascii_lowercase();
    if let Some(tag) = before.iter().rposition(|b| *b == b'<')
        && let Some(at) = find(&before[tag..], b"value")
    {
        let equals = json::skip_blanks(bytes, front + tag + at + b"value".len());
        let (value, mark, whole) = json_style(&bytes[..opened], equals + 1);
        if bytes.get(equals) == Some(&b'=') && value.start < opened {
            return Some((value, mark, whole));
        }
    }
    let end = tag_end?;
    if tag.ends_with(b"/") {
        return None;
    }
    let start = from + end + 1;
    Some((start..until(bytes, start, b"<"), BARE, None))
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Whether the bytes end in `<`, and letters after it: the prefix of an element's name.
fn opens_tag(bytes: &[u8]) -> bool {
    let is_name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    let length = bytes.iter().rev().take_while(|b| is_name(b)).count();
    length > 0 && bytes[..bytes.len() - length].ends_with(b"<")
}

/// `<name>value</name>`, whatever is in it.
fn after_tag(bytes: &[u8], word: &Range<usize>) -> Option<Value> {
    let rest = &bytes[word.end..];
    let open = rest.iter().take(MAX_TAG).position(|b| *b == b'>')?;
    if rest[..open].ends_with(b"/") {
        return None;
    }
    let start = word.end + open + 1;
    let name = &bytes[word.clone()];
    let mut at = start;
    // No further: an element that is never closed would be looked for over and over.
    let near = &bytes[..bytes.len().min(start + MAX_ELEMENT)];
    let close = loop {
        let Some(offset) = find(&near[at.min(near.len())..], b"</") else {
            break None;
        };
        let tag = at + offset + 2;
        let end = until(bytes, tag, b"> \t\r\n");
        let closes = bytes[tag..end].rsplit(|b| *b == b':').next();
        if closes.is_some_and(|closes| closes.eq_ignore_ascii_case(name)) {
            break Some(at + offset);
        }
        at = tag;
    };
    // An element that is not closed ends where the next one begins, or with the text.
    let end = close.unwrap_or_else(|| match bytes.get(start) {
        Some(b'<') => bytes.len(),
        Some(_) | None => until(bytes, start, b"<"),
    });
    Some((start..end, BARE, None))
}

/// `name=value`, `name => value`, and `name: value` where no sentence can be.
fn after_bare_name(bytes: &[u8], word: &Range<usize>, class: FieldSensitivity) -> Option<Value> {
    let bracket = usize::from(bytes.get(word.end) == Some(&b']'));
    let after = json::skip_blanks(bytes, word.end + bracket);
    let start = match bytes.get(after..)? {
        [b'=', b'>', ..] => return Some(json_style(bytes, after + 2)),
        [b'=', ..] => after + 1,
        [b':', ..] if begins_field(&bytes[..word.start]) => {
            return Some(json_style(bytes, after + 1));
        }
        [b':', ..] => return in_sentence(bytes, after + 1, class),
        _ => return None,
    };
    if matches!(
        bytes.get(json::skip_blanks(bytes, start)),
        Some(b'"' | b'\'' | b'{' | b'[')
    ) {
        return Some(json_style(bytes, start));
    }
    let stops: &[u8] = match class {
        // A name has blanks in it.
        FieldSensitivity::Sensitive(Secret::Holder) => b"&;\"'<>#\r\n",
        _ => b"&;\"'<># \t\r\n",
    };
    let start = start + bytes[start..].iter().take_while(|b| **b == b' ').count();
    Some((start..until(bytes, start, stops), BARE, None))
}

/// So long a value in a sentence may be.
const MAX_IN_SENTENCE: usize = 96;

/// `paid by the holder: Jane Roe` in running text: words that begin as names do, or digits.
fn in_sentence(bytes: &[u8], from: usize, class: FieldSensitivity) -> Option<Value> {
    let start = json::skip_blanks(bytes, from);
    let near = &bytes[start..bytes.len().min(start + MAX_IN_SENTENCE)];
    let near = match std::str::from_utf8(near) {
        Ok(near) => near,
        Err(error) => std::str::from_utf8(&near[..error.valid_up_to()]).ok()?,
    };
    let length = match class {
        FieldSensitivity::Sensitive(Secret::Holder) => {
            let mut end = 0;
            let mut at = 0;
            for word in near.split_inclusive(' ') {
                let name = word.trim_end_matches(|c: char| !c.is_alphanumeric());
                if !name.starts_with(char::is_uppercase) {
                    break;
                }
                end = at + name.len();
                at += word.len();
                if word.trim_end().len() > name.len() && !word.trim_end().ends_with('.') {
                    break;
                }
            }
            end
        }
        FieldSensitivity::Sensitive(Secret::Code | Secret::Other) => {
            let is_part = |c: char| c.is_ascii_digit() || matches!(c, '/' | '-');
            near.find(|c| !is_part(c)).unwrap_or(near.len())
        }
        _ => 0,
    };
    (length > 0).then_some((start..start + length, BARE, None))
}

/// Whether a field may begin after these bytes, and no sentence is under way.
fn begins_field(before: &[u8]) -> bool {
    let line = before
        .iter()
        .rev()
        .take_while(|b| matches!(b, b' ' | b'\t' | b'-'))
        .count();
    match before[..before.len() - line].last() {
        None => true,
        Some(last) => matches!(last, b'\n' | b'\r' | b'{' | b'[' | b',' | b'('),
    }
}

/// A value as JSON and its kin write it; what is cut off ends with the text.
fn json_style(bytes: &[u8], sign_end: usize) -> Value {
    let start = json::skip_blanks(bytes, sign_end);
    let slashes = bytes[start..].iter().take_while(|b| **b == b'\\').count();
    match bytes.get(start + slashes) {
        Some(b'"') if slashes == 0 => {
            let end = json::string_end(bytes, start);
            let closed = end > start + 1 && bytes[end - 1] == b'"';
            let value = start + 1..if closed { end - 1 } else { end };
            (value, BARE, Some(start..end))
        }
        Some(quote @ (b'"' | b'\'')) => {
            let inner = start + slashes + 1;
            let end = until(bytes, inner, &[*quote]);
            let tail = &bytes[inner..end];
            let end = end - tail.iter().rev().take_while(|b| **b == b'\\').count();
            (inner..end, BARE, None)
        }
        Some(b'{') => (start..json::bracket_end(bytes, start), QUOTED, None),
        Some(b'[') if bytes[start..].starts_with(BARE.as_bytes()) => {
            (start..start + BARE.len(), BARE, None)
        }
        Some(b'[') => (start..json::bracket_end(bytes, start), QUOTED, None),
        Some(_) | None => {
            let end = until(bytes, start, b",}]&\r\n");
            let is_line = bytes[..sign_end].ends_with(b":") && !in_brackets(&bytes[..start]);
            (
                start..end,
                if is_line { BARE } else { QUOTED },
                Some(start..end),
            )
        }
    }
}

/// Whether a bracket is open: then it is JSON, or looks like it.
fn in_brackets(before: &[u8]) -> bool {
    before[before.len().saturating_sub(MAX_ELEMENT)..].contains(&b'{')
}

fn until(bytes: &[u8], start: usize, stops: &[u8]) -> usize {
    bytes[start..]
        .iter()
        .position(|b| stops.contains(b))
        .map_or(bytes.len(), |n| start + n)
}
