//! The danger: a payment that ended, and nobody here learns how; or learns it wrongly.

use crate::world::{Setup, payment};
use serde_json::json;

#[test]
fn a_webhook_alone_makes_a_payment_successful() {
    // The engine never looks: only the webhook can tell.
    Setup::default().quiet().run(async |world| {
        let done = world.pay_and_wait("ok-hooked").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        let hooks = world.evidence_by("ok-hooked", "webhook").await;
        assert_eq!(hooks.len(), 1);
        assert_eq!(
            (&hooks[0]["verdict"], &hooks[0]["signed"]),
            (&json!("applied"), &json!(true))
        );
        assert!(
            world
                .evidence_by("ok-hooked", "task_result")
                .await
                .is_empty()
        );
    });
}

#[test]
fn a_decline_is_failed_with_the_gateways_reason() {
    Setup::default().run(async |world| {
        let done = world.pay_and_wait("decline-1").await.expect(200).json;
        assert_eq!(
            (&done["state"], &done["status"]),
            (&json!("failed"), &json!("failed"))
        );
        assert_eq!(done["code"], "F.0105");
        assert!(done["message"].is_string());
        assert_eq!(
            world.story("decline-1").await.last().unwrap().0,
            "transaction.finalized"
        );
    });
}

#[test]
fn a_lost_webhook_costs_time_and_not_truth() {
    Setup::default().run(async |world| {
        let done = world.pay_and_wait("lost-1").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        assert!(world.evidence_by("lost-1", "webhook").await.is_empty());
        assert!(!world.evidence_by("lost-1", "task_result").await.is_empty());
    });
}

#[test]
fn a_running_task_is_read_until_it_ends() {
    for status in [425, 200] {
        Setup::default().run(async |world| {
            let slow =
                json!({"processing_status": status, "task_delay": {"fixed": {"seconds": 1.0}}});
            world.twin().switch(slow).await;
            let done = world.pay_and_wait("lost-early").await.expect(200).json;
            assert_eq!(done["state"], "successful");
            let reads = world.evidence_by("lost-early", "task_result").await;
            assert!(
                reads.iter().any(|read| read["http_status"] == status),
                "{reads:?}"
            );
            assert!(world.twin().requests("result", "lost-early").await.len() > 1);
        });
    }
}

#[test]
fn follow_by_status_reaches_the_same_state() {
    for burns in [false, true] {
        Setup::default()
            .set("gateway", "follow", "\"status\"")
            .run(async |world| {
                world
                    .twin()
                    .switch(json!({"status_read_burns": burns}))
                    .await;
                for (name, state) in [
                    ("lost-a", "successful"),
                    ("decline-a", "failed"),
                    ("crash-a", "successful"),
                ] {
                    let done = world.pay_and_wait(name).await.expect(200).json;
                    assert_eq!(done["state"], state, "{name}, status burns: {burns}");
                }
                assert!(!world.evidence_by("lost-a", "task_status").await.is_empty());
            });
    }
}

#[test]
fn a_redirect_is_returned_and_a_webhook_completes_it() {
    Setup::default().run(async |world| {
        let asked = world.pay_and_wait("threeds-hook").await.expect(202);
        assert_eq!(asked.header("preference-applied"), Some("wait=20"));
        assert_eq!(asked.json["state"], "pending");
        assert_eq!(asked.json["status"], "incomplete");
        assert!(
            asked.json["redirect_url"]
                .as_str()
                .is_some_and(|url| url.starts_with("http"))
        );
        world.twin().advance(5.0).await;
        let done = world.until_final("threeds-hook").await;
        assert_eq!(done["state"], "successful");
    });
}

#[test]
fn a_completed_redirect_is_found_without_a_webhook() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        for (name, state) in [
            ("threeds-poll", "successful"),
            ("threedsfail-poll", "failed"),
            ("expire-poll", "expired"),
        ] {
            let asked = world.pay_and_wait(name).await.expect(202).json;
            assert_eq!(asked["state"], "pending");
            world.twin().advance(5.0).await;
            let done = world.until_final(name).await;
            assert_eq!(done["state"], state);
            assert!(!world.evidence_by(name, "query").await.is_empty());
        }
    });
}

