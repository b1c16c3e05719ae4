//! Redacts text that is not one JSON document: the strings inside documents, error texts, form
//! bodies, broken or cut JSON, XML, HTML.
//!
//! What it deliberately cannot do: know a holder's name that stands in no field. It knows values by the
//! name written before them, and card numbers by their digits.

use super::keys::FieldSensitivity;
use super::named::{Named, named_values};
use super::secrets::{SecretPlace, Secrets, of_form};
use super::{REDACTION_MARK, json, scan};
use std::borrow::Cow;

/// Documents as text in documents are followed so deep; what lies deeper goes as a whole.
const MAX_DEPTH: u8 = 4;
/// Rewriting is repeated until nothing changes; what still changes then goes as a whole.
const MAX_ROUNDS: usize = 6;
/// How encrypted card fields begin, wherever they are put.
const ENCRYPTED: &[u8] = b"$begatewaycse";

/// The redacted text, or `None` when nothing in it has to go.
pub(super) fn redacted(text: &str, secrets: &Secrets, depth: u8) -> Option<String> {
    if !may_contain_pan(text.as_bytes()) && secrets.is_empty() {
        return None;
    }
    let mut last = one_round(text, secrets, depth)?;
    for _ in 0..MAX_ROUNDS {
        match one_round(&last, secrets, depth) {
            Some(next) => last = next,
            None => return Some(last),
        }
    }
    Some(REDACTION_MARK.to_owned())
}

/// Finds what stands in the card fields of a body that may be anything.
pub(super) fn collect(bytes: &[u8], found: &mut Secrets, depth: u8) {
    if depth > MAX_DEPTH {
        return;
    }
    let inner = bytes.trim_ascii();
    if matches!(inner.first(), Some(b'{' | b'[' | b'"')) && json::is_json(inner) {
        return json::collect(inner, found, depth);
    }
    let text = String::from_utf8_lossy(bytes);
    let plain = resolve_escapes(&text);
    let names_a_card = plain.to_ascii_lowercase().contains("card");
    for named in named_values(&plain) {
        if let FieldSensitivity::Sensitive(secret) = named.class {
            let value = &plain[named.value.clone()];
            let is_cards =
                !plain[named.name.clone()].eq_ignore_ascii_case("number") || names_a_card;
            found.add(secret, &json::unescape(value.as_bytes()), is_cards);
            if value.contains(['+', '%']) {
                found.add(secret, &of_form(value.as_bytes()), is_cards);
            }
            if value.contains('&') {
                found.add(secret, &without_entities(value), is_cards);
            }
        }
    }
}

/// Most texts are short and plain: no twelve digits, and nothing that names or encodes a value.
pub(super) fn may_contain_pan(bytes: &[u8]) -> bool {
    bytes.iter().map(|byte| weight(*byte)).sum::<usize>() >= MIN_PAN_LEN
}

/// The weight of a text that is worth a look: twelve digits, or one telling sign.
pub(super) const MIN_PAN_LEN: usize = 12;

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
    let signs = *b"\"'<=%\\${[:&\t";
    let mut at = 0;
    while at < signs.len() {
        weights[signs[at] as usize] = MIN_PAN_LEN as u8;
        at += 1;
    }
    weights
};

/// Whether a card that was encrypted for the gateway is in a text.
pub(super) fn holds_encrypted(text: &str) -> bool {
    let mut windows = text.as_bytes().windows(ENCRYPTED.len());
    windows.any(|window| window.eq_ignore_ascii_case(ENCRYPTED))
}

