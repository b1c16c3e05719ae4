//! The proofs that the gateway has no such transaction.

use super::facts::cases;
use super::given::at;
use crate::absence::{
    Ability, AbsenceRules, EmptyLookup, ProofStatus, evaluate, evaluate_duplicate,
    is_duplicate_provable, is_provable, pair, signs,
};
use crate::{Timestamp, TransactionType};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

const INTERVAL: i64 = 600;

fn rules(horizon: i64, control_needed: bool) -> AbsenceRules {
    let interval = Duration::from_secs(INTERVAL.unsigned_abs());
    AbsenceRules {
        interval,
        horizon_at: at(horizon),
        control_needed,
    }
}

fn empty(seconds: i64) -> EmptyLookup {
    EmptyLookup::single(Uuid::from_u128(seconds.unsigned_abs().into()), at(seconds))
}

fn ability(word: &str, seconds: i64) -> Ability {
    Ability {
        word: word.to_owned(),
        transaction: Uuid::from_u128(7),
        evidence: Uuid::from_u128(1_000_000 + u128::from(seconds.unsigned_abs())),
        at: at(seconds),
    }
}

fn control(seconds: i64) -> Ability {
    ability("finds:", seconds)
}

fn lookups(seconds: &[i64]) -> Vec<EmptyLookup> {
    seconds.iter().copied().map(empty).collect()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_proof_meets_every_condition(
        times in vec(0_i64..5_000, 0..9),
        controls in vec(0_i64..5_000, 0..3),
        horizon in 0_i64..4_000,
        control_needed in any::<bool>(),
    ) {
        let rules = rules(horizon, control_needed);
        let empties = lookups(&times);
        let controls: Vec<Ability> = controls.into_iter().map(control).collect();
        let verdict = evaluate(&empties, &controls, rules);
        let backwards: Vec<EmptyLookup> = empties.iter().chain(&empties).rev().copied().collect();
        prop_assert_eq!(&verdict, &evaluate(&backwards, &controls, rules));
        match verdict {
            ProofStatus::Complete(ids, used) => {
                let named: Vec<Timestamp> =
                    empties.iter().filter(|l| ids.contains(&l.evidence)).map(|l| l.at).collect();
                let mut sorted = named;
                sorted.sort();
                sorted.dedup();
                let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
                let between = |c: &Ability| c.at >= first && c.at <= last;
                prop_assert!(!control_needed || used.is_some());
                prop_assert!(used.as_ref().is_none_or(between));
                prop_assert!(used.is_none_or(|used| controls.contains(&used)));
                prop_assert!(last >= at(horizon));
                let mut apart = 1;
                let mut previous = first;
                for time in sorted {
                    if time.since(previous) >= rules.interval {
                        apart += 1;
                        previous = time;
                    }
                }
                prop_assert!(apart >= 3);
            }
            ProofStatus::LookUpAt(due) => {
                // Made when it is due, it leads on: an empty look-up per step, to the end.
                let latest = times.iter().copied().max().map_or(at(0), at);
                let mut more = empties;
                let mut controls = controls;
                let mut steps = 0;
                let mut next = ProofStatus::LookUpAt(due);
                let mut now = latest;
                while !matches!(next, ProofStatus::Complete(..)) {
                    match next {
                        ProofStatus::LookUpAt(due) => {
                            now = now.max(due).plus(Duration::from_secs(1));
                            let id = Uuid::from_u128(9_000_000 + steps);
                            more.push(EmptyLookup::single(id, now));
                        }
                        ProofStatus::ControlMissing => {
                            now = now.plus(Duration::from_secs(1));
                            controls.push(Ability { at: now, ..control(0) });
                        }
                        ProofStatus::Complete(..) => {}
                    }
                    next = evaluate(&more, &controls, rules);
                    steps += 1;
                    prop_assert!(steps < 12, "no end: {next:?}");
                }
            }
            ProofStatus::ControlMissing => {
                prop_assert!(control_needed);
            }
        }
    }
}

#[test]
fn a_proof_needs_three_spaced_lookups_past_the_horizon() {
    let judged = |times: &[i64], horizon| evaluate(&lookups(times), &[], rules(horizon, false));
    assert_eq!(
        judged(&[], 0),
        ProofStatus::LookUpAt(Timestamp::from_micros(0))
    );
    assert!(
        matches!(judged(&[0, 600, 1_200], 1_200), ProofStatus::Complete(ids, None) if ids.len() == 3)
    );
    assert_eq!(judged(&[0, 600], 0), ProofStatus::LookUpAt(at(1_200)));
    assert_eq!(
        judged(&[0, 599, 1_198], 0),
        ProofStatus::LookUpAt(at(1_198 + 600))
    );
    assert_eq!(
        judged(&[0, 600, 1_200], 1_201),
        ProofStatus::LookUpAt(at(1_800))
    );
    assert_eq!(
        judged(&[0, 600, 1_200], 9_000),
        ProofStatus::LookUpAt(at(9_000))
    );
}

