//! The danger: a person cannot see why, cannot act, or acts and nobody knows.

use crate::world::{Setup, eventually};
use serde_json::{Value, json};

#[test]
fn a_check_can_be_requested_at_any_time() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("ok-asked").await.expect(202);
        world.twin().uid("ok-asked").await;
        let asked = world.check("ok-asked").await.expect(202);
        assert_eq!(asked.json["tracking_id"], "ok-asked");
        assert_eq!(world.until_final("ok-asked").await["state"], "successful");
        let acts = world.evidence_by("ok-asked", "operator").await;
        assert_eq!(acts.len(), 1);
        assert!(
            acts[0]["note"].as_str().unwrap().contains("orders"),
            "{acts:?}"
        );
        world.check("nobody").await.expect_problem(404, "not-found");
    });
}

#[test]
fn an_operator_resolves_a_transaction_in_doubt() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("dupnone-decided").await.expect(202);
        assert_eq!(world.state("dupnone-decided").await, "in_doubt");
        let decided = world
            .resolve("dupnone-decided", "not_found", "the bank says so")
            .await;
        let decided = decided.expect(200).json;
        assert_eq!(
            (&decided["state"], &decided["final"]),
            (&json!("not_found"), &json!(true))
        );
        let acts = world.evidence_by("dupnone-decided", "operator").await;
        let body: Value = serde_json::from_str(acts[0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(body["by"], "orders");
        assert_eq!(body["reason"], "the bank says so");
        let told = world.explain("dupnone-decided").await;
        assert!(
            told["because"].to_string().contains("the bank says so"),
            "{told}"
        );
        // Again, and otherwise: the later decision counts.
        let other = world
            .resolve("dupnone-decided", "failed", "on second thought")
            .await;
        assert_eq!(other.expect(200).json["state"], "failed");
        let back = world
            .resolve("dupnone-decided", "in_doubt", "I do not know")
            .await;
        assert_eq!(back.expect(200).json["state"], "in_doubt");
        assert!(world.status("dupnone-decided").await["next_check_at"].is_string());
    });
}

#[test]
fn a_later_snapshot_overrides_a_decision() {
    Setup::default().quiet().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("stuck-decided").await.expect(202);
        world.twin().uid("stuck-decided").await;
        world.check("stuck-decided").await.expect(202);
        world.until_state("stuck-decided", "pending").await;
        let decided = world
            .resolve("stuck-decided", "failed", "the payer went away")
            .await;
        assert_eq!(decided.expect(200).json["state"], "failed");
        // What was known then changes nothing, however often it is said.
        let uid = world.twin().uid("stuck-decided").await;
        let webhook = json!({"url": world.hook_url(), "uid": uid});
        assert_eq!(world.twin().send_webhook(webhook.clone()).await, [200]);
        assert_eq!(world.state("stuck-decided").await, "failed");
        let success = json!({"status": "successful", "corrected": false, "notify": false});
        world.twin().change(&uid, success).await;
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        assert_eq!(world.state("stuck-decided").await, "successful");
        world.until_found("late_success").await;
    });
}

#[test]
fn a_final_state_cannot_be_resolved_to_in_doubt() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-settled").await.expect(200);
        let refused = world.resolve("ok-settled", "in_doubt", "hm").await;
        refused.expect_problem(422, "validation");
        assert_eq!(world.state("ok-settled").await, "successful");
        for (body, pointer) in [
            (json!({"state": "pending", "reason": "x"}), "/state"),
            (json!({"state": "accepted", "reason": "x"}), "/state"),
            (json!({"state": "failed"}), "/reason"),
            (json!({"state": "failed", "reason": "  "}), "/reason"),
            (json!({"reason": "x"}), "/state"),
        ] {
            let answer = world.post("transactions/ok-settled/resolve", body).await;
            let problem = answer.expect_problem(422, "validation");
            assert_eq!(problem.json["errors"][0]["pointer"], pointer);
        }
    });
}

