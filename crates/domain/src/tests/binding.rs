//! Whose a transaction is, and which of several counts. One sentence of the design each.

use super::given::{
    TOLERANCE, absent, accepted, acked, at, card_payment, currency, decided, fold, no_duplicate,
    not_sent, payment, refund, refused, result, seen, silent, snapshot, stamped, state, summed,
    task_unknown, tracking, uid,
};
use crate::discrepancy::indicated_discrepancies;
use crate::explain::{describe_state, would_change};
use crate::fold::StateBasis;
use crate::{
    DiscrepancyKind, Fact, RefusalKind, Snapshot, State, StatusClass, TransactionRequest, derive,
};

fn running() -> Vec<Fact> {
    vec![stamped(1, 0), acked(1, "t-1", 1)]
}

fn doubt() -> Vec<Fact> {
    vec![stamped(1, 0), silent(1)]
}

fn with(facts: Vec<Fact>, more: &[Fact]) -> Vec<Fact> {
    [facts, more.to_vec()].concat()
}

#[test]
fn status_words_map_to_their_classes() {
    let of = StatusClass::of;
    assert_eq!(of("successful", Some("P.0001")), StatusClass::Successful);
    assert_eq!(of("failed", Some("F.0117")), StatusClass::Failed);
    assert_eq!(of("expired", None), StatusClass::Expired);
    for word in ["error", "deleted", "permanent"] {
        assert_eq!(of(word, None), StatusClass::Failed);
        assert_eq!(of(word, Some("F.0114")), StatusClass::Failed);
        for code in ["P.9999", "E.1000", "E.1018", "E.1035", "E.1036"] {
            assert_eq!(of(word, Some(code)), StatusClass::Pending, "{word} {code}");
        }
    }
    for word in ["incomplete", "pending", "initial"] {
        assert_eq!(of(word, None), StatusClass::Pending);
    }
    assert_eq!(of("Successful", None), StatusClass::Other);
}

#[test]
fn a_time_more_than_ten_minutes_ahead_is_ignored() {
    let ahead = |seconds| {
        snapshot(&payment(), "u-1", "failed", seconds)
            .received(at(0))
            .updated_at
    };
    assert_eq!(ahead(600), Some(at(600)));
    assert_eq!(ahead(601), None);
}

#[test]
fn snapshots_order_by_finality_time_success_and_body() {
    let opening = payment();
    let key = |status, updated| snapshot(&opening, "u-1", status, updated).key();
    assert!(key("expired", 1) > key("incomplete", 9));
    assert!(key("expired", 9) > key("successful", 1));
    assert!(key("successful", 5) > key("failed", 5) && key("failed", 5) > key("expired", 5));
    let undated = Snapshot {
        updated_at: None,
        ..snapshot(&opening, "u-1", "successful", 0)
    };
    assert!(undated.key() < key("expired", -1_000_000));
    let other_body = Snapshot {
        body_sha256: [255; 32],
        ..snapshot(&opening, "u-1", "failed", 5)
    };
    assert!(other_body.key() > key("failed", 5) && other_body.key() < key("successful", 5));
}

