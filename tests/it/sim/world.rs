//! The world of one run: its clock, its dice, its database, its gateway, and its log.

use super::db::Db;
use super::exec::{Exec, Group, TaskId};
use super::gateway::Gateway;
use super::invariants;
use super::mutant::Mutant;
use super::plan::Plan;
use super::tx::{Locks, Write};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reconciler::domain::Timestamp;
use reconciler::ledger::Work;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::{Builder, Uuid};

/// Everything that changes.
pub struct State {
    pub db: Db,
    pub locks: Locks,
    pub gateway: Gateway,
    pub rng: StdRng,
    pub plan: Arc<Plan>,
    pub faulty: bool,
    pub engines: BTreeMap<TaskId, Option<Timestamp>>,
    pub alive: BTreeMap<Group, Arc<super::replica::Replica>>,
    /// Who starts a replica again.
    pub keepers: BTreeMap<Group, TaskId>,
    pub seen: invariants::Seen,
    pub broken: Option<String>,
    log: Option<Vec<String>>,
    digest: u64,
    outage: bool,
}

/// The world.
pub struct World {
    pub exec: Exec,
    pub plan: Arc<Plan>,
    pub mutant: Option<Mutant>,
    /// Nothing goes wrong and nothing takes time.
    quiet: bool,
    state: Mutex<State>,
}

/// Dice for what goes wrong. None does once the faulty time is over.
pub struct Faults<'a> {
    state: &'a mut State,
}

/// What becomes of a commit.
pub struct Fate {
    pub takes_place: bool,
    pub is_told: bool,
}

impl Faults<'_> {
    pub fn happens(&mut self, chance: impl FnOnce(&Plan) -> f64) -> bool {
        let chance = chance(&self.state.plan);
        self.state.faulty && chance > 0.0 && self.state.rng.random_bool(chance)
    }

    pub fn commit_fate(&mut self) -> Fate {
        if !self.happens(|plan| plan.commit_lost) {
            return Fate {
                takes_place: true,
                is_told: true,
            };
        }
        self.state.seen.count("commits of unknown fate");
        Fate {
            takes_place: self.state.rng.random_bool(0.6),
            is_told: false,
        }
    }

    pub fn is_database_away(&self) -> bool {
        self.state.outage
    }
}

impl State {
    pub fn faults(&mut self) -> Faults<'_> {
        Faults { state: self }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end.max(1))
    }

    /// A time between two.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        least + (most - least).mul_f64(self.rng.random_range(0.0..1.0))
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.rng.random_bool(of)
    }

    pub fn uuid(&mut self) -> Uuid {
        Builder::from_random_bytes(self.rng.random()).into_uuid()
    }

    /// An id that sorts by time.
    pub fn id(&mut self, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &self.rng.random()).into_uuid()
    }

    /// A rule is broken: the run is over.
    pub fn breaks(&mut self, rule: &str, what: impl Display) {
        self.broken.get_or_insert_with(|| format!("{rule}: {what}"));
    }
}

impl World {
    pub fn new(plan: Plan, mutant: Option<Mutant>, traced: bool) -> Arc<Self> {
        let plan = Arc::new(plan);
        let state = State {
            db: Db::default(),
            locks: Locks::default(),
            gateway: Gateway::behind(plan.behind),
            rng: StdRng::seed_from_u64(plan.seed ^ 0x5eed),
            plan: Arc::clone(&plan),
            faulty: true,
            engines: BTreeMap::new(),
            alive: BTreeMap::new(),
            keepers: BTreeMap::new(),
            seen: invariants::Seen::default(),
            broken: None,
            log: traced.then(Vec::new),
            digest: 0,
            outage: false,
        };
        let (exec, quiet, state) = (Exec::default(), false, Mutex::new(state));
        Arc::new(Self {
            exec,
            plan,
            mutant,
            quiet,
            state,
        })
    }

