//! A request as it is forwarded: every number to the digit, every text as it was spelled.
//!
//! Values of `serde_json` hold a number in sixty-four bits. Fields that nobody here knows may hold longer ones,
//! which are the acquirer's business. So the document is cut into its pieces, and they are put together
//! again: of two fields with one name the last one stays, since that is what was read of it.
//!
//! What it deliberately cannot do: say that something is no JSON. It takes what the strict reader has taken.

use super::requests::plain_amount;
use super::sensitive_body::SensitiveBody;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashSet;

/// A piece of a document.
#[derive(Debug)]
enum Node<'a> {
    /// A text, a number or a word, as it is written.
    Scalar(&'a [u8]),
    /// A list.
    List(Vec<Node<'a>>),
    /// An object: names as they are written and as they are meant.
    Object(Vec<(&'a [u8], Cow<'a, str>, Node<'a>)>),
}

/// Deeper than the strict reader goes.
const MAX_DEPTH: u8 = 130;

/// The body of a submit from what a caller sent: `{"request": {…}}` with our own `notification_url`, and the
/// amount in digits alone. `None` when it is no JSON object.
pub fn forwarded(caller: &[u8], notification_url: &str) -> Option<SensitiveBody> {
    let Node::Object(fields) = read(caller)? else {
        return None;
    };
    let url = json!(notification_url).to_string();
    // What grows: the wrapper, the address, and an amount such as `1e15`. It never moves in memory, where
    // it would leave a copy behind.
    let mut out = Vec::with_capacity(caller.len() + url.len() + 96);
    out.extend_from_slice(b"{\"request\":{");
    for (written, name, value) in &fields {
        if name == "notification_url" {
            continue;
        }
        out.extend_from_slice(written);
        out.push(b':');
        match (&**name, value) {
            ("amount", Node::Scalar(amount)) => out.extend_from_slice(&plain(amount)),
            (_, value) => write(value, &mut out),
        }
        out.push(b',');
    }
    out.extend_from_slice(b"\"notification_url\":");
    out.extend_from_slice(url.as_bytes());
    out.extend_from_slice(b"}}");
    Some(SensitiveBody::new(out))
}

fn plain(amount: &[u8]) -> Vec<u8> {
    let value: Value = serde_json::from_slice(amount).unwrap_or_default();
    let mut body = json!({ "amount": value });
    if plain_amount(&mut body) {
        body["amount"].to_string().into_bytes()
    } else {
        amount.to_vec()
    }
}

/// Whether the amount of a request is another number than the one that is read of it.
pub fn is_amount_lost(document: &[u8]) -> bool {
    let Some(Node::Object(fields)) = read(document) else {
        return false;
    };
    let mut amounts = fields.iter().filter(|(_, name, _)| name == "amount");
    amounts
        .any(|(.., value)| matches!(value, Node::Scalar(text) if beyond_a_double(text).is_some()))
}

/// A document as it was read: of two fields with one name the last one alone. `None` when it is no JSON.
pub fn as_read(document: &[u8]) -> Option<SensitiveBody> {
    let node = read(document)?;
    // It only gets shorter, and so never moves in memory.
    let mut out = Vec::with_capacity(document.len());
    write(&node, &mut out);
    Some(SensitiveBody::new(out))
}

/// The SHA-256 of a place in a document, made of that of the place above it: however long the names are that lead
/// to a number, it takes no more than this.
type Place = [u8; 32];

fn below(place: &Place, step: &[u8]) -> Place {
    Sha256::new()
        .chain_update(place)
        .chain_update(step)
        .finalize()
        .into()
}

/// The numbers of a document that a double does not tell apart, each as the SHA-256 of its place and its exact
/// digits, in one order however the fields are ordered. Two documents that are equal by RFC 8785 are the
/// same request only when these are equal too.
pub fn long_numbers(document: &[u8]) -> Vec<[u8; 32]> {
    let mut found = Vec::new();
    if let Some(node) = read(document) {
        find_long(&node, &Place::default(), &mut found);
    }
    found.sort_unstable();
    found
}

fn find_long(node: &Node<'_>, place: &Place, found: &mut Vec<[u8; 32]>) {
    match node {
        Node::Scalar(text) => {
            let digits = beyond_a_double(text);
            found.extend(digits.map(|digits| below(place, format!("={digits}").as_bytes())));
        }
        Node::List(items) => {
            for (at, item) in items.iter().enumerate() {
                find_long(item, &below(place, format!("[{at}]").as_bytes()), found);
            }
        }
        Node::Object(fields) => {
            for (_, name, value) in fields {
                find_long(value, &below(place, format!("/{name}").as_bytes()), found);
            }
        }
    }
}

/// The exact value of a number that is not the shortest way to write a double.
pub(super) fn beyond_a_double(text: &[u8]) -> Option<String> {
    if !matches!(text.first(), Some(b'-' | b'0'..=b'9')) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    let exact = exact(text)?;
    let double: f64 = text.parse().ok()?;
    (Some(&exact) != self::exact(&format!("{double:e}")).as_ref()).then_some(exact)
}

/// A decimal number as its digits without zeros at either end, and the power of ten of the last one.
fn exact(text: &str) -> Option<String> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (digits, power) = match text.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, power.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let digits = format!("{whole}{part}");
    let leading = digits.trim_start_matches('0');
    let short = leading.trim_end_matches('0');
    if short.is_empty() {
        return Some("0".to_owned());
    }
    let cut = i64::try_from(leading.len() - short.len()).ok()?;
    let power = power - i64::try_from(part.len()).ok()? + cut;
    Some(format!("{sign}{short}e{power}"))
}

fn write(node: &Node<'_>, out: &mut Vec<u8>) {
    match node {
        Node::Scalar(text) => out.extend_from_slice(text),
        Node::List(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Node::Object(fields) => {
            out.push(b'{');
            for (at, (written, _, value)) in fields.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(written);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

fn read(document: &[u8]) -> Option<Node<'_>> {
    Reader {
        rest: document,
        depth: 0,
    }
    .node()
}

struct Reader<'a> {
    rest: &'a [u8],
    depth: u8,
}

impl<'a> Reader<'a> {
    fn node(&mut self) -> Option<Node<'a>> {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.first()? {
            b'{' => self.nested(Self::object),
            b'[' => self.nested(Self::list),
            b'"' => Some(Node::Scalar(self.text()?)),
            _ => {
                let ends = |b: &u8| matches!(b, b',' | b'}' | b']') || b.is_ascii_whitespace();
                let end = self.rest.iter().position(ends);
                Some(Node::Scalar(self.take(end.unwrap_or(self.rest.len()))))
            }
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Option<Node<'a>>) -> Option<Node<'a>> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        self.take(1);
        let node = read(self);
        self.depth -= 1;
        node
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length);
        self.rest = rest;
        taken
    }

    /// Takes this sign if it comes next.
    fn sign(&mut self, sign: u8) -> bool {
        self.rest = self.rest.trim_ascii_start();
        let is_next = self.rest.first() == Some(&sign);
        if is_next {
            self.take(1);
        }
        is_next
    }

    /// A text with its quotes.
    fn text(&mut self) -> Option<&'a [u8]> {
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => return Some(self.take(at + 1)),
                b'\\' => at += 2,
                _ => at += 1,
            }
        }
    }

    fn list(&mut self) -> Option<Node<'a>> {
        let mut items = Vec::new();
        while !self.sign(b']') {
            if !items.is_empty() && !self.sign(b',') {
                return None;
            }
            items.push(self.node()?);
        }
        Some(Node::List(items))
    }

    fn object(&mut self) -> Option<Node<'a>> {
        let mut fields: Vec<(&[u8], Cow<'_, str>, Node<'_>)> = Vec::new();
        while !self.sign(b'}') {
            if !fields.is_empty() && !self.sign(b',') {
                return None;
            }
            self.rest = self.rest.trim_ascii_start();
            let written = self.text()?;
            let name = match serde_json::from_slice::<&str>(written) {
                Ok(name) => Cow::Borrowed(name),
                Err(_) => Cow::Owned(serde_json::from_slice(written).ok()?),
            };
            if !self.sign(b':') {
                return None;
            }
            fields.push((written, name, self.node()?));
        }
        Some(Node::Object(last_of_each(fields)))
    }
}

