//! The danger: a pooler between the service and PostgreSQL that loses what the service relies on, and
//! that is found out by payments.

use crate::cli::reconciler;
use crate::world::{Pooler, Process, Setup, World, private_cluster};
use testkit::postgres::PostgresCluster;

/// A world whose service goes to a server of the test's own through a pooler; it does not run yet.
fn behind(
    mode: &str,
    prepared_statements: u32,
    test: impl AsyncFnOnce(&World, &mut Pooler, &mut PostgresCluster),
) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut cluster, url) = runtime.block_on(private_cluster());
    let mut pooler = Pooler::in_mode(cluster.socket_dir(), mode, prepared_statements);
    Setup::default()
        .database(&url)
        .database_by_way_of(&pooler.url("own"))
        .service_down()
        .run(async |world| test(world, &mut pooler, &mut cluster).await);
}

fn start(world: &World) -> Process {
    Process::start(&world.config_text(&world.addresses()), &world.addresses())
}

async fn refuses(mut process: Process, text: &str) {
    let status = process.ended().await;
    let log = process.log();
    assert!(!status.success() && log.contains(text), "{status} {log}");
}

const FORGETS: &str = "set max_prepared_statements = 200";
const BY_INDEX: &str = "SET enable_seqscan = off";

#[test]
fn one_that_forgets_prepared_statements_is_refused_at_the_start() {
    behind("transaction", 0, async |world, _, _| {
        refuses(start(world), FORGETS).await;
        // Each start finds what the last one left behind.
        refuses(start(world), FORGETS).await;
    });
}

#[test]
fn it_is_refused_in_use_too() {
    behind("transaction", 0, async |world, pooler, _| {
        let clients: Vec<_> = (0..4)
            .map(|_| crate::world::Database::at(pooler.url("own")))
            .collect();
        for client in &clients {
            // Some of these fail: that is what it is refused for.
            let _ = sqlx::query("SELECT 1").execute(&client.pool).await;
        }
        refuses(start(world), FORGETS).await;
    });
}

#[test]
fn one_that_refuses_transactions_is_refused_at_the_start() {
    behind("statement", 200, async |world, _, _| {
        refuses(start(world), "set pool_mode = transaction").await;
    });
}

#[test]
fn one_that_was_down_at_the_start_is_refused_when_it_is_up() {
    behind("transaction", 0, async |world, pooler, _| {
        pooler.kill();
        let mut process = start(world);
        let log = async || {
            process
                .log()
                .contains("database not available yet")
                .then_some(())
        };
        crate::world::eventually("the service waits for it", log).await;
        assert!(process.has_ended().is_none());
        pooler.restart();
        refuses(process, FORGETS).await;
    });
}

#[test]
fn one_with_sessions_of_their_own_will_do_in_any_version() {
    behind("session", 0, async |world, _, _| {
        let process = world.process().await;
        world.pay_and_wait("ok-session").await.expect(200);
        assert!(!process.log().contains("pooler"), "{}", process.log());
        reconciler(world, &["migrate"]).await.expect_success();
    });
}

#[test]
fn a_pooler_with_prepared_statements_is_suitable() {
    behind("transaction", 200, async |world, _, _| {
        let process = world.process().await;
        world.pay_and_wait("ok-shared").await.expect(200);
        assert!(process.log().contains(BY_INDEX), "{}", process.log());
        // Nothing was set where others might meet it.
        let set =
            "SELECT count(*) FROM pg_settings WHERE name = 'enable_seqscan' AND setting = 'off'";
        for _ in 0..10 {
            let off: i64 = world.database.one(set).await;
            assert_eq!(off, 0);
        }
        drop(process);
        let role = "ALTER ROLE CURRENT_USER IN DATABASE own SET enable_seqscan = off";
        world.database.execute(role).await;
        let told =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()";
        world.database.execute(told).await;
        let process = world.process().await;
        world.pay_and_wait("ok-planned").await.expect(200);
        assert!(!process.log().contains(BY_INDEX), "{}", process.log());
    });
}

#[test]
fn migrations_do_not_go_through_one_that_shares_connections() {
    for prepared_statements in [0, 200] {
        behind("transaction", prepared_statements, async |world, _, _| {
            reconciler(world, &["migrate"])
                .await
                .expect_failure("database.migrate_url");
        });
    }
}
