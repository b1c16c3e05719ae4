//! Benchmark: compares the service with a plain handler and with PostgreSQL's ceilings, in one run
//! on one machine, because machines differ and are noisy.
//!
//! `make bench` runs it. It prints a table and writes `target/bench/latest.json`. Ratios are the
//! result.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a failed benchmark may panic, and the baseline is deliberately simple"
)]

mod baseline;
mod bodies;
mod burst;
mod ceilings;
mod check_policies;
mod check_policies_live;
mod database_costs;
mod environment;
mod follow;
mod growth;
mod idle;
mod load;
mod report;

use load::{LoadMode, Outcome};
use report::Report;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use testkit::postgres::PostgresCluster;

/// Size of a run.
struct RunSize {
    /// Number of open payments, and of the webhooks that finalize them.
    payments: usize,
    /// Submits per round.
    submits: usize,
    /// Rounds per side.
    rounds: usize,
    /// Connections of the load.
    connections: usize,
    /// Seconds per ceiling.
    seconds: u32,
}

/// Connections for submits with few commands per commit.
const FEW_CONNECTIONS: usize = 64;

/// Connections for webhooks at peak load.
const MANY_CONNECTIONS: usize = 512;

/// Disables checks during the measurement.
const NO_CHECKS: &str = "first_check = \"1h\"\nmax_interval = \"1h\"\nmax_interval_old = \"6h\"";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "plain") {
        baseline::serve(&arguments[1..]).expect("the plain handler");
        return;
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let quick = std::env::var("BENCH_QUICK").is_ok_and(|value| value == "1");
    let size = RunSize {
        payments: if quick { 12_000 } else { 50_000 },
        submits: if quick { 3_000 } else { 10_000 },
        rounds: if quick { 1 } else { 5 },
        connections: 256,
        seconds: if quick { 3 } else { 8 },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    // Cargo passes `--bench`. Every other argument selects a section; without one, all run.
    let sections: Vec<String> = arguments
        .into_iter()
        .filter(|word| !word.starts_with("--"))
        .collect();
    runtime.block_on(bench(&size, &sections));
}

async fn bench(size: &RunSize, sections: &[String]) {
    let named = |name: &str| sections.iter().any(|s| s == name);
    let wanted = |name: &str| sections.is_empty() || named(name);
    let cluster = environment::postgres().await;
    let gateway = environment::gateway().await;
    let mut report = Report::default();
    for name in ["empty", "open"] {
        cluster.create_database(name).await.expect("a database");
        environment::migrate(&cluster.url(name));
        execute(&cluster.url(name), baseline::SCHEMA).await;
    }
    if wanted("submit") {
        submit(&cluster, gateway, size, &mut report).await;
    }
    if ["webhook", "burst", "follow", "growth"]
        .iter()
        .any(|s| wanted(s))
        || named("alone")
    {
        seed(&cluster, gateway, 0..size.payments).await;
    }
    if wanted("follow") {
        let time = std::time::Duration::from_secs(if quick(size) { 10 } else { 30 });
        follow::run(
            &cluster,
            gateway,
            &[1_000, 10_000, 100_000],
            time,
            &mut report,
        )
        .await;
    }
    if wanted("webhook") {
        webhooks(&cluster, gateway, size, &mut report).await;
    }
    if wanted("burst") {
        let database = fresh(&cluster, "open").await;
        burst::run(&database, gateway, size.payments, &mut report).await;
    }
    if wanted("growth") {
        let histories = growth::HistorySizes {
            little: 10_000,
            much: if quick(size) { 500_000 } else { 10_000_000 },
        };
        let all = size.payments * (1 + growth::WARMING);
        seed(&cluster, gateway, size.payments..all).await;
        growth::run(&cluster, gateway, size, &histories, &mut report).await;
    }
    if named("alone") {
        alone(&cluster, gateway, size).await;
    }
    if wanted("idle") {
        let time = std::time::Duration::from_secs(if quick(size) { 20 } else { 60 });
        idle::run(&cluster, gateway, time, &mut report).await;
    }
    if wanted("small") {
        small(&cluster, gateway, &mut report).await;
    }
    // This section takes long, mostly waiting, so a quick run skips it.
    if named("poller") || (wanted("poller") && size.rounds > 1) {
        let replay = check_policies::replays();
        poll(&cluster, replay, &mut report).await;
    }
    if named("live") {
        poll(&cluster, json!(null), &mut report).await;
    }
    if named("replay") {
        check_policies::replays();
    }
    report.print();
    report.write();
}

/// Check policies: replayed, and with the real service.
async fn poll(cluster: &PostgresCluster, replay: Value, report: &mut Report) {
    let mut databases = Vec::new();
    for n in 0..check_policies_live::CELLS.len() {
        let name = format!("poller_{n}");
        cluster.create_database(&name).await.expect("a database");
        environment::migrate(&cluster.url(&name));
        databases.push(cluster.url(&name));
    }
    let live = check_policies_live::all(&databases).await;
    report.section("poller", json!({"live": live, "replay": replay}));
}

/// Returns whether this is a quick run.
const fn quick(size: &RunSize) -> bool {
    size.rounds == 1
}

async fn execute(database: &str, statements: &str) {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements.to_owned()))
        .execute(&mut connection)
        .await
        .expect("statements");
    connection.close().await.expect("the end of a connection");
}

