//! What a read told, as evidence.

use crate::observation::{Observation, listed, of_answer, received};
use domain::evidence::FoundBy;
use domain::{Channel, Fact, Snapshot, TaskId, Timestamp, TransactionType, Uid, Verdict};
use gateway::{
    GatewayResponse, TaskEndpoint, TaskReading, TrackingIdReading, UidReading, read_by_tracking_id,
    read_by_uid, read_task_of,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Ends the subject of an answer that is not whole. No tracking id and no number of an attempt ends so.
pub(crate) const CUT_OFF: &str = ", cut off";

/// A look to which there was no answer at all. Kept once, however often that was so.
pub(crate) fn unanswered(channel: Channel, subject: &str) -> Observation {
    let (subject, sha256) = (Some(subject.to_owned()), Sha256::digest(b"").into());
    let mut learned =
        Observation::from_gateway(channel, None, subject, Vec::new(), sha256, Vec::new());
    learned.verdict = Some(Verdict::Refused);
    learned.note = Some("no answer came; that says nothing of the transaction".to_owned());
    learned
}

/// Reads an answer about the task of a request of this kind as evidence.
pub(crate) fn observe_task_read(
    answer: &GatewayResponse,
    which: TaskEndpoint,
    task: &TaskId,
    asked: TransactionType,
) -> Observation {
    let channel = match which {
        TaskEndpoint::Status => Channel::TaskStatus,
        TaskEndpoint::Result => Channel::TaskResult,
    };
    let task_id = task.clone();
    let mut retry = None;
    let mut unknown = None;
    let mut about_read = None;
    let facts = match read_task_of(Some(asked), &received(answer), which) {
        TaskReading::Running | TaskReading::Completed => vec![Fact::TaskAlive { task: task_id }],
        TaskReading::Transaction(snapshot) => vec![Fact::TaskResult {
            task: task_id,
            snapshot,
        }],
        TaskReading::Unknown => vec![Fact::TaskUnknown { task: task_id }],
        // The ledger puts the time of receipt, here and at other refusals.
        TaskReading::Refused(refusal) => vec![Fact::TaskRefused {
            task: task_id,
            refusal,
            at: Timestamp::END,
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
            let what =
                listed(answer).unwrap_or_else(|| "something that is no transaction".to_owned());
            unknown = Some(format!("the task gave {what}"));
            Vec::new()
        }
        TaskReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    let mut learned = of_answer(answer, channel, task.as_str(), facts);
    // Each word that the task exists is kept, in the same words too: the last one is a sign of life, from
    // which a proof of absence counts.
    if let [Fact::TaskAlive { .. }] = learned.facts.as_slice() {
        learned.id = Uuid::now_v7();
    }
    let about_read =
        about_read.map(|reason| format!("the answer is about the read and not the task: {reason}"));
    describe(&mut learned, about_read, unknown);
    learned.pause = retry;
    learned
}

/// Reads the answer to a look-up by uid as evidence.
pub(crate) fn observe_uid_lookup(answer: &GatewayResponse, uid: &Uid) -> Observation {
    let mut retry = None;
    let mut unknown = None;
    let mut refused = None;
    let facts = match read_by_uid(&received(answer), uid) {
        UidReading::Found(snapshot) => {
            vec![Fact::Seen {
                snapshot,
                found_by: FoundBy::TrackingId,
            }]
        }
        UidReading::Another(snapshot) => return read_another(answer, uid, snapshot),
        UidReading::Missing => vec![Fact::UidMissing { uid: uid.clone() }],
        UidReading::NotAbout {
            reason,
            retry_after,
        } => {
            retry = retry_after;
            refused = Some(failed(reason));
            Vec::new()
        }
        UidReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    let mut learned = of_answer(answer, Channel::Query, uid.as_str(), facts);
    describe(&mut learned, refused, unknown);
    learned.pause = retry;
    learned
}

/// A look-up by uid that was answered with another transaction: that one is offered to whoever it belongs to.
/// The subject says so, where an auditor reads it.
pub(crate) fn read_another(
    answer: &GatewayResponse,
    uid: &Uid,
    snapshot: Box<Snapshot>,
) -> Observation {
    let unknown = format!(
        "a look-up of {uid} was answered with another transaction, {}",
        snapshot.uid
    );
    let fact = Fact::Seen {
        snapshot,
        found_by: FoundBy::TrackingId,
    };
    let subject = format!("{uid}, another");
    let mut learned = of_answer(answer, Channel::Query, &subject, vec![fact]);
    learned.strays = true;
    // Whoever made it, it is there.
    learned.adopts = true;
    learned.orphan_kind = "queried";
    describe(&mut learned, None, Some(unknown));
    learned
}

/// The words of a look-up that failed.
fn failed(reason: String) -> String {
    format!("the look-up failed, and says nothing of the transaction: {reason}")
}

/// Notes why an answer tells nothing: `refused` is about the read itself, `unknown` was not
/// understood.
fn describe(learned: &mut Observation, refused: Option<String>, unknown: Option<String>) {
    if let Some(note) = refused {
        learned.verdict = Some(Verdict::Refused);
        learned.note = Some(note);
    }
    if let Some(reason) = unknown {
        learned.note = Some(format!("the answer could not be understood: {reason}"));
        learned.unknown = Some(reason);
    }
}

/// Reads the answer to a look-up by tracking id as evidence. Each such look-up is kept, since empty
/// ones count towards a proof.
pub(crate) fn observe_lookup(answer: &GatewayResponse, name: &str) -> Observation {
    let mut retry = None;
    let mut unknown = None;
    let mut refused = None;
    let facts = match read_by_tracking_id(&received(answer)) {
        TrackingIdReading::Found {
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
        TrackingIdReading::Empty => vec![Fact::LookupEmpty],
        TrackingIdReading::NotAbout {
            reason,
            retry_after,
        } => {
            retry = retry_after;
            refused = Some(failed(reason));
            Vec::new()
        }
        TrackingIdReading::Unreadable { reason } => {
            unknown = Some(reason);
            Vec::new()
        }
    };
    // Who reads it again from what is stored must see that it is no whole list.
    let subject = if answer.truncated {
        format!("{name}{CUT_OFF}")
    } else {
        name.to_owned()
    };
    let mut learned = of_answer(answer, Channel::Query, &subject, facts);
    learned.id = Uuid::now_v7();
    describe(&mut learned, refused, unknown);
    learned.pause = retry;
    learned
}
