//! Refusals: what they end, and what they leave open.

use super::given::{
    absent, acked, at, card_payment, fold, given_up, no_duplicate, not_sent, payment, refused,
    replayed, silent, stamped, state, summed, task_refused,
};
use crate::domain::fold::Basis;
use crate::domain::{Fact, RefusalKind, State};

#[test]
fn a_documented_refusal_rejects_on_the_submit_and_as_a_tasks_own_result() {
    let opening = payment();
    let facts = [stamped(1, 0), refused(1, RefusalKind::Rejected)];
    assert_eq!(state(&opening, &facts), State::Rejected);
    let facts = [
        stamped(1, 0),
        acked(1, "t-1", 1),
        task_refused("t-1", RefusalKind::Rejected),
    ];
    assert_eq!(state(&opening, &facts), State::Rejected);
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
        assert!(matches!(derived.basis, Basis::Refusal(r) if r.kind == RefusalKind::Doubt));
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
fn one_rejected_attempt_says_nothing_of_another() {
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
fn a_429_goes_back_to_accepted_and_with_card_data_to_not_sent() {
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
fn a_duplicate_is_rejected_only_when_it_was_the_first_and_only_attempt() {
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
fn a_proof_of_absence_counts_only_for_what_was_sent_before_it() {
    let opening = payment();
    let facts = [stamped(1, 0), silent(1), absent(90_000)];
    assert_eq!(state(&opening, &facts), State::NotFound);
    let again = [facts.to_vec(), vec![replayed(2, 90_001), silent(2)]].concat();
    assert_eq!(state(&opening, &again), State::InDoubt);
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
fn what_was_given_up_is_not_sent_until_it_is_begun_anew() {
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
