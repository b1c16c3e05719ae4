//! What the evidence of one transaction amounts to, and how one more fact is joined to it.

mod final_sources;

use crate::absence::FOREIGN_BEFORE;
use crate::candidate::{Candidate, OwnershipClaim, is_misnamed};
use crate::earlier::{EarlierEnd, Written};
use crate::evidence::{AbsenceProof, Decision, FoundBy, Namer, RefusalCheck};
use crate::{
    Fact, Refusal, RefusalKind, Snapshot, SnapshotKey, State, TaskId, Timestamp,
    TransactionRequest, Uid,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// By how much a clock may be wrong without anybody noticing: a wrong time zone makes fourteen hours,
/// a wrong date is noticed.
const MAX_CLOCK_FAULT: Duration = Duration::from_secs(24 * 3600);

/// The code of what the gateway takes for a duplicate.
pub(crate) const DUPLICATE: &str = "E.1018";

/// Everything that the evidence so far amounts to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Who has written it. No fact, and put by who writes it. The first of all, where a sweep looks for it.
    #[serde(rename = "wr", default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Written>,
    /// The end that an earlier release has left.
    #[serde(rename = "eb", default, skip_serializing_if = "Option::is_none")]
    pub earlier: Option<Box<EarlierEnd>>,
    /// Our attempts to send, by number.
    #[serde(rename = "at", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attempts: BTreeMap<u32, Attempt>,
    /// The tasks that the gateway gave us.
    #[serde(rename = "ta", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tasks: BTreeMap<TaskId, Task>,
    /// A person insists on it, whatever its parent has left.
    #[serde(rename = "fo", default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
    /// After which attempt we gave up, and why. A later stamp is a new beginning.
    #[serde(rename = "gu", default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<(u32, String)>,
    /// The gateway's transactions that are, or may be, ours.
    #[serde(rename = "ca", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub candidates: BTreeMap<Uid, Candidate>,
    /// Transactions that could equally belong to another of ours.
    #[serde(rename = "co", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub contested: BTreeSet<Uid>,
    /// Their greatest snapshots; not known where an earlier release has read them.
    #[serde(rename = "cs", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub contested_as: BTreeMap<Uid, Box<Snapshot>>,
    /// Transactions that our own task, or the answer to our submit, named, and that are not ours as far as
    /// is known: they bear another name, or are another's. Beside one of these absence is not proved.
    #[serde(rename = "mn", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub misnamed: BTreeSet<Uid>,
    /// Failures that were found beside what our own request had named. They end nothing, unless they turn out to
    /// be bound or once to have succeeded.
    #[serde(rename = "bs", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub beside: BTreeSet<Uid>,
    /// Failures that were found beside others that may be ours as well and had not ended. They end nothing until
    /// these have ended.
    #[serde(rename = "bo", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside_open: BTreeMap<Uid, BTreeSet<Uid>>,
    /// Transactions that were named as ours and belong to another of ours, by their greatest snapshot.
    #[serde(rename = "an", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub anothers: BTreeMap<Uid, Box<Snapshot>>,
    /// It turned out to be this one of ours.
    #[serde(rename = "me", default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<Uuid>,
    /// Uids that the gateway answered 404 to.
    #[serde(rename = "mi", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub missing: BTreeSet<Uid>,
    /// The latest full proof of absence.
    #[serde(rename = "ab", default, skip_serializing_if = "Option::is_none")]
    pub absence: Option<AbsenceProof>,
    /// The latest proof that an `E.1018` was no duplicate of ours. It is a short one, and proves
    /// nothing else.
    #[serde(rename = "du", default, skip_serializing_if = "Option::is_none")]
    pub no_duplicate: Option<AbsenceProof>,
    /// When it was last held back after a restore, and why.
    #[serde(rename = "ho", default, skip_serializing_if = "Option::is_none")]
    pub held: Option<(Timestamp, String)>,
    /// When a person last released it.
    #[serde(rename = "rl", default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Timestamp>,
    /// The latest decision of a person.
    #[serde(rename = "de", default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// One attempt to send. `None` and `false` mean "not heard of".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was stamped (the earliest stamp, should there ever be two).
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub stamped_at: Option<Timestamp>,
    /// Candidates found by tracking id must not be older than this.
    #[serde(rename = "nb", default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// It repeated an earlier attempt under the same `RequestID`.
    #[serde(rename = "rp", default, skip_serializing_if = "std::ops::Not::not")]
    pub replay: bool,
    /// No byte left, and why.
    #[serde(rename = "ns", default, skip_serializing_if = "Option::is_none")]
    pub not_sent: Option<String>,
    /// The gateway did not process it; not before this time again.
    #[serde(rename = "df", default, skip_serializing_if = "Option::is_none")]
    pub deferred: Option<Timestamp>,
    /// No answer, or one that says nothing, and what happened.
    #[serde(rename = "si", default, skip_serializing_if = "Option::is_none")]
    pub silent: Option<String>,
    /// It was refused.
    #[serde(rename = "re", default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// When that was first said; not known where an earlier release has read it.
    #[serde(rename = "ra", default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Timestamp>,
}

