//! What comes in by our own doors: webhooks, requests of callers, and the names in their paths.

use super::first_line;
use domain::{Currency, ShopId, TaskId, Timestamp, TrackingId, TransactionType, Uid};
use gateway::RsaPublicKey;
use gateway::address::RequestMode;
use gateway::webhook_auth::authenticate_basic;
use gateway::{Authenticity, GatewayAddress, WebhookKeys};
use gateway::{check_request, long_numbers, read_webhook};
use leaves::secret::{Rotating, Secret};
use reconciler::api::cursor::{self, ListKind};
use reconciler::api::idempotency::{self, RequestMatch, Told};
use reconciler::config::FingerprintKey;
use reconciler::store::read::TransactionRef;
use serde_json::{Map, Value};
use std::sync::LazyLock;
use url::Url;
use words::money::is_known;

/// The shop whose signed webhook is among the seeds.
struct Shop {
    secrets: Rotating<Secret>,
    public_keys: Vec<RsaPublicKey>,
}

const SHOP: &str = "1001";
const SIGNED: &[u8] = include_bytes!("../seeds/webhook/signed.txt");

static KEYS: LazyLock<Shop> = LazyLock::new(|| {
    let key = include_str!("../seeds/public_key.txt");
    Shop {
        secrets: Rotating::from_values(vec![Secret::new(
            include_str!("../seeds/secret_key.txt").trim().to_owned(),
        )])
        .expect("a secret"),
        public_keys: vec![RsaPublicKey::parse(key.trim()).expect("a key")],
    }
});

/// The `Authorization` header, the signature, and the body of a webhook; an empty line is no header.
pub fn webhook(data: &[u8]) {
    let split = |data| {
        let (authorization, rest) = first_line(data);
        let (signature, body) = first_line(rest);
        (authorization, signature, body)
    };
    let (authorization, signature, body) = split(data);
    let given = |header: &'static str, bytes| (!<[u8]>::is_empty(bytes)).then_some((header, bytes));
    let believed = |signature_required| {
        let keys = WebhookKeys {
            shop_id: SHOP,
            secrets: &KEYS.secrets,
            public_keys: &KEYS.public_keys,
            signature_required,
        };
        let authorization = given("authorization", authorization).map(|(_, bytes)| bytes);
        let signature = given("content-signature", signature).map(|(_, bytes)| bytes);
        match authenticate_basic(authorization, keys) {
            Ok(admitted) => admitted.verify_signature(signature, body),
            Err(reason) => Authenticity::Refused(reason),
        }
    };
    for required in [true, false] {
        match believed(required) {
            // Nobody but the gateway can sign: it is the one body that it has signed.
            Authenticity::Signed => assert!(body == split(SIGNED).2, "a forged signature"),
            Authenticity::BasicOnly => assert!(!required && signature.is_empty()),
            Authenticity::Refused(_) => {}
        }
    }
    let _ = read_webhook(body, [7; 32], Timestamp::from_micros(0));
}

/// A collection's type, and after the first line the body of a request.
pub fn request(data: &[u8]) {
    let (kind, body) = first_line(data);
    let kind = std::str::from_utf8(kind)
        .ok()
        .and_then(TransactionType::parse);
    let kind = kind.unwrap_or(TransactionType::Payment);
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    if let Value::Object(fields) = &value {
        checked(kind, fields);
    }
    fingerprinted(kind, &value);
}

fn checked(kind: TransactionType, fields: &Map<String, Value>) {
    let problems = check_request(kind, fields);
    for problem in &problems {
        assert!(problem.pointer.is_empty() || problem.pointer.starts_with('/'));
    }
    if problems.is_empty() {
        let amount = fields.get("amount").and_then(Value::as_i64);
        assert!(amount.is_some_and(|amount| amount > 0), "{amount:?}");
        if let Some(Value::String(code)) = fields.get("currency") {
            assert!(Currency::parse(code).is_some_and(is_known), "{code}");
        }
        assert!(!kind.is_child() || fields.get("parent_uid").is_some_and(Value::is_string));
    }
}

/// The same request however it is written, and another one when a field is another.
fn fingerprinted(kind: TransactionType, value: &Value) {
    let key = FingerprintKey::parse(&[b'f'; 32]).expect("a key");
    let keys = Rotating::from_values(vec![key]).expect("a key");
    let long = long_numbers(value.to_string().as_bytes());
    let told = |body| Told {
        body,
        long_numbers: &long,
    };
    let Ok((mac, id)) = idempotency::fingerprint(&keys, kind, told(value)) else {
        return;
    };
    let compare = |other| idempotency::compare(&keys, kind, told(other), (&mac, &id)).ok();
    let pretty = serde_json::to_vec_pretty(value).expect("json");
    let again: Value = serde_json::from_slice(&pretty).expect("json");
    assert_eq!(compare(&again), Some(RequestMatch::Same));
    let mut other = value.clone();
    if let Value::Object(fields) = &mut other {
        let name = format!("{}x", fields.keys().next_back().map_or("", |name| name));
        fields.insert(name, Value::Null);
        assert_eq!(compare(&other), Some(RequestMatch::Different));
    }
}

/// A name: of a transaction, a task, a place in a list.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(id) = TrackingId::parse(&text) {
        assert_eq!(id.as_str(), text);
        assert!(text.len() <= 255 && text.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(!text.contains([';', '/', '\\', '?', '#', '%']) && !text.starts_with('~'));
        assert_eq!(
            TransactionRef::parse(&text),
            Some(TransactionRef::TrackingId(text.to_string()))
        );
    }
    let base = Url::parse("https://gateway.example/base").expect("an address");
    let ours = GatewayAddress::new(&base).expect("an address");
    if let Some(task) = TaskId::from_gateway(&text) {
        let url = ours.task_result(&task).expect("an address");
        assert_eq!(url.path(), format!("/base/async/result/{text}"));
    }
    if let Some(uid) = Uid::from_gateway(&text) {
        stays_inside(ours.by_uid(RequestMode::Sync, &uid), "/base/transactions/");
    }
    stays_inside(
        ours.by_tracking_id(RequestMode::Async, &text),
        "/base/async/v2/transactions/tracking_id/",
    );
    let shop = ShopId::parse("1001").expect("a shop");
    if let Some(last) = cursor::decode(ListKind::Transactions, &shop, &text) {
        assert_eq!(cursor::encode(ListKind::Transactions, &shop, last), text);
        assert_eq!(cursor::decode(ListKind::Discrepancies, &shop, &text), None);
    }
}

/// A name is one segment of a path, whatever is in it.
fn stays_inside(url: Option<Url>, front: &str) {
    let Some(url) = url else { return };
    assert_eq!(url.host_str(), Some("gateway.example"));
    assert!(url.query().is_none() && url.fragment().is_none());
    let segment = url
        .path()
        .strip_prefix(front)
        .expect("it is below the path");
    assert!(!segment.is_empty() && !segment.contains('/'), "{url}");
}
