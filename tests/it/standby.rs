//! The danger: a database that takes no writes, or does not confirm them, and a service that goes on as if it
//! did, or never finds its way back.

use crate::world::{SHOP, Setup, World, eventually, private_cluster_with};
use futures_util::FutureExt;
use reconciler::store::Store;
use serde_json::json;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;
use testkit::postgres::{ClusterOptions, PostgresCluster};
use tokio::time::Instant;

/// A world on a server of its own.
fn with_server(setup: Setup, test: impl AsyncFnOnce(&World, &mut PostgresCluster)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url) = runtime.block_on(private_cluster_with(ClusterOptions::default()));
    setup.database(&url).run(async |world| {
        let ended = AssertUnwindSafe(test(world, &mut cluster))
            .catch_unwind()
            .await;
        if let Err(panic) = ended {
            // Else the service would wait for its commits for ever, and the test for the service.
            run_all(world, &NO_STANDBY_NEEDED).await;
            resume_unwind(panic);
        }
    });
}

async fn run_all(world: &World, statements: &[&'static str]) {
    for statement in statements {
        world.database.execute(statement).await;
    }
}

const READ_ONLY: [&str; 2] = [
    "ALTER SYSTEM SET default_transaction_read_only = on",
    "SELECT pg_reload_conf()",
];

const WRITABLE: [&str; 3] = [
    "SET default_transaction_read_only = off",
    "ALTER SYSTEM RESET default_transaction_read_only",
    "SELECT pg_reload_conf()",
];

/// The standby is gone: each commit waits for it.
const NO_STANDBY: [&str; 2] = [
    "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
    "SELECT pg_reload_conf()",
];

const NO_STANDBY_NEEDED: [&str; 2] = [
    "ALTER SYSTEM RESET synchronous_standby_names",
    "SELECT pg_reload_conf()",
];

/// From here on commits wait. The server says so itself: a commit that only takes long proves nothing.
async fn lose_the_standby(world: &World) {
    run_all(world, &NO_STANDBY).await;
    let write = "SELECT pg_logical_emit_message(true, 'test', '')::text";
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    eventually("commits wait", async || {
        let written = world.database.one::<String>(write);
        let short = tokio::time::timeout(Duration::from_millis(300), written);
        let _ = short.await;
        (world.database.one::<i64>(waits).await > 0).then_some(())
    })
    .await;
}

const OURS: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'reconciler'";

async fn until_reason(world: &World, reason: &str) {
    eventually(reason, async || {
        let ready = world.ops("/readyz").await;
        (ready.status == 503 && ready.text.contains(reason)).then_some(())
    })
    .await;
}

#[test]
fn a_read_only_database_is_reported_and_left() {
    with_server(Setup::default(), async |world, _| {
        world.pay("ok-before").await.expect(202);
        run_all(world, &READ_ONLY).await;
        until_reason(world, "the database is read-only").await;
        for n in 0..3 {
            let refused = world.pay(&format!("ok-refused-{n}")).await;
            refused.expect_problem(503, "unavailable");
        }
        run_all(world, &WRITABLE).await;
        let since = Instant::now();
        eventually("it is taken", async || {
            let answer = world.pay("ok-after").await;
            [200, 202].contains(&answer.status).then_some(())
        })
        .await;
        assert!(since.elapsed() < Duration::from_secs(10));
        world.until_ready().await;
        assert_eq!(world.until_final("ok-before").await["state"], "successful");
    });
}

#[test]
fn read_only_sessions_are_closed() {
    with_server(Setup::default(), async |world, _| {
        world.pay("ok-role").await.expect(202);
        // New sessions alone take no writes: those that rest are looked at when they are taken.
        run_all(world, &[
            "ALTER ROLE CURRENT_USER SET default_transaction_read_only = on",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'reconciler'",
        ])
        .await;
        until_reason(world, "the database is read-only").await;
        run_all(
            world,
            &["ALTER ROLE CURRENT_USER RESET default_transaction_read_only"],
        )
        .await;
        world.until_ready().await;
        eventually("it is taken", async || {
            [200, 202]
                .contains(&world.pay("ok-role-2").await.status)
                .then_some(())
        })
        .await;
        assert_eq!(world.until_final("ok-role").await["state"], "successful");
    });
}

#[test]
fn hanging_commits_time_out_and_leave_no_session() {
    let setup = Setup::default()
        .set("gateway", "request_timeout", "\"3s\"")
        .set("follow", "lease", "\"2m\"")
        .set("database", "max_connections", "8");
    with_server(setup, async |world, _| {
        world.pay("never-before").await.expect(202);
        world.twin().switch(json!({"webhooks": false})).await;
        lose_the_standby(world).await;
        let since = Instant::now();
        let most = async {
            let mut most = 0;
            while since.elapsed() < Duration::from_secs(20) {
                most = most.max(world.database.one::<i64>(OURS).await);
                let ready = world.ops("/readyz").await;
                assert!(since.elapsed() < Duration::from_secs(2) || ready.status == 503);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            most
        };
        let names: Vec<String> = (0..30).map(|n| format!("ok-hang-{n}")).collect();
        let asked = names.iter().map(async |name| {
            let began = Instant::now();
            let answer = world.pay(name).await;
            assert_eq!(answer.status, 503, "{}", answer.text);
            assert!(
                began.elapsed() < Duration::from_secs(13),
                "{:?}",
                began.elapsed()
            );
        });
        let read = async {
            tokio::time::sleep(Duration::from_secs(8)).await;
            let began = Instant::now();
            let answer = world.get("transactions/ok-hang-0").await;
            // What may stand on this server alone is not read back.
            assert_eq!(answer.status, 503, "{}", answer.text);
            assert!(began.elapsed() < Duration::from_secs(13));
        };
        let (most, _, ()) = tokio::join!(most, futures_util::future::join_all(asked), read);
        assert!(most <= 8, "{most} sessions");
        for name in &names {
            assert_eq!(world.twin().posts(name).await, 0, "{name}");
        }
        run_all(world, &NO_STANDBY_NEEDED).await;
        world.until_ready().await;
        world.twin().switch(json!({"webhooks": true})).await;
        for name in &names {
            eventually("it is taken", async || {
                [200, 202]
                    .contains(&world.pay(name).await.status)
                    .then_some(())
            })
            .await;
        }
        for name in &names {
            assert_eq!(world.until_final(name).await["state"], "successful");
            assert_eq!(world.twin().posts(name).await, 1, "{name}");
        }
    });
}

#[test]
fn a_commit_with_a_cancelled_wait_is_not_acknowledged() {
    with_server(Setup::default().quiet(), async |world, _| {
        world.pay("never-cancelled").await.expect(202);
        world.twin().switch(json!({"webhooks": false})).await;
        lose_the_standby(world).await;
        let made = json!({"uid": "cancel-1", "tracking_id": "never-cancelled", "amount": 3245,
            "currency": "EUR", "test": true});
        world.twin().make(made).await;
        let webhook = json!({"url": world.hook_url(), "shop": SHOP, "uid": "cancel-1"});
        // The service gives up waiting after a while as well, and may be faster: then once more.
        let mut cancelled = false;
        for _ in 0..5 {
            let cancelling = async {
                let waits = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                    WHERE wait_event = 'SyncRep' AND query = 'COMMIT'";
                loop {
                    cancelled |= world.database.all::<bool>(waits).await.contains(&true);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            let answers = tokio::select! {
                answers = world.twin().send_webhook(webhook.clone()) => answers,
                () = cancelling => Vec::new(),
            };
            assert!(
                !answers.is_empty() && !answers.contains(&200),
                "{answers:?}"
            );
            if cancelled {
                break;
            }
        }
        assert!(cancelled, "no commit was cancelled");
        // Nobody reads it back as committed, whether its commit was cut off or never begun.
        let read = world.get("transactions/never-cancelled").await;
        assert!(
            read.status == 503 || read.json["state"] != "successful",
            "{}",
            read.text
        );
        run_all(world, &NO_STANDBY_NEEDED).await;
        world.until_ready().await;
        assert_eq!(
            world.until_final("never-cancelled").await["state"],
            "successful"
        );
    });
}

#[test]
fn the_first_writable_host_is_used() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tcp = ClusterOptions {
            tcp: true,
            ..ClusterOptions::default()
        };
        let (first, first_url) = private_cluster_with(tcp).await;
        let tcp = ClusterOptions {
            tcp: true,
            ..ClusterOptions::default()
        };
        let (second, second_url) = private_cluster_with(tcp).await;
        let address = |cluster: &PostgresCluster| {
            let url = cluster.tcp_url("own").unwrap();
            url.split_once('@')
                .unwrap()
                .1
                .split_once('/')
                .unwrap()
                .0
                .to_owned()
        };
        let user = first.tcp_url("own").unwrap();
        let user = user.split_once('@').unwrap().0;
        let (one, two) = (address(&first), address(&second));
        let nobody = "127.0.0.1:1";
        let url = format!("{user}@{nobody},{one},{two}/own?target_session_attrs=read-write");
        let store = Store::connect_lazy(&url, 3).unwrap();
        store.write().await.unwrap();
        let at_first = crate::world::Database::at(first_url);
        let at_second = crate::world::Database::at(second_url);
        assert!(at_first.one::<i64>(OURS).await > 0);
        for statement in READ_ONLY {
            at_first.execute(statement).await;
        }
        eventually("the second one is found", async || {
            store.write().await.ok()?;
            (at_second.one::<i64>(OURS).await > 0).then_some(())
        })
        .await;
        store.close().await;
        drop((first, second));
    });
}
