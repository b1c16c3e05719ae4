//! What texts of errors speak of: the same request at work elsewhere, its progress, a time-out, an outcome
//! that nobody knows. Such a text is doubt. It is read in the languages that the gateway and its acquirers
//! speak, English and Russian before all.
//!
//! What it deliberately cannot do: judge a text about one of the request's own fields by words that such a
//! text has as well: "Date is expired", "State is unknown", "time zone is invalid".

use super::phrases::Phrase;

/// Of what a text is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// Of a field of the request.
    Field,
    /// Of the request as a whole, under `base`.
    Whole,
    /// It is the message beside the errors, which repeats common phrases.
    Message,
    /// It is the message for the payer.
    Payer,
}

/// Beginnings of words that speak of a duplicate or of progress. Words that ordinary refusals hold as well
/// ("cannot be processed") are told by their company.
const DUPLICATE_MARKERS: [&str; 59] = [
    "duplic",
    "duplik",
    "dubl",
    "already",
    "uniqu",
    "twice",
    "been taken",
    "is taken",
    "was taken",
    "in use",
    "been used",
    "is used",
    "was used",
    "in progress",
    "in process",
    "being processed",
    "been processed",
    "was processed",
    "pending",
    "repeat",
    "identical",
    "same transaction",
    "same request",
    "same order",
    "another transaction",
    "previous transaction",
    "conflict",
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
    "уникал",
    "занят",
    "использован",
    "зарегистрирован",
    "идентичн",
    "аналогичн",
    "выполняется",
    "не завершен",
    "не завершён",
    "вже",
    "в процесі",
    "ужо",
    "у працэсе",
    "в очереди",
    "queued",
];

/// Looked for in the texts of `errors` alone: in a message they are part of common phrases.
const IN_PROGRESS_MARKERS: [&str; 10] = [
    "processing",
    "awaiting",
    "not completed",
    "not finished",
    "обработ",
    "обрабат",
    "оброб",
    "апрац",
    "procesando",
    "в ожидании",
];

/// Somebody was waited for in vain.
const TIME_OUT: [&str; 31] = [
    "timeout",
    "time limit",
    "time-out",
    "timed out",
    "timed-out",
    "deadline",
    "not answer",
    "n't answer",
    "no answer",
    "not respond",
    "n't respond",
    "no response",
    "not reply",
    "n't reply",
    "no reply",
    "таймаут",
    "тайм-аут",
    "тайм аут",
    "не ответил",
    "не отвеча",
    "нет ответа",
    "без ответа",
    "ответ не получен",
    "не получен ответ",
    "не дождал",
    "время ожидания",
    "превышено время",
    "время истекло",
    "истекло время",
    "лимит времени",
    "вышло время",
];

/// Something broke, or is away for a while: said of the whole request, it leaves the outcome open.
const BROKEN: [&str; 24] = [
    "in time",
    "unknown error",
    "internal error",
    "system error",
    "server error",
    "technical error",
    "network error",
    "connection",
    "unexpected",
    "went wrong",
    "temporar",
    "try again",
    "try later",
    "unavailable",
    "неизвестная ошибка",
    "внутренняя ошибка",
    "системная ошибка",
    "техническ",
    "соединени",
    "временно",
    "недоступ",
    "позже",
    "позднее",
    "вовремя",
];

/// What may be unknown about something that was begun; the last ones are names of fields as well.
const OUTCOMES: [&str; 9] = [
    "result",
    "outcome",
    "результат",
    "исход",
    "итог",
    "status",
    "state",
    "статус",
    "состояни",
];

/// So many of them are never names of fields.
const NO_FIELDS: usize = 5;

const UNKNOWN: [&str; 21] = [
    "unknown",
    "not known",
    "n't known",
    "unclear",
    "not clear",
    "uncertain",
    "undefined",
    "undetermined",
    "not determined",
    "be determined",
    "not received",
    "been received",
    "no information",
    "неизвест",
    "не извест",
    "неясн",
    "не ясен",
    "неопредел",
    "не определ",
    "не получен",
    "нет информации",
];

/// What may run out while it is worked on, and what may have run out before it came.
const RUNNING: [&str; 9] = [
    "request",
    "transaction",
    "operation",
    "session",
    "запрос",
    "операци",
    "транзакци",
    "сесси",
    "сеанс",
];
const GIVEN: [&str; 7] = ["date", "card", "token", "month", "карт", "дат", "токен"];

