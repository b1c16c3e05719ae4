//! One group commit: look up, lock, fold, write. The order of locks is fixed: transactions by id,
//! due checks, uids, findings, and last the feed's counter.
//!
//! What it reads and writes is behind [`Tables`]; it knows neither pools nor commits.

use crate::clock::Boottime;
use crate::domain::view::TransactionView;
use crate::domain::{Channel, DiscrepancyKind, Fact, Opening, Origin, ShopId, Snapshot, State};
use crate::domain::{Summary, Timestamp, TransactionType, Uid, Verdict, derive, schedule, verdict};
use crate::ledger::commit::Failure;
use crate::ledger::evidence::Link;
use crate::ledger::route::{Delivery, Routing, adopted_facts, orphan_kind};
use crate::ledger::tables::{Reads, Tables};
use crate::ledger::{
    Close, Learned, Lease, Open, Opened, Record, Recorded, Settings, Shared, Stamp, Stamped,
    findings,
};
use crate::store::{
    CheckRow, CheckWrite, DiscrepancyRow, EventWrite, EvidenceWrite, NewTransaction, OrphanWrite,
    StoreError, StoredTransaction, TransactionWrite, batch as rows,
};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

/// One thing to do. It may be run twice, when the fate of a COMMIT is unknown.
#[derive(Debug, Clone)]
pub enum Work {
    /// Opens a transaction.
    Open(Box<Open>),
    /// Records evidence.
    Record(Box<Record>),
    /// Stamps an attempt, which gets this token.
    Stamp(Stamp, Uuid),
    /// Closes a finding.
    Close(Close),
}

/// What it came to.
#[derive(Debug)]
pub enum Answer {
    /// Of opening.
    Opened(Opened),
    /// Of recording.
    Recorded(Recorded),
    /// Of stamping.
    Stamped(Stamped),
    /// Of closing.
    Closed(Box<DiscrepancyRow>),
    /// There is no such thing.
    NotFound,
}

/// An answer that may need a look after the commit.
enum Draft {
    Created {
        id: Uuid,
        lease: Option<Lease>,
    },
    Exists {
        id: Uuid,
    },
    ReadBack {
        tracking_id: String,
    },
    Exceeds {
        left: i64,
    },
    Recorded {
        verdict: Verdict,
        id: Option<Uuid>,
    },
    Ready {
        id: Uuid,
        attempt: u32,
        lease: Lease,
    },
    No {
        id: Uuid,
    },
    Closed {
        id: Uuid,
    },
    NotFound,
}

/// The transactions of a batch, locked or new.
#[derive(Default)]
pub(crate) struct Rows {
    map: BTreeMap<Uuid, Row>,
}

impl Rows {
    pub(crate) fn get(&self, id: Uuid) -> Option<&StoredTransaction> {
        self.map.get(&id).map(|row| &row.stored)
    }
}

struct Row {
    stored: StoredTransaction,
    check: Option<CheckRow>,
    is_new: bool,
    dirty: bool,
    write: Option<CheckDecision>,
}

#[derive(Clone)]
enum CheckDecision {
    Put {
        due_at: Timestamp,
        lease: Option<Uuid>,
        again: bool,
    },
    Drop,
}

/// Everything that one batch is about to write.
struct Batch<'a> {
    shop: &'a ShopId,
    settings: &'a Settings,
    at: Timestamp,
    chance: u64,
    began: Boottime,
    rows: Rows,
    routing: Routing,
    known: HashSet<(Uuid, Uuid)>,
    evidence: Vec<EvidenceWrite>,
    events: Vec<EventWrite>,
    opened: Vec<DiscrepancyRow>,
    healed: Vec<rows::Healed>,
    closings: Vec<(Uuid, String)>,
    orphans: Vec<OrphanWrite>,
    by_name: HashMap<String, Uuid>,
    spent: HashMap<Uuid, Vec<rows::Spent>>,
    counted: Vec<(Channel, Verdict)>,
    ended: Vec<(TransactionType, Channel, Duration)>,
}

/// Runs one batch to its commit.
pub(crate) async fn run(
    shared: &Shared,
    shop: &ShopId,
    works: &[Work],
) -> Result<Vec<Answer>, Failure> {
    let started = tokio::time::Instant::now();
    let mut tx = shared.store.begin().await?;
    // Taken before the batch is, so that no lease is ever longer than we believe.
    let began = Boottime::now();
    let chance = rand::random();
    let fold = Fold::run(&mut *tx, &shared.settings, shop, works, began, chance).await?;
    tx.commit().await.map_err(|error| Failure {
        error: StoreError::from(error),
        committing: true,
    })?;
    shared
        .metrics
        .ledger_committed(works.len(), started.elapsed());
    fold.batch.tell(shared);
    Ok(fold.answers(&shared.store).await?)
}

/// A batch that has been folded and written, and awaits its commit.
pub struct Fold<'a> {
    batch: Batch<'a>,
    drafts: Vec<Draft>,
    closed: Vec<DiscrepancyRow>,
}

