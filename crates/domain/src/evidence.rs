//! One thing learned, by one channel, and how it is read.

use crate::earlier::EarlierEnd;
use crate::snapshot::hex_bytes;
use crate::{Snapshot, SnapshotKey, State, TaskId, Timestamp, Uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use uuid::Uuid;
use words::words;

/// How a body without a uid is to be taken, when it answers a submit or is a task's own result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RefusalKind {
    /// Nothing can be concluded.
    #[serde(rename = "doubt")]
    Doubt,
    /// `E.1018`: the gateway takes it for a duplicate; ours or another's is not known.
    #[serde(rename = "duplicate")]
    Duplicate,
    /// A documented refusal before processing.
    #[serde(rename = "rejected")]
    Rejected,
}

/// A refusal, with what it said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refusal {
    /// How it is to be taken.
    pub kind: RefusalKind,
    /// The gateway's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The gateway's text, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The gateway's text for the payer, redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub friendly_message: Option<String>,
    /// The HTTP status that it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
}

/// A person's decision on a transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Decision {
    /// When it was taken.
    pub at: Timestamp,
    /// Breaks ties between decisions of the same moment.
    pub id: Uuid,
    /// The state decided: any final one, or `in_doubt`.
    pub state: State,
    /// The greatest snapshot known then; a greater one outranks the decision.
    pub basis: Option<SnapshotKey>,
    /// The API client that decided.
    pub by: String,
    /// Why.
    pub reason: String,
    /// The gateway's transaction that it names as this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
}

/// A recorded proof that the gateway has no such transaction.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AbsenceProof {
    /// When the proof was complete.
    pub at: Timestamp,
    /// The evidence ids of the empty look-ups.
    pub lookups: Vec<Uuid>,
    /// The proof of an `E.1018` that was no duplicate of ours: the end is `rejected`.
    pub duplicate: bool,
    /// The attempts that it covers. Earlier releases named none: theirs cover what was stamped before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<u32>,
}

words! {
    /// What came of the look-ups that follow a refusal which a task told.
    RefusalCheck {
        /// None of them was answered with an empty list within the time for that.
        Overdue = "overdue",
        /// All of them failed, up to the horizon; the refusal has a code of the table.
        LookupsFailed = "lookups_failed",
        /// A look-up cannot show such a transaction at this shop, so that none was made.
        CannotBeShown = "cannot_be_shown",
        /// One of them found nothing.
        FoundNothing = "found_nothing",
    }
}

/// How a snapshot was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FoundBy {
    /// It is ours as it is: taken over, or found by the look-up before a submit.
    OwnTask,
    /// By a tracking id, in a look-up or a signed webhook: it may be somebody else's.
    TrackingId,
}

/// What of ours named a transaction of the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namer {
    /// The answer to an attempt.
    Attempt(u32),
    /// The result of a task.
    Task(TaskId),
}

