//! The danger: more money goes back than came in, or the gateway takes a second, honest refund for a
//! duplicate of the first.

use crate::world::{Setup, World};
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
fn no_more_goes_back_than_came_in_unless_an_operator_insists() {
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
fn a_child_equal_to_one_just_sent_waits_until_it_is_no_duplicate_for_the_gateway() {
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
fn a_child_of_what_has_not_succeeded_is_not_sent() {
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
fn a_refund_made_in_the_back_office_is_adopted_and_lessens_what_is_left() {
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