#[test]
fn prefer_wait_ends_after_its_time() {
    Setup::default().run(async |world| {
        let headers = [("prefer", "wait=1")];
        let body = payment("never-1");
        let waited = world
            .post_with("payments", &headers, body)
            .await
            .expect(202);
        assert_eq!(waited.json["state"], "processing");
        let path = world.path("transactions/never-1");
        let read = world
            .raw(reqwest::Method::GET, &path, &headers, "")
            .await
            .expect(200);
        assert_eq!(read.json["state"], "processing");
    });
}

#[test]
fn bodies_of_version_3_mean_the_same() {
    Setup::default().run(async |world| {
        world
            .twin()
            .switch(json!({"body_shape": "v3", "webhook_shape": "v3"}))
            .await;
        let done = world.pay_and_wait("v3-1").await.expect(200).json;
        assert_eq!(
            (&done["state"], &done["amount"]),
            (&json!("successful"), &json!(3245))
        );
        let failed = world.pay_and_wait("decline-v3").await.expect(200).json;
        assert_eq!(failed["state"], "failed");
    });
}

#[test]
fn an_unknown_status_is_not_final() {
    Setup::default().run(async |world| {
        world.pay("statusword-1").await.expect(202);
        let seen = world.until_state("statusword-1", "pending").await;
        assert_eq!(
            (&seen["status"], &seen["final"]),
            (&json!("quarantined"), &json!(false))
        );
        let found = world.until_found("unknown_body").await;
        assert_eq!(found["tracking_id"], "statusword-1");
    });
}

#[test]
fn another_amount_is_never_called_a_success() {
    Setup::default().run(async |world| {
        for (name, kind) in [
            ("mismatch-1", "amount_mismatch"),
            ("currency-1", "currency_mismatch"),
        ] {
            world.pay(name).await.expect(202);
            let found = world.until_found(kind).await;
            assert_eq!(found["tracking_id"], name);
            let seen = world.until_state(name, "pending").await;
            assert_eq!(seen["final"], false);
        }
        let seen = world.status("mismatch-1").await;
        assert_eq!(
            (&seen["amount"], &seen["gateway_amount"]),
            (&json!(3245), &json!(3345))
        );
        assert_eq!(world.status("currency-1").await["gateway_currency"], "CHF");
    });
}

#[test]
fn two_successes_under_one_id_open_a_discrepancy() {
    Setup::default().run(async |world| {
        let done = world.pay_and_wait("twosuccess-1").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        let found = world.until_found("duplicate_success").await;
        assert_eq!(found["tracking_id"], "twosuccess-1");
    });
}

#[test]
fn a_failed_try_beside_our_own_success_does_not_fail_it() {
    Setup::default().run(async |world| {
        let done = world.pay_and_wait("twotx-1").await.expect(200).json;
        assert_eq!(done["state"], "successful");
        let story = world.story("twotx-1").await;
        assert!(
            story.iter().all(|(_, state)| state != "failed"),
            "{story:?}"
        );
    });
}

#[test]
fn a_read_that_breaks_off_or_meets_a_proxy_is_made_again() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        for name in ["cut-1", "html-1"] {
            let done = world.pay_and_wait(name).await.expect(200).json;
            assert_eq!(done["state"], "successful", "{name}");
            assert!(
                world.twin().requests("result", name).await.len() > 1,
                "{name}"
            );
        }
    });
}

#[test]
fn a_result_that_is_not_json_is_looked_up() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("garbage-1").await.expect(202);
        let found = world.until_found("unknown_body").await;
        assert_eq!(found["tracking_id"], "garbage-1");
        assert_eq!(world.state("garbage-1").await, "processing");
        // When the gateway has dropped the task, it is looked up.
        world
            .twin()
            .post("advance", json!({"seconds": 86_401}))
            .await;
        assert_eq!(world.until_final("garbage-1").await["state"], "successful");
        assert!(!world.evidence_by("garbage-1", "query").await.is_empty());
    });
}
