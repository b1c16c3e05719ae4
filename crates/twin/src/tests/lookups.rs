//! Tests of lookups: which transactions are returned, in which order and how many; and of queries
//! that run as tasks.

use serde_json::{Value, json};

use super::super::lookups::QueryTarget;
use super::super::request_log::{RequestHead, RequestKind};
use super::super::settings::{BehaviourSwitches, LookupOrder, Router, VisibleFrom};
use super::super::transactions::TransactionKind;
use super::{Gateway, body, payment, task};

#[test]
fn a_lookup_returns_the_ten_latest_newest_first() {
    for (order, first) in [(LookupOrder::Newest, 12), (LookupOrder::Oldest, 3)] {
        let mut gateway = Gateway::with(BehaviourSwitches {
            lookup_order: order,
            ..BehaviourSwitches::default()
        });
        for amount in 1..=12 {
            let mut request = payment("ok-1");
            request["amount"] = json!(amount);
            gateway.post(TransactionKind::Payment, request);
            gateway.pass(1.0);
        }
        let found = gateway.found("ok-1");
        assert_eq!((found.len(), &found[0]["amount"]), (10, &json!(first)));
    }
}

#[test]
fn a_missing_transaction_is_an_empty_list_or_404() {
    let mut gateway = Gateway::new();
    assert_eq!(gateway.found("ok-1"), Vec::<Value>::new());
    let (status, body) = gateway.look_up(QueryTarget::Uid("nobody".into()));
    assert_eq!(
        (status, &body["response"]["message"]),
        (404, &json!("Record not found"))
    );
}

#[test]
fn visibility_starts_at_the_post_the_final_or_later() {
    let seen = |switches: BehaviourSwitches, after: f64| {
        let mut gateway = Gateway::with(switches);
        gateway.pay("ok-1");
        gateway.pass(after);
        gateway
            .found("ok-1")
            .first()
            .map(|found| found["status"].clone())
    };
    let start = || BehaviourSwitches {
        appears: VisibleFrom::Start,
        ..BehaviourSwitches::default()
    };
    assert_eq!(seen(start(), 0.0), Some(json!("incomplete")));
    assert_eq!(seen(start(), 1.0), Some(json!("successful")));
    assert_eq!(seen(BehaviourSwitches::default(), 0.9), None);
    assert_eq!(
        seen(
            BehaviourSwitches {
                lookup_lag: 5.0,
                ..BehaviourSwitches::default()
            },
            5.9
        ),
        None
    );
    let late = seen(
        BehaviourSwitches {
            lookup_lag: 5.0,
            ..BehaviourSwitches::default()
        },
        6.0,
    );
    assert_eq!(late, Some(json!("successful")));
}

#[test]
fn a_query_task_returns_its_404_once() {
    let mut gateway = Gateway::new();
    let call = Gateway::call(RequestKind::QueryUid);
    let reply = gateway
        .world
        .look_up(call, QueryTarget::Uid("nobody".into()));
    let id = task(&reply);
    assert_eq!(gateway.result(&id).0, 425);
    gateway.pass(1.0);
    assert_eq!(
        gateway.result(&id).1["response"]["message"],
        json!("Record not found")
    );
    assert_eq!(gateway.result(&id).1["status"], json!("unknown"));
    let call = Gateway::call(RequestKind::Balance);
    let reply = gateway
        .world
        .balance(call, br#"{"request":{"currency":"USD"}}"#);
    gateway.pass(1.0);
    assert_eq!(
        gateway.result(&task(&reply)).1["result"]["currency"],
        json!("USD")
    );
}

#[test]
fn asynchronous_queries_can_be_disabled() {
    let mut gateway = Gateway::with(BehaviourSwitches {
        async_queries: false,
        ..BehaviourSwitches::default()
    });
    let call = Gateway::call(RequestKind::QueryTrackingId);
    let reply = gateway
        .world
        .look_up(call, QueryTarget::TrackingId("ok-1".into()));
    assert_eq!(reply.answer.status, 404);
}

#[test]
fn wrong_credentials_are_refused_on_every_path() {
    let mut gateway = Gateway::new();
    let mut call = Gateway::call(RequestKind::QueryUid);
    call.authorization = Some("Basic MTAwMTp3cm9uZw==".into());
    let reply = gateway
        .world
        .look_up(call.clone(), QueryTarget::Uid("nobody".into()));
    assert_eq!(
        (reply.answer.status, &body(&reply)["response"]["message"]),
        (401, &json!("Access denied"))
    );
    let reply = gateway.post_as(call, TransactionKind::Payment, payment("ok-1"));
    assert_eq!(reply.answer.status, 401);
    gateway.pass(1.0);
    assert!(gateway.found("ok-1").is_empty());
}

#[test]
fn a_router_can_lose_ids_and_lookups_can_fail() {
    let found = |switches: BehaviourSwitches, id: &str| {
        let mut gateway = Gateway::with(switches);
        gateway.pay(id);
        gateway.pass(1.0);
        gateway.found(id).len()
    };
    let router = |router| BehaviourSwitches {
        router,
        ..BehaviourSwitches::default()
    };
    assert_eq!(found(router(Router::Plain), "ok-a.1:b"), 1);
    assert_eq!(found(router(Router::SplitsAtDot), "ok-a.1"), 0);
    assert_eq!(found(router(Router::SplitsAtDot), "ok-a:1"), 1);
    assert_eq!(found(router(Router::KeepsEscapes), "ok-a:1"), 0);
    assert_eq!(found(router(Router::KeepsEscapes), "ok-a.1"), 1);
    assert_eq!(found(router(Router::FoldsCase), "ok-A"), 0);
    let broken = BehaviourSwitches {
        lookups_work: false,
        ..BehaviourSwitches::default()
    };
    assert_eq!(found(broken, "ok-1"), 0);
}

#[test]
fn a_damaged_row_leaves_the_others_readable() {
    let mut gateway = Gateway::new();
    let script = super::super::scenario::named("badbyte").unwrap_or_default();
    gateway.world.scripts.set_exact("ok-1".into(), script);
    gateway.pay("ok-1");
    gateway.pass(1.0);
    let call = RequestHead {
        asynchronous: false,
        ..Gateway::call(RequestKind::QueryTrackingId)
    };
    let reply = gateway
        .world
        .look_up(call, QueryTarget::TrackingId("ok-1".into()));
    assert!(std::str::from_utf8(&reply.answer.body).is_err());
    let text = String::from_utf8_lossy(&reply.answer.body);
    assert!(
        text.starts_with("{\"transactions\":[{") && text.ends_with("}]}"),
        "{text}"
    );
}
