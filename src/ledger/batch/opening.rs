//! Openings, stamps and closings of a batch: what callers and the engine ask for.

use super::family::{ChildRoom, currency_of};
use super::{Batch, BatchRow, CheckDecision, PendingResult};
use crate::config::sealing::Sealed;
use crate::ledger::{Lease, OpenTransaction, ResolveDiscrepancy, StampAttempt};
use crate::observation::Observation;
use crate::store::StoredTransaction;
use crate::store::waiting::WaitingRow;
use domain::candidate::mode;
use domain::{Channel, Fact, State, TransactionRequest};
use domain::{Summary, Timestamp, Verdict};
use serde_json::json;
use std::borrow::Cow;
use uuid::Uuid;

/// An attempt to be stamped.
#[derive(Default)]
struct Attempt {
    number: u32,
    replay: bool,
    /// A person insists on it, and did not before.
    forced: bool,
}

/// What was asked, with what a child has from its parent: the currency, the mode, and the name under which
/// the gateway may file it.
fn child_of(parent: Option<&StoredTransaction>, asked: &TransactionRequest) -> TransactionRequest {
    let Some(parent) = parent else {
        return asked.clone();
    };
    TransactionRequest {
        currency: asked.currency.or_else(|| currency_of(parent)),
        parent_tracking_id: (asked.parent_tracking_id.clone())
            .or_else(|| parent.opening.tracking_id.clone()),
        // A child that does not say goes with its parent, where that is known to be live.
        test: (asked.test).or((mode(&parent.opening) == Some(false)).then_some(false)),
        ..asked.clone()
    }
}