impl<'a> Fold<'a> {
    /// Reads what a batch needs, folds it, and writes what follows. Leases are counted from `began`.
    /// `chance` is any number: it spreads due checks.
    pub async fn run<T: Tables>(
        tables: &mut T,
        settings: &'a Settings,
        shop: &'a ShopId,
        works: &[Work],
        began: Boottime,
        chance: u64,
    ) -> Result<Self, StoreError> {
        let mut batch = Batch::load(settings, shop, works, tables, began).await?;
        batch.chance = chance;
        let drafts = works.iter().map(|work| batch.draft(work)).collect();
        match batch.write(tables).await? {
            Some(closed) => Ok(Self {
                batch,
                drafts,
                closed,
            }),
            // Another writer took a name or a uid in between: fold anew.
            None => Err(StoreError::Conflict(sqlx::Error::RowNotFound)),
        }
    }

    /// What each piece of work came to. Asked after the commit.
    pub async fn answers<R: Reads>(self, reads: &R) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(self.drafts.len());
        for draft in self.drafts {
            answers.push(self.batch.answer(reads, draft, &self.closed).await?);
        }
        Ok(answers)
    }
}

impl<'a> Batch<'a> {
    async fn load<T: Tables>(
        settings: &'a Settings,
        shop: &'a ShopId,
        works: &[Work],
        tables: &mut T,
        began: Boottime,
    ) -> Result<Self, StoreError> {
        let at = tables.begin_batch().await?;
        let routing = Routing::look_up(tables, shop, works).await?;
        let ids: Vec<Uuid> = routing.touched(works).into_iter().collect();
        let mut map = BTreeMap::new();
        if !ids.is_empty() {
            for stored in tables.lock_transactions(shop, &ids).await? {
                let id = stored.record.id;
                map.insert(
                    id,
                    Row {
                        stored,
                        check: None,
                        is_new: false,
                        dirty: false,
                        write: None,
                    },
                );
            }
            for check in tables.lock_checks(shop, &ids).await? {
                if let Some(row) = map.get_mut(&check.transaction_id) {
                    row.stored.record.next_check_at = Some(check.due_at);
                    row.check = Some(check);
                }
            }
        }
        let mut batch = Self {
            shop,
            settings,
            at,
            chance: 0,
            began,
            rows: Rows { map },
            routing,
            known: HashSet::new(),
            evidence: Vec::new(),
            events: Vec::new(),
            opened: Vec::new(),
            healed: Vec::new(),
            closings: Vec::new(),
            orphans: Vec::new(),
            by_name: HashMap::new(),
            spent: HashMap::new(),
            counted: Vec::new(),
            ended: Vec::new(),
        };
        batch.load_known(tables, works).await?;
        batch.load_spent(tables, works).await?;
        Ok(batch)
    }

    /// Which of the evidence at hand has been recorded before.
    async fn load_known<T: Tables>(
        &mut self,
        tables: &mut T,
        works: &[Work],
    ) -> Result<(), StoreError> {
        let mut keys = Vec::new();
        for work in works {
            if let Work::Record(record) = work {
                for delivery in self.routing.deliver(record, &self.rows) {
                    if let Delivery::To(id, _) = delivery {
                        keys.push((id, record.learned.id));
                    }
                }
            }
        }
        if !keys.is_empty() {
            self.known = tables.known_evidence(self.shop, &keys).await?;
        }
        Ok(())
    }

    /// What the children of locked parents have taken.
    async fn load_spent<T: Tables>(
        &mut self,
        tables: &mut T,
        works: &[Work],
    ) -> Result<(), StoreError> {
        for work in works {
            let Work::Open(open) = work else { continue };
            let (Some(limit), Some(uid)) = (open.parent_limit, &open.opening.parent_uid) else {
                continue;
            };
            if !self.spent.contains_key(&limit.parent) {
                let spent = tables.spent_by_children(self.shop, uid.as_str()).await?;
                self.spent.insert(limit.parent, spent);
            }
        }
        Ok(())
    }

    fn draft(&mut self, work: &Work) -> Draft {
        match work {
            Work::Open(open) => self.open(open, open.id),
            Work::Record(record) => self.record(record),
            Work::Stamp(stamp, token) => self.stamp(stamp, *token),
            Work::Close(close) => self.close(close),
        }
    }

