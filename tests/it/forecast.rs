//! The danger: a poller that asks ever again about what it could know to come, forgets what it knew,
//! or goes by it where the settings say otherwise.

use crate::world::{Setup, World, eventually};
use serde_json::json;

/// Pays so often, and waits for each end.
async fn pay(world: &World, prefix: &str, count: usize) {
    let names: Vec<String> = (0..count).map(|n| format!("{prefix}-{n}")).collect();
    for name in &names {
        world.pay_async(name).await.expect(202);
    }
    for name in &names {
        world.until_final(name).await;
    }
}

/// Waits until everything that has been seen is stored.
async fn until_stored(world: &World, at_least: f32) {
    eventually("what was learned in the database", async || {
        let sql = "SELECT coalesce(sum(count), 0)::real FROM pacing, unnest(counts) AS count";
        let stored: f32 = world.database.one(sql).await;
        (stored >= at_least).then_some(())
    })
    .await;
}

/// What runs, and is looked at next only when it is more than twice as old as it is: the configured pace
/// waits for half of an age, and never so long.
async fn until_put_off(world: &World) {
    eventually("a look that was put off", async || {
        let sql = "SELECT count(*) FROM due_checks WHERE state = 'processing' AND lease IS NULL
            AND due_at - clock_timestamp() > clock_timestamp() - since + interval '2 s'";
        (world.database.one::<i64>(sql).await == 1).then_some(())
    })
    .await;
}

/// All requests to the gateway about what begins so, beside the POSTs.
async fn asked(world: &World, prefix: &str, count: usize) -> usize {
    let mut requests = 0;
    for n in 0..count {
        let name = format!("{prefix}-{n}");
        for operation in ["result", "status", "query_uid", "query_tracking_id"] {
            let made = world.twin().requests(operation, &name).await;
            requests += made
                .iter()
                .filter(|r| r["tracking_id"] == name.as_str())
                .count();
        }
    }
    requests
}

/// The settings would look every few hundred milliseconds at first, and may wait for an hour.
fn wide() -> Setup {
    Setup::default()
        .set("follow", "first_check", "\"300ms\"")
        .set("follow", "max_interval", "\"1h\"")
        .set("follow", "max_interval_old", "\"1h\"")
}

#[test]
fn a_forecast_survives_a_restart() {
    wide().run(async |world| {
        pay(world, "ok-before", 60).await;
        until_stored(world, 55.0).await;
        // Webhooks tell of all that has ended, so that looking soon would find nothing.
        world.pay("never-learned").await.expect(202);
        until_put_off(world).await;
        world.stop().await;
        world.database.execute("DELETE FROM due_checks WHERE state = 'processing'").await;
        let sql = "INSERT INTO due_checks (shop_id, transaction_id, due_at, state, since)
            SELECT shop_id, id, now(), state, state_since FROM transactions WHERE state = 'processing'";
        world.database.execute(sql).await;
        world.start().await;
        // It is due at once, and then it is planned anew by a process that has seen nothing itself.
        until_put_off(world).await;
    });
}

#[test]
fn checks_are_rare_while_webhooks_arrive() {
    wide().run(async |world| {
        // Tasks run for a while, some of them ten times as long.
        let delay = json!({"bimodal": {"fast": 0.2, "slow": 2.0, "slow_share": 0.2}});
        world.twin().switch(json!({"task_delay": delay})).await;
        pay(world, "ok-first", 60).await;
        pay(world, "ok-then", 60).await;
        assert!(
            asked(world, "ok-first", 60).await > 0,
            "nothing was known yet"
        );
        let requests = asked(world, "ok-then", 60).await;
        assert!(
            requests * 10 <= 60 * 12,
            "{requests} requests about 60 payments"
        );
    });
}

#[test]
fn a_forecast_never_exceeds_max_interval() {
    Setup::default().run(async |world| {
        pay(world, "ok-known", 60).await;
        until_stored(world, 55.0).await;
        // Webhooks tell of all that has ended: by that alone it would not look for a long time.
        world.pay("never-known").await.expect(202);
        let looked = async || world.twin().requests("result", "never-known").await.len();
        eventually("looks", async || (looked().await >= 3).then_some(())).await;
        let sql =
            "SELECT extract(epoch FROM max(due_at - clock_timestamp()))::float8 FROM due_checks
            WHERE state = 'processing' AND lease IS NULL";
        let wait: Option<f64> = world.database.one(sql).await;
        assert!(wait.is_none_or(|wait| wait <= 0.33), "{wait:?}");
    });
}

