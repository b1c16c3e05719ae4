//! The real service against the twin, whose tasks run for exponentially distributed times: what the
//! replay says of it has to come out here as well.

use crate::bodies::{KEY, SECRET, SHOP};
use crate::ground::{self, Running};
use crate::poller::Outcome;
use reconciler::twin::{Delay, Settings, Switches};
use serde_json::{Map, Value, json};
use sqlx::{Connection, PgConnection};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tokio::sync::oneshot;

/// Payments that count, and those before them; so many a second.
const PAYMENTS: usize = 600;
const WARM_UP: usize = 200;
const PER_SECOND: u32 = 20;

/// The mean of the twin's tasks, in seconds; also in the replay's table.
const MEAN: f64 = 1.5;

async fn twin() -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let settings = Settings {
        shops: [(SHOP.to_owned(), SECRET.to_owned())].into(),
        workers: 1,
        switches: Switches {
            task_delay: Delay::Exponential { mean: MEAN },
            ..Switches::default()
        },
        ..Settings::default()
    };
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(reconciler::twin::run(listener, settings, async {
        let _ = stopped.await;
    }));
    (address, stop)
}

/// Pays at a steady rate, and waits until all have ended.
async fn pay(running: &Running, names: &[String], database: &str) {
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
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    loop {
        let open = "SELECT count(*) FROM transactions WHERE finalized_at IS NULL";
        let open: i64 = sqlx::query_scalar(open)
            .fetch_one(&mut connection)
            .await
            .expect("a count");
        if open == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// All requests to the gateway so far, beside submits.
async fn asked(running: &Running) -> f64 {
    let url = format!("http://{}/metrics", running.at.ops);
    let text = reqwest::get(url)
        .await
        .expect("metrics")
        .text()
        .await
        .expect("text");
    text.lines()
        .filter(|line| line.starts_with("reconciler_gateway_requests_total{"))
        .filter(|line| !line.contains("operation=\"submit\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// How long after the gateway's end ours came, in seconds.
async fn delays(database: &str, prefix: &str) -> Vec<f64> {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let sql = "SELECT extract(epoch FROM finalized_at)::float8
            - (summary::json->'ca'->uid->'l'->>'ua')::float8 / 1e6
        FROM transactions WHERE tracking_id ~ $1";
    sqlx::query_scalar(sql)
        .bind(format!("-{prefix}-"))
        .fetch_all(&mut connection)
        .await
        .expect("delays")
}

async fn live(database: &str, loss: usize) -> Outcome {
    let (gateway, _stop) = twin().await;
    let running = ground::service(database, gateway, "").await;
    let names = |prefix: &str, count: usize| -> Vec<String> {
        (0..count)
            .map(|n| {
                let lost = n % 100 * 7 % 100 < loss;
                format!("{}-{prefix}-{n:05}", if lost { "nohook" } else { "ok" })
            })
            .collect()
    };
    pay(&running, &names("first", WARM_UP), database).await;
    let before = asked(&running).await;
    pay(&running, &names("then", PAYMENTS), database).await;
    let requests = asked(&running).await - before;
    Outcome::of(requests, delays(database, "then").await)
}

/// Every share of lost webhooks, each on a database of its own.
pub async fn all(databases: &[(usize, String)]) -> Value {
    let mut all = Map::new();
    println!("\nthe service against the twin, tasks exponential with a mean of {MEAN} s");
    for (loss, database) in databases {
        let o = live(database, *loss).await;
        println!(
            "live        {loss:>4} %  learned        {:7.3} requests  p50 {:7.2} s  p99 {:7.2} s",
            o.requests, o.p50, o.p99
        );
        all.insert(format!("webhooks_lost_{loss}_percent"), o.json());
    }
    Value::Object(all)
}
