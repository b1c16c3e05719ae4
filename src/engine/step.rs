//! One step for one leased transaction: plan from the state, do it, record what was learned.
//!
//! It acts through [`Hands`] alone, so that the simulation of `tests/it/sim` takes the same steps.

use crate::config::Follow;
use crate::domain::family::Unfit;
use crate::domain::schedule::{self, Step};
use crate::domain::{Channel, DiscrepancyKind, Fact, State, TaskId, Timestamp, Uid};
use crate::engine::absence;
use crate::engine::hands::{Hands, Question};
use crate::gateway::{TaskReading, TaskUrl, UidReading, read_by_uid, read_task};
use crate::ledger::{ParentLimit, Record, Recorded, Stamp, Stamped, Target};
use crate::observation::query::observe_uid;
use crate::observation::read::{Told, read_answer, read_list, read_uid};
use crate::observation::submit::BeforeStamp;
use crate::observation::{Observation, received, submit};
use crate::store::StoredTransaction;
use crate::store::checks::Leased;
use serde_json::json;
use std::time::Duration;

/// Where a check goes when the shop is paused or the budget is used up.
pub(crate) const PUT_OFF: Duration = Duration::from_secs(2);

/// When a look-up before a stamp is made again that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Where a child goes whose parent could not be looked up.
const PARENT_AGAIN: Duration = Duration::from_secs(10);

/// Takes the step that the state asks for. `is_ours` tells whether the lease will outlast a request.
pub async fn take<H: Hands>(hands: &H, leased: &Leased, is_ours: impl Fn() -> bool + Send + Sync) {
    let transaction = &leased.transaction;
    let derived = transaction.derived();
    let planned = schedule::plan(
        &transaction.opening,
        &transaction.summary,
        &derived,
        leased.now,
    );
    let asks = !matches!(
        planned,
        Step::TakeOver { .. } | Step::OutliveTask(_) | Step::Rest
    );
    if asks && let Err(by) = hands.admit().await {
        return put_off(hands, leased, by).await;
    }
    // A worker whose lease ran out in between asks nobody: another has it by now.
    if asks && !is_ours() {
        return hands.lease_lost();
    }
    match planned {
        Step::Submit => submit(hands, leased).await,
        Step::TakeOver { attempt } => {
            let learned = submit::went_silent(attempt, "the worker that was sending it is gone");
            record(hands, leased, learned, None).await;
        }
        Step::OutliveTask(task) => {
            let act = json!({ "task": task.as_str() });
            let facts = vec![Fact::TaskOutlived { task }];
            let learned = Observation::local(Channel::Local, "went_silent", &act, facts);
            record(hands, leased, learned, None).await;
        }
        Step::AskTask(task) => ask_task(hands, leased, &task).await,
        Step::LookUpUid(uid) => look_up_uid(hands, leased, &uid).await,
        Step::LookUpTrackingId if absence::concerns(transaction) => {
            absence::look(hands, leased, &is_ours).await;
        }
        Step::LookUpTrackingId => look_up_tracking_id(hands, leased).await,
        Step::Rest => put_off(hands, leased, Duration::from_secs(3600)).await,
    }
}

async fn put_off<H: Hands>(hands: &H, leased: &Leased, by: Duration) {
    let until = leased.now.plus(by);
    let id = leased.transaction.record.id;
    if let Err(error) = hands.postpone(id, leased.lease, until).await {
        tracing::warn!(shop = %hands.shop(), error = error.chain(), "a check was not put off; its lease will end");
    }
}

/// Records under the lease.
pub(super) async fn record<H: Hands>(
    hands: &H,
    leased: &Leased,
    learned: Observation,
    next_check: Option<Timestamp>,
) -> Option<Recorded> {
    let id = leased.transaction.record.id;
    let record = Record {
        target: Target::Transaction(id),
        learned,
        lease: Some(leased.lease),
        next_check,
    };
    hands.record(record).await.ok()
}

