//! Explanations: every state and fact has one, and it tells the person what they need.

use super::facts::{cases, histories};
use super::given::{
    acked, at, decided, fold, payment, refused, result, seen, silent, snapshot, stamped, summed,
    task_unknown, uid,
};
use crate::explain::{describe_fact, describe_state, describe_step, would_change};
use crate::schedule::plan;
use crate::{Fact, RefusalKind, Snapshot, State, derive};
use proptest::prelude::*;

fn text(facts: &[Fact]) -> String {
    let opening = payment();
    describe_state(&opening, &summed(&opening, facts), &fold(&opening, facts))
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn everything_can_be_explained((opening, facts) in histories()) {
        let known = summed(&opening, &facts);
        let derived = derive(&opening, &known);
        let said = describe_state(&opening, &known, &derived);
        prop_assert!(said.ends_with('.') && !said.contains("  ") && !said.contains(".."), "{said}");
        let step = plan(&opening, &known, &derived, at(100));
        let parts = [vec![describe_step(&step)], facts.iter().map(describe_fact).collect()].concat();
        let changes = would_change(&opening, &known, derived.state);
        for part in parts.iter().map(String::as_str).chain(changes) {
            prop_assert!(!part.is_empty() && !part.ends_with('.'), "{part}");
            prop_assert!(!part.contains("  "), "{part}");
        }
    }
}

#[test]
fn the_text_of_doubt_quotes_the_gateway() {
    let said = text(&[stamped(1, 0), refused(1, RefusalKind::Duplicate)]);
    assert_eq!(
        said,
        "It is not known whether the gateway has the payment: money may have moved. It is looked \
         up until this is known, and is not sent again on a guess. The gateway's answer: HTTP 422 \
         E.1018, \"no\" (taken for a duplicate, which may be of this very request)."
    );
}

#[test]
fn the_text_of_a_mismatch_names_the_difference() {
    let odd = Snapshot {
        amount: Some(900),
        ..snapshot(&payment(), "u-1", "successful", 5)
    };
    let said = text(&[stamped(1, 0), result("t-1", &odd)]);
    assert!(
        said.contains("900 USD in minor units") && said.contains("another amount"),
        "{said}"
    );
}

#[test]
fn the_text_of_an_unconfirmed_failure_gives_the_reason() {
    let failed = seen(&snapshot(&payment(), "u-1", "failed", 5));
    let said = text(&[stamped(1, 0), acked(1, "t-1", 1), failed]);
    assert!(said.contains("does not count as the end yet"), "{said}");
}

#[test]
fn the_text_of_a_decision_names_operator_and_reason() {
    let said = text(&[stamped(1, 0), silent(1), decided(9, State::Failed, None)]);
    assert!(
        said.contains("ops decided this at") && said.contains("the bank said so"),
        "{said}"
    );
}

#[test]
fn the_text_of_an_unknown_task_warns_of_its_lost_error() {
    assert!(describe_fact(&task_unknown("t-1")).contains("the text of the error is lost"));
    assert!(describe_fact(&Fact::UidMissing { uid: uid("u-1") }).contains("404"));
}
