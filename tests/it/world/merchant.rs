//! A merchant's service: a client of the API.

use crate::world::{Addresses, Answer, DOCUMENT, Http, Metrics, SHOP, eventually, payment};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use serde_json::{Value, json};

/// Panics if a response of the service violates the API description.
fn as_described(method: &Method, path: Option<&str>, answer: &Answer) {
    let Some(path) = path else { return };
    let kind = answer.header("content-type").unwrap_or_default();
    let fault = DOCUMENT.fault(method.as_str(), path, answer.status, kind, &answer.json);
    if let Some(fault) = fault {
        let told = &answer.text;
        panic!("response to {method} {path} violates the API description: {fault}\n{told}");
    }
}

/// A client of one service, with its key and shop.
#[derive(Clone)]
pub struct Merchant {
    http: Http,
    api: String,
    hooks: String,
    ops: String,
    key: String,
    shop: String,
}

impl Merchant {
    /// Creates a client of the service at these addresses.
    pub fn new(at: &Addresses, key: &str) -> Self {
        Self {
            http: Http::default(),
            api: format!("http://{}", at.api),
            hooks: format!("http://{}", at.webhooks),
            ops: format!("http://{}", at.ops),
            key: key.to_owned(),
            shop: SHOP.to_owned(),
        }
    }

