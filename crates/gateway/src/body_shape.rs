//! The shapes of the gateway's bodies, told apart.
//!
//! The same keys mean different things in different bodies: `status` belongs to a task, to a
//! transaction or to a balance, and `transaction` is the envelope in version 2 and a section of the
//! acquirer in version 3. So a body is told by the keys around them, in a fixed order. This is
//! total: any bytes give a shape.
//!
//! What it deliberately cannot do: know what was asked, or what the shape means for a payment.

use super::borrowed_json::{BorrowedJson, ObjectFields};
use super::fields::{self, MAX_KEPT_TEXT_LEN, MAX_KEPT_WORD_LEN, redact_and_truncate};
use super::{redact, refusals, webhook_json};
use std::borrow::Cow;

/// What a body is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape<'a> {
    /// `transactions`: a list, as a look-up by tracking id gives it.
    List {
        rows: Vec<BorrowedJson<'a>>,
        /// It came with an error, or says itself that there are more: what is not in it may be there all the
        /// same.
        troubled: bool,
    },
    /// One transaction, of version 2 or 3; the fields of the transaction itself.
    Transaction(ObjectFields<'a>),
    /// The answer to a balance request.
    Balance(BorrowedJson<'a>),
    /// It speaks of an asynchronous task.
    Task(TaskBody),
    /// An error, in any of its spellings.
    Error(ErrorBody),
    /// JSON that is nothing known.
    Unknown,
    /// Not JSON: empty, cut off, HTML, nested too deep.
    NotJson,
}

/// The status word of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaskStatus {
    Processing,
    Completed,
    Unknown,
    /// There are the task's id and addresses, but no word.
    Unsaid,
}

/// What a body says of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TaskBody {
    pub(super) word: TaskStatus,
    pub(super) request_id: Option<String>,
    pub(super) status_url: Option<String>,
    pub(super) response_url: Option<String>,
}

/// What an error says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ErrorBody {
    /// Every code that it names, in capitals: `E.1025`.
    pub(super) codes: Vec<String>,
    /// Its message, or its texts in one line.
    pub(super) message: Option<String>,
    /// The message as it came, not redacted.
    pub(super) own_message: Option<String>,
    pub(super) friendly_message: Option<String>,
    /// The texts of `errors`, each with the path of its field; as they came, not redacted.
    pub(super) texts: Vec<(String, String)>,
    /// A transaction or a task stands beside it, though neither can be known by its id.
    pub(super) is_beside_a_transaction: bool,
}

/// Tells what a body is.
pub(super) fn shape(body: &[u8]) -> Shape<'_> {
    webhook_json::read_all(body).map_or(Shape::NotJson, shape_of)
}

