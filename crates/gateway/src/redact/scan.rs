//! Finds what could be a card number in any bytes.
//!
//! A hit begins as the cards of a network do, has as many digits as they have, passes the Luhn check and
//! stands between word bounds: either one unbroken run, or whole groups of digits with separators between
//! them, as people write card numbers. What it deliberately cannot do: look inside a longer run, or a
//! word, where numbers of orders would contain a hit by chance.

use std::ops::Range;

/// The shortest card number.
pub(super) const MIN_DIGITS: usize = 12;
/// The longest card number.
const MAX_DIGITS: usize = 19;
/// So many separator marks may stand between two groups of digits.
const MAX_MARKS: usize = 3;

/// The first hit at or after `from`.
pub(super) fn first_hit(bytes: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    while let Some(start) = next_group(bytes, at) {
        if is_free_before(bytes, start)
            && let Some(end) = hit_from(bytes, start, true)
        {
            return Some(start..end);
        }
        at = group_end(bytes, start);
    }
    None
}

/// Whether a word may begin here. An underscore joins parts of names, and is no letter.
fn is_free_before(bytes: &[u8], start: usize) -> bool {
    match &bytes[..start] {
        // As JSON writes line breaks inside of texts.
        [.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'] => true,
        // As the stripe of a card begins.
        [.., b'%', b'B'] => true,
        [.., last] if last.is_ascii() => !last.is_ascii_alphanumeric(),
        before => is_no_letter(last_char(before)),
    }
}

fn is_free_after(bytes: &[u8], end: usize) -> bool {
    match &bytes[end..] {
        [first, ..] if first.is_ascii() => !first.is_ascii_alphanumeric(),
        after => {
            let piece = &after[..after.len().min(4)];
            let text = match std::str::from_utf8(piece) {
                Ok(text) => text,
                Err(error) => {
                    std::str::from_utf8(&piece[..error.valid_up_to()]).unwrap_or_default()
                }
            };
            is_no_letter(text.chars().next())
        }
    }
}

fn last_char(before: &[u8]) -> Option<char> {
    let from = before.len().saturating_sub(4);
    (from..before.len())
        .find_map(|at| std::str::from_utf8(&before[at..]).ok())
        .and_then(|text| text.chars().next_back())
}

fn is_no_letter(letter: Option<char>) -> bool {
    letter.is_none_or(|letter| !letter.is_alphanumeric())
}

/// Whether some unbroken run is a hit.
pub(super) fn has_any_unbroken_hit(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(start) = next_group(bytes, at) {
        if hit_from(bytes, start, false).is_some() {
            return true;
        }
        at = group_end(bytes, start);
    }
    false
}

/// Whether an unbroken run alone is a hit that is not simply a date and a time.
pub(super) fn has_unbroken_hit(bytes: &[u8]) -> bool {
    let mut at = 0;
    while let Some(start) = next_group(bytes, at) {
        let end = group_end(bytes, start);
        if hit_from(bytes, start, false).is_some() && !begins_with_date(&bytes[start..end]) {
            return true;
        }
        at = end;
    }
    false
}

/// The end of the longest hit that begins with the group at `start`.
fn hit_from(bytes: &[u8], start: usize, grouped: bool) -> Option<usize> {
    if !matches!(bytes[start], b'2'..=b'6') {
        return None;
    }
    let mut digits = Digits::default();
    let mut found = None;
    let mut group = start;
    let mut groups = 0;
    loop {
        let end = group_end(bytes, group);
        if !digits.push_all(&bytes[group..end]) {
            return found;
        }
        groups += 1;
        if digits.is_card()
            && is_free_after(bytes, end)
            && (groups == 1 || is_written_card(bytes, start..end, &digits))
        {
            found = Some(end);
        }
        match next_in_row(bytes, end) {
            Some(next) if grouped => group = next,
            Some(_) | None => return found,
        }
    }
}

/// Separated groups are no card number when they are a date with what follows it, or lie in a
/// UUID: no card begins like a year of this century, and addresses that payers need are built of
/// UUIDs.
fn is_written_card(bytes: &[u8], range: Range<usize>, digits: &Digits) -> bool {
    !begins_with_date(digits.as_slice()) && !touches_uuid(bytes, &range)
}

#[derive(Default)]
struct Digits {
    digits: [u8; MAX_DIGITS],
    len: usize,
}

impl Digits {
    /// Whether they fitted.
    fn push_all(&mut self, group: &[u8]) -> bool {
        let Some(room) = self.digits.get_mut(self.len..self.len + group.len()) else {
            return false;
        };
        room.copy_from_slice(group);
        self.len += group.len();
        true
    }

    fn as_slice(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    fn is_card(&self) -> bool {
        self.len >= MIN_DIGITS && is_of_a_network(self.as_slice()) && luhn(self.as_slice())
    }
}

/// The networks: the first and the last beginning of their numbers, of four digits each, and how many
/// digits they have.
const NETWORKS: [(u16, u16, &[usize]); 17] = [
    (2200, 2204, &[16, 17, 18, 19]),                 // Mir
    (2221, 2720, &[16]),                             // Mastercard
    (3000, 3059, &[14, 16, 17, 18, 19]),             // Diners Club
    (3095, 3095, &[14, 16, 17, 18, 19]),             // Diners Club
    (3400, 3499, &[15]),                             // American Express
    (3528, 3589, &[16, 17, 18, 19]),                 // JCB
    (3600, 3699, &[14, 15, 16, 17, 18, 19]),         // Diners Club
    (3700, 3799, &[15]),                             // American Express
    (3800, 3999, &[14, 16, 17, 18, 19]),             // Diners Club
    (4000, 4999, &[13, 16, 19]),                     // Visa
    (5000, 5099, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (5100, 5599, &[16]),                             // Mastercard
    (5600, 5899, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
    (6011, 6011, &[16, 17, 18, 19]),                 // Discover
    (6200, 6299, &[16, 17, 18, 19]),                 // UnionPay
    (6440, 6599, &[16, 17, 18, 19]),                 // Discover
    (6000, 6999, &[12, 13, 14, 15, 16, 17, 18, 19]), // Maestro
];

fn is_of_a_network(digits: &[u8]) -> bool {
    let beginning = digits
        .iter()
        .take(4)
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    NETWORKS.iter().any(|(first, last, lengths)| {
        (*first..=*last).contains(&beginning) && lengths.contains(&digits.len())
    })
}

/// Whether these digits, without anything between them, could be a card's number.
pub(super) fn is_card_number(digits: &[u8]) -> bool {
    digits.len() <= MAX_DIGITS
        && digits.iter().all(u8::is_ascii_digit)
        && digits.len() >= MIN_DIGITS
        && is_of_a_network(digits)
        && luhn(digits)
}

/// Whether ASCII digits pass the Luhn check.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit - b'0');
            if place % 2 == 0 {
                value
            } else {
                value * 2 - if value > 4 { 9 } else { 0 }
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn next_group(bytes: &[u8], from: usize) -> Option<usize> {
    bytes
        .get(from..)?
        .iter()
        .position(u8::is_ascii_digit)
        .map(|offset| from + offset)
}

fn group_end(bytes: &[u8], start: usize) -> usize {
    bytes[start..]
        .iter()
        .position(|b| !b.is_ascii_digit())
        .map_or(bytes.len(), |n| start + n)
}

/// Where the next group begins, when only separators lie between.
fn next_in_row(bytes: &[u8], mut at: usize) -> Option<usize> {
    for _ in 0..MAX_MARKS {
        at += mark_length(bytes.get(at..)?)?;
        if bytes.get(at)?.is_ascii_digit() {
            return Some(at);
        }
    }
    None
}

/// The length of one separator mark: blanks, dashes and dots, also as URLs and UTF-8 write them,
/// and the zero bytes of wider encodings.
pub(super) fn mark_length(rest: &[u8]) -> Option<usize> {
    match rest {
        [b' ' | b'-' | b'.' | b'_' | b'+' | b'\t' | 0, ..] => Some(1),
        [
            b'%',
            b'2',
            b'0' | b'd' | b'D' | b'b' | b'B' | b'e' | b'E',
            ..,
        ] => Some(3),
        [0xC2, 0xA0 | 0xAD, ..] => Some(2),
        [0xE2, 0x80, 0x80..=0x95 | 0xAF, ..] => Some(3),
        [0xE2, 0x88, 0x92, ..] | [0xEF, 0xBF, 0xBD, ..] => Some(3),
        _ => None,
    }
}

/// `20YYMMDD`, which no card number begins with.
fn begins_with_date(digits: &[u8]) -> bool {
    match digits {
        [b'2', b'0', _, _, m1, m2, d1, d2, ..] => {
            (1..=12).contains(&two(*m1, *m2)) && (1..=31).contains(&two(*d1, *d2))
        }
        _ => false,
    }
}

fn two(tens: u8, ones: u8) -> u8 {
    (tens - b'0') * 10 + (ones - b'0')
}

fn touches_uuid(bytes: &[u8], range: &Range<usize>) -> bool {
    (range.start.saturating_sub(35)..range.end).any(|at| {
        let text = bytes.get(at..at + 36);
        let free = |edge: Option<&u8>| edge.is_none_or(|b| !b.is_ascii_alphanumeric());
        text.is_some_and(is_uuid)
            && free(at.checked_sub(1).and_then(|before| bytes.get(before)))
            && free(bytes.get(at + 36))
    })
}

/// The usual form of a UUID. One of digits alone could be a card number in disguise.
pub(super) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
        && text.iter().any(u8::is_ascii_alphabetic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(text: &str) -> Option<&str> {
        first_hit(text.as_bytes(), 0).map(|range| &text[range])
    }

    #[test]
    fn unbroken_runs() {
        assert_eq!(
            hit("card 4200000000000000 declined"),
            Some("4200000000000000")
        );
        assert_eq!(hit("%B4200000000000000^NAME"), Some("4200000000000000"));
        assert_eq!(hit("(4200000000000000)"), Some("4200000000000000"));
        assert_eq!(hit("a_4200000000000000_b"), Some("4200000000000000"));
        assert_eq!(hit("a\\n4200000000000000"), Some("4200000000000000"));
        // In a word.
        assert_eq!(hit("B4200000000000000"), None);
        assert_eq!(hit("4200000000000000b"), None);
        assert_eq!(hit("Ж4200000000000000"), None);
        assert_eq!(hit("4200000000000000ж"), None);
        assert_eq!(hit("5204240000015003"), Some("5204240000015003"));
        assert_eq!(hit("2200000000000004"), Some("2200000000000004"));
        // Too short, too long, no network's beginning or length, wrong check digit.
        assert_eq!(hit("420000000000"), None);
        assert_eq!(hit("42000000000000000000"), None);
        assert_eq!(hit("9200000000000008"), None);
        assert_eq!(hit("2100000000000005"), None);
        assert_eq!(hit("42000000000000"), None);
        assert_eq!(hit("340000000000009"), Some("340000000000009"));
        assert_eq!(hit("500000000009"), Some("500000000009"));
        assert_eq!(hit("4200000000000001"), None);
    }

    #[test]
    fn written_runs() {
        assert_eq!(hit("4200 0000 0000 0000"), Some("4200 0000 0000 0000"));
        assert_eq!(
            hit("4200-0000-0000-0000 12/31"),
            Some("4200-0000-0000-0000")
        );
        assert_eq!(
            hit("12 4200 0000 0000 0000 35"),
            Some("4200 0000 0000 0000")
        );
        assert_eq!(
            hit("4200%200000%200000%200000"),
            Some("4200%200000%200000%200000")
        );
        assert_eq!(
            hit("4200\u{a0}0000\u{a0}0000\u{a0}0000").map(str::len),
            Some(22)
        );
        assert_eq!(
            hit("4 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0").map(str::len),
            Some(31)
        );
        assert_eq!(hit("4200000000000000 12 2031"), Some("4200000000000000"));
        assert_eq!(hit("4200,0000,0000,0000"), None);
    }

    #[test]
    fn dates_and_uuids_are_let_through() {
        // Each of them passes the Luhn check when its separators are left out.
        assert_eq!(hit("2026-11-22-180908"), None);
        assert_eq!(hit("6a0f5f1c-2f0e-4d2a-9f60-400000000009"), None);
        assert_eq!(
            hit("6a0f5f1c-2f0e-4d2a-9f6e-4000-00000000-6"),
            Some("4000-00000000-6")
        );
        assert!(!has_unbroken_hit(b"20261122180908"));
        assert!(has_unbroken_hit(b"4200000000000000"));
        assert_eq!(
            hit("42000000-0000-0000-0000-000000000000").map(str::len),
            Some(18)
        );
    }
}