#[test]
fn a_candidate_is_not_older_than_the_first_stamp() {
    let opening = payment();
    let made = |seconds| {
        let created_at = Some(at(seconds));
        let found = Snapshot {
            created_at,
            ..snapshot(&opening, "u-1", "successful", 5)
        };
        state(&opening, &with(doubt(), &[stamped(2, 500), seen(&found)]))
    };
    assert_eq!(made(-TOLERANCE), State::Successful);
    assert_ne!(made(-TOLERANCE - 1), State::Successful);
    let undated = Snapshot {
        created_at: None,
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    assert_eq!(
        state(&opening, &with(doubt(), &[seen(&undated)])),
        State::Successful
    );
}

#[test]
fn a_slightly_older_transaction_blocks_a_proof() {
    let opening = payment();
    let day = 24 * 3600;
    let made = |seconds| {
        let created_at = Some(at(seconds));
        Snapshot {
            created_at,
            ..snapshot(&opening, "u-1", "successful", 5)
        }
    };
    let ends = |facts: &[Fact]| state(&opening, &with(doubt(), facts));
    let proof = absent(100_000);
    for (seconds, end) in [
        (-TOLERANCE - 1, State::InDoubt),
        (-3_600, State::InDoubt),
        (-day, State::InDoubt),
        (-day - 1, State::NotFound),
    ] {
        let found = seen(&made(seconds));
        assert_eq!(ends(&[found.clone(), proof.clone()]), end, "{seconds}");
        // It may come to light after the proof.
        assert_eq!(ends(&[proof.clone(), found.clone()]), end, "{seconds}");
        // A person's doubt ends like any other.
        let facts = [found, decided(50, State::InDoubt, None), proof.clone()];
        assert_eq!(ends(&facts), end, "{seconds}");
    }
    // A duplicate by the gateway's word is no refusal either.
    let told = [stamped(1, 0), refused(1, RefusalKind::Duplicate)];
    let facts = with(told.to_vec(), &[seen(&made(-3_600)), no_duplicate(1_000)]);
    assert_eq!(state(&opening, &facts), State::InDoubt);
    // A person can tell whose it is.
    let facts = [seen(&made(-3_600)), decided(50, State::NotFound, None)];
    assert_eq!(ends(&facts), State::NotFound);
    // What bears our name and is unlike ours stands in the way as well: it may be ours all the same.
    for made_at in [-3_600, 5] {
        let mut other = Snapshot {
            amount: Some(1),
            ..made(made_at)
        };
        assert_eq!(ends(&[seen(&other), proof.clone()]), State::InDoubt);
        let facts = with(told.to_vec(), &[seen(&other), no_duplicate(1_000)]);
        assert_eq!(state(&opening, &facts), State::InDoubt);
        // Of another type it is another.
        other.kind = Some("refund".to_owned());
        assert_eq!(ends(&[seen(&other), proof.clone()]), State::NotFound);
    }
    let told = seen(&made(-3_600));
    let known = summed(&opening, &with(doubt(), std::slice::from_ref(&told)));
    let said = describe_state(&opening, &known, &derive(&opening, &known));
    assert!(said.contains("u-1") && said.contains("a person"), "{said}");
    let changes = would_change(&opening, &known, State::InDoubt);
    assert!(!changes.iter().any(|change| change.contains("proof")));
    let found = indicated_discrepancies(&opening, &known, &derive(&opening, &known));
    let kind = DiscrepancyKind::AmbiguousTrackingId;
    assert!(
        found
            .iter()
            .any(|f| f.kind == kind && f.detail.contains("not proved"))
    );
}

#[test]
fn a_snapshot_before_the_first_stamp_is_not_ours() {
    let opening = payment();
    let found = snapshot(&opening, "u-1", "successful", 5);
    assert_eq!(state(&opening, &[seen(&found)]), State::Accepted);
    assert_eq!(state(&opening, &[result("t-1", &found)]), State::Successful);
}

#[test]
fn a_child_is_filed_under_its_own_name_or_its_parents() {
    let opening = refund();
    let filed = |name| {
        let found = Snapshot {
            tracking_id: Some(tracking(name)),
            ..snapshot(&opening, "u-1", "successful", 5)
        };
        state(&opening, &with(doubt(), &[seen(&found)]))
    };
    assert_eq!(filed("refund-1"), State::Successful);
    assert_eq!(filed("order-1"), State::Successful);
    assert_eq!(filed("order-2"), State::InDoubt);
}

#[test]
fn a_failure_by_tracking_id_is_not_final_while_the_task_runs() {
    let opening = payment();
    let failed = seen(&snapshot(&opening, "u-1", "failed", 5));
    let facts = with(running(), std::slice::from_ref(&failed));
    assert_eq!(state(&opening, &facts), State::Pending);
    let facts = with(facts, &[task_unknown("t-1")]);
    assert_eq!(state(&opening, &facts), State::Failed);
    assert_eq!(state(&opening, &with(doubt(), &[failed])), State::Failed);
}

#[test]
fn a_success_by_tracking_id_is_final_and_correctable() {
    let opening = payment();
    let paid = seen(&snapshot(&opening, "u-1", "successful", 5));
    let facts = with(running(), &[paid]);
    assert_eq!(state(&opening, &facts), State::Successful);
    // The task still runs, but this very transaction has been the end before.
    let failed = seen(&snapshot(&opening, "u-1", "failed", 9));
    assert_eq!(state(&opening, &with(facts, &[failed])), State::Failed);
}

#[test]
fn a_later_snapshot_cannot_disown_a_transaction() {
    let opening = payment();
    let paid = snapshot(&opening, "u-1", "successful", 5);
    for odd in [
        Snapshot {
            tracking_id: Some(tracking("other")),
            updated_at: Some(at(9)),
            ..paid.clone()
        },
        Snapshot {
            created_at: Some(at(-90_000)),
            updated_at: Some(at(9)),
            ..paid.clone()
        },
        Snapshot {
            amount: Some(1),
            updated_at: Some(at(9)),
            ..paid.clone()
        },
    ] {
        assert_eq!(
            state(&opening, &with(running(), &[seen(&paid), seen(&odd)])),
            State::Successful
        );
    }
}

#[test]
fn a_foreign_failure_does_not_change_an_unsent_transaction() {
    let opening = card_payment();
    let failed = seen(&snapshot(&opening, "u-1", "failed", 5));
    let facts = [stamped(1, 0), not_sent(1), failed];
    assert_eq!(state(&opening, &facts), State::NotSent);
    assert_eq!(
        state(
            &TransactionRequest {
                card_data: false,
                ..opening
            },
            &facts
        ),
        State::Accepted
    );
}

#[test]
fn candidates_order_by_finality_ownership_success_and_age() {
    let opening = payment();
    let make = |name: &str, status: &str, created: i64| Snapshot {
        created_at: Some(at(created)),
        ..snapshot(&opening, name, status, 5)
    };
    let adopted = |facts: &[Fact]| {
        let derived = fold(&opening, &with(doubt(), facts));
        (derived.uid.unwrap().to_string(), derived.state)
    };
    let own = |status| result("t-1", &make("own", status, 1));
    let by_name = |name, status, created| seen(&make(name, status, created));
    let (paid, failed) = (State::Successful, State::Failed);
    // An end found by tracking id may not be taken back by our own, which has not ended.
    let facts = [own("incomplete"), by_name("x", "successful", 1)];
    assert_eq!(adopted(&facts), ("x".to_owned(), paid));
    let facts = [own("failed"), by_name("x", "successful", 1)];
    assert_eq!(adopted(&facts), ("own".to_owned(), failed));
    let facts = [by_name("a", "failed", 1), by_name("b", "successful", 2)];
    assert_eq!(adopted(&facts), ("b".to_owned(), paid));
    let facts = [by_name("a", "successful", 2), by_name("b", "successful", 1)];
    assert_eq!(adopted(&facts), ("b".to_owned(), paid));
    let facts = [by_name("b", "successful", 1), by_name("a", "successful", 1)];
    assert_eq!(adopted(&facts), ("a".to_owned(), paid));
    let facts = [by_name("a", "failed", 1), by_name("b", "incomplete", 2)];
    assert_eq!(adopted(&facts), ("a".to_owned(), failed));
}

#[test]
fn a_mismatch_stays_pending_until_accepted_or_corrected() {
    let opening = payment();
    let paid = snapshot(&opening, "u-1", "successful", 5);
    for odd in [
        Snapshot {
            amount: Some(900),
            ..paid.clone()
        },
        Snapshot {
            currency: Some(currency("EUR")),
            ..paid.clone()
        },
        Snapshot {
            kind: Some("authorization".to_owned()),
            ..paid.clone()
        },
    ] {
        let facts = with(running(), &[result("t-1", &odd)]);
        let derived = fold(&opening, &facts);
        assert_eq!(
            (derived.state, derived.uid),
            (State::Pending, Some(uid("u-1")))
        );
        assert_eq!(derived.basis, StateBasis::Differs(odd.key()));
        assert_eq!(
            state(&opening, &with(facts.clone(), &[accepted(&odd)])),
            State::Successful
        );
        let agrees = Snapshot {
            updated_at: Some(at(9)),
            ..paid.clone()
        };
        assert_eq!(
            state(&opening, &with(facts, &[seen(&agrees)])),
            State::Successful
        );
    }
}

#[test]
fn values_absent_on_either_side_are_no_mismatch() {
    let opening = payment();
    let bare = Snapshot {
        amount: None,
        currency: None,
        kind: None,
        tracking_id: None,
        ..snapshot(&opening, "u-1", "successful", 5)
    };
    assert_eq!(
        state(&opening, &with(doubt(), &[seen(&bare)])),
        State::Successful
    );
}

#[test]
fn a_short_proof_about_a_duplicate_proves_nothing_else() {
    let opening = payment();
    let duplicate = [stamped(1, 0), refused(1, RefusalKind::Duplicate)];
    assert_eq!(state(&opening, &duplicate), State::InDoubt);
    let proved = [duplicate.to_vec(), vec![no_duplicate(1_000)]].concat();
    assert_eq!(state(&opening, &proved), State::Rejected);
    assert_eq!(
        state(&opening, &with(doubt(), &[no_duplicate(1_000)])),
        State::InDoubt
    );
    assert_eq!(
        state(&opening, &with(running(), &[no_duplicate(1_000)])),
        State::Processing
    );
}

#[test]
fn a_summary_records_the_unanswered_attempt() {
    let unanswered = |facts: &[Fact]| summed(&payment(), facts).unanswered_attempt();
    assert_eq!(unanswered(&[stamped(1, 0)]), Some(1));
    assert_eq!(
        unanswered(&[stamped(1, 0), stamped(2, 9), not_sent(2)]),
        Some(1)
    );
    assert_eq!(unanswered(&doubt()), None);
    assert_eq!(unanswered(&running()), None);
    let summary = summed(&payment(), &[stamped(1, 0)]);
    assert_eq!(derive(&payment(), &summary).state, State::Submitting);
}
