//! One replica of the service while it lives: the committer, the engine's loop, the submits, and
//! what its HTTP listeners do. Where the service has pure code, it is the service's own that runs.

use super::db::{Check, Db};
use super::effects::SimEffects;
use super::exec::{Group, TaskId};
use super::invariants::{self, rule};
use super::mutant::Mutant;
use super::plan::Notices;
use super::tx::{After, Committed, Tx};
use super::world::SimState;
use domain::schedule::Pace;
use domain::{DiscrepancyKind, ShopId, Timestamp, Uid};
use leaves::clock::BootInstant;
use reconciler::follow::sweep::{PENDING_TOO_LONG_AFTER, stuck};
use reconciler::follow::{hints, step};
use reconciler::ledger::{
    CommandResult, EvidenceTarget, FoldedBatch, LedgerCommand, LedgerError, LedgerSettings,
    OpenResult, OpenTransaction, RecordEvidence, RecordResult, StampAttempt, StampResult,
    observation_from_orphan,
};
use reconciler::store::StoreError;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

type Slot = Arc<Mutex<Option<Result<(CommandResult, Lasting), LedgerError>>>>;

/// When the batch began, on our clock and on the one that the ledger was given.
#[derive(Debug, Clone, Copy)]
pub struct Lasting {
    micros: u64,
    began: BootInstant,
}

impl Lasting {
    /// A moment of the ledger's clock, on ours.
    pub fn until(self, at: BootInstant) -> u64 {
        let lasts = at.duration_since(self.began).as_micros();
        self.micros + u64::try_from(lasts).unwrap_or(u64::MAX / 4)
    }
}

struct Waiting {
    work: LedgerCommand,
    slot: Slot,
    caller: TaskId,
}

/// A replica.
pub struct Replica {
    pub world: Arc<SimState>,
    pub group: Group,
    pub shop: ShopId,
    pub settings: LedgerSettings,
    queue: Mutex<VecDeque<Waiting>>,
    committer: Mutex<TaskId>,
    engine: Mutex<Option<TaskId>>,
}

/// The ledger's settings, as they are by default.
pub fn settings() -> LedgerSettings {
    LedgerSettings {
        pace: Pace {
            first_check: Duration::from_secs(1),
            max_interval: Duration::from_secs(60),
            max_interval_old: Duration::from_secs(6 * 3600),
            recheck_after_final: vec![Duration::from_secs(3600), Duration::from_secs(86_400)],
        },
        lease: Duration::from_secs(45),
        clock_tolerance: Duration::from_secs(120),
        max_batch: 64,
    }
}

/// How often a batch is tried again after it met another writer, and for how long otherwise: as in
/// the service.
const CONFLICTS: u32 = 10;
const COMMIT_RETRY_TIME: Duration = Duration::from_secs(3);
const SEEK_FATE: Duration = Duration::from_secs(20);

/// What a piece of work is about: its jitter is drawn by that.
fn about(work: &LedgerCommand) -> String {
    match work {
        LedgerCommand::Open(open) => open.id.to_string(),
        LedgerCommand::Stamp(stamp, _) => stamp.id.to_string(),
        LedgerCommand::Record(record) => match record.target {
            EvidenceTarget::Transaction(id) => id.to_string(),
            _ => "snapshots".to_owned(),
        },
        LedgerCommand::Close(close) => close.id.to_string(),
    }
}

impl Replica {
    /// Starts a replica as a group of its own.
    pub fn start(world: &Arc<SimState>, group: Group) -> Arc<Self> {
        let shop = ShopId::parse(super::plan::SHOP).expect("a shop id");
        let this = Arc::new(Self {
            world: Arc::clone(world),
            group,
            shop,
            settings: settings(),
            queue: Mutex::default(),
            committer: Mutex::default(),
            engine: Mutex::default(),
        });
        let committer = world.exec.spawn(group, Arc::clone(&this).commit());
        *this
            .committer
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = committer;
        let engine = world.exec.spawn(group, Arc::clone(&this).run_engine());
        *this.engine.lock().unwrap_or_else(PoisonError::into_inner) = Some(engine);
        world.exec.spawn(group, Arc::clone(&this).sweep());
        if world.plan.notices == Notices::Unsigned {
            let hinter = world.exec.spawn(group, Arc::clone(&this).look_up_hints());
            world.with(|state| state.hinters.insert(group, hinter));
        }
        world.with(|state| {
            state.engines.insert(engine, None);
            state.alive.insert(group, Arc::clone(&this));
        });
        world.poke();
        this
    }

