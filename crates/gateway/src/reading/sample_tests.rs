//! Every reader over every sample of the gateway's bodies, whole, cut and garbled.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail loudly")]

use super::tests::{SAMPLES, ours, received};
use super::*;
use crate::{WebhookReading, read_by_tracking_id, read_by_uid, read_webhook, redact};
use domain::Uid;
use proptest::prelude::*;

/// Every reader reads everything.
fn read_all(http_status: u16, body: &[u8]) {
    let received = received(http_status, body);
    read_submit(&received, &ours());
    read_task(&received, TaskEndpoint::Status);
    read_task(&received, TaskEndpoint::Result);
    read_by_uid(&received, &Uid::from_gateway("a").unwrap());
    read_by_tracking_id(&received);
    read_webhook(body, [0; 32], received.at);
}

#[test]
fn every_sample_is_understood() {
    let all: Value = serde_json::from_str(SAMPLES).unwrap();
    for (name, sample) in all["samples"].as_object().unwrap() {
        let raw = sample["raw_body_utf8"].as_str().map(str::to_owned);
        let body = raw.unwrap_or_else(|| sample["body"].to_string());
        let http_status = sample["http_status"]
            .as_u64()
            .unwrap_or(200)
            .try_into()
            .unwrap();
        let received = received(http_status, body.as_bytes());
        let reading = read_task(&received, TaskEndpoint::Result);
        // The stored card is nobody's answer to anything asked here.
        let unread = matches!(reading, TaskReading::Unreadable { .. });
        assert_eq!(unread, name == "card_token_flat", "{name} {reading:?}");
        let webhook = read_webhook(body.as_bytes(), [0; 32], received.at);
        let transaction = matches!(webhook, WebhookReading::Transaction { .. });
        assert_eq!(
            transaction,
            matches!(reading, TaskReading::Transaction(_)),
            "{name}"
        );
        if name == "chargeback_webhook_body" {
            assert!(matches!(
                webhook,
                WebhookReading::Transaction {
                    parent: Some(_),
                    ..
                }
            ));
        }
        read_all(http_status, body.as_bytes());
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(http_status in 100..600_u16, body in prop::collection::vec(any::<u8>(), 0..300)) {
        read_all(http_status, &body);
    }

    #[test]
    fn mutated_samples_are_read(
        http_status in prop::sample::select(vec![200_u16, 201, 302, 400, 401, 404, 422, 425, 429, 500, 502]),
        pick in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let all: Value = serde_json::from_str(SAMPLES).unwrap();
        let samples: Vec<Value> = all["samples"].as_object().unwrap().values().cloned().collect();
        let mut body = samples[pick.index(samples.len())]["body"].to_string().into_bytes();
        for (at, byte) in edits {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if !whole {
            body.truncate(cut.index(body.len()));
        }
        read_all(http_status, &body);
    }
}

/// The samples with everything gone that must go, and nothing else.
#[test]
fn samples_lose_card_data_and_nothing_else() {
    fn expected(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match name.as_str() {
                        "holder" | "exp_month" | "exp_year" | "number" => {
                            *value = Value::from("[redacted]");
                        }
                        _ => expected(value),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(expected),
            _ => {}
        }
    }
    let all: Value = serde_json::from_str(SAMPLES).unwrap();
    for (name, sample) in all["samples"].as_object().unwrap() {
        let mut body = sample["body"].clone();
        let redacted = redact(body.to_string().as_bytes());
        expected(&mut body);
        let left: Value = serde_json::from_slice(&redacted.bytes).unwrap();
        assert_eq!(left, body, "{name}");
    }
}
