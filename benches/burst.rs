//! Burst: all webhooks at once, over more connections than the service processes. Rejected webhooks
//! are sent again, as the gateway does. At the end the database is checked for lost webhooks.

use crate::load::{self, LoadMode};
use crate::report::Report;
use crate::{NO_CHECKS, bodies, environment};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections of the burst.
const CONNECTIONS: usize = 10_000;

/// Status of a webhook that is rejected because of load.
const BUSY: u16 = 503;

/// Sends the final webhooks of `payments` open payments.
pub async fn run(database: &str, gateway: SocketAddr, payments: usize, report: &mut Report) {
    let all = Arc::new(bodies::webhooks(payments));
    let running = environment::service(database, gateway, NO_CHECKS).await;
    let at = running.at.hooks;
    let first = load::run(
        at,
        Arc::clone(&all),
        0..payments,
        CONNECTIONS,
        LoadMode::Closed,
        200,
    )
    .await;
    let busy = first.unexpected.iter().filter(|s| **s == BUSY).count();
    let other: Vec<u16> = first
        .unexpected
        .iter()
        .filter(|s| **s != BUSY)
        .copied()
        .collect();
    // A webhook that was accepted before is recognised by its content and accepted again.
    if !first.unexpected.is_empty() {
        load::run(at, Arc::clone(&all), 0..payments, 64, LoadMode::Closed, 200).await;
    }
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM transactions t WHERE state = 'successful' AND EXISTS (SELECT 1 FROM evidence e
            WHERE e.shop_id = t.shop_id AND e.transaction_id = t.id AND e.channel = 'webhook')",
    )
    .fetch_one(&mut connection)
    .await
    .expect("a count");
    report.section(
        "burst",
        json!({
            "webhooks": payments, "connections": CONNECTIONS,
            "taken_per_s": first.per_second().round(),
            "refused_by_back_pressure": busy,
            "refused_otherwise": other.len(),
            "statuses_otherwise": other.iter().take(5).collect::<Vec<_>>(),
            "p99_ms": first.quantile_ms(0.99),
            "lost": payments as i64 - ended,
        }),
    );
}
