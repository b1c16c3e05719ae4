//! The danger: more money goes back than came in, or the gateway takes a second, honest refund for a
//! duplicate of the first.

use crate::world::{SHOP, Setup, World, eventually};
use serde_json::{Value, json};

/// A payment of 32.45 that has succeeded; its uid.
async fn paid(world: &World, tracking_id: &str) -> String {
    world.pay_and_wait(tracking_id).await.expect(200);
    world.twin().uid(tracking_id).await
}

fn refund(tracking_id: &str, parent_uid: &str, amount: i64) -> Value {
    json!({"tracking_id": tracking_id, "parent_uid": parent_uid, "amount": amount,
        "reason": "returned", "duplicate_check": false})
}

#[test]
fn refunds_are_limited_to_the_payment_unless_forced() {
    let setup = Setup::default().client("till", "till-key", "[\"1001\"]", "[\"submit\"]");
    setup.run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let total = world.status("ok-parent").await["amount"].as_i64().unwrap();
        let first = world
            .post("refunds", refund("refund-1", &uid, total - 100))
            .await;
        first.expect(202);
        // What is in flight counts as spent.
        let over = world.post("refunds", refund("refund-2", &uid, 101)).await;
        let problem = over.expect_problem(422, "validation").json;
        assert_eq!(problem["errors"][0]["pointer"], "/amount", "{problem}");
        assert_eq!(world.twin().posts("refund-2").await, 0);
        let till = world.with_key("till-key");
        let denied = till
            .post("refunds?force=true", refund("refund-3", &uid, 101))
            .await;
        denied.expect_problem(403, "forbidden");
        let forced = world
            .post("refunds?force=true", refund("refund-3", &uid, 101))
            .await;
        assert!(matches!(forced.status, 200 | 202), "{forced:?}");
        let opened = world.evidence_by("refund-3", "local").await;
        assert_eq!(opened[0]["note"], "a refund was asked for, by force");
        assert_eq!(world.twin().posts("refund-3").await, 1);
        // The gateway itself did not take that one, so that it no longer counts.
        assert_eq!(world.until_final("refund-3").await["state"], "rejected");
        world
            .post("refunds", refund("refund-4", &uid, 101))
            .await
            .expect_problem(422, "validation");
    });
}

#[test]
fn an_equal_child_waits_out_the_gateways_duplicate_window() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let equal = |name: &str| {
            json!({"tracking_id": name, "parent_uid": uid, "amount": 100, "reason": "returned"})
        };
        world.post("refunds", equal("twin-1")).await.expect(202);
        let second = world.post("refunds", equal("twin-2")).await.expect(202).json;
        assert_eq!(second["state"], "accepted", "{second}");
        assert_eq!(world.twin().posts("twin-2").await, 0);
        let wait = world.status("twin-2").await["next_check_at"].clone();
        assert!(wait.is_string(), "it is sent by itself when the window is over");
        let other = json!({"tracking_id": "twin-3", "parent_uid": uid, "amount": 101, "reason": "x"});
        let other = world.post("refunds", other).await.expect(202).json;
        assert_eq!(other["state"], "processing", "another amount waits for nothing");
    });
}

#[test]
fn a_child_of_an_unsuccessful_parent_is_not_sent() {
    Setup::default().run(async |world| {
        world.pay("threedsfail-parent").await;
        let open = world.until_state("threedsfail-parent", "pending").await;
        let uid = open["uid"].as_str().unwrap();
        let early = world.post("refunds", refund("early", uid, 1)).await;
        let problem = early.expect_problem(422, "validation").json;
        assert_eq!(problem["errors"][0]["pointer"], "/parent_uid", "{problem}");
        assert_eq!(world.twin().posts("early").await, 0);
    });
}

