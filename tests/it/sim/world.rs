//! The world of one run: its clock, its dice, its database, its gateway, and its log.

use super::books::Books;
use super::coverage::Coverage;
use super::db::Db;
use super::dice::{Cup, Dice};
use super::exec::{Exec, Group, TaskId};
use super::grammar::{Database, Row};
use super::invariants;
use super::mutant::Mutant;
use super::plan::{CommitFault, Link, MessageFate as Planned, Place, Plan};
use super::rules;
use super::tx::{Locks, Write};
use super::wire::Wire;
use domain::Timestamp;
use reconciler::ledger::LedgerCommand;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// Everything that changes.
pub struct State {
    pub db: Db,
    pub locks: Locks,
    pub books: Books,
    /// What has travelled between the service and the gateway.
    pub wire: Wire,
    pub cup: Cup,
    pub plan: Arc<Plan>,
    /// What chance has added to the plan so far, as if it had been planned.
    pub happened: Plan,
    pub faulty: bool,
    pub paused: bool,
    pub engines: BTreeMap<TaskId, Option<Timestamp>>,
    /// The tasks that look up what was hinted at.
    pub hinters: BTreeMap<Group, TaskId>,
    pub alive: BTreeMap<Group, Arc<super::replica::Replica>>,
    /// Who starts a replica again.
    pub keepers: BTreeMap<Group, TaskId>,
    pub seen: invariants::Seen,
    pub broken: Option<String>,
    /// How many links of the plan's chain have come about.
    pub linked: usize,
    /// The rows of the grammar that were answered, by the hash of their bodies.
    pub rows: HashMap<[u8; 32], Row>,
    /// Those that have decided something.
    pub decided: Coverage,
    log: Option<Vec<String>>,
    digest: u64,
    outage: bool,
    /// An answer took it down once.
    been_away: bool,
}

/// The world.
pub struct SimState {
    pub exec: Exec,
    pub plan: Arc<Plan>,
    pub mutant: Option<Mutant>,
    /// Nothing goes wrong and nothing takes time.
    quiet: bool,
    state: Mutex<State>,
}

/// What becomes of a commit.
pub struct TransactionFate {
    pub takes_place: bool,
    pub is_told: bool,
}

/// For how long the database is away.
const AWAY: Duration = Duration::from_secs(80);

/// Where a task has an answer of the gateway, or a webhook, in hand.
const IN_HAND: [&str; 4] = ["answered", "hook", "read", "record"];

impl State {
    /// Notes that a row of the grammar was answered, with these bytes.
    pub fn answered_with(&mut self, row: &Row, body: &[u8]) {
        self.rows.insert(Sha256::digest(body).into(), *row);
    }

    /// Counts the rows in a batch that changed something.
    fn count_decided(&mut self, works: &[LedgerCommand], before: &invariants::Before) {
        let row_of = |work: &LedgerCommand| match work {
            LedgerCommand::Record(record) => {
                self.rows.get(&record.observation.body_sha256).copied()
            }
            LedgerCommand::Open(_) | LedgerCommand::Stamp(..) | LedgerCommand::Close(_) => None,
        };
        let rows: Vec<Row> = works.iter().filter_map(row_of).collect();
        if !rows.is_empty() && *before != invariants::before(&self.db) {
            rows.iter().for_each(|row| self.decided.add(row));
        }
    }

    /// Dice for the next draw of a place, for one name.
    pub fn dice(&mut self, place: &str, name: &str) -> Dice {
        self.cup.draw(place, name).0
    }

    pub fn uuid(&mut self) -> Uuid {
        self.dice("uuid", "").uuid()
    }

    /// An id that sorts by time.
    pub fn id(&mut self, name: &str, now: Timestamp) -> Uuid {
        let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
        self.dice("id", name).id(millis)
    }

    /// Whether something goes wrong by chance. Nothing does once the faulty time is over.
    pub fn goes_wrong(&self, dice: &mut Dice, chance: f64) -> bool {
        self.faulty && chance > 0.0 && dice.chance(chance)
    }

    /// What becomes of the next commit of a replica.
    pub fn commit_fate(&mut self, group: Group) -> TransactionFate {
        let (mut dice, nth) = self.cup.draw("commit fate", &group.to_string());
        let plan = Arc::clone(&self.plan);
        let mut planned = plan.commits.iter();
        let linked = match plan.chain.get(self.linked) {
            Some(Link::Commit { takes_place }) => Some(*takes_place),
            _ => None,
        };
        let takes_place = match planned.find(|one| (one.group, one.nth) == (group, nth)) {
            Some(one) => Some(one.takes_place),
            None if linked.is_some() => {
                self.linked += 1;
                linked
            }
            None => {
                let lost = self.goes_wrong(&mut dice, self.plan.commit_lost);
                lost.then(|| dice.chance(0.6))
            }
        };
        let Some(takes_place) = takes_place else {
            return TransactionFate {
                takes_place: true,
                is_told: true,
            };
        };
        self.seen.count("commits of unknown fate");
        self.happened.commits.push(CommitFault {
            group,
            nth,
            takes_place,
        });
        TransactionFate {
            takes_place,
            is_told: false,
        }
    }

    /// A webhook without a signature names a uid, which becomes due to be looked up. `false`: the database
    /// is away.
    pub fn hint(&mut self, uid: &str, now: Timestamp) -> bool {
        if !self.outage {
            self.db.put_hint(uid, now);
        }
        !self.outage
    }

    pub const fn is_database_away(&self) -> bool {
        self.outage
    }

