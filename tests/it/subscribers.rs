//! The danger: a neighbour is not told, is told by somebody else, or holds the others up.

use crate::cli::reconciler;
use crate::world::{
    Addresses, FakeGateway, FakeReply, Merchant, Request, Service, Setup, World, eventually,
};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rustix::process::Signal;
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use std::collections::BTreeSet;

pub const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";
pub const OTHER_SECRET: &str = "whsec_YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=";

/// A receiver that answers with statuses.
pub fn receiver(status: impl Fn(&Request) -> u16 + Send + Sync + 'static) -> FakeGateway {
    FakeGateway::start(move |request| {
        let status = status(&request);
        async move { FakeReply::Json(status, json!({})) }
    })
}

/// The entry of a subscriber.
pub fn entry(name: &str, receiver: &FakeGateway, more: &str) -> String {
    let url = format!("{}/hooks", receiver.base());
    format!("name = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nshops = [\"*\"]\n{more}\n")
}

pub fn hearing(receiver: &FakeGateway) -> Setup {
    Setup::default().subscriber(&entry("orders", receiver, ""))
}

/// Verifies a message as its receiver would, with the standard's own library.
pub fn verified(request: &Request, secret: &str) -> bool {
    let mut headers = HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        let value = HeaderValue::from_str(request.header(name).expect(name)).unwrap();
        headers.insert(HeaderName::from_static(name), value);
    }
    Webhook::new(secret)
        .unwrap()
        .verify(&request.body, &headers)
        .is_ok()
}

pub fn id(request: &Request) -> String {
    request.header("webhook-id").unwrap().to_owned()
}

/// The place in the feed that a message's id names, beside a digest of what it says.
pub fn seq(request: &Request) -> i64 {
    let id = id(request);
    let parts: Vec<&str> = id.split('_').collect();
    let ["evt", "1001", seq, digest] = parts.as_slice() else {
        panic!("{id}");
    };
    assert!(
        digest.len() == 8 && digest.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id}"
    );
    seq.parse().unwrap()
}

/// The messages about a transaction.
pub fn about(receiver: &FakeGateway, name: &str) -> Vec<Request> {
    let mut all = receiver.seen();
    all.retain(|request| request.json()["data"]["tracking_id"] == name);
    all
}

pub async fn until_told(receiver: &FakeGateway, name: &str) -> Request {
    until_told_times(receiver, name, 1).await.remove(0)
}

pub async fn until_told_times(receiver: &FakeGateway, name: &str, times: usize) -> Vec<Request> {
    eventually(&format!("{times} messages about {name}"), async || {
        Some(about(receiver, name)).filter(|told| told.len() >= times)
    })
    .await
}

/// Waits until everything that there is has been passed, and nothing waits.
pub async fn until_settled(world: &World) {
    eventually("the cursors have passed everything", async || {
        let behind: i64 = world
            .database
            .one(
                "SELECT count(*) FROM subscriber_cursors c JOIN shop_feeds f USING (shop_id)
                 WHERE c.next_seq <= f.last_seq",
            )
            .await;
        (behind == 0).then_some(())
    })
    .await;
}

#[test]
fn a_subscriber_gets_each_chosen_event_signed() {
    let neighbour = receiver(|_| 204);
    hearing(&neighbour).run(async |world| {
        world.pay_and_wait("ok-told").await.expect(200);
        world.pay_and_wait("mismatch-told").await;
        world.until_found("amount_mismatch").await;
        until_told(&neighbour, "mismatch-told").await;
        until_settled(world).await;
        let events = world.events().await;
        let wanted: Vec<&Value> = events
            .iter()
            .filter(|e| {
                // What differs is taken over, until our own task names it as ours: that is a correction.
                [
                    "transaction.finalized",
                    "transaction.corrected",
                    "discrepancy.opened",
                ]
                .contains(&e["type"].as_str().unwrap())
            })
            .collect();
        let seen = neighbour.seen();
        assert_eq!(seen.len(), wanted.len(), "{seen:?}");
        for event in wanted {
            let told = seen.iter().find(|told| seq(told) == event["seq"]).unwrap();
            assert!(verified(told, SECRET) && !verified(told, OTHER_SECRET));
            assert_eq!((&*told.method, &*told.path), ("POST", "/hooks"));
            assert_eq!(told.header("content-type"), Some("application/json"));
            let body = told.json();
            assert_eq!(
                (&body["type"], &body["timestamp"]),
                (&event["type"], &event["at"])
            );
            if event["transaction"].is_object() {
                assert_eq!(body["data"], event["transaction"]);
                assert!(body["data"]["sequence"].is_i64());
            } else {
                assert_eq!(body["data"]["id"], event["discrepancy"]["id"]);
                assert_eq!(body["data"]["shop_id"], "1001");
            }
        }
        let delivered = [("subscriber", "orders"), ("outcome", "delivered")];
        let counted = world
            .metrics()
            .await
            .sum("reconciler_deliveries_total", &delivered);
        assert_eq!(counted as usize, seen.len());
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM deliveries")
                .await,
            0
        );
    });
}

