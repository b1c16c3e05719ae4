//! Runs seeds, and tells what came of them.

use super::invariants::Seen;
use super::mutant::Mutant;
use super::plan::Plan;
use super::world::World;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What came of one seed.
#[derive(Debug)]
pub struct Told {
    pub seed: u64,
    pub broken: Option<String>,
    pub log: Vec<String>,
    pub digest: u64,
    pub counts: BTreeMap<&'static str, u64>,
}

impl Told {
    /// One line that repeats it.
    pub fn line(&self) -> String {
        let (seed, broken) = (
            self.seed,
            self.broken.as_deref().unwrap_or("nothing is broken"),
        );
        format!(
            "{broken}\n  RECONCILER_SEED={seed} cargo test --test it sim::one_seed -- --nocapture"
        )
    }

    /// The whole story.
    pub fn story(&self) -> String {
        format!("{}\n{}", self.log.join("\n"), self.line())
    }
}

/// Runs one seed to its end, or to the first broken rule.
pub fn run(seed: u64, mutant: Option<Mutant>, traced: bool) -> Told {
    let plan = Plan::of(seed);
    let end = plan.end;
    let world = World::new(plan, mutant, traced);
    if traced {
        world.note(|| format!("{:#?}", world.plan));
    }
    world.schedule_faults();
    world.keep_replicas();
    world.begin_orders();
    let mut until = Duration::ZERO;
    while until < end && world.with(|state| state.broken.is_none()) {
        until += Duration::from_secs(60);
        world.exec.run_until(until);
    }
    if world.with(|state| state.broken.is_none()) {
        world.judge();
    }
    world.exec.clear();
    let (log, digest) = world.told();
    let Seen { counts, .. } = world.with(|state| std::mem::take(&mut state.seen));
    let broken = world.with(|state| state.broken.take());
    world.with(|state| state.alive.clear());
    Told {
        seed,
        broken,
        log,
        digest,
        counts,
    }
}

/// What came of many.
#[derive(Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub took: Duration,
    pub broken: Vec<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// How many broken seeds are listed before the exploration ends.
const ENOUGH: usize = 5;

/// Explores seeds from `first` on: `seeds` of them, or as many as fit into a time.
pub fn explore(first: u64, seeds: u64, within: Option<Duration>) -> Report {
    let started = tokio::time::Instant::now();
    let mut report = Report::default();
    for seed in first.. {
        let enough = match within {
            Some(within) => started.elapsed() >= within,
            None => report.seeds >= seeds,
        };
        if enough || report.broken.len() >= ENOUGH {
            break;
        }
        let told = run(seed, None, false);
        report.seeds += 1;
        if told.broken.is_some() {
            report.broken.push(told.line());
        }
        for (what, count) in told.counts {
            *report.counts.entry(what).or_default() += count;
        }
    }
    report.took = started.elapsed();
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            took,
            counts,
            ..
        } = self;
        #[expect(clippy::cast_precision_loss, reason = "for reading")]
        let pace = *seeds as f64 / took.as_secs_f64();
        write!(
            f,
            "{seeds} seeds in {took:.1?}, {pace:.0} a second: {counts:?}"
        )
    }
}

/// Looks for the first seed that shows a mutant, and tells how many it took.
pub fn find(mutant: Mutant, within: u64) -> Option<String> {
    for seed in 0..within {
        if let Some(broken) = run(seed, Some(mutant), false).broken {
            return Some(format!("{} seeds ({broken})", seed + 1));
        }
    }
    None
}
