//! The layer of single steps: a row of ours in each of the states, and one answer of the grammar, read by
//! the service's own readers and recorded in one batch. No clock, no network; judged by what would have
//! been true.

mod judge;
mod red;
mod setting;
mod stage;

pub use judge::may_reject;

use super::covering;
use super::grammar::{
    Bytes, Channel, Code, Database, Envelope, Errors, FACTORS, Http, Lasts, Named, Row, Status,
    Value, When, Whose,
};
use judge::{Broken, is_by_design, judge};
use leaves::clock::BootInstant;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use red::{Fault, is_of_kind, mended, plan, red};
use stage::{Stage, Way, is_natural};
use std::collections::BTreeMap;

/// How many random rows the sample has beside those that hold every pair with every state.
const MORE: usize = 3_000;

/// What came of one row.
#[derive(Default)]
struct Judged {
    broken: Vec<Broken>,
    /// It changed something.
    decides: bool,
    /// The design itself lets it end falsely.
    is_by_design: bool,
}

/// The stages, each made once.
struct Stages(BTreeMap<(When, bool, Way), Stage>);

impl Stages {
    fn all() -> Self {
        let mut stages = BTreeMap::new();
        for when in When::ALL {
            for way in [Way::Posted, Way::Task, Way::Asked] {
                let fits =
                    |channel: &&Channel| Way::of(**channel) == way && is_natural(**channel, *when);
                if Channel::ALL.iter().find(fits).is_none() {
                    continue;
                }
                for is_child in [false, true] {
                    let stage = Stage::set(*when, is_child, way);
                    stages.insert((*when, is_child, way), stage);
                }
            }
        }
        Self(stages)
    }

    /// What a row does; nothing, when no such answer can come.
    fn judged(&self, row: &Row) -> Judged {
        // A webhook over the limit is refused before it is read.
        let refused = row.is(Channel::Webhook) && row.is(Bytes::Long);
        if refused || !row.is_possible() || !is_natural(row.get(), row.get()) {
            return Judged::default();
        }
        let stage = &self.0[&(row.get(), row.is_child(), Way::of(row.get()))];
        let done = stage.take(row);
        Judged {
            broken: judge(stage, row, &done),
            decides: done.changes(stage),
            is_by_design: is_by_design(stage, row, &done),
        }
    }

    fn broken(&self, row: &Row) -> Vec<Broken> {
        self.judged(row).broken
    }

    fn breaks(&self, row: &Row, rule: &str) -> bool {
        self.broken(row).iter().any(|broken| broken.rule == rule)
    }

    /// The simplest row that breaks the same rule: factors are set back to honest while it does.
    fn shrunk(&self, row: &Row, rule: &str) -> Row {
        let mut row = *row;
        loop {
            let simpler = row
                .odd()
                .filter(|factor| ![Channel::FACTOR, When::FACTOR].contains(factor))
                .map(|factor| row.with_at(factor, 0))
                .find(|simpler| self.breaks(simpler, rule));
            match simpler {
                Some(simpler) => row = simpler,
                None => return row,
            }
        }
    }
}

fn status_word(row: &Row) -> &'static str {
    FACTORS[Http::FACTOR].words[usize::from(row.at(Http::FACTOR))]
}

/// The factors that one step has: how long it lasts, and the database, belong to whole runs.
fn factors() -> Vec<usize> {
    let left_out = [When::FACTOR, Lasts::FACTOR, Database::FACTOR];
    (0..FACTORS.len())
        .filter(|factor| !left_out.contains(factor))
        .collect()
}

/// The sample: every pair of values with every state, and random rows of those factors that decide.
fn sample(more: usize) -> Vec<Row> {
    let pairs = covering::rows(&factors(), 2, 1);
    let mut rows: Vec<Row> = pairs
        .iter()
        .flat_map(|row| When::ALL.iter().map(|when| row.with(*when)))
        .collect();
    let mut dice = StdRng::seed_from_u64(17);
    while rows.len() < pairs.len() * When::ALL.len() + more {
        rows.push(decisive(&mut dice));
    }
    rows
}

