//! What does not fit: findings that a person should see, and what indicates each.

use crate::candidate::{has_parents_tracking_id, mode};
use crate::fold::{Candidate, DerivedState, Mismatch, StateBasis, Summary};
use crate::{
    Currency, DiscrepancyKind, Mention, Snapshot, SnapshotKey, State, StatusClass,
    TransactionRequest, TransactionType, Uid,
};

impl From<&Snapshot> for Mention {
    /// What a snapshot says of it.
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            uid: snapshot.uid.to_string(),
            amount: snapshot.amount,
            currency: snapshot.currency.map(|code| code.to_string()),
            status: Some(snapshot.status.clone()),
        }
    }
}

/// These uids, each once, with what is known of them.
pub(crate) fn mentions<'a>(
    summary: &Summary,
    uids: impl IntoIterator<Item = Option<&'a Uid>>,
) -> Vec<Mention> {
    let mut all: Vec<Mention> = Vec::new();
    for uid in uids.into_iter().flatten() {
        // As the gateway has it now, whether or not that is what was asked for.
        let known = summary.candidates.get(uid);
        let known = known.and_then(|candidate| candidate.latest.as_deref());
        let known = known.or_else(|| summary.contested_as.get(uid).map(AsRef::as_ref));
        let mention = known.map_or_else(
            || Mention {
                uid: uid.to_string(),
                amount: None,
                currency: None,
                status: None,
            },
            Mention::from,
        );
        if all.iter().all(|other| other.uid != mention.uid) {
            all.push(mention);
        }
    }
    all
}

/// One thing that does not fit, as the evidence indicates it now.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discrepancy {
    /// Which kind.
    pub kind: DiscrepancyKind,
    /// About which of the gateway's transactions.
    pub uid: Option<Uid>,
    /// The snapshot that shows it, so that a later one is a new finding.
    pub basis: Option<SnapshotKey>,
    /// In plain words.
    pub detail: String,
    /// All of the gateway's transactions that it is about.
    pub uids: Vec<Mention>,
}

impl Discrepancy {
    /// Whether the same is told already. Another body about the same moment tells nothing new.
    pub fn is_among(&self, others: &[Self]) -> bool {
        self.among(others)
            .any(|other| (&other.detail, &other.uids) == (&self.detail, &self.uids))
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

/// All that a summary indicates. Independent of the order of arrival: what is not among it any more
/// has healed.
pub fn indicated_discrepancies(
    opening: &TransactionRequest,
    summary: &Summary,
    derived: &DerivedState,
) -> Vec<Discrepancy> {
    // What does not fit is told of the one that it is.
    if derived.state == State::Merged {
        return Vec::new();
    }
    let told = Telling {
        opening,
        summary,
        derived,
    };
    let mut found = Vec::new();
    for (uid, candidate) in &summary.candidates {
        told.about_candidate(uid, candidate, &mut found);
    }
    told.about_several(&mut found);
    if let StateBasis::EarlierRules(ruled) = derived.basis {
        found.push(decided_before(summary, derived, ruled));
    }
    for (uid, snapshot) in &summary.anothers {
        found.extend(told.about_anothers(uid, snapshot));
    }
    let is_ours = |uid: &Uid| {
        let candidate = summary.candidates.get(uid);
        candidate.is_some_and(|candidate| summary.is_eligible(opening, candidate))
    };
    for uid in summary.contested.iter().filter(|uid| !is_ours(uid)) {
        let detail = format!("it cannot be told whose transaction {uid} is: this one, or another");
        found.push(told.ambiguous(uid, None, detail));
    }
    let known = derived
        .uid
        .as_ref()
        .filter(|uid| summary.missing.contains(*uid));
    if let Some(uid) = known {
        found.push(Discrepancy {
            kind: DiscrepancyKind::MissingAtGateway,
            uid: Some(uid.clone()),
            basis: None,
            detail: format!("the gateway answered 404 to a look-up of {uid}"),
            uids: mentions(summary, [Some(uid)]),
        });
    }
    found
}

/// It stays as an earlier release has ended it, and would be otherwise now.
fn decided_before(summary: &Summary, derived: &DerivedState, ruled: State) -> Discrepancy {
    Discrepancy {
        kind: DiscrepancyKind::StatusConflict,
        uid: None,
        basis: None,
        detail: format!(
            "an earlier release ended it as {}; by the rules of now it would be {ruled}",
            derived.state
        ),
        uids: mentions(summary, [derived.uid.as_ref()]),
    }
}

/// What findings are told from.
struct Telling<'a> {
    opening: &'a TransactionRequest,
    summary: &'a Summary,
    derived: &'a DerivedState,
}

impl Telling<'_> {
    /// About one of the gateway's transactions; the one that our state rests on is named beside it.
    fn finding(
        &self,
        kind: DiscrepancyKind,
        uid: &Uid,
        basis: Option<SnapshotKey>,
        detail: String,
    ) -> Discrepancy {
        Discrepancy {
            kind,
            uid: Some(uid.clone()),
            basis,
            detail,
            uids: mentions(self.summary, [Some(uid), self.derived.uid.as_ref()]),
        }
    }

