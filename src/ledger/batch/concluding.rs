//! When a thing was answered, and which conclusions of ours may still be recorded.

use super::Batch;
use crate::ledger::RecordEvidence;
use crate::observation::Observation;
use domain::{Fact, State, Timestamp};
use uuid::Uuid;

impl Batch<'_> {
    /// When it was answered: this batch's time less what had passed since then when the batch began.
    /// While the database is away answers wait, and what was answered together is not taken to lie apart.
    pub(super) fn dated(&self, learned: &Observation) -> Timestamp {
        let passed = learned
            .answered
            .map(|answered| self.started.duration_since(answered));
        self.at.minus(passed.unwrap_or_default())
    }

    /// Whether a conclusion of ours may be recorded. Evidence always may. A proof is an act: it takes the
    /// lease under which it was reached, the doubt that it ends, and that no later attempt was stamped.
    pub(super) fn may_conclude(&self, record: &RecordEvidence, id: Uuid) -> bool {
        let facts = &record.observation.facts;
        let acts: Vec<&Fact> = facts
            .iter()
            .filter(|fact| matches!(fact, Fact::AbsenceProved(_) | Fact::RefusalChecked { .. }))
            .collect();
        if acts.is_empty() {
            return true;
        }
        let Some(row) = self.rows.map.get(&id) else {
            return true;
        };
        let is_held = record.lease.is_some() && record.lease == self.live_lease(id);
        let summary = &row.stored.summary;
        let stamped = summary.stamped_attempts();
        let is_open = |fact: &&Fact| match fact {
            Fact::AbsenceProved(proof) => {
                row.derived.state == State::InDoubt
                    && row.derived.uid.is_none()
                    && stamped.iter().all(|number| proof.attempts.contains(number))
            }
            Fact::RefusalChecked { task, .. } => {
                let asked = summary.refusal_in_question();
                asked.is_some_and(|(asked, ..)| asked == *task)
            }
            _ => true,
        };
        is_held && acts.iter().all(is_open)
    }
}