/// A random row of the factors that decide; of the others at most one is odd.
fn decisive(dice: &mut StdRng) -> Row {
    let deciding = [
        Http::FACTOR,
        Envelope::FACTOR,
        Whose::FACTOR,
        Named::FACTOR,
        Status::FACTOR,
        Code::FACTOR,
        Errors::FACTOR,
    ];
    loop {
        let channel = Channel::ALL[dice.random_range(0..Channel::ALL.len())];
        let when = When::ALL[dice.random_range(0..When::ALL.len())];
        let mut row = Row::honest(channel, when);
        let any = |row: Row, factor: usize, dice: &mut StdRng| {
            let nth = dice.random_range(0..FACTORS[factor].words.len());
            row.with_at(factor, u8::try_from(nth).unwrap_or(0))
        };
        for factor in deciding {
            if dice.random_bool(0.5) {
                row = any(row, factor, dice);
            }
        }
        let factors = factors();
        let other = factors[dice.random_range(0..factors.len())];
        if !deciding.contains(&other) && other != Channel::FACTOR {
            row = any(row, other, dice);
        }
        if row.is_possible() && is_natural(channel, when) && !row.is(Bytes::Long) {
            return row;
        }
    }
}

/// The rows of every value of some factors with every state. It is not made at once: there are millions.
fn product(factors: Vec<usize>) -> impl Iterator<Item = Row> {
    let sizes: Vec<usize> = factors.iter().map(|f| FACTORS[*f].words.len()).collect();
    let total: usize = sizes.iter().product();
    (0..total).map(move |nth| {
        let mut rest = nth;
        let mut row = Row::default();
        for (factor, size) in factors.iter().zip(&sizes) {
            row = row.with_at(*factor, u8::try_from(rest % size).unwrap_or(0));
            rest /= size;
        }
        row
    })
}

/// The factors that decide, in full: without a uid, and with one.
fn everything() -> impl Iterator<Item = Row> {
    let shared = [
        Channel::FACTOR,
        When::FACTOR,
        Http::FACTOR,
        Envelope::FACTOR,
        Code::FACTOR,
    ];
    let with = |more: &[usize]| [&shared, more].concat();
    let without_uid = product(with(&[Errors::FACTOR])).filter(|row| !row.is(Code::True));
    let with_uid = product(with(&[Whose::FACTOR, Named::FACTOR, Status::FACTOR]));
    // Of the codes one of each letter.
    let letters = |row: &Row| matches!(row.get(), Code::True | Code::E1018 | Code::P9999);
    without_uid.chain(with_uid.filter(letters))
}

/// What is broken, in groups: known ones by their file, others by their simplest row.
struct Report {
    red: Vec<Fault>,
    steps: usize,
    /// Steps in which the design itself allows a false end.
    by_design: usize,
    known: BTreeMap<String, usize>,
    unknown: BTreeMap<(&'static str, Row), (usize, String)>,
    /// How often each value stood in an answer that changed something.
    decided: BTreeMap<(usize, u8), usize>,
}

/// How many groups that are not known are made as simple as can be.
const MOST_GROUPS: usize = 120;

impl Report {
    fn new() -> Self {
        Self {
            red: red(),
            steps: 0,
            by_design: 0,
            known: BTreeMap::new(),
            unknown: BTreeMap::new(),
            decided: BTreeMap::new(),
        }
    }

    fn fault(&self, row: &Row, rule: &str) -> Option<String> {
        let mut red = self.red.iter();
        red.find(|fault| fault.rule == rule && is_of_kind(row, &fault.kind))
            .map(|fault| fault.file.clone())
    }

