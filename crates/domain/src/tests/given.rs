//! What tests begin with: an opening, and short ways to say facts.

use crate::evidence::{AbsenceProof, Decision, FoundBy, RefusalCheck};
use crate::fold::DerivedState;
use crate::{
    Currency, Fact, Origin, Refusal, RefusalKind, ShopId, Snapshot, SnapshotKey, State,
    StatusClass, Summary, TaskId, Timestamp, TrackingId, TransactionRequest, TransactionType, Uid,
    derive,
};
use uuid::Uuid;

/// A moment, in seconds after attempt 1 was stamped.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros((1_700_000_000 + seconds) * 1_000_000)
}

/// What the gateway's clock may differ from ours, in seconds.
pub(super) const TOLERANCE: i64 = 120;

pub(super) fn uid(text: &str) -> Uid {
    Uid::from_gateway(text).unwrap()
}

pub(super) fn task_id(text: &str) -> TaskId {
    TaskId::from_gateway(text).unwrap()
}

pub(super) fn tracking(text: &str) -> TrackingId {
    TrackingId::parse(text).unwrap()
}

pub(super) fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

pub(super) fn payment() -> TransactionRequest {
    TransactionRequest {
        shop: ShopId::parse("1001").unwrap(),
        tracking_id: Some(tracking("order-1")),
        kind: TransactionType::Payment,
        origin: Origin::Api,
        amount: Some(1_000),
        currency: Some(currency("USD")),
        parent_uid: None,
        parent_tracking_id: None,
        card_data: false,
        test: None,
        opened_at: at(-1),
    }
}

pub(super) fn card_payment() -> TransactionRequest {
    TransactionRequest {
        card_data: true,
        ..payment()
    }
}

pub(super) fn test_payment() -> TransactionRequest {
    TransactionRequest {
        test: Some(true),
        ..payment()
    }
}

pub(super) fn refund() -> TransactionRequest {
    TransactionRequest {
        kind: TransactionType::Refund,
        tracking_id: Some(tracking("refund-1")),
        currency: None,
        parent_uid: Some(uid("p-1")),
        parent_tracking_id: Some(tracking("order-1")),
        ..payment()
    }
}

/// A snapshot of `name` that agrees with what was asked, under our name, made after the stamp.
pub(super) fn snapshot(
    opening: &TransactionRequest,
    name: &str,
    status: &str,
    updated: i64,
) -> Snapshot {
    let mut sha = [0_u8; 32];
    sha[0] = status.bytes().fold(0, u8::wrapping_add);
    sha[1] = name.bytes().fold(0, u8::wrapping_add);
    Snapshot {
        uid: uid(name),
        status: status.to_owned(),
        class: StatusClass::of(status, None),
        kind: Some(opening.kind.as_str().to_owned()),
        code: None,
        message: None,
        friendly_message: None,
        amount: opening.amount,
        amount_written: None,
        currency: opening.currency,
        tracking_id: opening.tracking_id.clone(),
        parent_uid: opening.parent_uid.clone(),
        description: None,
        created_at: Some(at(1)),
        updated_at: Some(at(updated)),
        paid_at: None,
        manually_corrected_at: None,
        redirect_url: None,
        card: None,
        test: None,
        unread: None,
        body_sha256: sha,
    }
}

pub(super) fn stamped(attempt: u32, seconds: i64) -> Fact {
    Fact::Stamped {
        attempt,
        at: at(seconds),
        not_before: at(seconds - TOLERANCE),
        replay: false,
    }
}

pub(super) fn replayed(attempt: u32, seconds: i64) -> Fact {
    Fact::Stamped {
        attempt,
        at: at(seconds),
        not_before: at(seconds - TOLERANCE),
        replay: true,
    }
}

pub(super) fn silent(attempt: u32) -> Fact {
    Fact::WentSilent {
        attempt,
        reason: "timeout".to_owned(),
    }
}

/// Put off until then.
pub(super) fn deferred(attempt: u32, until: i64) -> Fact {
    let until = at(until);
    Fact::Deferred { attempt, until }
}

