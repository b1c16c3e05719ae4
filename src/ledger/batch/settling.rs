//! What becomes of a due check after a batch. Scheduling is fenced, evidence is not.

use super::{Batch, CheckDecision};
use crate::domain::schedule;
use crate::domain::{Derived, Fact, State, Timestamp};
use crate::ledger::Record;
use crate::store::{CheckRow, StoredTransaction};
use uuid::Uuid;

impl Batch<'_> {
    /// Decides what becomes of the due check after evidence. Scheduling is fenced: only the holder
    /// of a lease that has not run out plans the next look; others can make one due when the state
    /// moved.
    pub(super) fn settle(
        &mut self,
        record: &Record,
        id: Uuid,
        before: Option<State>,
        look_again: bool,
    ) {
        let at = self.at;
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = &row.derived;
        let moved = before != Some(derived.state);
        let settled = schedule::is_settled(&row.stored.summary, derived);
        let check = row.check.clone();
        let held = self.live_lease(id);
        let mine = record.lease.is_some() && record.lease == held;
        let fresh = moved && schedule::is_duplicate_doubt(derived);
        let planned = || self.planned(&row.stored, derived, record);
        let again = look_again || fresh || check.as_ref().is_some_and(|c| c.again && mine);
        let due = match (again, record.next_check) {
            (true, _) => Some(at),
            (false, _) if settled => None,
            // What was not sent waits for its caller, and for nothing of ours.
            (false, Some(wish)) if mine && derived.state != State::NotSent => Some(wish),
            (false, _) => planned(),
        };
        // Two ways agree on a success: nobody has to look at it again. A worker whose lease ran out
        // plans nothing, though, and so spares nothing.
        let spared = settled && record.lease.is_none() && held.is_none() && !again;
        let free = mine || spared || (moved && (held.is_none() || derived.state.is_final()));
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

    /// When the next look is due by the state, and by what was learned of its kind. What told nothing
    /// of the transaction (a read that was refused, say) is no sign that it still runs.
    fn planned(
        &self,
        stored: &StoredTransaction,
        derived: &Derived,
        record: &Record,
    ) -> Option<Timestamp> {
        let (at, since) = (self.at, stored.state_since);
        let deferred = stored.summary.deferred_until().filter(|until| *until > at);
        if let (State::Accepted, Some(until)) = (derived.state, deferred) {
            return Some(until);
        }
        let facts = &record.learned.facts;
        let told = facts.iter().any(|fact| !matches!(fact, Fact::Nothing));
        let kind = stored.opening.kind;
        let forecast = self.forecasts.get(&kind).filter(|_| told);
        let pace = &self.settings.pace;
        let random = self.chance ^ stored.record.id.as_u64_pair().1;
        let next = schedule::next_look(
            derived,
            since,
            stored.summary.sent_at(),
            at,
            pace,
            forecast.map(AsRef::as_ref),
            random,
        );
        let owed = schedule::look_owed(derived, since, at, pace).filter(|_| !told);
        let owed = owed.map(|due| schedule::jitter(at, due, random));
        next.into_iter().chain(owed).min()
    }

    pub(super) fn settle_new(&mut self, id: Uuid) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = &row.derived;
        let due = schedule::next_check(
            derived,
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

    pub(super) fn schedule(&mut self, id: Uuid, decision: CheckDecision) {
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
