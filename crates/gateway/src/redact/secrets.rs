//! What stands in the card fields of a body, and where it recurs: a message repeats the holder, an address the
//! number. Letter case, escapes and the separators of digits do not matter.
//!
//! What it deliberately cannot do: know a name that stands in no field. It lives in memory, and is
//! overwritten when it is dropped.

use super::keys::{self, Secret};
use super::{REDACTION_MARK, scan, text};
use crate::borrowed_json::{BorrowedJson, ObjectFields};
use aho_corasick::{AhoCorasick, MatchKind};
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use zeroize::Zeroize;

/// The card data of a body's own fields.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Digits alone.
    numbers: Vec<String>,
    /// Those of them that are a card's for certain.
    cards: Vec<String>,
    /// In small letters.
    holders: Vec<String>,
    /// As they are.
    codes: Vec<String>,
    /// Made where there are many holders.
    finder: Option<AhoCorasick>,
}

/// Fewer digits are no card number, and could be any number in a text.
const SHORTEST_NUMBER: usize = 8;

/// No card number has more.
const LONGEST_NUMBER: usize = 19;

/// The lengths of check values.
const CODE: std::ops::RangeInclusive<usize> = 3..=6;

/// A shorter name is only looked for as a word of its own.
const SHORT_NAME: usize = 4;

/// More names than this are looked for in one pass. A body has one or two as a rule, for which that would
/// be the dearer way; a hostile one has fifty thousand.
const MAX_HOLDERS: usize = 16;

/// Where is looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretPlace {
    /// A text: everything is looked for.
    Text,
    /// The name of a field: words of the protocol have no blanks, and are never struck.
    Name,
}

impl Secrets {
    /// The card data in the fields of a body of any kind.
    pub fn of(bytes: &[u8]) -> Self {
        let mut found = Self::default();
        text::collect(&crate::decode::readable(bytes), &mut found, 0);
        found.ready()
    }

    /// The same of fields that have been read.
    pub(crate) fn of_fields(fields: &ObjectFields<'_>) -> Self {
        let mut found = Self::default();
        found.collect_fields(fields, false);
        found.ready()
    }

    /// The same of the fields of an object.
    pub fn of_fields_of(fields: &Map<String, Value>) -> Self {
        let mut found = Self::default();
        found.collect_object(fields, false);
        found.ready()
    }

    /// Whether a card's number is among them.
    pub fn has_cards(&self) -> bool {
        !self.cards.is_empty()
    }

    /// A text that was read from the same body, without what recurs in it.
    pub fn redact_holders(&self, text: String) -> String {
        match self.struck(&text, SecretPlace::Text) {
            Some(struck) => struck,
            None => text,
        }
    }

    /// Recursion is bounded: values come from a reader that refuses deep nesting.
    fn collect_value(&mut self, value: &Value, secret: Option<Secret>, in_card: bool) {
        match (value, secret) {
            (Value::String(text), Some(secret)) => self.add(secret, text, in_card),
            (Value::Number(number), Some(secret)) => {
                self.add(secret, &number.to_string(), in_card);
            }
            (Value::Object(fields), _) => self.collect_object(fields, in_card),
            (Value::Array(items), None) => {
                for item in items {
                    self.collect_value(item, None, in_card);
                }
            }
            _ => {}
        }
    }

    fn collect_object(&mut self, fields: &Map<String, Value>, in_card: bool) {
        for (key, value) in fields {
            let secret = keys::secret(key.as_bytes());
            let is_cards = match secret {
                Some(_) => in_card || key != "number",
                None => in_card || keys::is_card(key.as_bytes()),
            };
            self.collect_value(value, secret, is_cards);
        }
    }

    /// These, and others.
    pub(super) fn and(mut self, other: &Self) -> Self {
        self.numbers.extend(other.numbers.iter().cloned());
        self.cards.extend(other.cards.iter().cloned());
        self.holders.extend(other.holders.iter().cloned());
        self.codes.extend(other.codes.iter().cloned());
        self.ready()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.holders.is_empty() && self.codes.is_empty()
    }

