//! What one arrival changed: its verdict, the events it causes, the findings it opens and closes.
//!
//! This is the one part that looks at the order of arrival. It decides nothing about the state.

use crate::discrepancy::{indicated_discrepancies, mentions};
use crate::evidence::FoundBy;
use crate::fold::{Candidate, DerivedState, Mismatch, StateBasis, Summary};
use crate::{Discrepancy, DiscrepancyKind, Fact, Snapshot, State, StatusClass, TransactionRequest};
use crate::{Mention, Uid, Verdict, derive};

/// What joining some facts did.
#[derive(Debug, Clone)]
pub struct AppliedChange {
    /// The summary afterwards.
    pub summary: Summary,
    /// The state before.
    pub before: DerivedState,
    /// The state afterwards.
    pub after: DerivedState,
    /// What the arrival amounted to. `Duplicate` is known to the store alone.
    pub verdict: Verdict,
    /// Findings that were not indicated before, or not with this content.
    pub opened: Vec<Discrepancy>,
    /// Findings that are indicated no more.
    pub healed: Vec<Discrepancy>,
    /// One look-up becomes due at once, unless a look of ours has told it: see [`AppliedChange::looks_again`].
    pub recheck_now: bool,
    /// A final state is contradicted or corrected: that look is to be at this very transaction of the gateway.
    pub look_at: Option<Uid>,
    /// What our own attempt came to has still to be confirmed, whoever told of it.
    own_way: bool,
}

impl AppliedChange {
    /// Whether the state, or what it rests on, moved.
    pub fn has_changed_state(&self) -> bool {
        self.before != self.after
    }

    /// Whether a look becomes due at once after a look of ours, of which `looked_at` was what it was wished for.
    /// What it has read makes nothing due that it is the answer to: a difference, or what was contradicted, that
    /// bears another time at each read would be asked for without a pause.
    pub fn looks_again(&self, looked_at: Option<&Uid>) -> bool {
        let is_disputed = self.look_at.is_some() && self.look_at.as_ref() != looked_at;
        self.own_way || is_disputed
    }

    /// Whether a final state changed.
    pub fn is_correction(&self) -> bool {
        self.before.state.is_final() && self.before.state != self.after.state
    }
}

/// Joins facts of one piece of evidence to what is known.
pub fn apply(opening: &TransactionRequest, known: &Summary, facts: &[Fact]) -> AppliedChange {
    let facts: Vec<&Fact> = facts.iter().collect();
    apply_to(opening, known, derive(opening, known), &facts)
}

/// The same for who has derived `before` from what is known already.
pub fn apply_to(
    opening: &TransactionRequest,
    known: &Summary,
    before: DerivedState,
    facts: &[&Fact],
) -> AppliedChange {
    let mut summary = known.clone();
    for fact in facts {
        summary.join(opening, fact);
    }
    let after = derive(opening, &summary);
    let old = indicated_discrepancies(opening, known, &before);
    let new = indicated_discrepancies(opening, &summary, &after);
    let mut opened: Vec<Discrepancy> = new.iter().filter(|f| !f.is_among(&old)).cloned().collect();
    let gone = old
        .iter()
        .filter(|o| !new.iter().any(|n| n.kind == o.kind && n.uid == o.uid));
    let mut healed: Vec<Discrepancy> = gone.cloned().collect();
    healed.extend(over(&before, &after, &new));
    let conflict = conflict(opening, known, &summary, facts);
    let correction = correction(&summary, &before, &after);
    let by_person = facts
        .iter()
        .any(|f| matches!(f, Fact::Decided(_) | Fact::MismatchAccepted(_)));
    let mismatch_opened = opened
        .iter()
        .any(|f| f.kind.is_mismatch() && !f.is_dated_as_in(&old));
    let failed = awaits_our_task(opening, known, &summary, &after, facts);
    let refused = awaits_confirmation(&after) && !awaits_confirmation(&before);
    let own_way = !by_person
        && (refused || task_has_answered(known, &summary, &before) || failed == Some(Failure::New));
    let disputes = conflict.is_some() || correction.is_some() || mismatch_opened;
    let look_again = own_way || !by_person && (disputes || failed.is_some());
    let disputed = conflict.as_ref().or(correction.as_ref());
    let look_at = disputed.and_then(|finding| finding.uid.clone());
    let look_at = look_at.filter(|_| !by_person);
    if !by_person {
        opened.extend(conflict);
        opened.extend(correction);
    }
    let verdict = verdict(opening, known, &summary, facts, (&before, &after));
    AppliedChange {
        summary,
        before,
        after,
        verdict,
        opened,
        healed,
        recheck_now: look_again,
        look_at,
        own_way,
    }
}

