//! How a row of the grammar becomes what travels: a status, headers and bytes. It is made from entries
//! of the gateway's books, so that it is always known what would have been true.

use super::bytes::{self, BytesEnd, MARK};
use super::grammar::{
    Amount, Bytes, CardData, Channel, Code, Created, Currency, Envelope, Errors, Http, Kind, List,
    Named, Parent, Retry, Row, Status, Test, Updated, Value as _, Whose,
};
use domain::Timestamp;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// One transaction of the gateway, as its books have it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub uid: String,
    /// The name under which it is filed.
    pub name: Option<String>,
    pub kind: String,
    pub amount: i64,
    pub currency: String,
    pub parent: Option<String>,
    pub test: bool,
    pub status: String,
    pub code: Option<String>,
    pub message: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub card: Card,
}

/// The card of a transaction; canaries, that must be found in nothing that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Card {
    pub number: String,
    pub holder: String,
    pub cvc: String,
    pub expiry: (u8, u16),
}

/// The names that a row may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub own: String,
    pub anothers: String,
    pub parents: String,
}

/// What an answer is made from.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The transaction that it is about: who that is, is said by the row.
    pub about: Entry,
    /// The other rows of a list.
    pub beside: Vec<Entry>,
    pub names: Names,
    pub task: String,
    /// Where tasks have their addresses.
    pub origin: String,
    /// The `updated_at` of what was told of it before.
    pub before: Timestamp,
}

/// An answer, or a webhook, as it travels.
#[derive(Debug, Clone)]
pub struct Rendered {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    /// The wait that `Retry-After` means.
    pub retry_after: Option<Duration>,
    pub body: Vec<u8>,
    pub end: BytesEnd,
}

/// The transaction as the gateway has to have it if a row is to be true.
pub fn told(row: &Row, about: &Entry, names: &Names) -> Entry {
    let mut entry = about.clone();
    match row.get() {
        Named::True | Named::Absent | Named::OtherCase | Named::Cut => {}
        Named::Own => entry.name = Some(names.own.clone()),
        Named::Anothers => entry.name = Some(names.anothers.clone()),
        Named::Parents => entry.name = Some(names.parents.clone()),
    }
    if !matches!(row.get(), Status::True | Status::Unknown | Status::Absent) {
        entry.status = word::<Status>(row).to_owned();
    }
    if row.is(Status::Unknown) {
        entry.status = UNKNOWN_STATUS.to_owned();
    }
    entry.code = code(row, &entry);
    match row.get() {
        Amount::Other => entry.amount += 100,
        // 15.00 for 1500: whoever writes so may mean fifteen.
        Amount::TextMajor => entry.amount /= 100,
        _ => {}
    }
    if row.is(Currency::Other) {
        entry.currency = "USD".to_owned();
    }
    if row.is(Kind::Other) {
        entry.kind = "payout".to_owned();
    }
    if row.is(Parent::Other) {
        entry.parent = Some("uid-of-another-parent".to_owned());
    }
    if row.is(Test::Other) {
        entry.test = !entry.test;
    }
    entry
}

/// A status that is in no table.
pub const UNKNOWN_STATUS: &str = "in_review";

fn word<V: super::grammar::Value>(row: &Row) -> &'static str {
    super::grammar::FACTORS[V::FACTOR].words[usize::from(row.at(V::FACTOR))]
}

/// The code that stands beside a status, where the row does not name another.
fn code(row: &Row, entry: &Entry) -> Option<String> {
    match row.get() {
        Code::True if row.is(Status::True) && entry.code.is_some() => entry.code.clone(),
        Code::True => match entry.status.as_str() {
            "successful" => Some("S.0000".to_owned()),
            "failed" => Some("F.0105".to_owned()),
            "incomplete" => Some("P.9998".to_owned()),
            _ => None,
        },
        Code::Two => Some("E.1025".to_owned()),
        _ => Some(word::<Code>(row).to_owned()),
    }
}

