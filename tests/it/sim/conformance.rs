//! The model of the database is the database: random work of the ledger goes to a real PostgreSQL
//! and to the model at once. Every statement must answer the same, and all rows must be the same
//! after each commit.

use super::conformance_ops::Ops;
use super::db::Db;
use super::tx::{Committed, Tx};
use super::world::SimState;
use crate::world::Database;
use domain::schedule::{Course, Wishes};
use domain::{ShopId, Timestamp, Uid};
use leaves::clock::BootInstant;
use reconciler::ledger::batch_store::BatchStore;
use reconciler::ledger::{CommandResult, FoldedBatch, LedgerCommand, ResolveDiscrepancy};
use reconciler::store::batch::{
    BatchWrites, Family, LookupKeys, LookupResult, ResolvedDiscrepancy, RowLocation,
};
use reconciler::store::maintenance::OrphanRow;
use reconciler::store::waiting::WaitingRow;
use reconciler::store::{
    CheckRow, DiscrepancyRow, EventWrite, OrphanWrite, PinnedConnection, Store, StoreError,
    StoredTransaction, checks, feed, maintenance, read, shop_controls,
};
use sqlx::PgConnection;
use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use time::OffsetDateTime;
use uuid::Uuid;

/// How many sequences are tried, and how long each is.
const SEQUENCES: u64 = 6;
const LENGTH: usize = 50;

/// DualStore databases inside one transaction.
struct DualStore<'a> {
    real: &'a mut PgConnection,
    model: Tx,
}

/// Asks both, and wants one answer.
macro_rules! ask_both {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $out:ty;)*) => {
        impl BatchStore for DualStore<'_> {
            async fn begin_batch(&mut self) -> Result<Timestamp, StoreError> {
                self.real.begin_batch().await
            }

            $(async fn $name(&mut self, $($arg: $type),*) -> Result<$out, StoreError> {
                let real = BatchStore::$name(self.real, $($arg),*).await?;
                let model = self.model.$name($($arg),*).await?;
                same(stringify!($name), &real, &model);
                Ok(real)
            })*
        }
    };
}

