//! A stored piece of evidence, and what it says: read from its columns and its body alone, never from
//! the sentence beside it.
//!
//! What it deliberately cannot do: conclude. It says "the task was refused", not "it is rejected".

use crate::earlier::Kept;
use crate::gateway_body::{self, FinalityRank, GatewayBody, ReportedTransaction};
use crate::local_facts;
use crate::refusal_table::{self, AuditedRefusal, names_open_code};
use crate::sql::AuditedEvidence;
use serde_json::Value;
use std::collections::BTreeSet;
use url::Url;
use uuid::Uuid;
use words::{Channel, State, TaskId, Timestamp, TransactionType, Uid};

/// A piece of evidence, read.
#[derive(Debug)]
pub(super) struct EvidenceItem {
    /// Its id.
    pub(super) id: Uuid,
    /// Its place in the order of arrival.
    pub(super) position: i32,
    /// When it was recorded.
    pub(super) at: Timestamp,
    /// SHA-256 of what was said.
    pub(super) sha256: [u8; 32],
    /// What it says.
    pub(super) says: Vec<Statement>,
    /// The rows of a look-up by this name that was answered with HTTP 200 and a list.
    pub(super) list: Option<(String, Vec<Option<ReportedTransaction>>)>,
}

/// One thing said.
#[derive(Debug)]
pub(super) enum Statement {
    /// The request, as it was kept.
    Opened(Value),
    /// An attempt is about to be sent.
    Stamped {
        attempt: u32,
        at: Timestamp,
        not_before: Timestamp,
        replay: bool,
    },
    /// No byte of it left.
    NotSent(u32),
    /// After a restore it was held back.
    Held(Timestamp),
    /// A person released what was held back.
    Released(Timestamp),
    /// After this attempt nothing more was to be sent.
    GivenUp(u32),
    /// The gateway did not process it.
    Deferred(u32),
    /// No answer, or none that says anything.
    Silent(u32),
    /// It was answered with an error.
    Refused(u32, AuditedRefusal),
    /// It was answered with a task.
    Acked(u32, TaskId),
    /// The gateway does not know the task.
    TaskUnknown(TaskId),
    /// The task is too old to be asked.
    TaskOutlived(TaskId),
    /// The task ended with an error.
    TaskRefused(TaskId, AuditedRefusal),
    /// What look-ups after a task's refusal came to, and which of them.
    RefusalChecked(TaskId, String, Vec<Uuid>),
    /// The task ended with this transaction.
    TaskResult(TaskId, ReportedTransaction),
    /// The answer to a submit is this transaction.
    Named(u32, ReportedTransaction),
    /// The look-up before a submit, after a restore, found this: ours if it agrees in everything.
    Known(ReportedTransaction),
    /// A transaction was found, where this was asked for.
    Found(ReportedTransaction, Option<String>),
    /// A proof of absence.
    Proved {
        at: Timestamp,
        lookups: Vec<Uuid>,
        duplicate: bool,
        /// The attempts that it covers; none where an earlier release has written it.
        attempts: Vec<u32>,
    },
    /// A person decided.
    Decided(AuditedDecision),
    /// An earlier release had ended it.
    DecidedBefore(Box<Kept>),
    /// It was open when this release took it over from an earlier one.
    TakenOver,
    /// An end of an earlier release was judged by the rules of now; nothing follows from it.
    LookedOver,
    /// This uid was named as ours, and belongs to another of ours.
    Anothers(Uid),
    /// The failure of this one was found beside these, which had not ended; none: beside what our own request had
    /// named.
    Beside(Uid, BTreeSet<String>),
    /// One that was learned of from the gateway is this one; its greatest description, with the hash of its
    /// body.
    Merged(ReportedTransaction, [u8; 32]),
    /// The request of another of ours was answered with this, and it bears our name; with the hash of its
    /// body.
    Offered(ReportedTransaction, [u8; 32]),
    /// This one turned out to be another.
    MergedInto,
    /// A person accepts this description, with the hash of its body.
    Accepted(ReportedTransaction, [u8; 32]),
}

/// The place of a description in the one order of design.md §5.
pub(super) type SnapshotOrderKey = (bool, Option<Timestamp>, FinalityRank, [u8; 32]);

