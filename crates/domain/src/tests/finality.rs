//! What ends a transaction, and what never does.

use super::facts::{
    cases, dealings, histories, histories_and_more, openings, sightings, snapshots,
};
use super::given::{
    absent, acked, card_payment, not_sent, payment, refused, replayed, result, seen, silent,
    snapshot, stamped, state, summed, task_refused, task_unknown,
};
use crate::fold::StateBasis;
use crate::{Fact, RefusalKind, Snapshot, State, StatusClass, TransactionRequest, derive};
use proptest::collection::vec;
use proptest::prelude::*;

/// The classes of all snapshots among the facts.
fn classes(facts: &[Fact]) -> Vec<StatusClass> {
    let class = |fact: &Fact| match fact {
        Fact::Seen { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::Merged { snapshot, .. }
        | Fact::TaskResult { snapshot, .. }
        | Fact::MismatchAccepted(snapshot) => Some(snapshot.class),
        _ => None,
    };
    facts.iter().filter_map(class).collect()
}

fn decided(facts: &[Fact], state: State) -> bool {
    facts
        .iter()
        .any(|fact| matches!(fact, Fact::Decided(decision) if decision.state == state))
}

fn refusals(facts: &[Fact], kind: RefusalKind) -> bool {
    facts.iter().any(|fact| match fact {
        Fact::Refused { refusal, .. } | Fact::TaskRefused { refusal, .. } => refusal.kind == kind,
        // An answer to our own request that shows another's transaction.
        Fact::TaskResult { snapshot, .. }
        | Fact::Answered { snapshot, .. }
        | Fact::Anothers { snapshot, .. } => {
            let duplicate = snapshot.code.as_deref() == Some("E.1018");
            kind == RefusalKind::Duplicate && duplicate
        }
        _ => false,
    })
}

fn proved(facts: &[Fact], duplicate: bool) -> bool {
    facts
        .iter()
        .any(|fact| matches!(fact, Fact::AbsenceProved(p) if p.duplicate == duplicate))
}

/// Whether a state has something among the facts that it may rest on.
fn has_grounds(opening: &TransactionRequest, facts: &[Fact], state: State) -> bool {
    if decided(facts, state) {
        return true;
    }
    match state {
        State::Successful => classes(facts).contains(&StatusClass::Successful),
        State::Failed => classes(facts).contains(&StatusClass::Failed),
        State::Expired => classes(facts).contains(&StatusClass::Expired),
        State::Rejected => {
            let duplicate = refusals(facts, RefusalKind::Duplicate) && proved(facts, true);
            refusals(facts, RefusalKind::Rejected) || duplicate
        }
        State::NotFound => proved(facts, false),
        State::NotSent => {
            let unsent = |f: &Fact| matches!(f, Fact::NotSent { .. } | Fact::Deferred { .. });
            let given_up = |f: &Fact| matches!(f, Fact::GivenUp { .. });
            (opening.card_data && facts.iter().any(unsent)) || facts.iter().any(given_up)
        }
        State::InDoubt => facts.len() > 1,
        State::Accepted | State::Submitting | State::Processing | State::Pending => true,
        State::Merged => false,
    }
}

/// Silence, errors that say nothing, and tasks that went away; snapshots that are not final.
fn doubtful() -> impl Strategy<Value = (TransactionRequest, Vec<Fact>)> {
    openings().prop_flat_map(|opening| {
        let fact = prop_oneof![dealings(), sightings(opening.clone())];
        vec(fact, 0..10).prop_map(move |facts| {
            let nothing_said = |fact: &Fact| match fact {
                Fact::Refused { refusal, .. } | Fact::TaskRefused { refusal, .. } => {
                    refusal.kind == RefusalKind::Doubt
                }
                Fact::NotSent { .. } | Fact::GivenUp { .. } | Fact::Deferred { .. } => false,
                other => classes(std::slice::from_ref(other))
                    .iter()
                    .all(|c| !c.is_final()),
            };
            let mut facts: Vec<Fact> = facts.into_iter().filter(nothing_said).collect();
            facts.insert(0, stamped(1, 0));
            (opening.clone(), facts)
        })
    })
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_state_final_by_a_snapshot_stays_final((opening, facts, more) in histories_and_more()) {
        let mut summary = summed(&opening, &[]);
        let mut ended = false;
        for fact in facts.iter().chain(&more) {
            summary.join(&opening, fact);
            let derived = derive(&opening, &summary);
            ended |= derived.state.is_final() && matches!(derived.basis, StateBasis::Snapshot(_));
            prop_assert!(!ended || derived.state.is_final(), "{derived:?} after {fact:?}");
        }
    }

    #[test]
    fn every_state_has_grounds((opening, facts) in histories()) {
        let state = state(&opening, &facts);
        prop_assert!(has_grounds(&opening, &facts, state), "{state}");
    }

    #[test]
    fn a_missing_response_never_makes_a_state_final((opening, facts) in doubtful()) {
        prop_assert!(!state(&opening, &facts).is_final());
    }

    #[test]
    fn any_candidate_snapshot_overrides_a_presumed_final(
        (opening, facts) in histories(),
        which in 0..4_u8,
    ) {
        let facts: Vec<Fact> =
            facts.into_iter().filter(|fact| !matches!(fact, Fact::Decided(_))).collect();
        let status = ["successful", "incomplete", "failed", "odd"][usize::from(which)];
        let ours = snapshot(&opening, "u-9", status, 40);
        let own = [facts.clone(), vec![result("t-9", &ours)]].concat();
        prop_assert!(!state(&opening, &own).is_presumed());
        // A failure by tracking id alone says nothing of a request that never left.
        let unproved: Vec<Fact> =
            facts.iter().filter(|fact| !matches!(fact, Fact::AbsenceProved(_))).cloned().collect();
        let left = !matches!(state(&opening, &unproved), State::NotSent | State::Accepted);
        if left || status != "failed" {
            let by_name = [facts, vec![seen(&ours)]].concat();
            prop_assert!(!state(&opening, &by_name).is_presumed());
        }
    }

    #[test]
    fn a_greater_final_snapshot_changes_the_state(
        one in snapshots(payment()), two in snapshots(payment())
    ) {
        let opening = payment();
        let one = Snapshot { tracking_id: None, ..one };
        let facts = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &one)];
        let two = Snapshot { uid: one.uid.clone(), amount: opening.amount, kind: None,
            currency: None, test: None, unread: None, ..two };
        let expected = match two.class {
            StatusClass::Successful => State::Successful,
            StatusClass::Failed => State::Failed,
            StatusClass::Expired => State::Expired,
            StatusClass::Pending | StatusClass::Other => return Ok(()),
        };
        if two.outranks(&one) {
            let facts = [facts.to_vec(), vec![seen(&two)]].concat();
            prop_assert_eq!(state(&opening, &facts), expected);
        }
    }
}

