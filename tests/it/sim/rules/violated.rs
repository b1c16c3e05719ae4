//! Each rule can be broken: a small world that breaks it is handed to each.

use super::super::books::{Post, PostHandling};
use super::super::plan::{Course, Ends, Notices, Order, Plan, SHOP, Stranger};
use super::super::replies::Reply;
use super::super::wire::Owed;
use super::super::world::{SimState, State};
use super::{absence, ending, money, notices, pace, truth};
use domain::evidence::{AbsenceProof, FoundBy};
use domain::{
    Currency, DiscrepancyKind, Fact, Origin, ShopId, Summary, TaskId, Timestamp, TrackingId,
    TransactionRequest, TransactionType, Uid, derive,
};
use reconciler::observation::webhook::observe;
use reconciler::store::{DiscrepancyRow, StoredTransaction};
use reconciler::view::Record;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

const SECOND: Duration = Duration::from_secs(1);

/// A time of a run.
fn at(seconds: u32) -> Timestamp {
    super::super::exec::beginning().plus(SECOND * seconds)
}

fn post(name: &str, kind: &str, amount: i64, parent: Option<&str>) -> Post {
    Post {
        name: name.to_owned(),
        kind: kind.to_owned(),
        amount,
        parent: parent.map(str::to_owned),
        test: false,
        key: name.to_owned(),
    }
}

fn course(name: &str, ends: Ends) -> Course {
    Course {
        name: name.to_owned(),
        nth: 1,
        takes: SECOND,
        ends,
        later: Duration::ZERO,
        pending: false,
        corrected: None,
        again: None,
    }
}

fn order(name: &str) -> Order {
    Order {
        name: name.to_owned(),
        kind: TransactionType::Payment,
        amount: 1500,
        card_data: false,
        respond_async: false,
        twice: false,
        begins: Duration::ZERO,
        parent: None,
        test: false,
    }
}

/// A world of one plan in which nothing runs.
fn world(plan: Plan) -> Arc<SimState> {
    SimState::new(plan, None, false)
}

fn calm() -> Plan {
    Plan {
        courses: vec![
            course("a", Ends::Successful),
            course("b", Ends::Successful),
            course("c", Ends::Successful),
        ],
        orders: vec![order("a"), order("b")],
        notices: Notices::None,
        ..Plan::default()
    }
}

/// The gateway takes a POST, and all that it makes of it has happened.
fn take(state: &mut State, post: &Post, now: Timestamp) {
    let plan = Arc::clone(&state.plan);
    let (_, turns) = state
        .books
        .submit(post, now, &mut state.cup, &plan, PostHandling::Taken);
    for turn in turns {
        state.books.turn(&turn, now.plus(turn.after), &plan);
    }
}

fn stranger(state: &mut State, uid: &str, kind: TransactionType, parent: Option<&str>) {
    let one = Stranger {
        uid: uid.to_owned(),
        name: "a".to_owned(),
        kind,
        amount: 1500,
        status: "successful".to_owned(),
        parent: parent.map(str::to_owned),
        test: false,
        at: Duration::ZERO,
        age: Duration::ZERO,
        told: false,
    };
    let plan = Arc::clone(&state.plan);
    state.books.stranger(&one, &plan, at(60));
}

/// The fact that the books' transaction was seen.
fn seen(state: &State, uid: &str) -> Fact {
    let found = &state.books.transactions[uid];
    let body = super::super::replies::wrapped(found, &state.plan).to_string();
    let mut told = observe(body.as_bytes(), true, Timestamp::END);
    told.facts.pop().expect("a snapshot")
}

/// It was told as the books have it.
fn told(state: &mut State, uid: &str, now: Timestamp) {
    let found = state.books.transactions[uid].clone();
    state.wire.is_told(&found, now);
}

/// The fact that our own task named it.
fn named(state: &State, uid: &str) -> Fact {
    match seen(state, uid) {
        Fact::Seen { snapshot, .. } => Fact::Seen {
            snapshot,
            found_by: FoundBy::OwnTask,
        },
        other => other,
    }
}

/// Our row under a name, with what is known of it.
fn row(state: &mut State, name: &str, facts: &[Fact], since: Timestamp) -> Uuid {
    let id = state.id(name, since);
    let opening = TransactionRequest {
        shop: ShopId::parse(SHOP).expect("a shop"),
        tracking_id: Some(TrackingId::parse(name).expect("a name")),
        kind: TransactionType::Payment,
        origin: Origin::Api,
        amount: Some(1500),
        currency: Currency::parse("EUR"),
        parent_uid: None,
        parent_tracking_id: None,
        card_data: false,
        test: Some(false),
        opened_at: since,
    };
    let mut summary = Summary::default();
    let stamped = Fact::Stamped {
        attempt: 1,
        at: since,
        not_before: since.minus(SECOND * 120),
        replay: false,
    };
    for fact in [stamped].iter().chain(facts) {
        summary.join(&opening, fact);
    }
    let derived = derive(&opening, &summary);
    let record = Record {
        id,
        description: None,
        created_at: since,
        updated_at: since,
        finalized_at: None,
        next_check_at: None,
        sequence: 1,
    };
    let stored = StoredTransaction {
        opening,
        summary,
        record,
        state: derived.state,
        state_since: since,
        fingerprint: Vec::new(),
        fingerprint_key: String::new(),
        evidence_count: 0,
        evidence_head: [0; 32],
    };
    state.db.insert_transaction(&stored);
    id
}

