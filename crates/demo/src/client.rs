//! The demo's HTTP client. It knows the service and the twin as any outsider does: by
//! their addresses, a key and JSON.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, redirect, retry};
use serde_json::Value;

use super::Error;

/// Longer than the service lets a caller wait for the gateway.
const TIMEOUT: Duration = Duration::from_secs(15);

/// One server.
#[derive(Clone, Debug)]
pub(super) struct Server {
    client: Client,
    origin: String,
    key: Option<String>,
}

/// What was answered.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Server {
    pub(super) fn new(origin: impl Into<String>, key: Option<&str>) -> Result<Self, Error> {
        // Somebody else in this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent("reconciler-demo")
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(Error::Client)?;
        let (origin, key) = (origin.into(), key.map(str::to_owned));
        Ok(Self {
            client,
            origin,
            key,
        })
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// What stands at a path; any status but 200 is an error.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Error> {
        let answer = self.call(self.request(Method::GET, path), path).await?;
        answer.good(path)
    }

    /// As `get`, for what can be waited for; every status is an answer.
    pub(super) async fn get_waiting(&self, path: &str, seconds: u32) -> Result<Answer, Error> {
        let request = self.request(Method::GET, path);
        let request = request.header("prefer", format!("wait={seconds}"));
        self.call(request, path).await
    }

    /// Whether a path answers with 200.
    pub(super) async fn is_good(&self, path: &str) -> bool {
        let answer = self.call(self.request(Method::GET, path), path).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Posts JSON; every status is an answer.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Answer, Error> {
        let request = self
            .request(Method::POST, path)
            .header("content-type", "application/json")
            .body(body.to_string());
        self.call(request, path).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    async fn call(&self, request: RequestBuilder, path: &str) -> Result<Answer, Error> {
        let failed = |source| Error::Call {
            path: path.to_owned(),
            source,
        };
        let response = send(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(failed)?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// The body of a 200; any other status is an error.
    pub(super) fn good(self, path: &str) -> Result<Value, Error> {
        match self.status {
            200 => Ok(self.body),
            status => Err(Error::Answer {
                path: path.to_owned(),
                status,
                body: self.body.to_string(),
            }),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the demo sends a request"
)]
async fn send(request: RequestBuilder) -> Result<reqwest::Response, reqwest::Error> {
    request.send().await
}