    fn open(&mut self, open: &Open, id: Uuid) -> Draft {
        let name = open
            .opening
            .tracking_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if let Some(first) = self.by_name.get(&name) {
            return Draft::Exists { id: *first };
        }
        match self.routing.ours(&name) {
            // A second run of a batch whose COMMIT took place: the row is ours, and what the first
            // run has left of a lease is all there is.
            Some(ours) if ours == id => {
                let lease = self.held(id, id);
                return Draft::Created { id, lease };
            }
            Some(_) => return Draft::ReadBack { tracking_id: name },
            None => {}
        }
        let mut not_before = open.not_before;
        if let Some(limit) = open.parent_limit {
            match self.within_limit(open, limit) {
                Ok(wait) => not_before = not_before.max(wait),
                Err(left) => return Draft::Exceeds { left },
            }
        }
        let send_now = open.send_now && not_before.is_none_or(|at| at <= self.at);
        self.insert(open, id, send_now, not_before);
        self.by_name.insert(name, id);
        let lease = Lease {
            token: id,
            until: self.began + self.settings.lease,
        };
        Draft::Created {
            id,
            lease: send_now.then_some(lease),
        }
    }

    /// Checks a child against what is left of its parent, under the parent's lock. Returns when it
    /// may be sent, where the gateway would take it for a duplicate before that.
    fn within_limit(
        &mut self,
        open: &Open,
        limit: crate::ledger::ParentLimit,
    ) -> Result<Option<Timestamp>, i64> {
        let kind = open.opening.kind;
        let amount = open.opening.amount.unwrap_or(0);
        let Some(parent) = self.rows.get(limit.parent) else {
            return Ok(None);
        };
        let total = parent.opening.amount;
        let spent = self.spent.entry(limit.parent).or_default();
        let taken: i64 = spent
            .iter()
            .filter(|s| s.counts_against(kind))
            .filter_map(|s| s.amount)
            .sum();
        if let (Some(total), false) = (total, limit.force) {
            let left = total.saturating_sub(taken);
            if amount > left {
                return Err(left);
            }
        }
        let twin = spent
            .iter()
            .filter(|s| s.kind == kind && s.amount == open.opening.amount)
            .map(|s| s.opened_at)
            .max();
        let wait = match (limit.duplicate_window, twin) {
            (Some(window), Some(at)) => Some(at.plus(window)).filter(|until| *until > self.at),
            _ => None,
        };
        spent.push(rows::Spent {
            kind,
            state: State::Submitting,
            amount: open.opening.amount,
            opened_at: wait.unwrap_or(self.at),
        });
        Ok(wait)
    }

    fn insert(&mut self, open: &Open, id: Uuid, send_now: bool, not_before: Option<Timestamp>) {
        let opening = Opening {
            opened_at: self.at,
            ..open.opening.clone()
        };
        let stored = StoredTransaction {
            state: State::Accepted,
            state_since: self.at,
            summary: Summary::default(),
            record: crate::domain::view::Record {
                id,
                description: open.description.clone(),
                created_at: self.at,
                updated_at: self.at,
                finalized_at: None,
                next_check_at: None,
                sequence: 1,
            },
            fingerprint: open.fingerprint.clone(),
            fingerprint_key: open.fingerprint_key.clone(),
            evidence_count: 0,
            evidence_head: [0; 32],
            opening,
        };
        let row = Row {
            stored,
            check: None,
            is_new: true,
            dirty: false,
            write: None,
        };
        self.rows.map.insert(id, row);
        let mut opened = Learned::said(
            Channel::Local,
            None,
            Some("opened".to_owned()),
            open.request.clone(),
            open.request_sha256,
            Vec::new(),
        );
        opened.note = Some(format!("a {} was asked for", open.opening.kind));
        self.learn(id, &opened, &[], Verdict::Applied);
        if send_now {
            self.put_stamp(id, 1, false, id);
        } else {
            let due_at = not_before.unwrap_or(self.at);
            self.schedule(
                id,
                CheckDecision::Put {
                    due_at,
                    lease: None,
                    again: false,
                },
            );
        }
    }

    /// Stamps an attempt: from here on bytes may leave.
    fn put_stamp(&mut self, id: Uuid, attempt: u32, replay: bool, token: Uuid) {
        let not_before = self.at.minus(self.settings.clock_tolerance);
        let fact = Fact::Stamped {
            attempt,
            at: self.at,
            not_before,
            replay,
        };
        let act = json!({
            "attempt": attempt,
            "at": self.at.to_rfc3339(),
            "not_before": not_before.to_rfc3339(),
            "replay": replay,
        });
        let stamped = Learned::act(Channel::Local, "stamped", &act, vec![fact]);
        self.learn(id, &stamped, &stamped.facts, Verdict::Applied);
        let due_at = self.at.plus(self.settings.lease);
        self.schedule(
            id,
            CheckDecision::Put {
                due_at,
                lease: Some(token),
                again: false,
            },
        );
    }

    /// What is left of the lease under which an earlier run of this batch has stamped an attempt.
    fn held(&self, id: Uuid, token: Uuid) -> Option<Lease> {
        let row = self.rows.map.get(&id)?;
        let check = row.check.as_ref().filter(|c| c.lease == Some(token))?;
        let until = self.began + check.due_at.since(self.at);
        (row.stored.state == State::Submitting).then_some(Lease { token, until })
    }

