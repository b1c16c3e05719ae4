//! The one table that reads refusals: bodies without a uid that answer a submit, or that the task
//! itself produced.
//!
//! `Rejected` ends a payment as "it never happened", so that it needs a documented code, or errors whose
//! names are fields of such a request; everything that could mean "somebody is at it", "nobody knows" or
//! "something broke" stays in doubt. An answer to a GET is about the read, unless the task itself can have
//! produced it. What it deliberately cannot do: read a refusal from a body with a uid (that is a snapshot).

mod names;
mod phrases;
mod words;

use super::body_shape::ErrorBody;
use domain::{Refusal, RefusalKind, TransactionType};
use words::About;

/// Where an error was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalSource {
    /// In the answer to the submit.
    Submit,
    /// In the result of the task: the task itself produced it.
    Task,
}

/// Reads an error with the HTTP status that it came under. `asked`: the kind of the request, where it is
/// known.
pub(super) fn read(
    place: RefusalSource,
    asked: Option<TransactionType>,
    http_status: u16,
    error: &ErrorBody,
) -> Refusal {
    Refusal {
        kind: kind(place, asked, http_status, error),
        code: error.codes.first().cloned(),
        message: error.message.clone(),
        friendly_message: error.friendly_message.clone(),
        http_status: Some(http_status),
    }
}

/// Codes of an error that describes the read and not what was asked for: no request in it, not
/// authorized, no access, a bad request, a wrong media type, no JSON.
pub(super) fn is_about_the_read(error: &ErrorBody) -> bool {
    let of_the_read = |code: &String| {
        matches!(
            code.as_str(),
            "E.1017" | "E.1021" | "E.1022" | "E.1023" | "E.1024" | "E.1026"
        )
    };
    error.codes.iter().any(of_the_read)
}

/// Whether a task can have produced this error: a code of the table, or errors that name a field of the
/// request. Everything else comes from what lies between.
pub(super) fn is_of_the_task(
    asked: Option<TransactionType>,
    http_status: u16,
    error: &ErrorBody,
) -> bool {
    let names_a_field = || {
        let mut texts = error.texts.iter();
        texts.any(|(path, _)| names::is_of_request(asked, path))
    };
    matches!(http_status, 400 | 422)
        && !is_about_the_read(error)
        && (error.codes.iter().any(|code| is_of_the_table(code)) || names_a_field())
}

/// Whether the error says that something may be going on under this request, whatever its HTTP status.
pub(super) fn may_be_in_progress(error: &ErrorBody) -> bool {
    let open =
        |code: &String| code.starts_with(['P', 'S', 'F']) || code == "E.1018" || is_left_open(code);
    error.is_beside_a_transaction || error.codes.iter().any(open) || is_left_open_by_texts(error)
}

/// Whether a body names, wherever and in whatever form, a code that leaves the outcome open: as `E.1018` in a text, or
/// as a number under a name with `code` in it. Other layouts than the documented ones are known of sister services.
pub(super) fn names_open_code(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_uppercase();
    let is_open = |code: &str| code == "E.1018" || is_left_open(code);
    let is_code = |word: &str| {
        let parts = word.split_once('.');
        parts.is_some_and(|(letter, digits)| {
            letter.len() == 1 && digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit())
        })
    };
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '.');
    let mut before = "";
    words.filter(|word| !word.is_empty()).any(|word| {
        let word = word.trim_matches('.');
        let by_letter = is_code(word) && (word.starts_with(['P', 'S', 'F']) || is_open(word));
        let by_number = before.ends_with("CODE") && is_open(&format!("E.{word}"));
        before = word;
        by_letter || by_number
    })
}

fn kind(
    place: RefusalSource,
    asked: Option<TransactionType>,
    http_status: u16,
    error: &ErrorBody,
) -> RefusalKind {
    let credentials = place == RefusalSource::Submit && matches!(http_status, 401 | 403);
    let heard = match place {
        RefusalSource::Submit => (400..=499).contains(&http_status),
        RefusalSource::Task => matches!(http_status, 400 | 422),
    };
    if !heard {
        return RefusalKind::Doubt;
    }
    match by_codes(&error.codes) {
        // Whatever the error says, something was made of the request.
        Some(RefusalKind::Rejected) | None if error.is_beside_a_transaction => RefusalKind::Doubt,
        Some(kind) => kind,
        None if credentials && !is_left_open_by_texts(error) => RefusalKind::Rejected,
        None if !credentials && by_errors(asked, http_status, error) => RefusalKind::Rejected,
        None => RefusalKind::Doubt,
    }
}

/// Codes decide alone. Of several, the one that leaves more open counts.
fn by_codes(codes: &[String]) -> Option<RefusalKind> {
    codes.iter().map(|code| by_code(code)).min()
}

/// The gateway's own codes are `E.1000` to `E.1065`. Six of them do not say that nothing happened: unknown
/// error, duplicate, in progress, bad request, the acquirer answered with an error, the request expired.
fn by_code(code: &str) -> RefusalKind {
    match code {
        "E.1018" => RefusalKind::Duplicate,
        code if is_left_open(code) => RefusalKind::Doubt,
        code if is_own(code) => RefusalKind::Rejected,
        _ => RefusalKind::Doubt,
    }
}

fn is_left_open(code: &str) -> bool {
    matches!(code, "E.1000" | "E.1019" | "E.1023" | "E.1035" | "E.1036")
}

/// Whether a code is one of the gateway's own.
fn is_own(code: &str) -> bool {
    let number = code.strip_prefix("E.").filter(|digits| digits.len() == 4);
    let number = number.and_then(|digits| digits.parse::<u16>().ok());
    number.is_some_and(|number| (1000..=1065).contains(&number))
}

/// Whether a code is one that processing ends with, or the gateway's own.
fn is_of_the_table(code: &str) -> bool {
    code.starts_with(['P', 'S', 'F']) || is_own(code)
}

/// Errors about fields of the request, none of which leaves open what came of it. The statuses for
/// "timed out", "conflict" and "too early" say by themselves that it could be.
fn by_errors(asked: Option<TransactionType>, http_status: u16, error: &ErrorBody) -> bool {
    let about_fields = |(path, text): &(String, String)| {
        let about = if names::is_whole(path) {
            About::Whole
        } else {
            About::Field
        };
        names::is_of_request(asked, path) && !words::leave_open(text, about)
    };
    let open = |text: &Option<String>, about| {
        let text = text.as_deref();
        text.is_some_and(|text| words::leave_open(text, about))
    };
    !error.texts.is_empty()
        && error.texts.iter().all(about_fields)
        && !open(&error.own_message, About::Message)
        && !open(&error.friendly_message, About::Payer)
        && !matches!(http_status, 408 | 409 | 425)
}

/// Whether a text about a field leaves open what came of the request.
pub(super) fn is_open_text(text: &str) -> bool {
    words::leave_open(text, About::Field)
}

/// Whether a text speaks of another attempt, of vain waiting, or of an outcome that nobody knows: whatever the
/// HTTP status says, something may have been made of the request.
fn is_left_open_by_texts(error: &ErrorBody) -> bool {
    let messages = [&error.own_message, &error.friendly_message];
    let texts = error.texts.iter().map(|(_, text)| text);
    let mut all = texts.chain(messages.into_iter().flatten());
    all.any(|text| words::speak_of_the_request(text))
}

#[cfg(test)]
mod tests;
