//! The danger: a webhook that is believed and should not be, or one that is acknowledged and lost.

use crate::world::{SECRET, SHOP, Setup, World, eventually};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twin::SigningKey;

/// A payment that the gateway has finished, of which nobody has told us.
pub async fn untold(world: &World, tracking_id: &str) -> String {
    world.twin().switch(json!({"webhooks": false})).await;
    world.pay(tracking_id).await.expect(202);
    world.twin().uid(tracking_id).await
}

/// Everything about a transaction that a refused webhook must leave as it is.
async fn footprint(world: &World) -> Vec<String> {
    let mut all = world
        .database
        .all::<String>(
            "SELECT concat_ws(' ', t.state, t.sequence, t.evidence_count, d.due_at, d.again)
             FROM transactions t LEFT JOIN due_checks d ON d.transaction_id = t.id ORDER BY t.id",
        )
        .await;
    all.extend(
        world
            .database
            .all::<String>("SELECT id::text FROM orphans ORDER BY 1")
            .await,
    );
    all
}

pub fn to(world: &World, uid: &str, more: Value) -> Value {
    let mut webhook = json!({"url": world.hook_url(), "uid": uid});
    for (name, value) in more.as_object().unwrap() {
        webhook[name] = value.clone();
    }
    webhook
}

#[test]
fn a_signed_webhook_is_durable_before_its_200() {
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-signed").await;
        assert_eq!(
            world.twin().send_webhook(to(world, &uid, json!({}))).await,
            [200]
        );
        // Right after the answer, past the service's own memory.
        let state = world
            .database
            .one::<String>("SELECT state FROM transactions")
            .await;
        assert_eq!(state, "successful");
        let metrics = world.metrics().await;
        let labels = [("shop", SHOP), ("outcome", "applied")];
        assert_eq!(metrics.sum("reconciler_webhooks_total", &labels), 1.0);
        assert!(metrics.sum("reconciler_webhook_commit_seconds_count", &[]) >= 1.0);
    });
}

#[test]
fn an_unauthentic_webhook_is_rejected() {
    let cases = [
        (json!({"signature": "bad"}), "wrong_signature"),
        (json!({"signature": "other_key"}), "wrong_signature"),
        (json!({"signature": "missing"}), "no_signature"),
        (json!({"credentials": "bad"}), "wrong_credentials"),
        (json!({"credentials": "missing"}), "no_credentials"),
        (
            json!({"credentials": "missing", "signature": "missing"}),
            "no_credentials",
        ),
        (
            json!({"headers": {"Authorization": "Bearer x"}}),
            "no_credentials",
        ),
    ];
    for (how, reason) in cases {
        Setup::default().quiet().run(async |world| {
            let uid = untold(world, "ok-forged").await;
            let before = footprint(world).await;
            assert_eq!(
                world
                    .twin()
                    .send_webhook(to(world, &uid, how.clone()))
                    .await,
                [401]
            );
            assert_eq!(footprint(world).await, before, "{how}");
            let found = world.until_found("signature_rejected").await;
            assert_eq!(found["status"], "open");
            let rows = world
                .database
                .all::<String>("SELECT subject FROM discrepancies")
                .await;
            assert_eq!(rows, [reason], "{how}");
            let labels = [("shop", SHOP), ("outcome", "unauthorized")];
            assert_eq!(
                world
                    .metrics()
                    .await
                    .sum("reconciler_webhooks_total", &labels),
                1.0
            );
            // The truth is still learned, in its own time.
            world.check("ok-forged").await.expect(202);
            assert_eq!(world.until_final("ok-forged").await["state"], "successful");
        });
    }
}

