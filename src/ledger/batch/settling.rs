//! What becomes of a due check after a batch. Scheduling is fenced, evidence is not.

use super::{Batch, CheckDecision};
use crate::domain::State;
use crate::domain::schedule;
use crate::ledger::Record;
use crate::store::CheckRow;
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
        let derived = row.stored.derived();
        let moved = before != Some(derived.state);
        let check = row.check.clone();
        let held = self.live_lease(id);
        let mine = record.lease.is_some() && record.lease == held;
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

    pub(super) fn settle_new(&mut self, id: Uuid) {
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
