//! Which names of fields say what their value may hold.

use super::scan;

/// What may stand under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyClass {
    /// Anything: digits are looked at.
    Plain,
    /// Card data, whatever it looks like.
    Sensitive,
    /// An id of a transaction or a task: never touched.
    Id,
    /// `id`, which repeats the uid of a transaction, and is a number elsewhere.
    LooseId,
    /// A time.
    Time,
    /// A sum.
    Amount,
    /// The gateway's token or fingerprint of a card: hexadecimal, with long runs of digits at times.
    Token,
}

/// Reads a key. Case, blanks, dashes and underscores do not matter for card data, so that no
/// other spelling of `verification_value` slips through.
pub(super) fn classify(key: &[u8]) -> KeyClass {
    match key {
        b"uid" | b"parent_uid" | b"tracking_id" | b"request_id" => return KeyClass::Id,
        b"id" => return KeyClass::LooseId,
        b"amount" => return KeyClass::Amount,
        b"token" | b"stamp" => return KeyClass::Token,
        _ => {}
    }
    if is_sensitive(key) {
        KeyClass::Sensitive
    } else if key.ends_with(b"_at") {
        KeyClass::Time
    } else {
        KeyClass::Plain
    }
}

/// Longer than every sensitive name; a longer key can only be one of those told by their beginning.
const LONGEST: usize = 24;

/// Whether a key names card data. Most do not, and are told by their first letter.
pub(super) fn is_sensitive(key: &[u8]) -> bool {
    let first = key.iter().find(|b| !is_separator(**b));
    let may_be = |first: &u8| matches!(first | 0x20, b'n' | b'h' | b'v' | b'e' | b'c');
    first.is_some_and(may_be) && is_sensitive_name(key)
}

const fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'_' | b'\t')
}

fn is_sensitive_name(key: &[u8]) -> bool {
    let mut plain = [0_u8; LONGEST];
    let mut len = 0;
    for byte in key.iter().filter(|b| !is_separator(**b)) {
        if len == LONGEST {
            return plain.starts_with(b"encrypted");
        }
        plain[len] = byte.to_ascii_lowercase();
        len += 1;
    }
    match &plain[..len] {
        b"number" | b"holder" | b"verificationvalue" | b"expmonth" | b"expyear" => true,
        b"cvc" | b"cvv" | b"cvc2" | b"cvv2" => true,
        name => name.starts_with(b"encrypted"),
    }
}

/// Whether the text can be nothing but an id of the gateway: a UUID, or its older form of a number,
/// a dash and hexadecimal digits with letters among them.
pub(super) fn is_uid(text: &str) -> bool {
    let older = || {
        text.split_once('-').is_some_and(|(shop, rest)| {
            (1..=8).contains(&shop.len())
                && (8..=12).contains(&rest.len())
                && shop.bytes().all(|b| b.is_ascii_digit())
                && rest.bytes().all(|b| b.is_ascii_hexdigit())
                && rest.bytes().any(|b| b.is_ascii_alphabetic())
        })
    };
    scan::is_uuid(text.as_bytes()) || older()
}

/// Whether the text is a token as the gateway makes them: 32 or more hexadecimal digits, letters
/// among them.
pub(super) fn is_token(text: &str) -> bool {
    text.len() >= 32
        && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
        && text.bytes().any(|b| b.is_ascii_alphabetic())
}

/// Whether the text is a plain decimal number.
pub(super) fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'.')
        && digits.bytes().filter(|b| *b == b'.').count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_card_data() {
        for key in [
            "number",
            "Number",
            "verification_value",
            "verificationValue",
            "EXP_MONTH",
        ] {
            assert_eq!(classify(key.as_bytes()), KeyClass::Sensitive, "{key}");
        }
        for key in [
            "exp-year",
            "holder ",
            "encrypted_credit_card",
            "encrypted_data_of_some_card_x",
        ] {
            assert_eq!(classify(key.as_bytes()), KeyClass::Sensitive, "{key}");
        }
        for key in [
            "card_number",
            "last_4",
            "bin",
            "numbers",
            "brand",
            "holders_and_a_long_tail",
        ] {
            assert_eq!(classify(key.as_bytes()), KeyClass::Plain, "{key}");
        }
    }

    #[test]
    fn what_is_left_alone() {
        assert_eq!(classify(b"tracking_id"), KeyClass::Id);
        assert_eq!(classify(b"paid_at"), KeyClass::Time);
        assert!(is_uid("4107-310b0da80b") && is_uid("6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001"));
        assert!(!is_uid("4200000000000000") && !is_uid("4200-0000-0000-0000"));
        assert!(is_decimal("-12.5") && !is_decimal("4200 0000") && !is_decimal(""));
    }
}