    fn add(&mut self, stages: &Stages, row: &Row) {
        let judged = stages.judged(row);
        self.steps += 1;
        self.by_design += usize::from(judged.is_by_design);
        if judged.decides {
            for factor in 0..FACTORS.len() {
                *self.decided.entry((factor, row.at(factor))).or_default() += 1;
            }
        }
        for Broken { rule, what } in judged.broken {
            if let Some(file) = self.fault(row, rule) {
                *self.known.entry(file).or_default() += 1;
                continue;
            }
            let of_group = |small: &Row| {
                let channel = small.get::<Channel>() == row.get::<Channel>();
                channel
                    && small
                        .odd()
                        .all(|f| f == When::FACTOR || row.at(f) == small.at(f))
            };
            let group = self
                .unknown
                .iter_mut()
                .find(|((of, small), _)| *of == rule && of_group(small));
            if let Some((_, (times, _))) = group {
                *times += 1;
            } else if self.unknown.len() < MOST_GROUPS {
                let small = stages.shrunk(row, rule);
                match self.fault(&small, rule) {
                    Some(file) => *self.known.entry(file).or_default() += 1,
                    None => {
                        self.unknown.entry((rule, small)).or_insert((0, what)).0 += 1;
                    }
                }
            }
        }
    }

    fn print(&self) {
        println!(
            "{} steps, {} ended falsely by design",
            self.steps, self.by_design
        );
        for (file, times) in &self.known {
            println!("{times:6} {file}");
        }
        for ((rule, row), (times, what)) in &self.unknown {
            println!("{times:6} not known: {rule}: {}  ({what})", row.text());
        }
        for (factor, of) in FACTORS.iter().enumerate() {
            let count = |nth: usize| {
                let nth = u8::try_from(nth).unwrap_or(0);
                self.decided.get(&(factor, nth)).copied().unwrap_or(0)
            };
            let counts = of.words.iter().enumerate();
            let counts: Vec<String> = counts
                .map(|(nth, word)| format!("{word} {}", count(nth)))
                .collect();
            println!("decided by {}: {}", of.key, counts.join(", "));
        }
    }
}

/// The sample, or everything with `RECONCILER_EXPLORE_ALL=1` (hours; in release).
#[test]
fn no_answer_breaks_a_rule_that_is_not_known() {
    let begun = BootInstant::now();
    let stages = Stages::all();
    let mut report = Report::new();
    let all = std::env::var_os("RECONCILER_EXPLORE_ALL").is_some();
    let rows = sample(MORE);
    println!("ready after {:?}", BootInstant::now().duration_since(begun));
    let most = super::number("RECONCILER_EXPLORE_STEPS").and_then(|n| usize::try_from(n).ok());
    let possible = |row: &Row| row.is_possible() && is_natural(row.get(), row.get());
    rows.iter()
        .copied()
        .chain(all.then(everything).into_iter().flatten())
        .filter(possible)
        .take(most.unwrap_or(usize::MAX))
        .for_each(|row| report.add(&stages, &row));
    report.print();
    println!("done after {:?}", BootInstant::now().duration_since(begun));
    assert!(
        report.unknown.is_empty(),
        "see the groups that are not known above"
    );
}

/// Each plan of what is red breaks its rule, and nothing in it can be left out.
#[test]
fn each_fault_is_shown_by_its_plan() {
    let stages = Stages::all();
    let mut wrong = Vec::new();
    for fault in red() {
        let (told, row) = plan(&fault.file);
        assert!(told.len() > 20 && fault.mend.len() > 10, "{}", fault.file);
        assert!(
            is_of_kind(&row, &fault.kind),
            "{} is not of its kind",
            fault.file
        );
        let broken = stages.broken(&row);
        if !broken.iter().any(|broken| broken.rule == fault.rule) {
            wrong.push(format!(
                "{}: {}: breaks only {broken:?}",
                fault.file, fault.rule
            ));
            continue;
        }
        let shrunk = stages.shrunk(&row, &fault.rule);
        if shrunk != row {
            wrong.push(format!(
                "{}: {}: less is enough: {}",
                fault.file,
                fault.rule,
                shrunk.text()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What was mended stays mended.
#[test]
fn each_mended_plan_breaks_nothing() {
    let stages = Stages::all();
    let broken = mended().into_iter().filter_map(|file| {
        let broken = stages.broken(&plan(&file).1);
        (!broken.is_empty()).then(|| format!("{file}: {broken:?}"))
    });
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
