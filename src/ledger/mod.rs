//! The one door. After creation, only the ledger changes a transaction's state: handlers, workers
//! and operators hand it evidence, and it commits the evidence together with what follows from it.
//!
//! Jobs of one shop are taken in batches, one PostgreSQL transaction a batch (group commit); batches
//! of different shops commit in parallel. Nobody is answered before the commit.
//!
//! What it deliberately cannot do: talk to the gateway, or know of HTTP.

mod batch;
pub mod batch_store;
mod commit;
mod discrepancies;
mod explanation;
mod kept;
mod latency_model;
mod observation;
mod operator;
mod route;
mod stamped;
mod waiters;

pub use crate::store::discrepancies::ResolveDiscrepancy;
pub use batch::taking_over::{look_it_up, looked_over, take_over};
pub use batch::{CommandResult, FoldedBatch, LedgerCommand};
pub use discrepancies::view as discrepancy_view;
pub use explanation::{EvidenceBody, EvidenceView, Explanation, ExplanationReason, NextAction};
pub use kept::observation_from_orphan;
pub use operator::{operator_observation, request_check};
pub use stamped::StampedAttempt;
pub use waiters::ChangeWatch;
pub(crate) use waiters::Due;

use crate::config::sealing::Sealed;
use crate::metrics::Metrics;
use crate::observation::Observation;
use crate::store::{DiscrepancyRow, Store, StoreError, StoredTransaction};
use domain::family::{DUPLICATE_WINDOW, Unfit};
use domain::schedule::Pace;
use domain::{ShopId, Timestamp, TransactionRequest, Uid, Verdict};
use leaves::clock::BootInstant;
use leaves::telemetry::traces::TraceSpan;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// The settings that the ledger reads.
#[derive(Debug, Clone)]
pub struct LedgerSettings {
    /// When checks come.
    pub pace: Pace,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How far the gateway's clock may be behind ours.
    pub clock_tolerance: Duration,
    /// The most jobs in one commit.
    pub max_batch: usize,
}

/// The right to act on one transaction until it ends.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// The fencing token.
    pub token: Uuid,
    /// The end, on a clock that counts suspension and that nobody can set.
    pub until: BootInstant,
}

/// A transaction to be opened.
#[derive(Debug, Clone)]
pub struct OpenTransaction {
    /// The id of the transaction, chosen by the caller, so that it can be found again when the
    /// fate of the commit is unknown.
    pub id: Uuid,
    /// What was asked. `opened_at` is set by the ledger.
    pub opening: TransactionRequest,
    /// The description of the request.
    pub description: Option<String>,
    /// HMAC of the request.
    pub fingerprint: Vec<u8>,
    /// Which key made it.
    pub fingerprint_key: String,
    /// The request as it may be kept: redacted.
    pub request: Vec<u8>,
    /// SHA-256 of the request as it came.
    pub request_sha256: [u8; 32],
    /// The request as it came, sealed, where it may wait in the database.
    pub sealed: Option<Sealed>,
    /// Stamp the first attempt in the same commit, and give the caller the lease; else the engine
    /// sends it when it is due.
    pub send_now: bool,
    /// Not to be sent before this time.
    pub not_before: Option<Timestamp>,
    /// For a child: what may still be taken from the parent is checked under the parent's lock.
    pub parent_limit: Option<ParentLimit>,
}

/// What a child may take from its parent. It is asked whenever an attempt is stamped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentLimit {
    /// The parent, by the gateway's uid.
    pub parent: Uid,
    /// Take it although it is more than is left, or the parent is not known.
    pub force: bool,
    /// A child equal in parent and amount, sent less than this ago, makes the new one wait.
    pub duplicate_window: Option<Duration>,
}

impl ParentLimit {
    /// The limit of a transaction's next attempt; `None` when it is no child. `check`: whether the
    /// gateway looks for duplicates of it.
    pub fn of(stored: &StoredTransaction, check: bool) -> Option<Self> {
        let opening = &stored.opening;
        let parent = opening.parent_uid.clone();
        let parent = parent.filter(|_| opening.kind.is_child())?;
        Some(Self {
            parent,
            force: stored.summary.forced,
            duplicate_window: check.then_some(DUPLICATE_WINDOW),
        })
    }
}

/// What came of opening.
#[derive(Debug)]
pub enum OpenResult {
    /// It is new, and attempt 1 is stamped for sending now.
    Ready(StampedAttempt),
    /// It is new, and waits in the database.
    Created {
        /// As it is stored.
        transaction: Box<StoredTransaction>,
    },
    /// There is one under this tracking id already.
    Exists {
        /// As it is stored.
        transaction: Box<StoredTransaction>,
    },
    /// It is a child that its parent does not allow.
    Unfit(Unfit),
    /// It has card data, which waits nowhere, and an equal child was sent just before: not before this time.
    TooSoon(Timestamp),
}