ask_both! {
    fn look_up(shop: &ShopId, names: &LookupKeys<'_>) -> LookupResult;
    fn lock_transactions(shop: &ShopId, ids: &[Uuid]) -> Vec<(StoredTransaction, RowLocation)>;
    fn lock_checks(shop: &ShopId, ids: &[Uuid]) -> Vec<(CheckRow, RowLocation)>;
    fn known_evidence(shop: &ShopId, keys: &[(Uuid, Uuid)]) -> HashSet<(Uuid, Uuid)>;
    fn lock_families(shop: &ShopId, parents: &[&str]) -> Vec<Family>;
    fn children_of(shop: &ShopId, parents: &[&str]) -> Vec<StoredTransaction>;
    fn orphans_of(shop: &ShopId, parents: &[&str]) -> Vec<OrphanRow>;
    fn insert_transactions(shop: &ShopId, new: &[&StoredTransaction]) -> bool;
    fn write(shop: &ShopId, writes: &BatchWrites<'_>) -> bool;
    fn drop_checks(shop: &ShopId, ids: &[Uuid]) -> ();
    fn put_waiting(shop: &ShopId, new: &[WaitingRow]) -> ();
    fn drop_waiting(shop: &ShopId, ids: &[Uuid]) -> ();
    fn claim_uids(shop: &ShopId, claims: &[(String, Uuid)]) -> bool;
    fn merge(shop: &ShopId, merges: &[(Uuid, Uuid)]) -> bool;
    fn put_orphans(shop: &ShopId, at: Timestamp, new: &[OrphanWrite]) -> HashSet<Uuid>;
    fn open_discrepancies(shop: &ShopId, new: &[DiscrepancyRow]) -> HashSet<Uuid>;
    fn update_discrepancies(shop: &ShopId, now: &[DiscrepancyRow]) -> ();
    fn heal_discrepancies(shop: &ShopId, at: Timestamp, healed: &[ResolvedDiscrepancy]) -> Vec<DiscrepancyRow>;
    fn heal_all(shop: &ShopId, at: Timestamp, ids: &[Uuid], reason: &str) -> Vec<DiscrepancyRow>;
    fn close(shop: &ShopId, at: Timestamp, closings: &[ResolveDiscrepancy]) -> Vec<DiscrepancyRow>;
    fn append_events(shop: &ShopId, at: Timestamp, new: &[EventWrite]) -> i64;
}

/// An answer, in parts whose order says nothing.
trait Parts {
    fn parts(&self) -> Vec<String>;
}

fn sorted<T: Debug>(items: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut parts: Vec<String> = items.into_iter().map(|item| format!("{item:?}")).collect();
    parts.sort();
    parts
}

impl<T: Debug> Parts for Vec<T> {
    fn parts(&self) -> Vec<String> {
        sorted(self)
    }
}

impl<T: Debug> Parts for HashSet<T> {
    fn parts(&self) -> Vec<String> {
        sorted(self)
    }
}

impl Parts for LookupResult {
    fn parts(&self) -> Vec<String> {
        let (owners, ours) = (self.owners.parts(), self.ours.parts());
        [owners, ours, self.children.parts()].concat()
    }
}

macro_rules! one_part {
    ($($type:ty),*) => {
        $(impl Parts for $type {
            fn parts(&self) -> Vec<String> {
                sorted([self])
            }
        })*
    };
}

one_part!(bool, i64, ());

#[track_caller]
fn same<T: Parts>(what: &str, real: &T, model: &T) {
    assert_eq!(real.parts(), model.parts(), "{what}");
}

/// The two of one sequence.
struct Pair {
    store: Store,
    shop: ShopId,
    world: Arc<SimState>,
    ops: Ops,
}

impl Pair {
    async fn commit(&mut self, works: &[LedgerCommand]) {
        let settings = super::replica::settings();
        let mut session = PinnedConnection::new(self.store.clone());
        let mut tx = session.begin().await.expect("a transaction");
        let mut both = DualStore {
            real: &mut tx,
            model: Tx::begin(&self.world, works),
        };
        let fold = FoldedBatch::run(
            &mut both,
            &settings,
            &self.shop,
            works,
            BootInstant::now(),
            7,
        )
        .await;
        let model = both.model;
        match fold {
            Ok(fold) => {
                tx.commit().await.expect("a commit");
                assert_eq!(model.commit().await, Committed::Yes);
                let answers = fold.answers(&self.store).await.expect("answers");
                self.ops.learn(works, &answers);
            }
            Err(StoreError::Conflict(_)) => drop(model),
            Err(error) => panic!("{}", error.chain()),
        }
    }

    /// Sets when things are due, so that nothing hangs on the moment of a statement.
    async fn set_due(&mut self) {
        let (store, shop) = (self.store.clone(), self.shop.clone());
        for id in self
            .world
            .with(|state| state.db.checks.keys().copied().collect::<Vec<_>>())
        {
            let hours = self.ops.hours();
            let at = leaves::clock::now_utc() + time::Duration::hours(hours);
            sqlx::query(
                "UPDATE due_checks SET due_at = $3 WHERE shop_id = $1 AND transaction_id = $2",
            )
            .bind(shop.as_str())
            .bind(id)
            .bind(at)
            .execute(store.pool())
            .await
            .expect("an update");
            self.world.with(|state| {
                if let Some(check) = state.db.checks.get_mut(&id) {
                    check.due_at = at.into();
                }
            });
        }
    }

    async fn lease(&mut self) {
        self.set_due().await;
        let (lease, token) = (Duration::from_secs(45), Uuid::new_v4());
        let limit = self.ops.limit();
        let taken = checks::lease_due(&self.store, &self.shop, limit, lease, token);
        let taken = taken.await.expect("leases");
        let now = Timestamp::from(leaves::clock::now_utc());
        let model = self.world.with(|state| {
            let limit = usize::try_from(limit).unwrap_or(0);
            state.db.lease_due(now, limit, lease, token, |_| false)
        });
        let of = |leased: &[checks::LeasedCheck]| {
            let mut all: Vec<_> = leased
                .iter()
                .map(|l| {
                    (
                        l.transaction.record.id,
                        format!("{:?} {:?}", l.transaction, l.due_at),
                    )
                })
                .collect();
            all.sort();
            all
        };
        assert_eq!(of(&taken), of(&model), "lease_due");
        for leased in taken {
            // The moment is PostgreSQL's own.
            let id = leased.transaction.record.id;
            self.ops.leased(id, token);
            self.world.with(|state| {
                let check = state.db.checks.get_mut(&id).expect("a check");
                let apart = leased.now.since(now).max(now.since(leased.now));
                assert!(apart < Duration::from_secs(60), "{apart:?}");
                check.due_at = Timestamp::END;
            });
        }
        self.take_over_times().await;
    }

    async fn postpone(&mut self) {
        let Some((id, token)) = self.ops.some_lease() else {
            return;
        };
        let until = Timestamp::from(leaves::clock::now_utc()).plus(Duration::from_secs(99));
        let real = checks::postpone(&self.store, &self.shop, id, token, until).await;
        let now = Timestamp::from(leaves::clock::now_utc());
        let model = self.world.with(|state| {
            let again = state.db.checks.get(&id).is_some_and(|check| check.again);
            let done = state.db.postpone(now, id, token, until);
            if let Some(check) = state.db.checks.get_mut(&id).filter(|_| done && again) {
                // The moment is PostgreSQL's own.
                check.due_at = Timestamp::END;
            }
            done
        });
        assert_eq!(real.expect("an answer"), model, "postpone");
        self.take_over_times().await;
    }

    /// Times that PostgreSQL has put by itself are taken over as they are.
    async fn take_over_times(&self) {
        for (id, check) in self.real_checks().await {
            self.world.with(|state| {
                if let Some(known) = state
                    .db
                    .checks
                    .get_mut(&id)
                    .filter(|c| c.due_at == Timestamp::END)
                {
                    known.due_at = check.due_at;
                }
            });
        }
    }

    async fn real_checks(&self) -> Vec<(Uuid, super::db::Check)> {
        type Row = (
            Uuid,
            OffsetDateTime,
            Option<Uuid>,
            bool,
            String,
            OffsetDateTime,
            i16,
            i16,
            bool,
            Option<String>,
        );
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT transaction_id, due_at, lease, again, state, since, misses, unanswered, ask_name,
                 ask_uid FROM due_checks WHERE shop_id = $1 ORDER BY transaction_id",
        )
        .bind(self.shop.as_str())
        .fetch_all(self.store.pool())
        .await
        .expect("rows");
        let check = |row: Row| {
            let (id, due_at, lease, again, state, since, misses, unanswered, by_name, at) = row;
            let (due_at, since) = (due_at.into(), since.into());
            let count = |number| u16::try_from(number).expect("a count");
            let course = Course {
                misses: count(misses),
                unanswered: count(unanswered),
                wishes: Wishes {
                    by_name,
                    at: at.and_then(|uid| Uid::from_gateway(&uid)),
                },
            };
            (
                id,
                super::db::Check {
                    due_at,
                    lease,
                    again,
                    course,
                    state,
                    since,
                },
            )
        };
        rows.into_iter().map(check).collect()
    }

    /// Compares all rows.
    async fn compare(&self) {
        let (store, shop) = (&self.store, &self.shop);
        same(
            "due_checks",
            &self.real_checks().await,
            &self.model(|db| {
                db.checks
                    .iter()
                    .map(|(id, check)| (*id, check.clone()))
                    .collect()
            }),
        );
        for id in self.model(|db| db.transactions.keys().copied().collect::<Vec<_>>()) {
            let real = read::by_id(store, shop, id).await.expect("a row");
            assert_eq!(real, self.model(|db| db.by_id(id)), "transactions");
            let real = read::evidence(store, shop, id).await.expect("rows");
            same("evidence", &real, &self.model(|db| db.evidence_of(id)));
        }
        let uids: Vec<(String, Uuid)> =
            sqlx::query_as("SELECT uid, transaction_id FROM uids WHERE shop_id = $1")
                .bind(shop.as_str())
                .fetch_all(store.pool())
                .await
                .expect("rows");
        let known = self.model(|db| db.uids.iter().map(|(u, id)| (u.clone(), *id)).collect());
        same("uids", &uids, &known);
        let found = reconciler::store::discrepancies::list(store, shop, None, None, None, 1_000);
        same(
            "findings",
            &found.await.expect("rows"),
            &self.model(|db| db.findings.clone()),
        );
        let events = feed::after(store, shop, 0, 10_000).await.expect("rows");
        let told = events
            .into_iter()
            .map(|e| (e.kind, e.transaction_id, e.payload));
        let known = self.model(|db| {
            let of = |e: &EventWrite| (e.kind.to_owned(), e.transaction_id, e.payload.clone());
            db.events.iter().map(of).collect::<Vec<_>>()
        });
        assert_eq!(told.collect::<Vec<_>>(), known, "events");
        let orphans = maintenance::matchable_orphans(store, shop, Uuid::nil(), 1_000)
            .await
            .expect("rows");
        same(
            "orphans",
            &orphans,
            &self.model(|db| db.matchable_orphans(Uuid::nil(), 1_000)),
        );
        for signs in ["", ".", ":."] {
            let control = read::known_transaction(store, shop, signs)
                .await
                .expect("a row");
            assert_eq!(control, self.model(|db| db.control(signs)), "control");
        }
        let (shops, ever) = ([shop.to_string()], Duration::from_secs(10_000_000_000));
        let soon = checks::due_soon(store, &shops, ever).await.expect("rows");
        let next = soon.iter().filter_map(|due| due.check).min();
        assert_eq!(next, self.model(Db::next_due), "due_soon");
    }

    fn model<T>(&self, read: impl FnOnce(&Db) -> T) -> T {
        self.world.with(|state| read(&state.db))
    }
}

#[tokio::test]
async fn the_model_is_the_database() {
    let database = Database::fresh().await;
    let store = Store::connect_lazy(&database.url, 3).expect("a url");
    for seed in 0..SEQUENCES {
        let shop = ShopId::parse(&format!("shop-{seed}")).expect("a shop id");
        shop_controls::ensure_rows(&store, &[shop.to_string()])
            .await
            .expect("its row");
        let ops = Ops::new(seed, &shop);
        let mut pair = Pair {
            store: store.clone(),
            shop,
            world: SimState::quiet(),
            ops,
        };
        for _ in 0..LENGTH {
            match pair.ops.roll() {
                0 => pair.lease().await,
                1 => pair.postpone().await,
                _ => {
                    pair.ops.findings = pair.model(|db| db.findings.iter().map(|f| f.id).collect());
                    let works = pair.ops.works();
                    pair.commit(&works).await;
                }
            }
            pair.compare().await;
        }
        // Something of everything has happened.
        let reached = pair.model(|db| (db.evidence.len(), db.uids.len(), db.findings.len()));
        assert!(reached.0 > 3 && reached.1 > 0, "{reached:?}");
    }
    store.close().await;
    database.remove().await;
}

/// What an answer gives for the work that follows.
pub fn lease_of(answer: &CommandResult) -> Option<(Uuid, Uuid)> {
    use reconciler::ledger::{OpenResult, StampResult};
    match answer {
        CommandResult::Opened(OpenResult::Ready(stamped))
        | CommandResult::Stamped(StampResult::Ready(stamped)) => {
            Some((stamped.transaction().record.id, stamped.lease().token))
        }
        _ => None,
    }
}
