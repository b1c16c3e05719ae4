//! Waiting for a transaction or a feed to change.
//!
//! A change made by this process wakes the one who waits; one made by another replica is found by
//! reading again now and then. What it deliberately cannot do: hold up a stop. When the service is
//! about to stop everybody is answered with what there is.

use crate::api::context::ApiContext;
use crate::api::request::transaction_not_found;
use crate::http::problem::Problem;
use crate::store::{StoredTransaction, read};
use domain::ShopId;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How often the row is read again although nobody told of a change.
const REREAD_INTERVAL: Duration = Duration::from_secs(1);

/// Reads a transaction until it is as wanted, or until the deadline; whatever it is then.
pub(crate) async fn wait_for_transaction(
    context: &ApiContext,
    shop: &ShopId,
    id: Uuid,
    deadline: Instant,
    wanted: impl Fn(&StoredTransaction) -> bool,
) -> Result<StoredTransaction, Problem> {
    let watch = context.ledger.watch(shop, id);
    loop {
        // Made before the row is read, so that no change falls between the two.
        let changed = watch.changed();
        let stored = read::by_id(&context.store, shop, id)
            .await?
            .ok_or_else(transaction_not_found)?;
        if wanted(&stored) || !wait_for_change(context, deadline, changed).await {
            return Ok(stored);
        }
    }
}

/// Waits for a wake-up, a second, or the deadline. `false` when the time is up.
pub(crate) async fn wait_for_change(
    context: &ApiContext,
    deadline: Instant,
    changed: impl Future<Output = ()>,
) -> bool {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() || context.http.is_draining() {
        return false;
    }
    // Woken or not: the row is read again.
    tokio::select! {
        () = changed => {}
        () = sleep(left.min(REREAD_INTERVAL)) => {}
        () = context.dispatch.stopping() => {}
    }
    true
}