#[test]
fn a_back_office_refund_is_adopted_and_counted() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let total = world.status("ok-parent").await["amount"].as_i64().unwrap();
        let made = json!({"type": "refund", "status": "successful", "amount": total - 50,
            "currency": "EUR", "parent_uid": uid, "tracking_id": "ok-parent", "uid": "made-there"});
        world.twin().make(made).await;
        let told = json!({"url": world.hook_url(), "uid": "made-there"});
        assert_eq!(world.twin().send_webhook(told).await, [200]);
        world.until_found("missing_here").await;
        let children = world
            .get(&format!("transactions?parent_uid={uid}"))
            .await
            .expect(200)
            .json;
        assert_eq!(
            children["transactions"][0]["origin"], "gateway",
            "{children}"
        );
        assert_eq!(children["transactions"][0]["uid"], "made-there");
        assert_eq!(world.state("ok-parent").await, "successful");
        world
            .post("refunds", refund("late", &uid, 51))
            .await
            .expect_problem(422, "validation");
    });
}

fn child(tracking_id: &str, parent_uid: &str, amount: i64) -> Value {
    json!({"tracking_id": tracking_id, "parent_uid": parent_uid, "amount": amount,
        "reason": "returned"})
}

/// The field that is at fault.
fn pointer(problem: &Value) -> &str {
    problem["errors"][0]["pointer"].as_str().unwrap_or_default()
}

#[test]
fn a_retried_child_checks_the_parents_remaining_amount() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        world
            .post("refunds", child("first", &uid, 100))
            .await
            .expect(202);
        // It waits for its equal, and a person takes it back.
        world
            .post("refunds", child("second", &uid, 100))
            .await
            .expect(202);
        let taken_back = json!({"state": "not_sent", "reason": "not wanted"});
        let resolve = "transactions/second/resolve";
        world.post(resolve, taken_back).await.expect(200);
        world
            .post("refunds", refund("rest", &uid, 3245 - 100))
            .await
            .expect(202);
        let again = world.post("refunds", child("second", &uid, 100)).await;
        let problem = again.expect_problem(422, "validation").json;
        assert_eq!(pointer(&problem), "/amount", "{problem}");
        assert_eq!(world.twin().posts("second").await, 0);
        assert_eq!(world.state("second").await, "not_sent");
    });
}

#[test]
fn a_queued_child_that_no_longer_fits_ends_not_sent() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        world.post("refunds", child("first", &uid, 100)).await.expect(202);
        world.post("refunds", child("second", &uid, 100)).await.expect(202);
        let made = json!({"type": "chargeback", "status": "successful", "amount": 3245,
            "currency": "EUR", "parent_uid": uid, "tracking_id": "ok-parent", "uid": "charged-back"});
        world.twin().make(made).await;
        let told = json!({"url": world.hook_url(), "uid": "charged-back"});
        assert_eq!(world.twin().send_webhook(told).await, [200]);
        world.post("transactions/second/check", json!({})).await.expect(202);
        let ended = world.until_final("second").await;
        assert_eq!(ended["state"], "not_sent", "{ended}");
        let message = ended["message"].as_str().unwrap();
        assert!(message.contains("that the parent has left"), "{message}");
        let found = world.until_found("amount_mismatch").await;
        assert_eq!(found["tracking_id"], "second");
        assert_eq!(world.twin().posts("second").await, 0);
    });
}

#[test]
fn an_unknown_parent_is_looked_up_and_adopted_first() {
    Setup::default().run(async |world| {
        let made = json!({"type": "payment", "status": "successful", "amount": 1500,
            "currency": "EUR", "tracking_id": "of-old", "uid": "parent-of-old", "test": true});
        world.twin().make(made).await;
        let ask = |name: &'static str| world.post("refunds", refund(name, "parent-of-old", 1500));
        let (a, b) = tokio::join!(ask("all-1"), ask("all-2"));
        let mut statuses = [a.status, b.status];
        statuses.sort_unstable();
        assert!(
            matches!(statuses, [200 | 202, 422]),
            "{} {}",
            a.text,
            b.text
        );
        let (taken, name) = if a.status == 422 {
            (b, "all-2")
        } else {
            (a, "all-1")
        };
        assert_eq!(taken.json["currency"], "EUR", "{}", taken.text);
        let posts = world.twin().posts("all-1").await + world.twin().posts("all-2").await;
        assert_eq!(posts, 1);
        let parent = world.status("of-old").await;
        assert_eq!(parent["origin"], "gateway", "{parent}");
        assert_eq!(parent["state"], "successful");
        // A repeat asks nobody for the parent.
        let asked = || world.twin().requests("*", "of-old");
        let before = asked().await.len();
        let again = world
            .post("refunds", refund(name, "parent-of-old", 1500))
            .await;
        assert_eq!(
            again.header("idempotent-replayed"),
            Some("true"),
            "{}",
            again.text
        );
        assert_eq!(asked().await.len(), before);
    });
}

