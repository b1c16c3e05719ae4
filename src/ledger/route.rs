//! To whom evidence belongs. A body may tell of several transactions; each is brought to its owner,
//! to the one that may be its owner, to a new row, or to those that belong to nobody.
//!
//! Everything is read before anything is locked, so that nothing is locked late.

use crate::ledger::batch::BatchRows;
use crate::ledger::batch_store::BatchStore;
use crate::ledger::{EvidenceTarget, LedgerCommand, RecordEvidence};
use crate::observation::Observation;
use crate::store::StoreError;
use crate::store::batch::LookupKeys;
use domain::candidate::is_misnamed;
use domain::evidence::FoundBy;
use domain::explain::describe_fact;
use domain::fold::Mismatch;
use domain::{
    Channel, Fact, Origin, ShopId, Snapshot, Summary, TrackingId, TransactionType, Uid, Verdict,
};
use serde_json::json;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// What is known of owners before the batch locks anything.
#[derive(Debug, Default)]
pub(crate) struct OwnerIndex {
    owners: HashMap<String, Uuid>,
    ours: HashMap<String, Uuid>,
    children: HashMap<String, Vec<Uuid>>,
    claims: Vec<(String, Uuid)>,
    merges: Vec<(Uuid, Uuid)>,
}

/// Where facts of one piece of evidence go.
#[derive(Debug)]
pub(crate) enum RoutedFacts<'a> {
    /// To this transaction.
    To(Uuid, Vec<Cow<'a, Fact>>),
    /// To a new one of origin `gateway`.
    Adopt(Box<Snapshot>),
    /// To a new one of origin `gateway`, unless one of those to whom it was brought before has taken it for
    /// its own. What it is when the gateway does not say.
    Unclaimed(Box<Snapshot>, Option<TransactionType>),
    /// To nobody.
    Orphan(Option<Box<Snapshot>>),
    /// To another of ours than the one whose request it answers, whose name it bears: as an act of its own,
    /// since the body itself is about that request.
    Offered(Uuid, Box<Observation>, Box<Fact>),
}

impl OwnerIndex {
    /// Looks up everything that the jobs of a batch name.
    pub(crate) async fn look_up<T: BatchStore>(
        tables: &mut T,
        shop: &ShopId,
        works: &[LedgerCommand],
    ) -> Result<Self, StoreError> {
        let mut uids = BTreeSet::new();
        let mut tracking = BTreeSet::new();
        let mut parents = BTreeSet::new();
        for work in works {
            match work {
                LedgerCommand::Open(open) => {
                    tracking.extend(open.opening.tracking_id.iter().map(TrackingId::as_str));
                }
                LedgerCommand::Record(record) => {
                    let named = record
                        .observation
                        .facts
                        .iter()
                        .filter_map(|fact| match fact {
                            Fact::Decided(decision) => decision.uid.as_ref(),
                            _ => None,
                        });
                    uids.extend(named.map(Uid::as_str));
                    for snapshot in record.observation.snapshots() {
                        uids.insert(snapshot.uid.as_str());
                        tracking.extend(snapshot.tracking_id.iter().map(TrackingId::as_str));
                        let parent = snapshot.parent_uid.iter().map(Uid::as_str);
                        parents.extend(parent.clone());
                        uids.extend(parent);
                    }
                }
                LedgerCommand::Stamp(stamp, _) => {
                    uids.extend(stamp.told_before.iter().map(Uid::as_str))
                }
                LedgerCommand::Close(_) => {}
            }
        }
        fn list(set: BTreeSet<&str>) -> Vec<&str> {
            set.into_iter().collect()
        }
        let names = LookupKeys {
            uids: list(uids),
            tracking_ids: list(tracking),
            parents: list(parents),
        };
        let mut found = Self::default();
        if names.is_empty() {
            return Ok(found);
        }
        let known = tables.look_up(shop, &names).await?;
        found.owners.extend(known.owners);
        found.ours.extend(known.ours);
        for child in known.children {
            let children = found.children.entry(child.parent_uid).or_default();
            children.push(child.id);
        }
        Ok(found)
    }

