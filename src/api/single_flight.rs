//! One opening at a time for each tracking id, within this replica.
//!
//! Of many equal requests at once only one is sent; without turns each of them would draw from the
//! shop's budget before it finds that out. What this deliberately cannot do: guarantee anything.
//! Across replicas it is the database that lets only one in.

use domain::{ShopId, TrackingId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OwnedMutexGuard;

type Key = (ShopId, TrackingId);
type Locks = Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>;

/// Who is opening what.
#[derive(Debug, Default, Clone)]
pub(crate) struct SingleFlight(Arc<Locks>);

/// The turn of one request; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct TrackingIdGuard {
    locks: Arc<Locks>,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl SingleFlight {
    /// Waits for the turn.
    pub(crate) async fn acquire(&self, shop: &ShopId, tracking_id: &TrackingId) -> TrackingIdGuard {
        let key = (shop.clone(), tracking_id.clone());
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(locks.entry(key.clone()).or_default())
        };
        let guard = Some(lock.lock_owned().await);
        TrackingIdGuard {
            locks: Arc::clone(&self.0),
            key,
            guard,
        }
    }
}

impl Drop for TrackingIdGuard {
    fn drop(&mut self) {
        self.guard = None;
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody waits when the map holds the only reference.
        if locks
            .get(&self.key)
            .is_some_and(|lock| Arc::strong_count(lock) == 1)
        {
            locks.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use super::SingleFlight;
    use domain::{ShopId, TrackingId};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn guards_of_one_tracking_id_never_overlap() {
        let turns = SingleFlight::default();
        let inside = AtomicUsize::new(0);
        let shop = ShopId::parse("1001").unwrap();
        let name = TrackingId::parse("a").unwrap();
        let one = async || {
            let _turn = turns.acquire(&shop, &name).await;
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            inside.fetch_sub(1, Ordering::SeqCst);
        };
        futures_util::future::join_all((0..16).map(|_| one())).await;
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
