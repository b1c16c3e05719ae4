//! design.md §5 and docs/adr/0002, said once more: which state follows from the lists of a case.
//!
//! It is written to be read beside the text and not to be fast. It shares nothing with the fold, so
//! that the two can only agree by both being right. What it deliberately cannot do: look at the order
//! in which things arrived.

use crate::body::{Ending, Told};
use crate::case::{Asked, Attempt, Case, Seen, Task};
use crate::reading::Key;
use crate::refusal::Refusal;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use words::{Origin, State, Timestamp};

/// What the evidence amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) state: State,
    pub(super) uid: Option<String>,
    pub(super) standing: Standing,
}

/// What speaks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is another.
    Merged,
    /// A person.
    Decided,
    /// A description that ends it.
    Ended,
    /// None of these.
    Open,
}

/// One of the gateway's transactions that is ours, or may be.
pub(super) struct Candidate<'a> {
    pub(super) uid: &'a str,
    /// Our own task named it, or it was taken over as it is.
    pub(super) bound: bool,
    /// The greatest description of all.
    pub(super) greatest: Option<&'a Seen>,
    /// The greatest of those that agree with what was asked.
    pub(super) agreed: Option<&'a Seen>,
    /// One of those that agree was successful.
    succeeded: bool,
}

/// What one attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No byte left, or the gateway did not process it.
    Nothing,
    Running,
    Submitting,
    Rejected,
    /// By its task, and no look-up has followed.
    Unconfirmed,
    /// By its task, and no look-up has shown in time that there is nothing.
    Overdue,
    Duplicate,
    Doubt,
}

/// Derives the state.
pub(super) fn judge(asked: &Asked, case: &Case, owners: &BTreeMap<String, Uuid>) -> Outcome {
    if asked.origin == Origin::Gateway && case.is_merged {
        return Outcome {
            state: State::Merged,
            uid: None,
            standing: Standing::Merged,
        };
    }
    let candidates = candidates(asked, case, owners);
    let fates: Vec<Fate> = case
        .attempts
        .iter()
        .map(|(n, a)| fate(case, *n, a))
        .collect();
    let adopted = adopt(asked, case, &candidates, &fates);
    let uid = adopted
        .as_ref()
        .map(|(candidate, _)| candidate.uid.to_owned());
    let is_final = adopted.as_ref().is_some_and(|(_, is_final)| *is_final);
    if let Some(state) = decided(asked, case, &candidates, is_final, uid.is_some()) {
        let standing = Standing::Decided;
        return Outcome {
            state,
            uid,
            standing,
        };
    }
    let state = match adopted {
        Some((candidate, true)) => match candidate.agreed.map(|seen| seen.told.ending) {
            Some(Ending::Successful) => State::Successful,
            Some(Ending::Failed) => State::Failed,
            Some(Ending::Expired) => State::Expired,
            Some(Ending::Open) | None => State::Pending,
        },
        Some((_, false)) => State::Pending,
        None => presumed(asked, case, &fates),
    };
    Outcome {
        state,
        uid,
        standing: if is_final {
            Standing::Ended
        } else {
            Standing::Open
        },
    }
}

/// "Binding a uid": those that are bound, and those of which one description agrees, is filed under
/// our name, and is not older than our first stamp less the tolerance.
pub(super) fn candidates<'a>(
    asked: &Asked,
    case: &'a Case,
    owners: &BTreeMap<String, Uuid>,
) -> Vec<Candidate<'a>> {
    let mut all = Vec::new();
    for (uid, seen) in &case.seen {
        let agreeing: Vec<&Seen> = seen.iter().filter(|seen| is_agreed(asked, seen)).collect();
        let named = case.named_by_person.contains(uid);
        let bound = named || seen.iter().any(|seen| seen.named);
        // A child that has equal siblings shares names with them: what nobody owns is contested.
        let unowned_child = asked.kind.is_child() && !owners.contains_key(uid);
        let fits = agreeing
            .iter()
            .any(|seen| is_ours_by_name(asked, case, seen));
        let greatest = greatest(seen.iter());
        if bound || (fits && !unowned_child) {
            let succeeded = agreeing.iter().any(|s| s.told.ending == Ending::Successful);
            let agreed = self::greatest(agreeing.into_iter());
            all.push(Candidate {
                uid,
                bound,
                greatest,
                agreed,
                succeeded,
            });
        }
    }
    all
}

