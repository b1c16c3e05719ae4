//! The store in memory: the same rows, and each statement with the meaning that it has in SQL.
//!
//! Every method is one statement and happens at one moment. What a transaction of the database
//! adds, locks and a commit, is in [`super::tx`]. That the two agree is tested in
//! [`super::conformance`].

use domain::absence::{self, Ability};
use domain::schedule::Course;
use domain::{Channel, Origin, Timestamp, TransactionType, Verdict};
use reconciler::ledger::ResolveDiscrepancy;
use reconciler::store::batch::{Family, OpenChild, ResolvedDiscrepancy};
use reconciler::store::checks::LeasedCheck;
use reconciler::store::maintenance::OrphanRow;
use reconciler::store::waiting::WaitingRow;
use reconciler::store::{
    CheckRow, CheckWrite, DiscrepancyRow, EventWrite, EvidenceRow, EvidenceWrite, OrphanWrite,
    StoredTransaction,
};
use reconciler::view::Record;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;
use uuid::Uuid;

/// A row of the hot table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub due_at: Timestamp,
    pub lease: Option<Uuid>,
    pub again: bool,
    pub course: Course,
    pub state: String,
    pub since: Timestamp,
}

/// A piece of evidence with what the reads do not show.
#[derive(Debug, Clone)]
pub struct Evidence {
    pub row: EvidenceRow,
    pub body_sha256: [u8; 32],
    pub chain: [u8; 32],
}

/// A kept webhook.
#[derive(Debug, Clone)]
pub struct Orphan {
    pub row: OrphanWrite,
    pub matched_to: Option<Uuid>,
}

impl Orphan {
    fn read(&self) -> OrphanRow {
        OrphanRow {
            id: self.row.id,
            signed: self.row.signed,
            body: self.row.body.to_vec(),
            body_sha256: self.row.body_sha256.to_vec(),
        }
    }
}

/// All tables of one shop.
#[derive(Debug, Clone, Default)]
pub struct Db {
    pub transactions: BTreeMap<Uuid, StoredTransaction>,
    pub adopted: BTreeMap<Uuid, Option<String>>,
    pub checks: BTreeMap<Uuid, Check>,
    pub uids: BTreeMap<String, Uuid>,
    pub merges: BTreeMap<Uuid, Uuid>,
    pub waiting: BTreeMap<Uuid, WaitingRow>,
    pub evidence: BTreeMap<Uuid, Vec<Evidence>>,
    pub findings: Vec<DiscrepancyRow>,
    pub orphans: BTreeMap<Uuid, Orphan>,
    pub events: Vec<EventWrite>,
    pub abilities: Vec<Ability>,
    pub hints: BTreeMap<String, Hint>,
}

/// A row as it is read where `next_check_at` is not asked for.
fn bare(stored: &StoredTransaction) -> StoredTransaction {
    let record = Record {
        next_check_at: None,
        ..stored.record.clone()
    };
    StoredTransaction {
        record,
        ..stored.clone()
    }
}

/// Reads.
impl Db {
    pub fn owners_of_uids(&self, uids: &[&str]) -> Vec<(String, Uuid)> {
        uids.iter()
            .filter_map(|uid| Some(((*uid).to_owned(), self.owner_of_uid(uid)?)))
            .collect()
    }

    pub fn owner_of_uid(&self, uid: &str) -> Option<Uuid> {
        let first = self.uids.get(uid)?;
        Some(*self.merges.get(first).unwrap_or(first))
    }

    pub fn named(&self, name: &str) -> Option<Uuid> {
        let goes_by = |row: &&StoredTransaction| {
            row.opening.origin == Origin::Api
                && row
                    .opening
                    .tracking_id
                    .as_ref()
                    .is_some_and(|t| t.as_str() == name)
        };
        self.transactions
            .values()
            .find(goes_by)
            .map(|row| row.record.id)
    }

