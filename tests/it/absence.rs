//! The danger: something that happened is told as never having been, and the merchant does it again.

use crate::world::{FakeGateway, FakeReply, Request, Setup, World, ack, eventually, transaction};
use domain::Timestamp;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A gateway that takes one payment as a task; what the task and the look-ups say comes from the test.
fn gateway(
    task: impl Fn(usize) -> FakeReply + Send + Sync + 'static,
    look_up: impl Fn(usize) -> FakeReply + Send + Sync + 'static,
) -> FakeGateway {
    let origin = Arc::new(Mutex::new(String::new()));
    let (at_task, at_look_up) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let told = Arc::clone(&origin);
    let fake = FakeGateway::start(move |request: Request| {
        let reply = if request.is_submit() {
            FakeReply::Json(200, ack(&told.lock().unwrap(), "t-1"))
        } else if request.path.contains("/async/") {
            task(at_task.fetch_add(1, Ordering::SeqCst))
        } else if !request.path.contains("tracking_id") {
            FakeReply::Json(503, json!({"message": "not now"}))
        } else {
            look_up(at_look_up.fetch_add(1, Ordering::SeqCst))
        };
        async move { reply }
    });
    *origin.lock().unwrap() = fake.base();
    fake
}

fn refused() -> FakeReply {
    let body = json!({"response": {"code": "E.1025", "message": "Amount is too small",
        "errors": {"amount": ["is too small"]}}});
    FakeReply::Json(422, body)
}

fn nothing() -> FakeReply {
    FakeReply::Json(200, json!({"transactions": []}))
}

/// How often the gateway was looked up by tracking id.
fn look_ups(gateway: &FakeGateway) -> usize {
    let seen = gateway.seen();
    let look_up = |request: &&Request| request.path.contains("tracking_id");
    seen.iter().filter(look_up).count()
}

async fn explained(world: &World, tracking_id: &str) -> String {
    let told = world.explain(tracking_id).await;
    told["summary"].as_str().unwrap().to_owned()
}

#[test]
fn a_task_refusal_is_final_after_one_empty_lookup() {
    let fake = gateway(|_| refused(), |_| nothing());
    Setup::default().gateway(&fake).run(async |world| {
        world.pay("refused-1").await.expect(202);
        let done = world.until_final("refused-1").await;
        assert_eq!(
            (&done["state"], &done["code"]),
            (&json!("rejected"), &json!("E.1025"))
        );
        // One extra request, and no more.
        assert_eq!(look_ups(&fake), 1);
        let states: Vec<String> = world
            .story("refused-1")
            .await
            .into_iter()
            .map(|s| s.1)
            .collect();
        assert!(!states.contains(&"in_doubt".to_owned()), "{states:?}");
        let told = explained(world, "refused-1").await;
        assert!(told.contains("found nothing"), "{told}");
    });
}

#[test]
fn a_refusal_is_not_final_while_lookups_fail() {
    let open = Arc::new(AtomicUsize::new(0));
    let is_open = Arc::clone(&open);
    let fake = gateway(
        |_| refused(),
        move |_| match is_open.load(Ordering::SeqCst) {
            0 => FakeReply::Json(503, json!({"message": "not now"})),
            _ => nothing(),
        },
    );
    Setup::default().gateway(&fake).run(async |world| {
        world.pay("refused-2").await.expect(202);
        eventually("failing look-ups", async || {
            (look_ups(&fake) > 2).then_some(())
        })
        .await;
        let seen = world.status("refused-2").await;
        assert_eq!(
            (&seen["state"], &seen["final"], &seen["code"]),
            (&json!("processing"), &json!(false), &json!("E.1025"))
        );
        let told = explained(world, "refused-2").await;
        assert!(
            told.contains("a look-up by its tracking id comes first"),
            "{told}"
        );
        open.store(1, Ordering::SeqCst);
        assert_eq!(world.until_final("refused-2").await["state"], "rejected");
    });
}

#[test]
fn a_refused_transaction_that_the_gateway_has_is_not_rejected() {
    let fake = gateway(
        |_| refused(),
        |_| {
            let made = transaction("made-1", "refused-3", "successful");
            FakeReply::Json(200, json!({"transactions": [made]}))
        },
    );
    Setup::default().gateway(&fake).run(async |world| {
        world.pay("refused-3").await.expect(202);
        let done = world.until_final("refused-3").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("successful"), &json!("made-1"))
        );
        let states: Vec<String> = world
            .story("refused-3")
            .await
            .into_iter()
            .map(|s| s.1)
            .collect();
        assert!(!states.contains(&"rejected".to_owned()), "{states:?}");
    });
}

