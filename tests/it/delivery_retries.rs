//! The danger: a message that was not taken is lost, comes too often, goes where it must not, or
//! keeps others waiting.

use crate::cli::reconciler;
use crate::subscribers::*;
use crate::world::{FakeGateway, FakeReply, Request, Setup, World, eventually};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Makes what waits for its next try due now.
async fn hurry(world: &World) {
    world
        .database
        .execute("UPDATE deliveries SET due_at = clock_timestamp()")
        .await;
}

async fn last_error(world: &World) -> String {
    eventually("a failed delivery", async || {
        world
            .database
            .all("SELECT last_error FROM deliveries ORDER BY seq LIMIT 1")
            .await
            .pop()
    })
    .await
}

#[test]
fn a_failed_message_is_redelivered_with_the_same_id() {
    // The first message fails twice: with a status, then by silence on the wire.
    let neighbour = FakeGateway::start(|request: Request| async move {
        match request.place.0 {
            0 => FakeReply::Raw(
                b"HTTP/1.1 500 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec(),
            ),
            1 => FakeReply::Close,
            _ => FakeReply::Json(200, json!({})),
        }
    });
    hearing(&neighbour).run(async |world| {
        world.pay_and_wait("ok-again").await.expect(200);
        assert_eq!(last_error(world).await, "HTTP status 500");
        let tries = async || {
            world
                .database
                .one::<i32>("SELECT tries FROM deliveries")
                .await
        };
        assert_eq!(tries().await, 1);
        // The first pause is five seconds, and the cursor does not wait for it.
        until_settled(world).await;
        let told = until_told_times(&neighbour, "ok-again", 2).await;
        eventually("the second failure", async || {
            (tries().await == 2).then_some(())
        })
        .await;
        hurry(world).await;
        let third = until_told_times(&neighbour, "ok-again", 3).await;
        let ids: BTreeSet<String> = told.iter().chain(&third).map(id).collect();
        assert_eq!(ids.len(), 1);
        assert!(
            third
                .iter()
                .all(|told| verified(told, SECRET) && told.body == third[0].body)
        );
        eventually("nothing waits", async || {
            let waiting: i64 = world.database.one("SELECT count(*) FROM deliveries").await;
            (waiting == 0).then_some(())
        })
        .await;
        let metrics = world.metrics().await;
        for (outcome, count) in [("5xx", 1.0), ("unreachable", 1.0), ("delivered", 1.0)] {
            let labels = [("subscriber", "orders"), ("outcome", outcome)];
            assert_eq!(
                metrics.sum("reconciler_deliveries_total", &labels),
                count,
                "{outcome}"
            );
        }
    });
}

#[test]
fn a_message_is_abandoned_after_the_last_retry() {
    let neighbour = receiver(|_| 400);
    hearing(&neighbour).run(async |world| {
        world.pay_and_wait("ok-never-taken").await.expect(200);
        last_error(world).await;
        world
            .database
            .execute("UPDATE deliveries SET tries = 10, due_at = clock_timestamp()")
            .await;
        eventually("it is given up", async || {
            let labels = [("subscriber", "orders"), ("outcome", "given_up")];
            let given_up = world
                .metrics()
                .await
                .sum("reconciler_deliveries_total", &labels);
            let waiting: i64 = world.database.one("SELECT count(*) FROM deliveries").await;
            (given_up == 1.0 && waiting == 0).then_some(())
        })
        .await;
        assert_eq!(neighbour.seen().len(), 2);
    });
}

#[test]
fn a_subscribers_retry_after_is_respected() {
    let neighbour = FakeGateway::start(|request: Request| async move {
        if request.place == (0, 0) {
            let head = "HTTP/1.1 429 X\r\nRetry-After: 6\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            return FakeReply::Raw(head.as_bytes().to_vec());
        }
        FakeReply::Json(200, json!({}))
    });
    hearing(&neighbour).run(async |world| {
        let started = tokio::time::Instant::now();
        world.pay_and_wait("ok-pause").await.expect(200);
        assert_eq!(last_error(world).await, "HTTP status 429");
        world.pay_and_wait("ok-meanwhile").await.expect(200);
        until_told(&neighbour, "ok-meanwhile").await;
        assert!(started.elapsed() > Duration::from_secs(6));
        until_told_times(&neighbour, "ok-pause", 2).await;
    });
}

#[test]
fn a_subscriber_that_answers_410_is_disabled() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    let gone = Arc::new(AtomicBool::new(true));
    let flag = Arc::clone(&gone);
    let neighbour = receiver(move |_| {
        if flag.load(Ordering::SeqCst) {
            410
        } else {
            200
        }
    });
    let other = receiver(|_| 200);
    let setup = hearing(&neighbour).subscriber(&entry("other", &other, ""));
    setup.run(async |world| {
        world.pay_and_wait("ok-gone").await.expect(200);
        let disabled = async || -> Vec<String> {
            world
                .database
                .all("SELECT subscriber FROM subscriber_cursors WHERE disabled")
                .await
        };
        eventually("it is disabled", async || {
            (disabled().await == ["orders"]).then_some(())
        })
        .await;
        world.pay_and_wait("ok-silence").await.expect(200);
        until_told(&other, "ok-silence").await;
        assert_eq!(neighbour.seen().len(), 1);
        gone.store(false, Ordering::SeqCst);
        let last: i64 = world.database.one("SELECT last_seq FROM shop_feeds").await;
        let arguments = ["replay", "--subscriber", "orders", "--json", "--after"];
        let said = reconciler(world, &[&arguments[..], &[&last.to_string()]].concat()).await;
        let told = said.expect_success().json();
        assert_eq!(
            (&told["messages"], &told["enabled_again"]),
            (&json!(0), &json!(true))
        );
        // The cursor had stayed where it was.
        until_told(&neighbour, "ok-silence").await;
        until_told_times(&neighbour, "ok-gone", 2).await;
        assert!(disabled().await.is_empty());
    });
}

