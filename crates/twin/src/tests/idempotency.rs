//! Tests of `RequestID` and of the 30-second rule, which is often mistaken for it.

use serde_json::json;

use super::super::request_log::{LogFilter, RequestHead, RequestKind};
use super::super::response::PlannedResponse;
use super::super::settings::{BehaviourSwitches, DuplicateCheck};
use super::super::transactions::TransactionKind;
use super::{Gateway, body, payment, task};

const PAY: RequestKind = RequestKind::Submit(TransactionKind::Payment);

fn pay_with_key(gateway: &mut Gateway, tracking_id: &str) -> PlannedResponse {
    let call = RequestHead {
        idempotency_key: Some("key-1".into()),
        ..Gateway::call(PAY)
    };
    let reply = gateway.post_as(call, TransactionKind::Payment, payment(tracking_id));
    gateway.pass(0.0);
    reply
}

#[test]
fn the_same_key_returns_the_same_task_for_a_day() {
    let mut gateway = Gateway::new();
    let first = task(&pay_with_key(&mut gateway, "ok-1"));
    gateway.pass(86_399.0);
    assert_eq!(task(&pay_with_key(&mut gateway, "ok-1")), first);
    assert_eq!(gateway.found("ok-1").len(), 1);
    gateway.pass(1.0);
    assert_ne!(task(&pay_with_key(&mut gateway, "ok-1")), first);
    gateway.pass(1.0);
    assert_eq!(gateway.found("ok-1").len(), 2);
    let counts = gateway.world.journal.counts(&LogFilter::default());
    assert_eq!(counts["tracking_ids"][0]["replayed"], 1);
}

#[test]
fn a_switch_disables_the_key() {
    let mut gateway = Gateway::with(BehaviourSwitches {
        request_id_async: false,
        ..BehaviourSwitches::default()
    });
    let first = task(&pay_with_key(&mut gateway, "ok-1"));
    assert_ne!(task(&pay_with_key(&mut gateway, "ok-1")), first);
}

#[test]
fn a_request_without_response_is_found_by_its_key() {
    let mut gateway = Gateway::new();
    assert_eq!(pay_with_key(&mut gateway, "hang-1").status_seen(), None);
    task(&pay_with_key(&mut gateway, "hang-1"));
    gateway.pass(1.0);
    assert_eq!(gateway.found("hang-1").len(), 1);
}

#[test]
fn equal_payments_are_duplicates_for_equal_cards_only() {
    let mut gateway = Gateway::new();
    let pay = |id: &str, token: Option<&str>| {
        let mut request = payment(id);
        if let Some(token) = token {
            request["credit_card"] = json!({"token": token});
        }
        request
    };
    task(&gateway.post(TransactionKind::Payment, pay("ok-1", None)));
    task(&gateway.post(TransactionKind::Payment, pay("ok-2", None)));
    task(&gateway.post(TransactionKind::Payment, pay("ok-3", Some("token-a"))));
    task(&gateway.post(TransactionKind::Payment, pay("ok-4", Some("token-b"))));
    let reply = gateway.post(TransactionKind::Payment, pay("ok-5", Some("token-a")));
    assert_eq!(body(&reply)["code"], json!("E.1018"));
}

#[test]
fn a_post_can_be_doubled_in_flight() {
    let found = |key: Option<&str>| {
        let mut gateway = Gateway::with(BehaviourSwitches {
            double_posts: true,
            duplicate_check: DuplicateCheck::Off,
            ..BehaviourSwitches::default()
        });
        let call = RequestHead {
            idempotency_key: key.map(str::to_owned),
            ..Gateway::call(RequestKind::Submit(TransactionKind::Payment))
        };
        gateway.post_as(call, TransactionKind::Payment, payment("ok-1"));
        gateway.pass(1.0);
        gateway.found("ok-1").len()
    };
    assert_eq!((found(None), found(Some("k"))), (2, 1));
}

#[test]
fn a_duplicate_refusal_can_show_the_earlier_payment() {
    let mut gateway = Gateway::with(BehaviourSwitches {
        duplicate_shows_earlier: true,
        ..BehaviourSwitches::default()
    });
    let with_card = |id: &str| {
        let mut request = payment(id);
        request["credit_card"] = json!({"token": "t"});
        request
    };
    gateway.post(TransactionKind::Payment, with_card("ok-1"));
    gateway.pass(1.0);
    let refused = gateway.post(TransactionKind::Payment, with_card("ok-2"));
    let shown = &body(&refused)["transaction"];
    let expected = (&json!("ok-1"), &json!("successful"), &json!("E.1018"));
    assert_eq!(refused.answer.status, 422);
    assert_eq!(
        (&shown["tracking_id"], &shown["status"], &shown["code"]),
        expected
    );
}
