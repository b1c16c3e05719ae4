//! What a batch reads and writes, one method for each statement of [`crate::store::batch`].
//!
//! PostgreSQL is behind it in the service. Everything above it is the ledger itself, so that the
//! simulation of `tests/it/sim` runs the very same code over tables in memory.

use crate::store::batch::{
    self as rows, BatchWrites, Family, LookupKeys, LookupResult, ResolvedDiscrepancy, RowLocation,
};
use crate::store::maintenance::OrphanRow;
use crate::store::waiting::{self, WaitingRow};
use crate::store::{
    CheckRow, DiscrepancyRow, EventWrite, OrphanWrite, Store, StoreError, StoredTransaction,
    discrepancies::{self, ResolveDiscrepancy},
    read,
};
use domain::{ShopId, Timestamp};
use sqlx::PgConnection;
use std::collections::HashSet;
use uuid::Uuid;

/// Names each statement once: as a method, and as the function that PostgreSQL is asked with.
macro_rules! statements {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty = $real:path;)*) => {
        /// The tables inside one transaction of the database.
        pub trait BatchStore: Send {
            $($(#[$doc])* fn $name(&mut self, $($arg: $type),*)
                -> impl Future<Output = Result<$out, StoreError>> + Send;)*
        }

        impl BatchStore for PgConnection {
            $(async fn $name(&mut self, $($arg: $type),*) -> Result<$out, StoreError> {
                $real(self, $($arg),*).await
            })*
        }
    };
}

statements! {
    /// The server's time, which the whole batch has.
    fn begin_batch() -> Timestamp = rows::begin_batch;
    /// What goes by the names that the jobs of a batch name.
    fn look_up(shop: &ShopId, names: &LookupKeys<'_>) -> LookupResult = rows::look_up;
    /// Locks transactions, and reads them.
    fn lock_transactions(shop: &ShopId, ids: &[Uuid]) -> Vec<(StoredTransaction, RowLocation)>
        = rows::lock_transactions;
    /// Locks due checks, and reads them.
    fn lock_checks(shop: &ShopId, ids: &[Uuid]) -> Vec<(CheckRow, RowLocation)> = rows::lock_checks;
    /// Which of these pieces of evidence are stored already.
    fn known_evidence(shop: &ShopId, keys: &[(Uuid, Uuid)]) -> HashSet<(Uuid, Uuid)>
        = rows::known_evidence;
    /// Locks the families of children, before anything else.
    fn lock_families(shop: &ShopId, parents: &[&str]) -> Vec<Family> = rows::lock_families;
    /// The children of parents.
    fn children_of(shop: &ShopId, parents: &[&str]) -> Vec<StoredTransaction> = rows::children_of;
    /// Webhooks that belong to nothing yet and tell what was taken from the families of these parents.
    fn orphans_of(shop: &ShopId, parents: &[&str]) -> Vec<OrphanRow> = rows::orphans_of;
    /// Inserts transactions; `false` when a tracking id is taken.
    fn insert_transactions(shop: &ShopId, new: &[&StoredTransaction]) -> bool
        = rows::insert_transactions;
    /// Writes what has changed of locked transactions, evidence, and due checks; `false` when something
    /// is there already.
    fn write(shop: &ShopId, writes: &BatchWrites<'_>) -> bool = rows::write;
    /// Removes due checks.
    fn drop_checks(shop: &ShopId, ids: &[Uuid]) -> () = rows::drop_checks;
    /// Keeps sealed requests that may have to be sent later.
    fn put_waiting(shop: &ShopId, new: &[WaitingRow]) -> () = waiting::put_waiting;
    /// Removes those that can be sent no more.
    fn drop_waiting(shop: &ShopId, ids: &[Uuid]) -> () = waiting::drop_waiting;
    /// Claims uids; `false` when somebody else was first.
    fn claim_uids(shop: &ShopId, claims: &[(String, Uuid)]) -> bool = rows::insert_uids;
    /// Notes which transactions turned out to be which of ours; `false` when one of them is noted already.
    fn merge(shop: &ShopId, merges: &[(Uuid, Uuid)]) -> bool = rows::merge;
    /// Keeps webhooks that belong to nothing; returns the ids that were new.
    fn put_orphans(shop: &ShopId, at: Timestamp, new: &[OrphanWrite]) -> HashSet<Uuid>
        = rows::insert_orphans;
    /// Opens findings; returns the ids that were new.
    fn open_discrepancies(shop: &ShopId, new: &[DiscrepancyRow]) -> HashSet<Uuid>
        = rows::open_discrepancies;
    /// Brings open findings of transactions up to date.
    fn update_discrepancies(shop: &ShopId, now: &[DiscrepancyRow]) -> ()
        = rows::update_discrepancies;
    /// Closes findings that are indicated no more.
    fn heal_discrepancies(shop: &ShopId, at: Timestamp, healed: &[ResolvedDiscrepancy])
        -> Vec<DiscrepancyRow> = rows::resolve_discrepancies;
    /// Closes all findings of these transactions.
    fn heal_all(shop: &ShopId, at: Timestamp, ids: &[Uuid], reason: &str) -> Vec<DiscrepancyRow>
        = rows::heal_all;
    /// Closes findings for a person.
    fn close(shop: &ShopId, at: Timestamp, closings: &[ResolveDiscrepancy]) -> Vec<DiscrepancyRow>
        = discrepancies::close;
    /// Appends events; returns the last number given.
    fn append_events(shop: &ShopId, at: Timestamp, new: &[EventWrite]) -> i64
        = rows::append_events;
}

/// What an answer may have to read after the commit.
pub trait CommittedReads: Sync {
    /// The transaction that goes by a tracking id.
    fn named(
        &self,
        shop: &ShopId,
        tracking_id: &str,
    ) -> impl Future<Output = Result<Option<StoredTransaction>, StoreError>> + Send;
    /// A finding.
    fn finding(
        &self,
        shop: &ShopId,
        id: Uuid,
    ) -> impl Future<Output = Result<Option<DiscrepancyRow>, StoreError>> + Send;
}

impl CommittedReads for Store {
    async fn named(
        &self,
        shop: &ShopId,
        tracking_id: &str,
    ) -> Result<Option<StoredTransaction>, StoreError> {
        read::find(
            self,
            shop,
            &read::TransactionRef::TrackingId(tracking_id.to_owned()),
        )
        .await
    }

    async fn finding(&self, shop: &ShopId, id: Uuid) -> Result<Option<DiscrepancyRow>, StoreError> {
        discrepancies::by_id(self, shop, id).await
    }
}
