//! The gateway's own truth, and the bodies in which it tells it. It shares no code with the
//! service: its answers are bytes, and the service's own readers make of them what they can.

use super::plan::Plan;
use rand::Rng;
use rand::rngs::StdRng;
use reconciler::domain::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long tasks and keys are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// A transaction of the gateway.
#[derive(Debug, Clone)]
pub struct Transaction {
    pub uid: String,
    /// The name under which it is filed.
    pub name: String,
    /// The name under which it was asked for.
    pub asked: String,
    pub kind: String,
    pub amount: i64,
    pub parent: Option<String>,
    pub status: &'static str,
    pub code: Option<&'static str>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub visible_at: Timestamp,
    /// A POST of ours made it.
    pub ours: bool,
    /// Every status that it ever had.
    pub history: Vec<&'static str>,
}

/// What a task comes to.
#[derive(Debug, Clone)]
pub enum End {
    Transaction(String),
    Error(u16, Value),
}

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    pub created_at: Timestamp,
    pub done_at: Timestamp,
    pub end: End,
    /// What can be read once has been read.
    pub spent: bool,
}

/// A POST of a transaction.
#[derive(Debug, Clone)]
pub struct Post {
    pub name: String,
    pub kind: String,
    pub amount: i64,
    pub parent: Option<String>,
    pub key: String,
}

/// An answer, as bytes.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
    pub retry_after: Option<Duration>,
}

/// What is to happen to a transaction.
#[derive(Debug, Clone)]
pub struct Turn {
    pub uid: String,
    pub after: Duration,
    pub status: &'static str,
    pub code: Option<&'static str>,
}

/// Everything that the gateway knows.
#[derive(Debug, Default)]
pub struct Gateway {
    pub transactions: BTreeMap<String, Transaction>,
    pub tasks: BTreeMap<String, Task>,
    keys: BTreeMap<String, (Timestamp, String)>,
    /// What it has refused, by name; told or not.
    pub refused: BTreeMap<String, u32>,
    /// How far its clock is behind: every time in a body is so much too early.
    behind: Duration,
    numbers: u32,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string().into_bytes(),
            retry_after: None,
        }
    }
}

/// Every answer names tasks at this origin.
pub const ORIGIN: &str = "https://gateway.test";

impl Gateway {
    /// A gateway with nothing in it, whose clock is behind by so much.
    pub fn behind(behind: Duration) -> Self {
        Self {
            behind,
            ..Self::default()
        }
    }

    fn number(&mut self) -> u32 {
        self.numbers += 1;
        self.numbers
    }

    /// Takes a POST. What follows from it later comes back beside the answer.
    pub fn submit(
        &mut self,
        post: &Post,
        now: Timestamp,
        dice: &mut StdRng,
        plan: &Plan,
        odd: bool,
    ) -> (Reply, Vec<Turn>) {
        if plan.honours
            && let Some((at, task)) = self.keys.get(&post.key)
            && now.since(*at) < KEPT
        {
            return (ack(task), Vec::new());
        }
        let mut turns = Vec::new();
        if odd {
            let roll = dice.random_range(0..8);
            if let Some(reply) = self.odd(post, roll) {
                return (reply, turns);
            }
            if roll == 7 {
                // It breaks after it has taken the request.
                let task = self.take(post, now, dice, plan, &mut turns);
                self.keys.insert(post.key.clone(), (now, task));
                return (page(500), turns);
            }
        }
        let task = self.take(post, now, dice, plan, &mut turns);
        self.keys.insert(post.key.clone(), (now, task.clone()));
        (ack(&task), turns)
    }