/// The other rows that a list has; they have to stand in the books as well. `own` is the transaction
/// under whose name they are listed.
pub fn beside(list: List, own: &Entry) -> Vec<Entry> {
    let other = |nth: i64, older: Duration| Entry {
        uid: format!("uid-beside-{nth}"),
        status: "failed".to_owned(),
        code: Some("F.0105".to_owned()),
        created_at: own.created_at.minus(older),
        updated_at: own.updated_at.minus(older),
        ..own.clone()
    };
    let days = |n: i64| Duration::from_secs(u64::try_from(n).unwrap_or(1) * 86_400 + 7_200);
    let many = |n: i64| (1..n).map(|nth| other(nth, days(nth))).collect();
    match list {
        List::Alone | List::Empty => Vec::new(),
        List::Older => vec![other(1, days(1))],
        List::Unlike => vec![Entry {
            amount: own.amount + 700,
            ..other(1, Duration::ZERO)
        }],
        List::Nine => many(9),
        List::Ten => many(10),
        List::Eleven => many(11),
        List::OursLast => many(3),
        List::SiblingUnreadable => vec![other(1, Duration::from_secs(60))],
    }
}

/// Makes the answer.
pub fn render(row: &Row, scene: &Scene) -> Rendered {
    let envelope = row.envelope();
    let status = status(row, envelope);
    let mut headers = Vec::new();
    let retry = match row.get() {
        Retry::None => None,
        Retry::Past => {
            headers.push(("date", "Mon, 30 Nov 2026 12:00:00 GMT".to_owned()));
            headers.push(("retry-after", "Mon, 30 Nov 2026 11:00:00 GMT".to_owned()));
            Some(0)
        }
        Retry::Zero | Retry::Seven | Retry::HalfMinute | Retry::Day => {
            let text = word::<Retry>(row);
            headers.push(("retry-after", text.to_owned()));
            text.parse().ok()
        }
    };
    if row.is(Bytes::Gzip) {
        headers.push(("content-encoding", "gzip".to_owned()));
    }
    let body = content(row, envelope, scene);
    let (body, end) = bytes::of(row, &body);
    Rendered {
        status,
        headers,
        retry_after: retry.map(Duration::from_secs),
        body: if row.is(Http::S204) { Vec::new() } else { body },
        end,
    }
}

/// The HTTP status that goes with what is answered, where the row does not name another.
fn status(row: &Row, envelope: Envelope) -> u16 {
    let right = match (envelope, row.get()) {
        (Envelope::Processing, Channel::TaskResult) => 425,
        (Envelope::UnknownTask, _) => 404,
        (
            Envelope::ErrorResponse
            | Envelope::ErrorErrors
            | Envelope::ErrorCode
            | Envelope::ErrorMessage,
            channel,
        ) => match channel {
            Channel::ByUid | Channel::ByName | Channel::Query => 404,
            _ if envelope == Envelope::ErrorMessage => 500,
            _ => 422,
        },
        _ => 200,
    };
    word::<Http>(row).parse().unwrap_or(right)
}

/// The body before anything happens to its bytes.
fn content(row: &Row, envelope: Envelope, scene: &Scene) -> Value {
    let about = || transaction(row, &told(row, &scene.about, &scene.names), scene);
    let task = |word: &str| json!({"status": word, "request_id": scene.task, "note": MARK});
    let addresses = |mut body: Value| {
        body["status_url"] = json!(format!("{}/async/status/{}", scene.origin, scene.task));
        body["response_url"] = json!(format!("{}/async/result/{}", scene.origin, scene.task));
        body
    };
    let mut body = match envelope {
        Envelope::Right | Envelope::V2 => json!({ "transaction": about() }),
        Envelope::V3 => about(),
        Envelope::V3Section | Envelope::V3SectionUid => {
            let mut body = about();
            body["transaction"] = json!({"auth_code": "901872", "rrn": "633412789012",
                "status": "successful", "gateway_id": 5});
            if envelope == Envelope::V3SectionUid {
                body["transaction"]["uid"] = json!("ACQ-778899");
            }
            body
        }
        Envelope::List => json!({ "transactions": rows(row, scene, about()) }),
        Envelope::ErrorResponse
        | Envelope::ErrorErrors
        | Envelope::ErrorCode
        | Envelope::ErrorMessage => return error(row, envelope, &scene.about.card),
        Envelope::Processing => addresses(task("processing")),
        Envelope::Completed => addresses(task("completed")),
        Envelope::UnknownTask => task("unknown"),
        Envelope::Empty => json!({}),
        Envelope::Unknown => json!({"result_code": 7, "payload": ["a", "b"], "note": MARK}),
    };
    if !row.is(Errors::None) {
        body["errors"] = errors(row);
    }
    body
}

