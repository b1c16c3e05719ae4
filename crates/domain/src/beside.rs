//! Failures that were found beside what our own request had named.

use crate::candidate::is_misnamed;
use crate::evidence::FoundBy;
use crate::summary::{DUPLICATE, Summary};
use crate::{Fact, Snapshot, StatusClass, TransactionRequest, Uid};
use std::collections::BTreeSet;

impl Summary {
    /// The failures that must not end this transaction, known or among these facts, and are not noted as such
    /// yet: found by tracking id alone, while our own request has named another. What it named and is another
    /// transaction's, or told of as a duplicate, is not what it made.
    pub fn found_beside(&self, opening: &TransactionRequest, facts: &[&Fact]) -> BTreeSet<Uid> {
        let mut named: BTreeSet<&Uid> = BTreeSet::new();
        let mut failed: BTreeSet<&Uid> = BTreeSet::new();
        let fails =
            |class: StatusClass| matches!(class, StatusClass::Failed | StatusClass::Expired);
        let clashed = |snapshot: &Snapshot| snapshot.code.as_deref() == Some(DUPLICATE);
        for (uid, candidate) in &self.candidates {
            let is_clash = candidate.latest.as_deref().is_some_and(clashed);
            let misnamed = self.misnamed.contains(uid) && !self.anothers.contains_key(uid);
            if candidate.bound || misnamed && !is_clash {
                named.insert(uid);
            } else if fails(candidate.class()) && !candidate.ever_succeeded() {
                failed.insert(uid);
            }
        }
        for fact in facts {
            match fact {
                Fact::TaskResult { snapshot, .. } | Fact::Answered { snapshot, .. }
                    if !clashed(snapshot) || !is_misnamed(opening, snapshot) =>
                {
                    named.insert(&snapshot.uid);
                }
                Fact::Seen {
                    snapshot,
                    found_by: FoundBy::TrackingId,
                } if fails(snapshot.class) && !is_misnamed(opening, snapshot) => {
                    failed.insert(&snapshot.uid);
                }
                _ => {}
            }
        }
        let others = |uid: &Uid| named.iter().any(|named| *named != uid);
        failed
            .into_iter()
            .filter(|uid| !named.contains(uid) && others(uid) && !self.beside.contains(*uid))
            .cloned()
            .collect()
    }
}
