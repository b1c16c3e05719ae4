//! Life cycle of an accepted request: its transactions are created and change, its task ends, and
//! its webhooks are queued.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, json};
use time::OffsetDateTime;

use super::clock::{VirtualMillis, ms};
use super::render;
use super::response::SimResponse;
use super::script::{Script, SignatureMode, TaskEnd};
use super::settings::{ChildrenNotify, WebhookShape};
use super::state::{SimulatorState, TimerEvent};
use super::tasks;
use super::transactions::{RequestDetails, SimTransaction, StatusTransition, TransactionKind};
use super::webhook_queue::QueuedWebhook;

/// Plan of an accepted request.
pub struct LifecyclePlan {
    /// Shop of the request.
    pub shop: Arc<str>,
    /// Transaction type.
    pub kind: TransactionKind,
    /// Requested amount, in minor units.
    pub amount: i64,
    /// Currency of the request.
    pub currency: String,
    /// Tracking ID that the transactions show.
    pub tracking_id: Option<String>,
    /// Uid of the parent, for a child transaction.
    pub parent_uid: Option<String>,
    /// Other fields of the request.
    pub details: Arc<RequestDetails>,
    /// Script to follow.
    pub script: Arc<Script>,
    /// Uids of the script's transactions.
    pub uids: Vec<String>,
    /// Whether bodies have the shape of API version 3.
    pub v3: bool,
    /// Time at which the request was accepted, as bodies show it.
    pub made_at: OffsetDateTime,
    /// Identifier of the task.
    pub task: String,
}

/// A step of a plan.
#[derive(Clone, Copy, Debug)]
pub enum LifecycleStep {
    /// Creates a transaction with its first status.
    Appear(usize),
    /// Creates a transaction that is still being processed.
    AppearEarly(usize),
    /// Sets the first status of a transaction that was created early.
    Settle(usize),
    /// Applies a later change.
    Change(usize, usize),
    /// Ends the task.
    End,
}

impl SimulatorState {
    /// Schedules the steps of a plan.
    pub fn start(&mut self, plan: &Arc<LifecyclePlan>, ends: VirtualMillis, early: bool) {
        let now = self.now;
        for (index, course) in plan.script.transactions.iter().enumerate() {
            let step = |step| TimerEvent::Course(plan.clone(), step);
            match course.at {
                Some(after) => self.schedule(
                    now.saturating_add(ms(after)),
                    step(LifecycleStep::Appear(index)),
                ),
                None if early => {
                    self.schedule(now, step(LifecycleStep::AppearEarly(index)));
                    self.schedule(ends, step(LifecycleStep::Settle(index)));
                }
                None => self.schedule(ends, step(LifecycleStep::Appear(index))),
            }
        }
        self.schedule(ends, TimerEvent::Course(plan.clone(), LifecycleStep::End));
    }

    /// Executes a step of a plan at its scheduled time.
    pub fn step(&mut self, due: VirtualMillis, plan: &Arc<LifecyclePlan>, step: LifecycleStep) {
        match step {
            LifecycleStep::Appear(index) => {
                self.appear(due, plan, index, None);
                self.first_status(due, plan, index);
            }
            LifecycleStep::AppearEarly(index) => self.appear(due, plan, index, Some("incomplete")),
            LifecycleStep::Settle(index) => {
                let (Some(uid), Some(course)) =
                    (plan.uids.get(index), plan.script.transactions.get(index))
                else {
                    return;
                };
                let turn = StatusTransition {
                    status: &course.status,
                    code: course.code.as_deref(),
                    message: course.message.as_deref(),
                    ..StatusTransition::default()
                };
                let stamp = self.stamp;
                if let Some(transaction) = self.transactions.get_mut(uid) {
                    transaction.turn(turn, stamp);
                }
                self.first_status(due, plan, index);
            }
            LifecycleStep::Change(index, change) => self.change(due, plan, index, change),
            LifecycleStep::End => self.end_task(plan),
        }
    }