    pub fn by_tracking_ids(&self, names: &[&str]) -> Vec<(String, Uuid)> {
        names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), self.named(name)?)))
            .collect()
    }

    pub fn open_children(&self, parents: &[&str]) -> Vec<OpenChild> {
        let rows = self.transactions.values().filter(|row| {
            row.opening.origin == Origin::Api && self.adopted[&row.record.id].is_none()
        });
        rows.filter_map(|row| {
            let parent_uid = row.opening.parent_uid.as_ref()?.to_string();
            let wanted = parents.contains(&parent_uid.as_str());
            wanted.then_some(OpenChild {
                id: row.record.id,
                parent_uid,
            })
        })
        .collect()
    }

    pub fn by_id(&self, id: Uuid) -> Option<StoredTransaction> {
        let mut stored = bare(self.transactions.get(&id)?);
        stored.record.next_check_at = self.checks.get(&id).map(|check| check.due_at);
        Some(stored)
    }

    pub fn transaction(&self, id: Uuid) -> Option<StoredTransaction> {
        self.transactions.get(&id).map(bare)
    }

    pub fn check(&self, id: Uuid) -> Option<CheckRow> {
        let check = self.checks.get(&id)?;
        let (due_at, lease, again) = (check.due_at, check.lease, check.again);
        let course = check.course.clone();
        Some(CheckRow {
            transaction_id: id,
            due_at,
            lease,
            again,
            course,
        })
    }

    pub fn known_evidence(&self, keys: &[(Uuid, Uuid)]) -> HashSet<(Uuid, Uuid)> {
        let known = |(transaction, id): &&(Uuid, Uuid)| {
            let rows = self.evidence.get(transaction);
            rows.is_some_and(|rows| rows.iter().any(|e| e.row.id == *id))
        };
        keys.iter().filter(known).copied().collect()
    }

    pub fn families(&self, parents: &[&str]) -> Vec<Family> {
        let family = |uid: &&str| {
            let parent = self.owner_of_uid(uid);
            let root_uid = parent
                .and_then(|id| self.transactions.get(&id)?.opening.parent_uid.clone())
                .map(|uid| uid.to_string());
            Family {
                parent_uid: (*uid).to_owned(),
                parent,
                root: root_uid.as_ref().and_then(|uid| self.owner_of_uid(uid)),
                root_uid,
            }
        };
        parents.iter().map(family).collect()
    }

    pub fn children_of(&self, parents: &[&str]) -> Vec<StoredTransaction> {
        let children = self.transactions.values().filter(|row| {
            let parent = row.opening.parent_uid.as_ref();
            parent.is_some_and(|uid| parents.contains(&uid.as_str()))
        });
        children.map(bare).collect()
    }

    pub fn evidence_of(&self, id: Uuid) -> Vec<EvidenceRow> {
        self.evidence
            .get(&id)
            .into_iter()
            .flatten()
            .map(|e| e.row.clone())
            .collect()
    }

    pub fn control(&self, signs: &str) -> Option<(Uuid, String, String)> {
        let odd = |row: &&StoredTransaction| {
            let name = row.opening.tracking_id.as_ref();
            signs.is_empty() || name.is_some_and(|name| !absence::signs(name.as_str()).is_empty())
        };
        let rows = self.transactions.values().rev().filter(odd);
        rows.take(1000).find_map(|row| {
            let name = row.opening.tracking_id.as_ref()?.as_str();
            if !signs.chars().all(|sign| name.contains(sign)) {
                return None;
            }
            let uid = self.adopted[&row.record.id].clone()?;
            if row.opening.kind.is_child() {
                return None;
            }
            Some((
                row.record.id,
                row.opening.tracking_id.as_ref()?.to_string(),
                uid,
            ))
        })
    }

    pub fn owners_with_origin(&self, uids: &[String]) -> Vec<(String, Uuid, Origin)> {
        let owner = |uid: &String| {
            let id = self.owner_of_uid(uid)?;
            Some((uid.clone(), id, self.transactions.get(&id)?.opening.origin))
        };
        uids.iter().filter_map(owner).collect()
    }

    pub fn finding(&self, id: Uuid) -> Option<DiscrepancyRow> {
        self.findings.iter().find(|row| row.id == id).cloned()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.checks.values().map(|check| check.due_at).min()
    }

    pub fn matchable_orphans(&self, after: Uuid, limit: usize) -> Vec<OrphanRow> {
        let has_owner = |orphan: &&Orphan| {
            let row = &orphan.row;
            let named = row
                .tracking_id
                .as_deref()
                .is_some_and(|name| self.named(name).is_some());
            let mut uids = row.uid.iter().chain(&row.parent_uid);
            let open = orphan.matched_to.is_none() && row.kind == "transaction" && row.signed;
            open && (named || uids.any(|uid| self.uids.contains_key(uid)))
        };
        self.orphans
            .values()
            .filter(|orphan| orphan.row.id > after)
            .filter(has_owner)
            .take(limit)
            .map(Orphan::read)
            .collect()
    }

    pub fn orphans_of(&self, parents: &[&str]) -> Vec<OrphanRow> {
        let mut family: BTreeSet<String> = parents.iter().map(ToString::to_string).collect();
        let roots = self.families(parents).into_iter();
        family.extend(roots.filter_map(|family| family.root_uid));
        let of = |known: &BTreeSet<String>, parent: Option<String>| {
            parent.is_some_and(|parent| known.contains(&parent))
        };
        let captures = self.transactions.values().filter(|row| {
            let parent = row.opening.parent_uid.as_ref().map(ToString::to_string);
            row.opening.kind == TransactionType::Capture && of(&family, parent)
        });
        let captures: Vec<String> = captures
            .filter_map(|row| self.adopted[&row.record.id].clone())
            .collect();
        family.extend(captures);
        let open = |orphan: &&Orphan| {
            orphan.matched_to.is_none() && orphan.row.kind == "transaction" && orphan.row.signed
        };
        let mut found: BTreeMap<Uuid, OrphanRow> = BTreeMap::new();
        loop {
            let before = found.len();
            for orphan in self.orphans.values().filter(open) {
                if of(&family, orphan.row.parent_uid.clone()) {
                    found.insert(orphan.row.id, orphan.read());
                    family.extend(orphan.row.uid.clone());
                }
            }
            if found.len() == before {
                return found.into_values().collect();
            }
        }
    }
}

