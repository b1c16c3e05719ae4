//! Tests of captures, voids and refunds: what a parent allows, and under which tracking ID they are
//! found.

use serde_json::json;

use super::super::settings::{BehaviourSwitches, ChildrenNotify, RefusalsAt};
use super::super::transactions::TransactionKind;
use super::{Gateway, body, payment, task};

fn uid(gateway: &mut Gateway, kind: TransactionKind, tracking_id: &str) -> String {
    let reply = gateway.post(kind, payment(tracking_id));
    let task = task(&reply);
    gateway.pass(1.0);
    let (_, result) = gateway.result(&task);
    result["transaction"]["uid"]
        .as_str()
        .map(str::to_owned)
        .unwrap_or_default()
}

#[test]
fn refunds_are_limited_and_failed_ones_release() {
    let mut gateway = Gateway::new();
    let parent = uid(&mut gateway, TransactionKind::Payment, "ok-1");
    let refund = |amount: i64, id: &str| json!({"parent_uid": parent, "amount": amount, "reason": "back", "tracking_id": id});
    task(&gateway.post(TransactionKind::Refund, refund(3000, "decline-r1")));
    // The first refund is still in progress and holds its amount.
    let reply = gateway.post(TransactionKind::Refund, refund(3001, "ok-r2"));
    assert_eq!(reply.answer.status, 422);
    assert!(body(&reply)["response"]["errors"]["base"].is_array());
    gateway.pass(1.0);
    task(&gateway.post(TransactionKind::Refund, refund(3001, "ok-r2")));
    gateway.pass(1.0);
    let found = gateway.found("ok-r2");
    assert_eq!(
        (&found[0]["type"], &found[0]["currency"]),
        (&json!("refund"), &json!("EUR"))
    );
    assert_eq!(found[0]["parent_uid"], json!(parent));
    assert_eq!(
        gateway
            .post(TransactionKind::Refund, refund(245, "ok-r3"))
            .answer
            .status,
        422
    );
}

#[test]
fn an_authorization_allows_part_captures_and_a_void() {
    let mut gateway = Gateway::new();
    let parent = uid(&mut gateway, TransactionKind::Authorization, "ok-1");
    let child = |amount: i64| json!({"parent_uid": parent, "amount": amount});
    task(&gateway.post(TransactionKind::Capture, child(3000)));
    task(&gateway.post(TransactionKind::Void, child(200)));
    assert_eq!(
        gateway
            .post(TransactionKind::Capture, child(46))
            .answer
            .status,
        422
    );
    let reply = gateway.post(
        TransactionKind::Refund,
        json!({"parent_uid": parent, "amount": 1, "reason": "r"}),
    );
    assert_eq!(reply.answer.status, 422);
}

#[test]
fn an_unknown_parent_is_400_at_the_post_or_task() {
    let child = json!({"parent_uid": "nobody", "amount": 1, "tracking_id": "ok-c"});
    let mut gateway = Gateway::new();
    let reply = gateway.post(TransactionKind::Capture, child.clone());
    assert_eq!(reply.answer.status, 400);
    assert!(body(&reply)["response"]["errors"]["parent_uid"].is_array());
    let mut gateway = Gateway::with(BehaviourSwitches {
        refusals_at: RefusalsAt::Task,
        ..BehaviourSwitches::default()
    });
    let task = task(&gateway.post(TransactionKind::Capture, child));
    gateway.pass(1.0);
    assert_eq!(gateway.result(&task).0, 400);
    assert_eq!(gateway.result(&task).0, 404);
}

#[test]
fn a_switch_gives_children_the_parents_tracking_id() {
    let switches = BehaviourSwitches {
        children_own_tracking_id: false,
        children_notify: ChildrenNotify::ParentUrl,
        ..BehaviourSwitches::default()
    };
    let mut gateway = Gateway::with(switches);
    let parent = uid(&mut gateway, TransactionKind::Authorization, "ok-1");
    gateway.webhooks();
    let child = json!({"parent_uid": parent, "amount": 3245, "tracking_id": "ok-mine"});
    task(&gateway.post(TransactionKind::Capture, child));
    gateway.pass(1.0);
    assert!(gateway.found("ok-mine").is_empty());
    assert_eq!(gateway.found("ok-1").len(), 2);
    assert_eq!(gateway.webhooks(), ["successful"]);
}

#[test]
fn an_equal_child_within_30_seconds_is_a_duplicate() {
    let mut gateway = Gateway::new();
    let parent = uid(&mut gateway, TransactionKind::Payment, "ok-1");
    let refund = |check: bool| json!({"parent_uid": parent, "amount": 5, "reason": "r", "duplicate_check": check});
    task(&gateway.post(TransactionKind::Refund, refund(true)));
    let reply = gateway.post(TransactionKind::Refund, refund(true));
    assert_eq!(
        (reply.answer.status, &body(&reply)["code"]),
        (422, &json!("E.1018"))
    );
    task(&gateway.post(TransactionKind::Refund, refund(false)));
    gateway.pass(30.0);
    task(&gateway.post(TransactionKind::Refund, refund(true)));
}

#[test]
fn switches_drop_parent_limits_and_hide_children() {
    let mut gateway = Gateway::with(BehaviourSwitches {
        parent_limits: false,
        children_in_lookups: false,
        ..BehaviourSwitches::default()
    });
    gateway.pay("ok-1");
    gateway.pass(1.0);
    let parent = gateway.found("ok-1")[0]["uid"].clone();
    for amount in [3000, 3001] {
        let refund =
            json!({"parent_uid": parent, "amount": amount, "reason": "r", "tracking_id": "ok-r"});
        assert_eq!(
            gateway.post(TransactionKind::Refund, refund).answer.status,
            200
        );
        gateway.pass(1.0);
    }
    assert_eq!(gateway.found("ok-r").len(), 0);
}
