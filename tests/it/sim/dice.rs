//! What is left to chance: each draw is a number made of the seed, the place, a name, and how often
//! that place has drawn for that name. Nothing that is taken out of a plan changes the draws of the rest.

use std::collections::BTreeMap;
use std::time::Duration;
use uuid::{Builder, Uuid};

/// Dice of one draw.
#[derive(Debug, Clone)]
pub struct Dice(u64);

/// All dice of a run.
#[derive(Debug, Clone, Default)]
pub struct Cup {
    seed: u64,
    counts: BTreeMap<u64, u64>,
}

/// A number whose bits depend on all bits of another (splitmix64).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn hash(seed: u64, words: &[&str]) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for word in words {
        for byte in word.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = mix(hash);
    }
    hash
}

impl Cup {
    pub fn of(seed: u64) -> Self {
        let counts = BTreeMap::new();
        Self { seed, counts }
    }

    /// Dice for the next draw of a place for a name, and which draw it is, from 1.
    pub fn draw(&mut self, place: &str, name: &str) -> (Dice, u64) {
        let key = hash(self.seed, &[place, name]);
        let count = self.counts.entry(key).or_default();
        *count += 1;
        (Dice(mix(key ^ mix(*count))), *count)
    }
}

impl Dice {
    /// Dice of something that is drawn once.
    pub fn of(seed: u64, place: &str, name: &str) -> Self {
        Self(hash(seed, &[place, name]))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A part of one.
    pub fn part(&mut self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let part = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        part
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.part() < of
    }

    /// A time between two, in whole milliseconds.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let millis = (most - least).mul_f64(self.part()).as_millis();
        least + Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// One of several.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        let nth = self.below(u64::try_from(all.len()).unwrap_or(1));
        all[usize::try_from(nth).unwrap_or(0)]
    }

    fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_be_bytes()
    }

    pub fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }

    /// An id that sorts by time.
    pub fn id(&mut self, millis: u64) -> Uuid {
        let bytes = self.bytes();
        let random: [u8; 10] = std::array::from_fn(|n| bytes[n]);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[test]
fn draws_of_one_name_are_independent_of_others() {
    let (mut alone, mut beside) = (Cup::of(7), Cup::of(7));
    let first = alone.draw("place", "a").0.below(u64::MAX);
    beside.draw("place", "b");
    beside.draw("other", "a");
    assert_eq!(beside.draw("place", "a").0.below(u64::MAX), first);
    assert_ne!(beside.draw("place", "a").0.below(u64::MAX), first);
}
