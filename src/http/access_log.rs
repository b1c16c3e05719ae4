//! What every request leaves behind: one line in the log, one measurement, and a request id that
//! ties an answer to both.
//!
//! The line names the route and never the path: a path holds whatever a caller wrote into it. What
//! it deliberately cannot do: see a body or a header with a key in it.

use crate::http::context::HttpContext;
use crate::http::in_hand::InHand;
use crate::http::problem::{self, Problem};
use crate::http::request::RequestLogFields;
use crate::http::routes::OPS;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::{Error, HttpMessage, HttpResponse, web};
use gateway::redact::{self, looks_like_card_number};
use leaves::clock::BootInstant;
use leaves::telemetry::traces::TraceSpan;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from a caller.
const MAX_REQUEST_ID: usize = 128;

/// Wraps everything that a listener serves.
pub(crate) async fn observe(
    req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let started = Instant::now();
    let method = method_name(req.method());
    let Some(in_hand) = InHand::begin(&req) else {
        // What comes behind the last request of a connection is not for us.
        let unwanted = HttpResponse::new(StatusCode::SERVICE_UNAVAILABLE);
        return Ok(req.into_response(unwanted));
    };
    let context = req.app_data::<web::Data<HttpContext>>().cloned();
    let request_id = request_id(req.headers().get(REQUEST_ID));
    let fields = RequestLogFields {
        request_id: request_id.clone(),
        ..RequestLogFields::default()
    };
    req.extensions_mut().insert(fields);
    let span = span_of(&req, method);
    let response = match &span {
        Some(span) => span.instrument(next.call(req)).await?,
        None => next.call(req).await?,
    };
    let response = response.map_into_boxed_body();
    let (req, response) = response.into_parts();
    let cause = response
        .error()
        .and_then(|e| e.as_error::<Problem>())
        .and_then(Problem::cause);
    let cause = cause.map(str::to_owned);
    let mut response = finalize_response(response, &request_id);

    let head = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        head.insert(REQUEST_ID, id);
    }
    head.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let route = req.match_pattern();
    let fields = req.extensions().get::<RequestLogFields>().cloned();
    let mut line = AccessLogLine {
        method,
        route: route.as_deref().unwrap_or("unmatched"),
        status: response.status().as_u16(),
        took: started.elapsed(),
        fields: fields.unwrap_or_default(),
        cause,
    };
    if let Some(span) = span.as_ref().filter(|span| span.is_recording()) {
        line.trace(span);
    }
    // Probes and metrics are for whoever can reach them.
    let is_known = line.fields.is_known || OPS.contains(&line.route);
    let mut is_leaving = false;
    if let Some(context) = context {
        context
            .metrics
            .http_request(line.route, line.status, line.took);
        is_leaving = context.is_draining();
        // Whoever has no key does not fill the log.
        let is_sampled = !is_known && !line.fields.is_quiet && line.status < 500;
        line.fields.is_quiet |= is_sampled
            && context
                .strangers_logged
                .try_acquire(BootInstant::now())
                .is_err();
    }
    line.log(span.as_ref().and_then(TraceSpan::trace_id));
    let response = in_hand.answer(response, is_known && !is_leaving, line.fields.is_read);
    Ok(ServiceResponse::new(req, response))
}

/// The span of a request. Probes and scrapes come all the time, and are nobody's trace.
fn span_of(req: &ServiceRequest, method: &'static str) -> Option<TraceSpan> {
    (!OPS.contains(&req.path())).then(|| {
        // Nobody knows yet who sends a webhook: nothing is taken over from it.
        let is_told = !req.path().starts_with("/webhooks/");
        let header = |name: &str| {
            let told = trace_of(req.headers(), name).filter(|_| is_told);
            told.map(str::to_owned)
        };
        TraceSpan::for_request(method, &header)
    })
}

/// Problems are written here, where the request id is known; so is what no handler of ours refused.
fn finalize_response(response: HttpResponse, request_id: &str) -> HttpResponse {
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

/// The method's name; a caller may send any word as one, which is not repeated.
fn method_name(method: &Method) -> &'static str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::PATCH,
        Method::TRACE,
        Method::CONNECT,
    ];
    let names = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
    ];
    let place = known.iter().position(|one| one == method);
    place.map_or("other", |place| names[place])
}