/// Leases.
impl Db {
    pub fn lease_due(
        &mut self,
        now: Timestamp,
        limit: usize,
        lease: Duration,
        token: Uuid,
        is_locked: impl Fn(Uuid) -> bool,
    ) -> Vec<LeasedCheck> {
        let mut due: Vec<(Timestamp, Uuid)> = self
            .checks
            .iter()
            .filter(|(id, check)| check.due_at <= now && !is_locked(**id))
            .map(|(id, check)| (check.due_at, *id))
            .collect();
        due.sort();
        due.truncate(limit);
        let mut taken = Vec::new();
        for (due_at, id) in due {
            if let Some(check) = self.checks.get_mut(&id) {
                (check.lease, check.again) = (Some(token), false);
                check.due_at = now.plus(lease);
                let course = check.course.clone();
                let transaction = bare(&self.transactions[&id]);
                taken.push(LeasedCheck {
                    transaction,
                    lease: token,
                    due_at,
                    now,
                    course,
                });
            }
        }
        taken
    }

    pub fn postpone(&mut self, now: Timestamp, id: Uuid, token: Uuid, until: Timestamp) -> bool {
        match self.checks.get_mut(&id) {
            Some(check) if check.lease == Some(token) && check.due_at > now => {
                check.lease = None;
                check.due_at = if check.again { now } else { until };
                true
            }
            _ => false,
        }
    }

    /// Retention passes: all evidence goes that belongs to nothing that is still looked at, and of
    /// which nobody is to be told. Events go too.
    pub fn forget(&mut self) -> usize {
        let is_told = |id: &Uuid| {
            let mut open = self.findings.iter().filter(|row| row.is_open);
            open.any(|row| row.transaction_id == Some(*id))
        };
        let is_kept = |id: &Uuid| self.checks.contains_key(id) || is_told(id);
        let old: Vec<Uuid> = self
            .evidence
            .keys()
            .filter(|id| !is_kept(id))
            .copied()
            .collect();
        for id in &old {
            self.evidence.remove(id);
        }
        self.events.clear();
        old.len()
    }

