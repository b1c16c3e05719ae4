//! One step for one leased transaction: plan from the state, do it, record what was learned.

use crate::clock::Boottime;
use crate::config::Follow;
use crate::dispatch::outcome::{received, said};
use crate::domain::evidence::FoundBy;
use crate::domain::schedule::{self, Step};
use crate::domain::{Channel, Fact, State, TaskId, Timestamp, Uid, Verdict};
use crate::engine::{Shared, ShopPlan, absence};
use crate::gateway::{Answer, Credentials, Read};
use crate::gateway::{TaskReading, TaskUrl, read_task};
use crate::gateway::{TrackingReading, UidReading, read_by_tracking_id, read_by_uid};
use crate::ledger::{Learned, Record, Recorded, Stamp, Stamped, Target};
use crate::store::checks::Leased;
use crate::store::{StoredTransaction, checks, controls};
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// How long a check waits for the shop's budget before it is put off.
const BUDGET_WAIT: Duration = Duration::from_secs(2);

/// Where a check goes when the shop is paused or the budget is used up.
const PUT_OFF: Duration = Duration::from_secs(2);

/// How long a shop is silent after a 429 that does not say.
const SLOW_DOWN: Duration = Duration::from_secs(2);

/// For how long a request may be repeated under its `RequestID`; the gateway keeps the key for 24 h.
const REPLAY_WINDOW: Duration = Duration::from_secs(20 * 3600);

/// How often one request may be sent at all.
const MOST_ATTEMPTS: u32 = 8;

/// What a read told, on its way into the ledger.
pub(crate) struct Told {
    pub(crate) learned: Learned,
    /// Not before this, when the gateway asked for a pause.
    pub(crate) retry_after: Option<Duration>,
}

/// Takes the step that the state asks for.
pub(crate) async fn take(shared: &Shared, shop: &ShopPlan, leased: Leased, until: Boottime) {
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
    if asks && shared.dispatch.is_stopping() {
        put_off(shared, shop, &leased, Duration::ZERO).await;
        return;
    }
    if asks && !shared.dispatch.may_ask() {
        put_off(shared, shop, &leased, PUT_OFF).await;
        return;
    }
    if asks
        && shared
            .dispatch
            .take_budget_quietly(&shop.id, BUDGET_WAIT)
            .await
            .is_err()
    {
        put_off(shared, shop, &leased, PUT_OFF).await;
        return;
    }
    // A worker whose lease ran out in between asks nobody: another has it by now.
    if until.remaining() < shared.settings.request_timeout && asks {
        shared.metrics.lease_lost();
        return;
    }
    match planned {
        Step::Submit => submit(shared, shop, &leased).await,
        Step::TakeOver { attempt } => {
            let learned = shared.dispatch.gone_silent(attempt);
            record(shared, shop, &leased, learned, None).await;
        }
        Step::OutliveTask(task) => {
            let act = json!({ "task": task.as_str() });
            let facts = vec![Fact::TaskOutlived { task }];
            let learned = Learned::act(Channel::Local, "went_silent", &act, facts);
            record(shared, shop, &leased, learned, None).await;
        }
        Step::AskTask(task) => ask_task(shared, shop, &leased, &task).await,
        Step::LookUpUid(uid) => look_up_uid(shared, shop, &leased, &uid).await,
        Step::LookUpTrackingId => look_up_tracking_id(shared, shop, &leased).await,
        Step::Rest => put_off(shared, shop, &leased, Duration::from_secs(3600)).await,
    }
}

async fn put_off(shared: &Shared, shop: &ShopPlan, leased: &Leased, by: Duration) {
    let until = leased.now.plus(by);
    let id = leased.transaction.record.id;
    if let Err(error) = checks::postpone(&shared.store, &shop.id, id, leased.lease, until).await {
        tracing::warn!(shop = %shop.id, error = error.chain(), "a check was not put off; its lease will end");
    }
}

/// Records under the lease.
async fn record(
    shared: &Shared,
    shop: &ShopPlan,
    leased: &Leased,
    learned: Learned,
    next_check: Option<Timestamp>,
) -> Option<Recorded> {
    let id = leased.transaction.record.id;
    let record = Record {
        target: Target::Transaction(id),
        learned,
        lease: Some(leased.lease),
        next_check,
    };
    shared.dispatch.record(&shop.id, record).await.ok()
}

