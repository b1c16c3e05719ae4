//! Families of a batch: the parents that its children name, their own parents, and what all of them have
//! taken. Locked before anything else, so that nobody takes from a family meanwhile.

use super::{Batch, BatchRow};
use crate::ledger::batch_store::BatchStore;
use crate::ledger::{
    LedgerCommand, ParentLimit, RecordEvidence, discrepancies, observation_from_orphan,
};
use crate::store::batch::{Family, ResolvedDiscrepancy};
use crate::store::maintenance::OrphanRow;
use crate::store::{StoreError, StoredTransaction};
use domain::family::{self, Child, Member, Unfit};
use domain::{Currency, Discrepancy, DiscrepancyKind, State, Timestamp, TransactionRequest};
use domain::{TransactionType, Uid};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
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
pub(super) enum ChildRoom {
    /// It may, and not before this time.
    From(Option<Timestamp>),
    /// It may not.
    Unfit(Unfit),
}

/// The parents of children that are to be sent.
fn givers(works: &[LedgerCommand]) -> BTreeSet<&str> {
    let limits = works.iter().filter_map(|work| match work {
        LedgerCommand::Open(open) => open.parent_limit.as_ref(),
        LedgerCommand::Stamp(stamp, _) => stamp.child.as_ref(),
        LedgerCommand::Record(_) | LedgerCommand::Close(_) => None,
    });
    limits.map(|limit| limit.parent.as_str()).collect()
}

/// What waits for a parent, as jobs: captures first, since more may go back of those.
fn kept_works(kept: &[OrphanRow]) -> Vec<LedgerCommand> {
    let is_capture = |record: &RecordEvidence| {
        let mut kinds = record.observation.snapshots().map(|s| s.kind.as_deref());
        kinds.any(|kind| kind == Some(TransactionType::Capture.as_str()))
    };
    let mut records: Vec<RecordEvidence> =
        kept.iter().filter_map(observation_from_orphan).collect();
    records.sort_by_key(|record| (!is_capture(record), record.observation.id));
    let works = records
        .into_iter()
        .map(|record| LedgerCommand::Record(Box::new(record)));
    works.collect()
}

/// The jobs of a batch, behind what waited for a parent of theirs.
pub(super) fn after(kept: Vec<LedgerCommand>, works: &[LedgerCommand]) -> Cow<'_, [LedgerCommand]> {
    if kept.is_empty() {
        return Cow::Borrowed(works);
    }
    kept.into_iter().chain(works.iter().cloned()).collect()
}

