//! Tests of lookups: which transactions are returned, in which order and how many; and of queries
//! that run as tasks.

use serde_json::{Value, json};

use super::super::journal::{Call, Operation};
use super::super::lookups::Asked;
use super::super::settings::{Appears, LookupOrder, Router, Switches};
use super::super::transactions::Kind;
use super::{Gateway, body, payment, task};

#[test]
fn a_lookup_returns_the_ten_latest_newest_first() {
    for (order, first) in [(LookupOrder::Newest, 12), (LookupOrder::Oldest, 3)] {
        let mut gateway = Gateway::with(Switches {
            lookup_order: order,
            ..Switches::default()
        });
        for amount in 1..=12 {
            let mut request = payment("ok-1");
            request["amount"] = json!(amount);
            gateway.post(Kind::Payment, request);
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
    let (status, body) = gateway.look_up(Asked::Uid("nobody".into()));
    assert_eq!(
        (status, &body["response"]["message"]),
        (404, &json!("Record not found"))
    );
}

#[test]
fn visibility_starts_at_the_post_the_end_or_later() {
    let seen = |switches: Switches, after: f64| {
        let mut gateway = Gateway::with(switches);
        gateway.pay("ok-1");
        gateway.pass(after);
        gateway
            .found("ok-1")
            .first()
            .map(|found| found["status"].clone())
    };
    let start = || Switches {
        appears: Appears::Start,
        ..Switches::default()
    };
    assert_eq!(seen(start(), 0.0), Some(json!("incomplete")));
    assert_eq!(seen(start(), 1.0), Some(json!("successful")));
    assert_eq!(seen(Switches::default(), 0.9), None);
    assert_eq!(
        seen(
            Switches {
                lookup_lag: 5.0,
                ..Switches::default()
            },
            5.9
        ),
        None
    );
    let late = seen(
        Switches {
            lookup_lag: 5.0,
            ..Switches::default()
        },
        6.0,
    );
    assert_eq!(late, Some(json!("successful")));
}

#[test]
fn a_query_task_returns_its_404_once() {
    let mut gateway = Gateway::new();
    let call = Gateway::call(Operation::QueryUid);
    let reply = gateway.world.look_up(call, Asked::Uid("nobody".into()));
    let id = task(&reply);
    assert_eq!(gateway.result(&id).0, 425);
    gateway.pass(1.0);
    assert_eq!(
        gateway.result(&id).1["response"]["message"],
        json!("Record not found")
    );
    assert_eq!(gateway.result(&id).1["status"], json!("unknown"));
    let call = Gateway::call(Operation::Balance);
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
    let mut gateway = Gateway::with(Switches {
        async_queries: false,
        ..Switches::default()
    });
    let call = Gateway::call(Operation::QueryTrackingId);
    let reply = gateway
        .world
        .look_up(call, Asked::TrackingId("ok-1".into()));
    assert_eq!(reply.answer.status, 404);
}

#[test]
fn wrong_credentials_are_refused_on_every_path() {
    let mut gateway = Gateway::new();
    let mut call = Gateway::call(Operation::QueryUid);
    call.authorization = Some("Basic MTAwMTp3cm9uZw==".into());
    let reply = gateway
        .world
        .look_up(call.clone(), Asked::Uid("nobody".into()));
    assert_eq!(
        (reply.answer.status, &body(&reply)["response"]["message"]),
        (401, &json!("Access denied"))
    );
    let reply = gateway.post_as(call, Kind::Payment, payment("ok-1"));
    assert_eq!(reply.answer.status, 401);
    gateway.pass(1.0);
    assert!(gateway.found("ok-1").is_empty());
}

#[test]
fn a_router_can_lose_ids_and_lookups_can_fail() {
    let found = |switches: Switches, id: &str| {
        let mut gateway = Gateway::with(switches);
        gateway.pay(id);
        gateway.pass(1.0);
        gateway.found(id).len()
    };
    let router = |router| Switches {
        router,
        ..Switches::default()
    };
    assert_eq!(found(router(Router::Plain), "ok-a.1:b"), 1);
    assert_eq!(found(router(Router::SplitsAtDot), "ok-a.1"), 0);
    assert_eq!(found(router(Router::SplitsAtDot), "ok-a:1"), 1);
    assert_eq!(found(router(Router::KeepsEscapes), "ok-a:1"), 0);
    assert_eq!(found(router(Router::KeepsEscapes), "ok-a.1"), 1);
    assert_eq!(found(router(Router::FoldsCase), "ok-A"), 0);
    let broken = Switches {
        lookups_work: false,
        ..Switches::default()
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
    let call = Call {
        asynchronous: false,
        ..Gateway::call(Operation::QueryTrackingId)
    };
    let reply = gateway
        .world
        .look_up(call, Asked::TrackingId("ok-1".into()));
    assert!(std::str::from_utf8(&reply.answer.body).is_err());
    let text = String::from_utf8_lossy(&reply.answer.body);
    assert!(
        text.starts_with("{\"transactions\":[{") && text.ends_with("}]}"),
        "{text}"
    );
}
