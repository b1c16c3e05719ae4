//! Responses, and how they reach the client or fail to.

use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio::time::sleep;

use super::behaviour::{CannedResponse, ResponseAction};

/// Time after which the connection of a request without a response is closed.
const HANG_TIMEOUT: Duration = Duration::from_secs(900);

/// An HTTP response.
#[derive(Clone, Debug, PartialEq)]
pub struct SimResponse {
    /// HTTP status code.
    pub status: u16,
    /// Headers besides the content type.
    pub headers: Vec<(String, String)>,
    /// Content type.
    pub content_type: String,
    /// Body bytes.
    pub body: Bytes,
}

impl SimResponse {
    /// Creates a JSON response.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, Bytes::from(body.to_string()))
    }

    /// Creates a JSON response from a serialised body.
    pub fn bytes(status: u16, body: Bytes) -> Self {
        let content_type = "application/json; charset=utf-8".to_owned();
        Self {
            status,
            headers: Vec::new(),
            content_type,
            body,
        }
    }

    /// Creates the response that a script specifies.
    pub fn canned(canned: &CannedResponse) -> Self {
        let (body, usual) = match &canned.body {
            Value::String(text) => (text.clone(), "text/html; charset=utf-8"),
            Value::Null => (String::new(), "text/plain"),
            json => (json.to_string(), "application/json; charset=utf-8"),
        };
        let headers = canned
            .headers
            .iter()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let content_type = canned
            .content_type
            .clone()
            .unwrap_or_else(|| usual.to_owned());
        Self {
            status: canned.status,
            headers,
            content_type,
            body: Bytes::from(body),
        }
    }

    fn builder(&self) -> HttpResponseBuilder {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK);
        let mut builder = HttpResponse::build(status);
        builder.content_type(self.content_type.as_str());
        for (name, value) in &self.headers {
            builder.insert_header((name.as_str(), value.as_str()));
        }
        builder
    }
}

/// A response and how it is delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedResponse {
    /// Response to send.
    pub answer: SimResponse,
    /// How it is delivered.
    pub delivery: ResponseDelivery,
    /// Delay before it is sent, in virtual seconds.
    pub latency: f64,
}

/// How a response is delivered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ResponseDelivery {
    /// Normally.
    Plain,
    /// Never; the connection stays open.
    Hang,
    /// The connection is closed before the first byte.
    Reset,
    /// The connection is closed in the middle of the body.
    Cut,
    /// The connection is closed after the last byte of the JSON, but before the announced end.
    CutAfter,
    /// In small pieces over this number of real seconds.
    Trickle(f64),
}

impl From<SimResponse> for PlannedResponse {
    fn from(answer: SimResponse) -> Self {
        Self {
            answer,
            delivery: ResponseDelivery::Plain,
            latency: 0.0,
        }
    }
}

impl PlannedResponse {
    /// Returns the HTTP status that the client sees, or `None` if it sees no response.
    pub fn status_seen(&self) -> Option<u16> {
        match self.delivery {
            ResponseDelivery::Hang | ResponseDelivery::Reset => None,
            ResponseDelivery::Plain
            | ResponseDelivery::Cut
            | ResponseDelivery::CutAfter
            | ResponseDelivery::Trickle(_) => Some(self.answer.status),
        }
    }

    /// Returns the name of the delivery in the log.
    pub fn outcome_label(&self) -> &'static str {
        match self.delivery {
            ResponseDelivery::Plain => "answered",
            ResponseDelivery::Hang => "hang",
            ResponseDelivery::Reset => "reset",
            ResponseDelivery::Cut | ResponseDelivery::CutAfter => "cut",
            ResponseDelivery::Trickle(_) => "trickle",
        }
    }

    /// Sets the delivery that an act requires. An act that replaces the response does not change
    /// the delivery.
    pub fn modify_delivery(&mut self, act: &ResponseAction) {
        self.delivery = match act {
            ResponseAction::Normal | ResponseAction::Answer(_) | ResponseAction::Refuse(_) => {
                ResponseDelivery::Plain
            }
            ResponseAction::Hang => ResponseDelivery::Hang,
            ResponseAction::Reset => ResponseDelivery::Reset,
            ResponseAction::Cut => ResponseDelivery::Cut,
            ResponseAction::CutAfter => ResponseDelivery::CutAfter,
            ResponseAction::Trickle { seconds } => ResponseDelivery::Trickle(*seconds),
        };
    }

    /// Sends the response. `scale` converts virtual to real seconds.
    pub async fn send(self, scale: f64) -> HttpResponse {
        if self.latency > 0.0 {
            let real = (self.latency / scale).min(86_400.0);
            sleep(Duration::from_secs_f64(real)).await;
        }
        match self.delivery {
            ResponseDelivery::Plain => self.answer.builder().body(self.answer.body),
            ResponseDelivery::Hang => {
                sleep(HANG_TIMEOUT).await;
                broken(&self.answer, 0)
            }
            ResponseDelivery::Reset => broken(&self.answer, 0),
            ResponseDelivery::Cut => broken(&self.answer, self.answer.body.len() / 2),
            ResponseDelivery::CutAfter => broken(&self.answer, self.answer.body.len()),
            ResponseDelivery::Trickle(seconds) => dripping(&self.answer, seconds),
        }
    }
}

/// Returns a response whose body fails after `keep` bytes.
///
/// The server closes the connection of a failed body. If the body fails before its first byte, the
/// head has not been flushed and the client sees no response.
fn broken(answer: &SimResponse, keep: usize) -> HttpResponse {
    let size = (answer.body.len() as u64).max(1 + keep as u64);
    let start = answer.body.slice(..keep);
    let parts = stream::unfold(Some(start), move |rest| async move {
        let part = rest?;
        if !part.is_empty() {
            return Some((Ok(part), Some(Bytes::new())));
        }
        if keep > 0 {
            // Allows the first half to be sent before the failure.
            sleep(Duration::from_millis(50)).await;
        }
        Some((Err(std::io::Error::other("intentional failure")), None))
    });
    answer
        .builder()
        .body(SizedStream::new(size, Box::pin(parts)))
}

fn dripping(answer: &SimResponse, seconds: f64) -> HttpResponse {
    const DROPS: usize = 50;
    let size = answer.body.len();
    let step = size.div_ceil(DROPS).max(1);
    let pause = Duration::from_secs_f64(seconds.clamp(0.0, 86_400.0) / DROPS as f64);
    let drops = stream::unfold(answer.body.clone(), move |mut rest| async move {
        if rest.is_empty() {
            return None;
        }
        sleep(pause).await;
        let drop = rest.split_to(step.min(rest.len()));
        Some((Ok::<_, std::io::Error>(drop), rest))
    });
    answer
        .builder()
        .body(SizedStream::new(size as u64, Box::pin(drops)))
}