/// Creates a fresh copy of a database and drops the previous one.
async fn fresh(cluster: &PostgresCluster, template: &str) -> String {
    cluster.drop_database("round").await.expect("no database");
    execute(&cluster.url("postgres"), "CHECKPOINT").await;
    cluster
        .create_from_template(template, "round")
        .await
        .expect("a copy");
    execute(&cluster.url("round"), "VACUUM ANALYZE").await;
    execute(&cluster.url("postgres"), "CHECKPOINT").await;
    cluster.url("round")
}

/// Submits, from POST to 202, with a gateway that responds at once: over as many connections as
/// webhooks, and over few, which leaves fewer commands per commit.
async fn submit(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    size: &RunSize,
    report: &mut Report,
) {
    let total = size.submits + size.submits / 10;
    let ours = Arc::new((0..total).map(bodies::submit).collect::<Vec<_>>());
    let theirs = Arc::new((0..total).map(bodies::plain_submit).collect::<Vec<_>>());
    let all = [size.connections, FEW_CONNECTIONS];
    let (mut service, mut plain) = ([vec![], vec![]], [vec![], vec![]]);
    let mut costs = [json!({}), json!({})];
    for _ in 0..size.rounds {
        for (n, connections) in all.into_iter().enumerate() {
            let database = fresh(cluster, "empty").await;
            let running = environment::plain(&database, gateway).await;
            let (seen, _) = submits(&database, running.at.api, &theirs, connections).await;
            plain[n].push(seen);
            drop(running);
            let database = fresh(cluster, "empty").await;
            let running = environment::service(&database, gateway, NO_CHECKS).await;
            let (seen, cost) = submits(&database, running.at.api, &ours, connections).await;
            drop(running);
            service[n].push(seen);
            costs[n] = json!({"cost": cost, "rows": database_costs::rows(&database, total).await});
        }
    }
    for (n, name) in ["submit", "submit_few"].into_iter().enumerate() {
        let mut more = costs[n].take();
        more["connections"] = json!(all[n]);
        report.sides(name, &service[n], &plain[n], more);
    }
}

/// Runs submits; the first tenth is warm-up. Returns the result of the rest and its cost in
/// PostgreSQL.
async fn submits(
    database: &str,
    at: SocketAddr,
    all: &Arc<Vec<Vec<u8>>>,
    connections: usize,
) -> (Outcome, Value) {
    let warm = all.len() / 11;
    let load = |range| {
        load::run(
            at,
            Arc::clone(all),
            range,
            connections,
            LoadMode::Closed,
            202,
        )
    };
    load(0..warm).await;
    database_costs::begin(database).await;
    let seen = load(warm..all.len()).await;
    let cost = database_costs::end(database, all.len() - warm).await;
    (seen, cost)
}

/// Fills the database `open` with payments that wait for their webhook.
async fn seed(cluster: &PostgresCluster, gateway: SocketAddr, payments: Range<usize>) {
    let url = cluster.url("open");
    let running = environment::service(&url, gateway, NO_CHECKS).await;
    let (first, last) = (payments.start, payments.end);
    let all = Arc::new(payments.map(bodies::submit).collect::<Vec<_>>());
    let every = 0..all.len();
    let outcome = load::run(running.at.api, all, every, 128, LoadMode::Closed, 202).await;
    assert!(
        outcome.unexpected.is_empty(),
        "seeding: {:?}",
        outcome.unexpected
    );
    drop(running);
    execute(
        &url,
        &format!(
            "INSERT INTO plain_transactions (tracking_id, state, task, amount, currency, request)
             SELECT 'bench-order-' || lpad(n::text, 8, '0'), 'processing', gen_random_uuid()::text, 3245,
                'EUR', repeat('x', 300) FROM generate_series({first}, {last} - 1) n"
        ),
    )
    .await;
}

