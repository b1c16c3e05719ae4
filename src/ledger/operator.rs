//! What a person does, as evidence: the same whether it comes over HTTP or from a terminal.
//!
//! What it deliberately cannot do: set a state. An act is evidence like any other, and the fold says
//! what it amounts to.

use super::{EvidenceTarget, Ledger, LedgerError, RecordEvidence};
use crate::observation::Observation;
use crate::store::StoredTransaction;
use domain::{Channel, Fact, Timestamp, Verdict};
use serde_json::{Value, json};
use uuid::Uuid;

/// An act of a person. Doing the same thing twice is two acts.
pub fn operator_observation(name: &str, told: &Value, facts: Vec<Fact>) -> Observation {
    let mut learned = Observation::local(Channel::Operator, name, told, facts);
    learned.id = Uuid::now_v7();
    learned
}

/// A person asks for a look at the gateway, which becomes due at once.
pub fn request_check(by: &str, at: Timestamp) -> Observation {
    let asked = json!({"by": by, "at": at.to_rfc3339()});
    let mut learned = operator_observation("check", &asked, Vec::new());
    learned.recheck_now = true;
    learned.wishes.by_name = true;
    learned.verdict = Some(Verdict::Hint);
    learned.note = Some(format!("{by} asked for a look at the gateway"));
    learned
}

impl Ledger {
    /// Records evidence about one transaction. Gives the transaction as it is then.
    pub async fn record_about(
        &self,
        stored: StoredTransaction,
        learned: Observation,
    ) -> Result<StoredTransaction, LedgerError> {
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(stored.record.id),
            observation: learned,
            lease: None,
            next_check: None,
        };
        let recorded = self.record(&stored.opening.shop, record).await?;
        Ok(recorded.transaction.map_or(stored, |now| *now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_act_twice_is_two_acts() {
        let told = json!({"by": "ops"});
        let (first, second) = (
            operator_observation("check", &told, vec![]),
            operator_observation("check", &told, vec![]),
        );
        assert_ne!(first.id, second.id);
        assert_eq!(first.body_sha256, second.body_sha256);
    }

    #[test]
    fn a_requested_check_is_due_at_once() {
        let learned = request_check("ops", Timestamp::from_micros(0));
        assert!(learned.recheck_now && learned.facts.is_empty());
        assert_eq!(learned.verdict, Some(Verdict::Hint));
    }
}