#[test]
fn the_horizon_starts_at_the_last_proof_that_the_task_exists() {
    let last: Arc<Mutex<Option<Timestamp>>> = Arc::default();
    let (noted, begun) = (Arc::clone(&last), Timestamp::from(leaves::clock::now_utc()));
    let fake = gateway(
        move |_| {
            let now = Timestamp::from(leaves::clock::now_utc());
            if now.since(begun) < Duration::from_secs(6) {
                *noted.lock().unwrap() = Some(now);
                return FakeReply::Json(200, json!({"status": "processing", "request_id": "t-1"}));
            }
            FakeReply::Json(404, json!({"status": "unknown", "request_id": "t-1"}))
        },
        |_| nothing(),
    );
    let setup = Setup::default()
        .impatient()
        .set("follow", "in_doubt_horizon", "\"3s\"");
    setup.gateway(&fake).run(async |world| {
        world.pay("alive-1").await.expect(202);
        let done = world.until_final("alive-1").await;
        assert_eq!(done["state"], "not_found");
        let ended = Timestamp::parse(done["finalized_at"].as_str().unwrap()).unwrap();
        let alive = last.lock().unwrap().unwrap();
        assert!(
            ended.since(alive) >= Duration::from_secs(3),
            "{ended:?} {alive:?}"
        );
        // The proof names its look-ups, and the attempts that it covers.
        let evidence = world.evidence("alive-1").await;
        let proof = evidence
            .iter()
            .find(|e| e["subject"] == "absence_proved")
            .unwrap();
        let proof: Value = serde_json::from_str(proof["body"].as_str().unwrap()).unwrap();
        assert_eq!(proof["attempts"], json!([1]));
        assert!(proof["lookups"].as_array().unwrap().len() >= 3, "{proof}");
    });
}

#[test]
fn an_id_with_signs_needs_a_control_lookup_with_signs() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay_and_wait("ok-plain").await.expect(200);
        world.pay("hangnone-a.b").await.expect(202);
        let found = world.until_found("pending_too_long").await;
        assert_eq!(found["tracking_id"], "hangnone-a.b");
        assert_eq!(world.state("hangnone-a.b").await, "in_doubt");
        // A plain one beside it can be proved meanwhile.
        world.pay("hangnone-plain").await.expect(202);
        assert_eq!(
            world.until_final("hangnone-plain").await["state"],
            "not_found"
        );
        assert_eq!(world.state("hangnone-a.b").await, "in_doubt");
        world.pay_and_wait("ok-c.d").await.expect(200);
        assert_eq!(
            world.until_final("hangnone-a.b").await["state"],
            "not_found"
        );
    });
}

#[test]
fn a_child_is_looked_up_by_its_parents_tracking_id() {
    Setup::default().impatient().run(async |world| {
        world.pay_and_wait("ok-parent").await.expect(200);
        let parent = world.twin().uid("ok-parent").await;
        let switches = json!({"children_own_tracking_id": false, "webhooks": false});
        world.twin().switch(switches).await;
        let body = json!({"tracking_id": "hang-refund", "parent_uid": parent, "amount": 500,
            "reason": "returned"});
        world.post("refunds", body).await.expect(202);
        assert_eq!(
            world.until_final("hang-refund").await["state"],
            "successful"
        );
        assert_eq!(world.twin().posts("hang-refund").await, 1);
    });
}

#[test]
fn child_absence_needs_a_gateway_that_lists_children() {
    Setup::default().impatient().run(async |world| {
        world.pay_and_wait("ok-parent").await.expect(200);
        let parent = world.twin().uid("ok-parent").await;
        world.twin().switch(json!({"webhooks": false})).await;
        let body = |name: &str| {
            json!({"tracking_id": name, "parent_uid": parent, "amount": 500,
            "reason": "returned", "duplicate_check": false})
        };
        world.post("refunds", body("hangnone-r1")).await.expect(202);
        let found = world.until_found("pending_too_long").await;
        assert_eq!(found["tracking_id"], "hangnone-r1");
        // What a webhook or a task tells teaches nothing of look-ups.
        world
            .post_with("refunds", &[("prefer", "wait=20")], body("ok-r2"))
            .await
            .expect(200);
        assert_eq!(world.state("hangnone-r1").await, "in_doubt");
        // A look-up that shows one under its own name does.
        world.check("ok-r2").await.expect(202);
        world.post("refunds", body("hang-r3")).await.expect(202);
        world.until_final("hang-r3").await;
        assert_eq!(world.until_final("hangnone-r1").await["state"], "not_found");
        let shown = "SELECT count(*) FROM shop_abilities WHERE ability = 'shows:refund'";
        assert_eq!(world.database.one::<i64>(shown).await, 1);
    });
}
