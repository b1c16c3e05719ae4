//! Whose a transaction is: what our own request was answered with, the mode, and what is told of several.

use super::given::{
    absent_of, accepted, acked, answered, at, currency, decided, fold, no_duplicate, payment,
    refund, result, seen, silent, snapshot, stamped, state, summed, task_id, test_payment,
    tracking, uid,
};
use crate::Mention;
use crate::discrepancy::indicated_discrepancies;
use crate::evidence::Namer;
use crate::explain;
use crate::fold::StateBasis;
use crate::verdict::{AppliedChange, apply};
use crate::{
    Discrepancy, DiscrepancyKind, Fact, RefusalKind, Snapshot, State, TransactionRequest, derive,
};

fn running() -> Vec<Fact> {
    vec![stamped(1, 0), acked(1, "t-1", 1)]
}

fn with(facts: Vec<Fact>, more: &[Fact]) -> Vec<Fact> {
    [facts, more.to_vec()].concat()
}

/// What the facts indicate.
fn told(opening: &TransactionRequest, facts: &[Fact]) -> Vec<Discrepancy> {
    let known = summed(opening, facts);
    indicated_discrepancies(opening, &known, &derive(opening, &known))
}

fn arrive(opening: &TransactionRequest, known: &[Fact], fact: Fact) -> AppliedChange {
    apply(opening, &summed(opening, known), &[fact])
}

fn mention(name: &str, amount: i64, code: &str, status: &str) -> Mention {
    Mention {
        uid: name.to_owned(),
        amount: Some(amount),
        currency: Some(code.to_owned()),
        status: Some(status.to_owned()),
    }
}

#[test]
fn our_own_tasks_result_is_ours_at_any_age() {
    let opening = payment();
    let odd = Snapshot {
        created_at: Some(at(-90_000)),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    assert_eq!(
        state(&opening, &with(running(), &[result("t-1", &odd)])),
        State::Successful
    );
    let facts = [stamped(1, 0), answered(1, &odd)];
    assert_eq!(state(&opening, &facts), State::Successful);
}

#[test]
fn a_response_with_another_tracking_id_binds_nothing() {
    let opening = payment();
    let odd = Snapshot {
        tracking_id: Some(tracking("other")),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    for facts in [
        with(running(), &[result("t-1", &odd)]),
        vec![stamped(1, 0), answered(1, &odd)],
    ] {
        let derived = fold(&opening, &facts);
        assert_eq!((derived.state, derived.uid), (State::InDoubt, None));
        let found = told(&opening, &facts);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].kind, DiscrepancyKind::AmbiguousTrackingId);
        assert_eq!(found[0].uids, [mention("u-1", 1_000, "USD", "successful")]);
        assert!(found[0].detail.contains("other"), "{}", found[0].detail);
        // A look-up by our own name that shows it tells otherwise: it is ours, and nothing is odd.
        let ours = snapshot(&opening, "u-1", "successful", 6);
        let facts = with(facts, &[seen(&ours)]);
        assert_eq!(state(&opening, &facts), State::Successful);
        assert!(told(&opening, &facts).is_empty());
    }
}

