//! Parses the body of a transaction request and reports the errors that the gateway would report:
//! blank fields, invalid amounts, invalid card numbers.
//!
//! The card number is dropped here; only a mask and a digest are kept.

use serde_json::{Map, Value, json};

use super::behaviour::ErrorResponse;
use super::random::hex_digest;
use super::transactions::{RequestDetails, TransactionKind};

/// A valid request.
#[derive(Clone, Debug)]
pub struct ParsedRequest {
    /// Transaction type.
    pub kind: TransactionKind,
    /// Amount in minor units.
    pub amount: i64,
    /// Currency; `None` for a child, which has its parent's.
    pub currency: Option<String>,
    /// Tracking ID.
    pub tracking_id: Option<String>,
    /// Uid of the parent, for a child transaction.
    pub parent_uid: Option<String>,
    /// Whether the 30-second rule applies.
    pub duplicate_check: bool,
    /// Key that the 30-second rule compares besides the amount.
    pub duplicate_key: Option<String>,
    /// Scenario of a documented test card.
    pub card_scenario: Option<&'static str>,
    /// Other fields.
    pub details: RequestDetails,
}

/// Parses a request, or returns a refusal with all its errors.
pub fn read(
    kind: TransactionKind,
    request: &Map<String, Value>,
    card_required: bool,
) -> Result<ParsedRequest, ErrorResponse> {
    let mut faults = FieldErrors::default();
    let amount = amount(request, &mut faults);
    let currency = currency(kind, request, &mut faults);
    texts(kind, request, &mut faults);
    let card_field = if kind == TransactionKind::Payout {
        "recipient_credit_card"
    } else {
        "credit_card"
    };
    let card = RequestCard::read(request, card_field, &mut faults);
    if card_required && !kind.is_child() && card.shown.is_none() {
        faults.add(card_field, "can't be blank");
    }
    if let Some(refusal) = faults.refusal() {
        return Err(refusal);
    }
    let parent_uid = text(request, "parent_uid");
    let duplicate_key = if kind.is_child() {
        parent_uid.clone()
    } else {
        card.key
    };
    Ok(ParsedRequest {
        kind,
        amount,
        currency,
        tracking_id: text(request, "tracking_id"),
        parent_uid,
        duplicate_check: request.get("duplicate_check") != Some(&Value::Bool(false)),
        duplicate_key,
        card_scenario: card.scenario,
        details: details(request, card.shown),
    })
}

fn text(request: &Map<String, Value>, field: &str) -> Option<String> {
    match request.get(field) {
        Some(Value::String(text)) if !text.is_empty() => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    }
}

fn amount(request: &Map<String, Value>, faults: &mut FieldErrors) -> i64 {
    let amount = match request.get("amount") {
        None | Some(Value::Null) => {
            faults.add("amount", "can't be blank");
            return 0;
        }
        Some(Value::String(digits)) => digits.parse().ok(),
        Some(other) => other.as_i64(),
    };
    match amount {
        Some(amount) if amount > 0 => amount,
        Some(_) => {
            faults.add("amount", "must be greater than 0");
            0
        }
        None => {
            faults.add("amount", "is not a number");
            0
        }
    }
}

fn currency(
    kind: TransactionKind,
    request: &Map<String, Value>,
    faults: &mut FieldErrors,
) -> Option<String> {
    let currency = text(request, "currency");
    match &currency {
        None if kind.is_child() => {}
        None => faults.add("currency", "can't be blank"),
        Some(code) if code.len() == 3 && code.bytes().all(|b| b.is_ascii_uppercase()) => {}
        Some(_) => faults.add("currency", "is invalid"),
    }
    currency
}

fn texts(kind: TransactionKind, request: &Map<String, Value>, faults: &mut FieldErrors) {
    let required: &[&str] = match kind {
        TransactionKind::Capture | TransactionKind::Void => &["parent_uid"],
        TransactionKind::Refund | TransactionKind::Chargeback => &["parent_uid", "reason"],
        TransactionKind::Checkup => &["description", "tracking_id"],
        TransactionKind::Payment
        | TransactionKind::Authorization
        | TransactionKind::Tokenization
        | TransactionKind::Payout => &["description"],
    };
    for field in required {
        if text(request, field).is_none() {
            faults.add(field, "can't be blank");
        }
    }
    for field in ["description", "reason", "tracking_id"] {
        if text(request, field).is_some_and(|text| text.chars().count() > 255) {
            faults.add(field, "is too long (maximum is 255 characters)");
        }
    }
}

fn details(request: &Map<String, Value>, card: Option<Value>) -> RequestDetails {
    let part = |field: &str| request.get(field).cloned().unwrap_or(Value::Null);
    RequestDetails {
        description: text(request, "description"),
        reason: text(request, "reason"),
        language: text(request, "language"),
        test: request.get("test") == Some(&Value::Bool(true)),
        card,
        customer: part("customer"),
        billing_address: part("billing_address"),
        recipient: part("recipient"),
        additional_data: part("additional_data"),
        expired_at: part("expired_at"),
        notification_url: text(request, "notification_url"),
        return_url: text(request, "return_url"),
    }
}

/// The data that is kept of a card.
#[derive(Default)]
struct RequestCard {
    shown: Option<Value>,
    key: Option<String>,
    scenario: Option<&'static str>,
}

