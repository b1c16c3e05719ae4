//! Which of the gateway's transactions may be ours, checked against a second, naive reading.

use super::facts::{cases, histories, snapshots};
use super::given::{
    TOLERANCE, acked, at, currency, fold, payment, result, seen, silent, snapshot, stamped, state,
    summed, task_unknown, tracking, uid,
};
use crate::evidence::FoundBy;
use crate::fold::{Mismatch, StateBasis};
use crate::{Fact, Snapshot, State, Timestamp, TransactionRequest, Uid, derive};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Every snapshot of every candidate that may be ours, read straight from the facts.
pub(super) fn oracle(opening: &TransactionRequest, facts: &[Fact]) -> BTreeMap<Uid, Vec<Snapshot>> {
    let first: Option<Timestamp> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Stamped { not_before, .. } => Some(*not_before),
            _ => None,
        })
        .min();
    let mut all: BTreeMap<Uid, (bool, Vec<Snapshot>)> = BTreeMap::new();
    for fact in facts {
        let (snapshot, bound, accepted) = match fact {
            Fact::TaskResult { snapshot, .. } | Fact::Answered { snapshot, .. } => {
                let misnamed = Mismatch::between(opening, snapshot).tracking_id;
                (snapshot, !misnamed, false)
            }
            Fact::Seen { snapshot, found_by } => (snapshot, *found_by == FoundBy::OwnTask, false),
            Fact::Merged { snapshot, .. } => (snapshot, false, false),
            Fact::MismatchAccepted(snapshot) => (snapshot, false, true),
            _ => continue,
        };
        let differences = Mismatch::between(opening, snapshot);
        let agrees = accepted || differences.agree();
        let young = first.is_some_and(|first| snapshot.created_at.is_none_or(|at| at >= first));
        let entry = all.entry(snapshot.uid.clone()).or_default();
        entry.0 |= bound || (agrees && young && !differences.tracking_id);
        entry.1.push((**snapshot).clone());
    }
    all.into_iter()
        .filter(|(_, (ours, _))| *ours)
        .map(|(uid, (_, list))| (uid, list))
        .collect()
}

