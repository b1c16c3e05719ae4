//! Everybody else: merchants who post, the gateway that notifies, operators who decide, forgers, and
//! the hand that starts replicas again.

use super::books::{Post, PostHandling, Transaction, Turn};
use super::exec::{Group, TaskId};
use super::invariants;
use super::mutant::Mutant;
use super::plan::{Act, MessageFate, Notices, Order, SHOP, Stranger, What};
use super::replica::Replica;
use super::replies::Reply;
use super::world::SimState;
use domain::evidence::Decision;
use domain::{
    Channel, Currency, Fact, Origin, ShopId, State, Timestamp, TrackingId, TransactionRequest, Uid,
};
use reconciler::config::sealing::Sealed;
use reconciler::ledger::{
    EvidenceTarget, LedgerError, OpenResult, OpenTransaction, ParentLimit, RecordEvidence,
    StampAttempt, StampResult,
};
use reconciler::observation::Observation;
use reconciler::observation::submit as outcome;
use reconciler::observation::webhook::{hinted, observe as learned};
use reconciler::store::StoredTransaction;
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use uuid::Uuid;

/// The answer of a request to a replica, unless the replica dies over it.
type ActorMessage<T> = Arc<Mutex<Option<T>>>;

impl SimState {
    /// Starts the replicas, and starts dead ones again.
    pub fn keep_replicas(self: &Arc<Self>) {
        for number in 0..self.plan.replicas {
            let world = Arc::clone(self);
            self.exec.spawn(0, async move {
                let mut group: Group = number + 1;
                loop {
                    let replica = Replica::start(&world, group);
                    world.note(|| format!("replica {group} starts"));
                    let keeper = world.exec.current().0;
                    world.with(|state| state.keepers.insert(group, keeper));
                    while world.with(|state| state.alive.contains_key(&replica.group)) {
                        world.exec.park().await;
                    }
                    let mut dice = world.with(|state| state.dice("dead", &group.to_string()));
                    let dead = Duration::from_millis(500 + dice.below(9_000));
                    world.exec.sleep(dead).await;
                    group += 10;
                }
            });
        }
    }

    /// Some replica that is alive.
    fn any_replica(&self, caller: &str) -> Option<Arc<Replica>> {
        self.with(|state| {
            let count = u64::try_from(state.alive.len()).unwrap_or(0);
            let nth = state.dice("replica", caller).below(count);
            let nth = usize::try_from(nth).unwrap_or(0);
            state.alive.values().nth(nth).cloned()
        })
    }

