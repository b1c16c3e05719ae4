//! One step for one leased transaction: plan from the state, do it, record what was learned.
//!
//! It acts through [`StepEffects`] alone, so that the simulation of `tests/it/sim` takes the same steps.

use crate::config::FollowMode;
use crate::follow::absence;
use crate::follow::effects::{GatewayRead, StepEffects};
use crate::follow::lookups::names;
use crate::ledger::{
    EvidenceTarget, ParentLimit, RecordEvidence, RecordResult, StampAttempt, StampResult,
};
use crate::observation::query::{Asked, observe};
use crate::observation::read::{observe_lookup, observe_task_read, observe_uid_lookup, unanswered};
use crate::observation::submit::BeforeStamp;
use crate::observation::{Observation, received, submit};
use crate::store::StoredTransaction;
use crate::store::checks::LeasedCheck;
use domain::family::Unfit;
use domain::schedule::{self, Step, Wishes};
use domain::{Channel, DiscrepancyKind, Fact, State, TaskId, Timestamp, Uid};
use gateway::{LOOKUP_PAGE_ROWS, TaskEndpoint, TaskReading, UidReading, read_by_uid, read_task};
use serde_json::json;
use std::time::Duration;

/// Where a check goes when the shop is paused or the budget is used up.
pub(crate) const RESCHEDULE_DELAY: Duration = Duration::from_secs(2);

/// When a look-up before a stamp is made again that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Where a child goes whose parent could not be looked up.
const PARENT_AGAIN: Duration = Duration::from_secs(10);

/// Takes the step that the state asks for. `is_ours` tells whether the lease will outlast a request.
pub async fn execute<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: impl Fn() -> bool + Send + Sync,
) {
    let transaction = &leased.transaction;
    let derived = transaction.derived();
    let planned = schedule::plan(
        &transaction.opening,
        &transaction.summary,
        &derived,
        leased.now,
    );
    let by_both = matches!(planned, Step::LookUpBoth(_));
    let planned = schedule::turn(planned, &transaction.opening, leased.course.misses);
    let asks = !matches!(
        planned,
        Step::GiveUp { .. } | Step::TakeOver { .. } | Step::ExpireTask(_) | Step::Idle
    );
    if asks && let Err(by) = hands.acquire_permission().await {
        return postpone_by(hands, leased, by).await;
    }
    // A worker whose lease ran out in between asks nobody: another has it by now.
    if asks && !is_ours() {
        return hands.lease_lost();
    }
    let looks = asks && planned != Step::Submit;
    if looks && leased.course.wishes != Wishes::default() {
        // Rare and large: it does not make every step larger.
        return Box::pin(as_wished(hands, leased, &planned, is_ours)).await;
    }
    match planned {
        Step::Submit => submit(hands, leased).await,
        Step::GiveUp { reason, .. } => {
            give_up(hands, leased, &reason, DiscrepancyKind::PendingTooLong).await;
        }
        Step::TakeOver { attempt } => {
            let learned = submit::went_silent(attempt, "the worker that was sending it is gone");
            record(hands, leased, learned, None).await;
        }
        Step::ExpireTask(task) => {
            let act = json!({ "task": task.as_str() });
            let facts = vec![Fact::TaskOutlived { task }];
            let learned = Observation::local(Channel::Local, "went_silent", &act, facts);
            record(hands, leased, learned, None).await;
        }
        Step::AskTask(task) => ask_task(hands, leased, &task, false).await,
        Step::LookUpUid(uid) => {
            let owed = by_both.then(|| name_owed(hands, leased)).flatten();
            look_up_uid(hands, leased, &uid, owed).await;
        }
        Step::LookUpTrackingId if absence::concerns(transaction) => {
            Box::pin(in_doubt(hands, leased, &is_ours)).await;
        }
        Step::LookUpTrackingId => look_up_tracking_id(hands, leased, is_ours).await,
        Step::LookUpBoth(uid) => Box::pin(look_up_both(hands, leased, &uid, is_ours)).await,
        Step::Idle => postpone_by(hands, leased, Duration::from_secs(3600)).await,
    }
}

