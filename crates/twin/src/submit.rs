//! Handles the POST of a transaction: credentials, idempotency, and delivery of the response.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::accept::{AcceptResult, ParsedBody};
use super::behaviour::{Behaviour, ErrorResponse, ResponseAction};
use super::render;
use super::request_log::{LogResult, RequestHead};
use super::response::{PlannedResponse, SimResponse};
use super::script::Script;
use super::settings::BodyShape;
use super::state::{CachedReply, SimulatorState};
use super::tasks::{self, TaskState};
use super::transactions::TransactionKind;

/// Next action of a POST after the lock is released.
pub enum PostContinuation {
    /// Send this response.
    Reply(PlannedResponse),
    /// Wait for the task, as the synchronous paths do, and then send its result.
    Wait(TaskWait, oneshot::Receiver<()>),
}

/// A request that waits for its task.
pub struct TaskWait {
    task: String,
    latency: f64,
    number: u64,
}

impl SimulatorState {
    /// Handles a POST of a transaction.
    pub fn submit(
        &mut self,
        call: RequestHead,
        kind: TransactionKind,
        body: &[u8],
    ) -> PostContinuation {
        let read = ParsedBody::new(&call, body);
        let mut note = LogResult {
            tracking_id: read.field("tracking_id"),
            ..LogResult::default()
        };
        let mut next = self.submitted(&call, kind, &read, &mut note);
        match &mut next {
            PostContinuation::Reply(reply) => {
                note.status = reply.status_seen();
                note.fate = reply.outcome_label();
            }
            PostContinuation::Wait(wait, _) => {
                wait.number = self.journal.total() + 1;
                note.status = Some(200);
                note.fate = "answered";
            }
        }
        let echoes = self.switches.double_posts
            && note.tracking_id.as_deref().is_some_and(|id| {
                let shop = note.shop.clone().unwrap_or_default();
                self.count_hit("double", &shop, id) == 0
            });
        self.journal
            .record(self.stamp, self.now, call.clone(), note);
        if echoes {
            self.echo(&call, kind, &read);
        }
        next
    }

    /// Processes the same POST once more and discards the response.
    fn echo(&mut self, call: &RequestHead, kind: TransactionKind, read: &ParsedBody<'_>) {
        let mut note = LogResult {
            tracking_id: read.field("tracking_id"),
            fate: "doubled",
            ..LogResult::default()
        };
        let _ = self.submitted(call, kind, read, &mut note);
        self.journal
            .record(self.stamp, self.now, call.clone(), note);
    }

    fn submitted(
        &mut self,
        call: &RequestHead,
        kind: TransactionKind,
        read: &ParsedBody<'_>,
        note: &mut LogResult,
    ) -> PostContinuation {
        let Some(shop) = self.authenticate(call) else {
            return PostContinuation::Reply(render::access_denied().into());
        };
        note.shop = Some(shop.clone());
        let tracking_id = note.tracking_id.clone().unwrap_or_default();
        let script = self.scripts.find(&tracking_id);
        let known = self.replay(call, &shop);
        let behaviour = self.modify_delivery(call, &shop, &tracking_id, script.as_deref());
        let v3 = self.v3(call, script.as_deref());
        if !behaviour.effect && behaviour.act != ResponseAction::Normal {
            let nothing = SimResponse::json(200, &Value::Null);
            return PostContinuation::Reply(self.reply(nothing, &behaviour, v3));
        }
        note.replayed = known.is_some();
        let made = match known {
            Some(made) => made,
            None => {
                let made = self.make(call, kind, &shop, read, script);
                note.accepted = made.is_ok();
                self.remember(call, &shop, &made);
                made
            }
        };
        note.task = made.as_ref().ok().cloned();
        match made {
            Ok(task) if call.asynchronous || behaviour.act != ResponseAction::Normal => {
                let answer = tasks::acknowledged(&task, self.task_origin());
                PostContinuation::Reply(self.reply(answer, &behaviour, v3))
            }
            Ok(task) => self.wait(task, &behaviour),
            Err(answer) => PostContinuation::Reply(self.reply(answer, &behaviour, v3)),
        }
    }

    /// Plans the delivery of a response. A fault of the whole gateway takes precedence over the
    /// script.
    fn modify_delivery(
        &mut self,
        call: &RequestHead,
        shop: &str,
        tracking_id: &str,
        script: Option<&Script>,
    ) -> Behaviour {
        let fault = self.faults.matching_fault(
            call.operation,
            Some(tracking_id),
            self.now,
            &mut self.random,
        );
        if let Some(fault) = fault {
            return fault;
        }
        match script.map(|script| &script.submit) {
            Some(behaviour) if *behaviour != Behaviour::default() => {
                let nth = self.count_hit("submit", shop, tracking_id);
                if behaviour.applies(nth) {
                    behaviour.clone()
                } else {
                    Behaviour::default()
                }
            }
            _ => Behaviour::default(),
        }
    }

