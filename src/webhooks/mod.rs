//! The webhook listener: `POST /webhooks/{shop}` and nothing else.
//!
//! The order is: limit, credentials, signature over the raw bytes, the shop in it, parse, record, and only then answer
//! 200, so that 200 means durable and applied. Everything it says goes through the one door as evidence.
//! What it deliberately cannot do: believe a webhook without a signature, or make anything due on
//! account of one that is forged.

mod context;
mod forgeries;

pub use context::WebhookContext;

use crate::http::Configure;
use crate::http::body;
use crate::http::connection::Connection;
use crate::http::problem::{Problem, ProblemKind};
use crate::http::request;
use crate::http::respond;
use crate::http::routes::{WEBHOOK, only};
use crate::ledger::{EvidenceTarget, RecordEvidence, RecordResult};
use crate::observation::Observation;
use crate::observation::webhook::{Opened, hinted};
use crate::store::hints;
use actix_web::http::{Method, StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use context::Unknown;
use domain::{Fact, ShopId, Timestamp, TrackingId};
use gateway::decode::CodingError;
use gateway::redact::redact_text;
use gateway::webhook_auth::{Authenticity, RejectReason, authenticate_basic};
use gateway::{names_another_shop, scanned_uid};
use leaves::clock::BootInstant;
use serde_json::json;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Where the shop stands in `/webhooks/{shop}`.
const SHOP_SEGMENT: usize = 2;

/// When a webhook is to come again of which too many wait already.
const HINTS_FULL: Duration = Duration::from_secs(60);

/// The webhook path with a trailing slash, which gateway accounts are configured with as well.
const WEBHOOK_SLASH: &str = "/webhooks/{shop}/";

/// Returns the routes of the webhook listener, with the context of their handlers.
pub fn configure(context: WebhookContext) -> Configure {
    let data = web::Data::new(context);
    Arc::new(move |service| {
        let post = |path| only(path, &Method::POST, web::post().to(receive));
        service
            .app_data(data.clone())
            .service(post(WEBHOOK))
            .service(post(WEBHOOK_SLASH))
            .default_service(web::to(unknown_path));
    })
}

/// Takes one webhook.
pub(crate) async fn receive(
    context: web::Data<WebhookContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let name = request::segment(&req, SHOP_SEGMENT).unwrap_or_default();
    let Some(shop) = context.shop(&name).cloned() else {
        context.metrics.webhook("unknown", "unknown_shop");
        // As if the key were wrong: which shops there are is nobody's business.
        if !context.unknown.allows(Unknown::Shop, BootInstant::now()) {
            request::add_log_fields(&req, |fields| fields.is_quiet = true);
        }
        slowed(&req).await;
        return Err(unauthorized());
    };
    request::add_log_fields(&req, |fields| fields.shop = Some(shop.clone()));
    let taken = ingest(&context, &shop, &req, payload).await;
    let outcome = match &taken {
        Ok(recorded) if recorded.owner.is_none() => "kept",
        Ok(recorded) => recorded.verdict.as_str(),
        Err(problem) => failure(problem.status_code()),
    };
    context.metrics.webhook(shop.as_str(), outcome);
    taken.map(|_| respond::json(StatusCode::OK, &json!({"status": "recorded"})))
}

/// Counts what comes under another path. It is logged now and then: whoever is meant finds the mistake, and
/// a flood of them does not fill the log.
pub(crate) async fn unknown_path(
    context: web::Data<WebhookContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    context.metrics.webhook("unknown", "unknown_path");
    if context.unknown.allows(Unknown::Path, BootInstant::now()) {
        tracing::warn!("a request came to the webhook listener under a path that it does not have");
    }
    request::add_log_fields(&req, |fields| fields.is_quiet = true);
    Err(Problem::not_found("there is nothing under this path"))
}

/// The word for a webhook that was not taken.
fn failure(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::PAYLOAD_TOO_LARGE => "too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        StatusCode::INTERNAL_SERVER_ERROR => "error",
        _ => "unreadable",
    }
}

