//! The danger: a payment cannot be followed from service to service; or a trace tells what it must
//! not.

use crate::subscribers::{entry, receiver, until_told};
use crate::world::{
    CANARY_CVC, CANARY_PAN, FakeGateway, FakeReply, KEY, SECRET, Setup, ack, card_payment,
    eventually, payment,
};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use rustix::process::Signal;
use serde_json::json;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// All spans that a collector was sent.
fn spans(collector: &FakeGateway) -> Vec<Span> {
    let seen = collector.seen();
    let read = |body: &[u8]| ExportTraceServiceRequest::decode(body).expect("otlp");
    seen.iter()
        .flat_map(|request| read(&request.body).resource_spans)
        .flat_map(|resource| resource.scope_spans)
        .flat_map(|scope| scope.spans)
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_trace_continues_to_the_gateway_and_is_exported() {
    let collector = receiver(|_| 200);
    let endpoint = format!("\"{}/v1/traces\"", collector.base());
    let setup = Setup::default().set("telemetry", "otlp_endpoint", &endpoint);
    setup.service_down().run(async |world| {
        let mut process = world.process().await;
        let headers = [("traceparent", PARENT), ("prefer", "wait=20")];
        let answer = world
            .post_with("payments", &headers, payment("ok-traced"))
            .await;
        answer.expect(200);
        world
            .post_with("payments", &headers, card_payment("ok-traced-card"))
            .await
            .expect(200);
        // Its webhook is lost, so that the engine looks.
        world.pay_and_wait("lost-traced").await.expect(200);
        process.signal(Signal::TERM);
        assert!(process.ended().await.success());
        let all = spans(&collector);
        let ours: Vec<&Span> = all
            .iter()
            .filter(|span| hex(&span.trace_id) == TRACE)
            .collect();
        let find = |name: &str| {
            let found = ours.iter().find(|span| span.name == name);
            *found.unwrap_or_else(|| {
                panic!(
                    "no {name} in {:?}",
                    ours.iter().map(|s| &s.name).collect::<Vec<_>>()
                )
            })
        };
        let request = find("POST /v1/shops/{shop}/payments");
        assert_eq!(hex(&request.parent_span_id), "00f067aa0ba902b7");
        for name in ["commit", "gateway submit", "evidence"] {
            assert_eq!(find(name).parent_span_id.len(), 8, "{name}");
        }
        // What the engine does by itself has a trace of its own.
        assert!(
            all.iter()
                .any(|span| span.name == "check" && span.parent_span_id.is_empty())
        );
        let said = format!("{all:?}");
        for secret in [CANARY_PAN, CANARY_CVC, "CANARY", KEY, SECRET] {
            assert!(!said.contains(secret), "{secret}");
        }
    });
}

#[test]
fn a_trace_is_passed_on_although_nothing_is_exported() {
    let gateway = FakeGateway::start(|request| async move {
        match request.method.as_str() {
            "POST" => FakeReply::Json(
                200,
                ack(
                    &format!("http://{}", request.header("host").unwrap()),
                    "task-1",
                ),
            ),
            _ => FakeReply::Json(200, json!({"status": "processing"})),
        }
    });
    Setup::default().gateway(&gateway).run(async |world| {
        let headers = [("traceparent", PARENT), ("tracestate", "shop=secret")];
        world
            .post_with("payments", &headers, payment("ok-passed"))
            .await
            .expect(202);
        let submit = gateway
            .seen()
            .into_iter()
            .find(|request| request.method == "POST")
            .unwrap();
        let told = submit.header("traceparent").unwrap();
        // A trace of our own: a third party learns nothing of the caller's.
        assert!(!told.contains(&PARENT[3..35]), "{told}");
        assert_eq!(told.len(), PARENT.len());
        assert_eq!(submit.header("tracestate"), None);
        // Without a trace none is made up.
        world.pay("ok-untraced").await.expect(202);
        let second = gateway
            .seen()
            .into_iter()
            .filter(|request| request.method == "POST")
            .nth(1);
        assert_eq!(second.unwrap().header("traceparent"), None);
    });
}

#[test]
fn a_message_carries_its_trace() {
    let (collector, neighbour) = (receiver(|_| 200), receiver(|_| 200));
    let endpoint = format!("\"{}/v1/traces\"", collector.base());
    let setup = Setup::default()
        .set("telemetry", "otlp_endpoint", &endpoint)
        .subscriber(&entry("orders", &neighbour, ""));
    setup.service_down().run(async |world| {
        let mut process = world.process().await;
        world.pay_and_wait("ok-told-trace").await.expect(200);
        let told = until_told(&neighbour, "ok-told-trace").await;
        let parent = told.header("traceparent").unwrap().to_owned();
        process.signal(Signal::TERM);
        process.ended().await;
        let span = eventually("its span", async || {
            spans(&collector)
                .into_iter()
                .find(|span| span.name == "subscriber message")
        })
        .await;
        assert!(parent.contains(&hex(&span.trace_id)), "{parent}");
    });
}
