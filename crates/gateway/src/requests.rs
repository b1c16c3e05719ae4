//! What a request must look like before it is worth sending, per kind.
//!
//! Only what the gateway's documents mark as required is required here, and only types and limits
//! that they state are checked: the acquirer's own rules are the gateway's to enforce, and fields
//! that nobody here knows are forwarded. What it deliberately cannot do: change a field, or repeat
//! a value in what it says about it.

mod schema;

pub use schema::{balance_query_schema, request_schema, status_query_schema};

use super::client::QueryKind;
use super::redact::Secrets;
use domain::{Currency, TrackingId, TransactionType, Uid};
use serde_json::{Map, Number, Value};
use words::money::is_known;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldViolation {
    /// Where, as a JSON pointer (RFC 6901) into the caller's body.
    pub pointer: String,
    /// What is wrong; never what was there.
    pub message: String,
}

/// What a request of some kind must have.
struct RequiredFields {
    parent: bool,
    currency: bool,
    description: bool,
    reason: bool,
    /// The object with the card that it is about.
    card: Option<&'static str>,
}

const fn needs(kind: TransactionType) -> RequiredFields {
    let parentless = RequiredFields {
        parent: false,
        currency: true,
        description: true,
        reason: false,
        card: None,
    };
    let child = RequiredFields {
        parent: true,
        currency: false,
        description: false,
        reason: false,
        card: None,
    };
    match kind {
        // Card, token or encrypted card: which of them is for the gateway to say.
        TransactionType::Payment
        | TransactionType::Authorization
        | TransactionType::Tokenization => parentless,
        TransactionType::Payout => RequiredFields {
            card: Some("recipient_credit_card"),
            ..parentless
        },
        TransactionType::Checkup => RequiredFields {
            card: Some("credit_card"),
            ..parentless
        },
        TransactionType::Capture | TransactionType::Void | TransactionType::Chargeback => child,
        TransactionType::Refund => RequiredFields {
            reason: true,
            ..child
        },
    }
}

/// Checks the fields of a request: those inside the gateway's `request`. The tracking id is a name
/// of our own API and is parsed there.
pub fn check_request(kind: TransactionType, fields: &Map<String, Value>) -> Vec<FieldViolation> {
    if fields.get("request").is_some_and(Value::is_object) && !fields.contains_key("amount") {
        return vec![problem(
            "/request",
            "fields are given without the request wrapper",
        )];
    }
    let needs = needs(kind);
    let mut problems = Violations {
        fields,
        found: Vec::new(),
    };
    problems.amount();
    problems.currency(needs.currency);
    problems.parent_uid(needs.parent);
    problems.text("description", MAX_TEXT_LEN, needs.description);
    problems.text("reason", MAX_TEXT_LEN, needs.reason);
    if let Some(card) = needs.card {
        problems.card_given(card);
    }
    for name in BOOLEANS {
        problems.of_type(name, "a boolean", Value::is_boolean);
    }
    for name in STRINGS {
        problems.of_type(name, "a string", Value::is_string);
    }
    for name in OBJECTS {
        problems.of_type(name, "an object", Value::is_object);
    }
    for (object, name, most) in LIMITS {
        problems.limit(object, name, *most);
    }
    let card = Secrets::of_fields_of(fields);
    if card.has_cards() {
        ids_with_the_card(fields, &card, "", &mut problems.found);
    }
    problems.found
}

/// The greatest whole number up to which all whole numbers can be told apart wherever JSON is read
/// (RFC 8785): two requests for different amounts above it would be the same request.
const MAX_AMOUNT: i64 = 9_007_199_254_740_991;

/// What is said of an id with the number of the request's own card in it.
pub const HOLDS_THE_CARD: &str = "must not hold the number of the request's card";

/// The longest tracking id that the gateway has, in characters.
const MAX_TRACKING_ID: usize = 255;

/// The longest description and reason, in characters.
const MAX_TEXT_LEN: usize = 255;

const BOOLEANS: [&str; 2] = ["test", "duplicate_check"];

const STRINGS: [&str; 5] = [
    "language",
    "return_url",
    "verification_url",
    "expired_at",
    "dynamic_billing_descriptor",
];

const OBJECTS: [&str; 6] = [
    "credit_card",
    "encrypted_credit_card",
    "recipient_credit_card",
    "customer",
    "billing_address",
    "additional_data",
];

