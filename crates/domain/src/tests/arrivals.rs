//! What one arrival changed: verdicts, findings that open and heal, and look-ups that become due.

use super::facts::{cases, histories_and_more};
use super::given::{
    accepted, acked, at, decided, payment, refund, refused, result, seen, silent, snapshot,
    stamped, summed, tracking, uid,
};
use crate::fold::Candidate;
use crate::verdict::{AppliedChange, apply};
use crate::{DiscrepancyKind, Fact, RefusalKind, Snapshot, State, TransactionRequest, Verdict};
use proptest::prelude::*;

fn arrive(opening: &TransactionRequest, known: &[Fact], fact: Fact) -> AppliedChange {
    apply(opening, &summed(opening, known), &[fact])
}

fn kinds(change: &AppliedChange) -> Vec<DiscrepancyKind> {
    change.opened.iter().map(|finding| finding.kind).collect()
}

fn bound(snapshot: &Snapshot) -> Vec<Fact> {
    vec![stamped(1, 0), acked(1, "t-1", 1), result("t-1", snapshot)]
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn known_evidence_changes_nothing(
        (opening, facts, more) in histories_and_more()
    ) {
        let known = summed(&opening, &[facts.clone(), more.clone()].concat());
        for fact in facts.iter().chain(&more) {
            let change = apply(&opening, &known, std::slice::from_ref(fact));
            prop_assert_eq!(&change.summary, &known);
            prop_assert!(change.opened.is_empty() && change.healed.is_empty());
            prop_assert!(!change.has_changed_state() && !change.recheck_now);
            let idle = [Verdict::Stale, Verdict::NothingNew, Verdict::Mismatch];
            prop_assert!(idle.contains(&change.verdict), "{:?}", change.verdict);
        }
    }

    #[test]
    fn a_status_conflict_opens_on_a_contradicting_status(
        (opening, facts, more) in histories_and_more()
    ) {
        let mut known = summed(&opening, &facts);
        for fact in &more {
            let change = apply(&opening, &known, std::slice::from_ref(fact));
            let opened = kinds(&change).contains(&DiscrepancyKind::StatusConflict);
            let expected = match fact {
                Fact::Seen { snapshot, .. }
                | Fact::Answered { snapshot, .. }
                | Fact::TaskResult { snapshot, .. } => {
                    let candidate = known.candidates.get(&snapshot.uid);
                    let ours = &change.summary.candidates[&snapshot.uid];
                    let reopens = |c: &Candidate, last: &Snapshot| {
                        let said = last.updated_at.max(c.contradicted_at);
                        !snapshot.class.is_final() && snapshot.updated_at > said
                    };
                    // Of two ends, one of them without a time, nobody knows which is the later.
                    let disputes = |c: &Candidate, last: &Snapshot| {
                        let undated = snapshot.updated_at.min(last.updated_at).is_none();
                        let other = snapshot.class.is_final() && snapshot.class != last.class;
                        let is_new = !c.other_ends.contains(&snapshot.class);
                        undated && other && is_new && !snapshot.outranks(last)
                    };
                    change.summary.is_eligible(&opening, ours)
                        && candidate.is_some_and(|c| {
                            let last = c.latest.as_ref().unwrap();
                            last.class.is_final() && (reopens(c, last) || disputes(c, last))
                        })
                }
                _ => false,
            };
            prop_assert_eq!(opened, expected);
            prop_assert!(!opened || change.recheck_now);
            known = change.summary;
        }
    }

    #[test]
    fn a_verdict_describes_the_state_change((opening, facts, more) in histories_and_more()) {
        let mut known = summed(&opening, &facts);
        for fact in &more {
            let change = apply(&opening, &known, std::slice::from_ref(fact));
            prop_assert_eq!(change.verdict == Verdict::Correction, change.is_correction());
            if change.has_changed_state() {
                prop_assert!([Verdict::Correction, Verdict::Applied].contains(&change.verdict));
            }
            if matches!(change.verdict, Verdict::Stale | Verdict::NothingNew) {
                prop_assert_eq!(&known, &change.summary);
            }
            known = change.summary;
        }
    }
}

