//! The stage of one step: a few transactions in the model database, one of them in a given state, and
//! one answer that reaches it through the service's own readers and one batch of the ledger.

use super::setting::{Builder, address, commit};
use crate::sim::bytes::BytesEnd;
use crate::sim::db::{Check, Db};
use crate::sim::grammar::{Bytes, Channel, FACTORS, Named, Row, Status, Value as _, When, Whose};
use crate::sim::render::{Card, Entry, Names, Rendered, Scene, beside, render};
use crate::sim::{plan::SHOP, replica::settings, replies::ORIGIN, world::SimState};
use domain::{Origin, ShopId, Timestamp, absence::Ability, schedule::Course};
use gateway::{GatewayResponse, SubmitExchange};
use reconciler::config::FollowMode;
use reconciler::follow::effects::{GatewayRead, StepEffects};
use reconciler::follow::{EngineSettings, step};
use reconciler::ledger::{
    self, EvidenceTarget, LedgerCommand, LedgerError, RecordEvidence, RecordResult, StampAttempt,
    StampResult, StampedAttempt,
};
use reconciler::observation::query::{self, Asked};
use reconciler::observation::webhook::Opened;
use reconciler::observation::{Observation, submit};
use reconciler::store::checks::LeasedCheck;
use reconciler::store::{EvidenceRow, StoreError, StoredTransaction};
use sha2::{Digest, Sha256};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use uuid::Uuid;

pub const OURS: &str = "uid-own";
pub const ANOTHERS: &str = "uid-anothers";
pub const PARENTS: &str = "uid-parents";
pub const SIBLINGS: &str = "uid-siblings";
pub const TASK: &str = "task-1";
const LEASE: Uuid = Uuid::from_u128(0x1ea5e);

/// When our request left, and when its state began, counted from the beginning.
const SENT: Duration = Duration::from_secs(3_600);
pub const BEGAN: Duration = Duration::from_secs(3_610);
/// When the answer comes, for what is open and for what has been final for long.
const SOON: Duration = Duration::from_secs(3_630);
const LATE: Duration = Duration::from_secs(3_610 + 30 * 3_600);

/// The longest body of a webhook, as it is set by default.
const MAX_WEBHOOK: usize = 256 * 1024;

/// In which way an answer comes: as the answer to the POST, by way of a task, or by asking or being told,
/// which happens at any age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    Posted,
    Task,
    Asked,
}

impl Way {
    pub fn of(channel: Channel) -> Self {
        match channel {
            Channel::Ack => Self::Posted,
            Channel::TaskStatus | Channel::TaskResult => Self::Task,
            Channel::ByUid | Channel::ByName | Channel::Webhook | Channel::Query => Self::Asked,
        }
    }
}

/// What is made ready once for all answers to a row in a state.
pub struct Stage {
    world: Arc<SimState>,
    pub db: Db,
    pub when: When,
    pub is_child: bool,
    pub id: Uuid,
    pub now: Timestamp,
    /// As it was when the lease was taken under which the answer comes.
    views: Views,
}

/// What a worker had read that asks the task, the uid, and the name.
pub struct Views {
    pub task: StoredTransaction,
    pub uid: StoredTransaction,
    pub name: StoredTransaction,
}

/// What one answer did.
pub struct Done {
    pub before: StoredTransaction,
    pub after: StoredTransaction,
    pub db: Db,
    /// What the readers made of it.
    pub learned: Vec<Observation>,
    /// What the ledger or the store refused to do.
    pub failed: Option<String>,
    /// "Look-ups work here" was noted.
    pub noted: bool,
    pub rendered: Rendered,
    pub scene: Scene,
}

