//! The danger: a refusal taken for doubt, which keeps a merchant waiting; or doubt taken for a
//! refusal, which makes a merchant ask again and pay twice.

use crate::world::{Setup, eventually};
use serde_json::{Value, json};

#[test]
fn a_refused_request_is_rejected_at_once() {
    Setup::default().run(async |world| {
        let done = world.pay("reject-1").await.expect(200).json;
        assert_eq!(
            (&done["state"], &done["final"]),
            (&json!("rejected"), &json!(true))
        );
        assert_eq!(done["uid"], Value::Null);
        assert!(done["message"].is_string(), "{done}");
        let again = world.pay("reject-1").await.expect(200);
        assert_eq!(again.header("idempotent-replayed"), Some("true"));
        assert_eq!(world.twin().posts("reject-1").await, 1);
    });
}

#[test]
fn refused_credentials_reject_the_request() {
    Setup::default().run(async |world| {
        let done = world.pay("refuse401-1").await.expect(200).json;
        assert_eq!(done["state"], "rejected");
        assert_eq!(world.twin().posts("refuse401-1").await, 1);
    });
}

#[test]
fn a_refusal_that_can_be_read_once_is_kept() {
    Setup::default().run(async |world| {
        world.pay("once422-1").await.expect(202);
        let done = world.until_final("once422-1").await;
        assert_eq!(done["state"], "rejected");
        assert!(done["message"].is_string(), "{done}");
        let reads = world.evidence_by("once422-1", "task_result").await;
        let last = reads.last().unwrap();
        assert_eq!(last["http_status"], 422);
        assert!(last["body"].as_str().unwrap().len() > 2);
        // It was read once: a second reader would have seen 404.
        let burnt = world.twin().requests("result", "once422-1").await;
        assert_eq!(burnt.iter().filter(|r| r["status"] == 422).count(), 1);
        assert!(burnt.iter().all(|r| r["status"] != 404), "{burnt:?}");
    });
}

#[test]
fn every_shape_of_a_refusal_is_read_alike() {
    for shape in ["v2", "flat", "v3"] {
        for place in ["submit", "task"] {
            Setup::default().run(async |world| {
                world
                    .twin()
                    .switch(json!({"error_shape": shape, "refusals_at": place}))
                    .await;
                world.pay("reject-shape").await;
                let done = world.until_final("reject-shape").await;
                assert_eq!(done["state"], "rejected", "{shape} at {place}: {done}");
            });
        }
    }
}

#[test]
fn a_text_that_speaks_of_a_duplicate_is_no_refusal() {
    Setup::default().run(async |world| {
        for (name, text) in [
            ("ok-dup-text", "Duplicate transaction"),
            ("ok-progress-text", "Transaction is in progress"),
            ("ok-earlier-text", "This request was sent earlier"),
            ("ok-lost-text", "Связь с банком потеряна"),
        ] {
            let body = json!({"message": text, "errors": {"base": [text]}});
            let answer = json!({"answer": {"status": 422, "body": body}});
            let script = json!({"submit": {"act": answer, "effect": true}});
            world.twin().script(name, "nohook", script).await;
            let asked = world.pay(name).await.expect(202);
            assert_eq!(asked.json["state"], "in_doubt", "{}", asked.text);
            assert_eq!(world.until_final(name).await["state"], "successful");
        }
    });
}

#[test]
fn codes_that_leave_the_outcome_open_are_doubt() {
    Setup::default().run(async |world| {
        for code in ["E.1000", "E.1035", "E.1036", "P.9999", "F.1900"] {
            let name = format!("ok-open-{code}");
            let refuse = json!({"refuse": {"status": 422, "code": code, "message": "something",
                "errors": {}}});
            let script = json!({"submit": {"act": refuse, "effect": true}});
            world.twin().script(&name, "nohook", script).await;
            world.twin().switch(json!({"error_shape": "v3"})).await;
            let asked = world.pay(&name).await.expect(202);
            assert_eq!(asked.json["state"], "in_doubt", "{code}: {}", asked.text);
            assert_eq!(
                world.until_final(&name).await["state"],
                "successful",
                "{code}"
            );
            assert_eq!(world.twin().posts(&name).await, 1, "{code}");
        }
    });
}

#[test]
fn too_many_requests_means_later_and_the_same_request() {
    Setup::default().run(async |world| {
        let asked = world.pay("429-1").await.expect(202).json;
        assert_eq!(asked["state"], "accepted");
        assert!(asked["next_check_at"].is_string());
        assert_eq!(world.until_final("429-1").await["state"], "successful");
        let counts = world.twin().counts("429-1").await;
        assert_eq!(
            (&counts["posts"], &counts["refused"]),
            (&json!(2), &json!(1))
        );
        // The gateway asked for two seconds.
        let evidence = world.evidence_by("429-1", "local").await;
        let stamps: Vec<_> = evidence
            .iter()
            .filter(|e| e["subject"] == "stamped")
            .map(|e| domain::Timestamp::parse(e["received_at"].as_str().unwrap()).unwrap())
            .collect();
        assert!(
            stamps[1].since(stamps[0]) >= std::time::Duration::from_secs(2),
            "{stamps:?}"
        );
    });
}

#[test]
fn an_error_of_the_read_is_not_an_error_of_the_payment() {
    for status in [401, 403, 429, 502, 503, 504] {
        Setup::default().run(async |world| {
            world.twin().switch(json!({"webhooks": false})).await;
            let answer = json!({"answer": {"status": status, "body": {"message": "not now"}}});
            world
                .twin()
                .fault(json!({"operation": "task", "act": answer, "times": 2}))
                .await;
            world.pay("lost-read").await.expect(202);
            eventually("the failing reads", async || {
                let made = world.twin().requests("task", "lost-read").await;
                (made.len() >= 2).then_some(())
            })
            .await;
            let story = world.story("lost-read").await;
            let moved = |state: &String| ["processing", "successful"].contains(&state.as_str());
            assert!(
                story.iter().all(|(_, state)| moved(state)),
                "{status}: {story:?}"
            );
            if status != 429 {
                assert_eq!(world.until_final("lost-read").await["state"], "successful");
            }
            let reads = world.evidence_by("lost-read", "task_result").await;
            assert_eq!(reads[0]["verdict"], "refused", "{status}");
        });
    }
}