/// A person's decision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AuditedDecision {
    pub(super) at: Timestamp,
    pub(super) id: Uuid,
    pub(super) state: State,
    pub(super) basis: Option<SnapshotOrderKey>,
    /// The gateway's transaction that it names as this one.
    pub(super) uid: Option<Uid>,
}

/// Reads one row, of a request of this kind. An act that cannot be read is told in words.
pub(super) fn read(
    row: &AuditedEvidence,
    origin: Option<&Url>,
    asked: Option<TransactionType>,
) -> Result<EvidenceItem, String> {
    let channel = Channel::parse(&row.channel)
        .ok_or_else(|| format!("channel {:?} is no word of ours", row.channel))?;
    let sha256 = row.body_sha256.as_slice().try_into().unwrap_or([0; 32]);
    let mut list = None;
    // A hint (an unsigned webhook, or one that could be another's) is not believed by itself.
    let says = match channel {
        _ if row.verdict == "hint" => Vec::new(),
        // A conclusion of ours that came too late concludes nothing.
        Channel::Local if row.verdict == "refused" => Vec::new(),
        Channel::Local | Channel::Operator => local_facts::read(row).map_err(|what| {
            let name = row.subject.as_deref().unwrap_or("unnamed");
            format!("the act {name} at position {} lacks {what}", row.position)
        })?,
        Channel::Ack => vec![ack(row, origin, asked)?],
        Channel::TaskStatus | Channel::TaskResult => of_task(row, asked),
        Channel::Query => lookup(row, &mut list)?,
        Channel::Webhook | Channel::Report => webhook(row),
    };
    Ok(EvidenceItem {
        id: row.id,
        position: row.position,
        at: row.received_at,
        sha256,
        says,
        list,
    })
}

/// Statuses that describe the read and not what was asked for.
fn is_about_the_read(status: i32) -> bool {
    matches!(status, 300..=399 | 401 | 403 | 429 | 502..=504)
}

fn is_success(status: i32) -> bool {
    (200..=299).contains(&status)
}

/// What stands behind the subject of an answer that is not whole.
const CUT_OFF: &str = ", cut off";

fn is_cut_off(row: &AuditedEvidence) -> bool {
    let subject = row.subject.as_deref().unwrap_or_default();
    subject.ends_with(CUT_OFF)
}

/// The number behind `attempt `, at the end of a subject.
fn attempt_of(row: &AuditedEvidence) -> Result<u32, String> {
    let subject = row.subject.as_deref().unwrap_or_default();
    let subject = subject.strip_suffix(CUT_OFF).unwrap_or(subject);
    let number = subject
        .rsplit_once("attempt ")
        .and_then(|(_, number)| number.parse().ok());
    number.ok_or_else(|| {
        format!(
            "position {} does not say which attempt it answers",
            row.position
        )
    })
}

/// The answer to a submit.
fn ack(
    row: &AuditedEvidence,
    origin: Option<&Url>,
    asked: Option<TransactionType>,
) -> Result<Statement, String> {
    let attempt = attempt_of(row)?;
    let status = row.http_status.unwrap_or(0);
    Ok(match gateway_body::read(&row.body) {
        GatewayBody::Transaction(Some(told)) => Statement::Named(attempt, *told),
        GatewayBody::Task(word, id, addresses) if is_success(status) && word != "unknown" => {
            let task = id.or_else(|| addresses.iter().find_map(|url| task_in(url, origin)));
            task.map_or(Statement::Silent(attempt), |task| {
                Statement::Acked(attempt, task)
            })
        }
        GatewayBody::Error(error) => match error.refusal(status, true, asked) {
            AuditedRefusal::Doubt | AuditedRefusal::Rejected
                if status == 429 && !error.may_be_at_work() && !names_open_code(&row.body) =>
            {
                Statement::Deferred(attempt)
            }
            AuditedRefusal::Rejected if names_open_code(&row.body) => {
                Statement::Refused(attempt, AuditedRefusal::Doubt)
            }
            refusal => Statement::Refused(attempt, refusal),
        },
        // What is missing of it could have said more.
        GatewayBody::Other if is_cut_off(row) => Statement::Silent(attempt),
        GatewayBody::Other if names_open_code(&row.body) => Statement::Silent(attempt),
        GatewayBody::Other if status == 429 && is_nothing_known(&row.body) => {
            Statement::Deferred(attempt)
        }
        GatewayBody::Other if [401, 403].contains(&status) && is_nothing_known(&row.body) => {
            Statement::Refused(attempt, AuditedRefusal::Rejected)
        }
        GatewayBody::Other
        | GatewayBody::List(..)
        | GatewayBody::Task(..)
        | GatewayBody::Transaction(None) => Statement::Silent(attempt),
    })
}