/// Evidence to be recorded.
#[derive(Debug, Clone)]
pub struct RecordEvidence {
    /// About what.
    pub target: EvidenceTarget,
    /// What was learned.
    pub observation: Observation,
    /// The lease under which it was learned; with it comes the right to schedule.
    pub lease: Option<Uuid>,
    /// The next check, instead of what the pace says.
    pub next_check: Option<Timestamp>,
}

/// What evidence is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EvidenceTarget {
    /// A transaction of ours.
    Transaction(Uuid),
    /// Whatever the snapshots in it belong to: a webhook.
    Snapshots,
}

/// What came of recording.
#[derive(Debug, Clone)]
pub struct RecordResult {
    /// What it changed.
    pub verdict: Verdict,
    /// Which transaction it belongs to; none for an orphan.
    pub owner: Option<Uuid>,
    /// That transaction afterwards, when the evidence was about a transaction by its id.
    pub transaction: Option<Box<StoredTransaction>>,
}

/// A new attempt to be stamped.
#[derive(Debug, Clone)]
pub struct StampAttempt {
    /// Which transaction.
    pub id: Uuid,
    /// The lease under which the engine has it; `None` for a caller who posts again on `not_sent`.
    pub lease: Option<Uuid>,
    /// A replay under the same `RequestID` of what is in doubt.
    pub replay: bool,
    /// For a child: the same questions as at its opening, under its parent's lock.
    pub child: Option<ParentLimit>,
    /// For a caller who posts again: the request, which may have to wait again.
    pub sealed: Option<Sealed>,
    /// What [`StampAttempt::told_before`] gives.
    pub told_before: Vec<Uid>,
}

impl StampAttempt {
    /// The gateway's transactions that were told of before the first stamp: by it they may become this one.
    pub fn told_before(stored: &StoredTransaction) -> Vec<Uid> {
        if stored.summary.sent_at().is_some() {
            return Vec::new();
        }
        stored.summary.candidates.keys().cloned().collect()
    }
}

/// What came of stamping.
#[derive(Debug)]
pub enum StampResult {
    /// The attempt may be sent.
    Ready(StampedAttempt),
    /// Not to be sent: the lease is lost, or the state is another.
    Denied {
        /// As it is.
        transaction: Box<StoredTransaction>,
    },
    /// Not yet: an equal child was sent just before.
    Wait {
        /// As it is.
        transaction: Box<StoredTransaction>,
        /// Until when.
        until: Timestamp,
    },
    /// Its parent does not allow it.
    Unfit {
        /// As it is.
        transaction: Box<StoredTransaction>,
        /// Why.
        unfit: Unfit,
    },
}

/// Why the ledger could not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// The database is not available; nothing is known to have been committed.
    #[error("the database is unavailable")]
    Unavailable,
    /// The commit's fate could not be learned in time.
    #[error("it is not known whether the commit took place")]
    CommitUnknown,
    /// The database refused this very item.
    #[error("the database refused the data")]
    DataRejected,
    /// No such transaction or finding.
    #[error("not found")]
    NotFound,
    /// Too much is waiting already.
    #[error("too much is waiting")]
    Overloaded,
}

/// One thing to do, with the way to answer.
pub(crate) struct QueuedCommand {
    pub(crate) work: LedgerCommand,
    pub(crate) reply: ReplyFn,
}

/// Takes the answer of one job.
pub(crate) type ReplyFn = Box<dyn FnOnce(Result<CommandResult, LedgerError>) + Send>;

/// What the committers share.
pub(crate) struct LedgerContext {
    pub(crate) store: Store,
    pub(crate) settings: LedgerSettings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) waiters: waiters::ChangeWaiters,
    pub(crate) learning: latency_model::LatencyModel,
    /// How many batches have been committed.
    pub(crate) commits: AtomicU64,
    pub(crate) suspects: commit::Suspects,
}

/// The handle that everybody else has.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<LedgerContext>,
    queues: Arc<HashMap<ShopId, mpsc::Sender<QueuedCommand>>>,
}

/// How many jobs of a shop may wait before more are turned away.
const QUEUE_CAPACITY: usize = 8_192;