impl Done {
    /// Whether the answer changed anything but the evidence.
    pub fn changes(&self, stage: &Stage) -> bool {
        let due = |db: &Db| db.checks.get(&stage.id).map(|check| check.due_at);
        let owners = |db: &Db| db.uids.len() + db.transactions.len() + db.orphans.len();
        self.before.state != self.after.state
            || self.before.summary != self.after.summary
            || due(&self.db) != due(&stage.db)
            || owners(&self.db) != owners(&stage.db)
            || self.db.findings.len() != stage.db.findings.len()
    }
}

/// Ends work that never waits.
pub fn now<T>(work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    for _ in 0..1_000 {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return done;
        }
    }
    panic!("one step waits for something")
}

fn card() -> Card {
    Card {
        number: "4012888888881881".to_owned(),
        holder: "CANARY QWERTZ".to_owned(),
        cvc: "9173".to_owned(),
        expiry: (11, 2039),
    }
}

pub fn names() -> Names {
    Names {
        own: "order-2026-11-30-00017-a".to_owned(),
        anothers: "order-2026-11-30-00018-a".to_owned(),
        parents: "order-2026-11-29-00003-a".to_owned(),
    }
}

impl Stage {
    /// Sets a row up in a state, for answers that come in a way.
    pub fn set(when: When, is_child: bool, way: Way) -> Self {
        let builder = Builder {
            world: SimState::quiet(),
            is_child,
        };
        builder.others();
        builder.at(SENT);
        let id = Uuid::from_u128(0x0000_0000_0017);
        builder.open(id, when != When::Accepted);
        let late = is_final(when) && way == Way::Asked;
        let (mut views, until) = (builder.views(id), if late { LATE } else { SOON });
        builder.bring(id, when, way == Way::Task);
        builder.at(until);
        let world = builder.world;
        let mut db = world.with(|state| std::mem::take(&mut state.db));
        let now = world.exec.now();
        if late {
            // All looks that were planned have been.
            db.checks.remove(&id);
        } else if let Some(check) = db.checks.get_mut(&id) {
            check.again = false;
        }
        for view in [&mut views.task, &mut views.uid, &mut views.name] {
            view.state_since = db.transactions[&id].state_since;
        }
        Self {
            world,
            db,
            when,
            is_child,
            id,
            now,
            views,
        }
    }

    /// The transaction of the gateway that a row is about, before the row says what is odd about it.
    fn about(&self, row: &Row) -> Entry {
        let names = names();
        let sent = crate::sim::exec::beginning().plus(SENT);
        let known = match self.when {
            When::Failed => "failed",
            When::Expired => "expired",
            _ => "successful",
        };
        let told = FACTORS[Status::FACTOR].words[usize::from(row.at(Status::FACTOR))];
        let says_the_same = row.is(Status::True) || told == known;
        let updated_at = if is_final(self.when) && says_the_same {
            sent.plus(Duration::from_secs(8))
        } else {
            self.now.minus(Duration::from_secs(4))
        };
        let own = Entry {
            uid: OURS.to_owned(),
            name: Some(names.own.clone()),
            kind: if self.is_child { "refund" } else { "payment" }.to_owned(),
            amount: 1500,
            currency: "EUR".to_owned(),
            parent: self.is_child.then(|| PARENTS.to_owned()),
            test: false,
            status: known.to_owned(),
            code: None,
            message: None,
            created_at: sent.plus(Duration::from_secs(1)),
            updated_at,
            card: card(),
        };
        let earlier = Duration::from_secs(3_500);
        let older = Entry {
            kind: "payment".to_owned(),
            parent: None,
            created_at: sent.minus(earlier),
            updated_at: sent.minus(earlier),
            status: "successful".to_owned(),
            ..own.clone()
        };
        match row.get() {
            Whose::Own | Whose::None => own,
            Whose::Anothers => Entry {
                uid: ANOTHERS.to_owned(),
                name: Some(names.anothers),
                ..older
            },
            Whose::Parents => Entry {
                uid: PARENTS.to_owned(),
                name: Some(names.parents),
                amount: 4500,
                ..older
            },
            Whose::Siblings => Entry {
                uid: SIBLINGS.to_owned(),
                name: Some(format!("{}-sibling", names.parents)),
                created_at: sent.minus(earlier),
                updated_at: sent.minus(earlier),
                ..own
            },
            Whose::Foreign => Entry {
                uid: "uid-foreign".to_owned(),
                status: "successful".to_owned(),
                ..own
            },
            Whose::New => Entry {
                uid: "uid-new".to_owned(),
                name: Some("of-another-system-00001".to_owned()),
                status: "successful".to_owned(),
                ..own
            },
        }
    }

