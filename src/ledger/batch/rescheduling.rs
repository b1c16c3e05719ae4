//! What becomes of a due check after a batch. Scheduling is fenced, evidence is not.

use super::{Batch, BatchRow, CheckDecision};
use crate::ledger::RecordEvidence;
use crate::observation::Observation;
use crate::store::{CheckRow, StoredTransaction};
use domain::schedule::{self, Course};
use domain::verdict::AppliedChange;
use domain::{Channel, DerivedState, State, Timestamp, Uid};
use uuid::Uuid;

impl Batch<'_> {
    /// Decides what becomes of the due check after evidence. Scheduling is fenced: only the holder
    /// of a lease that has not run out plans the next look; others can make one due when the state
    /// moved.
    pub(super) fn reschedule(
        &mut self,
        record: &RecordEvidence,
        id: Uuid,
        before: Option<State>,
        look_again: bool,
    ) {
        let at = self.at;
        let held = self.live_lease(id);
        let mine = record.lease.is_some() && record.lease == held;
        let Some(row) = self.rows.map.get_mut(&id) else {
            return;
        };
        let moved = before != Some(row.derived.state);
        let fresh = moved && schedule::is_duplicate_doubt(&row.derived);
        let check = row.check.clone();
        let owed = mine && check.as_ref().is_some_and(|check| check.again);
        let again = look_again || fresh || owed;
        row.note_look(record, mine, moved || look_again, owed, at);
        if let (true, Some(check)) = (mine && record.observation.goes_on, &check) {
            let (due_at, lease) = (check.due_at, check.lease);
            let again = check.again || look_again;
            let decision = CheckDecision::Put {
                due_at,
                lease,
                again,
            };
            return self.schedule(id, decision);
        }
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = &row.derived;
        let settled = schedule::needs_no_recheck(&row.stored.summary, derived);
        let due = match again {
            true if row.rests() => None,
            true => Some(at),
            false if settled => None,
            false => self.next_due(row, record, mine),
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

    /// When the next look is due. After a look of ours that is by the pace and by what the gateway asked
    /// for, which are weighed by [`schedule::read_again`].
    fn next_due(&self, row: &BatchRow, record: &RecordEvidence, mine: bool) -> Option<Timestamp> {
        let planned = self.planned(&row.stored, &row.derived, record);
        let (state, misses) = (row.derived.state, row.course.misses);
        let (summary, at) = (&row.stored.summary, self.at);
        if row.rests() {
            return None;
        }
        if state.is_final() {
            // A look that was wished for and told nothing is taken again soon, and not for ever.
            let wished = mine && row.course.wishes != schedule::Wishes::default();
            let asked_for = record.next_check.filter(|_| mine);
            let (since, pace) = (row.stored.state_since, &self.settings.pace);
            // One that told of the same once more has no news: that waits for a person.
            let pause = match misses {
                0 => schedule::slow(at.since(since), pace),
                _ => schedule::floor(misses, pace),
            };
            let again = (wished && misses < MOST_IN_VAIN).then(|| at.plus(pause));
            let own = schedule::task_owed(summary, &row.derived, since, at, pace);
            let times = planned.into_iter().chain(again).chain(asked_for);
            return times.chain(own).min();
        }
        let planned = planned?;
        if state == State::Accepted {
            return Some(planned);
        }
        if !mine {
            return Some(schedule::before_it_is_forgotten(summary, planned, at));
        }
        let told = record.observation.is_about_it() && !record.observation.concludes_refusal();
        let misses = (!told).then_some(misses);
        let planned = record.next_check.unwrap_or(planned);
        let pause = record.observation.pause.map(|pause| at.plus(pause));
        let pace = &self.settings.pace;
        let due = schedule::read_again(summary, planned, at, pause, misses, pace);
        Some(due)
    }

    /// When the next look is due by the state, and by what was learned of its kind. What told nothing
    /// of the transaction (a read that was refused, say) is no sign that it still runs.
    fn planned(
        &self,
        stored: &StoredTransaction,
        derived: &DerivedState,
        record: &RecordEvidence,
    ) -> Option<Timestamp> {
        let (at, since) = (self.at, stored.state_since);
        if derived.state == State::Accepted && stored.summary.last_attempt() > 0 {
            let until = schedule::resubmit_at(&stored.summary, &self.settings.pace);
            return Some(until.map_or(at, |until| until.max(at)));
        }
        let told = record.observation.is_about_it();
        let kind = stored.opening.kind;
        let forecast = self.forecasts.get(&kind).filter(|_| told);
        let pace = &self.settings.pace;
        let random = self.jitter_seed ^ stored.record.id.as_u64_pair().1;
        let next = schedule::next_check(
            derived,
            since,
            stored.summary.sent_at(),
            at,
            pace,
            forecast.map(AsRef::as_ref),
            random,
        );
        let owed = schedule::retry_missed_check(derived, since, at, pace).filter(|_| !told);
        let owed = owed.map(|due| schedule::jitter(at, due, random));
        next.into_iter().chain(owed).min()
    }

    pub(super) fn settle_new(&mut self, id: Uuid) {
        let Some(row) = self.rows.map.get(&id) else {
            return;
        };
        let derived = &row.derived;
        let due = schedule::configured_next_check(
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
        if matches!(decision, CheckDecision::Drop) {
            row.course = Course::default();
        }
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
                course: row.course.clone(),
            }),
            CheckDecision::Drop => None,
        };
        row.stored.record.next_check_at = row.check.as_ref().map(|check| check.due_at);
        row.write = Some(decision);
    }
}

