//! Renders bodies in the gateway's two shapes: version 2 with its `transaction` envelope, and the
//! flat version 3, where `transaction` is the acquirer's section.

use serde_json::{Map, Value, json};

use super::behaviour::ErrorResponse;
use super::clock::text;
use super::response::SimResponse;
use super::settings::{BehaviourSwitches, ErrorShape};
use super::transactions::{SimTransaction, TransactionKind};

/// Returns the body of a response about one transaction.
pub fn transaction(
    of: &SimTransaction,
    origin: &str,
    v3: bool,
    switches: &BehaviourSwitches,
) -> Value {
    if v3 {
        return flat(of, origin);
    }
    json!({"transaction": enveloped(of, origin, switches)})
}

/// Returns the response about one transaction, in the format that its script sets.
pub fn answer(
    of: &SimTransaction,
    origin: &str,
    v3: bool,
    switches: &BehaviourSwitches,
) -> SimResponse {
    let (body, coding) = of.form.whole(&transaction(of, origin, v3, switches));
    let mut answer = SimResponse::bytes(200, body);
    answer
        .headers
        .extend(coding.map(|coding| ("Content-Encoding".to_owned(), coding.to_owned())));
    answer
}

/// Returns one element of the result of a lookup by tracking ID.
pub fn listed(of: &SimTransaction, origin: &str, v3: bool, switches: &BehaviourSwitches) -> Value {
    if v3 {
        flat(of, origin)
    } else {
        enveloped(of, origin, switches)
    }
}

/// Returns the content of the version 2 envelope.
fn enveloped(of: &SimTransaction, origin: &str, switches: &BehaviourSwitches) -> Value {
    let mut body = common(of, origin);
    let details = &of.details;
    insert(&mut body, "id", json!(of.uid));
    insert(&mut body, "receipt_url", json!(receipt(of, origin)));
    if switches.v2_codes {
        insert(&mut body, "code", json!(of.code));
        insert(&mut body, "friendly_message", json!(friendly(of)));
    }
    if let Some(card) = &details.card {
        let field = if of.kind == TransactionKind::Payout {
            "recipient_credit_card"
        } else {
            "credit_card"
        };
        insert(&mut body, field, card.clone());
        insert(&mut body, "payment_method_type", json!("credit_card"));
    }
    if !of.kind.is_child() {
        insert(&mut body, "customer", details.customer.clone());
        insert(
            &mut body,
            "billing_address",
            details.billing_address.clone(),
        );
    }
    if of.kind == TransactionKind::Payout {
        insert(&mut body, "recipient", details.recipient.clone());
    }
    if of.status == "incomplete" {
        insert(
            &mut body,
            "three_d_secure_verification",
            three_d_secure(of, origin),
        );
    } else {
        let (name, section) = acquirer(of);
        insert(&mut body, name, section);
    }
    overlaid(body, of)
}

/// Returns the version 3 shape.
fn flat(of: &SimTransaction, origin: &str) -> Value {
    let mut body = common(of, origin);
    let details = &of.details;
    insert(&mut body, "code", json!(of.code));
    insert(&mut body, "friendly_message", json!(friendly(of)));
    insert(
        &mut body,
        "links",
        json!({"receipt_url": receipt(of, origin)}),
    );
    insert(&mut body, "psp_settled_at", Value::Null);
    if let Some(mut card) = details.card.clone() {
        if let Some(card) = card.as_object_mut() {
            card.insert("payment_method_type".into(), json!("credit_card"));
        }
        if of.kind == TransactionKind::Payout {
            let recipient = json!({"customer": details.recipient, "payment_method": card});
            insert(&mut body, "recipient", recipient);
        } else {
            insert(&mut body, "payment_method", card);
        }
    }
    let mut customer = details.customer.as_object().cloned().unwrap_or_default();
    customer.extend(
        details
            .billing_address
            .as_object()
            .cloned()
            .unwrap_or_default(),
    );
    if !customer.is_empty() {
        insert(&mut body, "customer", Value::Object(customer));
    }
    if of.status == "incomplete" {
        insert(
            &mut body,
            "three_d_secure_verification",
            three_d_secure(of, origin),
        );
    } else if of.kind == TransactionKind::Checkup {
        insert(&mut body, "be_protected_verification", acquirer(of).1);
    } else {
        insert(&mut body, "transaction", acquirer(of).1);
    }
    overlaid(body, of)
}

/// Returns the fields of both shapes.
fn common(of: &SimTransaction, origin: &str) -> Map<String, Value> {
    let details = &of.details;
    let mut body = Map::new();
    for (name, value) in [
        ("uid", json!(of.uid)),
        ("status", json!(of.status)),
        ("type", json!(of.kind.name())),
        ("amount", json!(of.amount)),
        ("currency", json!(of.currency)),
        ("tracking_id", json!(of.tracking_id)),
        ("message", json!(of.message)),
        ("test", json!(details.test)),
        (
            "language",
            json!(details.language.as_deref().unwrap_or("en")),
        ),
        ("created_at", json!(text(of.created_at))),
        ("updated_at", json!(text(of.updated_at))),
        ("paid_at", json!(of.paid_at.map(text))),
        ("expired_at", details.expired_at.clone()),
        ("recurring_type", Value::Null),
        ("closed_at", Value::Null),
        ("settled_at", Value::Null),
        ("manually_corrected_at", json!(of.corrected_at.map(text))),
        (
            "status_code",
            if of.status == "incomplete" {
                json!(21)
            } else {
                Value::Null
            },
        ),
    ] {
        insert(&mut body, name, value);
    }
    if of.kind.is_child() {
        insert(&mut body, "parent_uid", json!(of.parent_uid));
        insert(&mut body, "mute_notifications", Value::Null);
    } else {
        insert(&mut body, "description", json!(details.description));
        insert(&mut body, "redirect_url", json!(process_url(of, origin)));
    }
    if matches!(
        of.kind,
        TransactionKind::Refund | TransactionKind::Chargeback
    ) {
        insert(&mut body, "reason", json!(details.reason));
    }
    if !details.additional_data.is_null() {
        insert(
            &mut body,
            "additional_data",
            details.additional_data.clone(),
        );
    }
    body
}

