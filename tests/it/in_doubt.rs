//! The danger: nobody knows whether the money moved, and the service pretends to know.
//!
//! Doubt is a state. It is left on positive evidence, on a proof of absence, or by a person; no
//! silence and no error of the gateway ever becomes a failure, and nothing is sent again on a guess.

use crate::world::{Setup, World, eventually};
use domain::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// The states that the feed told of, in order.
async fn states(world: &World, tracking_id: &str) -> Vec<String> {
    world
        .story(tracking_id)
        .await
        .into_iter()
        .map(|(_, state)| state)
        .collect()
}

/// Fails when the feed ever told of an end that nobody could have known of.
async fn never_ended_otherwise(world: &World, tracking_id: &str, end: &str) {
    let told = states(world, tracking_id).await;
    assert_eq!(told.last().map(String::as_str), Some(end), "{told:?}");
    for state in ["failed", "expired", "rejected", "not_sent", "not_found"] {
        assert!(
            end == state || !told.iter().any(|told| told == state),
            "{told:?}"
        );
    }
}

#[test]
fn a_crashed_task_is_doubt_and_the_success_is_found() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        let done = world.pay_and_wait("crash-1").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        let told = states(world, "crash-1").await;
        assert!(told.contains(&"in_doubt".to_owned()), "{told:?}");
        never_ended_otherwise(world, "crash-1", "successful").await;
        assert_eq!(world.twin().posts("crash-1").await, 1);
    });
}

#[test]
fn absence_is_proved_by_recorded_lookups() {
    Setup::default().impatient().run(async |world| {
        world.pay("crashnone-1").await.expect(202);
        let done = world.until_final("crashnone-1").await;
        assert_eq!(done["state"], "not_found");
        never_ended_otherwise(world, "crashnone-1", "not_found").await;

        let evidence = world.evidence("crashnone-1").await;
        let proof = evidence
            .iter()
            .find(|e| e["subject"] == "absence_proved")
            .expect("a proof");
        let body: Value = serde_json::from_str(proof["body"].as_str().unwrap()).unwrap();
        let named: Vec<&Value> = body["lookups"].as_array().unwrap().iter().collect();
        assert!(named.len() >= 3, "{body}");
        let mut times = Vec::new();
        for id in named {
            let lookup = evidence
                .iter()
                .find(|e| e["id"] == *id)
                .expect("kept evidence");
            assert_eq!(
                (&lookup["channel"], &lookup["http_status"]),
                (&json!("query"), &json!(200))
            );
            assert!(
                lookup["body"]
                    .as_str()
                    .unwrap()
                    .contains("\"transactions\":[]"),
                "{lookup}"
            );
            times.push(time(&lookup["received_at"]));
        }
        assert!(
            times
                .windows(2)
                .all(|two| two[1].since(two[0]) >= Duration::from_millis(100))
        );
        // The last one is later than the lease, the request timeout and the horizon together.
        let stamped = evidence
            .iter()
            .find(|e| e["subject"] == "stamped")
            .expect("a stamp");
        let waited = times.last().unwrap().since(time(&stamped["received_at"]));
        assert!(
            waited >= Duration::from_millis(1500 + 700 + 200),
            "{waited:?}"
        );
        assert_eq!(world.twin().posts("crashnone-1").await, 1);
    });
}

fn time(value: &Value) -> Timestamp {
    Timestamp::parse(value.as_str().unwrap()).unwrap()
}

#[test]
fn a_failed_lookup_proves_nothing() {
    Setup::default().impatient().run(async |world| {
        let broken = json!({"operation": "lookup", "act": {"answer": {"status": 503}}});
        world.twin().fault(broken).await;
        world.pay("hangnone-1").await;
        eventually("many failed look-ups, long after the horizon", async || {
            let made = world.evidence_by("hangnone-1", "query").await;
            let first = world.status("hangnone-1").await["created_at"].clone();
            let last = made
                .last()
                .map(|e| time(&e["received_at"]).since(time(&first)));
            let late = last.is_some_and(|age| age > Duration::from_secs(3));
            (made.len() >= 3 && late).then_some(())
        })
        .await;
        assert_eq!(world.state("hangnone-1").await, "in_doubt");
        let made = world.evidence_by("hangnone-1", "query").await;
        assert!(made.iter().all(|e| e["verdict"] == "refused"), "{made:?}");
        world.twin().no_faults().await;
        assert_eq!(world.until_final("hangnone-1").await["state"], "not_found");
    });
}

