//! The danger: the books say one thing and the evidence another, and nobody notices.
//!
//! After every way to an end the second opinion must agree.

use crate::world::{KEY, SHOP, Setup, World, card_payment, eventually, payment};
use audit::{AuditReport, AuditScope, run};
use reconciler::store::Store;
use serde_json::{Value, json};
use std::process::{Command, Output};

/// What the audit says of a world.
pub async fn audit(world: &World) -> AuditReport {
    let store = Store::connect_lazy(&world.database.url, 1).unwrap();
    let report = run(store.unbounded_pool(), &AuditScope::default())
        .await
        .unwrap();
    store.close().await;
    report
}

/// Fails when it says anything.
pub async fn agrees(world: &World) -> AuditReport {
    let report = audit(world).await;
    assert!(report.is_clean(), "{}", report.table());
    assert_eq!(report.older, 0, "no earlier release has written anything");
    report
}

/// Does something to the database that the service would not.
pub async fn sql(world: &World, text: String) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(text))
        .execute(&world.database.pool)
        .await
        .unwrap();
}

#[test]
fn the_audit_derives_every_final_state() {
    let ends = [
        ("ok-a", "successful"),
        ("decline-a", "failed"),
        ("lost-a", "successful"),
        ("crash-a", "successful"),
        ("crashnone-a", "not_found"),
        ("hang-a", "successful"),
        ("hangnone-a", "not_found"),
        ("once422-a", "rejected"),
        ("reject-a", "rejected"),
        ("refuse401-a", "rejected"),
        ("dup-a", "successful"),
        ("unknown-a", "successful"),
        ("unknownnone-a", "not_found"),
        ("reset-a", "successful"),
        ("e500none-a", "not_found"),
        ("429-a", "successful"),
        ("v3-a", "successful"),
        ("twotx-a", "successful"),
        ("twosuccess-a", "successful"),
        ("reorder-a", "successful"),
        ("double-a", "successful"),
    ];
    let open = [
        ("threeds-a", "pending"),
        ("pending-a", "pending"),
        ("statusword-a", "pending"),
        ("mismatch-a", "pending"),
        ("currency-a", "pending"),
        ("dupnone-a", "in_doubt"),
        ("never-a", "processing"),
    ];
    Setup::default().impatient().run(async |world| {
        for (name, _) in ends.iter().chain(&open) {
            world.pay_async(name).await.expect(202);
        }
        for (name, state) in ends.iter().chain(&open) {
            world.until_state(name, state).await;
        }
        let report = agrees(world).await;
        let judged: u64 = report.transactions.values().sum();
        let made_here = "SELECT count(*) FROM transactions WHERE origin = 'api'";
        let made_here = world.database.one::<i64>(made_here).await;
        assert_eq!(made_here as usize, ends.len() + open.len());
        // What a webhook told before our own task did may have been merged, and is judged as well.
        let all = world
            .database
            .one::<i64>("SELECT count(*) FROM transactions")
            .await;
        assert_eq!(judged, all.cast_unsigned());
        assert!(report.evidence > 4 * judged);
        assert_eq!(report.skipped, 0);
    });
}

#[test]
fn the_audit_derives_corrections_and_decisions() {
    Setup::default().impatient().run(async |world| {
        for name in [
            "correct-b",
            "uncorrect-b",
            "stuck-b",
            "mismatch-b",
            "crashnone-b",
            "never-b",
        ] {
            world.pay_async(name).await.expect(202);
        }
        world.until_state("stuck-b", "pending").await;
        world.until_state("mismatch-b", "pending").await;
        world.until_final("correct-b").await;
        world.until_final("uncorrect-b").await;
        world.twin().advance(5.0).await;
        world.until_state("correct-b", "successful").await;
        world.until_state("uncorrect-b", "failed").await;
        world.until_state("crashnone-b", "not_found").await;
        // A person accepts another amount, ends what never ends, and doubts what was proved.
        let found = world.until_found("amount_mismatch").await;
        let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        world
            .post(&path, json!({"reason": "agreed by telephone"}))
            .await
            .expect(200);
        world.until_state("mismatch-b", "successful").await;
        world
            .resolve("stuck-b", "failed", "the bank says so")
            .await
            .expect(200);
        world
            .resolve("never-b", "not_sent", "as if")
            .await
            .expect(200);
        world
            .resolve("crashnone-b", "in_doubt", "really?")
            .await
            .expect(200);
        agrees(world).await;
        // And the gateway overrules them.
        let uid = world.twin().uid("stuck-b").await;
        world
            .twin()
            .change(&uid, json!({"status": "successful", "notify": true}))
            .await;
        world.until_state("stuck-b", "successful").await;
        agrees(world).await;
    });
}