fn insert(body: &mut Map<String, Value>, name: &str, value: Value) {
    body.insert(name.to_owned(), value);
}

fn overlaid(mut body: Map<String, Value>, of: &SimTransaction) -> Value {
    of.form.lay_over(&mut body);
    body.extend(of.overlay.clone());
    Value::Object(body)
}

fn process_url(of: &SimTransaction, origin: &str) -> String {
    format!("{origin}/process/{}", of.uid)
}

fn receipt(of: &SimTransaction, origin: &str) -> String {
    format!("{origin}/customer/transactions/{}?language=en", of.uid)
}

fn friendly(of: &SimTransaction) -> Option<&'static str> {
    match of.status.as_str() {
        "successful" => Some("The operation was approved."),
        "failed" => Some("The bank declined the operation."),
        "expired" => Some("The time to pay is over."),
        _ => None,
    }
}

fn three_d_secure(of: &SimTransaction, origin: &str) -> Value {
    json!({
        "status": "incomplete",
        "message": "Authentication Available",
        "ve_status": "Y",
        "pa_status": null,
        "pa_res_url": process_url(of, origin),
        "eci": null,
        "xid": null,
        "cavv": null,
        "fail_reason": null,
    })
}

/// Returns the acquirer's section and its name in the version 2 shape.
fn acquirer(of: &SimTransaction) -> (&'static str, Value) {
    let name = of.kind.name();
    let approved = of.status == "successful";
    let word = if approved { "approved" } else { "declined" };
    let mut title = name.to_owned();
    title[..1].make_ascii_uppercase();
    let message = format!("{title} was {word}");
    let section = match of.kind {
        TransactionKind::Tokenization => {
            json!({"gateway_id": 101, "status": of.status, "message": message})
        }
        TransactionKind::Checkup => {
            let list = json!({"email": "absent", "ip": "absent", "card_number": "absent"});
            let verification = json!({"status": of.status, "white_black_list": list, "rules": {}});
            return ("be_protected_verification", verification);
        }
        _ => json!({
            "auth_code": approved.then_some("123456"),
            "bank_code": if approved { "00" } else { "05" },
            "rrn": approved.then_some("603410000001"),
            "ref_id": "990001",
            "message": message,
            "billing_descriptor": "SYNTH*SHOP",
            "gateway_id": 101,
            "status": of.status,
            "amount": of.amount,
            "currency": of.currency,
        }),
    };
    (name, section)
}

/// Returns a refusal in the requested shape.
pub fn refusal(refusal: &ErrorResponse, shape: ErrorShape, v3: bool) -> SimResponse {
    let ErrorResponse {
        status,
        code,
        message,
        errors,
        earlier: _,
    } = refusal;
    let body = match (shape, v3) {
        (ErrorShape::V3, _) | (ErrorShape::Auto, true) => json!({
            "code": code,
            "friendly_message": friendly_refusal(code),
            "message": message,
            "errors": errors,
        }),
        (ErrorShape::Flat, _) => json!({"message": message, "errors": errors}),
        (ErrorShape::V2, _) | (ErrorShape::Auto, false) => {
            json!({"response": {"message": message, "errors": errors}})
        }
    };
    SimResponse::json(*status, &body)
}

fn friendly_refusal(code: &str) -> &'static str {
    match code {
        "E.1018" => "The same operation was made a moment ago.",
        "E.1021" | "E.1022" => "Access is denied.",
        _ => "Invalid request params",
    }
}

/// Marks the body of an earlier transaction as the original of a duplicate request.
pub fn mark_duplicate(body: &mut Value, refusal: &ErrorResponse) {
    let inner = if body
        .get("transaction")
        .is_some_and(|t| t.get("uid").is_some())
    {
        body.get_mut("transaction")
    } else {
        Some(body)
    };
    if let Some(inner) = inner.and_then(Value::as_object_mut) {
        insert(inner, "code", json!(refusal.code));
        insert(inner, "message", json!(refusal.message));
    }
}

/// Returns the response to wrong or missing credentials.
pub fn access_denied() -> SimResponse {
    SimResponse::json(
        401,
        &json!({"response": {"status": "error", "message": "Access denied"}}),
    )
}

/// Returns the response to an unknown uid.
pub fn record_not_found() -> SimResponse {
    SimResponse::json(404, &json!({"response": {"message": "Record not found"}}))
}

/// Returns the error response of a crashed Rails application.
pub fn went_wrong(status: u16) -> SimResponse {
    SimResponse::json(
        status,
        &json!({"message": "We're sorry, but something went wrong"}),
    )
}
