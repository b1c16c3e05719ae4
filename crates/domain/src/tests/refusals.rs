//! Refusals: what they end, and what they leave open.

use super::given::{
    absent, absent_of, acked, at, card_payment, checked, fold, given_up, no_duplicate, not_sent,
    payment, refused, replayed, seen, silent, snapshot, stamped, state, summed, task_id,
    task_refused,
};
use crate::evidence::RefusalCheck;
use crate::fold::StateBasis;
use crate::{Fact, RefusalKind, Snapshot, State, derive};

#[test]
fn a_documented_refusal_of_a_submit_is_final_at_once() {
    let facts = [stamped(1, 0), refused(1, RefusalKind::Rejected)];
    assert_eq!(state(&payment(), &facts), State::Rejected);
}

#[test]
fn a_refusal_beside_what_could_be_ours_is_doubt() {
    let opening = payment();
    let older = Snapshot {
        created_at: Some(at(-3_600)),
        ..snapshot(&opening, "u-1", "successful", 9)
    };
    let unlike = Snapshot {
        amount: Some(7),
        ..snapshot(&opening, "u-1", "successful", 9)
    };
    let long_before = Snapshot {
        created_at: Some(at(-90_000)),
        ..older.clone()
    };
    let by_submit = vec![stamped(1, 0), refused(1, RefusalKind::Rejected)];
    for refused in [by_submit, told_by_task(&[RefusalCheck::FoundNothing])] {
        let beside = |found: &Snapshot| [refused.clone(), vec![seen(found)]].concat();
        for found in [&older, &unlike] {
            let told = fold(&opening, &beside(found));
            assert_eq!(told.state, State::InDoubt);
            // What was refused is shown.
            assert!(matches!(told.basis, StateBasis::Refusal(r) if r.kind == RefusalKind::Doubt));
        }
        assert_eq!(state(&opening, &beside(&long_before)), State::Rejected);
    }
}

/// What the task of attempt 1 refused, and what look-ups came to.
fn told_by_task(checks: &[RefusalCheck]) -> Vec<Fact> {
    let mut facts = vec![
        stamped(1, 0),
        acked(1, "t-1", 1),
        task_refused("t-1", RefusalKind::Rejected),
    ];
    facts.extend(checks.iter().map(|check| checked("t-1", *check)));
    facts
}

#[test]
fn a_task_refusal_waits_for_an_empty_lookup() {
    use RefusalCheck::{CannotBeShown, FoundNothing, LookupsFailed, Overdue};
    let opening = payment();
    let waiting = fold(&opening, &told_by_task(&[]));
    assert_eq!(waiting.state, State::Processing);
    // It is shown meanwhile.
    assert!(matches!(waiting.basis, StateBasis::Refusal(r) if r.kind == RefusalKind::Rejected));
    let overdue = fold(&opening, &told_by_task(&[Overdue]));
    assert_eq!(overdue.state, State::InDoubt);
    assert!(matches!(overdue.basis, StateBasis::Refusal(r) if r.kind == RefusalKind::Doubt));
    for ends in [FoundNothing, CannotBeShown, LookupsFailed] {
        for checks in [vec![ends], vec![Overdue, ends], vec![ends, Overdue]] {
            assert_eq!(state(&opening, &told_by_task(&checks)), State::Rejected);
        }
    }
    // A transaction of the gateway is stronger, whenever it is seen.
    let found = seen(&snapshot(&opening, "u-1", "successful", 10));
    let facts = [told_by_task(&[FoundNothing]), vec![found]].concat();
    assert_eq!(state(&opening, &facts), State::Successful);
}

#[test]
fn a_refusal_in_question_is_named_with_its_time() {
    let opening = payment();
    let known = summed(&opening, &told_by_task(&[]));
    assert_eq!(
        known.refusal_in_question(),
        Some((task_id("t-1"), at(3), false))
    );
    let overdue = summed(&opening, &told_by_task(&[RefusalCheck::Overdue]));
    assert_eq!(
        overdue.refusal_in_question().map(|(_, _, overdue)| overdue),
        Some(true)
    );
    let ended = summed(&opening, &told_by_task(&[RefusalCheck::FoundNothing]));
    assert_eq!(ended.refusal_in_question(), None);
    // Beside an attempt that may have been processed no look-up makes it final.
    let beside = [told_by_task(&[]), vec![stamped(2, 60), silent(2)]].concat();
    assert_eq!(summed(&opening, &beside).refusal_in_question(), None);
    assert_eq!(state(&opening, &beside), State::InDoubt);
}

#[test]
fn a_refusal_that_an_earlier_release_has_read_stays_final() {
    let opening = payment();
    let mut known = summed(&opening, &told_by_task(&[]));
    for task in known.tasks.values_mut() {
        task.refused_at = None;
    }
    assert_eq!(derive(&opening, &known).state, State::Rejected);
}

