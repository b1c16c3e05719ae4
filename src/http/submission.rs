//! A transaction that somebody asks for, read from the body of a POST.
//!
//! What it deliberately cannot do: look anything up. It says whether the body alone makes sense.

use crate::domain::{Currency, TrackingId, TransactionType, Uid};
use crate::gateway::redact::{carries_card_data, looks_like_card_number, redact, redact_text};
use crate::gateway::{check_request, plain_amount};
use crate::http::body::Json;
use crate::http::problem::{FieldError, Problem};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A request that makes sense by itself.
pub(crate) struct Submission {
    pub(crate) kind: TransactionType,
    pub(crate) tracking_id: TrackingId,
    pub(crate) amount: Option<i64>,
    pub(crate) currency: Option<Currency>,
    pub(crate) parent_uid: Option<Uid>,
    pub(crate) description: Option<String>,
    pub(crate) test: Option<bool>,
    /// Sent while its caller waits, or not at all.
    pub(crate) card_data: bool,
    /// Whether the gateway's check for equal children is on.
    pub(crate) duplicate_check: bool,
    /// The body as it may be kept.
    pub(crate) kept: Vec<u8>,
    /// SHA-256 of the body as it came.
    pub(crate) sha256: [u8; 32],
    /// The body as it came.
    pub(crate) body: Json,
}

impl Submission {
    /// Reads a body; every field that is not valid is named.
    pub(crate) fn read(kind: TransactionType, mut body: Json, raw: &[u8]) -> Result<Self, Problem> {
        let plain = plain_amount(body.value_mut()).then(|| body.bytes());
        let fields = body.fields()?;
        if fields.get("request").is_some_and(Value::is_object) {
            let message = "leave out this wrapper: its fields belong at the top of the body";
            return Err(Problem::invalid("/request", message));
        }
        let mut errors: Vec<FieldError> = Vec::new();
        let tracking_id = match tracking_id(fields) {
            Ok(id) => Some(id),
            Err(message) => {
                errors.push(FieldError::new("/tracking_id", message));
                None
            }
        };
        // Its rules are ours, and have been told.
        let others = check_request(kind, fields)
            .into_iter()
            .map(FieldError::from);
        errors.extend(others.filter(|error| error.pointer != "/tracking_id"));
        let text = |name: &str| fields.get(name).and_then(Value::as_str);
        let parent_uid = text("parent_uid").map(Uid::from_gateway);
        if parent_uid == Some(None) && !errors.iter().any(|e| e.pointer == "/parent_uid") {
            errors.push(FieldError::new(
                "/parent_uid",
                "must be a uid of the gateway",
            ));
        }
        let (Some(tracking_id), []) = (tracking_id, errors.as_slice()) else {
            return Err(Problem::validation(errors));
        };
        let kept = redact(plain.as_ref().map_or(raw, |plain| plain));
        Ok(Self {
            kind,
            tracking_id,
            amount: fields.get("amount").and_then(Value::as_i64),
            currency: text("currency").and_then(Currency::parse),
            parent_uid: parent_uid.flatten(),
            // PostgreSQL keeps no zero byte in a text.
            description: text("description").map(|t| redact_text(t).replace('\0', "\u{fffd}")),
            test: fields.get("test").and_then(Value::as_bool),
            // What is kept is what waits to be sent: where anything of it was taken out, a number with the
            // digits of a card for example, only the one that came may be sent.
            card_data: kept.changed || carries_card_data(body.value()),
            duplicate_check: fields.get("duplicate_check") != Some(&Value::Bool(false)),
            kept: kept.bytes,
            sha256: Sha256::digest(raw).into(),
            body,
        })
    }

    /// The fields, to be sent on.
    pub(crate) fn fields(&self) -> Map<String, Value> {
        self.body.value().as_object().cloned().unwrap_or_default()
    }
}