    /// The scene of an answer.
    fn scene(&self, row: &Row) -> Scene {
        let about = self.about(row);
        let own = self.about(&Row::default());
        Scene {
            beside: beside(row.get(), &own),
            about,
            names: names(),
            task: TASK.to_owned(),
            origin: ORIGIN.to_owned(),
            before: crate::sim::exec::beginning().plus(SENT + Duration::from_secs(5)),
        }
    }

    /// Lets one answer come.
    pub fn take(&self, row: &Row) -> Done {
        let scene = self.scene(row);
        let rendered = rendered(row, &scene);
        self.world.with(|state| {
            state.db = self.db.clone();
            state.broken = None;
        });
        let hands = OneAnswer::new(&self.world, answer_of(&rendered), row);
        let done = match row.get() {
            Channel::Ack => now(hands.acknowledged(self.id)),
            Channel::Webhook => now(hands.told(&rendered)),
            Channel::Query => now(hands.queried(row)),
            Channel::TaskStatus | Channel::TaskResult => now(hands.step(self, &self.views.task)),
            Channel::ByUid => now(hands.step(self, &self.views.uid)),
            Channel::ByName => now(hands.step(self, &self.views.name)),
        };
        let failed = locked(&hands.failed).take();
        let (learned, noted) = hands.heard();
        let db = self.world.with(|state| std::mem::take(&mut state.db));
        Done {
            before: self.db.transactions[&self.id].clone(),
            after: db.transactions[&self.id].clone(),
            db,
            learned,
            failed: failed.or(done.err()),
            noted,
            rendered,
            scene,
        }
    }
}

pub fn is_final(when: When) -> bool {
    matches!(
        when,
        When::Successful | When::Failed | When::Expired | When::Rejected
    )
}

/// Whether such an answer can reach a row in such a state, if need be late.
pub fn is_natural(channel: Channel, when: When) -> bool {
    let is_told = matches!(channel, Channel::Webhook | Channel::Query);
    let has_name = is_told || channel == Channel::ByName;
    match when {
        When::Accepted | When::NotSent => is_told,
        When::Submitting => is_told || channel == Channel::Ack,
        When::DuplicateDoubt | When::Rejected => has_name || channel == Channel::Ack,
        When::Processing | When::InDoubt => channel != Channel::ByUid,
        When::Pending
        | When::Successful
        | When::Failed
        | When::Expired
        | When::WebhookMeanwhile => true,
    }
}

/// What travels. A body over the limit is cut there by the client, which is the same as a shorter one
/// under a lower limit; nothing here has to read a mebibyte.
fn rendered(row: &Row, scene: &Scene) -> Rendered {
    if row.is(Bytes::Long) {
        let end = BytesEnd::Broken;
        return Rendered {
            end,
            ..render(&row.with(Bytes::CutWithin), scene)
        };
    }
    render(row, scene)
}

/// An answer as the service's client gives it.
fn answer_of(rendered: &Rendered) -> GatewayResponse {
    let body = &rendered.body;
    GatewayResponse {
        status: rendered.status,
        retry_after: rendered.retry_after,
        content_type: None,
        request_id: None,
        date: None,
        sha256: Sha256::digest(body).into(),
        body: body.clone().into(),
        truncated: rendered.end == BytesEnd::Broken,
    }
}

