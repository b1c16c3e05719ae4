//! Every row of the table.
#![allow(clippy::panic, reason = "a test may fail loudly")]

use super::*;
use crate::body_shape::{Shape, shape};
use serde_json::{Value, json};

fn read_kind(place: RefusalSource, http_status: u16, body: &Value) -> RefusalKind {
    match shape(body.to_string().as_bytes()) {
        Shape::Error(error) => read(place, None, http_status, &error).kind,
        other => panic!("{body} is no error but {other:?}"),
    }
}

fn coded(code: &str) -> Value {
    json!({"code": code, "message": "synthetic", "errors": {"description": ["is blank"]}})
}

#[test]
fn every_code_of_the_protocol() {
    let undecided = [1000, 1018, 1019, 1023, 1035, 1036];
    for number in 1000..=1065 {
        let expected = match number {
            1018 => RefusalKind::Duplicate,
            n if undecided.contains(&n) => RefusalKind::Doubt,
            _ => RefusalKind::Rejected,
        };
        let body = coded(&format!("E.{number}"));
        assert_eq!(
            read_kind(RefusalSource::Submit, 422, &body),
            expected,
            "{number}"
        );
        assert_eq!(
            read_kind(RefusalSource::Task, 422, &body),
            expected,
            "{number}"
        );
        assert_eq!(
            read_kind(RefusalSource::Task, 400, &body),
            expected,
            "{number}"
        );
        for status in [200, 404, 405, 500] {
            let read = read_kind(RefusalSource::Task, status, &body);
            assert_eq!(read, RefusalKind::Doubt, "{number} {status}");
        }
        assert_eq!(
            read_kind(RefusalSource::Submit, 500, &body),
            RefusalKind::Doubt,
            "{number}"
        );
        assert_eq!(
            read_kind(RefusalSource::Submit, 200, &body),
            RefusalKind::Doubt,
            "{number}"
        );
    }
}

#[test]
fn codes_of_other_families_say_nothing_without_a_uid() {
    let declines = (100..=135)
        .chain([996, 997, 998, 999])
        .map(|n| format!("F.{n:04}"));
    let alternative = (201..=222).chain([399]).map(|n| format!("F.{n:04}"));
    let routing = (2001..=2012)
        .chain(2401..=2404)
        .chain(4001..=4040)
        .map(|n| format!("F.{n}"));
    let others = [
        "S.0000", "P.0001", "P.0220", "P.0619", "P.1019", "P.9998", "P.9999", "F.1900", "F.1901",
        "E.5100", "E.5101", "F.6001", "F.7001", "F.8001", "E.0638", "E.0618", "E.10", "E.10255",
        "E.1066", "E.1099",
    ];
    for code in declines
        .chain(alternative)
        .chain(routing)
        .chain(others.map(str::to_owned))
    {
        for (place, status) in [
            (RefusalSource::Submit, 422),
            (RefusalSource::Task, 422),
            (RefusalSource::Task, 200),
        ] {
            assert_eq!(
                read_kind(place, status, &coded(&code)),
                RefusalKind::Doubt,
                "{code}"
            );
        }
    }
}

#[test]
fn the_code_that_leaves_more_open_counts() {
    let body = json!({"code": "E.1025", "error_code": "E.1018"});
    assert_eq!(
        read_kind(RefusalSource::Submit, 422, &body),
        RefusalKind::Duplicate
    );
    let body = json!({"code": "e.1025", "response": {"code": "P.0001"}});
    assert_eq!(
        read_kind(RefusalSource::Submit, 422, &body),
        RefusalKind::Doubt
    );
    let body = json!({"error_code": "E.1065"});
    assert_eq!(
        read_kind(RefusalSource::Submit, 400, &body),
        RefusalKind::Rejected
    );
}

