//! Deterministic exploration of the core: one seed decides everything.
//!
//! The engine's steps, the ledger, the fold, the schedule, the proofs and the readers of the
//! gateway's bodies are the service's own; the database, the gateway, the network and the clock are
//! models. `docs/reliability.md` tells what is explored and how a seed is repeated.

mod conformance;
mod conformance_ops;
mod db;
mod ending;
mod exec;
mod explore;
mod gateway;
mod hands;
mod invariants;
mod mutant;
mod outside;
mod plan;
mod replica;
mod tx;
mod world;

use explore::{explore, find, run};
use mutant::Mutant;
use std::time::Duration;

/// How many seeds an ordinary run of the tests explores.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.trim().parse().ok()
}

/// Explores the ordinary seeds, or as many as fit into `RECONCILER_EXPLORE_SECONDS`.
#[test]
fn no_seed_breaks_a_rule() {
    let seconds = number("RECONCILER_EXPLORE_SECONDS").map(Duration::from_secs);
    let first = number("RECONCILER_FIRST_SEED").unwrap_or(0);
    let report = explore(first, SEEDS, seconds);
    println!("{report}");
    assert!(report.broken.is_empty(), "{}", report.broken.join("\n"));
}

/// Repeats one seed with its whole story: `RECONCILER_SEED=123`.
#[test]
fn one_seed() {
    let seed = number("RECONCILER_SEED").unwrap_or(1);
    let told = run(seed, None, true);
    if std::env::var_os("RECONCILER_SEED").is_some() {
        println!("{}", told.story());
    }
    assert_eq!(told.broken, None, "{}", told.line());
}

/// The same seed gives the same run, to the last microsecond.
#[test]
fn a_seed_can_be_repeated() {
    for seed in 0..20 {
        let (first, second) = (run(seed, None, true), run(seed, None, true));
        assert_eq!(
            (first.digest, first.log),
            (second.digest, second.log),
            "seed {seed}"
        );
    }
}

/// Each rule can be seen to be broken: the exploration finds every fault that is put in.
#[test]
fn every_mutant_is_found() {
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        match find(mutant, 1_500) {
            Some(found) => println!("{mutant:?}: {found}"),
            None => missed.push(mutant),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