impl Attempt {
    fn stamp(&mut self, at: Timestamp, not_before: Timestamp, replay: bool) {
        join_min(&mut self.stamped_at, at);
        join_min(&mut self.not_before, not_before);
        self.replay |= replay;
    }
}

/// One asynchronous task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The attempt that it answered; 0 while the ack itself is not known.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// When it was acknowledged.
    #[serde(rename = "at", default, skip_serializing_if = "Option::is_none")]
    pub acked_at: Option<Timestamp>,
    /// The gateway does not know it (any more).
    #[serde(rename = "un", default, skip_serializing_if = "std::ops::Not::not")]
    pub unknown: bool,
    /// It is older than the gateway keeps tasks.
    #[serde(rename = "ol", default, skip_serializing_if = "std::ops::Not::not")]
    pub outlived: bool,
    /// It produced an error.
    #[serde(rename = "re", default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refusal>,
    /// When that was first said; not known where an earlier release has read it.
    #[serde(rename = "ra", default, skip_serializing_if = "Option::is_none")]
    pub refused_at: Option<Timestamp>,
    /// What the look-ups after that came to.
    #[serde(rename = "rc", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub checked: BTreeSet<RefusalCheck>,
    /// It produced this transaction.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Uid>,
}

impl Task {
    /// Acknowledged, and nothing heard of its end.
    pub fn is_running(&self) -> bool {
        let ended = self.unknown || self.outlived || self.refused.is_some() || self.uid.is_some();
        self.acked_at.is_some() && !ended
    }

    fn check(&mut self, check: RefusalCheck) {
        self.checked.insert(check);
    }

    /// Whether its refusal needs no further look-up. What an earlier release has read was final at once.
    pub(crate) fn is_refusal_settled(&self) -> bool {
        let ends = |check: &RefusalCheck| *check != RefusalCheck::Overdue;
        self.refused_at.is_none() || self.checked.iter().any(ends)
    }
}

