//! The two queries, `status` and `balance`: run as tasks, answered when done, and by the synchronous
//! path where the gateway knows no asynchronous one. They create no transaction; what a status query
//! tells is evidence like any other look-up.

use crate::ledger::{EvidenceTarget, RecordEvidence};
use crate::observation::query::{Asked, observe};
use crate::observation::received;
use crate::store::{StoreError, read};
use crate::submit::{Dispatcher, GatewayShop};
use domain::{ShopId, TaskId, Uid};
use gateway::redact::redact;
use gateway::{GatewayResponse, QueryKind, ReadExchange, RequestMode, ShopCredentials};
use gateway::{SubmitReading, TaskEndpoint, TaskReading, read_submit, read_task};
use gateway::{UidReading, read_by_uid, read_value};
use leaves::clock::BootInstant;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// What is asked.
#[derive(Debug, Clone)]
pub enum GatewayQuery {
    /// A transaction by the gateway's uid.
    StatusByUid(Uid),
    /// Transactions by tracking id.
    StatusByTrackingId(String),
    /// The balance; the gateway's own fields.
    Balance(Map<String, Value>),
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct QueryReply {
    /// The task that answered it; none when the synchronous path did.
    pub request_id: Option<String>,
    /// `completed`, or `not_found` when there is nothing.
    pub status: &'static str,
    /// The gateway's answer, redacted.
    pub result: Value,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// It did not come in time.
    #[error("the gateway did not answer in time")]
    Timeout,
    /// The gateway could not be reached.
    #[error("the gateway could not be reached")]
    Unreachable,
    /// It came, and could not be recorded.
    #[error("the gateway's answer could not be recorded")]
    NotRecorded,
    /// The gateway answered with an error.
    #[error("the gateway answered with http {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The gateway's answer, redacted.
        result: Value,
    },
}

/// Why there is no whole answer, and what had come of one that broke off.
struct Unanswered {
    error: QueryError,
    partial: Option<Box<GatewayResponse>>,
}

impl From<QueryError> for Unanswered {
    fn from(error: QueryError) -> Self {
        Self {
            error,
            partial: None,
        }
    }
}

/// What a look-up of a parent came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentLookup {
    /// What the gateway tells of it is recorded.
    Recorded,
    /// The gateway has no such transaction.
    Missing,
    /// It could not be asked, understood or recorded.
    Failed,
}

/// How long a caller of ours waits for the parent of a child.
const PARENT: Duration = Duration::from_secs(10);

/// How long the caller of a query waits for its answer to be recorded.
const RECORDING: Duration = Duration::from_secs(8);

/// The first pause between two looks at a task.
const INITIAL_POLL_INTERVAL: Duration = Duration::from_millis(200);

impl Dispatcher {
    /// Runs a query and waits for its answer, at most for the request timeout.
    pub async fn query(
        &self,
        shop: &ShopId,
        query: GatewayQuery,
    ) -> Result<QueryReply, QueryError> {
        let Some(entry) = self.shop(shop) else {
            return Err(QueryError::Unreachable);
        };
        let deadline = Instant::now() + self.0.request_timeout;
        // The gateway may have looked as soon as it was asked.
        let asked_at = BootInstant::now();
        let asked = timeout_at(deadline, self.ask(&entry, &query, deadline)).await;
        let (request_id, answer) = match asked.unwrap_or(Err(QueryError::Timeout.into())) {
            Ok(answered) => answered,
            Err(Unanswered { error, partial }) => {
                // What had come of it is evidence all the same.
                if let Some(partial) = partial {
                    self.learn_from(shop, &query, &partial, asked_at).await?;
                }
                return Err(error);
            }
        };
        self.learn_from(shop, &query, &answer, asked_at).await?;
        conclude(&query, request_id, &answer)
    }

    /// Looks the parent of a child up by its uid, for who took a request out of the budget.
    pub async fn look_up_parent(&self, shop: &ShopId, uid: &Uid) -> ParentLookup {
        let within = self.0.request_timeout.min(PARENT);
        let asked = self.ask_for_parent(shop, uid);
        timeout(within, asked)
            .await
            .ok()
            .flatten()
            .unwrap_or(ParentLookup::Failed)
    }

