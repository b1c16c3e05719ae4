//! What an error of the gateway says, and how it is to be taken: the one table of design.md §5, said once
//! more.
//!
//! What it deliberately cannot do: know whether it answered a submit; its caller tells.

mod phrases;

use crate::gateway_body::{JsonObject, text};
use serde_json::Value;
use words::TransactionType;

/// How an error is to be taken; a later one counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditedRefusal {
    /// Nothing follows.
    Doubt,
    /// `E.1018`.
    Duplicate,
    /// It never happened.
    Rejected,
}

/// What an error says.
#[derive(Debug, Default)]
pub(super) struct GatewayError {
    pub(super) codes: Vec<String>,
    /// The texts of `errors`, with the names of their fields.
    texts: Vec<(String, String)>,
    messages: Vec<String>,
    /// The messages for the payer.
    for_payers: Vec<String>,
    /// It came along with a transaction or a task.
    accompanies: bool,
}

/// The error in a body that is nothing else.
pub(super) fn error(fields: &JsonObject) -> Option<GatewayError> {
    let mut layers = vec![fields];
    layers.extend(fields.get("response").and_then(Value::as_object));
    let mut error = GatewayError::default();
    for layer in &layers {
        let loose = |name| text(layer, name).ok().flatten();
        error.codes.extend(
            ["code", "error_code"]
                .into_iter()
                .filter_map(loose)
                .filter_map(code),
        );
        error.accompanies |= accompanies(layer);
        error.messages.extend(loose("message"));
        error.for_payers.extend(loose("friendly_message"));
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

/// Whether a transaction or a task is beside the error, though its id cannot be read.
pub(super) fn accompanies(layer: &JsonObject) -> bool {
    let is_there = |name: &str| !layer.get(name).unwrap_or(&Value::Null).is_null();
    let is_said = |name: &&str| is_there(name) && layer[*name].as_str() != Some("");
    let named = ["transaction", "request_id", "status_url", "response_url"];
    let failing = "error fail invalid reject declin denied refus unauthor forbid unprocess bad \
        not_found wrong unsuccess";
    let word = layer.get("status").and_then(Value::as_str).unwrap_or("");
    let word = word.trim().to_ascii_lowercase();
    let harmless =
        word.bytes().all(|digit| digit.is_ascii_digit()) || holds(&word.replace('_', " "), failing);
    is_there("uid") || named.iter().any(is_said) || !harmless
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
/// and its acquirers; `_` is a blank.
const DUPLICATE_MARKERS: &str = "duplic duplik dubl already uniqu twice been_taken is_taken was_taken in_use \
    been_used is_used was_used in_progress in_process being_processed been_processed was_processed \
    pending repeat identical same_transaction same_request same_order another_transaction \
    previous_transaction conflict bereits doppelt in_bearbeitung déjà en_cours en_curso en_proceso \
    in_corso powtór w_toku przetwarz tekrar zaten дубл повтор в_процессе уже уникал занят \
    использован зарегистрирован идентичн аналогичн выполняется не_завершен не_завершён вже в_процесі \
    ужо у_працэсе в_очереди queued";

/// Words that do so in the texts of `errors` alone.
const IN_PROGRESS_MARKERS: &str = "processing awaiting not_completed not_finished обработ обрабат оброб апрац \
    procesando в_ожидании";

/// Words of vain waiting.
const VAIN: &str = "timeout time_limit time-out timed_out timed-out deadline not_answer n't_answer no_answer \
    not_respond n't_respond no_response not_reply n't_reply no_reply таймаут тайм-аут тайм_аут \
    не_ответил не_отвеча нет_ответа без_ответа ответ_не_получен не_получен_ответ не_дождал \
    время_ожидания превышено_время время_истекло истекло_время лимит_времени вышло_время";

/// Words of a fault, in what is said of the whole request.
const FAULT: &str = "in_time unknown_error internal_error system_error server_error technical_error \
    network_error connection unexpected went_wrong temporar try_again try_later unavailable \
    неизвестная_ошибка внутренняя_ошибка системная_ошибка техническ соединени временно недоступ \
    позже позднее вовремя";

/// What nobody may know.
const OUTCOME: &str = "result outcome результат исход итог";
/// The same, where it cannot be a field of the request.
const STATUS: &str = "status state статус состояни";
const NOT_KNOWN: &str = "unknown not_known n't_known unclear not_clear uncertain undefined \
    undetermined not_determined be_determined not_received been_received no_information неизвест \
    не_извест неясн не_ясен неопредел не_определ не_получен нет_информации";

/// What expires while it is worked on, and what was given expired.
const EXPIRED: &str = "expired истек истёк";
const WORKED_ON: &str =
    "request transaction operation session запрос операци транзакци сесси сеанс";
const GIVEN: &str = "date card token month карт дат токен";

/// The names of fields: of every kind, of what has no parent, of a payout beside that.
const FIELDS: &str = "base amount tracking_id description reason duplicate_check test language \
    notification_url verification_url additional_data custom_fields fiscalization";
const WITHOUT_PARENT: &str = "currency credit_card encrypted_credit_card customer billing_address \
    return_url expired_at dynamic_billing_descriptor three_d_secure travel number verification_value \
    holder exp_month exp_year token date ip email device_id birth_date first_name last_name country \
    city state zip address phone";
const OF_PAYOUTS: &str = "recipient_credit_card encrypted_recipient_credit_card recipient \
    recipient_billing_address recipient_customer sender sender_billing_address";

/// What a refusal says. A text under `base` that says nothing of it may say anything.
const REFUSES: &str = "invalid not_valid n't_valid required must should blank empty missing absent not_allow \
    n't_allow not_permit n't_permit not_support n't_support unsupported forbid prohibit denied declin refus reject \
    restrict exceed limit is_too_ are_too_ wrong incorrect malformed mismatch not_match n't_match not_exist n't_exist \
    not_found no_such not_possible impossible not_enabled disabled not_active inactive blocked blacklist black_list \
    stop_list insufficient not_enough expired is_not_a unknown unacceptable illegal bad_ not_specified not_provided \
    less_than greater_than more_than can't_be cannot_be can_not_be stolen истек истёк not_been_accept not_accept невер недопуст некоррект неправильн обязат долж не_может нельзя запре отказ \
    отклон превыш лимит не_поддерж не_найден не_существу не_указан отсутств слишком невозможн заблокир недостат";

/// What a text is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Field,
    Whole,
    Message,
    Payer,
}

/// A path without what is in front of it.
fn plain(path: &str) -> &str {
    let path = path.strip_prefix('.').unwrap_or(path).trim();
    path.strip_prefix("request.").unwrap_or(path)
}

/// The name of the field that a path begins with.
fn root(path: &str) -> &str {
    let path = plain(path);
    path.split(['.', '[', '/']).next().unwrap_or_default()
}

/// Whether a request of this kind can have the field.
fn is_field(path: &str, asked: Option<TransactionType>) -> bool {
    let is_in = |names: &str| names.split_whitespace().any(|name| name == root(path));
    let child = asked.is_none_or(TransactionType::is_child);
    let parentless = asked.is_none_or(|kind| !kind.is_child());
    let payout = asked.is_none_or(|kind| kind == TransactionType::Payout);
    is_in(FIELDS)
        || (child && is_in("parent_uid"))
        || (parentless && is_in(WITHOUT_PARENT))
        || (payout && is_in(OF_PAYOUTS))
}

fn holds(text: &str, words: &str) -> bool {
    let mut words = words.split_whitespace();
    words.any(|word| text.contains(&word.replace('_', " ")))
}

/// "Exists", but not "does not exist", "must exist".
fn exists(text: &str) -> bool {
    let denials = "not n't must should non non- longer не";
    ["exist", "существу"].iter().any(|word| {
        let parts: Vec<&str> = text.split(word).collect();
        let before = &parts[..parts.len() - 1];
        before.iter().any(|before| {
            let before = before.trim_end();
            !denials.split(' ').any(|denial| {
                before.ends_with(denial) && (denial != "longer" || before.ends_with("no longer"))
            })
        })
    })
}

fn mentions_duplicate(text: &str) -> bool {
    holds(text, DUPLICATE_MARKERS)
        || exists(text)
        || phrases::speak_of_another(&phrases::spaced(text))
}

/// Words of vain waiting, "time out" among them, and not "time out of range".
fn waited_in_vain(text: &str) -> bool {
    let mut ends = text.split("time out").skip(1);
    let time_out = ends.any(|after| {
        let letter = after.chars().next().is_some_and(char::is_alphabetic);
        !letter && !after.starts_with(" of")
    });
    time_out || holds(text, VAIN)
}

/// Whether a text of any kind says that something may have been made of the request.
fn speaks_of_the_request(text: &str) -> bool {
    let text = &text.to_lowercase().replace('\u{2019}', "'");
    let unknown = holds(text, OUTCOME) && holds(text, NOT_KNOWN);
    mentions_duplicate(text) || waited_in_vain(text) || unknown
}

/// Whether a text leaves open what came of the request.
fn leaves_open(text: &str, of: Of) -> bool {
    let text = &text.to_lowercase().replace('\u{2019}', "'");
    let in_errors = [Of::Field, Of::Whole].contains(&of);
    let at_large = [Of::Whole, Of::Message].contains(&of);
    let outcome = holds(text, OUTCOME) || (at_large && holds(text, STATUS));
    let expired = holds(text, EXPIRED) && holds(text, WORKED_ON) && !holds(text, GIVEN);
    mentions_duplicate(text)
        || waited_in_vain(text)
        || (in_errors && holds(text, IN_PROGRESS_MARKERS))
        || (of == Of::Whole && !holds(text, REFUSES) && !holds(text, GIVEN))
        || (at_large && (holds(text, FAULT) || expired))
        || (outcome && holds(text, NOT_KNOWN))
        || phrases::leave_open(&phrases::spaced(text), of)
}

/// The codes of the gateway itself that leave the outcome open.
const OPEN: [&str; 5] = ["E.1000", "E.1019", "E.1023", "E.1035", "E.1036"];

/// `E.1000` to `E.1065`.
fn is_own(code: &str) -> bool {
    code.len() == 6 && ("E.1000"..="E.1065").contains(&code)
}

/// Whether a body names a code that leaves the outcome open, in whatever layout: `E.1018` in a text, or its number
/// behind a name with `code` in it.
pub(super) fn names_open_code(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body).to_ascii_uppercase();
    let is_open = |code: &str| code == "E.1018" || OPEN.contains(&code);
    let words = text
        .split(|c: char| !c.is_alphanumeric() && c != '.')
        .filter(|word| !word.is_empty());
    let mut last = "";
    for word in words {
        let code = word.trim_matches('.');
        let is_code = matches!(code.split_once('.'), Some((letter, digits))
            if letter.len() == 1 && digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()));
        if is_code && (ends_processing(code) || is_open(code)) {
            return true;
        }
        if last.ends_with("CODE") && is_open(&format!("E.{code}")) {
            return true;
        }
        last = code;
    }
    false
}

