//! Whose a uid is: claimed by the first, given up by what was learned of from the gateway, and never taken
//! from another of ours.

use super::{Batch, CheckDecision, receive, snapshot_of};
use crate::ledger::route::gives_way;
use crate::ledger::{EvidenceTarget, LedgerCommand};
use crate::observation::Observation;
use domain::candidate::is_misnamed;
use domain::evidence::{Decision, FoundBy, Namer};
use domain::{Channel, Fact, Origin, Snapshot, State, Uid, Verdict};
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use uuid::Uuid;

/// Why the findings of one that is merged are closed.
pub(super) const MERGED: &str =
    "it turned out to be one of ours, and what does not fit is told there";

/// What a fact says of whose a uid is.
enum Word<'a> {
    /// It is ours, by our own request or by a person.
    Ours(Option<Namer>, &'a Snapshot),
    /// It was found.
    Found(&'a Snapshot),
}

fn word(fact: &Fact) -> Option<Word<'_>> {
    Some(match fact {
        Fact::TaskResult { task, snapshot } => {
            Word::Ours(Some(Namer::Task(task.clone())), snapshot)
        }
        Fact::Answered { attempt, snapshot } => {
            Word::Ours(Some(Namer::Attempt(*attempt)), snapshot)
        }
        Fact::Seen {
            snapshot,
            found_by: FoundBy::OwnTask,
        }
        | Fact::MismatchAccepted(snapshot) => Word::Ours(None, snapshot),
        Fact::Seen {
            snapshot,
            found_by: FoundBy::TrackingId,
        } => Word::Found(snapshot),
        _ => return None,
    })
}

