//! Runs seeds, and tells what came of them.

use super::coverage::Coverage;
use super::invariants::{Seen, rule};
use super::mutant::{Mutant, PLANS};
use super::plan::Plan;
use super::rules;
use super::world::SimState;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What came of one seed.
#[derive(Debug)]
pub struct SeedResult {
    pub seed: u64,
    pub mutant: Option<Mutant>,
    pub broken: Option<String>,
    pub log: Vec<String>,
    pub digest: u64,
    pub counts: BTreeMap<&'static str, u64>,
    pub turns: u64,
    /// The rows of the grammar that decided something.
    pub decided: Coverage,
    /// At some moment the design itself allowed a false no.
    pub is_by_design: bool,
    /// Every link of the plan's chain came about.
    pub is_linked: bool,
    /// What chance has added to the plan.
    pub happened: Plan,
    /// The plan that it is, where no seed makes it.
    pub file: Option<&'static str>,
}

impl SeedResult {
    /// The one line that repeats it, and what it shows.
    pub fn line(&self) -> String {
        let mutant = self
            .mutant
            .map(|mutant| format!(" RECONCILER_MUTANT={mutant:?}"));
        let (seed, mutant) = (self.seed, mutant.unwrap_or_default());
        let broken = self.broken.as_deref().unwrap_or("nothing is broken");
        let (what, test) = match self.file {
            Some(file) => (format!("RECONCILER_PLAN={file}"), "one_plan"),
            None => (format!("RECONCILER_SEED={seed}"), "one_seed"),
        };
        format!(
            "{what}{mutant} cargo test --locked --test it sim::{test} -- --nocapture # {}",
            broken.replace('\n', " ")
        )
    }

    /// Whether one of these rules is broken.
    pub fn breaks(&self, rules: &[&str]) -> bool {
        let broken = self.broken.as_deref().unwrap_or_default();
        let rule = broken.split_once(": ").map(|(rule, _)| rule);
        rule.is_some_and(|rule| rules.contains(&rule))
    }

    /// The whole story.
    pub fn story(&self) -> String {
        format!("{}\n{}", self.log.join("\n"), self.line())
    }
}

/// A run whose tasks run more often does not come to rest; an ordinary one needs a tenth of it.
const MOST_TURNS: u64 = 400_000;

/// Runs one seed to its end, or to the first broken rule.
pub fn run(seed: u64, mutant: Option<Mutant>, traced: bool) -> SeedResult {
    run_plan(Plan::of(seed), mutant, traced)
}

/// Runs a plan to its end, or to the first broken rule.
pub fn run_plan(plan: Plan, mutant: Option<Mutant>, traced: bool) -> SeedResult {
    let (seed, end) = (plan.seed, plan.end);
    let world = SimState::new(plan, mutant, traced);
    if traced {
        world.note(|| format!("\n{}", world.plan.text()));
    }
    world.schedule_faults();
    world.keep_replicas();
    world.begin_orders();
    let (mut until, mut is_by_design) = (Duration::ZERO, false);
    while until < end && world.with(|state| state.broken.is_none()) {
        until += Duration::from_secs(60);
        world.exec.run_until(until, MOST_TURNS);
        let now = world.exec.now();
        world.with(|state| rules::minute(state, now));
        is_by_design |= world.with(|state| rules::is_false_by_design(state, now));
        if world.exec.turns() >= MOST_TURNS {
            let text = format!("tasks have run {MOST_TURNS} times");
            world.with(|state| state.breaks(rule::REST, text));
        }
    }
    if world.with(|state| state.broken.is_none()) {
        world.judge();
    }
    for finding in world.with(|state| state.db.findings.clone()) {
        world.note(|| {
            format!(
                "finding, open {}: {} {}",
                finding.is_open, finding.kind, finding.detail
            )
        });
    }
    world.exec.clear();
    let (log, digest) = world.told();
    let Seen { counts, .. } = world.with(|state| std::mem::take(&mut state.seen));
    let broken = world.with(|state| state.broken.take());
    let happened = world.with(|state| std::mem::take(&mut state.happened));
    let turns = world.exec.turns();
    let decided = world.with(|state| std::mem::take(&mut state.decided));
    let is_linked = world.with(|state| state.linked == state.plan.chain.len());
    world.with(|state| state.alive.clear());
    SeedResult {
        seed,
        mutant,
        broken,
        log,
        digest,
        counts,
        turns,
        decided,
        is_by_design,
        is_linked,
        happened,
        file: None,
    }
}

