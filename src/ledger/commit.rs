//! The committers of one shop: each takes what waits, commits it as one batch, and only then answers.
//!
//! A batch that met another writer is tried again. On a data error each job is tried alone, so that
//! one poison item never stops the others. When the fate of a COMMIT is unknown the same batch is
//! run again: every job is written so that a second run finds what the first one left.

use crate::ledger::batch::{self, CommandResult, LedgerCommand};
use crate::ledger::{
    EvidenceTarget, LedgerContext, LedgerError, QueuedCommand, RecordEvidence, RecordResult,
    ReplyFn,
};
use crate::store::{
    DiscrepancyRow, EventWrite, OrphanWrite, PinnedConnection, StoreError, batch as rows,
};
use domain::{Channel, DiscrepancyKind, ShopId, Verdict};
use futures_util::FutureExt;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};
use tokio::time::{sleep, timeout};

/// How often a batch is tried again after it met another writer.
const MAX_CONFLICT_RETRIES: u32 = 10;

/// For how long a batch is tried again while the database is away, before its callers are told.
const MAX_RETRY_TIME: Duration = Duration::from_secs(3);

/// For how long the fate of a COMMIT is sought.
const COMMIT_RESOLUTION_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a batch did not come through.
pub(crate) struct BatchFailure {
    pub(crate) error: StoreError,
    /// The COMMIT had been sent: it may have taken place.
    pub(crate) committing: bool,
}

impl From<StoreError> for BatchFailure {
    fn from(error: StoreError) -> Self {
        Self {
            error,
            committing: false,
        }
    }
}

/// How many batches of one shop are under way at once: one waits for the disk and holds the feed's counter,
/// the next one is written and waits for that counter, and the third is read and folded meanwhile.
const COMMITTERS_PER_SHOP: usize = 3;

/// So many jobs are worth a batch of their own while another one is folded. Fewer wait until that one goes
/// to the disk: each statement costs as much as several rows, so that few large batches do more than
/// many small ones.
const MIN_BATCH_COMMANDS: usize = 32;

/// For how long fewer jobs wait for the one that folds. It is longer than a batch takes to fold: who
/// needs more waits for another writer or for the database, and that is no reason to hold others up.
const MAX_GATHER_TIME: Duration = Duration::from_millis(50);

/// What the committers of one shop share.
struct CommitQueue {
    jobs: Mutex<mpsc::Receiver<QueuedCommand>>,
    /// Held by the one that folds, up to its COMMIT.
    turn: Arc<Mutex<()>>,
}

/// The turn of one committer; none for a batch that goes beside another one.
type FoldPermit = Option<OwnedMutexGuard<()>>;

/// How often a committer that waits looks whether somebody else wants its connection.
const YIELD_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// So many looks later it gives the connection back in any case. At a busy shop a committer waits for the
/// others for as long as a batch takes: who gave its connection back at once would get another one next, and
/// batch after batch would go through all server processes, each with cold caches.
const MAX_YIELD_CHECKS: usize = 50;

/// Starts the committers of a shop. They end when the last handle of the ledger is gone.
pub(crate) fn start(
    shared: &Arc<LedgerContext>,
    shop: &ShopId,
    jobs: mpsc::Receiver<QueuedCommand>,
) {
    let queue = Arc::new(CommitQueue {
        jobs: Mutex::new(jobs),
        turn: Arc::default(),
    });
    for _ in 0..COMMITTERS_PER_SHOP {
        tokio::spawn(run(Arc::clone(shared), shop.clone(), Arc::clone(&queue)));
    }
}

async fn run(shared: Arc<LedgerContext>, shop: ShopId, queue: Arc<CommitQueue>) {
    let mut session = PinnedConnection::new(shared.store.clone());
    loop {
        let (turn, batch) = next(&queue, &mut session, shared.settings.max_batch).await;
        if batch.is_empty() {
            return;
        }
        // A panic is a fault of ours in one batch. Its callers are told that the fate is unknown, and
        // the shop's other work goes on.
        let work = Box::pin(commit(&shared, &mut session, &shop, turn, batch));
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            session.release();
            tracing::error!(shop = %shop, "a batch was given up after a panic");
        }
        session.release_if_contended();
    }
}