#[test]
fn errors_without_a_code() {
    let rejected = [
        json!({"response": {"message": "x", "errors": {"currency": ["can't be blank"]}}}),
        json!({"message": "x", "errors": {"credit_card": {"number": ["is invalid"]}}}),
        json!({"errors": {"base": "Transaction is not supported"}}),
        json!({"errors": {"base": ["transaction can't be processed"]}}),
        json!({"message": "error while processing", "errors": {"amount": ["must be greater"]}}),
    ];
    for body in rejected {
        assert_eq!(
            read_kind(RefusalSource::Submit, 422, &body),
            RefusalKind::Rejected,
            "{body}"
        );
        assert_eq!(
            read_kind(RefusalSource::Task, 400, &body),
            RefusalKind::Rejected,
            "{body}"
        );
        for early in [408, 409, 425] {
            assert_eq!(
                read_kind(RefusalSource::Submit, early, &body),
                RefusalKind::Doubt,
                "{body}"
            );
        }
    }
    for text in [
        "Duplicate transaction",
        "has already been taken",
        "transaction is in progress",
        "still processing",
        "Дублирующая операция",
        "ПОВТОРНЫЙ запрос",
        "операция в процессе",
        "запрос обрабатывается",
        "Транзакция уже существует",
        "Vorgang bereits vorhanden",
    ] {
        let body = json!({"errors": {"amount": ["is fine"], "base": [text]}});
        assert_eq!(
            read_kind(RefusalSource::Submit, 422, &body),
            RefusalKind::Doubt,
            "{text}"
        );
        let body = json!({"errors": {"customer": {"ip": text}}});
        assert_eq!(
            read_kind(RefusalSource::Task, 422, &body),
            RefusalKind::Doubt,
            "{text}"
        );
    }
    let told = json!({"message": "Duplicate transaction", "errors": {"base": ["is invalid"]}});
    assert_eq!(
        read_kind(RefusalSource::Submit, 422, &told),
        RefusalKind::Doubt
    );
}

#[test]
fn errors_that_name_no_field_are_doubt() {
    for body in [
        json!({"message": "We're sorry, but something went wrong"}),
        json!({"response": {"message": "Record not found"}}),
        json!({"message": "x", "errors": {}}),
        json!({"message": "x", "errors": {"base": []}}),
        json!({"message": "x", "errors": {"base": [" "]}}),
        json!({"message": "x", "errors": null}),
    ] {
        for (place, status) in [
            (RefusalSource::Submit, 422),
            (RefusalSource::Task, 422),
            (RefusalSource::Task, 500),
        ] {
            assert_eq!(
                read_kind(place, status, &body),
                RefusalKind::Doubt,
                "{body}"
            );
        }
    }
}

#[test]
fn wrong_credentials_refuse_a_submit_only() {
    let denied = json!({"response": {"status": "error", "message": "Access denied"}});
    assert_eq!(
        read_kind(RefusalSource::Submit, 401, &denied),
        RefusalKind::Rejected
    );
    assert_eq!(
        read_kind(RefusalSource::Submit, 403, &denied),
        RefusalKind::Rejected
    );
    assert_eq!(
        read_kind(RefusalSource::Submit, 400, &denied),
        RefusalKind::Doubt
    );
    assert_eq!(
        read_kind(RefusalSource::Task, 400, &denied),
        RefusalKind::Doubt
    );
    assert_eq!(
        read_kind(RefusalSource::Submit, 403, &coded("E.1018")),
        RefusalKind::Duplicate
    );
    assert_eq!(
        read_kind(RefusalSource::Submit, 403, &coded("E.1000")),
        RefusalKind::Doubt
    );
    let busy = json!({"message": "transaction already in progress"});
    assert_eq!(
        read_kind(RefusalSource::Submit, 403, &busy),
        RefusalKind::Doubt
    );
}

