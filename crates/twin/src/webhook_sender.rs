//! Sends webhooks with the shop's Basic credentials and a `Content-Signature` over the raw body. A
//! webhook is repeated by the documented schedule until the response is 200.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};

use super::random::generator;
use super::script::{CredentialsMode, SignatureMode};
use super::server::Twin;
use super::sign::{Signer, SigningKey};
use super::state::TimerEvent;

/// A webhook that is ready to be sent.
pub struct OutgoingWebhook {
    /// URL of the receiver.
    pub url: String,
    /// Header names and values besides the content type.
    pub headers: Vec<(String, String)>,
    /// Raw body.
    pub body: Bytes,
    /// Time limit for the receiver's response.
    pub timeout: Duration,
}

/// Creates the HTTP client for webhooks.
///
/// Certificates are not verified: the simulator's secrets are test secrets, and receivers in CI use
/// self-signed certificates.
pub fn client() -> Result<Client, reqwest::Error> {
    // Fails if a provider is already installed, which is sufficient.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tls_danger_accept_invalid_certs(true)
        .build()
}

/// Sends a webhook once.
pub async fn send(client: &Client, letter: OutgoingWebhook) -> Result<reqwest::Response, String> {
    let mut request = client
        .post(&letter.url)
        .timeout(letter.timeout)
        .header(CONTENT_TYPE, "application/json")
        .body(letter.body);
    for (name, value) in letter.headers {
        request = request.header(name, value);
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that sends webhooks"
    )]
    let sent = request.send().await;
    sent.map_err(|error| error_text(&error))
}

fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Returns the `Authorization` header, or `None` if it is omitted.
pub fn basic(credentials: CredentialsMode, shop: &str, secret: &str) -> Option<String> {
    let secret = match credentials {
        CredentialsMode::Good => secret,
        CredentialsMode::Bad => "wrong-secret",
        CredentialsMode::Missing => return None,
    };
    Some(format!(
        "Basic {}",
        STANDARD.encode(format!("{shop}:{secret}"))
    ))
}

/// Returns the `Content-Signature` header, or `None` if it is omitted.
pub fn content_signature(
    signer: &Signer,
    how: SignatureMode,
    key: SigningKey,
    body: &[u8],
) -> Option<String> {
    let signed = match how {
        SignatureMode::Missing => return None,
        SignatureMode::Good => signer.sign(key, body),
        SignatureMode::OtherKey => signer.sign(key.other(), body),
        SignatureMode::Bad => signer.sign(key, &[body, b" "].concat()),
    };
    signed.ok()
}

/// Sends one queued webhook and records the result.
pub async fn deliver(twin: Arc<Twin>, id: u64) {
    let Ok(_permit) = twin.senders.acquire().await else {
        return;
    };
    let Some(letter) = prepare(&twin, id) else {
        return;
    };
    let answer = send(&twin.client, letter)
        .await
        .map(|response| response.status().as_u16());
    twin.with(|world| {
        let (retries, stamp) = (world.switches.webhook_retries, world.stamp);
        let number = id.to_string();
        let sent = world
            .outbox
            .parcel(id)
            .map_or(0, |parcel| parcel.attempts)
            .to_string();
        let mut random = generator(world.seed, &["repeat", &number, &sent]);
        if let Some(due) = world
            .outbox
            .delivered(id, stamp, answer, retries, &mut random)
        {
            world.schedule(due, TimerEvent::Send(id));
        }
    });
}

fn prepare(twin: &Twin, id: u64) -> Option<OutgoingWebhook> {
    let (parcel, secret, key, signed, timeout) = twin.with(|world| {
        let parcel = world.outbox.parcel(id)?.clone();
        let secret = world
            .shops
            .get(&*parcel.shop)
            .map(|(_, secret)| secret.clone());
        let switches = &world.switches;
        let timeout = Duration::from_secs_f64(switches.webhook_timeout.clamp(0.001, 86_400.0));
        Some((
            parcel,
            secret?,
            switches.signing_key,
            switches.sign_webhooks,
            timeout,
        ))
    })?;
    // Signing takes a millisecond, so it is done outside the lock.
    let how = if signed {
        parcel.signature
    } else {
        SignatureMode::Missing
    };
    let signature = content_signature(&twin.signer, how, key, &parcel.body);
    let authorization = basic(parcel.credentials, &parcel.shop, &secret);
    let headers = authorization
        .map(|value| (AUTHORIZATION.to_string(), value))
        .into_iter()
        .chain(signature.map(|value| ("Content-Signature".to_owned(), value)))
        .chain((parcel.encoding).map(|coding| (CONTENT_ENCODING.to_string(), coding.to_owned())))
        .collect();
    Some(OutgoingWebhook {
        url: parcel.url,
        headers,
        body: parcel.body,
        timeout,
    })
}
