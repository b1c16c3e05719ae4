//! The gateway's books: every request that arrived, every transaction, and every status that each
//! ever had. They know nothing of the service, and the rules ask them alone for what is true.

use super::dice::Cup;
use super::plan::{Course, Ends, HOUR, Plan, Stranger, Thirty, plain};
use super::replies::{Reply, ack, body, error};
use domain::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long tasks and keys are kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// Within which time equal requests are duplicates.
const WINDOW: Duration = Duration::from_secs(30);

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
    pub currency: String,
    pub parent: Option<String>,
    pub test: bool,
    pub status: String,
    pub code: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub visible_at: Timestamp,
    /// A POST of ours made it: the place of its arrival.
    pub arrival: Option<usize>,
    /// Every status that it ever had, and since when.
    pub history: Vec<(Timestamp, String)>,
}

impl Transaction {
    /// A POST of ours made it.
    pub const fn ours(&self) -> bool {
        self.arrival.is_some()
    }

    pub fn had(&self, status: &str) -> bool {
        self.history.iter().any(|(_, had)| had == status)
    }

    pub fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "successful" | "failed" | "expired")
    }
}

/// What a task comes to.
#[derive(Debug, Clone)]
pub enum TaskEnd {
    Transaction(String),
    Error(u16, Value),
}

/// A task.
#[derive(Debug, Clone)]
pub struct Task {
    pub created_at: Timestamp,
    pub done_at: Timestamp,
    pub end: TaskEnd,
    /// The arrival that it belongs to.
    pub arrival: usize,
    /// What can be read once has been read.
    pub spent: bool,
    status_read: bool,
}

/// A POST of a transaction.
#[derive(Debug, Clone)]
pub struct Post {
    pub name: String,
    pub kind: String,
    pub amount: i64,
    pub parent: Option<String>,
    pub test: bool,
    pub key: String,
}

/// A POST that came.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub post: Post,
    pub at: Timestamp,
    /// It was not taken, or its task has made nothing: when that was so.
    pub not_processed_at: Option<Timestamp>,
    /// The transaction that it made.
    pub made: Option<String>,
    /// The network made two of one.
    pub doubled: bool,
}

/// What is to happen to a transaction.
#[derive(Debug, Clone)]
pub struct Turn {
    pub uid: String,
    pub after: Duration,
    pub status: String,
    pub code: Option<String>,
    /// What becomes of it after that.
    pub course: Option<Course>,
}

/// Everything that the gateway knows.
#[derive(Debug, Default)]
pub struct Books {
    pub transactions: BTreeMap<String, Transaction>,
    pub tasks: BTreeMap<String, Task>,
    pub arrivals: Vec<Arrival>,
    keys: BTreeMap<String, (Timestamp, String)>,
}

/// How a POST is met.
#[derive(Debug, Clone)]
pub enum PostHandling {
    /// As usual.
    Taken,
    /// Nothing is done, and this is answered.
    Not(Reply),
    /// It is the second of one that the network doubled.
    Doubled,
}

