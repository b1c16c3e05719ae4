//! The danger: a lost request is sent again, and the payer pays twice.
//!
//! Only a shop that trusts the gateway's `RequestID` has a lost request repeated, under that very key,
//! after a look-up that found nothing, never with card data, and never because a look-up failed.

use crate::world::{FakeGateway, FakeReply, Request, Setup, World, ack, card_payment, eventually};
use serde_json::{Value, json};

fn trusting() -> Setup {
    Setup::default().impatient().trusting()
}

/// How often it was posted, and whether always under one key.
async fn posted(world: &World, tracking_id: &str) -> (u64, Value) {
    let counts = world.twin().counts(tracking_id).await;
    let posts = counts["posts"].as_u64().unwrap_or(0);
    (posts, counts["one_request_id"].clone())
}

#[test]
fn a_lost_submit_is_resent_under_its_request_id() {
    trusting().run(async |world| {
        world.pay("hangnone-1").await.expect(202);
        assert_eq!(world.until_final("hangnone-1").await["state"], "successful");
        assert_eq!(posted(world, "hangnone-1").await, (2, json!(true)));
        assert_eq!(world.twin().truth("hangnone-1").await.len(), 1);
        // The look-up before the repeat is evidence.
        let evidence = world.evidence("hangnone-1").await;
        let at = |subject: &str, verdict: &str| {
            let found = evidence
                .iter()
                .rposition(|e| e["subject"] == subject && e["verdict"] != verdict);
            found.unwrap_or_else(|| panic!("{subject}: {evidence:#?}"))
        };
        assert!(at("hangnone-1", "-") < at("stamped", "-"));
    });
}

#[test]
fn a_resend_creates_no_second_transaction() {
    trusting().run(async |world| {
        // It is taken, runs for a while, and no look-up knows it before its task ends.
        let script = json!({"task": {"delay": {"fixed": {"seconds": 3.0}}}});
        world.twin().script("hang-2", "hang", script).await;
        world.pay("hang-2").await.expect(202);
        assert_eq!(world.until_final("hang-2").await["state"], "successful");
        let counts = world.twin().counts("hang-2").await;
        assert_eq!(counts["one_request_id"], true);
        assert!(counts["replayed"].as_u64() >= Some(1), "{counts}");
        assert_eq!(counts["accepted"], 1, "{counts}");
        assert_eq!(world.twin().truth("hang-2").await.len(), 1);
    });
}

#[test]
fn without_that_trust_nothing_is_repeated() {
    Setup::default().impatient().run(async |world| {
        world.pay("hangnone-3").await.expect(202);
        assert_eq!(world.until_final("hangnone-3").await["state"], "not_found");
        assert_eq!(posted(world, "hangnone-3").await.0, 1);
    });
}

#[test]
fn a_request_with_card_data_is_never_repeated() {
    trusting().run(async |world| {
        world
            .post("payments", card_payment("hangnone-4"))
            .await
            .expect(202);
        assert_eq!(world.until_final("hangnone-4").await["state"], "not_found");
        assert_eq!(posted(world, "hangnone-4").await.0, 1);
    });
}

#[test]
fn a_failed_lookup_causes_no_resend() {
    for status in [401, 403, 500, 503] {
        trusting().run(async |world| {
            let answer = json!({"answer": {"status": status, "body": {"message": "not now"}}});
            world
                .twin()
                .fault(json!({"operation": "lookup", "act": answer}))
                .await;
            world.pay("hangnone-5").await.expect(202);
            eventually("the failing look-ups", async || {
                let made = world.twin().requests("lookup", "hangnone-5").await;
                (made.len() >= 3).then_some(())
            })
            .await;
            assert_eq!(posted(world, "hangnone-5").await.0, 1, "{status}");
            assert_eq!(world.state("hangnone-5").await, "in_doubt", "{status}");
            world.twin().no_faults().await;
            world.until_final("hangnone-5").await;
        });
    }
}

#[test]
fn a_refused_resend_says_nothing_about_the_first_attempt() {
    let gateway = FakeGateway::start(|request: Request| async move {
        match (request.is_submit(), request.posts_before) {
            (true, 0) => FakeReply::Close,
            (true, _) => {
                let error = json!({"code": "E.1033", "message": "Validation error", "errors": {}});
                FakeReply::Json(422, json!({"response": error}))
            }
            (false, 0) => FakeReply::Json(200, ack("http://127.0.0.1:1", "t")),
            (false, _) => FakeReply::Json(200, json!({"transactions": []})),
        }
    });
    trusting().gateway(&gateway).run(async |world| {
        world.pay("order-6").await.expect(202);
        eventually("the repeats", async || {
            (gateway.submits().len() >= 3).then_some(())
        })
        .await;
        let keys: Vec<_> = gateway.submits();
        let keys: Vec<_> = keys.iter().map(|r| r.header("requestid")).collect();
        assert!(keys[0].is_some() && keys.windows(2).all(|two| two[0] == two[1]));
        let told = world.story("order-6").await;
        assert!(
            told.iter().all(|(_, state)| state != "rejected"),
            "{told:?}"
        );
    });
}
