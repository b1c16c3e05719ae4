//! Covering arrays over the grammar: few rows in which every possible pair, or triple, of values stands
//! together at least once. Greedy, one row at a time, the best of some candidates.

use super::grammar::{Channel, FACTORS, Row, Value as _, forbidden};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// How many rows are tried for each that is taken.
const CANDIDATES: usize = 30;

/// The most values of one factor.
const MAX_ROUNDS: usize = 20;

/// A value of a factor, by number.
type Place = (usize, u8);

/// Values that are to stand together.
pub type Together = Vec<Place>;

/// Which values exclude each other, looked up.
struct Exclusions(Vec<bool>);

impl Exclusions {
    fn new() -> Self {
        let width = FACTORS.len() * MAX_ROUNDS;
        let mut table = vec![false; width * width];
        let places = || {
            FACTORS.iter().enumerate().flat_map(|(factor, of)| {
                (0..of.words.len()).map(move |nth| (factor, u8::try_from(nth).unwrap_or(0)))
            })
        };
        for a in places() {
            for b in places().filter(|b| b.0 != a.0) {
                table[Self::cell(a, b)] = forbidden(a, b);
            }
        }
        Self(table)
    }

    fn cell(a: Place, b: Place) -> usize {
        let at = |(factor, nth): Place| factor * MAX_ROUNDS + usize::from(nth);
        at(a) * FACTORS.len() * MAX_ROUNDS + at(b)
    }

    fn exclude(&self, a: Place, b: Place) -> bool {
        self.0[Self::cell(a, b)]
    }
}

/// Whether some row holds all of these. The honest values exclude nothing, but for the channel.
pub fn can_stand_together(values: &[Place]) -> bool {
    let channels = (0..Channel::ALL.len()).filter_map(|nth| u8::try_from(nth).ok());
    channels
        .map(|channel| Row::default().with_at(Channel::FACTOR, channel))
        .map(|row| (row, set(row, values)))
        .any(|(row, full)| {
            let kept = values.iter().all(|(factor, nth)| full.at(*factor) == *nth);
            kept && full.is_possible()
                && (full.at(0) == row.at(0) || values.iter().any(|v| v.0 == 0))
        })
}

fn set(row: Row, values: &[Place]) -> Row {
    values
        .iter()
        .fold(row, |row, (factor, nth)| row.with_at(*factor, *nth))
}

/// All values of so many of these factors that can stand together.
pub fn possible(factors: &[usize], strength: usize) -> Vec<Together> {
    let mut found: Vec<Together> = vec![Vec::new()];
    for _ in 0..strength {
        found = found
            .into_iter()
            .flat_map(|known| {
                let last = known.last().map(|(factor, _)| *factor);
                let next = factors.iter().filter(move |f| last.is_none_or(|l| **f > l));
                next.flat_map(|factor| {
                    let known = known.clone();
                    (0..FACTORS[*factor].words.len()).map(move |nth| {
                        let place = (*factor, u8::try_from(nth).unwrap_or(0));
                        [known.as_slice(), &[place]].concat()
                    })
                })
                .collect::<Vec<_>>()
            })
            .collect();
    }
    found.retain(|values| can_stand_together(values));
    found
}

/// What is not covered yet.
struct Open {
    strength: usize,
    cells: Vec<bool>,
    /// In a random order; what has been covered meanwhile is dropped when it is met.
    waiting: Vec<Together>,
}

impl Open {
    fn new(mut waiting: Vec<Together>, strength: usize, dice: &mut StdRng) -> Self {
        let width = FACTORS.len() * MAX_ROUNDS;
        let mut cells = vec![false; width.pow(u32::try_from(strength).unwrap_or(2))];
        for values in &waiting {
            cells[Self::cell(values)] = true;
        }
        waiting.shuffle(dice);
        Self {
            strength,
            cells,
            waiting,
        }
    }

    /// `values` by factor.
    fn cell(values: &[Place]) -> usize {
        values.iter().fold(0, |cell, (factor, nth)| {
            cell * FACTORS.len() * MAX_ROUNDS + factor * MAX_ROUNDS + usize::from(*nth)
        })
    }

    /// How many open ones a value would cover beside those that are set.
    fn gain(&self, place: Place, set: &[Place]) -> usize {
        let is_open = |mut values: Vec<Place>| {
            values.sort_unstable();
            self.cells[Self::cell(&values)]
        };
        if self.strength == 2 {
            return set.iter().filter(|a| is_open(vec![**a, place])).count();
        }
        let pairs = set.iter().enumerate().flat_map(|(nth, a)| {
            let later = set[nth + 1..].iter();
            later.map(move |b| (*a, *b))
        });
        pairs.filter(|(a, b)| is_open(vec![*a, *b, place])).count()
    }

    /// One that is open still.
    fn any(&mut self, nth: usize) -> Option<Together> {
        while !self.waiting.is_empty() {
            let at = nth % self.waiting.len();
            if self.cells[Self::cell(&self.waiting[at])] {
                return Some(self.waiting[at].clone());
            }
            self.waiting.swap_remove(at);
        }
        None
    }