    async fn ask_for_parent(&self, shop: &ShopId, uid: &Uid) -> Option<ParentLookup> {
        let entry = self
            .shop(shop)
            .filter(|_| self.allows_request(shop, false))?;
        let secret = entry.secret()?;
        let credentials = ShopCredentials {
            shop_id: entry.id.as_str(),
            secret: secret.expose(),
        };
        let asked = self.gateway().by_uid(credentials, uid);
        let answer = require_response(self.observe_read(&entry, "by_uid", asked).await).ok()?;
        if matches!(read_by_uid(&received(&answer), uid), UidReading::Missing) {
            return Some(ParentLookup::Missing);
        }
        let learned = observe(&answer, Asked::Uid(uid), false)?;
        let is_it = learned.is_about_it();
        let record = RecordEvidence {
            target: EvidenceTarget::Snapshots,
            observation: learned,
            lease: None,
            next_check: None,
        };
        match self.0.ledger.record(shop, record).await {
            Ok(_) => is_it.then_some(ParentLookup::Recorded),
            Err(error) => {
                tracing::warn!(%shop, %error, "what the gateway has of a parent was not recorded");
                None
            }
        }
    }

    /// Asks through the asynchronous mode; where that is 404 without being a task, at once.
    async fn ask(
        &self,
        shop: &GatewayShop,
        query: &GatewayQuery,
        deadline: Instant,
    ) -> Result<(Option<String>, GatewayResponse), Unanswered> {
        let kind = kind(query);
        let secret = shop.secret().ok_or(QueryError::Unreachable)?;
        let credentials = ShopCredentials {
            shop_id: shop.id.as_str(),
            secret: secret.expose(),
        };
        let asked = self.gateway().query(credentials, RequestMode::Async, &kind);
        let answer = require_response(self.observe_read(shop, "query", asked).await)?;
        let ours = self.gateway().address();
        if let SubmitReading::Ack { task, .. } = read_submit(&received(&answer), ours) {
            let answer = self.follow(shop, query, &task, deadline).await?;
            return Ok((Some(task.to_string()), answer));
        }
        // A 404 may be about the path as well as about what was asked for: the other path tells.
        if answer.status != 404 {
            return Ok((None, answer));
        }
        self.may_ask_again(shop, deadline).await?;
        let asked = self.gateway().query(credentials, RequestMode::Sync, &kind);
        Ok((
            None,
            require_response(self.observe_read(shop, "query", asked).await)?,
        ))
    }

