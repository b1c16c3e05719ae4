//! Descriptions that cannot be read in full: they are seen, they end nothing, and a person is told.

use super::given::{accepted, acked, payment, result, seen, snapshot, stamped, state, summed};
use crate::discrepancy::indicated_discrepancies;
use crate::{DiscrepancyKind, Fact, Snapshot, State, TransactionRequest, derive};

fn garbled(opening: &TransactionRequest) -> Snapshot {
    Snapshot {
        amount: None,
        unread: Some("amount \"1500.4\"".to_owned()),
        ..snapshot(opening, "u-1", "successful", 10)
    }
}

fn told(opening: &TransactionRequest, facts: &[Fact]) -> Vec<(DiscrepancyKind, String)> {
    let summary = summed(opening, facts);
    let found = indicated_discrepancies(opening, &summary, &derive(opening, &summary));
    found.into_iter().map(|f| (f.kind, f.detail)).collect()
}

#[test]
fn a_partly_readable_snapshot_is_not_final() {
    let opening = payment();
    let before = [stamped(1, 0), acked(1, "t-1", 1)];
    for fact in [result("t-1", &garbled(&opening)), seen(&garbled(&opening))] {
        let facts = [before.to_vec(), vec![fact]].concat();
        assert!(!state(&opening, &facts).is_final());
        let told = told(&opening, &facts);
        let unread = told
            .iter()
            .find(|(kind, _)| *kind == DiscrepancyKind::UnknownBody);
        assert!(
            unread.is_some_and(|(_, detail)| detail.contains("1500.4")),
            "{told:?}"
        );
    }
}

#[test]
fn a_readable_snapshot_or_a_decision_still_makes_it_final() {
    let opening = payment();
    let facts = vec![
        stamped(1, 0),
        acked(1, "t-1", 1),
        result("t-1", &garbled(&opening)),
    ];
    let readable = snapshot(&opening, "u-1", "successful", 5);
    for more in [seen(&readable), accepted(&garbled(&opening))] {
        let facts = [facts.clone(), vec![more]].concat();
        assert_eq!(state(&opening, &facts), State::Successful);
    }
}

#[test]
fn a_differing_decimal_amount_is_reported_verbatim() {
    let opening = payment();
    let other = Snapshot {
        amount: Some(15),
        amount_written: Some("15.00".to_owned()),
        ..snapshot(&opening, "u-1", "successful", 10)
    };
    let facts = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &other)];
    assert_eq!(state(&opening, &facts), State::Pending);
    let told = told(&opening, &facts);
    for kind in [
        DiscrepancyKind::AmountMismatch,
        DiscrepancyKind::UnknownBody,
    ] {
        let found = told.iter().find(|(told, _)| *told == kind);
        assert!(
            found.is_some_and(|(_, detail)| detail.contains("15.00")),
            "{told:?}"
        );
    }
    let same = Snapshot {
        amount: opening.amount,
        ..other
    };
    let facts = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &same)];
    assert_eq!(state(&opening, &facts), State::Successful);
}