    fn cover(&mut self, row: Row, factors: &[usize]) {
        let places: Vec<Place> = factors.iter().map(|f| (*f, row.at(*f))).collect();
        for (nth, a) in places.iter().enumerate() {
            for (mth, b) in places.iter().enumerate().skip(nth + 1) {
                if self.strength == 2 {
                    self.cells[Self::cell(&[*a, *b])] = false;
                    continue;
                }
                for c in places.iter().skip(mth + 1) {
                    self.cells[Self::cell(&[*a, *b, *c])] = false;
                }
            }
        }
    }
}

/// Rows that hold every possible combination of `strength` (2 or 3) values of these factors; the other
/// factors stay honest. The same seed gives the same rows.
pub fn rows(factors: &[usize], strength: usize, seed: u64) -> Vec<Row> {
    assert!(matches!(strength, 2 | 3), "pairs or triples");
    let mut factors = factors.to_vec();
    factors.sort_unstable();
    let mut dice = StdRng::seed_from_u64(seed);
    let exclusions = Exclusions::new();
    let mut open = Open::new(possible(&factors, strength), strength, &mut dice);
    let mut rows = Vec::new();
    loop {
        let mut best: Option<(usize, Row)> = None;
        for _ in 0..CANDIDATES {
            let Some(first) = open.any(dice.random_range(0..usize::MAX)) else {
                return rows;
            };
            let (gain, row) = filled(&first, &factors, &open, &exclusions, &mut dice);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, row));
            }
        }
        let Some((_, row)) = best else { return rows };
        open.cover(row, &factors);
        rows.push(row);
    }
}

/// A row around some values: each further factor takes the value that covers most.
fn filled(
    first: &[Place],
    factors: &[usize],
    open: &Open,
    exclusions: &Exclusions,
    dice: &mut StdRng,
) -> (usize, Row) {
    let mut set: Vec<Place> = first.to_vec();
    let mut gained = 1;
    let mut rest: Vec<usize> = factors
        .iter()
        .copied()
        .filter(|factor| first.iter().all(|(known, _)| known != factor))
        .collect();
    rest.shuffle(dice);
    // The channel has no value that goes with everything, and must fit what is set alone.
    rest.sort_by_key(|factor| *factor != Channel::FACTOR);
    for factor in rest {
        let count = FACTORS[factor].words.len();
        let begin = dice.random_range(0..count);
        let values = (0..count).map(|nth| u8::try_from((begin + nth) % count).unwrap_or(0));
        let fits = values
            .map(|nth| (factor, nth))
            .filter(|place| set.iter().all(|known| !exclusions.exclude(*place, *known)));
        let mut best: Option<(usize, Place)> = None;
        for place in fits {
            let gain = open.gain(place, &set);
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, place));
            }
        }
        let (gain, place) = best.unwrap_or((0, (factor, 0)));
        gained += gain;
        set.push(place);
    }
    (gained, self::set(Row::default(), &set))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn missing(rows: &[Row], wanted: &[Together]) -> Vec<Together> {
        let held = |values: &Together| {
            rows.iter()
                .any(|row| values.iter().all(|(factor, nth)| row.at(*factor) == *nth))
        };
        wanted.iter().filter(|v| !held(v)).cloned().collect()
    }

    #[test]
    fn every_possible_pair_is_covered() {
        let factors: Vec<usize> = (0..FACTORS.len()).collect();
        let wanted = possible(&factors, 2);
        let rows = rows(&factors, 2, 1);
        println!("{} pairs in {} rows", wanted.len(), rows.len());
        assert!(missing(&rows, &wanted).is_empty());
        let impossible: Vec<_> = rows.iter().filter(|row| !row.is_possible()).collect();
        assert!(impossible.is_empty(), "{impossible:?}");
        // 340 would do if no value excluded another; but half of the envelopes hold no transaction.
        assert!(rows.len() < 600, "{} rows", rows.len());
    }

    #[test]
    fn triples_of_some_factors() {
        let factors = [0, 9, 13, 15];
        let wanted = possible(&factors, 3);
        let rows = rows(&factors, 3, 1);
        assert!(missing(&rows, &wanted).is_empty());
        assert_eq!(rows, super::rows(&factors, 3, 1), "not the same again");
        let distinct: HashSet<&Row> = rows.iter().collect();
        assert_eq!(distinct.len(), rows.len());
    }

    #[test]
    fn impossible_pairs_are_not_required() {
        use crate::sim::grammar::{Bytes, List};
        let gzip = (Bytes::FACTOR, Bytes::Gzip.index());
        let older = (List::FACTOR, List::Older.index());
        assert!(can_stand_together(&[gzip]) && can_stand_together(&[older]));
        assert!(!can_stand_together(&[gzip, older]));
    }

    /// Every triple of the whole grammar: some minutes. `RECONCILER_EXPLORE_ALL=1`.
    #[test]
    fn every_triple_is_covered_on_request() {
        if std::env::var_os("RECONCILER_EXPLORE_ALL").is_none() {
            return;
        }
        let factors: Vec<usize> = (0..FACTORS.len()).collect();
        let rows = rows(&factors, 3, 1);
        println!("{} rows hold every triple", rows.len());
        assert!(rows.len() < 12_000);
    }
}
