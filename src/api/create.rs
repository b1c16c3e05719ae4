//! `POST /v1/shops/{shop}/{collection}`: opens a transaction, or answers with the one that stands
//! under its tracking id already.
//!
//! From the moment the row may be committed, everything runs in a task of its own: a caller who
//! goes away in between must not leave a stamp behind that nobody acts on. What this deliberately
//! cannot do: change a state. It opens, hands the attempt to the dispatcher, and reads.

use crate::api::auth::AuthorizedCaller;
use crate::api::context::ApiContext;
use crate::api::idempotency::{self, RequestMatch};
use crate::api::openapi::params::{CreatePreferHeader, ForceParam};
use crate::api::parents;
use crate::api::prefer::Preference;
use crate::api::request::{self, QueryParams};
use crate::api::respond;
use crate::api::single_flight::TrackingIdGuard;
use crate::api::submission::TransactionSubmission;
use crate::api::wait;
use crate::config::Scope;
use crate::config::sealing::{self, Sealed};
use crate::http::body::{self, BodyPermit};
use crate::http::problem::{OVER_BUDGET, Problem, ProblemKind};
use crate::ledger::{EvidenceTarget, OpenTransaction, ParentLimit, RecordEvidence};
use crate::observation::submit::released;
use crate::store::StoredTransaction;
use crate::store::history::NOT_ACCEPTED;
use crate::store::read::{self, TransactionRef};
use crate::submit::{
    BUDGET_TIMEOUT, KEY_PROBE, NextAttempt, SendResult, StartResult, StartedAttempt,
};
use crate::view::TransactionView;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use domain::family::Unfit;
use domain::{Origin, State, Timestamp, TransactionRequest, TransactionType};
use gateway::sensitive_body::SensitiveBody;
use leaves::clock;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// What the dispatcher needs beyond the request's own timeout to store the answer.
const LEASE_SAFETY_MARGIN: Duration = Duration::from_secs(1);

/// When a submit to a paused shop should be tried again.
const PAUSED_RETRY_AFTER: Duration = Duration::from_secs(30);

/// What a caller is told to wait while the database's history is not accepted.
const HISTORY_ACCEPTED: Duration = Duration::from_secs(10);

/// Everything but the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// One POST, read and allowed.
struct CreateRequest {
    context: web::Data<ApiContext>,
    caller: AuthorizedCaller,
    submission: TransactionSubmission,
    prefer: Preference,
    force: bool,
    started: Instant,
    /// It has asked whether the shop's key may be tried, and may.
    may_try_key: bool,
    /// What the body takes of the listener's budget.
    room: BodyPermit,
}

