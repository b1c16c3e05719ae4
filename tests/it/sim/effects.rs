//! What the engine's steps and the submits do to the simulated world. The steps themselves, and how
//! answers are read, are the service's own.

use super::books::{Post, PostHandling};
use super::dice::Dice;
use super::invariants;
use super::mutant::Mutant;
use super::plan::{MessageFate, SHOP};
use super::replica::Replica;
use super::replies::{ORIGIN, odd};
use super::responses::answer_of;
use super::rules;
use super::tx::LOCK_TIMEOUT;
use super::wide::may_be_taken;
use super::world::State;
use domain::absence::Ability;
use domain::{Fact, GatewayIdempotencyKey, Origin, Refusal, RefusalKind, ShopId, Timestamp};
use gateway::{GatewayAddress, GatewayResponse, SubmitExchange};
use reconciler::follow::EngineSettings;
use reconciler::follow::effects::{GatewayRead, StepEffects};
use reconciler::ledger::{
    EvidenceTarget, LedgerError, RecordEvidence, RecordResult, StampAttempt, StampResult,
    StampedAttempt,
};
use reconciler::observation::submit as outcome;
use reconciler::store::{EvidenceRow, StoreError, StoredTransaction};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// As it is by default.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The hands of one step.
pub struct SimEffects<'a> {
    replica: &'a Arc<Replica>,
    settings: EngineSettings,
}

impl Replica {
    /// Sends a stamped attempt and records what came of it: the dispatcher's part.
    pub async fn transmit(&self, stamped: StampedAttempt, until: u64) {
        let (attempt, lease) = (stamped.number(), stamped.lease().token);
        let stored = &*stamped.into_transaction();
        let world = &self.world;
        world.point("send").await;
        let may_send = world.exec.micros() + 30_000_000 < until;
        let submission = if may_send || world.is(Mutant::LeaseNotChecked) {
            self.post(stored, attempt, lease).await
        } else {
            world.note(|| format!("attempt {attempt} withheld"));
            SubmitExchange::NotSent {
                reason: "the body was withheld".to_owned(),
            }
        };
        world.point("answered").await;
        let now = world.exec.now();
        let ours = GatewayAddress::new(&ORIGIN.parse().expect("an address")).expect("an address");
        let mut outcome =
            outcome::from_exchange(&submission, attempt, stored.opening.kind, &ours, now);
        if let SubmitExchange::Unclear { .. } = &submission {
            let refusal = Refusal {
                kind: RefusalKind::Rejected,
                code: None,
                message: None,
                friendly_message: None,
                http_status: None,
            };
            match world.mutant {
                Some(Mutant::SilenceIsNotSent) => {
                    outcome.observation = outcome::not_sent(attempt, "no answer");
                }
                Some(Mutant::SilenceIsRefusal) => {
                    outcome.observation.facts = vec![Fact::Refused {
                        attempt,
                        refusal,
                        at: now,
                    }];
                }
                _ => {}
            }
        }
        world.note(|| {
            format!(
                "attempt {attempt} of {}: {}",
                name_of(stored),
                outcome.label
            )
        });
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(stored.record.id),
            observation: outcome.observation,
            lease: Some(lease),
            next_check: outcome.retry_after.map(|after| now.plus(after)),
        };
        let _ = self.record(record).await;
    }

    /// One POST, and what the client sees of it.
    async fn post(&self, stored: &StoredTransaction, attempt: u32, lease: Uuid) -> SubmitExchange {
        let world = &self.world;
        let name = name_of(stored);
        let fate = world.with(|state| state.exchange_fate("ack", &name, by_chance));
        if fate == Some(MessageFate::Refused) {
            return SubmitExchange::NotSent {
                reason: "connection refused".to_owned(),
            };
        }
        let now = world.exec.now();
        world.with(|state| invariants::bytes_leave(state, stored, attempt, lease, now));
        let times = if world.is(Mutant::ClientRetries) {
            2
        } else {
            1
        };
        let mut seen = unclear("no answer");
        for time in 0..times {
            if time > 0 {
                world.with(|state| invariants::bytes_leave(state, stored, attempt, lease, now));
            }
            seen = self.exchange(stored, attempt, fate.as_ref()).await;
            if matches!(seen, SubmitExchange::Answered(_)) {
                break;
            }
        }
        seen
    }

    async fn exchange(
        &self,
        s: &StoredTransaction,
        attempt: u32,
        fate: Option<&MessageFate>,
    ) -> SubmitExchange {
        let world = &self.world;
        let post = post_of(s);
        if let Some(MessageFate::Lost | MessageFate::Late(_)) = fate {
            // It never arrives, or when nobody waits for it any more.
            if let Some(MessageFate::Late(late)) = fate {
                world.with(|state| {
                    *state.wire.travelling.entry(post.name.clone()).or_default() += 1
                });
                let (there, exec, late) = (Arc::clone(world), world.exec.clone(), *late);
                world.exec.spawn(0, async move {
                    exec.sleep(late).await;
                    there.with(|state| {
                        state
                            .wire
                            .travelling
                            .entry(post.name.clone())
                            .and_modify(|n| *n -= 1);
                    });
                    there.arrive(&post, PostHandling::Taken);
                });
            }
            world.exec.sleep(REQUEST_TIMEOUT).await;
            return unclear("timed out");
        }
        world.travel("ack", &post.name).await;
        let reply = world.meet(&post, fate);
        if fate == Some(&MessageFate::AnswerLost) {
            world.exec.sleep(REQUEST_TIMEOUT).await;
            return unclear("timed out");
        }
        world.travel("ack", &post.name).await;
        if fate == Some(&MessageFate::Cut) || reply.cut {
            return unclear("the answer broke off");
        }
        let answer = answer_of(&reply);
        let now = world.exec.now();
        world.with(|state| {
            state.wire.sent("ack", &post.name, &reply, now);
            state.wire.read(
                answer.sha256,
                "ack",
                &post.name,
                (&reply.told, &reply.holds),
                now,
            );
            invariants::answered(state, s, attempt, answer.status);
        });
        SubmitExchange::Answered(answer)
    }
}

