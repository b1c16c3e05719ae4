//! Reading request bodies: bounded in size and in time, and overwritten after use, since any of
//! them may hold card data.
//!
//! What it deliberately cannot do: reach the buffers of the connection itself, which hold each piece
//! of a body until the next one comes.

use crate::http::budget::Held;
use crate::http::connection::Connection;
use crate::http::in_hand;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::request;
use actix_web::HttpRequest;
use actix_web::error::PayloadError;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Payload;
use futures_util::StreamExt;
use gateway::{read_request, read_value, zeroize_value};
use serde_json::{Map, Value};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use zeroize::{Zeroize, Zeroizing};

/// The longest time that a body may take.
pub(crate) const BODY_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// So many bytes a value takes; one with a name counts twice.
const VALUE: usize = 48;

/// A body as it came, overwritten when it is dropped, and its room in the listener's budget.
pub(crate) struct RequestBody {
    bytes: Zeroizing<Vec<u8>>,
    room: BodyPermit,
}

/// Room in the budget of a listener. It is given back with the last of its clones.
#[derive(Clone, Default)]
pub(crate) struct BodyPermit(Option<Arc<Held>>);

impl RequestBody {
    /// The room that it takes.
    pub(crate) fn room(&self) -> BodyPermit {
        self.room.clone()
    }

    /// The room that it takes, and so many bytes more for what is made of it.
    pub(crate) fn room_with(&mut self, more: usize) -> Result<BodyPermit, Problem> {
        let length = self.bytes.len();
        if let Some(held) = self.room.0.as_mut().and_then(Arc::get_mut)
            && !held.grow_by(more, length)
        {
            return Err(no_room());
        }
        Ok(self.room())
    }

    /// Overwrites it.
    pub(crate) fn clear(&mut self) {
        self.bytes.zeroize();
    }
}

impl Deref for RequestBody {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A JSON body, overwritten when it is dropped.
pub(crate) struct SensitiveJson(Value);

impl SensitiveJson {
    /// Reads JSON. Of two fields with one name the last counts.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Problem> {
        Self::parse_by(read_value, bytes)
    }

    fn parse_by(
        read: fn(&[u8]) -> Result<Value, serde_json::Error>,
        bytes: &[u8],
    ) -> Result<Self, Problem> {
        // The reader's own message could repeat a piece of the body.
        read(bytes).map(Self).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let detail = format!("the body is not json: line {line}, column {column}");
            Problem::new(ProblemKind::Malformed, detail)
        })
    }

    pub(crate) fn value(&self) -> &Value {
        &self.0
    }

    pub(crate) fn value_mut(&mut self) -> &mut Value {
        &mut self.0
    }

    /// It as a text of our own, overwritten when it is dropped.
    pub(crate) fn bytes(&self) -> Zeroizing<Vec<u8>> {
        // A vector that grows by itself leaves its old memory as it was: first count, then write.
        let mut length = 0;
        let _ = serde_json::to_writer(Counter(&mut length), &self.0);
        let mut bytes = Zeroizing::new(Vec::with_capacity(length));
        // Writing into memory cannot fail.
        let _ = serde_json::to_writer(&mut *bytes, &self.0);
        bytes
    }

    /// The fields, when it is an object.
    pub(crate) fn fields(&self) -> Result<&Map<String, Value>, Problem> {
        self.0
            .as_object()
            .ok_or_else(|| Problem::invalid("", "must be an object"))
    }
}

/// Counts what is written.
struct Counter<'a>(&'a mut usize);

impl std::io::Write for Counter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        *self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for SensitiveJson {
    fn drop(&mut self) {
        zeroize_value(&mut self.0);
    }
}

/// Reads a JSON body of an API request.
pub(crate) async fn json(
    req: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<(SensitiveJson, RequestBody), Problem> {
    require_json(req.headers())?;
    let mut body = read(req, payload, limit).await?;
    body.room_with(values(&body))?;
    Ok((SensitiveJson::parse(&body)?, body))
}

/// The same of a request that is forwarded as it came: its numbers may be greater than any that are read.
pub(crate) async fn forwarded(
    req: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<(SensitiveJson, RequestBody), Problem> {
    require_json(req.headers())?;
    let mut body = read(req, payload, limit).await?;
    body.room_with(values(&body))?;
    Ok((SensitiveJson::parse_by(read_request, &body)?, body))
}

/// About how many bytes the values of a JSON text take. A list of digits takes many times what its text does.
fn values(json: &[u8]) -> usize {
    let begins = |byte: &&u8| matches!(byte, b',' | b':' | b'[' | b'{');
    json.iter().filter(begins).count() * VALUE
}

/// Fails unless the body is `application/json` in UTF-8, and not compressed.
fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = text(header::CONTENT_ENCODING)
        .is_none_or(|encoding| encoding.trim().eq_ignore_ascii_case("identity"));
    if plain && text(header::CONTENT_TYPE).is_some_and(is_json) {
        return Ok(());
    }
    let detail = "send the body as application/json in utf-8, without a content encoding";
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
                let value = value.trim().trim_matches('"');
                value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
            }
            Some(_) | None => true,
        })
}

