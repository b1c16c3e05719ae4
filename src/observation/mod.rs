//! What the gateway said, and what we did, becomes an observation: one thing learned, as it may be kept,
//! and the facts in it. One place for all channels, and pure.
//!
//! What it deliberately cannot do: talk to the gateway, know HTTP listeners, or commit anything. An
//! observation is evidence once the ledger has committed it.

pub mod again;
pub mod query;
pub mod read;
pub mod submit;
pub mod webhook;

use crate::store::EvidenceRow;
use bytes::Bytes;
use domain::explain::describe_fact;
use domain::schedule::Wishes;
use domain::{Channel, DiscrepancyKind, Fact, Snapshot, Timestamp, Verdict};
use gateway::redact::redact;
use gateway::{GatewayResponse, ReceivedResponse, TrackingIdReading, read_by_tracking_id};
use leaves::clock::BootInstant;
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::{Builder, Uuid};
use words::Mention;

/// One thing learned.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Its id: made of the content where the same thing may be said again.
    pub id: Uuid,
    /// The way it came.
    pub channel: Channel,
    /// The HTTP status of an answer.
    pub http_status: Option<u16>,
    /// What was asked.
    pub subject: Option<String>,
    /// Whether the signature of a webhook held.
    pub signed: Option<bool>,
    /// What was said, redacted. Shared with what is written of it.
    pub body: Bytes,
    /// SHA-256 of the bytes as they were received.
    pub body_sha256: [u8; 32],
    /// How it is read.
    pub facts: Vec<Fact>,
    /// The parent that a chargeback's webhook carries along.
    pub parent: Option<Box<Snapshot>>,
    /// One sentence, where the facts say less than there is to say.
    pub note: Option<String>,
    /// The verdict where it does not follow from the facts (`hint`, `refused`).
    pub verdict: Option<Verdict>,
    /// A look at the gateway becomes due at once.
    pub recheck_now: bool,
    /// The gateway asked for such a pause before the next read.
    pub pause: Option<Duration>,
    /// What that look is for, beside what the state asks for.
    pub wishes: Wishes,
    /// One look asks more than once: the lease under which this was learned goes on.
    pub goes_on: bool,
    /// Something could not be understood: `unknown_body` is opened with this text.
    pub unknown: Option<String>,
    /// Why a person did it; goes into the findings that it closes.
    pub reason: Option<String>,
    /// When it was answered, on this machine's monotonic clock. It is dated by PostgreSQL's clock when it
    /// is recorded, less what has passed since; without this, when it is recorded.
    pub answered: Option<BootInstant>,
    /// Who did it, likewise.
    pub by: Option<String>,
    /// A finding that goes with it.
    pub finding: Option<(DiscrepancyKind, String)>,
    /// The gateway's transactions that this finding is about.
    pub mentions: Vec<Mention>,
    /// It tells of another transaction than the one that was asked for, and nothing of that one.
    pub strays: bool,
    /// It is kept already, and offered again: where it still belongs to nobody, nothing new is said.
    pub kept: bool,
    /// A transaction of the gateway in it that nobody here has is taken over.
    pub adopts: bool,
    /// What a webhook that belongs to nothing is kept as.
    pub orphan_kind: &'static str,
}

impl Observation {
    /// Something said by the gateway. Saying the same again gives the same id.
    pub fn from_gateway(
        channel: Channel,
        http_status: Option<u16>,
        subject: Option<String>,
        body: impl Into<Bytes>,
        body_sha256: [u8; 32],
        facts: Vec<Fact>,
    ) -> Self {
        let repeats = !facts.iter().any(|fact| matches!(fact, Fact::LookupEmpty));
        let id = if repeats {
            content_id(&[
                channel.as_str().as_bytes(),
                &http_status.unwrap_or(0).to_be_bytes(),
                subject.as_deref().unwrap_or("").as_bytes(),
                &body_sha256,
            ])
        } else {
            Uuid::now_v7()
        };
        Self {
            id,
            channel,
            http_status,
            subject,
            signed: None,
            body: body.into(),
            body_sha256,
            facts,
            parent: None,
            note: None,
            verdict: None,
            recheck_now: false,
            pause: None,
            wishes: Wishes::default(),
            goes_on: false,
            unknown: None,
            answered: None,
            finding: None,
            mentions: Vec::new(),
            reason: None,
            by: None,
            strays: false,
            kept: false,
            adopts: false,
            orphan_kind: "transaction",
        }
    }

