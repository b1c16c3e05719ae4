//! Families of a batch: the parents that its children name, their own parents, and what all of them have
//! taken. Locked before anything else, so that nobody takes from a family meanwhile.

use super::{Batch, Row};
use crate::ledger::tables::Tables;
use crate::ledger::{ParentLimit, Work, findings};
use crate::store::batch::Family;
use crate::store::{StoreError, StoredTransaction};
use domain::family::{self, Child, Member, Unfit};
use domain::{DiscrepancyKind, Finding, State, StatusClass, Timestamp, TransactionType, Uid};
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;
use words::Mention;

/// What is known of the families of a batch.
#[derive(Default)]
pub(super) struct Families {
    /// By the uid of the parent.
    by_parent: HashMap<String, Family>,
    /// Their children, and those of their captures, as they are stored.
    children: Vec<StoredTransaction>,
}

/// Whether a child may be sent.
pub(super) enum Room {
    /// It may, and not before this time.
    From(Option<Timestamp>),
    /// It may not.
    Unfit(Unfit),
}

/// The parents whose families a batch needs: of children to be sent, and of what tells that money went
/// back.
fn parents(works: &[Work]) -> BTreeSet<&str> {
    let mut named = BTreeSet::new();
    for work in works {
        match work {
            Work::Open(open) => {
                let limit = open.parent_limit.iter();
                named.extend(limit.map(|limit| limit.parent.as_str()));
            }
            Work::Stamp(stamp, _) => {
                named.extend(stamp.child.iter().map(|limit| limit.parent.as_str()));
            }
            Work::Record(record) => {
                let snapshots = record.learned.snapshots();
                let back = snapshots.filter(|s| {
                    let kind = s.kind.as_deref().and_then(TransactionType::parse);
                    kind.is_some_and(goes_back) && s.class == StatusClass::Successful
                });
                named.extend(back.filter_map(|s| s.parent_uid.as_ref().map(Uid::as_str)));
            }
            Work::Close(_) => {}
        }
    }
    named
}

const fn goes_back(kind: TransactionType) -> bool {
    matches!(
        kind,
        TransactionType::Refund | TransactionType::Chargeback | TransactionType::Void
    )
}

impl Families {
    /// Locks the families that the jobs of a batch name.
    pub(super) async fn lock<T: Tables>(
        tables: &mut T,
        shop: &domain::ShopId,
        works: &[Work],
    ) -> Result<Self, StoreError> {
        let named = parents(works);
        if named.is_empty() {
            return Ok(Self::default());
        }
        let named: Vec<&str> = named.into_iter().collect();
        let families = tables.lock_families(shop, &named).await?;
        Ok(Self {
            by_parent: families
                .into_iter()
                .map(|family| (family.parent_uid.clone(), family))
                .collect(),
            children: Vec::new(),
        })
    }

    /// The parents and their own parents, to be locked with all other rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = Uuid> {
        let rows = self.by_parent.values();
        rows.flat_map(|family| [family.parent, family.root])
            .flatten()
    }

    /// Reads the children, when the parents are locked.
    pub(super) async fn load<T: Tables>(
        &mut self,
        tables: &mut T,
        shop: &domain::ShopId,
    ) -> Result<(), StoreError> {
        let families = self.by_parent.values();
        let near: BTreeSet<String> = families
            .flat_map(|f| [Some(f.parent_uid.clone()), f.root_uid.clone()])
            .flatten()
            .collect();
        if near.is_empty() {
            return Ok(());
        }
        self.children = tables.children_of(shop, &texts(&near)).await?;
        let captures = self.children.iter().filter_map(|child| {
            let member = Member::of(&child.opening, &child.summary);
            member.is_capture().map(ToString::to_string)
        });
        let far: BTreeSet<String> = captures.filter(|uid| !near.contains(uid)).collect();
        if !far.is_empty() {
            let grandchildren = tables.children_of(shop, &texts(&far)).await?;
            self.children.extend(grandchildren);
        }
        Ok(())
    }
}

fn texts(uids: &BTreeSet<String>) -> Vec<&str> {
    uids.iter().map(String::as_str).collect()
}