impl Batch<'_> {
    /// Whether something is owned by one that has turned out to be another meanwhile.
    pub(super) fn routes_to_merged(&self) -> bool {
        self.routing.all_owners().any(|owner| {
            self.rows
                .get(owner)
                .is_some_and(|row| row.state == State::Merged)
        })
    }

    /// Notes what more than one of ours names in this batch and nobody of ours owns: it cannot be told
    /// whose it is, and neither ends on it.
    pub(super) fn note_named_at_once(&mut self, works: &[LedgerCommand]) {
        let mut first: HashMap<&Uid, Uuid> = HashMap::new();
        for work in works {
            let LedgerCommand::Record(record) = work else {
                continue;
            };
            let EvidenceTarget::Transaction(id) = record.target else {
                continue;
            };
            let Some(row) = self.rows.get(id) else {
                continue;
            };
            for fact in &record.observation.facts {
                let Some(Word::Ours(Some(_), snapshot)) = word(fact) else {
                    continue;
                };
                let owner = self.routing.owner(&snapshot.uid);
                let free = owner.is_none_or(|owner| gives_way(owner, &self.rows));
                if free
                    && !is_misnamed(&row.opening, snapshot)
                    && *first.entry(&snapshot.uid).or_insert(id) != id
                {
                    self.named_at_once.insert(snapshot.uid.clone());
                }
            }
        }
    }

    /// A fact as it counts for a transaction: a uid has one owner, whoever names it. What is found and is
    /// another's says nothing here; what our own request names and is another's is doubt.
    pub(super) fn as_it_counts<'f>(&self, id: Uuid, fact: Cow<'f, Fact>) -> Option<Cow<'f, Fact>> {
        if let Fact::Decided(decision) = &*fact {
            let uid = decision.uid.as_ref();
            let anothers = uid.is_some_and(|uid| self.routing.is_anothers(uid, id, &self.rows));
            let decision = anothers.then(|| Decision {
                uid: None,
                ..decision.clone()
            });
            return Some(decision.map_or(fact, |decision| Cow::Owned(Fact::Decided(decision))));
        }
        let (by, snapshot) = match word(&fact) {
            None => return Some(fact),
            Some(Word::Found(snapshot)) => {
                let anothers = self.routing.is_anothers(&snapshot.uid, id, &self.rows);
                return (!anothers).then_some(fact);
            }
            Some(Word::Ours(by, snapshot)) => (by, snapshot),
        };
        let at_once = by.is_some() && self.named_at_once.contains(&snapshot.uid);
        if at_once || self.routing.is_anothers(&snapshot.uid, id, &self.rows) {
            let snapshot = Box::new(snapshot.clone());
            return Some(Cow::Owned(Fact::Anothers { by, snapshot }));
        }
        Some(fact)
    }

    /// Keeps as evidence that a uid which was named as ours belongs to another: who was first is nowhere
    /// else said, and an auditor reads what was said from what is stored.
    pub(super) fn note_anothers(&mut self, id: Uuid, uid: &Uid) {
        let owner = self.routing.owner(uid);
        let act = json!({"uid": uid.as_str(), "owner": owner});
        let mut noted = Observation::local(Channel::Local, "anothers", &act, Vec::new());
        noted.note = Some(match owner {
            Some(owner) => format!("transaction {uid} belongs to ~{owner}, and is not bound here"),
            None => {
                format!("two of ours were named with transaction {uid} at once: neither is bound")
            }
        });
        self.join_facts(id, &noted, Vec::new(), Verdict::Applied);
    }

    /// Keeps as evidence which failures, known or among these facts, were found beside what our own request had
    /// named or what has still to end, before one of them can end the transaction. By the order of arrival alone
    /// nobody could tell later.
    pub(super) fn note_beside(&mut self, id: Uuid, facts: &[Cow<'_, Fact>], learned: &Observation) {
        let row = self.rows.get(id);
        let Some(row) = row.filter(|row| row.opening.origin == Origin::Api) else {
            return;
        };
        let answered_at = self.dated(learned);
        let counted = facts
            .iter()
            .filter_map(|fact| self.as_it_counts(id, Cow::Borrowed(&**fact)));
        let mut counted: Vec<Cow<'_, Fact>> = counted.collect();
        counted
            .iter_mut()
            .for_each(|fact| receive(fact, answered_at));
        let facts: Vec<&Fact> = counted.iter().map(AsRef::as_ref).collect();
        for (uid, open) in row.summary.found_beside(&row.opening, &facts) {
            let act = json!({ "uid": uid.as_str(), "open": &open });
            let fact = Fact::Beside { uid, open };
            let noted = Observation::local(Channel::Local, "beside", &act, vec![fact.clone()]);
            self.join(id, &noted, vec![Cow::Owned(fact)], Verdict::Applied);
        }
    }

    /// Notes the uids among these facts that are this transaction's from now on. Only those have been
    /// looked up before the batch locked anything.
    pub(super) fn note_claims(&mut self, id: Uuid, facts: &[Cow<'_, Fact>]) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let summary = &row.stored.summary;
        let ours = row.stored.opening.origin == Origin::Api;
        // What was told of before the first stamp becomes ours by it, if it is not too old. By a later one
        // nothing does: what it could claim was looked up when it was told of.
        let is_stamp = facts.iter().any(|f| matches!(**f, Fact::Stamped { .. }));
        let is_first = is_stamp && summary.stamped_attempts().len() == 1;
        let told_before = summary.candidates.keys().filter(|_| is_first);
        let eligible: Vec<Uid> = facts
            .iter()
            .filter_map(|fact| match &**fact {
                Fact::Decided(decision) => decision.uid.as_ref(),
                fact => snapshot_of(fact).map(|snapshot| &snapshot.uid),
            })
            .chain(told_before)
            .filter(|uid| {
                let candidate = summary.candidates.get(*uid);
                candidate.is_some_and(|c| summary.is_eligible(&row.stored.opening, c))
            })
            .cloned()
            .collect();
        for uid in eligible {
            match self.routing.owner(&uid) {
                None => self.routing.assign_uid(&uid, id),
                Some(owner) if owner != id && ours && gives_way(owner, &self.rows) => {
                    self.merge(owner, id, &uid);
                }
                Some(_) => {}
            }
        }
    }

    /// What was told of under the name of a transaction before its first stamp, and was bound to another of
    /// ours since: the stamp must not make it this one's as well.
    pub(super) fn told_of_anothers(&self, id: Uuid) -> Vec<Fact> {
        let row = self
            .rows
            .get(id)
            .filter(|row| row.summary.sent_at().is_none());
        let told = row.into_iter().flat_map(|row| &row.summary.candidates);
        let anothers = told
            .filter(|(uid, known)| !known.bound && self.routing.is_anothers(uid, id, &self.rows));
        let latest = anothers.filter_map(|(_, known)| known.latest.clone());
        latest
            .map(|snapshot| Fact::Anothers { by: None, snapshot })
            .collect()
    }

    /// One of origin `gateway` turned out to be one of ours. Its evidence stays where it is, ours gets what
    /// was known of it, and it ends.
    fn merge(&mut self, from: Uuid, into: Uuid, uid: &Uid) {
        let Some(other) = self.rows.get(from) else {
            return;
        };
        let known = other.summary.candidates.get(uid);
        let greatest = known.and_then(|candidate| candidate.latest.clone());
        self.routing.merge(from, into);
        let gone = Observation::local(
            Channel::Local,
            "merged",
            &json!({ "into": into }),
            vec![Fact::MergedInto { into }],
        );
        let facts = gone.facts.iter().map(Cow::Borrowed).collect();
        self.schedule(from, CheckDecision::Drop);
        self.join_facts(from, &gone, facts, Verdict::Applied);
        if let Some(snapshot) = greatest {
            let act = json!({ "from": from, "snapshot": &*snapshot });
            let fact = Fact::Merged { from, snapshot };
            let came = Observation::local(Channel::Local, "merged", &act, vec![fact]);
            let facts = came.facts.iter().map(Cow::Borrowed).collect();
            self.join_facts(into, &came, facts, Verdict::Applied);
        }
    }
}