impl Summary {
    /// Joins one fact. Joining it again, or in another order, gives the same summary.
    pub fn join(&mut self, opening: &TransactionRequest, fact: &Fact) {
        match fact {
            Fact::Stamped {
                attempt,
                at,
                not_before,
                replay,
            } => self.attempt(*attempt).stamp(*at, *not_before, *replay),
            Fact::NotSent { attempt, reason } => {
                join_max(&mut self.attempt(*attempt).not_sent, reason);
            }
            Fact::Forced => self.forced = true,
            Fact::GivenUp { attempt, reason } => {
                join_max(&mut self.given_up, &(*attempt, reason.clone()));
            }
            Fact::Deferred { attempt, until } => {
                join_max(&mut self.attempt(*attempt).deferred, until);
            }
            Fact::WentSilent { attempt, reason } => {
                join_max(&mut self.attempt(*attempt).silent, reason);
            }
            Fact::Refused {
                attempt,
                refusal,
                at,
            } => {
                let entry = self.attempt(*attempt);
                join_max(&mut entry.refused, refusal);
                join_min(&mut entry.refused_at, *at);
            }
            Fact::Acknowledged { attempt, task, at } => {
                let entry = self.task(task);
                entry.attempt = entry.attempt.max(*attempt);
                join_min(&mut entry.acked_at, *at);
            }
            Fact::TaskAlive { .. } | Fact::LookupEmpty | Fact::Nothing => {}
            Fact::TaskUnknown { task } => self.task(task).unknown = true,
            Fact::TaskOutlived { task } => self.task(task).outlived = true,
            Fact::TaskRefused { task, refusal, at } => {
                let entry = self.task(task);
                join_max(&mut entry.refused, refusal);
                join_min(&mut entry.refused_at, *at);
            }
            Fact::RefusalChecked { task, check } => self.task(task).check(*check),
            Fact::Held { at, reason } => join_max(&mut self.held, &(*at, reason.clone())),
            Fact::Released { at } => join_max(&mut self.released, at),
            Fact::DecidedBefore(end) => join_max(&mut self.earlier, end),
            Fact::AbsenceProved(proof) if proof.duplicate => {
                join_max(&mut self.no_duplicate, proof);
            }
            Fact::AbsenceProved(proof) => join_max(&mut self.absence, proof),
            // What cannot be decided (`accepted`, say, which would be sent) is no decision.
            Fact::Decided(decision) if !decision.state.can_be_decided() => {}
            Fact::Decided(decision) => {
                join_max(&mut self.decision, decision);
                decision.uid.iter().for_each(|uid| self.bind(uid));
            }
            Fact::TaskResult { .. }
            | Fact::Answered { .. }
            | Fact::Seen { .. }
            | Fact::Anothers { .. }
            | Fact::Merged { .. }
            | Fact::MergedInto { .. }
            | Fact::Contested { .. }
            | Fact::Beside { .. }
            | Fact::UidMissing { .. }
            | Fact::MismatchAccepted(_) => self.join_sight(opening, fact),
        }
    }

    /// Joins what is told of the gateway's transactions.
    fn join_sight(&mut self, opening: &TransactionRequest, fact: &Fact) {
        match fact {
            Fact::TaskResult { task, snapshot } if is_misnamed(opening, snapshot) => {
                join_max(&mut self.task(task).refused, &no_word_of_ours(snapshot));
                self.misname(opening, snapshot);
            }
            Fact::TaskResult { task, snapshot } => {
                join_max(&mut self.task(task).uid, &snapshot.uid);
                self.see(opening, snapshot, FoundBy::OwnTask);
            }
            Fact::Answered { attempt, snapshot } if is_misnamed(opening, snapshot) => {
                join_max(
                    &mut self.attempt(*attempt).refused,
                    &no_word_of_ours(snapshot),
                );
                self.misname(opening, snapshot);
            }
            Fact::Answered { snapshot, .. } => self.see(opening, snapshot, FoundBy::OwnTask),
            Fact::Seen { snapshot, found_by } => self.see(opening, snapshot, *found_by),
            Fact::Anothers { by, snapshot } => self.is_anothers(by.as_ref(), snapshot),
            Fact::Merged { snapshot, .. } => self.see(opening, snapshot, FoundBy::TrackingId),
            Fact::MergedInto { into } => join_max(&mut self.merged_into, into),
            Fact::Contested { snapshot } => {
                self.contested.insert(snapshot.uid.clone());
                keep_greatest(&mut self.contested_as, snapshot);
            }
            Fact::Beside { uid, open } if open.is_empty() => {
                self.beside.insert(uid.clone());
            }
            Fact::Beside { uid, open } => {
                let others = self.beside_open.entry(uid.clone()).or_default();
                others.extend(open.iter().cloned());
            }
            Fact::UidMissing { uid } => {
                self.missing.insert(uid.clone());
            }
            Fact::MismatchAccepted(snapshot) => {
                let candidate = self.candidates.entry(snapshot.uid.clone()).or_default();
                candidate.join(opening, snapshot, true);
            }
            _ => {}
        }
    }

