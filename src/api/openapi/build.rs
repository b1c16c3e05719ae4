//! Puts the document together: what the handlers say, and what is added to it by rule.

use crate::api::idempotency::collection;
use crate::api::openapi::{DescribedOperation, examples, listeners, messages, problems};
use crate::metrics::VERSION;
use domain::TransactionType;
use gateway::{balance_query_schema, request_schema, status_query_schema};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use words::ids::TrackingId;
use words::money::known_codes;

const CREATE: &str = "/v1/shops/{shop}/{collection}";

pub(super) fn document() -> Value {
    // The description is made of plain values, so that it always becomes one.
    let mut document = serde_json::to_value(DescribedOperation::openapi()).unwrap_or_default();
    document["info"]["version"] = VERSION.into();
    let mut components = components(&mut document);
    let paths = document["paths"].as_object_mut();
    for (path, item) in paths.map(expand).unwrap_or_default() {
        document["paths"][path] = item;
    }
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.remove(CREATE);
        for (path, item) in paths.iter_mut() {
            for (_, operation) in item.as_object_mut().into_iter().flatten() {
                complete(path, operation);
            }
        }
    }
    examples::add(&mut document["paths"], &mut components["schemas"]);
    document["components"] = components;
    document["webhooks"] = messages::webhooks();
    document["security"] = json!([{"key": []}]);
    listeners::add(&mut document);
    document
}

/// The shared parts: schemas, parameters, headers, problems, and how callers show who they are.
fn components(document: &mut Value) -> Value {
    let mut schemas = document["components"]["schemas"].take();
    for schema in schemas
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        every_field_is_there(schema);
    }
    for kind in TransactionType::ALL.iter().copied() {
        schemas[request_name(kind)] = request(kind);
    }
    schemas["Currency"] = json!({"type": "string", "enum": known_codes().collect::<Vec<_>>(),
        "description": "A currency that can be asked for: ISO 4217, and what the gateway still has."});
    schemas["StatusQuery"] = status_query_schema();
    schemas["BalanceQuery"] = balance_query_schema();
    name_currency(&mut schemas["BalanceQuery"]);
    schemas["Problem"] = problems::schema();
    for (name, schema) in messages::schemas() {
        schemas[name] = schema;
    }
    json!({
        "schemas": schemas,
        "parameters": parameters(),
        "responses": problems::responses(),
        "headers": {
            "X-Request-Id": {
                "description": "Names the request in the service's log: the caller's own id where it \
                    may stand in a log, or a new one.",
                "required": true,
                "schema": {"type": "string"},
            },
            "Retry-After": {
                "description": "After how many seconds to try again.",
                "required": true,
                "schema": {"type": "integer", "minimum": 1},
            },
        },
        "securitySchemes": {
            "key": {
                "type": "http",
                "scheme": "bearer",
                "description": "The key of a client (`clients` in the configuration). It opens certain \
                    shops, and has scopes: `submit` for the POST collections and queries, `read` for \
                    every GET, `operate` for checks, decisions and switches.",
            },
        },
    })
}

/// Absent values are null and never missing; only an event leaves out what it is not about, and a decision
/// need not name a uid.
fn every_field_is_there(schema: &mut Value) {
    let is_event = schema["properties"]["seq"].is_object();
    let has = |name: &str| schema["properties"][name].is_object();
    let is_decision = has("state") && has("reason");
    let Some(fields) = schema["properties"].as_object() else {
        return;
    };
    let left_out = |name: &str| {
        (is_event && ["transaction", "discrepancy"].contains(&name))
            || (is_decision && name == "uid")
    };
    let names: Vec<&String> = fields.keys().filter(|name| !left_out(name)).collect();
    schema["required"] = json!(names);
}

