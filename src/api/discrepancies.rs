//! Findings: lists of them, and a person closing one.
//!
//! Closing a mismatch accepts what the gateway has: that is evidence, from which the state follows.
//! What it deliberately cannot do: open one, or hide one that new evidence indicates again.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::cursor::{self, ListKind};
use crate::api::openapi::params::DiscrepancyFilter;
use crate::api::operator;
use crate::api::request::{self, QueryParams};
use crate::api::respond;
use crate::api::transactions::{next_cursor, parse_enum};
use crate::config::Scope;
use crate::http::body;
use crate::http::problem::Problem;
use crate::ledger::{ResolveDiscrepancy, discrepancy_view, operator_observation};
use crate::store::{DiscrepancyRow, StoredTransaction, discrepancies, read};
use crate::view::DiscrepancyView;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use domain::{DiscrepancyKind, Fact, Snapshot, Timestamp};
use leaves::clock;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// Rows of a page, unless `limit` is given.
const DEFAULT_LIMIT: i64 = 50;

/// Most rows of a page.
const MAX_LIMIT: i64 = 200;

/// A page of findings.
#[derive(Serialize, ToSchema)]
pub(crate) struct DiscrepancyPage {
    /// The newest first.
    discrepancies: Vec<DiscrepancyView>,
    /// Where the next page begins; null on the last one.
    next_cursor: Option<String>,
}

/// List what does not fit
///
/// The newest first, a page at a time.
#[utoipa::path(
    get,
    path = "/v1/shops/{shop}/discrepancies",
    tag = "Discrepancies",
    operation_id = "listDiscrepancies",
    params(DiscrepancyFilter),
    responses((status = 200, description = "A page of findings.", body = DiscrepancyPage))
)]
pub(crate) async fn list(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize(&req, Scope::Read)?;
    let shop = &caller.shop.id;
    let mut params = QueryParams::of(&req, &["status", "kind", "limit", "cursor"]);
    let status = params.read("status", "open, resolved or all", |text| match text {
        "open" => Some(Some(true)),
        "resolved" => Some(Some(false)),
        "all" => Some(None),
        _ => None,
    });
    let open = status.flatten();
    let kinds = parse_enum(DiscrepancyKind::ALL);
    let kind = params.read("kind", &kinds, DiscrepancyKind::parse);
    let before = params.read("cursor", "a next_cursor of this list", |text| {
        cursor::decode(ListKind::Discrepancies, shop, text)
    });
    let limit = request::limit(&mut params, DEFAULT_LIMIT, MAX_LIMIT);
    params.finish()?;
    let mut page = discrepancies::list(&context.store, shop, open, kind, before, limit + 1).await?;
    let next = next_cursor(&mut page, limit, |last| {
        cursor::encode(ListKind::Discrepancies, shop, last.id)
    });
    let found: Vec<DiscrepancyView> = page.iter().map(discrepancy_view).collect();
    let page = DiscrepancyPage {
        discrepancies: found,
        next_cursor: next,
    };
    Ok(respond::json(StatusCode::OK, &page))
}

/// Close a finding
///
/// For a differing amount, currency, type or mode (test or live) this accepts what the gateway has. One that is closed
/// already is answered as it is; new evidence of the same kind opens a new one. Needs the scope
/// `operate`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/discrepancies/{id}/resolve",
    tag = "Discrepancies",
    operation_id = "resolveDiscrepancy",
    request_body = operator::ReasonBody,
    responses((status = 200, description = "The finding, closed.", body = DiscrepancyView))
)]
pub(crate) async fn resolve(
    context: web::Data<ApiContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Operate)?;
    let (json, _) = body::json(&req, payload, context.config.current().api.max_body).await?;
    let reason = operator::reason(json.fields()?).map_err(|e| Problem::validation(vec![e]))?;
    let found = find(&context, &caller, &req).await?;
    if !found.is_open {
        return Ok(respond::json(StatusCode::OK, &discrepancy_view(&found)));
    }
    if let Some(id) = found.transaction_id {
        let about = read::by_id(&context.store, &caller.shop.id, id).await?;
        if let Some(stored) = about {
            record(&context, &caller, &found, stored, &reason).await?;
        }
    }
    let close = ResolveDiscrepancy {
        id: found.id,
        by: Some(caller.name().to_owned()),
        reason,
    };
    let closed = context
        .ledger
        .resolve_discrepancy(&caller.shop.id, close)
        .await?;
    Ok(respond::json(StatusCode::OK, &discrepancy_view(&closed)))
}

async fn find(
    context: &ApiContext,
    caller: &AuthorizedCaller,
    req: &HttpRequest,
) -> Result<DiscrepancyRow, Problem> {
    let id = request::discrepancy_id(req)?;
    discrepancies::by_id(&context.store, &caller.shop.id, id)
        .await?
        .ok_or_else(|| Problem::not_found("there is no such discrepancy"))
}

/// Leaves the decision in the evidence of the transaction, before the finding is closed.
async fn record(
    context: &web::Data<ApiContext>,
    caller: &AuthorizedCaller,
    found: &DiscrepancyRow,
    stored: StoredTransaction,
    reason: &str,
) -> Result<(), Problem> {
    let now: Timestamp = clock::now_utc().into();
    let mut told = json!({
        "discrepancy": found.id,
        "kind": found.kind.as_str(),
        "uid": found.uid,
        "by": caller.name(),
        "at": now.to_rfc3339(),
        "reason": reason,
    });
    let mut learned = match accepted(found, &stored) {
        Some(snapshot) => {
            // The whole snapshot, so that an auditor can derive the state again.
            told["snapshot"] = whole(snapshot)?;
            let fact = Fact::MismatchAccepted(Box::new(snapshot.clone()));
            operator_observation("mismatch_accepted", &told, vec![fact])
        }
        None => operator_observation("discrepancy_resolved", &told, Vec::new()),
    };
    let (by, kind) = (caller.name(), found.kind);
    learned.reason = Some(reason.to_owned());
    learned.by = Some(by.to_owned());
    learned.note = Some(format!("{by} closed the finding {kind}: {reason}"));
    operator::record(context, stored, learned).await.map(drop)
}

/// The snapshot that closing this finding accepts, if it accepts one.
fn accepted<'a>(found: &DiscrepancyRow, stored: &'a StoredTransaction) -> Option<&'a Snapshot> {
    let uid = found.uid.as_deref().filter(|_| found.kind.is_mismatch())?;
    let candidates = &stored.summary.candidates;
    let (_, candidate) = candidates.iter().find(|(known, _)| known.as_str() == uid)?;
    candidate.latest.as_deref()
}

fn whole(snapshot: &Snapshot) -> Result<Value, Problem> {
    serde_json::to_value(snapshot).map_err(|error| Problem::internal(error.to_string()))
}