    /// All transactions that the jobs may touch, to be locked at once.
    pub(crate) fn transactions_to_lock(&self, works: &[LedgerCommand]) -> BTreeSet<Uuid> {
        let mut ids: BTreeSet<Uuid> = self.owners.values().copied().collect();
        ids.extend(self.children.values().flatten());
        for work in works {
            match work {
                LedgerCommand::Open(open) => {
                    // A second run of a batch finds its own row.
                    let name = open.opening.tracking_id.as_ref();
                    let ours = name.and_then(|name| self.by_tracking_id(name.as_str()));
                    ids.extend(ours.filter(|id| *id == open.id));
                }
                LedgerCommand::Record(record) => {
                    if let EvidenceTarget::Transaction(id) = record.target {
                        ids.insert(id);
                    }
                    let names = record
                        .observation
                        .snapshots()
                        .filter_map(|s| s.tracking_id.as_ref());
                    ids.extend(names.filter_map(|name| self.ours.get(name.as_str())));
                }
                LedgerCommand::Stamp(stamp, _) => {
                    ids.insert(stamp.id);
                }
                LedgerCommand::Close(_) => {}
            }
        }
        ids
    }

    /// The transaction made through the API under a tracking id.
    pub(crate) fn by_tracking_id(&self, tracking_id: &str) -> Option<Uuid> {
        self.ours.get(tracking_id).copied()
    }

    /// Who owns a uid.
    pub(crate) fn owner(&self, uid: &Uid) -> Option<Uuid> {
        self.owners.get(uid.as_str()).copied()
    }

    /// Makes a transaction the owner of a uid that had none.
    pub(crate) fn assign_uid(&mut self, uid: &Uid, id: Uuid) {
        self.owners.insert(uid.to_string(), id);
        self.claims.push((uid.to_string(), id));
    }

    /// One of origin `gateway` is one of ours: that one owns what the other did.
    pub(crate) fn merge(&mut self, from: Uuid, into: Uuid) {
        let owned = self.owners.values_mut().filter(|owner| **owner == from);
        owned.for_each(|owner| *owner = into);
        self.merges.push((from, into));
    }

    /// What this very batch has merged.
    pub(crate) fn merges(&self) -> &[(Uuid, Uuid)] {
        &self.merges
    }

    /// All that own something that the batch names.
    pub(crate) fn all_owners(&self) -> impl Iterator<Item = Uuid> {
        self.owners.values().copied()
    }

    /// Whether a uid belongs to another than this one. What was learned of from the gateway gives way to
    /// what was made through us.
    pub(crate) fn is_anothers(&self, uid: &Uid, id: Uuid, rows: &BatchRows) -> bool {
        let ours = rows
            .get(id)
            .is_some_and(|row| row.opening.origin == Origin::Api);
        self.owner(uid)
            .is_some_and(|owner| owner != id && !(ours && gives_way(owner, rows)))
    }

    /// The owners that this very batch has made.
    pub(crate) fn new_claims(&self) -> Vec<(String, Uuid)> {
        self.claims.clone()
    }

