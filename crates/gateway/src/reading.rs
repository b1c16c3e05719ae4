//! What a body of the gateway says, as far as a payment is concerned: submits and tasks.
//!
//! Each answer becomes exactly one value of a small enum, and each value names one consequence.
//! Nothing here fails: what cannot be understood is said to be so. What it deliberately cannot do:
//! conclude. Whether a payment failed is for the fold to say, over all evidence.

use super::address::GatewayAddress;
use super::body_shape::{ErrorBody, Shape, TaskBody, TaskStatus, shape, speaks_of_a_transaction};
use super::borrowed_json::BorrowedJson;
use super::fields::{MAX_KEPT_TEXT_LEN, redact_and_truncate};
use super::redact::redact_value;
use super::refusals::{self, RefusalSource};
use super::transaction::{self, SnapshotSource};
use domain::{Refusal, RefusalKind, Snapshot, TaskId, Timestamp, TransactionType};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

/// An HTTP answer that has been received, and when.
#[derive(Clone, Copy)]
pub struct ReceivedResponse<'a> {
    /// The HTTP status.
    pub http_status: u16,
    /// `Retry-After`, as a time to wait.
    pub retry_after: Option<Duration>,
    /// The whole body as it was received.
    pub body: &'a [u8],
    /// SHA-256 of that body.
    pub sha256: [u8; 32],
    /// The body is not whole: it was cut off, or longer than the limit.
    pub truncated: bool,
    /// When it was received.
    pub at: Timestamp,
}

impl fmt::Debug for ReceivedResponse<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("http_status", &self.http_status)
            .field("body_bytes", &self.body.len())
            .field("truncated", &self.truncated)
            .finish_non_exhaustive()
    }
}

impl ReceivedResponse<'_> {
    /// What the body is. Of one that broke off nothing is understood, unless an object in it is complete:
    /// nothing that could have followed would take it back.
    pub(super) fn shape(&self) -> Shape<'_> {
        match shape(self.body) {
            Shape::Unknown if self.truncated => Shape::NotJson,
            shape => shape,
        }
    }

    pub(super) fn source(&self) -> SnapshotSource {
        SnapshotSource {
            sha256: self.sha256,
            at: self.at,
        }
    }

    pub(super) fn is_success(&self) -> bool {
        (200..=299).contains(&self.http_status)
    }

    /// Statuses that describe the read and not what was asked for, whatever the body says.
    pub(super) fn is_about_the_read(&self) -> bool {
        matches!(self.http_status, 300..=399 | 401 | 403 | 429 | 502..=504)
    }
}

/// What the answer to a submit says.
#[derive(Debug, Clone, PartialEq)]
pub enum SubmitReading {
    /// The gateway has taken it and given it a task.
    Ack {
        /// The task.
        task: TaskId,
        /// An address on another origin that came with it. It is never followed: addresses are
        /// built from the configured origin and the task's id.
        foreign_url: Option<String>,
    },
    /// The gateway answered with the transaction itself.
    Transaction(Box<Snapshot>),
    /// The gateway answered with an error; how it is to be taken stands in it.
    Refused(Refusal),
    /// Not processed (429): it may be sent again after a while.
    Deferred {
        /// How long the gateway asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer says nothing; the gateway may have taken it.
    Unclear {
        /// What is wrong with it.
        reason: String,
    },
}

/// Which address of a task was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskEndpoint {
    /// `status_url`: how far the task is.
    Status,
    /// `response_url`: what came of it.
    Result,
}