impl RequestCard {
    fn read(request: &Map<String, Value>, field: &str, faults: &mut FieldErrors) -> Self {
        if let Some(Value::Object(encrypted)) = request.get(&format!("encrypted_{field}")) {
            let key = text(encrypted, "number").map(|blob| hex_digest(&blob));
            return Self {
                shown: Some(mask(None, encrypted, "0000")),
                key,
                scenario: None,
            };
        }
        let Some(Value::Object(card)) = request.get(field) else {
            return Self::default();
        };
        if let Some(token) = text(card, "token") {
            let shown = mask(Some(&token), card, "0000");
            return Self {
                shown: Some(shown),
                key: Some(hex_digest(&token)),
                scenario: None,
            };
        }
        let Some(number) = text(card, "number") else {
            faults.add_in(field, "number", "can't be blank");
            return Self::default();
        };
        if !luhn(&number) {
            faults.add_in(field, "number", "is invalid");
            return Self::default();
        }
        let shown = mask_number(&number, card);
        let key = Some(hex_digest(&number));
        Self {
            shown: Some(shown),
            key,
            scenario: super::scenario::of_card(&number),
        }
    }
}

fn luhn(number: &str) -> bool {
    if !(12..=19).contains(&number.len()) || !number.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let sum: u32 = number
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0');
            let doubled = if place % 2 == 1 { digit * 2 } else { digit };
            doubled / 10 + doubled % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

fn mask_number(number: &str, card: &Map<String, Value>) -> Value {
    let mut shown = mask(None, card, &number[number.len() - 4..]);
    let brand = match number.as_bytes().first() {
        Some(b'4') => "visa",
        Some(b'2' | b'5') => "master",
        _ => "other",
    };
    // A token for the number, the same for every request.
    let digest = hex_digest(&format!("token {number}"));
    shown["token"] = json!(digest);
    shown["stamp"] = json!(hex_digest(number));
    shown["brand"] = json!(brand);
    shown["first_1"] = json!(&number[..1]);
    shown["bin"] = json!(&number[..6]);
    shown
}

fn mask(token: Option<&str>, card: &Map<String, Value>, last_4: &str) -> Value {
    let month = text(card, "exp_month").and_then(|month| month.parse::<u32>().ok());
    let year = text(card, "exp_year").and_then(|year| year.parse::<u32>().ok());
    json!({
        "holder": text(card, "holder").filter(|holder| !holder.starts_with('$')),
        "stamp": hex_digest(token.unwrap_or("encrypted")),
        "brand": "visa",
        "last_4": last_4,
        "first_1": "4",
        "bin": "420000",
        "issuer_country": "LT",
        "issuer_name": "SYNTHETIC BANK",
        "product": null,
        "exp_month": month.unwrap_or(11),
        "exp_year": year.unwrap_or(2031),
        "token_provider": null,
        "token": token,
    })
}

/// All errors, by field.
#[derive(Default)]
struct FieldErrors {
    errors: Map<String, Value>,
    sentences: Vec<String>,
}

impl FieldErrors {
    fn add(&mut self, field: &str, text: &str) {
        self.sentences.push(sentence(field, text));
        self.errors.insert(field.to_owned(), json!([text]));
    }

    fn add_in(&mut self, section: &str, field: &str, text: &str) {
        self.sentences
            .push(sentence(&format!("{section} {field}"), text));
        self.errors
            .insert(section.to_owned(), json!({field: [text]}));
    }

    fn refusal(self) -> Option<ErrorResponse> {
        if self.sentences.is_empty() {
            return None;
        }
        Some(ErrorResponse {
            status: 422,
            code: "E.1025".into(),
            message: self.sentences.join(" "),
            errors: Value::Object(self.errors),
            earlier: None,
        })
    }
}

/// Formats an error as Rails does: `tracking_id`, `can't be blank` become `Tracking can't be
/// blank.`
fn sentence(field: &str, text: &str) -> String {
    let words = field.trim_end_matches("_id").replace('_', " ");
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    let name: String = first.into_iter().chain(letters).collect();
    format!("{name} {text}.")
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;

    fn order(kind: TransactionKind, body: Value) -> Result<ParsedRequest, ErrorResponse> {
        read(kind, body.as_object().expect("an object"), false)
    }

    #[test]
    fn all_blank_fields_are_reported_at_once() {
        let refusal =
            order(TransactionKind::Payment, json!({"amount": 0})).expect_err("it is invalid");
        assert_eq!(refusal.status, 422);
        assert_eq!(refusal.errors["currency"], json!(["can't be blank"]));
        assert_eq!(refusal.errors["amount"], json!(["must be greater than 0"]));
        assert!(refusal.message.contains("Description can't be blank."));
        let refusal = order(
            TransactionKind::Refund,
            json!({"amount": 5, "parent_uid": "x"}),
        );
        assert_eq!(
            refusal.expect_err("no reason").message,
            "Reason can't be blank."
        );
    }

    #[test]
    fn only_the_mask_of_a_card_number_is_kept() {
        let body = json!({"amount": 1, "currency": "EUR", "description": "d",
            "credit_card": {"number": "4012000000003010", "verification_value": "123"}});
        let order = order(TransactionKind::Payment, body).expect("it is valid");
        let card = order.details.card.expect("a card is shown").to_string();
        assert!(card.contains("\"last_4\":\"3010\"") && !card.contains("4012000000003010"));
        assert_eq!(order.card_scenario, Some("threeds"));
        let bad = json!({"amount": 1, "currency": "EUR", "description": "d",
            "credit_card": {"number": "4012000000003011"}});
        let refusal = super::read(
            TransactionKind::Payment,
            bad.as_object().expect("object"),
            false,
        );
        assert_eq!(
            refusal.expect_err("bad number").errors["credit_card"]["number"],
            json!(["is invalid"])
        );
    }
}