    /// Decides where the facts of one record go. The target itself always gets its evidence.
    pub(crate) fn route<'a>(
        &self,
        record: &'a RecordEvidence,
        rows: &BatchRows,
    ) -> Vec<RoutedFacts<'a>> {
        let learned = &record.observation;
        let target = match record.target {
            EvidenceTarget::Transaction(id) => Some(id),
            EvidenceTarget::Snapshots => None,
        };
        let mut shares: Vec<(Uuid, Vec<Cow<'a, Fact>>)> =
            target.map(|id| (id, Vec::new())).into_iter().collect();
        // What was not asked for is not the target's, unless it bears its name.
        let asked_for = target.filter(|_| !learned.strays);
        let mut others = Vec::new();
        for fact in &learned.facts {
            let homes = match fact {
                Fact::Seen {
                    snapshot,
                    found_by: FoundBy::TrackingId,
                } => self.homes(snapshot, fact, (asked_for, learned.adopts), rows),
                fact => {
                    let own = target.map(|id| RoutedOwner::Row(id, Cow::Borrowed(fact)));
                    let named = target.and_then(|id| self.named_another(id, fact, rows));
                    let named = named.into_iter().flatten();
                    own.into_iter().chain(named).collect()
                }
            };
            for home in homes {
                match home {
                    RoutedOwner::Row(id, fact) => match shares.iter_mut().find(|(to, _)| *to == id)
                    {
                        Some((_, facts)) => facts.push(fact),
                        None => shares.push((id, vec![fact])),
                    },
                    RoutedOwner::Offered(id, told, fact) => {
                        others.push(RoutedFacts::Offered(id, told, fact))
                    }
                    RoutedOwner::New(snapshot) => others.push(RoutedFacts::Adopt(snapshot)),
                    RoutedOwner::Unclaimed(snapshot, kind) => {
                        others.push(RoutedFacts::Unclaimed(snapshot, kind));
                    }
                    RoutedOwner::Nobody(snapshot) => {
                        others.push(RoutedFacts::Orphan(Some(snapshot)))
                    }
                }
            }
        }
        if shares.is_empty() && others.is_empty() {
            others.push(RoutedFacts::Orphan(None));
        }
        if learned.verdict == Some(Verdict::Hint) {
            return hints(shares, others);
        }
        shares
            .into_iter()
            .map(|(id, facts)| RoutedFacts::To(id, facts))
            .chain(others)
            .collect()
    }

    /// Where a description goes that answers the request of one of ours and bears a name that is not that
    /// one's: to whom it would go if it had been found. One that tells of a duplicate describes what it
    /// clashed with in words about the clash.
    fn named_another<'a>(
        &self,
        target: Uuid,
        fact: &Fact,
        rows: &BatchRows,
    ) -> Option<Vec<RoutedOwner<'a>>> {
        let (Fact::TaskResult { snapshot, .. } | Fact::Answered { snapshot, .. }) = fact else {
            return None;
        };
        let is_misnamed = is_misnamed(&rows.get(target)?.opening, snapshot);
        let is_clash = snapshot.code.as_deref() == Some("E.1018");
        let owner = self.owner(&snapshot.uid);
        let is_news = owner.is_none_or(|owner| is_news(rows, owner, snapshot));
        if !is_misnamed || is_clash || !is_news {
            return None;
        }
        let seen = Fact::Seen {
            snapshot: snapshot.clone(),
            found_by: FoundBy::TrackingId,
        };
        let offer = |id: Uuid, fact: Fact| {
            let act = json!({ "answered": target, "snapshot": &**snapshot });
            let mut told = Observation::local(Channel::Local, "offered", &act, vec![seen.clone()]);
            told.note = Some(format!(
                "what ~{target} was answered bears this name: {}",
                describe_fact(&seen)
            ));
            RoutedOwner::Offered(id, Box::new(told), Box::new(fact))
        };
        let homes = self.homes(snapshot, &seen, (None, true), rows).into_iter();
        let homes = homes.filter_map(|home| match home {
            RoutedOwner::Row(id, fact) => (id != target).then(|| offer(id, fact.into_owned())),
            RoutedOwner::New(snapshot) => Some(RoutedOwner::New(snapshot)),
            RoutedOwner::Unclaimed(snapshot, kind) => Some(RoutedOwner::Unclaimed(snapshot, kind)),
            RoutedOwner::Nobody(_) | RoutedOwner::Offered(..) => None,
        });
        Some(homes.collect())
    }

    /// Where one description goes. Ours come first: one that was made through us owns it, or may own it; one
    /// of origin `gateway` gives way; and what nobody takes is taken over.
    fn homes<'a>(
        &self,
        s: &Snapshot,
        fact: &'a Fact,
        (target, adopts): (Option<Uuid>, bool),
        rows: &BatchRows,
    ) -> Vec<RoutedOwner<'a>> {
        let Some(owner) = self.owner(&s.uid) else {
            return self.offered(s, fact, (target, adopts), rows);
        };
        let looked_for_another = target.is_some_and(|target| target != owner);
        let is_news = !looked_for_another || is_news(rows, owner, s);
        let to_owner = is_news.then_some(RoutedOwner::Row(owner, Cow::Borrowed(fact)));
        if gives_way(owner, rows) {
            let ours = self.offered(s, fact, (target, adopts), rows).into_iter();
            let ours = ours.filter(|home| matches!(home, RoutedOwner::Row(..)));
            return ours.chain(to_owner).collect();
        }
        let named = self.owner_by_tracking_id(s).filter(|named| *named != owner);
        let told = named.filter(|named| would_be_ours(rows, *named, s));
        let told = told.map(|named| {
            let snapshot = Box::new(s.clone());
            RoutedOwner::Row(named, Cow::Owned(Fact::Anothers { by: None, snapshot }))
        });
        to_owner.into_iter().chain(told).collect()
    }

    /// The one made through the API under the name that a description bears.
    fn owner_by_tracking_id(&self, s: &Snapshot) -> Option<Uuid> {
        s.tracking_id
            .as_ref()
            .and_then(|t| self.by_tracking_id(t.as_str()))
    }

    /// To whom a description goes that belongs to none of ours yet.
    fn offered<'a>(
        &self,
        s: &Snapshot,
        fact: &'a Fact,
        (target, adopts): (Option<Uuid>, bool),
        rows: &BatchRows,
    ) -> Vec<RoutedOwner<'a>> {
        let whole = |id| RoutedOwner::Row(id, Cow::Borrowed(fact));
        let kind = s.kind.as_deref().and_then(TransactionType::parse);
        let named = self.owner_by_tracking_id(s);
        let is_child = s.parent_uid.is_some() || kind.is_some_and(TransactionType::is_child);
        let or_nobody = |id: Uuid| {
            let kind = kind.or(rows.get(id).map(|row| row.opening.kind));
            vec![whole(id), RoutedOwner::Unclaimed(Box::new(s.clone()), kind)]
        };
        if !is_child {
            return match named.or(target) {
                Some(id) => or_nobody(id),
                None if adopts && kind.is_some() => vec![RoutedOwner::New(Box::new(s.clone()))],
                None => vec![RoutedOwner::Nobody(Box::new(s.clone()))],
            };
        }
        let same_kind = |id: &Uuid| {
            rows.get(*id)
                .is_some_and(|row| Some(row.opening.kind) == kind)
        };
        if let Some(id) = named.filter(same_kind) {
            return or_nobody(id);
        }
        let contested = |ids: &[Uuid]| -> Vec<RoutedOwner<'a>> {
            let contested = || {
                let snapshot = Box::new(s.clone());
                Cow::Owned(Fact::Contested { snapshot })
            };
            ids.iter()
                .map(|id| RoutedOwner::Row(*id, contested()))
                .collect()
        };
        let possible =
            |age: fn(&Summary, &Snapshot) -> bool| self.possible_children(s, kind, rows, age);
        match possible(|known, s| !known.predates_first_attempt(s)).as_slice() {
            [only] => return or_nobody(*only),
            [] => {}
            several => return contested(several),
        }
        // Nothing but its age speaks against it: while it stands there, absence is not proved.
        match possible(Summary::is_within_clock_fault).as_slice() {
            [] => {
                let parent = s.parent_uid.as_ref().and_then(|uid| self.owner(uid));
                let is_known = adopts || parent.is_some() || target.is_some();
                if kind.is_some() && is_known {
                    vec![RoutedOwner::New(Box::new(s.clone()))]
                } else {
                    vec![RoutedOwner::Nobody(Box::new(s.clone()))]
                }
            }
            doubtful => contested(doubtful),
        }
    }

    /// Children of the same parent that this could be: same kind and amount, filed under their own
    /// name or the parent's, of an age that fits, and without a uid of their own.
    fn possible_children(
        &self,
        s: &Snapshot,
        kind: Option<TransactionType>,
        rows: &BatchRows,
        age: fn(&Summary, &Snapshot) -> bool,
    ) -> Vec<Uuid> {
        let Some(parent) = &s.parent_uid else {
            return Vec::new();
        };
        let Some(children) = self.children.get(parent.as_str()) else {
            return Vec::new();
        };
        let fits = |id: &&Uuid| {
            rows.get(**id).is_some_and(|row| {
                let differences = Mismatch::between(&row.opening, s);
                Some(row.opening.kind) == kind
                    && differences.agree()
                    && !differences.tracking_id
                    && age(&row.summary, s)
                    && row.derived().uid.is_none()
            })
        };
        children.iter().filter(fits).copied().collect()
    }
}

