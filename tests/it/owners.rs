//! The danger: somebody else's transaction taken for ours, and ours for somebody else's.

use crate::audit::agrees;
use crate::world::{
    FakeGateway, FakeReply, Request, SHOP, Setup, World, ack, card_payment, eventually,
    transaction, wrapped,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The name of a submit, which is its task's as well.
fn name_of(request: &Request) -> String {
    let body = request.json();
    body["request"]["tracking_id"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The answer to a submit: a task that goes by the transaction's name.
fn taken(request: &Request) -> FakeReply {
    let origin = format!("http://{}", request.header("host").unwrap_or_default());
    FakeReply::Json(201, ack(&origin, &name_of(request)))
}

fn list(rows: &[Value]) -> FakeReply {
    FakeReply::Json(200, json!({ "transactions": rows }))
}

async fn ambiguous(world: &World, name: &str) -> Value {
    eventually("the finding", async || {
        let open = world.discrepancies().await;
        open.into_iter()
            .find(|found| found["kind"] == "ambiguous_tracking_id" && found["tracking_id"] == name)
    })
    .await
}

#[test]
fn a_uid_that_one_of_ours_has_is_bound_to_no_other() {
    let gateway = FakeGateway::start(async |request: Request| {
        let first = transaction("uid-a", "pay-a", "successful");
        if request.is_submit() && name_of(&request) == "pay-e" {
            // The answer to the submit itself shows it.
            return FakeReply::Json(200, wrapped(&first));
        }
        if request.is_submit() {
            return taken(&request);
        }
        if request.path.ends_with("/pay-a") || request.path.ends_with("/uid-a") {
            return match request.path.contains("/tracking_id/") {
                true => list(&[first]),
                false => FakeReply::Json(200, wrapped(&first)),
            };
        }
        if request.path.contains("/async/") {
            let mut duplicate = first;
            duplicate["tracking_id"] = json!(null);
            duplicate["code"] = json!("E.1018");
            duplicate["message"] = json!("Duplicate transaction");
            return FakeReply::Json(422, wrapped(&duplicate));
        }
        list(&[])
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay_async("pay-a").await.expect(202);
        let first = world.until_final("pay-a").await;
        assert_eq!(
            (&first["state"], &first["uid"]),
            (&json!("successful"), &json!("uid-a"))
        );
        for (name, code) in [("pay-d", json!("E.1018")), ("pay-e", json!(null))] {
            world.pay_async(name).await.expect(202);
            let other = world.until_state(name, "in_doubt").await;
            assert_eq!(
                (&other["uid"], &other["code"]),
                (&json!(null), &code),
                "{name}"
            );
            let found = ambiguous(world, name).await;
            assert_eq!(
                found["uids"],
                json!([{"uid": "uid-a", "amount": 3245, "currency": "EUR", "status": "successful"}])
            );
        }
        let again = world.status("pay-a").await;
        for field in ["state", "uid", "amount", "code", "message", "finalized_at"] {
            assert_eq!(again[field], first[field], "{field}");
        }
    });
}

#[test]
fn a_result_with_another_tracking_id_is_not_ours() {
    let gateway = FakeGateway::start(async |request: Request| {
        if request.is_submit() {
            return taken(&request);
        }
        if request.path.contains("/async/") {
            return FakeReply::Json(
                200,
                wrapped(&transaction("uid-x", "somebody", "successful")),
            );
        }
        list(&[])
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay_async("pay-1").await.expect(202);
        let doubt = world.until_state("pay-1", "in_doubt").await;
        assert_eq!(doubt["uid"], json!(null));
        let found = ambiguous(world, "pay-1").await;
        assert_eq!(found["uids"][0]["uid"], "uid-x");
        // It is looked up by its own name, and by nothing else.
        eventually("a look-up", async || {
            gateway
                .seen()
                .iter()
                .any(|r| r.path.ends_with("/tracking_id/pay-1"))
                .then_some(())
        })
        .await;
        agrees(world).await;
    });
}

#[test]
fn a_foreign_transaction_can_become_ours() {
    let alike = Arc::new(AtomicBool::new(false));
    let is_alike = Arc::clone(&alike);
    let gateway = FakeGateway::start(move |request: Request| {
        let is_alike = is_alike.load(Ordering::Relaxed);
        async move {
            if request.is_submit() {
                return FakeReply::Close;
            }
            let mut found = transaction("uid-x", "pay-1", "successful");
            if !is_alike {
                found["amount"] = json!(1);
                found["updated_at"] = json!("2026-11-01T10:00:00Z");
            }
            match request.path.contains("/tracking_id/") {
                true => list(&[found]),
                false => FakeReply::Json(200, wrapped(&found)),
            }
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay_async("pay-1").await.expect(202);
        let kept = eventually("one of origin gateway", async || {
            let page = world.get("transactions?origin=gateway").await;
            page.json["transactions"].get(0).cloned()
        })
        .await;
        assert_eq!(
            (&kept["state"], &kept["amount"], &kept["uid"]),
            (&json!("successful"), &json!(1), &json!("uid-x"))
        );
        assert_eq!(world.state("pay-1").await, "in_doubt");
        let kinds = world.open_kinds().await;
        for kind in ["amount_mismatch", "missing_here"] {
            assert!(kinds.iter().any(|open| open == kind), "{kinds:?}");
        }
        alike.store(true, Ordering::Relaxed);
        world.check("pay-1").await.expect(202);
        let ours = world.until_final("pay-1").await;
        assert_eq!(
            (&ours["state"], &ours["uid"]),
            (&json!("successful"), &json!("uid-x"))
        );
        let path = format!("transactions/~{}", kept["id"].as_str().unwrap());
        let merged = world.get(&path).await.expect(200).json;
        assert_eq!(
            (&merged["state"], &merged["final"], &merged["uid"]),
            (&json!("merged"), &json!(true), &json!(null))
        );
        assert_eq!(merged["next_check_at"], json!(null));
        assert!(
            world.open_kinds().await.is_empty(),
            "{:?}",
            world.discrepancies().await
        );
        let by_uid = world.get("transactions?uid=uid-x").await.json;
        assert_eq!(by_uid["transactions"][0]["id"], ours["id"]);
        let local = world.evidence_by("pay-1", "local").await;
        let told = local
            .last()
            .map(|piece| piece["body"].to_string())
            .unwrap_or_default();
        assert!(told.contains(kept["id"].as_str().unwrap()), "{told}");
        let resolve = format!("{path}/resolve");
        let decision = json!({"state": "failed", "reason": "no"});
        world.post(&resolve, decision).await.expect(422);
    });
}

#[test]
fn an_operator_cannot_bind_a_uid_of_another() {
    let gateway = FakeGateway::start(async |request: Request| {
        if request.is_submit() && name_of(&request) == "pay-a" {
            return FakeReply::Json(200, wrapped(&transaction("uid-a", "pay-a", "successful")));
        }
        if request.is_submit() {
            return FakeReply::Close;
        }
        let mut older = transaction("uid-old", "pay-1", "successful");
        older["created_at"] = json!("2020-11-01T10:00:00Z");
        match request.path.rsplit('/').next() {
            Some("pay-1") => list(&[older]),
            Some("uid-old") => FakeReply::Json(200, wrapped(&older)),
            Some("uid-new") => {
                FakeReply::Json(200, wrapped(&transaction("uid-new", "pay-2", "successful")))
            }
            _ => list(&[]),
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay_async("pay-a").await.expect(202);
        world.until_final("pay-a").await;
        world.pay_async("pay-1").await.expect(202);
        ambiguous(world, "pay-1").await;
        let decide = async |name: &str, uid: Value| {
            let body = json!({"state": "successful", "reason": "the back office", "uid": uid});
            world
                .post(&format!("transactions/{name}/resolve"), body)
                .await
        };
        decide("pay-1", json!("uid-a")).await.expect(422);
        decide("pay-1", json!(7)).await.expect(422);
        let ours = decide("pay-1", json!("uid-old")).await.expect(200).json;
        assert_eq!(
            (&ours["state"], &ours["uid"]),
            (&json!("successful"), &json!("uid-old"))
        );
        let page = world.get("transactions?state=merged").await.expect(200);
        assert_eq!(page.json["transactions"].as_array().map(Vec::len), Some(1));
        // One that nobody has told of: it is looked up.
        world.pay_async("pay-2").await.expect(202);
        world.until_state("pay-2", "in_doubt").await;
        let ours = decide("pay-2", json!("uid-new")).await.expect(200).json;
        assert_eq!(ours["uid"], "uid-new");
        world
            .until("pay-2", "what the gateway says of it", |t| {
                t["status"] == "successful"
            })
            .await;
    });
}

#[test]
fn a_result_for_another_of_our_ids_is_routed_to_it() {
    let gateway = FakeGateway::start(async |request: Request| {
        if request.is_submit() {
            return taken(&request);
        }
        if request.path.contains("/async/") && request.path.ends_with("/pay-7") {
            let told = transaction("uid-7", "pay-8", "successful");
            return FakeReply::Json(200, wrapped(&told));
        }
        if request.path.contains("/async/") && request.path.ends_with("/pay-9") {
            let mut told = transaction("uid-9", "pay-8", "successful");
            told["amount"] = json!(1);
            return FakeReply::Json(200, wrapped(&told));
        }
        if request.path.contains("/async/") {
            return FakeReply::Json(404, json!({"status": "unknown"}));
        }
        list(&[])
    });
    Setup::default().gateway(&gateway).run(async |world| {
        world.pay_async("pay-8").await.expect(202);
        world.until_state("pay-8", "in_doubt").await;
        // Unlike what was asked for: it is listed, and speaks against a proof.
        world.pay_async("pay-9").await.expect(202);
        world.until_state("pay-9", "in_doubt").await;
        let unlike = world.get("transactions?uid=uid-9").await.expect(200).json;
        assert_eq!(unlike["transactions"][0]["origin"], "gateway", "{unlike}");
        let found = world.until_found("amount_mismatch").await;
        assert_eq!(found["tracking_id"], "pay-8", "{found}");
        // All that is known of it agrees with what was asked for.
        world.pay_async("pay-7").await.expect(202);
        let named = world.until_final("pay-8").await;
        assert_eq!(
            (&named["state"], &named["uid"]),
            (&json!("successful"), &json!("uid-7"))
        );
        let other = world.until_state("pay-7", "in_doubt").await;
        assert_eq!(other["uid"], json!(null));
        ambiguous(world, "pay-7").await;
    });
}

#[test]
fn evidence_between_attempts_does_not_block_the_second() {
    Setup::default().run(async |world| {
        let name = "429-told-between";
        let put_off = world.post("payments", card_payment(name)).await;
        put_off.expect_problem(502, "gateway-unreachable");
        let told = json!({"uid": "told-between", "tracking_id": name, "amount": 3245,
            "currency": "EUR", "status": "failed", "test": true});
        world.twin().make(told).await;
        let webhook = json!({"url": world.hook_url(), "shop": SHOP, "uid": "told-between"});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        let again = world.post("payments", card_payment(name)).await;
        assert!([200, 202].contains(&again.status), "{}", again.text);
        let ended = world.until_final(name).await;
        assert_eq!(ended["state"], "successful", "{ended}");
        assert_eq!(world.twin().posts(name).await, 2);
        let found = ambiguous(world, name).await;
        let uids: Vec<&Value> = found["uids"].as_array().unwrap().iter().collect();
        assert!(uids.iter().any(|of| of["uid"] == "told-between"), "{found}");
    });
}