fn silent() -> Fact {
    Fact::WentSilent {
        attempt: 1,
        reason: "no answer".to_owned(),
    }
}

fn proof(now: Timestamp) -> Fact {
    Fact::AbsenceProved(AbsenceProof {
        at: now,
        lookups: Vec::new(),
        duplicate: false,
        attempts: Vec::new(),
    })
}

fn is_broken(found: Option<String>, by: &str) {
    let text = found.expect("a broken rule");
    assert!(text.contains(by), "{text}");
}

#[test]
fn an_absence_beside_a_transaction_is_seen() {
    world(calm()).with(|state| {
        let id = row(state, "a", &[silent(), proof(at(90_000))], at(0));
        assert_eq!(state.db.transactions[&id].state.as_str(), "not_found");
        assert_eq!(truth::no_false_no(state, at(90_000)), None);
        is_broken(absence::proved(state, at(90_000)), "0 look-ups");
        take(state, &post("a", "payment", 1500, None), at(1));
        is_broken(truth::no_false_no(state, at(90_000)), "is not_found");
    });
}

#[test]
fn a_final_state_by_a_foreign_transaction_is_detected() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1400, None), at(1));
        let fact = named(state, "uid-a-1");
        state
            .books
            .transactions
            .get_mut("uid-a-1")
            .expect("made")
            .amount = 1500;
        let ours = named(state, "uid-a-1");
        row(state, "a", &[ours], at(0));
        assert_eq!(truth::no_false_yes(state, at(9)), None);
        state
            .books
            .transactions
            .get_mut("uid-a-1")
            .expect("made")
            .test = true;
        is_broken(truth::no_false_yes(state, at(9)), "not what was asked for");
        drop(fact);
    });
}

#[test]
fn a_uid_that_is_shown_and_not_claimed_is_seen() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        let fact = named(state, "uid-a-1");
        let id = row(state, "a", std::slice::from_ref(&fact), at(0));
        is_broken(truth::one_owner(state, at(9)), "has not claimed");
        state.db.uids.insert("uid-a-1".to_owned(), id);
        assert_eq!(truth::one_owner(state, at(9)), None);
        row(state, "b", &[fact], at(5));
        is_broken(truth::one_owner(state, at(9)), "belongs to");
    });
}

#[test]
fn a_final_state_by_another_uid_is_detected() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        stranger(state, "uid-y", TransactionType::Payment, None);
        let fact = named(state, "uid-y");
        row(state, "a", &[fact], at(0));
        state.wire.named_by_task.insert("uid-a-1".to_owned());
        is_broken(truth::told(state, at(90)), "no finding says so");
        told(state, "uid-a-1", at(5));
        told(state, "uid-y", at(70));
        is_broken(notices::several(state, at(90)), "no finding names all");
        finding(
            state,
            DiscrepancyKind::DuplicateSuccess,
            "uid-a-1 1500 EUR, uid-y 1500 EUR",
        );
        assert_eq!(truth::told(state, at(90)), None);
        assert_eq!(notices::several(state, at(90)), None);
    });
}

fn finding(state: &mut State, kind: DiscrepancyKind, detail: &str) {
    let id = state.uuid();
    state.db.findings.push(DiscrepancyRow {
        id,
        kind,
        is_open: true,
        transaction_id: None,
        tracking_id: None,
        uid: detail.split(' ').next().map(str::to_owned),
        subject: String::new(),
        amount: None,
        currency: None,
        detail: detail.to_owned(),
        uids: Vec::new(),
        opened_at: at(0),
        resolved_at: None,
        resolved_by: None,
        reason: None,
    });
}

#[test]
fn lost_evidence_is_detected() {
    world(calm()).with(|state| {
        row(state, "a", &[silent()], at(0));
        stranger(state, "uid-y", TransactionType::Payment, None);
        is_broken(
            notices::unknown(state, "uid-y"),
            "in no row and in no finding",
        );
        is_broken(ending::known(state, at(9000)), "at the end");
        finding(state, DiscrepancyKind::AmbiguousTrackingId, "uid-y");
        assert_eq!(notices::unknown(state, "uid-y"), None);
    });
}

#[test]
fn doubt_about_a_known_state_is_detected() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        let fact = named(state, "uid-a-1");
        row(state, "a", &[fact], at(2));
        state.wire.named_by_task.insert("uid-a-1".to_owned());
        assert_eq!(notices::healed(state, at(200)), None);
        finding(state, DiscrepancyKind::AmbiguousTrackingId, "uid-a-1");
        is_broken(notices::healed(state, at(200)), "still told as doubtful");
    });
}

