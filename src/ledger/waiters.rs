//! Those who wait for a change. A wake-up carries no data: whoever wakes reads the row again.

use domain::ShopId;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

type Key = (ShopId, Uuid);
type Map = Mutex<HashMap<Key, Arc<Notify>>>;

/// Who waits for which transaction.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChangeWaiters {
    map: Arc<Map>,
    due: Arc<Mutex<HashMap<ShopId, Arc<Due>>>>,
}

/// When a shop has something due, as far as it has been told. The one loop of the shop waits for it.
#[derive(Debug, Default)]
pub(crate) struct Due {
    moments: Mutex<BTreeSet<Instant>>,
    told: Notify,
}

/// Moments so close to each other are one.
const ONE_MOMENT: Duration = Duration::from_millis(10);

impl Due {
    /// Something is due after a while.
    pub(crate) fn notify_after(&self, after: Duration) {
        let at = Instant::now() + after;
        let mut moments = self.lock();
        if moments.range(at..=at + ONE_MOMENT).next().is_none() {
            moments.insert(at);
            drop(moments);
            self.told.notify_one();
        }
    }

    /// Waits until something is due. From then on it counts as looked for.
    pub(crate) async fn come(&self) {
        loop {
            let first = self.lock().first().copied();
            match first {
                Some(at) if at <= Instant::now() => break,
                Some(at) => {
                    tokio::select! {
                        () = sleep_until(at) => {}
                        () = self.told.notified() => {}
                    }
                }
                None => self.told.notified().await,
            }
        }
        let now = Instant::now();
        self.lock().retain(|at| *at > now);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Instant>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One waiting. Dropping it ends it.
#[derive(Debug)]
pub struct ChangeWatch {
    map: Arc<Map>,
    key: Key,
    notify: Option<Arc<Notify>>,
}

impl ChangeWaiters {
    pub(crate) fn watch(&self, shop: &ShopId, id: Uuid) -> ChangeWatch {
        let key = (shop.clone(), id);
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        let notify = Arc::clone(map.entry(key.clone()).or_default());
        ChangeWatch {
            map: Arc::clone(&self.map),
            key,
            notify: Some(notify),
        }
    }

    /// For the one loop of a shop that looks for what is due. What nobody waits for is kept.
    pub(crate) fn due(&self, shop: &ShopId) -> Arc<Due> {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(due.entry(shop.clone()).or_default())
    }

    /// These things of a shop are due after a while each.
    pub(crate) fn tell_due(&self, shop: &ShopId, after: impl Iterator<Item = Duration>) {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let due = due.get(shop).cloned();
        if let Some(due) = due {
            after.for_each(|after| due.notify_after(after));
        }
    }

    pub(crate) fn notify(&self, shop: &ShopId, ids: impl IntoIterator<Item = Uuid>) {
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

impl ChangeWatch {
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

impl Drop for ChangeWatch {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wakeup_comes_once_when_due() {
        let (due, began) = (Due::default(), Instant::now());
        for after in [300, 105, 100, 200] {
            due.notify_after(Duration::from_millis(after));
        }
        for _ in 0..3 {
            due.come().await;
        }
        let took = began.elapsed();
        assert!((300..305).contains(&took.as_millis()), "{took:?}");
        let more = tokio::time::timeout(Duration::from_secs(60), due.come());
        assert!(more.await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_wakeup_replaces_a_later_one() {
        let (due, began) = (Arc::new(Due::default()), Instant::now());
        due.notify_after(Duration::from_secs(60));
        let later = Arc::clone(&due);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            later.notify_after(Duration::ZERO);
        });
        due.come().await;
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
}
