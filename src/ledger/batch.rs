//! One group commit: look up, lock, fold, write. The order of locks is fixed: families of children,
//! transactions by id, due checks, uids, findings, and last the feed's counter.
//!
//! What it reads and writes is behind [`BatchStore`]; it knows neither pools nor commits.

mod concluding;
mod family;
mod opening;
mod owning;
mod recording;
mod rescheduling;
mod row;
pub mod taking_over;
#[cfg(test)]
mod tests;
mod writing;

use crate::ledger::batch_store::{BatchStore, CommittedReads};
use crate::ledger::commit::BatchFailure;
use crate::ledger::latency_model::Forecasts;
use crate::ledger::route::{OwnerIndex, RoutedFacts};
use crate::ledger::{
    EvidenceTarget, Lease, LedgerContext, LedgerSettings, OpenResult, OpenTransaction,
    RecordEvidence, RecordResult, ResolveDiscrepancy, StampAttempt, StampResult,
};
use crate::store::waiting::WaitingRow;
use crate::store::{
    DiscrepancyRow, EventWrite, EvidenceWrite, OrphanWrite, PinnedConnection, StoreError,
    batch as rows,
};
use domain::evidence::FoundBy;
use domain::family::Unfit;
use domain::forecast::CompletionSample;
use domain::{Channel, Fact, ShopId, Snapshot};
use domain::{Timestamp, TransactionType, Uid, Verdict};
use family::Families;
use leaves::clock::BootInstant;
pub(crate) use row::BatchRows;
use row::{BatchRow, CheckDecision};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// One thing to do. It may be run twice, when the fate of a COMMIT is unknown.
#[derive(Debug, Clone)]
pub enum LedgerCommand {
    /// Opens a transaction.
    Open(Box<OpenTransaction>),
    /// Records evidence.
    Record(Box<RecordEvidence>),
    /// Stamps an attempt, which gets this token.
    Stamp(StampAttempt, Uuid),
    /// Closes a finding.
    Close(ResolveDiscrepancy),
}

/// What it came to.
#[derive(Debug)]
pub enum CommandResult {
    /// Of opening.
    Opened(OpenResult),
    /// Of recording.
    Recorded(RecordResult),
    /// Of stamping.
    Stamped(StampResult),
    /// Of closing.
    Closed(Box<DiscrepancyRow>),
    /// There is no such thing.
    NotFound,
}

/// An answer that may need a look after the commit.
enum PendingResult {
    Created {
        id: Uuid,
        lease: Option<Lease>,
    },
    Exists {
        id: Uuid,
    },
    ReadBack {
        tracking_id: String,
    },
    Unfit(Unfit),
    TooSoon(Timestamp),
    Recorded {
        verdict: Verdict,
        id: Option<Uuid>,
        /// Whether the caller wants the transaction itself.
        told: bool,
    },
    Ready {
        id: Uuid,
        attempt: u32,
        lease: Lease,
    },
    No {
        id: Uuid,
    },
    Wait {
        id: Uuid,
        until: Timestamp,
    },
    Unsuited {
        id: Uuid,
        unfit: Unfit,
    },
    Closed {
        id: Uuid,
    },
    NotFound,
}

/// Everything that one batch is about to write.
struct Batch<'a> {
    shop: &'a ShopId,
    settings: &'a LedgerSettings,
    at: Timestamp,
    jitter_seed: u64,
    started: BootInstant,
    rows: BatchRows,
    routing: OwnerIndex,
    /// What more than one of ours names in this very batch.
    named_at_once: HashSet<Uid>,
    known: HashSet<(Uuid, Uuid)>,
    evidence: Vec<EvidenceWrite>,
    events: Vec<EventWrite>,
    /// The number of the last event, once they are written.
    last_seq: Option<i64>,
    opened: Vec<DiscrepancyRow>,
    healed: Vec<rows::ResolvedDiscrepancy>,
    closings: Vec<ResolveDiscrepancy>,
    waiting: Vec<WaitingRow>,
    orphans: Vec<OrphanWrite>,
    /// Findings about orphans, which are opened where the orphan is new.
    of_orphans: Vec<(Uuid, DiscrepancyRow)>,
    by_name: HashMap<String, Uuid>,
    families: Families,
    counted: Vec<(Channel, Verdict)>,
    ended: Vec<(TransactionType, Channel, Duration)>,
    forecasts: Forecasts,
    seen: Vec<(TransactionType, CompletionSample)>,
}

/// What a batch is given beside its jobs.
struct BatchInputs {
    /// When it began: leases are counted from here.
    started: BootInstant,
    /// Any number: it spreads due checks.
    jitter_seed: u64,
    /// What was learned of the time to final.
    forecasts: Forecasts,
    /// It has met what it did not expect, and foresees nothing.
    is_retry: bool,
}

/// How long a batch may take up to its COMMIT: a little longer than the server lets it wait for a
/// lock. The server's limits do not help against a server, or a network, that is gone.
const FOLD_TIMEOUT: Duration = Duration::from_secs(12);

