//! Failures that were found beside something else that is, or may be, what our request has made.

use crate::fold::is_ended;
use crate::summary::{DUPLICATE, Summary};
use crate::{Fact, Snapshot, StatusClass, TransactionRequest, Uid};
use std::collections::{BTreeMap, BTreeSet};

impl Summary {
    /// The failures that must not end this transaction once these facts are joined, and are not noted as such yet:
    /// found by tracking id alone, while our own request has named another, or while others that may be ours as
    /// well have not ended (these come with it; none: our own request has named another). What our request named
    /// and is another transaction's, or told of as a duplicate, is not what it made.
    pub fn found_beside(
        &self,
        opening: &TransactionRequest,
        facts: &[&Fact],
    ) -> BTreeMap<Uid, BTreeSet<Uid>> {
        // Snapshots are large, and nearly every transaction knows of one alone.
        if !self.is_about_several(facts) || is_ended(opening, self) {
            return BTreeMap::new();
        }
        let mut told = self.clone();
        facts.iter().for_each(|fact| told.join(opening, fact));
        let named: BTreeSet<&Uid> = told
            .candidates
            .keys()
            .filter(|uid| told.names(uid))
            .collect();
        let mut found = BTreeMap::new();
        for (uid, _) in told
            .failures(opening)
            .filter(|(uid, _)| !named.contains(uid))
        {
            let open = |other: &&Uid| *other != uid && told.is_open(opening, other);
            let open: BTreeSet<Uid> = told.candidates.keys().filter(open).cloned().collect();
            let noted = told.beside_open.get(uid);
            let is_noted = noted.is_some_and(|noted| open.is_subset(noted));
            if told.beside.contains(uid) {
                continue;
            } else if !named.is_empty() {
                found.insert(uid.clone(), BTreeSet::new());
            } else if !open.is_empty() && !is_noted {
                found.insert(uid.clone(), open);
            }
        }
        found
    }

    /// Whether more than one of the gateway's transactions is known, or among these facts.
    fn is_about_several(&self, facts: &[&Fact]) -> bool {
        let told = facts.iter().filter_map(|fact| match fact {
            Fact::TaskResult { snapshot, .. }
            | Fact::Answered { snapshot, .. }
            | Fact::Seen { snapshot, .. }
            | Fact::Merged { snapshot, .. }
            | Fact::MismatchAccepted(snapshot) => Some(&snapshot.uid),
            _ => None,
        });
        let mut all = self.candidates.keys().chain(told);
        let first = all.next();
        all.any(|uid| Some(uid) != first)
    }

    /// Whether our own request, or a person, has named this one as what was made.
    fn names(&self, uid: &Uid) -> bool {
        let candidate = self.candidates.get(uid);
        let clashed = |snapshot: &Snapshot| snapshot.code.as_deref() == Some(DUPLICATE);
        candidate.is_some_and(|candidate| {
            let is_clash = candidate.latest.as_deref().is_some_and(clashed);
            let misnamed = self.misnamed.contains(uid) && !self.anothers.contains_key(uid);
            candidate.bound || misnamed && !is_clash
        })
    }

    /// Those that have failed, and may be ours by nothing but their tracking id.
    fn failures<'a>(
        &'a self,
        opening: &'a TransactionRequest,
    ) -> impl Iterator<Item = (&'a Uid, StatusClass)> {
        let all = self.candidates.iter();
        let failed = all.filter(|(_, candidate)| {
            let fails = matches!(
                candidate.class(),
                StatusClass::Failed | StatusClass::Expired
            );
            fails && !candidate.ever_succeeded() && self.is_eligible(opening, candidate)
        });
        failed.map(|(uid, candidate)| (uid, candidate.class()))
    }

    /// Whether this one may be ours, and has not ended.
    fn is_open(&self, opening: &TransactionRequest, uid: &Uid) -> bool {
        let candidate = self.candidates.get(uid);
        candidate.is_some_and(|candidate| {
            !candidate.class().is_final() && self.is_eligible(opening, candidate)
        })
    }

    /// Whether a failure of this one may be believed where nothing but its tracking id says that it is ours: some
    /// attempt is known to have ended in doubt, our own request had named no other, and what it was found beside
    /// has ended as well. What has ended stays so.
    pub(crate) fn believes_failure_of(&self, uid: &Uid) -> bool {
        let has_ended = |other: &Uid| {
            let candidate = self.candidates.get(other);
            let is_final = candidate.is_some_and(|candidate| candidate.class().is_final());
            is_final || self.anothers.contains_key(other)
        };
        self.has_unresolved_attempt()
            && !self.beside.contains(uid)
            && (self.beside_open.get(uid)).is_none_or(|others| others.iter().all(has_ended))
    }
}