/// A child of a parent, by a body of its own.
async fn child(world: &World, collection: &str, name: &str, parent: &str, amount: i64) -> Value {
    let mut body = json!({"tracking_id": name, "parent_uid": parent, "amount": amount,
        "duplicate_check": false});
    if collection == "refunds" {
        body["reason"] = json!("returned");
    }
    let headers = [("prefer", "respond-async")];
    world
        .post_with(collection, &headers, body)
        .await
        .expect(202)
        .json
}

#[test]
fn the_audit_derives_children_and_foreign_transactions() {
    for own in [true, false] {
        Setup::default().impatient().run(async |world| {
            let switches = json!({"children_own_tracking_id": own, "children_notify": "parent_url",
                "duplicate_check": "off"});
            world.twin().switch(switches).await;
            world.pay_and_wait("ok-parent").await.expect(200);
            let parent = world.twin().uid("ok-parent").await;
            // Two equal ones at once: whose a webhook is cannot be told from its name.
            child(world, "refunds", "ok-r1", &parent, 500).await;
            child(world, "refunds", "ok-r2", &parent, 500).await;
            child(world, "refunds", "crash-r3", &parent, 300).await;
            for name in ["ok-r1", "ok-r2", "crash-r3"] {
                world.until_final(name).await;
            }
            for (uid, kind) in [("made-1", "refund"), ("made-2", "chargeback")] {
                let made = json!({"uid": uid, "type": kind, "parent_uid": parent, "amount": 70,
                    "currency": "EUR", "tracking_id": "elsewhere", "status": "successful", "test": true});
                world.twin().make(made).await;
                let webhook = json!({"url": world.hook_url(), "uid": uid});
                assert_eq!(world.twin().send_webhook(webhook).await, [200]);
            }
            let told = "SELECT count(*) FROM transactions WHERE origin = 'gateway'";
            eventually("what was made elsewhere", async || {
                (world.database.one::<i64>(told).await == 2).then_some(())
            })
            .await;
            agrees(world).await;
        });
    }
}

#[test]
fn a_webhook_that_could_be_either_childs_counts_for_neither() {
    Setup::default().quiet().run(async |world| {
        let switches = json!({"children_own_tracking_id": false, "duplicate_check": "off",
            "appears": "start", "webhooks": false});
        world.pay_and_wait("ok-parent").await.expect(200);
        world.twin().switch(switches).await;
        let parent = world.twin().uid("ok-parent").await;
        for name in ["ok-r1", "ok-r2"] {
            let script = json!({"task": {"delay": {"fixed": {"seconds": 2.0}}}});
            world.twin().script(name, "ok", script).await;
            child(world, "refunds", name, &parent, 500).await;
            world.check(name).await.expect(202);
            world.until_state(name, "processing").await;
        }
        let refund = eventually("a refund at the gateway", async || {
            let all = world.twin().truth("ok-parent").await;
            all.into_iter().find(|t| t["type"] == "refund")
        })
        .await;
        // It says more, and later, than the result of the task will say.
        let later = domain::Timestamp::from(leaves::clock::now_utc());
        let later = later.plus(std::time::Duration::from_secs(300)).to_rfc3339();
        let body = json!({"transaction": {"uid": refund["uid"], "type": "refund", "status": "failed",
            "amount": 500, "currency": "EUR", "parent_uid": parent, "tracking_id": "ok-parent",
            "updated_at": later}});
        let webhook = json!({"url": world.hook_url(), "shop": SHOP, "body": body.to_string()});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        for name in ["ok-r1", "ok-r2"] {
            let hooks = world.evidence_by(name, "webhook").await;
            assert_eq!(hooks.len(), 1);
            assert_eq!(hooks[0]["verdict"], "hint");
        }
        agrees(world).await;
        world.twin().advance(5.0).await;
        for name in ["ok-r1", "ok-r2"] {
            world.check(name).await.expect(202);
            world.until_state(name, "successful").await;
        }
        agrees(world).await;
    });
}

