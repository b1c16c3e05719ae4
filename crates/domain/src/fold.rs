//! State is a fold of evidence, and order does not matter.
//!
//! The fold is built so that it cannot depend on order: each fact is joined into a [`Summary`], and
//! every join is a maximum, a union or an "ever seen" (commutative, associative, idempotent). The
//! state is then derived from the summary alone by [`derive()`].
//!
//! Finality is monotone for the same reason: whether a transaction is final on a snapshot is a
//! statement of the form "there is a candidate such that …", and no fact ever takes away from what
//! such a statement reads. `docs/adr/0002-the-fold-is-a-join.md` tells which corners that closed.

pub use crate::candidate::{Candidate, MatchingSnapshot, Mismatch};
pub use crate::summary::{Attempt, Summary, Task};

use crate::evidence::{AbsenceProof, Decision};
use crate::{
    Origin, Refusal, RefusalKind, Snapshot, SnapshotKey, State, StatusClass, TaskId, Timestamp,
    TransactionRequest, Uid,
};
use std::cmp::Reverse;
use uuid::Uuid;

/// The state that the evidence amounts to, and what it rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedState {
    /// The state.
    pub state: State,
    /// What it rests on.
    pub basis: StateBasis,
    /// The adopted transaction of the gateway, if there is one.
    pub uid: Option<Uid>,
}

/// What a state rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateBasis {
    /// Nothing but the opening and our own attempts.
    Attempts,
    /// A running task.
    Task(TaskId),
    /// A refusal by the gateway.
    Refusal(Refusal),
    /// A snapshot of the adopted transaction, by its key.
    Snapshot(SnapshotKey),
    /// The greatest snapshot of the adopted transaction, which is not what was asked for: it waits
    /// for a person, or for a greater one that agrees.
    Differs(SnapshotKey),
    /// A proof of absence.
    Absence,
    /// A person's decision.
    Operator,
    /// It is this other one, by our id.
    Merged(Uuid),
    /// It ended so by the rules of an earlier release; by those of now it would be in this state.
    EarlierRules(State),
}

/// What speaks for a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is another.
    Merged,
    /// A person.
    Decided,
    /// A snapshot that ends it.
    Ended,
    /// None of these.
    Open,
}

/// What the rules say.
pub(crate) type Ruled = (DerivedState, Standing);

/// Derives the state. Total: every summary has exactly one.
pub fn derive(opening: &TransactionRequest, summary: &Summary) -> DerivedState {
    let ruled = by_rules(opening, summary);
    match &summary.earlier {
        Some(end) => end.stand(opening, summary, ruled),
        None => ruled.0,
    }
}

/// The same without what an earlier release has decided.
pub(crate) fn by_rules(opening: &TransactionRequest, summary: &Summary) -> Ruled {
    if let (Origin::Gateway, Some(into)) = (opening.origin, summary.merged_into) {
        let merged = DerivedState {
            state: State::Merged,
            basis: StateBasis::Merged(into),
            uid: None,
        };
        return (merged, Standing::Merged);
    }
    let fates = fates(summary);
    let adopted = adopt(opening, summary, &fates);
    let rests_on_final = adopted.as_ref().is_some_and(|a| a.is_final);
    let uid = adopted.as_ref().map(|a| a.candidate.0.clone());
    if let Some(decision) = holding_decision(opening, summary, rests_on_final) {
        let decided = decide(opening, summary, decision, uid);
        return (decided, Standing::Decided);
    }
    let standing = if rests_on_final {
        Standing::Ended
    } else {
        Standing::Open
    };
    let derived = match adopted {
        Some(adopted) => DerivedState {
            state: adopted.state(),
            basis: adopted.basis(),
            uid,
        },
        None => presume(opening, summary, &fates),
    };
    (derived, standing)
}