/// Open a transaction
///
/// The body holds the gateway's own request fields, without its `request` wrapper; fields that are
/// not known here are forwarded. `tracking_id` is the idempotency key, kept as long as the
/// transaction: when in doubt, post the same body again. Needs the scope `submit`.
#[utoipa::path(
    post,
    path = "/v1/shops/{shop}/{collection}",
    tag = "Transactions",
    operation_id = "create",
    params(ForceParam, CreatePreferHeader),
    responses(
        (status = 200, description = "It has ended, or it was opened by an earlier, equal request.",
            body = TransactionView,
            headers(("ETag" = String, description = "Names this version of the transaction."),
                ("Location" = String, description = "Where it can be read."),
                ("Idempotent-Replayed" = String, description = "`true` when it was there before."),
                ("Preference-Applied" = String, description = "What was done of `Prefer`."))),
        (status = 202, description = "It is durable, and sent or about to be sent: follow it.",
            body = TransactionView,
            headers(("ETag" = String, description = "Names this version of the transaction."),
                ("Location" = String, description = "Where it can be read."),
                ("Preference-Applied" = String, description = "What was done of `Prefer`."))),
        (status = 409, description = "Another body or collection has this `tracking_id`."),
    )
)]
pub(crate) async fn create(
    kind: TransactionType,
    context: web::Data<ApiContext>,
    req: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let started = Instant::now();
    let caller = context.authorize(&req, Scope::Submit)?;
    let force = is_forced(&req, &caller)?;
    let (json, raw) = body::forwarded(&req, payload, context.config.current().api.max_body).await?;
    let submission = TransactionSubmission::read(kind, json, &raw)?;
    let room = raw.room();
    drop(raw);
    request::add_log_fields(&req, |fields| {
        fields.tracking_id = Some(submission.tracking_id.to_string())
    });
    let given = Preference::of(req.headers());
    // Card data waits in no database, so that it is sent while its caller waits.
    let prefer = if submission.card_data {
        given.waiting()
    } else {
        given
    };
    let mut post = CreateRequest {
        context,
        caller,
        submission,
        prefer,
        force,
        started,
        may_try_key: false,
        room,
    };
    let turn = (post.context.turns)
        .acquire(&post.caller.shop.id, &post.submission.tracking_id)
        .await;
    // A repeat of a child's request asks nobody for its parent.
    if post.submission.kind.is_child()
        && let Some(known) = post.find_known().await?
    {
        drop(turn);
        return post.again(known).await;
    }
    // Most names are new, so that the ledger is asked at once; it tells of one that is taken. What
    // stands already is answered whatever speaks against a new one.
    match post.prepare().await {
        Ok(parent) => post.open(parent, turn).await,
        Err(problem) => match post.find_known().await? {
            Some(known) => {
                drop(turn);
                post.again(known).await
            }
            None => Err(problem),
        },
    }
}

/// Why a child is not sent.
fn unfitting(unfit: Unfit) -> Problem {
    match unfit {
        Unfit::Exceeds { left } => {
            let left = left.max(0);
            let message = format!("is more than the {left} that the parent has left");
            Problem::invalid("/amount", message)
        }
        Unfit::Parent { state } => {
            let message = format!("this transaction is {state}, and not successful");
            Problem::invalid("/parent_uid", message)
        }
        Unfit::UnknownParent => Problem::unavailable("nothing is known of the parent"),
        Unfit::Currency { parent } => {
            let message = format!("must be {parent}, which is the currency of the parent");
            Problem::invalid("/currency", message)
        }
    }
}

/// Why nothing is sent while the gateway refuses the shop's key.
fn key_refused() -> Problem {
    let detail = "the gateway refuses this shop's key; nothing was sent";
    Problem::new(ProblemKind::Unavailable, detail).retry_after(KEY_PROBE)
}

/// Why an equal child is not sent while its caller waits.
fn too_soon(until: Timestamp) -> Problem {
    let now = Timestamp::from(clock::now_utc());
    let detail = "an equal one of this parent was sent just before; nothing was sent";
    Problem::unavailable(detail).retry_after(until.since(now))
}

fn is_forced(req: &HttpRequest, caller: &AuthorizedCaller) -> Result<bool, Problem> {
    let mut params = QueryParams::of(req, &["force"]);
    let force = params
        .read("force", "true or false", |text| text.parse().ok())
        .unwrap_or(false);
    params.finish()?;
    if force {
        caller.require(Scope::Operate)?;
    }
    Ok(force)
}

impl CreateRequest {
    /// The transaction that was made through the API under this tracking id.
    async fn find_known(&self) -> Result<Option<Box<StoredTransaction>>, Problem> {
        let name = TransactionRef::TrackingId(self.submission.tracking_id.to_string());
        let found = read::find(&self.context.store, &self.caller.shop.id, &name).await?;
        Ok(found
            .filter(|known| known.opening.origin == Origin::Api)
            .map(Box::new))
    }

    /// Whether it goes out while its caller waits.
    fn send_now(&self) -> bool {
        !self.prefer.respond_async && !self.looks_first()
    }

    /// After a restore a look-up comes before each stamp; what can wait in the database waits there for it.
    fn looks_first(&self) -> bool {
        self.context.dispatch.is_restored() && !self.submission.card_data
    }

