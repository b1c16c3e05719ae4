//! What this process has learned of the time to final, for each shop and type, and how it is shared:
//! every few seconds what is new is merged into the rows that all replicas have, and what they have
//! is taken over, for those shops at which something happens. Nothing waits for it: what a crash
//! loses is a few seconds of experience.

use super::{Ledger, LedgerContext};
use crate::store::{PinnedConnection, Store, StoreError, pacing as rows};
use domain::forecast::{self, CompletionSample, Forecast, ForecastModel, LatencyHistory};
use domain::{ShopId, Timestamp, TransactionType};
use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{error::Elapsed, timeout};

/// How often what was learned is shared.
const SYNC_INTERVAL: Duration = Duration::from_secs(5);

/// How long sharing one type may take: a database that is gone must not hold up a stop.
const SYNC_TIMEOUT: Duration = Duration::from_secs(5);

/// The forecasts of one shop, as one batch sees them.
pub(crate) type Forecasts = BTreeMap<TransactionType, Arc<Forecast>>;

/// What is learned, by shop.
#[derive(Default)]
pub(crate) struct LatencyModel(HashMap<ShopId, Mutex<ShopModel>>);

/// What is learned of one shop.
struct ShopModel {
    types: BTreeMap<TransactionType, TypeModel>,
    thrift: f64,
    short: bool,
    /// Something has happened since it was shared last.
    busy: bool,
}

/// What is learned of one type.
#[derive(Default)]
struct TypeModel {
    /// Everything, with what others have shared.
    learner: ForecastModel,
    /// What is not shared yet.
    fresh: LatencyHistory,
}

impl LatencyModel {
    pub(crate) fn of(shops: &[ShopId]) -> Self {
        let empty = || ShopModel {
            types: BTreeMap::new(),
            thrift: 1.0,
            short: false,
            busy: true,
        };
        let lessons = shops.iter().map(|shop| (shop.clone(), Mutex::new(empty())));
        Self(lessons.collect())
    }

    fn lessons(&self, shop: &ShopId) -> Option<MutexGuard<'_, ShopModel>> {
        let lessons = self.0.get(shop)?;
        Some(lessons.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The forecasts of a shop, as they are now.
    pub(crate) fn forecasts(&self, shop: &ShopId) -> Forecasts {
        let Some(mut lessons) = self.lessons(shop) else {
            return Forecasts::new();
        };
        lessons.busy = true;
        let made = lessons.types.iter();
        made.filter_map(|(kind, lesson)| Some((*kind, Arc::clone(lesson.learner.forecast()?))))
            .collect()
    }

    /// Takes in what a committed batch has seen.
    pub(crate) fn observe(
        &self,
        shop: &ShopId,
        seen: &[(TransactionType, CompletionSample)],
        at: Timestamp,
    ) {
        if seen.is_empty() {
            return;
        }
        let Some(mut lessons) = self.lessons(shop) else {
            return;
        };
        let thrift = lessons.thrift;
        lessons.busy = true;
        for (kind, seen) in seen {
            let lesson = lessons.types.entry(*kind).or_default();
            lesson.learner.see(*seen, at, thrift);
            lesson.fresh.see(*seen, at);
        }
    }

    /// Whether anything has happened at a shop since this was asked last. Where nothing does, nobody
    /// asks for a forecast either.
    fn was_busy(&self, shop: &ShopId) -> bool {
        self.lessons(shop)
            .is_some_and(|mut lessons| std::mem::take(&mut lessons.busy))
    }

    /// Sharing did not succeed, and is to be tried again.
    fn stay_busy(&self, shop: &ShopId) {
        if let Some(mut lessons) = self.lessons(shop) {
            lessons.busy = true;
        }
    }

    /// Takes out what is not shared yet.
    fn take(&self, shop: &ShopId) -> Vec<(TransactionType, LatencyHistory)> {
        let Some(mut lessons) = self.lessons(shop) else {
            return Vec::new();
        };
        let fresh = lessons.types.iter_mut();
        fresh
            .filter(|(_, lesson)| !lesson.fresh.is_empty())
            .map(|(kind, lesson)| (*kind, std::mem::take(&mut lesson.fresh)))
            .collect()
    }

    /// Puts back what could not be shared.
    fn put_back(&self, shop: &ShopId, kind: TransactionType, unshared: &LatencyHistory) {
        if let Some(mut lessons) = self.lessons(shop) {
            let lesson = lessons.types.entry(kind).or_default();
            lesson.fresh = lesson.fresh.merge(unshared);
        }
    }

    /// Takes over what all have shared, beside what is new here; and sees whether requests are short.
    fn take_over(&self, shop: &ShopId, shared: Vec<(TransactionType, LatencyHistory)>) {
        let Some(mut lessons) = self.lessons(shop) else {
            return;
        };
        let short = std::mem::take(&mut lessons.short);
        lessons.thrift = forecast::price_multiplier(lessons.thrift, short);
        let thrift = lessons.thrift;
        for (kind, experience) in shared {
            let lesson = lessons.types.entry(kind).or_default();
            let known = experience.merge(&lesson.fresh);
            lesson.learner.replace(known, thrift);
        }
    }
}

impl Ledger {
    /// Notes that a look had to wait for the shop's budget: requests are dearer for a while.
    pub fn note_budget_shortage(&self, shop: &ShopId) {
        if let Some(mut lessons) = self.shared.learning.lessons(shop) {
            lessons.short = true;
        }
    }