fn one_round(text: &str, secrets: &Secrets, depth: u8) -> Option<String> {
    let bytes = text.as_bytes();
    if holds_encrypted(text) {
        return Some(REDACTION_MARK.to_owned());
    }
    let inner = bytes.trim_ascii();
    if matches!(inner.first(), Some(b'{' | b'[' | b'"')) && json::is_json(inner) {
        if depth >= MAX_DEPTH {
            return Some(REDACTION_MARK.to_owned());
        }
        let rewritten = json::rewrite(inner, secrets, depth + 1)?;
        return Some(String::from_utf8(rewritten).unwrap_or_else(|_| REDACTION_MARK.to_owned()));
    }
    let plain = resolve_escapes(text);
    let clean = without_values(&plain, secrets, depth);
    let left = clean.as_deref().unwrap_or(&plain);
    if hides_more(left, secrets, depth) {
        return Some(REDACTION_MARK.to_owned());
    }
    clean
}

/// Writes `\uXXXX` as the letter, digit or sign that it stands for: broken JSON must not keep a
/// value whose name is spelled with escapes. What would end a text is left as it is.
fn resolve_escapes(text: &str) -> Cow<'_, str> {
    if !text.contains("\\u") {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let (mut copied, mut at) = (0, 0);
    while let Some(offset) = text[at..].find("\\u") {
        let start = at + offset;
        let (letter, length) = json::escape(&bytes[start..]);
        at = start + 2;
        // Another backslash in front makes it two letters.
        let is_escaped = bytes[..start]
            .iter()
            .rev()
            .take_while(|b| **b == b'\\')
            .count()
            % 2
            == 1;
        if length < 6 || is_escaped || matches!(letter, '"' | '\\') {
            continue;
        }
        at = start + length;
        out.push_str(&text[copied..start]);
        out.push(if letter.is_control() { ' ' } else { letter });
        copied = at;
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

/// The text without the values that a name announces, without numbers and without what recurs.
fn without_values(text: &str, secrets: &Secrets, depth: u8) -> Option<String> {
    let mut out = Copy {
        source: text,
        out: None,
        copied: 0,
    };
    let mut free = 0;
    for named in named_values(text) {
        let Named { class, value, .. } = &named;
        if value.start < free {
            continue;
        }
        let told = &text[value.clone()];
        if let FieldSensitivity::Sensitive(_) = class {
            if is_silent(told) {
                continue;
            }
            out.without_runs(free..value.start, secrets);
            out.replace(value.clone(), named.mark);
            free = value.end;
        } else if depth == 0
            && let Some(address) = named.whole.as_ref()
        {
            // Ids and sums of the gateway do not lie in texts; there the names prove nothing.
            match kept_whole(*class, told, secrets) {
                KeptText::Whole => {
                    out.without_runs(free..value.start, secrets);
                    free = value.end;
                }
                KeptText::Null => {
                    out.without_runs(free..address.start, secrets);
                    out.replace(address.clone(), "null");
                    free = address.end;
                }
                KeptText::Not => {}
            }
        }
    }
    out.without_runs(free..text.len(), secrets);
    out.finish()
}

enum KeptText {
    Whole,
    Null,
    Not,
}

/// Whether the value of a field that is exempt is what such a field holds.
fn kept_whole(class: FieldSensitivity, value: &str, secrets: &Secrets) -> KeptText {
    /// No id is longer, in bytes.
    const LONGEST_ID: usize = 255;
    let is_exempt = match class {
        // In what is broken, a blank may be where the next field has begun.
        FieldSensitivity::Id => value.len() <= LONGEST_ID && !value.contains(char::is_whitespace),
        FieldSensitivity::Address if json::is_whole_address(value, secrets) => true,
        FieldSensitivity::Address => return KeptText::Null,
        FieldSensitivity::Plain => false,
        other => {
            // With a number in it that it may not have, it is a text like any other.
            let has_signs = value.contains(['"', '\'', '=', '<', '{']);
            !has_signs && json::redacted_string(other, value, secrets, MAX_DEPTH).is_none()
        }
    };
    if is_exempt {
        KeptText::Whole
    } else {
        KeptText::Not
    }
}

/// A copy that is made only when something differs.
struct Copy<'a> {
    source: &'a str,
    out: Option<String>,
    copied: usize,
}

impl Copy<'_> {
    fn replace(&mut self, range: std::ops::Range<usize>, with: &str) {
        let source = self.source;
        let out = self.out.get_or_insert_default();
        out.push_str(&source[self.copied..range.start]);
        out.push_str(with);
        self.copied = range.end;
    }

    /// Takes numbers and what recurs out of a part.
    fn without_runs(&mut self, range: std::ops::Range<usize>, secrets: &Secrets) {
        let part = &self.source[range.clone()];
        let mut clean: Cow<'_, str> = Cow::Borrowed(part);
        if let Some(struck) = secrets.struck(&clean, SecretPlace::Text) {
            clean = Cow::Owned(struck);
        }
        if let Some(scanned) = without_digit_runs(&clean) {
            clean = Cow::Owned(scanned);
        }
        if let Cow::Owned(clean) = clean {
            self.replace(range, &clean);
        }
    }

    fn finish(self) -> Option<String> {
        let mut out = self.out?;
        out.push_str(&self.source[self.copied..]);
        Some(out)
    }
}