    /// Whether this fact may have been joined before. `false` is certain: it would have left a trace. What
    /// was contested once may be told as ours later, and the other way round.
    pub fn may_contain(&self, fact: &Fact) -> bool {
        let knows = |uid: &Uid| {
            self.candidates.contains_key(uid)
                || self.contested.contains(uid)
                || self.anothers.contains_key(uid)
        };
        match fact {
            Fact::Acknowledged { task, .. } => self.tasks.contains_key(task),
            Fact::TaskResult { snapshot, .. }
            | Fact::Answered { snapshot, .. }
            | Fact::Seen { snapshot, .. } => knows(&snapshot.uid),
            Fact::Contested { snapshot } => knows(&snapshot.uid),
            _ => true,
        }
    }

    /// Why it is held back after a restore: until a person releases it, or decides that it was not sent.
    pub fn held_back(&self) -> Option<&str> {
        let (at, reason) = self.held.as_ref()?;
        (self.released_at() < Some(*at)).then_some(reason)
    }

    /// When a person last let it be sent.
    pub fn released_at(&self) -> Option<Timestamp> {
        let decision = self.decision.as_ref();
        let decided = decision.filter(|decision| decision.state == State::NotSent);
        self.released.max(decided.map(|decision| decision.at))
    }

    /// When the gateway last refused something of ours, as far as it is known.
    pub fn refused_at(&self) -> Option<Timestamp> {
        let by_tasks = self.tasks.values().filter_map(|task| task.refused_at);
        let attempts = self.attempts.values();
        attempts
            .filter_map(|attempt| attempt.refused_at)
            .chain(by_tasks)
            .max()
    }

    /// The attempts that were stamped.
    pub fn stamped_attempts(&self) -> Vec<u32> {
        let stamped = self.attempts.iter().filter(|(_, a)| a.stamped_at.is_some());
        stamped.map(|(number, _)| *number).collect()
    }

    /// When the last attempt was stamped.
    pub fn sent_at(&self) -> Option<Timestamp> {
        self.attempts.values().filter_map(|a| a.stamped_at).max()
    }

    fn attempt(&mut self, number: u32) -> &mut Attempt {
        self.attempts.entry(number).or_default()
    }

    fn task(&mut self, task: &TaskId) -> &mut Task {
        self.tasks.entry(task.clone()).or_default()
    }

    /// A person names this one: it is ours.
    pub fn bind(&mut self, uid: &Uid) {
        self.candidates.entry(uid.clone()).or_default().bound = true;
    }

    fn see(&mut self, opening: &TransactionRequest, snapshot: &Snapshot, found_by: FoundBy) {
        let candidate = self.candidates.entry(snapshot.uid.clone()).or_default();
        candidate.bound |= found_by == FoundBy::OwnTask;
        candidate.join(opening, snapshot, false);
    }

    /// Notes what was named as ours and is another's.
    fn is_anothers(&mut self, by: Option<&Namer>, snapshot: &Snapshot) {
        let refused = match by {
            Some(Namer::Attempt(attempt)) => Some(&mut self.attempt(*attempt).refused),
            Some(Namer::Task(task)) => Some(&mut self.task(task).refused),
            None => None,
        };
        if let Some(refused) = refused {
            join_max(refused, &no_word_of_ours(snapshot));
            self.misnamed.insert(snapshot.uid.clone());
        }
        keep_greatest(&mut self.anothers, snapshot);
    }

    /// Notes what our own task named under a name that is not ours. It is seen, and binds nothing.
    fn misname(&mut self, opening: &TransactionRequest, snapshot: &Snapshot) {
        self.misnamed.insert(snapshot.uid.clone());
        self.see(opening, snapshot, FoundBy::TrackingId);
    }

    /// Whether a candidate may be ours: it is bound, or some snapshot of it agrees with what was
    /// asked, is filed under our name, and is not older than our first stamp. One that another of ours has
    /// owned since before that stamp is not; what is ours once never becomes another's.
    pub fn is_eligible(&self, opening: &TransactionRequest, candidate: &Candidate) -> bool {
        let is_anothers = || {
            let uid = candidate.latest.as_deref().map(|latest| &latest.uid);
            uid.is_some_and(|uid| self.anothers.contains_key(uid))
        };
        candidate.bound
            || candidate
                .claim(opening)
                .is_some_and(|claim| !self.predates(claim) && !is_anothers())
    }