    /// Whether a text holds the number of one of the cards, whatever stands between its digits.
    pub fn number_is_in(&self, text: &str) -> bool {
        if self.cards.is_empty() {
            return false;
        }
        let mut plain = String::with_capacity(text.len());
        plain.extend(text.chars().filter(|c| c.is_alphanumeric()));
        let found = self.cards.iter().any(|card| plain.contains(card.as_str()));
        plain.zeroize();
        found
    }

    fn ready(mut self) -> Self {
        for list in [
            &mut self.numbers,
            &mut self.cards,
            &mut self.holders,
            &mut self.codes,
        ] {
            list.sort_unstable_by(|one, other| order(one, other));
            list.dedup();
        }
        self.finder = None;
        if self.holders.len() > MAX_HOLDERS {
            self.finder = AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(&self.holders)
                .ok();
        }
        self
    }

    /// Takes a value over that stands under a name of card data. `in_card` tells that its object is a card.
    pub(super) fn add(&mut self, secret: Secret, value: &str, in_card: bool) {
        let value = value.trim();
        if value.is_empty() || value == REDACTION_MARK {
            return;
        }
        match secret {
            Secret::Number => {
                let digits = digits_of(value);
                if (SHORTEST_NUMBER..=LONGEST_NUMBER).contains(&digits.len()) {
                    if in_card && digits.len() >= scan::MIN_DIGITS {
                        self.cards.push(digits.clone());
                    }
                    self.numbers.push(digits);
                }
            }
            Secret::Holder if value.chars().any(char::is_alphabetic) => {
                self.holders.push(lowered(value).text);
            }
            Secret::Code
                if CODE.contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit()) =>
            {
                self.codes.push(value.to_owned());
            }
            Secret::Holder | Secret::Code | Secret::Other => {}
        }
    }

    /// Recursion is bounded: values come from a reader that refuses deep nesting.
    fn collect_fields(&mut self, fields: &ObjectFields<'_>, in_card: bool) {
        for (key, value) in fields.iter() {
            // What stands there are messages.
            if key == "errors" {
                continue;
            }
            match keys::secret(key.as_bytes()) {
                Some(secret) => self.collect_values(secret, value, in_card || key != "number"),
                None => self.collect(value, in_card || keys::is_card(key.as_bytes())),
            }
        }
    }

    fn collect(&mut self, value: &BorrowedJson<'_>, in_card: bool) {
        match value {
            BorrowedJson::Object(fields) => self.collect_fields(fields, in_card),
            BorrowedJson::List(items) => items.iter().for_each(|item| self.collect(item, in_card)),
            BorrowedJson::Null
            | BorrowedJson::Flag(_)
            | BorrowedJson::Number(_)
            | BorrowedJson::Text(_) => {}
        }
    }

    /// A field that was given twice has been read as a list.
    fn collect_values(&mut self, secret: Secret, value: &BorrowedJson<'_>, in_card: bool) {
        match value {
            BorrowedJson::Text(text) => self.add(secret, text, in_card),
            BorrowedJson::Number(number) => self.add(secret, &number.to_string(), in_card),
            BorrowedJson::List(items) => {
                for item in items {
                    self.collect_values(secret, item, in_card);
                }
            }
            BorrowedJson::Object(fields) => self.collect_fields(fields, true),
            BorrowedJson::Null | BorrowedJson::Flag(_) => {}
        }
    }

    /// The text without what recurs in it, or `None` when nothing does.
    pub(super) fn struck(&self, text: &str, place: SecretPlace) -> Option<String> {
        let mut found = self.find(text, place);
        if found.is_empty() {
            return None;
        }
        found.sort_unstable_by_key(|range| (range.start, range.end));
        let mut out = String::with_capacity(text.len());
        let mut copied = 0;
        for range in found {
            if range.start >= copied {
                out.push_str(&text[copied..range.start]);
                out.push_str(REDACTION_MARK);
            }
            copied = copied.max(range.end);
        }
        out.push_str(&text[copied..]);
        Some(out)
    }

    fn find(&self, text: &str, place: SecretPlace) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if self.is_empty() {
            return found;
        }
        if !self.numbers.is_empty() {
            numbers_in(text.as_bytes(), &self.numbers, &mut found);
        }
        if place == SecretPlace::Text && !self.codes.is_empty() {
            codes_in(text, &self.codes, &mut found);
        }
        self.holders_in(text, place, &mut found);
        found
    }

    fn holders_in(&self, text: &str, place: SecretPlace, found: &mut Vec<Range<usize>>) {
        let Some(shortest) = self.holders.last().map(String::len) else {
            return;
        };
        // The longest letter has four bytes, the shortest one.
        if text.len() * 4 < shortest {
            return;
        }
        let low = lowered(text);
        let counts = |range: &Range<usize>| {
            let name = &low.text[range.clone()];
            let is_whole = name.chars().count() >= SHORT_NAME || low.is_word(range);
            is_whole && (place == SecretPlace::Text || name.contains(' '))
        };
        let mut add = |range: Range<usize>| {
            if counts(&range) {
                found.push(low.source(range));
            }
        };
        match &self.finder {
            Some(finder) => finder.find_iter(&low.text).for_each(|hit| add(hit.range())),
            None => {
                for holder in &self.holders {
                    for (start, name) in low.text.match_indices(holder.as_str()) {
                        add(start..start + name.len());
                    }
                }
            }
        }
    }

    /// Whether the digits of a number of JSON hold one of the numbers.
    pub(super) fn is_in_number(&self, number: &[u8]) -> bool {
        let mut found = Vec::new();
        if number.len() >= scan::MIN_DIGITS && !self.numbers.is_empty() {
            numbers_in(number, &self.numbers, &mut found);
        }
        !found.is_empty()
    }
}

