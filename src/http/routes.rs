//! Paths and route helpers that all listeners share. A path that a listener does not have is 404,
//! and a method that a path does not take is 405, both as problem documents.

use crate::http::problem::{Problem, ProblemKind};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, Resource, Route, guard, web};

/// Path of the webhook listener. The OpenAPI document describes it as well.
pub(crate) const WEBHOOK: &str = "/webhooks/{shop}";

/// Paths of the operations listener. The OpenAPI document describes them as well.
pub(crate) const OPS: [&str; 4] = ["/livez", "/readyz", "/metrics", "/version"];

/// Returns a route for GET and HEAD. HEAD responds as GET would, without the body.
pub(crate) fn get_or_head() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

/// Returns a resource that takes one method.
pub(crate) fn only(path: &str, method: &Method, route: Route) -> Resource {
    let allowed = method.to_string();
    let refuse = move |_: HttpRequest| {
        let problem = Problem::new(ProblemKind::MethodNotAllowed, format!("use {allowed}"))
            .header(header::ALLOW, allowed.clone());
        async move { Err::<HttpResponse, Problem>(problem) }
    };
    web::resource(path.to_owned())
        .route(route)
        .default_service(web::to(refuse))
}

/// Responds to a path that a listener does not have.
pub(crate) async fn unknown_path() -> Result<HttpResponse, Problem> {
    Err(Problem::not_found("there is nothing under this path"))
}