/// The hands of a step that asks once.
struct OneAnswer<'a> {
    world: &'a Arc<SimState>,
    shop: ShopId,
    settings: EngineSettings,
    answer: Mutex<Option<GatewayResponse>>,
    broken_off: bool,
    learned: Mutex<Vec<Observation>>,
    noted: Mutex<bool>,
    failed: Mutex<Option<String>>,
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> OneAnswer<'a> {
    fn new(world: &'a Arc<SimState>, answer: GatewayResponse, row: &Row) -> Self {
        let ledger = settings();
        let settings = EngineSettings {
            pace: ledger.pace.clone(),
            lease: ledger.lease,
            request_timeout: Duration::from_secs(30),
            absence_interval: Duration::from_secs(600),
            in_doubt_horizon: Duration::from_secs(86_400),
            follow: if row.is(Channel::TaskStatus) {
                FollowMode::Status
            } else {
                FollowMode::Result
            },
            trust_request_id: false,
            evidence_retention: Duration::from_secs(400 * 86_400),
            events_retention: Duration::from_secs(90 * 86_400),
        };
        Self {
            world,
            shop: ShopId::parse(SHOP).expect("a shop id"),
            settings,
            // What is over the limit is cut there, and handed on.
            broken_off: answer.truncated && !row.is(Bytes::Long),
            answer: Mutex::new(Some(answer)),
            learned: Mutex::default(),
            noted: Mutex::default(),
            failed: Mutex::default(),
        }
    }

    fn heard(self) -> (Vec<Observation>, bool) {
        let learned = self.learned.into_inner();
        let noted = self.noted.into_inner();
        (
            learned.unwrap_or_else(PoisonError::into_inner),
            noted.unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn taken(&self) -> Option<GatewayResponse> {
        locked(&self.answer).take()
    }

    async fn commit(&self, record: RecordEvidence) -> Result<RecordResult, String> {
        locked(&self.learned).push(record.observation.clone());
        let answer = commit(
            self.world,
            &self.shop,
            LedgerCommand::Record(Box::new(record)),
        )
        .await?;
        match answer {
            ledger::CommandResult::Recorded(recorded) => Ok(recorded),
            _ => Err("it was not recorded".to_owned()),
        }
    }

    /// The answer to the submit.
    async fn acknowledged(&self, id: Uuid) -> Result<(), String> {
        let answer = self.taken().expect("an answer");
        let submission = if self.broken_off {
            let reason = "the answer broke off".to_owned();
            let partial = Some(Box::new(answer));
            SubmitExchange::Unclear { reason, partial }
        } else {
            SubmitExchange::Answered(answer)
        };
        let at = self.world.exec.now();
        let kind = self
            .world
            .with(|state| state.db.transactions[&id].opening.kind);
        let outcome = submit::from_exchange(&submission, 1, kind, &address(), at);
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: outcome.observation,
            lease: Some(id),
            next_check: outcome.retry_after.map(|after| at.plus(after)),
        };
        self.commit(record).await.map(drop)
    }

    /// A webhook whose signature held. One whose content coding cannot be undone is refused.
    async fn told(&self, rendered: &Rendered) -> Result<(), String> {
        let mut headers = rendered.headers.iter();
        let coding = headers.find(|(name, _)| *name == "content-encoding");
        let coding = coding.map(|(_, coding)| coding.as_str());
        let opened = Opened::of(coding, &rendered.body, MAX_WEBHOOK);
        let opened = opened.map_err(|error| error.to_string())?;
        let record = RecordEvidence {
            target: EvidenceTarget::Snapshots,
            observation: opened.observe(&rendered.body, true, self.world.exec.now()),
            lease: None,
            next_check: None,
        };
        self.commit(record).await.map(drop)
    }

    /// The answer to a status query by name.
    async fn queried(&self, row: &Row) -> Result<(), String> {
        // What had come of one that broke off counts as well.
        let answer = self.taken().expect("an answer");
        let name = if row.is(Named::Parents) {
            names().parents
        } else {
            names().own
        };
        let named = self.world.with(|state| {
            let mut all = state.db.transactions.iter();
            let bears = |row: &StoredTransaction| {
                let own = row.opening.tracking_id.as_ref();
                row.opening.origin == Origin::Api && own.is_some_and(|own| own.as_str() == name)
            };
            all.find(|(_, row)| bears(row)).map(|(id, _)| *id)
        });
        let asked = Asked::TrackingId(&name);
        let Some(learned) = query::observe(&answer, asked, named.is_some()) else {
            return Ok(());
        };
        let record = RecordEvidence {
            target: named.map_or(EvidenceTarget::Snapshots, EvidenceTarget::Transaction),
            observation: learned,
            lease: None,
            next_check: None,
        };
        self.commit(record).await.map(drop)
    }

    /// A step of the engine, by what it had read when it took the lease.
    async fn step(&self, stage: &Stage, view: &StoredTransaction) -> Result<(), String> {
        let until = stage.now.plus(Duration::from_secs(40));
        let check = Check {
            due_at: until,
            lease: Some(LEASE),
            again: false,
            state: stage.db.transactions[&stage.id].state.to_string(),
            since: stage.now,
            course: Course::default(),
        };
        self.world
            .with(|state| state.db.checks.insert(stage.id, check));
        let leased = LeasedCheck {
            transaction: view.clone(),
            lease: LEASE,
            due_at: stage.now,
            now: stage.now,
            course: Course::default(),
        };
        step::execute(self, &leased, || true).await;
        Ok(())
    }
}