#[test]
fn one_lookup_recorded_three_times_counts_once() {
    let same = [empty(0); 3];
    let hasty = AbsenceRules {
        interval: Duration::ZERO,
        ..rules(0, false)
    };
    assert!(matches!(
        evaluate(&same, &[], hasty),
        ProofStatus::LookUpAt(_)
    ));
}

#[test]
fn a_proof_needs_a_control_lookup_in_between() {
    let times = lookups(&[0, 600, 1_200]);
    let judged = |controls: &[Ability]| evaluate(&times, controls, rules(0, true));
    assert_eq!(judged(&[]), ProofStatus::ControlMissing);
    assert_eq!(judged(&[control(-1)]), ProofStatus::ControlMissing);
    // One that came last is in between as soon as another look-up is empty.
    assert_eq!(judged(&[control(1_201)]), ProofStatus::LookUpAt(at(1_201)));
    assert!(
        matches!(judged(&[control(700)]), ProofStatus::Complete(ids, Some(used)) if ids.len() == 3 && used == control(700))
    );
    let more = lookups(&[0, 600, 1_200, 1_202]);
    let proof = evaluate(&more, &[control(1_201)], rules(0, true));
    assert!(
        matches!(proof, ProofStatus::Complete(ids, Some(_)) if ids.contains(&empty(1_202).evidence))
    );
}

#[test]
fn a_duplicate_proof_takes_lookups_at_0_1_5_and_15_minutes() {
    let judged = |times: &[i64]| evaluate_duplicate(&lookups(times), at(0));
    assert_eq!(judged(&[]), ProofStatus::LookUpAt(at(0)));
    assert_eq!(judged(&[1]), ProofStatus::LookUpAt(at(60)));
    assert_eq!(judged(&[1, 61]), ProofStatus::LookUpAt(at(300)));
    assert_eq!(judged(&[1, 61, 301]), ProofStatus::LookUpAt(at(900)));
    assert!(
        matches!(judged(&[1, 61, 301, 901]), ProofStatus::Complete(ids, None) if ids.len() == 4)
    );
    // After a stop, four look-ups in a row prove nothing.
    assert_eq!(
        judged(&[2_000, 2_001, 2_002, 2_003]),
        ProofStatus::LookUpAt(at(2_030))
    );
    // What was looked up before the gateway's answer does not count.
    assert_eq!(judged(&[-5]), ProofStatus::LookUpAt(at(0)));
}

#[test]
fn child_absence_needs_a_child_seen_by_its_own_id() {
    let seen = [ability("shows:capture", 5), control(6)];
    assert!(is_provable(TransactionType::Payment, &[]));
    assert!(!is_provable(TransactionType::Refund, &[]));
    assert!(!is_provable(TransactionType::Refund, &seen));
    assert!(is_provable(TransactionType::Capture, &seen));
}

#[test]
fn a_childs_lookup_counts_only_with_its_parents() {
    let own = lookups(&[0, 600, 1_200]);
    assert_eq!(pair(&own, &[]), []);
    // The second has none of its own: what came before it was asked is about the first.
    let pairs = pair(&own, &lookups(&[1, 599, 1_201]));
    let beside: Vec<Timestamp> = pairs.iter().filter_map(|p| Some(p.beside?.1)).collect();
    assert_eq!(beside, [at(1), at(1_201)]);
    // Both names are looked up an interval apart.
    let close = pair(&own, &lookups(&[300, 600, 1_200]));
    assert_eq!(
        evaluate(&close, &[], rules(0, false)),
        ProofStatus::LookUpAt(at(1_800))
    );
    let apart = pair(&own, &lookups(&[0, 600, 1_200]));
    assert!(
        matches!(evaluate(&apart, &[], rules(0, false)), ProofStatus::Complete(ids, None) if ids.len() == 6)
    );
}

#[test]
fn a_control_has_each_of_the_signs_of_our_name() {
    assert_eq!(signs("order-1_a"), "");
    assert_eq!(signs("a.b:c.d"), ".:");
    let finds = |name: &str| ability(&Ability::finds(name), 0);
    assert!(finds("plain").finds_all(""));
    assert!(!finds("plain").finds_all("."));
    assert!(finds("x:y.z").finds_all("."));
    assert!(!finds("x:y").finds_all(".:"));
    assert!(!ability("shows:refund", 0).finds_all(""));
}

#[test]
fn an_e1018_is_evaluated_only_with_that_capability() {
    let shown = [Ability {
        word: Ability::shows(TransactionType::Payout),
        transaction: Uuid::nil(),
        evidence: Uuid::nil(),
        at: Timestamp::from_micros(0),
    }];
    for kind in [TransactionType::Payment, TransactionType::Authorization] {
        assert!(is_duplicate_provable(kind, &[]), "{kind}");
    }
    for kind in [
        TransactionType::Payout,
        TransactionType::Refund,
        TransactionType::Checkup,
    ] {
        assert!(!is_duplicate_provable(kind, &[]), "{kind}");
        assert_eq!(
            is_duplicate_provable(kind, &shown),
            kind == TransactionType::Payout
        );
    }
}