/// A hint is kept where it belongs, and not believed: it moves nothing, and nothing is taken over on
/// its word.
fn hints<'a>(
    shares: Vec<(Uuid, Vec<Cow<'a, Fact>>)>,
    others: Vec<RoutedFacts<'a>>,
) -> Vec<RoutedFacts<'a>> {
    let kept = shares
        .into_iter()
        .map(|(id, _)| RoutedFacts::To(id, Vec::new()));
    let orphaned = others.into_iter().filter_map(|other| match other {
        RoutedFacts::Adopt(snapshot) => Some(RoutedFacts::Orphan(Some(snapshot))),
        // It is kept where it was brought to.
        RoutedFacts::Unclaimed(..) => None,
        other => Some(other),
    });
    kept.chain(orphaned).collect()
}

/// Whether a transaction gives its uid up to one of ours: it was learned of from the gateway.
pub(crate) fn gives_way(id: Uuid, rows: &BatchRows) -> bool {
    rows.get(id)
        .is_some_and(|row| row.opening.origin == Origin::Gateway)
}

/// Whether a description tells of a transaction what is not known of it yet. A look-up for another one that
/// shows it again and again is no news.
fn is_news(rows: &BatchRows, id: Uuid, s: &Snapshot) -> bool {
    let known = rows
        .get(id)
        .and_then(|row| row.summary.candidates.get(&s.uid));
    let latest = known.and_then(|candidate| candidate.latest.as_deref());
    latest.is_none_or(|latest| {
        let same = Snapshot {
            body_sha256: latest.body_sha256,
            ..s.clone()
        };
        same != *latest
    })
}

