//! What arrived and what was answered: a bounded log of requests, and counts
//! per tracking id that are never dropped. No body is kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::clock::{Ms, text};
use super::counts::Count;
use super::transactions::Kind;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A transaction.
    Submit(Kind),
    /// The balance.
    Balance,
    /// A transaction by uid.
    QueryUid,
    /// Transactions by tracking id.
    QueryTrackingId,
    /// A task's status.
    TaskStatus,
    /// A task's result.
    TaskResult,
}

impl Operation {
    /// Its name in the log and in faults.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit(kind) => kind.collection(),
            Self::Balance => "balance",
            Self::QueryUid => "query_uid",
            Self::QueryTrackingId => "query_tracking_id",
            Self::TaskStatus => "status",
            Self::TaskResult => "result",
        }
    }

    /// Whether a name or the name of a group means it.
    pub fn is_meant_by(self, name: &str) -> bool {
        let group = match self {
            Self::Submit(_) => "submit",
            Self::Balance => "balance",
            Self::QueryUid | Self::QueryTrackingId => "lookup",
            Self::TaskStatus | Self::TaskResult => "task",
        };
        name == "*" || name == group || name == self.name()
    }
}

/// A request's head, as far as the twin looks at it.
#[derive(Clone, Debug)]
pub struct Call {
    /// HTTP method.
    pub method: &'static str,
    /// Path.
    pub path: String,
    /// What it wants.
    pub operation: Operation,
    /// Whether it goes to `/async/...`.
    pub asynchronous: bool,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    /// The `RequestID` header.
    pub idempotency_key: Option<String>,
    /// Whether `X-API-Version` is 3.
    pub v3: bool,
    /// Whether the content type is JSON.
    pub json: bool,
}

/// What became of a request.
#[derive(Clone, Debug, Default)]
pub struct Note {
    /// The shop whose credentials were right.
    pub shop: Option<Arc<str>>,
    /// The tracking id.
    pub tracking_id: Option<String>,
    /// The task that it made or asked about.
    pub task: Option<String>,
    /// The `RequestID` was known: the first answer was given again.
    pub replayed: bool,
    /// It took effect: a task was made.
    pub accepted: bool,
    /// Status that the client sees, if any.
    pub status: Option<u16>,
    /// How it ended, in a word.
    pub fate: &'static str,
}

struct Entry {
    number: u64,
    at: OffsetDateTime,
    virtual_ms: Ms,
    call: Call,
    note: Note,
}

/// The log and the counts.
pub struct Journal {
    entries: VecDeque<Entry>,
    limit: usize,
    number: u64,
    broken_bodies: u64,
    operations: BTreeMap<&'static str, u64>,
    counts: HashMap<(Arc<str>, String), Count>,
}

/// What the log is searched by.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// This tracking id.
    pub tracking_id: Option<String>,
    /// This shop.
    pub shop: Option<String>,
    /// This operation or group of operations.
    pub operation: Option<String>,
    /// At most so many, the latest ones.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether a tracking id and shop are wanted.
    pub fn wants(&self, shop: Option<&str>, tracking_id: Option<&str>) -> bool {
        self.shop
            .as_deref()
            .is_none_or(|wanted| Some(wanted) == shop)
            && self
                .tracking_id
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == tracking_id)
    }
}

