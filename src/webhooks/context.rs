//! What the handlers of the webhook listener share.

use crate::config::LiveConfig;
use crate::http::HttpContext;
use crate::http::limits::Throttle;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::webhooks::forgeries::Forgeries;
use domain::ShopId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// What the handlers of the webhook listener share.
pub struct WebhookContext {
    pub(crate) config: LiveConfig,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) forgeries: Forgeries,
    pub(crate) unknown: Throttle<Unknown>,
    shops: HashMap<String, ShopId>,
}

/// Why a request matches nothing that the webhook listener serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Unknown {
    /// The listener does not have the path.
    Path,
    /// The shop is not configured.
    Shop,
}

/// How often a request is logged that matches nothing; metrics count all of them.
const UNKNOWN_LOGGED: Duration = Duration::from_secs(60);

impl WebhookContext {
    /// Creates the context. `tasks` is the runtime that outlives the listeners.
    pub fn new(http: &HttpContext, store: Store, ledger: Ledger, tasks: Handle) -> Self {
        let config = http.config.clone();
        let now = config.current();
        // The configuration accepts the same IDs, so no shop is left out here.
        let shops = now
            .shops
            .iter()
            .filter_map(|shop| Some((shop.id.clone(), ShopId::parse(&shop.id).ok()?)));
        Self {
            shops: shops.collect(),
            forgeries: Forgeries::new(store.clone(), ledger.clone(), tasks),
            unknown: Throttle::new(UNKNOWN_LOGGED),
            metrics: Arc::clone(&http.metrics),
            config,
            store,
            ledger,
        }
    }

    /// Returns the configured shop with this ID.
    pub(crate) fn shop(&self, id: &str) -> Option<&ShopId> {
        self.shops.get(id)
    }
}