fn unclear(reason: &str) -> SubmitExchange {
    SubmitExchange::Unclear {
        reason: reason.to_owned(),
        partial: None,
    }
}

/// What goes wrong with a POST by chance.
fn by_chance(state: &State, dice: &mut Dice) -> Option<MessageFate> {
    if state.goes_wrong(dice, state.plan.lost) {
        return Some(match dice.below(5) {
            0 | 1 if dice.chance(0.3) => MessageFate::Refused,
            0 | 1 if dice.chance(0.4) => {
                MessageFate::Late(dice.between(REQUEST_TIMEOUT, Duration::from_secs(300)))
            }
            0 | 1 => MessageFate::Lost,
            2 | 3 => MessageFate::AnswerLost,
            _ => MessageFate::Cut,
        });
    }
    if !state.goes_wrong(dice, state.plan.odd_answer) {
        return None;
    }
    let all = [
        "busy",
        "field",
        "old-error",
        "duplicate",
        "503",
        "502",
        "broken",
        "taken-broken",
    ];
    Some(MessageFate::Odd(dice.one_of(&all).to_owned()))
}

impl super::world::SimState {
    /// A POST comes to the gateway, and meets what is planned for it.
    fn meet(self: &Arc<Self>, post: &Post, fate: Option<&MessageFate>) -> super::replies::Reply {
        if let Some(MessageFate::Row(row, _)) = fate {
            self.takes_down(row);
        }
        match fate {
            Some(MessageFate::Odd(word)) if word == "taken-broken" => {
                self.arrive(post, PostHandling::Taken);
                odd("broken")
            }
            Some(MessageFate::Odd(word)) => self.arrive(post, PostHandling::Not(odd(word))),
            // What cannot be the answer to what was taken is none.
            Some(MessageFate::Row(row, true)) if !may_be_taken(row) => {
                self.arrive(post, PostHandling::Taken)
            }
            Some(MessageFate::Row(row, true)) => {
                let usual = self.arrive(post, PostHandling::Taken);
                let now = self.exec.now();
                self.with(|state| state.row(row, "ack", &post.name, now))
                    .unwrap_or(usual)
            }
            Some(MessageFate::Row(row, false)) => {
                let now = self.exec.now();
                match self.with(|state| state.row(row, "ack", &post.name, now)) {
                    Some(reply) => self.arrive(post, PostHandling::Not(reply)),
                    None => self.arrive(post, PostHandling::Taken),
                }
            }
            Some(MessageFate::Doubled) => {
                let reply = self.arrive(post, PostHandling::Taken);
                self.arrive(post, PostHandling::Doubled);
                reply
            }
            _ => self.arrive(post, PostHandling::Taken),
        }
    }
}

/// The order of a transaction, as the gateway gets it.
fn post_of(s: &StoredTransaction) -> Post {
    let shop = ShopId::parse(SHOP).expect("a shop id");
    let name = s.opening.tracking_id.clone().expect("a name");
    Post {
        key: GatewayIdempotencyKey::of(&shop, &name).0.to_string(),
        name: name.to_string(),
        kind: s.opening.kind.to_string(),
        amount: s.opening.amount.unwrap_or(0),
        parent: s.opening.parent_uid.as_ref().map(ToString::to_string),
        test: s.opening.test == Some(true),
    }
}

fn name_of(stored: &StoredTransaction) -> String {
    stored
        .opening
        .tracking_id
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default()
}

impl<'a> SimEffects<'a> {
    pub fn of(replica: &'a Arc<Replica>) -> Self {
        let world = &replica.world;
        let settings = EngineSettings {
            pace: replica.settings.pace.clone(),
            lease: replica.settings.lease,
            request_timeout: REQUEST_TIMEOUT,
            absence_interval: Duration::from_secs(600),
            in_doubt_horizon: if world.is(Mutant::HorizonIgnored) {
                Duration::ZERO
            } else {
                Duration::from_secs(86_400)
            },
            follow: world.plan.follow,
            trust_request_id: world.plan.trust || world.is(Mutant::ResendsInDoubt),
            evidence_retention: Duration::from_secs(400 * 86_400),
            events_retention: Duration::from_secs(90 * 86_400),
        };
        Self { replica, settings }
    }
}

