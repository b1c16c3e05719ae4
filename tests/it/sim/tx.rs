//! A transaction of the model database: reads see what is committed, writes wait for the commit,
//! and locks are held until its end. A replica that dies in between leaves nothing behind.

use super::db::Db;
use super::mutant::Mutant;
use super::world::SimState;
use domain::{Channel, ShopId, Timestamp, Uid};
use reconciler::ledger::batch_store::{BatchStore, CommittedReads};
use reconciler::ledger::{EvidenceTarget, LedgerCommand, ResolveDiscrepancy};
use reconciler::store::batch::{
    BatchWrites, Family, LookupKeys, LookupResult, ResolvedDiscrepancy, RowLocation,
};
use reconciler::store::maintenance::OrphanRow;
use reconciler::store::waiting::WaitingRow;
use reconciler::store::{
    CheckRow, DiscrepancyRow, EventWrite, OrphanWrite, StoreError, StoredTransaction,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// A write that waits for the commit.
pub type Write = Box<dyn FnOnce(&mut Db) + Send + Sync>;

/// Who holds which row.
#[derive(Debug, Default)]
pub struct Locks {
    held: BTreeMap<String, u64>,
    last: u64,
}

impl Locks {
    pub fn is_check_locked(&self, id: Uuid) -> bool {
        self.held.contains_key(&check(id))
    }
}

fn check(id: Uuid) -> String {
    format!("c:{id}")
}

/// For how long a statement waits for a lock (`lock_timeout`).
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// One transaction.
pub struct Tx {
    world: Arc<SimState>,
    number: u64,
    writes: Vec<Write>,
    inserted: BTreeSet<String>,
    opened: Vec<DiscrepancyRow>,
    brought_up_to_date: Vec<DiscrepancyRow>,
    /// The findings that it has closed.
    closed: Vec<DiscrepancyRow>,
    /// Why; for the rules that are looked at, and for mutants.
    works: Vec<LedgerCommand>,
    /// The server's time, as the batch was given it.
    began: Timestamp,
}

/// How a commit ended, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Committed {
    Yes,
    /// The connection broke off; it took place or not.
    Unknown,
}

impl Drop for Tx {
    fn drop(&mut self) {
        let number = self.number;
        self.world
            .with(|state| state.locks.held.retain(|_, holder| *holder != number));
    }
}

impl Tx {
    pub fn begin(world: &Arc<SimState>, works: &[LedgerCommand]) -> Self {
        let number = world.with(|state| {
            state.locks.last += 1;
            state.locks.last
        });
        Self {
            world: Arc::clone(world),
            number,
            writes: Vec::new(),
            inserted: BTreeSet::new(),
            opened: Vec::new(),
            brought_up_to_date: Vec::new(),
            closed: Vec::new(),
            works: works.to_vec(),
            began: world.exec.now(),
        }
    }

    fn read<T>(&self, read: impl FnOnce(&Db) -> T) -> T {
        self.world.with(|state| read(&state.db))
    }

    fn later(&mut self, write: impl FnOnce(&mut Db) + Send + Sync + 'static) {
        self.writes.push(Box::new(write));
    }

    async fn lock_row(&self, key: String) -> Result<(), StoreError> {
        let mut waited = Duration::ZERO;
        loop {
            let number = self.number;
            let is_mine = self
                .world
                .with(|state| *state.locks.held.entry(key.clone()).or_insert(number) == number);
            if is_mine {
                return Ok(());
            }
            if waited > LOCK_TIMEOUT {
                return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
            }
            let pause = Duration::from_millis(3);
            waited += pause;
            self.world.exec.sleep(pause).await;
        }
    }

    /// Commits. What was written appears at one moment, and only then may anybody be told.
    pub async fn commit(mut self) -> Committed {
        self.world.point("commit").await;
        let group = self.world.exec.current().1;
        let fate = self.world.with(|state| state.commit_fate(group));
        if fate.takes_place {
            let writes = std::mem::take(&mut self.writes);
            self.world.apply(&self.works, writes, self.began);
        }
        let world = Arc::clone(&self.world);
        drop(self);
        world.poke();
        world.point("committed").await;
        if fate.is_told {
            return Committed::Yes;
        }
        // A dead connection is noticed late.
        let mut dice = world.with(|state| state.dice("noticed late", ""));
        let late = dice.between(Duration::from_millis(1), Duration::from_secs(18));
        world.exec.sleep(late).await;
        Committed::Unknown
    }