fn rows(row: &Row, scene: &Scene, about: Value) -> Vec<Value> {
    if row.is(List::Empty) {
        return Vec::new();
    }
    let plain = Row::default();
    let mut rows: Vec<Value> = scene
        .beside
        .iter()
        .map(|entry| {
            let mut other = transaction(&plain, entry, scene);
            if row.is(List::SiblingUnreadable) {
                other["amount"] = json!("1,5");
            }
            if let Some(fields) = other.as_object_mut() {
                fields.remove("description");
            }
            other
        })
        .collect();
    let place = if row.is(List::OursLast) {
        rows.len()
    } else {
        0
    };
    rows.insert(place, about);
    rows
}

/// One transaction in JSON.
fn transaction(row: &Row, entry: &Entry, scene: &Scene) -> Value {
    let mut body = json!({"status": entry.status, "type": entry.kind, "currency": entry.currency,
        "description": MARK, "language": "en", "payment_method_type": "credit_card"});
    let fields = body.as_object_mut().expect("an object");
    let put = |fields: &mut Map<String, Value>, key: &str, value: Value| {
        fields.insert(key.to_owned(), value);
    };
    if !row.is(Whose::None) {
        put(fields, "uid", json!(entry.uid));
        put(fields, "id", json!(entry.uid));
    }
    if row.is(Status::Absent) {
        fields.remove("status");
    }
    let name = entry.name.as_deref().unwrap_or_default();
    match row.get() {
        Named::Absent => {}
        Named::OtherCase => put(fields, "tracking_id", json!(name.to_uppercase())),
        Named::Cut => put(
            fields,
            "tracking_id",
            json!(name.chars().take(20).collect::<String>()),
        ),
        Named::True | Named::Own | Named::Anothers | Named::Parents => {
            if entry.name.is_some() {
                put(fields, "tracking_id", json!(name));
            }
        }
    }
    let amount = entry.amount;
    match row.get() {
        Amount::Equal | Amount::Other => put(fields, "amount", json!(amount)),
        Amount::Text => put(fields, "amount", json!(amount.to_string())),
        Amount::TextDecimals | Amount::TextMajor => {
            put(fields, "amount", json!(format!("{amount}.00")));
        }
        Amount::Fraction => {
            let text = format!("{amount}.4");
            put(
                fields,
                "amount",
                serde_json::from_str(&text).expect("a number"),
            );
        }
        Amount::Null => put(fields, "amount", Value::Null),
        Amount::Absent => {}
    }
    one_of(fields, "currency", row.at(Currency::FACTOR));
    one_of(fields, "type", row.at(Kind::FACTOR));
    if let Some(parent) = &entry.parent {
        put(fields, "parent_uid", json!(parent));
        one_of(fields, "parent_uid", row.at(Parent::FACTOR));
    }
    if !row.is(Test::Absent) {
        put(fields, "test", json!(entry.test));
    }
    time(
        fields,
        "created_at",
        row.at(Created::FACTOR),
        entry.created_at,
        scene,
    );
    time(
        fields,
        "updated_at",
        row.at(Updated::FACTOR),
        entry.updated_at,
        scene,
    );
    if let Some(code) = &entry.code {
        put(fields, "code", json!(code));
    }
    if row.is(Code::Two) {
        put(fields, "error_code", json!("P.9999"));
    }
    if let Some(message) = &entry.message {
        put(fields, "message", json!(message));
    }
    card(row, fields, &entry.card);
    body
}

/// Null and absent stand at the same places in every factor that has them.
fn one_of(fields: &mut Map<String, Value>, key: &str, nth: u8) {
    match nth {
        2 => {
            fields.insert(key.to_owned(), Value::Null);
        }
        3 => {
            fields.remove(key);
        }
        _ => {}
    }
}