/// One operation for each collection.
fn expand(paths: &mut Map<String, Value>) -> Vec<(String, Value)> {
    let Some(template) = paths.get(CREATE) else {
        return Vec::new();
    };
    let item = |kind: TransactionType| {
        let mut item = template.clone();
        let post = &mut item["post"];
        post["operationId"] = format!("create_{kind}").into();
        post["summary"] = format!("Open a {kind}").into();
        let schema = json!({"$ref": format!("#/components/schemas/{}", request_name(kind))});
        post["requestBody"] = body(&schema, examples::request(kind));
        (format!("/v1/shops/{{shop}}/{}", collection(kind)), item)
    };
    TransactionType::ALL.iter().copied().map(item).collect()
}

fn body(schema: &Value, example: Value) -> Value {
    json!({
        "required": true,
        "content": {"application/json": {"schema": schema, "example": example}},
    })
}

fn request_name(kind: TransactionType) -> String {
    let word = kind.as_str();
    let (first, rest) = word.split_at(1);
    format!("{}{rest}Request", first.to_uppercase())
}

/// The request of a kind: the gateway's fields, and the caller's name for it.
fn request(kind: TransactionType) -> Value {
    let mut schema = request_schema(kind);
    name_currency(&mut schema);
    schema["title"] = format!("A {kind}, as it is asked for").into();
    schema["description"] = "The gateway's own request fields, without its `request` wrapper. \
        Fields that are not listed are forwarded as they are; `notification_url` is set by the \
        service. A field that is null counts as not given."
        .into();
    schema["properties"]["tracking_id"] = json!({
        "type": "string",
        "pattern": TrackingId::PATTERN,
        "not": {"enum": [".", ".."]},
        "minLength": 1,
        "maxLength": 255,
        "description": "The caller's name for the transaction, and the idempotency key. It must not \
            hold the number of the request's own card.",
    });
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, "tracking_id".into());
    }
    schema
}

/// The list of currencies stands in one place.
fn name_currency(schema: &mut Value) {
    let currency = &mut schema["properties"]["currency"];
    let named = json!({"$ref": "#/components/schemas/Currency"});
    let may_be_null = currency["type"].is_array();
    let told = currency["description"].take();
    *currency = if may_be_null {
        json!({"anyOf": [named, {"type": "null"}]})
    } else {
        named
    };
    if told.is_string() {
        currency["description"] = told;
    }
}

fn parameters() -> Value {
    json!({
        "shop": {
            "name": "shop", "in": "path", "required": true,
            "description": "The shop's id.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
            "example": examples::SHOP,
        },
        "tracking_id": {
            "name": "tracking_id", "in": "path", "required": true,
            "description": "The transaction that was made through this API under this tracking id, \
                percent-encoded; one that somebody else made, when it is the only one. Or `~` and the \
                transaction's `id`.",
            "schema": {"type": "string", "minLength": 1},
            "example": examples::TRACKING_ID,
        },
        "id": {
            "name": "id", "in": "path", "required": true,
            "description": "The finding's id.",
            "schema": {"type": "string", "format": "uuid"},
            "example": examples::ID,
        },
    })
}

/// Adds what follows from the path and from what an operation takes.
fn complete(path: &str, operation: &mut Value) {
    let mut given: Vec<Value> = ["shop", "tracking_id", "id"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| json!({"$ref": format!("#/components/parameters/{name}")}))
        .collect();
    given.extend(
        operation["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
    );
    if !given.is_empty() {
        operation["parameters"] = given.into();
    }
    if operation["operationId"] == "queryStatus" {
        let schema = json!({"$ref": "#/components/schemas/StatusQuery"});
        operation["requestBody"] = body(&schema, json!({"tracking_id": examples::TRACKING_ID}));
    }
    if operation["operationId"] == "queryBalance" {
        let schema = json!({"$ref": "#/components/schemas/BalanceQuery"});
        operation["requestBody"] = body(&schema, json!({"currency": "EUR"}));
    }
    problems::add(path, operation);
    let identified = json!({"$ref": "#/components/headers/X-Request-Id"});
    for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
        if response.get("$ref").is_none() {
            response["headers"]["X-Request-Id"] = identified.clone();
        }
    }
}
