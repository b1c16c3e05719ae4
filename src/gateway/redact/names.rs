//! The card holder's name in free text. It has no shape of its own, but a body that repeats it in a
//! message as a rule also has it under `holder`, and from there it is known.
//!
//! Only names of two words are looked for elsewhere: a single word, chosen by a payer, could be any
//! word of the protocol. What this deliberately cannot do: find a name that stands nowhere else.

use super::MARK;
use crate::gateway::json::{Fields, Json};

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

/// Takes the names out of a text.
pub(crate) fn strike(text: String, names: &[String]) -> String {
    names.iter().fold(text, |text, name| {
        if text.contains(name.as_str()) {
            text.replace(name.as_str(), MARK)
        } else {
            text
        }
    })
}

/// Takes the names out of a JSON document that has been redacted already.
pub(super) fn strike_json(bytes: Vec<u8>, names: &[String]) -> Vec<u8> {
    let Ok(text) = String::from_utf8(bytes) else {
        return Vec::new();
    };
    let spelled: Vec<String> = names
        .iter()
        .filter_map(|name| serde_json::to_string(name).ok())
        .map(|quoted| quoted[1..quoted.len() - 1].to_owned())
        .collect();
    strike(text, &spelled).into_bytes()
}