/// What an answer about a task says.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskReading {
    /// It runs.
    Running,
    /// It has ended, how is not said.
    Completed,
    /// It ended with this transaction.
    Transaction(Box<Snapshot>),
    /// It ended with something that is no transaction: a balance, or a list. Redacted.
    Other(Value),
    /// The gateway does not know the task, or no longer.
    Unknown,
    /// It ended with an error; how it is to be taken stands in it.
    Refused(Refusal),
    /// The answer is about the read: ask again.
    NotAboutTask {
        /// What came.
        reason: String,
        /// How long the gateway asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The answer should say something and cannot be understood.
    Unreadable {
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads the answer to a submit of any kind. `ours` is the configured address.
pub fn read_submit(received: &ReceivedResponse<'_>, ours: &GatewayAddress) -> SubmitReading {
    read_submit_of(None, received, ours)
}

/// The same where the kind of the request is known: errors can name the fields of that kind alone.
pub fn read_submit_of(
    asked: Option<TransactionType>,
    received: &ReceivedResponse<'_>,
    ours: &GatewayAddress,
) -> SubmitReading {
    let status = received.http_status;
    match received.shape() {
        Shape::Transaction(fields) => match transaction::snapshot(&fields, received.source()) {
            Ok(snapshot) => SubmitReading::Transaction(Box::new(snapshot)),
            Err(malformed) => unclear(status, &format!("a transaction whose {malformed}")),
        },
        Shape::Task(task) => submit_task(received, &task, ours),
        Shape::Error(error) => submit_error(asked, received, &error),
        // What is missing of it may say that the outcome is open.
        Shape::NotJson if received.truncated => unclear(status, "an answer that broke off"),
        Shape::List { .. } | Shape::Balance(_) => unclear(status, "no task and no transaction"),
        Shape::Unknown if speaks_of_a_transaction(received.body) => {
            unclear(status, "a transaction without a uid")
        }
        Shape::Unknown | Shape::NotJson if refusals::names_open_code(received.body) => {
            unclear(status, "a code that leaves the outcome open")
        }
        Shape::Unknown | Shape::NotJson if status == 429 => SubmitReading::Deferred {
            retry_after: received.retry_after,
        },
        Shape::Unknown | Shape::NotJson if matches!(status, 401 | 403) => {
            SubmitReading::Refused(Refusal {
                kind: RefusalKind::Rejected,
                code: None,
                message: None,
                friendly_message: None,
                http_status: Some(status),
            })
        }
        Shape::Unknown => unclear(status, "an unknown body"),
        Shape::NotJson => unclear(status, "no readable json"),
    }
}

fn submit_task(
    received: &ReceivedResponse<'_>,
    task: &TaskBody,
    ours: &GatewayAddress,
) -> SubmitReading {
    let status = received.http_status;
    let runs = match task.word {
        TaskStatus::Processing | TaskStatus::Completed | TaskStatus::Unsaid => true,
        TaskStatus::Unknown => false,
    };
    match task_id(task, ours) {
        Some(id) if runs && received.is_success() => SubmitReading::Ack {
            task: id,
            foreign_url: foreign_url(task, ours),
        },
        Some(_) => unclear(status, "a task, but not as an acknowledgement"),
        None => unclear(status, "a task without a usable request_id"),
    }
}

fn submit_error(
    asked: Option<TransactionType>,
    received: &ReceivedResponse<'_>,
    error: &ErrorBody,
) -> SubmitReading {
    let mut refusal = refusals::read(RefusalSource::Submit, asked, received.http_status, error);
    let is_open = refusals::names_open_code(received.body);
    if is_open && refusal.kind == RefusalKind::Rejected {
        refusal.kind = RefusalKind::Doubt;
    }
    // 429 is the gateway's word that nothing was processed, unless the body knows better.
    match refusal.kind {
        RefusalKind::Rejected | RefusalKind::Doubt
            if received.http_status == 429 && !is_open && !refusals::may_be_in_progress(error) =>
        {
            SubmitReading::Deferred {
                retry_after: received.retry_after,
            }
        }
        RefusalKind::Rejected | RefusalKind::Doubt | RefusalKind::Duplicate => {
            SubmitReading::Refused(refusal)
        }
    }
}

fn unclear(status: u16, what: &str) -> SubmitReading {
    SubmitReading::Unclear {
        reason: format!("http {status} with {what}"),
    }
}

/// The task's id: `request_id`, or the end of one of its addresses when they are ours.
fn task_id(task: &TaskBody, ours: &GatewayAddress) -> Option<TaskId> {
    task.request_id
        .as_deref()
        .and_then(TaskId::from_gateway)
        .or_else(|| {
            [&task.response_url, &task.status_url]
                .into_iter()
                .flatten()
                .find_map(|url| ours.parse_task_url(url))
        })
}

fn foreign_url(task: &TaskBody, ours: &GatewayAddress) -> Option<String> {
    [&task.status_url, &task.response_url]
        .into_iter()
        .flatten()
        .find(|url| !ours.has_same_origin(url))
        .map(|url| redact_and_truncate(url, MAX_KEPT_TEXT_LEN))
}

/// Reads an answer of a task's `status_url` or `response_url`, of a request of any kind.
pub fn read_task(received: &ReceivedResponse<'_>, which: TaskEndpoint) -> TaskReading {
    read_task_of(None, received, which)
}

/// The same where the kind of the request is known: errors can name the fields of that kind alone.
pub fn read_task_of(
    asked: Option<TransactionType>,
    received: &ReceivedResponse<'_>,
    which: TaskEndpoint,
) -> TaskReading {
    if received.is_about_the_read() {
        return not_about_task(received, "a status that describes the read");
    }
    match received.shape() {
        Shape::Transaction(fields) => match transaction::snapshot(&fields, received.source()) {
            Ok(snapshot) => TaskReading::Transaction(Box::new(snapshot)),
            Err(malformed) => unreadable(received, &format!("a transaction whose {malformed}")),
        },
        Shape::List { rows, .. } => TaskReading::Other(redact_value(&serde_json::json!({
            "transactions": rows.into_iter().map(BorrowedJson::into_value).collect::<Vec<_>>()
        }))),
        Shape::Balance(balance) => TaskReading::Other(redact_value(&balance.into_value())),
        Shape::Task(task) => read_task_word(received, which, &task),
        Shape::Error(error) if refusals::is_of_the_task(asked, received.http_status, &error) => {
            let status = received.http_status;
            let mut refusal = refusals::read(RefusalSource::Task, asked, status, &error);
            if refusal.kind == RefusalKind::Rejected && refusals::names_open_code(received.body) {
                refusal.kind = RefusalKind::Doubt;
            }
            TaskReading::Refused(refusal)
        }
        Shape::Error(_) => not_about_task(received, "an error that the task cannot have produced"),
        Shape::Unknown if !matches!(received.http_status, 200..=299 | 400 | 422) => {
            not_about_task(received, "an unknown body")
        }
        Shape::Unknown => unreadable(received, "an unknown body"),
        Shape::NotJson if received.http_status == 200 => unreadable(received, "no readable json"),
        Shape::NotJson => not_about_task(received, "no readable json"),
    }
}

fn read_task_word(
    received: &ReceivedResponse<'_>,
    which: TaskEndpoint,
    task: &TaskBody,
) -> TaskReading {
    match (task.word, which) {
        (TaskStatus::Processing, TaskEndpoint::Status | TaskEndpoint::Result) => {
            TaskReading::Running
        }
        // A result that is only "completed" is not there yet; asking again costs nothing.
        (TaskStatus::Completed, TaskEndpoint::Status | TaskEndpoint::Result) => {
            TaskReading::Completed
        }
        (TaskStatus::Unknown, TaskEndpoint::Status | TaskEndpoint::Result) => {
            if received.http_status >= 500 {
                not_about_task(received, "a failing gateway that knows no task")
            } else {
                TaskReading::Unknown
            }
        }
        (TaskStatus::Unsaid, TaskEndpoint::Status | TaskEndpoint::Result) => {
            unreadable(received, "a task without a status")
        }
    }
}

fn not_about_task(received: &ReceivedResponse<'_>, what: &str) -> TaskReading {
    TaskReading::NotAboutTask {
        reason: reason(received, what),
        retry_after: received.retry_after,
    }
}

fn unreadable(received: &ReceivedResponse<'_>, what: &str) -> TaskReading {
    TaskReading::Unreadable {
        reason: reason(received, what),
    }
}

pub(super) fn reason(received: &ReceivedResponse<'_>, what: &str) -> String {
    let cut = if received.truncated { ", cut off" } else { "" };
    format!("http {} with {what}{cut}", received.http_status)
}

#[cfg(test)]
mod sample_tests;
#[cfg(test)]
mod tests;