    fn ambiguous(&self, uid: &Uid, basis: Option<SnapshotKey>, detail: String) -> Discrepancy {
        self.finding(DiscrepancyKind::AmbiguousTrackingId, uid, basis, detail)
    }

    /// A uid has one owner. That another of ours has it is told, unless it is ours by now.
    fn about_anothers(&self, uid: &Uid, snapshot: &Snapshot) -> Option<Discrepancy> {
        let candidate = self.summary.candidates.get(uid);
        if candidate.is_some_and(|c| self.summary.is_eligible(self.opening, c)) {
            return None;
        }
        let detail = format!(
            "{uid} was named as this one, and belongs to another transaction: it cannot be told which \
             of the two it is"
        );
        let mut finding = self.ambiguous(uid, Some(snapshot.key()), detail);
        finding.uids = vec![Mention::from(snapshot)];
        let rests = mentions(self.summary, [self.derived.uid.as_ref()]);
        finding.uids.extend(rests);
        Some(finding)
    }

    fn about_candidate(&self, uid: &Uid, candidate: &Candidate, found: &mut Vec<Discrepancy>) {
        let (opening, summary) = (self.opening, self.summary);
        let Some(latest) = candidate.latest.as_deref() else {
            return;
        };
        let key = Some(latest.key());
        let older = summary.predates_first_attempt(latest);
        let named = is_filed_as_ours(opening, latest);
        let eligible = summary.is_eligible(opening, candidate);
        // What is ours already stays it, whatever name it bears by now.
        if candidate.differs() && (eligible || (named && !older)) {
            self.mismatches(latest, found);
        }
        if !eligible && named && older && !summary.attempts.is_empty() {
            let mut detail = format!("{uid} was made before this transaction was first sent");
            if summary.is_of_doubtful_age(opening, candidate) {
                detail.push_str(
                    ", by less than a clock may be wrong: it is not taken for this one, and while it \
                     is there, absence is not proved",
                );
            }
            found.push(self.ambiguous(uid, key, detail));
        }
        if !eligible && summary.misnamed.contains(uid) {
            let name = latest.tracking_id.as_ref();
            let name = name.map_or_else(String::new, ToString::to_string);
            let detail = format!(
                "our own request was answered with {uid}, which is filed under {name:?}: it is not \
                 taken for this one on that word alone"
            );
            found.push(self.ambiguous(uid, key, detail));
        }
        if let Some(detail) = not_understood(latest, Mismatch::between(opening, latest)) {
            found.push(self.finding(DiscrepancyKind::UnknownBody, uid, key, detail));
        }
    }

