//! The proof that the gateway has no such transaction: which look-ups count, and when they suffice.

use crate::{Timestamp, TransactionType};
use std::collections::BTreeSet;
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

/// When one of those is made up that failed.
pub const MADE_UP_AFTER: Duration = Duration::from_secs(60);

/// Within this time a look-up has to follow a refusal that a task told; else it is in doubt.
pub const REFUSAL_LOOKUPS: Duration = Duration::from_secs(15 * 60);

/// A transaction made longer than this before the first stamp is another's, whatever the clocks say.
pub const FOREIGN_BEFORE: Duration = Duration::from_secs(24 * 3600);

/// One look-up by tracking id that was answered, and held nothing that could be ours. A child that may
/// be filed under its parent's name takes two: under its own, and under the parent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmptyLookup {
    /// The evidence that keeps it.
    pub evidence: Uuid,
    /// When it was answered.
    pub at: Timestamp,
    /// The one under the parent's name that goes with it, and when that was answered.
    pub beside: Option<(Uuid, Timestamp)>,
}

impl EmptyLookup {
    /// Under one name.
    pub const fn single(evidence: Uuid, at: Timestamp) -> Self {
        Self {
            evidence,
            at,
            beside: None,
        }
    }

    /// When the earlier of the two was answered.
    pub fn first_at(&self) -> Timestamp {
        self.beside.map_or(self.at, |(_, at)| at.min(self.at))
    }

    /// When the later of the two was answered.
    pub fn last_at(&self) -> Timestamp {
        self.beside.map_or(self.at, |(_, at)| at.max(self.at))
    }

    fn ids(&self) -> impl Iterator<Item = Uuid> {
        std::iter::once(self.evidence).chain(self.beside.map(|(evidence, _)| evidence))
    }
}

/// Puts look-ups under a child's own name together with those under its parent's: each with the next one
/// that was answered before the own name was asked again. What has no such partner counts for nothing.
pub fn pair(own: &[EmptyLookup], under_parent: &[EmptyLookup]) -> Vec<EmptyLookup> {
    let mut own = own.to_vec();
    own.sort_by_key(|lookup| (lookup.at, lookup.evidence));
    let mut pairs = Vec::new();
    for (nth, lookup) in own.iter().enumerate() {
        let until = own.get(nth + 1).map_or(Timestamp::END, |next| next.at);
        let partner = under_parent
            .iter()
            .filter(|other| other.at >= lookup.at && other.at < until)
            .min_by_key(|other| (other.at, other.evidence));
        pairs.extend(partner.map(|partner| EmptyLookup {
            beside: Some((partner.evidence, partner.at)),
            ..*lookup
        }));
    }
    pairs
}

/// What a shop was seen to do, and the evidence that taught it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// The word: see [`Ability::shows`] and [`Ability::finds`].
    pub word: String,
    /// The transaction that the evidence belongs to.
    pub transaction: Uuid,
    /// The evidence: a look-up that held this transaction's uid.
    pub evidence: Uuid,
    /// When that was answered.
    pub at: Timestamp,
}

impl Ability {
    /// Children of this kind are answered under their own tracking id.
    pub fn shows(kind: TransactionType) -> String {
        format!("shows:{kind}")
    }

    /// A look-up by a name with these signs finds what is there.
    pub fn finds(name: &str) -> String {
        format!("finds:{}", signs(name))
    }

    /// Whether it tells that look-ups by a name with these signs find what is there.
    pub fn finds_all(&self, signs: &str) -> bool {
        let found = self.word.strip_prefix("finds:");
        found.is_some_and(|found| signs.chars().all(|sign| found.contains(sign)))
    }
}

/// The signs of a name beyond letters, digits, `-` and `_`: a router may split a path at them, or not
/// decode them, and answer with nothing where there is something.
pub fn signs(name: &str) -> String {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || sign == '-' || sign == '_';
    let signs: BTreeSet<char> = name.chars().filter(|sign| !plain(*sign)).collect();
    signs.into_iter().collect()
}

/// What the proof needs to know beside the look-ups.
#[derive(Debug, Clone, Copy)]
pub struct AbsenceRules {
    /// The least time between two look-ups that count.
    pub interval: Duration,
    /// The last look-up must come after this: the last sign of life, plus the horizon.
    pub horizon_at: Timestamp,
    /// Whether a control look-up is needed: one whose name has the same signs is known, or must be.
    pub control_needed: bool,
}

/// What the look-ups amount to so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofStatus {
    /// Absence is proved by these look-ups, and by this control look-up between them.
    Complete(Vec<Uuid>, Option<Ability>),
    /// Another look-up is worth making, not before this time.
    LookUpAt(Timestamp),
    /// A control look-up is still missing.
    ControlMissing,
}

