//! Delivers the events of each shop's feed to subscribers as Standard Webhooks.
//!
//! Every subscriber that covers the shop receives each event at least once, even after a crash. The
//! feed itself is the outbox, so a subscriber costs nothing in the commit path.
//!
//! Not responsible for: the order of messages, changing a transaction. Deliveries never delay the
//! engine.

mod breaker;
mod deliver;
mod gauges;
mod message;
mod retry;
mod signature;
mod ssrf;
mod waiting;
mod window;
mod worker;

use crate::config::LiveConfig;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::store::subscribers::Covered;
use crate::submit::Dispatcher;
use deliver::SubscriberEndpoint;
use domain::ShopId;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use worker::DeliveryWorker;

/// What the delivery workers share.
pub(crate) struct DeliveryContext {
    store: Store,
    ledger: Ledger,
    dispatch: Dispatcher,
    metrics: Arc<Metrics>,
    /// Duration of the lease on a cursor.
    lease: Duration,
}

/// The running delivery workers.
pub struct Deliveries {
    workers: Vec<JoinHandle<()>>,
}

impl Deliveries {
    /// Starts the delivery workers of all shops.
    pub fn start(
        live: &LiveConfig,
        store: Store,
        ledger: Ledger,
        dispatch: Dispatcher,
        metrics: Arc<Metrics>,
    ) -> Self {
        let config = live.current();
        let shared = Arc::new(DeliveryContext {
            store,
            ledger,
            dispatch,
            metrics,
            lease: config.follow.lease,
        });
        let shops = config.shops.iter().map(|shop| ShopId::parse(&shop.id));
        let shops: Vec<ShopId> = shops.filter_map(Result::ok).collect();
        Self {
            workers: start(live, &shared, &shops),
        }
    }

    /// Waits until the workers have ended, after [`Dispatcher::stop`].
    pub async fn stopped(self) {
        for worker in self.workers {
            let _ = worker.await;
        }
    }
}

/// Starts a delivery worker for each subscriber of each shop that it covers, and the gauges of all.
fn start(
    live: &LiveConfig,
    shared: &Arc<DeliveryContext>,
    shops: &[ShopId],
) -> Vec<JoinHandle<()>> {
    let mut loops = Vec::new();
    let mut covered = Covered::default();
    let mut workers = waiting::WorkerWakeups::new();
    for subscriber in &live.current().subscribers {
        let receiver = match SubscriberEndpoint::new(subscriber, live) {
            Ok(receiver) => Arc::new(receiver),
            Err(error) => {
                tracing::error!(subscriber = subscriber.name, %error,
                    "failed to create subscriber HTTP client; nothing will be delivered");
                continue;
            }
        };
        let kinds: Arc<[String]> = subscriber
            .events
            .iter()
            .map(|name| name.as_str().to_owned())
            .collect();
        for shop in shops {
            if !subscriber.shops.contains(shop.as_str()) {
                continue;
            }
            covered.push(shop, &subscriber.name);
            let waiting = Arc::<Notify>::default();
            let whose = (shop.to_string(), subscriber.name.clone());
            workers.insert(whose, Arc::clone(&waiting));
            let lane = DeliveryWorker {
                shared: Arc::clone(shared),
                shop: shop.clone(),
                receiver: Arc::clone(&receiver),
                kinds: Arc::clone(&kinds),
                waiting,
            };
            loops.push(tokio::spawn(lane.run()));
        }
    }
    if !workers.is_empty() {
        let covered = Arc::new(covered);
        let gauges = gauges::run(Arc::clone(shared), Arc::clone(&covered));
        loops.push(tokio::spawn(gauges));
        let waiting = waiting::run(Arc::clone(shared), covered, workers);
        loops.push(tokio::spawn(waiting));
    }
    loops
}
