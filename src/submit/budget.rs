//! The budget of requests to the gateway, shared by all replicas.
//!
//! The bucket is a row in PostgreSQL. Replicas draw from it in small portions that they must use
//! within a second, so that a busy replica does not ask for each request and an idle one hoards
//! nothing.

use crate::metrics::Metrics;
use crate::store::{Store, StoreError, shop_controls};
use domain::ShopId;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// Why nothing was taken.
#[derive(Debug, thiserror::Error)]
pub enum NoBudget {
    /// Nothing is left, and waiting was not worth it.
    #[error("the shop's budget of requests is used up")]
    UsedUp {
        /// When to try again.
        retry_after: Duration,
    },
    /// It is not known what is left.
    #[error("the shop's budget of requests cannot be asked for")]
    Unavailable(#[source] StoreError),
}

/// How long a portion may be used.
const GRANT_LIFETIME: Duration = Duration::from_secs(1);

/// The longest time for which a 429 silences a shop.
const MAX_RATE_LIMIT_PAUSE: Duration = Duration::from_secs(60);

/// The pause between two questions to an empty bucket.
const BUDGET_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long the database has at least to tell what is left.
const TELL: Duration = Duration::from_secs(1);

/// One shop's budget, as one replica sees it.
pub(crate) struct RequestBudget {
    store: Store,
    shop: ShopId,
    rate: f64,
    portion: Mutex<LocalGrant>,
    waiting: AtomicUsize,
    metrics: Arc<Metrics>,
}

struct LocalGrant {
    left: i32,
    until: Instant,
    /// The gateway answered 429 to a read: nothing before this.
    held_until: Option<Instant>,
    /// The gateway answered 429 to a submit: no background work before this. A caller who asks again
    /// is told by the gateway itself.
    quiet_until: Option<Instant>,
}

impl RequestBudget {
    pub(crate) fn new(store: Store, shop: ShopId, rate: f64, metrics: Arc<Metrics>) -> Self {
        let portion = Mutex::new(LocalGrant {
            left: 0,
            until: Instant::now(),
            held_until: None,
            quiet_until: None,
        });
        Self {
            store,
            shop,
            rate,
            portion,
            waiting: AtomicUsize::new(0),
            metrics,
        }
    }

    /// Takes one request, waiting at most `within`. Those who wait here are callers; background
    /// work steps back for them.
    pub(crate) async fn acquire(&self, within: Duration) -> Result<(), NoBudget> {
        let started = Instant::now();
        let waiting = WaiterGuard::begin(&self.waiting);
        let taken = loop {
            let left = within.saturating_sub(started.elapsed()).max(TELL);
            let taken = timeout(left, self.take_up_to(1)).await;
            let taken = taken.unwrap_or_else(|_| Err(StoreError::silence()));
            if matches!(taken, Ok(1)) || started.elapsed() + BUDGET_POLL_INTERVAL > within {
                break taken;
            }
            tokio::time::sleep(BUDGET_POLL_INTERVAL).await;
        };
        drop(waiting);
        self.metrics.budget_waited(started.elapsed());
        if taken.map_err(NoBudget::Unavailable)? == 1 {
            return Ok(());
        }
        let held = self.portion.lock().await.held_until;
        let left = held.map(|until| until.saturating_duration_since(Instant::now()));
        Err(NoBudget::UsedUp {
            retry_after: left.unwrap_or_default().max(Duration::from_secs(1)),
        })
    }

    /// Takes what is there for background work, at once; nothing while callers wait.
    pub(crate) async fn try_acquire_for_background(&self, wanted: i32) -> Result<i32, StoreError> {
        let quiet = self.portion.lock().await.quiet_until;
        let is_quiet = quiet.is_some_and(|until| until > Instant::now());
        if is_quiet || self.waiting.load(Ordering::Relaxed) > 0 {
            return Ok(0);
        }
        self.take_up_to(wanted).await
    }

    /// One request was taken and not made. It stays in this replica's portion, and is lost with it.
    pub(crate) async fn release(&self) {
        self.portion.lock().await.left += 1;
    }

    /// The gateway asked this shop to slow down.
    pub(crate) async fn pause(&self, wait: Duration) {
        self.portion.lock().await.held_until =
            Some(Instant::now() + wait.min(MAX_RATE_LIMIT_PAUSE));
    }

    /// The gateway asked for a pause when something was submitted.
    pub(crate) async fn pause_background(&self, wait: Duration) {
        self.portion.lock().await.quiet_until =
            Some(Instant::now() + wait.min(MAX_RATE_LIMIT_PAUSE));
    }

    async fn take_up_to(&self, wanted: i32) -> Result<i32, StoreError> {
        let mut portion = self.portion.lock().await;
        let now = Instant::now();
        if portion.held_until.is_some_and(|until| until > now) {
            return Ok(0);
        }
        if portion.until <= now {
            portion.left = 0;
        }
        if portion.left < wanted {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a quarter of a rate that fits"
            )]
            let quarter = (self.rate / 4.0).ceil() as i32;
            let ask = quarter.max(wanted - portion.left);
            let granted =
                shop_controls::take_budget(&self.store, &self.shop, self.rate, ask).await?;
            if granted > 0 {
                portion.left += granted;
                portion.until = now + GRANT_LIFETIME;
            }
        }
        let taken = wanted.min(portion.left);
        portion.left -= taken;
        Ok(taken)
    }
}

/// One caller who waits. Counted down also when the caller goes away.
struct WaiterGuard<'a>(&'a AtomicUsize);

impl<'a> WaiterGuard<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaiterGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