fn time(fields: &mut Map<String, Value>, key: &str, nth: u8, at: Timestamp, scene: &Scene) {
    const HOUR: u64 = 3600;
    let behind = |seconds| at.minus(Duration::from_secs(seconds)).to_rfc3339();
    let text = match Created::ALL[usize::from(nth)] {
        Created::Right => at.to_rfc3339(),
        Created::Absent => return,
        Created::NoZone => at.to_rfc3339().trim_end_matches('Z').to_owned(),
        Created::Behind3Min => behind(180),
        Created::Behind1H => behind(HOUR),
        Created::Behind25H => behind(25 * HOUR),
        Created::Ahead => at.plus(Duration::from_secs(900)).to_rfc3339(),
        Created::Before => scene.before.to_rfc3339(),
    };
    fields.insert(key.to_owned(), json!(text));
}

/// Puts card data into a transaction or an error.
fn card(row: &Row, fields: &mut Map<String, Value>, card: &Card) {
    let (month, year) = card.expiry;
    let digits: String = card.number.chars().filter(char::is_ascii_digit).collect();
    let mut section =
        json!({"brand": "visa", "last_4": digits.get(12..), "token": "5b1f0c2e-7d54"});
    let mut put = |key: &str, value: Value| section[key] = value;
    match row.get() {
        CardData::None => return,
        CardData::Number => put("number", json!(card.number)),
        CardData::Holder => put("holder", json!(card.holder)),
        CardData::Cvc => put("verification_value", json!(card.cvc)),
        CardData::Expiry => {
            put("exp_month", json!(month));
            put("exp_year", json!(year));
        }
        CardData::HolderNames => {
            for key in ["cardholder", "card_holder", "holder_name"] {
                put(key, json!(card.holder));
            }
        }
        CardData::CvcNames => {
            for key in ["security_code", "cvn", "cvv"] {
                put(key, json!(card.cvc));
            }
        }
        CardData::ExpiryNames => {
            put("expiry", json!(format!("{month:02}/{year}")));
            put("expiration", json!(format!("{year}-{month:02}")));
        }
        CardData::Echoed => {
            put("holder", json!(card.holder));
            put("number", json!(card.number));
            let text = format!("Card {} of {} is declined", card.number, card.holder);
            fields.insert("message".to_owned(), json!(text));
        }
        CardData::OtherCase => {
            put("Holder", json!(card.holder));
            put("CARD_NUMBER", json!(card.number));
            let text = format!("{} is declined", card.holder.to_lowercase());
            fields.insert("message".to_owned(), json!(text));
        }
    }
    fields.insert("credit_card".to_owned(), section);
}

/// What stands under `errors`.
fn errors(row: &Row) -> Value {
    let base = |text: &str| json!({ "base": [text] });
    match row.get() {
        Errors::None => Value::Null,
        Errors::OurField => json!({"amount": ["is too large"]}),
        Errors::OtherField => json!({"merchant_limits": ["are not set"]}),
        Errors::NotFound => base("Record not found"),
        Errors::TimeOut => base("The acquirer did not answer in time, the result is not known"),
        Errors::InProgress => base("Transaction is in progress"),
        Errors::Already => base("Transaction has already been taken"),
        Errors::NotUnique => base("is not unique"),
        Errors::Proxy => base("upstream request timeout"),
        Errors::Text => json!({"base": "Transaction is not supported"}),
        Errors::Nested => json!({"credit_card": {"number": ["is invalid"]}}),
        Errors::Empty => json!({}),
    }
}

fn error(row: &Row, envelope: Envelope, of: &Card) -> Value {
    let mut body = json!({"message": message(row), "note": MARK});
    let fields = body.as_object_mut().expect("an object");
    if !matches!(envelope, Envelope::ErrorMessage) && !row.is(Errors::None) {
        fields.insert("errors".to_owned(), errors(row));
    }
    let named = match row.get() {
        Code::True => (envelope == Envelope::ErrorCode).then_some("E.1025"),
        Code::Two => Some("E.1025"),
        _ => Some(word::<Code>(row)),
    };
    if let Some(code) = named {
        fields.insert("code".to_owned(), json!(code));
    }
    if row.is(Code::Two) {
        fields.insert("error_code".to_owned(), json!("P.9999"));
    }
    card(row, fields, of);
    match envelope {
        Envelope::ErrorResponse => json!({ "response": body }),
        _ => body,
    }
}

