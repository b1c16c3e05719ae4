//! To whom evidence belongs. A body may tell of several transactions; each is brought to its owner,
//! to the one that may be its owner, to a new row, or to those that belong to nobody.
//!
//! Everything is read before anything is locked, so that nothing is locked late.

use crate::domain::evidence::FoundBy;
use crate::domain::{Fact, ShopId, Snapshot, Summary, TrackingId, TransactionType, Uid, Verdict};
use crate::ledger::batch::Rows;
use crate::ledger::tables::Tables;
use crate::ledger::{Record, Target, Work};
use crate::observation::Observation;
use crate::store::StoreError;
use crate::store::batch::Names;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// What is known of owners before the batch locks anything.
#[derive(Debug, Default)]
pub(crate) struct Routing {
    owners: HashMap<String, Uuid>,
    ours: HashMap<String, Uuid>,
    children: HashMap<String, Vec<Uuid>>,
    claims: Vec<(String, Uuid)>,
}

/// Where facts of one piece of evidence go.
#[derive(Debug)]
pub(crate) enum Delivery<'a> {
    /// To this transaction.
    To(Uuid, Vec<Cow<'a, Fact>>),
    /// To a new one of origin `gateway`.
    Adopt(Box<Snapshot>),
    /// To nobody.
    Orphan(Option<Box<Snapshot>>),
}