async fn postpone_by<H: StepEffects>(hands: &H, leased: &LeasedCheck, by: Duration) {
    let until = leased.now.plus(by);
    let id = leased.transaction.record.id;
    if let Err(error) = hands.postpone(id, leased.lease, until).await {
        tracing::warn!(shop = %hands.shop(), error = error.chain(), "a check was not put off; its lease will end");
    }
}

/// Records under the lease.
pub(super) async fn record<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    learned: Observation,
    next_check: Option<Timestamp>,
) -> Option<RecordResult> {
    let id = leased.transaction.record.id;
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: learned,
        lease: Some(leased.lease),
        next_check,
    };
    hands.record(record).await.ok()
}

/// For how long a submit waits: the shop is paused, or something has made it due before the gateway wants it
/// again.
async fn submit_waits<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> Option<Duration> {
    if hands.is_paused().await {
        return Some(RESCHEDULE_DELAY);
    }
    let summary = &leased.transaction.summary;
    let until = schedule::resubmit_at(summary, &hands.settings().pace);
    let until = until.filter(|until| *until > leased.now);
    until.map(|until| until.since(leased.now))
}

/// The body of a waiting request. Where there is none, the next try is put off.
async fn waiting_body<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> Option<H::Body> {
    let id = leased.transaction.record.id;
    let wait = match hands.stored_body(id).await {
        Ok(Some(body)) => return Some(body),
        Ok(None) => {
            tracing::error!(shop = %hands.shop(), %id, "a waiting request has no stored body");
            Duration::from_secs(60)
        }
        // A database that does not answer says nothing about what is stored.
        Err(error) => {
            tracing::warn!(shop = %hands.shop(), %id, error = error.chain(), "a stored body could not be read");
            RESCHEDULE_DELAY
        }
    };
    postpone_by(hands, leased, wait).await;
    None
}

async fn submit<H: StepEffects>(hands: &H, leased: &LeasedCheck) {
    let id = leased.transaction.record.id;
    if let Some(by) = submit_waits(hands, leased).await {
        return postpone_by(hands, leased, by).await;
    }
    let Some(body) = waiting_body(hands, leased).await else {
        return;
    };
    match hands.before_stamp(&leased.transaction).await {
        BeforeStamp::Clear => {}
        BeforeStamp::Known(known) => {
            record(hands, leased, *known, None).await;
            return;
        }
        BeforeStamp::Failed => return postpone_by(hands, leased, LOOK_AGAIN).await,
    }
    let child = ParentLimit::of(&leased.transaction, hands.checks_duplicates(&body));
    let stamp = StampAttempt {
        id,
        lease: Some(leased.lease),
        replay: false,
        child,
        sealed: None,
        told_before: StampAttempt::told_before(&leased.transaction),
    };
    if !hands.lets_key_go().await {
        return postpone_by(hands, leased, RESCHEDULE_DELAY).await;
    }
    let mut stamped = hands.stamp(stamp.clone()).await;
    if let Ok(StampResult::Unfit { unfit, .. }) = &stamped
        && *unfit == Unfit::UnknownParent
    {
        match parent(hands, &leased.transaction).await {
            Some(true) => stamped = hands.stamp(stamp).await,
            Some(false) => return unfit_now(hands, leased, "the gateway has no such parent").await,
            None => return postpone_by(hands, leased, PARENT_AGAIN).await,
        }
    }
    match stamped {
        Ok(StampResult::Ready(attempt)) => {
            hands.send(attempt, body).await;
        }
        Ok(StampResult::Denied { .. }) => hands.lease_lost(),
        Ok(StampResult::Wait { until, .. }) => {
            postpone_by(hands, leased, until.since(leased.now)).await;
        }
        Ok(StampResult::Unfit {
            unfit: Unfit::UnknownParent,
            ..
        }) => {
            postpone_by(hands, leased, PARENT_AGAIN).await;
        }
        Ok(StampResult::Unfit { unfit, .. }) => {
            let kind = match unfit {
                Unfit::Currency { .. } => DiscrepancyKind::CurrencyMismatch,
                _ => DiscrepancyKind::AmountMismatch,
            };
            give_up(hands, leased, &unfit.reason(), kind).await;
        }
        Err(error) => {
            tracing::warn!(shop = %hands.shop(), %id, %error, "an attempt was not stamped");
        }
    }
}