    /// Asks a replica for something and waits at most so long. `None` when no answer came.
    async fn call<T, F>(
        self: &Arc<Self>,
        caller: &str,
        within: Duration,
        ask: impl FnOnce(Arc<Replica>) -> F,
    ) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let replica = self.any_replica(caller)?;
        let said: ActorMessage<T> = Arc::default();
        let (put, exec, caller) = (Arc::clone(&said), self.exec.clone(), self.exec.current().0);
        let asked = ask(Arc::clone(&replica));
        self.exec.spawn(replica.group, async move {
            let answer = asked.await;
            *put.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
            exec.wake(caller);
        });
        let until = self.exec.now().plus(within);
        self.exec.wake_at(caller, until);
        loop {
            self.exec.park().await;
            let answer = said.lock().unwrap_or_else(PoisonError::into_inner).take();
            if answer.is_some() || self.exec.now() >= until {
                return answer;
            }
        }
    }

    /// A POST comes to the gateway.
    pub fn arrive(self: &Arc<Self>, post: &Post, met: PostHandling) -> Reply {
        let now = self.exec.now();
        let (reply, turns) = self.with(|state| {
            let plan = Arc::clone(&state.plan);
            let (reply, turns) = state.books.submit(post, now, &mut state.cup, &plan, met);
            super::rules::arrived(state, now);
            (reply, turns)
        });
        self.note(|| format!("gateway takes {} -> {}", post.name, reply.status));
        for turn in turns {
            self.follow(turn);
        }
        reply
    }

    /// Lets something happen at the gateway, which then notifies.
    fn follow(self: &Arc<Self>, turn: Turn) -> TaskId {
        let world = Arc::clone(self);
        self.exec.spawn(0, async move {
            world.exec.sleep(turn.after).await;
            let now = world.exec.now();
            let plan = Arc::clone(&world.plan);
            let Some(body) = world.with(|state| state.books.turn(&turn, now, &plan)) else {
                return;
            };
            world.note(|| format!("gateway: {} is {}", turn.uid, turn.status));
            let again = turn.course.as_ref().and_then(|course| course.again);
            let told = world.with(|state| state.books.transactions[&turn.uid].clone());
            let notice = Arc::clone(&world).notify(told, body, again);
            world.exec.spawn(0, notice);
            let corrected = turn.course.as_ref().and_then(|course| course.corrected);
            if let Some(after) = corrected {
                let other = if turn.status == "failed" {
                    "successful"
                } else {
                    "failed"
                };
                let course = turn.course.clone().map(|course| super::plan::Course {
                    corrected: None,
                    ..course
                });
                world.follow(Turn {
                    uid: turn.uid,
                    after,
                    status: other.to_owned(),
                    code: None,
                    course,
                });
            }
        })
    }

    /// Sends a webhook until it is taken, as the gateway does; it may arrive twice, and once more much
    /// later, when newer ones have been there or retention has passed.
    async fn notify(self: Arc<Self>, told: Transaction, body: Vec<u8>, again: Option<Duration>) {
        let uid = told.uid.clone();
        let signed = match self.plan.notices {
            Notices::Signed => true,
            Notices::Unsigned => false,
            Notices::None => return,
        };
        let twice = self.with(|state| state.dice("twice", &uid).chance(0.2));
        for n in 0..=15_u32 {
            let (fate, pause) = self.with(|state| {
                let cube = u64::from(n * 2).pow(3);
                let more = state.dice("notice", &uid).below(30_000);
                let fate = state.exchange_fate("webhook", &uid, |state, dice| {
                    let lost = state.goes_wrong(dice, state.plan.webhook_lost);
                    lost.then_some(MessageFate::Lost)
                });
                (fate, Duration::from_millis(cube * 1000 + more))
            });
            self.exec.sleep(pause).await;
            if fate == Some(MessageFate::Lost) {
                continue;
            }
            let now = self.exec.now();
            let row = match &fate {
                Some(MessageFate::Row(row, _)) => {
                    self.takes_down(row);
                    self.with(|state| state.row(row, "webhook", &uid, now))
                }
                _ => None,
            };
            let honest = vec![told.clone()];
            let (sent, shows) = row.map_or_else(
                || (body.clone(), (honest.clone(), honest)),
                |row| (row.body, (row.told, row.holds)),
            );
            if self.deliver(&uid, sent, signed, shows).await && !(twice && n == 0) {
                break;
            }
        }
        if let Some(after) = again {
            self.exec.sleep(after).await;
            self.with(|state| state.seen.count("webhooks sent again"));
            Box::pin(self.notify(told, body, None)).await;
        }
    }

    /// One delivery of a webhook about a transaction; `true` when it was answered 200.
    async fn deliver(
        self: &Arc<Self>,
        uid: &str,
        body: Vec<u8>,
        signed: bool,
        (told, holds): (Vec<Transaction>, Vec<Transaction>),
    ) -> bool {
        let sha256: [u8; 32] = Sha256::digest(&body).into();
        let names = told.iter().chain(&holds).any(|shown| shown.uid == uid);
        let now = self.exec.now();
        self.note(|| format!("webhook of {uid}, signed {signed}"));
        self.with(|state| {
            let believed = |all: &[Transaction]| if signed { all.to_vec() } else { Vec::new() };
            let shows = (&*believed(&told), &*believed(&holds));
            state.wire.read(sha256, "webhook", uid, shows, now);
        });
        let within = Duration::from_secs(20);
        let taken = self.call(uid, within, |r| hook(r, body, signed)).await == Some(true);
        if taken {
            let now = self.exec.now();
            self.with(|state| {
                invariants::acknowledged(state, sha256);
                super::rules::acknowledged(state, uid, (signed, names), now);
            });
        }
        taken
    }

    /// Lets all merchants, strangers, forgers and operators begin.
    pub fn begin_orders(self: &Arc<Self>) {
        for order in self.plan.orders.clone() {
            self.exec.spawn(0, Arc::clone(self).order(order.clone()));
            if order.twice {
                self.exec.spawn(0, Arc::clone(self).order(order));
            }
        }
        for stranger in self.plan.strangers.clone() {
            self.exec.spawn(0, Arc::clone(self).stranger(stranger));
        }
        for act in self.plan.acts.clone() {
            self.exec.spawn(0, Arc::clone(self).act(act));
        }
    }

    async fn stranger(self: Arc<Self>, one: Stranger) {
        self.exec.sleep(one.at).await;
        let (now, plan) = (self.exec.now(), Arc::clone(&self.plan));
        let (body, told) = self.with(|state| {
            let body = state.books.stranger(&one, &plan, now);
            (body, state.books.transactions[&one.uid].clone())
        });
        self.note(|| format!("somebody makes {} under {}", one.uid, one.name));
        if one.told {
            self.notify(told, body, None).await;
        }
    }

    /// A webhook that anybody could have made: it has no signature.
    async fn forge(self: Arc<Self>, name: &str) {
        let Some(order) = self.plan.order(name).cloned() else {
            return;
        };
        for status in ["successful", "failed"] {
            self.with(|state| state.seen.count("forgeries"));
            let now = self.exec.now().to_rfc3339();
            let body = serde_json::json!({"transaction": {"uid": "forged", "status": status,
                "type": order.kind.as_str(), "amount": order.amount, "currency": "EUR",
                "tracking_id": order.name, "created_at": now, "updated_at": now}});
            let body = body.to_string().into_bytes();
            self.call(name, Duration::from_secs(20), |r| hook(r, body, false))
                .await;
            self.exec.sleep(Duration::from_secs(60)).await;
        }
    }

    /// Somebody does something once.
    async fn act(self: Arc<Self>, act: Act) {
        self.exec.sleep(act.at).await;
        let now = self.exec.now();
        let decided = match act.what {
            What::Check => None,
            What::Failed => Some(State::Failed),
            What::NotFound => Some(State::NotFound),
            What::NotSent => Some(State::NotSent),
            What::InDoubt => Some(State::InDoubt),
            What::Forge => return self.forge(&act.name).await,
            What::Pause | What::Resume => {
                let paused = act.what == What::Pause;
                self.note(|| format!("submits are paused: {paused}"));
                return self.with(|state| {
                    state.paused = paused;
                    state.wire.paused_at = paused.then_some(now);
                });
            }
            What::Post => {
                let Some(order) = self.plan.order(&act.name).cloned() else {
                    return;
                };
                let within = Duration::from_secs(40);
                self.call(&act.name, within, |r| post(r, order)).await;
                return;
            }
        };
        let id = self.with(|state| state.db.named(&act.name));
        let Some(stored) = id.and_then(|id| self.with(|state| state.db.by_id(id))) else {
            return;
        };
        let id = self.with(|state| state.dice("act", &act.name).uuid());
        let learned = match decided {
            Some(decided) => decision(&stored, decided, now, id),
            None => check(id),
        };
        self.note(|| format!("a person acts on {}: {:?}", act.name, learned.facts));
        if decided.is_some() {
            self.with(|state| {
                state.seen.count("decisions");
                state.seen.decided.insert(act.name.clone())
            });
        }
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(stored.record.id),
            observation: learned,
            lease: None,
            next_check: None,
        };
        let ask = |r: Arc<Replica>| async move { r.record_once(record).await.is_ok() };
        self.call(&act.name, Duration::from_secs(20), ask).await;
    }

    /// A merchant wants something, and asks until an answer comes.
    async fn order(self: Arc<Self>, order: Order) {
        self.exec.sleep(order.begins).await;
        for _ in 0..40 {
            let asked = order.clone();
            let state = self
                .call(&order.name, Duration::from_secs(40), |r| post(r, asked))
                .await;
            let mut dice = self.with(|state| state.dice("asks again", &order.name));
            let goes_on = match state {
                Some(Some(State::NotSent)) => dice.chance(0.7),
                Some(Some(_)) => false,
                Some(None) | None => true,
            };
            if !goes_on {
                return;
            }
            let pause = dice.between(Duration::from_millis(10), Duration::from_secs(90));
            self.exec.sleep(pause).await;
        }
    }
}

