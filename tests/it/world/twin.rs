//! The gateway twin, over real HTTP, and its control API in plain verbs.

use crate::world::service::free;
use crate::world::{Answer, Http, SECRET, SHOP, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use twin::{Delay, Settings, Switches, run};

type Running = (oneshot::Sender<()>, JoinHandle<()>);

/// The twin of one test.
pub struct Twin {
    address: SocketAddr,
    http: Http,
    running: Mutex<Option<Running>>,
}

impl Twin {
    /// An address for a twin that does not run yet.
    pub async fn reserve() -> Self {
        let address = free().local_addr().expect("its address");
        Self {
            address,
            http: Http::default(),
            running: Mutex::new(None),
        }
    }

    /// Starts it.
    pub async fn up(&self) {
        let listener = TcpListener::bind(self.address).expect("its port is free");
        let shops = [(SHOP, SECRET), ("1002", "secret-of-1002")];
        let settings = Settings {
            shops: shops
                .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
                .into(),
            workers: 1,
            switches: Switches {
                task_delay: Delay::Fixed { seconds: 0.1 },
                ..Switches::default()
            },
            ..Settings::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let done = async { drop(stopped.await) };
            run(listener, settings, done).await.expect("the twin runs");
        });
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    }

    /// Stops it; from now on nobody listens at its address.
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

    /// Whether it runs.
    pub fn is_up(&self) -> bool {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }

    /// Its origin.
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

    /// Reads from the control API.
    pub async fn get(&self, path: &str) -> Value {
        self.ask(Method::GET, path, Value::Null).await
    }

    /// Writes to the control API.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.ask(Method::POST, path, body).await
    }

    /// Gives one tracking id a script.
    pub async fn script(&self, tracking_id: &str, scenario: &str, script: Value) {
        let body = json!({"tracking_id": tracking_id, "scenario": scenario, "script": script});
        self.post("scripts", body).await;
    }

    /// Turns switches.
    pub async fn switch(&self, switches: Value) {
        self.post("settings", switches).await;
    }

    /// Lays a fault over the whole gateway.
    pub async fn fault(&self, fault: Value) {
        self.post("faults", fault).await;
    }

    /// Takes all faults away.
    pub async fn no_faults(&self) {
        self.ask(Method::DELETE, "faults", Value::Null).await;
    }

    /// Jumps forward, the times in bodies too.
    pub async fn advance(&self, seconds: f64) {
        self.post("advance", json!({"seconds": seconds, "stamps": true}))
            .await;
    }

    /// How often a tracking id was posted, and what came of it.
    pub async fn counts(&self, tracking_id: &str) -> Value {
        let all = self.get(&format!("counts?tracking_id={tracking_id}")).await;
        all["tracking_ids"][0].clone()
    }

    /// The POSTs of one tracking id whose bytes arrived.
    pub async fn posts(&self, tracking_id: &str) -> u64 {
        self.counts(tracking_id).await["posts"]
            .as_u64()
            .unwrap_or(0)
    }

    /// Waits until a POST of this tracking id has arrived.
    pub async fn until_posted(&self, tracking_id: &str) {
        let what = format!("a POST of {tracking_id}");
        eventually(&what, async || {
            (self.posts(tracking_id).await > 0).then_some(())
        })
        .await;
    }

    /// The tracking ids that were sent more often than is ever right.
    pub async fn sent_too_often(&self) -> Vec<String> {
        let all = self.get("counts").await;
        serde_json::from_value(all["over_one_unrefused"].clone()).expect("a list")
    }

    /// The transactions that there really are under a tracking id.
    pub async fn truth(&self, tracking_id: &str) -> Vec<Value> {
        let all = self
            .get(&format!("transactions?tracking_id={tracking_id}"))
            .await;
        all["transactions"].as_array().cloned().expect("a list")
    }

    /// The uid of the only transaction under a tracking id, as soon as there is one.
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

    /// The requests of one operation about a tracking id.
    pub async fn requests(&self, operation: &str, tracking_id: &str) -> Vec<Value> {
        let path = format!("log?operation={operation}&tracking_id={tracking_id}&limit=1000");
        self.get(&path).await["requests"]
            .as_array()
            .cloned()
            .expect("a list")
    }

    /// The deliveries of webhooks.
    pub async fn deliveries(&self, tracking_id: &str) -> Vec<Value> {
        let all = self
            .get(&format!("webhooks?tracking_id={tracking_id}"))
            .await;
        all["deliveries"].as_array().cloned().expect("a list")
    }

    /// Posts a webhook now; gives the statuses that were answered.
    pub async fn send_webhook(&self, webhook: Value) -> Vec<u16> {
        let told = self.post("webhooks", webhook).await;
        let answers = told["answers"].as_array().cloned().expect("answers");
        answers
            .iter()
            .map(|a| u16::try_from(a["status"].as_u64().expect("an answer")).expect("a status"))
            .collect()
    }

    /// Makes a transaction that nobody here asked for; gives its uid.
    pub async fn make(&self, transaction: Value) -> Value {
        self.post("transactions", transaction).await
    }

    /// Changes a transaction by hand.
    pub async fn change(&self, uid: &str, change: Value) {
        self.post(&format!("transactions/{uid}"), change).await;
    }

    /// Speaks to the gateway as the shop itself, past the service.
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

    /// All switches and their values.
    pub async fn settings(&self) -> BTreeMap<String, Value> {
        serde_json::from_value(self.get("settings").await).expect("settings")
    }
}
