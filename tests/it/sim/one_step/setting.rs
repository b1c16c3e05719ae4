//! How the rows of a stage come into their states: through the ledger, with what the service makes of
//! the gateway's answers.

use super::stage::{ANOTHERS, BEGAN, OURS, PARENTS, SIBLINGS, TASK, Views, names, now};
use crate::sim::exec::beginning;
use crate::sim::grammar::When;
use crate::sim::plan::SHOP;
use crate::sim::replica::settings;
use crate::sim::replies::ORIGIN;
use crate::sim::tx::{After, Committed, Tx};
use crate::sim::world::SimState;
use domain::{
    Channel, Currency, Fact, Origin, ShopId, Snapshot, TaskId, Timestamp, TrackingId,
    TransactionRequest, TransactionType, Uid,
};
use gateway::{GatewayAddress, GatewayResponse, SubmitExchange};
use leaves::clock::BootInstant;
use reconciler::ledger::{
    self, EvidenceTarget, FoldedBatch, LedgerCommand, OpenTransaction, RecordEvidence,
};
use reconciler::observation::{Observation, submit, webhook};
use reconciler::store::StoredTransaction;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

pub fn address() -> GatewayAddress {
    GatewayAddress::new(&ORIGIN.parse().expect("an address")).expect("an address")
}

/// One batch of one job.
pub async fn commit(
    world: &Arc<SimState>,
    shop: &ShopId,
    work: LedgerCommand,
) -> Result<ledger::CommandResult, String> {
    let (settings, works) = (settings(), [work]);
    let mut tx = Tx::begin(world, &works);
    let fold = FoldedBatch::run(&mut tx, &settings, shop, &works, BootInstant::now(), 7).await;
    let fold = fold.map_err(|error| error.chain())?;
    if tx.commit().await != Committed::Yes {
        return Err("the commit is not known".to_owned());
    }
    let answers = fold.answers(&After(Arc::clone(world))).await;
    let mut answers = answers.map_err(|error| error.chain())?;
    answers.pop().ok_or_else(|| "no answer".to_owned())
}

/// Makes the rows that a stage begins with.
pub struct Builder {
    pub world: Arc<SimState>,
    pub is_child: bool,
}

impl Builder {
    pub fn at(&self, since: Duration) {
        self.world.exec.run_until(since, u64::MAX);
    }

    fn work(&self, work: LedgerCommand) {
        let shop = ShopId::parse(SHOP).expect("a shop id");
        now(commit(&self.world, &shop, work)).expect("a commit");
    }

    /// Another order, and the parent and its other child.
    pub fn others(&self) {
        let names = names();
        let at = beginning().plus(Duration::from_secs(100));
        let done = |uid: &str, name: &str, amount: i64, parent: Option<&str>| {
            let kind = parent.map_or("payment", |_| "refund");
            json!({"transaction": {"uid": uid, "status": "successful", "type": kind,
                "amount": amount, "currency": "EUR", "tracking_id": name, "test": false,
                "parent_uid": parent, "created_at": at.to_rfc3339(), "updated_at": at.to_rfc3339()}})
        };
        let sibling = format!("{}-sibling", names.parents);
        let rows = [
            (1_u128, names.anothers.as_str(), ANOTHERS, 1500, None),
            (2, names.parents.as_str(), PARENTS, 4500, None),
            (3, sibling.as_str(), SIBLINGS, 1500, Some(PARENTS)),
        ];
        self.at(Duration::from_secs(90));
        for (id, name, uid, amount, parent) in rows {
            let id = Uuid::from_u128(id);
            self.insert(id, name, amount, parent, true);
            let body = done(uid, name, amount, parent).to_string();
            self.submitted(id, 200, &body);
        }
        self.world.with(|state| state.db.checks.clear());
    }

    pub fn open(&self, id: Uuid, send_now: bool) {
        let names = names();
        let parent = self.is_child.then_some(PARENTS);
        self.insert(id, &names.own, 1500, parent, send_now);
    }

