//! The feed as Server-Sent Events: `GET /v1/shops/{shop}/events` by `Accept: text/event-stream`.
//!
//! A reader that breaks off comes back with `Last-Event-ID` and goes on where it was; that is done
//! by every client of the kind. What it deliberately cannot do: hold up a stop. A stream ends when
//! the service stops, and the reader comes back to another replica.

use crate::api::auth::{ApiClient, AuthorizedCaller};
use crate::api::context::ApiContext;
use crate::api::events::{Event, event_page, parse_event};
use crate::config::Scope;
use crate::http::problem::Problem;
use crate::store::feed::EventRow;
use actix_web::http::header::{self, HeaderMap, HeaderName};
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use domain::ShopId;
use futures_util::Stream;
use futures_util::stream::unfold;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

/// The media type of Server-Sent Events.
const MEDIA_TYPE: &str = "text/event-stream";

/// The most streams of one client, at each replica.
pub(crate) const MAX_STREAMS_PER_CLIENT: usize = 32;

/// A silent stream says so in these intervals, so that nobody between takes it for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// How often the feed is read again although nobody told of a change.
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// How many events are read at once.
const PAGE_ROWS: i64 = 100;

/// After how long a reader comes back, in milliseconds.
const GREETING: &str = "retry: 1000\n\n";

/// Where a reader goes on.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Whether a stream is asked for, and not rather a page.
pub(crate) fn accepts_event_stream(headers: &HeaderMap) -> bool {
    let ranges = headers
        .get_all(header::ACCEPT)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next().map(str::trim));
    let mut known = ranges.filter(|range| {
        range.eq_ignore_ascii_case(MEDIA_TYPE) || range.eq_ignore_ascii_case("application/json")
    });
    known
        .next()
        .is_some_and(|range| range.eq_ignore_ascii_case(MEDIA_TYPE))
}

/// One reader.
struct StreamReader {
    context: web::Data<ApiContext>,
    client: Arc<ApiClient>,
    shop: ShopId,
    after: i64,
    /// Pieces of text that are not sent yet.
    ready: String,
    silent_since: Instant,
    /// The place among the client's streams, given back at the end.
    _place: OwnedSemaphorePermit,
}

/// Opens a stream after an event. What is no longer kept is an error before anything is sent.
pub(crate) async fn open_stream(
    context: web::Data<ApiContext>,
    caller: &AuthorizedCaller,
    after: i64,
    place: OwnedSemaphorePermit,
) -> Result<HttpResponse, Problem> {
    let shop = caller.shop.id.clone();
    let first = event_page(&context, &shop, after, PAGE_ROWS).await?;
    let mut reader = StreamReader {
        context,
        client: Arc::clone(&caller.client),
        shop,
        after,
        ready: GREETING.to_owned(),
        silent_since: Instant::now(),
        _place: place,
    };
    reader.take(first)?;
    Ok(HttpResponse::Ok()
        .content_type(MEDIA_TYPE)
        // Proxies that collect answers would hold events back.
        .insert_header(("x-accel-buffering", "no"))
        .streaming(text(reader)))
}

fn text(reader: StreamReader) -> impl Stream<Item = Result<Bytes, Infallible>> {
    unfold(reader, |mut reader| async move {
        let text = reader.next().await?;
        Some((Ok(Bytes::from(text)), reader))
    })
}

impl StreamReader {
    /// The next piece of text; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        let context = self.context.clone();
        let watch = context.ledger.watch_shop(&self.shop);
        loop {
            if !self.ready.is_empty() {
                self.silent_since = Instant::now();
                return Some(std::mem::take(&mut self.ready));
            }
            // A key that was taken away, or no longer may read this, ends what it opened.
            let may_read = context.is_still_authorized(&self.client, &self.shop, Scope::Read);
            if context.http.is_draining() || !may_read {
                return None;
            }
            // Made before the feed is read, so that no change falls between the two.
            let changed = watch.changed();
            let read = event_page(&context, &self.shop, self.after, PAGE_ROWS).await;
            // A reader that can be told no more comes back and is told why.
            self.take(read.ok()?).ok()?;
            if !self.ready.is_empty() {
                continue;
            }
            let left = HEARTBEAT.saturating_sub(self.silent_since.elapsed());
            if left.is_zero() {
                self.ready.push_str(":\n\n");
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = sleep(left.min(REREAD_INTERVAL)) => {}
                () = context.dispatch.stopping() => return None,
            }
        }
    }

    fn take(&mut self, rows: Vec<EventRow>) -> Result<(), Problem> {
        for row in rows {
            self.after = row.seq;
            write(&mut self.ready, &parse_event(row)?)?;
        }
        Ok(())
    }
}

/// Writes an event. A line break in its data would end it early, so that each line is marked.
fn write(text: &mut String, event: &Event) -> Result<(), Problem> {
    let data =
        serde_json::to_string(event).map_err(|error| Problem::internal(error.to_string()))?;
    text.push_str(&format!("id: {}\nevent: {}\n", event.seq, event.kind));
    for line in data.split(['\r', '\n']) {
        text.push_str(&format!("data: {line}\n"));
    }
    text.push('\n');
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use actix_web::http::header::HeaderValue;
    use domain::Timestamp;

    #[test]
    fn a_stream_needs_the_accept_header() {
        let wanted = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            accepts_event_stream(&headers)
        };
        assert!(wanted("text/event-stream"));
        assert!(wanted("Text/Event-Stream; q=1, */*"));
        assert!(wanted("text/event-stream, application/json"));
        assert!(!wanted("application/json, text/event-stream"));
        assert!(!wanted("*/*"));
        assert!(!accepts_event_stream(&HeaderMap::new()));
    }

    #[test]
    fn each_line_of_an_event_is_marked() {
        let row = EventRow {
            seq: 7,
            kind: "transaction.updated".to_owned(),
            at: Timestamp::from_micros(0),
            transaction_id: None,
            payload: "{\"id\":\n1}".to_owned(),
        };
        let mut text = String::new();
        write(&mut text, &parse_event(row).unwrap()).unwrap();
        assert_eq!(
            text,
            "id: 7\nevent: transaction.updated\n\
             data: {\"seq\":7,\"type\":\"transaction.updated\",\"at\":\"1970-01-01T00:00:00Z\",\
             \"transaction\":{\"id\":\ndata: 1}}\n\n"
        );
    }
}