/// The digits of a card number, or nothing when there is anything else in it.
fn digits_of(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut digits = String::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_digit() {
            digits.push(char::from(*byte));
            at += 1;
        } else if let Some(length) = scan::mark_length(&bytes[at..]) {
            at += length;
        } else {
            digits.zeroize();
            return String::new();
        }
    }
    digits
}

/// Longest first, as the lists are sorted.
fn order(one: &str, other: &str) -> Ordering {
    other.len().cmp(&one.len()).then_with(|| one.cmp(other))
}

fn is_in(list: &[String], text: &str) -> bool {
    list.binary_search_by(|one| order(one, text)).is_ok()
}

/// Where the digits of a number stand, with at most three separators between two of them.
fn numbers_in(text: &[u8], numbers: &[String], found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(offset) = text[at..].iter().position(u8::is_ascii_digit) {
        let start = at + offset;
        at = start + 1;
        if let Some(end) = number_from(text, start, numbers) {
            found.push(start..end);
            at = end;
        }
    }
}

/// The end of the longest number that begins here.
fn number_from(text: &[u8], start: usize, numbers: &[String]) -> Option<usize> {
    let mut digits = String::with_capacity(LONGEST_NUMBER);
    let mut found = None;
    let mut at = start;
    while digits.len() < LONGEST_NUMBER {
        let mut marks = 0;
        while marks < 3 && text.get(at).is_some_and(|b| !b.is_ascii_digit()) {
            match scan::mark_length(&text[at..]) {
                Some(length) => at += length,
                None => break,
            }
            marks += 1;
        }
        match text.get(at) {
            Some(digit) if digit.is_ascii_digit() => digits.push(char::from(*digit)),
            _ => break,
        }
        at += 1;
        if digits.len() >= SHORTEST_NUMBER && is_in(numbers, &digits) {
            let touches = |edge: Option<&u8>| edge.is_some_and(u8::is_ascii_alphanumeric);
            let before = start.checked_sub(1).and_then(|before| text.get(before));
            let is_short = digits.len() < scan::MIN_DIGITS;
            if !is_short || !(touches(before) || touches(text.get(at))) {
                found = Some(at);
            }
        }
    }
    digits.zeroize();
    found
}

