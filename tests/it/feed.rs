//! The danger: a reader of the feed or of a list misses something, or reads it twice.

use crate::world::{Merchant, SHOP, Setup, World, eventually, payment};
use domain::ShopId;
use reconciler::store::{Store, maintenance};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

fn seqs(events: &[Value]) -> Vec<i64> {
    events
        .iter()
        .map(|event| event["seq"].as_i64().unwrap())
        .collect()
}

#[test]
fn the_feed_lists_each_change_in_order() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-fed").await.expect(200);
        world.pay("mismatch-fed").await.expect(202);
        world.until_found("amount_mismatch").await;
        let events = world.events().await;
        let count = i64::try_from(events.len()).unwrap();
        assert_eq!(seqs(&events), (1..=count).collect::<Vec<_>>());
        for event in &events {
            let kind = event["type"].as_str().unwrap();
            assert!(event["at"].is_string());
            assert_eq!(
                event.get("transaction").is_some(),
                kind.starts_with("transaction."),
                "{event}"
            );
            assert_eq!(
                event.get("discrepancy").is_some(),
                kind.starts_with("discrepancy."),
                "{event}"
            );
        }
        let story = world.story("ok-fed").await;
        assert_eq!(
            story.last().unwrap(),
            &("transaction.finalized".into(), "successful".into())
        );
        let about: Vec<&Value> = events
            .iter()
            .filter(|e| e["transaction"]["tracking_id"] == "ok-fed")
            .collect();
        let sequences: Vec<i64> = about
            .iter()
            .map(|e| e["transaction"]["sequence"].as_i64().unwrap())
            .collect();
        assert!(
            sequences.windows(2).all(|two| two[0] < two[1]),
            "{sequences:?}"
        );
        assert_eq!(
            about.last().unwrap()["transaction"]["sequence"],
            world.status("ok-fed").await["sequence"]
        );
        let found: Vec<&Value> = events
            .iter()
            .filter(|e| e["type"] == "discrepancy.opened")
            .collect();
        assert_eq!(found[0]["discrepancy"]["kind"], "amount_mismatch");
    });
}

#[test]
fn a_reader_while_others_write_never_meets_a_gap() {
    Setup::default().run(async |world| {
        let (second, other) = world.replica().await;
        let names: Vec<String> = (0..40).map(|n| format!("ok-gap-{n}")).collect();
        let both = [&**world, &other];
        let pays = names
            .iter()
            .enumerate()
            .map(|(n, name)| both[n % 2].pay(name));
        let writing = futures_util::future::join_all(pays);
        let reading = read_until(&other, |all| {
            let done = all.iter().filter(|e| e["type"] == "transaction.finalized");
            done.count() == 40
        });
        let (_, read) = tokio::join!(writing, reading);
        assert_eq!(
            seqs(&read),
            (1..=i64::try_from(read.len()).unwrap()).collect::<Vec<_>>()
        );
        second.stop().await;
    });
}

/// Reads on, each time from where the last page ended, as a subscriber would.
async fn read_until(merchant: &Merchant, done: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), 0);
    eventually("the end of the feed", async || {
        let path = merchant.path(&format!("events?after={after}&limit=7"));
        let page = merchant
            .raw(Method::GET, &path, &[("prefer", "wait=1")], "")
            .await
            .expect(200);
        let events = page.json["events"].as_array().cloned().unwrap();
        let expected: Vec<i64> = (after + 1..).take(events.len()).collect();
        assert_eq!(seqs(&events), expected, "a page with a gap");
        after = page.json["next_after"].as_i64().unwrap();
        assert_eq!(
            after,
            seqs(&events)
                .last()
                .copied()
                .unwrap_or(expected_after(&all))
        );
        all.extend(events);
        done(&all).then_some(())
    })
    .await;
    all
}

fn expected_after(all: &[Value]) -> i64 {
    seqs(all).last().copied().unwrap_or(0)
}

#[test]
fn a_waiting_reader_gets_the_next_event() {
    Setup::default().run(async |world| {
        let path = world.path("events?after=0");
        let headers = [("prefer", "wait=30")];
        let waiting = world.raw(Method::GET, &path, &headers, "");
        let (woken, _) = tokio::join!(waiting, world.pay("ok-wake"));
        let woken = woken.expect(200);
        assert_eq!(woken.header("preference-applied"), Some("wait=30"));
        assert_eq!(woken.json["events"][0]["seq"], 1);
    });
}

#[test]
fn a_reader_beyond_retention_gets_410() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-old").await.expect(200);
        let kept = world.events().await.len();
        let store = Store::connect_lazy(&world.database.url, 1).unwrap();
        let shop = ShopId::parse(SHOP).unwrap();
        let mut gone = 0;
        while let Ok(dropped) = maintenance::drop_old_events(&store, &shop, Duration::ZERO).await
            && dropped > 0
        {
            gone += dropped;
        }
        store.close().await;
        assert_eq!(usize::try_from(gone).unwrap(), kept);
        world
            .get("events?after=0")
            .await
            .expect_problem(410, "feed-truncated");
        let next = world
            .get(&format!("events?after={kept}"))
            .await
            .expect(200)
            .json;
        assert_eq!(next["events"], json!([]));
        // What comes after it goes on with the number after the last.
        world.pay_and_wait("ok-newer").await.expect(200);
        let next = world
            .get(&format!("events?after={kept}"))
            .await
            .expect(200)
            .json;
        assert_eq!(next["events"][0]["seq"], kept + 1);
    });
}

