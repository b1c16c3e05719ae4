//! State is a fold of evidence, and order does not matter.

use super::facts::{cases, histories, snapshots};
use super::given::{payment, summed};
use crate::verdict::apply;
use crate::{Fact, Snapshot, Summary, derive};
use proptest::prelude::*;
use std::cmp::Ordering;

/// A list, and the same facts in another order with some of them repeated.
fn shuffled() -> impl Strategy<Value = (crate::TransactionRequest, Vec<Fact>, Vec<Fact>)> {
    histories().prop_flat_map(|(opening, facts)| {
        let twice = [facts.clone(), facts.clone()].concat();
        let count = facts.len();
        let other = Just(twice).prop_shuffle();
        (other, 0..=count).prop_map(move |(mut other, dropped)| {
            // Drops some, but never the last one of its kind.
            for _ in 0..dropped {
                if let Some(fact) = other.pop()
                    && !other.contains(&fact)
                {
                    other.insert(0, fact);
                }
            }
            (opening.clone(), facts.clone(), other)
        })
    })
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_order_and_repetition_gives_the_same_summary_and_state(
        (opening, facts, other) in shuffled()
    ) {
        let (one, two) = (summed(&opening, &facts), summed(&opening, &other));
        prop_assert_eq!(derive(&opening, &one), derive(&opening, &two));
        prop_assert_eq!(one, two);
    }

    #[test]
    fn facts_may_come_in_batches(
        (opening, facts) in histories(), cut in any::<prop::sample::Index>()
    ) {
        let (first, second) = facts.split_at(cut.index(facts.len()));
        let half = apply(&opening, &Summary::default(), first).summary;
        let whole = apply(&opening, &half, second);
        prop_assert_eq!(&whole.summary, &summed(&opening, &facts));
        prop_assert_eq!(&whole.after, &derive(&opening, &whole.summary));
        // The other half first.
        let half = apply(&opening, &Summary::default(), second).summary;
        prop_assert_eq!(apply(&opening, &half, first).summary, whole.summary);
    }

    #[test]
    fn a_stored_summary_is_read_back_as_it_was((opening, facts) in histories()) {
        let summary = summed(&opening, &facts);
        let text = serde_json::to_string(&summary).unwrap();
        let back: Summary = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&back, &summary);
        prop_assert_eq!(serde_json::to_string(&back).unwrap(), text);
    }

    #[test]
    fn of_two_snapshots_exactly_one_counts(
        one in snapshots(payment()), two in snapshots(payment()), three in snapshots(payment())
    ) {
        let (two, three) = (Snapshot { uid: one.uid.clone(), ..two },
            Snapshot { uid: one.uid.clone(), ..three });
        let wins = [one.outranks(&two), two.outranks(&one)];
        prop_assert_eq!(wins.iter().filter(|won| **won).count(), usize::from(one != two));
        if one.outranks(&two) && two.outranks(&three) {
            prop_assert!(one.outranks(&three));
        }
        if one.key().cmp(&two.key()) == Ordering::Greater {
            prop_assert!(one.outranks(&two));
        }
    }

    #[test]
    fn a_final_snapshot_counts_before_any_that_is_not(
        one in snapshots(payment()), two in snapshots(payment())
    ) {
        if one.class.is_final() && !two.class.is_final() {
            prop_assert!(one.key() > two.key());
        }
        if one.class.is_final() == two.class.is_final() && one.updated_at > two.updated_at {
            prop_assert!(one.key() > two.key());
        }
    }
}
