//! What a batch writes, and what its callers are answered.

use super::owning::MERGED;
use super::{Batch, CheckDecision, CommandResult, PendingResult, row, to_json};
use crate::ledger::batch_store::{BatchStore, CommittedReads};
use crate::ledger::{
    LedgerContext, OpenResult, RecordResult, StampResult, StampedAttempt, discrepancies,
};
use crate::store::batch::{BatchWrites, TransactionUpdate};
use crate::store::{CheckWrite, DiscrepancyRow, EventWrite, StoreError, StoredTransaction};
use domain::{Uid, schedule};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use uuid::Uuid;

/// What becomes due so soon is told to the loop that looks for it: the database is asked a little more often.
const DUE_SOON: Duration = Duration::from_secs(2);

/// Of what is open already, what is said of it last. What is about no transaction says what it said when
/// it was opened.
fn brought_up_to_date(told: &[DiscrepancyRow], new: &HashSet<Uuid>) -> Vec<DiscrepancyRow> {
    let mut last = BTreeMap::new();
    for row in told.iter().filter(|row| row.transaction_id.is_some()) {
        last.insert((row.transaction_id, row.kind, row.subject.as_str()), row);
    }
    let changed = last.into_values().filter(|row| !new.contains(&row.id));
    changed.cloned().collect()
}