impl Batch<'_> {
    /// The row of a family's parent.
    pub(super) fn parent_of(&self, parent: &Uid) -> Option<&StoredTransaction> {
        let family = self.families.by_parent.get(parent.as_str())?;
        self.rows.get(family.parent?)
    }

    /// Whether a child may be sent, under the locks of its family. The child itself, which may be there
    /// already, is not counted.
    pub(super) fn room(
        &self,
        itself: Uuid,
        (kind, amount): (TransactionType, Option<i64>),
        limit: &ParentLimit,
    ) -> Room {
        let child = Child {
            kind,
            amount,
            parent: &limit.parent,
        };
        let others = self.relatives(itself);
        if !limit.force
            && let Err(unfit) = self.fits(child, &others)
        {
            return Room::Unfit(unfit);
        }
        Room::From(
            limit
                .duplicate_window
                .and_then(|window| family::wait(child, &others, window, self.at)),
        )
    }

    fn fits(&self, child: Child<'_>, others: &[Member]) -> Result<(), Unfit> {
        let parent = self.parent_of(child.parent).ok_or(Unfit::UnknownParent)?;
        let parent = Member::of(&parent.opening, &parent.summary);
        if parent.state() != State::Successful {
            let state = parent.state();
            return Err(Unfit::Parent { state });
        }
        match family::left(child, &parent, others) {
            Some(left) if child.amount.unwrap_or(0) > left => Err(Unfit::Exceeds { left }),
            _ => Ok(()),
        }
    }

    /// Tells where more went back than there was, once something that goes back has succeeded in this
    /// batch.
    pub(super) fn find_back_twice(&mut self) {
        let fresh = |row: &Row| {
            let stored = &row.stored;
            let ended = stored.state == State::Successful && stored.state_since == self.at;
            ended && goes_back(stored.opening.kind)
        };
        let parents: BTreeSet<Uid> = (self.rows.map.values())
            .filter(|row| fresh(row))
            .filter_map(|row| row.stored.opening.parent_uid.clone())
            .collect();
        for parent in parents {
            let Some(stored) = self.parent_of(&parent) else {
                continue;
            };
            let member = Member::of(&stored.opening, &stored.summary);
            let others = self.relatives(Uuid::nil());
            let Some(over) = family::back_twice(&parent, &member, &others) else {
                continue;
            };
            let finding = Finding {
                kind: DiscrepancyKind::RefundedAndChargedBack,
                uids: self.mentions(&parent),
                uid: Some(parent),
                basis: None,
                detail: format!(
                    "it was refunded and charged back as well: {over} more than there was went back \
                     (minor units)"
                ),
            };
            let mut row = findings::about(stored, &finding, self.at);
            row.amount = Some(over);
            self.opened.push(row);
        }
    }

    /// The gateway's transactions by which money of a parent went back.
    fn mentions(&self, parent: &Uid) -> Vec<Mention> {
        let stored = self.families.children.iter();
        let stored = stored.filter(|child| self.rows.get(child.record.id).is_none());
        stored
            .chain(self.rows.map.values().map(|row| &row.stored))
            .filter(|child| child.opening.parent_uid.as_ref() == Some(parent))
            .filter(|child| child.state == State::Successful && goes_back(child.opening.kind))
            .filter_map(|child| {
                let uid = child.derived().uid?;
                let latest = child.summary.candidates.get(&uid)?.latest.as_deref();
                latest.map(Mention::from)
            })
            .collect()
    }

    /// All children of the batch's families: as this batch leaves them, where it holds their rows.
    fn relatives(&self, itself: Uuid) -> Vec<Member> {
        let stored = self.families.children.iter();
        let stored = stored.filter(|child| self.rows.get(child.record.id).is_none());
        let here = self.rows.map.values().map(|row| &row.stored);
        stored
            .chain(here.filter(|row| row.opening.parent_uid.is_some()))
            .filter(|child| child.record.id != itself)
            .map(|child| Member::of(&child.opening, &child.summary))
            .collect()
    }
}