/// The next batch, and the turn to fold it. No jobs are left when the ledger has ended.
async fn next(
    queue: &CommitQueue,
    session: &mut PinnedConnection,
    max_batch: usize,
) -> (FoldPermit, Vec<QueuedCommand>) {
    let mut taking = Box::pin(queue.take(max_batch));
    for _ in 0..MAX_YIELD_CHECKS {
        match timeout(YIELD_CHECK_INTERVAL, &mut taking).await {
            Ok(taken) => return taken,
            Err(_) => session.release_if_contended(),
        }
    }
    session.release();
    taking.await
}

impl CommitQueue {
    /// All jobs that wait, at most so many, as soon as there are enough, or nobody else folds, or the one
    /// that does takes too long.
    async fn take(&self, max_batch: usize) -> (FoldPermit, Vec<QueuedCommand>) {
        let mut jobs = self.jobs.lock().await;
        let mut batch = Vec::new();
        let mut open = jobs.recv_many(&mut batch, max_batch).await > 0;
        let mut waited = pin!(sleep(MAX_GATHER_TIME));
        while open && batch.len() < MIN_BATCH_COMMANDS.min(max_batch) {
            let room = max_batch - batch.len();
            tokio::select! {
                biased;
                turn = Arc::clone(&self.turn).lock_owned() => return (Some(turn), batch),
                more = jobs.recv_many(&mut batch, room) => open = more > 0,
                () = &mut waited => break,
            }
        }
        (Arc::clone(&self.turn).try_lock_owned().ok(), batch)
    }
}

async fn commit(
    shared: &LedgerContext,
    session: &mut PinnedConnection,
    shop: &ShopId,
    turn: FoldPermit,
    jobs: Vec<QueuedCommand>,
) {
    let (works, replies): (Vec<LedgerCommand>, Vec<ReplyFn>) =
        jobs.into_iter().map(|job| (job.work, job.reply)).unzip();
    match attempt(shared, session, shop, turn, &works).await {
        Ok(answers) => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                reply(Ok(answer));
            }
        }
        Err(BatchFailure { error, committing }) if !is_about_the_server(&error) && !committing => {
            let mut unclear = Vec::new();
            for (work, reply) in works.into_iter().zip(replies) {
                match commit_single(shared, session, shop, &work).await {
                    Alone::Done(answer) => reply(answer),
                    Alone::Unclear => unclear.push((work, reply)),
                }
            }
            // Now that the others have had their turn.
            for (work, reply) in unclear {
                reply(once_more(shared, session, shop, &work).await);
            }
        }
        Err(failure) => {
            let is_away = matches!(failure.error, StoreError::Unavailable(_));
            let (jobs, error) = (works.len(), failure.error.chain());
            if is_away && !failure.committing {
                tracing::debug!(shop = %shop, jobs, error, "a batch could not be committed");
            } else {
                tracing::error!(shop = %shop, jobs, error, committing = failure.committing,
                    "a batch could not be committed");
            }
            for reply in replies {
                reply(Err(failure.to_error()));
            }
        }
    }
}

impl BatchFailure {
    fn to_error(&self) -> LedgerError {
        if self.committing {
            LedgerError::CommitUnknown
        } else {
            LedgerError::from(&self.error)
        }
    }
}

fn is_about_the_server(error: &StoreError) -> bool {
    match error {
        StoreError::Data(_) | StoreError::Inconsistent { .. } | StoreError::SchemaMismatch(_) => {
            false
        }
        StoreError::Unavailable(_) | StoreError::Conflict(_) => true,
    }
}

/// Work that failed by itself with a code that speaks neither of the server nor of the item, with how many
/// batches had been committed then. When it fails again and another batch has passed in between, it is the
/// item's own.
#[derive(Default)]
pub(crate) struct Suspects(std::sync::Mutex<HashMap<u64, u64>>, RandomState);

/// So many are remembered; beyond that all are forgotten, and have to fail twice again.
const SUSPECTS: usize = 10_000;

impl Suspects {
    /// Notes a failure; `true` when it has failed before, and another batch was committed since.
    fn failed_again(&self, work: &LedgerCommand, commits: u64) -> bool {
        let mut suspects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.len() >= SUSPECTS {
            suspects.clear();
        }
        let name = self.name(work);
        let before = *suspects.entry(name).or_insert(commits);
        let again = before < commits;
        if again {
            suspects.remove(&name);
        }
        again
    }

