//! The API's own description: OpenAPI 3.1, made from the handlers, the types that they answer with
//! and the tables that requests are checked by.
//!
//! What the handlers cannot say of themselves is added here by rule: the problems that a path can
//! answer with, the request of each kind of transaction, examples, the messages to subscribers, and the
//! other two listeners, each path of which says where it is served.
//! What it deliberately cannot do: decide what is served. It tells.

mod build;
mod examples;
mod listeners;
mod messages;
mod page;
pub(crate) mod params;
mod problems;

pub(crate) use page::{asset, page, served};

use crate::api::events::EventPage;
use crate::api::{create, discrepancies, events, operator, queries, transactions};
use crate::http::problem::FieldError;
use serde_json::Value;
use utoipa::OpenApi;

/// The document.
pub fn document() -> Value {
    build::document()
}

/// The document as it is printed, served and kept: two blanks a level, one line break at the end.
pub fn text() -> String {
    // A value always becomes a text.
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
}

/// What the handlers say of themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Reconciler",
        description = "Moves money through UnonaPay's asynchronous mode, and tells of every \
            `tracking_id` how it ended.\n\n\
            - Amounts are integers in minor units of their currency.\n\
            - Times are RFC 3339 in UTC.\n\
            - Absent values are null, never missing.\n\
            - Errors are `application/problem+json` (RFC 9457) with a stable `type`; a method that a \
            path does not take is answered with `method-not-allowed` (405) and an `Allow` header.\n\
            - Unknown query parameters are refused; unknown preferences are passed over.\n\
            - When in doubt, post the same body again: `tracking_id` is the idempotency key.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/", description = "The API listener (`api.listen`).")),
    tags(
        (name = "Transactions", description = "Opening, reading, checking and deciding."),
        (name = "Queries", description = "Asking the gateway now; no transaction is made."),
        (name = "Feed", description = "Everything that changed, in commit order, without gaps."),
        (name = "Discrepancies", description = "What does not fit, for a person to see."),
        (name = "Shops", description = "Stopping and allowing new submits."),
        (name = "About", description = "This document. No key is needed."),
        (name = "Webhooks", description = "What the gateway posts, on a listener of its own."),
        (name = "Operations", description = "For probes and Prometheus, on a listener of its own."),
        (name = "Messages", description = "What subscribers are sent, by Standard Webhooks 1.0.")
    ),
    paths(
        create::create,
        transactions::get,
        transactions::list,
        transactions::evidence,
        transactions::explain,
        operator::check,
        operator::resolve,
        operator::pause,
        operator::resume,
        events::list,
        discrepancies::list,
        discrepancies::resolve,
        queries::status,
        queries::balance,
        page::served,
        page::page,
    ),
    components(schemas(FieldError, EventPage))
)]
struct DescribedOperation;

#[cfg(test)]
mod tests;
