//! A transaction that somebody asks for, read from the body of a POST.
//!
//! What it deliberately cannot do: look anything up. It says whether the body alone makes sense.

use crate::api::idempotency::Told;
use crate::http::body::SensitiveJson;
use crate::http::problem::{FieldError, Problem};
use domain::{Currency, TrackingId, TransactionType, Uid};
use gateway::plain_amount;
use gateway::redact::{Secrets, carries_card_data, redact, redact_text};
use gateway::{HOLDS_THE_CARD, SensitiveBody, as_read, check_request, forwarded};
use gateway::{is_amount_lost, long_numbers};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// A request that makes sense by itself.
pub(crate) struct TransactionSubmission {
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
    /// The body as it was read.
    pub(crate) body: SensitiveJson,
    /// The body as it came, without what a later field of the same name replaced.
    pub(crate) raw: SensitiveBody,
    /// The numbers in it that `body` does not hold to the digit.
    pub(crate) long_numbers: Vec<[u8; 32]>,
}

impl TransactionSubmission {
    /// Reads a body; every field that is not valid is named.
    pub(crate) fn read(
        kind: TransactionType,
        mut body: SensitiveJson,
        raw: &[u8],
    ) -> Result<Self, Problem> {
        let plain = plain_amount(body.value_mut()).then(|| body.bytes());
        let fields = body.fields()?;
        if fields.get("request").is_some_and(Value::is_object) {
            let message = "leave out this wrapper: its fields belong at the top of the body";
            return Err(Problem::invalid("/request", message));
        }
        let mut errors: Vec<FieldError> = Vec::new();
        let card = Secrets::of_fields_of(fields);
        let tracking_id = match tracking_id(fields, &card) {
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
        if is_amount_lost(raw) && !errors.iter().any(|error| error.pointer == "/amount") {
            let message = "must be an integer in minor units, without a fraction";
            errors.push(FieldError::new("/amount", message));
        }
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
            description: text("description").map(|text| {
                let text = card.redact_holders(text.to_owned());
                redact_text(&text).replace('\0', "\u{fffd}")
            }),
            test: fields.get("test").and_then(Value::as_bool),
            card_data: carries_card_data(body.value()),
            duplicate_check: fields.get("duplicate_check") != Some(&Value::Bool(false)),
            kept: kept.bytes,
            sha256: Sha256::digest(raw).into(),
            long_numbers: long_numbers(raw),
            raw: as_read(raw).unwrap_or_else(|| SensitiveBody::new(raw.to_vec())),
            body,
        })
    }

    /// What makes it the same request as another.
    pub(crate) fn fingerprint_input(&self) -> Told<'_> {
        Told {
            body: self.body.value(),
            long_numbers: &self.long_numbers,
        }
    }

    /// The body to be sent: every number in it is the one that came.
    pub(crate) fn forwarded(&self, notification_url: &str) -> Option<SensitiveBody> {
        forwarded(self.raw.as_bytes(), notification_url)
    }
}

