//! One HTTP answer of the gateway, read whole and within limits.
//!
//! What it deliberately cannot do: understand the body. That is for the readers of
//! [`super::read_submit`] and its kin.

use super::decode;
use super::fields::redact_and_truncate;
use super::reading::ReceivedResponse;
use super::redact::{Secrets, redact_with};
use bytes::{Bytes, BytesMut};
use domain::Timestamp;
use reqwest::Response;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The longest body that is read, in bytes, after decompression.
pub const MAX_RESPONSE_BYTES: usize = 1024 * 1024;
/// The longest wait that is taken from an answer.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(86_400);
/// The longest header value that is kept, in bytes.
const MAX_HEADER: usize = 128;

/// An answer.
#[derive(Clone, PartialEq, Eq)]
pub struct GatewayResponse {
    /// The HTTP status.
    pub status: u16,
    /// `Retry-After`, as a time to wait; at most a day.
    pub retry_after: Option<Duration>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `X-Request-Id`: the gateway's own name for this exchange, for its support.
    pub request_id: Option<String>,
    /// `Date`: the sender's clock when it answered, in whole seconds.
    pub date: Option<Timestamp>,
    /// The body, decompressed.
    pub body: Bytes,
    /// SHA-256 of the body, as it came below `gzip`.
    pub sha256: [u8; 32],
    /// The body is not whole: it broke off, or is longer than [`MAX_RESPONSE_BYTES`].
    pub truncated: bool,
}

impl fmt::Debug for GatewayResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("request_id", &self.request_id)
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

impl GatewayResponse {
    /// The answer as the readers take it.
    pub fn received(&self, at: Timestamp) -> ReceivedResponse<'_> {
        ReceivedResponse {
            http_status: self.status,
            retry_after: self.retry_after,
            body: &self.body,
            sha256: self.sha256,
            truncated: self.truncated,
            at,
        }
    }
}

/// An answer whose head has come.
pub(super) enum ResponseHead {
    /// All that was to be read.
    Whole(GatewayResponse),
    /// It broke off; what had come until then.
    BrokenOff {
        answer: GatewayResponse,
        reason: String,
    },
}

impl ResponseHead {
    /// The same without the card data of a request, wherever the answer repeats it. The hash stays that of
    /// what came.
    pub(super) fn without(mut self, card: &Secrets) -> Self {
        let (Self::Whole(answer) | Self::BrokenOff { answer, .. }) = &mut self;
        if !card.is_empty() {
            answer.body = Bytes::from(redact_with(&answer.body, card).bytes);
        }
        self
    }
}

/// Reads the body of a response.
pub(super) async fn read_body(mut response: Response) -> ResponseHead {
    let status = response.status().as_u16();
    let headers = std::mem::take(response.headers_mut());
    let mut body = BytesMut::new();
    let (truncated, broken) = loop {
        match response.chunk().await {
            Ok(Some(piece)) => {
                let room = MAX_RESPONSE_BYTES - body.len();
                body.extend_from_slice(&piece[..piece.len().min(room)]);
                if piece.len() > room {
                    break (true, None);
                }
            }
            Ok(None) => break (false, None),
            Err(error) => break (true, Some(describe(error))),
        }
    };
    let sha256 = Sha256::digest(&body).into();
    let answer = GatewayResponse {
        status,
        retry_after: retry_after(&headers),
        content_type: header(&headers, &CONTENT_TYPE),
        request_id: header(&headers, &HeaderName::from_static("x-request-id")),
        date: date(&headers).map(Timestamp::from),
        sha256,
        body: decoded(&headers, body.freeze()),
        truncated,
    };
    match broken {
        Some(reason) => ResponseHead::BrokenOff { answer, reason },
        None => ResponseHead::Whole(answer),
    }
}

/// A body without a content coding that nobody asked for: the client below undoes `gzip` alone. One that
/// is not known here stays as it came.
fn decoded(headers: &HeaderMap, body: Bytes) -> Bytes {
    let coding = headers.get(CONTENT_ENCODING).and_then(|c| c.to_str().ok());
    match decode::undo(coding, &body, MAX_RESPONSE_BYTES) {
        Ok(Some(plain)) => Bytes::copy_from_slice(&plain),
        Ok(None) | Err(_) => body,
    }
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let text = String::from_utf8_lossy(headers.get(name)?.as_bytes()).into_owned();
    Some(redact_and_truncate(&text, MAX_HEADER))
}

fn date(headers: &HeaderMap) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(headers.get(DATE)?.to_str().ok()?, &Rfc2822).ok()
}

/// Seconds, or a date that is read against the sender's own `Date`: no clock of ours takes part.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = OffsetDateTime::parse(text, &Rfc2822).ok()?;
            let now = date(headers)?;
            Duration::try_from(until - now).unwrap_or_default()
        }
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// An error with its causes in one line, without the address, which names transactions.
pub fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    redact_and_truncate(&text, 512)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn waits() {
        let wait = |after: &str, date: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, after.parse().unwrap());
            date.map(|date| headers.insert(DATE, date.parse().unwrap()));
            retry_after(&headers)
        };
        let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(wait("120", None), Some(Duration::from_secs(120)));
        assert_eq!(
            wait("Sun, 06 Nov 1994 08:50:37 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(
            wait("Sun, 06 Nov 1994 08:00:00 GMT", now),
            Some(Duration::ZERO)
        );
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT", None), None);
        assert_eq!(wait("18446744073709551615", None), Some(MAX_RETRY_AFTER));
        assert_eq!(wait("-1", now), None);
        assert_eq!(wait("soon", now), None);
    }
}