#[test]
fn a_missing_parent_rejects_and_a_failed_lookup_delays() {
    Setup::default().run(async |world| {
        let missing = world.post("refunds", refund("of-none", "nobody", 1)).await;
        let problem = missing.expect_problem(422, "validation").json;
        assert_eq!(pointer(&problem), "/parent_uid", "{problem}");
        let forced = "refunds?force=true";
        let forced = world.post(forced, refund("forced", "nobody", 1)).await;
        assert!(matches!(forced.status, 200 | 202), "{}", forced.text);
        assert_eq!(world.twin().posts("forced").await, 1);
        world.twin().down().await;
        let away = world
            .post("refunds", refund("of-whom", "somebody", 1))
            .await;
        away.expect_problem(503, "unavailable");
        assert_eq!(world.get("transactions/of-whom").await.status, 404);
    });
}

#[test]
fn the_remaining_amount_follows_the_gateway() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let made = json!({"type": "void", "status": "successful", "amount": 3245,
            "currency": "EUR", "parent_uid": uid, "tracking_id": "ok-parent", "uid": "given-up"});
        world.twin().make(made).await;
        let told = json!({"url": world.hook_url(), "uid": "given-up"});
        assert_eq!(world.twin().send_webhook(told).await, [200]);
        let over = world.post("refunds", refund("refund", &uid, 3245)).await;
        let problem = over.expect_problem(422, "validation").json;
        assert_eq!(pointer(&problem), "/amount", "{problem}");
        // Of an authorization no more goes back than was captured of it.
        let mut held = crate::world::payment("ok-held");
        held["amount"] = json!(1500);
        world
            .post_with("authorizations", &[("prefer", "wait=20")], held)
            .await
            .expect(200);
        let held = world.twin().uid("ok-held").await;
        let wait = [("prefer", "wait=20")];
        let captured = child("ok-capture", &held, 400);
        let captured = world
            .post_with("captures", &wait, captured)
            .await
            .expect(200)
            .json;
        assert_eq!(captured["currency"], "EUR", "{captured}");
        let over = world.post("refunds", refund("too-much", &held, 1000)).await;
        let problem = over.expect_problem(422, "validation").json;
        assert_eq!(pointer(&problem), "/amount", "{problem}");
        let over = world.post("captures", child("too-far", &held, 1101)).await;
        assert_eq!(
            pointer(&over.expect_problem(422, "validation").json),
            "/amount"
        );
        for name in ["refund", "too-much", "too-far"] {
            assert_eq!(world.twin().posts(name).await, 0, "{name}");
        }
    });
}

#[test]
fn a_chargeback_of_a_refunded_payment_opens_a_discrepancy() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let wait = [("prefer", "wait=20")];
        let all = refund("ok-refund", &uid, 3245);
        world.post_with("refunds", &wait, all).await.expect(200);
        let made = json!({"type": "chargeback", "status": "successful", "amount": 3245,
            "currency": "EUR", "parent_uid": uid, "tracking_id": "ok-parent", "uid": "charged-back"});
        world.twin().make(made).await;
        let told = json!({"url": world.hook_url(), "uid": "charged-back"});
        assert_eq!(world.twin().send_webhook(told).await, [200]);
        let found = world.until_found("refunded_and_charged_back").await;
        assert_eq!((&found["tracking_id"], &found["amount"]), (&json!("ok-parent"), &json!(3245)));
    });
}