/// The decision that counts: the latest, while no snapshot greater than its basis is known. A
/// decision for doubt cannot reopen what a final snapshot has closed, and that nothing was sent says
/// nothing of what was stamped afterwards.
fn holding_decision<'a>(
    opening: &TransactionRequest,
    summary: &'a Summary,
    rests_on_final: bool,
) -> Option<&'a Decision> {
    let decision = summary.decision.as_ref()?;
    let known = summary.greatest_key(opening);
    let outranked = known.map(SnapshotKey::says) > decision.basis.map(SnapshotKey::says);
    let reopens = decision.state == State::InDoubt && rests_on_final;
    let overtaken = decision.state == State::NotSent && summary.sent_at() > Some(decision.at);
    (!outranked && !reopens && !overtaken).then_some(decision)
}

fn decide(
    opening: &TransactionRequest,
    summary: &Summary,
    decision: &Decision,
    uid: Option<Uid>,
) -> DerivedState {
    // Doubt decided by a person ends like any other doubt: by a proof that came after it. What a
    // known transaction of the gateway contradicts is no proof.
    let absence = summary.absence.as_ref();
    let later = proof(opening, summary, absence).filter(|p| p.at > decision.at);
    if decision.state == State::InDoubt && uid.is_none() && later.is_some() {
        return DerivedState {
            state: State::NotFound,
            basis: StateBasis::Absence,
            uid,
        };
    }
    DerivedState {
        state: decision.state,
        basis: StateBasis::Operator,
        uid,
    }
}

struct Adopted<'a> {
    candidate: (&'a Uid, &'a Candidate),
    is_final: bool,
}

impl Adopted<'_> {
    fn state(&self) -> State {
        match (self.is_final, self.candidate.1.class()) {
            (true, StatusClass::Successful) => State::Successful,
            (true, StatusClass::Failed) => State::Failed,
            (true, StatusClass::Expired) => State::Expired,
            (true, StatusClass::Pending | StatusClass::Other) | (false, _) => State::Pending,
        }
    }

    fn basis(&self) -> StateBasis {
        let candidate = self.candidate.1;
        match candidate.latest.as_deref().map(Snapshot::key) {
            Some(latest) if !self.is_final && candidate.differs() => StateBasis::Differs(latest),
            _ => candidate
                .best_snapshot()
                .map_or(StateBasis::Attempts, |s| StateBasis::Snapshot(s.key())),
        }
    }
}

/// Chooses among the candidates. Those that end the transaction come first, so that finality is
/// monotone; then what our own task named; then success; then the earlier; then the smaller uid.
///
/// A failure found by tracking id alone ends it only once some attempt of ours is known to have
/// ended in doubt and it was not found beside what our own request had named or another that has still to end,
/// or when the same one had succeeded before. Until then it is adopted as not final while something of ours is on
/// its way, and not at all when nothing ever left us.
fn adopt<'a>(
    opening: &TransactionRequest,
    summary: &'a Summary,
    fates: &[(u32, AttemptOutcome)],
) -> Option<Adopted<'a>> {
    let on_its_way = fates.iter().any(|(_, fate)| {
        matches!(
            fate,
            AttemptOutcome::Running(_) | AttemptOutcome::Submitting
        )
    });
    summary
        .candidates
        .iter()
        .filter(|(_, candidate)| summary.is_eligible(opening, candidate))
        .filter_map(|(uid, candidate)| {
            let class = candidate.class();
            let believed =
                candidate.bound || candidate.ever_succeeded() || summary.believes_failure_of(uid);
            if class.is_final() && !believed && !on_its_way {
                return None;
            }
            let is_final = class.is_final() && believed;
            let preference = match class {
                StatusClass::Successful => 2,
                StatusClass::Pending | StatusClass::Other => 1,
                StatusClass::Failed | StatusClass::Expired => 0,
            };
            let created = candidate.best_snapshot().and_then(|s| s.created_at);
            let rank = (
                is_final,
                candidate.bound,
                preference,
                Reverse(created),
                Reverse(uid),
            );
            Some((
                rank,
                Adopted {
                    candidate: (uid, candidate),
                    is_final,
                },
            ))
        })
        .max_by(|(a, _), (b, _)| a.cmp(b))
        .map(|(_, adopted)| adopted)
}