/// What looks have told of a doubt that is over now. Nothing in the summary indicates such a finding, so
/// that it heals by what ends it.
fn over(before: &DerivedState, after: &DerivedState, new: &[Discrepancy]) -> Vec<Discrepancy> {
    let doubted = before.state == State::InDoubt;
    let found = doubted && before.uid.is_none() && after.uid.is_some();
    let ended = doubted && after.state.is_final();
    let told = [
        (DiscrepancyKind::AmbiguousTrackingId, found),
        (DiscrepancyKind::PendingTooLong, ended),
    ];
    told.into_iter()
        .filter(|(kind, over)| *over && !new.iter().any(|n| n.kind == *kind && n.uid.is_none()))
        .map(|(kind, _)| Discrepancy {
            kind,
            uid: None,
            basis: None,
            detail: String::new(),
            uids: Vec::new(),
        })
        .collect()
}

/// The gateway now says "not final" of something that may be ours and that it had called final.
/// Told once for each newer time at which it says so, so that the look-up which follows, and finds
/// the same, does not ask for the next one.
fn conflict(
    opening: &TransactionRequest,
    known: &Summary,
    summary: &Summary,
    facts: &[&Fact],
) -> Option<Discrepancy> {
    snapshots(facts).find_map(|snapshot| {
        let before = known.candidates.get(&snapshot.uid)?;
        let latest = before
            .latest
            .as_deref()
            .filter(|latest| latest.class.is_final())?;
        let newer = snapshot.updated_at > latest.updated_at.max(before.contradicted_at);
        let reopened = newer && !snapshot.class.is_final();
        let undated = is_other_end(before, latest, snapshot, summary);
        let ours = summary
            .candidates
            .get(&snapshot.uid)
            .is_some_and(|candidate| summary.is_eligible(opening, candidate));
        let which = if reopened {
            "a newer answer"
        } else {
            "an answer without a time"
        };
        ((reopened || undated) && ours).then(|| Discrepancy {
            kind: DiscrepancyKind::StatusConflict,
            uid: Some(snapshot.uid.clone()),
            basis: Some(snapshot.key()),
            detail: format!(
                "it was {:?}, and {which} says {:?}",
                latest.status, snapshot.status
            ),
            uids: vec![Mention::from(snapshot)],
        })
    })
}

/// Two ends of one transaction of which nobody can say which is the later one, since one of them has no
/// time. The order has to choose; what holds is asked for. Told once for each end.
fn is_other_end(
    before: &Candidate,
    latest: &Snapshot,
    snapshot: &Snapshot,
    summary: &Summary,
) -> bool {
    let now = summary.candidates.get(&snapshot.uid);
    let stays = now.and_then(|now| now.latest.as_deref()) == Some(latest);
    let undated = snapshot.updated_at.is_none() || latest.updated_at.is_none();
    let other = snapshot.class.is_final() && snapshot.class != latest.class;
    stays && undated && other && !before.other_ends.contains(&snapshot.class)
}

/// A failure that was found by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Failure {
    /// It was known to have ended.
    Again,
    /// It was not.
    New,
}