#[test]
fn a_transaction_is_accepted_until_it_is_stamped() {
    assert_eq!(state(&payment(), &[]), State::Accepted);
    assert_eq!(state(&payment(), &[stamped(1, 0)]), State::Submitting);
}

#[test]
fn a_task_that_ends_without_a_result_is_in_doubt() {
    let facts = vec![stamped(1, 0), acked(1, "t-1", 1)];
    assert_eq!(state(&payment(), &facts), State::Processing);
    assert_eq!(
        state(&payment(), &[facts, vec![task_unknown("t-1")]].concat()),
        State::InDoubt
    );
}

#[test]
fn a_missing_or_unclear_response_is_in_doubt() {
    assert_eq!(
        state(&payment(), &[stamped(1, 0), silent(1)]),
        State::InDoubt
    );
    let facts = [stamped(1, 0), refused(1, RefusalKind::Doubt)];
    assert_eq!(state(&payment(), &facts), State::InDoubt);
    let facts = [
        stamped(1, 0),
        acked(1, "t-1", 1),
        task_refused("t-1", RefusalKind::Doubt),
    ];
    assert_eq!(state(&payment(), &facts), State::InDoubt);
}

#[test]
fn an_unsent_card_request_is_not_sent_others_wait() {
    let facts = [stamped(1, 0), not_sent(1)];
    assert_eq!(state(&card_payment(), &facts), State::NotSent);
    assert_eq!(state(&payment(), &facts), State::Accepted);
}

#[test]
fn a_non_final_snapshot_reopens_a_presumed_final() {
    let opening = payment();
    let facts = [stamped(1, 0), refused(1, RefusalKind::Rejected)];
    assert_eq!(state(&opening, &facts), State::Rejected);
    let late = seen(&snapshot(&opening, "u-1", "incomplete", 5));
    assert_eq!(
        state(&opening, &[facts.to_vec(), vec![late.clone()]].concat()),
        State::Pending
    );
    let facts = [stamped(1, 0), silent(1), absent(90_000), late];
    assert_eq!(state(&opening, &facts), State::Pending);
}

#[test]
fn a_late_answer_counts_for_more_than_the_silence_before_it() {
    let facts = [stamped(1, 0), not_sent(1), acked(1, "t-1", 60)];
    assert_eq!(state(&payment(), &facts), State::Processing);
    let facts = [stamped(1, 0), silent(1), acked(1, "t-1", 60)];
    assert_eq!(state(&payment(), &facts), State::Processing);
    let facts = [stamped(1, 0), silent(1), not_sent(1)];
    assert_eq!(state(&payment(), &facts), State::Accepted);
}

#[test]
fn a_new_attempt_needs_all_others_unprocessed() {
    let clear = |facts: &[Fact]| summed(&payment(), facts).can_send();
    assert!(clear(&[]));
    assert!(clear(&[stamped(1, 0), not_sent(1)]));
    assert!(!clear(&[stamped(1, 0)]));
    assert!(!clear(&[stamped(1, 0), silent(1)]));
    assert!(!clear(&[stamped(1, 0), refused(1, RefusalKind::Rejected)]));
    assert!(!clear(&[stamped(1, 0), not_sent(1), replayed(2, 9)]));
}