/// What came of many.
#[derive(Debug, Default)]
pub struct Report {
    pub seeds: u64,
    pub took: Duration,
    broken: Vec<(u64, String)>,
    counts: BTreeMap<&'static str, u64>,
    /// The most that one of them needed.
    turns: u64,
    /// Runs in which the design itself allowed a false no.
    by_design: u64,
}

/// How many broken seeds are listed before the exploration ends.
const ENOUGH: usize = 5;

/// Gives numbers from `first` on to all cores, until one of them has enough.
pub fn on_all_cores(first: u64, act: impl Fn(u64) -> ControlFlow<()> + Sync) {
    let next = AtomicU64::new(first);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| while act(next.fetch_add(1, Ordering::Relaxed)).is_continue() {});
        }
    });
}

fn is_red(line: &str) -> bool {
    super::red::rules().any(|rule| line.contains(&format!("# {rule}: ")))
}

/// Explores seeds from `first` on: `seeds` of them, or as many as fit into a time.
pub fn explore(first: u64, seeds: u64, within: Option<Duration>) -> Report {
    let started = tokio::time::Instant::now();
    let report = Mutex::new(Report::default());
    on_all_cores(first, |seed| {
        let enough = match within {
            Some(within) => started.elapsed() >= within,
            None => seed - first >= seeds,
        };
        let lock = || report.lock().unwrap_or_else(PoisonError::into_inner);
        if enough
            || lock()
                .broken
                .iter()
                .filter(|(_, line)| !is_red(line))
                .count()
                >= ENOUGH
        {
            return ControlFlow::Break(());
        }
        let told = run(seed, None, false);
        let mut report = lock();
        report.seeds += 1;
        report.turns = report.turns.max(told.turns);
        if told.broken.is_some() {
            report.broken.push((seed, told.line()));
        }
        report.by_design += u64::from(told.is_by_design);
        for (what, count) in told.counts {
            *report.counts.entry(what).or_default() += count;
        }
        ControlFlow::Continue(())
    });
    let mut report = report.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.took = started.elapsed();
    report.broken.sort();
    report
}

impl Report {
    /// How often something happened.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// One line for each seed that breaks a rule.
    pub fn lines(&self) -> Vec<&str> {
        self.broken.iter().map(|(_, line)| line.as_str()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seeds,
            took,
            counts,
            turns,
            by_design,
            ..
        } = self;
        #[expect(clippy::cast_precision_loss, reason = "for reading")]
        let pace = *seeds as f64 / took.as_secs_f64();
        writeln!(
            f,
            "{seeds} seeds in {took:.1?}, {pace:.0} a second, at most {turns} turns of tasks"
        )?;
        for (what, count) in counts {
            writeln!(f, "{count:>10}  {what}")?;
        }
        writeln!(f, "{by_design} runs with a false no that the design allows")?;
        Ok(())
    }
}

/// Looks for what shows a mutant: its own plan, or a seed; first the one that is known to, then others up to
/// `most`.
pub fn find(mutant: Mutant, known: u64, rules: &[&str], most: u64) -> Option<SeedResult> {
    if let Some((_, file)) = PLANS.iter().find(|(of, _)| *of == mutant) {
        let told = run_plan(super::red::kept_plan(file), Some(mutant), false);
        let told = SeedResult {
            file: Some(file),
            ..told
        };
        return Some(told).filter(|told| told.breaks(rules));
    }
    std::iter::once(known)
        .chain(0..most)
        .map(|seed| run(seed, Some(mutant), false))
        .find(|told| told.breaks(rules))
}

/// Looks for all mutants. Gives what was found, and the names of those that were not.
pub fn find_all(most: u64) -> (Vec<SeedResult>, Vec<Mutant>) {
    let found = Mutex::new((Vec::new(), Vec::new()));
    on_all_cores(0, |nth| {
        let one = usize::try_from(nth)
            .ok()
            .and_then(|nth| Mutant::ALL.get(nth));
        let Some((mutant, known, rules)) = one else {
            return ControlFlow::Break(());
        };
        let told = find(*mutant, *known, rules, most);
        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
        match told {
            Some(told) => found.0.push(told),
            None => found.1.push(*mutant),
        }
        ControlFlow::Continue(())
    });
    found.into_inner().unwrap_or_else(PoisonError::into_inner)
}
