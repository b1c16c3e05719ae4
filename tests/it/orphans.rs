//! The danger: a webhook that belongs to nothing here, or that nobody understands, and is dropped for it.

use crate::webhooks::{to, untold};
use crate::world::{SHOP, Setup, World, eventually};
use serde_json::{Value, json};

const KEPT: &str = "SELECT count(*) FROM orphans";

/// Sends a body as a webhook of ours, signed; it is taken.
async fn take(world: &World, body: impl Into<Value>) {
    let body: Value = body.into();
    let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": body});
    assert_eq!(world.twin().send_webhook(webhook).await, [200], "{body}");
}

#[test]
fn an_orphan_webhook_is_recorded_with_a_discrepancy() {
    Setup::default().quiet().run(async |world| {
        let made = json!({"uid": "orphan-1", "tracking_id": "not-ours", "amount": 900,
            "currency": "EUR", "test": true});
        world.twin().make(made).await;
        let webhook = to(world, "orphan-1", json!({"times": 2}));
        assert_eq!(world.twin().send_webhook(webhook).await, [200, 200]);
        let found = world.until_found("orphan_webhook").await;
        assert_eq!(
            (&found["uid"], &found["tracking_id"]),
            (&json!("orphan-1"), &json!("not-ours"))
        );
        assert_eq!(
            (&found["amount"], &found["currency"]),
            (&json!(900), &json!("EUR"))
        );
        assert_eq!(world.discrepancies().await.len(), 1);
        let kept = world
            .database
            .all::<String>("SELECT uid FROM orphans WHERE signed")
            .await;
        assert_eq!(kept, ["orphan-1"]);
        let ours: i64 = world
            .database
            .one("SELECT count(*) FROM transactions")
            .await;
        assert_eq!(ours, 0);
    });
}

#[test]
fn bodies_that_are_no_transactions_are_kept() {
    Setup::default().quiet().run(async |world| {
        let subscription = json!({"id": "sbs_1", "state": "active", "event": "created.subscription",
            "plan": {"id": "p"}, "last_transaction": {"uid": "u-1", "status": "successful"}});
        let token = json!({"token": "t", "shop_id": 1, "status": "error", "expired": true,
            "message": "expired", "order": {"amount": 1}});
        for body in [subscription, token] {
            take(world, body).await;
        }
        let kinds = world
            .database
            .all::<String>("SELECT kind FROM orphans ORDER BY kind")
            .await;
        assert_eq!(kinds, ["expired_token", "subscription"]);
        assert!(world.discrepancies().await.is_empty());
    });
}

#[test]
fn an_unknown_body_is_recorded_with_a_discrepancy() {
    Setup::default().quiet().run(async |world| {
        for body in ["garbage {", "", "[1,2]", "\"text\"", "{\"a\":{}}", "null"] {
            take(world, body).await;
        }
        let kinds = world.open_kinds().await;
        assert_eq!(kinds.len(), 6, "{kinds:?}");
        assert!(kinds.iter().all(|kind| kind == "unknown_body"), "{kinds:?}");
        assert_eq!(world.database.one::<i64>(KEPT).await, 6);
    });
}

#[test]
fn evidence_the_database_rejects_is_quarantined() {
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-beside").await;
        let body = r#"{"transaction":{"uid":"a\u0000b","status":"succ\u0000essful","type":"payment",
            "tracking_id":"ok-\u0000","message":"\u0000","amount":1,"currency":"EUR"}}"#;
        let good = to(world, &uid, json!({}));
        let ((), told) = tokio::join!(take(world, body), world.twin().send_webhook(good));
        assert_eq!(told, [200]);
        assert_eq!(world.state("ok-beside").await, "successful");
        assert_eq!(world.database.one::<i64>(KEPT).await, 1);
    });
}

#[test]
fn a_webhook_that_was_kept_is_matched_when_its_payment_appears() {
    Setup::default().quiet().run(async |world| {
        // The gateway knows of the payment before we do: its clock is ahead.
        let made = json!({"uid": "early-1", "tracking_id": "never-early", "amount": 3245,
            "currency": "EUR", "test": true, "created_offset_seconds": 60});
        world.twin().make(made).await;
        let early = to(world, "early-1", json!({}));
        assert_eq!(world.twin().send_webhook(early).await, [200]);
        world.until_found("orphan_webhook").await;
        world.pay("never-early").await.expect(202);
        let done = world.until_final("never-early").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("successful"), &json!("early-1"))
        );
        let matched = "SELECT count(*) FROM orphans WHERE matched_to IS NOT NULL";
        eventually("the orphan is marked", async || {
            (world.database.one::<i64>(matched).await == 1).then_some(())
        })
        .await;
    });
}

#[test]
fn a_resolved_orphan_is_not_reported_again() {
    Setup::default().quiet().run(async |world| {
        let made = json!({"uid": "orphan-1", "tracking_id": "ok-never", "amount": 900,
            "currency": "EUR", "test": true});
        world.twin().make(made).await;
        let webhook = || to(world, "orphan-1", json!({}));
        assert_eq!(world.twin().send_webhook(webhook()).await, [200]);
        let found = world.until_found("orphan_webhook").await;
        let close = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        world.post(&close, json!({"reason": "a test of the shop"})).await.expect(200);
        // The same again says nothing new, and neither does the sweep, to which it looks like a match.
        assert_eq!(world.twin().send_webhook(webhook()).await, [200]);
        let owner = "INSERT INTO uids (shop_id, uid, transaction_id) VALUES ('1001', 'orphan-1', gen_random_uuid())";
        world.database.execute(owner).await;
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        assert!(world.discrepancies().await.is_empty());
    });
}