#[test]
fn replicas_merge_their_forecasts() {
    Setup::default().run(async |world| {
        let (second, other) = world.replica().await;
        for n in 0..40 {
            let merchant = if n % 2 == 0 { &**world } else { &other };
            let name = format!("ok-both-{n}");
            merchant.pay_async(&name).await.expect(202);
        }
        for n in 0..40 {
            world.until_final(&format!("ok-both-{n}")).await;
        }
        until_stored(world, 39.5).await;
        second.stop().await;
        let sql = "SELECT sum(count)::real FROM pacing, unnest(counts) AS count";
        let stored: f32 = world.database.one(sql).await;
        assert!((stored - 40.0).abs() < 0.5, "{stored} of 40");
        let sql = "SELECT sum(told + missed)::real FROM pacing";
        let told: f32 = world.database.one(sql).await;
        assert!((told - 40.0).abs() < 0.5, "{told} of 40");
    });
}

#[test]
fn an_unreadable_forecast_is_rebuilt() {
    Setup::default().run(async |world| {
        world.stop().await;
        let sql = "INSERT INTO pacing (shop_id, type, counts, told, missed, at) VALUES
            ('1001', 'payment', '{1, 2}', 'NaN', 0, now()), ('1001', 'refund', '{}', 0, 0, now())";
        world.database.execute(sql).await;
        world.start().await;
        pay(world, "ok-anew", 3).await;
        eventually("what was learned anew", async || {
            let sql =
                "SELECT count(*) FROM pacing WHERE type = 'payment' AND cardinality(counts) = 64
                AND told + missed > 2.9 AND told + missed < 3.1";
            (world.database.one::<i64>(sql).await == 1).then_some(())
        })
        .await;
    });
}

/// Waits until a transaction has, or has not, a look before it. That changes nothing of it, so that
/// nobody is woken.
async fn until_planned(world: &World, name: &str, planned: bool) {
    eventually(
        &format!("{name}: looks after its end: {planned}"),
        async || {
            let next = &world.status(name).await["next_check_at"];
            (next.is_null() != planned).then_some(())
        },
    )
    .await;
}

#[test]
fn rechecks_are_skipped_if_two_channels_agree() {
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1h\"]");
    setup.quiet().run(async |world| {
        world.pay_and_wait("ok-told").await.expect(200);
        // A webhook alone has told.
        until_planned(world, "ok-told", true).await;
        let check = "transactions/ok-told/check";
        world.post(check, json!({})).await.expect(202);
        until_planned(world, "ok-told", false).await;
    });
}

#[test]
fn one_recheck_follows_a_webhook() {
    let setup = Setup::default()
        .set("follow", "recheck_after_final", "[\"1s\", \"2s\"]")
        .set("follow", "first_check", "\"10s\"")
        .set("follow", "max_interval", "\"1h\"")
        .set("follow", "max_interval_old", "\"1h\"");
    setup.run(async |world| {
        for n in 0..5 {
            world
                .pay_and_wait(&format!("ok-once-{n}"))
                .await
                .expect(200);
        }
        eventually("no more looks", async || {
            let left = "SELECT count(*) FROM due_checks";
            (world.database.one::<i64>(left).await == 0).then_some(())
        })
        .await;
        // Our own task is asked for its end, which may be an old answer by now, and then the transaction
        // itself. The second time is spared.
        assert_eq!(asked(world, "ok-once", 5).await, 10);
    });
}

#[test]
fn a_failure_is_always_rechecked() {
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1h\"]");
    setup.run(async |world| {
        world.pay_and_wait("decline-both").await.expect(200);
        eventually("both ways have told", async || {
            let told = world.evidence("decline-both").await;
            let by = |channel: &str| told.iter().any(|e| e["channel"] == channel);
            (by("webhook") && by("task_result")).then_some(())
        })
        .await;
        // It can become a success late.
        until_planned(world, "decline-both", true).await;
    });
}

#[test]
fn rechecks_are_skipped_if_the_webhook_comes_last() {
    let setup = Setup::default().set("follow", "recheck_after_final", "[\"1h\"]");
    setup.run(async |world| {
        world.pay_and_wait("lost-first").await.expect(200);
        until_planned(world, "lost-first", true).await;
        let uid = world.twin().uid("lost-first").await;
        let webhook = json!({"url": world.hook_url(), "uid": uid});
        assert_eq!(world.twin().send_webhook(webhook).await, [200]);
        until_planned(world, "lost-first", false).await;
    });
}
