//! Control API for reading: the true state, the requests received, and the webhooks sent.

use actix_web::web::{Data, Query};
use serde_json::{Value, json};

use super::backoffice;
use super::{ControlResult, ok_response};
use crate::request_log::LogFilter;
use crate::scenario;
use crate::scenario_table::all;
use crate::server::Twin;
use crate::sign::SigningKey;

/// Returns the simulator's health and the number of its objects.
pub async fn health(twin: Data<Twin>) -> ControlResult {
    let body = twin.with(|world| {
        json!({
            "status": "ok",
            "seed": world.seed,
            "time_scale": twin.clock.scale(),
            "virtual_ms": world.now,
            "requests": world.journal.total(),
            "transactions": world.transactions.len(),
            "tasks": world.tasks.len(),
            "webhooks_waiting": world.outbox.waiting(),
        })
    });
    ok_response(body)
}

/// Returns the public keys that verify webhooks.
pub async fn keys(twin: Data<Twin>) -> ControlResult {
    let active = twin.with(|world| world.switches.signing_key);
    let shown = |name: SigningKey| json!({"public_key": name.public(), "pem": name.public_pem()});
    ok_response(json!({
        "active": active,
        "public_key": active.public(),
        "pem": active.public_pem(),
        "default": shown(SigningKey::Default),
        "rotated": shown(SigningKey::Rotated),
    }))
}

/// Returns the table of scenarios with their scripts.
pub async fn scenarios() -> ControlResult {
    let table: Vec<Value> = all()
        .map(|scenario| {
            let script = scenario::named(scenario.name);
            json!({"name": scenario.name, "about": scenario.about, "script": script})
        })
        .collect();
    ok_response(json!({"scenarios": table}))
}

/// Returns the log of requests.
pub async fn log(twin: Data<Twin>, filter: Query<LogFilter>) -> ControlResult {
    ok_response(twin.with(|world| world.journal.log(&filter)))
}

/// Returns the number of POSTs per tracking ID.
pub async fn counts(twin: Data<Twin>, filter: Query<LogFilter>) -> ControlResult {
    ok_response(twin.with(|world| world.journal.counts(&filter)))
}

/// Returns the log of webhook deliveries.
pub async fn webhooks(twin: Data<Twin>, filter: Query<LogFilter>) -> ControlResult {
    ok_response(twin.with(|world| world.outbox.log(&filter)))
}

/// Returns the tasks, newest first.
pub async fn tasks(twin: Data<Twin>, filter: Query<LogFilter>) -> ControlResult {
    let shown = twin.with(|world| {
        let mut tasks: Vec<_> = world
            .tasks
            .values()
            .filter(|task| filter.wants(Some(&*task.shop), task.tracking_id.as_deref()))
            .collect();
        tasks.sort_by_key(|task| std::cmp::Reverse(task.created));
        tasks.truncate(filter.limit.unwrap_or(1000));
        let rows = tasks.into_iter().map(|task| {
            json!({
                "request_id": task.id,
                "shop": &*task.shop,
                "operation": task.operation,
                "tracking_id": task.tracking_id,
                "created_virtual_ms": task.created,
                "state": task.word(),
            })
        });
        rows.collect::<Vec<_>>()
    });
    ok_response(json!({"tasks": shown}))
}

/// Returns all transactions, hidden ones included.
pub async fn transactions(twin: Data<Twin>, filter: Query<LogFilter>) -> ControlResult {
    let shown = twin.with(|world| {
        let mut found: Vec<_> = world
            .transactions
            .values()
            .filter(|t| filter.wants(Some(&*t.shop), t.tracking_id.as_deref()))
            .collect();
        found.sort_by(|a, b| (a.created_at, &a.uid).cmp(&(b.created_at, &b.uid)));
        let skipped = found.len().saturating_sub(filter.limit.unwrap_or(1000));
        found.drain(..skipped);
        found
            .into_iter()
            .map(|t| backoffice::to_json(world, t))
            .collect::<Vec<_>>()
    });
    ok_response(json!({"transactions": shown}))
}