/// A decision of a person, as the API makes it.
fn decision(stored: &StoredTransaction, state: State, now: Timestamp, id: Uuid) -> Observation {
    let decision = Decision {
        at: now,
        id,
        state,
        basis: stored.summary.greatest_key(&stored.opening),
        by: "ops".to_owned(),
        reason: "seen in the books".to_owned(),
        uid: None,
    };
    let act = serde_json::json!({"decision": id});
    Observation::local(
        Channel::Operator,
        "decided",
        &act,
        vec![Fact::Decided(decision)],
    )
}

fn check(id: Uuid) -> Observation {
    let act = serde_json::json!({"asked": id});
    let mut learned = Observation::local(Channel::Operator, "check", &act, Vec::new());
    learned.recheck_now = true;
    learned.wishes.by_name = true;
    learned
}

/// The webhook listener: 200 only after the commit.
async fn hook(replica: Arc<Replica>, body: Vec<u8>, signed: bool) -> bool {
    let world = Arc::clone(&replica.world);
    world.point("hook").await;
    let believed = signed || world.is(Mutant::HintBelieved);
    let mut told = learned(&body, believed, Timestamp::END);
    if world.mutant.is_some() {
        // What a mutant does not look at is missing in what was read, not in what was sent.
        told.facts = learned(&world.as_mutants_see(&body), believed, Timestamp::END).facts;
    }
    if let Some(hint) = hinted(&told) {
        let now = world.exec.now();
        if !world.with(|state| state.hint(hint.uid.as_str(), now)) {
            return false;
        }
        world.wake_hints();
    }
    let record = RecordEvidence {
        target: EvidenceTarget::Snapshots,
        observation: told,
        lease: None,
        next_check: None,
    };
    if world.is(Mutant::WebhookAckedEarly) {
        let late = Arc::clone(&replica);
        world.exec.spawn(replica.group, async move {
            late.world.point("late").await;
            let _ = late.record_once(record).await;
        });
        return true;
    }
    replica.record_once(record).await.is_ok()
}