    fn stamp(&mut self, stamp: &Stamp, token: Uuid) -> Draft {
        let Some(row) = self.rows.map.get(&stamp.id) else {
            return Draft::NotFound;
        };
        let held = row.check.as_ref().and_then(|check| check.lease);
        let derived = row.stored.derived();
        let last = row.stored.summary.last_attempt();
        // A person may have decided `not_sent` of something that did leave: it is not sent again.
        let clear = row.stored.summary.is_clear_to_send();
        // A second run of a batch whose COMMIT took place.
        if let Some(lease) = self.held(stamp.id, token) {
            return Draft::Ready {
                id: stamp.id,
                attempt: last,
                lease,
            };
        }
        let lease = Lease {
            token,
            until: self.began + self.settings.lease,
        };
        let allowed = match derived.state {
            State::Accepted => clear && stamp.lease.is_some() && stamp.lease == held,
            State::InDoubt => stamp.replay && stamp.lease.is_some() && stamp.lease == held,
            State::NotSent => clear && (stamp.lease.is_none() || stamp.lease == held),
            State::Submitting
            | State::Processing
            | State::Pending
            | State::Successful
            | State::Failed
            | State::Expired
            | State::Rejected
            | State::NotFound => false,
        };
        if !allowed {
            return Draft::No { id: stamp.id };
        }
        self.put_stamp(stamp.id, last + 1, stamp.replay, token);
        Draft::Ready {
            id: stamp.id,
            attempt: last + 1,
            lease,
        }
    }

    fn close(&mut self, close: &Close) -> Draft {
        self.closings.push((close.id, close.reason.clone()));
        Draft::Closed { id: close.id }
    }

    fn record(&mut self, record: &Record) -> Draft {
        let learned = &record.learned;
        if learned.orphan_kind == "refused" {
            self.opened.push(findings::about_shop(
                DiscrepancyKind::SignatureRejected,
                learned.subject.as_deref().unwrap_or(""),
                &learned.sentence(),
                self.at,
            ));
            return Draft::Recorded {
                verdict: Verdict::Refused,
                id: None,
            };
        }
        let mut first: Option<(Verdict, Uuid)> = None;
        let mut adopted = None;
        for delivery in self.routing.deliver(record, &self.rows) {
            match delivery {
                Delivery::To(id, facts) => {
                    if self.rows.get(id).is_none() {
                        continue;
                    }
                    let verdict = self.deliver(record, id, &facts);
                    first.get_or_insert((verdict, id));
                }
                Delivery::Adopt(snapshot) => adopted = self.adopt(learned, &snapshot).or(adopted),
                Delivery::Orphan(snapshot) => self.orphan(learned, snapshot.as_deref()),
            }
        }
        match (first.or(adopted), &record.target) {
            (Some((verdict, id)), _) => Draft::Recorded {
                verdict,
                id: Some(id),
            },
            (None, crate::ledger::Target::Transaction(_)) => Draft::NotFound,
            (None, crate::ledger::Target::Snapshots) => Draft::Recorded {
                verdict: Verdict::NothingNew,
                id: None,
            },
        }
    }

    /// Brings evidence to a locked transaction, and settles its next check.
    fn deliver(&mut self, record: &Record, id: Uuid, facts: &[Fact]) -> Verdict {
        let learned = &record.learned;
        let before = self.rows.get(id).map(|row| row.derived());
        let duplicate = self.known.contains(&(id, learned.id));
        let (verdict, look_again) = if duplicate {
            (Verdict::Duplicate, false)
        } else {
            self.known.insert((id, learned.id));
            self.learn(id, learned, facts, Verdict::NothingNew)
        };
        self.counted.push((learned.channel, verdict));
        if !duplicate && let Some((kind, text)) = &learned.finding {
            self.find(id, *kind, "", text);
        }
        if !duplicate && let Some(text) = &learned.unknown {
            self.find(
                id,
                DiscrepancyKind::UnknownBody,
                learned.channel.as_str(),
                text,
            );
        }
        let look_again = look_again || (learned.look_again && !duplicate);
        self.settle(record, id, before.map(|d| d.state), look_again);
        verdict
    }

    /// Joins facts, chains the evidence, and notes events and findings. Returns the verdict, and
    /// whether a look at the gateway becomes due.
    fn learn(
        &mut self,
        id: Uuid,
        learned: &Learned,
        facts: &[Fact],
        bare: Verdict,
    ) -> (Verdict, bool) {
        let at = self.at;
        let Some(row) = self.rows.map.get_mut(&id) else {
            return (bare, false);
        };
        let facts: Vec<Fact> = facts
            .iter()
            .filter(|fact| !is_anothers(&self.routing, fact, id))
            .map(|fact| received(fact, at))
            .collect();
        let change = verdict::apply(&row.stored.opening, &row.stored.summary, &facts);
        let verdict = match (learned.verdict, facts.is_empty()) {
            (Some(verdict), _) => verdict,
            (None, true) => bare,
            (None, false) => change.verdict,
        };
        let before = row.stored.view();
        row.accept(&change.summary, at);
        let evidence = row.chain(learned, verdict, at);
        self.evidence.push(evidence);
        self.note_change(id, &before, &change);
        self.note_findings(id, &change, learned.reason.as_deref());
        self.note_claims(id, &facts);
        if !change.before.state.is_final() && change.after.state.is_final() {
            let row = self.rows.get(id);
            self.ended.extend(row.map(|row| {
                (
                    row.opening.kind,
                    learned.channel,
                    at.since(row.record.created_at),
                )
            }));
        }
        (verdict, change.look_again)
    }