    /// Creates a transaction with the script's first status or another one.
    fn appear(
        &mut self,
        due: VirtualMillis,
        plan: &LifecyclePlan,
        index: usize,
        status: Option<&str>,
    ) {
        let (Some(uid), Some(course)) = (plan.uids.get(index), plan.script.transactions.get(index))
        else {
            return;
        };
        // The gateway dates a transaction from its request, not from the end of its task.
        let created_at = if course.at.is_some() {
            self.stamp
        } else {
            plan.made_at
        };
        let mut transaction = SimTransaction {
            uid: uid.clone(),
            shop: plan.shop.clone(),
            kind: plan.kind,
            tracking_id: plan.tracking_id.clone(),
            parent_uid: plan.parent_uid.clone(),
            status: String::new(),
            code: None,
            message: None,
            amount: course.amount.unwrap_or(plan.amount) + course.amount_delta,
            currency: course
                .currency
                .clone()
                .unwrap_or_else(|| plan.currency.clone()),
            details: plan.details.clone(),
            created_at,
            updated_at: created_at,
            paid_at: None,
            corrected_at: None,
            appeared: due,
            v3: plan.v3,
            form: plan.script.form,
            webhook: plan.script.webhook.clone(),
            held: None,
            hidden: false,
            overlay: Map::new(),
        };
        let first = StatusTransition {
            status: status.unwrap_or(&course.status),
            code: course.code.as_deref().filter(|_| status.is_none()),
            message: course.message.as_deref().filter(|_| status.is_none()),
            ..StatusTransition::default()
        };
        transaction.turn(first, self.stamp);
        self.insert(transaction);
    }

    /// Adds a transaction to the state.
    pub fn insert(&mut self, transaction: SimTransaction) {
        if let Some(tracking_id) = &transaction.tracking_id {
            let key = (transaction.shop.clone(), tracking_id.clone());
            self.by_tracking_id
                .entry(key)
                .or_default()
                .push(transaction.uid.clone());
        }
        self.transactions
            .insert(transaction.uid.clone(), transaction);
    }

    /// Queues the webhook of the first status and schedules the later changes.
    fn first_status(&mut self, due: VirtualMillis, plan: &Arc<LifecyclePlan>, index: usize) {
        let (Some(uid), Some(course)) = (plan.uids.get(index), plan.script.transactions.get(index))
        else {
            return;
        };
        let is_final = self
            .transactions
            .get(uid)
            .is_some_and(SimTransaction::is_final);
        if is_final || course.notify {
            self.enqueue_webhooks(due, uid);
        }
        for (number, change) in course.changes.iter().enumerate() {
            let event = TimerEvent::Course(plan.clone(), LifecycleStep::Change(index, number));
            self.schedule(due.saturating_add(ms(change.after)), event);
        }
    }

    fn change(&mut self, due: VirtualMillis, plan: &LifecyclePlan, index: usize, number: usize) {
        let stamp = self.stamp;
        let Some(uid) = plan.uids.get(index) else {
            return;
        };
        let Some(course) = plan.script.transactions.get(index) else {
            return;
        };
        let Some(change) = course.changes.get(number) else {
            return;
        };
        let Some(transaction) = self.transactions.get_mut(uid) else {
            return;
        };
        let turn = StatusTransition {
            status: &change.status,
            code: change.code.as_deref(),
            message: change.message.as_deref(),
            amount: change.amount,
            corrected: change.corrected,
        };
        transaction.turn(turn, stamp);
        if change.notify {
            self.enqueue_webhooks(due, uid);
        }
    }

    fn end_task(&mut self, plan: &LifecyclePlan) {
        let named = match &plan.script.task.end {
            TaskEnd::Transaction { index } => plan.uids.get(*index),
            TaskEnd::Unknown => plan.uids.first(),
            TaskEnd::Crash | TaskEnd::Refuse(_) | TaskEnd::Answer(_) => None,
        };
        let answer = match &plan.script.task.end {
            TaskEnd::Refuse(refusal) => self.refused(refusal, plan.v3),
            TaskEnd::Answer(canned) => SimResponse::canned(canned),
            TaskEnd::Crash => tasks::crashed(&self.switches),
            TaskEnd::Transaction { .. } | TaskEnd::Unknown => named
                .and_then(|uid| self.transactions.get(uid))
                .map(|found| render::answer(found, &self.origin, plan.v3, &self.switches))
                .unwrap_or_else(|| tasks::crashed(&self.switches)),
        };
        if let Some(task) = self.tasks.get_mut(&plan.task) {
            task.end(answer);
        }
    }

