//! Money of parents and children.

use super::given::{
    acked, at, given_up, not_sent, payment, refund, refused, result, snapshot, stamped, summed, uid,
};
use crate::family::{Child, DUPLICATE_WINDOW, Member, back_twice, remaining_amount, wait};
use crate::{Fact, RefusalKind, TransactionRequest, TransactionType};

use TransactionType::{Authorization, Capture, Chargeback, Payment, Refund, Void};

fn asked(kind: TransactionType, parent: Option<&str>, amount: i64) -> TransactionRequest {
    TransactionRequest {
        kind,
        amount: Some(amount),
        parent_uid: parent.map(uid),
        ..if parent.is_some() {
            refund()
        } else {
            payment()
        }
    }
}

/// One that the gateway calls so, under this uid, with this amount.
fn known(opening: &TransactionRequest, name: &str, status: &str, amount: i64) -> Member {
    let mut told = snapshot(opening, name, status, 5);
    told.amount = Some(amount);
    let facts = [stamped(1, 0), acked(1, "t-1", 1), result("t-1", &told)];
    Member::of(opening, &summed(opening, &facts))
}

fn of(kind: TransactionType, parent: &str, amount: i64, facts: &[Fact]) -> Member {
    let opening = asked(kind, Some(parent), amount);
    Member::of(&opening, &summed(&opening, facts))
}

fn done(kind: TransactionType, name: &str, parent: Option<&str>, amount: i64) -> Member {
    known(&asked(kind, parent, amount), name, "successful", amount)
}

fn left_for(kind: TransactionType, parent: (&str, &Member), others: &[Member]) -> Option<i64> {
    let name = uid(parent.0);
    let child = Child {
        kind,
        amount: Some(1),
        parent: &name,
    };
    remaining_amount(child, parent.1, others)
}

#[test]
fn refunds_and_chargebacks_share_the_payments_amount() {
    let parent = done(Payment, "p", None, 1_500);
    let others = [
        done(Void, "v", Some("p"), 300),
        done(Refund, "r", Some("p"), 200),
        done(Chargeback, "c", Some("p"), 100),
        done(Refund, "elsewhere", Some("q"), 900),
    ];
    for kind in [Void, Refund, Chargeback] {
        assert_eq!(left_for(kind, ("p", &parent), &others), Some(900), "{kind}");
    }
}

#[test]
fn open_and_successful_children_count() {
    let parent = done(Payment, "p", None, 1_500);
    let counts = |facts: &[Fact]| {
        let others = [of(Refund, "p", 400, facts)];
        left_for(Refund, ("p", &parent), &others) == Some(1_100)
    };
    assert!(counts(&[]));
    assert!(counts(&[stamped(1, 0)]));
    assert!(counts(&[stamped(1, 0), acked(1, "t", 1)]));
    assert!(counts(&[stamped(1, 0), refused(1, RefusalKind::Doubt)]));
    assert!(!counts(&[stamped(1, 0), refused(1, RefusalKind::Rejected)]));
    assert!(!counts(&[given_up(0)]));
    let opening = asked(Refund, Some("p"), 400);
    let failed = known(&opening, "r", "failed", 400);
    assert_eq!(left_for(Refund, ("p", &parent), &[failed]), Some(1_500));
}

#[test]
fn the_amounts_are_those_that_the_gateway_has() {
    let asked_for = asked(Payment, None, 1_500);
    let parent = known(&asked_for, "p", "successful", 1_200);
    let child = known(&asked(Refund, Some("p"), 400), "r", "successful", 450);
    assert_eq!(left_for(Refund, ("p", &parent), &[child]), Some(750));
}