#[test]
fn a_refusal_is_kept_without_card_data() {
    let body = json!({"code": "E.1025", "friendly_message": "no",
        "errors": {"credit_card": {"holder": ["JOHN is too short"], "token": ["is bad"]},
                   "base": ["card 4200000000000000"]}});
    let Shape::Error(error) = shape(body.to_string().as_bytes()) else {
        panic!("no error")
    };
    let refusal = read(RefusalSource::Submit, None, 422, &error);
    assert_eq!(refusal.code.as_deref(), Some("E.1025"));
    assert_eq!(refusal.http_status, Some(422));
    let message = refusal.message.unwrap_or_default();
    assert!(message.contains("credit_card.token is bad"), "{message}");
    assert!(
        !message.contains("JOHN") && !message.contains("4200"),
        "{message}"
    );
}

fn error_of(body: &Value) -> ErrorBody {
    match shape(body.to_string().as_bytes()) {
        Shape::Error(error) => error,
        other => panic!("{body} is no error but {other:?}"),
    }
}

#[test]
fn only_possible_task_errors_are_accepted() {
    let fields = json!({"errors": {"amount": ["is wrong"]}});
    let of_the_task = |status, body: &Value| is_of_the_task(None, status, &error_of(body));
    for (yes, no) in [
        (400, 200),
        (422, 404),
        (422, 405),
        (400, 411),
        (422, 500),
        (400, 426),
    ] {
        assert!(
            of_the_task(yes, &fields) && !of_the_task(no, &fields),
            "{yes} {no}"
        );
    }
    for body in [
        json!({"message": "Bad Request"}),
        json!({"response": {"message": "Record not found"}}),
        json!({"errors": ["is wrong"]}),
        json!({"errors": "is wrong"}),
        json!({"errors": {"upstream": ["is away"]}}),
        json!({"code": "X.1000", "message": "x"}),
        json!({"code": "E.1066", "message": "x"}),
    ] {
        assert!(!of_the_task(422, &body), "{body}");
    }
    for code in ["E.1017", "E.1021", "E.1022", "E.1023", "E.1024", "E.1026"] {
        assert!(!of_the_task(400, &coded(code)), "{code}");
    }
    for code in ["E.1000", "E.1018", "E.1025", "E.1035", "F.0105", "P.9999"] {
        assert!(of_the_task(422, &coded(code)), "{code}");
    }
    let mixed = json!({"errors": {"amount": ["is wrong"], "upstream": ["is away"]}});
    assert!(of_the_task(422, &mixed));
    assert_eq!(
        read_kind(RefusalSource::Task, 422, &mixed),
        RefusalKind::Doubt
    );
}

#[test]
fn errors_name_the_fields_of_their_kind() {
    let kind = |asked, name: &str| {
        let error = error_of(&json!({"errors": {name: ["is wrong"]}}));
        read(RefusalSource::Submit, Some(asked), 422, &error).kind
    };
    use TransactionType::{Capture, Payment, Payout, Refund};
    for (asked, name) in [
        (Payment, "credit_card.number"),
        (Payment, "credit_card[holder]"),
        (Payment, "request.amount"),
        (Payment, "expired_at"),
        (Payment, "duplicate_check"),
        (Payment, "number"),
        (Payout, "recipient_credit_card"),
        (Refund, "parent_uid"),
        (Refund, "reason"),
        (Capture, "base"),
    ] {
        assert_eq!(kind(asked, name), RefusalKind::Rejected, "{asked} {name}");
    }
    for (asked, name) in [
        (Payment, "parent_uid"),
        (Payment, "acquirer"),
        (Payment, ""),
        (Payment, "recipient_credit_card"),
        (Refund, "credit_card"),
        (Refund, "currency"),
        (Refund, "transaction"),
    ] {
        assert_eq!(kind(asked, name), RefusalKind::Doubt, "{asked} {name}");
    }
}

/// The kind of a refusal with this text under this name.
fn of_text(name: &str, text: &str) -> RefusalKind {
    let body = json!({"message": "Validation failed", "errors": {name: [text]}});
    read_kind(RefusalSource::Task, 422, &body)
}

