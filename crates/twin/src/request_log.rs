//! Log of requests: a bounded list of requests with their responses, and counts per tracking ID
//! that are never dropped. Stores no bodies.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Value, json};
use time::OffsetDateTime;

use super::clock::{VirtualMillis, text};
use super::counts::SubmitCounts;
use super::transactions::TransactionKind;

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// Submits a transaction.
    Submit(TransactionKind),
    /// Queries the balance.
    Balance,
    /// Looks a transaction up by uid.
    QueryUid,
    /// Looks transactions up by tracking ID.
    QueryTrackingId,
    /// Reads a task's status.
    TaskStatus,
    /// Reads a task's result.
    TaskResult,
}

impl RequestKind {
    /// Returns its name in the log and in faults.
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

    /// Returns whether the name of an operation or of a group of operations includes it.
    pub fn matches(self, name: &str) -> bool {
        let group = match self {
            Self::Submit(_) => "submit",
            Self::Balance => "balance",
            Self::QueryUid | Self::QueryTrackingId => "lookup",
            Self::TaskStatus | Self::TaskResult => "task",
        };
        name == "*" || name == group || name == self.name()
    }
}

/// The parts of a request's head that the simulator uses.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// HTTP method.
    pub method: &'static str,
    /// Path of the URL.
    pub path: String,
    /// Kind of the request.
    pub operation: RequestKind,
    /// Whether the path starts with `/async/`.
    pub asynchronous: bool,
    /// Value of the `Authorization` header.
    pub authorization: Option<String>,
    /// Value of the `RequestID` header.
    pub idempotency_key: Option<String>,
    /// Whether `X-API-Version` is 3.
    pub v3: bool,
    /// Whether the content type is JSON.
    pub json: bool,
}

/// Result of a request, for the log.
#[derive(Clone, Debug, Default)]
pub struct LogResult {
    /// Shop with valid credentials.
    pub shop: Option<Arc<str>>,
    /// Tracking ID in the request.
    pub tracking_id: Option<String>,
    /// Task that the request created or read.
    pub task: Option<String>,
    /// Whether the `RequestID` was known, so that the first response was replayed.
    pub replayed: bool,
    /// Whether the request took effect, that is, created a task.
    pub accepted: bool,
    /// HTTP status that the client sees, if any.
    pub status: Option<u16>,
    /// How the response was delivered, in one word.
    pub fate: &'static str,
}

struct LogEntry {
    number: u64,
    at: OffsetDateTime,
    virtual_ms: VirtualMillis,
    call: RequestHead,
    note: LogResult,
}

/// Log of requests and counts per tracking ID.
pub struct RequestLog {
    entries: VecDeque<LogEntry>,
    limit: usize,
    number: u64,
    broken_bodies: u64,
    operations: BTreeMap<&'static str, u64>,
    counts: HashMap<(Arc<str>, String), SubmitCounts>,
}

/// Filter of the log.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogFilter {
    /// Only this tracking ID.
    pub tracking_id: Option<String>,
    /// Only this shop.
    pub shop: Option<String>,
    /// Only this operation or group of operations.
    pub operation: Option<String>,
    /// Maximum number of entries; the latest are returned.
    pub limit: Option<usize>,
}

impl LogFilter {
    /// Returns whether a shop and tracking ID match the filter.
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

impl RequestLog {
    /// Creates an empty log that keeps up to `limit` requests.
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

    /// Returns the number of requests received.
    pub fn total(&self) -> u64 {
        self.number
    }

    /// Counts a request whose body ended early.
    pub fn broken_body(&mut self) {
        self.broken_bodies += 1;
    }

    /// Adds a request to the log and to the counts.
    pub fn record(
        &mut self,
        at: OffsetDateTime,
        virtual_ms: VirtualMillis,
        call: RequestHead,
        note: LogResult,
    ) {
        self.number += 1;
        *self.operations.entry(call.operation.name()).or_default() += 1;
        if let Some(tracking_id) = &note.tracking_id {
            // Requests with wrong credentials are counted too, without a shop.
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
        self.entries.push_back(LogEntry {
            number: self.number,
            at,
            virtual_ms,
            call,
            note,
        });
    }

    /// Replaces the status of a request that was logged before its response was known.
    pub fn replace_status(
        &mut self,
        number: u64,
        shop: &Arc<str>,
        tracking_id: Option<&str>,
        status: u16,
    ) {
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
        count.replace_status(status);
    }

    /// Returns the log as JSON, oldest first.
    pub fn log(&self, filter: &LogFilter) -> Value {
        let matching = |entry: &&LogEntry| {
            let note = &entry.note;
            filter.wants(note.shop.as_deref(), note.tracking_id.as_deref())
                && filter
                    .operation
                    .as_deref()
                    .is_none_or(|name| entry.call.operation.matches(name))
        };
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut shown: Vec<Value> = self
            .entries
            .iter()
            .rev()
            .filter(matching)
            .take(limit)
            .map(LogEntry::to_json)
            .collect();
        shown.reverse();
        json!({"requests": shown, "total": self.number})
    }

    /// Returns the counts as JSON.
    pub fn counts(&self, filter: &LogFilter) -> Value {
        let mut shown: Vec<_> = self
            .counts
            .iter()
            .filter(|((shop, id), _)| filter.wants(Some(&**shop), Some(id)))
            .collect();
        shown.sort_unstable_by_key(|(key, _)| *key);
        let most = shown
            .iter()
            .map(|(_, count)| count.accepted_count())
            .max()
            .unwrap_or(0);
        let over: Vec<&str> = shown
            .iter()
            .filter(|(_, count)| count.accepted_count() > 1)
            .map(|((_, id), _)| id.as_str())
            .collect();
        let rows: Vec<Value> = shown
            .iter()
            .take(filter.limit.unwrap_or(usize::MAX))
            .map(|((shop, id), count)| count.to_json(shop, id))
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

impl LogEntry {
    fn to_json(&self) -> Value {
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

    fn call() -> RequestHead {
        RequestHead {
            method: "POST",
            path: "/async/transactions/payments".into(),
            operation: RequestKind::Submit(TransactionKind::Payment),
            asynchronous: true,
            authorization: None,
            idempotency_key: None,
            v3: false,
            json: true,
        }
    }

    #[test]
    fn the_log_is_bounded_and_the_counts_are_not() {
        let mut journal = RequestLog::new(2);
        for status in [Some(200), Some(422), None] {
            let fate = if status.is_some() { "answered" } else { "hang" };
            let tracking_id = Some("ok-1".to_owned());
            let shop = Some(Arc::from("1001"));
            let note = LogResult {
                shop,
                tracking_id,
                status,
                fate,
                ..LogResult::default()
            };
            journal.record(OffsetDateTime::UNIX_EPOCH, 0, call(), note);
        }
        let log = journal.log(&LogFilter::default());
        assert_eq!(log["requests"].as_array().map(Vec::len), Some(2));
        let counts = journal.counts(&LogFilter::default());
        assert_eq!(counts["tracking_ids"][0]["posts"], 3);
        assert_eq!(counts["tracking_ids"][0]["refused"], 1);
        assert_eq!(counts["over_one_unrefused"], json!(["ok-1"]));
    }
}