#[test]
fn while_a_secret_is_changed_both_sign() {
    let neighbour = receiver(|_| 200);
    let both = entry("orders", &neighbour, "body = \"thin\"").replace(
        &format!("\"{SECRET}\""),
        &format!("[\"{SECRET}\", \"{OTHER_SECRET}\"]"),
    );
    Setup::default().subscriber(&both).run(async |world| {
        world.pay_and_wait("ok-both").await.expect(200);
        let told = until_told(&neighbour, "ok-both").await;
        assert!(verified(&told, SECRET) && verified(&told, OTHER_SECRET));
        assert_eq!(
            told.header("webhook-signature").unwrap().split(' ').count(),
            2
        );
        let keys: BTreeSet<String> = told.json()["data"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        let thin = ["final", "id", "sequence", "shop_id", "state", "tracking_id"];
        assert_eq!(keys, thin.map(str::to_owned).into());
    });
}

#[test]
fn a_new_subscriber_gets_later_events() {
    let neighbour = receiver(|_| 200);
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-before").await.expect(200);
        let addresses = Addresses::reserve();
        let new = format!("[[subscribers]]\n{}", entry("orders", &neighbour, ""));
        let text = format!("{}{new}", world.config_text(&addresses));
        let service = Service::start(&text, &addresses).await;
        let merchant = Merchant::new(&addresses, crate::world::KEY);
        merchant.until_ready().await;
        eventually("the subscriber is known", async || {
            let known: i64 = world
                .database
                .one("SELECT count(*) FROM subscriber_cursors")
                .await;
            (known == 1).then_some(())
        })
        .await;
        merchant.pay_and_wait("ok-after").await.expect(200);
        until_told(&neighbour, "ok-after").await;
        until_settled(world).await;
        assert!(about(&neighbour, "ok-before").is_empty());
        service.stop().await;
    });
}

#[test]
fn a_crash_before_the_checkpoint_redelivers() {
    let neighbour = receiver(|_| 200);
    let all = "events = [\"transaction.updated\", \"transaction.finalized\"]";
    let setup = Setup::default().subscriber(&entry("orders", &neighbour, all));
    setup.service_down().run(async |world| {
        let process = world.process().await;
        world.pay_and_wait("ok-first").await.expect(200);
        until_told_times(&neighbour, "ok-first", world.story("ok-first").await.len()).await;
        until_settled(world).await;
        // Nothing can be written down while this is held.
        let mut held = world.database.pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM subscriber_cursors FOR UPDATE")
            .execute(&mut *held)
            .await
            .unwrap();
        world.pay_and_wait("ok-crash").await.expect(200);
        let before = until_told(&neighbour, "ok-crash").await;
        process.signal(Signal::KILL);
        drop(process);
        // The server would carry out what a dead client had asked for.
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE application_name = 'reconciler' AND datname = current_database()";
        world.database.one::<i64>(sql).await;
        held.rollback().await.unwrap();
        let process = world.process().await;
        let after = eventually("the same message again", async || {
            let told = about(&neighbour, "ok-crash");
            told.into_iter()
                .filter(|told| id(told) == id(&before))
                .nth(1)
        })
        .await;
        assert_eq!(after.body, before.body);
        until_settled(world).await;
        let seen: BTreeSet<i64> = neighbour.seen().iter().map(seq).collect();
        let events = world.events().await;
        assert_eq!(
            seen,
            events.iter().map(|e| e["seq"].as_i64().unwrap()).collect()
        );
        drop(process);
    });
}

#[test]
fn one_replica_delivers_and_another_takes_over() {
    let neighbour = receiver(|_| 200);
    hearing(&neighbour).run(async |world| {
        let (second, other) = world.replica().await;
        let both = [&**world, &other];
        for n in 0..10 {
            both[n % 2]
                .pay_and_wait(&format!("ok-lease-{n}"))
                .await
                .expect(200);
        }
        for n in 0..10 {
            until_told(&neighbour, &format!("ok-lease-{n}")).await;
        }
        until_settled(world).await;
        assert_eq!(neighbour.seen().len(), 10, "nobody is told twice");
        world.stop().await;
        other.pay_and_wait("ok-lease-next").await.expect(200);
        until_told(&neighbour, "ok-lease-next").await;
        world.start().await;
        second.stop().await;
    });
}

#[test]
fn events_can_be_redelivered_by_command() {
    let neighbour = receiver(|_| 200);
    hearing(&neighbour).run(async |world| {
        for name in ["ok-replay-1", "ok-replay-2"] {
            world.pay_and_wait(name).await.expect(200);
            until_told(&neighbour, name).await;
        }
        until_settled(world).await;
        let replay = async |which: &[&str]| {
            let all = [
                &[
                    "replay",
                    "--shop",
                    "1001",
                    "--subscriber",
                    "orders",
                    "--json",
                ],
                which,
            ]
            .concat();
            reconciler(world, &all).await.expect_success().json()["messages"]
                .as_i64()
                .unwrap()
        };
        assert_eq!(replay(&["--id", "ok-replay-1"]).await, 1);
        let told = until_told_times(&neighbour, "ok-replay-1", 2).await;
        assert_eq!(id(&told[0]), id(&told[1]));
        assert_eq!(replay(&["--after", "0"]).await, 2);
        until_told_times(&neighbour, "ok-replay-1", 3).await;
        until_told_times(&neighbour, "ok-replay-2", 2).await;
        assert_eq!(replay(&["--since", "1h"]).await, 2);
        until_told_times(&neighbour, "ok-replay-2", 3).await;
        assert_eq!(replay(&["--since", "2999-01-01T00:00:00Z"]).await, 0);
        let table = reconciler(world, &["replay", "--subscriber", "orders", "--after", "0"]).await;
        assert!(table.expect_success().out.contains("messages due now"));
        let wrong = reconciler(world, &["replay", "--subscriber", "nobody", "--after", "0"]).await;
        wrong.expect_failure("no subscriber \"nobody\" is configured; there are orders");
    });
}
