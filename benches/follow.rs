//! Following: many open transactions in one process, each checked once per round. The rate of
//! checks is the same for few and for many transactions, so that the cost per check is comparable.

use crate::report::Report;
use crate::{database_costs, environment, fresh, load};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::postgres::PostgresCluster;

/// Number of shops.
const SHOPS: usize = 20;

/// Checks per second, over all shops.
const RATE: usize = 1_500;

/// Spreads checks that became due during a long preparation.
const FROM_NOW_ON: &str = "UPDATE due_checks SET due_at = due_at + (now() + interval '3 seconds'
    - (SELECT min(due_at) FROM due_checks))";

/// Measures with each number of open transactions.
pub async fn run(
    cluster: &PostgresCluster,
    gateway: SocketAddr,
    counts: &[usize],
    measured: Duration,
    report: &mut Report,
) {
    let mut section = json!({"checks_per_s_wanted": RATE, "shops": SHOPS});
    for count in counts {
        let database = fresh(cluster, "open").await;
        let one = one(&database, gateway, *count, measured).await;
        section[format!("open_{count}")] = one;
    }
    report.section("follow", section);
}

/// Measures with `count` open transactions, which replace those in the database.
pub async fn one(database: &str, gateway: SocketAddr, count: usize, measured: Duration) -> Value {
    let seconds = count as f64 / RATE as f64;
    crate::execute(database, &spread(count, seconds)).await;
    crate::execute(database, "VACUUM ANALYZE").await;
    crate::execute(database, FROM_NOW_ON).await;
    crate::execute(database, "VACUUM ANALYZE due_checks").await;
    let follow = format!(
        "first_check = \"{ms}ms\"\nmax_interval = \"{ms}ms\"\nmax_interval_old = \"{ms}ms\"",
        ms = (seconds * 1e3).round()
    );
    let shops: Vec<String> = (0..SHOPS).map(|n| format!("bench-{n}")).collect();
    let running = environment::with_shops(database, gateway, &follow, &shops).await;
    // The first check of each transaction reads new information; later checks read nothing new.
    tokio::time::sleep(Duration::from_secs_f64(5.0 + seconds)).await;
    database_costs::begin(database).await;
    let (began, cpu, asked) = (
        Instant::now(),
        running.cpu_seconds(),
        checks(&running).await,
    );
    let (mut lags, mut memory) = (Vec::new(), 0.0_f64);
    while began.elapsed() < measured {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let metrics = load::text(running.at.ops, "/metrics").await;
        lags.push(value(&metrics, "reconciler_check_lag_seconds"));
        memory = memory.max(running.memory_mib());
    }
    let took = began.elapsed().as_secs_f64();
    let made = checks(&running).await - asked;
    let cpu = running.cpu_seconds() - cpu;
    let cost = database_costs::end(database, made as usize).await;
    lags.sort_by(f64::total_cmp);
    let p99 = lags[(lags.len() - 1) * 99 / 100];
    json!({
        "checks_per_s": (made / took).round(),
        "lag_p99_s": (p99 * 1e3).round() / 1e3,
        "service_cpu_us_per_check": (cpu / made * 1e6).round(),
        "memory_mib": memory.round(),
        "cost": cost,
    })
}

/// Returns SQL that creates `count` copies of an open transaction, spread over the shops and over
/// the time of a round. As with the service, ids contain the creation time, so transactions created
/// together are checked together.
fn spread(count: usize, seconds: f64) -> String {
    format!(
        "CREATE TEMP TABLE one AS SELECT * FROM transactions WHERE state = 'processing' LIMIT 1;
         CREATE TEMP TABLE two AS SELECT d.* FROM due_checks d JOIN one ON one.id = d.transaction_id;
         DELETE FROM due_checks;
         CREATE TEMP TABLE many AS SELECT n, (lpad(to_hex(1700000000000 + n), 12, '0') || '7'
                || left(md5(n::text), 3) || '8' || right(md5(n::text), 15))::uuid AS id,
            'bench-' || n % {SHOPS} AS shop FROM generate_series(1, {count}) n;
         INSERT INTO transactions SELECT (jsonb_populate_record(one, jsonb_build_object('id', m.id,
            'shop_id', m.shop, 'tracking_id', 'open-' || m.n))).* FROM one, many m;
         INSERT INTO due_checks SELECT (jsonb_populate_record(two, jsonb_build_object('transaction_id', m.id,
            'shop_id', m.shop, 'due_at', now() + make_interval(secs => {seconds} * m.n / {count})))).*
            FROM two, many m"
    )
}

async fn checks(running: &environment::BenchEnvironment) -> f64 {
    let metrics = load::text(running.at.ops, "/metrics").await;
    metrics
        .lines()
        .filter(|line| {
            line.starts_with("reconciler_gateway_requests_total") && line.contains("task_result")
        })
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

fn value(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}
