//! The danger: the gateway changes its mind, and nobody here notices; or a late word from it turns
//! what is settled back.

use crate::world::{Setup, World, eventually};
use serde_json::{Value, json};

async fn told(world: &World, tracking_id: &str) -> Vec<String> {
    world
        .story(tracking_id)
        .await
        .into_iter()
        .map(|(kind, state)| format!("{kind} {state}"))
        .collect()
}

#[test]
fn a_failure_corrected_by_hand_becomes_a_success() {
    Setup::default().run(async |world| {
        let failed = world.pay_and_wait("correct-1").await.expect(200).json;
        assert_eq!(failed["state"], "failed");
        world.twin().advance(5.0).await;
        let done = world.until_state("correct-1", "successful").await;
        assert!(done["sequence"].as_i64() > failed["sequence"].as_i64());
        assert_eq!(done["uid"], failed["uid"]);
        let found = world.until_found("late_success").await;
        assert_eq!(found["tracking_id"], "correct-1");
        let story = told(world, "correct-1").await;
        let end = [
            "transaction.finalized failed",
            "transaction.corrected successful",
        ];
        assert!(story.ends_with(&end.map(str::to_owned)), "{story:?}");
        // A look-up by uid confirms it.
        eventually("the look-up that confirms it", async || {
            (!world.evidence_by("correct-1", "query").await.is_empty()).then_some(())
        })
        .await;
        assert_eq!(world.state("correct-1").await, "successful");
    });
}

#[test]
fn a_success_can_be_corrected_to_a_failure() {
    Setup::default().run(async |world| {
        let done = world.pay_and_wait("uncorrect-1").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        world.twin().advance(5.0).await;
        world.until_state("uncorrect-1", "failed").await;
        world.until_found("manual_correction").await;
        let story = told(world, "uncorrect-1").await;
        assert_eq!(
            story.last().map(String::as_str),
            Some("transaction.corrected failed")
        );
    });
}

#[test]
fn a_correction_is_confirmed_by_a_lookup_by_uid() {
    // Nothing but the correction makes a look due, and nothing but webhooks has told of it so far.
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("uncorrect-quiet").await.expect(200);
        world.twin().advance(5.0).await;
        world.until_state("uncorrect-quiet", "failed").await;
        eventually("a look-up by uid", async || {
            let made = world.twin().requests("query_uid", "uncorrect-quiet").await;
            (!made.is_empty()).then_some(())
        })
        .await;
        assert_eq!(world.state("uncorrect-quiet").await, "failed");
    });
}

#[test]
fn a_recheck_finds_a_correction_without_a_webhook() {
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1s\", \"2s\", \"4s\"]");
    setup.run(async |world| {
        world.pay_and_wait("decline-again").await.expect(200);
        let uid = world.twin().uid("decline-again").await;
        world
            .twin()
            .change(&uid, json!({"status": "successful", "notify": false}))
            .await;
        world.until_state("decline-again", "successful").await;
        world.until_found("late_success").await;
        // After the last look nothing more is due.
        eventually("no check is due any more", async || {
            let due = world
                .database
                .one::<i64>("SELECT count(*) FROM due_checks")
                .await;
            (due == 0).then_some(())
        })
        .await;
        assert_eq!(
            world.status("decline-again").await["next_check_at"],
            Value::Null
        );
    });
}

#[test]
fn a_failed_recheck_is_retried() {
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1s\", \"2s\"]");
    setup.run(async |world| {
        let broken = json!({"operation": "lookup", "act": {"answer": {"status": 502}}});
        world.twin().fault(broken).await;
        world.pay_and_wait("decline-owed").await.expect(200);
        let uid = world.twin().uid("decline-owed").await;
        let silently = json!({"status": "successful", "notify": false});
        world.twin().change(&uid, silently).await;
        eventually("more looks than the setting names", async || {
            let made = world.twin().requests("query_uid", "decline-owed").await;
            (made.len() > 2).then_some(())
        })
        .await;
        assert_eq!(world.state("decline-owed").await, "failed");
        world.twin().no_faults().await;
        world.until_state("decline-owed", "successful").await;
        world.until_found("late_success").await;
    });
}

#[test]
fn a_final_state_that_rests_on_a_snapshot_is_never_open_again() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-conflict").await.expect(200);
        let uid = world.twin().uid("ok-conflict").await;
        world
            .twin()
            .change(&uid, json!({"status": "incomplete", "corrected": false}))
            .await;
        let webhook = json!({"url": world.hook_url(), "uid": uid});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        let found = world.until_found("status_conflict").await;
        assert_eq!(found["uid"], uid);
        eventually("the look-up by uid that it makes due", async || {
            (!world
                .twin()
                .requests("query_uid", "ok-conflict")
                .await
                .is_empty())
            .then_some(())
        })
        .await;
        assert_eq!(world.state("ok-conflict").await, "successful");
        assert!(
            told(world, "ok-conflict")
                .await
                .iter()
                .all(|t| !t.contains("corrected"))
        );
    });
}

#[test]
fn a_transaction_proved_absent_can_still_appear() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("hangnone-late").await.expect(202);
        assert_eq!(
            world.until_final("hangnone-late").await["state"],
            "not_found"
        );
        let made = json!({"uid": "late-1", "tracking_id": "hangnone-late", "amount": 3245,
            "currency": "EUR", "status": "incomplete", "test": true});
        world.twin().make(made).await;
        world.check("hangnone-late").await.expect(202);
        // Even a state that is not final reopens what was only presumed.
        let open = world.until_state("hangnone-late", "pending").await;
        assert_eq!(
            (&open["final"], &open["finalized_at"]),
            (&json!(false), &Value::Null)
        );
        let story = told(world, "hangnone-late").await;
        assert_eq!(
            story.last().map(String::as_str),
            Some("transaction.corrected pending")
        );
        world
            .twin()
            .change(
                "late-1",
                json!({"status": "successful", "corrected": false}),
            )
            .await;
        assert_eq!(
            world.until_final("hangnone-late").await["state"],
            "successful"
        );
    });
}

#[test]
fn a_success_after_a_refusal_is_a_late_success() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        let refused = world.pay("reject-late").await.expect(200).json;
        assert_eq!(refused["state"], "rejected");
        let made = json!({"uid": "late-2", "tracking_id": "reject-late", "amount": 3245,
            "currency": "EUR", "test": true});
        world.twin().make(made).await;
        world.check("reject-late").await.expect(202);
        let done = world.until_state("reject-late", "successful").await;
        assert_eq!(done["uid"], "late-2");
        let found = world.until_found("late_success").await;
        assert_eq!(found["tracking_id"], "reject-late");
    });
}

#[test]
fn a_transaction_lost_at_the_gateway_keeps_its_state() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay_and_wait("stuck-hidden").await.expect(202);
        let uid = world.twin().uid("stuck-hidden").await;
        world.twin().change(&uid, json!({"hidden": true})).await;
        let found = world.until_found("missing_at_gateway").await;
        assert_eq!(found["uid"], uid);
        let seen = world.status("stuck-hidden").await;
        assert_eq!(
            (&seen["state"], &seen["uid"]),
            (&json!("pending"), &json!(uid))
        );
    });
}
