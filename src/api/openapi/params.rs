//! What requests carry beside their path and body, as it is described in the document.

use crate::config::EventType;
use domain::{DiscrepancyKind, Origin, State, TransactionType};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use words::DiscrepancyStatus;
use words::openapi::described;

/// The kinds of event.
pub(crate) struct EventTypeSchema;

impl PartialSchema for EventTypeSchema {
    fn schema() -> RefOr<Schema> {
        let words = EventType::ALL
            .iter()
            .map(|one| (one.as_str(), one.meaning()));
        words::openapi::described("What happened.", words)
    }
}

impl ToSchema for EventTypeSchema {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("EventType")
    }
}

/// Waiting, on a GET or a check.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct WaitHeader {
    /// `wait=N` (RFC 7240), of which at most 55 are waited: answer when there is something to act on, or after N
    /// seconds. What cannot be read is passed over.
    #[param(rename = "Prefer")]
    prefer: Option<String>,
}

/// How a POST that creates is answered.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct CreatePreferHeader {
    /// `wait=N` (RFC 7240), of which at most 55 are waited: answer when the state is final, or `pending` with a
    /// `redirect_url`, else after N seconds. `respond-async`: answer as soon as the row is
    /// committed (not for card data). Without it: when the gateway has acknowledged or refused.
    #[param(rename = "Prefer")]
    prefer: Option<String>,
}

/// A condition on what is known.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct IfNoneMatchHeader {
    /// The `ETag` of an earlier answer: 304 while nothing has changed, with `Prefer: wait=N` after
    /// N seconds.
    #[param(rename = "If-None-Match")]
    if_none_match: Option<String>,
}

/// Where a stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct LastEventIdHeader {
    /// The `id` of the last event that was read of a stream; takes precedence over `after`. Read
    /// when a stream is asked for (`Accept: text/event-stream`).
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// Overriding a limit.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct ForceParam {
    /// Take more from the parent than is left of it. Needs the scope `operate`; recorded, and not
    /// forwarded.
    force: Option<bool>,
}

/// Narrows a list of transactions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct TransactionFilter {
    /// In this state.
    #[param(inline = false)]
    state: Option<State>,
    /// Of this kind.
    #[param(rename = "type")]
    kind: Option<TransactionType>,
    /// Made by us or by somebody else.
    origin: Option<Origin>,
    /// With this tracking id.
    #[param(min_length = 1, pattern = "^[^\\u0000]*$")]
    tracking_id: Option<String>,
    /// With this uid.
    #[param(min_length = 1, pattern = "^[^\\u0000]*$")]
    uid: Option<String>,
    /// Children of this transaction.
    #[param(min_length = 1, pattern = "^[^\\u0000]*$")]
    parent_uid: Option<String>,
    /// Opened at this time or later.
    #[param(value_type = Option<String>, format = DateTime)]
    created_from: Option<String>,
    /// Opened before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    created_to: Option<String>,
    /// The most that are wanted; 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which findings are listed.
pub(crate) struct ListedStatus;

impl PartialSchema for ListedStatus {
    fn schema() -> RefOr<Schema> {
        let known = DiscrepancyStatus::ALL.iter();
        let words = known.map(|status| (status.as_str(), status.meaning()));
        described(
            "Which findings are listed.",
            words.chain([("all", "Every one.")]),
        )
    }
}

impl ToSchema for ListedStatus {}

/// Narrows a list of findings.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct DiscrepancyFilter {
    /// Open, resolved, or all of them, which is so when it is not given.
    #[param(inline)]
    status: Option<ListedStatus>,
    /// Of this kind.
    kind: Option<DiscrepancyKind>,
    /// The most that are wanted; 50 when not given.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Where the feed is read.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "read for its description alone")]
pub(crate) struct FeedParams {
    /// The `seq` of the last event that was read; 0, and when not given: from the beginning.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// The most that are wanted; 100 when not given.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}
