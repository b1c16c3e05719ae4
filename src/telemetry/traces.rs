//! Traces: what was done for one request, over all that took part in it (W3C Trace Context).
//!
//! A `traceparent` that comes in is taken over and passed on to the gateway and to subscribers,
//! whether or not anything is exported; spans are exported by OTLP over HTTP where that is
//! configured. Spans carry names, words, numbers and ids that the log may have. What they
//! deliberately cannot do: hold a body, a header or a path.

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

/// Whether anybody takes our spans. Where nobody does, none are made: what came in is passed on.
static EXPORTED: AtomicBool = AtomicBool::new(false);

/// The name of what makes the spans, and of the service.
const NAME: &str = "reconciler";

/// The headers of a trace.
const HEADERS: [&str; 2] = ["traceparent", "tracestate"];

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
#[error("traces cannot be exported")]
pub struct ExportError(#[source] opentelemetry_otlp::ExporterBuildError);

/// Exports spans until it is ended.
pub struct Export(SdkTracerProvider);

/// Begins to export all spans of the process to this address.
pub fn export(endpoint: &str, version: &'static str) -> Result<Export, ExportError> {
    // The exporter has a thread and an HTTP client of its own, and takes the TLS that is there.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .build()
        .map_err(ExportError)?;
    let resource = Resource::builder()
        .with_service_name(NAME)
        .with_attribute(KeyValue::new("service.version", version))
        .build();
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build();
    global::set_tracer_provider(provider.clone());
    EXPORTED.store(true, Ordering::Relaxed);
    Ok(Export(provider))
}

impl Export {
    /// Sends what is left, which takes seconds at most. It blocks its thread.
    pub fn end(self) {
        if let Err(error) = self.0.shutdown() {
            tracing::warn!(error = %error, "the last traces may not have been exported");
        }
    }
}

/// A piece of work in a trace; it ends when it is dropped. Empty where nobody follows it.
pub struct Span(Option<Context>);

impl Span {
    /// The work for a request from outside; `header` reads its headers.
    pub fn of_request(name: &str, header: &dyn Fn(&str) -> Option<String>) -> Self {
        let given: HashMap<String, String> = HEADERS
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), header(name)?)))
            .collect();
        if given.is_empty() && !is_exported() {
            return Self(None);
        }
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Given(given));
        Self(Some(Self::within(&parent, name, SpanKind::Server)))
    }

    /// A request of ours to somebody else.
    pub fn of_call(name: &str) -> Self {
        Self::of_own(name, SpanKind::Client)
    }

    /// A step of our own.
    pub fn of_step(name: &'static str) -> Self {
        Self::of_own(name, SpanKind::Internal)
    }

    fn of_own(name: &str, kind: SpanKind) -> Self {
        Self(is_exported().then(|| Self::within(&Context::current(), name, kind)))
    }

    fn within(parent: &Context, name: &str, kind: SpanKind) -> Context {
        let tracer = global::tracer_provider().tracer(NAME);
        let builder = tracer.span_builder(name.to_owned()).with_kind(kind);
        let span = tracer.build_with_context(builder, parent);
        parent.with_span(span)
    }

    /// Whether anything that is noted of it is kept.
    pub fn is_followed(&self) -> bool {
        self.0.is_some()
    }

    /// Gives it the name that is known by now.
    pub fn rename(&self, name: String) {
        if let Some(context) = &self.0 {
            context.span().update_name(name);
        }
    }

    /// Notes a fact.
    pub fn note(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// Notes that it failed; `why` is one of few words.
    pub fn failed(&self, why: &'static str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(why));
        }
        self.note("error.type", why);
    }

    /// Does the work; what is begun within belongs to it.
    pub async fn around<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    /// The trace that it is part of, in hex; `None` when nobody follows any.
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

/// The work as part of the trace in which this is called, wherever it is run.
pub fn carried<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    work.with_context(Context::current())
}

/// The headers that tell somebody else of the trace we are in.
pub fn passed_on() -> Vec<(String, String)> {
    let mut headers = Passed(Vec::new());
    TraceContextPropagator::new().inject_context(&Context::current(), &mut headers);
    headers.0
}

/// The header for a third party: it learns neither the trace that a caller began nor what else the caller
/// said of it, and its own part has an id that is noted here.
pub fn of_our_own() -> Vec<(String, String)> {
    let told = passed_on().into_iter().find(|(name, _)| name == HEADERS[0]);
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

struct Given(HashMap<String, String>);

impl Extractor for Given {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct Passed(Vec<(String, String)>);

impl Injector for Passed {
    fn set(&mut self, key: &str, value: String) {
        // An empty `tracestate` says nothing, and not every server takes it.
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
    async fn a_trace_is_passed_on_although_nothing_is_exported() {
        let header = |name: &str| (name == "traceparent").then(|| PARENT.to_owned());
        let span = Span::of_request("request", &header);
        let inner = span.around(async { passed_on() }).await;
        let trace = &PARENT[..35];
        assert!(
            inner
                .iter()
                .any(|(name, value)| name == "traceparent" && value.starts_with(trace))
        );
        assert_eq!(span.trace_id().as_deref(), Some(&PARENT[3..35]));
        let elsewhere = async { tokio::spawn(carried(async { passed_on() })).await };
        assert_eq!(span.around(elsewhere).await.ok(), Some(inner));
        assert_eq!(passed_on(), []);
    }

    #[tokio::test]
    async fn what_is_no_trace_is_passed_over() {
        for bad in [
            "",
            "00-x",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        ] {
            let span = Span::of_request("request", &|_| Some(bad.to_owned()));
            assert_eq!(span.around(async { passed_on() }).await, [], "{bad}");
            assert_eq!(span.trace_id(), None);
        }
    }
}