/// Whether a description agrees with what was asked, or a person takes it as it is.
fn is_agreed(asked: &Asked, seen: &Seen) -> bool {
    seen.accepted || asked.agrees(&seen.told)
}

/// Whether one description by itself makes its transaction ours, found by name alone.
pub(super) fn is_ours_by_name(asked: &Asked, case: &Case, seen: &Seen) -> bool {
    let young = case
        .first_not_before()
        .is_some_and(|first| seen.told.created_at.is_none_or(|made| made >= first));
    (seen.accepted || asked.agrees(&seen.told))
        && asked.is_filed_under_our_name(&seen.told)
        && young
}

/// Whether the age alone of a transaction speaks against its being ours, and by no more than a clock
/// may be wrong (docs/adr/0007).
fn is_of_doubtful_age(asked: &Asked, case: &Case, seen: &[Seen]) -> bool {
    let fits = |seen: &&Seen| {
        (seen.accepted || asked.agrees(&seen.told)) && asked.is_filed_under_our_name(&seen.told)
    };
    let fitting: Vec<&Seen> = seen.iter().filter(fits).collect();
    let named = seen.iter().any(|seen| seen.named);
    let ours = |seen: &&Seen| is_ours_by_name(asked, case, seen);
    !named && !fitting.iter().any(ours) && fitting.iter().any(|seen| is_nearly_young(case, seen))
}

/// Whether a transaction bears our name and type, is not what was asked for, and was not made a day before we
/// first sent.
fn is_unlike(asked: &Asked, case: &Case, seen: &[Seen]) -> bool {
    let named = seen.iter().any(|seen| seen.named);
    let ours = |seen: &Seen| is_ours_by_name(asked, case, seen);
    let could_be = |told: &Told| {
        let kind = told.kind.as_deref();
        let long_before = matches!((case.first_stamp(), told.created_at),
            (Some(first), Some(made)) if made < first.minus(CLOCK_FAULT));
        asked.is_filed_under_our_name(told)
            && kind.is_none_or(|kind| kind == asked.kind.as_str())
            && !long_before
    };
    let last = greatest(seen.iter());
    !named && !seen.iter().any(ours) && last.is_some_and(|seen| could_be(&seen.told))
}

/// Whether it was made at most 24 hours before we first sent.
fn is_nearly_young(case: &Case, seen: &Seen) -> bool {
    let first = case.first_stamp();
    first.is_some_and(|first| {
        let made = seen.told.created_at;
        made.is_some_and(|made| made >= first.minus(CLOCK_FAULT))
    })
}

/// By how much a clock may be wrong without anybody noticing.
const CLOCK_FAULT: Duration = Duration::from_secs(86_400);

/// Whether a description stands in the way of a proof of absence: ours by name, or it would be if the
/// clocks were wrong.
pub(super) fn hinders_proof(asked: &Asked, case: &Case, seen: &Seen) -> bool {
    is_ours_by_name(asked, case, seen)
        || is_of_doubtful_age(asked, case, std::slice::from_ref(seen))
}

/// "One uid": the maximum under the one order; ties are broken by the content.
pub(super) fn greatest<'a>(seen: impl Iterator<Item = &'a Seen>) -> Option<&'a Seen> {
    seen.max_by(|a, b| {
        let content = |s: &Seen| {
            (
                s.key(),
                s.told.status.clone(),
                s.told.kind.clone(),
                s.told.amount,
            )
        };
        content(a).cmp(&content(b))
    })
}