    /// What happens to the next exchange of a channel about a subject; a chance adds to what is
    /// planned.
    pub fn exchange_fate(
        &mut self,
        channel: &str,
        about: &str,
        by_chance: impl FnOnce(&Self, &mut Dice) -> Option<Planned>,
    ) -> Option<Planned> {
        let place = format!("exchange {channel}");
        let (mut dice, nth) = self.cup.draw(&place, about);
        if let Some(fate) = self.plan.fate(channel, about, nth) {
            return Some(fate.clone());
        }
        let plan = Arc::clone(&self.plan);
        if let Some(Link::Exchange {
            channel: of,
            about: whose,
            fate,
        }) = plan.chain.get(self.linked)
            && (of.as_str(), whose.as_str()) == (channel, about)
        {
            self.linked += 1;
            return Some(fate.clone());
        }
        let fate = by_chance(self, &mut dice)?;
        self.happened.exchanges.push(super::plan::Exchange {
            channel: channel.to_owned(),
            about: about.to_owned(),
            first: nth,
            last: nth,
            fate: fate.clone(),
        });
        Some(fate)
    }

    /// How long a task waits at a place, and whether its process dies there.
    fn waits(&mut self, place: &str, group: Group, part: f64) -> (Duration, bool, bool) {
        let (mut dice, nth) = self.cup.draw(place, &group.to_string());
        let pause = Duration::from_micros(100 + dice.below(3000));
        if group == 0 {
            return (pause, false, false);
        }
        let plan = Arc::clone(&self.plan);
        let mut planned = plan.places.iter();
        let meant = |one: &&Place| (one.place.as_str(), one.group, one.nth) == (place, group, nth);
        let linked = match plan.chain.get(self.linked) {
            Some(Link::Falls { stalls }) if IN_HAND.contains(&place) => Some(*stalls),
            _ => None,
        };
        self.linked += usize::from(linked.is_some());
        let stalls = match planned.find(meant) {
            Some(one) => Some(one.stalls),
            None if linked.is_some() => linked,
            None if self.goes_wrong(&mut dice, self.plan.crash * part) => Some(None),
            None if part == 1.0 && self.goes_wrong(&mut dice, self.plan.stall) => Some(Some(
                dice.between(Duration::from_secs(5), Duration::from_secs(200)),
            )),
            None => None,
        };
        let Some(stalls) = stalls else {
            return (pause, false, false);
        };
        let place = place.to_owned();
        self.happened.places.push(Place {
            place,
            group,
            nth,
            stalls,
        });
        (stalls.unwrap_or(pause), stalls.is_some(), stalls.is_none())
    }

    /// A rule is broken: the run is over.
    pub fn breaks(&mut self, rule: &str, what: impl Display) {
        if super::red::is_ignored(rule) {
            return;
        }
        self.broken.get_or_insert_with(|| format!("{rule}: {what}"));
    }
}

impl SimState {
    pub fn new(plan: Plan, mutant: Option<Mutant>, traced: bool) -> Arc<Self> {
        let plan = Arc::new(plan);
        let state = State {
            db: Db::default(),
            locks: Locks::default(),
            books: Books::default(),
            wire: Wire::default(),
            cup: Cup::of(plan.seed),
            plan: Arc::clone(&plan),
            happened: Plan::default(),
            faulty: true,
            paused: false,
            engines: BTreeMap::new(),
            hinters: BTreeMap::new(),
            alive: BTreeMap::new(),
            keepers: BTreeMap::new(),
            seen: invariants::Seen::default(),
            broken: None,
            linked: 0,
            rows: HashMap::new(),
            decided: Coverage::default(),
            log: traced.then(Vec::new),
            digest: 0,
            outage: false,
            been_away: false,
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
        let (pause, stalls, dies) = self.with(|state| state.waits(place, group, 1.0));
        if dies {
            self.die(place).await;
        }
        if stalls {
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
            state.hinters.remove(&group);
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
        let (pause, _, dies) = self.with(|state| state.waits("a statement", group, 0.25));
        if dies {
            self.die("a statement").await;
        }
        self.exec.sleep(pause / 6).await;
    }

    /// Applies the writes of a commit at one moment, and looks at what they have done.
    pub fn apply(&self, works: &[LedgerCommand], writes: Vec<Write>, began: Timestamp) {
        let now = self.exec.now();
        let moved = self.with(|state| {
            let before = invariants::before(&state.db);
            writes.into_iter().for_each(|write| write(&mut state.db));
            state.count_decided(works, &before);
            rules::committed(state, works, now);
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
            let late = state.dice("wake", "").below(20_000);
            for (engine, armed) in &mut state.engines {
                let late = Duration::from_micros(1 + late);
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

    /// Wakes those that look up what was hinted at.
    pub fn wake_hints(&self) {
        let hinters: Vec<TaskId> = self.with(|state| state.hinters.values().copied().collect());
        hinters.into_iter().for_each(|task| self.exec.wake(task));
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

    /// The database goes away with an answer on its way, once, for longer than a lease.
    pub fn takes_down(self: &Arc<Self>, row: &Row) {
        let been_away = |state: &mut State| std::mem::replace(&mut state.been_away, true);
        if !row.is(Database::Away) || self.with(been_away) {
            return;
        }
        self.with(|state| state.outage = true);
        self.note(|| "the database goes away".to_owned());
        let world = Arc::clone(self);
        self.exec.spawn(0, async move {
            world.exec.sleep(AWAY).await;
            world.note(|| "the database is back".to_owned());
            world.with(|state| state.outage = false);
        });
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
            world.with(|state| {
                (state.faulty, state.outage, state.paused) = (false, false, false);
                state.wire.paused_at = None;
            });
        });
    }
}
