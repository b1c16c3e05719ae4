//! Random work for the ledger, so that every statement is used: few names, few uids, and leases that
//! are right, wrong or old.

use super::conformance::lease_of;
use domain::evidence::FoundBy;
use domain::{
    Channel, Currency, Fact, Origin, ShopId, TaskId, Timestamp, TrackingId, TransactionRequest,
    TransactionType, Uid,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use reconciler::config::sealing::Sealed;
use reconciler::ledger::{
    CommandResult, EvidenceTarget, LedgerCommand, OpenResult, OpenTransaction, ParentLimit,
    RecordEvidence, ResolveDiscrepancy, StampAttempt,
};
use reconciler::observation::Observation;
use reconciler::observation::submit as outcome;
use reconciler::observation::webhook::observe as learned;
use serde_json::json;
use std::time::Duration;
use uuid::Uuid;

/// What is known so far, and the dice.
pub struct Ops {
    rng: StdRng,
    shop: ShopId,
    ids: Vec<Uuid>,
    leases: Vec<(Uuid, Uuid)>,
    /// The findings that there are.
    pub findings: Vec<Uuid>,
}

const STATUSES: [&str; 5] = [
    "successful",
    "failed",
    "expired",
    "incomplete",
    "surprising",
];

impl Ops {
    pub fn new(seed: u64, shop: &ShopId) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self {
            rng,
            shop: shop.clone(),
            ids: Vec::new(),
            leases: Vec::new(),
            findings: Vec::new(),
        }
    }

    pub fn roll(&mut self) -> u32 {
        self.rng.random_range(0..8)
    }

    pub fn hours(&mut self) -> i64 {
        // Never twice the same, so that the order is fixed.
        let sign = if self.rng.random_bool(0.5) { 1 } else { -1 };
        sign * self.rng.random_range(1..1_000_000)
    }

    pub fn limit(&mut self) -> i64 {
        self.rng.random_range(1..4)
    }

    pub fn leased(&mut self, id: Uuid, token: Uuid) {
        self.leases.push((id, token));
    }

    pub fn some_lease(&mut self) -> Option<(Uuid, Uuid)> {
        self.leases.choose(&mut self.rng).copied()
    }

    /// Takes up what the ledger has answered.
    pub fn learn(&mut self, works: &[LedgerCommand], answers: &[CommandResult]) {
        for (work, answer) in works.iter().zip(answers) {
            if let (
                LedgerCommand::Open(open),
                CommandResult::Opened(OpenResult::Created { .. } | OpenResult::Ready(_)),
            ) = (work, answer)
            {
                self.ids.push(open.id);
            }
            self.leases.extend(lease_of(answer));
        }
    }

    /// One batch.
    pub fn works(&mut self) -> Vec<LedgerCommand> {
        let count = self.rng.random_range(1..5);
        (0..count).map(|_| self.work()).collect()
    }

    fn work(&mut self) -> LedgerCommand {
        match self.rng.random_range(0..10) {
            0..=2 => self.open(),
            3..=6 => self.record(),
            7 => self.webhook(),
            8 => self.stamp(),
            _ => LedgerCommand::Close(ResolveDiscrepancy {
                id: self
                    .findings
                    .choose(&mut self.rng)
                    .copied()
                    .unwrap_or_default(),
                by: Some("ops".to_owned()),
                reason: "seen".to_owned(),
            }),
        }
    }

    fn name(&mut self) -> String {
        format!("name-{}", self.rng.random_range(0..6))
    }

    fn open(&mut self) -> LedgerCommand {
        let child = self.rng.random_bool(0.3);
        let uid = Uid::from_gateway(&format!("uid-{}", self.rng.random_range(0..6)));
        let name = self.name();
        let amount = Some(self.rng.random_range(1..4) * 500);
        let opening = TransactionRequest {
            shop: self.shop.clone(),
            tracking_id: TrackingId::parse(&name).ok(),
            kind: if child {
                TransactionType::Refund
            } else {
                TransactionType::Payment
            },
            origin: Origin::Api,
            amount,
            currency: Currency::parse("EUR"),
            parent_uid: uid.clone().filter(|_| child),
            parent_tracking_id: None,
            card_data: self.rng.random_bool(0.3),
            test: Some(true),
            opened_at: Timestamp::from_micros(0),
        };
        LedgerCommand::Open(Box::new(OpenTransaction {
            id: Uuid::now_v7(),
            opening,
            description: Some("Kaffee & Kuchen".to_owned()),
            fingerprint: vec![1, 2],
            fingerprint_key: "k".to_owned(),
            request: b"{}".to_vec(),
            request_sha256: [3; 32],
            sealed: Some(Sealed {
                key_id: "k".to_owned(),
                bytes: vec![7; 9],
            }),
            send_now: self.rng.random_bool(0.5),
            not_before: None,
            parent_limit: uid.filter(|_| child).map(|parent| ParentLimit {
                parent,
                force: self.rng.random_bool(0.2),
                duplicate_window: Some(Duration::from_secs(31)),
            }),
        }))
    }

    fn body(&mut self) -> Vec<u8> {
        let uid = format!("uid-{}", self.rng.random_range(0..6));
        let status = STATUSES.choose(&mut self.rng).copied().unwrap_or("pending");
        let second = self.rng.random_range(10..59);
        let mut body = json!({"uid": uid, "status": status, "type": "payment",
            "amount": self.rng.random_range(1..3) * 500, "currency": "EUR",
            "tracking_id": self.name(), "updated_at": format!("2026-11-01T10:00:{second}Z")});
        if self.rng.random_bool(0.3) {
            body["type"] = json!("refund");
            body["parent_uid"] = json!(format!("uid-{}", self.rng.random_range(0..6)));
        }
        json!({ "transaction": body }).to_string().into_bytes()
    }

    fn webhook(&mut self) -> LedgerCommand {
        let body = if self.rng.random_bool(0.1) {
            b"<html>".to_vec()
        } else {
            self.body()
        };
        let signed = self.rng.random_bool(0.8);
        let now = Timestamp::from(leaves::clock::now_utc());
        LedgerCommand::Record(Box::new(RecordEvidence {
            target: EvidenceTarget::Snapshots,
            observation: learned(&body, signed, now),
            lease: None,
            next_check: None,
        }))
    }

    fn record(&mut self) -> LedgerCommand {
        let id = self.ids.choose(&mut self.rng).copied().unwrap_or_default();
        let mut found = learned(&self.body(), true, Timestamp::END);
        let task = TaskId::from_gateway("task-1").expect("an id");
        let learned = match self.rng.random_range(0..6) {
            0 => outcome::not_sent(1, "no route"),
            1 => {
                found.facts = vec![Fact::Acknowledged {
                    attempt: 1,
                    task,
                    at: Timestamp::END,
                }];
                found
            }
            2 => {
                let snapshot = found.facts.first().and_then(|fact| match fact {
                    Fact::Seen { snapshot, .. } => Some(snapshot.clone()),
                    _ => None,
                });
                found.facts = snapshot
                    .into_iter()
                    .map(|snapshot| Fact::TaskResult {
                        task: task.clone(),
                        snapshot,
                    })
                    .collect();
                found
            }
            3 => Observation::from_gateway(
                Channel::Query,
                Some(200),
                None,
                b"{}".to_vec(),
                [9; 32],
                vec![],
            ),
            _ => {
                for fact in &mut found.facts {
                    if let Fact::Seen { found_by, .. } = fact {
                        *found_by = FoundBy::TrackingId;
                    }
                }
                found
            }
        };
        let held = self
            .leases
            .iter()
            .rev()
            .find(|(of, _)| *of == id)
            .map(|(_, token)| *token);
        LedgerCommand::Record(Box::new(RecordEvidence {
            target: EvidenceTarget::Transaction(id),
            observation: learned,
            lease: held.filter(|_| self.rng.random_bool(0.7)),
            next_check: None,
        }))
    }

    fn limit_of_a_stamp(&mut self) -> Option<ParentLimit> {
        let parent = Uid::from_gateway(&format!("uid-{}", self.rng.random_range(0..6)))?;
        let limit = ParentLimit {
            parent,
            force: self.rng.random_bool(0.5),
            duplicate_window: None,
        };
        self.rng.random_bool(0.3).then_some(limit)
    }

    fn stamp(&mut self) -> LedgerCommand {
        let id = self.ids.choose(&mut self.rng).copied().unwrap_or_default();
        let held = self
            .leases
            .iter()
            .rev()
            .find(|(of, _)| *of == id)
            .map(|(_, token)| *token);
        let lease = match self.rng.random_range(0..3) {
            0 => None,
            1 => Some(Uuid::new_v4()),
            _ => held,
        };
        LedgerCommand::Stamp(
            StampAttempt {
                sealed: None,
                id,
                lease,
                replay: self.rng.random_bool(0.2),
                child: self.limit_of_a_stamp(),
                told_before: Vec::new(),
            },
            Uuid::new_v4(),
        )
    }
}