/// "Several candidates": ends first, then bound, then success, then the earlier, then the smaller
/// uid. Gives the one adopted, and whether it ends the transaction.
fn adopt<'a, 'b>(
    asked: &Asked,
    case: &Case,
    candidates: &'b [Candidate<'a>],
    fates: &[Fate],
) -> Option<(&'b Candidate<'a>, bool)> {
    let has_ended = |seen: &[Seen]| {
        let agreeing = seen.iter().filter(|seen| is_agreed(asked, seen));
        greatest(agreeing).is_some_and(|seen| seen.told.ending.is_final())
    };
    let silent = |attempt: &Attempt| attempt.silent || !attempt.refusals.is_empty();
    let lost = |task: &Task| task.unknown || task.outlived || !task.refusals.is_empty();
    let some_ended_in_doubt = case.attempts.values().any(silent) || case.tasks.values().any(lost);
    let on_its_way = fates
        .iter()
        .any(|fate| matches!(fate, Fate::Running | Fate::Submitting));
    let mut best = None;
    for candidate in candidates {
        let ending = candidate
            .agreed
            .map_or(Ending::Open, |seen| seen.told.ending);
        let alone = some_ended_in_doubt && !case.is_beside(candidate.uid, has_ended);
        let believed = candidate.bound || candidate.succeeded || alone;
        // A failure found by name alone, and nothing of ours ever left: somebody else's.
        if ending.is_final() && !believed && !on_its_way {
            continue;
        }
        let is_final = ending.is_final() && believed;
        let preference = match ending {
            Ending::Successful => 2,
            Ending::Open => 1,
            Ending::Failed | Ending::Expired => 0,
        };
        let shown = candidate.agreed.or(candidate.greatest);
        let earlier = Reverse(shown.and_then(|shown| shown.told.created_at));
        let rank = (
            is_final,
            candidate.bound,
            preference,
            earlier,
            Reverse(candidate.uid),
        );
        if best.as_ref().is_none_or(|(known, _, _)| rank > *known) {
            best = Some((rank, candidate, is_final));
        }
    }
    best.map(|(_, candidate, is_final)| (candidate, is_final))
}

