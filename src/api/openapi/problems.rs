//! The problems of the API: one schema, one response for each type, and which operation can answer
//! with which.

use crate::http::problem::{ProblemKind, TYPE_PREFIX};
use serde_json::{Map, Value, json};

/// A problem document, whatever its type.
pub(super) fn schema() -> Value {
    let types: Vec<String> = ProblemKind::ALL.iter().map(|kind| urn(*kind)).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "required": ["type", "title", "status", "detail", "instance", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri", "enum": types,
                "description": "Which problem it is; stable."},
            "title": {"type": "string", "description": "The same for every problem of the type."},
            "status": {"type": "integer", "description": "The HTTP status."},
            "detail": {"type": "string", "description": "What is wrong with this request."},
            "instance": {"type": ["string", "null"], "format": "uri",
                "description": "Names this occurrence."},
            "request_id": {"type": ["string", "null"],
                "description": "Names the request in the service's log."},
        },
    })
}

/// A response for each type of problem.
pub(super) fn responses() -> Value {
    let kinds = ProblemKind::ALL.into_iter().filter(|kind| {
        // No operation of the document is asked with a method that its path does not take.
        *kind != ProblemKind::MethodNotAllowed
    });
    kinds
        .map(|kind| (kind.parts().1.to_owned(), response(kind)))
        .collect::<Map<_, _>>()
        .into()
}

fn response(kind: ProblemKind) -> Value {
    let (status, _, title) = kind.parts();
    let mut fields = json!({"type": {"const": urn(kind)}, "status": {"const": status.as_u16()}});
    let mut example = json!({
        "type": urn(kind),
        "title": title,
        "status": status.as_u16(),
        "detail": title,
        "instance": "urn:reconciler:request:req-1",
        "request_id": "req-1",
    });
    let mut required = vec!["type", "status"];
    for (name, schema, value, always) in members(kind) {
        fields[name] = schema;
        if always {
            required.push(name);
            example[name] = value;
        }
    }
    let mut headers = json!({"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}});
    if matches!(
        kind,
        ProblemKind::TooManyRequests | ProblemKind::Unavailable
    ) {
        headers["Retry-After"] = json!({"$ref": "#/components/headers/Retry-After"});
    }
    if kind == ProblemKind::Unauthorized {
        headers["WWW-Authenticate"] = json!({"required": true, "schema": {"type": "string"},
            "description": "Which credentials are wanted."});
    }
    json!({
        "description": format!("`{}`: {title}.", kind.parts().1),
        "headers": headers,
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [
                    {"$ref": "#/components/schemas/Problem"},
                    {"type": "object", "properties": fields, "required": required},
                ],
            },
            "example": example,
        }},
    })
}

/// What a type has beside the members of all: name, schema, example, whether it is always there.
fn members(kind: ProblemKind) -> Vec<(&'static str, Value, Value, bool)> {
    let of = |name: &str| json!({"$ref": format!("#/components/schemas/{name}")});
    match kind {
        ProblemKind::Validation => vec![(
            "errors",
            json!({"type": "array", "items": of("FieldError")}),
            json!([{"pointer": "/amount", "message": "is required"}]),
            true,
        )],
        ProblemKind::FeedTruncated => vec![(
            "first_after",
            json!({"type": "integer", "minimum": 0,
                "description": "The least `after` that can be answered."}),
            json!(4711),
            true,
        )],
        ProblemKind::GatewayUnreachable => vec![
            ("transaction", of("Transaction"), Value::Null, false),
            (
                "result",
                json!({"description": "What the gateway answered a query with, without card data."}),
                Value::Null,
                false,
            ),
        ],
        _ => Vec::new(),
    }
}

fn urn(kind: ProblemKind) -> String {
    format!("{TYPE_PREFIX}{}", kind.parts().1)
}

/// The problems that an operation can answer with.
pub(super) fn add(path: &str, operation: &mut Value) {
    let is_open = operation["security"].is_array();
    let takes_body = operation.get("requestBody").is_some();
    // Also of what has no parameters: one that it does not know is no parameter of it.
    let reads_query = path.starts_with("/v1/");
    let mut kinds = vec![ProblemKind::Malformed, ProblemKind::Internal];
    if !is_open {
        kinds.extend([
            ProblemKind::Unauthorized,
            ProblemKind::Forbidden,
            ProblemKind::NotFound,
        ]);
        kinds.extend([ProblemKind::TooManyRequests, ProblemKind::Unavailable]);
    }
    if takes_body {
        kinds.extend([ProblemKind::RequestTimeout, ProblemKind::PayloadTooLarge]);
        kinds.push(ProblemKind::UnsupportedMediaType);
    }
    if takes_body || reads_query {
        kinds.push(ProblemKind::Validation);
    }
    if path.contains("/queries/") {
        kinds.extend([ProblemKind::GatewayUnreachable, ProblemKind::GatewayTimeout]);
    }
    let responses = &mut operation["responses"];
    if responses.get("409").is_some() {
        kinds.extend([
            ProblemKind::TrackingIdConflict,
            ProblemKind::GatewayUnreachable,
        ]);
    }
    if responses.get("410").is_some() {
        kinds.push(ProblemKind::FeedTruncated);
    }
    for kind in kinds {
        let (status, suffix, _) = kind.parts();
        responses[status.as_str()] = json!({"$ref": format!("#/components/responses/{suffix}")});
    }
}
