//! What does not fit: findings that a person should see, and what indicates each.

use crate::domain::candidate::is_under_parents_name;
use crate::domain::fold::{Candidate, Derived, Differences, Summary};
use crate::domain::transaction::words;
use crate::domain::{Currency, Opening, Snapshot, SnapshotKey, StatusClass, TransactionType, Uid};

words! {
    /// The kinds of finding. The words are part of the API.
    DiscrepancyKind {
        /// A webhook tells of a transaction that we know nothing of.
        OrphanWebhook = "orphan_webhook",
        /// A uid that we know was answered 404.
        MissingAtGateway = "missing_at_gateway",
        /// The gateway has a transaction that was not made through us.
        MissingHere = "missing_here",
        /// The gateway contradicts a final status of its own.
        StatusConflict = "status_conflict",
        /// The gateway has another amount.
        AmountMismatch = "amount_mismatch",
        /// The gateway has another currency.
        CurrencyMismatch = "currency_mismatch",
        /// The gateway has another kind of transaction.
        TypeMismatch = "type_mismatch",
        /// More than one transaction succeeded under one tracking id.
        DuplicateSuccess = "duplicate_success",
        /// It cannot be told which transaction a tracking id means.
        AmbiguousTrackingId = "ambiguous_tracking_id",
        /// It has not ended for too long.
        PendingTooLong = "pending_too_long",
        /// It succeeded after it had been told to have ended otherwise.
        LateSuccess = "late_success",
        /// The gateway changed a final status.
        ManualCorrection = "manual_correction",
        /// A chargeback whose parent is not known.
        ChargebackUnmatched = "chargeback_unmatched",
        /// A test transaction for a live request, or the other way round.
        TestLiveMix = "test_live_mix",
        /// Somebody sent a webhook with a wrong signature or wrong credentials.
        SignatureRejected = "signature_rejected",
        /// The gateway said something that could not be understood.
        UnknownBody = "unknown_body",
    }
}

words! {
    /// Whether a finding still needs a person.
    DiscrepancyStatus {
        /// Nobody has closed it, and it has not healed.
        Open = "open",
        /// A person closed it, or the gateway corrected itself.
        Resolved = "resolved",
    }
}

impl DiscrepancyKind {
    /// Whether it goes away by itself when the evidence no longer indicates it.
    pub const fn heals(self) -> bool {
        matches!(
            self,
            Self::AmountMismatch | Self::CurrencyMismatch | Self::TypeMismatch
        )
    }
}

/// One thing that does not fit, as the evidence indicates it now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which kind.
    pub kind: DiscrepancyKind,
    /// About which of the gateway's transactions.
    pub uid: Option<Uid>,
    /// The snapshot that shows it, so that a later one is a new finding.
    pub basis: Option<SnapshotKey>,
    /// In plain words.
    pub detail: String,
}

impl Finding {
    /// Whether the same is told already. Another body about the same moment tells nothing new.
    pub fn is_among(&self, others: &[Self]) -> bool {
        self.among(others).any(|other| other.detail == self.detail)
    }

    /// Whether one of its kind about the same moment is told already, whatever it says.
    pub fn is_dated_as_in(&self, others: &[Self]) -> bool {
        self.among(others).next().is_some()
    }

    fn among<'a>(&'a self, others: &'a [Self]) -> impl Iterator<Item = &'a Self> {
        let moment = |finding: &Self| finding.basis.map(|key| key.updated_at);
        others.iter().filter(move |other| {
            (other.kind, &other.uid, moment(other)) == (self.kind, &self.uid, moment(self))
        })
    }
}

/// All that a summary indicates. Independent of the order of arrival.
pub fn findings(opening: &Opening, summary: &Summary, derived: &Derived) -> Vec<Finding> {
    let mut found = Vec::new();
    for (uid, candidate) in &summary.candidates {
        about_candidate(opening, summary, uid, candidate, &mut found);
    }
    about_several(opening, summary, &mut found);
    for uid in &summary.contested {
        found.push(finding(
            DiscrepancyKind::AmbiguousTrackingId,
            Some(uid),
            None,
            format!("it cannot be told whose transaction {uid} is: this one, or another"),
        ));
    }
    let known = derived
        .uid
        .as_ref()
        .filter(|uid| summary.missing.contains(*uid));
    if let Some(uid) = known {
        found.push(finding(
            DiscrepancyKind::MissingAtGateway,
            Some(uid),
            None,
            format!("the gateway answered 404 to a look-up of {uid}"),
        ));
    }
    found
}

fn finding(
    kind: DiscrepancyKind,
    uid: Option<&Uid>,
    basis: Option<SnapshotKey>,
    detail: String,
) -> Finding {
    Finding {
        kind,
        uid: uid.cloned(),
        basis,
        detail,
    }
}