    /// Whether a candidate is left out for its age alone, and by no more than a clock may be wrong: it
    /// is not taken for ours, and while it stands there nothing proves that ours does not exist. See
    /// `docs/adr/0007-an-age-within-a-clock-fault-is-doubt.md`.
    pub fn is_of_doubtful_age(&self, opening: &TransactionRequest, candidate: &Candidate) -> bool {
        let claim = candidate.claim(opening);
        !candidate.bound && claim.is_some_and(|claim| self.hardly_predates(claim))
    }

    /// The transactions of the gateway that stand in the way of a proof of absence.
    pub fn doubtful<'a>(
        &'a self,
        opening: &'a TransactionRequest,
    ) -> impl Iterator<Item = &'a Uid> {
        let doubtful = self
            .candidates
            .iter()
            .filter(|(_, candidate)| self.is_of_doubtful_age(opening, candidate));
        doubtful.map(|(uid, _)| uid)
    }

    /// Transactions of the gateway that bear our name and are of our type, and not what was asked for: another
    /// amount, another mode, something that cannot be read. Each could be ours, unless it is another's or was
    /// made a day before we first sent.
    pub fn unlike<'a>(&'a self, opening: &'a TransactionRequest) -> impl Iterator<Item = &'a Uid> {
        let unlike = self.candidates.iter().filter(|(uid, candidate)| {
            let latest = candidate.latest.as_deref();
            !self.is_eligible(opening, candidate)
                && !self.anothers.contains_key(*uid)
                && latest.is_some_and(|latest| self.could_be_ours(opening, latest))
        });
        unlike.map(|(uid, _)| uid)
    }

    fn could_be_ours(&self, opening: &TransactionRequest, snapshot: &Snapshot) -> bool {
        let kind = snapshot.kind.as_deref();
        kind.is_none_or(|kind| kind == opening.kind.as_str())
            && !is_misnamed(opening, snapshot)
            && !self.is_long_before(snapshot)
    }

    /// Whether it was made so long before we first sent that it is another's, whatever the clocks say.
    pub fn is_long_before(&self, snapshot: &Snapshot) -> bool {
        let stamps = self.attempts.values();
        let first = stamps.filter_map(|attempt| attempt.stamped_at).min();
        matches!((first, snapshot.created_at),
            (Some(first), Some(made)) if made < first.minus(FOREIGN_BEFORE))
    }

    /// Whether the gateway has shown something that speaks against a proof that it has nothing of ours.
    pub fn hinders_absence(&self, opening: &TransactionRequest) -> bool {
        !self.misnamed.is_empty() || self.hinders_no_duplicate(opening)
    }

    /// The same for the proof that an `E.1018` was no duplicate of ours: its answer may show what it clashed
    /// with.
    pub fn hinders_no_duplicate(&self, opening: &TransactionRequest) -> bool {
        self.doubtful(opening).next().is_some() || self.unlike(opening).next().is_some()
    }

    /// Whether anything was ever proved of its absence: nothing is stamped after that.
    pub fn has_proof(&self) -> bool {
        self.absence.is_some() || self.no_duplicate.is_some()
    }

    /// Whether a snapshot tells of something made before we first sent, or while nothing was sent.
    pub fn predates_first_attempt(&self, snapshot: &Snapshot) -> bool {
        self.predates(
            snapshot
                .created_at
                .map_or(OwnershipClaim::Undated, OwnershipClaim::Made),
        )
    }

    /// Whether it is older by no more than a clock may be wrong.
    pub fn is_within_clock_fault(&self, snapshot: &Snapshot) -> bool {
        self.hardly_predates(
            snapshot
                .created_at
                .map_or(OwnershipClaim::Undated, OwnershipClaim::Made),
        )
    }

    fn hardly_predates(&self, claim: OwnershipClaim) -> bool {
        let stamps = self.attempts.values().filter_map(|a| a.stamped_at);
        let within = stamps.min().map(|first| first.minus(MAX_CLOCK_FAULT));
        self.predates(claim) && within.is_some_and(|within| claim >= OwnershipClaim::Made(within))
    }

    fn predates(&self, claim: OwnershipClaim) -> bool {
        let first = self
            .attempts
            .values()
            .filter_map(|attempt| attempt.not_before)
            .min();
        first.is_none_or(|first| claim < OwnershipClaim::Made(first))
    }

    /// Whether some attempt is known to have ended without naming a transaction of ours, so that
    /// a failure found by tracking id alone may be believed.
    pub(crate) fn has_unresolved_attempt(&self) -> bool {
        let silent = self
            .attempts
            .values()
            .any(|a| a.silent.is_some() || a.refused.is_some());
        silent
            || self
                .tasks
                .values()
                .any(|t| t.unknown || t.outlived || t.refused.is_some())
    }

    /// All candidates that may be ours.
    pub fn eligible<'a>(
        &'a self,
        opening: &'a TransactionRequest,
    ) -> impl Iterator<Item = &'a Candidate> {
        self.candidates
            .values()
            .filter(|c| self.is_eligible(opening, c))
    }

    /// The greatest snapshot of any candidate that may be ours: the basis of a decision.
    pub fn greatest_key(&self, opening: &TransactionRequest) -> Option<SnapshotKey> {
        self.eligible(opening)
            .filter_map(|c| c.latest.as_deref())
            .map(Snapshot::key)
            .max()
    }

    /// Why nothing more is sent, if it was given up and not begun anew since.
    pub fn gave_up(&self) -> Option<&str> {
        let (attempt, reason) = self.given_up.as_ref()?;
        (*attempt >= self.last_attempt()).then_some(reason.as_str())
    }

    /// The number of the last attempt; 0 when there was none.
    pub fn last_attempt(&self) -> u32 {
        self.attempts.keys().next_back().copied().unwrap_or(0)
    }

    /// The attempts since it was last given up, or all of them, in their order.
    pub(crate) fn tries(&self) -> impl DoubleEndedIterator<Item = &Attempt> {
        let before = self.given_up.as_ref().map_or(0, |(attempt, _)| *attempt);
        let since = self.attempts.iter().filter(move |(n, _)| **n > before);
        since.map(|(_, attempt)| attempt)
    }

    /// The task that is still worth asking, of the last attempt that has one: acknowledged, and
    /// not known to have ended.
    pub fn running_task(&self) -> Option<(&TaskId, &Task)> {
        let running = self.tasks.iter().filter(|(_, task)| task.is_running());
        running.max_by_key(|(id, task)| (task.attempt, *id))
    }
}

