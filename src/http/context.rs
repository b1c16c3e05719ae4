//! What the handlers share.
//!
//! It holds handles to the other parts and a few values worked out once at the start. It
//! deliberately has no state of a transaction: that is read from the store each time.

use crate::config::{Live, Submits};
use crate::dispatch::Dispatch;
use crate::http::auth::Clients;
use crate::http::forgeries::Forgeries;
use crate::http::limits::{Bucket, Throttle};
use crate::http::problem::Problem;
use crate::http::turns::Turns;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::{Store, controls};
use domain::ShopId;
use leaves::clock::BootInstant;
use leaves::telemetry::traces;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// What the handlers of all three listeners share.
pub struct Context {
    pub(crate) config: Live,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) dispatch: Dispatch,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clients: Clients,
    pub(crate) turns: Turns,
    pub(crate) forgeries: Forgeries,
    pub(crate) schema_is_current: AtomicBool,
    pub(crate) unknown: Throttle<Unknown>,
    /// How many requests are logged of those who have shown no key.
    pub(crate) strangers_logged: Bucket,
    shops: HashMap<String, Arc<Shop>>,
    tasks: Handle,
    draining: AtomicBool,
    withdrawn: AtomicBool,
}

/// What the webhook listener has no place for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unknown {
    /// A path that it does not have.
    Path,
    /// A shop that is not configured.
    Shop,
}

/// A shop, as the handlers need it.
pub(crate) struct Shop {
    pub(crate) id: ShopId,
    submits: Submits,
    pub(crate) notification_url: String,
    paused: Mutex<Option<(BootInstant, bool)>>,
}

/// What the handlers are built from.
pub struct Parts {
    /// The configuration in use.
    pub config: Live,
    /// The database, to read from.
    pub store: Store,
    /// The one door.
    pub ledger: Ledger,
    /// Sends to the gateway.
    pub dispatch: Dispatch,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// How long it may take until a pause at another replica is noticed here.
const PAUSE_NOTICED: Duration = Duration::from_secs(1);

/// So many requests per second are logged of those who have shown no key; all are counted.
const STRANGERS_LOGGED: u32 = 5;

/// How often a request is logged that the webhook listener has no place for; all are counted.
const UNKNOWN_LOGGED: Duration = Duration::from_secs(60);

impl Context {
    /// Puts the parts together. `tasks` is the runtime that outlives the listeners: what must go on
    /// when a caller goes away runs there.
    pub fn new(parts: Parts, tasks: Handle) -> Self {
        let Parts {
            config,
            store,
            ledger,
            dispatch,
            metrics,
        } = parts;
        let now = config.now();
        let shops = now.shops.iter().filter_map(|shop| {
            // The configuration takes the same ids, so that none is left out here.
            let id = ShopId::parse(&shop.id).ok()?;
            let notification_url = now.webhooks.notification_url(&shop.id).to_string();
            let paused = Mutex::new(None);
            let name = shop.id.clone();
            let shop = Shop {
                id,
                submits: shop.submits,
                notification_url,
                paused,
            };
            Some((name, Arc::new(shop)))
        });
        Self {
            shops: shops.collect(),
            clients: Clients::new(now.clone()),
            turns: Turns::default(),
            forgeries: Forgeries::new(store.clone(), ledger.clone(), tasks.clone()),
            schema_is_current: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            withdrawn: AtomicBool::new(false),
            unknown: Throttle::new(UNKNOWN_LOGGED),
            strangers_logged: Bucket::new(STRANGERS_LOGGED, BootInstant::now()),
            config,
            store,
            ledger,
            dispatch,
            metrics,
            tasks,
        }
    }

    /// The shop with this id.
    pub(crate) fn shop(&self, id: &str) -> Option<&Arc<Shop>> {
        self.shops.get(id)
    }

    /// All shops.
    pub(crate) fn shops(&self) -> impl ExactSizeIterator<Item = &Arc<Shop>> {
        self.shops.values()
    }

    /// Whether the service is about to stop: nothing new is begun, and nobody is kept waiting.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) || self.dispatch.is_stopping()
    }

    /// Readiness is withdrawn; requests are still taken until balancers have noticed.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Whether readiness is withdrawn.
    pub(crate) fn is_leaving(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire) || self.is_draining()
    }

    /// Begins to stop: readiness is withdrawn, and those who wait are answered.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether new submits of a shop are stopped, by its configuration or by an operator.
    pub(crate) async fn is_paused(&self, shop: &Shop) -> Result<bool, Problem> {
        if shop.submits == Submits::Paused {
            return Ok(true);
        }
        let now = BootInstant::now();
        if let Some((at, paused)) = *shop.paused.lock().unwrap_or_else(PoisonError::into_inner)
            && now.duration_since(at) < PAUSE_NOTICED
        {
            return Ok(paused);
        }
        let paused = controls::is_paused(&self.store, &shop.id).await?;
        shop.note_paused(now, paused);
        Ok(paused)
    }

    /// Stops or allows new submits of a shop. Tells whether they are stopped now.
    pub(crate) async fn set_paused(
        &self,
        shop: &Shop,
        paused: bool,
        by: &str,
    ) -> Result<bool, Problem> {
        controls::set_paused(&self.store, &shop.id, paused, by).await?;
        shop.note_paused(BootInstant::now(), paused);
        self.is_paused(shop).await
    }

    /// Runs something to its end whatever becomes of the caller who asked for it.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.tasks.spawn(traces::with_current_trace(work));
        task.await
            .map_err(|error| Problem::internal(error.to_string()))
    }
}

impl Shop {
    fn note_paused(&self, now: BootInstant, paused: bool) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, paused));
    }
}