fn tracking_id(fields: &Map<String, Value>) -> Result<TrackingId, String> {
    let text = match fields.get("tracking_id") {
        None | Some(Value::Null) => return Err("is required".to_owned()),
        Some(Value::String(text)) => text,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err("must be a string".to_owned());
        }
    };
    let id = TrackingId::parse(text).map_err(|error| error.to_string())?;
    if looks_like_card_number(text) {
        return Err("must not hold what could be a card number".to_owned());
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    fn read(kind: TransactionType, body: &Value) -> Result<Submission, Problem> {
        let raw = body.to_string().into_bytes();
        Submission::read(kind, Json::parse(&raw).unwrap(), &raw)
    }

    fn payment(change: impl FnOnce(&mut Value)) -> Result<Submission, Problem> {
        let mut body = json!({"amount": 3245, "currency": "EUR", "description": "Order 1",
            "tracking_id": "ord-1", "test": true, "credit_card": {"token": "5b1f0c2e"}});
        change(&mut body);
        read(TransactionType::Payment, &body)
    }

    #[test]
    fn a_payment_with_a_token_may_wait_in_the_database() {
        let read = payment(|_| {}).unwrap();
        assert_eq!(read.tracking_id.as_str(), "ord-1");
        assert_eq!((read.amount, read.test), (Some(3245), Some(true)));
        assert_eq!(read.currency.map(|c| c.to_string()).as_deref(), Some("EUR"));
        assert!(!read.card_data && read.duplicate_check);
        assert_eq!(<[u8; 32]>::from(Sha256::digest(&read.kept)), read.sha256);
    }

    #[test]
    fn a_number_that_only_its_spelling_makes_a_card_is_sent_as_it_came_or_not_at_all() {
        let body = br#"{"tracking_id":"a","amount":5,"currency":"EUR","description":"d",
            "additional_data":{"rate":0.55000000000000004}}"#;
        let kept = redact(body);
        assert!(kept.changed, "{}", String::from_utf8_lossy(&kept.bytes));
        let json = Json::parse(body).unwrap();
        assert!(!carries_card_data(json.value()));
        let read = Submission::read(TransactionType::Payment, json, body).unwrap();
        assert!(read.card_data);
    }

    #[test]
    fn card_data_is_noticed_and_not_kept() {
        let number = "4200000000000000";
        let read = payment(|body| body["credit_card"] = json!({"number": number})).unwrap();
        assert!(read.card_data);
        assert!(
            !String::from_utf8(read.kept.clone())
                .unwrap()
                .contains(number)
        );
        assert!(read.body.value().to_string().contains(number));
        let read = payment(|body| body["description"] = json!(format!("card {number}"))).unwrap();
        assert!(read.card_data);
        assert!(!read.description.unwrap().contains(number));
    }

    #[test]
    fn tracking_ids_follow_our_rules() {
        let long = "a".repeat(256);
        for bad in [
            json!(null),
            json!(5),
            json!(""),
            json!("a b"),
            json!("a/b"),
            json!("~a"),
            json!(".."),
            json!("4200000000000000"),
            json!("Ж"),
            json!(long),
        ] {
            let error = payment(|body| body["tracking_id"] = bad.clone()).err();
            assert!(error.is_some(), "{bad}");
        }
        assert!(payment(|body| body["tracking_id"] = json!("a:b~c.d_e-f,g=")).is_ok());
    }

    #[test]
    fn an_amount_is_kept_as_the_gateway_writes_it() {
        let read = payment(|body| body["amount"] = json!(3245.0)).unwrap();
        assert_eq!(read.amount, Some(3245));
        assert_eq!(read.fields()["amount"].to_string(), "3245");
        let kept: Value = serde_json::from_slice(&read.kept).unwrap();
        assert_eq!(kept["amount"].to_string(), "3245");
    }

    #[test]
    fn a_wrapper_is_pointed_out() {
        let wrapped = json!({"request": {"amount": 1, "tracking_id": "a"}});
        let problem = read(TransactionType::Payment, &wrapped).err().unwrap();
        assert!(format!("{problem:?}").contains("/request"));
    }
}