    pub fn teach(&mut self, word: &str, transaction: Uuid, evidence: Uuid, apart: Duration) {
        let rows = self.evidence.get(&transaction).into_iter().flatten();
        let Some(at) = rows
            .filter(|e| e.row.id == evidence)
            .map(|e| e.row.received_at)
            .next()
        else {
            return;
        };
        let taught = Ability {
            word: word.to_owned(),
            transaction,
            evidence,
            at,
        };
        match self.abilities.iter_mut().find(|known| known.word == word) {
            Some(known) if known.at >= at.minus(apart) => {}
            Some(known) => *known = taught,
            None => self.abilities.push(taught),
        }
    }
}

/// What webhooks without a signature have named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint {
    pub hinted_at: Timestamp,
    pub asked_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
}

/// Hints.
impl Db {
    pub fn put_hint(&mut self, uid: &str, now: Timestamp) {
        let fresh = || Hint {
            hinted_at: now,
            asked_at: None,
            due_at: None,
        };
        let hint = self.hints.entry(uid.to_owned()).or_insert_with(fresh);
        hint.hinted_at = now;
        let again = hint.asked_at.map(|asked| asked.plus(HINT_APART));
        hint.due_at = hint
            .due_at
            .or(Some(again.map_or(now, |again| again.max(now))));
    }

    pub fn next_hint(&self) -> Option<Timestamp> {
        self.hints.values().filter_map(|hint| hint.due_at).min()
    }

    pub fn lease_hint(&mut self, now: Timestamp, lease: Duration) -> Option<(String, Timestamp)> {
        let due = self.hints.iter_mut();
        let due = due.filter(|(_, hint)| hint.due_at.is_some_and(|at| at <= now));
        let (uid, hint) = due.min_by_key(|(_, hint)| hint.due_at)?;
        (hint.asked_at, hint.due_at) = (Some(now), Some(now.plus(lease)));
        Some((uid.clone(), now))
    }

    pub fn hint_done(&mut self, uid: &str, asked_at: Timestamp, told: bool, now: Timestamp) {
        let hint = self.hints.get_mut(uid);
        let Some(hint) = hint.filter(|hint| hint.asked_at == Some(asked_at)) else {
            return;
        };
        let young = now.since(hint.hinted_at) < Duration::from_secs(24 * 3600);
        let again = hint.hinted_at > asked_at || (!told && young);
        hint.due_at = again.then(|| asked_at.plus(HINT_APART));
    }
}

/// A uid is looked up at most so often.
const HINT_APART: Duration = Duration::from_secs(60);

/// Writes.
impl Db {
    /// Whether another row made through the API goes by this one's name.
    pub fn is_name_taken(&self, row: &StoredTransaction) -> bool {
        let name = row.opening.tracking_id.as_ref();
        row.opening.origin == Origin::Api
            && name.is_some_and(|name| self.named(name.as_str()).is_some())
    }

    pub fn insert_transaction(&mut self, row: &StoredTransaction) {
        let id = row.record.id;
        self.adopted
            .insert(id, row.derived().uid.map(|uid| uid.to_string()));
        self.transactions.insert(id, bare(row));
    }

    pub fn update_transaction(&mut self, write: &StoredTransaction) {
        let id = write.record.id;
        let Some(row) = self.transactions.get_mut(&id) else {
            return;
        };
        (row.state, row.state_since) = (write.state, write.state_since);
        row.summary = write.summary.clone();
        row.record.sequence = write.record.sequence;
        row.record.updated_at = write.record.updated_at;
        row.record.finalized_at = write.record.finalized_at;
        (row.evidence_count, row.evidence_head) = (write.evidence_count, write.evidence_head);
        self.adopted
            .insert(id, write.derived().uid.map(|uid| uid.to_string()));
    }