#[test]
fn forged_webhooks_open_one_discrepancy() {
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-flood").await;
        let flood = to(world, &uid, json!({"signature": "bad", "times": 200}));
        assert!(
            world
                .twin()
                .send_webhook(flood)
                .await
                .iter()
                .all(|status| *status == 401)
        );
        world.until_found("signature_rejected").await;
        assert_eq!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM discrepancies")
                .await,
            1
        );
        assert!(
            world
                .database
                .one::<i64>("SELECT count(*) FROM events")
                .await
                < 5
        );
        let labels = [("shop", SHOP), ("outcome", "unauthorized")];
        assert_eq!(
            world
                .metrics()
                .await
                .sum("reconciler_webhooks_total", &labels),
            200.0
        );
    });
}

#[test]
fn an_unsigned_webhook_only_triggers_a_lookup() {
    Setup::default()
        .quiet()
        .signature_optional()
        .run(async |world| {
            let uid = untold(world, "ok-hint").await;
            let unsigned = to(world, &uid, json!({"signature": "missing"}));
            assert_eq!(world.twin().send_webhook(unsigned).await, [200]);
            assert_eq!(world.until_final("ok-hint").await["state"], "successful");
            let hooks = world.evidence_by("ok-hint", "webhook").await;
            assert_eq!(
                (&hooks[0]["verdict"], &hooks[0]["signed"]),
                (&json!("hint"), &json!(false))
            );
            let asked = world.twin().requests("*", "ok-hint").await;
            assert!(asked.iter().any(|r| r["method"] == "GET"), "{asked:?}");
        });
}

#[test]
fn a_forged_final_status_changes_nothing() {
    Setup::default()
        .quiet()
        .signature_optional()
        .run(async |world| {
            world.twin().switch(json!({"webhooks": false})).await;
            world.pay("stuck-1").await.expect(202);
            let uid = world.twin().uid("stuck-1").await;
            world.check("stuck-1").await.expect(202);
            world.until_state("stuck-1", "pending").await;
            for status in ["successful", "failed"] {
                let body = json!({"transaction": {"uid": uid, "status": status, "type": "payment",
                "amount": 3245, "currency": "EUR", "tracking_id": "stuck-1",
                "updated_at": "2030-01-01T00:00:00Z"}});
                // One uid is looked up once a minute.
                let minute_ago = "UPDATE hinted_uids SET asked_at = asked_at - interval '1 minute',
                    due_at = due_at - interval '1 minute'";
                world.database.execute(minute_ago).await;
                let lookups = world.twin().requests("*", "stuck-1").await.len();
                let forged = json!({"url": world.hook_url(), "shop": SHOP, "body": body,
                "signature": "missing"});
                assert_eq!(world.twin().send_webhook(forged).await, [200]);
                eventually("the look-up that it made due", async || {
                    let now = world.twin().requests("*", "stuck-1").await.len();
                    (now > lookups).then_some(())
                })
                .await;
                assert_eq!(world.state("stuck-1").await, "pending");
            }
            let wrong = to(world, &uid, json!({"signature": "bad"}));
            assert_eq!(world.twin().send_webhook(wrong).await, [401]);
            let story = world.story("stuck-1").await;
            assert!(
                story
                    .iter()
                    .all(|(_, state)| state != "successful" && state != "failed")
            );
        });
}

#[test]
fn the_same_webhook_again_is_acknowledged_and_kept_once() {
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-twice").await;
        let thrice = to(world, &uid, json!({"times": 3}));
        assert_eq!(world.twin().send_webhook(thrice).await, [200, 200, 200]);
        assert_eq!(world.evidence_by("ok-twice", "webhook").await.len(), 1);
        let finals = world.story("ok-twice").await;
        assert_eq!(
            finals
                .iter()
                .filter(|(kind, _)| kind == "transaction.finalized")
                .count(),
            1
        );
        let labels = [("channel", "webhook"), ("verdict", "duplicate")];
        assert_eq!(
            world
                .metrics()
                .await
                .sum("reconciler_evidence_total", &labels),
            2.0
        );
    });
}

