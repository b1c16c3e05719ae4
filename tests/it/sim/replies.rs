//! The honest bodies of the gateway, and the few odd answers that need no grammar.

use super::books::Transaction;
use super::plan::Plan;
use domain::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// Every answer names tasks at this origin.
pub const ORIGIN: &str = "https://gateway.test";

/// An answer, as bytes.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    pub retry_after: Option<Duration>,
    /// The transactions that it shows whole, as it shows them.
    pub told: Vec<Transaction>,
    /// The transactions whose uid and name stand in it, whatever else of them can be read.
    pub holds: Vec<Transaction>,
    /// It breaks off.
    pub cut: bool,
}

impl Reply {
    pub fn bytes(status: u16, body: Vec<u8>) -> Self {
        Self {
            status,
            body,
            retry_after: None,
            told: Vec::new(),
            holds: Vec::new(),
            cut: false,
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, body.to_string().into_bytes())
    }

    /// One transaction.
    pub fn about(shown: &[&Transaction], plan: &Plan) -> Self {
        let told = shown.first().map_or(Value::Null, |one| wrapped(one, plan));
        Self::json(200, &told).telling(shown)
    }

    pub fn list(shown: &[&Transaction], plan: &Plan) -> Self {
        let rows: Vec<Value> = shown.iter().map(|t| body(t, plan)).collect();
        Self::json(200, &json!({ "transactions": rows })).telling(shown)
    }

    fn telling(self, shown: &[&Transaction]) -> Self {
        let told: Vec<Transaction> = shown.iter().map(|t| (*t).clone()).collect();
        Self {
            holds: told.clone(),
            told,
            ..self
        }
    }
}

pub fn ack(task: &str) -> Reply {
    let body = json!({"status": "processing", "request_id": task,
        "status_url": format!("{ORIGIN}/async/status/{task}"),
        "response_url": format!("{ORIGIN}/async/result/{task}")});
    Reply::json(200, &body)
}

/// A page of a proxy.
pub fn page(status: u16) -> Reply {
    Reply::bytes(
        status,
        format!("<html><h1>{status}</h1></html>").into_bytes(),
    )
}

pub fn error(code: &str, errors: &Value) -> Reply {
    Reply::json(
        422,
        &json!({"code": code, "message": "validation", "errors": errors}),
    )
}

/// The words of the odd answers, first those to anything, then those to a POST.
pub const ODD: [&str; 9] = [
    "502",
    "401",
    "429",
    "500",
    "302",
    "busy",
    "field",
    "old-error",
    "duplicate",
];

/// An odd answer by its word.
pub fn odd(word: &str) -> Reply {
    match word {
        "busy" => Reply {
            retry_after: Some(Duration::from_secs(7)),
            ..Reply::json(429, &json!({"message": "Too many requests"}))
        },
        "field" => error("E.1025", &json!({"amount": ["is too large"]})),
        "old-error" => Reply::json(
            400,
            &json!({"response": {"message": "bad", "errors": {"currency": ["is not allowed"]}}}),
        ),
        "duplicate" => Reply::json(
            422,
            &json!({"code": "E.1018", "message": "Duplicate transaction"}),
        ),
        "broken" => Reply::json(500, &json!({"message": "something broke"})),
        page_of => page(page_of.parse().unwrap_or(502)),
    }
}

/// A transaction in the envelope of this world's version.
pub fn wrapped(t: &Transaction, plan: &Plan) -> Value {
    let bare = body(t, plan);
    if plan.flat {
        return bare;
    }
    json!({ "transaction": bare })
}

pub fn body(t: &Transaction, plan: &Plan) -> Value {
    let shown = |at: Timestamp| at.minus(plan.behind).plus(plan.ahead).to_rfc3339();
    let mut body = json!({"uid": t.uid, "id": t.uid, "status": t.status, "type": t.kind,
        "amount": t.amount, "currency": t.currency, "tracking_id": t.name, "test": t.test,
        "created_at": shown(t.created_at), "updated_at": shown(t.updated_at)});
    if let Some(code) = &t.code {
        body["code"] = json!(code);
    }
    if let Some(parent) = &t.parent {
        body["parent_uid"] = json!(parent);
    }
    if plan.flat {
        body["transaction"] = json!({"status": t.status, "message": "Approved"});
        if plan.section_uid {
            body["transaction"]["uid"] = json!(format!("ACQ-{}", t.uid));
        }
    }
    body
}