/// Judges the look-ups. Times must lie `interval` apart, the last one after the horizon, with a
/// control look-up between the first empty one and the latest. Independent of their order, and of
/// how often each is named.
pub fn evaluate(empty: &[EmptyLookup], controls: &[Ability], rules: AbsenceRules) -> ProofStatus {
    let mut times: Vec<EmptyLookup> = empty.to_vec();
    times.sort_by_key(|lookup| (lookup.first_at(), lookup.evidence));
    times.dedup_by_key(|lookup| lookup.evidence);
    let latest = times.last().copied();
    let mut counted: Vec<EmptyLookup> = Vec::new();
    for lookup in times {
        if counted.last().is_none_or(|last| {
            lookup.first_at() >= last.last_at()
                && lookup.first_at().since(last.last_at()) >= rules.interval
        }) {
            counted.push(lookup);
        }
    }
    let (Some(first), Some(last), Some(latest)) = (counted.first(), counted.last(), latest) else {
        return ProofStatus::LookUpAt(Timestamp::from_micros(0));
    };
    let next = last.last_at().plus(rules.interval);
    if counted.len() < EMPTY_LOOKUPS || last.first_at() < rules.horizon_at {
        let short = counted.len() < EMPTY_LOOKUPS;
        return ProofStatus::LookUpAt(if short {
            next
        } else {
            next.max(rules.horizon_at)
        });
    }
    let between = controls
        .iter()
        .filter(|c| c.at >= first.first_at() && c.at <= latest.last_at());
    let control = between.min_by_key(|c| (c.at, c.evidence));
    let mut ids: Vec<Uuid> = counted.iter().flat_map(EmptyLookup::ids).collect();
    match control {
        None if !rules.control_needed => {}
        // The control came last: it is in between as soon as one more look-up is empty.
        None => {
            let later = controls
                .iter()
                .map(|c| c.at)
                .filter(|at| *at > latest.last_at())
                .min();
            return later.map_or(ProofStatus::ControlMissing, ProofStatus::LookUpAt);
        }
        Some(control) if control.at > last.last_at() => {
            ids.extend(latest.ids());
        }
        Some(_) => {}
    }
    ProofStatus::Complete(ids, control.cloned())
}

/// Judges the look-ups after an `E.1018` to the first and only POST, which was answered at `since`.
/// Each of [`DUPLICATE_LOOKUPS`] must have been made and been empty. One that came late puts off
/// the next by at least half of the time between them, so that a backlog proves nothing.
pub fn evaluate_duplicate(empty: &[EmptyLookup], since: Timestamp) -> ProofStatus {
    let mut times: Vec<EmptyLookup> = empty.to_vec();
    times.sort_by_key(|lookup| (lookup.first_at(), lookup.evidence));
    times.dedup_by_key(|lookup| lookup.evidence);
    let mut counted: Vec<EmptyLookup> = Vec::new();
    let mut before = Duration::ZERO;
    for offset in DUPLICATE_LOOKUPS {
        let spaced = counted
            .last()
            .map(|last| last.last_at().plus(offset.saturating_sub(before) / 2));
        let due = since.plus(offset).max(spaced.unwrap_or(since));
        match times.iter().find(|lookup| lookup.first_at() >= due) {
            Some(lookup) => counted.push(*lookup),
            None => return ProofStatus::LookUpAt(due),
        }
        before = offset;
    }
    ProofStatus::Complete(counted.iter().flat_map(EmptyLookup::ids).collect(), None)
}

/// Whether the absence of a transaction of this type can be proved at all: children only where
/// the shop's gateway has been seen to answer one of that type under its own tracking id.
pub fn is_provable(kind: TransactionType, abilities: &[Ability]) -> bool {
    !kind.is_child() || is_shown(kind, abilities)
}

/// Whether four empty look-ups within a quarter of an hour say anything of an `E.1018` to a transaction of
/// this type: where look-ups of the shop have been seen to show one under its own tracking id. Of payments and
/// authorizations every gateway shows that: look-ups by tracking id are documented for them.
pub fn is_duplicate_provable(kind: TransactionType, abilities: &[Ability]) -> bool {
    let documented = matches!(
        kind,
        TransactionType::Payment | TransactionType::Authorization
    );
    documented || is_shown(kind, abilities)
}

fn is_shown(kind: TransactionType, abilities: &[Ability]) -> bool {
    let word = Ability::shows(kind);
    abilities.iter().any(|ability| ability.word == word)
}