#[test]
fn a_newer_open_status_after_a_final_one_triggers_one_check() {
    let opening = payment();
    let known = bound(&snapshot(&opening, "u-1", "successful", 5));
    let newer = snapshot(&opening, "u-1", "incomplete", 9);
    let change = arrive(&opening, &known, seen(&newer));
    assert_eq!(kinds(&change), [DiscrepancyKind::StatusConflict]);
    assert!(!change.has_changed_state() && change.recheck_now);
    // The look-up finds the same in another body.
    let same = Snapshot {
        body_sha256: [77; 32],
        ..newer.clone()
    };
    let again = arrive(
        &opening,
        &[known.clone(), vec![seen(&newer)]].concat(),
        seen(&same),
    );
    assert!(again.opened.is_empty() && !again.recheck_now);
    let older = snapshot(&opening, "u-1", "incomplete", 4);
    let change = arrive(&opening, &known, seen(&older));
    assert_eq!((kinds(&change), change.verdict), (vec![], Verdict::Stale));
}

#[test]
fn a_greater_final_snapshot_is_an_immediate_correction() {
    let opening = payment();
    let cases = [
        ("failed", "successful", DiscrepancyKind::LateSuccess),
        ("expired", "successful", DiscrepancyKind::LateSuccess),
        ("successful", "failed", DiscrepancyKind::ManualCorrection),
        ("failed", "expired", DiscrepancyKind::ManualCorrection),
    ];
    for (was, is, kind) in cases {
        let known = bound(&snapshot(&opening, "u-1", was, 5));
        let change = arrive(&opening, &known, seen(&snapshot(&opening, "u-1", is, 9)));
        assert_eq!(kinds(&change), [kind], "{was} to {is}");
        assert_eq!(
            (change.verdict, change.recheck_now),
            (Verdict::Correction, true)
        );
        assert_eq!(change.after.state.as_str(), is);
    }
}

#[test]
fn a_contradicting_final_without_a_time_is_checked_once() {
    let opening = payment();
    let undated = |status: &str, sha: u8| Snapshot {
        updated_at: None,
        body_sha256: [sha; 32],
        ..snapshot(&opening, "u-1", status, 5)
    };
    let first = [stamped(1, 0), silent(1), seen(&undated("incomplete", 1))];
    let paid = arrive(&opening, &first, seen(&undated("successful", 2)));
    assert!(kinds(&paid).is_empty());
    let known = [first.to_vec(), vec![seen(&undated("successful", 2))]].concat();
    let failed = arrive(&opening, &known, seen(&undated("failed", 3)));
    assert_eq!(kinds(&failed), [DiscrepancyKind::StatusConflict]);
    assert_eq!(
        (failed.recheck_now, failed.look_at),
        (true, Some(uid("u-1")))
    );
    // The look that follows finds the same, and asks for no other.
    let known = [known, vec![seen(&undated("failed", 3))]].concat();
    let again = arrive(&opening, &known, seen(&undated("failed", 4)));
    assert!(again.opened.is_empty() && !again.recheck_now);
    // With a time it counts.
    let dated = snapshot(&opening, "u-1", "failed", 9);
    let moved = arrive(&opening, &known, seen(&dated));
    assert_eq!(moved.after.state, State::Failed);
    assert_eq!(moved.look_at, Some(uid("u-1")));
    // A look of ours that shows it is followed by one that is to confirm it, which needs no other.
    assert!(moved.looks_again(None) && !moved.looks_again(Some(&uid("u-1"))));
}

