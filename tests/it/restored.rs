//! The danger: a backup is restored, and what the lost database had sent is sent again.

use crate::world::{Addresses, KEY, Merchant, Setup, World, eventually, payment};
use serde_json::json;
use std::process::{Child, Command};

/// The service as it is started after a restore, over the world's database.
struct Restored {
    child: Child,
    merchant: Merchant,
    _directory: tempfile::TempDir,
}

impl Restored {
    async fn start(world: &World) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let addresses = Addresses::reserve();
        std::fs::write(&path, world.config_text(&addresses)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_reconciler"))
            .args(["serve", "--after-restore", "--config"])
            .arg(&path)
            .env_clear()
            .spawn()
            .unwrap();
        let merchant = Merchant::new(&addresses, KEY);
        merchant.until_ready().await;
        Self {
            child,
            merchant,
            _directory: directory,
        }
    }
}

impl Drop for Restored {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A finding about this transaction, that says why it was not sent.
async fn held(merchant: &Merchant, tracking_id: &str, why: &str) {
    let found = eventually("a finding", async || {
        let all = merchant.discrepancies().await;
        all.into_iter().find(|f| f["tracking_id"] == tracking_id)
    })
    .await;
    assert_eq!(found["kind"], "ambiguous_tracking_id");
    let detail = found["detail"].as_str().unwrap();
    assert!(detail.contains(why), "{detail}");
    let seen = merchant.status(tracking_id).await;
    assert_eq!(
        (&seen["state"], &seen["final"]),
        (&json!("accepted"), &json!(false))
    );
    let told = merchant.explain(tracking_id).await.to_string();
    assert!(told.contains("held back"), "{told}");
}

#[test]
fn a_full_lookup_page_is_no_proof_of_absence() {
    Setup::default().service_down().run(async |world| {
        for nth in 0..10 {
            let other = json!({"uid": format!("other-{nth}"), "tracking_id": "ok-full",
                "type": "authorization", "amount": 70, "currency": "EUR", "test": true});
            world.twin().make(other).await;
        }
        // It was made long before, and is of another amount.
        let unlike = json!({"uid": "unlike", "tracking_id": "ok-unlike", "amount": 1,
            "currency": "EUR", "created_offset_seconds": -900_000, "test": true});
        world.twin().make(unlike).await;
        let restored = Restored::start(world).await;
        let merchant = &restored.merchant;
        merchant.pay("ok-full").await.expect(202);
        held(merchant, "ok-full", "may hide it").await;
        merchant.pay("ok-unlike").await.expect(202);
        held(merchant, "ok-unlike", "another under its name").await;
        merchant.pay("ok-full").await.expect(200);
        for name in ["ok-full", "ok-unlike"] {
            assert_eq!(world.twin().posts(name).await, 0, "{name}");
        }
        // What is alone there is sent, once.
        merchant.pay_and_wait("ok-alone").await.expect(200);
        assert_eq!(world.twin().posts("ok-alone").await, 1);
        // A person lets it go.
        let decided = merchant
            .resolve("ok-full", "not_sent", "it was never sent")
            .await;
        decided.expect(200);
        merchant.pay_and_wait("ok-full").await.expect(200);
        assert_eq!(merchant.state("ok-full").await, "successful");
        assert_eq!(world.twin().posts("ok-full").await, 1);
    });
}

#[test]
fn after_a_restore_an_existing_payment_is_adopted() {
    Setup::default().service_down().run(async |world| {
        let made = json!({"uid": "made-before", "tracking_id": "ok-before", "amount": 3245,
            "currency": "EUR", "created_offset_seconds": -900_000, "status": "successful",
            "test": true});
        world.twin().make(made).await;
        let restored = Restored::start(world).await;
        restored.merchant.pay("ok-before").await;
        let done = restored.merchant.until_final("ok-before").await;
        assert_eq!(
            (&done["state"], &done["uid"]),
            (&json!("successful"), &json!("made-before"))
        );
        assert_eq!(world.twin().posts("ok-before").await, 0);
        assert_eq!(payment("ok-before")["amount"], 3245);
    });
}

#[test]
fn a_child_of_an_older_parent_is_held_until_it_is_forced() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-parent").await.expect(200);
        let parent = world.twin().uid("ok-parent").await;
        world.stop().await;
        let restored = Restored::start(world).await;
        let merchant = &restored.merchant;
        let body = json!({"tracking_id": "ok-refund", "parent_uid": parent, "amount": 500,
            "reason": "returned"});
        merchant.post("refunds", body.clone()).await.expect(202);
        held(merchant, "ok-refund", "after a restore").await;
        merchant.post("refunds", body.clone()).await.expect(200);
        assert_eq!(world.twin().posts("ok-refund").await, 0);
        merchant.post("refunds?force=true", body).await.expect(200);
        assert_eq!(
            merchant.until_final("ok-refund").await["state"],
            "successful"
        );
        assert_eq!(world.twin().posts("ok-refund").await, 1);
    });
}