/// Whether a snapshot ends it, whatever a person has decided.
pub(crate) fn is_ended(opening: &TransactionRequest, summary: &Summary) -> bool {
    let adopted = adopt(opening, summary, &fates(summary));
    adopted.is_some_and(|adopted| adopted.is_final)
}

/// What one attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum AttemptOutcome {
    Running(TaskId),
    Rejected(Refusal),
    /// Refused by its task, and no look-up has followed yet.
    Unconfirmed(TaskId, Refusal),
    /// Refused by its task, and no look-up could tell in time whether there is nothing.
    Overdue(TaskId, Refusal),
    Duplicate(Refusal),
    Doubt(Option<Refusal>),
    Submitting,
    NotSent,
    Deferred,
}

impl AttemptOutcome {
    /// Bytes of it may have been processed, or may still be.
    const fn is_live(&self) -> bool {
        !matches!(self, Self::NotSent | Self::Deferred)
    }
}

/// The state when no snapshot speaks. Beside what could be ours, a refusal may not be the whole truth.
fn presume(
    opening: &TransactionRequest,
    summary: &Summary,
    fates: &[(u32, AttemptOutcome)],
) -> DerivedState {
    let bare = |state, basis| DerivedState {
        state,
        basis,
        uid: None,
    };
    let live: Vec<&AttemptOutcome> = fates
        .iter()
        .map(|(_, fate)| fate)
        .filter(|f| f.is_live())
        .collect();
    // What was told as not found stays so, whatever becomes known of the attempts that it covers.
    let absent = proof(opening, summary, summary.absence.as_ref()).is_some();
    if live.is_empty() && summary.is_proved_absent() {
        return bare(State::NotFound, StateBasis::Absence);
    }
    if live.is_empty() {
        let unsent = (opening.card_data && !fates.is_empty()) || summary.gave_up().is_some();
        let state = if unsent {
            State::NotSent
        } else {
            State::Accepted
        };
        return bare(state, StateBasis::Attempts);
    }
    let no_duplicate = proof(opening, summary, summary.no_duplicate.as_ref()).is_some();
    if let ([AttemptOutcome::Duplicate(refusal)], true) = (live.as_slice(), no_duplicate) {
        return bare(State::Rejected, StateBasis::Refusal(refusal.clone()));
    }
    if absent {
        return bare(State::NotFound, StateBasis::Absence);
    }
    let running = live.iter().rev().find_map(|fate| match fate {
        AttemptOutcome::Running(task) => Some(task.clone()),
        _ => None,
    });
    if let Some(task) = running {
        return bare(State::Processing, StateBasis::Task(task));
    }
    if live.contains(&&AttemptOutcome::Submitting) {
        return bare(State::Submitting, StateBasis::Attempts);
    }
    let rejected = live.iter().try_fold(None, |_, fate| match fate {
        AttemptOutcome::Rejected(refusal) => Some(Some(refusal.clone())),
        _ => None,
    });
    let believed = rejected.filter(|_| !summary.hinders_no_duplicate(opening));
    if let Some(Some(refusal)) = believed {
        return bare(State::Rejected, StateBasis::Refusal(refusal));
    }
    if let Some(AttemptOutcome::Unconfirmed(_, refusal)) = in_question(&live) {
        return bare(State::Processing, StateBasis::Refusal(refusal.clone()));
    }
    let said = refusal_in_doubt(&live);
    bare(
        State::InDoubt,
        said.map_or(StateBasis::Attempts, StateBasis::Refusal),
    )
}