/// Evidence as the fold reads it. One body may hold several facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// We are about to send. Candidates found by tracking id must not be older than `not_before`.
    Stamped {
        /// Counts from 1.
        attempt: u32,
        /// When, by PostgreSQL's clock.
        at: Timestamp,
        /// `at` less the tolerance between the gateway's clock and ours.
        not_before: Timestamp,
        /// A replay under the same `RequestID` of something in doubt.
        replay: bool,
    },
    /// No byte of this attempt left us.
    NotSent {
        /// Which attempt.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// A person insists: it is sent although its parent has not that much left, or is not known.
    Forced,
    /// We try no more: whatever was stamped up to this attempt (0: nothing was) is all that there is.
    GivenUp {
        /// The last attempt when it was given up.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// The gateway said that it did not process this attempt (429); not before `until`.
    Deferred {
        /// Which attempt.
        attempt: u32,
        /// When it may be tried again.
        until: Timestamp,
    },
    /// No answer came to this attempt, or one that says nothing; bytes may have left.
    WentSilent {
        /// Which attempt.
        attempt: u32,
        /// What happened.
        reason: String,
    },
    /// The submit was answered with a task.
    Acknowledged {
        /// Which attempt.
        attempt: u32,
        /// The task.
        task: TaskId,
        /// When we read the answer.
        at: Timestamp,
    },
    /// The submit was refused.
    Refused {
        /// Which attempt.
        attempt: u32,
        /// How.
        refusal: Refusal,
        /// When we read the answer.
        at: Timestamp,
    },
    /// The task runs, or has completed without saying how.
    TaskAlive {
        /// Which task.
        task: TaskId,
    },
    /// The gateway does not know the task (any more).
    TaskUnknown {
        /// Which task.
        task: TaskId,
    },
    /// The task is past the time for which the gateway keeps it.
    TaskOutlived {
        /// Which task.
        task: TaskId,
    },
    /// The task itself produced an error.
    TaskRefused {
        /// Which task.
        task: TaskId,
        /// How it is to be taken.
        refusal: Refusal,
        /// When we read the answer.
        at: Timestamp,
    },
    /// What the look-ups after a task's refusal came to.
    RefusalChecked {
        /// Which task.
        task: TaskId,
        /// What they came to.
        check: RefusalCheck,
    },
    /// The task's result is a transaction: it is ours, unless it bears a name that is not.
    TaskResult {
        /// Which task.
        task: TaskId,
        /// The transaction.
        snapshot: Box<Snapshot>,
    },
    /// The submit was answered with a transaction: it is ours, like a task's result.
    Answered {
        /// Which attempt.
        attempt: u32,
        /// The transaction.
        snapshot: Box<Snapshot>,
    },
    /// Our own request, or a person, named a transaction that belongs to another of ours: it is bound to
    /// nothing here, and leaves doubt.
    Anothers {
        /// Whose word it was; `None` where it was no answer to our own request.
        by: Option<Namer>,
        /// The transaction.
        snapshot: Box<Snapshot>,
    },
    /// One of origin `gateway` turned out to be this one: what was known of it.
    Merged {
        /// The other, by our id.
        from: Uuid,
        /// Its greatest snapshot.
        snapshot: Box<Snapshot>,
    },
    /// This one, of origin `gateway`, turned out to be another.
    MergedInto {
        /// The other, by our id.
        into: Uuid,
    },
    /// A transaction was seen.
    Seen {
        /// The transaction.
        snapshot: Box<Snapshot>,
        /// How it was found.
        found_by: FoundBy,
    },
    /// A transaction that could belong to more than one of ours; it moves nothing by itself.
    Contested {
        /// Its description.
        snapshot: Box<Snapshot>,
    },
    /// A failure that was found by tracking id alone while our own request had named another transaction, or
    /// while others that may be ours as well had not ended: it says nothing of what became of ours. Recorded
    /// before the failure can end anything, so that no end is ever taken back by it.
    Beside {
        /// The one that failed.
        uid: Uid,
        /// Those that had not ended; none: our own request had named another.
        open: BTreeSet<Uid>,
    },
    /// The gateway answered 404 to a look-up of this uid.
    UidMissing {
        /// Which uid.
        uid: Uid,
    },
    /// A look-up by tracking id found nothing; counted by the proof of absence.
    LookupEmpty,
    /// After a restore it cannot be told whether the gateway has it already: it is held back, and not sent.
    Held {
        /// When that was found.
        at: Timestamp,
        /// Why.
        reason: String,
    },
    /// A person releases what was held back.
    Released {
        /// When.
        at: Timestamp,
    },
    /// An earlier release has ended it, and its rules were others.
    DecidedBefore(Box<EarlierEnd>),
    /// What came says nothing about the transaction (a failed read, a hint, an unknown body).
    Nothing,
    /// Absence was proved.
    AbsenceProved(AbsenceProof),
    /// A person decided.
    Decided(Decision),
    /// A person accepts that this snapshot differs from what was asked.
    MismatchAccepted(Box<Snapshot>),
}

/// SHA-256 of a body as it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BodyHash(#[serde(with = "hex_bytes")] pub [u8; 32]);
