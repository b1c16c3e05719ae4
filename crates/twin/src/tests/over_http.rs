//! Tests over real sockets: a payment, its signed webhook, a closed connection, and the control
//! API.

#![expect(clippy::expect_used, reason = "a failed test may panic")]

use std::net::TcpListener;
use std::time::Duration;

use actix_web::web::{self, Bytes, Data};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::super::{SigningKey, TwinSettings, run};
use super::payment;

/// A received webhook: authorization, signature, body.
type Hook = (String, String, Bytes);

struct Running {
    origin: String,
    hooks: mpsc::UnboundedReceiver<Hook>,
    hook_url: String,
    client: Client,
    stop: oneshot::Sender<()>,
    twin: tokio::task::JoinHandle<Result<(), super::super::TwinError>>,
}

impl Running {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shops = [("1001".to_owned(), "secret".to_owned())].into();
        let settings = TwinSettings {
            shops,
            time_scale: 20.0,
            workers: 1,
            ..TwinSettings::default()
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move {
            let _ = stopped.await;
        };
        let twin = tokio::spawn(run(listener, settings, shutdown));
        let (hook_url, hooks) = receiver();
        let client = super::super::webhook_sender::client().expect("a client");
        Self {
            origin,
            hooks,
            hook_url,
            client,
            stop,
            twin,
        }
    }

    async fn send(&self, method: Method, path: &str, body: Value) -> Result<(u16, Value), String> {
        let request = self
            .client
            .request(method, format!("{}{path}", self.origin))
            .basic_auth("1001", Some("secret"))
            .header("content-type", "application/json")
            .timeout(Duration::from_secs(5))
            .body(body.to_string())
            .build()
            .map_err(|error| error.to_string())?;
        #[expect(clippy::disallowed_methods, reason = "the test plays the merchant")]
        let response = self
            .client
            .execute(request)
            .await
            .map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let text = response.text().await.map_err(|error| error.to_string())?;
        Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }

    async fn pay(&self, tracking_id: &str, path: &str) -> Result<(u16, Value), String> {
        let mut request = payment(tracking_id);
        request["notification_url"] = json!(self.hook_url);
        self.send(Method::POST, path, json!({"request": request}))
            .await
    }

    async fn hook(&mut self) -> Hook {
        let hook = timeout(Duration::from_secs(5), self.hooks.recv()).await;
        hook.expect("a webhook in time")
            .expect("the receiver lives")
    }
}

/// Starts a webhook receiver that answers 500 to the first request and 200 to the others.
fn receiver() -> (String, mpsc::UnboundedReceiver<Hook>) {
    let (sender, hooks) = mpsc::unbounded_channel();
    let sender = Data::new((sender, std::sync::atomic::AtomicBool::new(true)));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "http://{}/hook",
        listener.local_addr().expect("it is bound")
    );
    let server = HttpServer::new(move || {
        App::new()
            .app_data(sender.clone())
            .route("/hook", web::post().to(receive))
    });
    let server = server
        .workers(1)
        .disable_signals()
        .listen(listener)
        .expect("it listens")
        .run();
    tokio::spawn(server);
    (url, hooks)
}

type Receiver = (mpsc::UnboundedSender<Hook>, std::sync::atomic::AtomicBool);

async fn receive(to: Data<Receiver>, request: HttpRequest, body: Bytes) -> HttpResponse {
    let header = |name: &str| {
        let value = request
            .headers()
            .get(name)
            .and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let _ =
        to.0.send((header("authorization"), header("content-signature"), body));
    if to.1.swap(false, std::sync::atomic::Ordering::Relaxed) {
        return HttpResponse::InternalServerError().finish();
    }
    HttpResponse::Ok().finish()
}

fn signature_holds(signature: &str, body: &[u8]) -> bool {
    let spki = STANDARD
        .decode(SigningKey::Default.public())
        .unwrap_or_default();
    let signature = STANDARD.decode(signature).unwrap_or_default();
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki[24..])
        .verify(body, &signature)
        .is_ok()
}

#[tokio::test]
async fn a_webhook_is_repeated_until_it_gets_200() {
    let mut twin = Running::start();
    let (status, ack) = twin
        .pay("ok-1", "/async/transactions/payments")
        .await
        .expect("an ack");
    assert_eq!((status, &ack["status"]), (200, &json!("processing")));
    let (authorization, signature, body) = twin.hook().await;
    assert_eq!(authorization, "Basic MTAwMTpzZWNyZXQ=");
    assert!(signature_holds(&signature, &body));
    let response_url = ack["response_url"].as_str().unwrap_or_default();
    let path = response_url
        .strip_prefix(&twin.origin)
        .unwrap_or_default()
        .to_owned();
    let result = twin
        .send(Method::GET, &path, Value::Null)
        .await
        .expect("a result");
    assert_eq!(result, (200, serde_json::from_slice(&body).expect("JSON")));
    // The first delivery got a 500, so there is a second.
    let advance = twin
        .send(Method::POST, "/_twin/advance", json!({"seconds": 70}))
        .await;
    assert_eq!(advance.expect("advanced").0, 200);
    assert_eq!(twin.hook().await.2, body);
    let _ = twin.stop.send(());
    timeout(Duration::from_secs(5), twin.twin)
        .await
        .expect("it stops")
        .expect("no panic")
        .ok();
}

#[tokio::test]
async fn a_closed_connection_has_no_response_and_no_retry() {
    let twin = Running::start();
    // The first request leaves a pooled connection open; the second request is cut on it.
    let (status, _) = twin
        .pay("ok-1", "/transactions/payments")
        .await
        .expect("an answer");
    assert_eq!(status, 200);
    assert!(
        twin.pay("reset-1", "/async/transactions/payments")
            .await
            .is_err()
    );
    let counts = twin
        .send(
            Method::GET,
            "/_twin/counts?tracking_id=reset-1",
            Value::Null,
        )
        .await;
    let (_, counts) = counts.expect("counts");
    assert_eq!(counts["tracking_ids"][0]["posts"], json!(1));
    assert_eq!(counts["tracking_ids"][0]["statuses"], json!({"none": 1}));
    let _ = twin.stop.send(());
}

#[tokio::test]
async fn the_back_office_creates_and_corrects_transactions() {
    let mut twin = Running::start();
    let foreign = json!({"tracking_id": "theirs", "amount": 7, "currency": "EUR",
        "status": "failed", "created_offset_seconds": -3600, "notification_url": twin.hook_url});
    let (status, made) = twin
        .send(Method::POST, "/_twin/transactions", foreign)
        .await
        .expect("made");
    assert_eq!(status, 200, "{made}");
    let path = format!(
        "/_twin/transactions/{}",
        made["uid"].as_str().unwrap_or_default()
    );
    let change = json!({"status": "successful", "notify": true});
    let (_, changed) = twin
        .send(Method::POST, &path, change)
        .await
        .expect("changed");
    assert!(changed["transaction"]["manually_corrected_at"].is_string());
    assert!(String::from_utf8_lossy(&twin.hook().await.2).contains("successful"));
    let hook = json!({"url": twin.hook_url, "body": "{}", "signature": "bad"});
    let (_, sent) = twin
        .send(Method::POST, "/_twin/webhooks", hook)
        .await
        .expect("sent");
    assert_eq!(sent["answers"][0]["status"], json!(200));
    let (_, signature, body) = twin.hook().await;
    assert!(!signature_holds(&signature, &body));
    let wrong = twin
        .send(Method::POST, "/_twin/settings", json!({"nonsense": 1}))
        .await;
    assert_eq!(wrong.expect("an answer").0, 422);
    let _ = twin.stop.send(());
}
