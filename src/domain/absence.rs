//! The proof that the gateway has no such transaction: which look-ups count, and when they suffice.

use crate::domain::{Timestamp, TransactionType};
use std::time::Duration;
use uuid::Uuid;

/// How many empty look-ups a proof needs.
pub const EMPTY_LOOKUPS: usize = 3;

/// When look-ups are made after an `E.1018` to the first and only POST.
pub const DUPLICATE_LOOKUPS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
];

/// One look-up by tracking id that was answered and held no candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyLookup {
    /// The evidence that keeps it.
    pub evidence: Uuid,
    /// When it was answered.
    pub at: Timestamp,
}

/// A look-up that found a transaction known to exist at that shop: the gateway's look-ups work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlLookup {
    /// The evidence that keeps it, where it has one.
    pub evidence: Option<Uuid>,
    /// When it was answered.
    pub at: Timestamp,
}

/// What the proof needs to know beside the look-ups.
#[derive(Debug, Clone, Copy)]
pub struct ProofRules {
    /// The least time between two look-ups that count.
    pub interval: Duration,
    /// The last look-up must come after this: the last lease's end, plus the request timeout, plus
    /// the horizon.
    pub horizon_at: Timestamp,
    /// Whether a transaction is known to exist at that shop, so that a control look-up is needed.
    pub control_needed: bool,
}

/// What the look-ups amount to so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// Absence is proved by these.
    Complete(Vec<Uuid>),
    /// Another look-up is worth making, not before this time.
    LookUpAt(Timestamp),
    /// A control look-up is still missing.
    ControlMissing,
}

/// Judges the look-ups. Times must lie `interval` apart, the last one after the horizon, with a
/// control look-up between the first empty one and the latest. Independent of their order, and of
/// how often each is named.
pub fn judge(empty: &[EmptyLookup], controls: &[ControlLookup], rules: ProofRules) -> Proof {
    let mut times: Vec<EmptyLookup> = empty.to_vec();
    times.sort_by_key(|lookup| (lookup.at, lookup.evidence));
    times.dedup_by_key(|lookup| lookup.evidence);
    let latest = times.last().copied();
    let mut counted: Vec<EmptyLookup> = Vec::new();
    for lookup in times {
        if counted
            .last()
            .is_none_or(|last| lookup.at.since(last.at) >= rules.interval)
        {
            counted.push(lookup);
        }
    }
    let (Some(first), Some(last), Some(latest)) = (counted.first(), counted.last(), latest) else {
        return Proof::LookUpAt(Timestamp::from_micros(0));
    };
    let next = last.at.plus(rules.interval);
    if counted.len() < EMPTY_LOOKUPS || last.at < rules.horizon_at {
        let short = counted.len() < EMPTY_LOOKUPS;
        return Proof::LookUpAt(if short {
            next
        } else {
            next.max(rules.horizon_at)
        });
    }
    let between = controls
        .iter()
        .filter(|c| c.at >= first.at && c.at <= latest.at);
    let control = between.min_by_key(|c| (c.at, c.evidence));
    let mut ids: Vec<Uuid> = counted.iter().map(|lookup| lookup.evidence).collect();
    match control {
        None if !rules.control_needed => {}
        // The control came last: it is in between as soon as one more look-up is empty.
        None => {
            let later = controls
                .iter()
                .map(|c| c.at)
                .filter(|at| *at > latest.at)
                .min();
            return later.map_or(Proof::ControlMissing, Proof::LookUpAt);
        }
        Some(control) => {
            ids.extend((control.at > last.at).then_some(latest.evidence));
            ids.extend(control.evidence);
        }
    }
    Proof::Complete(ids)
}

/// Judges the look-ups after an `E.1018` to the first and only POST, which was answered at `since`.
/// Each of [`DUPLICATE_LOOKUPS`] must have been made and been empty. One that came late puts off
/// the next by at least half of the time between them, so that a backlog proves nothing.
pub fn judge_duplicate(empty: &[EmptyLookup], since: Timestamp) -> Proof {
    let mut times: Vec<EmptyLookup> = empty.to_vec();
    times.sort_by_key(|lookup| (lookup.at, lookup.evidence));
    times.dedup_by_key(|lookup| lookup.evidence);
    let mut counted: Vec<EmptyLookup> = Vec::new();
    let mut before = Duration::ZERO;
    for offset in DUPLICATE_LOOKUPS {
        let spaced = counted
            .last()
            .map(|last| last.at.plus(offset.saturating_sub(before) / 2));
        let due = since.plus(offset).max(spaced.unwrap_or(since));
        match times.iter().find(|lookup| lookup.at >= due) {
            Some(lookup) => counted.push(*lookup),
            None => return Proof::LookUpAt(due),
        }
        before = offset;
    }
    Proof::Complete(counted.iter().map(|lookup| lookup.evidence).collect())
}

/// Whether the absence of a transaction of this type can be proved at all: children only where
/// the shop's gateway has been seen to answer one of that type under its own tracking id.
pub const fn is_provable(kind: TransactionType, seen_under_own_id: bool) -> bool {
    !kind.is_child() || seen_under_own_id
}