/// The headers of a trace, when they are what the standard says. Whatever else stands there is passed
/// over: what is taken over goes into the log and on to others.
fn trace_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let parent = single(headers, "traceparent").filter(|parent| is_trace_parent(parent))?;
    match name {
        "traceparent" => Some(parent),
        "tracestate" => single(headers, name).filter(|state| is_trace_state(state)),
        _ => None,
    }
}

fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name);
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

/// `00-<32 hex>-<16 hex>-<2 hex>` in small letters, of which no part is a card's number.
fn is_trace_parent(text: &str) -> bool {
    let is_hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    let lengths = text.split('-').map(str::len).eq([2, 32, 16, 2]);
    let plain = text.bytes().all(|b| b == b'-' || is_hex(b));
    let holds_number = text.split('-').any(|part| {
        (13..=19).any(|length| part.as_bytes().windows(length).any(redact::is_card_number))
    });
    lengths && plain && !text.starts_with("ff") && !holds_number
}

/// Members `key=value`, of which none looks like a card's number.
fn is_trace_state(text: &str) -> bool {
    text.len() <= 512
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
        && text.split(',').all(|member| member.contains('='))
        && !looks_like_card_number(text)
}

struct AccessLogLine<'a> {
    method: &'static str,
    route: &'a str,
    status: u16,
    took: Duration,
    fields: RequestLogFields,
    cause: Option<String>,
}

impl AccessLogLine<'_> {
    /// What a span may know is what the log may know.
    fn trace(&self, span: &TraceSpan) {
        span.rename(format!("{} {}", self.method, self.route));
        span.set_attribute("http.request.method", self.method);
        span.set_attribute("http.route", self.route.to_owned());
        span.set_attribute("http.response.status_code", i64::from(self.status));
        span.set_attribute("reconciler.request_id", self.fields.request_id.clone());
        if let Some(shop) = &self.fields.shop {
            span.set_attribute("reconciler.shop", shop.to_string());
        }
        if let Some(tracking_id) = &self.fields.tracking_id {
            span.set_attribute("reconciler.tracking_id", tracking_id.clone());
        }
        if self.status >= 500 {
            span.set_error("5xx");
        }
    }

    fn log(&self, trace_id: Option<String>) {
        let Self {
            method,
            route,
            status,
            took,
            fields,
            cause,
        } = self;
        let shop = fields.shop.as_ref().map(tracing::field::display);
        let client = fields.client.as_deref();
        let tracking_id = fields.tracking_id.as_deref();
        let cause = cause.as_deref();
        let duration_ms = took.as_secs_f64() * 1_000.0;
        let request_id = fields.request_id.as_str();
        let quiet = OPS.contains(route);
        macro_rules! write_line {
            ($level:ident) => {
                tracing::$level!(
                    http.route = route,
                    http.status = status,
                    duration_ms,
                    shop,
                    client,
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
            _ if quiet || fields.is_quiet => write_line!(debug),
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
    fn a_safe_request_id_is_kept() {
        assert_eq!(id_for("req-1:a/b.c"), "req-1:a/b.c");
        let long = "a".repeat(129);
        let long = HeaderValue::from_str(&long).ok();
        assert_ne!(request_id(long.as_ref()).len(), 129);
        for bad in ["", "a b", "a\"b", "4200000000000000"] {
            assert_ne!(id_for(bad), bad);
        }
        assert_ne!(request_id(None), request_id(None));
    }

    #[test]
    fn only_methods_of_the_standard_are_named() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        let other = Method::from_bytes(b"GET4111111111111111").ok();
        assert_eq!(other.as_ref().map(method_name), Some("other"));
    }

    #[test]
    fn only_valid_trace_headers_are_continued() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_trace_parent(good));
        for bad in [
            "4111111111111111",
            "00-4111111111111111-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-4111111111111111-01",
            "00-000000a4111111111111111000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(!is_trace_parent(bad), "{bad}");
        }
        assert!(is_trace_state("a=1,b=c"));
        assert!(!is_trace_state("a=4111111111111111") && !is_trace_state("4111"));
    }
}