#[test]
fn captures_and_voids_share_the_authorized_amount() {
    let parent = done(Authorization, "a", None, 1_500);
    let held = |others: &[Member]| left_for(Capture, ("a", &parent), others);
    let back = |others: &[Member]| left_for(Refund, ("a", &parent), others);
    assert_eq!((held(&[]), back(&[])), (Some(1_500), Some(0)));
    let captured = done(Capture, "c", Some("a"), 400);
    let others = [captured.clone(), done(Void, "v", Some("a"), 100)];
    assert_eq!((held(&others), back(&others)), (Some(1_000), Some(400)));
    // A capture that has not succeeded holds its part and gives nothing back.
    let open = of(Capture, "a", 600, &[stamped(1, 0)]);
    let others = [captured.clone(), open];
    assert_eq!((held(&others), back(&others)), (Some(500), Some(400)));
    let others = [
        captured,
        done(Refund, "r", Some("a"), 150),
        done(Chargeback, "b", Some("c"), 50),
        done(Void, "v", Some("c"), 100),
    ];
    assert_eq!((held(&others), back(&others)), (Some(1_100), Some(100)));
}

#[test]
fn children_of_captures_share_the_captured_amount() {
    let (first, second) = (
        done(Capture, "c1", Some("a"), 400),
        done(Capture, "c2", Some("a"), 600),
    );
    let others = [
        first.clone(),
        second,
        done(Refund, "r", Some("a"), 700),
        done(Refund, "s", Some("c2"), 200),
    ];
    for kind in [Refund, Chargeback, Void] {
        assert_eq!(left_for(kind, ("c1", &first), &others), Some(100), "{kind}");
    }
    // A capture of which the siblings are not listed counts itself.
    assert_eq!(left_for(Refund, ("c1", &first), &[]), Some(400));
}

#[test]
fn an_equal_child_is_waited_for_from_when_it_was_sent() {
    let name = uid("p");
    let waits = |facts: &[Fact], now: i64| {
        let child = Child {
            kind: Refund,
            amount: Some(400),
            parent: &name,
        };
        let others = [of(Refund, "p", 400, facts)];
        wait(child, &others, DUPLICATE_WINDOW, at(now))
    };
    assert_eq!(waits(&[], 1), None, "nothing has left");
    assert_eq!(waits(&[stamped(1, 0), not_sent(1)], 1), None);
    let refused = [stamped(1, 5), refused(1, RefusalKind::Rejected)];
    assert_eq!(waits(&refused, 6), Some(at(36)));
    assert_eq!(waits(&refused, 36), None);
    // It may have waited for its turn after the stamp.
    assert_eq!(waits(&[stamped(1, 5), acked(1, "t", 9)], 10), Some(at(40)));
    assert_eq!(waits(&[stamped(1, 5)], 30), Some(at(61)), "on its way");
    let put_off = Fact::Deferred {
        attempt: 1,
        until: at(34),
    };
    let again = [stamped(1, 0), put_off, stamped(2, 34), acked(2, "t", 35)];
    assert_eq!(waits(&again, 36), Some(at(66)));
}

#[test]
fn a_refund_and_a_chargeback_are_a_double_refund() {
    let parent = done(Payment, "p", None, 1_500);
    let over = |others: &[Member]| back_twice(&uid("p"), &parent, others);
    let charged = |amount| done(Chargeback, "c", Some("p"), amount);
    let refunded = |amount| done(Refund, "r", Some("p"), amount);
    assert_eq!(over(&[charged(1_500)]), None);
    assert_eq!(over(&[refunded(1_500)]), None);
    assert_eq!(over(&[refunded(1_500), charged(1_500)]), Some(1_500));
    assert_eq!(over(&[charged(1_500), refunded(1)]), Some(1));
    assert_eq!(over(&[charged(500), refunded(1_000)]), None);
    let again = done(Chargeback, "d", Some("p"), 1_500);
    assert_eq!(over(&[charged(1_500), again]), Some(1_500));
    let open = of(Refund, "p", 1_500, &[stamped(1, 0)]);
    assert_eq!(over(&[open, charged(1_500)]), None, "it may still fail");
}
