//! The danger: a webhook that cannot be believed by itself, and whose news nobody asks for.

use crate::webhooks::to;
use crate::world::{SHOP, Setup, World, eventually};
use serde_json::{Value, json};

/// Sends an unsigned webhook about what the gateway has under a uid.
async fn hint(world: &World, uid: &str) {
    let unsigned = to(world, uid, json!({"signature": "missing"}));
    assert_eq!(world.twin().send_webhook(unsigned).await, [200], "{uid}");
}

async fn listed(world: &World, query: &str) -> Vec<Value> {
    let page = world
        .get(&format!("transactions?{query}"))
        .await
        .expect(200);
    page.json["transactions"].as_array().unwrap().clone()
}

#[test]
fn an_unsigned_webhook_triggers_a_lookup_by_uid() {
    Setup::default().quiet().signature_optional().run(async |world| {
        let paid = world.pay_and_wait("ok-parent").await.expect(200).json;
        let uid = paid["uid"].as_str().unwrap();
        for made in [
            json!({"type": "payment", "status": "successful", "amount": 900, "currency": "EUR",
                "tracking_id": "not-ours", "uid": "stranger-1", "test": true}),
            json!({"type": "chargeback", "status": "successful", "amount": 3245, "currency": "EUR",
                "parent_uid": uid, "tracking_id": "ok-parent", "uid": "charged-back"}),
            json!({"type": "payment", "status": "successful", "amount": 3245, "currency": "EUR",
                "tracking_id": "ok-parent", "uid": "second-1", "test": true}),
        ] {
            let uid = made["uid"].as_str().unwrap().to_owned();
            world.twin().make(made).await;
            hint(world, &uid).await;
        }
        for uid in ["stranger-1", "charged-back"] {
            eventually("it is taken over", async || {
                let found = listed(world, &format!("uid={uid}&origin=gateway")).await;
                (found.first()?["state"] == "successful").then_some(())
            })
            .await;
        }
        world.until_found("duplicate_success").await;
        assert_eq!(world.state("ok-parent").await, "successful");
    });
}

#[test]
fn a_hinted_uid_is_looked_up_once_a_minute() {
    Setup::default()
        .quiet()
        .signature_optional()
        .run(async |world| {
            let made = json!({"type": "payment", "status": "incomplete", "amount": 900,
            "currency": "EUR", "tracking_id": "not-ours", "uid": "stranger-1", "test": true});
            world.twin().make(made).await;
            for _ in 0..5 {
                hint(world, "stranger-1").await;
            }
            let asked = || world.twin().requests("*", "not-ours");
            eventually("it was looked up", async || {
                (!asked().await.is_empty()).then_some(())
            })
            .await;
            let soon =
                "SELECT count(*) FROM hinted_uids WHERE due_at < now() + interval '50 seconds'";
            eventually("the next look is a minute after the first", async || {
                (world.database.one::<i64>(soon).await == 0).then_some(())
            })
            .await;
            assert_eq!(asked().await.len(), 1);
            for odd in ["../../v2", "a b", &"x".repeat(65)] {
                let body = json!({"transaction": {"uid": odd, "status": "successful",
                "type": "payment", "amount": 1, "currency": "EUR", "tracking_id": "x"}});
                let odd = json!({"url": world.hook_url(), "shop": SHOP, "body": body,
                "signature": "missing"});
                assert_eq!(world.twin().send_webhook(odd).await, [200]);
            }
            let waiting = "SELECT count(*) FROM hinted_uids WHERE uid <> 'stranger-1'";
            assert_eq!(world.database.one::<i64>(waiting).await, 0);
        });
}

#[test]
fn beyond_a_thousand_that_wait_a_webhook_is_put_off() {
    Setup::default()
        .quiet()
        .signature_optional()
        .run(async |world| {
            let waiting = "INSERT INTO hinted_uids (shop_id, uid, ours, hinted_at, due_at)
            SELECT '1001', 'u-' || n, false, now(), now() + interval '1 hour'
            FROM generate_series(1, 1000) n";
            world.database.execute(waiting).await;
            let send = async |uid: &str| {
                let body = json!({"transaction": {"uid": uid, "status": "successful",
                "type": "payment", "amount": 1, "currency": "EUR", "tracking_id": "x"}});
                let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": body,
                "signature": "missing"});
                world.twin().send_webhook(webhook).await
            };
            assert_eq!(send("one-more").await, [503]);
            assert_eq!(send("u-7").await, [200], "it waits already");
        });
}