#[test]
fn an_unsigned_webhook_does_not_create_a_child() {
    Setup::default()
        .quiet()
        .signature_optional()
        .run(async |world| {
            world.pay_and_wait("ok-parent").await.expect(200);
            let parent = world.twin().uid("ok-parent").await;
            let made = json!({"uid": "made-1", "type": "refund", "parent_uid": parent, "amount": 70,
            "currency": "EUR", "tracking_id": "elsewhere", "status": "successful", "test": true});
            world.twin().make(made).await;
            let webhook = json!({"url": world.hook_url(), "uid": "made-1", "signature": "missing"});
            assert_eq!(world.twin().send_webhook(webhook).await, [200]);
            let told = "SELECT count(*) FROM transactions WHERE origin = 'gateway'";
            assert_eq!(world.database.one::<i64>(told).await, 0);
            agrees(world).await;
            // Signed, it is.
            let webhook = json!({"url": world.hook_url(), "uid": "made-1"});
            assert_eq!(world.twin().send_webhook(webhook).await, [200]);
            agrees(world).await;
        });
}

#[test]
fn an_orphan_that_finds_its_owner_is_derived_again() {
    Setup::default().quiet().run(async |world| {
        let made = json!({"uid": "early-1", "tracking_id": "hangnone-early", "amount": 3245,
            "currency": "EUR", "status": "successful", "test": true});
        world.twin().make(made).await;
        let webhook = json!({"url": world.hook_url(), "uid": "early-1"});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        world.until_found("orphan_webhook").await;
        world.pay_async("hangnone-early").await.expect(202);
        eventually("the orphan is matched", async || {
            let matched = "SELECT count(*) FROM orphans WHERE matched_to IS NOT NULL";
            (world.database.one::<i64>(matched).await == 1).then_some(())
        })
        .await;
        agrees(world).await;
    });
}

#[test]
fn an_accepted_amount_makes_a_candidate_ours() {
    Setup::default().impatient().run(async |world| {
        world.twin().switch(json!({"webhooks": false})).await;
        world.pay_async("hangnone-other").await.expect(202);
        let made = json!({"uid": "other-1", "tracking_id": "hangnone-other", "amount": 9999,
            "currency": "EUR", "status": "successful", "test": true});
        world.twin().make(made).await;
        let found = world.until_found("amount_mismatch").await;
        let path = format!("discrepancies/{}/resolve", found["id"].as_str().unwrap());
        world
            .post(&path, json!({"reason": "it is this one"}))
            .await
            .expect(200);
        let done = world.until_state("hangnone-other", "successful").await;
        assert_eq!(done["uid"], "other-1");
        agrees(world).await;
    });
}

#[test]
fn the_audit_counts_months_beyond_retention() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-now").await.expect(200);
        world.stop().await;
        // As if it had been opened in a month that was dropped since.
        sql(
            world,
            "INSERT INTO transactions SELECT shop_id, '01700000-0000-7000-8000-000000000000', 'ok-old',
                type, origin, amount, currency, description, parent_uid, parent_tracking_id, card_data,
                test, fingerprint, fingerprint_key, created_at, state, state_since, NULL, summary,
                sequence, updated_at, finalized_at, evidence_count, evidence_head FROM transactions"
                .to_owned(),
        )
        .await;
        let report = agrees(world).await;
        assert_eq!((report.skipped, report.transactions[SHOP]), (1, 1));
        sql(world, "DELETE FROM transactions WHERE tracking_id = 'ok-old'".to_owned()).await;
    });
}

/// Runs the real binary.
fn reconciler(config: &std::path::Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reconciler"))
        .arg("audit")
        .args(args)
        .arg("--config")
        .arg(config)
        .env_clear()
        .output()
        .unwrap()
}