#[test]
fn a_double_refund_is_detected() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        let id = row(state, "a", &[], at(0));
        state.db.uids.insert("uid-a-1".to_owned(), id);
        for (uid, kind) in [
            ("uid-r", TransactionType::Refund),
            ("uid-c", TransactionType::Chargeback),
        ] {
            stranger(state, uid, kind, Some("uid-a-1"));
            told(state, uid, at(70));
        }
        is_broken(notices::money_back_twice(state, at(90)), "3000 of 1500");
    });
}

#[test]
fn a_second_arrival_and_too_many_children_are_seen() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        assert_eq!(money::once(state, at(1)), None);
        take(state, &post("a", "payment", 1500, None), at(40));
        is_broken(money::once(state, at(40)), "arrives again");
        take(state, &post("b", "refund", 1500, Some("uid-a-1")), at(50));
        assert_eq!(money::children(state, at(50)), None);
        take(state, &post("c", "void", 1, Some("uid-a-1")), at(60));
        is_broken(money::children(state, at(60)), "1501 of 1500");
    });
}

#[test]
fn equals_that_leave_together_and_a_stamp_in_a_pause_are_seen() {
    world(calm()).with(|state| {
        let id = row(state, "a", &[], at(10));
        let mut child = state.db.transactions[&id].clone();
        child.opening.parent_uid = Uid::from_gateway("uid-p");
        let mut other = child.clone();
        other.opening.tracking_id = TrackingId::parse("c").ok();
        assert_eq!(money::spacing(state, &child, at(1)), None);
        assert_eq!(money::spacing(state, &child, at(2)), None);
        is_broken(money::spacing(state, &other, at(3)), "after its equal");
        assert_eq!(money::spacing(state, &child, at(34)), None);
        assert_eq!(money::pause(state, at(20)), None);
        state.wire.paused_at = Some(at(5));
        is_broken(money::pause(state, at(20)), "after the pause");
    });
}

#[test]
fn a_missing_or_late_check_is_detected() {
    world(calm()).with(|state| {
        state.wire.owed.push(Owed {
            uid: "uid-y".to_owned(),
            name: "a".to_owned(),
            until: at(200),
        });
        assert_eq!(notices::owed(state, at(199)), None);
        is_broken(notices::owed(state, at(200)), "nobody looked");
        let id = row(state, "a", &[silent()], at(0));
        let check = |due_at| super::super::db::Check {
            due_at,
            lease: None,
            again: false,
            state: "in_doubt".to_owned(),
            since: at(0),
            course: domain::schedule::Course::default(),
        };
        state.db.checks.insert(id, check(at(60)));
        assert_eq!(pace::due(state, at(0)), None);
        state.db.checks.insert(id, check(at(86_400)));
        is_broken(pace::due(state, at(0)), "the next look is in");
    });
}

#[test]
fn a_row_that_is_never_right_is_seen() {
    world(calm()).with(|state| {
        take(state, &post("a", "payment", 1500, None), at(1));
        let acked = Fact::Acknowledged {
            attempt: 1,
            task: TaskId::from_gateway("task-a-1").expect("a task"),
            at: at(1),
        };
        let id = row(state, "a", &[acked], at(0));
        assert_eq!(state.db.transactions[&id].state.as_str(), "processing");
        assert_eq!(pace::lively(state, at(100)), None);
        is_broken(pace::lively(state, at(900)), "is processing");
        let mut doubtful = state.db.transactions[&id].clone();
        doubtful.summary = Summary::default();
        doubtful.summary.join(&doubtful.opening.clone(), &silent());
        doubtful.state = doubtful.derived().state;
        state.db.transactions.insert(id, doubtful);
        is_broken(ending::as_the_books(state, at(90_000)), "is in doubt");
    });
}

#[test]
fn too_many_requests_are_seen() {
    world(calm()).with(|state| {
        for second in 0..11 {
            state.wire.asked("name", "a", at(second / 2));
        }
        is_broken(
            pace::bounded(state, at(60)),
            "more than 10 requests in 10 s",
        );
        let silent = ("name".to_owned(), "b".to_owned(), at(10));
        state.wire.silent.push(silent);
        state.wire.asked("name", "b", at(11));
        is_broken(
            pace::silent(state, at(60)),
            "after 1 reads without an answer",
        );
    });
}

#[test]
fn an_ability_that_nothing_has_shown_is_seen() {
    world(calm()).with(|state| {
        is_broken(absence::noted(state, "finds:"), "no look-up has shown one");
        let word = "shows:refund";
        is_broken(absence::noted(state, word), "no look-up has shown one");
        take(state, &post("a", "payment", 1500, None), at(1));
        take(state, &post("b", "refund", 100, Some("uid-a-1")), at(2));
        let found = state.books.transactions["uid-b-1"].clone();
        let reply = Reply::list(&[&found], &state.plan);
        state.wire.sent("name", "b", &reply, at(3));
        assert_eq!(absence::noted(state, "finds:"), None);
        assert_eq!(absence::noted(state, word), None);
        let empty = Reply::json(200, &json!({"transactions": []}));
        for hours in [30, 31, 32] {
            state.wire.sent("name", "a", &empty, at(3600 * hours));
        }
        row(state, "a", &[silent(), proof(at(3600 * 33))], at(0));
        assert_eq!(absence::proved(state, at(3600 * 34)), None);
    });
}