    /// All that can speak against a new transaction; the last of it takes the shop's budget.
    async fn prepare(&mut self) -> Result<Option<ParentLimit>, Problem> {
        self.may_submit(self.send_now()).await?;
        let parent = self.parent().await?;
        if self.send_now() {
            self.take_what_a_submit_takes().await?;
        }
        Ok(parent)
    }

    /// The shop's budget, and while its key is refused the try of it; that one last.
    async fn take_what_a_submit_takes(&mut self) -> Result<(), Problem> {
        self.take_budget().await?;
        let dispatch = &self.context.dispatch;
        if self.may_try_key || dispatch.lets_key_go(&self.caller.shop.id).await? {
            self.may_try_key = true;
            return Ok(());
        }
        self.give_back(true).await;
        Err(key_refused())
    }

    async fn parent(&self) -> Result<Option<ParentLimit>, Problem> {
        let (submission, budget) = (&self.submission, self.budget_wait());
        parents::find(&self.context, &self.caller, submission, self.force, budget).await
    }

    /// Opens a transaction.
    async fn open(
        self,
        parent: Option<ParentLimit>,
        turn: TrackingIdGuard,
    ) -> Result<HttpResponse, Problem> {
        let send_now = self.send_now();
        let (fingerprint, fingerprint_key) = self.fingerprint()?;
        let id = Uuid::now_v7();
        let open = OpenTransaction {
            id,
            opening: self.opening(),
            description: self.submission.description.clone(),
            fingerprint,
            fingerprint_key,
            request: self.submission.kept.clone(),
            request_sha256: self.submission.sha256,
            sealed: self.sealed(id)?,
            send_now,
            not_before: None,
            parent_limit: parent,
        };
        let body = send_now.then(|| self.body()).transpose()?;
        let work = self.context.dispatch.clone().open_and_send(open, body);
        let beginning = self.spawn_to_completion(work).await??;
        drop(turn);
        match beginning {
            StartResult::Begun(begun) => self.answer(begun, false).await,
            StartResult::Exists(known) => {
                self.give_back(send_now).await;
                Box::pin(self.again(known)).await
            }
            StartResult::Unfit(unfit) => {
                self.give_back(send_now).await;
                Err(unfitting(unfit))
            }
            StartResult::Wait(until) => {
                self.give_back(send_now).await;
                Err(too_soon(until))
            }
        }
    }

