//! The proofs that the gateway has no such transaction.

use super::facts::cases;
use super::given::at;
use crate::domain::absence::{
    ControlLookup, EmptyLookup, Proof, ProofRules, is_provable, judge, judge_duplicate,
};
use crate::domain::{Timestamp, TransactionType};
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;
use uuid::Uuid;

const INTERVAL: i64 = 600;

fn rules(horizon: i64, control_needed: bool) -> ProofRules {
    let interval = Duration::from_secs(INTERVAL.unsigned_abs());
    ProofRules {
        interval,
        horizon_at: at(horizon),
        control_needed,
    }
}

fn empty(seconds: i64) -> EmptyLookup {
    EmptyLookup {
        evidence: Uuid::from_u128(seconds.unsigned_abs().into()),
        at: at(seconds),
    }
}

fn control(seconds: i64) -> ControlLookup {
    let evidence = Some(Uuid::from_u128(
        1_000_000 + u128::from(seconds.unsigned_abs()),
    ));
    ControlLookup {
        evidence,
        at: at(seconds),
    }
}

fn lookups(seconds: &[i64]) -> Vec<EmptyLookup> {
    seconds.iter().copied().map(empty).collect()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn a_proof_has_what_the_design_asks_for(
        times in vec(0_i64..5_000, 0..9),
        controls in vec(0_i64..5_000, 0..3),
        horizon in 0_i64..4_000,
        control_needed in any::<bool>(),
    ) {
        let rules = rules(horizon, control_needed);
        let empties = lookups(&times);
        let controls: Vec<ControlLookup> = controls.into_iter().map(control).collect();
        let verdict = judge(&empties, &controls, rules);
        let backwards: Vec<EmptyLookup> = empties.iter().chain(&empties).rev().copied().collect();
        prop_assert_eq!(&verdict, &judge(&backwards, &controls, rules));
        match verdict {
            Proof::Complete(ids) => {
                let named: Vec<Timestamp> =
                    empties.iter().filter(|l| ids.contains(&l.evidence)).map(|l| l.at).collect();
                let mut sorted = named;
                sorted.sort();
                sorted.dedup();
                let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
                let between = |c: &&ControlLookup| c.at >= first && c.at <= last;
                let used = controls.iter().filter(|c| c.evidence.is_some_and(|e| ids.contains(&e)));
                prop_assert!(!control_needed || used.filter(between).count() > 0);
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
            Proof::LookUpAt(due) => {
                // Made when it is due, it leads on: an empty look-up per step, to the end.
                let latest = times.iter().copied().max().map_or(at(0), at);
                let mut more = empties;
                let mut controls = controls;
                let mut steps = 0;
                let mut next = Proof::LookUpAt(due);
                let mut now = latest;
                while !matches!(next, Proof::Complete(_)) {
                    match next {
                        Proof::LookUpAt(due) => {
                            now = now.max(due).plus(Duration::from_secs(1));
                            let id = Uuid::from_u128(9_000_000 + steps);
                            more.push(EmptyLookup { evidence: id, at: now });
                        }
                        Proof::ControlMissing => {
                            now = now.plus(Duration::from_secs(1));
                            controls.push(ControlLookup { evidence: None, at: now });
                        }
                        Proof::Complete(_) => {}
                    }
                    next = judge(&more, &controls, rules);
                    steps += 1;
                    prop_assert!(steps < 12, "no end: {next:?}");
                }
            }
            Proof::ControlMissing => {
                prop_assert!(control_needed);
            }
        }
    }
}

#[test]
fn three_empty_look_ups_apart_the_last_after_the_horizon() {
    let judged = |times: &[i64], horizon| judge(&lookups(times), &[], rules(horizon, false));
    assert_eq!(judged(&[], 0), Proof::LookUpAt(Timestamp::from_micros(0)));
    assert!(matches!(judged(&[0, 600, 1_200], 1_200), Proof::Complete(ids) if ids.len() == 3));
    assert_eq!(judged(&[0, 600], 0), Proof::LookUpAt(at(1_200)));
    assert_eq!(
        judged(&[0, 599, 1_198], 0),
        Proof::LookUpAt(at(1_198 + 600))
    );
    assert_eq!(judged(&[0, 600, 1_200], 1_201), Proof::LookUpAt(at(1_800)));
    assert_eq!(judged(&[0, 600, 1_200], 9_000), Proof::LookUpAt(at(9_000)));
}

#[test]
fn one_look_up_told_three_times_is_one() {
    let same = [empty(0); 3];
    let hasty = ProofRules {
        interval: Duration::ZERO,
        ..rules(0, false)
    };
    assert!(matches!(judge(&same, &[], hasty), Proof::LookUpAt(_)));
}

#[test]
fn a_control_look_up_in_between_shows_that_look_ups_work() {
    let times = lookups(&[0, 600, 1_200]);
    let judged = |controls: &[ControlLookup]| judge(&times, controls, rules(0, true));
    assert_eq!(judged(&[]), Proof::ControlMissing);
    assert_eq!(judged(&[control(-1)]), Proof::ControlMissing);
    // One that came last is in between as soon as another look-up is empty.
    assert_eq!(judged(&[control(1_201)]), Proof::LookUpAt(at(1_201)));
    assert!(matches!(judged(&[control(700)]), Proof::Complete(ids) if ids.len() == 4));
    let more = lookups(&[0, 600, 1_200, 1_202]);
    let proof = judge(&more, &[control(1_201)], rules(0, true));
    assert!(matches!(proof, Proof::Complete(ids) if ids.contains(&empty(1_202).evidence)));
}

#[test]
fn a_duplicate_takes_look_ups_at_once_and_after_one_five_and_fifteen_minutes() {
    let judged = |times: &[i64]| judge_duplicate(&lookups(times), at(0));
    assert_eq!(judged(&[]), Proof::LookUpAt(at(0)));
    assert_eq!(judged(&[1]), Proof::LookUpAt(at(60)));
    assert_eq!(judged(&[1, 61]), Proof::LookUpAt(at(300)));
    assert_eq!(judged(&[1, 61, 301]), Proof::LookUpAt(at(900)));
    assert!(matches!(judged(&[1, 61, 301, 901]), Proof::Complete(ids) if ids.len() == 4));
    // After a stop, four look-ups in a row prove nothing.
    assert_eq!(
        judged(&[2_000, 2_001, 2_002, 2_003]),
        Proof::LookUpAt(at(2_030))
    );
    // What was looked up before the gateway's answer does not count.
    assert_eq!(judged(&[-5]), Proof::LookUpAt(at(0)));
}

#[test]
fn a_childs_absence_can_be_proved_only_where_its_kind_was_seen_under_its_own_name() {
    assert!(is_provable(TransactionType::Payment, false));
    assert!(!is_provable(TransactionType::Refund, false));
    assert!(is_provable(TransactionType::Refund, true));
}
