//! Whether two requests are the same one.
//!
//! A request is known by an HMAC over its collection and its body as canonical JSON (RFC 8785), so
//! that blanks and the order of fields do not count, card data does, and nobody can get it back
//! from what is stored. Each fingerprint is stored with the id of its key, so that keys can change.
//! What it deliberately cannot do: compare under a key that is no longer configured.

use crate::config::{FingerprintKey, Rotating};
use crate::domain::TransactionType;
use ring::hmac;
use serde_json::Value;
use std::io;
use subtle::ConstantTimeEq;

/// How a request compares to the one that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Match {
    /// It is the same.
    Same,
    /// It is another.
    Different,
    /// The key of the stored fingerprint is gone, so that it cannot be told.
    UnknownKey,
}

/// The fingerprint of a request, and the id of its key.
pub fn fingerprint(
    keys: &Rotating<FingerprintKey>,
    kind: TransactionType,
    body: &Value,
) -> io::Result<(Vec<u8>, String)> {
    let key = keys.current();
    Ok((mac(key, kind, body)?.as_ref().to_vec(), key.id().to_owned()))
}

/// Compares a request with a stored fingerprint, in a time that does not depend on it.
pub fn compare(
    keys: &Rotating<FingerprintKey>,
    kind: TransactionType,
    body: &Value,
    (stored, key_id): (&[u8], &str),
) -> io::Result<Match> {
    let Some(key) = keys.iter().find(|key| key.id() == key_id) else {
        return Ok(Match::UnknownKey);
    };
    let same: bool = mac(key, kind, body)?.as_ref().ct_eq(stored).into();
    Ok(if same { Match::Same } else { Match::Different })
}

fn mac(key: &FingerprintKey, kind: TransactionType, body: &Value) -> io::Result<hmac::Tag> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.key().expose());
    let mut writer = Writer(hmac::Context::with_key(&key));
    writer.0.update(collection(kind).as_bytes());
    writer.0.update(b"\n");
    // The canonical form is not put together anywhere: it would be another copy of card data.
    serde_json_canonicalizer::to_writer(body, &mut writer)?;
    Ok(writer.0.sign())
}

struct Writer(hmac::Context);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The collection of the API that a kind of transaction is posted to.
pub(crate) const fn collection(kind: TransactionType) -> &'static str {
    match kind {
        TransactionType::Payment => "payments",
        TransactionType::Authorization => "authorizations",
        TransactionType::Tokenization => "tokenizations",
        TransactionType::Capture => "captures",
        TransactionType::Void => "voids",
        TransactionType::Refund => "refunds",
        TransactionType::Payout => "payouts",
        TransactionType::Chargeback => "chargebacks",
        TransactionType::Checkup => "checkups",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn keys(texts: &[&str]) -> Rotating<FingerprintKey> {
        let keys = texts
            .iter()
            .map(|t| FingerprintKey::parse(t.repeat(32).as_bytes()).unwrap());
        Rotating::from_values(keys.collect()).unwrap()
    }

    fn body(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const PAYMENT: TransactionType = TransactionType::Payment;

    fn compared(first: &str, second: &str) -> Match {
        let keys = keys(&["a"]);
        let (stored, id) = fingerprint(&keys, PAYMENT, &body(first)).unwrap();
        compare(&keys, PAYMENT, &body(second), (&stored, &id)).unwrap()
    }

    #[test]
    fn equal_json_is_the_same_request() {
        let first = r#"{"amount": 100, "b": {"x": "\u0416", "y": 1e2}}"#;
        for second in [
            r#"{"amount":100,"b":{"x":"Ж","y":100}}"#,
            r#"{"b":{"y":100.0,"x":"Ж"},"amount":1.0e2}"#,
            r#"{"amount":7,"b":{"y":100,"x":"Ж"},"amount":100}"#,
        ] {
            assert_eq!(compared(first, second), Match::Same, "{second}");
        }
        for second in [
            r#"{"amount":101,"b":{"x":"Ж","y":100}}"#,
            r#"{"amount":"100","b":{"x":"Ж","y":100}}"#,
            r#"{"amount":100,"b":{"x":"Ж","y":100},"c":null}"#,
            r#"{"amount":100}"#,
        ] {
            assert_eq!(compared(first, second), Match::Different, "{second}");
        }
    }

    #[test]
    fn card_data_and_the_collection_count() {
        let card = |n: &str| format!(r#"{{"credit_card":{{"number":"{n}"}}}}"#);
        assert_eq!(
            compared(&card("4200000000000000"), &card("4012000000000009")),
            Match::Different
        );
        let keys = keys(&["a"]);
        let (stored, id) = fingerprint(&keys, PAYMENT, &body("{}")).unwrap();
        let other = compare(
            &keys,
            TransactionType::Authorization,
            &body("{}"),
            (&stored, &id),
        );
        assert_eq!(other.unwrap(), Match::Different);
    }

    #[test]
    fn a_key_can_be_changed_without_a_break() {
        let (old, both, new) = (keys(&["a"]), keys(&["b", "a"]), keys(&["b"]));
        let value = body(r#"{"amount":1}"#);
        let (stored, id) = fingerprint(&old, PAYMENT, &value).unwrap();
        assert_eq!(
            compare(&both, PAYMENT, &value, (&stored, &id)).unwrap(),
            Match::Same
        );
        assert_eq!(
            compare(&new, PAYMENT, &value, (&stored, &id)).unwrap(),
            Match::UnknownKey
        );
        let (fresh, fresh_id) = fingerprint(&both, PAYMENT, &value).unwrap();
        assert_eq!(fresh_id, new.current().id());
        assert_ne!(fresh, stored);
    }

    #[test]
    fn an_unreadable_fingerprint_is_another_request() {
        let keys = keys(&["a"]);
        let id = keys.current().id();
        for stored in [&[][..], &[0; 31], &[0; 32]] {
            assert_eq!(
                compare(&keys, PAYMENT, &body("{}"), (stored, id)).unwrap(),
                Match::Different
            );
        }
    }
}