pub(super) fn not_sent(attempt: u32) -> Fact {
    Fact::NotSent {
        attempt,
        reason: "connection refused".to_owned(),
    }
}

pub(super) fn given_up(attempt: u32) -> Fact {
    Fact::GivenUp {
        attempt,
        reason: "too many tries".to_owned(),
    }
}

pub(super) fn acked(attempt: u32, task: &str, seconds: i64) -> Fact {
    Fact::Acknowledged {
        attempt,
        task: task_id(task),
        at: at(seconds),
    }
}

pub(super) fn refusal(kind: RefusalKind) -> Refusal {
    let code = match kind {
        RefusalKind::Rejected => Some("E.1025"),
        RefusalKind::Duplicate => Some("E.1018"),
        RefusalKind::Doubt => None,
    };
    Refusal {
        kind,
        code: code.map(str::to_owned),
        message: Some("no".to_owned()),
        friendly_message: None,
        http_status: Some(422),
    }
}

pub(super) fn refused(attempt: u32, kind: RefusalKind) -> Fact {
    Fact::Refused {
        attempt,
        refusal: refusal(kind),
        at: at(2),
    }
}

pub(super) fn task_refused(task: &str, kind: RefusalKind) -> Fact {
    Fact::TaskRefused {
        task: task_id(task),
        refusal: refusal(kind),
        at: at(3),
    }
}

pub(super) fn checked(task: &str, check: RefusalCheck) -> Fact {
    Fact::RefusalChecked {
        task: task_id(task),
        check,
    }
}

pub(super) fn task_unknown(task: &str) -> Fact {
    Fact::TaskUnknown {
        task: task_id(task),
    }
}

pub(super) fn result(task: &str, snapshot: &Snapshot) -> Fact {
    Fact::TaskResult {
        task: task_id(task),
        snapshot: Box::new(snapshot.clone()),
    }
}

pub(super) fn answered(attempt: u32, snapshot: &Snapshot) -> Fact {
    Fact::Answered {
        attempt,
        snapshot: Box::new(snapshot.clone()),
    }
}

pub(super) fn seen(snapshot: &Snapshot) -> Fact {
    Fact::Seen {
        snapshot: Box::new(snapshot.clone()),
        found_by: FoundBy::TrackingId,
    }
}

pub(super) fn accepted(snapshot: &Snapshot) -> Fact {
    Fact::MismatchAccepted(Box::new(snapshot.clone()))
}

pub(super) fn absent(seconds: i64) -> Fact {
    let lookups = vec![Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3)];
    Fact::AbsenceProved(AbsenceProof {
        at: at(seconds),
        lookups,
        duplicate: false,
        attempts: Vec::new(),
    })
}

/// A proof that names the attempts which it covers.
pub(super) fn absent_of(attempts: &[u32], seconds: i64) -> Fact {
    Fact::AbsenceProved(AbsenceProof {
        at: at(seconds),
        lookups: vec![Uuid::from_u128(1)],
        duplicate: false,
        attempts: attempts.to_vec(),
    })
}

pub(super) fn no_duplicate(seconds: i64) -> Fact {
    let lookups = vec![Uuid::from_u128(4)];
    Fact::AbsenceProved(AbsenceProof {
        at: at(seconds),
        lookups,
        duplicate: true,
        attempts: Vec::new(),
    })
}

pub(super) fn decided(seconds: i64, state: State, basis: Option<SnapshotKey>) -> Fact {
    Fact::Decided(Decision {
        at: at(seconds),
        id: Uuid::from_u128(9),
        state,
        basis,
        by: "ops".to_owned(),
        reason: "the bank said so".to_owned(),
        uid: None,
    })
}

pub(super) fn summed(opening: &TransactionRequest, facts: &[Fact]) -> Summary {
    let mut summary = Summary::default();
    for fact in facts {
        summary.join(opening, fact);
    }
    summary
}

pub(super) fn fold(opening: &TransactionRequest, facts: &[Fact]) -> DerivedState {
    derive(opening, &summed(opening, facts))
}

pub(super) fn state(opening: &TransactionRequest, facts: &[Fact]) -> State {
    fold(opening, facts).state
}