async fn ingest(
    context: &WebhookContext,
    shop: &ShopId,
    req: &HttpRequest,
    payload: web::Payload,
) -> Result<RecordResult, Problem> {
    // Kept while the body comes, ten seconds at most.
    let config = context.config.current();
    // Shops are those of the start, so that there is one.
    let Some(keys) = config
        .shop(shop.as_str())
        .map(crate::config::ShopConfig::webhook_keys)
    else {
        return Err(reject(context, req, shop, RejectReason::WrongCredentials).await);
    };
    let limit = config.webhooks.max_body;
    let header = |name: &str| req.headers().get(name).map(|value| value.as_bytes());
    // Whoever does not know the shop's secret fills no memory.
    let admitted = match authenticate_basic(header("authorization"), keys) {
        Ok(admitted) => admitted,
        Err(reason) => return Err(reject(context, req, shop, reason).await),
    };
    request::add_log_fields(req, |fields| fields.is_known = true);
    let mut raw = body::read(req, payload, limit).await?;
    let started = Instant::now();
    let signatures = req.headers().get_all("content-signature");
    let signatures = signatures.map(|value| value.as_bytes());
    let believed = match admitted.verify_any(signatures, &raw) {
        Authenticity::Signed => true,
        Authenticity::BasicOnly => false,
        Authenticity::Refused(reason) => return Err(reject(context, req, shop, reason).await),
    };
    let opened = Opened::of(content_coding(req).as_deref(), &raw, limit).map_err(not_read)?;
    // What is kept of it until it is committed takes room as well.
    let room = raw.room_with(opened.decoded())?;
    // Where two shops have one key, a signature does not tell for which of them a body was written.
    if names_another_shop(opened.bytes(&raw), shop.as_str()) {
        return Err(reject(context, req, shop, RejectReason::AnotherShop).await);
    }
    // The ledger puts the time of receipt, by the database's clock.
    let learned = opened.observe(&raw, believed, Timestamp::END);
    // What cannot be read is looked up all the same, where a uid is found in it.
    let is_unknown = learned.unknown.is_some();
    let scanned = is_unknown
        .then(|| scanned_uid(opened.bytes(&raw)))
        .flatten();
    // Gone before the wait for the commit. What is cleared first is overwritten once and not twice.
    drop(opened);
    raw.clear();
    drop(raw);
    look_up(context, shop, &learned, scanned).await?;
    if believed {
        compare_clocks(context, shop, &learned);
    }
    let named = tracking_id_for_log(&learned);
    request::add_log_fields(req, |fields| fields.tracking_id = named);
    let record = RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: learned,
        lease: None,
        next_check: None,
    };
    let recorded = context.ledger.record(shop, record).await?;
    drop(room);
    context.metrics.webhook_committed(started.elapsed());
    Ok(recorded)
}

/// A webhook comes after what it tells of. One that is dated later shows that the gateway's clock is ahead.
fn compare_clocks(context: &WebhookContext, shop: &ShopId, learned: &Observation) {
    let now = Timestamp::from(leaves::clock::now_utc());
    let snapshots = learned.facts.iter().filter_map(|fact| match fact {
        Fact::Seen { snapshot, .. } => snapshot.updated_at,
        _ => None,
    });
    if let Some(dated) = snapshots.max() {
        let ahead = dated.micros().saturating_sub(now.micros()).max(0);
        (context.metrics).set_clock_skew(shop.as_str(), "body", ahead);
    }
}

/// The tracking ID that a webhook names, as the log may show it.
fn tracking_id_for_log(learned: &Observation) -> Option<String> {
    let named = learned.facts.iter().find_map(|fact| match fact {
        Fact::Seen { snapshot, .. } => snapshot.tracking_id.as_ref(),
        _ => None,
    });
    named.map(|name| redact_text(name.as_str()).into_owned())
}

/// The content codings of a body, in one line; one that is no text is one that is not known.
fn content_coding(req: &HttpRequest) -> Option<String> {
    let codings = req.headers().get_all(header::CONTENT_ENCODING);
    let codings: Vec<&str> = codings.map(|c| c.to_str().unwrap_or("?")).collect();
    (!codings.is_empty()).then(|| codings.join(","))
}

/// A body that cannot be read is not taken: what is answered 200 has been read.
fn not_read(error: CodingError) -> Problem {
    match error {
        CodingError::TooLong => Problem::new(ProblemKind::PayloadTooLarge, error.to_string()),
        CodingError::Unknown | CodingError::Broken => {
            Problem::new(ProblemKind::UnsupportedMediaType, error.to_string())
        }
    }
}

/// Makes a look-up due of what a webhook names that cannot be believed by itself: committed before the webhook
/// is, and so before it is answered.
async fn look_up(
    context: &WebhookContext,
    shop: &ShopId,
    learned: &Observation,
    scanned: Option<String>,
) -> Result<(), Problem> {
    let hinted = hinted(learned);
    let named = hinted.map(|snapshot| snapshot.uid.as_str().to_owned());
    let Some(uid) = named.or(scanned).filter(|uid| hints::is_plain(uid)) else {
        return Ok(());
    };
    let name = hinted.and_then(|snapshot| snapshot.tracking_id.as_ref());
    let name = name.map(TrackingId::as_str);
    let put = hints::save(&context.store, shop, &uid, name).await?;
    if put {
        return Ok(());
    }
    let problem = Problem::unavailable("too many webhooks wait to be looked up");
    Err(problem.retry_after(HINTS_FULL))
}

async fn reject(
    context: &WebhookContext,
    req: &HttpRequest,
    shop: &ShopId,
    reason: RejectReason,
) -> Problem {
    if !context.forgeries.note(shop, reason) {
        request::add_log_fields(req, |fields| fields.is_quiet = true);
    }
    match reason {
        RejectReason::NoCredentials | RejectReason::WrongCredentials => slowed(req).await,
        // Whoever knows the shop's secret guesses nothing.
        RejectReason::NoSignature | RejectReason::WrongSignature | RejectReason::AnotherShop => {}
    }
    unauthorized()
}

/// Waits as long as the sender has to, for the wrong credentials that it has shown.
async fn slowed(req: &HttpRequest) {
    if let Some(connection) = req.conn_data::<Rc<Connection>>() {
        let peer = connection.place().peer(req.headers());
        connection.listener().slowed().wait(peer).await;
    }
}

fn unauthorized() -> Problem {
    Problem::new(
        ProblemKind::Unauthorized,
        "the credentials or the signature are wrong",
    )
    .header(header::WWW_AUTHENTICATE, "Basic realm=\"webhooks\"")
}
