//! Examples: requests that can be posted as they are, and what is answered.

use domain::TransactionType;
use serde_json::{Value, json};

pub(super) const SHOP: &str = "1001";
pub(super) const TRACKING_ID: &str = "order-1001";
pub(super) const ID: &str = "0193b3a0-5f3c-7c3e-9b1a-2d4c6e8f0a1b";
const UID: &str = "6a0f5f1c-2f0e-4d2a-9f6e-0b1d7c9a1001";
const AT: &str = "2026-11-22T10:00:00Z";

/// A request of a kind.
pub(super) fn request(kind: TransactionType) -> Value {
    let tracking_id = match kind {
        TransactionType::Payment => TRACKING_ID.to_owned(),
        other => format!("{TRACKING_ID}-{other}"),
    };
    let token = json!({"token": "5b1f0c2e-7d54-4a0b-8f1a-93b0c2d4e611"});
    let mut body = json!({"tracking_id": tracking_id, "amount": 3245});
    if kind.is_child() {
        body["parent_uid"] = UID.into();
    } else {
        body["currency"] = "EUR".into();
        body["description"] = "Order 1001".into();
        body["test"] = true.into();
    }
    match kind {
        TransactionType::Payout => body["recipient_credit_card"] = token,
        TransactionType::Refund => body["reason"] = "returned".into(),
        TransactionType::Capture | TransactionType::Void | TransactionType::Chargeback => {}
        TransactionType::Payment
        | TransactionType::Authorization
        | TransactionType::Tokenization
        | TransactionType::Checkup => body["credit_card"] = token,
    }
    body
}

fn transaction() -> Value {
    json!({
        "id": ID, "shop_id": SHOP, "tracking_id": TRACKING_ID, "type": "payment", "origin": "api",
        "state": "successful", "final": true, "amount": 3245, "currency": "EUR",
        "description": "Order 1001", "uid": UID, "parent_uid": null, "request_id": "b2f1c7e0",
        "status": "successful", "code": "S.0000", "message": "Successfully processed",
        "friendly_message": null, "redirect_url": null,
        "card": {
            "brand": "visa", "last_4": "0000", "first_1": "4", "bin": "420000",
            "token": "5b1f0c2e-7d54-4a0b-8f1a-93b0c2d4e611", "stamp": "b3839d9b", "issuer_country": "US",
            "issuer_name": "Example Bank", "product": "F",
        },
        "test": true, "created_at": AT, "updated_at": "2026-11-22T10:00:03Z",
        "finalized_at": "2026-11-22T10:00:03Z", "next_check_at": "2026-11-22T11:00:03Z",
        "paid_at": "2026-11-22T10:00:02Z", "gateway_updated_at": "2026-11-22T10:00:02Z",
        "gateway_amount": 3245, "gateway_currency": "EUR", "sequence": 3,
    })
}

/// A webhook of the gateway, in short.
pub(super) fn webhook() -> Value {
    json!({"transaction": {
        "uid": UID, "status": "successful", "amount": 3245, "currency": "EUR", "type": "payment",
        "tracking_id": TRACKING_ID, "test": true, "created_at": AT,
        "updated_at": "2026-11-22T10:00:02Z",
    }})
}

fn discrepancy() -> Value {
    json!({
        "id": ID, "kind": "amount_mismatch", "status": "open", "tracking_id": TRACKING_ID, "uid": UID,
        "uids": [{"uid": UID, "amount": 3200, "currency": "EUR", "status": "successful"}],
        "amount": 3245, "currency": "EUR", "detail": "asked for 3245, the gateway has 3200 (minor units)",
        "opened_at": AT, "resolved_at": null, "resolved_by": null, "reason": null,
    })
}

/// The message of an event.
pub(super) fn message(event: &str) -> Value {
    let data = if event.starts_with("transaction.") {
        transaction()
    } else {
        let mut found = discrepancy();
        found["shop_id"] = SHOP.into();
        found
    };
    json!({"type": event, "timestamp": AT, "data": data})
}

/// Adds an example to every schema that is answered with, and to the bodies that people write.
pub(super) fn add(paths: &mut Value, schemas: &mut Value) {
    let event =
        json!({"seq": 3, "type": "transaction.finalized", "at": AT, "transaction": transaction()});
    let evidence = json!({
        "id": ID, "channel": "webhook", "verdict": "applied", "received_at": AT, "http_status": null,
        "body": "{\"transaction\":{}}", "position": 4, "subject": null, "signed": true,
        "note": "the gateway reported transaction 6a0f5f1c as successful",
    });
    let explanation = json!({
        "state": "successful", "summary": "The gateway says it succeeded.",
        "because": [{"at": AT, "channel": "webhook", "text": "the gateway reported it as successful"}],
        "next": {"at": AT, "what": "it is looked up once more"},
        "would_change": ["a greater snapshot of the gateway"],
    });
    let shown = [
        ("Transaction", transaction()),
        ("Discrepancy", discrepancy()),
        (
            "TransactionPage",
            json!({"transactions": [transaction()], "next_cursor": null}),
        ),
        (
            "DiscrepancyPage",
            json!({"discrepancies": [discrepancy()], "next_cursor": null}),
        ),
        ("EventPage", json!({"events": [event], "next_after": 3})),
        ("EvidenceList", json!({"evidence": [evidence]})),
        ("Explanation", explanation),
        (
            "QueryResult",
            json!({"request_id": "b2f1c7e0", "status": "completed",
            "result": {"transaction": {"uid": UID, "status": "successful"}}}),
        ),
        ("ShopSwitch", json!({"shop_id": SHOP, "paused": true})),
        (
            "Decision",
            json!({"state": "failed", "reason": "the bank has no such payment"}),
        ),
        (
            "Reason",
            json!({"reason": "the bank has confirmed the amount"}),
        ),
    ];
    for (name, example) in shown {
        schemas[name]["examples"] = json!([example]);
    }
    let operations = paths.as_object_mut().into_iter().flatten();
    let operations = operations.filter_map(|(_, item)| item.as_object_mut());
    for operation in operations.flat_map(|item| item.values_mut()) {
        show(&mut operation["requestBody"], schemas);
        for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            show(response, schemas);
        }
        if operation["requestBody"].is_null() {
            operation
                .as_object_mut()
                .map(|all| all.remove("requestBody"));
        }
    }
}

/// Repeats a schema's example where readers look for it.
fn show(place: &mut Value, schemas: &Value) {
    let content = place.pointer_mut("/content/application~1json");
    let Some(content) = content.filter(|content| content.get("example").is_none()) else {
        return;
    };
    let name = content["schema"]["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next());
    if let Some(example) = name.and_then(|name| schemas[name]["examples"].get(0)) {
        content["example"] = example.clone();
    }
}