    /// Queues the webhooks about a transaction's current status.
    pub fn enqueue_webhooks(&mut self, due: VirtualMillis, uid: &str) {
        let Some(url) = self.webhook_url(uid) else {
            return;
        };
        let Some((body, encoding)) = self.webhook_body(uid) else {
            return;
        };
        let Some(transaction) = self.transactions.get_mut(uid) else {
            return;
        };
        let script = transaction.webhook.clone();
        if !script.send || !self.switches.webhooks {
            return;
        }
        if script.reorder && !transaction.is_final() {
            transaction.held = Some((body, encoding));
            return;
        }
        let held = transaction.held.take();
        let parcel =
            |(body, encoding): (Bytes, Option<&'static str>), signature, due| QueuedWebhook {
                shop: transaction.shop.clone(),
                url: url.clone(),
                uid: transaction.uid.clone(),
                tracking_id: transaction.tracking_id.clone(),
                status: transaction.status.clone(),
                body,
                encoding,
                signature,
                credentials: script.credentials,
                attempts: 0,
                due,
            };
        let mut next = due.saturating_add(ms(script.delay));
        let gap = ms(script.gap);
        let mut parcels = Vec::new();
        if script.forged_first {
            parcels.push(parcel((body.clone(), encoding), SignatureMode::Bad, next));
            next = next.saturating_add(gap);
        }
        for _ in 0..script.copies.max(1) {
            parcels.push(parcel((body.clone(), encoding), script.signature, next));
            next = next.saturating_add(gap);
        }
        if let Some(held) = held {
            let late = QueuedWebhook {
                status: "incomplete".into(),
                ..parcel(held, script.signature, next)
            };
            parcels.push(late);
        }
        for parcel in parcels {
            self.post(parcel);
        }
    }

    /// Adds a webhook to the queue and schedules it.
    pub fn post(&mut self, parcel: QueuedWebhook) {
        let due = parcel.due;
        let id = self.outbox.enqueue(parcel);
        self.schedule(due, TimerEvent::Send(id));
    }

    fn webhook_url(&self, uid: &str) -> Option<String> {
        let transaction = self.transactions.get(uid)?;
        let own = || transaction.details.notification_url.clone();
        // The gateway sends webhooks of a chargeback to the URL in the back office. The parent's
        // URL stands in for it.
        let parents = || {
            let parent = self.transactions.get(transaction.parent_uid.as_deref()?)?;
            parent.details.notification_url.clone()
        };
        match (transaction.kind, self.switches.children_notify) {
            (TransactionKind::Chargeback, _) => own().or_else(parents),
            (kind, _) if !kind.is_child() => own(),
            (_, ChildrenNotify::Never) => None,
            (_, ChildrenNotify::OwnUrl) => own(),
            (_, ChildrenNotify::ParentUrl) => parents(),
        }
    }

    /// Returns the body of a webhook about a transaction's current status, and its content coding.
    pub fn webhook_body(&self, uid: &str) -> Option<(Bytes, Option<&'static str>)> {
        let transaction = self.transactions.get(uid)?;
        let v3 = match self.switches.webhook_shape {
            WebhookShape::Same => transaction.v3,
            WebhookShape::V2 => false,
            WebhookShape::V3 => true,
        };
        let mut body = render::transaction(transaction, &self.origin, v3, &self.switches);
        let parent = transaction
            .parent_uid
            .as_deref()
            .and_then(|uid| self.transactions.get(uid));
        if let (TransactionKind::Chargeback, Some(parent)) = (transaction.kind, parent) {
            let parent = render::listed(parent, &self.origin, v3, &self.switches);
            let inner = if v3 {
                Some(&mut body)
            } else {
                body.get_mut("transaction")
            };
            if let Some(inner) = inner.and_then(|inner| inner.as_object_mut()) {
                inner.insert("parent_transaction".into(), json!(parent));
            }
        }
        Some(transaction.form.whole(&body))
    }
}