#[test]
fn each_shop_has_a_feed_of_its_own() {
    Setup::default()
        .with_shop("1002", "secret-of-1002")
        .run(async |world| {
            let other = world.at_shop("1002");
            world.pay_and_wait("ok-here").await.expect(200);
            other.pay_and_wait("ok-there").await.expect(200);
            for (merchant, name) in [(&**world, "ok-here"), (&other, "ok-there")] {
                let events = merchant.events().await;
                assert_eq!(events[0]["seq"], 1);
                assert!(
                    events
                        .iter()
                        .all(|e| e["transaction"]["tracking_id"] == name)
                );
            }
        });
}

async fn names(world: &World, query: &str) -> Vec<String> {
    let page = world
        .get(&format!("transactions?{query}"))
        .await
        .expect(200)
        .json;
    let rows = page["transactions"].as_array().unwrap();
    rows.iter()
        .map(|t| t["tracking_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_list_is_filtered_by_its_parameters() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-list-1").await.expect(200);
        world.pay_and_wait("decline-list-2").await.expect(200);
        world.pay_and_wait("stuck-list-3").await.expect(202);
        let hold = payment("never-list-4");
        world.post("authorizations", hold).await.expect(202);
        let all = [
            "never-list-4",
            "stuck-list-3",
            "decline-list-2",
            "ok-list-1",
        ];
        assert_eq!(names(world, "").await, all);
        assert_eq!(names(world, "state=successful").await, ["ok-list-1"]);
        assert_eq!(
            names(world, "state=failed&type=payment").await,
            ["decline-list-2"]
        );
        assert_eq!(names(world, "state=pending").await, ["stuck-list-3"]);
        assert_eq!(names(world, "type=authorization").await, ["never-list-4"]);
        assert_eq!(names(world, "type=refund").await, [""; 0]);
        assert_eq!(
            names(world, "origin=api&tracking_id=ok-list-1").await,
            ["ok-list-1"]
        );
        assert_eq!(names(world, "origin=gateway").await, [""; 0]);
        let one = world.status("decline-list-2").await;
        let uid = one["uid"].as_str().unwrap();
        assert_eq!(
            names(world, &format!("uid={uid}")).await,
            ["decline-list-2"]
        );
        assert_eq!(
            names(world, &format!("uid={uid}&state=successful")).await,
            [""; 0]
        );
        // From is inclusive, to is exclusive.
        let at = one["created_at"].as_str().unwrap();
        let after = names(world, &format!("created_from={at}")).await;
        assert_eq!(after, ["never-list-4", "stuck-list-3", "decline-list-2"]);
        assert_eq!(
            names(world, &format!("created_to={at}")).await,
            ["ok-list-1"]
        );
    });
}

#[test]
fn pages_of_a_list_neither_repeat_nor_miss() {
    Setup::default().run(async |world| {
        let given: BTreeSet<String> = (0..23).map(|n| format!("never-page-{n}")).collect();
        for name in &given {
            world.pay_async(name).await.expect(202);
        }
        for query in ["limit=5", "limit=5&type=payment", "limit=5&origin=api"] {
            let (mut read, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = world
                    .get(&format!("transactions?{query}{cursor}"))
                    .await
                    .expect(200)
                    .json;
                let rows = page["transactions"].as_array().unwrap().clone();
                assert!(rows.len() <= 5);
                read.extend(
                    rows.iter()
                        .map(|t| t["tracking_id"].as_str().unwrap().to_owned()),
                );
                match page["next_cursor"].as_str() {
                    Some(next) => cursor = format!("&cursor={next}"),
                    None => break,
                }
                // What is newer than the first page belongs to no later one.
                let name = format!("never-newer-{}-{}", read.len(), query.len());
                world.pay_async(&name).await.expect(202);
            }
            let unique: BTreeSet<String> = read
                .iter()
                .filter(|name| name.starts_with("never-page"))
                .cloned()
                .collect();
            assert_eq!(unique, given);
            assert_eq!(
                read.iter().collect::<BTreeSet<_>>().len(),
                read.len(),
                "{query}"
            );
        }
        for bad in [
            "cursor=AAAA",
            "cursor=",
            "limit=0",
            "limit=201",
            "state=done",
            "x=1",
        ] {
            let answer = world.get(&format!("transactions?{bad}")).await;
            answer.expect_problem(422, "validation");
        }
        let cursor = world.get("transactions?limit=1").await.json["next_cursor"].clone();
        let elsewhere = format!("discrepancies?cursor={}", cursor.as_str().unwrap());
        world
            .get(&elsewhere)
            .await
            .expect_problem(422, "validation");
    });
}