async fn submit<H: Hands>(hands: &H, leased: &Leased) {
    let id = leased.transaction.record.id;
    if hands.is_paused().await {
        return put_off(hands, leased, PUT_OFF).await;
    }
    let body = match hands.stored_body(id).await {
        Ok(Some(body)) => body,
        Ok(None) => {
            tracing::error!(shop = %hands.shop(), %id, "a waiting request has no stored body");
            return put_off(hands, leased, Duration::from_secs(60)).await;
        }
        // A database that does not answer says nothing about what is stored.
        Err(error) => {
            tracing::warn!(shop = %hands.shop(), %id, error = error.chain(), "a stored body could not be read");
            return put_off(hands, leased, PUT_OFF).await;
        }
    };
    match hands.before_stamp(&leased.transaction).await {
        BeforeStamp::Clear => {}
        BeforeStamp::Known(known) => {
            record(hands, leased, *known, None).await;
            return;
        }
        BeforeStamp::Failed => return put_off(hands, leased, LOOK_AGAIN).await,
    }
    let child = ParentLimit::of(&leased.transaction, hands.checks_duplicates(&body));
    let stamp = Stamp {
        id,
        lease: Some(leased.lease),
        replay: false,
        child,
        sealed: None,
    };
    let mut stamped = hands.stamp(stamp.clone()).await;
    if let Ok(Stamped::Unfit { unfit, .. }) = &stamped
        && *unfit == Unfit::UnknownParent
    {
        match parent(hands, &leased.transaction).await {
            Some(true) => stamped = hands.stamp(stamp).await,
            Some(false) => return give_up(hands, leased, "the gateway has no such parent").await,
            None => return put_off(hands, leased, PARENT_AGAIN).await,
        }
    }
    match stamped {
        Ok(Stamped::Ready {
            transaction,
            attempt,
            lease,
        }) => {
            hands.send(&transaction, attempt, lease, body).await;
        }
        Ok(Stamped::No { .. }) => hands.lease_lost(),
        Ok(Stamped::Wait { until, .. }) => {
            put_off(hands, leased, until.since(leased.now)).await;
        }
        Ok(Stamped::Unfit {
            unfit: Unfit::UnknownParent,
            ..
        }) => {
            put_off(hands, leased, PARENT_AGAIN).await;
        }
        Ok(Stamped::Unfit { unfit, .. }) => give_up(hands, leased, &unfit.reason()).await,
        Err(error) => {
            tracing::warn!(shop = %hands.shop(), %id, %error, "an attempt was not stamped");
        }
    }
}

/// Looks the parent of a child up. Whether the gateway has it; `None` when that was not learned.
async fn parent<H: Hands>(hands: &H, child: &StoredTransaction) -> Option<bool> {
    let uid = child.opening.parent_uid.as_ref()?;
    hands.admit().await.ok()?;
    let answer = hands.ask(Question::Uid(uid)).await?;
    if matches!(read_by_uid(&received(&answer), uid), UidReading::Missing) {
        return Some(false);
    }
    let record = Record {
        target: Target::Snapshots,
        learned: observe_uid(&answer, uid)?,
        lease: None,
        next_check: None,
    };
    hands.record(record).await.ok().map(|_| true)
}

/// Ends what its parent does not allow any more, without a byte on the wire.
async fn give_up<H: Hands>(hands: &H, leased: &Leased, reason: &str) {
    let last = leased.transaction.summary.last_attempt();
    let mut learned = submit::given_up(last, reason);
    let text = format!("it is not sent any more: {reason}");
    learned.finding = Some((DiscrepancyKind::AmountMismatch, text));
    record(hands, leased, learned, None).await;
}