/// Whether a text, whatever it is about, speaks of another attempt, of vain waiting, or of an outcome that
/// nobody knows.
pub(super) fn speak_of_the_request(text: &str) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    speaks_of_another(&text)
        || holds(&TIME_OUT)
        || is_out_of_time(&text)
        || (holds(&OUTCOMES[..NO_FIELDS]) && holds(&UNKNOWN))
}

/// Beginnings of what a refusal says. A text about the request as a whole that says nothing of the kind may say
/// anything, above all that nobody knows.
const REFUSES: [&str; 92] = [
    "invalid",
    "not valid",
    "n't valid",
    "required",
    "must",
    "should",
    "blank",
    "empty",
    "missing",
    "absent",
    "not allow",
    "n't allow",
    "not permit",
    "n't permit",
    "not support",
    "n't support",
    "unsupported",
    "forbid",
    "prohibit",
    "denied",
    "declin",
    "refus",
    "reject",
    "restrict",
    "exceed",
    "limit",
    "is too ",
    "are too ",
    "wrong",
    "incorrect",
    "malformed",
    "mismatch",
    "not match",
    "n't match",
    "not exist",
    "n't exist",
    "not found",
    "no such",
    "not possible",
    "impossible",
    "not enabled",
    "disabled",
    "not active",
    "inactive",
    "blocked",
    "blacklist",
    "black list",
    "stop list",
    "insufficient",
    "not enough",
    "expired",
    "is not a",
    "unknown",
    "not a valid",
    "unacceptable",
    "illegal",
    "bad ",
    "not specified",
    "not provided",
    "less than",
    "greater than",
    "more than",
    "невер",
    "недопуст",
    "некоррект",
    "неправильн",
    "обязат",
    "долж",
    "не может",
    "нельзя",
    "запре",
    "отказ",
    "отклон",
    "превыш",
    "лимит",
    "не поддерж",
    "не найден",
    "не существу",
    "не указан",
    "отсутств",
    "слишком",
    "невозможн",
    "заблокир",
    "недостат",
    "can't be",
    "cannot be",
    "can not be",
    "stolen",
    "истек",
    "истёк",
    "not been accept",
    "not accept",
];

/// Whether a text leaves open what came of the request.
pub(super) fn leave_open(text: &str, about: About) -> bool {
    let text = text.to_lowercase().replace('’', "'");
    let holds = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let errors = matches!(about, About::Field | About::Whole);
    let whole = matches!(about, About::Whole | About::Message);
    let outcomes = if whole {
        &OUTCOMES[..]
    } else {
        &OUTCOMES[..NO_FIELDS]
    };
    let expired = holds(&["expired", "истек", "истёк"]);
    speaks_of_another(&text)
        || holds(&TIME_OUT)
        || is_out_of_time(&text)
        || (errors && holds(&IN_PROGRESS_MARKERS))
        || (whole && holds(&BROKEN))
        || (about == About::Whole && !holds(&REFUSES) && !holds(&GIVEN))
        || (whole && expired && holds(&RUNNING) && !holds(&GIVEN))
        || (holds(outcomes) && holds(&UNKNOWN))
        || Phrase::of(&text).may_be_in_progress(about)
}

/// Whether a text speaks of another attempt at the same thing. In small letters.
fn speaks_of_another(text: &str) -> bool {
    DUPLICATE_MARKERS.iter().any(|word| text.contains(word))
        || says_that_it_exists(text)
        || Phrase::of(text).speaks_of_another()
}

/// "Transaction exists", and not "does not exist".
fn says_that_it_exists(text: &str) -> bool {
    ["exist", "существу"].iter().any(|word| {
        let mut found = text.match_indices(word);
        found.any(|(at, _)| {
            let before = text[..at].trim_end();
            let denied = [
                "not",
                "n't",
                "must",
                "should",
                "non",
                "non-",
                "no longer",
                "не",
            ];
            !denied.iter().any(|word| before.ends_with(word))
        })
    })
}

/// "Time out", and not "time out of range".
fn is_out_of_time(text: &str) -> bool {
    text.match_indices("time out").any(|(at, found)| {
        let after = &text[at + found.len()..];
        !after.starts_with(" of") && !after.starts_with(char::is_alphabetic)
    })
}
