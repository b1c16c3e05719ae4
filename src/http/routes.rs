//! Which path leads to which handler. A path that is not listed here is 404, and one that is asked
//! with another method 405, both as problem documents.

use crate::http::deadline::in_time;
use crate::http::idempotency::collection;
use crate::http::problem::{Kind, Problem};
use crate::http::{create, discrepancies, events, openapi, operate, ops};
use crate::http::{queries, transactions, webhooks};
use actix_web::http::{Method, header};
use actix_web::middleware::from_fn;
use actix_web::{HttpRequest, Resource, Route, guard, web};
use domain::TransactionType;

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
        post(&named("/check"), web::post().to(operate::check)),
        post(&named("/resolve"), web::post().to(operate::resolve)),
        post("/v1/shops/{shop}/pause", web::post().to(operate::pause)),
        post("/v1/shops/{shop}/resume", web::post().to(operate::resume)),
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

/// Registers the routes of the REST API.
pub fn configure_api(service: &mut web::ServiceConfig) {
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

/// What the webhook listener takes by POST.
pub(crate) const WEBHOOK: &str = "/webhooks/{shop}";

/// The same with a slash behind it, which people write.
const WEBHOOK_SLASH: &str = "/webhooks/{shop}/";

/// What the operations listener answers GET at.
pub(crate) const OPS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/version"];

/// The routes of the webhook listener.
pub fn configure_webhooks(service: &mut web::ServiceConfig) {
    service
        .service(post(WEBHOOK, web::post().to(webhooks::receive)))
        .service(post(WEBHOOK_SLASH, web::post().to(webhooks::receive)))
        .default_service(web::to(webhooks::unknown_path));
}

/// The routes of the operations listener.
pub fn configure_ops(service: &mut web::ServiceConfig) {
    let [livez, readyz, metrics, version] = OPS;
    service
        .service(get(livez, get_or_head().to(ops::livez)))
        .service(get(readyz, get_or_head().to(ops::readyz)))
        .service(get(metrics, get_or_head().to(ops::metrics)))
        .service(get(version, get_or_head().to(ops::version)))
        .default_service(web::to(unknown_path));
}

/// A HEAD is answered as the GET would be, without the body.
fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn get(path: &str, route: Route) -> Resource {
    only(path, &Method::GET, route)
}

fn post(path: &str, route: Route) -> Resource {
    only(path, &Method::POST, route)
}

/// A resource that takes one method.
fn only(path: &str, method: &Method, route: Route) -> Resource {
    let allowed = method.to_string();
    let refuse = move |_: HttpRequest| {
        let problem = Problem::new(Kind::MethodNotAllowed, format!("use {allowed}"))
            .header(header::ALLOW, allowed.clone());
        async move { Err::<actix_web::HttpResponse, Problem>(problem) }
    };
    web::resource(path.to_owned())
        .route(route)
        .default_service(web::to(refuse))
}

async fn unknown_path() -> Result<actix_web::HttpResponse, Problem> {
    Err(Problem::not_found("there is nothing under this path"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use crate::http::observe::observe;
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};
    use actix_web::{App, http::StatusCode};
    use serde_json::Value;

    #[actix_web::test]
    async fn unknown_paths_and_wrong_methods_are_problems() {
        let app = init_service(App::new().wrap(from_fn(observe)).configure(configure_api)).await;
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