impl StepEffects for OneAnswer<'_> {
    type Body = ();

    fn shop(&self) -> &ShopId {
        &self.shop
    }

    fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    async fn acquire_permission(&self) -> Result<(), Duration> {
        Ok(())
    }

    async fn is_paused(&self) -> bool {
        false
    }

    async fn postpone(&self, id: Uuid, lease: Uuid, until: Timestamp) -> Result<bool, StoreError> {
        let at = self.world.exec.now();
        Ok(self
            .world
            .with(|state| state.db.postpone(at, id, lease, until)))
    }

    async fn record(&self, record: RecordEvidence) -> Result<RecordResult, LedgerError> {
        let recorded = self.commit(record).await;
        recorded.map_err(|error| {
            *locked(&self.failed) = Some(error);
            LedgerError::DataRejected
        })
    }

    async fn stamp(&self, _: StampAttempt) -> Result<StampResult, LedgerError> {
        Err(LedgerError::DataRejected)
    }

    async fn stored_body(&self, _: Uuid) -> Result<Option<()>, StoreError> {
        Ok(None)
    }

    async fn send(&self, _: StampedAttempt, (): ()) {}

    async fn read_gateway(&self, _: GatewayRead<'_>) -> Option<GatewayResponse> {
        self.taken()
    }

    fn lease_lost(&self) {}

    async fn evidence(&self, id: Uuid) -> Result<Vec<EvidenceRow>, StoreError> {
        Ok(self.world.with(|state| state.db.evidence_of(id)))
    }

    async fn known_transaction(
        &self,
        _: &str,
    ) -> Result<Option<(Uuid, String, String)>, StoreError> {
        Ok(None)
    }

    async fn abilities(&self) -> Result<Vec<Ability>, StoreError> {
        Ok(Vec::new())
    }

    async fn teach(&self, _: &str, _: Uuid, _: Uuid) -> Result<(), StoreError> {
        *locked(&self.noted) = true;
        Ok(())
    }

    async fn owners(&self, uids: &[String]) -> Result<Vec<(String, Uuid, Origin)>, StoreError> {
        Ok(self.world.with(|state| state.db.owners_with_origin(uids)))
    }

    fn checks_duplicates(&self, (): &()) -> bool {
        true
    }
}