/// Makes a snapshot somebody else's, in one way.
fn spoil(opening: &TransactionRequest, snapshot: Snapshot, way: u8) -> Snapshot {
    let ours = Snapshot {
        uid: uid("u-9"),
        kind: None,
        amount: None,
        currency: None,
        parent_uid: None,
        test: None,
        tracking_id: opening.tracking_id.clone(),
        created_at: Some(at(1)),
        ..snapshot
    };
    match way {
        0 => Snapshot {
            created_at: Some(at(-100_000)),
            ..ours
        },
        1 => Snapshot {
            amount: Some(999),
            ..ours
        },
        2 => Snapshot {
            currency: Some(currency("JPY")),
            ..ours
        },
        3 => Snapshot {
            kind: Some("payout".to_owned()),
            ..ours
        },
        4 => Snapshot {
            parent_uid: Some(uid("p-9")),
            ..ours
        },
        5 => Snapshot {
            test: Some(opening.test != Some(true)),
            ..ours
        },
        _ => Snapshot {
            tracking_id: Some(tracking("somebody-else")),
            ..ours
        },
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn candidates_follow_from_the_facts((opening, facts) in histories()) {
        let summary = summed(&opening, &facts);
        let expected = oracle(&opening, &facts);
        let eligible: Vec<Uid> = summary
            .eligible(&opening)
            .filter_map(|c| c.latest.as_deref())
            .map(|snapshot| snapshot.uid.clone())
            .collect();
        prop_assert_eq!(eligible, expected.keys().cloned().collect::<Vec<_>>());
        for (uid, list) in expected {
            let greatest = list.iter().max_by(|a, b| (a.key(), a).cmp(&(b.key(), b)));
            prop_assert_eq!(summary.candidates[&uid].latest.as_deref(), greatest);
        }
    }

    #[test]
    fn an_adopted_transaction_is_a_candidate((opening, facts) in histories()) {
        if let Some(uid) = fold(&opening, &facts).uid {
            prop_assert!(oracle(&opening, &facts).contains_key(&uid));
        }
    }

    #[test]
    fn a_foreign_transaction_never_changes_the_state(
        (opening, facts) in histories(), snapshot in snapshots(payment()), way in 0..7_u8
    ) {
        // A payment has no parent, and a refund no currency and no mode, so that these do not differ there.
        let way = match (way, opening.kind.is_child()) {
            (2 | 5, true) | (4, false) => 0,
            (way, _) => way,
        };
        let foreign = seen(&spoil(&opening, snapshot, way));
        let mut summary = summed(&opening, &facts);
        let before = derive(&opening, &summary);
        summary.join(&opening, &foreign);
        let after = derive(&opening, &summary);
        // What bears our name and type may be ours after all: nothing is proved absent beside it.
        let proved = before.basis == StateBasis::Absence || before.state == State::Rejected;
        let hindered = proved && summary.unlike(&opening).next().is_some();
        let presumes = !hindered && before != after;
        prop_assert!(!presumes, "{:?} {:?}", before, after);
        prop_assert!(!hindered || (after.uid.is_none() && after.state != State::NotFound || before == after));
    }

    #[test]
    fn a_slightly_older_transaction_only_prevents_not_found(
        (opening, facts) in histories(), snapshot in snapshots(payment())
    ) {
        let older = Snapshot {
            created_at: Some(at(-TOLERANCE - 1)),
            ..spoil(&opening, snapshot, 0)
        };
        let mut summary = summed(&opening, &facts);
        let before = derive(&opening, &summary);
        summary.join(&opening, &seen(&older));
        let after = derive(&opening, &summary);
        prop_assert_eq!(&before.uid, &after.uid);
        let presumed = matches!(before.state, State::NotFound | State::Rejected);
        prop_assert!(before == after || (presumed && after.state != State::NotFound));
    }
}

/// Our task names u-1, beside an attempt that ended in doubt; u-2 fails under our tracking id.
fn beside() -> (TransactionRequest, Vec<Fact>, Snapshot) {
    let opening = payment();
    let named = snapshot(&opening, "u-1", "incomplete", 5);
    let facts = vec![
        stamped(1, 0),
        silent(1),
        acked(1, "t-1", 1),
        result("t-1", &named),
    ];
    let strange = snapshot(&opening, "u-2", "failed", 6);
    (opening, facts, strange)
}

fn found_beside(failed: &str, open: &[&str]) -> Fact {
    Fact::Beside {
        uid: uid(failed),
        open: open.iter().map(|open| uid(open)).collect(),
    }
}

#[test]
fn a_failure_beside_our_own_transaction_is_ignored() {
    let (opening, mut facts, strange) = beside();
    let found = summed(&opening, &facts).found_beside(&opening, &[&seen(&strange)]);
    assert_eq!(found, [(uid("u-2"), BTreeSet::new())].into());
    facts.extend([found_beside("u-2", &[]), seen(&strange)]);
    assert_eq!(state(&opening, &facts), State::Pending);
    assert_eq!(
        fold(&opening, &facts).uid,
        Some(uid("u-1")),
        "and ours is shown"
    );
    // It is noted once, and in any order it says the same.
    let again = summed(&opening, &facts).found_beside(&opening, &[&seen(&strange)]);
    assert!(again.is_empty());
    facts.reverse();
    assert_eq!(state(&opening, &facts), State::Pending);
    // A success of it ends the transaction like any other.
    facts.push(seen(&snapshot(&opening, "u-2", "successful", 9)));
    assert_eq!(state(&opening, &facts), State::Successful);
}

#[test]
fn a_failure_is_not_beside_itself() {
    let (opening, facts, strange) = beside();
    let of = |known: &[Fact], told: &Fact| summed(&opening, known).found_beside(&opening, &[told]);
    assert!(of(&facts[..2], &seen(&strange)).is_empty(), "none is named");
    let own = seen(&snapshot(&opening, "u-1", "failed", 7));
    assert!(of(&facts, &own).is_empty(), "it is the one that is named");
    let open = seen(&snapshot(&opening, "u-2", "incomplete", 7));
    assert!(of(&facts, &open).is_empty(), "it has not failed");
    // What was found before is noted when our own is named.
    let early = [stamped(1, 0), acked(1, "t-1", 1), seen(&strange)];
    let named = of(&early, &facts[3]);
    assert_eq!(named, [(uid("u-2"), BTreeSet::new())].into());
    // So it is where our task names one under another tracking id, which binds nothing.
    let misnamed = Snapshot {
        tracking_id: Some(tracking("somebody-elses")),
        ..snapshot(&opening, "u-1", "incomplete", 5)
    };
    let known = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &misnamed)];
    let found = of(&known, &seen(&strange));
    assert_eq!(found, [(uid("u-2"), BTreeSet::new())].into());
    // What a duplicate clashed with is not what was made of our request.
    let clash = Snapshot {
        code: Some("E.1018".to_owned()),
        ..misnamed
    };
    let known = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &clash)];
    assert!(of(&known, &seen(&strange)).is_empty());
}

