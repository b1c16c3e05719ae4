//! The card holder's name in free text. It has no shape of its own, but a body that repeats it in a
//! message as a rule also has it under `holder`, and from there it is known.
//!
//! Only names of two words are looked for elsewhere: a single word, chosen by a payer, could be any
//! word of the protocol. What this deliberately cannot do: find a name that stands nowhere else.

use super::MARK;
use crate::gateway::json::{Fields, Json};
use aho_corasick::{AhoCorasick, MatchKind};

/// The values under `holder` in a body, as far as they can be told from ordinary words.
pub(crate) fn holders(fields: &Fields<'_>) -> Vec<String> {
    let mut found = Vec::new();
    collect_fields(fields, &mut found);
    found.sort_unstable_by_key(|name| std::cmp::Reverse(name.len()));
    found.dedup();
    found
}

/// Recursion is bounded: values come from a reader that refuses deep nesting.
fn collect(value: &Json<'_>, found: &mut Vec<String>) {
    match value {
        Json::Object(fields) => collect_fields(fields, found),
        Json::List(items) => items.iter().for_each(|item| collect(item, found)),
        Json::Null | Json::Flag(_) | Json::Number(_) | Json::Text(_) => {}
    }
}

fn collect_fields(fields: &Fields<'_>, found: &mut Vec<String>) {
    for (key, value) in fields.iter() {
        match value {
            Json::Text(name) if key.eq_ignore_ascii_case("holder") && is_name(name) => {
                found.push(name.trim().to_owned());
            }
            other => collect(other, found),
        }
    }
}

fn is_name(text: &str) -> bool {
    let words = text
        .split_whitespace()
        .filter(|word| word.chars().any(char::is_alphabetic));
    words.count() >= 2 && text != MARK
}

/// More names than this are looked for in one pass. A body has one or two as a rule, for which that would
/// be the dearer way; a hostile one has fifty thousand.
const MANY: usize = 16;

/// Takes the names out of a text.
pub(crate) fn strike(text: String, names: &[String]) -> String {
    if names.len() > MANY {
        return strike_many(&text, names);
    }
    names.iter().fold(text, |text, name| {
        if text.contains(name.as_str()) {
            text.replace(name.as_str(), MARK)
        } else {
            text
        }
    })
}

fn strike_many(text: &str, names: &[String]) -> String {
    let longest_first = AhoCorasick::builder()
        .match_kind(MatchKind::LeftmostLongest)
        .build(names);
    // It fails for more than any body could hold.
    let Ok(finder) = longest_first else {
        return MARK.to_owned();
    };
    let mut struck = String::with_capacity(text.len());
    finder.replace_all_with(text, &mut struck, |_, _, struck| {
        struck.push_str(MARK);
        true
    });
    struck
}

/// Takes the names out of a JSON document that has been redacted already. Who writes JSON in ASCII spells
/// a name otherwise than who does not.
pub(super) fn strike_json(bytes: Vec<u8>, names: &[String]) -> Vec<u8> {
    let Ok(text) = String::from_utf8(bytes) else {
        return Vec::new();
    };
    let quoted = names
        .iter()
        .filter_map(|name| serde_json::to_string(name).ok());
    let mut spelled = Vec::with_capacity(names.len());
    for quoted in quoted {
        let plain = &quoted[1..quoted.len() - 1];
        if !plain.is_ascii() {
            spelled.push(in_ascii(plain, |unit| format!("\\u{unit:04x}")));
            spelled.push(in_ascii(plain, |unit| format!("\\u{unit:04X}")));
        }
        spelled.push(plain.to_owned());
    }
    strike(text, &spelled).into_bytes()
}

/// The text with every letter beyond ASCII as escapes.
fn in_ascii(text: &str, escape: impl Fn(u16) -> String) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        if letter.is_ascii() {
            out.push(letter);
        } else {
            let mut units = [0; 2];
            out.extend(letter.encode_utf16(&mut units).iter().map(|u| escape(*u)));
        }
    }
    out
}
