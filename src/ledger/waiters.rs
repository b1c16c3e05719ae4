//! Those who wait for a change. A wake-up carries no data: whoever wakes reads the row again.

use domain::ShopId;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use uuid::Uuid;

type Key = (ShopId, Uuid);
type Map = Mutex<HashMap<Key, Arc<Notify>>>;

/// Who waits for which transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waiters {
    map: Arc<Map>,
    due: Arc<Mutex<HashMap<ShopId, Arc<Notify>>>>,
}

/// One waiting. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    map: Arc<Map>,
    key: Key,
    notify: Option<Arc<Notify>>,
}

impl Waiters {
    pub(crate) fn watch(&self, shop: &ShopId, id: Uuid) -> Watch {
        let key = (shop.clone(), id);
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = Arc::clone(map.entry(key.clone()).or_default());
        Watch {
            map: Arc::clone(&self.map),
            key,
            notify: Some(notify),
        }
    }

    /// For the one loop of a shop that looks for what is due. A wake-up that nobody waits for is kept.
    pub(crate) fn due(&self, shop: &ShopId) -> Arc<Notify> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(due.entry(shop.clone()).or_default())
    }

    /// Something of a shop is due at once.
    pub(crate) fn wake_due(&self, shop: &ShopId) {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(notify) = due.get(shop) {
            notify.notify_one();
        }
    }

    pub(crate) fn wake(&self, shop: &ShopId, ids: impl IntoIterator<Item = Uuid>) {
        let map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map.is_empty() {
            return;
        }
        for id in ids {
            if let Some(notify) = map.get(&(shop.clone(), id)) {
                notify.notify_waiters();
            }
        }
    }
}

impl Watch {
    /// A future that is done at the next change. Make it before the row is read, so that no change
    /// falls between the reading and the waiting.
    pub fn changed(&self) -> impl Future<Output = ()> + Send + 'static {
        let notified = self.notify.clone().map(|notify| {
            // Registers now, not at the first poll.
            let mut waiting = Box::pin(notify.notified_owned());
            waiting.as_mut().enable();
            waiting
        });
        async move {
            if let Some(notified) = notified {
                notified.await;
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.notify = None;
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if map
            .get(&self.key)
            .is_some_and(|notify| Arc::strong_count(notify) == 1)
        {
            map.remove(&self.key);
        }
    }
}