#[test]
fn a_duplicate_with_a_foreign_transaction_stays_a_duplicate() {
    let opening = payment();
    let other = Snapshot {
        tracking_id: Some(tracking("other")),
        code: Some("E.1018".to_owned()),
        message: Some("Duplicate transaction".to_owned()),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    let derived = fold(&opening, &with(running(), &[result("t-1", &other)]));
    assert_eq!(derived.state, State::InDoubt);
    let StateBasis::Refusal(refusal) = &derived.basis else {
        panic!("{derived:?}");
    };
    assert_eq!(refusal.kind, RefusalKind::Duplicate);
    assert_eq!(refusal.code.as_deref(), Some("E.1018"));
}

#[test]
fn a_childs_result_may_bear_its_parents_name_and_no_third_one() {
    let opening = refund();
    let named = |name| {
        let found = Snapshot {
            tracking_id: Some(tracking(name)),
            ..snapshot(&opening, "u-1", "successful", 5)
        };
        state(&opening, &with(running(), &[result("t-1", &found)]))
    };
    assert_eq!(named("refund-1"), State::Successful);
    assert_eq!(named("order-1"), State::Successful);
    assert_eq!(named("order-2"), State::InDoubt);
}

#[test]
fn a_response_of_the_other_mode_needs_an_operator() {
    for (opening, other) in [(payment(), true), (test_payment(), false)] {
        for status in ["successful", "failed", "expired", "incomplete"] {
            let odd = Snapshot {
                test: Some(other),
                ..snapshot(&opening, "u-1", status, 5)
            };
            let facts = with(running(), &[result("t-1", &odd)]);
            assert_eq!(state(&opening, &facts), State::Pending, "{status}");
            let found = told(&opening, &facts);
            let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
            assert_eq!(kinds, [DiscrepancyKind::TestLiveMix]);
            let known = summed(&opening, &facts);
            let said = explain::describe_state(&opening, &known, &derive(&opening, &known));
            assert!(said.contains("mode"), "{said}");
        }
        let odd = Snapshot {
            test: Some(other),
            ..snapshot(&opening, "u-1", "successful", 5)
        };
        let facts = with(running(), &[result("t-1", &odd), accepted(&odd)]);
        assert_eq!(state(&opening, &facts), State::Successful);
        assert!(told(&opening, &facts).is_empty());
        // Found by name alone it is somebody else's.
        let doubt = [stamped(1, 0), silent(1), seen(&odd)];
        assert_eq!(state(&opening, &doubt), State::InDoubt);
        // One that does not say is no mismatch.
        let silent = snapshot(&opening, "u-1", "successful", 5);
        let facts = with(running(), &[result("t-1", &silent)]);
        assert_eq!(state(&opening, &facts), State::Successful);
    }
}

#[test]
fn a_uid_discrepancy_resolves_when_our_task_names_the_uid() {
    let opening = payment();
    let early = Snapshot {
        created_at: Some(at(-180)),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    let known = with(running(), &[seen(&early)]);
    assert_eq!(told(&opening, &known).len(), 1);
    let change = arrive(&opening, &known, result("t-1", &early));
    assert_eq!(change.after.state, State::Successful);
    let healed: Vec<_> = change.healed.iter().map(|f| f.kind).collect();
    assert_eq!(healed, [DiscrepancyKind::AmbiguousTrackingId]);
    assert!(change.opened.is_empty());
}

#[test]
fn a_discrepancy_lists_every_success_with_its_amount() {
    let opening = payment();
    let paid = |name, updated| snapshot(&opening, name, "successful", updated);
    let known = with(running(), &[seen(&paid("x", 5)), seen(&paid("y", 6))]);
    let change = arrive(&opening, &known, seen(&paid("z", 7)));
    let [third] = change.opened.as_slice() else {
        panic!("{:?}", change.opened);
    };
    assert_eq!(third.kind, DiscrepancyKind::DuplicateSuccess);
    let uids: Vec<&str> = third.uids.iter().map(|m| m.uid.as_str()).collect();
    assert_eq!(uids, ["x", "y", "z"]);
    assert!(third.uids.iter().all(|m| m.amount == Some(1_000)));
    // It is the same finding as before, with more in it.
    assert!(change.healed.is_empty());
}

#[test]
fn a_state_by_another_uid_is_reported_with_both_uids() {
    let opening = payment();
    let ours = snapshot(&opening, "own", "incomplete", 5);
    let other = snapshot(&opening, "other", "successful", 6);
    let known = with(running(), &[result("t-1", &ours)]);
    let change = arrive(&opening, &known, seen(&other));
    assert_eq!(
        (change.after.state, change.after.uid.clone()),
        (State::Successful, Some(uid("other")))
    );
    let [finding] = change.opened.as_slice() else {
        panic!("{:?}", change.opened);
    };
    assert_eq!(finding.kind, DiscrepancyKind::AmbiguousTrackingId);
    let both = [
        mention("other", 1_000, "USD", "successful"),
        mention("own", 1_000, "USD", "incomplete"),
    ];
    assert_eq!(finding.uids, both);
    assert!(finding.detail.contains("our own task named own"));
    // Ours fails: the state is ours, and the other one's success stays told.
    let failed = snapshot(&opening, "own", "failed", 9);
    let facts = with(known, &[seen(&other), seen(&failed)]);
    assert_eq!(state(&opening, &facts), State::Failed);
    let found = told(&opening, &facts);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].uids[1], mention("own", 1_000, "USD", "failed"));
}

