//! `GET /v1/shops/{shop}/events`: the feed, in commit order and without gaps, as pages or as a stream.
//!
//! What it deliberately cannot do: remember who has read what. A reader keeps `next_after` and goes
//! on from there.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::openapi::params::{EventTypeSchema, FeedParams, LastEventIdHeader, WaitHeader};
use crate::api::prefer::{self, Preference};
use crate::api::request::{self, QueryParams};
use crate::api::{stream, wait};
use crate::config::Scope;
use crate::http::problem::{Problem, ProblemKind};
use crate::store::feed::{self, EventRow};
use crate::view::{DiscrepancyView, TransactionView};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::ShopId;
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::time::Instant;
use utoipa::ToSchema;

/// Rows of a page, unless `limit` is given.
const DEFAULT_LIMIT: i64 = 100;

/// Most rows of a page.
const MAX_LIMIT: i64 = 500;

/// An event: with the transaction, or with the discrepancy, as it was then.
#[derive(Serialize, ToSchema)]
pub(crate) struct Event {
    /// Its place in the feed; consecutive for each shop.
    #[schema(minimum = 1)]
    pub(crate) seq: i64,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = EventTypeSchema)]
    pub(crate) kind: String,
    /// When it was committed.
    #[schema(format = DateTime)]
    at: String,
    /// The transaction, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = TransactionView)]
    transaction: Option<Box<RawValue>>,
    /// The finding, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = DiscrepancyView)]
    discrepancy: Option<Box<RawValue>>,
}

/// A piece of the feed.
#[derive(Serialize, ToSchema)]
pub(crate) struct EventPage {
    /// In commit order.
    events: Vec<Event>,
    /// Where to go on: the next `after`.
    #[schema(minimum = 0)]
    next_after: i64,
}

/// Read the feed of events
///
/// Everything that changed at the shop, in commit order and without gaps. Keep `next_after` and come
/// back with it; with `Prefer: wait=N` the answer waits for the next event when there is none.
///
/// With `Accept: text/event-stream` the same path streams the same events: `id` is `seq`, `event` the
/// type, `data` the event. A reader that comes back says in `Last-Event-ID` how far it came. A silent
/// stream sends a comment every 15 seconds; a client may read 32 streams at once at each replica.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/events",
    tag = "Feed",
    operation_id = "readEvents",
    params(FeedParams, WaitHeader, LastEventIdHeader),
    responses(
        (status = 200, description = "What follows `after`, which may be nothing yet.",
            headers(("Preference-Applied" = String, description = "What was done of `Prefer`.")),
            content((EventPage = "application/json"), (String = "text/event-stream"))),
        (status = 410, description = "What follows `after` is no longer kept: list the transactions, then \
            go on from `first_after`."),
    )
)]
pub(crate) async fn list(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let caller = context.authorize(&req, Scope::Read)?;
    let mut params = QueryParams::of(&req, &["after", "limit"]);
    let after = params
        .read("after", "a whole number from 0", number)
        .unwrap_or(0);
    let limit = request::limit(&mut params, DEFAULT_LIMIT, MAX_LIMIT);
    params.finish()?;
    if stream::accepts_event_stream(req.headers()) {
        // A reader that comes back asks as it did at first, and says in the header how far it came.
        let after = resumed(&req)?.unwrap_or(after);
        let place = caller.stream_permit()?;
        return stream::open_stream(context, &caller, after, place).await;
    }
    let prefer = Preference::of(req.headers()).waiting();
    let deadline = started + prefer.wait.unwrap_or_default();
    let rows = rows(&context, &caller, (after, limit), deadline).await?;
    let next_after = rows.last().map_or(after, |row| row.seq);
    let events = rows
        .into_iter()
        .map(parse_event)
        .collect::<Result<_, _>>()?;
    let mut response = HttpResponse::Ok();
    if let Some(applied) = prefer.applied() {
        response.insert_header((prefer::PREFERENCE_APPLIED, applied));
    }
    Ok(response.json(EventPage { events, next_after }))
}

async fn rows(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    (after, limit): (i64, i64),
    deadline: Instant,
) -> Result<Vec<EventRow>, Problem> {
    let shop = &caller.shop.id;
    let watch = context.ledger.watch_shop(shop);
    loop {
        let changed = watch.changed();
        let rows = event_page(context, shop, after, limit).await?;
        if !rows.is_empty() || !wait::wait_for_change(context, deadline, changed).await {
            return Ok(rows);
        }
    }
}

/// What follows an event and is there now; an error when the next one is no longer kept.
pub(crate) async fn event_page(
    context: &ApiContext,
    shop: &ShopId,
    after: i64,
    limit: i64,
) -> Result<Vec<EventRow>, Problem> {
    let rows = feed::after(&context.store, shop, after, limit).await?;
    // Read after the events: what was dropped in between shows.
    let first_kept = feed::bounds(&context.store, shop).await?.first;
    let is_next = rows
        .first()
        .is_none_or(|row| row.seq == after.saturating_add(1));
    if !is_next || after.saturating_add(1) < first_kept {
        return Err(truncated(first_kept));
    }
    Ok(rows)
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok().filter(|n| *n >= 0)
}

/// The event that a reader of a stream has seen last.
fn resumed(req: &HttpRequest) -> Result<Option<i64>, Problem> {
    let Some(value) = req.headers().get(stream::LAST_EVENT_ID) else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(number) {
        Some(after) => Ok(Some(after)),
        None => Err(Problem::invalid(
            "Last-Event-ID",
            "must be the id of an event of this feed",
        )),
    }
}

fn truncated(first_kept: i64) -> Problem {
    let after = first_kept - 1;
    let detail = format!(
        "the first event that is kept is {first_kept}; read the transactions again, then go on \
         with after={after}"
    );
    Problem::new(ProblemKind::FeedTruncated, detail).member("first_after", json!(after))
}

pub(crate) fn parse_event(row: EventRow) -> Result<Event, Problem> {
    let object = RawValue::from_string(row.payload)
        .map_err(|_| Problem::internal(format!("the payload of event {} is not json", row.seq)))?;
    let (transaction, discrepancy) = if row.kind.starts_with("discrepancy.") {
        (None, Some(object))
    } else {
        (Some(object), None)
    };
    Ok(Event {
        seq: row.seq,
        kind: row.kind,
        at: row.at.to_rfc3339(),
        transaction,
        discrepancy,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use domain::Timestamp;

    fn told(kind: &str, payload: &str) -> Result<serde_json::Value, Problem> {
        let row = EventRow {
            seq: 7,
            kind: kind.to_owned(),
            at: Timestamp::from_micros(0),
            transaction_id: None,
            payload: payload.to_owned(),
        };
        parse_event(row).map(|event| serde_json::to_value(event).unwrap())
    }

    #[test]
    fn an_event_carries_its_transaction_or_discrepancy() {
        let at = "1970-01-01T00:00:00Z";
        assert_eq!(
            told("transaction.updated", r#"{"id":1}"#).unwrap(),
            json!({"seq": 7, "type": "transaction.updated", "at": at, "transaction": {"id": 1}})
        );
        assert_eq!(
            told("discrepancy.opened", r#"{"id":2}"#).unwrap(),
            json!({"seq": 7, "type": "discrepancy.opened", "at": at, "discrepancy": {"id": 2}})
        );
        assert!(told("transaction.updated", "{").is_err());
    }
}
