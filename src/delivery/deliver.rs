//! Sends one message to a subscriber with one POST.
//!
//! Invariant: no retry and no redirect. A failed message is retried from the database.
//!
//! Not responsible for: response bodies. Only the status and `Retry-After` of a response count. A
//! short body is read and discarded, so that the connection can be reused.

use crate::config::{LiveConfig, PayloadStyle, SubscriberConfig};
use crate::delivery::breaker::CircuitBreaker;
use crate::delivery::signature::signatures;
use crate::delivery::ssrf::{AddressFilter, ForbiddenAddress, resolver};
use gateway::{by_way_of, describe, retry_after};
use leaves::clock;
use leaves::telemetry::traces::{self, TraceSpan};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, redirect};
use std::error::Error as _;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// Maximum time for one delivery attempt, response included.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);

/// Maximum time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Idle time after which a pooled connection is closed; shorter than servers usually keep one.
const IDLE_CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Maximum part of a response body that is read, in bytes.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

/// Maximum time to read a response body.
const RESPONSE_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Metric label of deliveries that the address filter stopped.
const REFUSED: &str = "address_refused";

/// Maximum number of messages in flight to one subscriber.
pub(super) const MAX_IN_FLIGHT: usize = 8;

/// A subscriber's endpoint: HTTP client, circuit breaker and permits of this replica.
pub(super) struct SubscriberEndpoint {
    pub(super) name: String,
    pub(super) body: PayloadStyle,
    pub(super) breaker: CircuitBreaker,
    url: Url,
    config: LiveConfig,
    guard: AddressFilter,
    client: Client,
    places: Semaphore,
}

/// Outcome of one delivery attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// The subscriber accepted the message (2xx).
    Taken,
    /// The attempt failed.
    Failed {
        /// Label of `reconciler_deliveries_total`.
        label: &'static str,
        /// Reason in one line.
        reason: String,
        /// Pause that the subscriber requested with `Retry-After`.
        pause: Option<Duration>,
    },
    /// The subscriber answered 410 Gone and is disabled.
    Gone,
}

impl DeliveryOutcome {
    fn failed(label: &'static str, reason: impl Into<String>) -> Self {
        Self::Failed {
            label,
            reason: reason.into(),
            pause: None,
        }
    }
}

impl SubscriberEndpoint {
    /// Creates the endpoint of a subscriber and its HTTP client.
    pub(super) fn new(
        config: &SubscriberConfig,
        live: &LiveConfig,
    ) -> Result<Self, reqwest::Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = AddressFilter {
            allow_private: config.allow_private,
        };
        let now = live.current();
        let proxy = &now.delivery.proxy;
        let builder =
            Client::builder().user_agent(concat!("reconciler/", env!("CARGO_PKG_VERSION")));
        // What a proxy resolves is for the proxy to judge, and it may itself be at a private address.
        let builder = match proxy.url {
            Some(_) => builder,
            None => builder.dns_resolver(resolver(guard)),
        };
        let client = by_way_of(proxy, builder)?
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .http1_only()
            .gzip(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(DELIVERY_TIMEOUT)
            .pool_idle_timeout(IDLE_CONNECTION_TIMEOUT)
            .pool_max_idle_per_host(MAX_IN_FLIGHT)
            .build()?;
        Ok(Self {
            name: config.name.clone(),
            body: config.body,
            url: config.url.clone(),
            config: live.clone(),
            breaker: CircuitBreaker::default(),
            guard,
            client,
            places: Semaphore::new(MAX_IN_FLIGHT),
        })
    }

    /// Signs with the current secrets. Returns `None` if the live configuration has no such
    /// subscriber.
    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let now = self.config.current();
        let subscriber = now.subscriber(&self.name)?;
        Some(signatures(&subscriber.secret, id, timestamp, body))
    }

    /// Sends one message as soon as a permit is free.
    pub(super) async fn deliver(&self, id: &str, body: Vec<u8>) -> DeliveryOutcome {
        // The semaphore is never closed, so `acquire` cannot fail.
        let _place = self.places.acquire().await;
        if let Err(refused) = self.guard.check_literal(&self.url) {
            return DeliveryOutcome::failed(REFUSED, refused.to_string());
        }
        let timestamp = clock::now_utc().unix_timestamp();
        let Some(signature) = self.signature(id, timestamp, &body) else {
            return DeliveryOutcome::failed("unsigned", "no secret to sign with");
        };
        let span = TraceSpan::for_gateway_call("subscriber message");
        span.set_attribute("reconciler.subscriber", self.name.clone());
        span.set_attribute("reconciler.message_id", id.to_owned());
        let outcome = span
            .instrument(self.post(id, timestamp, signature, body))
            .await;
        match &outcome {
            DeliveryOutcome::Taken => {}
            DeliveryOutcome::Gone => span.set_error("gone"),
            DeliveryOutcome::Failed { label, .. } => span.set_error(label),
        }
        outcome
    }

    async fn post(
        &self,
        id: &str,
        timestamp: i64,
        signature: String,
        body: Vec<u8>,
    ) -> DeliveryOutcome {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        let request = traces::trace_headers()
            .into_iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            });
        #[expect(
            clippy::disallowed_methods,
            reason = "the only place that sends requests to subscribers"
        )]
        let sent = request.send().await;
        match sent {
            Ok(response) => {
                let outcome = read(&response);
                discard(response).await;
                outcome
            }
            Err(error) if is_refused(&error) => DeliveryOutcome::failed(REFUSED, describe(error)),
            Err(error) if error.is_timeout() => DeliveryOutcome::failed("timeout", describe(error)),
            Err(error) => DeliveryOutcome::failed("unreachable", describe(error)),
        }
    }
}

/// Returns whether the address filter rejected every address of the name.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<ForbiddenAddress>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// Derives the outcome from the status of a response.
fn read(response: &Response) -> DeliveryOutcome {
    let status = response.status();
    let label = match status {
        status if status.is_success() => return DeliveryOutcome::Taken,
        StatusCode::GONE => return DeliveryOutcome::Gone,
        StatusCode::TOO_MANY_REQUESTS => "429",
        status if status.is_redirection() => "3xx",
        status if status.is_client_error() => "4xx",
        _ => "5xx",
    };
    let may_ask = matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    );
    let pause = may_ask.then(|| retry_after(response.headers())).flatten();
    let reason = match label {
        "3xx" => format!(
            "HTTP status {}; redirects are not followed",
            status.as_u16()
        ),
        _ => format!("HTTP status {}", status.as_u16()),
    };
    DeliveryOutcome::Failed {
        label,
        reason,
        pause,
    }
}

/// Reads a short body to its end, so that the connection can be reused. A long or slow body closes
/// the connection.
async fn discard(mut response: Response) {
    let mut left = MAX_RESPONSE_BYTES;
    let reading = async {
        while let Ok(Some(piece)) = response.chunk().await {
            match left.checked_sub(piece.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // The result is ignored: the status alone decides the outcome.
    let _ = tokio::time::timeout(RESPONSE_BODY_TIMEOUT, reading).await;
}