    /// Shares what is learned until `stop`.
    pub async fn run_forecast_sync(&self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            self.sync_forecasts().await;
            tokio::select! {
                () = tokio::time::sleep(SYNC_INTERVAL) => {}
                () = &mut stop => return,
            }
        }
    }

    /// Shares what is new, and takes over what others have shared.
    pub async fn sync_forecasts(&self) {
        for shop in self.queues.keys() {
            let learning = &self.shared.learning;
            if learning.was_busy(shop)
                && let Err(error) = share(&self.shared, shop).await
            {
                learning.stay_busy(shop);
                tracing::debug!(shop = %shop, error = error.chain(), "what was learned could not be shared");
            }
        }
    }
}

async fn share(shared: &LedgerContext, shop: &ShopId) -> Result<(), StoreError> {
    let mut failed = None;
    for (kind, fresh) in shared.learning.take(shop) {
        // Should the COMMIT have taken place after all, a few ends count twice; that is no harm.
        let merging = timeout(SYNC_TIMEOUT, merge(&shared.store, shop, kind, &fresh)).await;
        if let Err(error) = merging.map_err(timed_out).flatten() {
            shared.learning.put_back(shop, kind, &fresh);
            failed = Some(error);
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let loading = timeout(SYNC_TIMEOUT, rows::load(&shared.store, shop)).await;
    let stored = loading.map_err(timed_out).flatten()?;
    shared.learning.take_over(shop, stored);
    Ok(())
}

fn timed_out(_: Elapsed) -> StoreError {
    StoreError::from(sqlx::Error::Io(ErrorKind::TimedOut.into()))
}

/// Adds what is new to what all have, under the row's lock, so that no replica overwrites another's.
async fn merge(
    store: &Store,
    shop: &ShopId,
    kind: TransactionType,
    fresh: &LatencyHistory,
) -> Result<(), StoreError> {
    let mut session = PinnedConnection::new(store.clone());
    let mut tx = session.begin().await?;
    let stored = rows::lock(&mut tx, shop, kind).await?;
    if stored.is_none() {
        tracing::warn!(%shop, %kind, "what was learned of the time to final cannot be read: it is learned anew");
    }
    let all = stored.unwrap_or_default().merge(fresh);
    rows::save(&mut tx, shop, kind, &all).await?;
    store.commit(tx).await?;
    Ok(())
}