/// Runs one batch to its commit. `folded` is called when all is written, before the wait for the disk.
pub(crate) async fn run(
    shared: &LedgerContext,
    session: &mut PinnedConnection,
    shop: &ShopId,
    works: &[LedgerCommand],
    anew: bool,
    folded: impl FnOnce(),
) -> Result<Vec<CommandResult>, BatchFailure> {
    let started = tokio::time::Instant::now();
    let mut tx = session.begin().await?;
    // Taken before the batch is, so that no lease is ever longer than we believe.
    let began = BootInstant::now();
    let given = BatchInputs {
        started: began,
        jitter_seed: rand::random(),
        forecasts: shared.learning.forecasts(shop),
        is_retry: anew,
    };
    let settings = &shared.settings;
    let folding = FoldedBatch::run_with_forecasts(&mut *tx, settings, shop, works, given);
    let fold = timeout(FOLD_TIMEOUT, folding)
        .await
        .map_err(|_| StoreError::silence())??;
    folded();
    let committed = shared.store.commit(tx).await;
    committed.map_err(|error| BatchFailure {
        error,
        committing: true,
    })?;
    shared.commits.fetch_add(1, Ordering::Relaxed);
    shared
        .metrics
        .ledger_committed(works.len(), started.elapsed());
    fold.batch.publish(shared);
    if let Some(last_seq) = fold.batch.last_seq {
        shared.store.saw_committed(shop, last_seq);
    }
    // It has taken place: who is not answered must not be told that it has not.
    let answers = fold.answers(&shared.store).await;
    answers.map_err(|error| BatchFailure {
        error,
        committing: true,
    })
}

/// A batch that has been folded and written, and awaits its commit.
pub struct FoldedBatch<'a> {
    batch: Batch<'a>,
    drafts: Vec<PendingResult>,
    closed: Vec<DiscrepancyRow>,
}

impl<'a> FoldedBatch<'a> {
    /// Reads what a batch needs, folds it, and writes what follows. Leases are counted from `began`.
    /// `chance` is any number: it spreads due checks.
    pub async fn run<T: BatchStore>(
        tables: &mut T,
        settings: &'a LedgerSettings,
        shop: &'a ShopId,
        works: &[LedgerCommand],
        began: BootInstant,
        chance: u64,
    ) -> Result<Self, StoreError> {
        let given = BatchInputs {
            started: began,
            jitter_seed: chance,
            forecasts: Forecasts::new(),
            is_retry: false,
        };
        Self::run_with_forecasts(tables, settings, shop, works, given).await
    }

    /// The same, with what was learned of the time to final.
    async fn run_with_forecasts<T: BatchStore>(
        tables: &mut T,
        settings: &'a LedgerSettings,
        shop: &'a ShopId,
        works: &[LedgerCommand],
        given: BatchInputs,
    ) -> Result<Self, StoreError> {
        let at = tables.begin_batch().await?;
        let (families, kept) = Families::lock(tables, shop, works).await?;
        let all = family::after(kept, works);
        let mut batch = Batch::load(settings, shop, &all, tables, (at, families, given)).await?;
        let before = all.len() - works.len();
        let drafts = all.iter().map(|work| batch.draft(work));
        let drafts = drafts.skip(before).collect();
        batch.find_back_twice();
        match batch.write(tables).await? {
            Some(closed) => Ok(Self {
                batch,
                drafts,
                closed,
            }),
            // Another writer took a name or a uid in between: fold anew.
            None => Err(StoreError::Conflict(sqlx::Error::RowNotFound)),
        }
    }

    /// What each piece of work came to. Asked after the commit.
    pub async fn answers<R: CommittedReads>(
        self,
        reads: &R,
    ) -> Result<Vec<CommandResult>, StoreError> {
        let mut answers = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            answers.push(self.batch.answer(reads, draft, &self.closed).await?);
        }
        Ok(answers)
    }
}

impl<'a> Batch<'a> {
    async fn load<T: BatchStore>(
        settings: &'a LedgerSettings,
        shop: &'a ShopId,
        works: &[LedgerCommand],
        tables: &mut T,
        (at, families, given): (Timestamp, Families, BatchInputs),
    ) -> Result<Self, StoreError> {
        let routing = OwnerIndex::look_up(tables, shop, works).await?;
        let mut ids = routing.transactions_to_lock(works);
        ids.extend(families.rows());
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut map = BTreeMap::new();
        if !ids.is_empty() {
            for (stored, place) in tables.lock_transactions(shop, &ids).await? {
                let id = stored.record.id;
                map.insert(id, Box::new(BatchRow::locked(stored, place)));
            }
            for (check, place) in tables.lock_checks(shop, &ids).await? {
                if let Some(row) = map.get_mut(&check.transaction_id) {
                    row.stored.record.next_check_at = Some(check.due_at);
                    row.course = check.course.clone();
                    (row.check, row.check_place) = (Some(check), Some(place));
                }
            }
        }
        let mut batch = Self {
            shop,
            settings,
            at,
            jitter_seed: given.jitter_seed,
            started: given.started,
            rows: BatchRows { map },
            routing,
            named_at_once: HashSet::new(),
            known: HashSet::new(),
            evidence: Vec::new(),
            events: Vec::new(),
            last_seq: None,
            opened: Vec::new(),
            healed: Vec::new(),
            closings: Vec::new(),
            waiting: Vec::new(),
            orphans: Vec::new(),
            of_orphans: Vec::new(),
            by_name: HashMap::new(),
            families,
            counted: Vec::new(),
            ended: Vec::new(),
            forecasts: given.forecasts,
            seen: Vec::new(),
        };
        // One that turned out to be another since its names were looked up.
        if batch.routes_to_merged() {
            return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
        }
        batch.note_named_at_once(works);
        batch.load_known(tables, works, given.is_retry).await?;
        batch.families.load(tables, shop).await?;
        Ok(batch)
    }