/// Looks the parent of a child up. Whether the gateway has it; `None` when that was not learned.
async fn parent<H: StepEffects>(hands: &H, child: &StoredTransaction) -> Option<bool> {
    let uid = child.opening.parent_uid.as_ref()?;
    hands.acquire_permission().await.ok()?;
    let answer = hands.read_gateway(GatewayRead::Uid(uid)).await?;
    if matches!(read_by_uid(&received(&answer), uid), UidReading::Missing) {
        return Some(false);
    }
    let learned = observe(&answer, Asked::Uid(uid), false)?;
    let is_it = learned.is_about_it();
    let record = RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: learned,
        lease: None,
        next_check: None,
    };
    let recorded = hands.record(record).await;
    recorded.ok().filter(|_| is_it).map(|_| true)
}

/// Ends what its parent does not allow any more.
async fn unfit_now<H: StepEffects>(hands: &H, leased: &LeasedCheck, reason: &str) {
    give_up(hands, leased, reason, DiscrepancyKind::AmountMismatch).await;
}

/// Ends what its parent does not allow any more, or the gateway has put off for too long, without a byte on
/// the wire. The finding is of this kind.
async fn give_up<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    reason: &str,
    kind: DiscrepancyKind,
) {
    let last = leased.transaction.summary.last_attempt();
    let mut learned = submit::given_up(last, reason);
    let text = format!("it is not sent any more: {reason}");
    learned.finding = Some((kind, text));
    record(hands, leased, learned, None).await;
}

/// What was wished for: this transaction of the gateway, and, for a person, all under its tracking id. A task
/// that runs is asked first: it says what nobody else can. Where the last look got no answer, what comes
/// second has its turn alone: a read that hangs takes the lease, and nothing else would ever be asked.
async fn as_wished<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    planned: &Step,
    is_ours: impl Fn() -> bool + Send + Sync,
) {
    let wishes = &leased.course.wishes;
    let is_named = schedule::is_named(&leased.transaction.opening);
    let by_name = wishes.by_name && is_named;
    let hangs = !leased.course.unanswered.is_multiple_of(2);
    match (planned, &wishes.at) {
        (Step::AskTask(_), None) if by_name && hangs => {}
        (Step::AskTask(task), None) => {
            ask_task(hands, leased, task, by_name).await;
            if !by_name || !may_go_on(hands, leased, &is_ours).await {
                return;
            }
        }
        (Step::LookUpUid(uid) | Step::LookUpBoth(uid), None) if by_name && !hangs => {
            return look_up_both(hands, leased, uid, is_ours).await;
        }
        (Step::LookUpUid(uid) | Step::LookUpBoth(uid), None) => {
            return look_up_uid(hands, leased, uid, None).await;
        }
        // Where the uid has told nothing, the name has its turn.
        (_, Some(uid))
            if (by_name && !hangs) || (is_named && !leased.course.misses.is_multiple_of(2)) =>
        {
            return look_up_both(hands, leased, uid, is_ours).await;
        }
        (_, Some(uid)) => return look_up_uid(hands, leased, uid, None).await,
        (_, None) => {}
    }
    if absence::concerns(&leased.transaction) {
        return absence::look(hands, leased, &is_ours).await;
    }
    look_up_tracking_id(hands, leased, is_ours).await;
}