impl StepEffects for SimEffects<'_> {
    type Body = ();

    fn shop(&self) -> &ShopId {
        &self.replica.shop
    }

    fn settings(&self) -> &EngineSettings {
        &self.settings
    }

    async fn acquire_permission(&self) -> Result<(), Duration> {
        self.replica.world.point("admit").await;
        Ok(())
    }

    async fn is_paused(&self) -> bool {
        self.replica.world.with(|state| state.paused)
    }

    async fn postpone(&self, id: Uuid, lease: Uuid, until: Timestamp) -> Result<bool, StoreError> {
        let world = &self.replica.world;
        world.point("postpone").await;
        let asked = world.exec.now();
        while world.with(|state| state.locks.is_check_locked(id)) {
            if world.exec.now().since(asked) > LOCK_TIMEOUT {
                return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
            }
            world.exec.sleep(Duration::from_millis(3)).await;
        }
        world.statement().await;
        let now = world.exec.now();
        let done = world.with(|state| {
            if world.is(Mutant::LeaseNeverEnds)
                && let Some(check) = state.db.checks.get_mut(&id)
            {
                check.due_at = check.due_at.max(now.plus(Duration::from_secs(1)));
            }
            let held = state.db.checks.get(&id).cloned();
            let done = state.db.postpone(now, id, lease, until);
            invariants::postponed(state, held.as_ref(), lease, done, now);
            done
        });
        world.poke();
        Ok(done)
    }

    async fn record(&self, record: RecordEvidence) -> Result<RecordResult, LedgerError> {
        self.replica.world.point("record").await;
        self.replica.record(record).await
    }

    async fn stamp(&self, stamp: StampAttempt) -> Result<StampResult, LedgerError> {
        self.replica.world.point("stamp").await;
        let (stamped, lasting) = self.replica.stamp(stamp).await?;
        if let StampResult::Ready(attempt) = &stamped {
            let lease = attempt.lease();
            let until = lasting.until(lease.until);
            self.replica
                .world
                .with(|state| state.seen.leases.insert(lease.token, until));
        }
        Ok(stamped)
    }

    async fn stored_body(&self, id: Uuid) -> Result<Option<()>, StoreError> {
        let world = &self.replica.world;
        world.point("body").await;
        // The evidence of its opening may be redacted: only what was sealed can be sent.
        Ok(world
            .with(|state| state.db.waiting.contains_key(&id))
            .then_some(()))
    }

    fn checks_duplicates(&self, (): &()) -> bool {
        true
    }

    async fn send(&self, stamped: StampedAttempt, (): ()) {
        let token = stamped.lease().token;
        let until = self.replica.world.with(|state| state.seen.leases[&token]);
        self.replica.transmit(stamped, until).await;
    }

    async fn read_gateway(&self, question: GatewayRead<'_>) -> Option<GatewayResponse> {
        let world = &self.replica.world;
        world.point("ask").await;
        let answer = world.get(question).await;
        world.point("read").await;
        answer
    }

    fn lease_lost(&self) {
        self.replica.world.note(|| "a lease was lost".to_owned());
    }

    async fn evidence(&self, id: Uuid) -> Result<Vec<EvidenceRow>, StoreError> {
        let world = &self.replica.world;
        world.point("evidence").await;
        let mut rows = world.with(|state| state.db.evidence_of(id));
        if world.is(Mutant::TwoLookupsProve)
            && let Some(last) = rows
                .iter()
                .rposition(|row| row.body.starts_with(b"{\"transactions\":[]"))
        {
            let mut again = rows[last].clone();
            again.id = Uuid::nil();
            again.received_at = again.received_at.minus(Duration::from_secs(600));
            rows.push(again);
        }
        Ok(rows)
    }

    async fn known_transaction(
        &self,
        signs: &str,
    ) -> Result<Option<(Uuid, String, String)>, StoreError> {
        Ok(self.replica.world.with(|state| state.db.control(signs)))
    }

    async fn abilities(&self) -> Result<Vec<Ability>, StoreError> {
        Ok(self.replica.world.with(|state| state.db.abilities.clone()))
    }

    async fn teach(&self, word: &str, transaction: Uuid, evidence: Uuid) -> Result<(), StoreError> {
        self.replica.world.with(|state| {
            rules::noted(state, word);
            let apart = self.settings().between_controls();
            state.db.teach(word, transaction, evidence, apart);
        });
        Ok(())
    }

    async fn owners(&self, uids: &[String]) -> Result<Vec<(String, Uuid, Origin)>, StoreError> {
        Ok(self
            .replica
            .world
            .with(|state| state.db.owners_with_origin(uids)))
    }
}
