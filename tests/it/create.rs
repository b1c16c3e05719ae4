//! The danger: one payment made twice, or none at all, because a caller asked twice.

use crate::world::{KEY, SHOP, Setup, payment};
use futures_util::future::join_all;
use serde_json::json;

#[test]
fn a_payment_becomes_successful() {
    Setup::default().run(async |world| {
        let taken = world.pay("ok-1").await.expect(202);
        let location = format!("/v1/shops/{SHOP}/transactions/ok-1");
        assert_eq!(taken.header("location"), Some(&*location));
        assert_eq!(taken.json["state"], "processing");
        assert_eq!(taken.json["final"], false);
        assert_eq!(taken.json["origin"], "api");
        assert_eq!(taken.json["type"], "payment");
        let done = world.until_final("ok-1").await;
        assert_eq!(done["state"], "successful");
        assert_eq!(done["uid"], world.twin().uid("ok-1").await);
        assert_eq!(done["amount"], 3245);
        assert_eq!(done["gateway_amount"], 3245);
        assert_eq!(world.twin().posts("ok-1").await, 1);
    });
}

#[test]
fn absent_values_are_null_and_never_missing() {
    Setup::default().run(async |world| {
        let taken = world.pay("ok-nulls").await.expect(202).json;
        let done = world.until_final("ok-nulls").await;
        for name in [
            "id",
            "shop_id",
            "tracking_id",
            "type",
            "origin",
            "state",
            "final",
            "amount",
            "currency",
            "description",
            "uid",
            "parent_uid",
            "request_id",
            "status",
            "code",
            "message",
            "friendly_message",
            "redirect_url",
            "card",
            "test",
            "created_at",
            "updated_at",
            "finalized_at",
            "next_check_at",
            "paid_at",
            "gateway_updated_at",
            "gateway_amount",
            "gateway_currency",
            "sequence",
        ] {
            assert!(taken.get(name).is_some(), "{name} is missing at first");
            assert!(done.get(name).is_some(), "{name} is missing at the end");
        }
        assert!(taken["uid"].is_null() && taken["finalized_at"].is_null());
        assert!(done["finalized_at"].is_string() && done["request_id"].is_string());
    });
}

#[test]
fn a_replayed_request_is_not_sent_again() {
    Setup::default().run(async |world| {
        world.pay("ok-again").await.expect(202);
        world.until_final("ok-again").await;
        // Equal as JSON, not as bytes.
        let mut body = payment("ok-again");
        let amount = body.as_object_mut().unwrap().remove("amount").unwrap();
        body["amount"] = amount;
        let again = world.post("payments", body).await.expect(200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(again.json["state"], "successful");
        assert_eq!(world.twin().posts("ok-again").await, 1);
    });
}

#[test]
fn another_request_under_the_same_tracking_id_is_refused() {
    Setup::default().run(async |world| {
        world.pay("ok-taken").await.expect(202);
        let mut other = payment("ok-taken");
        other["amount"] = json!(3246);
        world
            .post("payments", other)
            .await
            .expect_problem(409, "tracking-id-conflict");
        let same_elsewhere = world.post("authorizations", payment("ok-taken")).await;
        same_elsewhere.expect_problem(409, "tracking-id-conflict");
        world.until_final("ok-taken").await;
        assert_eq!(world.twin().posts("ok-taken").await, 1);
    });
}

#[test]
fn sixty_four_callers_at_once_make_one_payment() {
    Setup::default().run(async |world| {
        let answers = join_all((0..64).map(|_| world.pay("ok-crowd"))).await;
        let fresh = answers
            .iter()
            .filter(|a| a.header("idempotent-replayed").is_none())
            .count();
        assert_eq!(fresh, 1);
        for answer in answers {
            assert!([200, 202].contains(&answer.status), "{}", answer.text);
        }
        world.until_final("ok-crowd").await;
        assert_eq!(world.twin().posts("ok-crowd").await, 1);
        assert_eq!(world.twin().truth("ok-crowd").await.len(), 1);
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM transactions")
                .await,
            1
        );
    });
}

