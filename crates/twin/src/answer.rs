//! Answers, and the ways in which one reaches the client or does not.

use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tokio::time::sleep;

use super::behaviour::{Act, Canned};

/// How long a request that is never answered is held before its connection is dropped.
const HANG: Duration = Duration::from_secs(900);

/// An HTTP answer, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Headers besides the content type.
    pub headers: Vec<(String, String)>,
    /// Content type.
    pub content_type: String,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::bytes(status, Bytes::from(body.to_string()))
    }

    /// A JSON answer whose body is already written.
    pub fn bytes(status: u16, body: Bytes) -> Self {
        let content_type = "application/json; charset=utf-8".to_owned();
        Self {
            status,
            headers: Vec::new(),
            content_type,
            body,
        }
    }

    /// An answer that a script spells out.
    pub fn canned(canned: &Canned) -> Self {
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

/// An answer and its way.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// What would be answered.
    pub answer: Answer,
    /// How.
    pub delivery: Delivery,
    /// Virtual seconds before it leaves.
    pub latency: f64,
}

/// The way of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delivery {
    /// It arrives.
    Plain,
    /// It never comes.
    Hang,
    /// The connection is cut before it.
    Reset,
    /// The connection is cut in the middle of it.
    Cut,
    /// The connection is cut when all of its JSON has come, and before its announced end.
    CutAfter,
    /// It comes in drops, over so many real seconds.
    Trickle(f64),
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Self {
        Self {
            answer,
            delivery: Delivery::Plain,
            latency: 0.0,
        }
    }
}

impl Reply {
    /// The HTTP status that the client sees; none when it sees no answer.
    pub fn status_seen(&self) -> Option<u16> {
        match self.delivery {
            Delivery::Hang | Delivery::Reset => None,
            Delivery::Plain | Delivery::Cut | Delivery::CutAfter | Delivery::Trickle(_) => {
                Some(self.answer.status)
            }
        }
    }

    /// A word for the log.
    pub fn fate(&self) -> &'static str {
        match self.delivery {
            Delivery::Plain => "answered",
            Delivery::Hang => "hang",
            Delivery::Reset => "reset",
            Delivery::Cut | Delivery::CutAfter => "cut",
            Delivery::Trickle(_) => "trickle",
        }
    }

    /// The delivery that an act asks for; acts that replace the answer leave it plain.
    pub fn bend(&mut self, act: &Act) {
        self.delivery = match act {
            Act::Normal | Act::Answer(_) | Act::Refuse(_) => Delivery::Plain,
            Act::Hang => Delivery::Hang,
            Act::Reset => Delivery::Reset,
            Act::Cut => Delivery::Cut,
            Act::CutAfter => Delivery::CutAfter,
            Act::Trickle { seconds } => Delivery::Trickle(*seconds),
        };
    }

    /// Sends it. `scale` turns virtual into real seconds.
    pub async fn send(self, scale: f64) -> HttpResponse {
        if self.latency > 0.0 {
            let real = (self.latency / scale).min(86_400.0);
            sleep(Duration::from_secs_f64(real)).await;
        }
        match self.delivery {
            Delivery::Plain => self.answer.builder().body(self.answer.body),
            Delivery::Hang => {
                sleep(HANG).await;
                broken(&self.answer, 0)
            }
            Delivery::Reset => broken(&self.answer, 0),
            Delivery::Cut => broken(&self.answer, self.answer.body.len() / 2),
            Delivery::CutAfter => broken(&self.answer, self.answer.body.len()),
            Delivery::Trickle(seconds) => dripping(&self.answer, seconds),
        }
    }
}

/// An answer whose body breaks after so many bytes. The server closes the
/// connection on a body that fails; when it fails before the first byte, the
/// head has not been flushed yet and the client sees nothing at all.
fn broken(answer: &Answer, keep: usize) -> HttpResponse {
    let size = (answer.body.len() as u64).max(1 + keep as u64);
    let start = answer.body.slice(..keep);
    let parts = stream::unfold(Some(start), move |rest| async move {
        let part = rest?;
        if !part.is_empty() {
            return Some((Ok(part), Some(Bytes::new())));
        }
        if keep > 0 {
            // Lets the first half leave before the cut.
            sleep(Duration::from_millis(50)).await;
        }
        Some((Err(std::io::Error::other("cut on purpose")), None))
    });
    answer
        .builder()
        .body(SizedStream::new(size, Box::pin(parts)))
}

fn dripping(answer: &Answer, seconds: f64) -> HttpResponse {
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
