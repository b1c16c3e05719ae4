//! The gateway simulator over real HTTP, and its control API.

use crate::world::service::free;
use crate::world::{Answer, Http, SECRET, SHOP, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use twin::{BehaviourSwitches, Delay, TwinSettings, run};

type Running = (oneshot::Sender<()>, JoinHandle<()>);

/// The simulator of one test.
pub struct Twin {
    address: SocketAddr,
    http: Http,
    running: Mutex<Option<Running>>,
}

impl Twin {
    /// Reserves an address without starting the simulator.
    pub async fn reserve() -> Self {
        let address = free().local_addr().expect("its address");
        Self {
            address,
            http: Http::default(),
            running: Mutex::new(None),
        }
    }

    /// Starts the simulator.
    pub async fn up(&self) {
        let listener = TcpListener::bind(self.address).expect("its port is free");
        let shops = [(SHOP, SECRET), ("1002", "secret-of-1002")];
        let settings = TwinSettings {
            shops: shops
                .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
                .into(),
            workers: 1,
            switches: BehaviourSwitches {
                task_delay: Delay::Fixed { seconds: 0.1 },
                ..BehaviourSwitches::default()
            },
            ..TwinSettings::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let done = async { drop(stopped.await) };
            run(listener, settings, done).await.expect("the twin runs");
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    }

    /// Stops the simulator; its address then refuses connections.
    pub async fn down(&self) {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((stop, task)) = running {
            let _ = stop.send(());
            task.await.expect("the twin ends well");
        }
    }

    /// Returns whether it is running.
    pub fn is_up(&self) -> bool {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Returns its origin.
    pub fn base(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}/_twin/{path}", self.base());
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        self.http
            .send(method, &url, &[], body)
            .await
            .expect(200)
            .json
    }

    /// Sends a GET to the control API.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await
    }

    /// Posts to the control API.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    /// Sets the script of one tracking ID.
    pub async fn script(&self, tracking_id: &str, scenario: &str, script: Value) {
        let body = json!({"tracking_id": tracking_id, "scenario": scenario, "script": script});
        self.post("scripts", body).await;
    }

    /// Changes switches.
    pub async fn switch(&self, switches: Value) {
        self.post("settings", switches).await;
    }

    /// Sets a fault of the whole gateway.
    pub async fn fault(&self, fault: Value) {
        self.post("faults", fault).await;
    }

    /// Removes all faults.
    pub async fn no_faults(&self) {
        self.ask(Method::DELETE, "faults", Value::Null).await;
    }

    /// Advances the clock, and the times in bodies.
    pub async fn advance(&self, seconds: f64) {
        self.post("advance", json!({"seconds": seconds, "stamps": true}))
            .await;
    }

    /// Returns the counts of a tracking ID.
    pub async fn counts(&self, tracking_id: &str) -> Value {
        let all = self.get(&format!("counts?tracking_id={tracking_id}")).await;
        all["tracking_ids"][0].clone()
    }

    /// Returns the number of POSTs of a tracking ID that arrived.
    pub async fn posts(&self, tracking_id: &str) -> u64 {
        self.counts(tracking_id).await["posts"]
            .as_u64()
            .unwrap_or(0)
    }

    /// Waits until a POST of this tracking ID has arrived.
    pub async fn until_posted(&self, tracking_id: &str) {
        let what = format!("a POST of {tracking_id}");
        eventually(&what, async || {
            (self.posts(tracking_id).await > 0).then_some(())
        })
        .await;
    }

    /// Returns the tracking IDs that were submitted again without a refusal.
    pub async fn sent_too_often(&self) -> Vec<String> {
        let all = self.get("counts").await;
        serde_json::from_value(all["over_one_unrefused"].clone()).expect("a list")
    }

    /// Returns the true transactions of a tracking ID.
    pub async fn truth(&self, tracking_id: &str) -> Vec<Value> {
        let all = self
            .get(&format!("transactions?tracking_id={tracking_id}"))
            .await;
        all["transactions"].as_array().cloned().expect("a list")
    }

    /// Waits for the only transaction of a tracking ID and returns its uid.
    pub async fn uid(&self, tracking_id: &str) -> String {
        let what = format!("a transaction of {tracking_id} at the gateway");
        eventually(&what, async || {
            let truth = self.truth(tracking_id).await;
            truth
                .first()
                .map(|t| t["uid"].as_str().expect("a uid").to_owned())
        })
        .await
    }

    /// Returns the requests of one operation about a tracking ID.
    pub async fn requests(&self, operation: &str, tracking_id: &str) -> Vec<Value> {
        let path = format!("log?operation={operation}&tracking_id={tracking_id}&limit=1000");
        self.get(&path).await["requests"]
            .as_array()
            .cloned()
            .expect("a list")
    }

    /// Returns the webhook deliveries of a tracking ID.
    pub async fn deliveries(&self, tracking_id: &str) -> Vec<Value> {
        let all = self
            .get(&format!("webhooks?tracking_id={tracking_id}"))
            .await;
        all["deliveries"].as_array().cloned().expect("a list")
    }

    /// Sends a webhook now and returns the statuses of the responses.
    pub async fn send_webhook(&self, webhook: Value) -> Vec<u16> {
        let told = self.post("webhooks", webhook).await;
        let answers = told["answers"].as_array().cloned().expect("answers");
        answers
            .iter()
            .map(|a| u16::try_from(a["status"].as_u64().expect("an answer")).expect("a status"))
            .collect()
    }

    /// Creates a transaction in the back office.
    pub async fn make(&self, transaction: Value) -> Value {
        self.post("transactions", transaction).await
    }

    /// Corrects a transaction in the back office.
    pub async fn change(&self, uid: &str, change: Value) {
        self.post(&format!("transactions/{uid}"), change).await;
    }

    /// Sends a request to the gateway with the shop's credentials, without the service.
    pub async fn as_shop(&self, method: Method, path: &str, body: Value) -> Answer {
        use base64::Engine as _;
        let credentials =
            base64::engine::general_purpose::STANDARD.encode(format!("{SHOP}:{SECRET}"));
        let authorization = format!("Basic {credentials}");
        let headers = [
            ("authorization", &*authorization),
            ("content-type", "application/json"),
        ];
        let url = format!("{}{path}", self.base());
        self.http
            .send(method, &url, &headers, body.to_string().into_bytes())
            .await
    }

    /// Returns all switches with their values.
    pub async fn settings(&self) -> BTreeMap<String, Value> {
        serde_json::from_value(self.get("settings").await).expect("settings")
    }
}
