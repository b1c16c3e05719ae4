//! The operations listener: is it alive, is it ready, what does it measure, which build is it.
//!
//! What it deliberately cannot do: show a setting or anything about a transaction. It has no keys.

use crate::http::context::Context;
use crate::http::reply;
use crate::metrics::{REVISION, VERSION};
use crate::store::StoreError;
use crate::store::history::History;
use crate::store::migrate::{self, MigrateError};
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde_json::json;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long the database may take to answer a readiness probe.
const PATIENCE: Duration = Duration::from_secs(1);

/// `GET /livez`: the process answers. A database that is away is no reason to be restarted.
pub(crate) async fn livez() -> HttpResponse {
    reply::json(StatusCode::OK, &json!({"status": "alive"}))
}

/// `GET /readyz`: requests can be served.
pub(crate) async fn readyz(context: web::Data<Context>) -> HttpResponse {
    let mut reasons = Vec::new();
    if context.is_leaving() {
        reasons.push("the service is about to stop".to_owned());
    }
    reasons.extend(database(&context).await.err());
    let (status, word) = match reasons.as_slice() {
        [] => (StatusCode::OK, "ready"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    reply::json(status, &json!({"status": word, "reasons": reasons}))
}

/// Ready is who can write. The schema is looked at until it has been found current: it never goes back.
async fn database(context: &Context) -> Result<(), String> {
    let (store, is_current) = (context.store.clone(), &context.schema_is_current);
    let is_current = is_current.load(Ordering::Relaxed);
    // A look at the database that takes longer than a probe waits goes on: else who is only probed never finds
    // the next host.
    let look = tokio::spawn(async move {
        if !is_current {
            migrate::check(&store).await?;
        }
        store.write().await.map_err(MigrateError::from)
    });
    let looked = timeout(PATIENCE, look).await;
    match looked.map(|done| {
        done.unwrap_or(Err(MigrateError::Store(StoreError::Unavailable(
            sqlx::Error::WorkerCrashed,
        ))))
    }) {
        Ok(Ok(())) => {
            context.schema_is_current.store(true, Ordering::Relaxed);
            Ok(())
        }
        Ok(Err(error @ MigrateError::Behind(_))) => Err(error.to_string()),
        Ok(Err(MigrateError::Store(error))) => Err(error.outside().to_owned()),
        Ok(Err(MigrateError::Failed(_))) => Err("the database cannot be reached".to_owned()),
        Err(_) => Err("the database did not confirm a write within a second".to_owned()),
    }
}

/// `GET /metrics`
pub(crate) async fn metrics(context: web::Data<Context>) -> HttpResponse {
    let now = context.store.condition();
    (context.metrics).set_database(now.is_writable, now.is_unconfirmed, now.given_up);
    let history = context.store.history_now();
    let lookups_until = match history {
        Some(History::Restored { until, .. }) => {
            Duration::from_micros(u64::try_from(until.micros()).unwrap_or_default()).as_secs_f64()
        }
        _ => 0.0,
    };
    let is_withheld = history.is_some_and(|history| !history.is_accepted());
    context.metrics.set_history(is_withheld, lookups_until);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(context.metrics.render())
}

/// `GET /version`
pub(crate) async fn version() -> HttpResponse {
    let body = json!({"name": "reconciler", "version": VERSION, "revision": REVISION});
    reply::json(StatusCode::OK, &body)
}