/// The refusal that a state of doubt quotes.
fn refusal_in_doubt(live: &[&AttemptOutcome]) -> Option<Refusal> {
    match live {
        [AttemptOutcome::Duplicate(refusal)] => Some(refusal.clone()),
        // Beside other attempts, or for a replay, no answer tells more than doubt.
        _ => live.iter().rev().find_map(|fate| match fate {
            AttemptOutcome::Duplicate(refusal)
            | AttemptOutcome::Rejected(refusal)
            | AttemptOutcome::Unconfirmed(_, refusal)
            | AttemptOutcome::Overdue(_, refusal)
            | AttemptOutcome::Doubt(Some(refusal)) => Some(Refusal {
                kind: RefusalKind::Doubt,
                ..refusal.clone()
            }),
            _ => None,
        }),
    }
}

/// The refusal that look-ups have still to confirm, where it decides: everything that may have been
/// processed was refused. One that is not overdue comes first.
fn in_question<'a>(live: &[&'a AttemptOutcome]) -> Option<&'a AttemptOutcome> {
    let refused = |fate: &&AttemptOutcome| {
        let refused = matches!(
            fate,
            AttemptOutcome::Rejected(_)
                | AttemptOutcome::Unconfirmed(..)
                | AttemptOutcome::Overdue(..)
        );
        !refused
    };
    if live.iter().any(refused) {
        return None;
    }
    let find = |overdue: bool| {
        live.iter().rev().find(move |fate| match fate {
            AttemptOutcome::Unconfirmed(..) => !overdue,
            AttemptOutcome::Overdue(..) => overdue,
            _ => false,
        })
    };
    find(true).or_else(|| find(false)).copied()
}

/// A proof counts for the attempts that it covers, and not beside a transaction of the gateway that could be
/// ours: see [`Summary::hinders_absence`].
fn proof<'a>(
    opening: &TransactionRequest,
    summary: &Summary,
    proof: Option<&'a AbsenceProof>,
) -> Option<&'a AbsenceProof> {
    proof
        .filter(|proof| summary.is_covered_by(proof))
        .filter(|proof| {
            !if proof.duplicate {
                summary.hinders_no_duplicate(opening)
            } else {
                summary.hinders_absence(opening)
            }
        })
}

fn fates(summary: &Summary) -> Vec<(u32, AttemptOutcome)> {
    summary
        .attempts
        .iter()
        .map(|(n, attempt)| (*n, fate(summary, *n, attempt)))
        .collect()
}

/// Positive evidence first: a task, a refusal, "nothing left", and only then silence.
fn fate(summary: &Summary, number: u32, attempt: &Attempt) -> AttemptOutcome {
    let tasks = || {
        summary
            .tasks
            .iter()
            .filter(move |(_, t)| t.attempt == number)
    };
    if let Some((id, _)) = tasks().find(|(_, task)| task.is_running()) {
        return AttemptOutcome::Running(id.clone());
    }
    let refusals = tasks()
        .filter_map(|(_, t)| t.refused.as_ref())
        .chain(&attempt.refused);
    if let Some(refusal) = refusals.max() {
        return match refusal.kind {
            RefusalKind::Rejected if !attempt.replay => rejection(refusal, attempt, tasks()),
            RefusalKind::Duplicate if !attempt.replay => AttemptOutcome::Duplicate(refusal.clone()),
            RefusalKind::Rejected | RefusalKind::Duplicate | RefusalKind::Doubt => {
                AttemptOutcome::Doubt(Some(refusal.clone()))
            }
        };
    }
    if tasks().next().is_some() {
        return AttemptOutcome::Doubt(None);
    }
    if attempt.not_sent.is_some() {
        return AttemptOutcome::NotSent;
    }
    if attempt.deferred.is_some() {
        return AttemptOutcome::Deferred;
    }
    if attempt.silent.is_some() {
        return AttemptOutcome::Doubt(None);
    }
    AttemptOutcome::Submitting
}