async fn submit(shared: &Shared, shop: &ShopPlan, leased: &Leased) {
    let id = leased.transaction.record.id;
    let paused = shop.paused
        || controls::is_paused(&shared.store, &shop.id)
            .await
            .unwrap_or(true);
    if paused {
        put_off(shared, shop, leased, PUT_OFF).await;
        return;
    }
    let body = shared
        .dispatch
        .stored_body(&shop.id, id, &shop.notification_url)
        .await;
    let Some(body) = body else {
        tracing::error!(shop = %shop.id, %id, "a waiting request has no stored body");
        put_off(shared, shop, leased, Duration::from_secs(60)).await;
        return;
    };
    let stamp = Stamp {
        id,
        lease: Some(leased.lease),
        replay: false,
    };
    match shared.ledger.stamp(&shop.id, stamp).await {
        Ok(Stamped::Ready {
            transaction,
            attempt,
            lease,
        }) => {
            // The task runs by itself; the step ends here, and so does its place.
            let _ = shared
                .dispatch
                .send(&transaction, attempt, lease, body)
                .await;
        }
        Ok(Stamped::No { .. }) => shared.metrics.lease_lost(),
        Err(error) => {
            tracing::warn!(shop = %shop.id, %id, %error, "an attempt was not stamped");
        }
    }
}

fn credentials<'a>(shop: &'a crate::dispatch::Shop) -> Credentials<'a> {
    Credentials {
        shop_id: shop.id.as_str(),
        secret: &shop.secret,
    }
}

/// Waits for a read and counts it. `None` when there was no answer at all.
async fn answered(
    shared: &Shared,
    shop: &crate::dispatch::Shop,
    operation: &'static str,
    read: impl Future<Output = Read>,
) -> Option<Answer> {
    let started = Boottime::now();
    let (outcome, answer) = match read.await {
        Read::Answered(answer) => (status_class(answer.status), Some(answer)),
        Read::NotAsked { reason } => {
            tracing::info!(operation, reason, "the gateway could not be reached");
            ("unreachable", None)
        }
        Read::Interrupted { reason, .. } => {
            tracing::info!(
                operation,
                reason,
                "a read was interrupted; it is read again"
            );
            ("interrupted", None)
        }
    };
    shared.dispatch.note_answer(answer.is_some());
    if let Some(answer) = answer.as_ref().filter(|answer| answer.status == 429) {
        shop.budget
            .hold(answer.retry_after.unwrap_or(SLOW_DOWN))
            .await;
    }
    shared
        .metrics
        .gateway_request(operation, outcome, started.elapsed());
    answer
}

fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        404 => "404",
        425 => "425",
        429 => "429",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

async fn ask_task(shared: &Shared, shop: &ShopPlan, leased: &Leased, task: &TaskId) {
    let Some(entry) = shared.dispatch.shop(&shop.id) else {
        return;
    };
    if shared.settings.follow == Follow::Status {
        let read = shared.dispatch.gateway().status(credentials(&entry), task);
        let Some(answer) = answered(shared, &entry, "task_status", read).await else {
            return again(shared, shop, leased, None).await;
        };
        let told = read_answer(&answer, TaskUrl::Status, task);
        let completed = matches!(
            read_task(&received(&answer), TaskUrl::Status),
            TaskReading::Completed
        );
        if !completed {
            return conclude(shared, shop, leased, told).await;
        }
        // What the status said is kept; the lease stays for the result.
        let id = leased.transaction.record.id;
        let kept = Record {
            target: Target::Transaction(id),
            learned: told.learned,
            lease: None,
            next_check: None,
        };
        if shared.dispatch.record(&shop.id, kept).await.is_err() {
            return;
        }
    }
    let read = shared.dispatch.gateway().result(credentials(&entry), task);
    match answered(shared, &entry, "task_result", read).await {
        Some(answer) => {
            let told = read_answer(&answer, TaskUrl::Result, task);
            conclude(shared, shop, leased, told).await;
        }
        None => again(shared, shop, leased, None).await,
    }
}

