//! Deterministic exploration of the core: one seed decides everything.
//!
//! The engine's steps, the ledger, the fold, the schedule, the proofs and the readers of the
//! gateway's bodies are the service's own; the database, the gateway, the network and the clock are
//! models. `docs/reliability.md` tells what is explored and how a seed is repeated.

mod actors;
mod books;
mod bytes;
mod conformance;
mod conformance_ops;
mod coverage;
mod covering;
mod db;
mod dice;
mod effects;
mod exec;
mod explore;
mod final_checks;
mod grammar;
mod invariants;
mod layers;
mod misled;
mod mutant;
mod one_step;
mod plan;
mod plan_text;
mod red;
mod render;
pub mod replica;
mod replies;
mod responses;
mod rules;
mod seeds;
mod sequences;
mod shrink;
mod tx;
mod wide;
mod wire;
mod world;

use explore::{explore, find_all, run};
use mutant::Mutant;
use std::time::Duration;

/// How many seeds an ordinary run of the tests explores.
const SEEDS: u64 = 1_500;

/// What has to have happened in an ordinary run of the tests.
const HAPPENS: [&str; 16] = [
    "commits of unknown fate",
    "deaths",
    "decisions",
    "doubtful ages",
    "expired",
    "failed",
    "forgeries",
    "in_doubt",
    "not_found",
    "not_sent",
    "pending",
    "rejected",
    "retentions",
    "stale workers",
    "successful",
    "webhooks sent again",
];

/// How many seeds are tried for a mutant that its known seed does not show any more.
const MAX_SEEDS: u64 = 600;

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
    // What is red on purpose is seen in its own table.
    let lines: Vec<&str> = report.lines();
    let is_red = |line: &&&str| red::rules().any(|rule| line.contains(&format!("# {rule}: ")));
    let lines: Vec<&str> = lines.iter().filter(|line| !is_red(line)).copied().collect();
    assert!(lines.is_empty(), "to repeat:\n{}", lines.join("\n"));
    // Nothing is shown about what never happened.
    let missing = HAPPENS.iter().filter(|what| report.count(what) == 0);
    let missing: Vec<_> = missing.filter(|_| report.seeds >= SEEDS).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}

/// Repeats one seed with its whole story: `RECONCILER_SEED=123`, and `RECONCILER_MUTANT=FenceIgnored`
/// where a mutant is to be seen.
#[test]
fn one_seed() {
    let seed = number("RECONCILER_SEED").unwrap_or(1);
    let mutant = std::env::var("RECONCILER_MUTANT").ok();
    let mutant = mutant.map(|name| Mutant::named(&name).expect("a mutant of that name"));
    let told = run(seed, mutant, true);
    if std::env::var_os("RECONCILER_SEED").is_some() {
        println!("{}", told.story());
    }
    assert_eq!(told.broken, None, "{}", told.line());
}

/// Repeats one plan with its whole story: `RECONCILER_PLAN=tests/data/plans/x.plan`, and `RECONCILER_MUTANT`
/// as above.
#[test]
fn one_plan() {
    let Ok(file) = std::env::var("RECONCILER_PLAN") else {
        return;
    };
    let mutant = std::env::var("RECONCILER_MUTANT").ok();
    let mutant = mutant.map(|name| Mutant::named(&name).expect("a mutant of that name"));
    let told = explore::run_plan(red::kept_plan(&file), mutant, true);
    println!("{}", told.story());
    assert_eq!(told.broken, None);
}

/// What shows a mutant by a plan of its own breaks nothing without it.
#[test]
fn plans_of_mutants_break_nothing_by_themselves() {
    for (mutant, file) in mutant::PLANS {
        let told = explore::run_plan(red::kept_plan(file), None, false);
        assert_eq!(told.broken, None, "{mutant:?}");
    }
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

/// Each rule can be seen to be broken: the exploration finds every fault that is put in, by a rule
/// that it breaks, and tells in one line how to see it again.
#[test]
fn every_mutant_is_found() {
    let (mut found, missed) = find_all(MAX_SEEDS);
    found.sort_by_key(|told| format!("{:?}", told.mutant));
    for told in &found {
        println!("{}", told.line());
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
    // What the line says is enough to see the same again.
    let told = found.iter().find(|told| told.file.is_none());
    let told = told.expect("some were found by a seed");
    let line = told.line();
    assert!(!line.contains('\n'), "{line}");
    let word = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name));
    let seed = word("RECONCILER_SEED=").and_then(|seed| seed.parse().ok());
    let mutant = word("RECONCILER_MUTANT=").and_then(Mutant::named);
    let again = run(seed.expect("a seed"), mutant, false);
    assert_eq!(again.line(), line);
}
