//! State of the simulated gateway, behind one lock, and the timed events that change it.
//!
//! The lock is held for microseconds and never across an await. All timers are in one ordered map,
//! which the next request or the timer task runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::rngs::StdRng;
use time::OffsetDateTime;

use super::clock::VirtualMillis;
use super::faults::GatewayFaults;
use super::lifecycle::{LifecyclePlan, LifecycleStep};
use super::lookups::LookupQuery;
use super::random::generator;
use super::request_log::{RequestHead, RequestLog};
use super::response::SimResponse;
use super::scenario;
use super::script::Script;
use super::settings::{BehaviourSwitches, TwinSettings};
use super::tasks::SimTask;
use super::transactions::SimTransaction;
use super::webhook_queue::WebhookQueue;

/// A timed event.
pub enum TimerEvent {
    /// A step of a transaction or its task.
    Course(Arc<LifecyclePlan>, LifecycleStep),
    /// The task of a query ends.
    QueryEnds(String, LookupQuery),
    /// A webhook is due.
    Send(u64),
}

/// The result of the first request with a `RequestID`.
pub enum CachedReply {
    /// The request created this task.
    Task(String),
    /// The request was refused with this response.
    Refused(SimResponse),
}

/// The part of a parent's amount that a child transaction uses.
pub struct ParentHold {
    /// Uids that the child has or will have.
    pub uids: Vec<String>,
    /// Amount in minor units.
    pub amount: i64,
    /// Type of the child.
    pub kind: super::transactions::TransactionKind,
}

/// State of the simulated gateway.
pub struct SimulatorState {
    /// Random seed.
    pub seed: u64,
    /// Origin of the simulator's URLs.
    pub origin: String,
    /// Secret key by shop ID.
    pub shops: BTreeMap<String, (Arc<str>, String)>,
    /// Behaviour switches in force.
    pub switches: BehaviourSwitches,
    /// Faults in force.
    pub faults: GatewayFaults,
    /// Scripts set by the control API.
    pub scripts: ScriptRegistry,
    /// Transactions by uid.
    pub transactions: HashMap<String, SimTransaction>,
    /// Uids by shop and tracking ID.
    pub by_tracking_id: HashMap<(Arc<str>, String), Vec<String>>,
    /// Amounts that child transactions use, by uid of the parent.
    pub claims: HashMap<String, Vec<ParentHold>>,
    /// Tasks by id.
    pub tasks: HashMap<String, SimTask>,
    /// Results by shop and `RequestID`, with the time of the first request.
    pub replays: HashMap<(Arc<str>, String), (VirtualMillis, CachedReply)>,
    /// Time at which the 30-second rule last saw a request, by its key.
    pub recent: HashMap<String, VirtualMillis>,
    /// Number of uses of behaviours that apply a limited number of times.
    pub met: HashMap<String, u32>,
    /// Log of requests.
    pub journal: RequestLog,
    /// Webhooks to send.
    pub outbox: WebhookQueue,
    /// Current virtual time.
    pub now: VirtualMillis,
    /// Current time, as bodies show it.
    pub stamp: OffsetDateTime,
    /// Random generator for values that need not be reproducible, such as latencies.
    pub random: StdRng,
    timers: BTreeMap<(VirtualMillis, u64), TimerEvent>,
    timer_number: u64,
}

impl SimulatorState {
    /// Creates the initial state.
    pub fn new(settings: &TwinSettings, origin: String) -> Self {
        let shops = settings.shops.iter();
        let shops =
            shops.map(|(id, secret)| (id.clone(), (Arc::from(id.as_str()), secret.clone())));
        Self {
            seed: settings.seed,
            origin,
            shops: shops.collect(),
            switches: settings.switches.clone(),
            faults: GatewayFaults::default(),
            scripts: ScriptRegistry::default(),
            transactions: HashMap::new(),
            by_tracking_id: HashMap::new(),
            claims: HashMap::new(),
            tasks: HashMap::new(),
            replays: HashMap::new(),
            recent: HashMap::new(),
            met: HashMap::new(),
            journal: RequestLog::new(settings.log_size),
            outbox: WebhookQueue::new(settings.log_size),
            now: 0,
            stamp: OffsetDateTime::UNIX_EPOCH,
            random: generator(settings.seed, &["world"]),
            timers: BTreeMap::new(),
            timer_number: 0,
        }
    }

    /// Schedules an event at a virtual time.
    pub fn schedule(&mut self, due: VirtualMillis, event: TimerEvent) {
        self.timer_number += 1;
        self.timers.insert((due, self.timer_number), event);
    }

    /// Returns the time of the next event.
    pub fn next_due(&self) -> Option<VirtualMillis> {
        self.timers.first_key_value().map(|((due, _), _)| *due)
    }

    /// Runs all events that are due.
    pub fn run_due(&mut self, now: VirtualMillis, stamp: OffsetDateTime) {
        self.now = self.now.max(now);
        // An offset out of range is clamped, so that it cannot cause a panic.
        let ahead = self.switches.stamps_ahead.clamp(-1e9, 1e9);
        self.stamp = stamp.saturating_add(time::Duration::seconds_f64(ahead));
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let ((due, _), event) = first.remove_entry();
            match event {
                TimerEvent::Course(plan, step) => self.step(due, &plan, step),
                TimerEvent::QueryEnds(task, query) => self.end_query(&task, &query),
                TimerEvent::Send(parcel) => self.outbox.ready.push(parcel),
            }
        }
    }

    /// Returns the shop whose credentials a request carries.
    pub fn authenticate(&self, call: &RequestHead) -> Option<Arc<str>> {
        let basic = call.authorization.as_deref()?.strip_prefix("Basic ")?;
        let plain = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
        let (id, secret) = plain.split_once(':')?;
        let (shop, right) = self.shops.get(id)?;
        (secret == right).then(|| shop.clone())
    }

    /// Returns the origin in a task's URLs.
    pub fn task_origin(&self) -> &str {
        self.switches
            .task_url_origin
            .as_deref()
            .unwrap_or(&self.origin)
    }

    /// Counts a use of a limited behaviour. Returns the number of earlier uses.
    pub fn count_hit(&mut self, what: &str, shop: &str, id: &str) -> u32 {
        let met = self.met.entry(format!("{what} {shop} {id}")).or_default();
        *met += 1;
        *met - 1
    }
}

/// Scripts by tracking ID and by prefix.
#[derive(Default)]
pub struct ScriptRegistry {
    exact: HashMap<String, Arc<Script>>,
    prefixes: Vec<(String, Arc<Script>)>,
    named: HashMap<String, Option<Arc<Script>>>,
}

impl ScriptRegistry {
    /// Sets the script of one tracking ID.
    pub fn set_exact(&mut self, tracking_id: String, script: Script) {
        self.exact.insert(tracking_id, Arc::new(script));
    }

    /// Sets the script of all tracking IDs with a prefix.
    pub fn set_prefix(&mut self, prefix: String, script: Script) {
        self.prefixes.retain(|(known, _)| *known != prefix);
        self.prefixes.push((prefix, Arc::new(script)));
        self.prefixes
            .sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
    }

    /// Removes all scripts.
    pub fn clear(&mut self) {
        self.exact.clear();
        self.prefixes.clear();
    }

    /// Returns the script for a tracking ID, if there is one.
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

    /// Returns the script of a scenario.
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