#[test]
fn a_failure_ends_nothing_while_another_that_may_be_ours_is_open() {
    let opening = payment();
    let told = |uid: &str, status: &str, at| seen(&snapshot(&opening, uid, status, at));
    let found =
        |facts: &[Fact], told: &[&Fact]| summed(&opening, facts).found_beside(&opening, told);
    let open = vec![stamped(1, 0), silent(1), told("u-1", "incomplete", 5)];
    let failed = told("u-2", "failed", 6);
    let beside = [(uid("u-2"), [uid("u-1")].into())];
    assert_eq!(found(&open, &[&failed]), beside.clone().into());
    // One answer that shows both says the same, in whatever order, and so does what comes by a merger.
    let fresh = &open[..2];
    assert_eq!(found(fresh, &[&failed, &open[2]]), beside.clone().into());
    let merged = Fact::Merged {
        from: Uuid::nil(),
        snapshot: Box::new(snapshot(&opening, "u-2", "failed", 6)),
    };
    assert_eq!(found(&open, &[&merged]), beside.into());
    // The open one ends in the same answer: nothing had to end first.
    let ended = told("u-1", "failed", 7);
    assert!(found(&open, &[&failed, &ended]).is_empty());
    let mut facts = open.clone();
    facts.extend([found_beside("u-2", &["u-1"]), failed.clone()]);
    assert_eq!(state(&opening, &facts), State::Pending);
    assert!(found(&facts, &[&failed]).is_empty(), "it is noted once");
    // A further one that is open is noted as well, and each of them has to end.
    let third = told("u-3", "incomplete", 8);
    let beside = [uid("u-1"), uid("u-3")].into();
    assert_eq!(found(&facts, &[&third]), [(uid("u-2"), beside)].into());
    facts.extend([found_beside("u-2", &["u-1", "u-3"]), third]);
    facts.push(ended.clone());
    facts.push(found_beside("u-1", &["u-3"]));
    assert_eq!(state(&opening, &facts), State::Pending);
    facts.push(told("u-3", "expired", 9));
    for _ in 0..facts.len() {
        facts.rotate_left(1);
        assert_eq!(state(&opening, &facts), State::Failed);
        assert_eq!(fold(&opening, &facts).uid, Some(uid("u-1")));
    }
    // What has ended is not opened again by what is found after it.
    assert!(found(&facts, &[&told("u-4", "incomplete", 10)]).is_empty());
    // What an end did not wait for does not wait later.
    let alone = [stamped(1, 0), silent(1), failed];
    assert_eq!(state(&opening, &alone), State::Failed);
    assert!(found(&alone, &[&open[2]]).is_empty());
}

#[test]
fn a_failure_beside_an_open_one_may_end_before_the_attempt_is_in_doubt() {
    let opening = payment();
    let told = |uid: &str, status: &str, at| seen(&snapshot(&opening, uid, status, at));
    let known = [stamped(1, 0), acked(1, "t-1", 1), told("u-2", "failed", 6)];
    let open = told("u-1", "incomplete", 5);
    let found = summed(&opening, &known).found_beside(&opening, &[&open]);
    assert_eq!(found, [(uid("u-2"), [uid("u-1")].into())].into());
    let mut facts = known.to_vec();
    facts.extend([open, found_beside("u-2", &["u-1"]), task_unknown("t-1")]);
    assert_eq!(state(&opening, &facts), State::Pending);
    // Our own task named it after all.
    facts.push(result("t-1", &snapshot(&opening, "u-2", "failed", 6)));
    assert_eq!(state(&opening, &facts), State::Failed);
}