    fn insert(&self, id: Uuid, name: &str, amount: i64, parent: Option<&str>, send_now: bool) {
        let opening = TransactionRequest {
            shop: ShopId::parse(SHOP).expect("a shop id"),
            tracking_id: TrackingId::parse(name).ok(),
            kind: if parent.is_some() {
                TransactionType::Refund
            } else {
                TransactionType::Payment
            },
            origin: Origin::Api,
            amount: Some(amount),
            currency: Currency::parse("EUR"),
            parent_uid: parent.and_then(Uid::from_gateway),
            parent_tracking_id: parent.and_then(|_| TrackingId::parse(&names().parents).ok()),
            card_data: false,
            test: Some(false),
            opened_at: Timestamp::from_micros(0),
        };
        self.work(LedgerCommand::Open(Box::new(OpenTransaction {
            id,
            opening,
            description: None,
            fingerprint: vec![1],
            fingerprint_key: "k".to_owned(),
            request: b"{}".to_vec(),
            request_sha256: [0; 32],
            send_now,
            not_before: None,
            parent_limit: None,
            sealed: None,
        })));
    }

    const fn kind(&self) -> TransactionType {
        if self.is_child {
            TransactionType::Refund
        } else {
            TransactionType::Payment
        }
    }

    fn record(&self, id: Uuid, learned: Observation) {
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: learned,
            lease: None,
            next_check: None,
        };
        self.work(LedgerCommand::Record(Box::new(record)));
    }

    /// The answer to its POST.
    fn submitted(&self, id: Uuid, status: u16, body: &str) {
        let answer = plain(status, body);
        let at = self.world.exec.now();
        let outcome = submit::from_exchange(
            &SubmitExchange::Answered(answer),
            1,
            self.kind(),
            &address(),
            at,
        );
        let lease = Some(id);
        let record = RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: outcome.observation,
            lease,
            next_check: None,
        };
        self.work(LedgerCommand::Record(Box::new(record)));
    }

    /// Brings it into a state. `by_task`: by way of a task of the gateway.
    pub fn bring(&self, id: Uuid, when: When, by_task: bool) {
        let ack = || {
            let body = json!({"status": "processing", "request_id": TASK,
                "status_url": format!("{ORIGIN}/async/status/{TASK}"),
                "response_url": format!("{ORIGIN}/async/result/{TASK}")});
            self.submitted(id, 200, &body.to_string());
        };
        let silent = || {
            let submission = SubmitExchange::Unclear {
                reason: "no answer".to_owned(),
                partial: None,
            };
            let at = self.world.exec.now();
            self.record(
                id,
                submit::from_exchange(&submission, 1, self.kind(), &address(), at).observation,
            );
        };
        let refused = |code: &str| {
            let body =
                json!({"code": code, "message": "told before", "errors": {"currency": ["x"]}});
            self.submitted(id, 422, &body.to_string());
        };
        let told = |status: &str| {
            self.record(id, self.result(status));
        };
        self.at(BEGAN);
        match when {
            When::Accepted | When::Submitting => {}
            When::Processing => ack(),
            When::InDoubt if by_task => {
                ack();
                let unknown = json!({"status": "unknown", "request_id": TASK}).to_string();
                let fact = Fact::TaskUnknown { task: task() };
                self.record(id, observation(Channel::TaskResult, 404, &unknown, fact));
            }
            When::InDoubt => silent(),
            When::Pending => {
                ack();
                told("incomplete");
            }
            When::Successful | When::Failed | When::Expired => {
                ack();
                told(when_word(when));
            }
            When::Rejected => refused("E.1025"),
            When::DuplicateDoubt => refused("E.1018"),
            When::NotSent => self.record(id, submit::not_sent(1, "connection refused")),
            When::WebhookMeanwhile => {
                if by_task {
                    ack()
                } else {
                    silent()
                }
                self.at(BEGAN + Duration::from_secs(10));
                let body = self.body("incomplete");
                let at = self.world.exec.now();
                let record = RecordEvidence {
                    target: EvidenceTarget::Snapshots,
                    observation: webhook::observe(body.as_bytes(), true, at),
                    lease: None,
                    next_check: None,
                };
                self.work(LedgerCommand::Record(Box::new(record)));
            }
        }
    }

    /// What workers had read of it that ask the task, the uid, and the name.
    pub fn views(&self, id: Uuid) -> Views {
        let stored = self.world.with(|state| state.db.transactions[&id].clone());
        let at = self.world.exec.now();
        let with = |facts: &[Fact]| {
            let mut view: StoredTransaction = stored.clone();
            for fact in facts {
                view.summary.join(&view.opening.clone(), fact);
            }
            view.state = view.derived().state;
            view
        };
        let stamped = Fact::Stamped {
            attempt: 1,
            at,
            not_before: at.minus(Duration::from_secs(120)),
            replay: false,
        };
        let acknowledged = Fact::Acknowledged {
            attempt: 1,
            task: task(),
            at,
        };
        let silent = Fact::WentSilent {
            attempt: 1,
            reason: "no answer".to_owned(),
        };
        let result = Fact::TaskResult {
            task: task(),
            snapshot: self.snapshot("incomplete"),
        };
        Views {
            task: with(&[stamped.clone(), acknowledged.clone()]),
            uid: with(&[stamped.clone(), acknowledged, result]),
            name: with(&[stamped, silent]),
        }
    }

    /// Our own transaction, as it was told before.
    fn body(&self, status: &str) -> String {
        let sent = beginning().plus(BEGAN);
        let (created, updated) = (
            sent.minus(Duration::from_secs(9)),
            sent.minus(Duration::from_secs(2)),
        );
        let kind = if self.is_child { "refund" } else { "payment" };
        let parent = self.is_child.then_some(PARENTS);
        let told = json!({"transaction": {"uid": OURS, "status": status, "type": kind, "amount": 1500,
            "currency": "EUR", "tracking_id": names().own, "test": false, "parent_uid": parent,
            "created_at": created.to_rfc3339(), "updated_at": updated.to_rfc3339()}});
        told.to_string()
    }

    fn snapshot(&self, status: &str) -> Box<Snapshot> {
        let told = webhook::observe(self.body(status).as_bytes(), true, self.world.exec.now());
        let seen = told.facts.into_iter().find_map(|fact| match fact {
            Fact::Seen { snapshot, .. } => Some(snapshot),
            _ => None,
        });
        seen.expect("a transaction")
    }

    fn result(&self, status: &str) -> Observation {
        let snapshot = self.snapshot(status);
        let fact = Fact::TaskResult {
            task: task(),
            snapshot,
        };
        observation(Channel::TaskResult, 200, &self.body(status), fact)
    }
}

fn when_word(when: When) -> &'static str {
    match when {
        When::Failed => "failed",
        When::Expired => "expired",
        _ => "successful",
    }
}

fn task() -> TaskId {
    TaskId::from_gateway(TASK).expect("a task's id")
}

fn observation(channel: Channel, status: u16, body: &str, fact: Fact) -> Observation {
    let sha256: [u8; 32] = Sha256::digest(body.as_bytes()).into();
    let subject = Some(TASK.to_owned());
    let body = body.to_owned().into_bytes();
    Observation::from_gateway(channel, Some(status), subject, body, sha256, vec![fact])
}

/// A whole answer.
fn plain(status: u16, body: &str) -> GatewayResponse {
    GatewayResponse {
        status,
        retry_after: None,
        content_type: None,
        request_id: None,
        date: None,
        sha256: Sha256::digest(body.as_bytes()).into(),
        body: body.to_owned().into_bytes().into(),
        truncated: false,
    }
}
