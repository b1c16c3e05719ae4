//! Routes of the REST API.

use crate::api::context::ApiContext;
use crate::api::deadline::in_time;
use crate::api::idempotency::collection;
use crate::api::{create, discrepancies, events, openapi, operator, queries, transactions};
use crate::http::Configure;
use crate::http::routes::{get_or_head, only, unknown_path};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{Route, web};
use domain::TransactionType;
use std::sync::Arc;

const TRANSACTIONS: &str = "/v1/shops/{shop}/transactions";
const DISCREPANCIES: &str = "/v1/shops/{shop}/discrepancies";

/// One route of the REST API.
pub(crate) struct ApiRoute {
    pub(crate) method: Method,
    pub(crate) path: String,
    route: Route,
}

/// All routes of the REST API; the document of the API is compared with them.
pub(crate) fn api() -> Vec<ApiRoute> {
    let one = |method: Method, path: String, route: Route| ApiRoute {
        method,
        path,
        route,
    };
    let read = |path: &str, route| one(Method::GET, path.to_owned(), route);
    let post = |path: &str, route| one(Method::POST, path.to_owned(), route);
    let named = |rest: &str| format!("{TRANSACTIONS}/{{tracking_id}}{rest}");
    let resolve = format!("{DISCREPANCIES}/{{id}}/resolve");
    // The router asks each in turn whether it fits: what money waits for comes first.
    let mut all = Vec::new();
    for kind in TransactionType::ALL.iter().copied() {
        let take = move |context, req, payload| create::create(kind, context, req, payload);
        let path = format!("/v1/shops/{{shop}}/{}", collection(kind));
        all.push(one(Method::POST, path, web::post().to(take)));
    }
    all.extend([
        read(TRANSACTIONS, web::get().to(transactions::list)),
        read(&named(""), web::get().to(transactions::get)),
        read(&named("/evidence"), web::get().to(transactions::evidence)),
        read(&named("/explain"), web::get().to(transactions::explain)),
        post(&named("/check"), web::post().to(operator::check)),
        post(&named("/resolve"), web::post().to(operator::resolve)),
        post("/v1/shops/{shop}/pause", web::post().to(operator::pause)),
        post("/v1/shops/{shop}/resume", web::post().to(operator::resume)),
        read("/v1/shops/{shop}/events", web::get().to(events::list)),
        read(DISCREPANCIES, web::get().to(discrepancies::list)),
        post(&resolve, web::post().to(discrepancies::resolve)),
        post(
            "/v1/shops/{shop}/queries/status",
            web::post().to(queries::status),
        ),
        post(
            "/v1/shops/{shop}/queries/balance",
            web::post().to(queries::balance),
        ),
        read("/openapi.json", get_or_head().to(openapi::served)),
        read("/docs", get_or_head().to(openapi::page)),
        read("/docs/{file}", web::get().to(openapi::asset)),
    ]);
    all
}

/// Returns the routes of the REST API, with the context of their handlers.
pub fn configure(context: ApiContext) -> Configure {
    let data = web::Data::new(context);
    Arc::new(move |service| {
        service.app_data(data.clone());
        register(service);
    })
}

/// Registers the routes of the REST API.
fn register(service: &mut web::ServiceConfig) {
    for ApiRoute {
        method,
        path,
        route,
    } in api()
    {
        service.service(only(&path, &method, route).wrap(from_fn(in_time)));
    }
    service.default_service(web::to(unknown_path));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::http::access_log::observe;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, http::StatusCode};
    use serde_json::Value;

    #[actix_web::test]
    async fn unknown_paths_and_wrong_methods_are_problems() {
        let app = init_service(App::new().wrap(from_fn(observe)).configure(register)).await;
        let ask = |request: TestRequest| call_service(&app, request.to_request());
        let response = ask(TestRequest::get().uri("/v1/shops/1/nothing")).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert!(response.headers().contains_key("x-request-id"));
        let body: Value = read_body_json(response).await;
        assert_eq!(body["type"], "urn:reconciler:problem:not-found");
        assert!(body["request_id"].is_string());
        let response = ask(TestRequest::delete().uri("/v1/shops/1/payments")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers().get("allow").unwrap(), "POST");
        let body: Value = read_body_json(response).await;
        assert_eq!(body["type"], "urn:reconciler:problem:method-not-allowed");
    }
}
