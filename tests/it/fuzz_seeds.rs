//! The danger: bytes that nobody thought of. The seeds of the fuzzer and mutations of them, the same
//! ones every time; `fuzz/` looks further.

#[path = "../../fuzz/src/lib.rs"]
mod checks;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// How many mutations of each seed are tried.
const MUTATIONS: u64 = 100;

/// What bodies and names are made of.
const WORDS: [&[u8]; 24] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"\\u00",
    b"null",
    b"%34",
    b"\n",
    b"\0",
    b"-",
    b" ",
    b"\xff",
    b"transaction",
    b"transactions",
    b"\"uid\":",
    b"\"status\":",
    b"successful",
    b"1e99",
    b"4200000000000000",
    b"\"number\":\"",
    b"\xEF\xBB\xBF",
];

/// Numbers that look random and are the same in every run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap()
    }
}

/// Changes a few places.
fn mutated(seed: &[u8], draws: &mut Draws) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len() + 1);
        let end = (at + draws.below(12)).min(bytes.len());
        match draws.below(6) {
            0 if at < bytes.len() => bytes[at] = draws.next().to_le_bytes()[0],
            1 => drop(bytes.drain(at..end)),
            2 => bytes.truncate(at),
            3 => {
                let piece = bytes[at..end].to_vec();
                let to = draws.below(bytes.len() + 1);
                drop(bytes.splice(to..to, piece));
            }
            _ => {
                let word = WORDS[draws.below(WORDS.len())];
                drop(bytes.splice(at..at, word.iter().copied()));
            }
        }
    }
    bytes
}

fn try_all(target: &str, check: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/seeds")
        .join(target);
    let entries = std::fs::read_dir(directory).unwrap();
    let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() > 5, "the seeds are there");
    for path in seeds {
        let seed = std::fs::read(&path).unwrap();
        for number in 0..=MUTATIONS {
            let input = match number {
                0 => seed.clone(),
                _ => mutated(&seed, &mut Draws(number)),
            };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&input))) {
                eprintln!(
                    "{}, mutation {number}: {}",
                    path.display(),
                    input.escape_ascii()
                );
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_seed_of_a_gateway_body_is_read() {
    try_all("gateway", checks::gateway);
}

#[test]
fn no_card_number_survives_the_redactor() {
    try_all("redactor", checks::redactor);
    // Bodies are what it meets most.
    try_all("gateway", checks::redactor);
    try_all("request", checks::redactor);
}

#[test]
fn a_webhook_is_believed_only_as_it_was_signed() {
    try_all("webhook", checks::webhook);
}

#[test]
fn every_seed_of_a_request_is_checked_and_fingerprinted() {
    try_all("request", checks::request);
}

#[test]
fn every_seed_of_a_path_name_survives_escaping() {
    try_all("names", checks::names);
}
