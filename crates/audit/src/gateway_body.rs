//! What a stored body of the gateway says: a small reader of its own.
//!
//! It knows four shapes (a list, a transaction, a task, an error) and the words in them that a state
//! hangs on. It shares nothing with the readers of `gateway`, so that a mistake there is not
//! repeated here. What it deliberately cannot do: read what no state depends on (cards, texts for
//! people, addresses to redirect to).

mod digits;

use crate::refusal_table::{self, GatewayError};
use serde_json::{Map, Value};
use words::{Currency, TaskId, Timestamp, TrackingId, Uid};

pub(super) type JsonObject = Map<String, Value>;

/// How a status ends a transaction of the gateway, by its place in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FinalityRank {
    /// Not at all.
    Open,
    /// `expired`.
    Expired,
    /// `failed`, and `error`, `deleted`, `permanent` unless their code leaves it open.
    Failed,
    /// `successful`.
    Successful,
}

impl FinalityRank {
    /// Reads a status with its code.
    pub(super) fn of(status: &str, code: &str) -> Self {
        let asks_again =
            code.starts_with("P.") || ["E.1000", "E.1018", "E.1035", "E.1036"].contains(&code);
        match status {
            "successful" => Self::Successful,
            "expired" => Self::Expired,
            "failed" => Self::Failed,
            "error" | "deleted" | "permanent" if !asks_again => Self::Failed,
            _ => Self::Open,
        }
    }

    /// Whether the gateway means it to be the end.
    pub(super) fn is_final(self) -> bool {
        self > Self::Open
    }
}

/// One transaction, as the gateway told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedTransaction {
    /// Whose description.
    pub uid: Uid,
    /// The gateway's word.
    pub status: String,
    /// What the word amounts to.
    pub ending: FinalityRank,
    /// Its code; empty without one.
    pub code: String,
    /// Its type word.
    pub kind: Option<String>,
    /// Minor units.
    pub amount: Option<i64>,
    /// Its currency.
    pub currency: Option<Currency>,
    /// The name that it is filed under.
    pub tracking_id: Option<TrackingId>,
    /// The parent of a child.
    pub parent_uid: Option<Uid>,
    /// Whether it is a test.
    pub test: Option<bool>,
    /// When the gateway made it.
    pub created_at: Option<Timestamp>,
    /// When the gateway last changed it.
    pub updated_at: Option<Timestamp>,
    /// Something in it that a binding hangs on cannot be read: it agrees with nothing.
    pub garbled: bool,
}

/// What a body is.
#[derive(Debug)]
pub(super) enum GatewayBody {
    /// `transactions`; rows that cannot be read are `None`. Whether an error came with it.
    List(Vec<Option<ReportedTransaction>>, bool),
    /// One transaction; `None` when its uid cannot be read.
    Transaction(Option<Box<ReportedTransaction>>),
    /// A task: its word, its id, and the addresses that came along.
    Task(String, Option<TaskId>, Vec<String>),
    /// An error.
    Error(GatewayError),
    /// Anything else.
    Other,
}

/// Reads a body. Total: any bytes are something.
pub(super) fn read(bytes: &[u8]) -> GatewayBody {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(&digits::quoted(bytes)) else {
        return GatewayBody::Other;
    };
    if let Some(Value::Array(rows)) = fields.get("transactions") {
        let rows = rows
            .iter()
            .map(|row| parse_transaction(envelope(row)?).ok())
            .collect();
        let rows: Vec<_> = rows;
        let partial = has_error(&fields) || has_more(&fields, rows.len());
        return GatewayBody::List(rows, partial);
    }
    if let Some(fields) = envelope(&Value::Object(fields.clone())) {
        return GatewayBody::Transaction(parse_transaction(fields).ok().map(Box::new));
    }
    let balance = fields.get("result").is_some_and(Value::is_object);
    if balance && fields.contains_key("status") {
        return GatewayBody::Other;
    }
    task(&fields)
        .or_else(|| refusal_table::error(&fields).map(GatewayBody::Error))
        .unwrap_or(GatewayBody::Other)
}

