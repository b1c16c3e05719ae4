//! Builds messages: the body, and an id that is the same for every delivery attempt.
//!
//! The same event always produces the same bytes, so that a subscriber can compare duplicates.
//!
//! Not responsible for: current state. A message describes the transaction at the time of the
//! event.

use crate::config::PayloadStyle;
use crate::store::feed::EventRow;
use domain::ShopId;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Fields of a transaction or discrepancy that a thin message includes.
const THIN_FIELDS: [&str; 8] = [
    "id",
    "shop_id",
    "tracking_id",
    "state",
    "final",
    "sequence",
    "kind",
    "status",
];

#[derive(Serialize)]
struct MessageBody<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    timestamp: String,
    data: &'a RawValue,
}

/// Returns the id of an event's message, the same for every delivery attempt.
///
/// After a restore from a backup, other events may get sequence numbers that were used before. The
/// id therefore depends on the content of the event, so that a subscriber that drops duplicates
/// does not drop these events.
pub(super) fn id(shop: &ShopId, event: &EventRow) -> String {
    let at = event.at.to_rfc3339();
    let digest = [event.kind.as_str(), &at, &event.payload]
        .iter()
        .fold(Sha256::new(), |digest, part| {
            digest.chain_update(part).chain_update([0])
        })
        .finalize();
    let digest: String = digest[..4].iter().map(|b| format!("{b:02x}")).collect();
    format!("evt_{shop}_{}_{digest}", event.seq)
}

/// Returns the body of an event's message.
pub(super) fn body(
    shop: &ShopId,
    event: &EventRow,
    how: PayloadStyle,
) -> Result<Vec<u8>, serde_json::Error> {
    let is_transaction = event.kind.starts_with("transaction.");
    let data = match how {
        PayloadStyle::Full if is_transaction => RawValue::from_string(event.payload.clone())?,
        PayloadStyle::Full => with_shop(shop, &event.payload, |_| true)?,
        PayloadStyle::Thin => with_shop(shop, &event.payload, |key| {
            // A transaction's `status` is the gateway's; its `state` is ours.
            THIN_FIELDS.contains(&key) && !(is_transaction && key == "status")
        })?,
    };
    serde_json::to_vec(&MessageBody {
        kind: &event.kind,
        timestamp: event.at.to_rfc3339(),
        data: &data,
    })
}

/// Returns the given fields of an object, and its shop: a discrepancy does not contain its shop,
/// and one endpoint may cover several shops.
fn with_shop(
    shop: &ShopId,
    payload: &str,
    keep: impl Fn(&str) -> bool,
) -> Result<Box<RawValue>, serde_json::Error> {
    let mut object: Map<String, Value> = serde_json::from_str(payload)?;
    object.retain(|key, _| keep(key));
    object.insert("shop_id".to_owned(), Value::from(shop.as_str()));
    serde_json::value::to_raw_value(&object)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use domain::Timestamp;
    use serde_json::json;

    fn told(kind: &str, payload: &str, how: PayloadStyle) -> Value {
        let event = EventRow {
            seq: 7,
            kind: kind.to_owned(),
            at: Timestamp::from_micros(0),
            transaction_id: None,
            payload: payload.to_owned(),
        };
        let shop = ShopId::parse("1001").unwrap();
        serde_json::from_slice(&body(&shop, &event, how).unwrap()).unwrap()
    }

    const PAYMENT: &str = r#"{"id":"i","shop_id":"1001","tracking_id":"t","type":"payment",
        "state":"failed","status":"error","final":true,"amount":5,"sequence":3}"#;
    const FINDING: &str = r#"{"id":"d","kind":"amount_mismatch","status":"open","tracking_id":"t",
        "uid":"u","detail":"words"}"#;

    #[test]
    fn a_message_id_depends_on_the_event_content() {
        let shop = ShopId::parse("1001").unwrap();
        let event = |kind: &str, at: i64, payload: &str| EventRow {
            seq: 7,
            kind: kind.to_owned(),
            at: Timestamp::from_micros(at),
            transaction_id: None,
            payload: payload.to_owned(),
        };
        let first = id(&shop, &event("transaction.updated", 0, "{}"));
        // printf 'transaction.updated\0001970-01-01T00:00:00Z\000{}\000' | sha256sum
        assert_eq!(first, "evt_1001_7_73f7b5cf");
        assert_eq!(first, id(&shop, &event("transaction.updated", 0, "{}")));
        for other in [
            event("transaction.finalized", 0, "{}"),
            event("transaction.updated", 1_000_000, "{}"),
            event("transaction.updated", 0, "[]"),
        ] {
            assert_ne!(first, id(&shop, &other));
        }
    }

    #[test]
    fn a_full_message_contains_the_whole_object() {
        let full = told("transaction.finalized", PAYMENT, PayloadStyle::Full);
        assert_eq!(full["type"], "transaction.finalized");
        assert_eq!(full["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(
            full["data"],
            serde_json::from_str::<Value>(PAYMENT).unwrap()
        );
        let found = told("discrepancy.opened", FINDING, PayloadStyle::Full);
        assert_eq!(found["data"]["detail"], "words");
        assert_eq!(found["data"]["shop_id"], "1001");
    }

    #[test]
    fn a_thin_message_contains_identifiers_only() {
        let thin = told("transaction.finalized", PAYMENT, PayloadStyle::Thin);
        let about = json!({"id": "i", "shop_id": "1001", "tracking_id": "t", "state": "failed",
            "final": true, "sequence": 3});
        assert_eq!(thin["data"], about);
        let thin = told("discrepancy.opened", FINDING, PayloadStyle::Thin);
        let about = json!({"id": "d", "shop_id": "1001", "tracking_id": "t",
            "kind": "amount_mismatch", "status": "open"});
        assert_eq!(thin["data"], about);
    }
}