    /// Answers by which nothing was processed.
    fn odd(&mut self, post: &Post, roll: u32) -> Option<Reply> {
        let refused = |gateway: &mut Self| {
            *gateway.refused.entry(post.name.clone()).or_default() += 1;
        };
        Some(match roll {
            0 => {
                let busy = Reply::json(429, &json!({"message": "Too many requests"}));
                Reply {
                    retry_after: Some(Duration::from_secs(7)),
                    ..busy
                }
            }
            1 => {
                refused(self);
                Reply::json(
                    422,
                    &json!({"code": "E.1025", "message": "validation",
                    "errors": {"amount": ["is too large"]}}),
                )
            }
            2 => {
                refused(self);
                Reply::json(
                    400,
                    &json!({"response": {"message": "bad",
                    "errors": {"currency": ["is not allowed"]}}}),
                )
            }
            3 => {
                refused(self);
                Reply::json(
                    422,
                    &json!({"code": "E.1018", "message": "Duplicate transaction"}),
                )
            }
            4 => page(503),
            5 => page(502),
            6 => Reply::json(500, &json!({"message": "something broke"})),
            _ => return None,
        })
    }

    fn take(
        &mut self,
        post: &Post,
        now: Timestamp,
        dice: &mut StdRng,
        plan: &Plan,
        turns: &mut Vec<Turn>,
    ) -> String {
        let number = self.number();
        let task = format!("task-{number}");
        let slow = if dice.random_bool(0.1) { 3600.0 } else { 10.0 };
        let takes = Duration::from_secs_f64(dice.random_range(0.1..slow));
        let done_at = now.plus(takes);
        let roll = dice.random_range(0..20);
        let end = match roll {
            0 => {
                *self.refused.entry(post.name.clone()).or_default() += 1;
                let body = json!({"code": "E.1025", "message": "refused by the task",
                    "errors": {"base": "not allowed"}});
                End::Error(422, body)
            }
            1 => End::Error(500, json!({"message": "the worker crashed"})),
            _ => {
                let made = Transaction {
                    ours: true,
                    visible_at: now.plus(takes.min(plan.lag)),
                    ..self.describe(post, plan, now)
                };
                let uid = made.uid.clone();
                if dice.random_bool(0.25) {
                    // Told by a webhook, which may arrive after the final one.
                    turns.push(turn(&uid, takes / 2, "pending", None));
                }
                turns.extend(course(&uid, roll, takes, dice));
                self.transactions.insert(uid.clone(), made);
                let crashed = json!({"message": "the worker crashed"});
                if roll == 2 {
                    End::Error(500, crashed)
                } else {
                    End::Transaction(uid)
                }
            }
        };
        let made = Task {
            created_at: now,
            done_at,
            end,
            spent: false,
        };
        self.tasks.insert(task.clone(), made);
        task
    }

    fn describe(&mut self, post: &Post, plan: &Plan, now: Timestamp) -> Transaction {
        let number = self.number();
        let parent = post
            .parent
            .as_ref()
            .and_then(|uid| self.transactions.get(uid));
        let parents_name = parent
            .filter(|_| !plan.own_children)
            .map(|p| p.name.clone());
        Transaction {
            uid: format!("uid-{number}"),
            name: parents_name.unwrap_or_else(|| post.name.clone()),
            asked: post.name.clone(),
            kind: post.kind.clone(),
            amount: post.amount,
            parent: post.parent.clone(),
            status: "incomplete",
            code: None,
            created_at: now,
            updated_at: now,
            visible_at: now,
            ours: false,
            history: vec!["incomplete"],
        }
    }

    /// Somebody else makes a transaction, or had made it at that time.
    pub fn foreign(&mut self, post: &Post, plan: &Plan, at: Timestamp, status: &'static str) {
        let mut made = self.describe(post, plan, at);
        made.status = status;
        made.history.push(status);
        self.transactions.insert(made.uid.clone(), made);
    }

    /// Moves a transaction, and gives the body that tells of it.
    pub fn turn(&mut self, turn: &Turn, now: Timestamp) -> Option<Vec<u8>> {
        let transaction = self.transactions.get_mut(&turn.uid)?;
        if transaction.status == turn.status {
            return None;
        }
        (transaction.status, transaction.code) = (turn.status, turn.code);
        transaction.updated_at = now;
        transaction.history.push(turn.status);
        Some(
            json!({"transaction": body(transaction, self.behind)})
                .to_string()
                .into_bytes(),
        )
    }