/// Neither a list nor a balance: not JSON at all, or nothing that we know.
fn is_nothing_known(bytes: &[u8]) -> bool {
    let json: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let told = json.as_object().is_some_and(refusal_table::accompanies);
    !json["result"].is_object() && !told
}

/// The task that an address of the gateway names; any origin, where ours is not known.
fn task_in(address: &str, origin: Option<&Url>) -> Option<TaskId> {
    let url = Url::parse(address).ok()?;
    if origin.is_some_and(|ours| ours.origin() != url.origin()) {
        return None;
    }
    let front = origin.map_or("", |ours| ours.path().trim_end_matches('/'));
    let path = url.path().strip_prefix(front)?;
    let id = path
        .strip_prefix("/async/result/")
        .or_else(|| path.strip_prefix("/async/status/"));
    id.and_then(TaskId::from_gateway)
}

/// An answer of a task's addresses.
fn of_task(row: &AuditedEvidence, asked: Option<TransactionType>) -> Vec<Statement> {
    let status = row.http_status.unwrap_or(0);
    let Some(task) = row.subject.as_deref().and_then(TaskId::from_gateway) else {
        return Vec::new();
    };
    if is_about_the_read(status) {
        return Vec::new();
    }
    match gateway_body::read(&row.body) {
        GatewayBody::Transaction(Some(told)) => vec![Statement::TaskResult(task, *told)],
        GatewayBody::Task(word, ..) if word == "unknown" && status < 500 => {
            vec![Statement::TaskUnknown(task)]
        }
        GatewayBody::Error(error) if error.is_of_a_task(status, asked) => {
            let refusal = match error.refusal(status, false, asked) {
                AuditedRefusal::Rejected if names_open_code(&row.body) => AuditedRefusal::Doubt,
                refusal => refusal,
            };
            vec![Statement::TaskRefused(task, refusal)]
        }
        GatewayBody::Error(_)
        | GatewayBody::Transaction(None)
        | GatewayBody::Task(..)
        | GatewayBody::List(..)
        | GatewayBody::Other => Vec::new(),
    }
}

/// An answer to a look-up; also to the one that is made before a submit after a restore.
fn lookup(
    row: &AuditedEvidence,
    list: &mut Option<(String, Vec<Option<ReportedTransaction>>)>,
) -> Result<Vec<Statement>, String> {
    let status = row.http_status.unwrap_or(0);
    let asked = row.subject.clone().unwrap_or_default();
    let before_submit = asked.starts_with("after restore");
    let mut listed = false;
    let told = match gateway_body::read(&row.body) {
        _ if !is_success(status) => Vec::new(),
        GatewayBody::List(rows, troubled) => {
            listed = status == 200;
            if listed && !troubled {
                *list = Some((asked.clone(), rows.clone()));
            }
            rows.into_iter().flatten().collect()
        }
        GatewayBody::Transaction(Some(told)) => vec![*told],
        GatewayBody::Transaction(None)
        | GatewayBody::Task(..)
        | GatewayBody::Error(_)
        | GatewayBody::Other => Vec::new(),
    };
    if before_submit {
        // Earlier releases named an attempt alone, and held nothing back.
        let older = asked.starts_with("after restore,");
        let mut says = Vec::new();
        if asked.contains("attempt ") {
            says.push(Statement::NotSent(attempt_of(row)?));
        }
        says.extend((!older).then_some(Statement::Held(row.received_at)));
        says.extend(told.into_iter().map(Statement::Known));
        return Ok(says);
    }
    // In a list the name was asked for, so that only single transactions are held against it.
    let single = (!listed && told.len() == 1).then_some(asked);
    Ok(told
        .into_iter()
        .map(|told| Statement::Found(told, single.clone()))
        .collect())
}

/// What the gateway told by itself.
fn webhook(row: &AuditedEvidence) -> Vec<Statement> {
    match gateway_body::read(&row.body) {
        GatewayBody::Transaction(Some(told)) if row.signed == Some(true) => {
            vec![Statement::Found(*told, None)]
        }
        _ => Vec::new(),
    }
}
