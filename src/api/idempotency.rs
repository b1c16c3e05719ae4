//! Whether two requests are the same one.
//!
//! A request is known by an HMAC over its collection and its body as canonical JSON (RFC 8785), so
//! that blanks and the order of fields do not count, card data does, and nobody can get it back
//! from what is stored. Each fingerprint is stored with the id of its key, so that keys can change.
//! What it deliberately cannot do: compare under a key that is no longer configured.

use crate::config::FingerprintKey;
use domain::TransactionType;
use leaves::secret::Rotating;
use ring::hmac;
use serde_json::Value;
use std::io;
use subtle::ConstantTimeEq;

/// How a request compares to the one that is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestMatch {
    /// It is the same.
    Same,
    /// It is another.
    Different,
    /// The key of the stored fingerprint is gone, so that it cannot be told.
    UnknownKey,
}

/// What a request says.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The body.
    pub body: &'a Value,
    /// Digests of the numbers in it that a double does not hold, with their places: RFC 8785 writes every number as one,
    /// and would take different numbers for the same.
    pub long_numbers: &'a [[u8; 32]],
}

/// The fingerprint of a request, and the id of its key.
pub fn fingerprint(
    keys: &Rotating<FingerprintKey>,
    kind: TransactionType,
    body: Told<'_>,
) -> io::Result<(Vec<u8>, String)> {
    let key = keys.current();
    Ok((mac(key, kind, body)?.as_ref().to_vec(), key.id().to_owned()))
}

/// Compares a request with a stored fingerprint, in a time that does not depend on it.
pub fn compare(
    keys: &Rotating<FingerprintKey>,
    kind: TransactionType,
    body: Told<'_>,
    (stored, key_id): (&[u8], &str),
) -> io::Result<RequestMatch> {
    let Some(key) = keys.iter().find(|key| key.id() == key_id) else {
        return Ok(RequestMatch::UnknownKey);
    };
    let same: bool = mac(key, kind, body)?.as_ref().ct_eq(stored).into();
    Ok(if same {
        RequestMatch::Same
    } else {
        RequestMatch::Different
    })
}

fn mac(key: &FingerprintKey, kind: TransactionType, told: Told<'_>) -> io::Result<hmac::Tag> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.key().expose());
    let mut writer = Writer(hmac::Context::with_key(&key));
    writer.0.update(collection(kind).as_bytes());
    writer.0.update(b"\n");
    // The canonical form is not put together anywhere: it would be another copy of card data.
    serde_json_canonicalizer::to_writer(told.body, &mut writer)?;
    for number in told.long_numbers {
        // No JSON has a line break and anything after it.
        writer.0.update(b"\n");
        writer.0.update(number);
    }
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
    use gateway::long_numbers;

    fn keys(texts: &[&str]) -> Rotating<FingerprintKey> {
        let keys = texts
            .iter()
            .map(|t| FingerprintKey::parse(t.repeat(32).as_bytes()).unwrap());
        Rotating::from_values(keys.collect()).unwrap()
    }

    /// The fingerprint of a body, and the id of its key.
    fn made(
        keys: &Rotating<FingerprintKey>,
        kind: TransactionType,
        body: &str,
    ) -> (Vec<u8>, String) {
        let (value, long) = (value(body), long_numbers(body.as_bytes()));
        fingerprint(
            keys,
            kind,
            Told {
                body: &value,
                long_numbers: &long,
            },
        )
        .unwrap()
    }

    fn matched(
        keys: &Rotating<FingerprintKey>,
        kind: TransactionType,
        body: &str,
        stored: (&[u8], &str),
    ) -> RequestMatch {
        let (value, long) = (value(body), long_numbers(body.as_bytes()));
        compare(
            keys,
            kind,
            Told {
                body: &value,
                long_numbers: &long,
            },
            stored,
        )
        .unwrap()
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const PAYMENT: TransactionType = TransactionType::Payment;

    fn compared(first: &str, second: &str) -> RequestMatch {
        let keys = keys(&["a"]);
        let (stored, id) = made(&keys, PAYMENT, first);
        matched(&keys, PAYMENT, second, (&stored, &id))
    }

    #[test]
    fn equal_json_is_the_same_request() {
        let first = r#"{"amount": 100, "b": {"x": "\u0416", "y": 1e2}}"#;
        for second in [
            r#"{"amount":100,"b":{"x":"Ж","y":100}}"#,
            r#"{"b":{"y":100.0,"x":"Ж"},"amount":1.0e2}"#,
            r#"{"amount":7,"b":{"y":100,"x":"Ж"},"amount":100}"#,
        ] {
            assert_eq!(compared(first, second), RequestMatch::Same, "{second}");
        }
        for second in [
            r#"{"amount":101,"b":{"x":"Ж","y":100}}"#,
            r#"{"amount":"100","b":{"x":"Ж","y":100}}"#,
            r#"{"amount":100,"b":{"x":"Ж","y":100},"c":null}"#,
            r#"{"amount":100}"#,
        ] {
            assert_eq!(compared(first, second), RequestMatch::Different, "{second}");
        }
    }

    #[test]
    fn long_numbers_count_to_the_digit() {
        let body = |number: &str| format!(r#"{{"amount":1,"rate":[{number}]}}"#);
        let long = "1.2345678901234567890123";
        assert_eq!(
            compared(&body(long), &body("12.345678901234567890123e-1")),
            RequestMatch::Same
        );
        assert_eq!(
            compared(&body(long), &body("1.2345678901234567890124")),
            RequestMatch::Different
        );
        assert_eq!(
            compared(&body("0.1"), &body("0.10000000000000000555")),
            RequestMatch::Different
        );
        assert_eq!(compared(&body("1e2"), &body("100.0")), RequestMatch::Same);
        let (one, other) = ("9007199254740992", "9007199254740993");
        assert_eq!(compared(&body(one), &body(other)), RequestMatch::Different);
    }

    #[test]
    fn card_data_and_the_collection_count() {
        let card = |n: &str| format!(r#"{{"credit_card":{{"number":"{n}"}}}}"#);
        assert_eq!(
            compared(&card("4200000000000000"), &card("4012000000000009")),
            RequestMatch::Different
        );
        let keys = keys(&["a"]);
        let (stored, id) = made(&keys, PAYMENT, "{}");
        let other = matched(&keys, TransactionType::Authorization, "{}", (&stored, &id));
        assert_eq!(other, RequestMatch::Different);
    }

    #[test]
    fn a_key_can_be_changed_without_a_break() {
        let (old, both, new) = (keys(&["a"]), keys(&["b", "a"]), keys(&["b"]));
        let body = r#"{"amount":1}"#;
        let (stored, id) = made(&old, PAYMENT, body);
        let known = (stored.as_slice(), id.as_str());
        assert_eq!(matched(&both, PAYMENT, body, known), RequestMatch::Same);
        assert_eq!(
            matched(&new, PAYMENT, body, known),
            RequestMatch::UnknownKey
        );
        let (fresh, fresh_id) = made(&both, PAYMENT, body);
        assert_eq!(fresh_id, new.current().id());
        assert_ne!(fresh, stored);
    }

    #[test]
    fn an_unreadable_fingerprint_is_another_request() {
        let keys = keys(&["a"]);
        let id = keys.current().id();
        for stored in [&[][..], &[0; 31], &[0; 32]] {
            assert_eq!(
                matched(&keys, PAYMENT, "{}", (stored, id)),
                RequestMatch::Different
            );
        }
    }
}