/// The same for a body that has been read as JSON.
pub(super) fn shape_of(body: BorrowedJson<'_>) -> Shape<'_> {
    match body {
        BorrowedJson::Object(fields) => shape_of_object(fields),
        _ => Shape::Unknown,
    }
}

/// The order of these questions is what tells the bodies apart.
fn shape_of_object(mut fields: ObjectFields<'_>) -> Shape<'_> {
    let troubled = comes_with_an_error(&fields);
    if let Some(BorrowedJson::List(rows)) = fields.get_mut("transactions") {
        let rows = std::mem::take(rows);
        let troubled = troubled || tells_of_more(&fields, rows.len());
        return Shape::List { rows, troubled };
    }
    // In version 3 `transaction` is the acquirer's section, which may have a uid of its own.
    if says(&fields, "uid") {
        return Shape::Transaction(fields);
    }
    let is_section = is_flat(&fields);
    if let Some(BorrowedJson::Object(inner)) = fields.get_mut("transaction")
        && has_uid(inner)
        && !is_section
    {
        return Shape::Transaction(std::mem::take(inner));
    }
    if fields
        .get("result")
        .and_then(BorrowedJson::as_object)
        .is_some()
        && fields.contains("status")
    {
        return Shape::Balance(BorrowedJson::Object(fields));
    }
    if let Some(task) = task(&fields) {
        return Shape::Task(task);
    }
    match error(&fields) {
        Some(error) => Shape::Error(error),
        None => Shape::Unknown,
    }
}

/// The transaction in one row of a list: enveloped or not, version 2 or 3.
pub(super) fn row<'b, 'a>(row: &'b BorrowedJson<'a>) -> Option<&'b ObjectFields<'a>> {
    let fields = row.as_object()?;
    if says(fields, "uid") {
        return Some(fields);
    }
    let inner = fields.get("transaction").and_then(BorrowedJson::as_object);
    inner.filter(|inner| has_uid(inner) && !is_flat(fields))
}

/// Whether an object is a transaction of version 3 itself: what it has under `transaction` is the acquirer's
/// section, and the uid in there is the acquirer's, also where the object's own is missing.
fn is_flat(fields: &ObjectFields<'_>) -> bool {
    let own = ["amount", "currency", "type", "tracking_id"];
    own.iter().any(|name| says(fields, name))
}

/// Whether there is something under a name, readable or not.
fn says(fields: &ObjectFields<'_>, name: &str) -> bool {
    match fields.get(name) {
        None | Some(BorrowedJson::Null) => false,
        Some(BorrowedJson::Text(text)) => !text.is_empty(),
        Some(
            BorrowedJson::Flag(_)
            | BorrowedJson::Number(_)
            | BorrowedJson::List(_)
            | BorrowedJson::Object(_),
        ) => true,
    }
}

/// Whether a list has an error beside it, in any of its spellings.
fn comes_with_an_error(fields: &ObjectFields<'_>) -> bool {
    let named = ["errors", "message", "friendly_message", "error"];
    named.iter().any(|name| says(fields, name))
        || fields
            .get("response")
            .and_then(BorrowedJson::as_object)
            .is_some()
        || fields.get("status").and_then(BorrowedJson::as_str) == Some("error")
        || codes(fields).next().is_some()
}

/// Whether what stands beside a list says that there are more rows than these.
fn tells_of_more(fields: &ObjectFields<'_>, rows: usize) -> bool {
    const FLAGS: [&str; 4] = ["has_more", "more", "has_next", "truncated"];
    const NEXT: [&str; 3] = ["next", "next_page", "next_cursor"];
    const COUNTS: [&str; 6] = [
        "total",
        "count",
        "total_count",
        "total_items",
        "total_entries",
        "total_results",
    ];
    const SECTIONS: [&str; 5] = ["meta", "pagination", "paging", "page", "pager"];
    let exceeds = |name: &&'static str| match fields::exact(fields, name) {
        Ok(Some(count)) => count
            .trim()
            .parse::<f64>()
            .is_ok_and(|count| count > rows as f64),
        Ok(None) | Err(_) => false,
    };
    let is_set = |name: &&'static str| fields::flag(fields, name) == Some(true);
    let is_next =
        |name: &&'static str| says(fields, name) && fields::flag(fields, name) != Some(false);
    let inner = |name: &&str| fields.get(name).and_then(BorrowedJson::as_object);
    FLAGS.iter().any(is_set)
        || NEXT.iter().any(is_next)
        || COUNTS.iter().any(exceeds)
        || SECTIONS
            .iter()
            .filter_map(inner)
            .any(|section| tells_of_more(section, rows))
}

fn has_uid(fields: &ObjectFields<'_>) -> bool {
    fields::exact(fields, "uid").is_ok_and(|uid| uid.is_some())
}

fn task(fields: &ObjectFields<'_>) -> Option<TaskBody> {
    let text = |name| {
        let text = fields::exact(fields, name).ok().flatten();
        text.map(Cow::into_owned)
    };
    let word = match fields.get("status").and_then(BorrowedJson::as_str) {
        Some("processing") => TaskStatus::Processing,
        Some("completed") => TaskStatus::Completed,
        Some("unknown") => TaskStatus::Unknown,
        Some(_) | None => TaskStatus::Unsaid,
    };
    let task = TaskBody {
        word,
        request_id: text("request_id"),
        status_url: text("status_url"),
        response_url: text("response_url"),
    };
    let addressed = task.status_url.is_some() || task.response_url.is_some();
    (word != TaskStatus::Unsaid || (addressed && !fields.contains("errors"))).then_some(task)
}

fn error(fields: &ObjectFields<'_>) -> Option<ErrorBody> {
    let empty = ObjectFields::default();
    let inner = fields.get("response").and_then(BorrowedJson::as_object);
    let layers = [fields, inner.unwrap_or(&empty)];
    let codes: Vec<String> = layers.iter().flat_map(|layer| codes(layer)).collect();
    let text = |name: &'static str| {
        layers
            .iter()
            .find_map(|layer| fields::exact(layer, name).ok().flatten())
    };
    let told = inner.is_some()
        || fields.contains("errors")
        || fields.contains("message")
        || !codes.is_empty();
    let mut texts = Vec::new();
    for layer in layers {
        if let Some(errors) = layer.get("errors") {
            collect_texts(errors, "", &mut texts);
        }
    }
    // What these texts repeat of the body's own card fields is kept nowhere.
    let secrets = redact::Secrets::of_fields(fields);
    let cut = |text: Cow<'_, str>| {
        redact_and_truncate(
            &secrets.redact_holders(text.into_owned()),
            MAX_KEPT_TEXT_LEN,
        )
    };
    let own_message = text("message").map(Cow::into_owned);
    let message = text("message").map(cut);
    let message = message.or_else(|| summary(&texts).map(|text| secrets.redact_holders(text)));
    told.then(|| ErrorBody {
        codes,
        message,
        own_message,
        friendly_message: text("friendly_message").map(cut),
        texts,
        is_beside_a_transaction: layers.iter().any(|layer| holds_a_transaction(layer)),
    })
}