fn without_digit_runs(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out: Option<String> = None;
    let mut copied = 0;
    while let Some(hit) = scan::first_hit(bytes, copied) {
        let out = out.get_or_insert_default();
        out.push_str(&text[copied..hit.start]);
        out.push_str(REDACTION_MARK);
        copied = hit.end;
    }
    let mut out = out?;
    out.push_str(&text[copied..]);
    Some(out)
}

/// Whether something would have to go if percent signs or the entities of markup were resolved.
fn hides_more(text: &str, secrets: &Secrets, depth: u8) -> bool {
    let bytes = text.as_bytes();
    let has_percent = bytes.windows(3).any(|window| {
        window[0] == b'%' && window[1].is_ascii_hexdigit() && window[2].is_ascii_hexdigit()
    });
    if has_percent && (depth >= MAX_DEPTH || hides(&of_form(bytes), secrets, depth)) {
        return true;
    }
    let resolved = without_entities(text);
    matches!(resolved, Cow::Owned(_)) && (depth >= MAX_DEPTH || hides(&resolved, secrets, depth))
}

fn hides(text: &str, secrets: &Secrets, depth: u8) -> bool {
    one_round(text, secrets, depth + 1).is_some()
}

/// The entities of markup that everybody writes, and letters by their numbers, as what they stand for.
fn without_entities(text: &str) -> Cow<'_, str> {
    const NAMED: [(&str, &str); 6] = [
        ("quot;", "\""),
        ("apos;", "'"),
        ("amp;", "&"),
        ("lt;", "<"),
        ("gt;", ">"),
        ("nbsp;", " "),
    ];
    let mut out = String::new();
    let mut copied = 0;
    for (at, _) in text.match_indices('&') {
        let rest = &text[at + 1..];
        let by_name = NAMED.iter().find(|(name, _)| rest.starts_with(name));
        let resolved = match by_name {
            Some((name, sign)) => Some((name.len(), Cow::Borrowed(*sign))),
            None => by_number(rest).map(|(length, letter)| (length, letter.to_string().into())),
        };
        if let Some((length, sign)) = resolved {
            out.push_str(&text[copied..at]);
            out.push_str(&sign);
            copied = at + 1 + length;
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[copied..]);
    Cow::Owned(out)
}

fn by_number(rest: &str) -> Option<(usize, char)> {
    let end = rest.bytes().take(10).position(|b| b == b';')?;
    let digits = rest.get(..end)?.strip_prefix('#')?;
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some((end + 1, char::from_u32(code)?))
}

