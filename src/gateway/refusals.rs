//! The one table that reads refusals: bodies without a uid that answer a submit, or that the task
//! itself produced.
//!
//! `Rejected` ends a payment as "it never happened", so that it needs a documented code or errors
//! about the fields of the request; everything that could mean "somebody is at it" or "something
//! broke" stays in doubt. What it deliberately cannot do: read a refusal from a body with a uid
//! (that is a snapshot), or from an answer about the read itself (401, 403, 429, 502 to 504 to a
//! GET): its callers keep those away.

use super::wire::ErrorBody;
use crate::domain::{Refusal, RefusalKind};

/// Where an error was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the answer to the submit.
    Submit,
    /// In the result of the task: the task itself produced it.
    Task,
}

/// Reads an error with the HTTP status that it came under.
pub(super) fn read(place: Place, http_status: u16, error: &ErrorBody) -> Refusal {
    Refusal {
        kind: kind(place, http_status, error),
        code: error.codes.first().cloned(),
        message: error.message.clone(),
        friendly_message: error.friendly_message.clone(),
        http_status: Some(http_status),
    }
}

/// Codes of an error that describes the read and not what was asked for: not authorized, no
/// access, wrong media type.
pub(super) fn is_about_the_read(error: &ErrorBody) -> bool {
    error
        .codes
        .iter()
        .any(|code| matches!(code.as_str(), "E.1021" | "E.1022" | "E.1024"))
}

/// Whether the error hints that something is going on under this request.
pub(super) fn leaves_open(error: &ErrorBody) -> bool {
    speaks_of_another_attempt(error)
        || error
            .codes
            .iter()
            .any(|code| code.starts_with("P.") || matches!(code.as_str(), "E.1018" | "E.1019"))
}

fn kind(place: Place, http_status: u16, error: &ErrorBody) -> RefusalKind {
    let credentials = place == Place::Submit && matches!(http_status, 401 | 403);
    let heard = match place {
        Place::Submit => (400..=499).contains(&http_status),
        Place::Task => matches!(http_status, 200..=299 | 400..=499),
    };
    if !heard {
        return RefusalKind::Doubt;
    }
    match by_codes(&error.codes) {
        Some(kind) => kind,
        None if credentials => {
            if speaks_of_another_attempt(error) {
                RefusalKind::Doubt
            } else {
                RefusalKind::Rejected
            }
        }
        None if by_errors(http_status, error) => RefusalKind::Rejected,
        None => RefusalKind::Doubt,
    }
}

/// Codes decide alone. Of several, the one that leaves more open counts.
fn by_codes(codes: &[String]) -> Option<RefusalKind> {
    codes.iter().map(|code| by_code(code)).min()
}

/// The gateway's own codes are `E.1000` to `E.1099`. Five of them do not say that nothing happened:
/// unknown error, duplicate, in progress, the acquirer answered with an error, the request expired.
fn by_code(code: &str) -> RefusalKind {
    match code {
        "E.1018" => RefusalKind::Duplicate,
        "E.1000" | "E.1019" | "E.1035" | "E.1036" => RefusalKind::Doubt,
        code => match code.strip_prefix("E.10") {
            Some(rest) if rest.len() == 2 => RefusalKind::Rejected,
            Some(_) | None => RefusalKind::Doubt,
        },
    }
}

/// Errors about fields, none of which could mean that another attempt is known. The statuses for
/// "timed out", "conflict" and "too early" say by themselves that it could.
fn by_errors(http_status: u16, error: &ErrorBody) -> bool {
    !error.texts.is_empty()
        && !speaks_of_another_attempt(error)
        && !matches!(http_status, 408 | 409 | 425)
}

/// Beginnings of words that speak of a duplicate or of progress, in the languages that the gateway
/// and its acquirers speak. Words that ordinary refusals hold as well ("cannot be processed") are
/// told by their company.
const ANOTHER_ATTEMPT: [&str; 35] = [
    "duplic",
    "duplik",
    "dubl",
    "already",
    "in progress",
    "in process",
    "being processed",
    "been processed",
    "was processed",
    "pending",
    "repeat",
    "identical",
    "same transaction",
    "bereits",
    "doppelt",
    "in bearbeitung",
    "déjà",
    "en cours",
    "en curso",
    "en proceso",
    "in corso",
    "powtór",
    "w toku",
    "przetwarz",
    "tekrar",
    "zaten",
    "дубл",
    "повтор",
    "в процессе",
    "уже",
    "выполняется",
    "вже",
    "в процесі",
    "ужо",
    "у працэсе",
];

/// Looked for in the texts of `errors` alone: in a `message` they are part of common phrases.
const PROGRESS: [&str; 6] = [
    "processing",
    "обработ",
    "обрабат",
    "оброб",
    "апрац",
    "procesando",
];

fn speaks_of_another_attempt(error: &ErrorBody) -> bool {
    let holds = |text: &str, words: &[&str]| {
        let text = text.to_lowercase();
        words.iter().any(|word| text.contains(word))
    };
    error.texts.iter().any(|(path, text)| {
        holds(text, &ANOTHER_ATTEMPT) || holds(text, &PROGRESS) || holds(path, &ANOTHER_ATTEMPT)
    }) || [&error.message, &error.friendly_message]
        .into_iter()
        .flatten()
        .any(|text| holds(text, &ANOTHER_ATTEMPT))
}

#[cfg(test)]
mod tests;