/// Whether a body of no known shape speaks of a transaction or a task.
pub(super) fn speaks_of_a_transaction(body: &[u8]) -> bool {
    match webhook_json::read_all(body) {
        Ok(BorrowedJson::Object(fields)) => holds_a_transaction(&fields),
        Ok(_) | Err(_) => false,
    }
}

/// Whether an object without a readable uid speaks of a transaction or a task all the same.
fn holds_a_transaction(layer: &ObjectFields<'_>) -> bool {
    let named = ["transaction", "request_id", "status_url", "response_url"];
    layer
        .get("uid")
        .is_some_and(|uid| *uid != BorrowedJson::Null)
        || named.iter().any(|name| says(layer, name))
        || match layer.get("status") {
            Some(BorrowedJson::Text(word)) => !is_word_of_an_error(word),
            _ => false,
        }
}

/// Status words that an error has, and no transaction that could have moved money.
fn is_word_of_an_error(word: &str) -> bool {
    let word = word.trim().to_ascii_lowercase();
    let beginnings = [
        "error",
        "fail",
        "invalid",
        "reject",
        "declin",
        "denied",
        "refus",
        "unauthor",
        "forbid",
        "unprocess",
        "bad",
        "not found",
        "not_found",
        "wrong",
        "unsuccess",
    ];
    beginnings.iter().any(|part| word.contains(part)) || word.bytes().all(|b| b.is_ascii_digit())
}

/// A code is one letter, a dot and digits; other things are called `code` elsewhere.
fn codes(layer: &ObjectFields<'_>) -> impl Iterator<Item = String> {
    ["code", "error_code"]
        .into_iter()
        .filter_map(|name| fields::exact(layer, name).ok().flatten())
        .map(|code| redact_and_truncate(&code.trim().to_ascii_uppercase(), MAX_KEPT_WORD_LEN))
        .filter(|code| {
            matches!(code.split_once('.'), Some((letter, digits))
                if letter.len() == 1 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        })
}

/// Longer paths of fields are cut.
const MAX_PATH_LEN: usize = 256;

/// Recursion is bounded by the depth that the JSON reader takes.
fn collect_texts(errors: &BorrowedJson<'_>, path: &str, out: &mut Vec<(String, String)>) {
    match errors {
        BorrowedJson::Text(text) if text.trim().is_empty() => {}
        BorrowedJson::Text(text) => out.push((path.to_owned(), text.clone().into_owned())),
        BorrowedJson::List(items) => items.iter().for_each(|item| collect_texts(item, path, out)),
        BorrowedJson::Object(fields) => fields.iter().for_each(|(name, value)| {
            let mut path = if path.is_empty() {
                name.to_owned()
            } else {
                format!("{path}.{name}")
            };
            // Each text has a copy of it, and a name may be as long as the body.
            path.truncate(path.floor_char_boundary(MAX_PATH_LEN));
            // What stands under the name of a card field is not kept. It is not read either, so that
            // the kept body says the same as the one that came.
            if redact::mentions_card_data(name) {
                let mark = redact::mark_of_error(leaves_open(value));
                out.extend((!is_silent(value)).then(|| (path, mark.to_owned())));
            } else {
                collect_texts(value, &path, out);
            }
        }),
        BorrowedJson::Null | BorrowedJson::Flag(_) | BorrowedJson::Number(_) => {}
    }
}

/// Whether a text leaves open what came of the request; the redactor marks it as such.
fn leaves_open(value: &BorrowedJson<'_>) -> bool {
    match value {
        BorrowedJson::Text(text) => refusals::is_open_text(text),
        BorrowedJson::List(items) => items.iter().any(leaves_open),
        BorrowedJson::Object(fields) => fields.iter().any(|(_, value)| leaves_open(value)),
        BorrowedJson::Null | BorrowedJson::Flag(_) | BorrowedJson::Number(_) => false,
    }
}

/// Whether nothing is said, so that the redactor leaves no mark.
fn is_silent(value: &BorrowedJson<'_>) -> bool {
    match value {
        BorrowedJson::Null => true,
        BorrowedJson::Text(text) => text.is_empty(),
        BorrowedJson::List(items) => items.is_empty(),
        BorrowedJson::Object(fields) => fields.is_empty(),
        BorrowedJson::Flag(_) | BorrowedJson::Number(_) => false,
    }
}

/// The texts of `errors` in one line. What is said of a card field may repeat what was in it.
fn summary(texts: &[(String, String)]) -> Option<String> {
    let lines: Vec<String> = texts
        .iter()
        .map(|(path, text)| match path.rsplit('.').next() {
            Some(name) if redact::mentions_card_data(name) => format!("{path} is refused"),
            Some("" | "base") | None => text.clone(),
            Some(_) => format!("{path} {text}"),
        })
        .collect();
    (!lines.is_empty()).then(|| redact_and_truncate(&lines.join("; "), MAX_KEPT_TEXT_LEN))
}