/// The parents whose families a batch needs: of children to be sent, and of what tells that money went
/// back.
fn parents<'a>(works: impl Iterator<Item = &'a LedgerCommand>) -> BTreeSet<&'a str> {
    let mut named = BTreeSet::new();
    for work in works {
        match work {
            LedgerCommand::Open(open) => {
                let limit = open.parent_limit.iter();
                named.extend(limit.map(|limit| limit.parent.as_str()));
            }
            LedgerCommand::Stamp(stamp, _) => {
                named.extend(stamp.child.iter().map(|limit| limit.parent.as_str()));
            }
            LedgerCommand::Record(record) => {
                let snapshots = record.observation.snapshots();
                let back = snapshots.filter(|s| {
                    let kind = s.kind.as_deref().and_then(TransactionType::parse);
                    kind.is_some_and(goes_back) && s.class.is_final()
                });
                named.extend(back.filter_map(|s| s.parent_uid.as_ref().map(Uid::as_str)));
            }
            LedgerCommand::Close(_) => {}
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
    /// Locks the families that the jobs of a batch name. Also gives what waits for a parent and was taken
    /// from one of which a child is to be sent: it is recorded before that child is judged.
    pub(super) async fn lock<T: BatchStore>(
        tables: &mut T,
        shop: &domain::ShopId,
        works: &[LedgerCommand],
    ) -> Result<(Self, Vec<LedgerCommand>), StoreError> {
        let givers: Vec<&str> = givers(works).into_iter().collect();
        let kept = waiting_at(tables, shop, &givers).await?;
        let waiting = kept_works(&kept);
        let named = parents(works.iter().chain(&waiting));
        if named.is_empty() {
            return Ok((Self::default(), waiting));
        }
        // All at once and in one order, those of what waits as well.
        let named: Vec<&str> = named.into_iter().collect();
        let families = tables.lock_families(shop, &named).await?;
        if waiting_at(tables, shop, &givers).await? != kept {
            // Something came before the lock; it may name families that are not locked.
            return Err(StoreError::Conflict(sqlx::Error::RowNotFound));
        }
        let families = families.into_iter();
        let by_parent = families.map(|family| (family.parent_uid.clone(), family));
        let locked = Self {
            by_parent: by_parent.collect(),
            children: Vec::new(),
        };
        Ok((locked, waiting))
    }

    /// The parents and their own parents, to be locked with all other rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = Uuid> {
        let rows = self.by_parent.values();
        rows.flat_map(|family| [family.parent, family.root])
            .flatten()
    }

    /// Reads the children, when the parents are locked.
    pub(super) async fn load<T: BatchStore>(
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

/// What waits for a parent and was taken from one of these.
async fn waiting_at<T: BatchStore>(
    tables: &mut T,
    shop: &domain::ShopId,
    givers: &[&str],
) -> Result<Vec<OrphanRow>, StoreError> {
    match givers {
        [] => Ok(Vec::new()),
        givers => tables.orphans_of(shop, givers).await,
    }
}

/// The currency of a transaction: what was asked for, or else what the gateway has.
pub(super) fn currency_of(stored: &StoredTransaction) -> Option<Currency> {
    let gateways = || {
        let uid = stored.derived().uid?;
        stored
            .summary
            .candidates
            .get(&uid)?
            .latest
            .as_ref()?
            .currency
    };
    stored.opening.currency.or_else(gateways)
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
        opening: &TransactionRequest,
        limit: &ParentLimit,
    ) -> ChildRoom {
        let child = Child {
            kind: opening.kind,
            amount: opening.amount,
            parent: &limit.parent,
        };
        let parent = self.parent_of(&limit.parent);
        if let (Some(ours), Some(parent)) = (opening.currency, parent.and_then(currency_of))
            && ours != parent
        {
            return ChildRoom::Unfit(Unfit::Currency { parent });
        }
        let others = self.relatives(itself);
        if !limit.force
            && let Err(unfit) = self.fits(child, &others)
        {
            return ChildRoom::Unfit(unfit);
        }
        ChildRoom::From(
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
        match family::remaining_amount(child, &parent, others) {
            Some(left) if child.amount.unwrap_or(0) > left => Err(Unfit::Exceeds { left }),
            _ => Ok(()),
        }
    }

    /// Tells where more went back than there was, and where it is so no more, once something that goes back
    /// has ended in this batch, or ended otherwise than before.
    pub(super) fn find_back_twice(&mut self) {
        let fresh = |row: &BatchRow| {
            let stored = &row.stored;
            let ended = stored.state.is_final() && stored.state_since == self.at;
            ended && goes_back(stored.opening.kind)
        };
        // Whether one of a parent's has ended otherwise: only that can make it so no more.
        let mut parents: BTreeMap<Uid, bool> = BTreeMap::new();
        for row in self.rows.map.values().filter(|row| fresh(row)) {
            if let Some(parent) = &row.stored.opening.parent_uid {
                let failed = row.stored.state != State::Successful;
                *parents.entry(parent.clone()).or_default() |= failed;
            }
        }
        for (parent, failed) in parents {
            let Some(stored) = self.parent_of(&parent) else {
                continue;
            };
            let member = Member::of(&stored.opening, &stored.summary);
            let others = self.relatives(Uuid::nil());
            let Some(over) = family::back_twice(&parent, &member, &others) else {
                let healed = failed.then(|| ResolvedDiscrepancy {
                    transaction_id: stored.record.id,
                    kind: DiscrepancyKind::RefundedAndChargedBack,
                    subject: parent.to_string(),
                    reason: "no more went back than there was".to_owned(),
                    by: None,
                });
                self.healed.extend(healed);
                continue;
            };
            let finding = Discrepancy {
                kind: DiscrepancyKind::RefundedAndChargedBack,
                uids: self.mentions(&parent),
                uid: Some(parent),
                basis: None,
                detail: format!(
                    "it was refunded and charged back as well: {over} more than there was went back \
                     (minor units)"
                ),
            };
            let mut row = discrepancies::transaction_discrepancy(stored, &finding, self.at);
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