impl Books {
    /// All transactions that go, or were asked for, under a name.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Transaction> {
        let all = self.transactions.values();
        all.filter(move |t| t.name == name || t.asked == name)
    }

    /// What POSTs of ours under a name have made.
    pub fn made<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Transaction> {
        self.of(name).filter(move |t| t.ours() && t.asked == name)
    }

    /// The arrivals under a name that made something, or may yet do so.
    pub fn live<'a>(&'a self, name: &'a str, now: Timestamp) -> impl Iterator<Item = &'a Arrival> {
        let of = self.arrivals.iter().filter(move |a| a.post.name == name);
        of.filter(move |a| a.not_processed_at.is_none_or(|at| at > now))
    }

    /// Takes a POST. What follows from it later comes back beside the answer.
    pub fn submit(
        &mut self,
        post: &Post,
        now: Timestamp,
        cup: &mut Cup,
        plan: &Plan,
        met: PostHandling,
    ) -> (Reply, Vec<Turn>) {
        if plan.honours
            && let Some((at, task)) = self.keys.get(&post.key)
            && now.since(*at) < KEPT
        {
            return (ack(task), Vec::new());
        }
        let mut arrival = Arrival {
            post: post.clone(),
            at: now,
            not_processed_at: None,
            made: None,
            doubled: matches!(met, PostHandling::Doubled),
        };
        let refused = match met {
            PostHandling::Not(reply) => Some(reply),
            PostHandling::Taken | PostHandling::Doubled => self.refuses(post, now, plan),
        };
        if let Some(reply) = refused {
            arrival.not_processed_at = Some(now);
            self.arrivals.push(arrival);
            return (reply, Vec::new());
        }
        self.arrivals.push(arrival);
        let (task, turns) = self.take(post, now, cup, plan);
        self.keys.insert(post.key.clone(), (now, task.clone()));
        (ack(&task), turns)
    }

    /// What the gateway refuses at once, where this world has it do so.
    fn refuses(&self, post: &Post, now: Timestamp, plan: &Plan) -> Option<Reply> {
        let equal = |t: &&Transaction| {
            let alike = (&t.kind, t.amount, &t.parent) == (&post.kind, post.amount, &post.parent);
            alike && now.since(t.created_at) < WINDOW && t.status != "failed"
        };
        let watched = match plan.thirty {
            Thirty::Off => false,
            Thirty::Children => post.parent.is_some(),
            Thirty::All => true,
        };
        let earlier = self.transactions.values().find(equal).filter(|_| watched);
        if let Some(earlier) = earlier {
            let mut told = json!({"code": "E.1018", "message": "Duplicate transaction"});
            if plan.names_earlier {
                let mut shown = body(earlier, plan);
                shown["code"] = json!("E.1018");
                shown["message"] = json!("Duplicate transaction");
                told = json!({ "transaction": shown });
            }
            return Some(Reply::json(422, &told));
        }
        let parent = post.parent.as_ref()?;
        let rest = self.rest(parent)?;
        let over = plan.enforced && post.amount > rest;
        over.then(|| error("E.1025", &json!({"amount": ["is more than the rest"]})))
    }

    /// What is left of a parent, as a gateway sees it that looks at all children alike.
    fn rest(&self, uid: &str) -> Option<i64> {
        let parent = self.transactions.get(uid)?;
        let taken = self.transactions.values().filter(|t| {
            t.parent.as_deref() == Some(uid) && !matches!(t.status.as_str(), "failed" | "expired")
        });
        Some(parent.amount - taken.map(|t| t.amount).sum::<i64>())
    }

    fn take(
        &mut self,
        post: &Post,
        now: Timestamp,
        cup: &mut Cup,
        plan: &Plan,
    ) -> (String, Vec<Turn>) {
        let arrival = self.arrivals.len() - 1;
        let (dice, nth) = cup.draw("course", &post.name);
        let planned = plan.course(&post.name, nth).cloned();
        let course = planned.unwrap_or_else(|| Course::drawn(&post.name, nth, dice, plan));
        let task = format!("task-{}-{nth}", plain(&post.name));
        let done_at = now.plus(course.takes);
        let crashed = json!({"message": "the worker crashed"});
        let mut turns = Vec::new();
        let end = match course.ends {
            Ends::Refused | Ends::Broke => {
                self.arrivals[arrival].not_processed_at = Some(done_at);
                let refused = json!({"code": "E.1025", "message": "refused by the task",
                    "errors": {"base": "not allowed"}});
                match course.ends {
                    Ends::Refused => TaskEnd::Error(422, refused),
                    _ => TaskEnd::Error(500, crashed),
                }
            }
            ends => {
                let made = Transaction {
                    arrival: Some(arrival),
                    visible_at: now.plus(plan.lag),
                    ..self.describe(format!("uid-{}-{nth}", plain(&post.name)), post, plan, now)
                };
                let uid = made.uid.clone();
                self.arrivals[arrival].made = Some(uid.clone());
                turns = course.turns(&uid);
                self.transactions.insert(uid.clone(), made);
                match ends {
                    Ends::Crashed => TaskEnd::Error(500, crashed),
                    _ => TaskEnd::Transaction(uid),
                }
            }
        };
        let made = Task {
            created_at: now,
            done_at,
            end,
            arrival,
            spent: false,
            status_read: false,
        };
        self.tasks.insert(task.clone(), made);
        (task, turns)
    }

    fn describe(&self, uid: String, post: &Post, plan: &Plan, now: Timestamp) -> Transaction {
        let parent = post
            .parent
            .as_ref()
            .and_then(|uid| self.transactions.get(uid));
        let parents_name = parent
            .filter(|_| !plan.own_children)
            .map(|p| p.name.clone());
        Transaction {
            uid,
            name: parents_name.unwrap_or_else(|| post.name.clone()),
            asked: post.name.clone(),
            kind: post.kind.clone(),
            amount: post.amount,
            currency: "EUR".to_owned(),
            parent: post.parent.clone(),
            test: post.test,
            status: "incomplete".to_owned(),
            code: None,
            created_at: now,
            updated_at: now,
            visible_at: now,
            arrival: None,
            history: vec![(now, "incomplete".to_owned())],
        }
    }

    /// Somebody else makes a transaction. Gives the body that tells of it.
    pub fn stranger(&mut self, one: &Stranger, plan: &Plan, now: Timestamp) -> Vec<u8> {
        let post = Post {
            name: one.name.clone(),
            kind: one.kind.to_string(),
            amount: one.amount,
            parent: one.parent.clone(),
            test: one.test,
            key: String::new(),
        };
        let at = now.minus(one.age);
        let mut made = self.describe(one.uid.clone(), &post, plan, at);
        made.name.clone_from(&one.name);
        made.status.clone_from(&one.status);
        made.code = (one.status == "successful").then(|| "S.0000".to_owned());
        made.history.push((at, one.status.clone()));
        let told = super::replies::wrapped(&made, plan);
        self.transactions.insert(made.uid.clone(), made);
        told.to_string().into_bytes()
    }

    /// Moves a transaction, and gives the body that tells of it.
    pub fn turn(&mut self, turn: &Turn, now: Timestamp, plan: &Plan) -> Option<Vec<u8>> {
        let transaction = self.transactions.get_mut(&turn.uid)?;
        if transaction.status == turn.status {
            return None;
        }
        transaction.status.clone_from(&turn.status);
        transaction.code.clone_from(&turn.code);
        transaction.updated_at = now;
        transaction.history.push((now, turn.status.clone()));
        let told = super::replies::wrapped(transaction, plan);
        Some(told.to_string().into_bytes())
    }

    /// Reads a task's status or result.
    pub fn task(&mut self, task: &str, result: bool, now: Timestamp, plan: &Plan) -> Reply {
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
            TaskEnd::Error(status, body) => {
                if plan.status_once && !result && !std::mem::replace(&mut found.status_read, true) {
                    return Reply::json(200, &json!({"status": "failed", "request_id": task}));
                }
                found.spent = true;
                Reply::json(status, &body)
            }
            TaskEnd::Transaction(_) if !result => Reply::json(
                200,
                &json!({"status": "completed", "request_id": task,
                    "response_url": format!("{}/async/result/{task}", super::replies::ORIGIN)}),
            ),
            TaskEnd::Transaction(uid) => Reply::about(&[&self.transactions[&uid]], plan),
        }
    }

    /// Looks up by uid.
    pub fn by_uid(&self, uid: &str, plan: &Plan) -> Reply {
        match self.transactions.get(uid) {
            Some(found) => Reply::about(&[found], plan),
            None => Reply::json(404, &json!({"response": {"message": "Record not found"}})),
        }
    }

    /// Looks up by tracking id: the newest or the oldest ten.
    pub fn by_name(&self, name: &str, now: Timestamp, plan: &Plan) -> Reply {
        if plan.empty {
            return Reply::json(200, &json!({"transactions": []}));
        }
        let all = self.transactions.values();
        let mut found: Vec<&Transaction> = all
            .filter(|t| t.visible_at <= now && plan.router.shows(name, &t.name))
            .filter(|t| plan.children_shown || t.parent.is_none())
            .collect();
        found.sort_by_key(|t| t.created_at);
        if plan.newest_first {
            found.reverse();
        }
        found.truncate(10);
        Reply::list(&found, plan)
    }
}