fn about_candidate(
    opening: &Opening,
    summary: &Summary,
    uid: &Uid,
    candidate: &Candidate,
    found: &mut Vec<Finding>,
) {
    let Some(latest) = candidate.latest.as_deref() else {
        return;
    };
    let key = Some(latest.key());
    let differences = Differences::between(opening, latest);
    let older = summary.is_older(latest);
    let named = is_filed_as_ours(opening, latest);
    if candidate.differs() && (candidate.bound || (named && !older)) {
        mismatches(opening, latest, differences, found);
    }
    if !candidate.bound && named && older && !summary.attempts.is_empty() {
        let mut detail = format!("{uid} was made before this transaction was first sent");
        if summary.is_of_doubtful_age(opening, candidate) {
            detail.push_str(
                ", by less than a clock may be wrong: it is not taken for this one, and while it is \
                 there, absence is not proved",
            );
        }
        found.push(finding(
            DiscrepancyKind::AmbiguousTrackingId,
            Some(uid),
            key,
            detail,
        ));
    }
    if let (Some(ours), Some(theirs)) = (opening.test, latest.test)
        && ours != theirs
        && summary.is_eligible(opening, candidate)
    {
        let detail = format!("asked with test={ours}, the gateway has test={theirs}");
        found.push(finding(
            DiscrepancyKind::TestLiveMix,
            Some(uid),
            key,
            detail,
        ));
    }
    if let Some(detail) = not_understood(latest, differences) {
        found.push(finding(
            DiscrepancyKind::UnknownBody,
            Some(uid),
            key,
            detail,
        ));
    }
}

/// What of a snapshot is no word or number as it should be.
fn not_understood(latest: &Snapshot, differences: Differences) -> Option<String> {
    let mut told = Vec::new();
    if latest.class == StatusClass::Other {
        told.push(format!("unknown status word {:?}", latest.status));
    }
    if let Some(unread) = &latest.unread {
        told.push(format!("what cannot be read: {unread}"));
    }
    if let (true, Some(written)) = (differences.amount, &latest.amount_written) {
        let units = latest.amount.unwrap_or_default();
        told.push(format!(
            "the amount is written {written:?}, which was read as {units} minor units"
        ));
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// Whether a snapshot found by tracking id alone claims to be this very transaction. What is filed
/// under a parent's name is as likely a sibling, and a child filed under our name is a child.
fn is_filed_as_ours(opening: &Opening, snapshot: &Snapshot) -> bool {
    let kind = snapshot.kind.as_deref().and_then(TransactionType::parse);
    let our_child = !opening.kind.is_child() && kind.is_some_and(TransactionType::is_child);
    let foreign = Differences::between(opening, snapshot).tracking_id;
    !foreign && !our_child && !is_under_parents_name(opening, snapshot)
}

fn mismatches(
    opening: &Opening,
    latest: &Snapshot,
    differences: Differences,
    found: &mut Vec<Finding>,
) {
    let uid = Some(&latest.uid);
    let key = Some(latest.key());
    if differences.amount {
        let ours = opening.amount.unwrap_or_default();
        let theirs = latest.amount.unwrap_or_default();
        let written = latest.amount_written.as_deref();
        let written = written.map_or(String::new(), |text| format!(", written {text:?}"));
        let detail = format!("asked for {ours}, the gateway has {theirs}{written} (minor units)");
        found.push(finding(DiscrepancyKind::AmountMismatch, uid, key, detail));
    }
    if differences.currency {
        let word = |c: Option<Currency>| c.map_or(String::new(), |c| c.to_string());
        let detail = format!(
            "asked in {}, the gateway has {}",
            word(opening.currency),
            word(latest.currency)
        );
        found.push(finding(DiscrepancyKind::CurrencyMismatch, uid, key, detail));
    }
    if differences.kind {
        let theirs = latest.kind.as_deref().unwrap_or("nothing");
        let detail = format!("asked for a {}, the gateway has a {theirs}", opening.kind);
        found.push(finding(DiscrepancyKind::TypeMismatch, uid, key, detail));
    }
    if differences.parent {
        let word = |parent: &Option<Uid>| parent.as_ref().map_or(String::new(), Uid::to_string);
        let ours = word(&opening.parent_uid);
        let theirs = word(&latest.parent_uid);
        let detail = format!(
            "asked for a {} of {ours}, the gateway has one of {theirs}",
            opening.kind
        );
        found.push(finding(DiscrepancyKind::TypeMismatch, uid, key, detail));
    }
}

fn about_several(opening: &Opening, summary: &Summary, found: &mut Vec<Finding>) {
    let succeeded = |candidate: &Candidate| {
        let latest = candidate.latest.as_deref().map(|snapshot| snapshot.class);
        [Some(candidate.class()), latest].contains(&Some(StatusClass::Successful))
    };
    let names = |of: &dyn Fn(&Candidate) -> bool| -> Vec<String> {
        let shown = summary
            .eligible(opening)
            .filter(|c| of(c))
            .filter_map(Candidate::shown);
        shown.map(|snapshot| snapshot.uid.to_string()).collect()
    };
    let all = names(&|_| true);
    let successes = names(&succeeded);
    let (kind, detail) = if successes.len() > 1 {
        let list = successes.join(", ");
        (
            DiscrepancyKind::DuplicateSuccess,
            format!("more than one succeeded: {list}"),
        )
    } else {
        let list = all.join(", ");
        (
            DiscrepancyKind::AmbiguousTrackingId,
            format!("several transactions answer to it: {list}"),
        )
    };
    if all.len() > 1 {
        found.push(finding(kind, None, None, detail));
    }
}
