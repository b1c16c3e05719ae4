//! The operations listener: is it alive, is it ready, what does it measure, which build is it.
//!
//! What it deliberately cannot do: show a setting or anything about a transaction. It has no keys.

use crate::http::routes::{OPS, get_or_head, only, unknown_path};
use crate::http::{Configure, HttpContext, respond};
use crate::metrics::{REVISION, VERSION};
use crate::store::history::History;
use crate::store::migrate::{self, MigrateError};
use crate::store::{Store, StoreError};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpResponse, web};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::timeout;

/// How long the database may take to answer a readiness probe.
const READINESS_TIMEOUT: Duration = Duration::from_secs(1);

/// What the handlers of the operations listener share.
pub struct OpsContext {
    http: Arc<HttpContext>,
    store: Store,
    /// Set when the schema was found current; a schema never goes back.
    schema_is_current: AtomicBool,
}

impl OpsContext {
    /// Creates the context.
    pub fn new(http: Arc<HttpContext>, store: Store) -> Self {
        Self {
            http,
            store,
            schema_is_current: AtomicBool::new(false),
        }
    }
}

/// Returns the routes of the operations listener, with the context of their handlers.
pub fn configure(context: OpsContext) -> Configure {
    let data = web::Data::new(context);
    Arc::new(move |service| {
        let get = |path, route| only(path, &Method::GET, route);
        let [livez_path, readyz_path, metrics_path, version_path] = OPS;
        service
            .app_data(data.clone())
            .service(get(livez_path, get_or_head().to(livez)))
            .service(get(readyz_path, get_or_head().to(readyz)))
            .service(get(metrics_path, get_or_head().to(metrics)))
            .service(get(version_path, get_or_head().to(version)))
            .default_service(web::to(unknown_path));
    })
}

/// `GET /livez`: the process answers. A database that is away is no reason to be restarted.
pub(crate) async fn livez() -> HttpResponse {
    respond::json(StatusCode::OK, &json!({"status": "alive"}))
}

/// `GET /readyz`: requests can be served.
pub(crate) async fn readyz(context: web::Data<OpsContext>) -> HttpResponse {
    let mut reasons = Vec::new();
    if context.http.is_leaving() {
        reasons.push("the service is about to stop".to_owned());
    }
    reasons.extend(database(&context).await.err());
    let (status, word) = match reasons.as_slice() {
        [] => (StatusCode::OK, "ready"),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "not ready"),
    };
    respond::json(status, &json!({"status": word, "reasons": reasons}))
}

/// Ready is who can write. The schema is looked at until it has been found current: it never goes back.
async fn database(context: &OpsContext) -> Result<(), String> {
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
    let looked = timeout(READINESS_TIMEOUT, look).await;
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
pub(crate) async fn metrics(context: web::Data<OpsContext>) -> HttpResponse {
    let now = context.store.condition();
    (context.http.metrics).set_database(now.is_writable, now.is_unconfirmed, now.given_up);
    let history = context.store.history_now();
    let lookups_until = match history {
        Some(History::Restored { until, .. }) => {
            Duration::from_micros(u64::try_from(until.micros()).unwrap_or_default()).as_secs_f64()
        }
        _ => 0.0,
    };
    let is_withheld = history.is_some_and(|history| !history.is_accepted());
    context.http.metrics.set_history(is_withheld, lookups_until);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(context.http.metrics.render())
}

/// `GET /version`
pub(crate) async fn version() -> HttpResponse {
    let body = json!({"name": "reconciler", "version": VERSION, "revision": REVISION});
    respond::json(StatusCode::OK, &body)
}