/// The fields of the transaction in a body or a row: in its envelope, or flat.
fn envelope(value: &Value) -> Option<&JsonObject> {
    let fields = value.as_object()?;
    // With a uid on both levels the outer one counts: the inner one is the acquirer's.
    if is_said(fields, "uid") {
        return Some(fields);
    }
    // So it is where the outer one is missing from what is a transaction itself.
    let own = ["amount", "currency", "type", "tracking_id"];
    if own.iter().any(|name| is_said(fields, name)) {
        return None;
    }
    let inner = fields.get("transaction")?.as_object()?;
    matches!(text(inner, "uid"), Ok(Some(_))).then_some(inner)
}

/// Whether anything stands under a name.
fn is_said(fields: &JsonObject, name: &str) -> bool {
    let value = fields.get(name).unwrap_or(&Value::Null);
    !value.is_null() && value.as_str() != Some("")
}

/// Whether a list came with an error: then it is not all that there is.
fn has_error(fields: &JsonObject) -> bool {
    let texts = ["errors", "message", "friendly_message", "error"];
    texts.iter().any(|name| is_said(fields, name))
        || fields.get("response").is_some_and(Value::is_object)
        || fields.get("status").and_then(Value::as_str) == Some("error")
        || refusal_table::error(fields).is_some_and(|error| !error.codes.is_empty())
}

/// Whether a list tells, beside itself, of rows that are not in it.
fn has_more(fields: &JsonObject, rows: usize) -> bool {
    let given = |name: &str| text(fields, name).ok().flatten();
    let counts = [
        "total",
        "count",
        "total_count",
        "total_items",
        "total_entries",
        "total_results",
    ];
    let mut counts = counts.into_iter().filter_map(given);
    let mut flags = ["has_more", "more", "has_next", "truncated"].into_iter();
    let mut next = ["next", "next_page", "next_cursor"].into_iter();
    let mut inner = ["meta", "pagination", "paging", "page", "pager"].into_iter();
    counts.any(|count| {
        count
            .trim()
            .parse::<f64>()
            .is_ok_and(|count| count > rows as f64)
    }) || flags.any(|name| flag(fields, name) == Some(true))
        || next.any(|name| is_said(fields, name) && flag(fields, name) != Some(false))
        || inner.any(|name| match fields.get(name) {
            Some(Value::Object(section)) => has_more(section, rows),
            _ => false,
        })
}

/// What is there must have something in it.
fn filled(fields: &JsonObject, name: &str) -> Result<(), UnreadableBody> {
    match fields.get(name).and_then(Value::as_str) {
        Some(text) if text.trim().is_empty() => Err(UnreadableBody),
        _ => Ok(()),
    }
}

pub(super) struct UnreadableBody;

/// A field as text; a number is its digits, an empty text is absent.
pub(super) fn text(fields: &JsonObject, name: &str) -> Result<Option<String>, UnreadableBody> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(UnreadableBody),
    }
}