#[test]
fn a_failure_during_a_running_task_triggers_one_task_read() {
    let opening = payment();
    let running = vec![stamped(1, 0), acked(1, "t-1", 1)];
    let failed = |updated: i64, sha: u8| Snapshot {
        body_sha256: [sha; 32],
        ..snapshot(&opening, "u-1", "failed", updated)
    };
    let change = arrive(&opening, &running, seen(&failed(5, 1)));
    assert_eq!(
        (change.after.state, change.recheck_now),
        (State::Pending, true)
    );
    let known = [running.clone(), vec![seen(&failed(5, 1))]].concat();
    assert!(!arrive(&opening, &known, seen(&failed(5, 2))).recheck_now);
    assert!(!arrive(&opening, &known, seen(&failed(4, 2))).recheck_now);
    let again = arrive(&opening, &known, seen(&failed(9, 2)));
    assert!(again.recheck_now);
    // A look of ours that shows it asks for that once.
    assert!(change.looks_again(None) && !again.looks_again(None));
    // What is not ours asks for nothing, and nor does what has no task to be asked.
    let other = Snapshot {
        tracking_id: Some(tracking("other")),
        ..failed(5, 3)
    };
    assert!(!arrive(&opening, &running, seen(&other)).recheck_now);
    let silent = [stamped(1, 0), silent(1)];
    assert!(!arrive(&opening, &silent, seen(&failed(5, 1))).recheck_now);
}

#[test]
fn a_success_after_a_presumed_final_is_late() {
    let opening = payment();
    let known = [stamped(1, 0), refused(1, RefusalKind::Rejected)];
    let change = arrive(
        &opening,
        &known,
        seen(&snapshot(&opening, "u-1", "successful", 5)),
    );
    assert_eq!(
        (kinds(&change), change.verdict),
        (vec![DiscrepancyKind::LateSuccess], Verdict::Correction)
    );
    let change = arrive(
        &opening,
        &known,
        seen(&snapshot(&opening, "u-1", "failed", 5)),
    );
    assert_eq!(
        (kinds(&change), change.verdict),
        (vec![], Verdict::Correction)
    );
    let change = arrive(
        &opening,
        &known,
        seen(&snapshot(&opening, "u-1", "incomplete", 5)),
    );
    assert_eq!(
        (change.after.state, change.verdict),
        (State::Pending, Verdict::Correction)
    );
}

#[test]
fn a_mismatch_resolves_when_a_greater_snapshot_agrees() {
    let opening = payment();
    let agrees = snapshot(&opening, "u-1", "successful", 5);
    let odd = Snapshot {
        amount: Some(900),
        ..agrees.clone()
    };
    let change = arrive(&opening, &bound(&odd)[..2], result("t-1", &odd));
    assert_eq!(
        (kinds(&change), change.recheck_now),
        (vec![DiscrepancyKind::AmountMismatch], true)
    );
    let known = bound(&odd);
    // The look-up finds the same in another body of the same moment.
    let same = Snapshot {
        body_sha256: [255; 32],
        ..odd.clone()
    };
    let again = arrive(&opening, &known, seen(&same));
    assert!(again.opened.is_empty() && !again.recheck_now);
    let newer = Snapshot {
        updated_at: Some(at(9)),
        ..odd.clone()
    };
    let again = arrive(&opening, &known, seen(&newer));
    assert!(again.recheck_now && !again.looks_again(None), "by a look");
    let change = arrive(
        &opening,
        &known,
        seen(&Snapshot {
            updated_at: Some(at(9)),
            ..agrees
        }),
    );
    assert_eq!(change.healed.len(), 1);
    assert_eq!(change.after.state, State::Successful);
    let change = arrive(&opening, &known, accepted(&odd));
    assert_eq!((change.healed.len(), change.recheck_now), (1, false));
    assert_eq!(change.after.state, State::Successful);
}

#[test]
fn an_older_transaction_with_our_tracking_id_is_ambiguous() {
    let opening = payment();
    let known = [stamped(1, 0), silent(1)];
    let old = Snapshot {
        created_at: Some(at(-90_000)),
        ..snapshot(&opening, "u-1", "failed", 5)
    };
    let change = arrive(&opening, &known, seen(&old));
    assert_eq!(kinds(&change), [DiscrepancyKind::AmbiguousTrackingId]);
    assert_eq!(
        (change.verdict, change.has_changed_state()),
        (Verdict::Mismatch, false)
    );
}

