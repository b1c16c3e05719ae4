//! One POST to a subscriber, and what came of it.
//!
//! Nothing is repeated here and no redirect is followed: whatever is not taken has its next try in
//! the database. What this deliberately cannot do: read an answer for anything but its status and
//! the pause it asks for; a body is read a little, so that the connection can be used again, and
//! thrown away.

use crate::clock;
use crate::config::{Live, SubscriberBody, SubscriberConfig};
use crate::engine::outbox::breaker::Breaker;
use crate::engine::outbox::guard::{Guard, Refused, resolver};
use crate::engine::outbox::sign::signatures;
use crate::gateway::{by_way_of, describe, retry_after};
use crate::telemetry::traces::{self, Span};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Response, StatusCode, redirect};
use std::error::Error as _;
use std::time::Duration;
use tokio::sync::Semaphore;
use url::Url;

/// How long a receiver may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an idle connection is kept: shorter than servers keep theirs.
const IDLE: Duration = Duration::from_secs(20);

/// So much of an answer is read, in bytes, for so long.
const ANSWER: (usize, Duration) = (16 * 1024, Duration::from_secs(2));

/// The label of what the guard did not let out.
const REFUSED: &str = "address_refused";

/// The most messages that are on their way to one subscriber.
pub(super) const PLACES: usize = 8;

/// A subscriber, with what this replica knows of it.
pub(super) struct Receiver {
    pub(super) name: String,
    pub(super) body: SubscriberBody,
    pub(super) breaker: Breaker,
    url: Url,
    config: Live,
    guard: Guard,
    client: Client,
    places: Semaphore,
}

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Taken.
    Taken,
    /// Not taken.
    Failed {
        /// The label of the metric.
        label: &'static str,
        /// In one line.
        reason: String,
        /// The pause that was asked for.
        pause: Option<Duration>,
    },
    /// The receiver wants no more.
    Gone,
}

impl Outcome {
    fn failed(label: &'static str, reason: impl Into<String>) -> Self {
        Self::Failed {
            label,
            reason: reason.into(),
            pause: None,
        }
    }
}

impl Receiver {
    /// Builds the client of one subscriber.
    pub(super) fn new(config: &SubscriberConfig, live: &Live) -> Result<Self, reqwest::Error> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let guard = Guard {
            allow_private: config.allow_private,
        };
        let now = live.now();
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
            .timeout(TIMEOUT)
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(PLACES)
            .build()?;
        Ok(Self {
            name: config.name.clone(),
            body: config.body,
            url: config.url.clone(),
            config: live.clone(),
            breaker: Breaker::default(),
            guard,
            client,
            places: Semaphore::new(PLACES),
        })
    }

    /// Signs with the secrets that are in use now. Subscribers are those of the start, so that there
    /// are some.
    fn signature(&self, id: &str, timestamp: i64, body: &[u8]) -> Option<String> {
        let now = self.config.now();
        let subscriber = now.subscriber(&self.name)?;
        Some(signatures(&subscriber.secret, id, timestamp, body))
    }

    /// Sends one message, as soon as one of the places is free.
    pub(super) async fn deliver(&self, id: &str, body: Vec<u8>) -> Outcome {
        // Never closed, so that there is a place sooner or later.
        let _place = self.places.acquire().await;
        if let Err(refused) = self.guard.literal(&self.url) {
            return Outcome::failed(REFUSED, refused.to_string());
        }
        let timestamp = clock::now_utc().unix_timestamp();
        let Some(signature) = self.signature(id, timestamp, &body) else {
            return Outcome::failed("unsigned", "there is no secret to sign with");
        };
        let span = Span::of_call("subscriber message");
        span.note("reconciler.subscriber", self.name.clone());
        span.note("reconciler.message_id", id.to_owned());
        let outcome = span.around(self.post(id, timestamp, signature, body)).await;
        match &outcome {
            Outcome::Taken => {}
            Outcome::Gone => span.failed("gone"),
            Outcome::Failed { label, .. } => span.failed(label),
        }
        outcome
    }

    async fn post(&self, id: &str, timestamp: i64, signature: String, body: Vec<u8>) -> Outcome {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(body);
        let request = traces::passed_on()
            .into_iter()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            });
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place where subscribers are sent to"
        )]
        let sent = request.send().await;
        match sent {
            Ok(response) => {
                let outcome = read(&response);
                discard(response).await;
                outcome
            }
            Err(error) if is_refused(&error) => Outcome::failed(REFUSED, describe(error)),
            Err(error) if error.is_timeout() => Outcome::failed("timeout", describe(error)),
            Err(error) => Outcome::failed("unreachable", describe(error)),
        }
    }
}

/// Whether the guard refused every address of a name.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<Refused>() {
            return true;
        }
        cause = inner.source();
    }
    false
}

/// What an answer says: its status is all that counts.
fn read(response: &Response) -> Outcome {
    let status = response.status();
    let label = match status {
        status if status.is_success() => return Outcome::Taken,
        StatusCode::GONE => return Outcome::Gone,
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
        "3xx" => format!("answered {}; redirects are not followed", status.as_u16()),
        _ => format!("answered {}", status.as_u16()),
    };
    Outcome::Failed {
        label,
        reason,
        pause,
    }
}

/// Reads a short body to its end, so that the connection can be used again. A long or slow one
/// costs the connection.
async fn discard(mut response: Response) {
    let mut left = ANSWER.0;
    let reading = async {
        while let Ok(Some(piece)) = response.chunk().await {
            match left.checked_sub(piece.len()) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // What came of it does not matter: the status has said everything.
    let _ = tokio::time::timeout(ANSWER.1, reading).await;
}