    fn note_change(&mut self, id: Uuid, before: &TransactionView, change: &verdict::Change) {
        let at = self.at;
        let Some(row) = self.rows.map.get_mut(&id) else {
            return;
        };
        if row.stored.view() == *before {
            return;
        }
        // Opening by a caller is told to the caller; the feed begins with what follows.
        let opening = matches!(change.after.state, State::Accepted | State::Submitting);
        if row.is_new && opening && row.stored.opening.origin == Origin::Api {
            return;
        }
        row.stored.record.sequence += 1;
        row.stored.record.updated_at = at;
        let kind = match (change.before.state, change.after.state) {
            (old, new) if old.is_final() && old != new => "transaction.corrected",
            (old, new) if !old.is_final() && new.is_final() => "transaction.finalized",
            _ => "transaction.updated",
        };
        self.events.push(EventWrite {
            kind,
            transaction_id: Some(id),
            payload: to_json(&row.stored.view()),
        });
    }

    fn note_findings(&mut self, id: Uuid, change: &verdict::Change, reason: Option<&str>) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let opened = change
            .opened
            .iter()
            .map(|f| findings::about(&row.stored, f, self.at));
        self.opened.extend(opened);
        let reason = reason.unwrap_or("what the gateway has agrees now");
        self.healed
            .extend(change.healed.iter().map(|f| rows::Healed {
                transaction_id: id,
                kind: f.kind,
                subject: f.uid.as_ref().map(ToString::to_string).unwrap_or_default(),
                reason: reason.to_owned(),
            }));
    }

    /// Notes the uids among these facts that are this transaction's from now on. Only those have been
    /// looked up before the batch locked anything.
    fn note_claims(&mut self, id: Uuid, facts: &[Fact]) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let summary = &row.stored.summary;
        let eligible: Vec<Uid> = facts
            .iter()
            .filter_map(snapshot_of)
            .map(|snapshot| &snapshot.uid)
            .filter(|uid| {
                let candidate = summary.candidates.get(*uid);
                candidate.is_some_and(|c| summary.is_eligible(&row.stored.opening, c))
            })
            .cloned()
            .collect();
        for uid in eligible {
            if self.routing.owner(&uid).is_none() {
                self.routing.claim(&uid, id);
            }
        }
    }

    fn find(&mut self, id: Uuid, kind: DiscrepancyKind, subject: &str, detail: &str) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let finding = crate::domain::Finding {
            kind,
            uid: None,
            basis: None,
            detail: detail.to_owned(),
        };
        let mut found = findings::about(&row.stored, &finding, self.at);
        found.subject = subject.to_owned();
        self.opened.push(found);
    }

    /// Makes a transaction of origin `gateway` of something that the gateway told.
    fn adopt(&mut self, learned: &Learned, snapshot: &Snapshot) -> Option<(Verdict, Uuid)> {
        let kind = TransactionType::parse(snapshot.kind.as_deref()?)?;
        let parent = snapshot
            .parent_uid
            .as_ref()
            .and_then(|uid| self.routing.owner(uid));
        let parent_tracking_id = parent
            .and_then(|id| self.rows.get(id))
            .and_then(|p| p.opening.tracking_id.clone());
        let id = Uuid::now_v7();
        let opening = Opening {
            shop: self.shop.clone(),
            tracking_id: snapshot.tracking_id.clone(),
            kind,
            origin: Origin::Gateway,
            amount: snapshot.amount,
            currency: snapshot.currency,
            parent_uid: snapshot.parent_uid.clone(),
            parent_tracking_id,
            card_data: false,
            test: snapshot.test,
            opened_at: self.at,
        };
        let record = crate::domain::view::Record {
            id,
            description: snapshot.description.clone(),
            created_at: self.at,
            updated_at: self.at,
            finalized_at: None,
            next_check_at: None,
            sequence: 1,
        };
        let stored = StoredTransaction {
            opening,
            summary: Summary::default(),
            record,
            state: State::Accepted,
            state_since: self.at,
            fingerprint: Vec::new(),
            fingerprint_key: String::new(),
            evidence_count: 0,
            evidence_head: [0; 32],
        };
        let row = Row {
            stored,
            check: None,
            is_new: true,
            dirty: false,
            write: None,
        };
        self.rows.map.insert(id, row);
        let (verdict, _) = self.learn(id, learned, &adopted_facts(snapshot), Verdict::Applied);
        self.counted.push((learned.channel, verdict));
        if kind != TransactionType::Chargeback {
            let detail = format!("the gateway has a {kind} that was not made through this service");
            self.find(
                id,
                DiscrepancyKind::MissingHere,
                snapshot.uid.as_str(),
                &detail,
            );
        }
        self.settle_new(id);
        Some((verdict, id))
    }

    fn orphan(&mut self, learned: &Learned, snapshot: Option<&Snapshot>) {
        let text = |f: fn(&Snapshot) -> Option<String>| snapshot.and_then(f);
        let orphan = OrphanWrite {
            id: learned.id,
            kind: orphan_kind(learned),
            uid: text(|s| Some(s.uid.to_string())),
            tracking_id: text(|s| s.tracking_id.as_ref().map(ToString::to_string)),
            parent_uid: text(|s| s.parent_uid.as_ref().map(ToString::to_string)),
            signed: learned.signed == Some(true),
            note: learned.sentence(),
            body: learned.body.clone(),
            body_sha256: learned.body_sha256,
        };
        self.counted.push((learned.channel, Verdict::NothingNew));
        if orphan.kind == "queried" {
            return;
        }
        let chargeback = snapshot.and_then(|s| s.kind.as_deref()) == Some("chargeback");
        let kind = match orphan.kind {
            "transaction" if learned.verdict == Some(Verdict::Hint) => None,
            "transaction" if chargeback => Some(DiscrepancyKind::ChargebackUnmatched),
            "transaction" => Some(DiscrepancyKind::OrphanWebhook),
            "unknown" => Some(DiscrepancyKind::UnknownBody),
            _ => None,
        };
        if let Some(kind) = kind {
            let subject = orphan.uid.clone().unwrap_or_else(|| orphan.id.to_string());
            let mut row = findings::about_shop(kind, &subject, &orphan.note, self.at);
            row.uid = orphan.uid.clone();
            row.tracking_id = orphan.tracking_id.clone();
            row.amount = snapshot.and_then(|s| s.amount);
            row.currency = snapshot.and_then(|s| s.currency).map(|c| c.to_string());
            self.opened.push(row);
        }
        self.orphans.push(orphan);
    }

    /// Decides what becomes of the due check after evidence. Scheduling is fenced: only the holder
    /// of the lease plans the next look; others can make one due when the state moved.
    fn settle(&mut self, record: &Record, id: Uuid, before: Option<State>, look_again: bool) {
        let at = self.at;
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = row.stored.derived();
        let moved = before != Some(derived.state);
        let check = row.check.clone();
        let held = check
            .as_ref()
            .and_then(|c| c.lease.filter(|_| c.due_at > at));
        let mine = record.lease.is_some() && check.as_ref().and_then(|c| c.lease) == record.lease;
        let fresh = moved && schedule::is_duplicate_doubt(&derived);
        let planned = || {
            let pace = &self.settings.pace;
            let deferred = row
                .stored
                .summary
                .deferred_until()
                .filter(|until| *until > at);
            if let (State::Accepted, Some(until)) = (derived.state, deferred) {
                return Some(until);
            }
            let due = schedule::next_check(&derived, row.stored.state_since, at, pace)?;
            Some(schedule::jitter(at, due, self.chance ^ id.as_u64_pair().1))
        };
        let again = look_again || fresh || check.as_ref().is_some_and(|c| c.again && mine);
        let due = match (again, record.next_check) {
            (true, _) => Some(at),
            // What was not sent waits for its caller, and for nothing of ours.
            (false, Some(wish)) if mine && derived.state != State::NotSent => Some(wish),
            (false, _) => planned(),
        };
        let free = mine || (moved && (held.is_none() || derived.state.is_final()));
        let decision = if free {
            due.map_or(CheckDecision::Drop, |due_at| CheckDecision::Put {
                due_at,
                lease: None,
                again: false,
            })
        } else {
            match (check, moved || look_again) {
                (Some(check), true) if held.is_some() => CheckDecision::Put {
                    due_at: check.due_at,
                    lease: check.lease,
                    again: true,
                },
                (_, true) => CheckDecision::Put {
                    due_at: at,
                    lease: None,
                    again: false,
                },
                (_, false) => return,
            }
        };
        self.schedule(id, decision);
    }

    fn settle_new(&mut self, id: Uuid) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = row.stored.derived();
        let due = schedule::next_check(
            &derived,
            row.stored.state_since,
            self.at,
            &self.settings.pace,
        );
        if let Some(due_at) = due {
            self.schedule(
                id,
                CheckDecision::Put {
                    due_at,
                    lease: None,
                    again: false,
                },
            );
        }
    }

    fn schedule(&mut self, id: Uuid, decision: CheckDecision) {
        let Some(row) = self.rows.map.get_mut(&id) else {
            return;
        };
        // Later jobs of the same batch see what earlier ones decided.
        row.check = match &decision {
            CheckDecision::Put {
                due_at,
                lease,
                again,
            } => Some(CheckRow {
                transaction_id: id,
                due_at: *due_at,
                lease: *lease,
                again: *again,
            }),
            CheckDecision::Drop => None,
        };
        row.stored.record.next_check_at = row.check.as_ref().map(|check| check.due_at);
        row.write = Some(decision);
    }
}

