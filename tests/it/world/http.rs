//! A plain HTTP client, as a merchant's service would use.

use reqwest::header::HeaderMap;
use reqwest::{Method, redirect};
use serde_json::Value;
use std::time::Duration;

/// A complete response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body as text.
    pub text: String,
    /// Body as JSON; null if it is not JSON.
    pub json: Value,
}

impl Answer {
    /// Returns the text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Panics unless the status is this.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Panics unless it is a problem document of this type and status.
    #[track_caller]
    pub fn expect_problem(self, status: u16, suffix: &str) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.text
        );
        let kind = self.json["type"].as_str().unwrap_or_default();
        assert_eq!(
            kind.rsplit(['/', ':']).next(),
            Some(suffix),
            "{}",
            self.text
        );
        assert_eq!(self.json["status"], status, "{}", self.text);
        self
    }
}

/// The HTTP client. Cheap to clone.
#[derive(Clone)]
pub struct Http(reqwest::Client);

impl Default for Http {
    fn default() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .timeout(Duration::from_secs(70))
            .build();
        Self(client.expect("a client"))
    }
}

impl Http {
    /// Sends a request. Returns `None` without a complete response.
    pub async fn try_send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Option<Answer> {
        let mut request = self.0.request(method, url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        #[expect(clippy::disallowed_methods, reason = "the client of the tests")]
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.ok()?;
        let json = serde_json::from_str(&text).unwrap_or_default();
        Some(Answer {
            status,
            headers,
            text,
            json,
        })
    }

    /// Sends a request. Panics without a complete response.
    pub async fn send(
        &self,
        method: Method,
        url: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let answer = self.try_send(method.clone(), url, headers, body).await;
        answer.unwrap_or_else(|| panic!("no response to {method} {url}"))
    }
}