    /// The task of its engine.
    pub fn engine(&self) -> Option<TaskId> {
        *self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a piece of work to the ledger.
    pub async fn ledger(
        &self,
        work: LedgerCommand,
    ) -> Result<(CommandResult, Lasting), LedgerError> {
        let slot = Slot::default();
        let waiting = Waiting {
            work,
            slot: Arc::clone(&slot),
            caller: self.world.exec.current().0,
        };
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(waiting);
        self.world.exec.wake(
            *self
                .committer
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        loop {
            let told = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(told) = told {
                return told;
            }
            self.world.exec.park().await;
        }
    }

    pub async fn open(&self, open: OpenTransaction) -> Result<(OpenResult, Lasting), LedgerError> {
        match self.ledger(LedgerCommand::Open(Box::new(open))).await? {
            (CommandResult::Opened(opened), lasting) => Ok((opened, lasting)),
            _ => Err(LedgerError::DataRejected),
        }
    }

    pub async fn record_once(&self, record: RecordEvidence) -> Result<RecordResult, LedgerError> {
        match self.ledger(LedgerCommand::Record(Box::new(record))).await? {
            (CommandResult::Recorded(recorded), _) => Ok(recorded),
            (CommandResult::NotFound, _) => Err(LedgerError::NotFound),
            _ => Err(LedgerError::DataRejected),
        }
    }

    /// Records, and does not let go while the database is away: as the dispatcher does.
    pub async fn record(&self, record: RecordEvidence) -> Result<RecordResult, LedgerError> {
        loop {
            match self.record_once(record.clone()).await {
                Err(
                    LedgerError::Unavailable | LedgerError::CommitUnknown | LedgerError::Overloaded,
                ) => self.world.exec.sleep(Duration::from_secs(1)).await,
                Ok(recorded) => {
                    let stored = recorded.transaction.as_ref().map(|t| t.record.id);
                    let sha256 = record.observation.body_sha256;
                    self.world
                        .with(|state| invariants::recorded(state, stored, sha256));
                    return Ok(recorded);
                }
                told => return told,
            }
        }
    }

    pub async fn stamp(&self, stamp: StampAttempt) -> Result<(StampResult, Lasting), LedgerError> {
        let token = self.world.with(super::world::State::uuid);
        let asked = stamp.lease;
        let id = stamp.id;
        match self.ledger(LedgerCommand::Stamp(stamp, token)).await? {
            (CommandResult::Stamped(stamped), lasting) => {
                if matches!(stamped, StampResult::Ready(_)) {
                    self.world
                        .note(|| format!("stamped under {asked:?} of {id}"));
                }
                Ok((stamped, lasting))
            }
            (CommandResult::NotFound, _) => Err(LedgerError::NotFound),
            _ => Err(LedgerError::DataRejected),
        }
    }

    async fn commit(self: Arc<Self>) {
        loop {
            let waiting: Vec<Waiting> = {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                queue.drain(..).collect()
            };
            if waiting.is_empty() {
                self.world.exec.park().await;
                continue;
            }
            let works: Vec<LedgerCommand> = waiting.iter().map(|w| w.work.clone()).collect();
            match self.attempt(&works).await {
                Ok((answers, lasting)) => {
                    for (waiting, answer) in waiting.into_iter().zip(answers) {
                        self.tell(&waiting, Ok((answer, lasting)));
                    }
                }
                Err(error) => {
                    waiting
                        .iter()
                        .for_each(|waiting| self.tell(waiting, Err(error.clone())));
                }
            }
        }
    }

    fn tell(&self, waiting: &Waiting, told: Result<(CommandResult, Lasting), LedgerError>) {
        *waiting.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
        self.world.exec.wake(waiting.caller);
    }

    /// Runs a batch, again as often as that can help.
    async fn attempt(
        &self,
        works: &[LedgerCommand],
    ) -> Result<(Vec<CommandResult>, Lasting), LedgerError> {
        let started = self.world.exec.now();
        let (mut conflicts, mut committing) = (0, false);
        loop {
            let error = match self.batch(works).await {
                Ok(Ok(answered)) => return Ok(answered),
                Ok(Err(())) => {
                    committing = true;
                    None
                }
                Err(error) => Some(error),
            };
            let waited = self.world.exec.now().since(started);
            let again = match &error {
                Some(StoreError::Conflict(_)) => {
                    conflicts += 1;
                    conflicts <= CONFLICTS
                }
                Some(StoreError::Unavailable(_)) | None => {
                    waited
                        < if committing {
                            SEEK_FATE
                        } else {
                            COMMIT_RETRY_TIME
                        }
                }
                Some(error) => {
                    self.world
                        .with(|state| state.breaks(rule::WORKS, error.chain()));
                    false
                }
            };
            if !again {
                let unknown = committing;
                self.world
                    .note(|| format!("a batch is given up, committing: {unknown}"));
                return Err(if committing {
                    LedgerError::CommitUnknown
                } else {
                    LedgerError::Unavailable
                });
            }
            self.world.exec.sleep(Duration::from_millis(25)).await;
        }
    }

    /// One run of a batch. `Err(())` inside: its commit's fate is unknown.
    async fn batch(
        &self,
        works: &[LedgerCommand],
    ) -> Result<Result<(Vec<CommandResult>, Lasting), ()>, StoreError> {
        let lasting = Lasting {
            micros: self.world.exec.micros(),
            began: BootInstant::now(),
        };
        let about: Vec<String> = works.iter().map(about).collect();
        let chance = self
            .world
            .with(|state| state.dice("spread", &about.concat()).below(u64::MAX));
        self.world.point("begin").await;
        let mut tx = Tx::begin(&self.world, works);
        let (settings, shop) = (&self.settings, &self.shop);
        let fold = FoldedBatch::run(&mut tx, settings, shop, works, lasting.began, chance).await?;
        let committed = tx.commit().await;
        if committed == Committed::Unknown && !self.world.is(Mutant::CommitFateGuessed) {
            return Ok(Err(()));
        }
        let answers = fold.answers(&After(Arc::clone(&self.world))).await?;
        Ok(Ok((answers, lasting)))
    }

    /// The engine's loop, with the pauses between its turns left out.
    async fn run_engine(self: Arc<Self>) {
        loop {
            let now = self.world.exec.now();
            let due = self.world.with(|state| state.db.next_due());
            if due.is_none_or(|due| due > now) {
                self.world.until_due().await;
                continue;
            }
            let until = self.world.exec.micros() + 45_000_000;
            self.world.point("lease").await;
            let away = self.world.with(|state| state.is_database_away());
            if away {
                self.world.exec.sleep(Duration::from_secs(1)).await;
                continue;
            }
            let leased = self.world.with(|state| {
                let (now, token) = (self.world.exec.now(), state.uuid());
                let (db, locks) = (&mut state.db, &state.locks);
                let locked = |id| locks.is_check_locked(id);
                db.lease_due(now, 8, self.settings.lease, token, locked)
            });
            let none = leased.is_empty();
            for leased in leased {
                let this = Arc::clone(&self);
                self.world.exec.spawn(self.group, async move {
                    this.world.point("leased").await;
                    let hands = SimEffects::of(&this);
                    let late = this.world.is(Mutant::LeaseNotChecked);
                    let exec = this.world.exec.clone();
                    let is_ours = move || late || exec.micros() + 30_000_000 <= until;
                    step::execute(&hands, &leased, is_ours).await;
                });
            }
            if none {
                // What is due is locked.
                self.world.exec.sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Looks up what webhooks without a signature have named.
    async fn look_up_hints(self: Arc<Self>) {
        loop {
            let now = self.world.exec.now();
            match self.world.with(|state| state.db.next_hint()) {
                None => self.world.exec.park().await,
                Some(due) if due > now => {
                    let itself = self.world.exec.current().0;
                    self.world.exec.wake_at(itself, due);
                    self.world.exec.park().await;
                }
                Some(_) => self.look_up_hint().await,
            }
        }
    }

    async fn look_up_hint(self: &Arc<Self>) {
        self.world.point("hint").await;
        let now = self.world.exec.now();
        if self.world.with(|state| state.is_database_away()) {
            return self.world.exec.sleep(Duration::from_secs(1)).await;
        }
        let lease = self.settings.lease;
        let Some((uid, asked_at)) = self.world.with(|state| state.db.lease_hint(now, lease)) else {
            return;
        };
        let Some(named) = Uid::from_gateway(&uid) else {
            return;
        };
        let told = hints::look_up(&SimEffects::of(self), &named).await;
        let (now, told) = (self.world.exec.now(), told.unwrap_or(false));
        self.world
            .with(|state| state.db.hint_done(&uid, asked_at, told, now));
    }

    /// Tries orphans again whose owner has appeared.
    async fn sweep(self: Arc<Self>) {
        loop {
            self.world.exec.sleep(Duration::from_secs(900)).await;
            for orphan in self
                .world
                .with(|state| state.db.matchable_orphans(uuid::Uuid::nil(), 100))
            {
                let Some(record) = observation_from_orphan(&orphan) else {
                    continue;
                };
                self.world.point("orphan").await;
                let recorded = self.record_once(record).await;
                let matched = recorded
                    .ok()
                    .and_then(|r| r.transaction)
                    .map(|t| t.record.id);
                self.world.with(|state| {
                    if let (Some(id), Some(row)) = (matched, state.db.orphans.get_mut(&orphan.id)) {
                        row.matched_to = Some(id);
                    }
                });
            }
            self.tell_stuck().await;
        }
    }

    /// Tells of what has not ended for days.
    async fn tell_stuck(self: &Arc<Self>) {
        let now = self.world.exec.now();
        for (id, state) in self
            .world
            .with(|state| open_for_long(&state.db, now, PENDING_TOO_LONG_AFTER))
        {
            self.world.point("stuck").await;
            // One that is not recorded is told in the next turn.
            self.record_once(stuck(id, &state)).await.ok();
        }
    }
}

/// What has been open for so long, and is not told of.
fn open_for_long(db: &Db, now: Timestamp, longer_than: Duration) -> Vec<(Uuid, String)> {
    let states = ["accepted", "processing", "pending", "in_doubt"];
    let is_told = |id: &Uuid, check: &Check| {
        let mut findings = db.findings.iter();
        findings.any(|finding| {
            finding.transaction_id == Some(*id)
                && finding.kind == DiscrepancyKind::PendingTooLong
                && finding.opened_at >= check.since
        })
    };
    let stuck = db.checks.iter().filter(|(id, check)| {
        let open = states.contains(&check.state.as_str());
        open && now.since(check.since) > longer_than && !is_told(id, check)
    });
    stuck
        .map(|(id, check)| (*id, check.state.clone()))
        .collect()
}
