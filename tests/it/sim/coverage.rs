//! How often each value of the grammar stood in an answer that decided a batch: nothing is shown about
//! what never did.

use super::grammar::{FACTORS, Row};
use std::collections::BTreeMap;

/// The times by factor and value, both by number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(usize, u8), u64>);

impl Coverage {
    /// An answer that decided something.
    pub fn add(&mut self, row: &Row) {
        for factor in 0..FACTORS.len() {
            *self.0.entry((factor, row.at(factor))).or_default() += 1;
        }
    }

    pub fn join(&mut self, other: &Self) {
        for (place, times) in &other.0 {
            *self.0.entry(*place).or_default() += times;
        }
    }

    fn times(&self, factor: usize, value: usize) -> u64 {
        let value = u8::try_from(value).unwrap_or(u8::MAX);
        self.0.get(&(factor, value)).copied().unwrap_or(0)
    }

    /// The values of these factors that never decided anything, as they stand in a plan.
    pub fn missing(&self, factors: &[usize]) -> Vec<String> {
        let mut missing = Vec::new();
        for factor in factors {
            let of = &FACTORS[*factor];
            let words = of.words.iter().enumerate();
            let never = words.filter(|(value, _)| self.times(*factor, *value) == 0);
            missing.extend(never.map(|(_, word)| format!("{}={word}", of.key)));
        }
        missing
    }

    /// One line for each factor.
    pub fn print(&self) {
        for (factor, of) in FACTORS.iter().enumerate() {
            let words = of.words.iter().enumerate();
            let times: Vec<String> = words
                .map(|(value, word)| format!("{word} {}", self.times(factor, value)))
                .collect();
            println!("decided by {}: {}", of.key, times.join(", "));
        }
    }
}

#[test]
fn a_value_that_never_decided_is_named() {
    let mut coverage = Coverage::default();
    coverage.add(&Row::parse("channel=webhook lasts=on").expect("a row"));
    assert_eq!(coverage.missing(&[18]), ["lasts=once"]);
    coverage.add(&Row::default());
    assert!(coverage.missing(&[18]).is_empty());
    assert_eq!(coverage.missing(&[0]).len(), 5);
}