#[test]
fn lookups_without_a_control_lookup_prove_nothing() {
    Setup::default().impatient().run(async |world| {
        // One is known to exist, so that the look-ups can be tried on it.
        world.pay_and_wait("ok-known").await.expect(200);
        let empty = json!({"answer": {"status": 200, "body": {"transactions": []}}});
        world
            .twin()
            .fault(json!({"operation": "query_tracking_id", "act": empty}))
            .await;
        world.pay("hangnone-2").await;
        eventually("control look-ups that find nothing", async || {
            let controls = world.twin().requests("query_tracking_id", "ok-known").await;
            (controls.len() >= 2).then_some(())
        })
        .await;
        assert_eq!(world.state("hangnone-2").await, "in_doubt");
        world.twin().no_faults().await;
        assert_eq!(world.until_final("hangnone-2").await["state"], "not_found");
    });
}

#[test]
fn a_submit_without_a_response_is_looked_up() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        let asked = world.pay("hang-1").await.expect(202);
        assert_eq!(asked.json["state"], "in_doubt");
        let told = world.explain("hang-1").await;
        assert_eq!(told["state"], "in_doubt");
        assert!(told["next"]["at"].is_string(), "{told}");
        assert_eq!(world.until_final("hang-1").await["state"], "successful");
        never_ended_otherwise(world, "hang-1", "successful").await;
        assert_eq!(world.twin().posts("hang-1").await, 1);
    });
}

#[test]
fn a_truncated_or_failed_submit_is_looked_up() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        for name in ["reset-1", "e500-1", "e502-1", "e503-1"] {
            let asked = world.pay(name).await.expect(202);
            assert_eq!(asked.json["state"], "in_doubt", "{name}");
            assert_eq!(
                world.until_final(name).await["state"],
                "successful",
                "{name}"
            );
            never_ended_otherwise(world, name, "successful").await;
            assert_eq!(world.twin().posts(name).await, 1, "{name}");
        }
    });
}

#[test]
fn a_lost_submit_ends_only_by_a_proof_of_absence() {
    Setup::default().impatient().run(async |world| {
        let names = [
            "resetnone-1",
            "e500none-1",
            "e502none-1",
            "e503none-1",
            "hangnone-3",
        ];
        for name in names {
            let asked = world.pay_async(name).await.expect(202);
            assert_eq!(asked.json["final"], false, "{name}");
        }
        for name in names {
            assert_eq!(
                world.until_final(name).await["state"],
                "not_found",
                "{name}"
            );
            never_ended_otherwise(world, name, "not_found").await;
            assert_eq!(world.twin().posts(name).await, 1, "{name}");
        }
    });
}

#[test]
fn an_unreachable_gateway_leaves_the_transaction_open() {
    Setup::default().gateway_down().run(async |world| {
        let asked = world.pay("ok-down").await.expect(202);
        assert_eq!(asked.json["state"], "accepted");
        let sentence = world.explain("ok-down").await["because"].to_string();
        assert!(sentence.contains("no byte"), "{sentence}");
        world.twin().up().await;
        assert_eq!(world.until_final("ok-down").await["state"], "successful");
        assert_eq!(world.twin().posts("ok-down").await, 1);
    });
}

#[test]
fn a_task_that_the_gateway_does_not_know_proves_nothing() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("unknown-1").await.expect(202);
        world.pay("unknownnone-1").await.expect(202);
        assert_eq!(world.until_final("unknown-1").await["state"], "successful");
        assert!(
            states(world, "unknown-1")
                .await
                .contains(&"in_doubt".to_owned())
        );
        assert_eq!(
            world.until_final("unknownnone-1").await["state"],
            "not_found"
        );
        let reads = world.evidence_by("unknown-1", "task_result").await;
        // An error of the gateway can be read once; the explanation says that it may be gone.
        assert!(
            reads[0]["note"].as_str().unwrap().contains("lost"),
            "{reads:?}"
        );
    });
}

#[test]
fn a_duplicate_error_is_looked_up_and_not_rejected() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        let asked = world.pay("dup-1").await.expect(202);
        assert_eq!(asked.json["state"], "in_doubt");
        assert_eq!(world.until_final("dup-1").await["state"], "successful");
        assert_eq!(world.twin().posts("dup-1").await, 1);
        // An empty look-up right after it is not enough to call it refused.
        world.pay("dupnone-1").await.expect(202);
        eventually("an empty look-up", async || {
            (!world.evidence_by("dupnone-1", "query").await.is_empty()).then_some(())
        })
        .await;
        let seen = world.status("dupnone-1").await;
        assert_eq!(
            (&seen["state"], &seen["code"]),
            (&json!("in_doubt"), &json!("E.1018"))
        );
    });
}