/// Looks up what is in doubt; first it asks the task once more that told what leaves everything open, unless the
/// last look got no answer.
async fn in_doubt<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: &(impl Fn() -> bool + Send + Sync),
) {
    let transaction = &leased.transaction;
    let derived = transaction.derived();
    let task = schedule::doubtful_task(&transaction.summary, &derived, leased.now);
    if let Some(task) = task.filter(|_| leased.course.unanswered.is_multiple_of(2)) {
        ask_task(hands, leased, task, true).await;
        if !may_go_on(hands, leased, is_ours).await {
            return;
        }
    }
    absence::look(hands, leased, is_ours).await;
}

/// Whether a look may ask once more: within the shop's budget, and under its lease.
async fn may_go_on<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: &(impl Fn() -> bool + Send + Sync),
) -> bool {
    if let Err(by) = hands.acquire_permission().await {
        postpone_by(hands, leased, by).await;
        return false;
    }
    if !is_ours() {
        hands.lease_lost();
        return false;
    }
    true
}

/// Asks the task. `goes_on`: the look asks more after it, under the same lease.
async fn ask_task<H: StepEffects>(hands: &H, leased: &LeasedCheck, task: &TaskId, goes_on: bool) {
    let asked = leased.transaction.opening.kind;
    if hands.settings().follow == FollowMode::Status {
        let Some(answer) = hands.read_gateway(GatewayRead::TaskStatus(task)).await else {
            let learned = unanswered(Channel::TaskStatus, task.as_str());
            return conclude(hands, leased, learned, goes_on).await;
        };
        let told = observe_task_read(&answer, TaskEndpoint::Status, task, asked);
        let completed = matches!(
            read_task(&received(&answer), TaskEndpoint::Status),
            TaskReading::Completed
        );
        if !completed {
            return conclude(hands, leased, told, goes_on).await;
        }
        // What the status said is kept; the lease stays for the result.
        let id = leased.transaction.record.id;
        let kept = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: told,
            lease: None,
            next_check: None,
        };
        if hands.record(kept).await.is_err() {
            return;
        }
    }
    let told = match hands.read_gateway(GatewayRead::TaskResult(task)).await {
        Some(answer) => observe_task_read(&answer, TaskEndpoint::Result, task, asked),
        None => unanswered(Channel::TaskResult, task.as_str()),
    };
    conclude(hands, leased, told, goes_on).await;
}

/// Records what was told.
async fn conclude<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    mut told: Observation,
    goes_on: bool,
) {
    told.goes_on = goes_on;
    record(hands, leased, told, None).await;
}

/// When a look by name after a final state is taken again that told nothing: what its uid tells does not show
/// what else goes by that name.
fn name_owed<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> Option<Timestamp> {
    let (transaction, pace) = (&leased.transaction, &hands.settings().pace);
    let derived = transaction.derived();
    schedule::retry_missed_check(&derived, transaction.state_since, leased.now, pace)
}

async fn look_up_uid<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    uid: &Uid,
    next: Option<Timestamp>,
) {
    let told = match hands.read_gateway(GatewayRead::Uid(uid)).await {
        Some(answer) => observe_uid_lookup(&answer, uid),
        None => unanswered(Channel::Query, uid.as_str()),
    };
    record(hands, leased, told, next).await;
}