/// The documented lengths, in characters.
const LIMITS: &[(&str, &str, usize)] = &[
    ("credit_card", "number", 19),
    ("credit_card", "holder", 32),
    ("recipient_credit_card", "number", 19),
    ("recipient_credit_card", "holder", 32),
    ("billing_address", "first_name", 30),
    ("billing_address", "last_name", 30),
    ("billing_address", "city", 60),
    ("billing_address", "address", 255),
];

fn problem(pointer: &str, message: &str) -> FieldViolation {
    FieldViolation {
        pointer: pointer.to_owned(),
        message: message.to_owned(),
    }
}

struct Violations<'a> {
    fields: &'a Map<String, Value>,
    found: Vec<FieldViolation>,
}

impl Violations<'_> {
    fn add(&mut self, name: &str, message: &str) {
        self.found.push(problem(&format!("/{name}"), message));
    }

    /// A field that is there and not null.
    fn value(&self, name: &str) -> Option<&Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    fn amount(&mut self) {
        let message = match self.value("amount") {
            None => "is required",
            Some(Value::Number(number)) => match whole(number) {
                Some(1..=MAX_AMOUNT) => return,
                Some(..=0) => "must be greater than 0",
                None if number.as_f64().is_some_and(|n| n.fract() != 0.0) => {
                    "must be an integer in minor units, without a fraction"
                }
                Some(_) | None => "is too large",
            },
            Some(Value::String(_)) => "must be an integer in minor units, not a string",
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
                "must be an integer in minor units"
            }
        };
        self.add("amount", message);
    }

    fn currency(&mut self, required: bool) {
        let message = match self.value("currency") {
            None if required => "is required",
            None => return,
            Some(value) => match value.as_str().and_then(Currency::parse) {
                None => "must be a currency code of three capital letters",
                // It is forwarded as it is, and shown in capital letters: the two must be one.
                Some(currency) if value.as_str() != Some(currency.as_str()) => {
                    "must be written in capital letters"
                }
                Some(currency) if is_known(currency) => return,
                Some(_) => "is not a known currency",
            },
        };
        self.add("currency", message);
    }

    fn parent_uid(&mut self, required: bool) {
        let message = match self.value("parent_uid") {
            None if required => "is required",
            None => return,
            Some(value) => match value.as_str().and_then(Uid::from_gateway) {
                None => "must be the uid of a transaction",
                Some(_) => return,
            },
        };
        self.add("parent_uid", message);
    }

    fn text(&mut self, name: &str, most: usize, required: bool) {
        let message = match self.value(name) {
            None if required => "is required".to_owned(),
            None => return,
            Some(Value::String(text)) if text.trim().is_empty() && required => {
                "must not be blank".to_owned()
            }
            Some(Value::String(text)) if text.chars().count() > most => at_most(most),
            Some(Value::String(_)) => return,
            Some(_) => "must be a string".to_owned(),
        };
        self.add(name, &message);
    }

    /// The card itself, or something encrypted in its place.
    fn card_given(&mut self, name: &str) {
        let encrypted = self.fields.keys().any(|key| key.starts_with("encrypted_"));
        if self.value(name).is_none() && !encrypted {
            self.add(name, "is required");
        }
    }

    fn of_type(&mut self, name: &str, expected: &str, is: fn(&Value) -> bool) {
        if self.value(name).is_some_and(|value| !is(value)) {
            self.add(name, &format!("must be {expected}"));
        }
    }

    fn limit(&mut self, object: &str, name: &str, most: usize) {
        let value = self.value(object).and_then(|object| object.get(name));
        let message = match value {
            None | Some(Value::Null) => return,
            // What the card's owner has encrypted is longer than what is in it.
            Some(Value::String(text)) if text.starts_with('$') => return,
            Some(Value::String(text)) if text.chars().count() <= most => return,
            Some(Value::String(_)) => at_most(most),
            Some(_) => "must be a string".to_owned(),
        };
        self.add(&format!("{object}/{name}"), &message);
    }
}

/// A whole number, however it is written: `100`, `100.0` and `1e2` are equal as JSON (RFC 8785), so
/// that they are the same request. `None` for others, and for those that JSON cannot tell apart.
fn whole(number: &Number) -> Option<i64> {
    let value = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole; what is too large saturates"
        )]
        Some(float as i64)
    });
    value.filter(|value| (-MAX_AMOUNT..=MAX_AMOUNT).contains(value))
}