    /// Whether another batch was committed since this work failed.
    fn others_passed(&self, work: &LedgerCommand, commits: u64) -> bool {
        let suspects = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        suspects
            .get(&self.name(work))
            .is_some_and(|before| *before < commits)
    }

    /// What comes again under the same name is the same work. A webhook that is sent again is.
    fn name(&self, work: &LedgerCommand) -> u64 {
        match work {
            LedgerCommand::Open(open) => {
                let id = open.opening.tracking_id.as_ref().map(ToString::to_string);
                self.1.hash_one((&open.opening.shop, id))
            }
            LedgerCommand::Record(record) => {
                let id = match record.target {
                    EvidenceTarget::Transaction(id) => id,
                    EvidenceTarget::Snapshots => uuid::Uuid::nil(),
                };
                self.1.hash_one((id, record.observation.body_sha256))
            }
            LedgerCommand::Stamp(stamp, _) => self.1.hash_one(stamp.id),
            LedgerCommand::Close(close) => self.1.hash_one(close.id),
        }
    }
}

/// Runs a batch, again as often as that can help.
async fn attempt(
    shared: &LedgerContext,
    session: &mut PinnedConnection,
    shop: &ShopId,
    mut turn: FoldPermit,
    works: &[LedgerCommand],
) -> Result<Vec<CommandResult>, BatchFailure> {
    let started = tokio::time::Instant::now();
    let mut conflicts = 0;
    let mut committing = false;
    loop {
        let folded = || drop(turn.take());
        // What was foreseen wrongly once is not foreseen again.
        let anew = conflicts > 0;
        let failure = match batch::run(shared, session, shop, works, anew, folded).await {
            Ok(answers) => return Ok(answers),
            Err(failure) => failure,
        };
        // Others go on while this one waits for another writer, or for the database.
        turn = None;
        // What state its connection is in is for the pool to find out.
        session.release();
        committing |= failure.committing;
        let patience = if committing {
            COMMIT_RESOLUTION_TIMEOUT
        } else {
            MAX_RETRY_TIME
        };
        let again = match &failure.error {
            StoreError::Conflict(_) => {
                conflicts += 1;
                conflicts <= MAX_CONFLICT_RETRIES && started.elapsed() < COMMIT_RESOLUTION_TIMEOUT
            }
            StoreError::Unavailable(_) => started.elapsed() < patience,
            StoreError::Data(_)
            | StoreError::Inconsistent { .. }
            | StoreError::SchemaMismatch(_) => false,
        };
        if !again {
            return Err(BatchFailure {
                error: failure.error,
                committing,
            });
        }
        // That the database is away is told once, by who looks at it.
        let is_away = matches!(failure.error, StoreError::Unavailable(_));
        if is_away {
            tracing::debug!(shop = %shop, error = failure.error.chain(), committing,
                "a batch is tried again");
        } else {
            tracing::warn!(shop = %shop, error = failure.error.chain(), "a batch is tried again");
        }
        let spread = rand::random_range(0..20) * u64::from(conflicts + 1);
        let least = if is_away { 100 } else { 5 };
        sleep(Duration::from_millis(least + spread)).await;
    }
}

/// What came of a job by itself.
enum Alone {
    Done(Result<CommandResult, LedgerError>),
    /// It failed, and it is not known whether for its own sake.
    Unclear,
}

/// Runs one job by itself; one that fails for its own sake is kept aside.
async fn commit_single(
    shared: &LedgerContext,
    session: &mut PinnedConnection,
    shop: &ShopId,
    work: &LedgerCommand,
) -> Alone {
    let failure = match attempt(shared, session, shop, None, std::slice::from_ref(work)).await {
        Ok(mut answers) => return Alone::Done(answers.pop().ok_or(LedgerError::DataRejected)),
        Err(failure) => failure,
    };
    let is_own = !failure.committing
        && match failure.error {
            StoreError::Data(_) | StoreError::Inconsistent { .. } => true,
            StoreError::SchemaMismatch(_) => {
                let commits = shared.commits.load(Ordering::Relaxed);
                if !shared.suspects.failed_again(work, commits) {
                    tracing::warn!(shop = %shop, error = failure.error.chain(),
                        "one item failed by itself");
                    return Alone::Unclear;
                }
                true
            }
            StoreError::Unavailable(_) | StoreError::Conflict(_) => false,
        };
    Alone::Done(match is_own {
        true => refused(shared, shop, work, &failure.error).await,
        false => Err(failure.to_error()),
    })
}