/// Final webhooks of open payments, from arrival to 200: over many connections, and over half as
/// many.
async fn webhooks(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    size: &RunSize,
    report: &mut Report,
) {
    let all = Arc::new(bodies::webhooks(size.payments));
    let total = size.payments;
    let connections = [MANY_CONNECTIONS, size.connections];
    let (mut service, mut plain) = ([vec![], vec![]], [vec![], vec![]]);
    let (mut ceilings, mut costs) = ((vec![], vec![]), [json!({}), json!({})]);
    for _ in 0..size.rounds {
        let _ = fresh(cluster, "open").await;
        let one = ceilings::one(cluster, "round", total, size.seconds);
        let hundred = ceilings::hundred(cluster, "round", total, size.seconds);
        ceilings.0.push(one);
        ceilings.1.push(hundred);
        for (n, connections) in connections.into_iter().enumerate() {
            let database = fresh(cluster, "open").await;
            let running = environment::plain(&database, gateway).await;
            plain[n].push(wave(running.at.hooks, &all, connections).await);
            drop(running);
            let database = fresh(cluster, "open").await;
            let running = environment::service(&database, gateway, NO_CHECKS).await;
            database_costs::begin(&database).await;
            service[n].push(wave(running.at.hooks, &all, connections).await);
            let cost = database_costs::end(&database, total).await;
            drop(running);
            costs[n] = json!({"cost": cost, "rows": database_costs::rows(&database, total).await});
        }
    }
    let peak = report::median(service[0].iter().map(Outcome::per_second));
    let half = at_half(cluster, gateway, size, &all, peak).await;
    let one = report::median(ceilings.0.into_iter());
    let hundred = report::median(ceilings.1.into_iter());
    let mut more = costs[0].take();
    more["connections"] = json!(connections[0]);
    more["ceiling_plain_per_s"] = json!(one.round());
    more["ceiling_batched_per_s"] = json!(hundred.round());
    more["service_to_ceiling_batched"] = json!(report::ratio(peak, hundred));
    more["p50_ms_at_half"] = json!(report::median(half.iter().map(|o| o.quantile_ms(0.5))));
    more["p99_ms_at_half"] = json!(report::median(half.iter().map(|o| o.quantile_ms(0.99))));
    more["p99_ms_at_half_rounds"] = half.iter().map(|o| o.quantile_ms(0.99)).collect();
    more["unexpected_at_half"] = json!(half.iter().map(|o| o.unexpected.len()).sum::<usize>());
    more["body_bytes"] = json!(bodies::webhook_bytes());
    report.sides("webhook", &service[0], &plain[0], more);
    let mut more = costs[1].take();
    more["connections"] = json!(connections[1]);
    report.sides("webhook_few", &service[1], &plain[1], more);
}

/// Webhooks in an open loop at half of the peak rate. Repeated several times, because one disk
/// stall dominates the p99 of a run of a few seconds.
async fn at_half(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    size: &RunSize,
    all: &Arc<Vec<Vec<u8>>>,
    peak: f64,
) -> Vec<Outcome> {
    let warm = size.payments / 10;
    let mut rounds = Vec::new();
    for _ in 0..size.rounds {
        let database = fresh(cluster, "open").await;
        let running = environment::service(&database, gateway, NO_CHECKS).await;
        let load = |range| {
            let half = LoadMode::Open(peak / 2.0);
            let all = Arc::clone(all);
            load::run(running.at.hooks, all, range, size.connections, half, 200)
        };
        load(0..warm).await;
        rounds.push(load(warm..size.payments).await);
    }
    rounds
}

/// Webhooks to the service only, for a profiler. Not part of the report.
async fn alone(cluster: &PostgresCluster, gateway: SocketAddr, size: &RunSize) {
    let all = Arc::new(bodies::webhooks(size.payments));
    for _ in 0..3 {
        let database = fresh(cluster, "open").await;
        let running = environment::service(&database, gateway, NO_CHECKS).await;
        let before = running.cpu_seconds();
        let outcome = wave(running.at.hooks, &all, size.connections).await;
        let each = (running.cpu_seconds() - before) / size.payments as f64 * 1e6;
        println!(
            "alone: {:.0} webhooks/s, {each:.0} us of service CPU per webhook, p50 {:.1} ms, p99 {:.1} ms",
            outcome.per_second(),
            outcome.quantile_ms(0.5),
            outcome.quantile_ms(0.99)
        );
    }
}

/// Sends webhooks; the first tenth is warm-up.
async fn wave(at: SocketAddr, all: &Arc<Vec<Vec<u8>>>, connections: usize) -> Outcome {
    let warm = all.len() / 10;
    let load = |range| {
        load::run(
            at,
            Arc::clone(all),
            range,
            connections,
            LoadMode::Closed,
            200,
        )
    };
    load(0..warm).await;
    load(warm..all.len()).await
}

/// Measures the footprint: memory when idle, and the time from start to readiness.
async fn small(cluster: &PostgresCluster, gateway: SocketAddr, report: &mut Report) {
    let database = fresh(cluster, "empty").await;
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        let began = std::time::Instant::now();
        let running = environment::service(&database, gateway, NO_CHECKS).await;
        while load::get(running.at.ops, "/readyz").await != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        ready.push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        idle.push(running.memory_mib());
    }
    let binary = std::fs::metadata(env!("CARGO_BIN_EXE_reconciler")).expect("the binary");
    report.section(
        "small",
        json!({
            "ready_ms": report::median(ready.into_iter()).round(),
            "idle_mib": report::median(idle.into_iter()).round(),
            "binary_mib": (binary.len() as f64 / 1_048_576.0).round(),
        }),
    );
}