#[test]
fn relatives_found_by_tracking_id_are_no_discrepancy() {
    let opening = refund();
    let known = [stamped(1, 0), silent(1)];
    let parents_name = Some(tracking("order-1"));
    let base = Snapshot {
        tracking_id: parents_name,
        created_at: Some(at(-90_000)),
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    let parent = Snapshot {
        kind: Some("payment".to_owned()),
        parent_uid: None,
        ..base.clone()
    };
    let sibling = Snapshot {
        amount: Some(300),
        created_at: Some(at(1)),
        ..base
    };
    for found in [parent, sibling] {
        let change = arrive(&opening, &known, seen(&found));
        assert_eq!(
            (kinds(&change), change.verdict),
            (vec![], Verdict::Mismatch)
        );
    }
    let child = Snapshot {
        kind: Some("refund".to_owned()),
        amount: Some(300),
        ..snapshot(&payment(), "u-2", "successful", 5)
    };
    assert_eq!(kinds(&arrive(&payment(), &known, seen(&child))), []);
}

#[test]
fn two_successes_under_one_tracking_id_are_a_discrepancy() {
    let opening = payment();
    let known = bound(&snapshot(&opening, "u-1", "successful", 5));
    let change = arrive(
        &opening,
        &known,
        seen(&snapshot(&opening, "u-2", "successful", 6)),
    );
    assert_eq!(kinds(&change), [DiscrepancyKind::DuplicateSuccess]);
    assert_eq!(change.after.uid, Some(uid("u-1")));
    // Another amount does not make the second payment less paid.
    let odd = Snapshot {
        amount: Some(900),
        ..snapshot(&opening, "u-2", "successful", 6)
    };
    let change = arrive(&opening, &known, result("t-2", &odd));
    assert!(kinds(&change).contains(&DiscrepancyKind::DuplicateSuccess));
    let change = arrive(
        &opening,
        &known,
        seen(&snapshot(&opening, "u-2", "failed", 6)),
    );
    assert_eq!(kinds(&change), [DiscrepancyKind::AmbiguousTrackingId]);
}

#[test]
fn unreadable_or_contested_snapshots_are_discrepancies() {
    let opening = TransactionRequest {
        test: Some(false),
        ..payment()
    };
    let known = bound(&snapshot(&opening, "u-1", "incomplete", 5));
    let open = |fact| kinds(&arrive(&opening, &known, fact));
    let odd = snapshot(&opening, "u-1", "frozen", 9);
    assert_eq!(open(seen(&odd)), [DiscrepancyKind::UnknownBody]);
    assert_eq!(
        open(Fact::UidMissing { uid: uid("u-1") }),
        [DiscrepancyKind::MissingAtGateway]
    );
    assert_eq!(open(Fact::UidMissing { uid: uid("u-7") }), []);
    assert_eq!(
        open(Fact::Contested {
            snapshot: Box::new(snapshot(&opening, "u-7", "successful", 9))
        }),
        [DiscrepancyKind::AmbiguousTrackingId]
    );
    let test = Snapshot {
        test: Some(true),
        ..snapshot(&opening, "u-1", "incomplete", 9)
    };
    assert_eq!(open(seen(&test)), [DiscrepancyKind::TestLiveMix]);
    let parent = Snapshot {
        parent_uid: Some(uid("p-2")),
        ..snapshot(&refund(), "u-1", "pending", 5)
    };
    let change = arrive(&refund(), &bound(&parent)[..2], result("t-1", &parent));
    assert_eq!(kinds(&change), [DiscrepancyKind::TypeMismatch]);
}

#[test]
fn a_persons_decision_is_no_discrepancy() {
    let opening = payment();
    let failed = snapshot(&opening, "u-1", "failed", 5);
    let change = arrive(
        &opening,
        &bound(&failed),
        decided(9, State::Successful, Some(failed.key())),
    );
    assert_eq!((kinds(&change), change.recheck_now), (vec![], false));
    assert_eq!(change.verdict, Verdict::Correction);
}