/// A field that must be readable when it is there.
fn exact<T>(
    fields: &JsonObject,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, UnreadableBody> {
    match text(fields, name)? {
        None => Ok(None),
        Some(text) => parse(&text).map(Some).ok_or(UnreadableBody),
    }
}

fn parse_transaction(fields: &JsonObject) -> Result<ReportedTransaction, UnreadableBody> {
    let loose = |name| text(fields, name).ok().flatten().unwrap_or_default();
    let status = loose("status");
    let uid = |text: &str| Uid::from_gateway(text).filter(|_| !text.contains('\u{fffd}'));
    let kind = filled(fields, "type").and_then(|()| text(fields, "type"));
    let amount = amount(fields);
    let currency = filled(fields, "currency")
        .and_then(|()| exact(fields, "currency", |text| Currency::parse(text.trim())));
    let tracking_id = exact(fields, "tracking_id", TrackingId::from_gateway);
    let parent_uid = match exact(fields, "parent_uid", uid) {
        Ok(None) if matches!(&kind, Ok(Some(kind)) if kind == "chargeback") => {
            let carried = fields.get("parent_transaction").and_then(envelope);
            carried.map_or(Ok(None), |parent| exact(parent, "uid", uid))
        }
        named => named,
    };
    let garbled = kind.is_err()
        || amount.is_err()
        || currency.is_err()
        || tracking_id.is_err()
        || parent_uid.is_err();
    Ok(ReportedTransaction {
        uid: exact(fields, "uid", uid)?.ok_or(UnreadableBody)?,
        ending: FinalityRank::of(&status, &loose("code")),
        status: word(status),
        code: loose("code"),
        kind: kind.ok().flatten().map(word),
        amount: amount.ok().flatten(),
        currency: currency.ok().flatten(),
        tracking_id: tracking_id.ok().flatten(),
        parent_uid: parent_uid.ok().flatten(),
        test: flag(fields, "test"),
        created_at: time(&loose("created_at")),
        updated_at: time(&loose("updated_at")),
        garbled,
    })
}

/// A word as it is kept: without zero bytes, and cut at 64 bytes.
fn word(text: String) -> String {
    let mut end = text.len().min(64);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].replace('\0', "\u{fffd}")
}

/// A whole number, as a number or a text; noughts behind a point make it no other number.
fn amount(fields: &JsonObject) -> Result<Option<i64>, UnreadableBody> {
    match fields.get("amount") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => {
            let text = text.trim();
            let whole = text.trim_end_matches('0');
            let whole = whole.strip_suffix('.').filter(|w| text.len() > w.len() + 1);
            let whole = whole.unwrap_or(text);
            whole.parse().map(Some).map_err(|_| UnreadableBody)
        }
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Ok(Some(whole)),
            // As far as a float holds every whole number.
            (None, Some(float))
                if float.fract() == 0.0 && float.abs() < 9_007_199_254_740_992.0 =>
            {
                format!("{float:.0}")
                    .parse()
                    .map(Some)
                    .map_err(|_| UnreadableBody)
            }
            (None, _) => Err(UnreadableBody),
        },
        Some(_) => Err(UnreadableBody),
    }
}

/// Yes or no; anything else is absent.
fn flag(fields: &JsonObject, name: &str) -> Option<bool> {
    match fields.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => number.as_i64().map(|n| n != 0),
        Value::String(text) if ["true", "1"].contains(&text.trim()) => Some(true),
        Value::String(text) if ["false", "0"].contains(&text.trim()) => Some(false),
        _ => None,
    }
}

/// RFC 3339, or nearly: blanks inside, `UTC`, an offset without a colon. Else absent.
fn time(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|| {
        let text = text.trim().replace("UTC", "Z");
        let (date, rest) = text.split_at_checked(10)?;
        let rest: String = rest
            .chars()
            .filter(|c| !c.is_whitespace() && *c != 'T')
            .collect();
        let bare = rest
            .len()
            .checked_sub(5)
            .and_then(|at| rest.split_at_checked(at));
        let rest = match bare {
            Some((clock, offset)) if offset.starts_with(['+', '-']) && !offset.contains(':') => {
                format!("{clock}{}:{}", &offset[..3], &offset[3..])
            }
            _ => rest,
        };
        Timestamp::parse(&format!("{date}T{rest}"))
    })
}

fn task(fields: &JsonObject) -> Option<GatewayBody> {
    let loose = |name| text(fields, name).ok().flatten();
    let word = fields
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let word = if ["processing", "completed", "unknown"].contains(&word) {
        word
    } else {
        ""
    };
    let addresses: Vec<String> = ["response_url", "status_url"]
        .into_iter()
        .filter_map(loose)
        .collect();
    let addressed = !addresses.is_empty() && !fields.contains_key("errors");
    let id = loose("request_id")
        .as_deref()
        .and_then(TaskId::from_gateway);
    (!word.is_empty() || addressed).then(|| GatewayBody::Task(word.to_owned(), id, addresses))
}

#[cfg(test)]
mod tests;
