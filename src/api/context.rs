//! What the handlers of the REST API share.
//!
//! Not responsible for: the state of transactions, which handlers read from the store each time.

use crate::api::auth::ClientRegistry;
use crate::api::single_flight::SingleFlight;
use crate::config::{LiveConfig, SubmitsMode};
use crate::http::HttpContext;
use crate::http::problem::Problem;
use crate::ledger::Ledger;
use crate::store::{Store, shop_controls};
use crate::submit::Dispatcher;
use domain::ShopId;
use leaves::clock::BootInstant;
use leaves::telemetry::traces;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// What the handlers of the REST API share.
pub struct ApiContext {
    pub(crate) http: Arc<HttpContext>,
    pub(crate) config: LiveConfig,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) dispatch: Dispatcher,
    pub(crate) clients: ClientRegistry,
    pub(crate) turns: SingleFlight,
    shops: HashMap<String, Arc<HttpShop>>,
    tasks: Handle,
}

/// A shop, as the handlers need it.
pub(crate) struct HttpShop {
    pub(crate) id: ShopId,
    submits: SubmitsMode,
    pub(crate) notification_url: String,
    paused: Mutex<Option<(BootInstant, bool)>>,
}

/// How long it may take until a pause at another replica is noticed here.
const PAUSE_CACHE_TTL: Duration = Duration::from_secs(1);

impl ApiContext {
    /// Creates the context. `tasks` is the runtime that outlives the listeners: work that must
    /// complete even if the caller disconnects runs there.
    pub fn new(
        http: Arc<HttpContext>,
        store: Store,
        ledger: Ledger,
        dispatch: Dispatcher,
        tasks: Handle,
    ) -> Self {
        let config = http.config.clone();
        let now = config.current();
        let shops = now.shops.iter().filter_map(|shop| {
            // The configuration accepts the same IDs, so no shop is left out here.
            let id = ShopId::parse(&shop.id).ok()?;
            let notification_url = now.webhooks.notification_url(&shop.id).to_string();
            let paused = Mutex::new(None);
            let name = shop.id.clone();
            let shop = HttpShop {
                id,
                submits: shop.submits,
                notification_url,
                paused,
            };
            Some((name, Arc::new(shop)))
        });
        Self {
            shops: shops.collect(),
            clients: ClientRegistry::new(now.clone()),
            turns: SingleFlight::default(),
            http,
            config,
            store,
            ledger,
            dispatch,
            tasks,
        }
    }

    /// Returns the shop with this ID.
    pub(crate) fn shop(&self, id: &str) -> Option<&Arc<HttpShop>> {
        self.shops.get(id)
    }

    /// Returns all shops.
    pub(crate) fn shops(&self) -> impl ExactSizeIterator<Item = &Arc<HttpShop>> {
        self.shops.values()
    }

    /// Returns whether new submits of a shop are paused, by its configuration or by an operator.
    pub(crate) async fn is_paused(&self, shop: &HttpShop) -> Result<bool, Problem> {
        if shop.submits.is_stopped() {
            return Ok(true);
        }
        let now = BootInstant::now();
        if let Some((at, paused)) = *shop.paused.lock().unwrap_or_else(PoisonError::into_inner)
            && now.duration_since(at) < PAUSE_CACHE_TTL
        {
            return Ok(paused);
        }
        let paused = shop_controls::is_paused(&self.store, &shop.id).await?;
        shop.note_paused(now, paused);
        Ok(paused)
    }

    /// Pauses or resumes new submits of a shop. Returns whether they are paused now.
    pub(crate) async fn set_paused(
        &self,
        shop: &HttpShop,
        paused: bool,
        by: &str,
    ) -> Result<bool, Problem> {
        shop_controls::set_paused(&self.store, &shop.id, paused, by).await?;
        shop.note_paused(BootInstant::now(), paused);
        self.is_paused(shop).await
    }

    /// Runs work to completion even if the caller who requested it disconnects.
    pub(crate) async fn spawn_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Problem> {
        let task = self.tasks.spawn(traces::with_current_trace(work));
        task.await
            .map_err(|error| Problem::internal(error.to_string()))
    }
}

impl HttpShop {
    fn note_paused(&self, now: BootInstant, paused: bool) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, paused));
    }
}
