//! What callers see: what was asked beside what the gateway has, and when a waiting caller has its answer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot set up its case should stop right there"
)]

use super::{Record, TransactionView};
use domain::evidence::AbsenceProof;
use domain::{
    Currency, Fact, Origin, Refusal, RefusalKind, ShopId, Snapshot, StatusClass, Summary, TaskId,
    Timestamp, TrackingId, TransactionRequest, TransactionType, Uid, derive,
};
use uuid::Uuid;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

fn payment() -> TransactionRequest {
    TransactionRequest {
        shop: ShopId::parse("1001").unwrap(),
        tracking_id: Some(TrackingId::parse("order-1").unwrap()),
        kind: TransactionType::Payment,
        origin: Origin::Api,
        amount: Some(1_000),
        currency: Currency::parse("USD"),
        parent_uid: None,
        parent_tracking_id: None,
        card_data: false,
        test: None,
        opened_at: at(-1),
    }
}

fn snapshot(status: &str) -> Snapshot {
    Snapshot {
        uid: Uid::from_gateway("u-1").unwrap(),
        status: status.to_owned(),
        class: StatusClass::of(status, None),
        kind: Some("payment".to_owned()),
        code: None,
        message: None,
        friendly_message: None,
        amount: Some(1_000),
        amount_written: None,
        currency: Currency::parse("USD"),
        tracking_id: Some(TrackingId::parse("order-1").unwrap()),
        parent_uid: None,
        description: None,
        created_at: Some(at(1)),
        updated_at: Some(at(5)),
        paid_at: None,
        manually_corrected_at: None,
        redirect_url: None,
        card: None,
        test: None,
        unread: None,
        body_sha256: [0; 32],
    }
}

fn result(snapshot: Snapshot) -> Fact {
    Fact::TaskResult {
        task: TaskId::from_gateway("t-1").unwrap(),
        snapshot: Box::new(snapshot),
    }
}

fn refused(kind: RefusalKind) -> Fact {
    let refusal = Refusal {
        kind,
        code: Some("E.1018".to_owned()),
        message: None,
        friendly_message: None,
        http_status: Some(422),
    };
    Fact::Refused {
        attempt: 1,
        at: at(1),
        refusal,
    }
}

/// What is shown after the stamp and these facts.
fn view<T>(facts: &[Fact], seen: impl FnOnce(&TransactionView<'_>) -> T) -> T {
    let opening = payment();
    let record = Record {
        id: Uuid::from_u128(1),
        description: None,
        created_at: at(0),
        updated_at: at(1),
        finalized_at: None,
        next_check_at: None,
        sequence: 1,
    };
    let mut known = Summary::default();
    let stamped = Fact::Stamped {
        attempt: 1,
        at: at(0),
        not_before: at(-120),
        replay: false,
    };
    for fact in [&stamped].into_iter().chain(facts) {
        known.join(&opening, fact);
    }
    let derived = derive(&opening, &known);
    seen(&TransactionView::of(&opening, &known, &derived, &record))
}

#[test]
fn a_mismatch_shows_both_amounts() {
    let odd = Snapshot {
        amount: Some(900),
        ..snapshot("successful")
    };
    view(&[result(odd)], |shown| {
        assert_eq!(
            (shown.amount, shown.gateway_amount),
            (Some(1_000), Some(900))
        );
        assert_eq!(
            (shown.status.as_deref(), shown.state),
            (Some("successful"), "pending")
        );
    });
}

#[test]
fn prefer_wait_ends_with_a_final_state_or_redirect() {
    let redirect = Snapshot {
        redirect_url: Some("https://acs.example".to_owned()),
        ..snapshot("incomplete")
    };
    let is_answer = |fact| view(&[fact], |shown| shown.is_answer());
    assert!(!is_answer(result(snapshot("incomplete"))));
    assert!(is_answer(result(redirect)));
    assert!(is_answer(refused(RefusalKind::Rejected)));
}

#[test]
fn the_code_of_a_refusal_is_shown_after_a_proof() {
    let proof = Fact::AbsenceProved(AbsenceProof {
        at: at(9),
        lookups: Vec::new(),
        duplicate: true,
        attempts: vec![1],
    });
    view(&[refused(RefusalKind::Duplicate), proof], |shown| {
        assert_eq!(shown.code.as_deref(), Some("E.1018"));
    });
}
