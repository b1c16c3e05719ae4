//! The danger: two replicas that do the same work, or each wait for the other to do it.

use crate::world::{Setup, eventually, payment};
use reqwest::Method;
use serde_json::json;

#[test]
fn two_replicas_send_each_payment_once() {
    Setup::default().run(async |world| {
        let (second, other) = world.replica().await;
        let names: Vec<String> = (0..30).map(|n| format!("ok-two-{n}")).collect();
        let both = [&**world, &other];
        // Every payment is asked for at both, half of them to be sent by whichever engine is first.
        let pays = names.iter().enumerate().flat_map(|(n, name)| {
            let later: &[(&str, &str)] = if n % 2 == 0 {
                &[("prefer", "respond-async")]
            } else {
                &[]
            };
            both.map(|merchant| merchant.post_with("payments", later, payment(name)))
        });
        for answer in futures_util::future::join_all(pays).await {
            assert!([200, 202].contains(&answer.status), "{}", answer.text);
        }
        for name in &names {
            assert_eq!(other.until_final(name).await["state"], "successful");
            assert_eq!(world.twin().posts(name).await, 1, "{name}");
        }
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM transactions")
                .await,
            30
        );
        second.stop().await;
    });
}

#[test]
fn a_result_that_can_be_read_once_is_read_by_one() {
    Setup::default().run(async |world| {
        let (second, other) = world.replica().await;
        // A read takes longer than a look for due work.
        let slow = json!({"operation": "result", "latency": 0.4});
        world.twin().fault(slow).await;
        for n in 0..3 {
            let name = format!("once422-two-{n}");
            world.pay(&name).await.expect(202);
            assert_eq!(
                other.until_final(&name).await["state"],
                "rejected",
                "{name}"
            );
            let reads = world.twin().requests("result", &name).await;
            assert!(reads.iter().all(|read| read["status"] != 404), "{reads:?}");
        }
        second.stop().await;
    });
}

#[test]
fn a_waiting_caller_sees_changes_of_another_replica() {
    Setup::default().quiet().run(async |world| {
        let (second, other) = world.replica().await;
        // Webhooks go to the first one; the caller waits at the second.
        let headers = [("prefer", "wait=20")];
        let done = other
            .post_with("payments", &headers, payment("ok-far"))
            .await
            .expect(200);
        assert_eq!(done.json["state"], "successful");
        let path = other.path("events?after=0");
        let fed = other
            .raw(Method::GET, &path, &headers, "")
            .await
            .expect(200);
        assert!(!fed.json["events"].as_array().unwrap().is_empty());
        second.stop().await;
    });
}

#[test]
fn another_replica_takes_over_after_a_stop() {
    Setup::default().run(async |world| {
        let (second, other) = world.replica().await;
        let slow = json!({"task_delay": {"fixed": {"seconds": 1.5}}, "webhooks": false});
        world.twin().switch(slow).await;
        let names: Vec<String> = (0..10).map(|n| format!("ok-stop-{n}")).collect();
        for name in &names {
            other.pay(name).await.expect(202);
        }
        second.stop().await;
        for name in &names {
            assert_eq!(world.until_final(name).await["state"], "successful");
            assert_eq!(world.twin().posts(name).await, 1);
        }
    });
}

#[test]
fn the_budget_of_a_shop_is_one_over_all_replicas() {
    Setup::default()
        .quiet()
        .shop_set("max_requests_per_second", "4")
        .run(async |world| {
            let (second, other) = world.replica().await;
            let both = [&**world, &other];
            let names: Vec<String> = (0..24).map(|n| format!("never-rate-{n}")).collect();
            for (n, name) in names.iter().enumerate() {
                both[n % 2].pay_async(name).await.expect(202);
            }
            eventually("all are sent", async || {
                let sent = world.twin().get("counts").await["operations"]["payments"].as_u64();
                (sent == Some(24)).then_some(())
            })
            .await;
            let log = world.twin().get("log?operation=submit").await;
            let at = |n: usize| log["requests"][n]["virtual_ms"].as_i64().unwrap();
            // A second's worth may go at once; the rest takes its time.
            let took = at(23) - at(0);
            assert!(
                took >= 3_000,
                "24 requests at 4 per second went in {took} ms"
            );
            second.stop().await;
        });
}