impl Batch<'_> {
    pub(super) fn open(&mut self, open: &OpenTransaction, id: Uuid) -> PendingResult {
        let name = open
            .opening
            .tracking_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if let Some(first) = self.by_name.get(&name) {
            return PendingResult::Exists { id: *first };
        }
        match self.routing.by_tracking_id(&name) {
            // A second run of a batch whose COMMIT took place: the row is ours, and what the first
            // run has left of a lease is all there is.
            Some(ours) if ours == id => {
                let lease = self.remaining_lease(id, id);
                return PendingResult::Created { id, lease };
            }
            Some(_) => return PendingResult::ReadBack { tracking_id: name },
            None => {}
        }
        let mut not_before = open.not_before;
        if let Some(limit) = &open.parent_limit {
            match self.room(id, &open.opening, limit) {
                ChildRoom::From(wait) => not_before = not_before.max(wait),
                ChildRoom::Unfit(unfit) => return PendingResult::Unfit(unfit),
            }
        }
        let send_now = open.send_now && not_before.is_none_or(|at| at <= self.at);
        if let Some(until) = not_before.filter(|_| open.opening.card_data && !send_now) {
            return PendingResult::TooSoon(until);
        }
        self.insert(open, id, send_now, not_before);
        self.by_name.insert(name, id);
        let lease = Lease {
            token: id,
            until: self.started + self.settings.lease,
        };
        PendingResult::Created {
            id,
            lease: send_now.then_some(lease),
        }
    }

    pub(super) fn insert(
        &mut self,
        open: &OpenTransaction,
        id: Uuid,
        send_now: bool,
        not_before: Option<Timestamp>,
    ) {
        let parent = open
            .parent_limit
            .as_ref()
            .and_then(|limit| self.parent_of(&limit.parent));
        let opening = TransactionRequest {
            opened_at: self.at,
            ..child_of(parent, &open.opening)
        };
        let stored = StoredTransaction {
            state: State::Accepted,
            state_since: self.at,
            summary: Summary::default(),
            record: crate::view::Record {
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
        self.rows.map.insert(id, Box::new(BatchRow::new(stored)));
        let mut opened = Observation::from_gateway(
            Channel::Local,
            None,
            Some("opened".to_owned()),
            open.request.clone(),
            open.request_sha256,
            Vec::new(),
        );
        let forced = open.parent_limit.as_ref().is_some_and(|limit| limit.force);
        let how = if forced { ", by force" } else { "" };
        opened.note = Some(format!("a {} was asked for{how}", open.opening.kind));
        let facts = forced.then_some(Cow::Owned(Fact::Forced));
        self.join_facts(id, &opened, facts.into_iter().collect(), Verdict::Applied);
        self.keep(id, open.sealed.as_ref());
        if send_now {
            let first = Attempt {
                number: 1,
                ..Attempt::default()
            };
            self.stamp_attempt(id, first, id);
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

    /// Keeps a sealed request as long as it may have to be sent.
    fn keep(&mut self, id: Uuid, sealed: Option<&Sealed>) {
        self.waiting.extend(sealed.map(|sealed| WaitingRow {
            transaction_id: id,
            key_id: sealed.key_id.clone(),
            sealed: sealed.bytes.clone(),
        }));
    }

    /// Stamps an attempt: from here on bytes may leave.
    fn stamp_attempt(&mut self, id: Uuid, attempt: Attempt, token: Uuid) {
        let Attempt {
            number: attempt,
            replay,
            forced,
        } = attempt;
        let not_before = self.at.minus(self.settings.clock_tolerance);
        let fact = Fact::Stamped {
            attempt,
            at: self.at,
            not_before,
            replay,
        };
        let mut act = json!({
            "attempt": attempt,
            "at": self.at.to_rfc3339(),
            "not_before": not_before.to_rfc3339(),
            "replay": replay,
        });
        let mut facts = vec![fact];
        if forced {
            act["forced"] = true.into();
            facts.push(Fact::Forced);
        }
        let known_as_anothers = self.told_of_anothers(id);
        let stamped = Observation::local(Channel::Local, "stamped", &act, facts);
        let facts = stamped.facts.iter().map(Cow::Borrowed);
        let facts = facts.chain(known_as_anothers.into_iter().map(Cow::Owned));
        self.join_facts(id, &stamped, facts.collect(), Verdict::Applied);
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

    /// The token of whoever may act on a transaction now. A lease that has run out is nobody's, even
    /// while no other worker has taken it.
    pub(super) fn live_lease(&self, id: Uuid) -> Option<Uuid> {
        let check = self.rows.map.get(&id)?.check.as_ref()?;
        check.lease.filter(|_| check.due_at > self.at)
    }

    /// What is left of the lease under which an earlier run of this batch has stamped an attempt. It
    /// may be nothing: then the attempt is known to be ours, and nothing can be sent under it.
    pub(super) fn remaining_lease(&self, id: Uuid, token: Uuid) -> Option<Lease> {
        let row = self.rows.map.get(&id)?;
        let check = row.check.as_ref().filter(|c| c.lease == Some(token))?;
        let until = self.started + check.due_at.since(self.at);
        (row.stored.state == State::Submitting).then_some(Lease { token, until })
    }

    pub(super) fn stamp(&mut self, stamp: &StampAttempt, token: Uuid) -> PendingResult {
        let Some(row) = self.rows.map.get(&stamp.id) else {
            return PendingResult::NotFound;
        };
        let held = self.live_lease(stamp.id);
        let derived = &row.derived;
        let last = row.stored.summary.last_attempt();
        // A person may have decided `not_sent` of something that did leave: it is not sent again.
        let clear = row.stored.summary.can_send();
        // By a clock that is ahead of the server's: it would hold over the attempt.
        let decision = row.stored.summary.decision.as_ref();
        let decided_later = decision.is_some_and(|decision| decision.at >= self.at);
        // A second run of a batch whose COMMIT took place.
        if let Some(lease) = self.remaining_lease(stamp.id, token) {
            return PendingResult::Ready {
                id: stamp.id,
                attempt: last,
                lease,
            };
        }
        let lease = Lease {
            token,
            until: self.started + self.settings.lease,
        };
        let allowed = match derived.state {
            State::Accepted => clear && stamp.lease.is_some() && stamp.lease == held,
            State::InDoubt => {
                let proved = row.stored.summary.has_proof();
                stamp.replay && !proved && stamp.lease.is_some() && stamp.lease == held
            }
            State::NotSent => {
                clear && !decided_later && (stamp.lease.is_none() || stamp.lease == held)
            }
            State::Submitting
            | State::Processing
            | State::Pending
            | State::Successful
            | State::Failed
            | State::Expired
            | State::Rejected
            | State::NotFound
            | State::Merged => false,
        };
        if !allowed {
            return PendingResult::No { id: stamp.id };
        }
        let hindered = self.no_room(stamp).or_else(|| self.told_since(stamp));
        if let Some(refused) = hindered {
            return refused;
        }
        let known = self
            .rows
            .get(stamp.id)
            .is_some_and(|row| row.summary.forced);
        let next = Attempt {
            number: last + 1,
            replay: stamp.replay,
            forced: !known && stamp.child.as_ref().is_some_and(|limit| limit.force),
        };
        self.stamp_attempt(stamp.id, next, token);
        self.keep(stamp.id, stamp.sealed.as_ref());
        PendingResult::Ready {
            id: stamp.id,
            attempt: last + 1,
            lease,
        }
    }

    /// What was told of it since it was read, and before its first stamp, was not looked up before anything
    /// was locked: the next turn knows of it.
    fn told_since(&self, stamp: &StampAttempt) -> Option<PendingResult> {
        let id = stamp.id;
        let told_before = StampAttempt::told_before(self.rows.get(id)?);
        if told_before
            .iter()
            .all(|uid| stamp.told_before.contains(uid))
        {
            return None;
        }
        Some(match stamp.lease {
            Some(_) => PendingResult::Wait { id, until: self.at },
            None => PendingResult::No { id },
        })
    }

    /// Why the next attempt of a child is not stamped now, if it is not.
    fn no_room(&self, stamp: &StampAttempt) -> Option<PendingResult> {
        let (id, limit) = (stamp.id, stamp.child.as_ref()?);
        let opening = &self.rows.get(id)?.opening;
        match self.room(id, opening, limit) {
            ChildRoom::From(None) => None,
            ChildRoom::From(Some(until)) => Some(PendingResult::Wait { id, until }),
            ChildRoom::Unfit(unfit) => Some(PendingResult::Unsuited { id, unfit }),
        }
    }

    pub(super) fn resolve_discrepancy(&mut self, close: &ResolveDiscrepancy) -> PendingResult {
        self.closings.push(close.clone());
        PendingResult::Closed { id: close.id }
    }
}
