//! What a quiet minute costs: statements, transactions and CPU time, with ever more shops and two
//! replicas, while nobody calls.

use crate::bodies::SHOP;
use crate::environment::{self, BenchEnvironment};
use crate::report::Report;
use crate::{database_costs, execute, load};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::postgres::PostgresCluster;

/// Numbers of shops.
const SHOPS: [usize; 3] = [1, 200, 2_000];

/// Number of replicas.
const REPLICAS: usize = 2;

/// Time before the measurement, in which sweeps that are due at the start end.
const SETTLE: Duration = Duration::from_secs(20);

/// Runs the service with each number of shops for a while.
pub async fn run(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    time: Duration,
    report: &mut Report,
) {
    let mut rows = Vec::new();
    for count in SHOPS {
        let name = format!("idle_{count}");
        cluster.create_database(&name).await.expect("a database");
        environment::migrate(&cluster.url(&name));
        rows.push(measure(cluster, &cluster.url(&name), gateway, count, time).await);
        cluster.drop_database(&name).await.expect("no database");
    }
    for row in &rows {
        println!("idle: {row}");
    }
    report.section("idle", json!(rows));
}

async fn measure(
    cluster: &PostgresCluster,
    database: &str,
    gateway: SocketAddr,
    count: usize,
    time: Duration,
) -> Value {
    let further: Vec<String> = (1..count).map(|n| format!("{}", 5_000 + n)).collect();
    assert!(!further.iter().any(|shop| shop == SHOP));
    let mut replicas: Vec<BenchEnvironment> = Vec::new();
    let mut ready_ms: f64 = 0.0;
    for _ in 0..REPLICAS {
        let began = Instant::now();
        let replica = environment::with_shops(database, gateway, "", &further).await;
        while load::get(replica.at.ops, "/readyz").await != 200 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        ready_ms = ready_ms.max(began.elapsed().as_secs_f64() * 1e3);
        replicas.push(replica);
    }
    tokio::time::sleep(SETTLE).await;
    database_costs::begin(database).await;
    let used = |replicas: &[BenchEnvironment]| -> f64 {
        replicas.iter().map(BenchEnvironment::cpu_seconds).sum()
    };
    let (ours, theirs) = (used(&replicas), environment::server_cpu_seconds(cluster));
    let transactions = committed(database).await;
    let began = Instant::now();
    tokio::time::sleep(time).await;
    let seconds = began.elapsed().as_secs_f64();
    let transactions = committed(database).await - transactions;
    let theirs = environment::server_cpu_seconds(cluster) - theirs;
    let ours = used(&replicas) - ours;
    let costs = database_costs::end(database, 1).await;
    let share = |value: f64| (value / seconds * 1e4).round() / 1e4;
    let each = REPLICAS as f64;
    json!({
        "shops": count, "replicas": REPLICAS, "seconds": seconds.round(), "ready_ms": ready_ms.round(),
        "statements_per_second_and_replica": share(costs["statements_each"].as_f64().unwrap_or(0.0) / each),
        "transactions_per_second_and_replica": share(transactions / each),
        "cpu_share_of_one_replica": share(ours / each),
        "cpu_share_of_postgresql": share(theirs),
        "memory_mib": replicas.iter().map(BenchEnvironment::memory_mib).fold(0.0, f64::max).round(),
        "statements": costs["statements"],
    })
}

async fn committed(database: &str) -> f64 {
    execute(database, "SELECT pg_stat_clear_snapshot()").await;
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let count: i64 = sqlx::query_scalar(
        "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a count");
    count as f64
}
