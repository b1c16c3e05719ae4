//! Distributed traces (W3C Trace Context).
//!
//! An incoming `traceparent` is forwarded to the gateway and to subscribers, whether or not spans
//! are exported. Spans are exported by OTLP over HTTP if the configuration says so.
//!
//! Invariant: spans carry names, words, numbers and ids that the log may contain, and never a body,
//! a header or a path.

use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{
    FutureExt, SpanKind, Status, TraceContextExt, Tracer, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue, Value, global};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether spans are exported. Otherwise none are created, and the incoming context is forwarded.
static EXPORTED: AtomicBool = AtomicBool::new(false);

/// Name of the tracer and of the service.
const SERVICE_NAME: &str = "reconciler";

/// Header names of the trace context.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// An error that prevents the export of traces.
#[derive(Debug, thiserror::Error)]
#[error("failed to create the trace exporter")]
pub struct ExportError(#[source] opentelemetry_otlp::ExporterBuildError);

/// Exports spans until [`Self::end`] is called.
pub struct TraceExporter(SdkTracerProvider);

/// Starts to export all spans of the process to an OTLP endpoint.
pub fn export(endpoint: &str, version: &'static str) -> Result<TraceExporter, ExportError> {
    // The exporter has its own thread and HTTP client, and uses the installed TLS provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .map_err(ExportError)?;
    let resource = Resource::builder()
        .with_service_name(SERVICE_NAME)
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    EXPORTED.store(true, Ordering::Relaxed);
    Ok(TraceExporter(provider))
}

impl TraceExporter {
    /// Flushes the remaining spans. Blocks the thread for a few seconds at most.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = %error, "failed to flush traces; the last spans may be lost");
        }
    }
}

/// A span of a trace, which ends when it is dropped. Empty if spans are not recorded.
pub struct TraceSpan(Option<Context>);

impl TraceSpan {
    /// Starts the span of an incoming request; `header` reads its headers.
    pub fn for_request(name: &str, header: &dyn Fn(&str) -> Option<String>) -> Self {
        let given: HashMap<String, String> = TRACE_HEADERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), header(name)?)))
            .collect();
        if given.is_empty() && !is_exported() {
            return Self(None);
        }
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &IncomingContext(given));
        Self(Some(Self::within(&parent, name, SpanKind::Server)))
    }

    /// Starts the span of an outgoing request.
    pub fn for_gateway_call(name: &str) -> Self {
        Self::of_own(name, SpanKind::Client)
    }

    /// Starts the span of an internal step.
    pub fn for_step(name: &'static str) -> Self {
        Self::of_own(name, SpanKind::Internal)
    }

    fn of_own(name: &str, kind: SpanKind) -> Self {
        Self(is_exported().then(|| Self::within(&Context::current(), name, kind)))
    }

    fn within(parent: &Context, name: &str, kind: SpanKind) -> Context {
        let tracer = global::tracer_provider().tracer(SERVICE_NAME);
        let builder = tracer.span_builder(name.to_owned()).with_kind(kind);
        let span = tracer.build_with_context(builder, parent);
        parent.with_span(span)
    }

    /// Returns whether the span is recorded.
    pub fn is_recording(&self) -> bool {
        self.0.is_some()
    }

    /// Renames the span.
    pub fn rename(&self, name: String) {
        if let Some(context) = &self.0 {
            context.span().update_name(name);
        }
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Marks the span as failed; `why` is one of few fixed texts.
    pub fn set_error(&self, why: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(why));
        }
        self.set_attribute("error.type", why);
    }

    /// Runs `work` within the span. Spans that start in it are children.
    pub async fn instrument<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// Returns the trace id in hex, or `None` if the span is not recorded.
    pub fn trace_id(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        let span = context.span();
        let context = span.span_context();
        context.is_valid().then(|| context.trace_id().to_string())
    }
}

fn is_exported() -> bool {
    EXPORTED.load(Ordering::Relaxed)
}

/// Returns `work` as part of the current trace, whichever task runs it.
pub fn with_current_trace<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    work.with_context(Context::current())
}

/// Returns the headers that forward the current trace context.
pub fn trace_headers() -> Vec<(String, String)> {
    let mut headers = OutgoingContext(Vec::new());
    TraceContextPropagator::new().inject_context(&Context::current(), &mut headers);
    headers.0
}

/// The header for a third party: it learns neither the trace that a caller began nor what else the caller
/// said of it, and its own part has an id that is noted here.
pub fn of_our_own() -> Vec<(String, String)> {
    let told = trace_headers()
        .into_iter()
        .find(|(name, _)| name == TRACE_HEADERS[0]);
    let Some((name, parent)) = told else {
        return Vec::new();
    };
    let parts: Vec<&str> = parent.split('-').collect();
    let [version, _, span, flags] = parts.as_slice() else {
        return Vec::new();
    };
    let trace = uuid::Uuid::new_v4().simple().to_string();
    let parent = format!("{version}-{trace}-{span}-{flags}");
    Context::current()
        .span()
        .set_attribute(KeyValue::new("reconciler.outside_trace", trace));
    vec![(name, parent)]
}

struct IncomingContext(HashMap<String, String>);

impl Extractor for IncomingContext {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct OutgoingContext(Vec<(String, String)>);

impl Injector for OutgoingContext {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` has no meaning, and some servers reject it.
        if !value.is_empty() {
            self.0.push((key.to_owned(), value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[tokio::test]
    async fn a_trace_is_forwarded_without_export() {
        let header = |name: &str| (name == "traceparent").then(|| PARENT.to_owned());
        let span = TraceSpan::for_request("request", &header);
        let inner = span.instrument(async { trace_headers() }).await;
        let trace = &PARENT[..35];
        assert!(
            inner
                .iter()
                .any(|(name, value)| name == "traceparent" && value.starts_with(trace))
        );
        assert_eq!(span.trace_id().as_deref(), Some(&PARENT[3..35]));
        let elsewhere = async { tokio::spawn(with_current_trace(async { trace_headers() })).await };
        assert_eq!(span.instrument(elsewhere).await.ok(), Some(inner));
        assert_eq!(trace_headers(), []);
    }

    #[tokio::test]
    async fn an_invalid_trace_is_ignored() {
        for bad in [
            "",
            "00-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            let span = TraceSpan::for_request("request", &|_| Some(bad.to_owned()));
            assert_eq!(
                span.instrument(async { trace_headers() }).await,
                [],
                "{bad}"
            );
            assert_eq!(span.trace_id(), None);
        }
    }
}