#[test]
fn the_exit_code_reports_differences() {
    Setup::default().run(async |world| {
        world.pay_and_wait("ok-cli").await.expect(200);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let addresses = crate::world::Addresses::reserve();
        std::fs::write(&path, world.config_text(&addresses)).unwrap();
        let clean = reconciler(&path, &[]);
        assert_eq!(clean.status.code(), Some(0), "{clean:?}");
        assert!(String::from_utf8_lossy(&clean.stdout).starts_with("0 differences in 1 "));
        let since = reconciler(&path, &["--since", "1h", "--shop", SHOP, "--json"]);
        let told: Value = serde_json::from_slice(&since.stdout).unwrap();
        assert_eq!(
            (&told["total"], &told["transactions"]),
            (&json!(0), &json!(1))
        );
        let later = reconciler(&path, &["--since", "2999-01-01T00:00:00Z", "--json"]);
        let told: Value = serde_json::from_slice(&later.stdout).unwrap();
        assert_eq!(told["transactions"], json!(0));

        world.stop().await;
        sql(world, "UPDATE transactions SET state = 'failed'".to_owned()).await;
        let found = reconciler(&path, &["--json"]);
        assert_eq!(found.status.code(), Some(1), "{found:?}");
        let told: Value = serde_json::from_slice(&found.stdout).unwrap();
        assert_eq!(told["differences"][0]["tracking_id"], "ok-cli");
        let metrics = reconciler(&path, &["--metrics"]);
        let text = String::from_utf8_lossy(&metrics.stdout).into_owned();
        let line = "reconciler_audit_differences{shop=\"1001\",kind=\"state\"} 1\n";
        assert!(text.contains(line), "{text}");
        sql(
            world,
            "UPDATE transactions SET state = 'successful'".to_owned(),
        )
        .await;

        for args in [&["--since", "soon"][..], &["--shop", "no shop"]] {
            assert_eq!(reconciler(&path, args).status.code(), Some(2));
        }
        let nowhere = ["--database-url", "postgres://nobody@127.0.0.1:1/none"];
        assert_eq!(reconciler(&path, &nowhere).status.code(), Some(2));
    });
}

#[test]
fn the_audit_derives_lookups_after_a_restore() {
    Setup::default().service_down().run(async |world| {
        let asked = json!({"request": payment("lost-restored")});
        world
            .twin()
            .as_shop(reqwest::Method::POST, "/async/transactions/payments", asked)
            .await;
        world.twin().uid("lost-restored").await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let addresses = crate::world::Addresses::reserve();
        std::fs::write(&path, world.config_text(&addresses)).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_reconciler"))
            .args(["serve", "--after-restore", "--config"])
            .arg(&path)
            .env_clear()
            .spawn()
            .unwrap();
        let merchant = crate::world::Merchant::new(&addresses, KEY);
        merchant.until_ready().await;
        merchant.pay_and_wait("lost-restored").await.expect(200);
        assert_eq!(world.twin().posts("lost-restored").await, 1);
        agrees(world).await;
        child.kill().unwrap();
        child.wait().unwrap();
    });
}

/// What a person has called `not_sent` is sent when its merchant asks again, and is followed then.
#[test]
fn a_new_attempt_ends_a_decision() {
    Setup::default().run(async |world| {
        let slow = json!({"webhooks": false, "task_delay": {"fixed": {"seconds": 4.0}}});
        world.twin().switch(slow).await;
        let put_off = world.post("payments", card_payment("429-decided")).await;
        put_off.expect_problem(502, "gateway-unreachable");
        let decided = world
            .resolve("429-decided", "not_sent", "not in the books")
            .await;
        assert_eq!(decided.expect(200).json["state"], "not_sent");
        world
            .post("payments", card_payment("429-decided"))
            .await
            .expect(200);
        world.until_state("429-decided", "processing").await;
        agrees(world).await;
        let done = world.until_final("429-decided").await;
        assert_eq!(done["state"], "successful");
        assert_eq!(world.twin().posts("429-decided").await, 2);
        agrees(world).await;
    });
}
