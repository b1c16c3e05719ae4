//! A subscriber that accepts messages with a valid signature only.
//!
//! It verifies signatures with the reference library of Standard Webhooks and shares no code with
//! the service, so the demo shows that others can verify the service's signatures.

use std::collections::HashMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::Rng as _;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::time::{Instant, sleep};

use super::DemoError;
use super::assertions::Assertion;
use super::verify::VerifiedOutcome;

/// Headers of a message.
const HEADERS: [&str; 3] = ["webhook-id", "webhook-timestamp", "webhook-signature"];
/// Maximum time for the last messages to arrive.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The subscriber's server, and the messages that it received.
#[derive(Debug)]
pub(super) struct DemoSubscriber {
    /// URL of its endpoint.
    pub(super) url: String,
    /// Secret that it shares with the service.
    pub(super) secret: String,
    heard: Arc<Mutex<ReceivedMessages>>,
}

#[derive(Debug, Default)]
struct ReceivedMessages {
    verified: usize,
    refused: usize,
    /// Latest `sequence` and state of each transaction that was requested here, by its tracking ID.
    latest: HashMap<String, (i64, String)>,
}

impl ReceivedMessages {
    /// Keeps the state of a transaction. Messages can arrive in any order, and more than once. A transaction that
    /// was found at the gateway can have the same tracking ID, and has a `sequence` of its own.
    fn note(&mut self, data: &Value) {
        let about = (
            data["tracking_id"].as_str(),
            data["sequence"].as_i64(),
            data["state"].as_str(),
        );
        if let ((Some(name), Some(sequence), Some(state)), "api") =
            (about, data["origin"].as_str().unwrap_or_default())
        {
            let latest = self.latest.entry(name.to_owned()).or_default();
            if sequence > latest.0 {
                *latest = (sequence, state.to_owned());
            }
        }
    }
}

impl DemoSubscriber {
    /// Starts the server, which ends with the process.
    pub(super) fn start() -> Result<Self, DemoError> {
        let secret = format!(
            "whsec_{}",
            STANDARD.encode(rand::rng().random::<[u8; 32]>())
        );
        let listener =
            TcpListener::bind(("127.0.0.1", 0)).map_err(DemoError::io("find a free port"))?;
        let address = listener
            .local_addr()
            .map_err(DemoError::io("find a free port"))?;
        let heard = Arc::new(Mutex::new(ReceivedMessages::default()));
        let shared = web::Data::new((secret.clone(), Arc::clone(&heard)));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .route("/hooks", web::post().to(take))
        });
        let server = server
            .workers(1)
            .disable_signals()
            .listen(listener)
            .map_err(DemoError::io("listen for messages"))?
            .run();
        tokio::spawn(server);
        Ok(Self {
            url: format!("http://{address}/hooks"),
            secret,
            heard,
        })
    }

    /// Returns the assertion that it received every final state in a verified message.
    pub(super) async fn claim(&self, outcomes: &[VerifiedOutcome]) -> Assertion {
        let deadline = Instant::now() + DELIVERY_TIMEOUT;
        loop {
            let missing = self.missing(outcomes);
            if missing.is_empty() || Instant::now() > deadline {
                return self.judged(&missing);
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns the transactions whose final state it has not received.
    fn missing(&self, outcomes: &[VerifiedOutcome]) -> Vec<String> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let knows = |outcome: &&VerifiedOutcome| {
            let told = heard.latest.get(&outcome.tracking_id);
            told.is_some_and(|(_, state)| *state == outcome.state)
        };
        let missing = outcomes.iter().filter(|outcome| !knows(outcome));
        missing.map(|it| it.tracking_id.clone()).collect()
    }

    fn judged(&self, missing: &[String]) -> Assertion {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let (verified, refused) = (heard.verified, heard.refused);
        let holds = missing.is_empty() && refused == 0 && verified > 0;
        let text = match (holds, refused) {
            (true, _) => format!(
                "A subscriber received every final state in {verified} messages with valid signatures, \
                     verified by the Standard Webhooks library."
            ),
            (false, 0) => format!(
                "The subscriber did not receive the final state of {}",
                missing.join(", ")
            ),
            (false, _) => {
                format!("The subscriber rejected {refused} messages with invalid signatures.")
            }
        };
        Assertion { text, holds }
    }
}

async fn take(
    shared: web::Data<(String, Arc<Mutex<ReceivedMessages>>)>,
    request: HttpRequest,
    body: web::Bytes,
) -> HttpResponse {
    let (secret, heard) = shared.get_ref();
    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
    let header = |name: &str| Some(request.headers().get(name)?.as_bytes().to_vec());
    if !is_signed(secret, &header, &body) {
        heard.refused += 1;
        return HttpResponse::Unauthorized().finish();
    }
    heard.verified += 1;
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    heard.note(&message["data"]);
    HttpResponse::NoContent().finish()
}

fn is_signed(secret: &str, header: &dyn Fn(&str) -> Option<Vec<u8>>, body: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for name in HEADERS {
        let value = header(name).and_then(|bytes| HeaderValue::from_bytes(&bytes).ok());
        let Some(value) = value else { return false };
        headers.insert(HeaderName::from_static(name), value);
    }
    Webhook::new(secret).is_ok_and(|webhook| webhook.verify(body, &headers).is_ok())
}

#[cfg(test)]
#[expect(clippy::expect_used, reason = "a failed test may panic")]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn another_transaction_of_the_same_tracking_id_hides_nothing() {
        let message = |origin: &str, sequence: i64, state: &str| json!({"origin": origin, "tracking_id": "t", "sequence": sequence, "state": state});
        let mut heard = ReceivedMessages::default();
        heard.note(&message("gateway", 3, "merged"));
        heard.note(&message("api", 3, "pending"));
        heard.note(&message("api", 2, "processing"));
        assert_eq!(heard.latest.get("t"), Some(&(3, "pending".to_owned())));
    }

    #[test]
    fn only_valid_signatures_are_accepted() {
        let secret = format!("whsec_{}", STANDARD.encode([7; 32]));
        let now = leaves::clock::now_utc().unix_timestamp();
        let signature = Webhook::new(&secret)
            .and_then(|webhook| webhook.sign("evt_1", now, b"{}"))
            .expect("it signs");
        let header = |name: &str| {
            let text = match name {
                "webhook-id" => "evt_1".to_owned(),
                "webhook-timestamp" => now.to_string(),
                _ => signature.clone(),
            };
            Some(text.into_bytes())
        };
        assert!(is_signed(&secret, &header, b"{}"));
        assert!(!is_signed(&secret, &header, b"{ }"));
        assert!(!is_signed(&secret, &|_| None, b"{}"));
        let other = format!("whsec_{}", STANDARD.encode([8; 32]));
        assert!(!is_signed(&other, &header, b"{}"));
    }
}