    /// The findings as this transaction sees them, its own among them.
    fn findings(&self) -> Db {
        let mut findings = self.read(|db| db.findings.clone());
        findings.extend(self.opened.iter().cloned());
        let mut db = Db {
            findings,
            ..Db::default()
        };
        db.update_findings(&self.brought_up_to_date);
        for closed in &self.closed {
            let known = db.findings.iter_mut().find(|row| row.id == closed.id);
            known.into_iter().for_each(|row| *row = closed.clone());
        }
        db
    }

    /// The lease that the work on a transaction names.
    fn named_lease(&self, id: Uuid) -> Option<Uuid> {
        self.works.iter().find_map(|work| match work {
            LedgerCommand::Stamp(stamp, _) if stamp.id == id => stamp.lease,
            LedgerCommand::Record(record) if matches!(record.target, EvidenceTarget::Transaction(of) if of == id) => {
                record.lease
            }
            _ => None,
        })
    }

    /// Whether the work names a lease that is not held.
    fn is_stale(&self, id: Uuid) -> bool {
        let named = self.named_lease(id);
        let held = self.read(|db| db.check(id));
        named.is_some() && held.is_some_and(|held| held.lease != named)
    }

    /// What mutants see of a check.
    fn tampered(&self, mut row: CheckRow) -> CheckRow {
        let named = self.named_lease(row.transaction_id);
        if self.world.is(Mutant::FenceIgnored) && named.is_some() {
            row.lease = named;
        }
        if self.world.is(Mutant::LeaseNeverEnds) && named.is_some() && row.lease == named {
            row.due_at = row.due_at.max(self.began.plus(Duration::from_secs(1)));
        }
        row
    }
}