type NodeFields<'a> = Vec<(&'a [u8], Cow<'a, str>, Node<'a>)>;

fn last_of_each(mut fields: NodeFields<'_>) -> NodeFields<'_> {
    let mut seen = HashSet::with_capacity(fields.len());
    let stays: Vec<bool> = fields
        .iter()
        .rev()
        .map(|field| seen.insert(&*field.1))
        .collect();
    drop(seen);
    if stays.iter().all(|stays| *stays) {
        return fields;
    }
    let mut stays = stays.into_iter().rev();
    fields.retain(|_| stays.next().unwrap_or(true));
    fields
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use proptest::prelude::*;

    fn sent(caller: &str) -> String {
        let body = forwarded(caller.as_bytes(), "https://ours/h").unwrap();
        String::from_utf8(body.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn numbers_and_texts_are_forwarded_as_they_were_written() {
        let fields = r#""b":123456789012345678901234567890,"a":1.23456789012345678901234567890,"c":[1E2,-0.0],"d":{"e":"\u0416\/"}"#;
        assert_eq!(
            sent(&format!("{{ {fields} }}")),
            format!(r#"{{"request":{{{fields},"notification_url":"https://ours/h"}}}}"#)
        );
    }

    #[test]
    fn a_forwarded_request_is_normalised() {
        assert_eq!(
            sent(
                r#"{"amount":1,"notification\u005furl":"theirs","x":{"y":1,"y":2},"amount":1e15,"x":[]}"#
            ),
            r#"{"request":{"amount":1000000000000000,"x":[],"notification_url":"https://ours/h"}}"#
        );
        assert!(forwarded(b"[1]", "u").is_none() && forwarded(b"{\"a\":", "u").is_none());
    }

    #[test]
    fn an_amount_is_lost_where_its_last_digits_are() {
        for lost in [
            "100.00000000000000000000000000001",
            "99.99999999999999999999",
            "1e400",
        ] {
            let body = format!("{{\"amount\":1,\"am\\u006funt\":{lost}}}");
            assert!(is_amount_lost(body.as_bytes()), "{lost}");
        }
        for kept in [
            "100",
            "100.0000000000000000000000",
            "1e2",
            "\"1e400\"",
            "1.5",
        ] {
            let body = format!("{{\"x\":1e400,\"amount\":{kept}}}");
            assert!(!is_amount_lost(body.as_bytes()), "{kept}");
        }
    }

    #[test]
    fn nothing_moves_in_memory() {
        let body = forwarded(br#"{"amount":1e15}"#, "https://ours.example/webhooks/1001").unwrap();
        assert!(body.len() < 15 + 40 + 96);
    }

    #[test]
    fn only_numbers_that_a_double_loses_are_long() {
        for short in [
            "0",
            "-0",
            "-0.0",
            "100",
            "1e2",
            "1.5",
            "0.1",
            "9007199254740992",
            "1e300",
            "123.4500",
            "5e-324",
            "\"1.2345678901234567890\"",
            "true",
        ] {
            let body = format!("{{\"a\":{short}}}");
            assert!(long_numbers(body.as_bytes()).is_empty(), "{short}");
        }
        let long = |text: &str| long_numbers(format!("{{\"a\":[{text}]}}").as_bytes());
        assert_eq!(long("9007199254740993").len(), 1);
        assert_ne!(long("9007199254740993,1"), long("1,9007199254740993"));
        assert_eq!(
            long("1.23456789012345678900"),
            long("123.4567890123456789e-2")
        );
        assert_ne!(long("0.10000000000000000555"), long("0.1"));
        assert_ne!(long("12345678901234567890"), long("12345678901234567891"));
    }

    #[test]
    fn long_numbers_are_bounded_in_memory() {
        let numbers = vec!["1e-400"; 70_000].join(",");
        let body = format!("{{\"{}\":[{numbers}]}}", "x".repeat(500_000));
        let begun = leaves::clock::BootInstant::now();
        assert_eq!(long_numbers(body.as_bytes()).len(), 70_000);
        assert!(begun.elapsed() < std::time::Duration::from_secs(20));
    }

    #[test]
    fn as_it_was_read_holds_the_last_of_two_fields() {
        let kept =
            as_read(br#"{ "a": {"number":1,"number" : 2}, "a":null ,"b":[1.0, 2] }"#).unwrap();
        assert_eq!(kept.as_bytes(), br#"{"a":null,"b":[1.0,2]}"#);
    }

    proptest! {
        #[test]
        fn the_forwarded_body_equals_the_parsed_one(a in any::<f64>(), b in any::<i64>(), text in ".{0,20}") {
            let value = json!({"a": a, "amount": 5, "b": [b, {"c": text}, null], &text: {}});
            let body = serde_json::to_string_pretty(&value).unwrap();
            let mut back: Value = serde_json::from_str(&sent(&body)).unwrap();
            back["request"].as_object_mut().unwrap().remove("notification_url");
            let mut expected = value;
            expected.as_object_mut().unwrap().remove("notification_url");
            prop_assert_eq!(&back["request"], &expected);
        }
    }
}
