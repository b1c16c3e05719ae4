//! PostgreSQL fails, or is blocked.

use crate::chaos::{Case, CaseParameters};
use crate::world::{eventually, eventually_within, private_cluster_with};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Connection, Executor};
use std::time::Duration;
use testkit::postgres::{ClusterOptions, PostgresCluster, StopMode};
use tokio::time::Instant;

/// Runs a case on a private server.
fn with_server(name: &'static str, fault: impl AsyncFnOnce(&mut Case<'_>, &mut PostgresCluster)) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = ClusterOptions {
        max_connections: 40,
        ..ClusterOptions::default()
    };
    let (mut cluster, url) = runtime.block_on(private_cluster_with(options));
    let mut plan = CaseParameters::new(name);
    plan.setup = plan.setup.database(&url);
    plan.run(async |case| fault(case, &mut cluster).await);
}

fn away(name: &'static str, mode: StopMode) {
    with_server(name, async |case, cluster| {
        cluster.stop(mode).unwrap();
        case.outage().await;
        assert_eq!(case.merchants[0].readiness().await, Some(503));
        cluster.resume().unwrap();
    });
}

#[test]
fn postgresql_is_stopped_fast() {
    away("PostgreSQL is stopped (fast) for a time", StopMode::Fast);
}

#[test]
fn postgresql_is_stopped_immediately() {
    away(
        "PostgreSQL is stopped (immediate) for a time",
        StopMode::Immediate,
    );
}

#[test]
fn postgresql_is_restarted_repeatedly() {
    let name = "PostgreSQL is restarted (immediate) repeatedly";
    with_server(name, async |case, cluster| {
        for _ in 0..case.scale.rounds {
            tokio::time::sleep(Duration::from_millis(rand::random_range(50..800))).await;
            cluster.restart(StopMode::Immediate).unwrap();
        }
    });
}

#[test]
fn backends_are_terminated_one_by_one() {
    CaseParameters::new("PostgreSQL backends are terminated one by one").run(async |case| {
        let until = Instant::now() + case.scale.outage;
        let mut ended = 0;
        while Instant::now() < until {
            ended += case
                .world
                .database
                .execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                     WHERE datname = current_database() AND application_name = 'reconciler'
                     ORDER BY random() LIMIT 1",
                )
                .await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        assert!(ended > 10, "only {ended} backends were terminated");
    });
}

#[test]
fn another_client_uses_all_connections() {
    let name = "another client takes all PostgreSQL connections";
    with_server(name, async |case, cluster| {
        let url = cluster.url("own");
        let until = Instant::now() + case.scale.outage + Duration::from_secs(1);
        let mut taken: Vec<PgConnection> = Vec::new();
        let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                      WHERE application_name = 'reconciler'";
        let mut refused = 0;
        while Instant::now() < until {
            // Takes every connection that the service releases.
            match PgConnection::connect(&url).await {
                Ok(mut connection) => {
                    let _ = connection.execute(others).await;
                    taken.push(connection);
                }
                Err(_) => refused += 1,
            }
            if refused > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert!(refused > 0, "{} taken", taken.len());
        // The service may have taken the last connections first; they are taken too.
        eventually("nothing is left for the service", async || {
            let first = taken.first_mut().expect("one is taken");
            let _ = first.execute(others).await;
            taken.extend(PgConnection::connect(&url).await.ok());
            (case.merchants[0].readiness().await == Some(503)).then_some(())
        })
        .await;
        assert!(taken.len() >= 30, "{} taken", taken.len());
    });
}

/// Holds these locks in an abandoned transaction.
async fn forgotten(case: &mut Case<'_>, locks: &'static str) {
    let pool: &PgPool = &case.world.database.pool;
    let mut forgotten = pool.begin().await.unwrap();
    // The feed counter exists once the feed has an event.
    let held = eventually("there is something to hold", async || {
        let done = sqlx::query(locks).execute(&mut *forgotten).await.unwrap();
        (done.rows_affected() > 0 || locks.starts_with("LOCK")).then_some(())
    });
    held.await;
    case.outage().await;
    // Checks that the service waits for the locks.
    let waiting = "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                   WHERE a.datname = current_database() AND NOT l.granted";
    let what = "the service waits for the locks";
    let waits = eventually_within(case.scale.outage * 2, async || {
        (case.world.database.one::<i64>(waiting).await > 0).then_some(())
    });
    let Some(()) = waits.await else {
        let doing = "SELECT pid || ' ' || state || ' ' || coalesce(wait_event, '-') || ' ' || query
                     FROM pg_stat_activity WHERE datname = current_database()";
        panic!(
            "{what}: {:#?}",
            case.world.database.all::<String>(doing).await
        );
    };
    forgotten.rollback().await.unwrap();
}

#[test]
fn an_abandoned_transaction_locks_open_rows() {
    CaseParameters::new("an abandoned transaction locks the rows of all open transactions").run(
        async |case| {
            let locks = "SELECT FROM transactions WHERE finalized_at IS NULL FOR UPDATE";
            forgotten(case, locks).await;
        },
    );
}

#[test]
fn an_abandoned_transaction_locks_the_feed_counter() {
    CaseParameters::new("an abandoned transaction locks the feed counter").run(async |case| {
        forgotten(case, "SELECT FROM shop_feeds FOR UPDATE").await;
    });
}

#[test]
fn a_migration_locks_the_tables() {
    CaseParameters::new("a migration locks the tables (ACCESS EXCLUSIVE)").run(async |case| {
        let locks = "LOCK TABLE due_checks, evidence, events IN ACCESS EXCLUSIVE MODE";
        forgotten(case, locks).await;
    });
}