/// Reads an answer about a task as evidence.
pub(crate) fn read_answer(answer: &Answer, which: TaskUrl, task: &TaskId) -> Told {
    let channel = match which {
        TaskUrl::Status => Channel::TaskStatus,
        TaskUrl::Result => Channel::TaskResult,
    };
    let task_id = task.clone();
    let mut retry = None;
    let mut unknown = None;
    let mut about_read = None;
    let facts = match read_task(&received(answer), which) {
        TaskReading::Running | TaskReading::Completed => vec![Fact::TaskAlive { task: task_id }],
        TaskReading::Transaction(snapshot) => vec![Fact::TaskResult {
            task: task_id,
            snapshot,
        }],
        TaskReading::Unknown => vec![Fact::TaskUnknown { task: task_id }],
        TaskReading::Refused(refusal) => vec![Fact::TaskRefused {
            task: task_id,
            refusal,
        }],
        TaskReading::NotAboutTask {
            reason,
            retry_after,
        } => {
            retry = retry_after;
            about_read = Some(reason);
            Vec::new()
        }
        TaskReading::Other(_) => {
            unknown = Some("the task gave something that is no transaction".to_owned());
            Vec::new()
        }
        TaskReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    let mut learned = said(answer, channel, task.as_str(), facts);
    if let Some(reason) = about_read {
        learned.verdict = Some(Verdict::Refused);
        learned.note = Some(format!(
            "the answer is about the read and not the task: {reason}"
        ));
    }
    if let Some(reason) = unknown {
        learned.note = Some(format!("the answer could not be understood: {reason}"));
        learned.unknown = Some(reason);
    }
    Told {
        learned,
        retry_after: retry,
    }
}

/// Records what was told, with the pause that the gateway asked for.
async fn conclude(shared: &Shared, shop: &ShopPlan, leased: &Leased, told: Told) {
    let next = told.retry_after.map(|after| leased.now.plus(after));
    record(shared, shop, leased, told.learned, next).await;
}

/// Nothing was told: the next look is where the pace puts it.
async fn again(shared: &Shared, shop: &ShopPlan, leased: &Leased, at_least: Option<Duration>) {
    let transaction = &leased.transaction;
    let age = leased.now.since(transaction.state_since);
    let interval = schedule::interval(age, &shared.settings.pace);
    let by = at_least.map_or(interval, |least| least.max(interval));
    put_off(shared, shop, leased, by).await;
}

async fn look_up_uid(shared: &Shared, shop: &ShopPlan, leased: &Leased, uid: &Uid) {
    let Some(entry) = shared.dispatch.shop(&shop.id) else {
        return;
    };
    let read = shared.dispatch.gateway().by_uid(credentials(&entry), uid);
    let Some(answer) = answered(shared, &entry, "by_uid", read).await else {
        return again(shared, shop, leased, None).await;
    };
    let mut retry = None;
    let mut unknown = None;
    let mut refused = None;
    let facts = match read_by_uid(&received(&answer), uid) {
        UidReading::Found(snapshot) => {
            vec![Fact::Seen {
                snapshot,
                found_by: FoundBy::TrackingId,
            }]
        }
        UidReading::Missing => vec![Fact::UidMissing { uid: uid.clone() }],
        UidReading::NotAbout {
            reason,
            retry_after,
        } => {
            retry = retry_after;
            refused = Some(reason);
            Vec::new()
        }
        UidReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    let mut learned = said(&answer, Channel::Query, uid.as_str(), facts);
    describe(&mut learned, refused, unknown);
    conclude(
        shared,
        shop,
        leased,
        Told {
            learned,
            retry_after: retry,
        },
    )
    .await;
}

fn describe(learned: &mut Learned, refused: Option<String>, unknown: Option<String>) {
    if let Some(reason) = refused {
        learned.verdict = Some(Verdict::Refused);
        learned.note = Some(format!(
            "the look-up failed, and says nothing of the transaction: {reason}"
        ));
    }
    if let Some(reason) = unknown {
        learned.note = Some(format!("the answer could not be understood: {reason}"));
        learned.unknown = Some(reason);
    }
}

async fn look_up_tracking_id(shared: &Shared, shop: &ShopPlan, leased: &Leased) {
    let Some(entry) = shared.dispatch.shop(&shop.id) else {
        return;
    };
    let Some(name) = leased.transaction.opening.tracking_id.clone() else {
        return;
    };
    let read = shared
        .dispatch
        .gateway()
        .by_tracking_id(credentials(&entry), name.as_str());
    let Some(answer) = answered(shared, &entry, "by_tracking_id", read).await else {
        return again(shared, shop, leased, None).await;
    };
    let told = read_list(&answer, name.as_str());
    let next = told.retry_after.map(|after| leased.now.plus(after));
    let empty = matches!(told.learned.facts.as_slice(), [Fact::LookupEmpty]);
    if empty && may_replay(shared, leased) && replay(shared, shop, leased, &told).await {
        return;
    }
    let recorded = record(shared, shop, leased, told.learned, next).await;
    let Some(transaction) = recorded.and_then(|r| r.transaction) else {
        return;
    };
    if transaction.state == State::InDoubt {
        absence::judge(shared, shop, &transaction).await;
    }
    if transaction.derived().uid.is_some() {
        absence::note_working(shared, shop, &transaction).await;
    }
}

/// Whether what is in doubt may be sent again under the same `RequestID`: only when the shop's owner
/// trusts that key, only without card data, and well within the time that the gateway keeps it.
fn may_replay(shared: &Shared, leased: &Leased) -> bool {
    let transaction = &leased.transaction;
    let first = transaction
        .summary
        .attempts
        .values()
        .filter_map(|a| a.stamped_at)
        .min();
    shared.settings.trust_request_id
        && transaction.state == State::InDoubt
        && !transaction.opening.card_data
        && transaction.summary.last_attempt() < MOST_ATTEMPTS
        && first.is_some_and(|first| leased.now.since(first) < REPLAY_WINDOW)
}

/// Records the empty look-up, and repeats the request. Returns whether it was sent.
async fn replay(shared: &Shared, shop: &ShopPlan, leased: &Leased, told: &Told) -> bool {
    let id = leased.transaction.record.id;
    // The lease stays: the stamp needs it.
    let kept = Record {
        target: Target::Transaction(id),
        learned: told.learned.clone(),
        lease: None,
        next_check: None,
    };
    if shared.dispatch.record(&shop.id, kept).await.is_err() {
        return false;
    }
    let body = shared
        .dispatch
        .stored_body(&shop.id, id, &shop.notification_url)
        .await;
    let Some(body) = body else { return false };
    let stamp = Stamp {
        id,
        lease: Some(leased.lease),
        replay: true,
    };
    match shared.ledger.stamp(&shop.id, stamp).await {
        Ok(Stamped::Ready {
            transaction,
            attempt,
            lease,
        }) => {
            let _ = shared
                .dispatch
                .send(&transaction, attempt, lease, body)
                .await;
            true
        }
        Ok(Stamped::No { .. }) | Err(_) => false,
    }
}

/// Reads the answer to a look-up by tracking id as evidence. Each such look-up is kept, since empty
/// ones count towards a proof.
pub(crate) fn read_list(answer: &Answer, name: &str) -> Told {
    let mut retry = None;
    let mut unknown = None;
    let mut refused = None;
    let facts = match read_by_tracking_id(&received(answer)) {
        TrackingReading::Found {
            snapshots, unread, ..
        } => {
            unknown = (unread > 0).then(|| format!("{unread} rows of a look-up are unreadable"));
            let found_by = FoundBy::TrackingId;
            snapshots
                .into_iter()
                .map(|snapshot| Fact::Seen {
                    snapshot: Box::new(snapshot),
                    found_by,
                })
                .collect()
        }
        TrackingReading::Empty => vec![Fact::LookupEmpty],
        TrackingReading::NotAbout {
            reason,
            retry_after,
        } => {
            retry = retry_after;
            refused = Some(reason);
            Vec::new()
        }
        TrackingReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    let mut learned = said(answer, Channel::Query, name, facts);
    learned.id = Uuid::now_v7();
    describe(&mut learned, refused, unknown);
    Told {
        learned,
        retry_after: retry,
    }
}

/// Whether a transaction still has nothing of the gateway's bound to it.
pub(crate) fn is_unbound(transaction: &StoredTransaction) -> bool {
    transaction.derived().uid.is_none()
}
