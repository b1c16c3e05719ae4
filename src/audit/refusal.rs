//! What an error of the gateway says, and how it is to be taken: the one table of design.md §5, said once
//! more.
//!
//! What it deliberately cannot do: know whether it answered a submit; its caller tells.

use crate::audit::body::{Fields, text};
use serde_json::Value;

/// How an error is to be taken; a later one counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// Nothing follows.
    Doubt,
    /// `E.1018`.
    Duplicate,
    /// It never happened.
    Rejected,
}

/// What an error says.
#[derive(Debug, Default)]
pub(super) struct Error {
    pub(super) codes: Vec<String>,
    /// The texts of `errors`, with the names of their fields.
    texts: Vec<(String, String)>,
    messages: Vec<String>,
}

/// The error in a body that is nothing else.
pub(super) fn error(fields: &Fields) -> Option<Error> {
    let mut layers = vec![fields];
    layers.extend(fields.get("response").and_then(Value::as_object));
    let mut error = Error::default();
    for layer in &layers {
        let loose = |name| text(layer, name).ok().flatten();
        error.codes.extend(
            ["code", "error_code"]
                .into_iter()
                .filter_map(loose)
                .filter_map(code),
        );
        error.messages.extend(
            ["message", "friendly_message"]
                .into_iter()
                .filter_map(loose),
        );
        if let Some(errors) = layer.get("errors") {
            collect(errors, "", &mut error.texts);
        }
    }
    let tells = layers.len() > 1
        || ["errors", "message"]
            .iter()
            .any(|name| fields.contains_key(*name))
        || !error.codes.is_empty();
    tells.then_some(error)
}

/// A letter, a dot and digits; other things are called `code` elsewhere.
fn code(text: String) -> Option<String> {
    let code = text.trim().to_ascii_uppercase();
    let (letter, digits) = code.split_once('.')?;
    let fits =
        letter.len() == 1 && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    fits.then_some(code)
}

fn collect(value: &Value, path: &str, texts: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if !text.trim().is_empty() => {
            texts.push((path.to_owned(), text.clone()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, path, texts)),
        Value::Object(fields) => {
            for (name, value) in fields {
                collect(value, &format!("{path}.{name}"), texts);
            }
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Words that speak of another attempt, wherever they stand. The languages are those of the gateway
/// and its acquirers.
const ANOTHER: &str = "duplic duplik dubl already in_progress in_process being_processed \
    been_processed was_processed pending repeat identical same_transaction bereits doppelt \
    in_bearbeitung déjà en_cours en_curso en_proceso in_corso powtór w_toku przetwarz tekrar zaten \
    дубл повтор в_процессе уже выполняется вже в_процесі ужо у_працэсе";

/// Words that do so in the texts of `errors` alone.
const PROGRESS: &str = "processing обработ обрабат оброб апрац procesando";

impl Error {
    /// Whether it speaks of another attempt at the same thing.
    pub(super) fn speaks_of_another(&self) -> bool {
        let holds = |text: &str, words: &str| {
            let text = text.to_lowercase();
            words
                .split_whitespace()
                .any(|word| text.contains(&word.replace('_', " ")))
        };
        let in_texts = self.texts.iter().any(|(path, text)| {
            holds(path, ANOTHER) || holds(text, ANOTHER) || holds(text, PROGRESS)
        });
        in_texts || self.messages.iter().any(|message| holds(message, ANOTHER))
    }

    /// The one table of design.md §5. `submit`: it answers the submit, and not the task.
    pub(super) fn refusal(&self, status: i32, submit: bool) -> Refusal {
        let heard = (400..=499).contains(&status) || (!submit && (200..=299).contains(&status));
        if !heard {
            return Refusal::Doubt;
        }
        let by_code = |code: &String| match code.as_str() {
            "E.1018" => Refusal::Duplicate,
            "E.1000" | "E.1019" | "E.1035" | "E.1036" => Refusal::Doubt,
            code if code.len() == 6 && code.starts_with("E.10") => Refusal::Rejected,
            _ => Refusal::Doubt,
        };
        if let Some(kind) = self.codes.iter().map(by_code).min() {
            return kind;
        }
        let not_let_in = submit && [401, 403].contains(&status);
        let about_fields = !self.texts.is_empty() && ![408, 409, 425].contains(&status);
        if (not_let_in || about_fields) && !self.speaks_of_another() {
            Refusal::Rejected
        } else {
            Refusal::Doubt
        }
    }
}