/// So often in a row a look at something final that was wished for is taken again.
const MOST_IN_VAIN: u16 = 30;

impl BatchRow {
    /// Whether there is nothing to be looked at.
    fn rests(&self) -> bool {
        match self.derived.state {
            State::NotSent => self.stored.summary.earlier.is_none(),
            state => state == State::Merged,
        }
    }

    /// What the batch wishes for the next look.
    fn wish(&mut self, at: Option<&Uid>) {
        if at.is_some() {
            self.wished.at = at.cloned();
        }
    }

    /// Wishes for the look that a change asks for. Whether it becomes due at once.
    pub(super) fn looks_again(&mut self, learned: &Observation, change: &AppliedChange) -> bool {
        self.wish(change.look_at.as_ref());
        let looked_at = self.course.wishes.at.as_ref();
        change.recheck_now && (!learned.is_look() || change.looks_again(looked_at))
    }

    /// Notes how a look went, and what the next one is for. `anew`: something has come that makes the count
    /// begin again. `owed`: something came while it was looked at, so that its wishes are still open.
    fn note_look(
        &mut self,
        record: &RecordEvidence,
        mine: bool,
        anew: bool,
        owed: bool,
        at: Timestamp,
    ) {
        let learned = &record.observation;
        let wished = std::mem::take(&mut self.wished);
        let (is_look, concludes) = (learned.is_look(), learned.concludes_refusal());
        let (summary, derived, course) = (&self.stored.summary, &self.derived, &mut self.course);
        let told = !learned.strays && schedule::tells(&learned.facts, summary.sent_at(), at);
        if mine && is_look {
            let by_uid = || derived.uid.as_ref().map(Uid::as_str) == learned.subject.as_deref();
            let own_way = match learned.channel {
                Channel::Query => {
                    summary.running_task().is_none() && (derived.uid.is_none() || by_uid())
                }
                _ => true,
            };
            let silent = learned.http_status.is_none();
            course.unanswered = if silent {
                course.unanswered.saturating_add(1)
            } else {
                0
            };
            // A look that goes on counts once, by its last answer: two names are no two turns, and that one of
            // them shows nothing makes up for no answer under the other.
            let by_task = learned.channel != Channel::Query;
            if !learned.goes_on || (told && own_way && by_task) {
                course.misses = schedule::misses_after(course.misses, told, own_way);
            }
            if told && !owed && !learned.goes_on {
                course.wishes = schedule::Wishes::default();
            }
        }
        if mine && concludes {
            course.misses = schedule::misses_after(course.misses, false, true);
        } else if (anew && told) || (mine && !is_look) || (anew && !mine) {
            (course.misses, course.unanswered) = (0, 0);
        }
        course.wishes.join(&learned.wishes);
        course.wishes.join(&wished);
    }
}