#[test]
fn an_accepted_mismatch_makes_the_payment_final() {
    Setup::default().run(async |world| {
        world.pay("mismatch-accepted").await.expect(202);
        let found = world.until_found("amount_mismatch").await;
        assert_eq!(
            (&found["status"], &found["resolved_at"]),
            (&json!("open"), &Value::Null)
        );
        world.until_state("mismatch-accepted", "pending").await;
        let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        world
            .post(&path, json!({}))
            .await
            .expect_problem(422, "validation");
        let closed = world
            .post(&path, json!({"reason": "a tip"}))
            .await
            .expect(200)
            .json;
        assert_eq!(closed["status"], "resolved");
        assert!(closed["reason"].as_str().unwrap().contains("a tip"));
        let done = world.until_final("mismatch-accepted").await;
        assert_eq!(done["state"], "successful");
        assert_eq!(
            (&done["amount"], &done["gateway_amount"]),
            (&json!(3245), &json!(3345))
        );
        // Once more changes nothing.
        let again = world
            .post(&path, json!({"reason": "another"}))
            .await
            .expect(200)
            .json;
        assert_eq!(again["reason"], closed["reason"]);
        let events = world.events().await;
        let resolved = events.iter().filter(|e| {
            e["type"] == "discrepancy.resolved" && e["discrepancy"]["kind"] == "amount_mismatch"
        });
        assert_eq!(resolved.count(), 1);
        let unknown = format!("discrepancies/{}/resolve", uuid::Uuid::nil());
        world
            .post(&unknown, json!({"reason": "x"}))
            .await
            .expect_problem(404, "not-found");
        let resolved = world
            .get("discrepancies?status=resolved&kind=amount_mismatch")
            .await;
        assert_eq!(
            resolved.expect(200).json["discrepancies"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    });
}

#[test]
fn a_recurring_discrepancy_is_opened_again() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-found").await.expect(200);
        let uid = world.twin().uid("ok-found").await;
        for round in 1..=2 {
            let bad = json!({"url": world.hook_url(), "uid": uid, "signature": "bad"});
            eventually("a forgery that is listed", async || {
                // One of a kind is listed per second.
                assert_eq!(world.twin().send_webhook(bad.clone()).await, [401]);
                (!world.discrepancies().await.is_empty()).then_some(())
            })
            .await;
            let found = world.until_found("signature_rejected").await;
            let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
            world
                .post(&path, json!({"reason": "a test"}))
                .await
                .expect(200);
            let all = world
                .database
                .one::<i64>("SELECT count(*) FROM discrepancies")
                .await;
            assert_eq!(all, round);
        }
    });
}

#[test]
fn a_paused_shop_rejects_submits_and_is_still_checked() {
    Setup::default().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay("ok-before").await.expect(202);
        let paused = world.post("pause", json!({})).await.expect(200).json;
        assert_eq!(paused["paused"], true);
        let refused = world.pay("ok-during").await;
        assert!(refused.header("retry-after").is_some());
        refused.expect_problem(503, "unavailable");
        world
            .get("transactions/ok-during")
            .await
            .expect_problem(404, "not-found");
        assert_eq!(world.twin().posts("ok-during").await, 0);
        // Asking again for what is known is no new submit.
        world.pay("ok-before").await.expect(200);
        assert_eq!(world.until_final("ok-before").await["state"], "successful");
        world.post("resume", json!({})).await.expect(200);
        world.pay("ok-during").await.expect(202);
        assert_eq!(world.until_final("ok-during").await["state"], "successful");
    });
}

#[test]
fn a_shop_that_its_configuration_pauses_stays_paused() {
    Setup::default()
        .shop_set("submits", "\"paused\"")
        .run(async |world| {
            let told = world.post("resume", json!({})).await.expect(200).json;
            assert_eq!(told["paused"], true);
            world
                .pay("ok-paused")
                .await
                .expect_problem(503, "unavailable");
        });
}

