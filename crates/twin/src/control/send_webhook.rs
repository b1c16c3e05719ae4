//! Control API for sending any webhook: any body, any headers, with a valid, an invalid or no
//! signature.

use std::time::Duration;

use actix_web::web::{Bytes, Data};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::backoffice::shop;
use super::{ControlError, ControlResult, ok_response, parse};
use crate::script::{CredentialsMode, SignatureMode};
use crate::server::Twin;
use crate::sign::SigningKey;
use crate::state::SimulatorState;
use crate::webhook_sender::{OutgoingWebhook, basic, content_signature, send};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendWebhookRequest {
    url: Option<String>,
    shop: Option<String>,
    uid: Option<String>,
    body: Option<Value>,
    #[serde(default)]
    headers: Map<String, Value>,
    #[serde(default)]
    signature: SignatureMode,
    #[serde(default)]
    credentials: CredentialsMode,
    #[serde(default = "one")]
    times: u32,
}

fn one() -> u32 {
    1
}

/// Sends a webhook now and returns the receiver's response.
///
/// The body is the given one, a string verbatim, or the body of the transaction `uid`.
pub async fn send_webhook(twin: Data<Twin>, body: Bytes) -> ControlResult {
    let post: SendWebhookRequest = parse(&body)?;
    let (letter, key) = twin.with(|world| written(world, &post))?;
    let mut letter = letter;
    if let Some(signature) = content_signature(&twin.signer, post.signature, key, &letter.body) {
        letter
            .headers
            .push(("Content-Signature".to_owned(), signature));
    }
    // Headers in the request are set last and replace the simulator's own.
    for (name, value) in &post.headers {
        letter
            .headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        letter.headers.push((name.clone(), value));
    }
    let mut answers = Vec::new();
    for _ in 0..post.times.min(10_000) {
        let again = OutgoingWebhook {
            url: letter.url.clone(),
            headers: letter.headers.clone(),
            body: letter.body.clone(),
            timeout: letter.timeout,
        };
        answers.push(match send(&twin.client, again).await {
            Err(error) => json!({"error": error}),
            Ok(response) => {
                let status = response.status().as_u16();
                json!({"status": status, "body": response.text().await.unwrap_or_default()})
            }
        });
    }
    ok_response(json!({"answers": answers}))
}

fn written(
    world: &SimulatorState,
    post: &SendWebhookRequest,
) -> Result<(OutgoingWebhook, SigningKey), ControlError> {
    let found = match &post.uid {
        None => None,
        Some(uid) => Some(
            world
                .transactions
                .get(uid)
                .ok_or_else(|| ControlError::not_found("no transaction with this uid"))?,
        ),
    };
    let owner = found.map(|found| &*found.shop);
    let shop = shop(world, post.shop.as_deref().or(owner))?;
    let url = post
        .url
        .clone()
        .or_else(|| found?.details.notification_url.clone());
    let url =
        url.ok_or_else(|| ControlError::bad_request("no url given, and the transaction has none"))?;
    let (body, encoding) = match (&post.body, &post.uid) {
        (Some(Value::String(text)), _) => (Bytes::from(text.clone()), None),
        (Some(json), _) => (Bytes::from(json.to_string()), None),
        (None, Some(uid)) => world.webhook_body(uid).unwrap_or_default(),
        (None, None) => return Err(ControlError::bad_request("one of body and uid is required")),
    };
    let secret = world
        .shops
        .get(&*shop)
        .map(|(_, secret)| secret.as_str())
        .unwrap_or_default();
    let headers = basic(post.credentials, &shop, secret)
        .map(|value| ("Authorization".to_owned(), value))
        .into_iter()
        .chain(encoding.map(|coding| ("Content-Encoding".to_owned(), coding.to_owned())))
        .collect();
    let timeout = Duration::from_secs_f64(world.switches.webhook_timeout.clamp(0.001, 86_400.0));
    Ok((
        OutgoingWebhook {
            url,
            headers,
            body,
            timeout,
        },
        world.switches.signing_key,
    ))
}