    async fn follow(
        &self,
        shop: &GatewayShop,
        query: &GatewayQuery,
        task: &TaskId,
        deadline: Instant,
    ) -> Result<GatewayResponse, Unanswered> {
        let secret = shop.secret().ok_or(QueryError::Unreachable)?;
        let credentials = ShopCredentials {
            shop_id: shop.id.as_str(),
            secret: secret.expose(),
        };
        let mut pause = INITIAL_POLL_INTERVAL;
        loop {
            let wake = Instant::now() + pause;
            if wake >= deadline {
                return Err(QueryError::Timeout.into());
            }
            sleep_until(wake).await;
            self.may_ask_again(shop, deadline).await?;
            let asked = self.gateway().result(credentials, task);
            let answer = require_response(self.observe_read(shop, "task_result", asked).await)?;
            // An error of a task is handed out once: what is the answer to the question is not read again.
            if is_answer(query, &answer) {
                return Ok(answer);
            }
            match read_task(&received(&answer), TaskEndpoint::Result) {
                TaskReading::Running
                | TaskReading::Completed
                | TaskReading::NotAboutTask { .. } => {}
                TaskReading::Transaction(_)
                | TaskReading::Other(_)
                | TaskReading::Unknown
                | TaskReading::Refused(_)
                | TaskReading::Unreadable { .. } => return Ok(answer),
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Every further request of a query comes out of the shop's budget, too.
    async fn may_ask_again(&self, shop: &GatewayShop, deadline: Instant) -> Result<(), QueryError> {
        let within = deadline.saturating_duration_since(Instant::now());
        let taken = shop.budget.acquire(within).await;
        taken.map_err(|_| QueryError::Timeout)
    }

    /// What a status query tells is evidence like any look-up: at the transaction that it is about where
    /// there is one, and at those that it names.
    async fn learn_from(
        &self,
        shop: &ShopId,
        query: &GatewayQuery,
        answer: &GatewayResponse,
        asked_at: BootInstant,
    ) -> Result<(), QueryError> {
        let unread = |_: StoreError| QueryError::NotRecorded;
        let store = &self.0.store;
        let (about, observed) = match query {
            GatewayQuery::Balance(_) => return Ok(()),
            GatewayQuery::StatusByUid(uid) => {
                let owner = read::owner_of(store, shop, uid.as_str()).await;
                let owner = owner.map_err(unread)?;
                (owner, observe(answer, Asked::Uid(uid), owner.is_some()))
            }
            GatewayQuery::StatusByTrackingId(name) => {
                let named = read::TransactionRef::TrackingId(name.clone());
                let found = read::find(store, shop, &named).await.map_err(unread)?;
                let observed = observe(answer, Asked::TrackingId(name), found.is_some());
                (found.map(|stored| stored.record.id), observed)
            }
        };
        let Some(mut learned) = observed else {
            return Ok(());
        };
        learned.answered = Some(asked_at);
        if answer.status == 404 {
            // That the gateway knows nothing of it, or of the query's own task, is no riddle.
            learned.unknown = None;
        }
        let record = RecordEvidence {
            target: about.map_or(EvidenceTarget::Snapshots, EvidenceTarget::Transaction),
            observation: learned,
            lease: None,
            next_check: None,
        };
        match timeout(RECORDING, self.0.ledger.record(shop, record)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(%shop, %error, "the answer to a query was not recorded");
                Err(QueryError::NotRecorded)
            }
            Err(_) => Err(QueryError::NotRecorded),
        }
    }
}

fn kind(query: &GatewayQuery) -> QueryKind {
    match query {
        GatewayQuery::StatusByUid(uid) => QueryKind::ByUid(uid.clone()),
        GatewayQuery::StatusByTrackingId(name) => QueryKind::ByTrackingId(name.clone()),
        GatewayQuery::Balance(fields) => QueryKind::Balance(fields.clone()),
    }
}

fn require_response(read: ReadExchange) -> Result<GatewayResponse, Unanswered> {
    match read {
        ReadExchange::Answered(answer) => Ok(answer),
        ReadExchange::NotAsked { .. } => Err(QueryError::Unreachable.into()),
        ReadExchange::Interrupted { partial, .. } => Err(Unanswered {
            error: QueryError::Timeout,
            partial,
        }),
    }
}

/// A 404 that is the gateway's own word about what was asked, and not a path that it lacks.
fn is_answer(query: &GatewayQuery, answer: &GatewayResponse) -> bool {
    match query {
        GatewayQuery::StatusByUid(uid) => {
            matches!(read_by_uid(&received(answer), uid), UidReading::Missing)
        }
        GatewayQuery::StatusByTrackingId(_) | GatewayQuery::Balance(_) => false,
    }
}

fn conclude(
    query: &GatewayQuery,
    request_id: Option<String>,
    answer: &GatewayResponse,
) -> Result<QueryReply, QueryError> {
    let redacted = redact(&answer.body).bytes;
    let result: Value = read_value(&redacted)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&redacted).into_owned()));
    if (200..300).contains(&answer.status) {
        return Ok(QueryReply {
            request_id,
            status: "completed",
            result,
        });
    }
    if is_answer(query, answer) {
        return Ok(QueryReply {
            request_id,
            status: "not_found",
            result,
        });
    }
    Err(QueryError::Refused {
        status: answer.status,
        result,
    })
}
