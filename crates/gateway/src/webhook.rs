//! What a webhook's body says.
//!
//! Four kinds of body reach the same address. Only a transaction concerns us; the others are kept.
//! What it deliberately cannot do: believe. Whether the sender is the gateway is decided by
//! [`super::webhook_auth`] over the same bytes, and what follows from it by the fold.

use super::body_shape::{Shape, row, shape, shape_of};
use super::borrowed_json::BorrowedJson;
use super::redact::{Redacted, redact, redact_read};
use super::transaction::{self, SnapshotSource};
use super::{decode, webhook_json};
use domain::{Snapshot, Timestamp, Uid};

/// What a webhook says.
#[derive(Debug, Clone, PartialEq)]
pub enum WebhookReading {
    /// A transaction; a chargeback brings the transaction along that it takes back.
    Transaction {
        /// The transaction.
        snapshot: Box<Snapshot>,
        /// `parent_transaction`, when it is there and readable.
        parent: Option<Box<Snapshot>>,
    },
    /// A subscription changed.
    Subscription,
    /// A checkout token ran out unused.
    ExpiredToken,
    /// Nothing that we know.
    Unknown {
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads a webhook. `sha256` is that of the body as it was received, `at` when that was.
pub fn read_webhook(body: &[u8], sha256: [u8; 32], at: Timestamp) -> WebhookReading {
    reading(shape(body), body, SnapshotSource { sha256, at })
}

/// Reads a webhook, and gives it as it may be kept. The body is parsed once for both.
pub fn take_webhook(body: &[u8], sha256: [u8; 32], at: Timestamp) -> (Redacted, WebhookReading) {
    let Ok(value) = webhook_json::read_plain(body) else {
        return (redact(body), read_webhook(body, sha256, at));
    };
    let kept = redact_read(body, Some(&value));
    let reading = reading(shape_of(value), body, SnapshotSource { sha256, at });
    debug_assert_eq!(
        reading,
        read_webhook(body, sha256, at),
        "a field is not read"
    );
    (kept, reading)
}

fn reading(shape: Shape<'_>, body: &[u8], source: SnapshotSource) -> WebhookReading {
    let unknown = |reason: String| WebhookReading::Unknown { reason };
    match shape {
        Shape::Transaction(fields) => match transaction::snapshot(&fields, source) {
            Ok(snapshot) => WebhookReading::Transaction {
                snapshot: Box::new(snapshot),
                parent: fields
                    .get("parent_transaction")
                    .and_then(row)
                    .and_then(|parent| transaction::snapshot(parent, source).ok())
                    .map(Box::new),
            },
            Err(malformed) => unknown(format!("a transaction whose {malformed}")),
        },
        Shape::NotJson => unknown("no readable json".to_owned()),
        Shape::List { .. } => unknown("a list".to_owned()),
        Shape::Balance(_) | Shape::Task(_) | Shape::Error(_) | Shape::Unknown => other(body),
    }
}

/// The uid in a body that cannot be read as JSON: what stands behind the first `"uid"` that has a text. It is
/// good for a look-up, and proves nothing.
pub fn scanned_uid(body: &[u8]) -> Option<String> {
    const NAME: &str = "\"uid\"";
    if webhook_json::read_all(body).is_ok() {
        return None;
    }
    let text = decode::text(body);
    text.match_indices(NAME).find_map(|(at, name)| {
        let rest = text[at + name.len()..].trim_start().strip_prefix(':')?;
        let rest = rest.trim_start().strip_prefix('"')?;
        let end = rest.bytes().take(LONGEST_UID + 1).position(|b| b == b'"')?;
        Uid::from_gateway(&rest[..end]).map(|uid| uid.as_str().to_owned())
    })
}

/// No uid is longer, in bytes.
const LONGEST_UID: usize = 64;

fn other(body: &[u8]) -> WebhookReading {
    let Ok(BorrowedJson::Object(fields)) = webhook_json::read_all(body) else {
        return WebhookReading::Unknown {
            reason: "no object".to_owned(),
        };
    };
    let text = |name: &str| {
        fields
            .get(name)
            .and_then(BorrowedJson::as_str)
            .unwrap_or_default()
    };
    if text("event").ends_with(".subscription")
        || (text("id").starts_with("sbs_") && fields.contains("state"))
    {
        return WebhookReading::Subscription;
    }
    let expired = fields.get("expired") == Some(&BorrowedJson::Flag(true));
    if expired && fields.contains("token") {
        return WebhookReading::ExpiredToken;
    }
    WebhookReading::Unknown {
        reason: "an object without a uid".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "a test may fail loudly")]
    use super::*;
    use proptest::prelude::*;
    use proptest::sample;
    use serde_json::{Value, json};

    fn read(body: &Value) -> WebhookReading {
        let (body, at) = (body.to_string(), Timestamp::from_micros(0));
        let alone = read_webhook(body.as_bytes(), [1; 32], at);
        let (kept, reading) = take_webhook(body.as_bytes(), [1; 32], at);
        assert_eq!((&reading, kept), (&alone, redact(body.as_bytes())));
        reading
    }

    #[test]
    fn a_chargeback_brings_its_parent() {
        let parent = json!({"uid": "p", "status": "successful", "amount": 5});
        for parent in [parent.clone(), json!({"transaction": parent})] {
            let body = json!({"transaction": {"uid": "c", "type": "chargeback",
                "status": "successful", "parent_uid": "p", "parent_transaction": parent}});
            let WebhookReading::Transaction { snapshot, parent } = read(&body) else {
                panic!("{body}")
            };
            assert_eq!(snapshot.uid.as_str(), "c");
            assert_eq!(parent.map(|p| p.uid.to_string()).as_deref(), Some("p"));
        }
        // Where it names no parent, that one is it; of anything else it says nothing.
        for (kind, parent) in [("chargeback", Some("p")), ("payment", None)] {
            let body = json!({"uid": "c", "type": kind, "status": "successful",
                "parent_transaction": {"uid": "p", "status": "successful"}});
            let WebhookReading::Transaction { snapshot, .. } = read(&body) else {
                panic!("{body}")
            };
            assert_eq!(snapshot.parent_uid.as_ref().map(|p| p.as_str()), parent);
        }
        let lame = json!({"uid": "c", "status": "failed", "parent_transaction": 5});
        assert!(matches!(
            read(&lame),
            WebhookReading::Transaction { parent: None, .. }
        ));
    }

    #[test]
    fn bodies_that_are_no_transactions() {
        let subscription = json!({"id": "sbs_1", "state": "active", "plan": {},
            "event": "created.subscription", "last_transaction": {"uid": "x"}});
        assert_eq!(read(&subscription), WebhookReading::Subscription);
        let token = json!({"token": "t", "shop_id": 1, "order": {}, "status": "error",
            "expired": true, "message": "token has expired"});
        assert_eq!(read(&token), WebhookReading::ExpiredToken);
        for body in [
            json!({}),
            json!([]),
            json!({"transactions": []}),
            json!({"message": "x"}),
        ] {
            assert!(
                matches!(read(&body), WebhookReading::Unknown { .. }),
                "{body}"
            );
        }
        let garbled = json!({"transaction": {"uid": "a", "status": "successful", "amount": "x"}});
        assert!(
            matches!(read(&garbled), WebhookReading::Transaction { snapshot, .. }
            if snapshot.unread.is_some())
        );
        let nameless = json!({"transaction": {"uid": {}, "status": "successful"}});
        assert!(matches!(read(&nameless), WebhookReading::Unknown { .. }));
    }

    #[test]
    fn a_damaged_webhook_is_read_and_kept_as_it_was_read() {
        let text = r#"{"transaction":{"uid":"u","status":"successful","message":"ж"}}"#;
        let in_utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let damaged = [
            in_utf16,
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            text.replace("ж", "\\ud83d").into_bytes(),
            text.replace("ж", "\u{1}").into_bytes(),
            br#"{"transaction":{"uid":"u","status":"successful","message":"?"}}"#
                .map(|b| if b == b'?' { 0xE6 } else { b })
                .to_vec(),
        ];
        for body in damaged {
            let (kept, reading) = take_webhook(&body, [1; 32], Timestamp::from_micros(0));
            assert!(
                matches!(&reading, WebhookReading::Transaction { snapshot, .. }
                    if snapshot.uid.as_str() == "u" && snapshot.body_sha256 == [1; 32]),
                "{reading:?}"
            );
            let again = read_webhook(&kept.bytes, [1; 32], Timestamp::from_micros(0));
            assert_eq!(again, reading);
            assert!(
                webhook_json::is_json(&kept.bytes),
                "an auditor reads it strictly"
            );
        }
    }

    #[test]
    fn a_deep_object_with_trailing_bytes_is_read() {
        let deep = |depth: usize| {
            let nested = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            format!(r#"{{"transaction":{{"x":{nested},"uid":"u","status":"successful"}}}}"#)
        };
        let objects = format!("{}1{}", r#"{"a":"#.repeat(300), "}".repeat(300));
        for body in [
            deep(130),
            deep(5_000),
            format!(r#"{{"uid":"u","status":"failed","x":{objects},"y":"]}}"}}"#),
            format!("{}}}", deep(1)),
            format!("{}\n}}]);", deep(200)),
        ] {
            let (kept, reading) = take_webhook(body.as_bytes(), [1; 32], Timestamp::from_micros(0));
            assert!(
                matches!(&reading, WebhookReading::Transaction { snapshot, .. }
                    if snapshot.uid.as_str() == "u"),
                "{reading:?}"
            );
            assert!(webhook_json::is_json(&kept.bytes) && scanned_uid(body.as_bytes()).is_none());
            assert!(!redact(&kept.bytes).changed);
        }
    }

    #[test]
    fn a_uid_is_found_in_an_unreadable_webhook() {
        for (body, uid) in [
            (r#"{"transaction":{"uid" : "u-1","x":tru"#, Some("u-1")),
            (r#"{"uid":{},"a":{"uid":"u-2"},"#, Some("u-2")),
            (r#"{"uid":"u-1"} {"uid":"u-2"}"#, Some("u-1")),
            (r#"{"uid":"u-1"}"#, None),
            (r#"{"uid":"#, None),
            ("<html>", None),
        ] {
            assert_eq!(scanned_uid(body.as_bytes()).as_deref(), uid, "{body}");
        }
        let long = format!(r#"{{"uid":"{}""#, "ж".repeat(40));
        assert_eq!(scanned_uid(long.as_bytes()), None);
    }

    /// Fields as the gateway has them, those that are read and others.
    const FIELDS: &str = "uid id status type amount currency tracking_id parent_uid code message \
        friendly_message description created_at updated_at paid_at manually_corrected_at redirect_url \
        test token stamp brand bin last_4 errors error_code response result request_id status_url event \
        state expired holder Holder fee gateway_id";
    const SECTIONS: &str = "transaction transactions parent_transaction credit_card payment_method \
        recipient recipient_credit_card customer payment errors";

    fn one_of(names: &'static str) -> sample::Select<String> {
        let names: Vec<String> = names.split_whitespace().map(str::to_owned).collect();
        sample::select(names)
    }

    fn any_fields() -> impl Strategy<Value = Value> {
        let texts = "successful EUR E.1018 2026-11-01T10:00:00Z";
        let leaf = prop_oneof![
            sample::select(vec![json!(null), json!(true), json!(1), json!("")]),
            sample::select(vec![json!("JANE ROE"), json!("declined: JANE ROE")]),
            one_of(texts).prop_map(Value::from),
        ];
        let fields = prop::collection::btree_map(one_of(FIELDS), leaf, 0..16);
        let plain = fields.clone().prop_map(|fields| json!(fields));
        plain.prop_recursive(4, 64, 4, move |inner| {
            let inner = prop_oneof![inner.clone(), inner.prop_map(|one| json!([one]))];
            let sections = prop::collection::btree_map(one_of(SECTIONS), inner, 0..4);
            (fields.clone(), sections).prop_map(|(mut fields, sections)| {
                fields.extend(sections);
                json!(fields)
            })
        })
    }

    proptest! {
        #[test]
        fn skipped_fields_change_nothing(body in any_fields()) {
            read(&body);
        }
    }
}