/// Writes the amount of a request as digits alone, the only way that the gateway's documents have.
/// Tells whether that changed anything.
pub fn plain_amount(body: &mut Value) -> bool {
    let Some(amount) = body.get_mut("amount").filter(|amount| amount.is_f64()) else {
        return false;
    };
    let Some(plain) = amount.as_number().and_then(whole) else {
        return false;
    };
    *amount = plain.into();
    true
}

fn at_most(most: usize) -> String {
    format!("must have at most {most} characters")
}

/// So many names that hold the card's number are told of.
const MAX_VIOLATIONS: usize = 100;

/// Longer pointers to fields are cut.
const MAX_POINTER_LEN: usize = 512;

/// Ids are stored as they are, so that none may hold the number of the very card that the request is
/// about. Nothing else about an id is guessed.
fn ids_with_the_card(
    fields: &Map<String, Value>,
    card: &Secrets,
    pointer: &str,
    found: &mut Vec<FieldViolation>,
) {
    for (name, value) in fields {
        if found.len() >= MAX_VIOLATIONS {
            return;
        }
        let mut pointer = format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"));
        // Each problem has a copy of it, and a name may be as long as the body.
        pointer.truncate(pointer.floor_char_boundary(MAX_POINTER_LEN));
        let is_id = matches!(
            name.as_str(),
            "uid" | "parent_uid" | "tracking_id" | "request_id"
        );
        let holds = match value {
            Value::String(text) => is_id && card.number_is_in(text),
            Value::Number(number) => is_id && card.number_is_in(&number.to_string()),
            Value::Null | Value::Bool(_) => false,
            Value::Array(items) => {
                for (place, item) in items.iter().enumerate() {
                    if let Value::Object(inner) = item {
                        ids_with_the_card(inner, card, &format!("{pointer}/{place}"), found);
                    }
                }
                false
            }
            Value::Object(inner) => {
                ids_with_the_card(inner, card, &pointer, found);
                false
            }
        };
        if holds {
            found.push(problem(&pointer, HOLDS_THE_CARD));
        }
    }
}

/// Reads the body of a status query: `uid` or `tracking_id`, one of them.
pub fn status_query(fields: &Map<String, Value>) -> Result<QueryKind, Vec<FieldViolation>> {
    let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
    match (given("uid"), given("tracking_id")) {
        (Some(uid), None) => uid
            .as_str()
            .and_then(Uid::from_gateway)
            .map(QueryKind::ByUid)
            .ok_or_else(|| vec![problem("/uid", "must be the uid of a transaction")]),
        (None, Some(id)) => id
            .as_str()
            .and_then(TrackingId::from_gateway)
            .filter(|id| id.as_str() != "." && id.as_str() != "..")
            .filter(|id| id.as_str().chars().count() <= MAX_TRACKING_ID)
            .map(|id| QueryKind::ByTrackingId(id.as_str().to_owned()))
            .ok_or_else(|| vec![problem("/tracking_id", "must be a tracking id")]),
        (None, None) => Err(vec![problem("", "needs uid or tracking_id")]),
        (Some(_), Some(_)) => Err(vec![problem("", "needs uid or tracking_id, not both")]),
    }
}

/// Reads the body of a balance query: `account`, `currency` or `gateway_id`; which of them the
/// acquirer wants is for the gateway to say.
pub fn balance_query(fields: &Map<String, Value>) -> Result<QueryKind, Vec<FieldViolation>> {
    let mut problems = Violations {
        fields,
        found: Vec::new(),
    };
    problems.currency(false);
    problems.of_type("account", "a string", Value::is_string);
    problems.of_type("gateway_id", "a string or an integer", |value| {
        value.is_string() || value.as_number().and_then(whole).is_some()
    });
    if ["account", "currency", "gateway_id"]
        .iter()
        .all(|name| problems.value(name).is_none())
    {
        problems
            .found
            .push(problem("", "needs account, currency or gateway_id"));
    }
    if problems.found.is_empty() {
        Ok(QueryKind::Balance(fields.clone()))
    } else {
        Err(problems.found)
    }
}

#[cfg(test)]
mod tests;