/// Runs a job again that failed by itself, if others were committed since.
async fn once_more(
    shared: &LedgerContext,
    session: &mut PinnedConnection,
    shop: &ShopId,
    work: &LedgerCommand,
) -> Result<CommandResult, LedgerError> {
    let commits = shared.commits.load(Ordering::Relaxed);
    if !shared.suspects.others_passed(work, commits) {
        return Err(LedgerError::Unavailable);
    }
    match commit_single(shared, session, shop, work).await {
        Alone::Done(answer) => answer,
        Alone::Unclear => Err(LedgerError::Unavailable),
    }
}

/// Keeps aside what failed for its own sake.
async fn refused(
    shared: &LedgerContext,
    shop: &ShopId,
    work: &LedgerCommand,
    error: &StoreError,
) -> Result<CommandResult, LedgerError> {
    tracing::error!(shop = %shop, error = error.chain(), "one item was refused by itself");
    let LedgerCommand::Record(record) = work else {
        return Err(LedgerError::DataRejected);
    };
    let kept = timeout(COMMIT_RESOLUTION_TIMEOUT, quarantine(shared, shop, record)).await;
    match (kept, &record.target) {
        (Err(_), _) => Err(LedgerError::CommitUnknown),
        (Ok(Err(error)), _) => Err(LedgerError::from(&error)),
        (Ok(Ok(())), EvidenceTarget::Snapshots) => Ok(CommandResult::Recorded(RecordResult {
            verdict: Verdict::Refused,
            owner: None,
            transaction: None,
        })),
        // Whoever asked for it is told that it has no effect.
        (Ok(Ok(())), EvidenceTarget::Transaction(_)) => Err(LedgerError::DataRejected),
    }
}

/// Keeps evidence that cannot be recorded, with nothing of it interpreted, and tells of it.
async fn quarantine(
    shared: &LedgerContext,
    shop: &ShopId,
    record: &RecordEvidence,
) -> Result<(), StoreError> {
    shared.metrics.quarantined();
    let learned = &record.observation;
    let orphan = OrphanWrite {
        id: learned.id,
        kind: "quarantine",
        uid: None,
        tracking_id: None,
        parent_uid: None,
        signed: learned.signed.unwrap_or(false),
        note: "it could not be recorded as evidence".to_owned(),
        body: learned.body.clone(),
        body_sha256: learned.body_sha256,
    };
    let mut session = PinnedConnection::new(shared.store.clone());
    let mut tx = session.begin().await?;
    let at = rows::begin_batch(&mut tx).await?;
    rows::insert_orphans(&mut tx, shop, at, std::slice::from_ref(&orphan)).await?;
    let finding = kept_aside(record, at);
    let opened = rows::open_discrepancies(&mut tx, shop, std::slice::from_ref(&finding)).await?;
    let mut last_seq = None;
    if opened.contains(&finding.id) {
        let view = super::discrepancies::view(&finding);
        let event = EventWrite {
            kind: "discrepancy.opened",
            transaction_id: finding.transaction_id,
            payload: batch::to_json(&view),
        };
        let events = std::slice::from_ref(&event);
        last_seq = Some(rows::append_events(&mut tx, shop, at, events).await?);
    }
    shared.store.commit(tx).await?;
    if let Some(last_seq) = last_seq {
        shared.store.saw_committed(shop, last_seq);
    }
    shared.waiters.notify(shop, [uuid::Uuid::nil()]);
    Ok(())
}

/// The finding about evidence that was kept aside.
fn kept_aside(record: &RecordEvidence, at: domain::Timestamp) -> DiscrepancyRow {
    let learned = &record.observation;
    let what = match (&record.target, learned.channel) {
        (_, Channel::Webhook) => "a webhook".to_owned(),
        (EvidenceTarget::Transaction(id), channel) => {
            format!("evidence of the channel {channel} about transaction ~{id}")
        }
        (EvidenceTarget::Snapshots, channel) => format!("evidence of the channel {channel}"),
    };
    let detail = format!("{what} could not be recorded as evidence and was kept aside");
    let kind = DiscrepancyKind::UnknownBody;
    let mut finding = super::discrepancies::about_shop(kind, &learned.id.to_string(), &detail, at);
    if let EvidenceTarget::Transaction(id) = record.target {
        finding.transaction_id = Some(id);
    }
    finding
}
