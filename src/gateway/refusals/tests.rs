//! Every row of the table.
#![allow(clippy::panic, reason = "a test may fail loudly")]

use super::*;
use crate::gateway::wire::{Shape, shape};
use serde_json::{Value, json};

fn read_kind(place: Place, http_status: u16, body: &Value) -> RefusalKind {
    match shape(body.to_string().as_bytes()) {
        Shape::Error(error) => read(place, http_status, &error).kind,
        other => panic!("{body} is no error but {other:?}"),
    }
}

fn coded(code: &str) -> Value {
    json!({"code": code, "message": "synthetic", "errors": {"description": ["is blank"]}})
}

#[test]
fn every_code_of_the_protocol() {
    let undecided = [1000, 1018, 1019, 1035, 1036];
    for number in 1000..=1065 {
        let expected = match number {
            1018 => RefusalKind::Duplicate,
            n if undecided.contains(&n) => RefusalKind::Doubt,
            _ => RefusalKind::Rejected,
        };
        let body = coded(&format!("E.{number}"));
        assert_eq!(read_kind(Place::Submit, 422, &body), expected, "{number}");
        assert_eq!(read_kind(Place::Task, 422, &body), expected, "{number}");
        assert_eq!(read_kind(Place::Task, 200, &body), expected, "{number}");
        assert_eq!(
            read_kind(Place::Task, 500, &body),
            RefusalKind::Doubt,
            "{number}"
        );
        assert_eq!(
            read_kind(Place::Submit, 500, &body),
            RefusalKind::Doubt,
            "{number}"
        );
        assert_eq!(
            read_kind(Place::Submit, 200, &body),
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
    ];
    for code in declines
        .chain(alternative)
        .chain(routing)
        .chain(others.map(str::to_owned))
    {
        for (place, status) in [(Place::Submit, 422), (Place::Task, 422), (Place::Task, 200)] {
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
    assert_eq!(read_kind(Place::Submit, 422, &body), RefusalKind::Duplicate);
    let body = json!({"code": "e.1025", "response": {"code": "P.0001"}});
    assert_eq!(read_kind(Place::Submit, 422, &body), RefusalKind::Doubt);
    let body = json!({"error_code": "E.1065"});
    assert_eq!(read_kind(Place::Submit, 400, &body), RefusalKind::Rejected);
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
            read_kind(Place::Submit, 422, &body),
            RefusalKind::Rejected,
            "{body}"
        );
        assert_eq!(
            read_kind(Place::Task, 400, &body),
            RefusalKind::Rejected,
            "{body}"
        );
        for early in [408, 409, 425] {
            assert_eq!(
                read_kind(Place::Submit, early, &body),
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
            read_kind(Place::Submit, 422, &body),
            RefusalKind::Doubt,
            "{text}"
        );
        let body = json!({"errors": {"x": {"y": text}}});
        assert_eq!(
            read_kind(Place::Task, 422, &body),
            RefusalKind::Doubt,
            "{text}"
        );
    }
    let told = json!({"message": "Duplicate transaction", "errors": {"base": ["is invalid"]}});
    assert_eq!(read_kind(Place::Submit, 422, &told), RefusalKind::Doubt);
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
        for (place, status) in [(Place::Submit, 422), (Place::Task, 422), (Place::Task, 500)] {
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
        read_kind(Place::Submit, 401, &denied),
        RefusalKind::Rejected
    );
    assert_eq!(
        read_kind(Place::Submit, 403, &denied),
        RefusalKind::Rejected
    );
    assert_eq!(read_kind(Place::Submit, 400, &denied), RefusalKind::Doubt);
    assert_eq!(read_kind(Place::Task, 400, &denied), RefusalKind::Doubt);
    assert_eq!(
        read_kind(Place::Submit, 403, &coded("E.1018")),
        RefusalKind::Duplicate
    );
    assert_eq!(
        read_kind(Place::Submit, 403, &coded("E.1000")),
        RefusalKind::Doubt
    );
    let busy = json!({"message": "transaction already in progress"});
    assert_eq!(read_kind(Place::Submit, 403, &busy), RefusalKind::Doubt);
}

#[test]
fn what_was_said_is_kept_without_card_data() {
    let body = json!({"code": "E.1025", "friendly_message": "no",
        "errors": {"credit_card": {"holder": ["JOHN is too short"], "token": ["is bad"]},
                   "base": ["card 4200000000000000"]}});
    let Shape::Error(error) = shape(body.to_string().as_bytes()) else {
        panic!("no error")
    };
    let refusal = read(Place::Submit, 422, &error);
    assert_eq!(refusal.code.as_deref(), Some("E.1025"));
    assert_eq!(refusal.http_status, Some(422));
    let message = refusal.message.unwrap_or_default();
    assert!(message.contains("credit_card.token is bad"), "{message}");
    assert!(
        !message.contains("JOHN") && !message.contains("4200"),
        "{message}"
    );
}
