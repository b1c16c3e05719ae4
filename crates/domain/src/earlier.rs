//! Ends that were decided by the rules of an earlier release. They stay what they were until something that
//! outranks them comes: a rule that has changed reopens nothing. See `docs/adr/0016-an-end-outlives-its-rules.md`.

use crate::fold::{DerivedState, Ruled, Standing, StateBasis, by_rules};
use crate::{Snapshot, SnapshotKey, State, StatusClass, Summary, TransactionRequest, Uid};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The rules by which this program reads evidence. Raised when what was an end may be none any more.
pub const RULES: u16 = 2;

/// By which rules a summary was written, and of how many pieces of evidence. A program of an earlier release
/// leaves it out, or leaves it behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written(pub u16, pub i32);

/// An end as an earlier release left it. Of two the later one counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct EarlierEnd {
    /// The last attempt up to then.
    pub attempt: u32,
    /// The greatest snapshot up to then: of the transaction that the end rests on, and of all for one that
    /// rests on none.
    pub basis: Option<SnapshotKey>,
    /// How it ended.
    pub state: State,
    /// The gateway's transaction that was adopted.
    pub uid: Option<Uid>,
    /// The latest decision of a person up to then.
    pub decision: Option<Uuid>,
    /// What the rules made of the same evidence when it was taken over.
    pub ruled: State,
    /// The gateway's transaction that they would have adopted.
    pub ruled_uid: Option<Uid>,
}

impl EarlierEnd {
    /// What is to be kept of a final state that is stored, and that this program has not decided.
    pub fn of(
        opening: &TransactionRequest,
        summary: &Summary,
        state: State,
        uid: Option<Uid>,
    ) -> Self {
        let (ruled, _) = by_rules(opening, summary);
        let own = uid.as_ref().and_then(|uid| latest(summary, uid));
        Self {
            attempt: summary.last_attempt(),
            basis: if state.is_presumed() {
                summary.greatest_key(opening)
            } else {
                own.map(Snapshot::key)
            },
            state,
            uid,
            decision: decision_of(summary),
            ruled: ruled.state,
            ruled_uid: ruled.uid,
        }
    }

    /// Whether the rules would have decided otherwise.
    pub fn differs(&self) -> bool {
        (self.state, &self.uid) != (self.ruled, &self.ruled_uid)
    }

    /// The state, where the rules of now say this of all that is known.
    pub(crate) fn stand(
        &self,
        opening: &TransactionRequest,
        summary: &Summary,
        ruled: Ruled,
    ) -> DerivedState {
        let (derived, standing) = ruled;
        let same = (derived.state, &derived.uid) == (self.state, &self.uid);
        let moved = (derived.state, &derived.uid) != (self.ruled, &self.ruled_uid);
        let outranked = match standing {
            Standing::Merged => true,
            Standing::Decided if self.decision != decision_of(summary) => true,
            Standing::Ended => moved,
            Standing::Decided | Standing::Open => self.is_outranked(opening, summary),
        };
        if same || outranked {
            return derived;
        }
        DerivedState {
            state: self.corrected(summary).unwrap_or(self.state),
            basis: StateBasis::EarlierRules(derived.state),
            uid: self.uid.clone(),
        }
    }

    /// Whether something came that reopens a presumed end: an attempt after it, for one that was not sent a
    /// task of it, and any snapshot that says more than what was known. What a snapshot ended stays ended.
    fn is_outranked(&self, opening: &TransactionRequest, summary: &Summary) -> bool {
        let says = |key: Option<SnapshotKey>| key.map(SnapshotKey::says);
        let sent = summary.last_attempt() > self.attempt
            || (self.state == State::NotSent && !summary.tasks.is_empty());
        let seen = says(summary.greatest_key(opening)) > says(self.basis);
        self.state.is_presumed() && (sent || seen)
    }

    /// Another end that the gateway has told of the same transaction since.
    fn corrected(&self, summary: &Summary) -> Option<State> {
        let latest = latest(summary, self.uid.as_ref()?)?;
        let newer = Some(latest.key().says()) > self.basis.map(SnapshotKey::says);
        match latest.class {
            _ if !newer || self.state.is_presumed() => None,
            StatusClass::Successful => Some(State::Successful),
            StatusClass::Failed => Some(State::Failed),
            StatusClass::Expired => Some(State::Expired),
            StatusClass::Pending | StatusClass::Other => None,
        }
    }
}

fn decision_of(summary: &Summary) -> Option<Uuid> {
    summary.decision.as_ref().map(|decision| decision.id)
}

fn latest<'a>(summary: &'a Summary, uid: &Uid) -> Option<&'a Snapshot> {
    summary.candidates.get(uid)?.latest.as_deref()
}

impl Summary {
    /// Whether this program has written it, of as many pieces of evidence as there are.
    pub fn is_by_our_rules(&self, evidence_count: i32) -> bool {
        evidence_count == 0 || self.written == Some(Written(RULES, evidence_count))
    }
}