fn snapshot_of(fact: &Fact) -> Option<&Snapshot> {
    match fact {
        Fact::Seen { snapshot, .. } | Fact::TaskResult { snapshot, .. } => Some(snapshot),
        _ => None,
    }
}

/// Puts the time of receipt, by the server's clock, where a fact depends on it.
fn received(fact: &Fact, at: Timestamp) -> Fact {
    let mut fact = fact.clone();
    match &mut fact {
        Fact::Acknowledged { at: acked_at, .. } => *acked_at = at,
        Fact::Seen { snapshot, .. } | Fact::TaskResult { snapshot, .. } => {
            **snapshot = (**snapshot).clone().received(at);
        }
        _ => {}
    }
    fact
}

/// A uid belongs to at most one transaction: what is known to be another's moves nothing here,
/// unless our own task named it.
fn is_anothers(routing: &Routing, fact: &Fact, id: Uuid) -> bool {
    use crate::domain::evidence::FoundBy;
    match fact {
        Fact::Seen {
            snapshot,
            found_by: FoundBy::TrackingId,
        } => routing
            .owner(&snapshot.uid)
            .is_some_and(|owner| owner != id),
        _ => false,
    }
}

impl Row {
    fn accept(&mut self, summary: &Summary, at: Timestamp) {
        let stored = &mut self.stored;
        stored.summary = summary.clone();
        let derived = derive(&stored.opening, &stored.summary);
        if derived.state != stored.state {
            stored.state_since = at;
            stored.record.finalized_at = derived.state.is_final().then_some(at);
            stored.state = derived.state;
        }
        self.dirty = true;
    }

