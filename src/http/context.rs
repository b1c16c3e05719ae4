//! State that all listeners share: the live configuration, metrics, and whether the service is
//! about to stop.
//!
//! Not responsible for: what the handlers of one listener need; each listener has its own context.

use crate::config::LiveConfig;
use crate::http::limits::TokenBucket;
use crate::metrics::Metrics;
use crate::submit::Dispatcher;
use leaves::clock::BootInstant;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// State that all listeners share.
pub struct HttpContext {
    pub(crate) config: LiveConfig,
    pub(crate) metrics: Arc<Metrics>,
    /// Limits how many requests without a valid key are logged.
    pub(crate) strangers_logged: TokenBucket,
    dispatch: Dispatcher,
    draining: AtomicBool,
    withdrawn: AtomicBool,
}

/// Requests without a valid key that are logged per second; metrics count all of them.
const STRANGERS_LOGGED: u32 = 5;

impl HttpContext {
    /// Creates the shared state.
    pub fn new(config: LiveConfig, dispatch: Dispatcher, metrics: Arc<Metrics>) -> Self {
        Self {
            config,
            metrics,
            strangers_logged: TokenBucket::new(STRANGERS_LOGGED, BootInstant::now()),
            dispatch,
            draining: AtomicBool::new(false),
            withdrawn: AtomicBool::new(false),
        }
    }

    /// Returns whether the service is about to stop: requests start no new work, and waiting
    /// requests are answered.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) || self.dispatch.is_stopping()
    }

    /// Withdraws readiness. Requests are still accepted until load balancers have noticed.
    pub fn withdraw(&self) {
        self.withdrawn.store(true, Ordering::Release);
    }

    /// Returns whether readiness is withdrawn.
    pub(crate) fn is_leaving(&self) -> bool {
        self.withdrawn.load(Ordering::Acquire) || self.is_draining()
    }

    /// Begins to stop: withdraws readiness and answers waiting requests.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }
}