impl Batch<'_> {
    /// Writes everything. `None` when another writer was first and the batch must be folded anew.
    pub(super) async fn write<T: BatchStore>(
        &mut self,
        tables: &mut T,
    ) -> Result<Option<Vec<DiscrepancyRow>>, StoreError> {
        if !self.insert_transactions(tables).await? {
            return Ok(None);
        }
        if !self.write_rows(tables).await? {
            return Ok(None);
        }
        self.write_waiting(tables).await?;
        let claims = self.routing.new_claims();
        if !claims.is_empty() && !tables.claim_uids(self.shop, &claims).await? {
            return Ok(None);
        }
        let merges = self.routing.merges();
        if !merges.is_empty() && !tables.merge(self.shop, merges).await? {
            return Ok(None);
        }
        if !self.orphans.is_empty() {
            let new = tables
                .put_orphans(self.shop, self.at, &self.orphans)
                .await?;
            // A repetition of what is kept says nothing new, whatever became of its finding.
            let told = self.of_orphans.drain(..);
            self.opened
                .extend(told.filter(|(id, _)| new.contains(id)).map(|(_, row)| row));
        }
        let closed = self.write_findings(tables).await?;
        if !self.events.is_empty() {
            let appended = tables.append_events(self.shop, self.at, &self.events);
            self.last_seq = Some(appended.await?);
        }
        Ok(Some(closed))
    }

    /// `false` when a name was taken in between.
    async fn insert_transactions<T: BatchStore>(&self, tables: &mut T) -> Result<bool, StoreError> {
        let new = self.rows.map.values().filter(|row| row.place.is_none());
        let new: Vec<&StoredTransaction> = new.map(|row| &row.stored).collect();
        if new.is_empty() {
            return Ok(true);
        }
        tables.insert_transactions(self.shop, &new).await
    }

    /// Writes what is about rows that are ours by now: nothing of it waits for anybody.
    /// `false` when something of it is there already.
    async fn write_rows<T: BatchStore>(&self, tables: &mut T) -> Result<bool, StoreError> {
        let mut writes = BatchWrites {
            evidence: &self.evidence,
            ..BatchWrites::default()
        };
        let mut drops = Vec::new();
        for (id, row) in &self.rows.map {
            if let (true, Some(place)) = (row.dirty, &row.place) {
                debug_assert_eq!(row.derived, row.stored.derived(), "derived before a change");
                writes.changed.push(TransactionUpdate {
                    row: &row.stored,
                    uid: row.derived.uid.as_ref().map(Uid::as_str),
                    place,
                });
            }
            match &row.write {
                None => {}
                Some(CheckDecision::Drop) => drops.push(*id),
                Some(CheckDecision::Put {
                    due_at,
                    lease,
                    again,
                }) => writes.checks.push(CheckWrite {
                    transaction_id: *id,
                    place: row.check_place.clone(),
                    due_at: *due_at,
                    lease: *lease,
                    again: *again,
                    course: row.course.clone(),
                    state: row.stored.state,
                    since: row.stored.state_since,
                }),
            }
        }
        if !writes.is_empty() && !tables.write(self.shop, &writes).await? {
            return Ok(false);
        }
        if !drops.is_empty() {
            tables.drop_checks(self.shop, &drops).await?;
        }
        Ok(true)
    }

    /// Keeps the requests that may have to be sent, and removes those that can be sent no more.
    async fn write_waiting<T: BatchStore>(&self, tables: &mut T) -> Result<(), StoreError> {
        let waits = |id: Uuid| {
            let row = self.rows.map.get(&id);
            row.is_some_and(|row| row::may_be_sent(&row.stored, self.at))
        };
        let mut new = self.waiting.clone();
        new.retain(|row| waits(row.transaction_id));
        if !new.is_empty() {
            tables.put_waiting(self.shop, &new).await?;
        }
        let before = self.rows.map.iter().filter(|(_, row)| {
            row.place.is_some() && row.could_be_sent && (row.dirty || row.write.is_some())
        });
        let done: Vec<Uuid> = before.map(|(id, _)| *id).filter(|id| !waits(*id)).collect();
        if !done.is_empty() {
            tables.drop_waiting(self.shop, &done).await?;
        }
        Ok(())
    }

    pub(super) async fn write_findings<T: BatchStore>(
        &mut self,
        tables: &mut T,
    ) -> Result<Vec<DiscrepancyRow>, StoreError> {
        let event = |kind, row: &DiscrepancyRow| EventWrite {
            kind,
            transaction_id: row.transaction_id,
            payload: to_json(&discrepancies::view(row)),
        };
        if !self.opened.is_empty() {
            let new = tables.open_discrepancies(self.shop, &self.opened).await?;
            let told = self.opened.iter().filter(|row| new.contains(&row.id));
            self.events
                .extend(told.map(|row| event("discrepancy.opened", row)));
            let changed = brought_up_to_date(&self.opened, &new);
            if !changed.is_empty() {
                tables.update_discrepancies(self.shop, &changed).await?;
            }
        }
        let mut closed = Vec::new();
        if !self.healed.is_empty() {
            closed.extend(
                tables
                    .heal_discrepancies(self.shop, self.at, &self.healed)
                    .await?,
            );
        }
        let merged: Vec<Uuid> = self
            .routing
            .merges()
            .iter()
            .map(|(from, _)| *from)
            .collect();
        if !merged.is_empty() {
            let healed = tables.heal_all(self.shop, self.at, &merged, MERGED).await?;
            closed.extend(healed);
        }
        if !self.closings.is_empty() {
            closed.extend(tables.close(self.shop, self.at, &self.closings).await?);
        }
        self.events
            .extend(closed.iter().map(|row| event("discrepancy.resolved", row)));
        Ok(closed)
    }

    /// After the commit: counts, and wakes those who wait.
    pub(super) fn publish(&self, shared: &LedgerContext) {
        for (channel, verdict) in &self.counted {
            shared.metrics.evidence(channel.as_str(), verdict.as_str());
        }
        for (kind, channel, took) in &self.ended {
            shared
                .metrics
                .finalized(kind.as_str(), channel.as_str(), *took);
        }
        shared.learning.observe(self.shop, &self.seen, self.at);
        let moved = self.events.iter().filter_map(|event| event.transaction_id);
        let fed = (!self.events.is_empty()).then(Uuid::nil);
        shared.waiters.notify(self.shop, moved.chain(fed));
        shared.waiters.tell_due(self.shop, self.due_soon());
    }

    /// In how long what this has made due soon is due. What is due later is found in the database, and so is a doubt
    /// that rests on `E.1018`: what the gateway calls a duplicate it may show only a moment later, and the next look
    /// at it is a minute away.
    fn due_soon(&self) -> impl Iterator<Item = Duration> {
        let until = self.at.plus(DUE_SOON);
        let rows = self.rows.map.values();
        let rows = rows.filter(|row| !schedule::is_duplicate_doubt(&row.derived));
        rows.filter_map(move |row| match row.write.as_ref()? {
            CheckDecision::Put {
                due_at,
                lease: None,
                ..
            } if *due_at <= until => Some(due_at.since(self.at)),
            _ => None,
        })
    }

    pub(super) async fn answer<R: CommittedReads>(
        &self,
        reads: &R,
        draft: PendingResult,
        closed: &[DiscrepancyRow],
    ) -> Result<CommandResult, StoreError> {
        let row = |id: Uuid| self.rows.get(id).cloned().map(Box::new);
        let answer = match draft {
            PendingResult::Created { id, lease } => {
                row(id).map_or(CommandResult::NotFound, |transaction| {
                    CommandResult::Opened(match lease {
                        Some(lease) => {
                            let number = transaction.summary.last_attempt();
                            OpenResult::Ready(StampedAttempt::new(transaction, number, lease))
                        }
                        None => OpenResult::Created { transaction },
                    })
                })
            }
            PendingResult::Exists { id } => row(id).map_or(CommandResult::NotFound, |t| {
                CommandResult::Opened(OpenResult::Exists { transaction: t })
            }),
            // Another writer was first.
            PendingResult::ReadBack { tracking_id } => reads
                .named(self.shop, &tracking_id)
                .await?
                .map_or(CommandResult::NotFound, |found| {
                    CommandResult::Opened(OpenResult::Exists {
                        transaction: Box::new(found),
                    })
                }),
            PendingResult::Unfit(unfit) => CommandResult::Opened(OpenResult::Unfit(unfit)),
            PendingResult::TooSoon(until) => CommandResult::Opened(OpenResult::TooSoon(until)),
            PendingResult::Recorded { verdict, id, told } => {
                CommandResult::Recorded(RecordResult {
                    verdict,
                    owner: id,
                    transaction: id.filter(|_| told).and_then(row),
                })
            }
            PendingResult::Ready { id, attempt, lease } => {
                row(id).map_or(CommandResult::NotFound, |transaction| {
                    let stamped = StampedAttempt::new(transaction, attempt, lease);
                    CommandResult::Stamped(StampResult::Ready(stamped))
                })
            }
            PendingResult::No { id } => row(id).map_or(CommandResult::NotFound, |transaction| {
                CommandResult::Stamped(StampResult::Denied { transaction })
            }),
            PendingResult::Wait { id, until } => row(id)
                .map_or(CommandResult::NotFound, |transaction| {
                    CommandResult::Stamped(StampResult::Wait { transaction, until })
                }),
            PendingResult::Unsuited { id, unfit } => row(id)
                .map_or(CommandResult::NotFound, |transaction| {
                    CommandResult::Stamped(StampResult::Unfit { transaction, unfit })
                }),
            PendingResult::Closed { id } => match closed.iter().find(|row| row.id == id) {
                Some(row) => CommandResult::Closed(Box::new(row.clone())),
                None => reads
                    .finding(self.shop, id)
                    .await?
                    .map_or(CommandResult::NotFound, |row| {
                        CommandResult::Closed(Box::new(row))
                    }),
            },
            PendingResult::NotFound => CommandResult::NotFound,
        };
        Ok(answer)
    }
}