    fn mismatches(&self, latest: &Snapshot, found: &mut Vec<Discrepancy>) {
        let opening = self.opening;
        let differences = Mismatch::between(opening, latest);
        let mut tell = |kind, detail| {
            found.push(self.finding(kind, &latest.uid, Some(latest.key()), detail));
        };
        if differences.amount {
            let ours = opening.amount.unwrap_or_default();
            let theirs = latest.amount.unwrap_or_default();
            let written = latest.amount_written.as_deref();
            let written = written.map_or(String::new(), |text| format!(", written {text:?}"));
            let detail =
                format!("asked for {ours}, the gateway has {theirs}{written} (minor units)");
            tell(DiscrepancyKind::AmountMismatch, detail);
        }
        if differences.currency {
            let word = |code: Option<Currency>| code.map_or(String::new(), |c| c.to_string());
            let detail = format!(
                "asked in {}, the gateway has {}",
                word(opening.currency),
                word(latest.currency)
            );
            tell(DiscrepancyKind::CurrencyMismatch, detail);
        }
        if differences.kind {
            let theirs = latest.kind.as_deref().unwrap_or("nothing");
            let detail = format!("asked for a {}, the gateway has a {theirs}", opening.kind);
            tell(DiscrepancyKind::TypeMismatch, detail);
        }
        if differences.parent {
            let word = |parent: &Option<Uid>| parent.as_ref().map_or(String::new(), Uid::to_string);
            let ours = word(&opening.parent_uid);
            let theirs = word(&latest.parent_uid);
            let detail = format!(
                "asked for a {} of {ours}, the gateway has one of {theirs}",
                opening.kind
            );
            tell(DiscrepancyKind::TypeMismatch, detail);
        }
        if differences.test {
            let word =
                |test: Option<bool>| test.map_or("nothing", |t| if t { "test" } else { "live" });
            let detail = format!(
                "asked for a {} transaction, the gateway has a {} one",
                word(mode(opening)),
                word(latest.test)
            );
            tell(DiscrepancyKind::TestLiveMix, detail);
        }
    }

    /// More than one that may be ours: which of them our state rests on, and how much money the others
    /// are, is told at once and for as long as it is so.
    fn about_several(&self, found: &mut Vec<Discrepancy>) {
        let succeeded = |candidate: &Candidate| {
            let latest = candidate.latest.as_deref().map(|snapshot| snapshot.class);
            [Some(candidate.class()), latest].contains(&Some(StatusClass::Successful))
        };
        let eligible = |of: &dyn Fn(&Candidate) -> bool| -> Vec<&Uid> {
            let all = self.summary.candidates.iter();
            all.filter(|(_, c)| self.summary.is_eligible(self.opening, c) && of(c))
                .map(|(uid, _)| uid)
                .collect()
        };
        let list = |uids: &[&Uid]| {
            let names: Vec<String> = uids.iter().map(ToString::to_string).collect();
            names.join(", ")
        };
        let all = eligible(&|candidate| candidate.latest.is_some());
        if all.len() < 2 {
            return;
        }
        let successes = eligible(&succeeded);
        let (kind, mut detail) = if successes.len() > 1 {
            (
                DiscrepancyKind::DuplicateSuccess,
                format!("more than one succeeded: {}", list(&successes)),
            )
        } else {
            (
                DiscrepancyKind::AmbiguousTrackingId,
                format!("several transactions answer to it: {}", list(&all)),
            )
        };
        let ours = eligible(&|candidate| candidate.bound);
        if let Some(rests) = self.derived.uid.as_ref()
            && !ours.is_empty()
            && !ours.contains(&rests)
        {
            detail.push_str(&format!(
                "; this one counts by {rests}, and our own task named {}",
                list(&ours)
            ));
        }
        found.push(Discrepancy {
            kind,
            uid: None,
            basis: None,
            detail,
            uids: mentions(self.summary, all.into_iter().map(Some)),
        });
    }
}

/// What of a snapshot is no word or number as it should be.
fn not_understood(latest: &Snapshot, differences: Mismatch) -> Option<String> {
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
fn is_filed_as_ours(opening: &TransactionRequest, snapshot: &Snapshot) -> bool {
    let kind = snapshot.kind.as_deref().and_then(TransactionType::parse);
    let our_child = !opening.kind.is_child() && kind.is_some_and(TransactionType::is_child);
    let foreign = Mismatch::between(opening, snapshot).tracking_id;
    !foreign && !our_child && !has_parents_tracking_id(opening, snapshot)
}
