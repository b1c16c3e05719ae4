//! The messages to subscribers, as the `webhooks` of the document.

use crate::api::openapi::examples;
use crate::config::EventType;
use serde_json::{Map, Value, json};

/// What a thin message tells of a transaction, and of a finding.
const THIN_FIELDS: [(&str, &str, &[&str]); 2] = [
    (
        "ThinTransaction",
        "Transaction",
        &["id", "shop_id", "tracking_id", "state", "final", "sequence"],
    ),
    (
        "ThinDiscrepancy",
        "Discrepancy",
        &["id", "tracking_id", "kind", "status"],
    ),
];

pub(super) fn schemas() -> Vec<(String, Value)> {
    let mut all: Vec<(String, Value)> = THIN_FIELDS
        .iter()
        .map(|(name, whole, fields)| ((*name).to_owned(), thin(whole, fields)))
        .collect();
    let found = json!({
        "description": "A finding, with its shop.",
        "allOf": [
            {"$ref": "#/components/schemas/Discrepancy"},
            {"type": "object", "required": ["shop_id"], "properties": {"shop_id": shop()}},
        ],
    });
    all.push(("ShopDiscrepancy".to_owned(), found));
    all
}

fn shop() -> Value {
    json!({"type": "string", "description": "The shop that it belongs to."})
}

fn thin(whole: &str, fields: &[&str]) -> Value {
    let field =
        |name: &str| json!({"$ref": format!("#/components/schemas/{whole}/properties/{name}")});
    let mut properties: Map<String, Value> = fields
        .iter()
        .map(|name| ((*name).to_owned(), field(name)))
        .collect();
    properties.insert("shop_id".to_owned(), shop());
    let required: Vec<&String> = properties.keys().collect();
    json!({
        "type": "object",
        "description": "What a message is about, when its subscriber is told no more (`body = \"thin\"`).",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// One message for each type of event.
pub(super) fn webhooks() -> Value {
    EventType::ALL
        .iter()
        .map(|event| (event.as_str().to_owned(), json!({"post": message(*event)})))
        .collect::<Map<_, _>>()
        .into()
}

fn message(event: EventType) -> Value {
    let name = event.as_str();
    let about_transaction = name.starts_with("transaction.");
    let (full, thin) = if about_transaction {
        ("Transaction", "ThinTransaction")
    } else {
        ("ShopDiscrepancy", "ThinDiscrepancy")
    };
    let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    let schema = json!({
        "type": "object",
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": name},
            "timestamp": {"type": "string", "format": "date-time",
                "description": "When it was committed."},
            "data": {"anyOf": [of(full), of(thin)]},
        },
        "additionalProperties": false,
    });
    json!({
        "tags": ["Messages"],
        "operationId": format!("tell_{}", name.replace('.', "_")),
        "summary": event.meaning().trim().trim_end_matches('.'),
        "description": "Sent at least once, in no promised order: order by `sequence`, drop what came \
            before by `webhook-id`. `webhook-signature` holds `v1,` and the base64 of HMAC-SHA256 over \
            `id.timestamp.body` under the subscriber's secret; two of them, with a blank between, while \
            the secret is changed.",
        "security": [],
        "parameters": headers(),
        "requestBody": {
            "required": true,
            "content": {"application/json": {"schema": schema, "example": examples::message(name)}},
        },
        "responses": {
            "2XX": {"description": "It was taken."},
            "410": {"description": "No more messages are wanted; the subscriber is switched off."},
            "429": {"description": "Later; `Retry-After` is obeyed. Any other answer, and none, is \
                tried again for days, with growing pauses."},
        },
    })
}

fn headers() -> Value {
    let header = |name: &str, description: &str, schema: Value| {
        json!({"name": name, "in": "header", "required": true, "description": description,
            "schema": schema})
    };
    json!([
        header(
            "webhook-id",
            "The same however often the message is sent.",
            json!({"type": "string"})
        ),
        header(
            "webhook-timestamp",
            "When this try was signed, in seconds since 1970.",
            json!({"type": "integer"})
        ),
        header(
            "webhook-signature",
            "One signature or more, with blanks between.",
            json!({"type": "string", "pattern": "^v1,\\S+( v1,\\S+)*$"})
        ),
    ])
}