    /// Which of the evidence at hand has been recorded before. `anew`: all of it is asked for.
    async fn load_known<T: BatchStore>(
        &mut self,
        tables: &mut T,
        works: &[LedgerCommand],
        anew: bool,
    ) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        for work in works {
            if let LedgerCommand::Record(record) = work {
                for delivery in self.routing.route(record, &self.rows) {
                    match delivery {
                        RoutedFacts::To(id, facts)
                            if anew || self.may_be_known(id, record, &facts) =>
                        {
                            keys.push((id, record.observation.id));
                        }
                        RoutedFacts::Offered(id, told, _) => keys.push((id, told.id)),
                        _ => {}
                    }
                }
            }
        }
        if !keys.is_empty() {
            self.known = tables.known_evidence(self.shop, &keys).await?;
        }
        Ok(())
    }

    /// Whether this very piece of evidence may be stored at a transaction already. It is not where one of
    /// its facts would have come along, and has left no trace in what is joined. Most of what comes is new,
    /// so that most need not be asked for.
    fn may_be_known(&self, id: Uuid, record: &RecordEvidence, facts: &[Cow<'_, Fact>]) -> bool {
        let Some(row) = self.rows.get(id) else {
            return true;
        };
        // A hint has no facts. And to whom evidence is about by its id it comes whether or not what was
        // found by name is its own; what an attempt or a task of its own has told is.
        let is_target = record.target == EvidenceTarget::Transaction(id);
        let mut telling = facts.iter().filter(|fact| {
            let found = matches!(
                ***fact,
                Fact::Seen {
                    found_by: FoundBy::TrackingId,
                    ..
                } | Fact::Contested { .. }
                    | Fact::Anothers { .. }
            );
            !is_target || !found
        });
        record.observation.verdict.is_some() || telling.all(|fact| row.summary.may_contain(fact))
    }

    fn draft(&mut self, work: &LedgerCommand) -> PendingResult {
        match work {
            LedgerCommand::Open(open) => self.open(open, open.id),
            LedgerCommand::Record(record) => self.record(record),
            LedgerCommand::Stamp(stamp, token) => self.stamp(stamp, *token),
            LedgerCommand::Close(close) => self.resolve_discrepancy(close),
        }
    }
}

fn snapshot_of(fact: &Fact) -> Option<&Snapshot> {
    match fact {
        Fact::Seen { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::TaskResult { snapshot, .. }
        | Fact::Merged { snapshot, .. }
        | Fact::MismatchAccepted(snapshot) => Some(snapshot),
        _ => None,
    }
}

fn is_contested(fact: &Fact) -> bool {
    matches!(fact, Fact::Contested { .. })
}

/// Puts the time of receipt, by the server's clock, where a fact depends on it. Only such a fact is
/// copied: snapshots are large, and nearly none of them does.
fn receive(fact: &mut Cow<'_, Fact>, at: Timestamp) {
    let depends = match &**fact {
        Fact::Acknowledged { .. } | Fact::Refused { .. } | Fact::TaskRefused { .. } => true,
        Fact::Held { at, .. } => *at == Timestamp::END,
        Fact::Seen { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::Anothers { snapshot, .. }
        | Fact::Contested { snapshot }
        | Fact::TaskResult { snapshot, .. } => snapshot.is_from_future(at),
        _ => false,
    };
    if !depends {
        return;
    }
    match fact.to_mut() {
        Fact::Acknowledged { at: told_at, .. }
        | Fact::Refused { at: told_at, .. }
        | Fact::TaskRefused { at: told_at, .. }
        | Fact::Held { at: told_at, .. } => *told_at = at,
        Fact::Seen { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::Anothers { snapshot, .. }
        | Fact::Contested { snapshot }
        | Fact::TaskResult { snapshot, .. } => snapshot.drop_future_timestamp(at),
        _ => {}
    }
}

/// The JSON of something that always has one.
pub(super) fn to_json(value: &impl serde::Serialize) -> String {
    // As long as most transactions are with their card: nothing is copied while it grows.
    let mut text = Vec::with_capacity(1536);
    let written = serde_json::to_writer(&mut text, value).ok();
    let text = written.and_then(|()| String::from_utf8(text).ok());
    text.unwrap_or_else(|| "null".to_owned())
}