/// The message of an error: what it says is what its code or its `errors` say.
fn message(row: &Row) -> &'static str {
    match (row.get(), row.get()) {
        (Code::E1018, _) => "Duplicate transaction",
        (Code::E1019 | Code::P0001 | Code::P1019, _) => "Transaction in progress",
        (Code::E1021, _) => "Authorization error",
        (Code::E1023, _) => "Bad request",
        (Code::E1035, _) => "Acquirer response error",
        (Code::E1036, _) => "Request expired",
        (_, Errors::NotFound) => "Record not found",
        (_, Errors::TimeOut) => "Acquirer timeout",
        (_, Errors::InProgress) => "Transaction is in progress",
        (_, Errors::Already) => "Transaction has already been taken",
        (_, Errors::None) => "The request could not be handled",
        _ => "Validation error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::grammar::When;

    fn scene() -> Scene {
        let at = Timestamp::parse("2026-11-30T12:00:00Z").unwrap();
        let card = Card {
            number: "4012888888881881".to_owned(),
            holder: "CANARY HOLDER".to_owned(),
            cvc: "9173".to_owned(),
            expiry: (11, 2039),
        };
        let about = Entry {
            uid: "uid-1".to_owned(),
            name: Some("order-2026-11-30-00017-1".to_owned()),
            kind: "payment".to_owned(),
            amount: 1500,
            currency: "EUR".to_owned(),
            parent: None,
            test: false,
            status: "successful".to_owned(),
            code: None,
            message: None,
            created_at: at,
            updated_at: at,
            card,
        };
        Scene {
            about,
            beside: Vec::new(),
            names: Names {
                own: "order-2026-11-30-00017-1".to_owned(),
                anothers: "order-2026-11-30-00018-1".to_owned(),
                parents: "order-2026-11-29-00003-1".to_owned(),
            },
            task: "task-1".to_owned(),
            origin: "https://gateway.test".to_owned(),
            before: at,
        }
    }

    fn body(row: Row) -> Value {
        serde_json::from_slice(&render(&row, &scene()).body).unwrap()
    }

    #[test]
    fn an_honest_response_matches_the_gateways_records() {
        let row = Row::honest(Channel::TaskResult, When::Processing);
        let told = &body(row)["transaction"];
        assert_eq!(
            (&told["uid"], &told["amount"]),
            (&json!("uid-1"), &json!(1500))
        );
        assert_eq!(told["created_at"], json!("2026-11-30T12:00:00Z"));
        let list = body(Row::honest(Channel::ByName, When::InDoubt));
        assert_eq!(list["transactions"].as_array().map(Vec::len), Some(1));
        let ack = render(&Row::honest(Channel::Ack, When::Submitting), &scene());
        assert_eq!((ack.status, ack.end), (200, BytesEnd::Whole));
    }

    #[test]
    fn each_value_changes_its_own_field() {
        let result = Row::honest(Channel::TaskResult, When::Processing);
        let amount = |value| body(result.with(value))["transaction"]["amount"].clone();
        assert_eq!(amount(Amount::TextDecimals), json!("1500.00"));
        assert_eq!(amount(Amount::TextMajor), json!("15.00"));
        assert_eq!(amount(Amount::Fraction), json!(1500.4));
        let flat = body(result.with(Envelope::V3SectionUid));
        assert_eq!(flat["uid"], json!("uid-1"));
        assert_eq!(flat["transaction"]["uid"], json!("ACQ-778899"));
        let name = body(result.with(Named::Cut))["transaction"]["tracking_id"].clone();
        assert_eq!(name, json!("order-2026-11-30-000"));
    }

    #[test]
    fn bytes_are_changed_last() {
        let result = Row::honest(Channel::TaskResult, When::Processing);
        let of = |value| render(&result.with(value), &scene());
        assert!(serde_json::from_slice::<Value>(&of(Bytes::BadByte).body).is_err());
        assert!(serde_json::from_slice::<Value>(&of(Bytes::HalfSurrogate).body).is_err());
        assert_eq!(of(Bytes::CutAfter).end, BytesEnd::Broken);
        assert!(of(Bytes::Long).body.len() > 1024 * 1024);
        let every = Bytes::ALL.iter().map(|value| of(*value).body);
        assert!(
            every
                .into_iter()
                .all(|body| !body.windows(6).any(|w| w == MARK.as_bytes()))
        );
    }
}
