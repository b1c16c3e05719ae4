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
mod window;
mod worker;

use crate::config::Live;
use crate::engine::Shared;
use deliver::SubscriberEndpoint;
use domain::ShopId;
use std::sync::Arc;
use tokio::task::JoinHandle;
use worker::DeliveryWorker;

/// Starts a delivery worker for each subscriber of each shop that it covers, and the gauges of all.
pub(crate) fn start(live: &Live, shared: &Arc<Shared>, shops: &[ShopId]) -> Vec<JoinHandle<()>> {
    let mut loops = Vec::new();
    let mut covered: Vec<(ShopId, Vec<String>)> = shops
        .iter()
        .map(|shop| (shop.clone(), Vec::new()))
        .collect();
    for subscriber in &live.now().subscribers {
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
        for (shop, names) in &mut covered {
            if !subscriber.shops.contains(shop.as_str()) {
                continue;
            }
            names.push(subscriber.name.clone());
            let lane = DeliveryWorker {
                shared: Arc::clone(shared),
                shop: shop.clone(),
                receiver: Arc::clone(&receiver),
                kinds: Arc::clone(&kinds),
            };
            loops.push(tokio::spawn(lane.run()));
        }
    }
    covered.retain(|(_, names)| !names.is_empty());
    if !covered.is_empty() {
        loops.push(tokio::spawn(gauges::run(Arc::clone(shared), covered)));
    }
    loops
}
