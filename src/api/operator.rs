//! What a person may do: have a transaction looked at, decide what became of it, and stop a shop's
//! submits.
//!
//! What it deliberately cannot do: set a state. A decision is evidence like any other, and the fold
//! says what it amounts to.

use crate::api::context::ApiContext;
use crate::api::openapi::params::WaitHeader;
use crate::api::prefer::Preference;
use crate::api::respond;
use crate::api::transactions::find_by_path;
use crate::api::wait;
use crate::config::Scope;
use crate::http::body;
use crate::http::problem::{FieldError, Problem};
use crate::ledger::{operator_observation, request_check};
use crate::observation::Observation;
use crate::store::{StoredTransaction, read};
use crate::view::TransactionView;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use domain::evidence::Decision;
use domain::{Fact, Origin, SnapshotKey, State, Timestamp, Uid, derive};
use gateway::redact::redact_text;
use leaves::clock;
use serde::Serialize;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::Instant;
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;
use words::openapi::described;

/// The longest reason, in characters.
const MAX_REASON: usize = 1_000;

/// A reason that a person gives.
#[derive(ToSchema)]
#[schema(as = Reason)]
#[expect(dead_code, reason = "described here, read field by field")]
pub(crate) struct ReasonBody {
    /// Why. Kept as evidence, redacted.
    #[schema(min_length = 1, max_length = 1000, pattern = "\\S")]
    reason: String,
}

/// A decision that a person takes.
#[derive(ToSchema)]
#[schema(as = Decision)]
#[expect(dead_code, reason = "described here, read field by field")]
pub(crate) struct ResolveRequest {
    /// What it is to count as: any final state, or `in_doubt`.
    state: ResolvableState,
    /// Why. Kept as evidence, redacted.
    #[schema(min_length = 1, max_length = 1000, pattern = "\\S")]
    reason: String,
    /// The gateway's transaction that this one is, where that is known and was in doubt. It is bound to
    /// this one from now on; 422 when another transaction made through the API has it.
    #[schema(min_length = 1, max_length = 255)]
    uid: Option<String>,
}

/// The states that a person may decide.
pub(crate) struct ResolvableState;

impl PartialSchema for ResolvableState {
    fn schema() -> RefOr<Schema> {
        let allowed = State::ALL.iter().filter(|state| state.can_be_decided());
        let words = allowed.map(|state| (state.as_str(), state.meaning()));
        described("What a transaction is to count as.", words)
    }
}

impl ToSchema for ResolvableState {
    fn name() -> std::borrow::Cow<'static, str> {
        std::borrow::Cow::Borrowed("DecidedState")
    }
}

/// Whether submits of a shop are stopped.
#[derive(Serialize, ToSchema)]
#[schema(as = ShopSwitch)]
pub(crate) struct SubmitsStatus {
    /// The shop.
    shop_id: String,
    /// Whether new submits are refused now. A shop that its configuration pauses stays paused.
    paused: bool,
}

/// Look a transaction up now
///
/// Makes a check due at once. With `Prefer: wait=N` it is answered with what came of it. Needs the
/// scope `operate`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/transactions/{tracking_id}/check",
    tag = "Transactions",
    operation_id = "checkTransaction",
    params(WaitHeader),
    responses((status = 202, description = "The transaction as it is known now; a check is due.",
        body = TransactionView,
        headers(("ETag" = String, description = "Names this version of the transaction."),
            ("Preference-Applied" = String, description = "What was done of `Prefer`."))))
)]
pub(crate) async fn check(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let caller = context.authorize_plain(&req, Scope::Operate)?;
    let stored = find_by_path(&context, &caller, &req).await?;
    let learned = request_check(caller.name(), now());
    let mut stored = record(&context, stored, learned).await?;
    let prefer = Preference::of(req.headers()).waiting();
    if let Some(wait) = prefer.wait {
        let done = |stored: &StoredTransaction| stored.view().is_answer();
        let (shop, id) = (&caller.shop.id, stored.record.id);
        stored = wait::wait_for_transaction(&context, shop, id, started + wait, done).await?;
    }
    Ok(respond::transaction(StatusCode::ACCEPTED, &stored, prefer))
}

