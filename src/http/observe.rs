//! What every request leaves behind: one line in the log, one measurement, and a request id that
//! ties an answer to both.
//!
//! The line names the route and never the path: a path holds whatever a caller wrote into it. What
//! it deliberately cannot do: see a body or a header with a key in it.

use crate::gateway::redact::looks_like_card_number;
use crate::http::context::Context;
use crate::http::problem::{self, Problem};
use crate::http::request::About;
use crate::telemetry::traces::Span;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// What monitors ask for all the time.
const QUIET: [&str; 4] = ["/livez", "/readyz", "/metrics", "/version"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// Wraps everything that a listener serves.
pub(crate) async fn observe(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = req.method().clone();
    let context = req.app_data::<web::Data<Context>>().cloned();
    let request_id = request_id(req.headers().get(REQUEST_ID));
    let about = About {
        request_id: request_id.clone(),
        ..About::default()
    };
    req.extensions_mut().insert(about);
    // Probes and scrapes come all the time, and are nobody's trace.
    let quiet = QUIET.contains(&req.path());
    let span = (!quiet).then(|| {
        let header = |name: &str| Some(req.headers().get(name)?.to_str().ok()?.to_owned());
        Span::of_request(method.as_str(), &header)
    });
    let response = match &span {
        Some(span) => span.around(next.call(req)).await?,
        None => next.call(req).await?,
    };
    let response = response.map_into_boxed_body();
    let (req, response) = response.into_parts();
    let cause = response
        .error()
        .and_then(|e| e.as_error::<Problem>())
        .and_then(Problem::cause);
    let cause = cause.map(str::to_owned);
    let mut response = told(response, &request_id);

    let head = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        head.insert(REQUEST_ID, id);
    }
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let route = req.match_pattern();
    let line = Line {
        method,
        route: route.as_deref().unwrap_or("unmatched"),
        status: response.status().as_u16(),
        took: started.elapsed(),
        about: req.extensions().get::<About>().cloned().unwrap_or_default(),
        cause,
    };
    if let Some(span) = span.as_ref().filter(|span| span.is_followed()) {
        line.trace(span);
    }
    line.log(span.as_ref().and_then(Span::trace_id));
    if let Some(context) = context {
        context
            .metrics
            .http_request(line.route, line.status, line.took);
        if context.is_draining() {
            response
                .head_mut()
                .set_connection_type(ConnectionType::Close);
        }
    }
    Ok(ServiceResponse::new(req, response))
}

/// Problems are written here, where the request id is known; so is what no handler of ours refused.
fn told(response: HttpResponse, request_id: &str) -> HttpResponse {
    if let Some(problem) = response.error().and_then(|e| e.as_error::<Problem>()) {
        return problem.response(Some(request_id));
    }
    let status = response.status();
    if response.error().is_some() && (status.is_client_error() || status.is_server_error()) {
        return problem::for_status(status).response(Some(request_id));
    }
    response
}

/// The caller's own id when it is safe to log, or a new one.
fn request_id(given: Option<&HeaderValue>) -> String {
    given
        .and_then(|value| value.to_str().ok())
        .filter(|id| (1..=MAX_REQUEST_ID).contains(&id.len()))
        .filter(|id| {
            id.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._~:+=@/".contains(&b))
        })
        .filter(|id| !looks_like_card_number(id))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

struct Line<'a> {
    method: Method,
    route: &'a str,
    status: u16,
    took: Duration,
    about: About,
    cause: Option<String>,
}

impl Line<'_> {
    /// What a span may know is what the log may know.
    fn trace(&self, span: &Span) {
        span.rename(format!("{} {}", self.method, self.route));
        span.note("http.request.method", self.method.to_string());
        span.note("http.route", self.route.to_owned());
        span.note("http.response.status_code", i64::from(self.status));
        span.note("reconciler.request_id", self.about.request_id.clone());
        if let Some(shop) = &self.about.shop {
            span.note("reconciler.shop", shop.to_string());
        }
        if let Some(tracking_id) = &self.about.tracking_id {
            span.note("reconciler.tracking_id", tracking_id.clone());
        }
        if self.status >= 500 {
            span.failed("5xx");
        }
    }

    fn log(&self, trace_id: Option<String>) {
        let Self {
            method,
            route,
            status,
            took,
            about,
            cause,
        } = self;
        let shop = about.shop.as_ref().map(tracing::field::display);
        let tracking_id = about.tracking_id.as_deref();
        let cause = cause.as_deref();
        let duration_ms = took.as_secs_f64() * 1_000.0;
        let request_id = about.request_id.as_str();
        let quiet = QUIET.contains(route);
        macro_rules! write_line {
            ($level:ident) => {
                tracing::$level!(
                    http.route = route,
                    http.status = status,
                    duration_ms,
                    shop,
                    tracking_id,
                    request_id,
                    trace_id,
                    cause,
                    "{method} {route} was answered with {status}"
                )
            };
        }
        match status {
            500.. => write_line!(error),
            _ if quiet => write_line!(debug),
            _ => write_line!(info),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_for(given: &'static str) -> String {
        request_id(Some(&HeaderValue::from_static(given)))
    }

    #[test]
    fn a_safe_request_id_is_taken_over() {
        assert_eq!(id_for("req-1:a/b.c"), "req-1:a/b.c");
        let long = "a".repeat(129);
        let long = HeaderValue::from_str(&long).ok();
        assert_ne!(request_id(long.as_ref()).len(), 129);
        for bad in ["", "a b", "a\"b", "4200000000000000"] {
            assert_ne!(id_for(bad), bad);
        }
        assert_ne!(request_id(None), request_id(None));
    }
}
