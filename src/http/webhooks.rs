//! The webhook listener: `POST /webhooks/{shop}` and nothing else.
//!
//! The order is: limit, credentials, signature over the raw bytes, the shop in it, parse, record, and only then answer
//! 200, so that 200 means durable and applied. Everything it says goes through the one door as evidence.
//! What it deliberately cannot do: believe a webhook without a signature, or make anything due on
//! account of one that is forged.

use crate::http::body;
use crate::http::context::{Context, Shop, Unknown};
use crate::http::problem::{Kind, Problem};
use crate::http::reply;
use crate::http::request;
use crate::ledger::{LedgerError, Record, Recorded, Target};
use crate::observation::Observation;
use crate::observation::webhook::{Opened, hinted};
use crate::store::hints;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError, web};
use domain::{Channel, Fact, Timestamp, TrackingId, Verdict};
use gateway::authenticity::{Authenticity, Reason, admit};
use gateway::decode::CodingError;
use gateway::redact::redact_text;
use gateway::{names_another_shop, scanned_uid};
use leaves::clock::BootInstant;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Where the shop stands in `/webhooks/{shop}`.
const SHOP: usize = 2;

/// When a webhook is to come again of which too many wait already.
const HINTS_FULL: Duration = Duration::from_secs(60);

/// How long the answer to a forgery waits for the note about it.
const NOTE: Duration = Duration::from_secs(1);

/// Takes one webhook.
pub(crate) async fn receive(
    context: web::Data<Context>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let name = request::segment(&req, SHOP).unwrap_or_default();
    let Some(shop) = context.shop(&name).map(Arc::clone) else {
        context.metrics.webhook("unknown", "unknown_shop");
        // As if the key were wrong: which shops there are is nobody's business.
        if !context.unknown.allows(Unknown::Shop, BootInstant::now()) {
            request::about(&req, |about| about.is_quiet = true);
        }
        return Err(unauthorized());
    };
    request::about(&req, |about| about.shop = Some(shop.id.clone()));
    let taken = take(&context, &shop, &req, payload).await;
    let outcome = match &taken {
        Ok(recorded) if recorded.owner.is_none() => "kept",
        Ok(recorded) => recorded.verdict.as_str(),
        Err(problem) => failure(problem.status_code()),
    };
    context.metrics.webhook(shop.id.as_str(), outcome);
    taken.map(|_| reply::json(StatusCode::OK, &json!({"status": "recorded"})))
}

/// Counts what comes under another path. It is logged now and then: whoever is meant finds the mistake, and
/// a flood of them does not fill the log.
pub(crate) async fn unknown_path(
    context: web::Data<Context>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    context.metrics.webhook("unknown", "unknown_path");
    if context.unknown.allows(Unknown::Path, BootInstant::now()) {
        tracing::warn!("a request came to the webhook listener under a path that it does not have");
    }
    request::about(&req, |about| about.is_quiet = true);
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

async fn take(
    context: &Context,
    shop: &Shop,
    req: &HttpRequest,
    payload: web::Payload,
) -> Result<Recorded, Problem> {
    // Kept while the body comes, ten seconds at most.
    let config = context.config.now();
    // Shops are those of the start, so that there is one.
    let Some(keys) = config
        .shop(shop.id.as_str())
        .map(crate::config::ShopConfig::webhook_keys)
    else {
        return Err(refused(context, req, shop, Reason::WrongCredentials).await);
    };
    let limit = config.webhooks.max_body;
    let header = |name: &str| req.headers().get(name).map(|value| value.as_bytes());
    // Whoever does not know the shop's secret fills no memory.
    let admitted = match admit(header("authorization"), keys) {
        Ok(admitted) => admitted,
        Err(reason) => return Err(refused(context, req, shop, reason).await),
    };
    body::told_length(req, limit)?;
    let mut raw = body::read(req, payload, limit).await?;
    let started = Instant::now();
    let signatures = req.headers().get_all("content-signature");
    let signatures = signatures.map(|value| value.as_bytes());
    let believed = match admitted.verify_any(signatures, &raw) {
        Authenticity::Signed => true,
        Authenticity::BasicOnly => false,
        Authenticity::Refused(reason) => return Err(refused(context, req, shop, reason).await),
    };
    let opened = Opened::of(content_coding(req).as_deref(), &raw, limit).map_err(not_read)?;
    // Where two shops have one key, a signature does not tell for which of them a body was written.
    if names_another_shop(opened.bytes(), shop.id.as_str()) {
        return Err(refused(context, req, shop, Reason::AnotherShop).await);
    }
    // The ledger puts the time of receipt, by the database's clock.
    let learned = opened.observe(believed, Timestamp::END);
    // What cannot be read is looked up all the same, where a uid is found in it.
    let is_unknown = learned.unknown.is_some();
    let scanned = is_unknown.then(|| scanned_uid(opened.bytes())).flatten();
    // Gone before the wait for the commit. What is cleared first is overwritten once and not twice.
    drop(opened);
    raw.clear();
    drop(raw);
    let named = learned.facts.iter().find_map(|fact| match fact {
        Fact::Seen { snapshot, .. } => snapshot.tracking_id.as_ref(),
        _ => None,
    });
    look_up(context, shop, &learned, scanned).await?;
    let named = named.map(|name| redact_text(name.as_str()).into_owned());
    request::about(req, |about| about.tracking_id = named);
    let record = Record {
        target: Target::Snapshots,
        learned,
        lease: None,
        next_check: None,
    };
    let recorded = context.ledger.record(&shop.id, record).await?;
    context.metrics.webhook_committed(started.elapsed());
    Ok(recorded)
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
        CodingError::TooLong => Problem::new(Kind::PayloadTooLarge, error.to_string()),
        CodingError::Unknown | CodingError::Broken => {
            Problem::new(Kind::UnsupportedMediaType, error.to_string())
        }
    }
}