    /// Reads a task's status or result.
    pub fn task(&mut self, task: &str, result: bool, now: Timestamp) -> Reply {
        let unknown = Reply::json(404, &json!({"status": "unknown", "request_id": task}));
        let Some(found) = self.tasks.get_mut(task) else {
            return unknown;
        };
        if found.spent || now.since(found.created_at) >= KEPT {
            return unknown;
        }
        if now < found.done_at {
            let status = if result { 425 } else { 200 };
            return Reply::json(status, &json!({"status": "processing", "request_id": task}));
        }
        match found.end.clone() {
            End::Error(status, body) => {
                found.spent = true;
                Reply::json(status, &body)
            }
            End::Transaction(_) if !result => Reply::json(
                200,
                &json!({"status": "completed", "request_id": task,
                    "response_url": format!("{ORIGIN}/async/result/{task}")}),
            ),
            End::Transaction(uid) => Reply::json(
                200,
                &json!({"transaction": body(&self.transactions[&uid], self.behind)}),
            ),
        }
    }

    /// Looks up by uid.
    pub fn by_uid(&self, uid: &str) -> Reply {
        match self.transactions.get(uid) {
            Some(found) => Reply::json(200, &json!({"transaction": body(found, self.behind)})),
            None => Reply::json(404, &json!({"response": {"message": "Record not found"}})),
        }
    }

    /// Looks up by tracking id.
    pub fn by_name(&self, name: &str, now: Timestamp) -> Reply {
        let found = self
            .transactions
            .values()
            .filter(|t| t.name == name && t.visible_at <= now);
        let rows: Vec<Value> = found.map(|t| body(t, self.behind)).collect();
        Reply::json(200, &json!({ "transactions": rows }))
    }
}

fn turn(uid: &str, after: Duration, status: &'static str, code: Option<&'static str>) -> Turn {
    Turn {
        uid: uid.to_owned(),
        after,
        status,
        code,
    }
}

/// How a transaction goes on: most end when the task does, some later, some never.
fn course(uid: &str, roll: u32, takes: Duration, dice: &mut StdRng) -> Vec<Turn> {
    let turn = |after, status, code| turn(uid, after, status, code);
    // Just before the task is done, so that its result shows it.
    let at_once = takes.saturating_sub(Duration::from_millis(1));
    let later = takes + Duration::from_secs_f64(dice.random_range(1.0..9_000.0));
    match roll {
        2..=9 => vec![turn(at_once, "successful", Some("S.0000"))],
        10..=12 => vec![turn(at_once, "failed", Some("F.0105"))],
        13..=15 => vec![turn(later, "successful", Some("S.0000"))],
        16 => vec![turn(later, "failed", Some("F.0114"))],
        17 => vec![turn(later, "expired", None)],
        18 => vec![
            turn(at_once, "failed", Some("F.0105")),
            turn(later, "successful", None),
        ],
        _ => Vec::new(),
    }
}

fn ack(task: &str) -> Reply {
    let body = json!({"status": "processing", "request_id": task,
        "status_url": format!("{ORIGIN}/async/status/{task}"),
        "response_url": format!("{ORIGIN}/async/result/{task}")});
    Reply::json(200, &body)
}

/// A page of a proxy.
pub fn page(status: u16) -> Reply {
    let body = format!("<html><h1>{status}</h1></html>").into_bytes();
    Reply {
        status,
        body,
        retry_after: None,
    }
}

fn body(t: &Transaction, behind: Duration) -> Value {
    let shown = |at: Timestamp| at.minus(behind).to_rfc3339();
    let mut body = json!({"uid": t.uid, "id": t.uid, "status": t.status, "type": t.kind,
        "amount": t.amount, "currency": "EUR", "tracking_id": t.name, "test": true,
        "created_at": shown(t.created_at), "updated_at": shown(t.updated_at)});
    if let Some(code) = t.code {
        body["code"] = json!(code);
    }
    if let Some(parent) = &t.parent {
        body["parent_uid"] = json!(parent);
    }
    body
}
