//! An operator's decision holds up to its basis, and not beyond.

use super::candidates::oracle;
use super::facts::{cases, decisions, histories};
use super::given::{
    absent, acked, decided, fold, payment, result, seen, silent, snapshot, stamped, state, summed,
};
use crate::evidence::Decision;
use crate::fold::StateBasis;
use crate::{Fact, Snapshot, SnapshotKey, State};
use proptest::prelude::*;

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn the_latest_decision_holds_exactly_up_to_its_basis(
        (opening, facts) in histories(), decision in decisions()
    ) {
        let facts = [facts, vec![Fact::Decided(decision)]].concat();
        let possible = |d: &Decision| {
            (d.state.is_final() && d.state != State::Merged) || d.state == State::InDoubt
        };
        let latest = facts.iter().filter_map(|fact| match fact {
            Fact::Decided(decision) if possible(decision) => Some(decision),
            _ => None,
        });
        let Some(decision) = latest.max() else { return Ok(()) };
        let without: Vec<Fact> =
            facts.iter().filter(|fact| !matches!(fact, Fact::Decided(_))).cloned().collect();
        let (with, without) = (fold(&opening, &facts), fold(&opening, &without));
        let greatest = oracle(&opening, &facts).into_values().flatten().map(|s| s.key()).max();
        let ended = without.state.is_final() && matches!(without.basis, StateBasis::Snapshot(_));
        let doubt = decision.state == State::InDoubt;
        let sent = decision.state == State::NotSent
            && summed(&opening, &facts).sent_at() > Some(decision.at);
        // The same thing said in another body, whatever its hash, is no news.
        let news = greatest.map(SnapshotKey::says) > decision.basis.map(SnapshotKey::says);
        if news || (doubt && ended) || sent {
            prop_assert_eq!(with, without);
        } else if with.basis == StateBasis::Absence {
            prop_assert!(doubt && with.state == State::NotFound && with.uid.is_none());
        } else {
            prop_assert_eq!(with.basis, StateBasis::Operator);
            prop_assert_eq!(with.state, decision.state);
            prop_assert_eq!(with.uid, without.uid);
        }
    }
}

#[test]
fn evidence_known_at_a_decision_cannot_override_it() {
    let opening = payment();
    let open = snapshot(&opening, "u-1", "incomplete", 5);
    let facts = [
        vec![stamped(1, 0), acked(1, "t-1", 1), result("t-1", &open)],
        vec![decided(9, State::Failed, Some(open.key()))],
    ]
    .concat();
    for sha in [0, 255] {
        let listed = Snapshot {
            body_sha256: [sha; 32],
            ..open.clone()
        };
        let facts = [facts.clone(), vec![seen(&listed)]].concat();
        assert_eq!(state(&opening, &facts), State::Failed, "{sha}");
    }
}

#[test]
fn a_greater_snapshot_overrides_a_decision() {
    let opening = payment();
    let failed = snapshot(&opening, "u-1", "failed", 5);
    let facts = vec![stamped(1, 0), acked(1, "t-1", 1), result("t-1", &failed)];
    let decision = decided(9, State::Successful, Some(failed.key()));
    let facts = [facts, vec![decision]].concat();
    assert_eq!(state(&opening, &facts), State::Successful);
    let again = seen(&snapshot(&opening, "u-1", "incomplete", 8));
    assert_eq!(
        state(&opening, &[facts.clone(), vec![again]].concat()),
        State::Successful
    );
    let newer = seen(&snapshot(&opening, "u-1", "failed", 8));
    assert_eq!(
        state(&opening, &[facts, vec![newer]].concat()),
        State::Failed
    );
}

#[test]
fn any_snapshot_overrides_a_decision_made_without_one() {
    let opening = payment();
    let facts = [stamped(1, 0), silent(1), decided(9, State::NotFound, None)];
    assert_eq!(state(&opening, &facts), State::NotFound);
    let seen = seen(&snapshot(&opening, "u-1", "incomplete", 5));
    assert_eq!(
        state(&opening, &[facts.to_vec(), vec![seen]].concat()),
        State::Pending
    );
}

#[test]
fn that_nothing_was_sent_holds_until_something_is() {
    let opening = payment();
    let decided = decided(9, State::NotSent, None);
    assert_eq!(
        state(&opening, std::slice::from_ref(&decided)),
        State::NotSent
    );
    // Of what may have left before it, a person knows better.
    let before = [stamped(1, 9), silent(1), decided.clone()];
    assert_eq!(state(&opening, &before), State::NotSent);
    let after = [decided, stamped(1, 10)];
    assert_eq!(state(&opening, &after), State::Submitting);
    let acked = [after.to_vec(), vec![acked(1, "t-1", 11)]].concat();
    assert_eq!(state(&opening, &acked), State::Processing);
}

#[test]
fn decided_doubt_ends_by_a_later_proof_of_absence() {
    let opening = payment();
    let facts = [
        stamped(1, 0),
        silent(1),
        absent(90_000),
        decided(90_001, State::InDoubt, None),
    ];
    assert_eq!(state(&opening, &facts), State::InDoubt);
    let later = [facts.to_vec(), vec![absent(200_000)]].concat();
    assert_eq!(state(&opening, &later), State::NotFound);
}

#[test]
fn a_proof_of_absence_does_not_affect_a_known_transaction() {
    let opening = payment();
    let pending = snapshot(&opening, "u-1", "incomplete", 5);
    let facts = [
        stamped(1, 0),
        acked(1, "t-1", 1),
        result("t-1", &pending),
        decided(9, State::InDoubt, Some(pending.key())),
        absent(90_000),
    ];
    assert_eq!(state(&opening, &facts), State::InDoubt);
}

#[test]
fn a_decision_for_doubt_cannot_reopen_a_final_snapshot() {
    let opening = payment();
    let paid = snapshot(&opening, "u-1", "successful", 5);
    let facts = [stamped(1, 0), silent(1), seen(&paid)];
    let doubt = decided(9, State::InDoubt, Some(paid.key()));
    assert_eq!(
        state(&opening, &[facts.to_vec(), vec![doubt]].concat()),
        State::Successful
    );
}

#[test]
fn only_final_states_and_doubt_can_be_decided() {
    let opening = payment();
    let facts = [stamped(1, 0), silent(1)];
    for word in [
        State::Accepted,
        State::Submitting,
        State::Processing,
        State::Pending,
    ] {
        let facts = [facts.to_vec(), vec![decided(9, word, None)]].concat();
        assert_eq!(summed(&opening, &facts).decision, None);
        assert_eq!(state(&opening, &facts), State::InDoubt);
    }
}