#[test]
fn ambiguous_words_of_an_error_are_doubt() {
    for text in [
        "is not unique",
        "tracking_id must be unique",
        "Transaction with this tracking id exists",
        "transaction exists, and the card does not exist",
        "has been taken",
        "The same request was sent twice",
        "The acquirer did not answer in time, the result is not known",
        "Acquirer timeout",
        "Time out",
        "Request timed out",
        "Request has expired",
        "The outcome is unknown",
        "Transaction status is unknown",
        "result could not be determined",
        "Internal error",
        "Service temporarily unavailable",
        "No response from the bank",
        "не уникален",
        "Платёж с таким номером существует",
        "Номер заказа занят",
        "Банк не ответил вовремя",
        "Превышено время ожидания",
        "Таймаут эквайера",
        "Результат операции неизвестен",
        "Статус транзакции не определён",
        "Операция ещё выполняется",
        "Время сессии истекло",
    ] {
        assert_eq!(of_text("base", text), RefusalKind::Doubt, "{text}");
        let body = json!({"message": text, "errors": {"base": ["is invalid"]}});
        let said = read_kind(RefusalSource::Submit, 422, &body);
        assert_eq!(said, RefusalKind::Doubt, "{text} as a message");
    }
    for text in [
        "is not unique",
        "exists",
        "уже существует",
        "timeout",
        "has been taken",
    ] {
        assert_eq!(of_text("tracking_id", text), RefusalKind::Doubt, "{text}");
    }
}

#[test]
fn words_about_the_fields_of_the_request_stay_a_refusal() {
    for (name, text) in [
        ("credit_card", "Date is expired"),
        ("base", "Card is expired"),
        ("base", "Token does not exist"),
        ("base", "Card doesn't exist"),
        ("base", "Parent must exist"),
        ("base", "Карта не существует"),
        ("base", "Истёк срок действия карты"),
        ("expired_at", "time zone is invalid"),
        ("expired_at", "time out of range"),
        ("billing_address", "state is unknown"),
        ("currency", "unknown currency"),
        ("currency", "Неизвестная валюта"),
        ("amount", "is greater than the rest"),
        ("base", "Transaction is not supported"),
        ("base", "transaction can't be refunded"),
        ("base", "Unknown parameter foo"),
        ("description", "can't be blank"),
    ] {
        assert_eq!(of_text(name, text), RefusalKind::Rejected, "{name} {text}");
    }
}

#[test]
fn a_429_is_unprocessed_unless_it_is_ambiguous() {
    for code in [
        "E.1000", "E.1018", "E.1019", "E.1023", "E.1035", "E.1036", "P.1019", "F.0108", "S.0000",
    ] {
        assert!(may_be_in_progress(&error_of(&coded(code))), "{code}");
    }
    for body in [
        json!({"message": "Acquirer timeout"}),
        json!({"errors": {"base": ["The acquirer did not answer in time, the result is not known"]}}),
        json!({"message": "x", "friendly_message": "The outcome is unknown"}),
    ] {
        assert!(may_be_in_progress(&error_of(&body)), "{body}");
    }
    for body in [
        coded("E.1025"),
        coded("E.1099"),
        json!({"message": "Too many requests"}),
        json!({"message": "Too many requests, try again later"}),
    ] {
        assert!(!may_be_in_progress(&error_of(&body)), "{body}");
    }
}

/// Texts that leave the outcome open, under whatever name they stand.
const OPEN: &str = include_str!("../../../../tests/data/refusals/open.txt");

/// Texts about the request's own fields, with their names.
const ABOUT_FIELDS: &str = include_str!("../../../../tests/data/refusals/about-fields.txt");