#[test]
fn a_refused_replay_is_never_rejected() {
    let opening = payment();
    let first = [stamped(1, 0), silent(1), replayed(2, 60)];
    for kind in [
        RefusalKind::Rejected,
        RefusalKind::Duplicate,
        RefusalKind::Doubt,
    ] {
        let facts = [first.to_vec(), vec![refused(2, kind), no_duplicate(90)]].concat();
        let derived = fold(&opening, &facts);
        assert_eq!(derived.state, State::InDoubt);
        // It leaves the outcome open, whatever it would have meant for the first attempt.
        assert!(matches!(derived.basis, StateBasis::Refusal(r) if r.kind == RefusalKind::Doubt));
        // Nor when it is the only attempt that can have been processed.
        let alone = [
            stamped(1, 0),
            not_sent(1),
            replayed(2, 60),
            refused(2, kind),
        ];
        let alone = [alone.to_vec(), vec![no_duplicate(90)]].concat();
        assert_eq!(state(&opening, &alone), State::InDoubt);
    }
}

#[test]
fn one_refused_attempt_does_not_affect_another() {
    let opening = payment();
    let facts = [
        stamped(1, 0),
        silent(1),
        stamped(2, 60),
        refused(2, RefusalKind::Rejected),
    ];
    assert_eq!(state(&opening, &facts), State::InDoubt);
}

#[test]
fn a_429_returns_to_accepted_or_not_sent() {
    let facts = [
        stamped(1, 0),
        Fact::Deferred {
            attempt: 1,
            until: at(30),
        },
    ];
    assert_eq!(state(&payment(), &facts), State::Accepted);
    assert_eq!(summed(&payment(), &facts).deferred_until(), Some(at(30)));
    assert_eq!(state(&card_payment(), &facts), State::NotSent);
}

#[test]
fn a_duplicate_is_rejected_only_on_a_single_attempt() {
    let opening = payment();
    let only = [stamped(1, 0), refused(1, RefusalKind::Duplicate)];
    assert_eq!(state(&opening, &only), State::InDoubt);
    assert_eq!(
        state(&opening, &[only.to_vec(), vec![no_duplicate(900)]].concat()),
        State::Rejected
    );
    let second = [
        only.to_vec(),
        vec![stamped(2, 50), silent(2), no_duplicate(900)],
    ]
    .concat();
    assert_eq!(state(&opening, &second), State::InDoubt);
}

#[test]
fn a_proof_of_absence_covers_only_earlier_attempts() {
    let opening = payment();
    let facts = [stamped(1, 0), silent(1), absent(90_000)];
    assert_eq!(state(&opening, &facts), State::NotFound);
    let again = [facts.to_vec(), vec![replayed(2, 90_001), silent(2)]].concat();
    assert_eq!(state(&opening, &again), State::InDoubt);
}

#[test]
fn a_transaction_proved_absent_is_not_accepted_again() {
    let opening = payment();
    let facts = [
        stamped(1, 0),
        silent(1),
        absent_of(&[1], 90_000),
        not_sent(1),
    ];
    assert_eq!(state(&opening, &facts), State::NotFound);
    assert!(!summed(&opening, &facts).can_send());
    // One that covers fewer attempts than were stamped ends nothing.
    let more = [
        stamped(1, 0),
        silent(1),
        replayed(2, 50),
        silent(2),
        absent_of(&[1], 90_000),
    ];
    assert_eq!(state(&opening, &more), State::InDoubt);
    let all = [more.to_vec(), vec![absent_of(&[1, 2], 90_001)]].concat();
    assert_eq!(state(&opening, &all), State::NotFound);
}

#[test]
fn a_short_proof_does_not_displace_a_full_one() {
    let opening = payment();
    let facts = [
        stamped(1, 0),
        silent(1),
        absent(90_000),
        no_duplicate(90_001),
    ];
    assert_eq!(state(&opening, &facts), State::NotFound);
}

#[test]
fn an_abandoned_submit_is_not_sent_until_posted_again() {
    let opening = payment();
    for (facts, expected) in [
        (vec![given_up(0)], State::NotSent),
        (
            vec![stamped(1, 0), not_sent(1), given_up(1)],
            State::NotSent,
        ),
        // It may have arrived after all.
        (vec![stamped(1, 0), given_up(1)], State::Submitting),
        (
            vec![
                stamped(1, 0),
                not_sent(1),
                given_up(1),
                stamped(2, 9),
                not_sent(2),
            ],
            State::Accepted,
        ),
    ] {
        assert_eq!(state(&opening, &facts), expected, "{facts:?}");
    }
}