#[test]
fn a_hanging_subscriber_does_not_delay_others() {
    let stuck = FakeGateway::start(|_| async { FakeReply::Hang });
    let quick = receiver(|_| 200);
    let setup = hearing(&quick).subscriber(&entry("stuck", &stuck, ""));
    setup.run(async |world| {
        let started = tokio::time::Instant::now();
        let names: Vec<String> = (0..20).map(|n| format!("ok-slow-{n}")).collect();
        futures_util::future::join_all(names.iter().map(|name| world.pay(name))).await;
        for name in &names {
            until_told(&quick, name).await;
        }
        assert!(
            started.elapsed() < Duration::from_secs(14),
            "nobody waited for its timeout"
        );
        assert_eq!(
            stuck.seen().len(),
            8,
            "no more than eight are on their way at a time"
        );
    });
}

#[test]
fn a_failing_subscriber_gets_one_trial_message() {
    let broken = receiver(|_| 503);
    hearing(&broken).run(async |world| {
        let names: Vec<String> = (0..40).map(|n| format!("ok-broken-{n}")).collect();
        futures_util::future::join_all(names.iter().map(|name| world.pay(name))).await;
        for name in &names {
            world.until_final(name).await;
        }
        // What is not tried yet waits behind the cursor and costs no row.
        let waiting: i64 = world.database.one("SELECT count(*) FROM deliveries").await;
        assert!((5..30).contains(&waiting), "{waiting}");
        assert!(broken.seen().len() < 30);
        eventually("the backlog is measured", async || {
            let pending = world.metrics().await.sum("reconciler_outbox_pending", &[]);
            (pending >= 40.0).then_some(())
        })
        .await;
    });
}

#[test]
fn redirects_are_not_followed() {
    let target = receiver(|_| 200);
    let location = format!(
        "HTTP/1.1 307 X\r\nLocation: {}/x\r\nContent-Length: 0\r\n\r\n",
        target.base()
    );
    let neighbour = FakeGateway::start(move |_| {
        let reply = FakeReply::Raw(location.clone().into_bytes());
        async move { reply }
    });
    hearing(&neighbour).run(async |world| {
        world.pay_and_wait("ok-redirect").await.expect(200);
        assert_eq!(
            last_error(world).await,
            "HTTP status 307; redirects are not followed"
        );
        assert!(target.seen().is_empty());
    });
}

#[test]
fn an_address_that_is_not_for_messages_is_not_connected_to() {
    let inside = receiver(|_| 200);
    let allowed = receiver(|_| 200);
    let by_name = format!("{}/hooks", inside.base().replace("127.0.0.1", "localhost"));
    let subscriber = |name: &str, url: &str| {
        format!(
            "name = \"{name}\"\nurl = \"{url}\"\nsecret = \"{SECRET}\"\nshops = [\"*\"]\n\
             allow_http = true\nallow_private = false\n"
        )
    };
    let metadata = subscriber("metadata", "http://169.254.169.254/latest")
        .replace("allow_private = false", "allow_private = true");
    let setup = Setup::default()
        .subscriber(&metadata)
        .subscriber(&subscriber("literal", &format!("{}/hooks", inside.base())))
        .subscriber(&subscriber("name", &by_name))
        .subscriber(
            &entry("allowed", &allowed, "allow_http = true").replace("127.0.0.1", "localhost"),
        );
    setup.run(async |world| {
        world.pay_and_wait("ok-inside").await.expect(200);
        let errors = eventually("three refusals", async || {
            let sql = "SELECT subscriber || ': ' || last_error FROM deliveries ORDER BY subscriber";
            Some(world.database.all::<String>(sql).await).filter(|all| all.len() == 3)
        })
        .await;
        let [literal, metadata, name] = errors.try_into().unwrap();
        assert!(literal.contains("allow_private is false"), "{literal}");
        assert!(
            metadata.contains("forbidden delivery address"),
            "{metadata}"
        );
        assert!(name.contains("allow_private is false"), "{name}");
        assert!(inside.seen().is_empty());
        for subscriber in ["literal", "metadata", "name"] {
            let labels = [("subscriber", subscriber), ("outcome", "address_refused")];
            let refused = world
                .metrics()
                .await
                .sum("reconciler_deliveries_total", &labels);
            assert_eq!(refused, 1.0, "{subscriber}");
        }
        until_told(&allowed, "ok-inside").await;
    });
}