/// Whether a description would make its transaction this one's, if it were nobody's, by the name that it
/// bears; and this one has not been told so before.
fn would_be_ours(rows: &BatchRows, id: Uuid, s: &Snapshot) -> bool {
    rows.get(id).is_some_and(|row| {
        let differences = Mismatch::between(&row.opening, s);
        let named = s.tracking_id.is_some() && s.tracking_id == row.opening.tracking_id;
        let told = row.summary.anothers.contains_key(&s.uid);
        named && differences.agree() && !row.summary.predates_first_attempt(s) && !told
    })
}

enum RoutedOwner<'a> {
    Row(Uuid, Cow<'a, Fact>),
    New(Box<Snapshot>),
    Unclaimed(Box<Snapshot>, Option<TransactionType>),
    Nobody(Box<Snapshot>),
    Offered(Uuid, Box<Observation>, Box<Fact>),
}

/// What a webhook tells, as it is told of something adopted: it is what it is.
pub(crate) fn adopted_fact(snapshot: &Snapshot) -> Fact {
    Fact::Seen {
        snapshot: Box::new(snapshot.clone()),
        found_by: FoundBy::OwnTask,
    }
}

/// What an orphan is kept as.
pub(crate) fn orphan_kind(learned: &Observation) -> &'static str {
    learned.orphan_kind
}