fn is_silent(value: &str) -> bool {
    matches!(value.trim(), "" | "null" | "[redacted]" | "{}" | "[]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        let mut secrets = Secrets::default();
        collect(text.as_bytes(), &mut secrets, 0);
        redacted(text, &secrets, 0).unwrap_or_else(|| text.to_owned())
    }

    #[test]
    fn cut_json_loses_its_named_values() {
        for (cut, expected) in [
            (
                r#"{"credit_card":{"holder":"TEST CARD"#,
                r#"{"credit_card":{"holder":"[redacted]"#,
            ),
            (
                r#"{"exp_month": 11, "exp_ye"#,
                r#"{"exp_month": "[redacted]", "exp_ye"#,
            ),
            (r#"{"n\u0075mber":"123"#, r#"{"number":"[redacted]"#),
            (
                r#"{"encrypted_credit_card":{"a":[1,{"b":2}]},"x":"#,
                r#"{"encrypted_credit_card":"[redacted]","x":"#,
            ),
            (
                r#"log: {\"holder\":\"A B\",\"x\":1}"#,
                r#"log: {\"holder\":\"[redacted]\",\"x\":1}"#,
            ),
            (
                r#"{number: 12, cvc:'345', x: 1"#,
                r#"{number: "[redacted]", cvc:'[redacted]', x: 1"#,
            ),
        ] {
            assert_eq!(clean(cut), expected);
        }
    }

    #[test]
    fn forms_urls_and_markup() {
        for (text, expected) in [
            (
                "number=1&holder=A+B&x=2",
                "number=[redacted]&holder=[redacted]&x=2",
            ),
            ("card[number]=1;x", "card[number]=[redacted];x"),
            ("<holder>A B</holder>", "<holder>[redacted]</holder>"),
            (
                "<c:Holder a=\"b\">A B</c:Holder>",
                "<c:Holder a=\"b\">[redacted]</c:Holder>",
            ),
            (
                "<holder><![CDATA[A B]]></holder>",
                "<holder>[redacted]</holder>",
            ),
            (
                "<card cvc=\"123\" x='1'/>",
                "<card cvc=\"[redacted]\" x='1'/>",
            ),
            (
                "<input name=\"cvc\" type=\"text\" value=\"123\">",
                "<input name=\"cvc\" type=\"text\" value=\"[redacted]\">",
            ),
            ("<f name='cvc'>123</f>", "<f name='cvc'>[redacted]</f>"),
            ("https://x/?a=4200000000000000", "https://x/?a=[redacted]"),
            ("x=%34%32%30%30000000000000", "[redacted]"),
            ("card%5Bnumber%5D=1", "[redacted]"),
            ("a=$begatewaycse_1_0_0$abc", "[redacted]"),
            ("{&quot;cvc&quot;:&quot;123&quot;}", "[redacted]"),
            ("holder: A B\nx: 1", "holder: [redacted]\nx: 1"),
            (
                "--b\r\nContent-Disposition: form-data; name=\"cvc\"\r\n\r\n123\r\n--b--",
                "--b\r\nContent-Disposition: form-data; name=\"cvc\"\r\n\r\n[redacted]\r\n--b--",
            ),
        ] {
            assert_eq!(clean(text), expected);
        }
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
            assert_eq!(redacted(text, &Secrets::default(), 0), None, "{text}");
        }
    }

    #[test]
    fn recurring_secrets_are_redacted() {
        assert_eq!(
            clean("holder=IVAN+PETROV&cvc=987&m=987 and ivan petrov"),
            "holder=[redacted]&cvc=[redacted]&m=[redacted] and [redacted]"
        );
        assert_eq!(clean("holder=IVAN+PETROV&m=Ivan%20Petrov"), "[redacted]");
        assert_eq!(
            clean(r#"{"card":{"number":"9111 2222 3333 4444"},"m":"9111222233334444"#),
            r#"{"card":{"number":"[redacted]"},"m":"[redacted]"#
        );
    }

    #[test]
    fn exempt_fields_stay_in_broken_json() {
        let whole = r#"{"uid":"4200000000000000","redirect_url":"https://x/?o=4200000000000000","#;
        assert_eq!(clean(whole), whole);
        assert_eq!(
            clean(
                r#"{"number":"4200000000000000","redirect_url":"https://x/card?o=4200000000000000","#
            ),
            r#"{"number":"[redacted]","redirect_url":null,"#
        );
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