impl super::plan::Router {
    /// Whether a look-up of a name shows what is filed under another.
    pub fn shows(self, asked: &str, filed: &str) -> bool {
        match self {
            Self::Dot => asked.split('.').next() == Some(filed),
            Self::Colon => asked == filed && !asked.contains(':'),
            Self::Case => asked.eq_ignore_ascii_case(filed),
            Self::All => asked == filed,
        }
    }
}

impl Course {
    /// Most end when the task does, some later, some never.
    fn drawn(name: &str, nth: u64, mut dice: super::dice::Dice, plan: &Plan) -> Self {
        let slow = if dice.chance(0.1) {
            HOUR
        } else {
            Duration::from_secs(10)
        };
        let takes = dice.between(Duration::from_millis(100), slow);
        let later = dice.between(Duration::from_secs(1), Duration::from_secs(9_000));
        let (ends, later) = match dice.below(20) {
            0 => (Ends::Refused, Duration::ZERO),
            1 => (Ends::Broke, Duration::ZERO),
            2 => (Ends::Crashed, Duration::ZERO),
            3..=9 => (Ends::Successful, Duration::ZERO),
            10..=12 => (Ends::Failed, Duration::ZERO),
            13..=15 => (Ends::Successful, later),
            16 => (Ends::Failed, later),
            17 => (Ends::Expired, later),
            18 => (Ends::Failed, Duration::ZERO),
            _ => (Ends::Open, Duration::ZERO),
        };
        let pending = dice.chance(0.25);
        let after = dice.between(Duration::from_secs(1), 20 * HOUR);
        let corrected = dice.chance(plan.correction).then_some(after);
        let after = dice.between(Duration::from_secs(60), 40 * HOUR);
        let again = dice.chance(plan.renotified).then_some(after);
        Self {
            name: name.to_owned(),
            nth,
            takes,
            ends,
            later,
            pending,
            corrected,
            again,
        }
    }

    fn turns(&self, uid: &str) -> Vec<Turn> {
        let turn = |after, status: &str, code: Option<&str>, course| Turn {
            uid: uid.to_owned(),
            after,
            status: status.to_owned(),
            code: code.map(str::to_owned),
            course,
        };
        let mut turns = Vec::new();
        if self.pending {
            let course = Self {
                corrected: None,
                ..self.clone()
            };
            turns.push(turn(self.takes / 2, "pending", None, Some(course)));
        }
        // Just before the task is done, so that its result shows it.
        let at_once = self.takes.saturating_sub(Duration::from_millis(1));
        let after = if self.later.is_zero() {
            at_once
        } else {
            self.takes + self.later
        };
        let (status, code) = match self.ends {
            Ends::Successful | Ends::Crashed => ("successful", Some("S.0000")),
            Ends::Failed => ("failed", Some("F.0105")),
            Ends::Expired => ("expired", None),
            Ends::Open | Ends::Refused | Ends::Broke => return turns,
        };
        turns.push(turn(after, status, code, Some(self.clone())));
        turns
    }
}