/// A failure that was found by name, while our own task is known to run: only the task can say whether it
/// is ours. It is asked at once, once for each (uid, `updated_at`).
fn awaits_our_task(
    opening: &TransactionRequest,
    known: &Summary,
    summary: &Summary,
    after: &DerivedState,
    facts: &[&Fact],
) -> Option<Failure> {
    if after.state.is_final() || summary.running_task().is_none() {
        return None;
    }
    let by_name = facts.iter().filter_map(|fact| match fact {
        Fact::Seen {
            snapshot,
            found_by: FoundBy::TrackingId,
        } => Some(&**snapshot),
        _ => None,
    });
    let failures = by_name
        .filter(|snapshot| matches!(snapshot.class, StatusClass::Failed | StatusClass::Expired));
    let told = failures.filter_map(|snapshot| {
        let before = known.candidates.get(&snapshot.uid);
        let ended = before
            .and_then(|candidate| candidate.latest.as_deref())
            .filter(|latest| latest.class.is_final());
        let newer = ended.is_none_or(|ended| snapshot.updated_at > ended.updated_at);
        let now = summary.candidates.get(&snapshot.uid);
        let is_told = newer && now.is_some_and(|now| summary.is_eligible(opening, now));
        is_told.then_some(if ended.is_none() {
            Failure::New
        } else {
            Failure::Again
        })
    });
    told.max()
}

/// Our own task has told its end of what was final already. As long as it ran a look went to the task,
/// whose result does not change any more; the look at the transaction itself is still owed.
fn task_has_answered(known: &Summary, summary: &Summary, before: &DerivedState) -> bool {
    let ended = known.running_task().is_some() && summary.running_task().is_none();
    before.state.is_final() && ended
}

/// A task told a refusal, and a look-up has to follow it.
fn awaits_confirmation(derived: &DerivedState) -> bool {
    derived.state == State::Processing && matches!(derived.basis, StateBasis::Refusal(_))
}

/// A final state became another one.
fn correction(
    summary: &Summary,
    before: &DerivedState,
    after: &DerivedState,
) -> Option<Discrepancy> {
    if !before.state.is_final() || before.state == after.state {
        return None;
    }
    let kind = match after.state {
        State::Successful => DiscrepancyKind::LateSuccess,
        State::Failed | State::Expired if !before.state.is_presumed() => {
            DiscrepancyKind::ManualCorrection
        }
        _ => return None,
    };
    Some(Discrepancy {
        kind,
        uid: after.uid.clone(),
        basis: match after.basis {
            StateBasis::Snapshot(key) => Some(key),
            _ => None,
        },
        detail: format!("it was {}, and is now {}", before.state, after.state),
        uids: mentions(summary, [before.uid.as_ref(), after.uid.as_ref()]),
    })
}

fn snapshots<'a>(facts: &[&'a Fact]) -> impl Iterator<Item = &'a Snapshot> {
    facts.iter().filter_map(|fact| match fact {
        Fact::Seen { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::TaskResult { snapshot, .. } => Some(&**snapshot),
        _ => None,
    })
}

fn verdict(
    opening: &TransactionRequest,
    known: &Summary,
    summary: &Summary,
    facts: &[&Fact],
    (before, after): (&DerivedState, &DerivedState),
) -> Verdict {
    if before.state.is_final() && before.state != after.state {
        return Verdict::Correction;
    }
    if before != after {
        return Verdict::Applied;
    }
    let mut seen = snapshots(facts).peekable();
    if seen.peek().is_some() {
        let foreign = seen.all(|s| {
            let candidate = summary.candidates.get(&s.uid);
            !Mismatch::between(opening, s).agree()
                || candidate.is_none_or(|c| !summary.is_eligible(opening, c))
        });
        if foreign {
            return Verdict::Mismatch;
        }
        let outranked = snapshots(facts).any(|s| {
            let latest = known
                .candidates
                .get(&s.uid)
                .and_then(|c| c.latest.as_deref());
            latest.is_some_and(|latest| latest.outranks(s))
        });
        return match (known == summary, outranked) {
            (false, _) => Verdict::Applied,
            (true, true) => Verdict::Stale,
            (true, false) => Verdict::NothingNew,
        };
    }
    if known == summary {
        Verdict::NothingNew
    } else {
        Verdict::Applied
    }
}
