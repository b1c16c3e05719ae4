//! How much subscribers have not been told yet, for the engineer on call.
//!
//! What it deliberately cannot do: count for a subscriber that wants no more. That one has a metric
//! of its own, so that an alert on a growing backlog means somebody who waits.

use crate::engine::Shared;
use crate::metrics::ShopLevel;
use crate::store::{StoreError, subscribers};
use domain::ShopId;
use std::sync::Arc;
use std::time::Duration;

/// How often the levels are read.
const EVERY: Duration = Duration::from_secs(10);

/// Reads the levels until the service stops.
pub(super) async fn run(shared: Arc<Shared>, covered: Vec<(ShopId, Vec<String>)>) {
    while !shared.dispatch.is_stopping() {
        if let Err(error) = read(&shared, &covered).await {
            tracing::debug!(
                error = error.chain(),
                "levels of the outbox could not be read"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

async fn read(shared: &Shared, covered: &[(ShopId, Vec<String>)]) -> Result<(), StoreError> {
    let mut pending = 0;
    let mut disabled = Vec::new();
    for (shop, names) in covered {
        for row in subscribers::backlog(&shared.store, shop, names).await? {
            if !row.disabled {
                pending += row.pending;
            }
            disabled.push(ShopLevel {
                shop: shop.to_string(),
                label: row.subscriber,
                value: i64::from(row.disabled),
            });
        }
    }
    shared.metrics.set_outbox_pending(pending);
    shared.metrics.set_subscribers_disabled(&disabled);
    Ok(())
}