/// A POST to the API: opens, or answers with what is there. Gives the state, or `None` for an error.
async fn post(replica: Arc<Replica>, order: Order) -> Option<State> {
    let world = Arc::clone(&replica.world);
    world.point("post").await;
    if world.with(|state| state.paused) {
        return None;
    }
    let known = world.with(|state| state.db.by_id(state.db.named(&order.name)?));
    if let Some(known) = known {
        return if known.state == State::NotSent {
            again(&replica, known).await
        } else {
            Some(known.state)
        };
    }
    let (opening, parent_limit) = match opening(&world, &order) {
        Some(opening) => opening,
        None => return None,
    };
    let id = world.with(|state| state.id(&order.name, world.exec.now()));
    let send_now = order.card_data || !order.respond_async;
    let open = OpenTransaction {
        id,
        opening,
        description: None,
        fingerprint: vec![1],
        fingerprint_key: "k".to_owned(),
        request: order.name.clone().into_bytes(),
        request_sha256: [0; 32],
        sealed: (!order.card_data).then(sealed),
        send_now,
        not_before: None,
        parent_limit,
    };
    match replica.open(open).await {
        Ok((OpenResult::Ready(stamped), lasting)) => {
            world.note(|| format!("opened {} with a lease", order.name));
            if send_now {
                let until = lasting.until(stamped.lease().until);
                replica.transmit(stamped, until).await;
            }
            world.with(|state| Some(state.db.by_id(id)?.state))
        }
        Ok((OpenResult::Created { .. }, _)) => {
            world.note(|| format!("opened {} without a lease", order.name));
            world.with(|state| Some(state.db.by_id(id)?.state))
        }
        Ok((OpenResult::Exists { transaction }, _)) => Some(transaction.state),
        Ok((OpenResult::Unfit(_), _)) => Some(State::Rejected),
        // The caller tries again.
        Ok((OpenResult::TooSoon(_), _)) => None,
        Err(LedgerError::CommitUnknown) if send_now => {
            disown(&replica, id).await;
            None
        }
        Err(_) => None,
    }
}