fn tracking_id(fields: &Map<String, Value>, card: &Secrets) -> Result<TrackingId, String> {
    let text = match fields.get("tracking_id") {
        None | Some(Value::Null) => return Err("is required".to_owned()),
        Some(Value::String(text)) => text,
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            return Err("must be a string".to_owned());
        }
    };
    let id = TrackingId::parse(text).map_err(|error| error.to_string())?;
    if card.number_is_in(text) {
        return Err(HOLDS_THE_CARD.to_owned());
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    fn read(kind: TransactionType, body: &Value) -> Result<TransactionSubmission, Problem> {
        let raw = body.to_string().into_bytes();
        TransactionSubmission::read(kind, SensitiveJson::parse(&raw).unwrap(), &raw)
    }

    fn payment(change: impl FnOnce(&mut Value)) -> Result<TransactionSubmission, Problem> {
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
        for fields in [
            json!({"cardholder": "JANE ROE"}),
            json!({"security_code": 123}),
            json!({"Expiry": "12/31"}),
            json!({"card_number": "x"}),
        ] {
            let read = payment(|body| body["credit_card"] = fields.clone()).unwrap();
            assert!(read.card_data, "{fields}");
        }
        for empty in [json!({"holder": null}), json!({"number": ""})] {
            let read = payment(|body| body["credit_card"] = empty.clone()).unwrap();
            assert!(!read.card_data, "{empty}");
        }
    }

    #[test]
    fn digits_in_a_text_are_not_card_data() {
        let number = "4000001234567899";
        let read = payment(|body| body["description"] = json!(format!("Order {number}"))).unwrap();
        assert!(!read.card_data);
        assert_eq!(read.description.as_deref(), Some("Order [redacted]"));
        assert!(!String::from_utf8_lossy(&read.kept).contains(number));
        let holder = json!({"holder": "Jane Roe"});
        let read = payment(|body| {
            body["credit_card"] = holder.clone();
            body["description"] = json!("for JANE ROE");
        });
        let description = read.unwrap().description;
        assert_eq!(description.as_deref(), Some("for [redacted]"));
    }

    #[test]
    fn a_tracking_id_must_not_contain_the_card_number() {
        let number = "4200000000000000";
        assert!(payment(|body| body["tracking_id"] = json!(number)).is_ok());
        for id in [
            number,
            "order-4200000000000000",
            "4200-0000-0000-0000",
            "a4200.0000.0000.0000b",
        ] {
            for card in ["credit_card", "recipient_credit_card"] {
                let refused = payment(|body| {
                    body[card] = json!({"number": "4200 0000 0000 0000"});
                    body["tracking_id"] = json!(id);
                });
                let told = format!("{:?}", refused.err().unwrap());
                assert!(told.contains("/tracking_id"), "{told}");
            }
        }
        let other = payment(|body| {
            body["credit_card"] = json!({"number": number});
            body["tracking_id"] = json!("order-4111111111111111");
        });
        assert!(other.is_ok());
    }

    #[test]
    fn usual_order_numbers_are_not_card_numbers() {
        for n in 0..1_000_u64 {
            // Spread over all digits, the same in each run.
            let x = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let (a, b) = (x % 1_000_000_000, x / 7 % 100_000_000);
            let usual = [
                format!("2026{:02}{:02}{:06}", n % 12 + 1, n % 28 + 1, a % 1_000_000),
                format!("ORD-2026-{a:09}"),
                format!(
                    "order-{:06}-{:06}-{:02}",
                    a % 1_000_000,
                    b % 1_000_000,
                    n % 100
                ),
                format!(
                    "{}",
                    1_400_000_000_000_000_000 + x % 600_000_000_000_000_000
                ),
                format!("{:016}", x % 10_000_000_000_000_000),
                format!("4{:015}", x % 1_000_000_000_000_000),
                format!(
                    "{:04}-{:04}-{:04}-{:04}",
                    a % 10_000,
                    b % 10_000,
                    a / 9 % 10_000,
                    n
                ),
                format!("{}", 1_760_000_000_000 + x % 100_000_000_000),
                format!("01J{:023X}", u128::from(x)),
                uuid::Uuid::from_u64_pair(x, x.rotate_left(17)).to_string(),
                format!("{:013}", x % 10_000_000_000_000),
                format!("62{:014}", x % 100_000_000_000_000),
                format!("{:019}", x % 10_000_000_000_000_000_000),
            ];
            for id in usual {
                let read = payment(|body| {
                    body["tracking_id"] = json!(id);
                    body["description"] = json!(format!("Заказ № {id} от Ивана"));
                    body["additional_data"] = json!({"order": id, "счёт": id});
                });
                let read = read.unwrap();
                assert_eq!(read.tracking_id.as_str(), id);
                assert!(!read.card_data, "{id}");
            }
        }
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
        let sent = read.forwarded("u").unwrap();
        let sent: Value = serde_json::from_slice(sent.as_bytes()).unwrap();
        assert_eq!(sent["request"]["amount"].to_string(), "3245");
        let kept: Value = serde_json::from_slice(&read.kept).unwrap();
        assert_eq!(kept["amount"].to_string(), "3245");
    }

    #[test]
    fn numbers_beyond_a_double_are_forwarded_and_are_no_amounts() {
        let of = |amount: &str| {
            let body = format!(
                r#"{{"amount":{amount},"currency":"EUR","description":"x","tracking_id":"ord-1","y":-1e400}}"#
            );
            let value = gateway::read_request(body.as_bytes()).unwrap();
            let json = SensitiveJson::parse(value.to_string().as_bytes()).unwrap();
            TransactionSubmission::read(TransactionType::Payment, json, body.as_bytes())
        };
        let sent = of("100").unwrap().forwarded("u").unwrap();
        let sent = String::from_utf8_lossy(sent.as_bytes()).into_owned();
        assert!(sent.contains(r#""y":-1e400,"#), "{sent}");
        for lost in [
            "100.00000000000000000000000000001",
            "99.999999999999999999999",
            "1e400",
        ] {
            let problem = of(lost).err().unwrap();
            assert!(format!("{problem:?}").contains("/amount"), "{problem:?}");
        }
    }

    #[test]
    fn a_wrapper_is_pointed_out() {
        let wrapped = json!({"request": {"amount": 1, "tracking_id": "a"}});
        let problem = read(TransactionType::Payment, &wrapped).err().unwrap();
        assert!(format!("{problem:?}").contains("/request"));
    }
}
