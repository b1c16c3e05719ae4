//! design.md §5 and docs/adr/0002, said once more: which state follows from the lists of a case.
//!
//! It is written to be read beside the text and not to be fast. It shares nothing with the fold, so
//! that the two can only agree by both being right. What it deliberately cannot do: look at the order
//! in which things arrived.

use crate::evidence_reader::SnapshotOrderKey;
use crate::gateway_body::{FinalityRank, ReportedTransaction};
use crate::history::{
    AuditedAttempt, AuditedRequest, AuditedSnapshot, AuditedTask, TransactionHistory,
};
use crate::refusal_table::AuditedRefusal;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;
use words::{Origin, State, Timestamp};

/// What the evidence amounts to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuditedState {
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
pub(super) struct AuditedCandidate<'a> {
    pub(super) uid: &'a str,
    /// Our own task named it, or it was taken over as it is.
    pub(super) bound: bool,
    /// The greatest description of all.
    pub(super) greatest: Option<&'a AuditedSnapshot>,
    /// The greatest of those that agree with what was asked.
    pub(super) agreed: Option<&'a AuditedSnapshot>,
    /// One of those that agree was successful.
    succeeded: bool,
}

/// What one attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AuditedAttemptOutcome {
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
pub(super) fn derive_state(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    owners: &BTreeMap<String, Uuid>,
) -> AuditedState {
    if asked.origin == Origin::Gateway && case.is_merged {
        return AuditedState {
            state: State::Merged,
            uid: None,
            standing: Standing::Merged,
        };
    }
    let candidates = candidates(asked, case, owners);
    let fates: Vec<AuditedAttemptOutcome> = case
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
        return AuditedState {
            state,
            uid,
            standing,
        };
    }
    let state = match adopted {
        Some((candidate, true)) => match candidate.agreed.map(|seen| seen.told.ending) {
            Some(FinalityRank::Successful) => State::Successful,
            Some(FinalityRank::Failed) => State::Failed,
            Some(FinalityRank::Expired) => State::Expired,
            Some(FinalityRank::Open) | None => State::Pending,
        },
        Some((_, false)) => State::Pending,
        None => presumed(asked, case, &fates),
    };
    AuditedState {
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
    asked: &AuditedRequest,
    case: &'a TransactionHistory,
    owners: &BTreeMap<String, Uuid>,
) -> Vec<AuditedCandidate<'a>> {
    let mut all = Vec::new();
    for (uid, seen) in &case.seen {
        let agreeing: Vec<&AuditedSnapshot> =
            seen.iter().filter(|seen| is_agreed(asked, seen)).collect();
        let named = case.named_by_person.contains(uid);
        let bound = named || seen.iter().any(|seen| seen.named);
        // A child that has equal siblings shares names with them: what nobody owns is contested.
        let unowned_child = asked.kind.is_child() && !owners.contains_key(uid);
        let fits = agreeing
            .iter()
            .any(|seen| is_ours_by_tracking_id(asked, case, seen));
        let greatest = greatest(seen.iter());
        if bound || (fits && !unowned_child) {
            let succeeded = agreeing
                .iter()
                .any(|s| s.told.ending == FinalityRank::Successful);
            let agreed = self::greatest(agreeing.into_iter());
            all.push(AuditedCandidate {
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
fn is_agreed(asked: &AuditedRequest, seen: &AuditedSnapshot) -> bool {
    seen.accepted || asked.matches_request(&seen.told)
}

/// Whether one description by itself makes its transaction ours, found by name alone.
pub(super) fn is_ours_by_tracking_id(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    seen: &AuditedSnapshot,
) -> bool {
    let young = case
        .first_not_before()
        .is_some_and(|first| seen.told.created_at.is_none_or(|made| made >= first));
    (seen.accepted || asked.matches_request(&seen.told))
        && asked.has_our_tracking_id(&seen.told)
        && young
}

/// Whether the age alone of a transaction speaks against its being ours, and by no more than a clock
/// may be wrong (docs/adr/0007).
fn is_of_doubtful_age(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    seen: &[AuditedSnapshot],
) -> bool {
    let fits = |seen: &&AuditedSnapshot| {
        (seen.accepted || asked.matches_request(&seen.told))
            && asked.has_our_tracking_id(&seen.told)
    };
    let fitting: Vec<&AuditedSnapshot> = seen.iter().filter(fits).collect();
    let named = seen.iter().any(|seen| seen.named);
    let ours = |seen: &&AuditedSnapshot| is_ours_by_tracking_id(asked, case, seen);
    !named && !fitting.iter().any(ours) && fitting.iter().any(|seen| is_nearly_young(case, seen))
}

/// Whether a transaction bears our name and type, is not what was asked for, and was not made a day before we
/// first sent.
fn is_unlike(asked: &AuditedRequest, case: &TransactionHistory, seen: &[AuditedSnapshot]) -> bool {
    let named = seen.iter().any(|seen| seen.named);
    let ours = |seen: &AuditedSnapshot| is_ours_by_tracking_id(asked, case, seen);
    let could_be = |told: &ReportedTransaction| {
        let kind = told.kind.as_deref();
        let long_before = matches!((case.first_stamp(), told.created_at),
            (Some(first), Some(made)) if made < first.minus(MAX_CLOCK_FAULT));
        asked.has_our_tracking_id(told)
            && kind.is_none_or(|kind| kind == asked.kind.as_str())
            && !long_before
    };
    let last = greatest(seen.iter());
    !named && !seen.iter().any(ours) && last.is_some_and(|seen| could_be(&seen.told))
}

/// Whether it was made at most 24 hours before we first sent.
fn is_nearly_young(case: &TransactionHistory, seen: &AuditedSnapshot) -> bool {
    let first = case.first_stamp();
    first.is_some_and(|first| {
        let made = seen.told.created_at;
        made.is_some_and(|made| made >= first.minus(MAX_CLOCK_FAULT))
    })
}

/// By how much a clock may be wrong without anybody noticing.
const MAX_CLOCK_FAULT: Duration = Duration::from_secs(86_400);

/// Whether a description stands in the way of a proof of absence: ours by name, or it would be if the
/// clocks were wrong.
pub(super) fn blocks_absence_proof(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    seen: &AuditedSnapshot,
) -> bool {
    is_ours_by_tracking_id(asked, case, seen)
        || is_of_doubtful_age(asked, case, std::slice::from_ref(seen))
}

/// "One uid": the maximum under the one order; ties are broken by the content.
pub(super) fn greatest<'a>(
    seen: impl Iterator<Item = &'a AuditedSnapshot>,
) -> Option<&'a AuditedSnapshot> {
    seen.max_by(|a, b| {
        let content = |s: &AuditedSnapshot| {
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
    asked: &AuditedRequest,
    case: &TransactionHistory,
    candidates: &'b [AuditedCandidate<'a>],
    fates: &[AuditedAttemptOutcome],
) -> Option<(&'b AuditedCandidate<'a>, bool)> {
    let has_ended = |seen: &[AuditedSnapshot]| {
        let agreeing = seen.iter().filter(|seen| is_agreed(asked, seen));
        greatest(agreeing).is_some_and(|seen| seen.told.ending.is_final())
    };
    let silent = |attempt: &AuditedAttempt| attempt.silent || !attempt.refusals.is_empty();
    let lost = |task: &AuditedTask| task.unknown || task.outlived || !task.refusals.is_empty();
    let some_ended_in_doubt = case.attempts.values().any(silent) || case.tasks.values().any(lost);
    let on_its_way = fates.iter().any(|fate| {
        matches!(
            fate,
            AuditedAttemptOutcome::Running | AuditedAttemptOutcome::Submitting
        )
    });
    let mut best = None;
    for candidate in candidates {
        let ending = candidate
            .agreed
            .map_or(FinalityRank::Open, |seen| seen.told.ending);
        let alone = some_ended_in_doubt && !case.is_beside(candidate.uid, has_ended);
        let believed = candidate.bound || candidate.succeeded || alone;
        // A failure found by name alone, and nothing of ours ever left: somebody else's.
        if ending.is_final() && !believed && !on_its_way {
            continue;
        }
        let is_final = ending.is_final() && believed;
        let preference = match ending {
            FinalityRank::Successful => 2,
            FinalityRank::Open => 1,
            FinalityRank::Failed | FinalityRank::Expired => 0,
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
    asked: &AuditedRequest,
    case: &TransactionHistory,
    candidates: &[AuditedCandidate<'_>],
    is_final: bool,
    has_uid: bool,
) -> Option<State> {
    let decision = case.decision()?;
    let known: Option<SnapshotOrderKey> = candidates
        .iter()
        .filter_map(|candidate| candidate.greatest.map(AuditedSnapshot::key))
        .max();
    // The hash orders bodies, and says nothing of the transaction.
    let told = |key: SnapshotOrderKey| (key.0, key.1, key.2);
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
fn proved_at(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    duplicate: bool,
) -> Option<Timestamp> {
    let proof = case.proof(duplicate)?;
    let (at, covers) = (proof.at, case.is_covered_by(proof));
    let hindered = some_could_be_ours(asked, case) || (!duplicate && case.answered_amiss);
    (covers && !hindered).then_some(at)
}

/// Whether something is no candidate and could be ours all the same.
fn some_could_be_ours(asked: &AuditedRequest, case: &TransactionHistory) -> bool {
    let mut all = case.seen.values();
    all.any(|seen| is_of_doubtful_age(asked, case, seen) || is_unlike(asked, case, seen))
}

/// The state when no transaction of the gateway is ours.
fn presumed(
    asked: &AuditedRequest,
    case: &TransactionHistory,
    fates: &[AuditedAttemptOutcome],
) -> State {
    let live: Vec<AuditedAttemptOutcome> = fates
        .iter()
        .copied()
        .filter(|fate| *fate != AuditedAttemptOutcome::Nothing)
        .collect();
    let all_are = |kind: AuditedAttemptOutcome| live.iter().all(|fate| *fate == kind);
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
    if live == [AuditedAttemptOutcome::Duplicate] && proved_at(asked, case, true).is_some() {
        return State::Rejected;
    }
    if proved_at(asked, case, false).is_some() {
        return State::NotFound;
    }
    if live.contains(&AuditedAttemptOutcome::Running) {
        return State::Processing;
    }
    if live.contains(&AuditedAttemptOutcome::Submitting) {
        return State::Submitting;
    }
    let refused = [
        AuditedAttemptOutcome::Rejected,
        AuditedAttemptOutcome::Unconfirmed,
        AuditedAttemptOutcome::Overdue,
    ];
    // What could be ours makes a refusal doubtful.
    if all_are(AuditedAttemptOutcome::Rejected) && !some_could_be_ours(asked, case) {
        State::Rejected
    } else if live.contains(&AuditedAttemptOutcome::Unconfirmed)
        && live.iter().all(|f| refused.contains(f))
    {
        State::Processing
    } else {
        State::InDoubt
    }
}

/// A refusal of the submit is the end. After one that a task told, a look-up has to find nothing first.
fn rejection(attempt: &AuditedAttempt, tasks: &[&AuditedTask]) -> AuditedAttemptOutcome {
    let told =
        |refusals: &[AuditedRefusal]| refusals.iter().max() == Some(&AuditedRefusal::Rejected);
    let tasks: Vec<&&AuditedTask> = tasks.iter().filter(|task| told(&task.refusals)).collect();
    let ended = |task: &&&AuditedTask| {
        task.refused_before || task.checks.iter().any(|check| check.as_str() != "overdue")
    };
    if told(&attempt.refusals) || tasks.is_empty() || tasks.iter().any(ended) {
        AuditedAttemptOutcome::Rejected
    } else if tasks.iter().all(|task| task.checks.is_empty()) {
        AuditedAttemptOutcome::Unconfirmed
    } else {
        AuditedAttemptOutcome::Overdue
    }
}

/// Positive evidence first: a task, a refusal, "nothing left", and only then silence.
fn fate(case: &TransactionHistory, number: u32, attempt: &AuditedAttempt) -> AuditedAttemptOutcome {
    let tasks: Vec<&AuditedTask> = case
        .tasks
        .values()
        .filter(|task| task.attempt == number)
        .collect();
    if tasks.iter().any(|task| task.is_running()) {
        return AuditedAttemptOutcome::Running;
    }
    let refusals = tasks
        .iter()
        .flat_map(|task| &task.refusals)
        .chain(&attempt.refusals);
    match refusals.max() {
        // A refusal of a replayed request says nothing of the first one.
        Some(AuditedRefusal::Rejected) if !attempt.replay => return rejection(attempt, &tasks),
        Some(AuditedRefusal::Duplicate) if !attempt.replay => {
            return AuditedAttemptOutcome::Duplicate;
        }
        Some(_) => return AuditedAttemptOutcome::Doubt,
        None => {}
    }
    if !tasks.is_empty() {
        AuditedAttemptOutcome::Doubt
    } else if attempt.not_sent || attempt.deferred {
        AuditedAttemptOutcome::Nothing
    } else if attempt.silent {
        AuditedAttemptOutcome::Doubt
    } else {
        AuditedAttemptOutcome::Submitting
    }
}