#[test]
fn an_old_state_that_arrives_late_moves_nothing() {
    Setup::default().quiet().run(async |world| {
        // The webhook of the first state is held back until the final one has gone.
        world.pay("reorder-1").await.expect(202);
        world.twin().uid("reorder-1").await;
        world.twin().advance(2.0).await;
        world.until_state("reorder-1", "successful").await;
        eventually("the second webhook", async || {
            world.twin().advance(1.0).await;
            (world.evidence_by("reorder-1", "webhook").await.len() > 1).then_some(())
        })
        .await;
        assert_eq!(world.state("reorder-1").await, "successful");
        let hooks = world.evidence_by("reorder-1", "webhook").await;
        let verdicts: Vec<&Value> = hooks.iter().map(|hook| &hook["verdict"]).collect();
        assert_eq!(verdicts, [&json!("applied"), &json!("stale")]);
        assert!(world.discrepancies().await.is_empty());
    });
}

#[test]
fn a_key_that_is_being_rotated_is_accepted_beside_the_old_one() {
    let keys = json!([SigningKey::Default.public(), SigningKey::Rotated.public()]).to_string();
    let setup = Setup::default().quiet().shop_set("public_key", &keys);
    setup.run(async |world| {
        for (name, key) in [("ok-old", "default"), ("ok-new", "rotated")] {
            let uid = untold(world, name).await;
            world.twin().switch(json!({"signing_key": key})).await;
            assert_eq!(
                world.twin().send_webhook(to(world, &uid, json!({}))).await,
                [200],
                "{key}"
            );
            assert_eq!(world.state(name).await, "successful");
        }
    });
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-early").await;
        world.twin().switch(json!({"signing_key": "rotated"})).await;
        assert_eq!(
            world.twin().send_webhook(to(world, &uid, json!({}))).await,
            [401]
        );
    });
}

#[test]
fn both_secrets_are_accepted_during_rotation() {
    let secrets = format!("[\"{SECRET}\", \"an-older-secret\"]");
    Setup::default()
        .quiet()
        .shop_set("secret_key", &secrets)
        .run(async |world| {
            let uid = untold(world, "ok-secret").await;
            let basic =
                |secret: &str| format!("Basic {}", STANDARD.encode(format!("{SHOP}:{secret}")));
            for (secret, status) in [("an-older-secret", 200), (SECRET, 200), ("another", 401)] {
                let headers = json!({"headers": {"Authorization": basic(secret)}});
                let answered = world.twin().send_webhook(to(world, &uid, headers)).await;
                assert_eq!(answered, [status], "{secret}");
            }
        });
}

#[test]
fn a_webhook_needs_its_shops_own_path() {
    Setup::default()
        .quiet()
        .with_shop("1002", "secret-of-1002")
        .run(async |world| {
            let uid = untold(world, "ok-shop").await;
            let other = world.at_shop("1002").hook_url();
            assert_eq!(
                world
                    .twin()
                    .send_webhook(json!({"url": other, "uid": uid}))
                    .await,
                [401]
            );
            let nobody = world.at_shop("9999").hook_url();
            assert_eq!(
                world
                    .twin()
                    .send_webhook(json!({"url": nobody, "uid": uid}))
                    .await,
                [401]
            );
            // Nothing else is there: no API, no probes, no other method.
            let root = world.hook_url().replace("/webhooks/1001", "");
            for path in [
                "/",
                "/v1/shops/1001/transactions",
                "/metrics",
                "/webhooks",
                "/webhooks/",
            ] {
                let answer = world.hook(&format!("{root}{path}"), &[], b"{}").await;
                answer.expect_problem(404, "not-found");
            }
            assert_eq!(world.state("ok-shop").await, "processing");
        });
}