#[test]
fn many_words_of_doubt_and_many_of_fields() {
    let lines = |table: &'static str| table.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut wrong = Vec::new();
    for text in lines(OPEN) {
        for name in ["base", "amount", "tracking_id", "credit_card.number"] {
            let body = json!({"errors": {name: [text]}});
            if read_kind(RefusalSource::Submit, 422, &body) != RefusalKind::Doubt {
                wrong.push(format!("{name}: {text} is open"));
            }
        }
    }
    for line in lines(ABOUT_FIELDS) {
        let (name, text) = line.split_once(": ").unwrap_or_default();
        if of_text(name, text) != RefusalKind::Rejected {
            wrong.push(format!("{line} is a refusal"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_error_beside_a_transaction_or_a_task_is_doubt() {
    let errors = json!({"amount": ["is wrong"]});
    for (name, value) in [
        ("transaction", json!({"status": "successful"})),
        ("transaction", json!({"uid": {}})),
        ("request_id", json!("t-1")),
        ("status_url", json!("https://gw.example/async/status/t-1")),
        ("uid", json!("")),
        ("status", json!("successful")),
        ("status", json!("pending")),
    ] {
        for body in [
            json!({"errors": errors, name: value}),
            json!({"response": {"errors": errors, name: value}}),
            json!({"code": "E.1025", "errors": errors, name: value}),
        ] {
            for (place, status) in [
                (RefusalSource::Submit, 422),
                (RefusalSource::Submit, 401),
                (RefusalSource::Task, 422),
            ] {
                let read = read_kind(place, status, &body);
                assert_eq!(read, RefusalKind::Doubt, "{status} {body}");
            }
            assert!(may_be_in_progress(&error_of(&body)), "{body}");
        }
    }
    for status in ["error", "failed", "422", "", "unprocessable_entity"] {
        let body = json!({"errors": errors, "status": status, "transaction": null});
        assert_eq!(
            read_kind(RefusalSource::Submit, 422, &body),
            RefusalKind::Rejected,
            "{body}"
        );
    }
}

#[test]
fn a_text_of_the_whole_request_that_refuses_nothing_leaves_the_outcome_open() {
    let open = [
        "Payment could not be verified with the bank",
        "result is not yet known",
        "similar transaction found",
        "took too long",
        "time limit exceeded",
        "please wait",
        "acquirer error",
        "communication failure",
        "indeterminate",
        "ambiguous",
        "locked",
        "incomplete",
        "ошибка связи",
        "не удалось получить результат",
        "не удалось подтвердить оплату",
        "такой заказ есть",
        "ждите",
        "hm",
    ];
    for text in open {
        assert!(words::leave_open(text, About::Whole), "{text}");
    }
    let refused = [
        "Amount must be greater than 0",
        "Payments of this type are not allowed for the shop",
        "Currency is not supported",
        "Превышен лимит суммы",
        "Терминал не найден",
    ];
    for text in refused {
        assert!(!words::leave_open(text, About::Whole), "{text}");
    }
}

#[test]
fn a_code_that_leaves_the_outcome_open_is_found_wherever_it_stands() {
    let open = [
        "Duplicate transaction E.1018",
        r#""e.1018""#,
        r#"["E.1018"]"#,
        "<html>E.1036</html>",
        r#"{"error":{"code":"E.1018"}}"#,
        r#"{"response":{"errors":{"base":["E.1018"]}}}"#,
        r#"{"error_code":1018}"#,
        r#"{"status_code":"E.1018"}"#,
        r#"{"code":["E.1018"]}"#,
        r#"{"friendly_message":"(E.1036) Request expired."}"#,
        r#"{"code":"P.0001"}"#,
    ];
    for body in open {
        assert!(names_open_code(body.as_bytes()), "{body}");
    }
    let silent = [
        "",
        "too many requests",
        r#"{"code":"E.1025"}"#,
        r#"{"amount":1018,"code":null,"n":1018}"#,
        r#"{"code":429}"#,
        "see www.s.2024.example and E.10180",
    ];
    for body in silent {
        assert!(!names_open_code(body.as_bytes()), "{body}");
    }
}