/// What an answer about our own request amounts to when the transaction in it cannot be ours: doubt, or
/// the duplicate that its code tells of.
fn no_word_of_ours(snapshot: &Snapshot) -> Refusal {
    let duplicate = snapshot.code.as_deref() == Some(DUPLICATE);
    Refusal {
        kind: if duplicate {
            RefusalKind::Duplicate
        } else {
            RefusalKind::Doubt
        },
        code: snapshot.code.clone(),
        message: snapshot.message.clone(),
        friendly_message: snapshot.friendly_message.clone(),
        http_status: None,
    }
}

fn keep_greatest(kept: &mut BTreeMap<Uid, Box<Snapshot>>, snapshot: &Snapshot) {
    let known = kept.get(&snapshot.uid);
    if known.is_none_or(|known| snapshot.outranks(known)) {
        kept.insert(snapshot.uid.clone(), Box::new(snapshot.clone()));
    }
}

fn join_max<T: Ord + Clone>(slot: &mut Option<T>, value: &T) {
    if slot.as_ref().is_none_or(|known| value > known) {
        *slot = Some(value.clone());
    }
}

fn join_min<T: Ord>(slot: &mut Option<T>, value: T) {
    if slot.as_ref().is_none_or(|known| value < *known) {
        *slot = Some(value);
    }
}