async fn ask_task<H: Hands>(hands: &H, leased: &Leased, task: &TaskId) {
    let asked = leased.transaction.opening.kind;
    if hands.settings().follow == Follow::Status {
        let Some(answer) = hands.ask(Question::TaskStatus(task)).await else {
            return again(hands, leased, None).await;
        };
        let told = read_answer(&answer, TaskUrl::Status, task, asked);
        let completed = matches!(
            read_task(&received(&answer), TaskUrl::Status),
            TaskReading::Completed
        );
        if !completed {
            return conclude(hands, leased, told).await;
        }
        // What the status said is kept; the lease stays for the result.
        let id = leased.transaction.record.id;
        let kept = Record {
            target: Target::Transaction(id),
            learned: told.learned,
            lease: None,
            next_check: None,
        };
        if hands.record(kept).await.is_err() {
            return;
        }
    }
    match hands.ask(Question::TaskResult(task)).await {
        Some(answer) => {
            let told = read_answer(&answer, TaskUrl::Result, task, asked);
            conclude(hands, leased, told).await;
        }
        None => again(hands, leased, None).await,
    }
}

/// Records what was told, with the pause that the gateway asked for.
async fn conclude<H: Hands>(hands: &H, leased: &Leased, told: Told) {
    let next = told.retry_after.map(|after| leased.now.plus(after));
    record(hands, leased, told.learned, next).await;
}

/// Nothing was told: the next look is where the pace puts it.
async fn again<H: Hands>(hands: &H, leased: &Leased, at_least: Option<Duration>) {
    let transaction = &leased.transaction;
    let age = leased.now.since(transaction.state_since);
    let interval = schedule::interval(age, &hands.settings().pace);
    let by = at_least.map_or(interval, |least| least.max(interval));
    put_off(hands, leased, by).await;
}

async fn look_up_uid<H: Hands>(hands: &H, leased: &Leased, uid: &Uid) {
    let Some(answer) = hands.ask(Question::Uid(uid)).await else {
        return again(hands, leased, None).await;
    };
    conclude(hands, leased, read_uid(&answer, uid)).await;
}

async fn look_up_tracking_id<H: Hands>(hands: &H, leased: &Leased) {
    let Some(name) = leased.transaction.opening.tracking_id.clone() else {
        return;
    };
    let Some(answer) = hands.ask(Question::TrackingId(name.as_str())).await else {
        return again(hands, leased, None).await;
    };
    let told = read_list(&answer, name.as_str());
    let next = told.retry_after.map(|after| leased.now.plus(after));
    let mut learned = told.learned;
    learned.answered = hands.now();
    let recorded = record(hands, leased, learned.clone(), next).await;
    if let Some(transaction) = recorded.and_then(|r| r.transaction) {
        absence::note_working(hands, &transaction, &learned).await;
    }
}

/// Whether what is in doubt may be sent again under the same `RequestID`.
pub(super) fn may_replay<H: Hands>(hands: &H, leased: &Leased) -> bool {
    let transaction = &leased.transaction;
    let (opening, summary) = (&transaction.opening, &transaction.summary);
    hands.settings().trust_request_id
        && transaction.state == State::InDoubt
        && schedule::may_repeat(opening, summary, leased.now)
}

/// Records the empty look-up, and repeats the request. Returns whether it was sent.
pub(super) async fn replay<H: Hands>(hands: &H, leased: &Leased, told: &Told) -> bool {
    let id = leased.transaction.record.id;
    // The lease stays: the stamp needs it.
    let kept = Record {
        target: Target::Transaction(id),
        learned: told.learned.clone(),
        lease: None,
        next_check: None,
    };
    if hands.record(kept).await.is_err() {
        return false;
    }
    let Ok(Some(body)) = hands.stored_body(id).await else {
        return false;
    };
    let stamp = Stamp {
        id,
        lease: Some(leased.lease),
        replay: true,
        child: ParentLimit::of(&leased.transaction, hands.checks_duplicates(&body)),
        sealed: None,
    };
    match hands.stamp(stamp).await {
        Ok(Stamped::Ready {
            transaction,
            attempt,
            lease,
        }) => {
            hands.send(&transaction, attempt, lease, body).await;
            true
        }
        // What its parent does not allow is not sent once more; it stays in doubt.
        Ok(Stamped::No { .. } | Stamped::Wait { .. } | Stamped::Unfit { .. }) | Err(_) => false,
    }
}