    pub fn insert_evidence(&mut self, write: &EvidenceWrite) {
        let (channel, verdict): (Channel, Verdict) = (write.channel, write.verdict);
        let row = EvidenceRow {
            id: write.id,
            position: write.position,
            channel,
            verdict,
            received_at: write.received_at,
            http_status: write.http_status.map(i32::from),
            subject: write.subject.clone(),
            signed: write.signed,
            note: write.note.clone(),
            body: write.body.to_vec(),
        };
        let (body_sha256, chain) = (write.body_sha256, write.chain);
        let rows = self.evidence.entry(write.transaction_id).or_default();
        rows.push(Evidence {
            row,
            body_sha256,
            chain,
        });
    }

    pub fn put_check(&mut self, write: &CheckWrite) {
        let check = Check {
            due_at: write.due_at,
            lease: write.lease,
            again: write.again,
            course: write.course.clone(),
            state: write.state.to_string(),
            since: write.since,
        };
        self.checks.insert(write.transaction_id, check);
    }

    /// Opens a finding, unless the same is open already.
    pub fn open_finding(&mut self, row: &DiscrepancyRow) -> bool {
        let same = |known: &DiscrepancyRow| {
            known.is_open
                && known.kind == row.kind
                && known.transaction_id == row.transaction_id
                && known.subject == row.subject
        };
        let is_new = !self.findings.iter().any(same);
        if is_new {
            self.findings.push(row.clone());
        }
        is_new
    }

    /// Brings open findings up to date.
    pub fn update_findings(&mut self, now: &[DiscrepancyRow]) {
        for row in self.findings.iter_mut().filter(|row| row.is_open) {
            let told = now.iter().find(|told| {
                (told.transaction_id, told.kind) == (row.transaction_id, row.kind)
                    && told.subject == row.subject
            });
            if let Some(told) = told {
                (row.detail, row.uids) = (told.detail.clone(), told.uids.clone());
            }
        }
    }

    pub fn heal(&mut self, at: Timestamp, healed: &[ResolvedDiscrepancy]) -> Vec<DiscrepancyRow> {
        let mut closed = Vec::new();
        for row in self.findings.iter_mut().filter(|row| row.is_open) {
            let by = healed.iter().find(|h| {
                row.transaction_id == Some(h.transaction_id)
                    && row.kind == h.kind
                    && row.subject == h.subject
            });
            if let Some(by) = by {
                row.is_open = false;
                (row.resolved_at, row.reason) = (Some(at), Some(by.reason.clone()));
                row.resolved_by.clone_from(&by.by);
                closed.push(row.clone());
            }
        }
        closed
    }

    pub fn heal_all(&mut self, at: Timestamp, ids: &[Uuid], reason: &str) -> Vec<DiscrepancyRow> {
        let mut closed = Vec::new();
        for row in self.findings.iter_mut().filter(|row| row.is_open) {
            if row.transaction_id.is_some_and(|id| ids.contains(&id)) {
                row.is_open = false;
                (row.resolved_at, row.reason) = (Some(at), Some(reason.to_owned()));
                closed.push(row.clone());
            }
        }
        closed
    }

    pub fn close(&mut self, at: Timestamp, closings: &[ResolveDiscrepancy]) -> Vec<DiscrepancyRow> {
        let mut closed = Vec::new();
        for row in self.findings.iter_mut().filter(|row| row.is_open) {
            if let Some(close) = closings.iter().find(|close| close.id == row.id) {
                row.is_open = false;
                (row.resolved_at, row.reason) = (Some(at), Some(close.reason.clone()));
                row.resolved_by.clone_from(&close.by);
                closed.push(row.clone());
            }
        }
        closed
    }

    pub fn put_orphan(&mut self, row: &OrphanWrite) -> bool {
        let is_new = !self.orphans.contains_key(&row.id);
        let orphan = || Orphan {
            row: row.clone(),
            matched_to: None,
        };
        self.orphans.entry(row.id).or_insert_with(orphan);
        is_new
    }
}
