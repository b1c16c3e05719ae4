//! The simulated gateway's state behind one lock, and the events that move it.
//! The lock is held for microseconds and never across an await; all timers are
//! one ordered map, run by whoever looks next or by the timer task.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use time::OffsetDateTime;

use super::answer::Answer;
use super::clock::Ms;
use super::course::{Plan, Step};
use super::faults::Faults;
use super::journal::{Call, Journal};
use super::lookups::Query;
use super::outbox::Outbox;
use super::random::generator;
use super::scenario;
use super::script::Script;
use super::settings::{Settings, Switches};
use super::tasks::Task;
use super::transactions::Transaction;

/// Something that will happen.
pub enum Event {
    /// A step in the life of a transaction or its task.
    Course(Arc<Plan>, Step),
    /// A query's task ends.
    QueryEnds(String, Query),
    /// A webhook is due.
    Send(u64),
}

/// What was answered to a `RequestID`.
pub enum Replay {
    /// A task stands behind it.
    Task(String),
    /// It was refused.
    Refused(Answer),
}

/// A child's claim on its parent's amount.
pub struct Claim {
    /// The uids under which the child exists or will.
    pub uids: Vec<String>,
    /// How much.
    pub amount: i64,
    /// For what.
    pub kind: super::transactions::Kind,
}

/// Everything there is.
pub struct World {
    /// Where randomness starts.
    pub seed: u64,
    /// The twin's own origin.
    pub origin: String,
    /// Secret by shop.
    pub shops: BTreeMap<String, (Arc<str>, String)>,
    /// The switches.
    pub switches: Switches,
    /// Faults in force.
    pub faults: Faults,
    /// Scripts set by the control API.
    pub scripts: Scripts,
    /// Transactions by uid.
    pub transactions: HashMap<String, Transaction>,
    /// Their uids by shop and tracking id.
    pub by_tracking_id: HashMap<(Arc<str>, String), Vec<String>>,
    /// What children claim of their parents.
    pub claims: HashMap<String, Vec<Claim>>,
    /// Tasks by id.
    pub tasks: HashMap<String, Task>,
    /// Answers by shop and `RequestID`, with the time of the first.
    pub replays: HashMap<(Arc<str>, String), (Ms, Replay)>,
    /// When the 30-second rule last saw something.
    pub recent: HashMap<String, Ms>,
    /// How often a behaviour that is limited in number was met.
    pub met: HashMap<String, u32>,
    /// What arrived.
    pub journal: Journal,
    /// Webhooks.
    pub outbox: Outbox,
    /// Virtual now.
    pub now: Ms,
    /// Now as bodies show it.
    pub stamp: OffsetDateTime,
    /// For draws that need not repeat, such as latencies.
    pub random: StdRng,
    timers: BTreeMap<(Ms, u64), Event>,
    timer_number: u64,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(settings: &Settings, origin: String) -> Self {
        let shops = settings.shops.iter();
        let shops =
            shops.map(|(id, secret)| (id.clone(), (Arc::from(id.as_str()), secret.clone())));
        Self {
            seed: settings.seed,
            origin,
            shops: shops.collect(),
            switches: settings.switches.clone(),
            faults: Faults::default(),
            scripts: Scripts::default(),
            transactions: HashMap::new(),
            by_tracking_id: HashMap::new(),
            claims: HashMap::new(),
            tasks: HashMap::new(),
            replays: HashMap::new(),
            recent: HashMap::new(),
            met: HashMap::new(),
            journal: Journal::new(settings.log_size),
            outbox: Outbox::new(settings.log_size),
            now: 0,
            stamp: OffsetDateTime::UNIX_EPOCH,
            random: generator(settings.seed, &["world"]),
            timers: BTreeMap::new(),
            timer_number: 0,
        }
    }

    /// Makes something happen at a virtual time.
    pub fn at(&mut self, due: Ms, event: Event) {
        self.timer_number += 1;
        self.timers.insert((due, self.timer_number), event);
    }

    /// When the next thing will happen.
    pub fn next_due(&self) -> Option<Ms> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Lets everything happen that is due.
    pub fn settle(&mut self, now: Ms, stamp: OffsetDateTime) {
        self.now = self.now.max(now);
        // An absurd offset is cut rather than a reason to fall over.
        let ahead = self.switches.stamps_ahead.clamp(-1e9, 1e9);
        self.stamp = stamp.saturating_add(time::Duration::seconds_f64(ahead));
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let ((due, _), event) = first.remove_entry();
            match event {
                Event::Course(plan, step) => self.step(due, &plan, step),
                Event::QueryEnds(task, query) => self.end_query(&task, &query),
                Event::Send(parcel) => self.outbox.ready.push(parcel),
            }
        }
    }

    /// The shop whose credentials a request carries.
    pub fn authenticate(&self, call: &Call) -> Option<Arc<str>> {
        let basic = call.authorization.as_deref()?.strip_prefix("Basic ")?;
        let plain = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
        let (id, secret) = plain.split_once(':')?;
        let (shop, right) = self.shops.get(id)?;
        (secret == right).then(|| shop.clone())
    }

    /// The origin in a task's URLs.
    pub fn task_origin(&self) -> &str {
        self.switches
            .task_url_origin
            .as_deref()
            .unwrap_or(&self.origin)
    }

    /// Counts a meeting with a limited behaviour; says how many there were before.
    pub fn meet(&mut self, what: &str, shop: &str, id: &str) -> u32 {
        let met = self.met.entry(format!("{what} {shop} {id}")).or_default();
        *met += 1;
        *met - 1
    }
}

/// Scripts by tracking id and by prefix.
#[derive(Default)]
pub struct Scripts {
    exact: HashMap<String, Arc<Script>>,
    prefixes: Vec<(String, Arc<Script>)>,
    named: HashMap<String, Option<Arc<Script>>>,
}

impl Scripts {
    /// Sets the script of one tracking id.
    pub fn set_exact(&mut self, tracking_id: String, script: Script) {
        self.exact.insert(tracking_id, Arc::new(script));
    }

    /// Sets the script of all tracking ids that begin so.
    pub fn set_prefix(&mut self, prefix: String, script: Script) {
        self.prefixes.retain(|(known, _)| *known != prefix);
        self.prefixes.push((prefix, Arc::new(script)));
        self.prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Forgets what was set.
    pub fn clear(&mut self) {
        self.exact.clear();
        self.prefixes.clear();
    }

    /// The script that a tracking id asks for, if any.
    pub fn find(&mut self, tracking_id: &str) -> Option<Arc<Script>> {
        if let Some(script) = self.exact.get(tracking_id) {
            return Some(script.clone());
        }
        if let Some((_, script)) = self
            .prefixes
            .iter()
            .find(|(prefix, _)| tracking_id.starts_with(prefix.as_str()))
        {
            return Some(script.clone());
        }
        self.named(scenario::prefix(tracking_id)?)
    }

    /// The script of a scenario.
    pub fn named(&mut self, name: &str) -> Option<Arc<Script>> {
        if let Some(known) = self.named.get(name) {
            return known.clone();
        }
        let script = scenario::named(name).map(Arc::new);
        if script.is_some() || self.named.len() < 10_000 {
            self.named.insert(name.to_owned(), script.clone());
        }
        script
    }
}
