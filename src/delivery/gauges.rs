//! Gauges of undelivered messages.
//!
//! Not responsible for: the backlog of a disabled subscriber. It is reported by a metric of its
//! own, so that an alert on the backlog means that an active subscriber is waiting.

use crate::delivery::DeliveryContext;
use crate::metrics::ShopGauge;
use crate::store::subscribers::Covered;
use crate::store::{StoreError, subscribers};
use std::sync::Arc;
use std::time::Duration;

/// Interval between updates of the gauges.
const GAUGE_INTERVAL: Duration = Duration::from_secs(10);

/// Updates the gauges until the service stops.
pub(super) async fn run(shared: Arc<DeliveryContext>, covered: Arc<Covered>) {
    while !shared.dispatch.is_stopping() {
        if let Err(error) = read(&shared, &covered).await {
            tracing::debug!(error = error.chain(), "failed to refresh delivery gauges");
        }
        tokio::select! {
            () = tokio::time::sleep(GAUGE_INTERVAL) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

async fn read(shared: &DeliveryContext, covered: &Covered) -> Result<(), StoreError> {
    let mut pending = 0;
    let mut disabled = Vec::new();
    for row in subscribers::backlog(&shared.store, covered).await? {
        if !row.disabled {
            pending += row.pending;
        }
        disabled.push(ShopGauge {
            shop: row.shop,
            label: row.subscriber,
            value: i64::from(row.disabled),
        });
    }
    shared.metrics.set_outbox_pending(pending);
    shared.metrics.set_subscribers_disabled(&disabled);
    Ok(())
}
