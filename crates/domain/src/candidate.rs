//! One of the gateway's transactions that is, or may be, ours, and how it differs from what we
//! asked for.

use crate::{Origin, Snapshot, StatusClass, Timestamp, TransactionRequest, Uid};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// One of the gateway's transactions that is, or may be, ours.
///
/// Beside the greatest snapshots it keeps what an earlier one showed and they no longer show.
/// Without that a later snapshot could take away what a final state had rested on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Our own task's result named it, or it was adopted as it is: it is ours.
    #[serde(rename = "b", default, skip_serializing_if = "std::ops::Not::not")]
    pub bound: bool,
    /// The greatest snapshot of all.
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Box<Snapshot>>,
    /// The greatest snapshot that agrees with what was asked, or that a person accepted; left out
    /// when it is the same as `latest`.
    #[serde(
        rename = "g",
        default,
        skip_serializing_if = "MatchingSnapshot::is_none"
    )]
    pub agreed: MatchingSnapshot,
    /// An earlier agreed snapshot was a better claim to be ours than the greatest one.
    #[serde(rename = "cl", default, skip_serializing_if = "Option::is_none")]
    pub claim_before: Option<OwnershipClaim>,
    /// An earlier agreed snapshot was successful, and the greatest one is not.
    #[serde(rename = "su", default, skip_serializing_if = "std::ops::Not::not")]
    pub succeeded_before: bool,
    /// `latest` is final, and this is the newest time at which the gateway said "not final" after
    /// it.
    #[serde(rename = "ct", default, skip_serializing_if = "Option::is_none")]
    pub contradicted_at: Option<Timestamp>,
    /// The ends that were told of it beside the one of `latest`.
    #[serde(rename = "oe", default, skip_serializing_if = "BTreeSet::is_empty")]
    pub other_ends: BTreeSet<StatusClass>,
    /// The best end that a signed webhook told of. No state rests on it; looks do.
    #[serde(rename = "et", default, skip_serializing_if = "Option::is_none")]
    pub final_via_webhook: Option<StatusClass>,
    /// The best end that was seen when we asked.
    #[serde(rename = "ea", default, skip_serializing_if = "Option::is_none")]
    pub final_via_query: Option<StatusClass>,
}

/// Which snapshot agrees with what was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchingSnapshot {
    /// None so far.
    #[default]
    #[serde(rename = "n")]
    None,
    /// The latest one.
    #[serde(rename = "l")]
    Latest,
    /// An earlier one.
    #[serde(rename = "e")]
    Earlier(Box<Snapshot>),
}

impl MatchingSnapshot {
    fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// A snapshot that agrees and is filed under our name claims to be ours. The later it was made,
/// the better the claim; one without a time of creation cannot be too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum OwnershipClaim {
    /// The gateway made it then.
    #[serde(rename = "m")]
    Made(Timestamp),
    /// The gateway does not say when it was made.
    #[serde(rename = "u")]
    Undated,
}

impl OwnershipClaim {
    fn of(opening: &TransactionRequest, agreed: &Snapshot) -> Option<Self> {
        let foreign = Mismatch::between(opening, agreed).tracking_id;
        (!foreign).then(|| agreed.created_at.map_or(Self::Undated, Self::Made))
    }
}

impl Candidate {
    /// The greatest snapshot that agrees with what was asked.
    pub fn agreed(&self) -> Option<&Snapshot> {
        match &self.agreed {
            MatchingSnapshot::None => None,
            MatchingSnapshot::Latest => self.latest.as_deref(),
            MatchingSnapshot::Earlier(snapshot) => Some(snapshot),
        }
    }

    /// The snapshot to show: the agreed one, or else the greatest of all.
    pub fn best_snapshot(&self) -> Option<&Snapshot> {
        self.agreed().or(self.latest.as_deref())
    }

    /// What the agreed snapshot amounts to; `Other` when none agrees.
    pub fn class(&self) -> StatusClass {
        self.agreed()
            .map_or(StatusClass::Other, |snapshot| snapshot.class)
    }

    /// Whether any agreed snapshot, up to now, was successful.
    pub fn ever_succeeded(&self) -> bool {
        self.succeeded_before || self.class() == StatusClass::Successful
    }

    /// The best claim that any agreed snapshot made.
    pub fn claim(&self, opening: &TransactionRequest) -> Option<OwnershipClaim> {
        self.claim_before.max(
            self.agreed()
                .and_then(|agreed| OwnershipClaim::of(opening, agreed)),
        )
    }

    /// Whether the greatest snapshot is one that does not agree with what was asked.
    pub fn differs(&self) -> bool {
        self.latest.is_some() && self.agreed != MatchingSnapshot::Latest
    }