    fn chain(&mut self, learned: &Learned, verdict: Verdict, at: Timestamp) -> EvidenceWrite {
        let stored = &mut self.stored;
        let position = stored.evidence_count + 1;
        let note = learned.sentence();
        let link = Link {
            previous: &stored.evidence_head,
            id: learned.id,
            position,
            verdict,
            at,
            note: &note,
        };
        let chain = link.hash(learned);
        stored.evidence_count = position;
        stored.evidence_head = chain;
        EvidenceWrite {
            transaction_id: stored.record.id,
            id: learned.id,
            position,
            channel: learned.channel,
            verdict,
            http_status: learned.http_status,
            subject: learned.subject.clone(),
            signed: learned.signed,
            note,
            body: learned.body.clone(),
            body_sha256: learned.body_sha256,
            chain,
        }
    }
}

/// The JSON of something that always has one.
fn to_json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

impl Batch<'_> {
    /// Writes everything. `None` when another writer was first and the batch must be folded anew.
    async fn write<T: Tables>(
        &mut self,
        tables: &mut T,
    ) -> Result<Option<Vec<DiscrepancyRow>>, StoreError> {
        if !self.write_transactions(tables).await? {
            return Ok(None);
        }
        if !self.evidence.is_empty() {
            tables
                .insert_evidence(self.shop, self.at, &self.evidence)
                .await?;
        }
        self.write_checks(tables).await?;
        let claims = self.routing.new_claims();
        if !claims.is_empty() && !tables.claim_uids(self.shop, &claims).await? {
            return Ok(None);
        }
        if !self.orphans.is_empty() {
            tables
                .put_orphans(self.shop, self.at, &self.orphans)
                .await?;
        }
        let closed = self.write_findings(tables).await?;
        if !self.events.is_empty() {
            tables
                .append_events(self.shop, self.at, &self.events)
                .await?;
        }
        Ok(Some(closed))
    }

    async fn write_transactions<T: Tables>(&self, tables: &mut T) -> Result<bool, StoreError> {
        let fresh: Vec<NewTransaction> = self
            .rows
            .map
            .values()
            .filter(|row| row.is_new)
            .map(|row| NewTransaction {
                stored: row.stored.clone(),
            })
            .collect();
        let changed: Vec<TransactionWrite> = self
            .rows
            .map
            .values()
            .filter(|row| row.dirty && !row.is_new)
            .map(|row| transaction_write(&row.stored))
            .collect();
        if !changed.is_empty() {
            tables.update_transactions(self.shop, &changed).await?;
        }
        if fresh.is_empty() {
            return Ok(true);
        }
        let inserted = tables.insert_transactions(self.shop, &fresh).await?;
        Ok(inserted.len() == fresh.len())
    }

    async fn write_checks<T: Tables>(&self, tables: &mut T) -> Result<(), StoreError> {
        let mut puts = Vec::new();
        let mut drops = Vec::new();
        for (id, row) in &self.rows.map {
            match &row.write {
                None => {}
                Some(CheckDecision::Drop) => drops.push(*id),
                Some(CheckDecision::Put {
                    due_at,
                    lease,
                    again,
                }) => puts.push(CheckWrite {
                    transaction_id: *id,
                    due_at: *due_at,
                    lease: *lease,
                    again: *again,
                    state: row.stored.state,
                    since: row.stored.state_since,
                }),
            }
        }
        if !puts.is_empty() {
            tables.put_checks(self.shop, &puts).await?;
        }
        if !drops.is_empty() {
            tables.drop_checks(self.shop, &drops).await?;
        }
        Ok(())
    }

    async fn write_findings<T: Tables>(
        &mut self,
        tables: &mut T,
    ) -> Result<Vec<DiscrepancyRow>, StoreError> {
        let event = |kind, row: &DiscrepancyRow| EventWrite {
            kind,
            transaction_id: row.transaction_id,
            payload: to_json(&findings::view(row)),
        };
        if !self.opened.is_empty() {
            let new = tables.open_discrepancies(self.shop, &self.opened).await?;
            let new = self.opened.iter().filter(|row| new.contains(&row.id));
            self.events
                .extend(new.map(|row| event("discrepancy.opened", row)));
        }
        let mut closed = Vec::new();
        if !self.healed.is_empty() {
            closed.extend(
                tables
                    .heal_discrepancies(self.shop, self.at, &self.healed)
                    .await?,
            );
        }
        if !self.closings.is_empty() {
            closed.extend(tables.close(self.shop, self.at, &self.closings).await?);
        }
        self.events
            .extend(closed.iter().map(|row| event("discrepancy.resolved", row)));
        Ok(closed)
    }

    /// After the commit: counts, and wakes those who wait.
    fn tell(&self, shared: &Shared) {
        for (channel, verdict) in &self.counted {
            shared.metrics.evidence(channel.as_str(), verdict.as_str());
        }
        for (kind, channel, took) in &self.ended {
            shared
                .metrics
                .finalized(kind.as_str(), channel.as_str(), *took);
        }
        let moved = self.events.iter().filter_map(|event| event.transaction_id);
        let fed = (!self.events.is_empty()).then(Uuid::nil);
        shared.waiters.wake(self.shop, moved.chain(fed));
    }

    async fn answer<R: Reads>(
        &self,
        reads: &R,
        draft: Draft,
        closed: &[DiscrepancyRow],
    ) -> Result<Answer, StoreError> {
        let row = |id: Uuid| self.rows.get(id).cloned().map(Box::new);
        let answer =
            match draft {
                Draft::Created { id, lease } => row(id).map_or(Answer::NotFound, |transaction| {
                    Answer::Opened(Opened::Created { transaction, lease })
                }),
                Draft::Exists { id } => row(id).map_or(Answer::NotFound, |t| {
                    Answer::Opened(Opened::Exists { transaction: t })
                }),
                // Another writer was first.
                Draft::ReadBack { tracking_id } => reads
                    .named(self.shop, &tracking_id)
                    .await?
                    .map_or(Answer::NotFound, |found| {
                        Answer::Opened(Opened::Exists {
                            transaction: Box::new(found),
                        })
                    }),
                Draft::Exceeds { left } => Answer::Opened(Opened::Exceeds { left }),
                Draft::Recorded { verdict, id } => Answer::Recorded(Recorded {
                    verdict,
                    transaction: id.and_then(row),
                }),
                Draft::Ready { id, attempt, lease } => {
                    row(id).map_or(Answer::NotFound, |transaction| {
                        Answer::Stamped(Stamped::Ready {
                            transaction,
                            attempt,
                            lease,
                        })
                    })
                }
                Draft::No { id } => row(id).map_or(Answer::NotFound, |transaction| {
                    Answer::Stamped(Stamped::No { transaction })
                }),
                Draft::Closed { id } => match closed.iter().find(|row| row.id == id) {
                    Some(row) => Answer::Closed(Box::new(row.clone())),
                    None => reads
                        .finding(self.shop, id)
                        .await?
                        .map_or(Answer::NotFound, |row| Answer::Closed(Box::new(row))),
                },
                Draft::NotFound => Answer::NotFound,
            };
        Ok(answer)
    }
}

fn transaction_write(stored: &StoredTransaction) -> TransactionWrite {
    TransactionWrite {
        id: stored.record.id,
        state: stored.state,
        state_since: stored.state_since,
        uid: stored.derived().uid,
        summary: stored.summary.clone(),
        sequence: stored.record.sequence,
        updated_at: stored.record.updated_at,
        finalized_at: stored.record.finalized_at,
        evidence_count: stored.evidence_count,
        evidence_head: stored.evidence_head,
    }
}