/// How long a body says it is; 0 when it does not say so. Fails when that is more than `limit`.
pub(crate) fn check_content_length(req: &HttpRequest, limit: usize) -> Result<usize, Problem> {
    let told = req.headers().get(header::CONTENT_LENGTH);
    let told = told
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    let told = usize::try_from(told).unwrap_or(usize::MAX);
    if told > limit {
        return Err(too_large(limit));
    }
    Ok(told)
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// Fails with 503 while the bodies that the listener keeps leave no room for it.
pub(crate) async fn read(
    req: &HttpRequest,
    payload: Payload,
    limit: usize,
) -> Result<RequestBody, Problem> {
    let told = check_content_length(req, limit)?;
    let connection = req.conn_data::<Rc<Connection>>();
    let held = connection.map(|connection| {
        let room = connection.listener().budget().take(told);
        room.ok_or_else(no_room)
    });
    let held = held.transpose()?;
    if let Some(connection) = connection {
        connection.want(in_hand::length(req.headers()));
    }
    let read = collect(payload, told, limit, held);
    match tokio::time::timeout(BODY_READ_TIMEOUT, read).await {
        Ok(read) => {
            let (bytes, held) = read?;
            request::add_log_fields(req, |fields| fields.is_read = true);
            let room = BodyPermit(held.map(Arc::new));
            Ok(RequestBody { bytes, room })
        }
        Err(_) => Err(Problem::new(
            ProblemKind::RequestTimeout,
            "the body did not come in 10 seconds",
        )
        .header(header::CONNECTION, "close")),
    }
}

async fn collect(
    mut payload: Payload,
    told: usize,
    limit: usize,
    mut held: Option<Held>,
) -> Result<(Zeroizing<Vec<u8>>, Option<Held>), Problem> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(told));
    while let Some(piece) = payload.next().await {
        let piece = piece.map_err(broken)?;
        if piece.len() > limit - bytes.len() {
            return Err(too_large(limit));
        }
        if piece.len() > bytes.capacity() - bytes.len() {
            // A vector that grows by itself leaves its old memory as it was.
            let capacity = (bytes.len() + piece.len()) * 2;
            if held.as_mut().is_some_and(|held| !held.grow_to(capacity)) {
                return Err(no_room());
            }
            let mut larger = Vec::with_capacity(capacity);
            larger.extend_from_slice(&bytes);
            bytes = Zeroizing::new(larger);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, held))
}

fn no_room() -> Problem {
    let detail = "the requests in hand leave no room for this one; nothing was done";
    Problem::unavailable(detail)
}

fn too_large(limit: usize) -> Problem {
    Problem::new(
        ProblemKind::PayloadTooLarge,
        format!("at most {limit} bytes are taken"),
    )
}

fn broken(error: PayloadError) -> Problem {
    match error {
        PayloadError::Overflow => {
            Problem::new(ProblemKind::PayloadTooLarge, "the body is too large")
        }
        other => {
            Problem::new(ProblemKind::Malformed, "the body broke off").with_cause(other.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use actix_web::ResponseError;
    use actix_web::test::TestRequest;
    use actix_web::{FromRequest, dev};
    use bytes::Bytes;
    use serde_json::json;

    async fn payload(pieces: &[&'static str]) -> Payload {
        let pieces: Vec<Result<Bytes, PayloadError>> = pieces
            .iter()
            .map(|p| Ok(Bytes::from_static(p.as_bytes())))
            .collect();
        let stream = futures_util::stream::iter(pieces);
        let mut payload = dev::Payload::from(
            Box::pin(stream) as std::pin::Pin<Box<dyn futures_util::Stream<Item = _>>>
        );
        let request = TestRequest::default().to_http_request();
        Payload::from_request(&request, &mut payload).await.unwrap()
    }

    #[actix_web::test]
    async fn the_limit_holds_with_and_without_a_length() {
        let bare = TestRequest::default().to_http_request();
        let body = read(&bare, payload(&["ab", "c", "defgh"]).await, 8)
            .await
            .unwrap();
        assert_eq!(&*body, b"abcdefgh");
        let error = read(&bare, payload(&["ab", "cdefghi"]).await, 8)
            .await
            .err()
            .unwrap();
        assert_eq!(error.status_code(), 413);
        let told = TestRequest::default()
            .insert_header(("content-length", "9"))
            .to_http_request();
        let error = read(&told, payload(&[]).await, 8).await.err().unwrap();
        assert_eq!(error.status_code(), 413);
    }

    #[test]
    fn json_in_utf8_and_nothing_else() {
        let good = ["application/json", "Application/JSON; charset=UTF-8"];
        for good in good
            .into_iter()
            .chain(["application/json;charset=\"utf-8\"; x=y"])
        {
            assert!(is_json(good), "{good}");
        }
        for bad in [
            "",
            "text/json",
            "application/jsonx",
            "application/json; charset=latin1",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
        let compressed = TestRequest::default()
            .insert_header(("content-type", "application/json"))
            .insert_header(("content-encoding", "gzip"))
            .to_http_request();
        assert_eq!(
            require_json(compressed.headers())
                .unwrap_err()
                .status_code(),
            415
        );
    }

    #[test]
    fn no_name_of_a_field_has_a_meaning_of_its_own() {
        let name = "$serde_json::private::RawValue";
        let mut body = json!([]);
        for _ in 0..8 {
            body = json!({name: body.to_string()});
        }
        let read = SensitiveJson::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(read.value(), &body);
    }

    #[test]
    fn an_error_repeats_nothing_of_the_body() {
        let error = SensitiveJson::parse(br#"{"number": 42000000000x"#)
            .err()
            .unwrap();
        assert!(!format!("{error:?}").contains("4200"));
        assert_eq!(error.status_code(), 400);
        assert_eq!(
            SensitiveJson::parse(b"[]")
                .unwrap()
                .fields()
                .unwrap_err()
                .status_code(),
            422
        );
        assert_eq!(
            SensitiveJson::parse(br#"{"a":1,"a":2}"#).unwrap().value()["a"],
            2
        );
    }
}
