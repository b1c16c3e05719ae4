//! Tests of the simulator: without HTTP and with a manual clock; one test uses real sockets.

mod children;
mod idempotency;
mod lookups;
mod over_http;
mod scenarios;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::lookups::QueryTarget;
use super::request_log::{RequestHead, RequestKind};
use super::response::{PlannedResponse, ResponseDelivery};
use super::settings::{BehaviourSwitches, TwinSettings};
use super::state::SimulatorState;
use super::submit::PostContinuation;
use super::transactions::TransactionKind;

/// A simulated gateway with a manual clock.
struct Gateway {
    world: SimulatorState,
    now: u64,
}

impl Gateway {
    fn new() -> Self {
        Self::with(BehaviourSwitches::default())
    }

    fn with(switches: BehaviourSwitches) -> Self {
        let shops = [("1001".to_owned(), "secret".to_owned())].into();
        let settings = TwinSettings {
            shops,
            switches,
            ..TwinSettings::default()
        };
        let mut gateway = Self {
            world: SimulatorState::new(&settings, "http://twin".into()),
            now: 0,
        };
        gateway.pass(0.0);
        gateway
    }

    /// Advances the clock.
    fn pass(&mut self, seconds: f64) {
        self.now += (seconds * 1000.0) as u64;
        let start = time::macros::datetime!(2026-02-03 10:00 UTC);
        let stamp: OffsetDateTime = start + time::Duration::milliseconds(self.now as i64);
        self.world.run_due(self.now, stamp);
    }

    fn call(operation: RequestKind) -> RequestHead {
        RequestHead {
            method: "POST",
            path: String::new(),
            operation,
            asynchronous: true,
            authorization: Some(format!("Basic {}", STANDARD.encode("1001:secret"))),
            idempotency_key: None,
            v3: false,
            json: true,
        }
    }

    /// Posts a request with a given head.
    fn post_as(
        &mut self,
        call: RequestHead,
        kind: TransactionKind,
        request: Value,
    ) -> PlannedResponse {
        let body = json!({"request": request}).to_string();
        match self.world.submit(call, kind, body.as_bytes()) {
            PostContinuation::Reply(reply) => reply,
            PostContinuation::Wait(..) => panic!("an asynchronous request does not wait"),
        }
    }

    fn post(&mut self, kind: TransactionKind, request: Value) -> PlannedResponse {
        let reply = self.post_as(Self::call(RequestKind::Submit(kind)), kind, request);
        // Events that are due immediately run before the state is visible.
        self.pass(0.0);
        reply
    }

    /// Posts a payment with a tracking ID.
    fn pay(&mut self, tracking_id: &str) -> PlannedResponse {
        self.post(TransactionKind::Payment, payment(tracking_id))
    }

    fn read(&mut self, operation: RequestKind, task: &str) -> (u16, Value) {
        let reply = self.world.read_task(Self::call(operation), task);
        assert_eq!(reply.delivery, ResponseDelivery::Plain);
        (reply.answer.status, body(&reply))
    }

    fn result(&mut self, task: &str) -> (u16, Value) {
        self.read(RequestKind::TaskResult, task)
    }

    /// Makes a synchronous lookup.
    fn look_up(&mut self, what: QueryTarget) -> (u16, Value) {
        let call = RequestHead {
            asynchronous: false,
            ..Self::call(RequestKind::QueryUid)
        };
        let reply = self.world.look_up(call, what);
        (reply.answer.status, body(&reply))
    }

    /// Returns the transactions with a tracking ID, as the gateway shows them.
    fn found(&mut self, tracking_id: &str) -> Vec<Value> {
        let (status, body) = self.look_up(QueryTarget::TrackingId(tracking_id.to_owned()));
        assert_eq!(status, 200);
        body["transactions"].as_array().cloned().unwrap_or_default()
    }

    /// Returns the statuses in the webhooks that are due by now, in order.
    fn webhooks(&mut self) -> Vec<String> {
        let ready = std::mem::take(&mut self.world.outbox.ready);
        let parcels = ready.iter().filter_map(|id| self.world.outbox.parcel(*id));
        parcels.map(|parcel| parcel.status.clone()).collect()
    }
}

fn payment(tracking_id: &str) -> Value {
    json!({"amount": 3245, "currency": "EUR", "description": "Order", "tracking_id": tracking_id,
        "notification_url": "http://127.0.0.1:9/hook"})
}

fn body(reply: &PlannedResponse) -> Value {
    serde_json::from_slice(&reply.answer.body).unwrap_or(Value::Null)
}

/// Returns the id of the task in an acknowledgement.
fn task(reply: &PlannedResponse) -> String {
    assert_eq!(
        reply.answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&reply.answer.body)
    );
    body(reply)["request_id"]
        .as_str()
        .map(str::to_owned)
        .unwrap_or_default()
}
