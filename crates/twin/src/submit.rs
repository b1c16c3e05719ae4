//! Handles the POST of a transaction: credentials, idempotency, and delivery of the response.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::oneshot;

use super::accept::{Made, Read};
use super::answer::{Answer, Reply};
use super::behaviour::{Act, Behaviour, Refusal};
use super::bodies;
use super::journal::{Call, Note};
use super::script::Script;
use super::settings::BodyShape;
use super::tasks::{self, State};
use super::transactions::Kind;
use super::world::{Replay, World};

/// Next action of a POST after the lock is released.
pub enum Next {
    /// Send this response.
    Reply(Reply),
    /// Wait for the task, as the synchronous paths do, and then send its result.
    Wait(Wait, oneshot::Receiver<()>),
}

/// A request that waits for its task.
pub struct Wait {
    task: String,
    latency: f64,
    number: u64,
}

impl World {
    /// Handles a POST of a transaction.
    pub fn submit(&mut self, call: Call, kind: Kind, body: &[u8]) -> Next {
        let read = Read::new(&call, body);
        let mut note = Note {
            tracking_id: read.field("tracking_id"),
            ..Note::default()
        };
        let mut next = self.submitted(&call, kind, &read, &mut note);
        match &mut next {
            Next::Reply(reply) => {
                note.status = reply.status_seen();
                note.fate = reply.fate();
            }
            Next::Wait(wait, _) => {
                wait.number = self.journal.total() + 1;
                note.status = Some(200);
                note.fate = "answered";
            }
        }
        let echoes = self.switches.double_posts
            && note.tracking_id.as_deref().is_some_and(|id| {
                let shop = note.shop.clone().unwrap_or_default();
                self.meet("double", &shop, id) == 0
            });
        self.journal
            .record(self.stamp, self.now, call.clone(), note);
        if echoes {
            self.echo(&call, kind, &read);
        }
        next
    }

    /// Processes the same POST once more and discards the response.
    fn echo(&mut self, call: &Call, kind: Kind, read: &Read<'_>) {
        let mut note = Note {
            tracking_id: read.field("tracking_id"),
            fate: "doubled",
            ..Note::default()
        };
        let _ = self.submitted(call, kind, read, &mut note);
        self.journal
            .record(self.stamp, self.now, call.clone(), note);
    }

    fn submitted(&mut self, call: &Call, kind: Kind, read: &Read<'_>, note: &mut Note) -> Next {
        let Some(shop) = self.authenticate(call) else {
            return Next::Reply(bodies::access_denied().into());
        };
        note.shop = Some(shop.clone());
        let tracking_id = note.tracking_id.clone().unwrap_or_default();
        let script = self.scripts.find(&tracking_id);
        let known = self.replay(call, &shop);
        let behaviour = self.bend(call, &shop, &tracking_id, script.as_deref());
        let v3 = self.v3(call, script.as_deref());
        if !behaviour.effect && behaviour.act != Act::Normal {
            let nothing = Answer::json(200, &Value::Null);
            return Next::Reply(self.reply(nothing, &behaviour, v3));
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
            Ok(task) if call.asynchronous || behaviour.act != Act::Normal => {
                let answer = tasks::acknowledged(&task, self.task_origin());
                Next::Reply(self.reply(answer, &behaviour, v3))
            }
            Ok(task) => self.wait(task, &behaviour),
            Err(answer) => Next::Reply(self.reply(answer, &behaviour, v3)),
        }
    }

    /// Plans the delivery of a response. A fault of the whole gateway takes precedence over the
    /// script.
    fn bend(
        &mut self,
        call: &Call,
        shop: &str,
        tracking_id: &str,
        script: Option<&Script>,
    ) -> Behaviour {
        let fault = self.faults.strike(
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
                let nth = self.meet("submit", shop, tracking_id);
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
    pub fn reply(&mut self, answer: Answer, behaviour: &Behaviour, v3: bool) -> Reply {
        let answer = match &behaviour.act {
            Act::Answer(canned) => Answer::canned(canned),
            Act::Refuse(refusal) => self.refused(refusal, v3),
            Act::Normal
            | Act::Hang
            | Act::Reset
            | Act::Cut
            | Act::CutAfter
            | Act::Trickle { .. } => answer,
        };
        let mut reply = Reply::from(answer);
        reply.bend(&behaviour.act);
        reply.latency = behaviour.latency + self.switches.latency.draw(&mut self.random);
        reply
    }

    /// Returns a refusal in the error shape in force.
    pub fn refused(&self, refusal: &Refusal, v3: bool) -> Answer {
        let shape = if refusal.code == "E.1018" {
            self.switches.duplicate_shape
        } else {
            self.switches.error_shape
        };
        let earlier = refusal.earlier.as_ref();
        match earlier.and_then(|uid| self.transactions.get(uid)) {
            Some(earlier) => {
                let mut body = bodies::transaction(earlier, &self.origin, v3, &self.switches);
                bodies::mark_duplicate(&mut body, refusal);
                Answer::json(refusal.status, &body)
            }
            None => bodies::refusal(refusal, shape, v3),
        }
    }

    pub fn v3(&self, call: &Call, script: Option<&Script>) -> bool {
        match self.switches.body_shape {
            BodyShape::Header => call.v3 || script.is_some_and(|script| script.v3),
            BodyShape::V2 => false,
            BodyShape::V3 => true,
        }
    }

    /// Returns the result of an earlier request with the same `RequestID`.
    fn replay(&self, call: &Call, shop: &Arc<str>) -> Option<Made> {
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
            Replay::Task(task) => Ok(task.clone()),
            Replay::Refused(answer) => Err(answer.clone()),
        })
    }

    fn remember(&mut self, call: &Call, shop: &Arc<str>, made: &Made) {
        let Some(key) = call.idempotency_key.clone() else {
            return;
        };
        let replay = match made {
            Ok(task) => Replay::Task(task.clone()),
            Err(answer) => Replay::Refused(answer.clone()),
        };
        self.replays.insert((shop.clone(), key), (self.now, replay));
    }

    /// Waits for a task. If it has already ended, responds at once.
    fn wait(&mut self, task: String, behaviour: &Behaviour) -> Next {
        let latency = behaviour.latency + self.switches.latency.draw(&mut self.random);
        let (sender, receiver) = oneshot::channel();
        match self.tasks.get_mut(&task) {
            Some(running) if !running.is_over => running.waiters.push(sender),
            // A dropped sender wakes the receiver.
            _ => drop(sender),
        }
        Next::Wait(
            Wait {
                task,
                latency,
                number: 0,
            },
            receiver,
        )
    }

    /// Returns the result of a task as the synchronous paths send it.
    pub fn end_of_wait(&mut self, wait: &Wait) -> Reply {
        let Some(task) = self.tasks.get(&wait.task) else {
            return tasks::unknown(&wait.task).into();
        };
        let answer = match &task.state {
            State::Ended(answer) => answer.clone(),
            State::Running | State::Burnt | State::Unknown => tasks::crashed(&self.switches),
        };
        let (number, tracking_id) = (wait.number, task.tracking_id.as_deref());
        self.journal
            .amend(number, &task.shop, tracking_id, answer.status);
        Reply {
            latency: wait.latency,
            ..Reply::from(answer)
        }
    }
}
