//! Finds in valid JSON the values whose name is a value itself: `{"name":"holder","value":…}`,
//! `{"key":…,"value":…}` in either order, and lists such as `["holder",…]`.
//!
//! What it deliberately cannot do: know a name that stands in another object than its value.

use super::json::{skip_blanks, string_end, unescape, value_end};
use super::keys::{self, Secret};
use std::ops::Range;

/// The value of a pair.
pub(super) struct Pair {
    pub(super) secret: Secret,
    pub(super) value: Range<usize>,
}

/// Longer texts are no names.
const LONGEST_NAME: usize = 128;

/// An object or a list that is open.
struct Open {
    is_list: bool,
    /// What is said of its value: by the name in an object, by the item before in a list.
    announced: Option<Secret>,
    /// The values of an object that could be meant.
    values: Vec<Range<usize>>,
    /// How many items of a list there were.
    items: usize,
    /// What the field whose value comes next is for.
    next: Part,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Name,
    Value,
    Neither,
}

/// All of them, in the order of their values.
pub(super) fn values(json: &[u8]) -> Vec<Pair> {
    let mut found = Vec::new();
    let mut open: Vec<Open> = Vec::new();
    let mut at = 0;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => {
                let end = string_end(json, at);
                let next = skip_blanks(json, end);
                if json.get(next) == Some(&b':') {
                    if let Some(open) = open.last_mut() {
                        open.next = part(&json[at + 1..(end - 1).max(at + 1)]);
                    }
                    at = next + 1;
                } else {
                    value(json, at..end, open.last_mut(), &mut found);
                    at = end;
                }
            }
            b'{' | b'[' => {
                // Only what could be meant is measured: no list in lists is read over and over.
                let is_meant = open.last().is_some_and(Open::is_meant);
                let end = if is_meant { value_end(json, at) } else { at };
                value(json, at..end, open.last_mut(), &mut found);
                open.push(Open {
                    is_list: *byte == b'[',
                    announced: None,
                    values: Vec::new(),
                    items: 0,
                    next: Part::Neither,
                });
                at += 1;
            }
            b'}' | b']' => {
                if let Some(Open {
                    announced: Some(secret),
                    values,
                    is_list: false,
                    ..
                }) = open.pop()
                {
                    found.extend(values.into_iter().map(|value| Pair { secret, value }));
                }
                at += 1;
            }
            b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => at += 1,
            _ => {
                let end = value_end(json, at).max(at + 1);
                value(json, at..end, open.last_mut(), &mut found);
                at = end;
            }
        }
    }
    found.sort_by_key(|pair| pair.value.start);
    found
}

impl Open {
    fn is_meant(&self) -> bool {
        if self.is_list {
            self.announced.is_some()
        } else {
            self.next == Part::Value
        }
    }
}

/// A value in an object or a list.
fn value(json: &[u8], range: Range<usize>, open: Option<&mut Open>, found: &mut Vec<Pair>) {
    let Some(open) = open else {
        return;
    };
    let text = match &json[range.clone()] {
        [b'"', text @ .., b'"'] if text.len() <= LONGEST_NAME => Some(unescape(text)),
        _ => None,
    };
    let named = |text: &str| keys::secret(text.as_bytes());
    if open.is_list {
        let announced = open.announced.take();
        let is_name = open.items % 2 == 0;
        let own = text.as_deref().and_then(named);
        open.items += 1;
        // In a list of names none is the value of another.
        if let (Some(secret), None) = (announced, own) {
            found.push(Pair {
                secret,
                value: range,
            });
        } else if is_name {
            open.announced = own;
        }
        return;
    }
    match std::mem::replace(&mut open.next, Part::Neither) {
        Part::Name => open.announced = open.announced.or(text.as_deref().and_then(named)),
        Part::Value => open.values.push(range),
        Part::Neither => {}
    }
}

/// What a field of this name is for.
fn part(name: &[u8]) -> Part {
    match name.to_ascii_lowercase().as_slice() {
        b"name" | b"key" | b"k" | b"field" | b"field_name" | b"fieldname" | b"label" | b"param"
        | b"parameter" | b"property" | b"attribute" | b"id" | b"title" => Part::Name,
        b"value" | b"val" | b"v" | b"values" | b"content" | b"contents" | b"data" => Part::Value,
        _ => Part::Neither,
    }
}