impl Journal {
    /// An empty one that remembers so many requests.
    pub fn new(limit: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            limit,
            number: 0,
            broken_bodies: 0,
            operations: BTreeMap::new(),
            counts: HashMap::new(),
        }
    }

    /// How many requests have arrived.
    pub fn total(&self) -> u64 {
        self.number
    }

    /// A request whose body broke off.
    pub fn broken_body(&mut self) {
        self.broken_bodies += 1;
    }

    /// Writes a request down.
    pub fn record(&mut self, at: OffsetDateTime, virtual_ms: Ms, call: Call, note: Note) {
        self.number += 1;
        *self.operations.entry(call.operation.name()).or_default() += 1;
        if let Some(tracking_id) = &note.tracking_id {
            // Requests with wrong credentials count too; they belong to no shop.
            let shop = note.shop.clone().unwrap_or_else(|| Arc::from(""));
            self.counts
                .entry((shop, tracking_id.clone()))
                .or_default()
                .add(&call, &note);
        }
        if self.limit == 0 {
            return;
        }
        if self.entries.len() >= self.limit {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.number,
            at,
            virtual_ms,
            call,
            note,
        });
    }

    /// Corrects the status of a request that was written down before it was answered.
    pub fn amend(&mut self, number: u64, shop: &Arc<str>, tracking_id: Option<&str>, status: u16) {
        let entry = self
            .entries
            .iter_mut()
            .rev()
            .find(|entry| entry.number == number);
        let before = entry.map(|entry| entry.note.status.replace(status));
        let key = tracking_id.map(|tracking_id| (shop.clone(), tracking_id.to_owned()));
        let count = key.and_then(|key| self.counts.get_mut(&key));
        let Some(count) = count.filter(|_| before != Some(Some(status))) else {
            return;
        };
        count.amend(status);
    }

    /// The log, oldest first.
    pub fn log(&self, filter: &Filter) -> Value {
        let matching = |entry: &&Entry| {
            let note = &entry.note;
            filter.wants(note.shop.as_deref(), note.tracking_id.as_deref())
                && filter
                    .operation
                    .as_deref()
                    .is_none_or(|name| entry.call.operation.is_meant_by(name))
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut shown: Vec<Value> = self
            .entries
            .iter()
            .rev()
            .filter(matching)
            .take(limit)
            .map(Entry::shown)
            .collect();
        shown.reverse();
        json!({"requests": shown, "total": self.number})
    }

    /// The counts.
    pub fn counts(&self, filter: &Filter) -> Value {
        let mut shown: Vec<_> = self
            .counts
            .iter()
            .filter(|((shop, id), _)| filter.wants(Some(&**shop), Some(id)))
            .collect();
        shown.sort_unstable_by_key(|(key, _)| *key);
        let most = shown
            .iter()
            .map(|(_, count)| count.unrefused())
            .max()
            .unwrap_or(0);
        let over: Vec<&str> = shown
            .iter()
            .filter(|(_, count)| count.unrefused() > 1)
            .map(|((_, id), _)| id.as_str())
            .collect();
        let rows: Vec<Value> = shown
            .iter()
            .take(filter.limit.unwrap_or(usize::MAX))
            .map(|((shop, id), count)| count.shown(shop, id))
            .collect();
        json!({
            "requests": self.number,
            "broken_bodies": self.broken_bodies,
            "operations": self.operations,
            "tracking_ids": rows,
            "most_unrefused": most,
            "over_one_unrefused": over,
        })
    }
}

impl Entry {
    fn shown(&self) -> Value {
        let (call, note) = (&self.call, &self.note);
        json!({
            "number": self.number,
            "at": text(self.at),
            "virtual_ms": self.virtual_ms,
            "method": call.method,
            "path": call.path,
            "operation": call.operation.name(),
            "async": call.asynchronous,
            "shop": note.shop.as_deref(),
            "tracking_id": note.tracking_id,
            "idempotency_key": call.idempotency_key,
            "task": note.task,
            "replayed": note.replayed,
            "accepted": note.accepted,
            "status": note.status,
            "fate": note.fate,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Call {
        Call {
            method: "POST",
            path: "/async/transactions/payments".into(),
            operation: Operation::Submit(Kind::Payment),
            asynchronous: true,
            authorization: None,
            idempotency_key: None,
            v3: false,
            json: true,
        }
    }

    #[test]
    fn the_log_is_bounded_and_the_counts_are_not() {
        let mut journal = Journal::new(2);
        for status in [Some(200), Some(422), None] {
            let fate = if status.is_some() { "answered" } else { "hang" };
            let tracking_id = Some("ok-1".to_owned());
            let shop = Some(Arc::from("1001"));
            let note = Note {
                shop,
                tracking_id,
                status,
                fate,
                ..Note::default()
            };
            journal.record(OffsetDateTime::UNIX_EPOCH, 0, call(), note);
        }
        let log = journal.log(&Filter::default());
        assert_eq!(log["requests"].as_array().map(Vec::len), Some(2));
        let counts = journal.counts(&Filter::default());
        assert_eq!(counts["tracking_ids"][0]["posts"], 3);
        assert_eq!(counts["tracking_ids"][0]["refused"], 1);
        assert_eq!(counts["over_one_unrefused"], json!(["ok-1"]));
    }
}
