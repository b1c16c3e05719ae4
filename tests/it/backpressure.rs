//! The danger: a slow or angry gateway for one shop takes the others with it, and whoever is asked to
//! slow down knocks all the louder.

use crate::world::{Setup, eventually};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

#[test]
fn one_shops_storm_does_not_age_the_checks_of_another() {
    let setup = Setup::default()
        .impatient()
        .shop_set("max_in_flight", "8")
        .with_shop("1002", "secret-of-1002");
    setup.run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        // Every read about the first shop's payments hangs, for as long as the test lasts.
        let storm = json!({"operation": "task", "tracking_id": "ok-storm-", "act": "hang"});
        world.twin().fault(storm).await;
        let names: Vec<String> = (0..60).map(|n| format!("ok-storm-{n}")).collect();
        for answer in join_all(names.iter().map(|name| world.pay(name))).await {
            answer.expect(202);
        }
        eventually("the storm", async || {
            let labels = [("shop", "1001")];
            let open = world
                .metrics()
                .await
                .sum("reconciler_breaker_open", &labels);
            (open > 0.0).then_some(())
        })
        .await;

        let calm = world.at_shop("1002");
        for round in 0..10 {
            let name = format!("ok-calm-{round}");
            calm.pay(&name).await.expect(202);
            assert_eq!(calm.until_final(&name).await["state"], "successful");
        }
        let labels = [("shop", "1002")];
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("reconciler_breaker_open", &labels), 0.0);
        for name in &names {
            assert_eq!(world.state(name).await, "processing");
        }
        world.twin().no_faults().await;
        world.until_final(&names[0]).await;
    });
}

#[test]
fn a_query_that_meets_a_429_slows_its_whole_shop_down() {
    Setup::default()
        .with_shop("1002", "secret-of-1002")
        .run(async |world| {
            let slow = json!({"answer": {"status": 429, "headers": {"Retry-After": "30"}}});
            world
                .twin()
                .fault(json!({"operation": "balance", "act": slow}))
                .await;
            world
                .post("queries/balance", json!({"currency": "EUR"}))
                .await;
            let refused = world.pay("ok-held").await;
            let wait = refused.header("retry-after").map(str::to_owned);
            refused.expect_problem(429, "too-many-requests");
            let wait: u64 = wait.expect("a time").parse().expect("seconds");
            assert!((20..=30).contains(&wait), "{wait}");
            assert_eq!(world.twin().posts("ok-held").await, 0);
            // Its neighbour is not silenced.
            let calm = world.at_shop("1002");
            calm.pay_and_wait("ok-not-held").await.expect(200);
        });
}

#[test]
fn a_query_failure_counts_for_the_circuit_breaker() {
    Setup::default().impatient().run(async |world| {
        world.twin().down().await;
        for _ in 0..5 {
            let path = world.path("queries/balance");
            let kind = [("content-type", "application/json")];
            let body = json!({"currency": "EUR"}).to_string();
            world
                .raw(Method::POST, &path, &kind, body)
                .await
                .expect(502);
        }
        let labels = [("shop", "1001")];
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("reconciler_breaker_open", &labels), 1.0);
        world.twin().up().await;
        world
            .post("queries/balance", json!({"currency": "EUR"}))
            .await
            .expect(200);
        let metrics = world.metrics().await;
        assert_eq!(metrics.sum("reconciler_breaker_open", &labels), 0.0);
    });
}
