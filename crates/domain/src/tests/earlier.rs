//! What an earlier release has ended stays, until something outranks it.

use super::facts::{any_fact, cases, dealings, histories};
use super::given::{
    absent_of, accepted, acked, at, decided, deferred, payment, result, seen, silent, snapshot,
    stamped, state, summed, uid,
};
use crate::earlier::{EarlierEnd, RULES, Written};
use crate::fold::StateBasis;
use crate::schedule::{Step, plan};
use crate::{
    DiscrepancyKind, Fact, Snapshot, State, Summary, TransactionRequest, derive, discrepancy,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// The act by which what is known is taken over with this end.
fn end(opening: &TransactionRequest, facts: &[Fact], state: State, name: Option<&str>) -> Fact {
    let end = EarlierEnd::of(opening, &summed(opening, facts), state, name.map(uid));
    Fact::DecidedBefore(Box::new(end))
}

/// The facts of an end by earlier rules, with that end.
fn kept(
    opening: &TransactionRequest,
    facts: Vec<Fact>,
    state: State,
    name: Option<&str>,
) -> Vec<Fact> {
    let end = end(opening, &facts, state, name);
    [facts, vec![end]].concat()
}

fn and(facts: &[Fact], more: Fact) -> Vec<Fact> {
    [facts.to_vec(), vec![more]].concat()
}

/// Absent by the rules of before, with another amount under its name.
fn absent_beside_unlike(opening: &TransactionRequest) -> Vec<Fact> {
    let unlike = Snapshot {
        amount: Some(900),
        ..snapshot(opening, "u-1", "successful", 20)
    };
    let facts = vec![
        stamped(1, 0),
        silent(1),
        seen(&unlike),
        absent_of(&[1], 90_000),
    ];
    assert_eq!(state(opening, &facts), State::InDoubt);
    kept(opening, facts, State::NotFound, None)
}

/// Bound by its own task, and of the other mode.
fn other_mode(opening: &TransactionRequest) -> Vec<Fact> {
    let test = Snapshot {
        test: Some(true),
        ..snapshot(opening, "u-1", "successful", 20)
    };
    let facts = vec![stamped(1, 0), acked(1, "t-1", 1), result("t-1", &test)];
    assert_eq!(state(opening, &facts), State::Pending);
    kept(opening, facts, State::Successful, Some("u-1"))
}

#[test]
fn an_earlier_not_sent_after_a_deferral_is_not_sent_again() {
    let put_off = vec![stamped(1, 0), deferred(1, 60)];
    assert!(summed(&payment(), &put_off).can_send());
    let ended = kept(&payment(), put_off, State::NotSent, None);
    assert_eq!(state(&payment(), &ended), State::NotSent);
    assert!(!summed(&payment(), &ended).can_send());
    let before_any = kept(&payment(), Vec::new(), State::NotSent, None);
    assert!(summed(&payment(), &before_any).can_send());
}

#[test]
fn an_earlier_presumed_final_stays_until_a_snapshot() {
    let opening = payment();
    let facts = absent_beside_unlike(&opening);
    let known = summed(&opening, &facts);
    let derived = derive(&opening, &known);
    assert_eq!(
        (derived.state, derived.basis),
        (State::NotFound, StateBasis::EarlierRules(State::InDoubt))
    );
    let ours = snapshot(&opening, "u-2", "pending", 30);
    assert_eq!(state(&opening, &and(&facts, seen(&ours))), State::Pending);
    let over = snapshot(&opening, "u-2", "successful", 30);
    assert_eq!(
        state(&opening, &and(&facts, seen(&over))),
        State::Successful
    );
}

#[test]
fn an_earlier_final_snapshot_is_only_corrected() {
    let opening = payment();
    let facts = other_mode(&opening);
    assert_eq!(state(&opening, &facts), State::Successful);
    let test = |status, updated| Snapshot {
        test: Some(true),
        ..snapshot(&opening, "u-1", status, updated)
    };
    let (later, odd) = (test("failed", 30), test("pending", 40));
    assert_eq!(state(&opening, &and(&facts, seen(&later))), State::Failed);
    assert_eq!(state(&opening, &and(&facts, seen(&odd))), State::Successful);
    let other = snapshot(&opening, "u-2", "successful", 5);
    let derived = derive(&opening, &summed(&opening, &and(&facts, seen(&other))));
    assert_eq!(
        (derived.state, derived.uid),
        (State::Successful, Some(uid("u-2")))
    );
}

#[test]
fn a_person_decides_over_it() {
    let opening = payment();
    let facts = absent_beside_unlike(&opening);
    for word in [State::InDoubt, State::Failed] {
        let more = and(&facts, decided(90_001, word, None));
        assert_eq!(state(&opening, &more), word);
    }
    let facts = other_mode(&opening);
    let test = Snapshot {
        test: Some(true),
        ..snapshot(&opening, "u-1", "successful", 20)
    };
    let derived = derive(&opening, &summed(&opening, &and(&facts, accepted(&test))));
    assert!(matches!(derived.basis, StateBasis::Snapshot(_)));
}

#[test]
fn a_new_attempt_is_not_covered_by_it() {
    let opening = payment();
    let facts = vec![stamped(1, 0), acked(1, "t-1", 1)];
    let facts = kept(&opening, facts, State::Rejected, None);
    assert_eq!(state(&opening, &facts), State::Rejected);
    assert_eq!(
        state(&opening, &and(&facts, stamped(2, 10))),
        State::Processing
    );
}

#[test]
fn a_state_of_earlier_rules_is_looked_up() {
    let opening = payment();
    let known = summed(&opening, &absent_beside_unlike(&opening));
    let derived = derive(&opening, &known);
    let found = discrepancy::indicated_discrepancies(&opening, &known, &derived);
    let told = found
        .iter()
        .find(|f| f.kind == DiscrepancyKind::StatusConflict);
    assert!(told.unwrap().detail.contains("in_doubt"));
    assert_eq!(
        plan(&opening, &known, &derived, at(90_002)),
        Step::LookUpTrackingId
    );
}

#[test]
fn a_summary_names_its_version() {
    let mut summary = Summary::default();
    assert!(summary.is_by_our_rules(0) && !summary.is_by_our_rules(3));
    summary.written = Some(Written(RULES, 3));
    assert!(summary.is_by_our_rules(3) && !summary.is_by_our_rules(4));
    let text = serde_json::to_string(&summary).unwrap();
    assert!(text.starts_with(&format!("{{\"wr\":[{RULES},3]")));
}

fn ends() -> impl Strategy<Value = State> {
    let all = State::ALL.iter().copied();
    select(
        all.filter(|state| state.is_final() && *state != State::Merged)
            .collect::<Vec<_>>(),
    )
}

/// A life that ended before, however that was, and what comes after.
fn taken_over() -> impl Strategy<Value = (TransactionRequest, Vec<Fact>, State, Vec<Fact>)> {
    histories().prop_flat_map(|(opening, facts)| {
        (ends(), vec(any_fact(opening.clone()), 0..6))
            .prop_map(move |(state, more)| (opening.clone(), facts.clone(), state, more))
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn an_earlier_state_stays_in_every_order((opening, facts, was, more) in taken_over()) {
        let name = (!was.is_presumed()).then_some("u-1");
        let act = end(&opening, &facts, was, name);
        let merged = |facts: &[Fact]| {
            facts.iter().any(|fact| matches!(fact, Fact::MergedInto { .. } | Fact::Decided(_)))
        };
        let known = and(&facts, act.clone());
        let tasks = |facts: &[Fact]| !summed(&opening, facts).tasks.is_empty();
        let sent = was == State::NotSent && tasks(&known);
        if !merged(&known) && !sent {
            let now = derive(&opening, &summed(&opening, &known));
            prop_assert_eq!((now.state, now.uid), (was, name.map(uid)));
        }
        let after = [facts.clone(), more.clone(), vec![act.clone(), act.clone()]].concat();
        let whole = summed(&opening, &[known, more].concat());
        prop_assert_eq!(&whole, &summed(&opening, &after));
        let ends = derive(&opening, &whole).state;
        prop_assert!(was.is_presumed() || merged(&after) || ends.is_final(), "{ends:?}");
    }

    #[test]
    fn our_own_dealings_do_not_open_it(
        (opening, facts, was, _) in taken_over(), more in vec(dealings(), 0..6)
    ) {
        prop_assume!(was.is_presumed() && was != State::NotSent);
        let facts: Vec<Fact> = facts.into_iter().filter(|fact| {
            !matches!(fact, Fact::MergedInto { .. } | Fact::Decided(_))
        }).collect();
        let last = summed(&opening, &facts).last_attempt();
        let more: Vec<Fact> = more.into_iter().filter(|fact| {
            summed(&opening, std::slice::from_ref(fact)).last_attempt() <= last
        }).collect();
        let known = kept(&opening, facts, was, None);
        let before = derive(&opening, &summed(&opening, &known)).state;
        let after = derive(&opening, &summed(&opening, &[known, more].concat())).state;
        prop_assert_eq!(before, was);
        prop_assert!(after.is_final(), "{after:?}");
    }
}
