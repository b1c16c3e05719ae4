//! The rules of a request as JSON Schema (2020-12), for the document of the API.
//!
//! Made from the tables that requests are checked by, so that the two cannot drift apart; tests hold
//! them together case by case. What this deliberately cannot do: say anything of `tracking_id`, which
//! is a name of our own API and is added there.

use super::{BOOLEANS, LIMITS, MAX_AMOUNT, MAX_TEXT_LEN, MAX_TRACKING_ID, OBJECTS, STRINGS, needs};
use domain::TransactionType;
use serde_json::{Map, Value, json};
use words::ids::GATEWAY_ID_PATTERN;
use words::money::known_codes;

/// The schema of what a POST of this kind takes.
pub fn request_schema(kind: TransactionType) -> Value {
    let needs = needs(kind);
    let mut fields = Map::new();
    let mut required = vec!["amount"];
    let amount = json!({"type": "integer", "format": "int64", "minimum": 1, "maximum": MAX_AMOUNT});
    fields.insert("amount".to_owned(), amount);
    fields.insert("currency".to_owned(), currency(needs.currency));
    fields.insert("parent_uid".to_owned(), parent_uid(needs.parent));
    fields.insert("description".to_owned(), text(needs.description));
    fields.insert("reason".to_owned(), text(needs.reason));
    for (name, needed) in [
        ("currency", needs.currency),
        ("parent_uid", needs.parent),
        ("description", needs.description),
        ("reason", needs.reason),
    ] {
        required.extend(needed.then_some(name));
    }
    for name in BOOLEANS {
        fields.insert(name.to_owned(), json!({"type": ["boolean", "null"]}));
    }
    for name in STRINGS {
        fields.insert(name.to_owned(), json!({"type": ["string", "null"]}));
    }
    for name in OBJECTS {
        fields.insert(name.to_owned(), object(name));
    }
    fields.insert("request".to_owned(), no_wrapper());
    for (name, schema) in &mut fields {
        if let (Some(told), Value::Object(schema)) = (describe_field(name), schema) {
            schema.insert("description".to_owned(), told.into());
        }
    }
    let mut schema = json!({
        "type": "object",
        "required": required,
        "properties": fields,
        "additionalProperties": true,
    });
    if let Some(card) = needs.card {
        schema["anyOf"] = card_or_encrypted(card);
    }
    schema
}

/// The schema of a status query: one of two names.
pub fn status_query_schema() -> Value {
    let uid = json!({"type": "string", "pattern": GATEWAY_ID_PATTERN, "maxLength": 128,
        "description": "The gateway's name for it."});
    let tracking_id = json!({"type": "string", "minLength": 1, "maxLength": MAX_TRACKING_ID,
        "pattern": "^[^\\u0000]*$", "not": {"enum": [".", ".."]},
        "description": "The merchant's name for it."});
    let by = |title: &str, name: &str, schema: Value, other: &str| {
        json!({"type": "object", "title": title, "required": [name],
            "properties": {name: schema, other: {"type": "null"}}, "additionalProperties": false})
    };
    json!({"oneOf": [
        by("by uid", "uid", uid, "tracking_id"),
        by("by tracking id", "tracking_id", tracking_id, "uid"),
    ]})
}

/// The schema of a balance query: at least one of three fields.
pub fn balance_query_schema() -> Value {
    let names = ["account", "currency", "gateway_id"];
    let given = names
        .map(|name| json!({"required": [name], "properties": {name: {"not": {"type": "null"}}}}));
    json!({
        "type": "object",
        "properties": {
            "account": {"type": ["string", "null"], "description": "An account at the acquirer."},
            "currency": currency(false),
            "gateway_id": {"type": ["string", "integer", "null"], "minimum": -MAX_AMOUNT,
                "maximum": MAX_AMOUNT, "description": "An acquirer's gateway."},
        },
        "additionalProperties": false,
        "anyOf": given,
    })
}

fn currency(required: bool) -> Value {
    let codes: Vec<Value> = known_codes().map(Value::from).collect();
    let mut all = codes;
    if !required {
        all.push(Value::Null);
    }
    let kind = if required {
        json!("string")
    } else {
        json!(["string", "null"])
    };
    json!({"type": kind, "enum": all})
}

fn parent_uid(required: bool) -> Value {
    let kind = if required {
        json!("string")
    } else {
        json!(["string", "null"])
    };
    json!({"type": kind, "pattern": GATEWAY_ID_PATTERN, "maxLength": 128})
}

fn text(required: bool) -> Value {
    if required {
        json!({"type": "string", "pattern": "\\S", "maxLength": MAX_TEXT_LEN})
    } else {
        json!({"type": ["string", "null"], "maxLength": MAX_TEXT_LEN})
    }
}

/// An object of the gateway, with the documented lengths of what is in it.
fn object(name: &str) -> Value {
    let limited = LIMITS.iter().filter(|(object, _, _)| *object == name);
    let fields: Map<String, Value> = limited
        .map(|(_, field, most)| {
            // What the card's owner has encrypted is longer than what is in it.
            let schema = json!({"type": ["string", "null"],
                "anyOf": [{"maxLength": most}, {"pattern": "^\\$"}]});
            ((*field).to_owned(), schema)
        })
        .collect();
    json!({"type": ["object", "null"], "properties": fields, "additionalProperties": true})
}

/// A caller who leaves the gateway's own wrapper on is told so.
fn no_wrapper() -> Value {
    json!({"not": {"type": "object"}})
}

/// The card itself, or anything encrypted in its place.
fn card_or_encrypted(card: &str) -> Value {
    json!([
        {"required": [card], "properties": {card: {"type": "object"}}},
        {"not": {"propertyNames": {"not": {"pattern": "^encrypted_"}}}},
    ])
}

/// What a field is for.
fn describe_field(name: &str) -> Option<&'static str> {
    Some(match name {
        "amount" => "In minor units of the currency: 3245 with EUR is 32.45.",
        "currency" => "ISO 4217, in capitals.",
        "parent_uid" => "The gateway's uid of the transaction that this one is about.",
        "description" => "What the payer is told it is for.",
        "reason" => "Why.",
        "test" => "No real money moves.",
        "duplicate_check" => {
            "False lets a second child of the same parent and amount through within 31 seconds."
        }
        "language" => "The language of what the payer sees, such as `en`.",
        "return_url" => "Where the payer comes back to.",
        "verification_url" => "Asked by the gateway before it goes on.",
        "expired_at" => "When it expires if it was not paid, ISO 8601.",
        "dynamic_billing_descriptor" => "What stands in the payer's statement.",
        "credit_card" => {
            "The card: a `token`, or `number`, `verification_value`, `holder`, `exp_month` and \
             `exp_year`. Card data is sent while the caller waits and is never stored."
        }
        "encrypted_credit_card" => "The card, encrypted in the payer's browser.",
        "recipient_credit_card" => "The card that money goes to, as `credit_card`.",
        "customer" => "The payer: `ip`, `email` and others.",
        "billing_address" => "The payer's address.",
        "additional_data" => "Whatever the acquirer asks for, such as `contract`.",
        "request" => "The gateway's wrapper is left out; its fields stand at the top.",
        _ => return None,
    })
}