impl Ledger {
    /// Starts the committers of each shop. They end when the last handle is dropped.
    pub fn start(
        store: Store,
        shops: impl IntoIterator<Item = ShopId>,
        settings: LedgerSettings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shops: Vec<ShopId> = shops.into_iter().collect();
        let shared = Arc::new(LedgerContext {
            store,
            settings,
            metrics,
            waiters: waiters::ChangeWaiters::default(),
            learning: latency_model::LatencyModel::of(&shops),
            commits: AtomicU64::new(0),
            suspects: commit::Suspects::default(),
        });
        let queues = shops
            .into_iter()
            .map(|shop| {
                let (sender, receiver) = mpsc::channel(QUEUE_CAPACITY);
                commit::start(&shared, &shop, receiver);
                (shop, sender)
            })
            .collect();
        Self {
            shared,
            queues: Arc::new(queues),
        }
    }

    /// Opens a transaction, or finds the one that has its tracking id.
    pub async fn open(&self, open: OpenTransaction) -> Result<OpenResult, LedgerError> {
        let shop = open.opening.shop.clone();
        let work = LedgerCommand::Open(Box::new(open));
        self.run(&shop, work, |answer| match answer {
            CommandResult::Opened(opened) => Some(opened),
            _ => None,
        })
        .await
    }

    /// Records evidence with its consequence.
    pub async fn record(
        &self,
        shop: &ShopId,
        record: RecordEvidence,
    ) -> Result<RecordResult, LedgerError> {
        let span = TraceSpan::for_step("evidence");
        span.set_attribute("reconciler.channel", record.observation.channel.as_str());
        let work = LedgerCommand::Record(Box::new(record));
        let committed = self.run(shop, work, |answer| match answer {
            CommandResult::Recorded(recorded) => Some(recorded),
            _ => None,
        });
        let recorded = span.instrument(committed).await;
        if let Ok(recorded) = &recorded {
            span.set_attribute("reconciler.verdict", recorded.verdict.as_str());
        }
        recorded
    }

    /// Stamps an attempt, when the lease and the state allow it.
    pub async fn stamp(
        &self,
        shop: &ShopId,
        stamp: StampAttempt,
    ) -> Result<StampResult, LedgerError> {
        let work = LedgerCommand::Stamp(stamp, Uuid::new_v4());
        self.run(shop, work, |answer| match answer {
            CommandResult::Stamped(stamped) => Some(stamped),
            _ => None,
        })
        .await
    }

    /// Closes a finding.
    pub async fn resolve_discrepancy(
        &self,
        shop: &ShopId,
        close: ResolveDiscrepancy,
    ) -> Result<DiscrepancyRow, LedgerError> {
        self.run(shop, LedgerCommand::Close(close), |answer| match answer {
            CommandResult::Closed(row) => Some(*row),
            _ => None,
        })
        .await
    }

    /// Wakes when a transaction changes through this process.
    pub fn watch(&self, shop: &ShopId, id: Uuid) -> ChangeWatch {
        self.shared.waiters.watch(shop, id)
    }

    /// Wakes when anything of a shop has been committed through this process.
    pub fn watch_shop(&self, shop: &ShopId) -> ChangeWatch {
        self.shared.waiters.watch(shop, Uuid::nil())
    }

    /// When something of a shop is due, as far as this process has made it so or has seen it.
    pub(crate) fn due(&self, shop: &ShopId) -> Arc<Due> {
        self.shared.waiters.due(shop)
    }

    /// `want` takes the answer that belongs to the work.
    async fn run<T: Send + 'static>(
        &self,
        shop: &ShopId,
        work: LedgerCommand,
        want: fn(CommandResult) -> Option<T>,
    ) -> Result<T, LedgerError> {
        let queue = self.queues.get(shop).ok_or(LedgerError::NotFound)?;
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |answer: Result<CommandResult, LedgerError>| {
            let answer = answer.and_then(|answer| match answer {
                CommandResult::NotFound => Err(LedgerError::NotFound),
                answer => want(answer).ok_or(LedgerError::DataRejected),
            });
            // One who has gone away needs no answer.
            let _ = sender.send(answer);
        });
        queue
            .try_send(QueuedCommand { work, reply })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => LedgerError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => LedgerError::Unavailable,
            })?;
        // Many jobs are committed at once: the span is the wait of this one.
        let span = TraceSpan::for_step("commit");
        let done = receiver.await.unwrap_or(Err(LedgerError::CommitUnknown));
        if done.is_err() {
            span.set_error("not committed");
        }
        done
    }
}

impl From<&StoreError> for LedgerError {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Conflict(_)
            | StoreError::SchemaMismatch(_) => Self::Unavailable,
            StoreError::Data(_) | StoreError::Inconsistent { .. } => Self::DataRejected,
        }
    }
}