/// Decide what became of a transaction
///
/// Recorded as evidence. It counts until the gateway says something greater than was known when it
/// was taken. Needs the scope `operate`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/transactions/{tracking_id}/resolve",
    tag = "Transactions",
    operation_id = "resolveTransaction",
    request_body = ResolveRequest,
    responses((status = 200, description = "The transaction, decided.", body = TransactionView,
        headers(("ETag" = String, description = "Names this version of the transaction."))))
)]
pub(crate) async fn resolve(
    context: web::Data<ApiContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(&req, Scope::Operate)?;
    let (json, _) = body::json(&req, payload, context.config.current().api.max_body).await?;
    let fields = json.fields()?;
    let (state, reason, uid) = match (decided_state(fields), reason(fields), named_uid(fields)) {
        (Ok(state), Ok(reason), Ok(uid)) => (state, reason, uid),
        (state, reason, uid) => {
            let errors = [state.err(), reason.err(), uid.err()];
            let errors = errors.into_iter().flatten();
            return Err(Problem::validation(errors.collect()));
        }
    };
    let stored = find_by_path(&context, &caller, &req).await?;
    let known_of_it = match &uid {
        Some(uid) => free(&context, &stored, uid).await?,
        None => None,
    };
    let wish = Wish { state, reason, uid };
    let decision = decide(&stored, wish, known_of_it, caller.name())?;
    // The whole decision, so that an auditor can derive the state again from what is stored.
    let told = serde_json::to_value(&decision).map_err(|e| Problem::internal(e.to_string()))?;
    let is_news = decision.uid.as_ref().is_some_and(|uid| {
        let known = stored.summary.candidates.get(uid);
        known.is_none_or(|candidate| candidate.latest.is_none())
    });
    let mut learned = operator_observation("decided", &told, vec![Fact::Decided(decision)]);
    learned.recheck_now = is_news;
    let stored = record(&context, stored, learned).await?;
    Ok(respond::transaction(
        StatusCode::OK,
        &stored,
        Preference::default(),
    ))
}

/// What a person wants.
struct Wish {
    state: State,
    reason: String,
    uid: Option<Uid>,
}

/// Fails when a uid belongs to another transaction that was made through us. Gives the greatest that is known
/// of it where it was learned of from the gateway.
async fn free(
    context: &ApiContext,
    stored: &StoredTransaction,
    uid: &Uid,
) -> Result<Option<SnapshotKey>, Problem> {
    let shop = &stored.opening.shop;
    let owner = read::owner_of(&context.store, shop, uid.as_str()).await?;
    let Some(owner) = owner.filter(|owner| *owner != stored.record.id) else {
        return Ok(None);
    };
    let Some(other) = read::by_id(&context.store, shop, owner).await? else {
        return Ok(None);
    };
    if other.opening.origin == Origin::Api || stored.opening.origin == Origin::Gateway {
        let message = format!("this is transaction ~{owner}");
        return Err(Problem::invalid("/uid", message));
    }
    Ok(other.summary.greatest_key(&other.opening))
}

/// A decision that will hold, judged by what is known now. `known_of_it`: the greatest that is known of the
/// uid that it names, where that is another transaction by now.
fn decide(
    stored: &StoredTransaction,
    wish: Wish,
    known_of_it: Option<SnapshotKey>,
    by: &str,
) -> Result<Decision, Problem> {
    let Wish { state, reason, uid } = wish;
    let opening = &stored.opening;
    let mut known = stored.summary.clone();
    uid.iter().for_each(|uid| known.bind(uid));
    // Of two decisions the later counts, and none is about what is stamped after it; clocks differ.
    let last = known.decision.as_ref().map(|last| last.at);
    let after_last = last
        .max(known.sent_at())
        .map(|at| at.plus(Duration::from_micros(1)));
    let decision = Decision {
        at: after_last.map_or(now(), |least| now().max(least)),
        id: Uuid::now_v7(),
        state,
        basis: known.greatest_key(opening).max(known_of_it),
        by: by.to_owned(),
        reason,
        uid,
    };
    let mut summary = known;
    summary.join(opening, &Fact::Decided(decision.clone()));
    let outcome = derive(opening, &summary).state;
    if outcome == state {
        return Ok(decision);
    }
    let message = format!("the gateway calls this transaction {outcome}; that cannot be doubted");
    Err(Problem::invalid("/state", message))
}

fn decided_state(fields: &Map<String, Value>) -> Result<State, FieldError> {
    let state = fields
        .get("state")
        .and_then(Value::as_str)
        .and_then(State::parse);
    state.filter(|state| state.can_be_decided()).ok_or_else(|| {
        let words = State::ALL
            .iter()
            .filter(|state| state.can_be_decided())
            .map(|state| state.as_str());
        let words: Vec<&str> = words.collect();
        FieldError::new("/state", format!("must be one of {}", words.join(", ")))
    })
}