/// Where one of the codes stands alone.
fn codes_in(text: &str, codes: &[String], found: &mut Vec<Range<usize>>) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(offset) = bytes[at..].iter().position(u8::is_ascii_digit) {
        let start = at + offset;
        let length = bytes[start..]
            .iter()
            .take_while(|b| b.is_ascii_digit())
            .count();
        let end = start + length;
        at = end;
        if CODE.contains(&length)
            && is_in(codes, &text[start..end])
            && stands_alone(text, start..end)
        {
            found.push(start..end);
        }
    }
}

fn stands_alone(text: &str, range: Range<usize>) -> bool {
    let (bytes, Range { start, end }) = (text.as_bytes(), range);
    let is_part = |c: char| c.is_alphanumeric();
    let before = text[..start].chars().next_back().is_some_and(is_part);
    let after = text[end..].chars().next().is_some_and(is_part);
    // `1.123` and `12,345` are other numbers.
    let joined = |mark: u8, digit: Option<&u8>| {
        matches!(mark, b'.' | b',') && digit.is_some_and(u8::is_ascii_digit)
    };
    let left = start >= 2 && joined(bytes[start - 1], bytes.get(start - 2));
    let right = bytes
        .get(end)
        .is_some_and(|mark| joined(*mark, bytes.get(end + 1)));
    !before && !after && !left && !right
}

/// A text in small letters, each run of blanks as one, and where everything came from.
struct Lowered {
    text: String,
    /// For each byte of the text, where its letter begins in the source; and the source's length.
    from: Vec<usize>,
}

fn lowered(source: &str) -> Lowered {
    let mut low = Lowered {
        text: String::with_capacity(source.len()),
        from: Vec::with_capacity(source.len() + 1),
    };
    let mut after_blank = false;
    for (at, letter) in source.char_indices() {
        if has_no_width(letter) {
            continue;
        }
        // A form writes blanks so.
        let is_blank = letter.is_whitespace() || letter == '+';
        if is_blank && after_blank {
            continue;
        }
        after_blank = is_blank;
        let before = low.text.len();
        if is_blank {
            low.text.push(' ');
        } else if letter.is_ascii() {
            low.text.push(letter.to_ascii_lowercase());
        } else {
            low.text.extend(letter.to_lowercase());
        }
        low.from
            .extend(std::iter::repeat_n(at, low.text.len() - before));
    }
    low.from.push(source.len());
    low
}

/// Letters that are not seen.
fn has_no_width(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'
    )
}

impl Lowered {
    fn source(&self, range: Range<usize>) -> Range<usize> {
        self.from[range.start]..self.from[range.end]
    }

    fn is_word(&self, range: &Range<usize>) -> bool {
        let is_part = |c: char| c.is_alphanumeric();
        let before = self.text[..range.start].chars().next_back();
        let after = self.text[range.end..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    }
}

impl Drop for Secrets {
    fn drop(&mut self) {
        for list in [
            &mut self.numbers,
            &mut self.cards,
            &mut self.holders,
            &mut self.codes,
        ] {
            list.zeroize();
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Takes what recurs out of a text that is read from the same body.
pub(crate) fn redact_holders(text: String, secrets: &Secrets) -> String {
    secrets.redact_holders(text)
}

/// A value as a form writes it.
pub(super) fn of_form(value: &[u8]) -> Cow<'_, str> {
    let spaced: Vec<u8> = value
        .iter()
        .map(|b| if *b == b'+' { b' ' } else { *b })
        .collect();
    let decoded: Vec<u8> = percent_encoding::percent_decode(&spaced).collect();
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}