    /// Notes whether a webhook's signature held. The same bytes without a signature are another piece
    /// of evidence: a hint that came first must not make the signed one a repetition.
    pub fn with_signature(mut self, held: bool) -> Self {
        self.signed = Some(held);
        if !held {
            self.id = content_id(&[self.id.as_bytes(), b"unsigned"]);
        }
        self
    }

    /// An act of our own or of a person. `body` is the act in JSON, so that an auditor can derive
    /// the state again from what is stored.
    pub fn local(channel: Channel, act: &str, body: &serde_json::Value, facts: Vec<Fact>) -> Self {
        let body = body.to_string().into_bytes();
        let sha256: [u8; 32] = Sha256::digest(&body).into();
        Self::from_gateway(channel, None, Some(act.to_owned()), body, sha256, facts)
    }

    /// One sentence about it.
    pub(crate) fn sentence(&self) -> String {
        let text = match &self.note {
            Some(note) => note.clone(),
            None if self.facts.is_empty() => describe_fact(&Fact::Nothing),
            None => self
                .facts
                .iter()
                .map(describe_fact)
                .collect::<Vec<_>>()
                .join("; "),
        };
        // PostgreSQL's text cannot hold NUL.
        text.replace('\0', "\u{FFFD}")
    }

    /// Whether it says anything of what was asked for, and not of the read or of something else alone.
    pub(crate) fn is_about_it(&self) -> bool {
        let mut facts = self.facts.iter();
        !self.strays && facts.any(|fact| !matches!(fact, Fact::Nothing))
    }

    /// Whether it is an answer to a question of ours.
    pub(crate) fn is_look(&self) -> bool {
        matches!(
            self.channel,
            Channel::TaskStatus | Channel::TaskResult | Channel::Query
        )
    }

    /// Whether it is what the look-ups after a refusal came to: they are this look's answers, and the next look
    /// goes their way.
    pub(crate) fn concludes_refusal(&self) -> bool {
        let mut facts = self.facts.iter();
        facts.any(|fact| matches!(fact, Fact::RefusalChecked { .. }))
    }

    /// Says in the subject, where an auditor reads it, that an attempt was not sent for this.
    pub(crate) fn withhold(&mut self, attempt: u32) {
        let subject = self.subject.take().unwrap_or_default();
        self.subject = Some(format!("{subject}, attempt {attempt}"));
    }

    /// As it will be read back, if it is dated so. It has no place in a chain yet.
    pub(crate) fn as_row(&self, at: Timestamp) -> EvidenceRow {
        EvidenceRow {
            id: self.id,
            position: 0,
            channel: self.channel,
            verdict: Verdict::NothingNew,
            received_at: at,
            http_status: self.http_status.map(i32::from),
            subject: self.subject.clone(),
            signed: self.signed,
            note: String::new(),
            body: self.body.to_vec(),
        }
    }

    /// The snapshots in it.
    pub(crate) fn snapshots(&self) -> impl Iterator<Item = &Snapshot> {
        self.facts.iter().filter_map(|fact| match fact {
            Fact::Seen { snapshot, .. }
            | Fact::Answered { snapshot, .. }
            | Fact::TaskResult { snapshot, .. }
            | Fact::MismatchAccepted(snapshot) => Some(&**snapshot),
            _ => None,
        })
    }
}

/// A UUID of version 8 over the parts' SHA-256.
pub(crate) fn content_id(parts: &[&[u8]]) -> Uuid {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest[..16]);
    Builder::from_custom_bytes(bytes).into_uuid()
}

/// An answer, as the readers take it. The time of receipt is put by the ledger.
pub(crate) fn received(answer: &GatewayResponse) -> ReceivedResponse<'_> {
    answer.received(Timestamp::END)
}

/// The transactions of a list that came where none was asked for, in words: somebody has to look at them.
pub(crate) fn listed(answer: &GatewayResponse) -> Option<String> {
    let TrackingIdReading::Found { snapshots, .. } = read_by_tracking_id(&received(answer)) else {
        return None;
    };
    let uids: Vec<&str> = snapshots.iter().map(|s| s.uid.as_str()).collect();
    Some(format!("a list of transactions: {}", uids.join(", ")))
}

/// An answer as an observation: its body redacted.
pub(crate) fn of_answer(
    answer: &GatewayResponse,
    channel: Channel,
    subject: &str,
    facts: Vec<Fact>,
) -> Observation {
    Observation::from_gateway(
        channel,
        Some(answer.status),
        Some(subject.to_owned()),
        redact(&answer.body).bytes.to_vec(),
        answer.sha256,
        facts,
    )
}
