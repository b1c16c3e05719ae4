//! One transaction of a batch: how it was found, what follows from it, and what is to be written.

use crate::ledger::observation::ChainLink;
use crate::observation::Observation;
use crate::store::{CheckRow, EvidenceWrite, StoredTransaction, batch as rows};
use domain::earlier::{RULES, Written};
use domain::fold::DerivedState;
use domain::schedule::{self, Course, Wishes};
use domain::{Summary, Timestamp, Verdict};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The transactions of a batch, locked or new.
#[derive(Default)]
pub(crate) struct BatchRows {
    // Boxed: rows are large, and a tree moves what it holds.
    pub(super) map: BTreeMap<Uuid, Box<BatchRow>>,
}

impl BatchRows {
    pub(crate) fn get(&self, id: Uuid) -> Option<&StoredTransaction> {
        self.map.get(&id).map(|row| &row.stored)
    }
}

/// One of them, and what this batch does with it.
pub(super) struct BatchRow {
    pub(super) stored: StoredTransaction,
    /// What follows from it, as it is now.
    pub(super) derived: DerivedState,
    pub(super) check: Option<CheckRow>,
    /// How its looks have gone, and what the next is for.
    pub(super) course: Course,
    /// What this batch wishes for the next look.
    pub(super) wished: Wishes,
    /// Where it lies; nowhere while it is new.
    pub(super) place: Option<rows::RowLocation>,
    /// Where its due check lies, if it has had one before this batch.
    pub(super) check_place: Option<rows::RowLocation>,
    pub(super) dirty: bool,
    /// Whether a request of it may have been waiting before this batch.
    pub(super) could_be_sent: bool,
    pub(super) write: Option<CheckDecision>,
}

/// What is to become of its due check.
#[derive(Clone)]
pub(super) enum CheckDecision {
    Put {
        due_at: Timestamp,
        lease: Option<Uuid>,
        again: bool,
    },
    Drop,
}

/// Whether its request may still have to be sent out of the database.
pub(super) fn may_be_sent(stored: &StoredTransaction, at: Timestamp) -> bool {
    schedule::may_be_sent(&stored.opening, &stored.summary, stored.state, at)
}

impl BatchRow {
    pub(super) fn new(stored: StoredTransaction) -> Self {
        Self {
            derived: stored.derived(),
            could_be_sent: may_be_sent(&stored, stored.record.updated_at),
            stored,
            check: None,
            course: Course::default(),
            wished: Wishes::default(),
            place: None,
            check_place: None,
            dirty: false,
            write: None,
        }
    }

    pub(super) fn locked(stored: StoredTransaction, place: rows::RowLocation) -> Self {
        Self {
            place: Some(place),
            ..Self::new(stored)
        }
    }

    /// Takes the joined evidence over, and what is derived from it.
    pub(super) fn accept(&mut self, summary: Summary, derived: &DerivedState, at: Timestamp) {
        self.derived = derived.clone();
        let stored = &mut self.stored;
        stored.summary = summary;
        if derived.state != stored.state {
            stored.state_since = at;
            stored.record.finalized_at = derived.state.is_final().then_some(at);
            stored.state = derived.state;
        }
        self.dirty = true;
    }

    pub(super) fn chain(
        &mut self,
        learned: &Observation,
        verdict: Verdict,
        at: Timestamp,
    ) -> EvidenceWrite {
        let stored = &mut self.stored;
        let position = stored.evidence_count + 1;
        let note = learned.sentence();
        let link = ChainLink {
            previous: &stored.evidence_head,
            id: learned.id,
            position,
            verdict,
            at,
            note: &note,
        };
        let chain = link.hash(learned);
        stored.evidence_count = position;
        stored.summary.written = Some(Written(RULES, position));
        stored.evidence_head = chain;
        EvidenceWrite {
            transaction_id: stored.record.id,
            id: learned.id,
            position,
            received_at: at,
            channel: learned.channel,
            verdict,
            http_status: learned.http_status,
            subject: learned.subject.clone(),
            signed: learned.signed,
            note,
            body: learned.body.clone(),
            body_sha256: learned.body_sha256,
            chain,
        }
    }
}