    /// Runs something to its end, which keeps the body's room as long.
    async fn spawn_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let room = self.room.clone();
        let kept = async move {
            let done = work.await;
            drop(room);
            done
        };
        self.context.spawn_to_completion(kept).await
    }

    /// Gives back what was taken for a request that is not made.
    async fn give_back(&self, taken: bool) {
        if taken {
            let shop = &self.caller.shop.id;
            self.context.dispatch.release_budget(shop).await;
        }
    }

    /// Answers a request whose tracking id is in use. The same request that was not sent begins
    /// its next attempt.
    async fn again(mut self, known: Box<StoredTransaction>) -> Result<HttpResponse, Problem> {
        self.require_same(&known)?;
        let known = self.release(known).await?;
        if known.state != State::NotSent {
            return self
                .answer(
                    StartedAttempt {
                        transaction: known,
                        sending: None,
                    },
                    true,
                )
                .await;
        }
        self.may_submit(true).await?;
        let parent = self.parent().await?;
        self.take_what_a_submit_takes().await?;
        let sealed = self.sealed(known.record.id)?;
        let dispatch = self.context.dispatch.clone();
        let work = dispatch.stamp_and_send(known, parent, self.body()?, sealed);
        match self.spawn_to_completion(work).await?? {
            NextAttempt::Begun(begun) => self.answer(begun, true).await,
            NextAttempt::Wait(until) => {
                self.give_back(true).await;
                Err(too_soon(until))
            }
            NextAttempt::Unfit(unfit) => {
                self.give_back(true).await;
                Err(unfitting(unfit))
            }
        }
    }

    /// Lets a child be sent that was held back after a restore, where its caller forces it.
    async fn release(
        &self,
        known: Box<StoredTransaction>,
    ) -> Result<Box<StoredTransaction>, Problem> {
        let is_held = known.summary.held_back().is_some();
        if !(self.force && is_held && known.opening.kind.is_child()) {
            return Ok(known);
        }
        let now = Timestamp::from(leaves::clock::now_utc());
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(known.record.id),
            observation: released(&self.caller.client.config.name, now),
            lease: None,
            next_check: None,
        };
        let shop = &self.caller.shop.id;
        let recorded = self.context.ledger.record(shop, record).await?;
        Ok(recorded.transaction.unwrap_or(known))
    }

    fn require_same(&self, known: &StoredTransaction) -> Result<(), Problem> {
        let config = self.context.config.current();
        let keys = &config.security.fingerprint_key;
        let (kind, body) = (self.submission.kind, self.submission.fingerprint_input());
        let stored = (known.fingerprint.as_slice(), known.fingerprint_key.as_str());
        let compared = idempotency::compare(keys, kind, body, stored)
            .map_err(|error| Problem::internal(error.to_string()))?;
        let detail = match compared {
            RequestMatch::Same if known.opening.kind == kind => return Ok(()),
            RequestMatch::Same | RequestMatch::Different => {
                "another request was made under this tracking id; use a new one"
            }
            RequestMatch::UnknownKey => {
                "it cannot be told whether this is the same request: the key of its fingerprint is \
                 no longer configured"
            }
        };
        Err(Problem::new(ProblemKind::TrackingIdConflict, detail))
    }

    /// Fails when nothing may be sent now.
    async fn may_submit(&self, now: bool) -> Result<(), Problem> {
        if self.context.http.is_draining() {
            return Err(Problem::unavailable("this replica is about to stop"));
        }
        if self.context.is_paused(&self.caller.shop).await? {
            let problem = Problem::new(ProblemKind::Unavailable, "submits of this shop are paused");
            return Err(problem.retry_after(PAUSED_RETRY_AFTER));
        }
        let (dispatch, shop) = (&self.context.dispatch, &self.caller.shop.id);
        if !dispatch.accepts_history().await {
            return Err(Problem::unavailable(NOT_ACCEPTED).retry_after(HISTORY_ACCEPTED));
        }
        if self.may_try_key || dispatch.admits_key(shop, now).await? {
            return Ok(());
        }
        Err(key_refused())
    }

    /// Counted from the request's beginning: time spent in a queue of equals is part of it.
    fn budget_wait(&self) -> Duration {
        BUDGET_TIMEOUT.saturating_sub(self.started.elapsed())
    }

    async fn take_budget(&self) -> Result<(), Problem> {
        let shop = &self.caller.shop.id;
        self.context
            .dispatch
            .acquire_budget(shop, self.budget_wait())
            .await
            .map_err(|none| Problem::no_budget(none, OVER_BUDGET))
    }

    fn fingerprint(&self) -> Result<(Vec<u8>, String), Problem> {
        let config = self.context.config.current();
        let keys = &config.security.fingerprint_key;
        idempotency::fingerprint(
            keys,
            self.submission.kind,
            self.submission.fingerprint_input(),
        )
        .map_err(|error| Problem::internal(error.to_string()))
    }

    fn opening(&self) -> TransactionRequest {
        let asked = &self.submission;
        TransactionRequest {
            shop: self.caller.shop.id.clone(),
            tracking_id: Some(asked.tracking_id.clone()),
            kind: asked.kind,
            origin: Origin::Api,
            amount: asked.amount,
            currency: asked.currency,
            parent_uid: asked.parent_uid.clone(),
            // Taken from the parent under its lock, as the currency is.
            parent_tracking_id: None,
            card_data: asked.card_data,
            test: asked.test,
            // Set by the ledger.
            opened_at: Timestamp::from_micros(0),
        }
    }

    fn body(&self) -> Result<SensitiveBody, Problem> {
        let url = &self.caller.shop.notification_url;
        let body = self.submission.forwarded(url);
        body.ok_or_else(|| {
            Problem::internal("a body that was read cannot be cut into fields".to_owned())
        })
    }

    /// The request as it may wait in the database; nothing with card data does.
    fn sealed(&self, id: Uuid) -> Result<Option<Sealed>, Problem> {
        if self.submission.card_data {
            return Ok(None);
        }
        let config = self.context.config.current();
        let (keys, shop) = (&config.security.fingerprint_key, &self.caller.shop.id);
        let raw = self.submission.raw.as_bytes();
        let sealed = sealing::seal(keys, shop.as_str(), id.as_bytes(), raw);
        let no_randomness = || Problem::internal("the system gives no random numbers".to_owned());
        sealed.map(Some).ok_or_else(no_randomness)
    }

    /// Waits as long as was preferred, and answers with the transaction as it is then.
    async fn answer(self, begun: StartedAttempt, replayed: bool) -> Result<HttpResponse, Problem> {
        let sent_by_us = begun.sending.is_some();
        let stored = self.await_result(begun).await;
        if sent_by_us && stored.state == State::NotSent {
            return Err(Problem::not_sent(&stored.view()));
        }
        let done = replayed || stored.state.is_final();
        let status = if done {
            StatusCode::OK
        } else {
            StatusCode::ACCEPTED
        };
        let mut response = respond::transaction_response(status, &stored, self.prefer);
        response.insert_header((header::LOCATION, self.location()));
        if replayed {
            response.insert_header(("Idempotent-Replayed", "true"));
        }
        Ok(response.json(stored.view()))
    }

    /// The transaction when the wait is over. When it cannot be read, as it was last seen: it is
    /// stored, and a caller who is told of a failure would not know that.
    async fn await_result(&self, begun: StartedAttempt) -> StoredTransaction {
        let StartedAttempt {
            transaction,
            sending,
        } = begun;
        let (shop, id) = (&self.caller.shop.id, transaction.record.id);
        if let Some(wait) = self.prefer.wait {
            let done = |stored: &StoredTransaction| stored.view().is_answer();
            let deadline = self.started + wait;
            let waited = wait::wait_for_transaction(&self.context, shop, id, deadline, done).await;
            return waited.unwrap_or(*transaction);
        }
        let longest = self.context.config.current().gateway.request_timeout + LEASE_SAFETY_MARGIN;
        let Some(sending) = sending else {
            let waits = transaction.state == State::Accepted && self.looks_first();
            if !waits || self.prefer.respond_async {
                return *transaction;
            }
            let done = |stored: &StoredTransaction| {
                let under_way = [State::Accepted, State::Submitting].contains(&stored.state);
                !under_way || stored.summary.held_back().is_some()
            };
            let deadline = self.started + longest;
            let waited = wait::wait_for_transaction(&self.context, shop, id, deadline, done).await;
            return waited.unwrap_or(*transaction);
        };
        match timeout(longest, sending).await {
            Ok(Ok(SendResult::Recorded(stored))) => *stored,
            Ok(Ok(SendResult::Lost(_)) | Err(_)) | Err(_) => {
                let now = read::by_id(&self.context.store, shop, id).await;
                now.ok().flatten().unwrap_or(*transaction)
            }
        }
    }

    fn location(&self) -> String {
        let tracking_id = self.submission.tracking_id.as_str();
        let name = utf8_percent_encode(tracking_id, ESCAPED);
        format!("/v1/shops/{}/transactions/{name}", self.caller.shop.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_header_is_escaped() {
        let name = utf8_percent_encode("a:b+c&d=\"e\"~f", ESCAPED).to_string();
        assert_eq!(name, "a%3Ab%2Bc%26d%3D%22e%22~f");
    }
}