    /// Returns the same client with another key.
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: key.to_owned(),
            ..self.clone()
        }
    }

    /// Returns the same client for another shop.
    pub fn at_shop(&self, shop: &str) -> Self {
        Self {
            shop: shop.to_owned(),
            ..self.clone()
        }
    }

    /// Returns the webhook URL of the shop.
    pub fn hook_url(&self) -> String {
        format!("{}/webhooks/{}", self.hooks, self.shop)
    }

    /// Sends a request to the API, by its path from the root.
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", &*authorization)];
        all.extend(headers);
        let url = format!("{}{path}", self.api);
        let answer = self
            .http
            .send(method.clone(), &url, &all, body.into())
            .await;
        as_described(&method, Some(path), &answer);
        answer
    }

    /// Sends a request to the API. Returns `None` without a response.
    pub async fn try_raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Option<Answer> {
        let authorization = format!("Bearer {}", self.key);
        let mut all = vec![("authorization", &*authorization)];
        all.extend(headers);
        let url = format!("{}{path}", self.api);
        self.http.try_send(method, &url, &all, body.into()).await
    }

    /// Returns a path of the shop.
    pub fn path(&self, rest: &str) -> String {
        format!("/v1/shops/{}/{rest}", self.shop)
    }

    /// Returns a URL of the API, by its path from the root.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.api)
    }

    /// Sends a GET to a path of the shop.
    pub async fn get(&self, rest: &str) -> Answer {
        self.raw(Method::GET, &self.path(rest), &[], "").await
    }

    /// Posts JSON to a path of the shop.
    pub async fn post(&self, rest: &str, body: Value) -> Answer {
        self.post_with(rest, &[], body).await
    }

    /// Posts JSON with additional headers.
    pub async fn post_with(&self, rest: &str, headers: &[(&str, &str)], body: Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.raw(Method::POST, &self.path(rest), &all, body.to_string())
            .await
    }

    /// Requests a payment.
    pub async fn pay(&self, tracking_id: &str) -> Answer {
        self.post("payments", payment(tracking_id)).await
    }

    /// Requests a payment and waits until it is final or requires the payer's action.
    pub async fn pay_and_wait(&self, tracking_id: &str) -> Answer {
        self.post_with("payments", &[("prefer", "wait=20")], payment(tracking_id))
            .await
    }

    /// Requests a payment that is submitted later.
    pub async fn pay_async(&self, tracking_id: &str) -> Answer {
        self.post_with(
            "payments",
            &[("prefer", "respond-async")],
            payment(tracking_id),
        )
        .await
    }

    fn one(tracking_id: &str, rest: &str) -> String {
        format!(
            "transactions/{}{rest}",
            utf8_percent_encode(tracking_id, NON_ALPHANUMERIC)
        )
    }

    /// Returns the current transaction.
    pub async fn status(&self, tracking_id: &str) -> Value {
        self.get(&Self::one(tracking_id, "")).await.expect(200).json
    }

    /// Returns the current state.
    pub async fn state(&self, tracking_id: &str) -> String {
        self.status(tracking_id).await["state"]
            .as_str()
            .expect("a state")
            .to_owned()
    }

    /// Waits until a condition holds for the transaction.
    pub async fn until(&self, tracking_id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let path = self.path(&Self::one(tracking_id, ""));
        let mut tag = None::<String>;
        eventually(&format!("{tracking_id}: {what}"), async || {
            // The service responds when the transaction changes.
            let mut headers = vec![("prefer", "wait=1")];
            headers.extend(tag.as_deref().map(|tag| ("if-none-match", tag)));
            let answer = self.raw(Method::GET, &path, &headers, "").await;
            if answer.status == 304 {
                return None;
            }
            let answer = answer.expect(200);
            tag = answer.header("etag").map(str::to_owned);
            is(&answer.json).then_some(answer.json)
        })
        .await
    }

    /// Waits until the transaction is final.
    pub async fn until_final(&self, tracking_id: &str) -> Value {
        self.until(tracking_id, "final", |t| t["final"] == true)
            .await
    }

    /// Waits for a state.
    pub async fn until_state(&self, tracking_id: &str, state: &str) -> Value {
        self.until(tracking_id, state, |t| t["state"] == state)
            .await
    }

    /// Waits for a state of a transaction that may not exist yet.
    pub async fn until_state_if_there(&self, tracking_id: &str, state: &str) -> Value {
        let path = Self::one(tracking_id, "");
        eventually(&format!("{tracking_id}: {state}"), async || {
            Some(self.get(&path).await.json).filter(|seen| seen["state"] == state)
        })
        .await
    }

    /// Returns the evidence of a transaction.
    pub async fn evidence(&self, tracking_id: &str) -> Vec<Value> {
        let answer = self
            .get(&Self::one(tracking_id, "/evidence"))
            .await
            .expect(200);
        answer.json["evidence"].as_array().cloned().expect("a list")
    }

    /// Returns the evidence of one channel.
    pub async fn evidence_by(&self, tracking_id: &str, channel: &str) -> Vec<Value> {
        let mut all = self.evidence(tracking_id).await;
        all.retain(|evidence| evidence["channel"] == channel);
        all
    }

    /// Returns the explanation of its state.
    pub async fn explain(&self, tracking_id: &str) -> Value {
        self.get(&Self::one(tracking_id, "/explain"))
            .await
            .expect(200)
            .json
    }

    /// Requests a check now.
    pub async fn check(&self, tracking_id: &str) -> Answer {
        self.post(&Self::one(tracking_id, "/check"), json!({}))
            .await
    }

    /// Pauses submits of the shop.
    pub async fn pause_submits(&self) {
        self.post("pause", json!({})).await.expect(200);
    }

    /// Resumes submits of the shop.
    pub async fn resume_submits(&self) {
        self.post("resume", json!({})).await.expect(200);
    }

    /// Resolves a transaction to a state.
    pub async fn resolve(&self, tracking_id: &str, state: &str, reason: &str) -> Answer {
        let body = json!({"state": state, "reason": reason});
        self.post(&Self::one(tracking_id, "/resolve"), body).await
    }

    /// Returns the whole feed.
    pub async fn events(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let page = self
                .get(&format!("events?after={after}"))
                .await
                .expect(200)
                .json;
            let events = page["events"].as_array().cloned().expect("a list");
            after = page["next_after"].as_i64().expect("a number");
            if events.is_empty() {
                return all;
            }
            all.extend(events);
        }
    }

    /// Returns the feed's events of one transaction as `(type, state)`.
    pub async fn story(&self, tracking_id: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let events = self.events().await;
        let about = events
            .iter()
            .filter(|e| e["transaction"]["tracking_id"] == tracking_id);
        about
            .map(|e| (text(&e["type"]), text(&e["transaction"]["state"])))
            .collect()
    }

    /// Returns the open discrepancies.
    pub async fn discrepancies(&self) -> Vec<Value> {
        let answer = self.get("discrepancies?status=open").await.expect(200);
        answer.json["discrepancies"]
            .as_array()
            .cloned()
            .expect("a list")
    }

    /// Returns the kinds of the open discrepancies.
    pub async fn open_kinds(&self) -> Vec<String> {
        let all = self.discrepancies().await;
        all.iter()
            .map(|d| d["kind"].as_str().expect("a kind").to_owned())
            .collect()
    }

    /// Waits for a discrepancy of this kind.
    pub async fn until_found(&self, kind: &str) -> Value {
        eventually(&format!("a discrepancy {kind}"), async || {
            self.discrepancies()
                .await
                .into_iter()
                .find(|d| d["kind"] == kind)
        })
        .await
    }

    /// Posts to a webhook URL directly, without the simulator.
    pub async fn hook(&self, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let answer = self
            .http
            .send(Method::POST, url, headers, body.to_vec())
            .await;
        as_described(&Method::POST, url.strip_prefix(&self.hooks), &answer);
        answer
    }

    /// Sends a GET to the operations listener.
    pub async fn ops(&self, path: &str) -> Answer {
        let url = format!("{}{path}", self.ops);
        let answer = self.http.send(Method::GET, &url, &[], Vec::new()).await;
        as_described(&Method::GET, Some(path), &answer);
        answer
    }

    /// Returns the status of the readiness probe, or `None` without a response.
    pub async fn readiness(&self) -> Option<u16> {
        let url = format!("{}/readyz", self.ops);
        self.http
            .try_send(Method::GET, &url, &[], Vec::new())
            .await
            .map(|a| a.status)
    }

    /// Waits until the service is ready.
    pub async fn until_ready(&self) {
        eventually("the service is ready", async || {
            (self.readiness().await == Some(200)).then_some(())
        })
        .await;
    }

    /// Returns the current metrics.
    pub async fn metrics(&self) -> Metrics {
        Metrics::read(self.ops("/metrics").await.expect(200).text)
    }
}