#[test]
fn respond_async_answers_after_the_commit() {
    Setup::default().run(async |world| {
        // The gateway would hold the request for ever.
        world
            .twin()
            .fault(json!({"operation": "submit", "act": "hang", "times": 1}))
            .await;
        let taken = world.pay_async("ok-async").await.expect(202);
        assert_eq!(taken.header("preference-applied"), Some("respond-async"));
        assert_eq!(taken.json["state"], "accepted");
        // It hangs with no effect: nothing is ever proved about it but its absence.
        world.until_state("ok-async", "in_doubt").await;
        assert_eq!(world.twin().posts("ok-async").await, 1);
    });
}

#[test]
fn a_queued_request_is_sent_once() {
    Setup::default().run(async |world| {
        let names: Vec<String> = (0..20).map(|n| format!("ok-later-{n}")).collect();
        join_all(names.iter().map(|name| world.pay_async(name))).await;
        for name in &names {
            assert_eq!(world.until_final(name).await["state"], "successful");
            assert_eq!(world.twin().posts(name).await, 1);
        }
    });
}

#[test]
fn tracking_ids_of_two_shops_do_not_meet() {
    Setup::default()
        .with_shop("1002", "secret-of-1002")
        .run(async |world| {
            let other = world.at_shop("1002");
            world.pay("ok-both").await.expect(202);
            other.pay("ok-both").await.expect(202);
            let (here, there) = (
                world.until_final("ok-both").await,
                other.until_final("ok-both").await,
            );
            assert_ne!(here["uid"], there["uid"]);
            assert_eq!(
                (&here["shop_id"], &there["shop_id"]),
                (&json!(SHOP), &json!("1002"))
            );
            assert_eq!(world.twin().truth("ok-both").await.len(), 2);
        });
}

#[test]
fn a_tracking_id_keeps_every_character_that_it_may_have() {
    Setup::default().run(async |world| {
        let name = "ok-a:b~c.d_e,f=g+h&i\"j'k(l)m*n!o@p$q[r]{s}|t^u`v<w>";
        world.pay(name).await.expect(202);
        let done = world.until_final(name).await;
        assert_eq!(
            (&done["state"], &done["tracking_id"]),
            (&json!("successful"), &json!(name))
        );
        let id = done["id"].as_str().unwrap();
        let by_id = world.get(&format!("transactions/~{id}")).await.expect(200);
        assert_eq!(by_id.json["tracking_id"], name);
    });
}

#[test]
fn a_client_over_its_limit_gets_retry_after() {
    let limited = ("limited", "key-of-limited");
    Setup::default()
        .limited_client(
            limited.0,
            limited.1,
            "[\"1001\"]",
            "[\"read\"]",
            "max_requests_per_second = 2",
        )
        .run(async |world| {
            let limited = world.with_key(limited.1);
            let answers = join_all((0..10).map(|_| limited.get("transactions"))).await;
            let refused = answers
                .into_iter()
                .find(|a| a.status == 429)
                .expect("a refusal");
            assert!(refused.header("retry-after").is_some());
            refused.expect_problem(429, "too-many-requests");
            world.with_key(KEY).get("transactions").await.expect(200);
        });
}

#[test]
fn when_the_shops_budget_is_used_up_nothing_is_stamped() {
    Setup::default()
        .shop_set("max_requests_per_second", "1")
        .run(async |world| {
            let names: Vec<String> = (0..12).map(|n| format!("ok-budget-{n}")).collect();
            let answers = join_all(names.iter().map(|name| world.pay(name))).await;
            let mut refused = 0;
            for (name, answer) in names.iter().zip(answers) {
                if answer.status != 429 {
                    answer.expect(202);
                    continue;
                }
                refused += 1;
                assert!(answer.header("retry-after").is_some());
                answer.expect_problem(429, "too-many-requests");
                assert_eq!(world.twin().posts(name).await, 0);
                world
                    .get(&format!("transactions/{name}"))
                    .await
                    .expect_problem(404, "not-found");
            }
            assert!(refused > 0);
        });
}