    /// Joins one snapshot of this uid. `accepted`: a person takes it as it is.
    pub(crate) fn join(
        &mut self,
        opening: &TransactionRequest,
        snapshot: &Snapshot,
        accepted: bool,
    ) {
        let agrees = accepted || Mismatch::between(opening, snapshot).agree();
        let claim = self.claim(opening);
        let succeeded = self.ever_succeeded();
        let open_at = self.open_at();
        self.other_ends.extend(self.end());
        // Snapshots are large, and most are the first of their transaction: what can be compared where it
        // stands is not copied.
        let known = match std::mem::take(&mut self.agreed) {
            MatchingSnapshot::None => None,
            MatchingSnapshot::Latest => self.latest.clone(),
            MatchingSnapshot::Earlier(known) => Some(known),
        };
        let outranks = |known: Option<&Snapshot>| known.is_none_or(|k| snapshot.outranks(k));
        let is_best = agrees && outranks(known.as_deref());
        if outranks(self.latest.as_deref()) {
            self.latest = Some(Box::new(snapshot.clone()));
        }
        self.agreed = match known {
            _ if is_best => self.agreed_as(Cow::Borrowed(snapshot)),
            Some(known) => self.agreed_as(Cow::Owned(*known)),
            None => MatchingSnapshot::None,
        };
        self.keep_claim(
            opening,
            claim.max(
                agrees
                    .then(|| OwnershipClaim::of(opening, snapshot))
                    .flatten(),
            ),
        );
        let succeeds = agrees && snapshot.class == StatusClass::Successful;
        self.succeeded_before = (succeeded || succeeds) && self.class() != StatusClass::Successful;
        let said_open = if snapshot.class.is_final() {
            None
        } else {
            snapshot.updated_at
        };
        self.keep_contradiction(open_at.max(said_open));
        let said_end = Some(snapshot.class).filter(|class| class.is_final());
        self.other_ends.extend(said_end);
        if let Some(end) = self.end() {
            self.other_ends.remove(&end);
        }
    }

    /// The end that the greatest snapshot tells.
    fn end(&self) -> Option<StatusClass> {
        let class = self.latest.as_deref()?.class;
        class.is_final().then_some(class)
    }

    fn agreed_as(&self, best: Cow<'_, Snapshot>) -> MatchingSnapshot {
        if self.latest.as_deref() == Some(&*best) {
            MatchingSnapshot::Latest
        } else {
            MatchingSnapshot::Earlier(Box::new(best.into_owned()))
        }
    }

    fn keep_claim(&mut self, opening: &TransactionRequest, best: Option<OwnershipClaim>) {
        self.claim_before = None;
        if best > self.claim(opening) {
            self.claim_before = best;
        }
    }

    /// The newest time at which the gateway called it not final, as far as it still matters.
    fn open_at(&self) -> Option<Timestamp> {
        let latest = self
            .latest
            .as_deref()
            .filter(|latest| !latest.class.is_final());
        self.contradicted_at
            .max(latest.and_then(|latest| latest.updated_at))
    }

    fn keep_contradiction(&mut self, open_at: Option<Timestamp>) {
        let latest = self
            .latest
            .as_deref()
            .filter(|latest| latest.class.is_final());
        self.contradicted_at = latest.and_then(|l| open_at.filter(|at| Some(*at) > l.updated_at));
    }
}

/// How a snapshot differs from what was asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Another kind of transaction.
    pub kind: bool,
    /// Another amount.
    pub amount: bool,
    /// Another currency.
    pub currency: bool,
    /// Another parent.
    pub parent: bool,
    /// A test transaction for a live request, or the other way round.
    pub test: bool,
    /// Filed under another tracking id.
    pub tracking_id: bool,
    /// Something in it could not be read, so that it cannot be told.
    pub unread: bool,
}

impl Mismatch {
    /// What differs; a value absent on either side is no difference.
    pub fn between(opening: &TransactionRequest, snapshot: &Snapshot) -> Self {
        fn differ<T: PartialEq>(ours: Option<&T>, theirs: Option<&T>) -> bool {
            matches!((ours, theirs), (Some(a), Some(b)) if a != b)
        }
        let ours = differ(opening.tracking_id.as_ref(), snapshot.tracking_id.as_ref());
        Self {
            kind: snapshot
                .kind
                .as_deref()
                .is_some_and(|kind| kind != opening.kind.as_str()),
            amount: differ(opening.amount.as_ref(), snapshot.amount.as_ref()),
            currency: differ(opening.currency.as_ref(), snapshot.currency.as_ref()),
            parent: differ::<Uid>(opening.parent_uid.as_ref(), snapshot.parent_uid.as_ref()),
            test: differ(mode(opening).as_ref(), snapshot.test.as_ref()),
            tracking_id: ours && !has_parents_tracking_id(opening, snapshot),
            unread: snapshot.unread.is_some(),
        }
    }

    /// Whether the snapshot tells of what was asked. The tracking id is about whose it is, not
    /// about what it is.
    pub const fn agree(self) -> bool {
        let other = self.kind || self.amount || self.currency || self.parent || self.test;
        !(other || self.unread)
    }
}

/// The mode that was asked for: `true` for a test, and live where the request does not say. What we
/// learned of from the gateway is what it is, and a child that does not say goes with its parent.
pub fn mode(opening: &TransactionRequest) -> Option<bool> {
    let live = opening.origin == Origin::Api && !opening.kind.is_child();
    opening.test.or(live.then_some(false))
}

/// Whether a body that our own task, or the answer to our own submit, names as ours bears a name that
/// is not ours: such a word binds nothing.
pub fn is_misnamed(opening: &TransactionRequest, snapshot: &Snapshot) -> bool {
    Mismatch::between(opening, snapshot).tracking_id
}

/// Whether a child's snapshot is filed under its parent's tracking id, as is its siblings' and the
/// parent's own: that name alone says nothing about whose it is.
pub fn has_parents_tracking_id(opening: &TransactionRequest, snapshot: &Snapshot) -> bool {
    opening.kind.is_child()
        && snapshot.tracking_id.is_some()
        && snapshot.tracking_id != opening.tracking_id
        && snapshot.tracking_id == opening.parent_tracking_id
}