#[test]
fn every_state_is_explained() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-why").await.expect(200);
        world.pay_and_wait("decline-why").await.expect(200);
        world.pay("reject-why").await.expect(200);
        world.pay_and_wait("stuck-why").await;
        world.pay("never-why").await.expect(202);
        world.pay("dupnone-why").await.expect(202);
        for (name, state) in [
            ("ok-why", "successful"),
            ("decline-why", "failed"),
            ("reject-why", "rejected"),
            ("stuck-why", "pending"),
            ("never-why", "processing"),
            ("dupnone-why", "in_doubt"),
        ] {
            let told = world.explain(name).await;
            assert_eq!(told["state"], state);
            assert!(
                told["summary"].as_str().is_some_and(|text| text.len() > 20),
                "{told}"
            );
            let because = told["because"].as_array().unwrap();
            assert!(because.len() >= 2, "{told}");
            assert!(
                because
                    .iter()
                    .all(|b| b["at"].is_string() && b["text"].is_string()),
                "{told}"
            );
            assert!(told["would_change"].is_array(), "{told}");
            let open = ["pending", "processing", "in_doubt"].contains(&state);
            if open {
                assert!(
                    told["next"]["at"].is_string() && told["next"]["what"].is_string(),
                    "{told}"
                );
            }
        }
    });
}

#[test]
fn evidence_is_listed_in_order_of_arrival() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-evidence").await.expect(200);
        let evidence = world.evidence("ok-evidence").await;
        let positions: Vec<i64> = evidence
            .iter()
            .map(|e| e["position"].as_i64().unwrap())
            .collect();
        assert_eq!(positions, [1, 2, 3, 4]);
        let channels: Vec<&str> = evidence
            .iter()
            .map(|e| e["channel"].as_str().unwrap())
            .collect();
        assert_eq!(channels, ["local", "local", "ack", "webhook"]);
        for piece in &evidence {
            for name in [
                "id",
                "channel",
                "verdict",
                "received_at",
                "http_status",
                "body",
            ] {
                assert!(piece.get(name).is_some(), "{name} is missing");
            }
        }
        let opened: Value = serde_json::from_str(evidence[0]["body"].as_str().unwrap()).unwrap();
        assert_eq!(opened["tracking_id"], "ok-evidence");
        assert_eq!(evidence[2]["http_status"], 200);
        assert!(
            evidence[3]["body"]
                .as_str()
                .unwrap()
                .contains("\"status\":\"successful\"")
        );
    });
}

#[test]
fn queries_are_answered_and_recorded_as_evidence() {
    for asynchronous in [true, false] {
        Setup::default().quiet().run(async |world| {
            world
                .twin()
                .switch(json!({"webhooks": false, "async_queries": asynchronous}))
                .await;
            world.pay("ok-query").await.expect(202);
            let uid = world.twin().uid("ok-query").await;
            let by_uid = world
                .post("queries/status", json!({"uid": uid}))
                .await
                .expect(200)
                .json;
            assert_eq!(by_uid["status"], "completed");
            assert_eq!(by_uid["request_id"].is_string(), asynchronous);
            assert_eq!(by_uid["result"]["transaction"]["uid"], uid);
            assert_eq!(world.until_final("ok-query").await["state"], "successful");
            let by_name = world
                .post("queries/status", json!({"tracking_id": "ok-query"}))
                .await;
            assert!(by_name.expect(200).text.contains(&uid));
            let balance = world
                .post("queries/balance", json!({"currency": "EUR"}))
                .await
                .expect(200);
            assert!(balance.json["result"].is_object(), "{}", balance.text);
            let unknown = world
                .post("queries/status", json!({"uid": "nobody-0"}))
                .await
                .expect(200);
            assert_eq!(unknown.json["status"], "not_found");
            assert_eq!(
                world
                    .database
                    .one::<i64>("SELECT count(*) FROM transactions")
                    .await,
                1
            );
        });
    }
}