#[test]
fn a_body_over_the_limit_is_refused() {
    Setup::default().quiet().run(async |world| {
        let basic = format!("Basic {}", STANDARD.encode(format!("{SHOP}:{SECRET}")));
        let headers = [
            ("authorization", &*basic),
            ("content-type", "application/json"),
        ];
        let post = async |size: usize| {
            world
                .hook(&world.hook_url(), &headers, &vec![b'x'; size])
                .await
        };
        post(256 * 1024 + 1)
            .await
            .expect_problem(413, "payload-too-large");
        // One that fits comes as far as its signature.
        post(256 * 1024).await.expect_problem(401, "unauthorized");
    });
}

#[test]
fn a_webhook_may_come_before_the_answer_to_the_submit() {
    Setup::default().quiet().run(async |world| {
        let script =
            json!({"submit": {"latency": 1.0}, "task": {"delay": {"fixed": {"seconds": 0.05}}}});
        world.twin().script("ok-before", "ok", script).await;
        let (answer, ()) = tokio::join!(world.pay("ok-before"), async {
            let seen = world.until_state_if_there("ok-before", "successful").await;
            assert!(seen["request_id"].is_null(), "the ack was first: {seen}");
        });
        let answer = answer.expect(200).json;
        assert_eq!(answer["state"], "successful");
        assert!(answer["request_id"].is_string());
        let channels: Vec<Value> = world
            .evidence("ok-before")
            .await
            .iter()
            .map(|e| e["channel"].clone())
            .collect();
        assert_eq!(channels, ["local", "local", "webhook", "ack"]);
        let story = world.story("ok-before").await;
        assert_eq!(
            story
                .iter()
                .filter(|(kind, _)| kind == "transaction.finalized")
                .count(),
            1
        );
        assert!(
            story
                .iter()
                .all(|(kind, _)| kind != "transaction.corrected"),
            "{story:?}"
        );
    });
}

#[test]
fn many_webhooks_at_once_are_each_durable() {
    Setup::default().quiet().run(async |world| {
        let names: Vec<String> = (0..30).map(|n| format!("double-many-{n}")).collect();
        futures_util::future::join_all(names.iter().map(|name| world.pay(name))).await;
        for name in &names {
            assert_eq!(world.until_final(name).await["state"], "successful");
        }
        let sizes = world.metrics().await;
        assert!(sizes.sum("reconciler_ledger_batch_size_count", &[]) > 0.0);
    });
}

#[test]
fn a_webhook_about_another_shop_is_rejected() {
    Setup::default().quiet().run(async |world| {
        let uid = untold(world, "ok-other-shop").await;
        let about = |shop: Value| {
            json!({"transaction": {"uid": uid, "status": "successful", "type": "payment",
                "amount": 3245, "currency": "EUR", "tracking_id": "ok-other-shop", "test": true,
                "shop": {"id": shop}}})
        };
        let before = footprint(world).await;
        for other in [json!(1002), json!("1002")] {
            let forged = to(world, &uid, json!({"body": about(other)}));
            assert_eq!(world.twin().send_webhook(forged).await, [401]);
        }
        for forms in [
            json!({"shop": "1002"}),
            json!({"shop": 1002}),
            json!({"shop": {"shop_id": "1002"}}),
            json!({"merchant": {"shop_id": 1002}}),
            json!({"merchant": {"id": "1002"}}),
        ] {
            let mut body = about(json!(1001));
            for (name, value) in forms.as_object().unwrap() {
                body["transaction"][name] = value.clone();
            }
            let forged = to(world, &uid, json!({"body": body}));
            assert_eq!(world.twin().send_webhook(forged).await, [401], "{forms}");
        }
        assert_eq!(footprint(world).await, before);
        let found = world.until_found("signature_rejected").await;
        let told = found["detail"].as_str().unwrap();
        assert!(told.contains("another shop"), "{told}");
        let ours = to(world, &uid, json!({"body": about(json!(1001))}));
        assert_eq!(world.twin().send_webhook(ours).await, [200]);
        assert_eq!(world.state("ok-other-shop").await, "successful");
    });
}