/// A documented refusal ends an attempt at once when it answers the submit. One that a task told waits
/// for a look-up that finds nothing.
fn rejection<'a>(
    refusal: &Refusal,
    attempt: &Attempt,
    tasks: impl Iterator<Item = (&'a TaskId, &'a Task)>,
) -> AttemptOutcome {
    let is_documented = |refused: &Option<Refusal>| {
        let refused = refused.as_ref();
        refused.is_some_and(|refused| refused.kind == RefusalKind::Rejected)
    };
    let told = tasks.filter(|(_, task)| is_documented(&task.refused));
    let told: Vec<(&TaskId, &Task)> = told.collect();
    let by_submit = is_documented(&attempt.refused);
    if by_submit || told.iter().any(|(_, task)| task.is_refusal_settled()) {
        return AttemptOutcome::Rejected(refusal.clone());
    }
    match told.first() {
        Some((id, task)) if task.checked.is_empty() => {
            AttemptOutcome::Unconfirmed((*id).clone(), refusal.clone())
        }
        Some((id, _)) => AttemptOutcome::Overdue((*id).clone(), refusal.clone()),
        None => AttemptOutcome::Rejected(refusal.clone()),
    }
}

impl Summary {
    /// Whether no attempt of ours can have been processed, so that another may be stamped without
    /// anything being sent twice. Says nothing of what the caller wants, or of the state.
    pub fn can_send(&self) -> bool {
        // After a proof of absence nothing is stamped any more.
        !self.is_proved_absent()
            && !self.was_put_off_before()
            && self.held_back().is_none()
            && !fates(self).iter().any(|(_, fate)| fate.is_live())
    }

    /// Whether an earlier release ended it as not sent after the gateway had put an attempt off. That release
    /// took for it what leaves the outcome open, so that nothing is sent on its word.
    fn was_put_off_before(&self) -> bool {
        let earlier = self.earlier.as_ref();
        let not_sent = earlier.is_some_and(|end| end.state == State::NotSent);
        not_sent && self.attempts.values().any(|a| a.deferred.is_some())
    }

    /// Whether a proof covers every attempt that was stamped. What earlier releases proved covers what was
    /// stamped before it.
    fn is_covered_by(&self, proof: &AbsenceProof) -> bool {
        if proof.attempts.is_empty() {
            return self.sent_at().is_none_or(|stamp| proof.at > stamp);
        }
        let stamped = self.stamped_attempts();
        stamped.iter().all(|number| proof.attempts.contains(number))
    }

    fn is_proved_absent(&self) -> bool {
        let proof = self.absence.as_ref();
        proof.is_some_and(|proof| self.is_covered_by(proof))
    }

    /// The task whose refusal decides, and waits for a look-up that finds nothing; with when it was told
    /// and whether that is overdue.
    pub fn refusal_in_question(&self) -> Option<(TaskId, Timestamp, bool)> {
        let fates = fates(self);
        let live: Vec<&AttemptOutcome> = fates
            .iter()
            .map(|(_, fate)| fate)
            .filter(|fate| fate.is_live())
            .collect();
        let (id, overdue) = match in_question(&live)? {
            AttemptOutcome::Unconfirmed(id, _) => (id, false),
            AttemptOutcome::Overdue(id, _) => (id, true),
            _ => return None,
        };
        let at = self.tasks.get(id)?.refused_at?;
        Some((id.clone(), at, overdue))
    }

    /// The attempt that was stamped and of which nothing else was heard.
    pub fn unanswered_attempt(&self) -> Option<u32> {
        let mut fates = fates(self).into_iter().rev();
        fates
            .find(|(_, fate)| *fate == AttemptOutcome::Submitting)
            .map(|(number, _)| number)
    }

    /// Before this the gateway does not want the next attempt (its `Retry-After`).
    pub fn deferred_until(&self) -> Option<Timestamp> {
        self.attempts
            .values()
            .filter_map(|attempt| attempt.deferred)
            .max()
    }
}
