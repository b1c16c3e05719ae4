//! HTTP client of the demo. It accesses the service and the simulator as any caller does: by
//! address, key and JSON.

use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, redirect, retry};
use serde_json::Value;

use super::DemoError;

/// Timeout of a request; longer than the service's maximum wait.
const TIMEOUT: Duration = Duration::from_secs(15);

/// An HTTP server: base URL and key.
#[derive(Clone, Debug)]
pub(super) struct HttpEndpoint {
    client: Client,
    origin: String,
    key: Option<String>,
}

/// A response with a JSON body.
#[derive(Clone, Debug)]
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl HttpEndpoint {
    pub(super) fn new(origin: impl Into<String>, key: Option<&str>) -> Result<Self, DemoError> {
        // Ignored: a provider may already be installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent("reconciler-demo")
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .timeout(TIMEOUT)
            .build()
            .map_err(DemoError::Client)?;
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

    /// Returns the body at a path. A status other than 200 is an error.
    pub(super) async fn get(&self, path: &str) -> Result<Value, DemoError> {
        let answer = self.call(self.request(Method::GET, path), path).await?;
        answer.expect_ok(path)
    }

    /// Like [`Self::get`] with `Prefer: wait`. Accepts every status.
    pub(super) async fn get_waiting(
        &self,
        path: &str,
        seconds: u32,
    ) -> Result<HttpResponse, DemoError> {
        let request = self.request(Method::GET, path);
        let request = request.header("prefer", format!("wait={seconds}"));
        self.call(request, path).await
    }

    /// Returns whether a path responds with 200.
    pub(super) async fn is_good(&self, path: &str) -> bool {
        let answer = self.call(self.request(Method::GET, path), path).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Posts JSON. Accepts every status.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<HttpResponse, DemoError> {
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

    async fn call(&self, request: RequestBuilder, path: &str) -> Result<HttpResponse, DemoError> {
        let failed = |source| DemoError::Call {
            path: path.to_owned(),
            source,
        };
        let response = send(request).await.map_err(failed)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(failed)?;
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(HttpResponse { status, body })
    }
}

impl HttpResponse {
    /// Returns the body of a 200 response. Another status is an error.
    pub(super) fn expect_ok(self, path: &str) -> Result<Value, DemoError> {
        match self.status {
            200 => Ok(self.body),
            status => Err(DemoError::Answer {
                path: path.to_owned(),
                status,
                body: self.body.to_string(),
            }),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only place that sends requests"
)]
async fn send(request: RequestBuilder) -> Result<reqwest::Response, reqwest::Error> {
    request.send().await
}