    /// Applies a behaviour to the correct response.
    pub fn reply(
        &mut self,
        answer: SimResponse,
        behaviour: &Behaviour,
        v3: bool,
    ) -> PlannedResponse {
        let answer = match &behaviour.act {
            ResponseAction::Answer(canned) => SimResponse::canned(canned),
            ResponseAction::Refuse(refusal) => self.refused(refusal, v3),
            ResponseAction::Normal
            | ResponseAction::Hang
            | ResponseAction::Reset
            | ResponseAction::Cut
            | ResponseAction::CutAfter
            | ResponseAction::Trickle { .. } => answer,
        };
        let mut reply = PlannedResponse::from(answer);
        reply.modify_delivery(&behaviour.act);
        reply.latency = behaviour.latency + self.switches.latency.sample(&mut self.random);
        reply
    }

    /// Returns a refusal in the error shape in force.
    pub fn refused(&self, refusal: &ErrorResponse, v3: bool) -> SimResponse {
        let shape = if refusal.code == "E.1018" {
            self.switches.duplicate_shape
        } else {
            self.switches.error_shape
        };
        let earlier = refusal.earlier.as_ref();
        match earlier.and_then(|uid| self.transactions.get(uid)) {
            Some(earlier) => {
                let mut body = render::transaction(earlier, &self.origin, v3, &self.switches);
                render::mark_duplicate(&mut body, refusal);
                SimResponse::json(refusal.status, &body)
            }
            None => render::refusal(refusal, shape, v3),
        }
    }

    pub fn v3(&self, call: &RequestHead, script: Option<&Script>) -> bool {
        match self.switches.body_shape {
            BodyShape::Header => call.v3 || script.is_some_and(|script| script.v3),
            BodyShape::V2 => false,
            BodyShape::V3 => true,
        }
    }

    /// Returns the result of an earlier request with the same `RequestID`.
    fn replay(&self, call: &RequestHead, shop: &Arc<str>) -> Option<AcceptResult> {
        const KEPT_MS: u64 = 24 * 3600 * 1000;
        let honoured = if call.asynchronous {
            self.switches.request_id_async
        } else {
            self.switches.request_id_sync
        };
        let key = call.idempotency_key.clone().filter(|_| honoured)?;
        let (at, replay) = self.replays.get(&(shop.clone(), key))?;
        if self.now.saturating_sub(*at) >= KEPT_MS {
            return None;
        }
        Some(match replay {
            CachedReply::Task(task) => Ok(task.clone()),
            CachedReply::Refused(answer) => Err(answer.clone()),
        })
    }

    fn remember(&mut self, call: &RequestHead, shop: &Arc<str>, made: &AcceptResult) {
        let Some(key) = call.idempotency_key.clone() else {
            return;
        };
        let replay = match made {
            Ok(task) => CachedReply::Task(task.clone()),
            Err(answer) => CachedReply::Refused(answer.clone()),
        };
        self.replays.insert((shop.clone(), key), (self.now, replay));
    }

    /// Waits for a task. If it has already ended, responds at once.
    fn wait(&mut self, task: String, behaviour: &Behaviour) -> PostContinuation {
        let latency = behaviour.latency + self.switches.latency.sample(&mut self.random);
        let (sender, receiver) = oneshot::channel();
        match self.tasks.get_mut(&task) {
            Some(running) if !running.is_over => running.waiters.push(sender),
            // A dropped sender wakes the receiver.
            _ => drop(sender),
        }
        PostContinuation::Wait(
            TaskWait {
                task,
                latency,
                number: 0,
            },
            receiver,
        )
    }

    /// Returns the result of a task as the synchronous paths send it.
    pub fn end_of_wait(&mut self, wait: &TaskWait) -> PlannedResponse {
        let Some(task) = self.tasks.get(&wait.task) else {
            return tasks::unknown(&wait.task).into();
        };
        let answer = match &task.state {
            TaskState::Ended(answer) => answer.clone(),
            TaskState::Running | TaskState::Burnt | TaskState::Unknown => {
                tasks::crashed(&self.switches)
            }
        };
        let (number, tracking_id) = (wait.number, task.tracking_id.as_deref());
        self.journal
            .replace_status(number, &task.shop, tracking_id, answer.status);
        PlannedResponse {
            latency: wait.latency,
            ..PlannedResponse::from(answer)
        }
    }
}