/// The uid that a person names, if any.
fn named_uid(fields: &Map<String, Value>) -> Result<Option<Uid>, FieldError> {
    match fields.get("uid") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            let uid = value.as_str().and_then(Uid::from_gateway);
            let problem = || FieldError::new("/uid", "must be a uid of the gateway");
            uid.map(Some).ok_or_else(problem)
        }
    }
}

/// The reason that a person gives, as it may be kept.
pub(crate) fn reason(fields: &Map<String, Value>) -> Result<String, FieldError> {
    let text = fields
        .get("reason")
        .and_then(Value::as_str)
        .map(str::trim)
        .unwrap_or_default();
    if text.is_empty() || text.chars().count() > MAX_REASON {
        let message = format!("must be a text of 1 to {MAX_REASON} characters");
        return Err(FieldError::new("/reason", message));
    }
    // PostgreSQL keeps no zero byte in a text.
    Ok(redact_text(text).replace('\0', "\u{fffd}"))
}

/// Hands evidence about a transaction to the ledger. Gives the transaction as it is then.
pub(crate) async fn record(
    context: &web::Data<ApiContext>,
    stored: StoredTransaction,
    learned: Observation,
) -> Result<StoredTransaction, Problem> {
    Ok(context.ledger.record_about(stored, learned).await?)
}

/// Stop new submits of a shop
///
/// They are answered 503 before anything is stored; what was sent is followed on. Needs the scope
/// `operate`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/pause",
    tag = "Shops",
    operation_id = "pauseShop",
    responses((status = 200, description = "How it is now.", body = SubmitsStatus))
)]
pub(crate) async fn pause(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    set_paused(&context, &req, true).await
}

/// Allow new submits of a shop
///
/// One that the configuration pauses stays paused. Needs the scope `operate`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/resume",
    tag = "Shops",
    operation_id = "resumeShop",
    responses((status = 200, description = "How it is now.", body = SubmitsStatus))
)]
pub(crate) async fn resume(
    context: web::Data<ApiContext>,
    req: HttpRequest,
) -> Result<HttpResponse, Problem> {
    set_paused(&context, &req, false).await
}

/// What is told is what holds: a shop that its configuration pauses stays paused.
async fn set_paused(
    context: &ApiContext,
    req: &HttpRequest,
    paused: bool,
) -> Result<HttpResponse, Problem> {
    let caller = context.authorize_plain(req, Scope::Operate)?;
    let paused = context
        .set_paused(&caller.shop, paused, caller.name())
        .await?;
    let shop = caller.shop.id.as_str();
    tracing::warn!(
        shop,
        paused,
        client = caller.name(),
        "an operator switched submits of a shop"
    );
    let switch = SubmitsStatus {
        shop_id: shop.to_owned(),
        paused,
    };
    Ok(respond::json(StatusCode::OK, &switch))
}

fn now() -> Timestamp {
    clock::now_utc().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;
    use serde_json::json;

    fn fields(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_decision_is_a_final_state_or_doubt() {
        for state in [
            "successful",
            "failed",
            "expired",
            "rejected",
            "not_sent",
            "not_found",
        ] {
            assert!(
                decided_state(&fields(json!({ "state": state }))).is_ok(),
                "{state}"
            );
        }
        assert_eq!(
            decided_state(&fields(json!({"state": "in_doubt"}))),
            Ok(State::InDoubt)
        );
        for state in [
            json!("pending"),
            json!("accepted"),
            json!("done"),
            json!(1),
            json!(null),
        ] {
            let error = decided_state(&fields(json!({ "state": state }))).unwrap_err();
            assert_eq!(error.pointer, "/state");
        }
    }

    #[test]
    fn a_reason_is_given_bounded_and_redacted() {
        let of = |text: &str| reason(&fields(json!({ "reason": text })));
        assert_eq!(of(" the bank says so ").unwrap(), "the bank says so");
        assert_eq!(of("card 4200000000000000").unwrap(), "card [redacted]");
        assert_eq!(of("a\0b").unwrap(), "a\u{fffd}b");
        assert!(of(&"ж".repeat(1_000)).is_ok());
        for bad in ["", "  ", &"a".repeat(1_001)] {
            assert_eq!(of(bad).unwrap_err().pointer, "/reason");
        }
        assert!(reason(&fields(json!({"reason": 5}))).is_err());
    }
}
