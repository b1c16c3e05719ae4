//! The other two listeners: the gateway's webhooks, and operations. They have few paths and no types
//! of their own, so that they are written down here; tests hold every answer to it.

use crate::api::openapi::examples;
use crate::http::problem::ProblemKind;
use crate::metrics::VERSION;
use serde_json::{Map, Value, json};

/// Adds the paths, each with where it is served, and how the gateway shows who it is.
pub(super) fn add(document: &mut Value) {
    for (path, item) in paths() {
        document["paths"][path] = item;
    }
    document["components"]["securitySchemes"]["gateway"] = json!({
        "type": "http",
        "scheme": "basic",
        "description": "The shop's id and its secret key, as the gateway sends them with each webhook.",
    });
}

/// The paths of both listeners.
fn paths() -> Vec<(&'static str, Value)> {
    let ready = |status: &str, reasons: Value| json!({"status": status, "reasons": reasons});
    let not_ready = ready("not ready", json!(["the database cannot be reached"]));
    let readiness = json!({
        "type": "object",
        "required": ["status", "reasons"],
        "properties": {
            "status": {"type": "string", "enum": ["ready", "not ready"]},
            "reasons": {"type": "array", "items": {"type": "string"},
                "description": "Why it is not."},
        },
    });
    let texts = |names: &[&str]| {
        let fields: Map<String, Value> = names
            .iter()
            .map(|name| ((*name).to_owned(), json!({"type": "string"})))
            .collect();
        json!({"type": "object", "required": names, "properties": fields})
    };
    let build = json!({"name": "reconciler", "version": VERSION, "revision": "unknown"});
    let alive = answer(
        "The process answers.",
        texts(&["status"]),
        json!({"status": "alive"}),
    );
    let mut readyz = ops(
        "readyz",
        "Whether requests can be served",
        answer("They can.", readiness.clone(), ready("ready", json!([]))),
    );
    readyz["get"]["responses"]["503"] = answer("They cannot, now.", readiness, not_ready);
    let metrics = json!({
        "description": "The text format of Prometheus.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    });
    let version = answer("The build.", texts(&["name", "version", "revision"]), build);
    vec![
        ("/webhooks/{shop}", webhook()),
        (
            "/livez",
            ops("livez", "Whether the process is alive", alive),
        ),
        ("/readyz", readyz),
        ("/metrics", ops("metrics", "What it measures", metrics)),
        ("/version", ops("version", "Which build it is", version)),
    ]
}

fn answer(description: &str, schema: Value, example: Value) -> Value {
    json!({
        "description": description,
        "content": {"application/json": {"schema": schema, "example": example}},
    })
}

fn server(setting: &str, default: &str, description: &str) -> Value {
    json!([{
        "url": "{origin}",
        "description": description,
        "variables": {"origin": {"default": default, "description": setting}},
    }])
}

/// The problems that are answered with, by status.
fn problems(kinds: &[ProblemKind], responses: &mut Value) {
    for kind in kinds {
        let (status, suffix, _) = kind.parts();
        responses[status.as_str()] = json!({"$ref": format!("#/components/responses/{suffix}")});
    }
    let identified = json!({"$ref": "#/components/headers/X-Request-Id"});
    for (_, response) in responses.as_object_mut().into_iter().flatten() {
        if response.get("$ref").is_none() {
            response["headers"]["X-Request-Id"] = identified.clone();
        }
    }
}

fn ops(name: &str, summary: &str, done: Value) -> Value {
    let mut responses = json!({"200": done});
    problems(
        &[ProblemKind::Malformed, ProblemKind::Internal],
        &mut responses,
    );
    json!({"get": {
        "tags": ["Operations"],
        "operationId": name,
        "summary": summary,
        "servers": server("`ops.listen`", "http://127.0.0.1:9090", "The operations listener."),
        "security": [],
        "responses": responses,
    }})
}

fn webhook() -> Value {
    let told = answer(
        "It is durable, and what follows from it is too.",
        json!({"type": "object", "required": ["status"], "properties": {"status": {"const": "recorded"}}}),
        json!({"status": "recorded"}),
    );
    let mut responses = json!({"200": told});
    let kinds = [
        ProblemKind::Malformed,
        ProblemKind::Unauthorized,
        ProblemKind::NotFound,
        ProblemKind::RequestTimeout,
        ProblemKind::PayloadTooLarge,
        ProblemKind::UnsupportedMediaType,
        ProblemKind::Internal,
        ProblemKind::Unavailable,
    ];
    problems(&kinds, &mut responses);
    json!({"post": {
        "tags": ["Webhooks"],
        "operationId": "receiveWebhook",
        "summary": "Take a webhook of the gateway",
        "description": "The body is the gateway's own, signed over its bytes. One that is no transaction, \
            or cannot be read, is kept and answered 200 as well. Of a content coding (`gzip` or `deflate`, \
            one of them) the signature is over the coded bytes; another one is refused. A signature that is wrong is refused \
            everywhere; one that is missing makes the webhook a hint where the shop allows it \
            (`webhook_signature`).",
        "servers": server(
            "`webhooks.public_url`",
            "http://127.0.0.1:8081",
            "The webhook listener (`webhooks.listen`).",
        ),
        "security": [{"gateway": []}],
        "parameters": [
            {"$ref": "#/components/parameters/shop"},
            {"name": "Content-Signature", "in": "header", "required": false,
                "description": "Base64 of the gateway's RSA-SHA256 signature over the body.",
                "schema": {"type": "string"}},
        ],
        "requestBody": {
            "required": true,
            "content": {"application/json": {
                "schema": {"type": "object", "additionalProperties": true},
                "example": examples::webhook(),
            }},
        },
        "responses": responses,
    }})
}