/// Nothing of an opening was sent whose commit is unknown: as the dispatcher does.
async fn disown(replica: &Replica, id: Uuid) {
    if replica.world.with(|state| state.db.by_id(id)).is_none() {
        return;
    }
    let record = RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: outcome::not_sent(1, "the commit before it could not be confirmed in time"),
        lease: Some(id),
        next_check: None,
    };
    let _ = replica.record(record).await;
}

/// A request as it may wait.
fn sealed() -> Sealed {
    Sealed {
        key_id: "k".to_owned(),
        bytes: vec![1],
    }
}

/// The same request again for what was not sent.
async fn again(replica: &Replica, known: StoredTransaction) -> Option<State> {
    let id = known.record.id;
    match replica
        .stamp(StampAttempt {
            sealed: (!known.opening.card_data).then(sealed),
            id,
            lease: None,
            replay: false,
            child: ParentLimit::of(&known, true),
            told_before: StampAttempt::told_before(&known),
        })
        .await
    {
        Ok((StampResult::Ready(stamped), lasting)) => {
            let until = lasting.until(stamped.lease().until);
            replica.transmit(stamped, until).await;
            replica.world.with(|state| Some(state.db.by_id(id)?.state))
        }
        Ok((
            StampResult::Denied { transaction }
            | StampResult::Wait { transaction, .. }
            | StampResult::Unfit { transaction, .. },
            _,
        )) => Some(transaction.state),
        Err(_) => None,
    }
}

/// What was asked; `None` while a parent is not there yet.
fn opening(world: &SimState, order: &Order) -> Option<(TransactionRequest, Option<ParentLimit>)> {
    let parent = match &order.parent {
        None => None,
        Some(name) => {
            let stored = world.with(|state| state.db.by_id(state.db.named(name)?))?;
            let uid: Uid = stored.derived().uid?;
            Some((stored, uid))
        }
    };
    let limit = parent.as_ref().map(|(_, uid)| ParentLimit {
        parent: uid.clone(),
        force: false,
        duplicate_window: Some(Duration::from_secs(31)),
    });
    let opening = TransactionRequest {
        shop: ShopId::parse(SHOP).ok()?,
        tracking_id: Some(TrackingId::parse(&order.name).ok()?),
        kind: order.kind,
        origin: Origin::Api,
        amount: Some(order.amount),
        currency: if parent.is_some() {
            None
        } else {
            Currency::parse("EUR")
        },
        parent_uid: parent.as_ref().map(|(_, uid)| uid.clone()),
        parent_tracking_id: parent.and_then(|(stored, _)| stored.opening.tracking_id),
        card_data: order.card_data,
        test: Some(order.test),
        opened_at: Timestamp::from_micros(0),
    };
    Some((opening, limit))
}
