//! Finds the subscribers to whom something is to be delivered and whom nobody serves, for all shops by one
//! statement, and wakes their workers.
//!
//! A worker that has nothing to deliver holds no lease and costs no statement.

use crate::delivery::DeliveryContext;
use crate::store::subscribers::{self, Covered};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How often the database is asked. What this process commits wakes its workers at once.
const GAUGE_INTERVAL: Duration = Duration::from_secs(2);

/// Workers by shop and subscriber.
pub(super) type WorkerWakeups = HashMap<(String, String), Arc<Notify>>;

/// Asks the database again and again until the service stops.
pub(super) async fn run(
    shared: Arc<DeliveryContext>,
    covered: Arc<Covered>,
    workers: WorkerWakeups,
) {
    let mut is_ensured = false;
    let mut trouble = false;
    while !shared.dispatch.is_stopping() {
        let read = async {
            if !is_ensured {
                subscribers::ensure_rows(&shared.store, &covered).await?;
                is_ensured = true;
            }
            subscribers::waiting(&shared.store, &covered).await
        };
        match read.await {
            Ok(waiting) => {
                trouble = false;
                for worker in waiting.iter().filter_map(|whose| workers.get(whose)) {
                    worker.notify_one();
                }
            }
            // Logged once per outage.
            Err(error) if !std::mem::replace(&mut trouble, true) => {
                tracing::error!(
                    error = error.chain(),
                    "failed to read undelivered events; retrying"
                );
            }
            Err(_) => {}
        }
        tokio::select! {
            () = tokio::time::sleep(GAUGE_INTERVAL) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}