impl BatchStore for Tx {
    async fn begin_batch(&mut self) -> Result<Timestamp, StoreError> {
        if self.world.with(|state| state.is_database_away()) {
            return Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut));
        }
        self.began = self.world.exec.now();
        Ok(self.began)
    }

    async fn look_up(
        &mut self,
        _: &ShopId,
        names: &LookupKeys<'_>,
    ) -> Result<LookupResult, StoreError> {
        let mut found = self.read(|db| LookupResult {
            owners: db.owners_of_uids(&names.uids),
            ours: db.by_tracking_ids(&names.tracking_ids),
            children: db.open_children(&names.parents),
        });
        if self.world.is(Mutant::UidNotClaimed) {
            found.owners.clear();
        }
        Ok(found)
    }

    async fn lock_transactions(
        &mut self,
        _: &ShopId,
        ids: &[Uuid],
    ) -> Result<Vec<(StoredTransaction, RowLocation)>, StoreError> {
        self.world.statement().await;
        let ids: BTreeSet<Uuid> = ids.iter().copied().collect();
        let mut rows = Vec::new();
        for id in ids {
            if !self.world.is(Mutant::RowsNotLocked) {
                self.lock_row(format!("t:{id}")).await?;
            }
            let mut row = self.read(|db| db.transaction(id));
            if self.world.is(Mutant::OnlyLastCounts)
                && let Some(row) = &mut row
            {
                row.summary.candidates.clear();
            }
            rows.extend(row.map(|row| (row, RowLocation::default())));
        }
        Ok(rows)
    }

    async fn lock_checks(
        &mut self,
        _: &ShopId,
        ids: &[Uuid],
    ) -> Result<Vec<(CheckRow, RowLocation)>, StoreError> {
        let ids: BTreeSet<Uuid> = ids.iter().copied().collect();
        let mut rows = Vec::new();
        for id in ids {
            self.lock_row(check(id)).await?;
            let row = self.read(|db| db.check(id));
            rows.extend(row.map(|row| (self.tampered(row), RowLocation::default())));
        }
        Ok(rows)
    }

    async fn known_evidence(
        &mut self,
        _: &ShopId,
        keys: &[(Uuid, Uuid)],
    ) -> Result<HashSet<(Uuid, Uuid)>, StoreError> {
        if self.world.is(Mutant::RepetitionNotKnown) {
            return Ok(HashSet::new());
        }
        Ok(self.read(|db| db.known_evidence(keys)))
    }

    async fn lock_families(
        &mut self,
        _: &ShopId,
        parents: &[&str],
    ) -> Result<Vec<Family>, StoreError> {
        let known = self.read(|db| db.families(parents));
        let roots = known.iter().filter_map(|family| family.root_uid.clone());
        let named = parents.iter().map(|uid| (*uid).to_owned());
        for uid in roots.chain(named).collect::<BTreeSet<String>>() {
            self.lock_row(format!("p:{uid}")).await?;
        }
        let now = self.read(|db| db.families(parents));
        if now != known {
            return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
        }
        Ok(now)
    }

    async fn children_of(
        &mut self,
        _: &ShopId,
        parents: &[&str],
    ) -> Result<Vec<StoredTransaction>, StoreError> {
        Ok(self.read(|db| db.children_of(parents)))
    }

    async fn orphans_of(
        &mut self,
        _: &ShopId,
        parents: &[&str],
    ) -> Result<Vec<OrphanRow>, StoreError> {
        Ok(self.read(|db| db.orphans_of(parents)))
    }

    async fn insert_transactions(
        &mut self,
        _: &ShopId,
        new: &[&StoredTransaction],
    ) -> Result<bool, StoreError> {
        let mut rows: Vec<&StoredTransaction> = new.to_vec();
        rows.sort_by_key(|row| (row.opening.tracking_id.clone(), row.record.id));
        let mut all = true;
        for row in rows {
            // The unique index makes a second writer wait for the end of the first.
            let name = row.opening.tracking_id.as_ref().map(ToString::to_string);
            let name = name.filter(|_| row.opening.origin == domain::Origin::Api);
            if let Some(name) = &name {
                self.lock_row(format!("n:{name}")).await?;
            }
            let is_new = name.is_none_or(|name| self.inserted.insert(name));
            if is_new && !self.read(|db| db.is_name_taken(row)) {
                let row = row.clone();
                self.later(move |db| db.insert_transaction(&row));
            } else {
                all = false;
            }
        }
        Ok(all)
    }

    async fn write(&mut self, _: &ShopId, writes: &BatchWrites<'_>) -> Result<bool, StoreError> {
        self.world.statement().await;
        for changed in &writes.changed {
            let row = changed.row.clone();
            let uid = row.derived().uid;
            assert_eq!(changed.uid, uid.as_ref().map(Uid::as_str));
            self.later(move |db| db.update_transaction(&row));
        }
        for write in writes.evidence {
            if self.world.is(Mutant::EvidenceApart) && write.channel == Channel::Webhook {
                continue;
            }
            if self.world.is(Mutant::StaleReadDropped) && self.is_stale(write.transaction_id) {
                continue;
            }
            let write = write.clone();
            self.later(move |db| db.insert_evidence(&write));
        }
        for write in &writes.checks {
            let write = write.clone();
            let forgets =
                self.world.is(Mutant::DoubtNotChecked) && write.state == domain::State::InDoubt;
            if forgets {
                self.later(move |db| {
                    db.checks.remove(&write.transaction_id);
                });
            } else {
                self.later(move |db| db.put_check(&write));
            }
        }
        Ok(true)
    }

    async fn drop_checks(&mut self, _: &ShopId, ids: &[Uuid]) -> Result<(), StoreError> {
        for id in ids {
            let id = *id;
            self.later(move |db| {
                db.checks.remove(&id);
            });
        }
        Ok(())
    }

    async fn put_waiting(&mut self, _: &ShopId, new: &[WaitingRow]) -> Result<(), StoreError> {
        for row in new.iter().cloned() {
            self.later(move |db| {
                db.waiting.insert(row.transaction_id, row);
            });
        }
        Ok(())
    }

    async fn drop_waiting(&mut self, _: &ShopId, ids: &[Uuid]) -> Result<(), StoreError> {
        for &id in ids {
            self.later(move |db| {
                db.waiting.remove(&id);
            });
        }
        Ok(())
    }

    async fn claim_uids(
        &mut self,
        _: &ShopId,
        claims: &[(String, Uuid)],
    ) -> Result<bool, StoreError> {
        if self.world.is(Mutant::UidNotClaimed) {
            return Ok(true);
        }
        let claims: BTreeMap<String, Uuid> = claims.iter().cloned().collect();
        let mut all = true;
        for (uid, id) in claims {
            self.lock_row(format!("u:{uid}")).await?;
            all &= !self.read(|db| db.uids.contains_key(&uid));
            self.later(move |db| {
                db.uids.entry(uid).or_insert(id);
            });
        }
        Ok(all)
    }

    async fn merge(&mut self, _: &ShopId, merges: &[(Uuid, Uuid)]) -> Result<bool, StoreError> {
        let mut all = true;
        for (from, into) in merges.iter().copied() {
            all &= !self.read(|db| db.merges.contains_key(&from));
            self.later(move |db| {
                db.merges.entry(from).or_insert(into);
            });
        }
        Ok(all)
    }

    async fn heal_all(
        &mut self,
        _: &ShopId,
        at: Timestamp,
        ids: &[Uuid],
        reason: &str,
    ) -> Result<Vec<DiscrepancyRow>, StoreError> {
        let (ids, reason) = (ids.to_vec(), reason.to_owned());
        let closed = self.findings().heal_all(at, &ids, &reason);
        self.closed.extend(closed.iter().cloned());
        self.later(move |db| {
            db.heal_all(at, &ids, &reason);
        });
        Ok(closed)
    }

    async fn put_orphans(
        &mut self,
        _: &ShopId,
        _: Timestamp,
        new: &[OrphanWrite],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let mut fresh = HashSet::new();
        for row in new {
            let row = row.clone();
            if !self.read(|db| db.orphans.contains_key(&row.id)) {
                fresh.insert(row.id);
            }
            self.later(move |db| {
                db.put_orphan(&row);
            });
        }
        Ok(fresh)
    }

    async fn open_discrepancies(
        &mut self,
        _: &ShopId,
        new: &[DiscrepancyRow],
    ) -> Result<HashSet<Uuid>, StoreError> {
        let mut opened = HashSet::new();
        for row in new {
            let row = row.clone();
            let about = row.transaction_id.unwrap_or_default();
            let key = format!("f:{}:{about}:{}", row.kind, row.subject);
            self.lock_row(key.clone()).await?;
            let is_known = |known: &DiscrepancyRow| {
                let same = (known.kind, known.transaction_id) == (row.kind, row.transaction_id);
                known.is_open && same && known.subject == row.subject
            };
            if self.read(|db| !db.findings.iter().any(is_known)) && self.inserted.insert(key) {
                opened.insert(row.id);
                self.opened.push(row.clone());
                self.later(move |db| {
                    db.open_finding(&row);
                });
            }
        }
        Ok(opened)
    }

    async fn update_discrepancies(
        &mut self,
        _: &ShopId,
        now: &[DiscrepancyRow],
    ) -> Result<(), StoreError> {
        let now = now.to_vec();
        self.brought_up_to_date.extend(now.iter().cloned());
        self.later(move |db| db.update_findings(&now));
        Ok(())
    }

    async fn heal_discrepancies(
        &mut self,
        _: &ShopId,
        at: Timestamp,
        healed: &[ResolvedDiscrepancy],
    ) -> Result<Vec<DiscrepancyRow>, StoreError> {
        let healed = healed.to_vec();
        let closed = self.findings().heal(at, &healed);
        self.closed.extend(closed.iter().cloned());
        self.later(move |db| {
            db.heal(at, &healed);
        });
        Ok(closed)
    }

    async fn close(
        &mut self,
        _: &ShopId,
        at: Timestamp,
        closings: &[ResolveDiscrepancy],
    ) -> Result<Vec<DiscrepancyRow>, StoreError> {
        let closings = closings.to_vec();
        let closed = self.findings().close(at, &closings);
        self.later(move |db| {
            db.close(at, &closings);
        });
        Ok(closed)
    }

    async fn append_events(
        &mut self,
        _: &ShopId,
        _: Timestamp,
        new: &[EventWrite],
    ) -> Result<i64, StoreError> {
        self.lock_row("feed".to_owned()).await?;
        let last = self.read(|db| db.events.len()) + new.len();
        for event in new {
            let event = event.clone();
            self.later(move |db| db.events.push(event));
        }
        Ok(i64::try_from(last).unwrap_or(i64::MAX))
    }
}

/// Reads after a commit.
pub struct After(pub Arc<SimState>);

impl CommittedReads for After {
    async fn named(&self, _: &ShopId, name: &str) -> Result<Option<StoredTransaction>, StoreError> {
        Ok(self.0.with(|state| state.db.by_id(state.db.named(name)?)))
    }

    async fn finding(&self, _: &ShopId, id: Uuid) -> Result<Option<DiscrepancyRow>, StoreError> {
        Ok(self.0.with(|state| state.db.finding(id)))
    }
}