    /// A world of which only the database is wanted.
    pub fn quiet() -> Arc<Self> {
        let world = Self::new(Plan::of(0), None, false);
        world.with(|state| state.faulty = false);
        let world = Arc::into_inner(world).map(|world| Self {
            quiet: true,
            ..world
        });
        Arc::new(world.expect("nobody else has it"))
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    pub fn note(&self, what: impl FnOnce() -> String) {
        let (micros, group) = (self.exec.micros(), self.exec.current().1);
        self.with(|state| {
            state.digest = state.digest.wrapping_mul(1_099_511_628_211) ^ micros;
            if let Some(log) = &mut state.log {
                let who = if group == 0 {
                    "-".to_owned()
                } else {
                    format!("r{group}")
                };
                #[expect(clippy::cast_precision_loss, reason = "for reading")]
                let seconds = micros as f64 / 1e6;
                log.push(format!("{seconds:>14.6} {who:>4}  {}", what()));
            }
        });
    }

    /// The log, and a number that differs when a run did.
    pub fn told(&self) -> (Vec<String>, u64) {
        self.with(|state| (state.log.take().unwrap_or_default(), state.digest))
    }

    /// A place where a task waits: time passes, and its process may stall or die.
    pub async fn point(&self, place: &'static str) {
        if self.quiet {
            return;
        }
        let group = self.exec.current().1;
        let (pause, dies) = self.with(|state| {
            let dies = group != 0 && state.faults().happens(|plan| plan.crash);
            let stalls = group != 0 && state.faults().happens(|plan| plan.stall);
            let pause = if stalls {
                state.between(Duration::from_secs(5), Duration::from_secs(200))
            } else {
                Duration::from_micros(100 + state.below(3000))
            };
            (pause, dies)
        });
        if dies {
            self.die(place).await;
        }
        if pause > Duration::from_secs(1) {
            self.note(|| format!("stalls at {place} for {pause:.1?}"));
        }
        self.exec.sleep(pause).await;
    }

    /// Ends the process that runs now, wherever its tasks are.
    async fn die(&self, place: &'static str) {
        let group = self.exec.current().1;
        self.note(|| format!("dies at {place}"));
        let keeper = self.with(|state| {
            state.seen.count("deaths");
            let dead = state
                .alive
                .remove(&group)
                .and_then(|replica| replica.engine());
            dead.map(|engine| state.engines.remove(&engine));
            state.keepers.remove(&group)
        });
        self.exec.kill(group);
        keeper.inspect(|keeper| self.exec.wake(*keeper));
        std::future::pending::<()>().await;
    }

    /// A statement of a transaction: others may come in between, and the process may die.
    pub async fn statement(&self) {
        if self.quiet {
            return;
        }
        let group = self.exec.current().1;
        let (pause, dies) = self.with(|state| {
            let dies = group != 0 && state.faults().happens(|plan| plan.crash / 4.0);
            (Duration::from_micros(10 + state.below(500)), dies)
        });
        if dies {
            self.die("a statement").await;
        }
        self.exec.sleep(pause).await;
    }

    /// Applies the writes of a commit at one moment, and looks at what they have done.
    pub fn apply(&self, works: &[Work], writes: Vec<Write>, began: Timestamp) {
        let now = self.exec.now();
        let moved = self.with(|state| {
            let before = invariants::before(&state.db);
            writes.into_iter().for_each(|write| write(&mut state.db));
            invariants::committed(state, &before, works, (began, now))
        });
        for line in moved {
            self.note(|| line);
        }
    }

    /// Wakes the engines for what is due next. Each has at most one time to wake at.
    pub fn poke(&self) {
        let now = self.exec.now();
        let wakes: Vec<(TaskId, Timestamp)> = self.with(|state| {
            let Some(next) = state.db.next_due() else {
                return Vec::new();
            };
            let mut wakes = Vec::new();
            for (engine, armed) in &mut state.engines {
                let late = Duration::from_micros(1 + state.rng.random_range(0..20_000));
                let at = next.max(now).plus(late);
                if armed.is_none_or(|armed| at < armed) {
                    *armed = Some(at);
                    wakes.push((*engine, at));
                }
            }
            wakes
        });
        for (engine, at) in wakes {
            self.exec.wake_at(engine, at);
        }
    }

    /// Waits until the engine that asks is to look for due work.
    pub async fn until_due(&self) {
        let engine = self.exec.current().0;
        // A wake-up that came while it was busy is gone.
        self.with(|state| state.engines.insert(engine, None));
        loop {
            self.poke();
            self.exec.park().await;
            let now = self.exec.now();
            let armed = self.with(|state| state.engines.get(&engine).copied().flatten());
            if armed.is_some_and(|at| at <= now) {
                self.with(|state| state.engines.insert(engine, None));
                return;
            }
        }
    }

    /// Spawns the times at which the database is away, and the end of all faults.
    pub fn schedule_faults(self: &Arc<Self>) {
        for (begins, ends) in self.plan.outages.clone() {
            let world = Arc::clone(self);
            self.exec.spawn(0, async move {
                world.exec.sleep(begins).await;
                world.note(|| "the database goes away".to_owned());
                world.with(|state| state.outage = true);
                world.exec.sleep(ends - begins).await;
                world.note(|| "the database is back".to_owned());
                world.with(|state| state.outage = false);
            });
        }
        for at in self.plan.retentions.clone() {
            let world = Arc::clone(self);
            self.exec.spawn(0, async move {
                world.exec.sleep(at).await;
                let gone = world.with(|state| invariants::retention(state, world.mutant));
                world.note(|| format!("retention passes: evidence of {gone} is gone"));
            });
        }
        let world = Arc::clone(self);
        self.exec.spawn(0, async move {
            world.exec.sleep(world.plan.faults_until).await;
            world.note(|| "no more faults".to_owned());
            world.with(|state| (state.faulty, state.outage) = (false, false));
        });
    }
}