/// "Operators": the last decision holds up to its basis. Doubt cannot reopen an end, and is left by
/// a proof that came later, where no transaction of the gateway is known. `not_sent` is about what was
/// stamped before it.
fn decided(
    asked: &Asked,
    case: &Case,
    candidates: &[Candidate<'_>],
    is_final: bool,
    has_uid: bool,
) -> Option<State> {
    let decision = case.decision()?;
    let known: Option<Key> = candidates
        .iter()
        .filter_map(|candidate| candidate.greatest.map(Seen::key))
        .max();
    // The hash orders bodies, and says nothing of the transaction.
    let told = |key: Key| (key.0, key.1, key.2);
    let news = known.map(told) > decision.basis.map(told);
    let doubts = decision.state == State::InDoubt;
    let sent_since = case.last_stamp() > Some(decision.at);
    let overtaken = decision.state == State::NotSent && sent_since;
    if news || (doubts && is_final) || overtaken {
        return None;
    }
    let proved = proved_at(asked, case, false).is_some_and(|at| at > decision.at);
    Some(if doubts && !has_uid && proved {
        State::NotFound
    } else {
        decision.state
    })
}

/// When absence was proved of everything that had been sent by then, with nothing there whose age
/// alone makes it another's; and, for all but an E.1018, with no answer to our own request that names
/// something.
fn proved_at(asked: &Asked, case: &Case, duplicate: bool) -> Option<Timestamp> {
    let proof = case.proof(duplicate)?;
    let (at, covers) = (proof.at, case.is_covered_by(proof));
    let hindered = some_could_be_ours(asked, case) || (!duplicate && case.answered_amiss);
    (covers && !hindered).then_some(at)
}

/// Whether something is no candidate and could be ours all the same.
fn some_could_be_ours(asked: &Asked, case: &Case) -> bool {
    let mut all = case.seen.values();
    all.any(|seen| is_of_doubtful_age(asked, case, seen) || is_unlike(asked, case, seen))
}

/// The state when no transaction of the gateway is ours.
fn presumed(asked: &Asked, case: &Case, fates: &[Fate]) -> State {
    let live: Vec<Fate> = fates
        .iter()
        .copied()
        .filter(|fate| *fate != Fate::Nothing)
        .collect();
    let all_are = |kind: Fate| live.iter().all(|fate| *fate == kind);
    let proved = case.proof(false);
    if live.is_empty() && proved.is_some_and(|proof| case.is_covered_by(proof)) {
        return State::NotFound;
    }
    if live.is_empty() {
        // Card data cannot wait for another attempt; and what was given up waits for its caller.
        let last = case.attempts.keys().next_back().copied().unwrap_or(0);
        let given_up = case.given_up.is_some_and(|attempt| attempt >= last);
        let over = (asked.card_data && !fates.is_empty()) || given_up;
        return if over {
            State::NotSent
        } else {
            State::Accepted
        };
    }
    if live == [Fate::Duplicate] && proved_at(asked, case, true).is_some() {
        return State::Rejected;
    }
    if proved_at(asked, case, false).is_some() {
        return State::NotFound;
    }
    if live.contains(&Fate::Running) {
        return State::Processing;
    }
    if live.contains(&Fate::Submitting) {
        return State::Submitting;
    }
    let refused = [Fate::Rejected, Fate::Unconfirmed, Fate::Overdue];
    // What could be ours makes a refusal doubtful.
    if all_are(Fate::Rejected) && !some_could_be_ours(asked, case) {
        State::Rejected
    } else if live.contains(&Fate::Unconfirmed) && live.iter().all(|f| refused.contains(f)) {
        State::Processing
    } else {
        State::InDoubt
    }
}

/// A refusal of the submit is the end. After one that a task told, a look-up has to find nothing first.
fn rejection(attempt: &Attempt, tasks: &[&Task]) -> Fate {
    let told = |refusals: &[Refusal]| refusals.iter().max() == Some(&Refusal::Rejected);
    let tasks: Vec<&&Task> = tasks.iter().filter(|task| told(&task.refusals)).collect();
    let ended = |task: &&&Task| {
        task.refused_before || task.checks.iter().any(|check| check.as_str() != "overdue")
    };
    if told(&attempt.refusals) || tasks.is_empty() || tasks.iter().any(ended) {
        Fate::Rejected
    } else if tasks.iter().all(|task| task.checks.is_empty()) {
        Fate::Unconfirmed
    } else {
        Fate::Overdue
    }
}

/// Positive evidence first: a task, a refusal, "nothing left", and only then silence.
fn fate(case: &Case, number: u32, attempt: &Attempt) -> Fate {
    let tasks: Vec<&Task> = case
        .tasks
        .values()
        .filter(|task| task.attempt == number)
        .collect();
    if tasks.iter().any(|task| task.runs()) {
        return Fate::Running;
    }
    let refusals = tasks
        .iter()
        .flat_map(|task| &task.refusals)
        .chain(&attempt.refusals);
    match refusals.max() {
        // A refusal of a replayed request says nothing of the first one.
        Some(Refusal::Rejected) if !attempt.replay => return rejection(attempt, &tasks),
        Some(Refusal::Duplicate) if !attempt.replay => return Fate::Duplicate,
        Some(_) => return Fate::Doubt,
        None => {}
    }
    if !tasks.is_empty() {
        Fate::Doubt
    } else if attempt.not_sent || attempt.deferred {
        Fate::Nothing
    } else if attempt.silent {
        Fate::Doubt
    } else {
        Fate::Submitting
    }
}