/// Tells of a transaction by a signed webhook.
async fn hear(world: &World, transaction: Value) {
    let body = json!({ "transaction": transaction });
    let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": body});
    assert_eq!(world.twin().send_webhook(webhook).await, [200], "{body}");
}

#[test]
fn refunds_before_the_parent_was_known_are_counted() {
    Setup::default().run(async |world| {
        let made = json!({"type": "payment", "status": "successful", "amount": 1500,
            "currency": "EUR", "tracking_id": "of-old", "uid": "old-parent", "test": true});
        world.twin().make(made).await;
        hear(
            world,
            json!({"uid": "went-back", "type": "refund", "status": "successful", "amount": 1000,
                "currency": "EUR", "parent_uid": "old-parent"}),
        )
        .await;
        world.until_found("orphan_webhook").await;
        let over = world
            .post("refunds", refund("all", "old-parent", 1500))
            .await;
        let problem = over.expect_problem(422, "validation").json;
        assert_eq!(pointer(&problem), "/amount", "{problem}");
        assert_eq!(world.twin().posts("all").await, 0);
        let rest = world
            .post("refunds", refund("rest", "old-parent", 500))
            .await;
        assert!(matches!(rest.status, 200 | 202), "{}", rest.text);
        let known = world
            .get("transactions?uid=went-back")
            .await
            .expect(200)
            .json;
        assert_eq!(known["transactions"][0]["origin"], "gateway", "{known}");
        // It has an owner now, and its sum is counted once.
        eventually("the finding is closed", async || {
            let open = world.open_kinds().await;
            (!open.contains(&"orphan_webhook".to_owned())).then_some(())
        })
        .await;
        let over = world.post("refunds", refund("more", "old-parent", 1)).await;
        assert_eq!(
            pointer(&over.expect_problem(422, "validation").json),
            "/amount"
        );
    });
}

#[test]
fn captures_and_their_refunds_count_before_their_parents() {
    Setup::default().run(async |world| {
        let made = json!({"type": "authorization", "status": "successful", "amount": 1500,
            "currency": "EUR", "tracking_id": "held-of-old", "uid": "old-held", "test": true});
        world.twin().make(made).await;
        for (uid, kind, parent, amount) in [
            ("back", "refund", "taken", 300),
            ("taken", "capture", "old-held", 400),
        ] {
            hear(
                world,
                json!({"uid": uid, "type": kind, "status": "successful", "amount": amount,
                    "currency": "EUR", "parent_uid": parent}),
            )
            .await;
        }
        for (collection, amount) in [("captures", 1101), ("refunds", 101)] {
            let over = world
                .post(collection, refund("too-much", "old-held", amount))
                .await;
            let problem = over.expect_problem(422, "validation").json;
            assert_eq!(pointer(&problem), "/amount", "{problem}");
        }
        let rest = world.post("refunds", refund("rest", "old-held", 100)).await;
        assert!(matches!(rest.status, 200 | 202), "{}", rest.text);
    });
}

#[test]
fn an_equal_child_with_card_data_is_rejected() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        world
            .post("refunds", child("first", &uid, 100))
            .await
            .expect(202);
        let mut carded = child("second", &uid, 100);
        carded["credit_card"] = crate::world::card_payment("any")["credit_card"].clone();
        let early = world.post("refunds", carded).await;
        let early = early.expect_problem(503, "unavailable");
        let pause: u64 = early.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=31).contains(&pause), "{pause}");
        assert_eq!(world.get("transactions/second").await.status, 404);
        assert_eq!(world.twin().posts("second").await, 0);
    });
}