impl Routing {
    /// Looks up everything that the jobs of a batch name.
    pub(crate) async fn look_up<T: Tables>(
        tables: &mut T,
        shop: &ShopId,
        works: &[Work],
    ) -> Result<Self, StoreError> {
        let mut uids = BTreeSet::new();
        let mut tracking = BTreeSet::new();
        let mut parents = BTreeSet::new();
        for work in works {
            match work {
                Work::Open(open) => {
                    tracking.extend(open.opening.tracking_id.iter().map(TrackingId::as_str));
                }
                Work::Record(record) => {
                    for snapshot in record.learned.snapshots() {
                        uids.insert(snapshot.uid.as_str());
                        tracking.extend(snapshot.tracking_id.iter().map(TrackingId::as_str));
                        let parent = snapshot.parent_uid.iter().map(Uid::as_str);
                        parents.extend(parent.clone());
                        uids.extend(parent);
                    }
                }
                Work::Stamp(..) | Work::Close(_) => {}
            }
        }
        fn list(set: BTreeSet<&str>) -> Vec<&str> {
            set.into_iter().collect()
        }
        let names = Names {
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
    pub(crate) fn touched(&self, works: &[Work]) -> BTreeSet<Uuid> {
        let mut ids: BTreeSet<Uuid> = self.owners.values().copied().collect();
        ids.extend(self.children.values().flatten());
        for work in works {
            match work {
                Work::Open(open) => {
                    ids.extend(open.parent_limit.map(|limit| limit.parent));
                    // A second run of a batch finds its own row.
                    let name = open.opening.tracking_id.as_ref();
                    let ours = name.and_then(|name| self.ours(name.as_str()));
                    ids.extend(ours.filter(|id| *id == open.id));
                }
                Work::Record(record) => {
                    if let Target::Transaction(id) = record.target {
                        ids.insert(id);
                    }
                    let names = record
                        .learned
                        .snapshots()
                        .filter_map(|s| s.tracking_id.as_ref());
                    ids.extend(names.filter_map(|name| self.ours.get(name.as_str())));
                }
                Work::Stamp(stamp, _) => {
                    ids.insert(stamp.id);
                }
                Work::Close(_) => {}
            }
        }
        ids
    }

    /// The transaction made through the API under a tracking id.
    pub(crate) fn ours(&self, tracking_id: &str) -> Option<Uuid> {
        self.ours.get(tracking_id).copied()
    }

    /// Who owns a uid.
    pub(crate) fn owner(&self, uid: &Uid) -> Option<Uuid> {
        self.owners.get(uid.as_str()).copied()
    }

    /// Makes a transaction the owner of a uid that had none.
    pub(crate) fn claim(&mut self, uid: &Uid, id: Uuid) {
        self.owners.insert(uid.to_string(), id);
        self.claims.push((uid.to_string(), id));
    }

    /// The owners that this very batch has made.
    pub(crate) fn new_claims(&self) -> Vec<(String, Uuid)> {
        self.claims.clone()
    }

    /// Decides where the facts of one record go. The target itself always gets its evidence.
    pub(crate) fn deliver<'a>(&self, record: &'a Record, rows: &Rows) -> Vec<Delivery<'a>> {
        let learned = &record.learned;
        let target = match record.target {
            Target::Transaction(id) => Some(id),
            Target::Snapshots => None,
        };
        let mut shares: Vec<(Uuid, Vec<Cow<'a, Fact>>)> =
            target.map(|id| (id, Vec::new())).into_iter().collect();
        let mut others = Vec::new();
        for fact in &learned.facts {
            let homes = match fact {
                Fact::Seen {
                    snapshot,
                    found_by: FoundBy::TrackingId,
                } => self.homes(snapshot, fact, target, rows),
                fact => target
                    .map(|id| Home::Row(id, Cow::Borrowed(fact)))
                    .into_iter()
                    .collect(),
            };
            for home in homes {
                match home {
                    Home::Row(id, fact) => match shares.iter_mut().find(|(to, _)| *to == id) {
                        Some((_, facts)) => facts.push(fact),
                        None => shares.push((id, vec![fact])),
                    },
                    Home::New(snapshot) => others.push(Delivery::Adopt(snapshot)),
                    Home::Nobody(snapshot) => others.push(Delivery::Orphan(Some(snapshot))),
                }
            }
        }
        if shares.is_empty() && others.is_empty() {
            others.push(Delivery::Orphan(None));
        }
        if learned.verdict == Some(Verdict::Hint) {
            return hints(shares, others);
        }
        shares
            .into_iter()
            .map(|(id, facts)| Delivery::To(id, facts))
            .chain(others)
            .collect()
    }

    fn homes<'a>(
        &self,
        s: &Snapshot,
        fact: &'a Fact,
        target: Option<Uuid>,
        rows: &Rows,
    ) -> Vec<Home<'a>> {
        let whole = |id| Home::Row(id, Cow::Borrowed(fact));
        if let Some(owner) = self.owner(&s.uid) {
            return vec![whole(owner)];
        }
        let kind = s.kind.as_deref().and_then(TransactionType::parse);
        let named = s.tracking_id.as_ref().and_then(|t| self.ours(t.as_str()));
        let is_child = s.parent_uid.is_some() || kind.is_some_and(TransactionType::is_child);
        if !is_child {
            return match named.or(target) {
                Some(id) => vec![whole(id)],
                None => vec![Home::Nobody(Box::new(s.clone()))],
            };
        }
        let same_kind = |id: &Uuid| {
            rows.get(*id)
                .is_some_and(|row| Some(row.opening.kind) == kind)
        };
        if let Some(id) = named.filter(same_kind) {
            return vec![whole(id)];
        }
        let contested = |ids: &[Uuid]| -> Vec<Home<'a>> {
            let contested = || Cow::Owned(Fact::Contested { uid: s.uid.clone() });
            ids.iter().map(|id| Home::Row(*id, contested())).collect()
        };
        let possible =
            |age: fn(&Summary, &Snapshot) -> bool| self.possible_children(s, kind, rows, age);
        match possible(|known, s| !known.is_older(s)).as_slice() {
            [only] => return vec![whole(*only)],
            [] => {}
            several => return contested(several),
        }
        // Taken over, it could not be ours any more when our own task names it.
        match possible(Summary::is_hardly_older).as_slice() {
            [] => match s.parent_uid.as_ref().and_then(|uid| self.owner(uid)) {
                Some(_) if kind.is_some() => vec![Home::New(Box::new(s.clone()))],
                _ => vec![Home::Nobody(Box::new(s.clone()))],
            },
            doubtful => contested(doubtful),
        }
    }

    /// Children of the same parent that this could be: same kind and amount, filed under their own
    /// name or the parent's, of an age that fits, and without a uid of their own.
    fn possible_children(
        &self,
        s: &Snapshot,
        kind: Option<TransactionType>,
        rows: &Rows,
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
                let differences = crate::domain::fold::Differences::between(&row.opening, s);
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
    others: Vec<Delivery<'a>>,
) -> Vec<Delivery<'a>> {
    let kept = shares
        .into_iter()
        .map(|(id, _)| Delivery::To(id, Vec::new()));
    let orphaned = others.into_iter().map(|other| match other {
        Delivery::Adopt(snapshot) => Delivery::Orphan(Some(snapshot)),
        other => other,
    });
    kept.chain(orphaned).collect()
}

enum Home<'a> {
    Row(Uuid, Cow<'a, Fact>),
    New(Box<Snapshot>),
    Nobody(Box<Snapshot>),
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