#[test]
fn a_failure_of_another_uid_does_not_override_our_task() {
    let opening = payment();
    let ours = snapshot(&opening, "own", "incomplete", 5);
    let other = snapshot(&opening, "other", "failed", 6);
    let facts = with(running(), &[result("t-1", &ours), seen(&other)]);
    let derived = fold(&opening, &facts);
    assert_eq!(
        (derived.state, derived.uid),
        (State::Pending, Some(uid("own")))
    );
}

#[test]
fn a_mismatched_success_is_reported_beside_our_state() {
    let opening = payment();
    let ours = snapshot(&opening, "own", "failed", 5);
    let unlike = Snapshot {
        amount: Some(900),
        currency: Some(currency("EUR")),
        ..snapshot(&opening, "other", "successful", 6)
    };
    let facts = with(running(), &[result("t-1", &ours), seen(&unlike)]);
    let found = told(&opening, &facts);
    let both = [
        mention("other", 900, "EUR", "successful"),
        mention("own", 1_000, "USD", "failed"),
    ];
    assert!(
        found.iter().all(|finding| finding.uids == both),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);
}

#[test]
fn an_operator_who_names_a_uid_binds_it() {
    let opening = payment();
    let older = Snapshot {
        created_at: Some(at(-90_000)),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    let known = [stamped(1, 0), silent(1), seen(&older)];
    assert_eq!(state(&opening, &known), State::InDoubt);
    let named = |name: &str, basis| {
        let Fact::Decided(decision) = decided(9, State::Successful, basis) else {
            unreachable!();
        };
        Fact::Decided(crate::evidence::Decision {
            uid: Some(uid(name)),
            ..decision
        })
    };
    let facts = with(known.to_vec(), &[named("u-1", Some(older.key()))]);
    let derived = fold(&opening, &facts);
    assert_eq!(
        (derived.state, derived.uid),
        (State::Successful, Some(uid("u-1")))
    );
    assert!(told(&opening, &facts).is_empty());
    // One that nobody has told of yet.
    let facts = with(known[..2].to_vec(), &[named("u-9", None)]);
    let derived = fold(&opening, &facts);
    assert_eq!(
        (derived.state, derived.uid),
        (State::Successful, Some(uid("u-9")))
    );
    // What the gateway says of it afterwards counts for more.
    let failed = snapshot(&opening, "u-9", "failed", 9);
    assert_eq!(
        state(&opening, &with(facts, &[seen(&failed)])),
        State::Failed
    );
}

#[test]
fn a_uid_in_our_own_response_blocks_a_proof_of_absence() {
    let opening = payment();
    let theirs = Snapshot {
        tracking_id: Some(tracking("somebody-else")),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    let anothers = |by| Fact::Anothers {
        by,
        snapshot: Box::new(snapshot(&opening, "u-1", "successful", 5)),
    };
    let words = [
        result("t-1", &theirs),
        anothers(Some(Namer::Task(task_id("t-1")))),
    ];
    for word in words {
        let facts = with(running(), &[word, absent_of(&[1], 90_000)]);
        assert_eq!(state(&opening, &facts), State::InDoubt);
        let why =
            explain::describe_state(&opening, &summed(&opening, &facts), &fold(&opening, &facts));
        assert!(why.contains("answered it with u-1"), "{why}");
        // A person ends it, and nothing else does.
        let facts = with(facts, &[decided(90_001, State::NotFound, None)]);
        assert_eq!(state(&opening, &facts), State::NotFound);
    }
    // What a look-up shows and is another's says nothing of our request; nor does what a duplicate clashed with.
    let silence = [
        stamped(1, 0),
        silent(1),
        anothers(None),
        absent_of(&[1], 90_000),
    ];
    assert_eq!(state(&opening, &silence), State::NotFound);
    let duplicate = Snapshot {
        code: Some("E.1018".to_owned()),
        ..theirs
    };
    let facts = with(running(), &[result("t-1", &duplicate), no_duplicate(1000)]);
    assert_eq!(state(&opening, &facts), State::Rejected);
}