#[test]
fn a_transaction_older_than_the_first_stamp_is_foreign() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        let older = json!({"uid": "older-1", "tracking_id": "hangnone-old", "amount": 3245,
            "currency": "EUR", "created_offset_seconds": -90_000, "test": true});
        world.twin().make(older).await;
        world.pay("hangnone-old").await.expect(202);
        let found = world.until_found("ambiguous_tracking_id").await;
        assert_eq!(found["uid"], "older-1");
        let done = world.until_final("hangnone-old").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("not_found"), &Value::Null)
        );
        // It is listed and summed as what it is: one that was made past us.
        let page = world.get("transactions?origin=gateway").await.expect(200);
        let other = &page.json["transactions"][0];
        assert_eq!(
            (&other["uid"], &other["tracking_id"]),
            (&found["uid"], &found["tracking_id"])
        );
        let owner = "SELECT count(*) FROM uids u JOIN transactions t ON t.id = u.transaction_id
            WHERE t.origin = 'gateway'";
        assert_eq!(world.database.one::<i64>(owner).await, 1);
    });
}

#[test]
fn a_slow_gateway_clock_causes_no_double_payment() {
    Setup::default().impatient().run(async |world| {
        world
            .twin()
            .switch(json!({"webhooks": false, "stamps_ahead": -3600.0}))
            .await;
        // Its answer is lost, and by the gateway's clock it was made an hour before it was sent.
        world.pay("hang-behind").await.expect(202);
        let found = world.until_found("ambiguous_tracking_id").await;
        assert_eq!(found["tracking_id"], "hang-behind");
        // Beside it one that is not there, whose absence is proved meanwhile, and once more.
        for name in ["hangnone-1", "hangnone-2"] {
            world.pay_async(name).await.expect(202);
            assert_eq!(world.until_final(name).await["state"], "not_found");
        }
        let asked = world.evidence_by("hang-behind", "query").await.len();
        assert!(asked >= 3, "{asked} look-ups");
        assert_eq!(world.state("hang-behind").await, "in_doubt");
        let evidence = world.evidence("hang-behind").await;
        let proof = evidence.iter().find(|e| e["subject"] == "absence_proved");
        assert_eq!(proof, None);
        let told = world.explain("hang-behind").await;
        assert!(
            told["summary"].as_str().unwrap().contains("a person"),
            "{told}"
        );

        // With its clock put right, the gateway's word is taken again.
        world.twin().switch(json!({"stamps_ahead": 0.0})).await;
        world.pay("hang-right").await.expect(202);
        assert_eq!(world.until_final("hang-right").await["state"], "successful");
        assert_eq!(world.twin().posts("hang-behind").await, 1);
        world
            .resolve("hang-behind", "successful", "the back office has it")
            .await
            .expect(200);
    });
}

#[test]
fn another_payment_of_that_name_is_not_adopted() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        for (uid, name, field, value) in [
            ("other-1", "hangnone-amount", "amount", json!(9999)),
            ("other-2", "hangnone-currency", "currency", json!("USD")),
            ("other-3", "hangnone-type", "type", json!("authorization")),
        ] {
            world.pay_async(name).await.expect(202);
            let mut other = json!({"uid": uid, "tracking_id": name, "amount": 3245,
                "currency": "EUR", "test": true});
            other[field] = value;
            world.twin().make(other).await;
        }
        let done = world.until_final("hangnone-type").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("not_found"), &Value::Null)
        );
        // Like it in type, under its very name, and of nobody else: it could be ours after all. That is
        // neither a find nor an empty look-up.
        for name in ["hangnone-amount", "hangnone-currency"] {
            eventually("look-ups", async || {
                (world.evidence_by(name, "query").await.len() > 4).then_some(())
            })
            .await;
            let seen = world.status(name).await;
            assert_eq!(
                (&seen["state"], &seen["uid"]),
                (&json!("in_doubt"), &Value::Null)
            );
            let findings = world.discrepancies().await;
            let mut findings = findings.iter();
            assert!(findings.any(|f| {
                f["tracking_id"] == name
                    && f["kind"] == "ambiguous_tracking_id"
                    && f["status"] == "open"
            }));
        }
        let kinds = world.open_kinds().await;
        for kind in ["amount_mismatch", "currency_mismatch", "type_mismatch"] {
            assert!(kinds.iter().any(|k| k == kind), "{kind}: {kinds:?}");
        }
    });
}

#[test]
fn the_money_in_doubt_is_on_the_dashboard() {
    Setup::default().run(async |world| {
        world.pay("dupnone-money").await.expect(202);
        let labels = [("shop", "1001"), ("currency", "EUR")];
        eventually("money in doubt", async || {
            let metrics = world.metrics().await;
            (metrics.sum("reconciler_money_in_doubt_minor", &labels) == 3245.0).then_some(())
        })
        .await;
        let metrics = world.metrics().await;
        let labels = [("shop", "1001"), ("state", "in_doubt")];
        assert_eq!(metrics.sum("reconciler_transactions_open", &labels), 1.0);
        assert!(metrics.sum("reconciler_oldest_open_seconds", &labels) > 0.0);
    });
}