fn ends_processing(code: &str) -> bool {
    code.starts_with(['P', 'S', 'F'])
}

impl GatewayError {
    /// Whether something may be going on under the request, whatever the HTTP status.
    pub(super) fn may_be_at_work(&self) -> bool {
        let open = |code: &String| {
            ends_processing(code) || code == "E.1018" || OPEN.contains(&code.as_str())
        };
        let texts = self.texts.iter().map(|(_, text)| text);
        let mut all = texts.chain(&self.messages).chain(&self.for_payers);
        self.accompanies
            || self.codes.iter().any(open)
            || all.any(|text| speaks_of_the_request(text))
    }

    /// Whether a task can have ended with it.
    pub(super) fn is_of_a_task(&self, status: i32, asked: Option<TransactionType>) -> bool {
        let of_the_read = ["E.1017", "E.1021", "E.1022", "E.1023", "E.1024", "E.1026"];
        let known = |code: &String| ends_processing(code) || is_own(code);
        [400, 422].contains(&status)
            && !self.codes.iter().any(|c| of_the_read.contains(&c.as_str()))
            && (self.codes.iter().any(known) || self.texts.iter().any(|(p, _)| is_field(p, asked)))
    }

    /// The one table of design.md §5. `submit`: it answers the submit, and not the task.
    pub(super) fn refusal(
        &self,
        status: i32,
        submit: bool,
        asked: Option<TransactionType>,
    ) -> AuditedRefusal {
        let heard = if submit {
            (400..=499).contains(&status)
        } else {
            [400, 422].contains(&status)
        };
        if !heard {
            return AuditedRefusal::Doubt;
        }
        let by_code = |code: &String| match code.as_str() {
            "E.1018" => AuditedRefusal::Duplicate,
            code if is_own(code) && !OPEN.contains(&code) => AuditedRefusal::Rejected,
            _ => AuditedRefusal::Doubt,
        };
        let by_codes = self.codes.iter().map(by_code).min();
        if self.accompanies && by_codes != Some(AuditedRefusal::Duplicate) {
            return AuditedRefusal::Doubt;
        }
        if let Some(kind) = by_codes {
            return kind;
        }
        let rejected = if submit && [401, 403].contains(&status) {
            !self.may_be_at_work()
        } else {
            self.is_about_fields(asked) && ![408, 409, 425].contains(&status)
        };
        if rejected {
            AuditedRefusal::Rejected
        } else {
            AuditedRefusal::Doubt
        }
    }

    /// Whether it speaks of fields of the request alone, and leaves nothing open.
    fn is_about_fields(&self, asked: Option<TransactionType>) -> bool {
        let is_clear = |(path, text): &(String, String)| {
            let of = if plain(path) == "base" {
                Of::Whole
            } else {
                Of::Field
            };
            is_field(path, asked) && !leaves_open(text, of)
        };
        let open = |texts: &[String], of| {
            let said = texts.first();
            said.is_some_and(|text| leaves_open(text, of))
        };
        !self.texts.is_empty()
            && self.texts.iter().all(is_clear)
            && !open(&self.messages, Of::Message)
            && !open(&self.for_payers, Of::Payer)
    }
}
