//! Confirms the replayed results with the real service and the simulator.
//!
//! Requests before the final state is known and rechecks after it are told apart by the simulator's
//! log. Every third payment is declined: a failure is final once a signed webhook has reported it
//! and a read of our own task, made at once, has confirmed it.

use crate::bodies::{KEY, SECRET, SHOP};
use crate::check_policies::Outcome;
use crate::environment::{self, BenchEnvironment};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::oneshot;
use twin::{BehaviourSwitches, Delay, TwinSettings};

/// Number of measured payments, of warm-up payments, and of payments per second.
const PAYMENTS: usize = 400;
const WARM_UP: usize = 200;
const PER_SECOND: u32 = 20;

/// Rechecks follow soon enough to be counted. There are two if none is skipped.
const FOLLOW: &str = "recheck_after_final = [\"4s\", \"8s\"]";

/// Task duration and percentage of lost webhooks of each cell.
pub const CELLS: [(&str, Delay, usize); 5] = [
    ("exponential", Delay::Exponential { mean: 1.5 }, 0),
    ("exponential", Delay::Exponential { mean: 1.5 }, 10),
    ("exponential", Delay::Exponential { mean: 1.5 }, 100),
    ("slow", Delay::Fixed { seconds: 8.0 }, 10),
    (
        "bimodal",
        Delay::Bimodal {
            fast: 1.5,
            slow: 10.0,
            slow_share: 0.3,
        },
        10,
    ),
];

async fn twin(task_delay: Delay) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = TwinSettings {
        shops: [(SHOP.to_owned(), SECRET.to_owned())].into(),
        workers: 1,
        log_size: 1_000_000,
        switches: BehaviourSwitches {
            task_delay,
            ..BehaviourSwitches::default()
        },
        ..TwinSettings::default()
    };
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(twin::run(listener, settings, async {
        let _ = stopped.await;
    }));
    (address, stop)
}

/// Sends payments at a steady rate and waits until all are final.
async fn pay(running: &BenchEnvironment, names: &[String], database: &mut PgConnection) {
    let client = reqwest::Client::new();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut sent = Vec::new();
    for name in names {
        ticks.tick().await;
        let token = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes());
        let body = json!({"amount": 3245, "currency": "EUR", "description": "Order",
            "tracking_id": name, "test": true, "credit_card": {"token": token}});
        let url = format!("http://{}/v1/shops/{SHOP}/payments", running.at.api);
        let request = client
            .post(url)
            .bearer_auth(KEY)
            .header("content-type", "application/json");
        sent.push(tokio::spawn(request.body(body.to_string()).send()));
    }
    for answer in sent {
        let answer = answer.await.expect("a task").expect("an answer");
        assert!(answer.status().is_success(), "{}", answer.status());
    }
    let open = "SELECT count(*) FROM transactions WHERE finalized_at IS NULL";
    until_none(database, open).await;
}

async fn until_none(database: &mut PgConnection, count: &'static str) {
    loop {
        let left: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *database)
            .await
            .expect("a count");
        if left == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Returns when each final state became known, and the delay after the gateway's final state in
/// seconds.
async fn ends(database: &mut PgConnection, prefix: &str) -> HashMap<String, (OffsetDateTime, f64)> {
    let sql = "SELECT tracking_id, finalized_at, extract(epoch FROM finalized_at)::float8
            - (summary::json->'ca'->uid->'l'->>'ua')::float8 / 1e6
        FROM transactions WHERE tracking_id ~ $1";
    let rows: Vec<(String, OffsetDateTime, f64)> = sqlx::query_as(sql)
        .bind(format!("-{prefix}-"))
        .fetch_all(database)
        .await
        .expect("ends");
    let each = rows.into_iter();
    each.map(|(name, at, delay)| (name, (at, delay))).collect()
}

/// Returns the number of requests about these payments, without submits: until the final state is
/// known, and after it.
async fn asked(gateway: SocketAddr, ends: &HashMap<String, (OffsetDateTime, f64)>) -> (f64, f64) {
    let (mut until, mut after) = (0.0, 0.0);
    for operation in ["task", "lookup"] {
        let url = format!("http://{gateway}/_twin/log?operation={operation}");
        let log = reqwest::get(url).await.expect("the log").text().await;
        let log: Value = serde_json::from_str(&log.expect("text")).expect("JSON");
        for request in log["requests"].as_array().expect("requests") {
            let name = request["tracking_id"].as_str().unwrap_or_default();
            let Some((end, _)) = ends.get(name) else {
                continue;
            };
            let at = request["at"].as_str().expect("a time");
            let at = OffsetDateTime::parse(at, &Rfc3339).expect("a time");
            *(if at <= *end { &mut until } else { &mut after }) += 1.0;
        }
    }
    (until, after)
}

/// Result of one cell.
struct Live {
    successes: Outcome,
    declines: Outcome,
    /// Rechecks per payment.
    after: f64,
}

/// Returns the tracking ID: every third payment is declined, and `loss` percent of the webhooks are
/// lost.
fn name(n: usize, prefix: &str, loss: usize) -> String {
    let scenario = match (n % 3 == 2, n % 100 * 7 % 100 < loss) {
        (false, false) => "ok",
        (false, true) => "nohook",
        (true, false) => "decline",
        (true, true) => "decline.nohook",
    };
    format!("{scenario}-{prefix}-{n:05}")
}

async fn live(database: &str, delay: Delay, loss: usize) -> Live {
    let (gateway, _stop) = twin(delay).await;
    let running = environment::service(database, gateway, FOLLOW).await;
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let names = |prefix: &str, count: usize| -> Vec<String> {
        (0..count).map(|n| name(n, prefix, loss)).collect()
    };
    pay(&running, &names("first", WARM_UP), &mut connection).await;
    pay(&running, &names("then", PAYMENTS), &mut connection).await;
    until_none(&mut connection, "SELECT count(*) FROM due_checks").await;
    let ends = ends(&mut connection, "then").await;
    let (declines, successes): (HashMap<_, _>, HashMap<_, _>) = ends
        .into_iter()
        .partition(|(name, _)| name.starts_with("decline"));
    let (until_declined, after_declines) = asked(gateway, &declines).await;
    let (until_paid, after_successes) = asked(gateway, &successes).await;
    let outcome = |until: f64, ends: &HashMap<String, (OffsetDateTime, f64)>| {
        Outcome::of(until, ends.values().map(|(_, delay)| *delay).collect())
    };
    Live {
        successes: outcome(until_paid, &successes),
        declines: outcome(until_declined, &declines),
        after: (after_declines + after_successes) / (declines.len() + successes.len()) as f64,
    }
}

/// Runs every cell, each on its own database.
pub async fn all(databases: &[String]) -> Value {
    let mut all = Vec::new();
    println!("\nservice with simulator");
    for ((name, delay, loss), database) in CELLS.iter().zip(databases) {
        let live = live(database, *delay, *loss).await;
        for (what, outcome) in [("successes", &live.successes), ("declines", &live.declines)] {
            println!(
                "{name:11} {loss:>4} %  {what:14} {:7.3} requests  p50 {:7.3} s  p99 {:7.3} s",
                outcome.requests, outcome.p50, outcome.p99
            );
        }
        println!(
            "{name:11} {loss:>4} %  {:.3} requests after the final state",
            live.after
        );
        let after = (live.after * 1_000.0).round() / 1_000.0;
        all.push(json!({"tasks": name, "webhooks_lost_percent": loss,
            "until_the_end": live.successes.json(), "declines": live.declines.json(),
            "requests_after_the_end": after}));
    }
    Value::Array(all)
}