#[test]
fn a_child_in_another_currency_than_its_parent_is_refused() {
    Setup::default().run(async |world| {
        let mut yen = crate::world::payment("ok-yen");
        yen["currency"] = json!("JPY");
        world
            .post_with("payments", &[("prefer", "wait=20")], yen)
            .await
            .expect(200);
        let uid = world.twin().uid("ok-yen").await;
        for collection in ["refunds", "refunds?force=true"] {
            let mut other = refund("euros", &uid, 100);
            other["currency"] = json!("EUR");
            let refused = world.post(collection, other).await;
            let problem = refused.expect_problem(422, "validation").json;
            assert_eq!(pointer(&problem), "/currency", "{problem}");
        }
        assert_eq!(world.twin().posts("euros").await, 0);
        let mut same = refund("yen", &uid, 100);
        same["currency"] = json!("JPY");
        let same = world.post("refunds", same).await;
        assert!(matches!(same.status, 200 | 202), "{}", same.text);
    });
}

#[test]
fn a_chargeback_finds_its_parent_in_the_embedded_body() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        hear(
            world,
            json!({"uid": "charged-back", "type": "chargeback", "status": "successful",
                "amount": 3245, "currency": "EUR",
                "parent_transaction": {"uid": uid, "type": "payment", "status": "successful"}}),
        )
        .await;
        let known = world
            .get(&format!("transactions?parent_uid={uid}"))
            .await
            .expect(200)
            .json;
        assert_eq!(known["transactions"][0]["uid"], "charged-back", "{known}");
        let late = world.post("refunds", refund("late", &uid, 1)).await;
        assert_eq!(
            pointer(&late.expect_problem(422, "validation").json),
            "/amount"
        );
    });
}

#[test]
fn a_double_refund_is_open_until_one_of_them_fails() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        let wait = [("prefer", "wait=20")];
        let all = refund("ok-refund", &uid, 3245);
        world.post_with("refunds", &wait, all).await.expect(200);
        let told = |status: &str, second: u32| {
            json!({"uid": "charged-back", "type": "chargeback", "status": status, "amount": 3245,
                "currency": "EUR", "parent_uid": uid,
                "updated_at": format!("2026-11-01T00:00:{second:02}Z")})
        };
        hear(world, told("successful", 1)).await;
        let found = world.until_found("refunded_and_charged_back").await;
        assert_eq!(found["uids"].as_array().map(Vec::len), Some(2), "{found}");
        hear(world, told("failed", 2)).await;
        let open = world.open_kinds().await;
        assert!(
            !open.contains(&"refunded_and_charged_back".to_owned()),
            "{open:?}"
        );
    });
}

#[test]
fn evidence_before_a_childs_submit_has_one_owner() {
    Setup::default().run(async |world| {
        let uid = paid(world, "ok-parent").await;
        world
            .post("refunds", child("first", &uid, 100))
            .await
            .expect(202);
        let held = world
            .post("refunds", child("ok-held", &uid, 100))
            .await
            .expect(202)
            .json;
        assert_eq!(held["state"], "accepted", "{held}");
        let now = domain::Timestamp::from(leaves::clock::now_utc()).to_rfc3339();
        hear(
            world,
            json!({"uid": "told-early", "type": "refund", "status": "successful", "amount": 100,
                "currency": "EUR", "parent_uid": uid, "tracking_id": "ok-held", "created_at": now,
                "updated_at": now}),
        )
        .await;
        let early = world
            .get("transactions?uid=told-early")
            .await
            .expect(200)
            .json;
        assert_eq!(early["transactions"][0]["origin"], "gateway", "{early}");
        tokio::time::sleep(std::time::Duration::from_secs(30)).await;
        let sent = world.until("ok-held", "the result of its own task", |held| {
            held["uid"].is_string() && held["uid"] != "told-early"
        });
        assert_eq!(sent.await["state"], "successful");
        let early = world
            .get("transactions?uid=told-early")
            .await
            .expect(200)
            .json;
        let owner = &early["transactions"][0];
        assert_eq!(owner["tracking_id"], "ok-held", "it is merged: {early}");
        assert_eq!(owner["origin"], "api", "it is merged: {early}");
        let found = world.until_found("duplicate_success").await;
        assert_eq!(found["uids"].as_array().map(Vec::len), Some(2), "{found}");
    });
}