/// Makes a look-up due of what a webhook names that cannot be believed by itself: committed before the webhook
/// is, and so before it is answered.
async fn look_up(
    context: &Context,
    shop: &Shop,
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
    let put = hints::put(&context.store, &shop.id, &uid, name).await?;
    if put {
        return Ok(());
    }
    let problem = Problem::unavailable("too many webhooks wait to be looked up");
    Err(problem.retry_after(HINTS_FULL))
}

async fn refused(context: &Context, req: &HttpRequest, shop: &Shop, reason: Reason) -> Problem {
    let kind = (shop.id.clone(), reason);
    if context.forgeries.allows(kind, BootInstant::now()) {
        note_forgery(context, shop, reason).await;
    } else {
        request::about(req, |about| about.is_quiet = true);
    }
    unauthorized()
}

fn unauthorized() -> Problem {
    Problem::new(
        Kind::Unauthorized,
        "the credentials or the signature are wrong",
    )
    .header(header::WWW_AUTHENTICATE, "Basic realm=\"webhooks\"")
}

/// Lists a forgery as a finding. Once per second and kind at most, and so is its line in the log: a flood of
/// them costs nothing. All are counted.
async fn note_forgery(context: &Context, shop: &Shop, reason: Reason) {
    let subject = Some(reason.as_str().to_owned());
    let mut learned = Observation::from_gateway(
        Channel::Webhook,
        None,
        subject,
        Vec::new(),
        [0; 32],
        Vec::new(),
    );
    learned.orphan_kind = "refused";
    learned.verdict = Some(Verdict::Refused);
    learned.note = Some(forgery(reason).to_owned());
    let record = Record {
        target: Target::Snapshots,
        learned,
        lease: None,
        next_check: None,
    };
    match timeout(NOTE, context.ledger.record(&shop.id, record)).await {
        Ok(Ok(_)) => {}
        // It is counted in any case.
        Ok(Err(error)) => note_lost(shop, Some(error)),
        Err(_) => note_lost(shop, None),
    }
}

fn note_lost(shop: &Shop, error: Option<LedgerError>) {
    let error = error.map(|error| error.to_string());
    tracing::warn!(shop = %shop.id, error, "a refused webhook was counted and could not be listed");
}

const fn forgery(reason: Reason) -> &'static str {
    match reason {
        Reason::NoCredentials => "a webhook came without credentials",
        Reason::WrongCredentials => "a webhook came with wrong credentials",
        Reason::NoSignature => "a webhook came without a signature",
        Reason::WrongSignature => "a webhook came with a wrong signature",
        Reason::AnotherShop => "a webhook came whose body is about another shop",
    }
}