/// Looks it up by tracking id, so that whatever else goes by that name is seen, and by uid as well unless
/// that uid is among fewer than ten rows.
async fn look_up_both<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    uid: &Uid,
    is_ours: impl Fn() -> bool + Send + Sync,
) {
    let Some(name) = leased.transaction.opening.tracking_id.clone() else {
        return look_up_uid(hands, leased, uid, None).await;
    };
    let Some(answer) = hands
        .read_gateway(GatewayRead::TrackingId(name.as_str()))
        .await
    else {
        let told = unanswered(Channel::Query, name.as_str());
        return conclude(hands, leased, told, false).await;
    };
    let mut told = observe_lookup(&answer, name.as_str());
    let shown = told.snapshots().any(|snapshot| snapshot.uid == *uid);
    let enough = shown && told.snapshots().count() < LOOKUP_PAGE_ROWS;
    told.goes_on = !enough;
    told.answered = hands.now();
    let is_refused = told.facts.is_empty();
    let recorded = record(hands, leased, told.clone(), None).await;
    if let Some(transaction) = recorded.and_then(|r| r.transaction) {
        absence::record_lookup_success(hands, &transaction, &told).await;
    }
    if !enough && may_go_on(hands, leased, &is_ours).await {
        let owed = is_refused.then(|| name_owed(hands, leased)).flatten();
        look_up_uid(hands, leased, uid, owed).await;
    }
}

/// Looks it up under each name that it may be filed under, until one shows something.
async fn look_up_tracking_id<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    is_ours: impl Fn() -> bool + Send + Sync,
) {
    let mut names = names(&leased.transaction.opening).into_iter().peekable();
    while let Some(name) = names.next() {
        let Some(answer) = hands.read_gateway(GatewayRead::TrackingId(&name)).await else {
            let told = unanswered(Channel::Query, &name);
            return conclude(hands, leased, told, false).await;
        };
        let mut told = observe_lookup(&answer, &name);
        let goes_on = told.snapshots().next().is_none() && names.peek().is_some();
        told.goes_on = goes_on;
        told.answered = hands.now();
        let recorded = record(hands, leased, told.clone(), None).await;
        if let Some(transaction) = recorded.and_then(|r| r.transaction) {
            absence::record_lookup_success(hands, &transaction, &told).await;
        }
        if !goes_on || !may_go_on(hands, leased, &is_ours).await {
            return;
        }
    }
}

/// Whether what is in doubt may be sent again under the same `RequestID`: a submit like any other, which a
/// pause stops and for which there must be leave to ask.
pub(super) async fn may_replay<H: StepEffects>(hands: &H, leased: &LeasedCheck) -> bool {
    let transaction = &leased.transaction;
    let (opening, summary) = (&transaction.opening, &transaction.summary);
    hands.settings().trust_request_id
        && transaction.state == State::InDoubt
        && schedule::can_resend(opening, summary, leased.now)
        && schedule::may_repeat_now(
            summary,
            &transaction.derived(),
            leased.now,
            &hands.settings().pace,
        )
        && !hands.is_paused().await
        && hands.acquire_permission().await.is_ok()
}

/// Records the empty look-up, and repeats the request. Returns whether it was sent.
pub(super) async fn replay<H: StepEffects>(
    hands: &H,
    leased: &LeasedCheck,
    told: &Observation,
) -> bool {
    let id = leased.transaction.record.id;
    // The lease stays: the stamp needs it.
    let kept = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: told.clone(),
        lease: None,
        next_check: None,
    };
    if hands.record(kept).await.is_err() {
        return false;
    }
    let Ok(Some(body)) = hands.stored_body(id).await else {
        return false;
    };
    let stamp = StampAttempt {
        id,
        lease: Some(leased.lease),
        replay: true,
        child: ParentLimit::of(&leased.transaction, hands.checks_duplicates(&body)),
        sealed: None,
        told_before: Vec::new(),
    };
    if !hands.lets_key_go().await {
        return false;
    }
    match hands.stamp(stamp).await {
        Ok(StampResult::Ready(attempt)) => {
            hands.send(attempt, body).await;
            true
        }
        // What its parent does not allow is not sent once more; it stays in doubt.
        Ok(StampResult::Denied { .. } | StampResult::Wait { .. } | StampResult::Unfit { .. })
        | Err(_) => false,
    }
}