#[test]
fn a_query_that_is_not_answered_is_a_timeout_and_not_an_answer() {
    Setup::default().impatient().run(async |world| {
        world
            .twin()
            .fault(json!({"operation": "*", "act": "hang"}))
            .await;
        let asked = world.post("queries/status", json!({"uid": "any-1"})).await;
        asked.expect_problem(504, "gateway-timeout");
        world.twin().down().await;
        let asked = world.post("queries/status", json!({"uid": "any-1"})).await;
        asked.expect_problem(502, "gateway-unreachable");
    });
}

#[test]
fn a_status_query_is_evidence_of_its_transaction() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-asked").await.expect(200);
        // One of its uids is gone at the gateway.
        let known = "INSERT INTO uids (shop_id, uid, transaction_id)
            SELECT shop_id, 'gone-1', id FROM transactions";
        world.database.execute(known).await;
        let before = world.evidence_by("ok-asked", "query").await.len();
        let asked = world.post("queries/status", json!({"uid": "gone-1"})).await;
        assert_eq!(asked.expect(200).json["status"], "not_found");
        let told = world.evidence_by("ok-asked", "query").await;
        assert_eq!(told.len(), before + 1, "{told:?}");
    });
}

#[test]
fn a_query_that_cannot_be_recorded_fails() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-held").await.expect(200);
        let uid = world.twin().uid("ok-held").await;
        // Somebody else holds the row for longer than the caller waits.
        let mut other = world.database.pool.begin().await.unwrap();
        sqlx::query("SELECT 1 FROM transactions FOR UPDATE")
            .execute(&mut *other)
            .await
            .unwrap();
        let asked = world.post("queries/status", json!({"uid": uid})).await;
        asked.expect_problem(503, "unavailable");
        other.rollback().await.unwrap();
        let asked = world.post("queries/status", json!({"uid": uid})).await;
        assert_eq!(asked.expect(200).json["status"], "completed");
    });
}

#[test]
fn a_resolved_discrepancy_names_its_operator() {
    Setup::default().quiet().run(async |world| {
        let body = json!("no webhook");
        let webhook = json!({"url": world.hook_url(), "shop": crate::world::SHOP, "body": body});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        let found = world.until_found("unknown_body").await;
        assert_eq!(found["resolved_by"], json!(null));
        let close = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        let closed = world
            .post(&close, json!({"reason": "known"}))
            .await
            .expect(200)
            .json;
        assert_eq!(closed["resolved_by"], "orders", "{closed}");
        let listed = async |status: &str| {
            let path = format!("discrepancies?status={status}");
            let page = world.get(&path).await.expect(200).json;
            page["discrepancies"].as_array().unwrap().len()
        };
        assert_eq!((listed("open").await, listed("resolved").await), (0, 1));
        assert_eq!(listed("all").await, 1);
        let feed = world.get("events").await.expect(200).json;
        let last = feed["events"].as_array().unwrap().last().unwrap().clone();
        assert_eq!(last["discrepancy"]["resolved_by"], "orders", "{last}");
    });
}

#[test]
fn unknown_parameters_are_rejected_on_every_method() {
    Setup::default().quiet().run(async |world| {
        world.pay_and_wait("ok-plain").await;
        let one = "transactions/ok-plain";
        for path in [
            one.to_owned(),
            format!("{one}/evidence"),
            format!("{one}/explain"),
        ] {
            let asked = world
                .get(&format!("{path}?as_of=2026-01-01T00:00:00Z"))
                .await;
            let problem = asked.expect_problem(422, "validation").json;
            assert_eq!(problem["errors"][0]["pointer"], "/query/as_of", "{path}");
        }
        let nil = format!("discrepancies/{}/resolve", uuid::Uuid::nil());
        for path in [
            &format!("{one}/check"),
            &format!("{one}/resolve"),
            "pause",
            "resume",
            "queries/status",
            "queries/balance",
            &nil,
        ] {
            let body = json!({"reason": "x", "state": "failed"});
            let posted = world.post(&format!("{path}?dry_run=1"), body).await;
            posted.expect_problem(422, "validation");
        }
    });
}
