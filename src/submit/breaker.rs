//! A circuit breaker for one shop at the gateway's origin: when it cannot be reached, background work
//! stops knocking and lets one probe through now and then.
//!
//! Each shop has its own: the gateway may hang for one merchant and be well for another, and the
//! silence of the first must not put off the checks of the second.
//!
//! Requests of waiting callers pass it: they are probes with a reason. What it deliberately cannot
//! do: decide anything about a transaction.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row open it.
const FAILURES_TO_OPEN: u32 = 5;

/// The first pause between probes.
const MIN_OPEN_TIME: Duration = Duration::from_secs(1);

/// The longest.
const MAX_OPEN_TIME: Duration = Duration::from_secs(30);

/// The origin's health for one shop, as one replica sees it.
#[derive(Debug, Default)]
pub(crate) struct GatewayBreaker {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    failures: u32,
    pause: Duration,
    probe_at: Option<Instant>,
    /// The last failure was one of a gateway that takes connections and does not answer.
    hangs: bool,
    /// A probe is on the wire.
    probing: bool,
}

impl GatewayBreaker {
    /// Whether background work may ask now. While open, one asker gets through for each pause; where the
    /// gateway can be reached and hangs, whoever has not `tried` as well. It may hang for some things only,
    /// and a probe that always goes to one of those would never come back.
    pub(crate) fn allows_request(&self, tried: bool) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match inner.probe_at {
            None => true,
            Some(_) if inner.hangs && !tried => true,
            Some(at) if at > now => false,
            Some(_) => {
                inner.probe_at = Some(now + inner.pause);
                inner.probing = true;
                true
            }
        }
    }

    /// Whether it is open.
    pub(crate) fn is_open(&self) -> bool {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .probe_at
            .is_some()
    }

    /// The gateway has answered, whatever it said.
    pub(crate) fn record_response(&self) {
        *self.inner.lock().unwrap_or_else(PoisonError::into_inner) = Inner::default();
    }

    /// The gateway could not be reached, or (`hangs`) gave no answer at all.
    pub(crate) fn record_failure(&self, hangs: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.hangs = hangs;
        inner.failures = inner.failures.saturating_add(1);
        // Hundreds of requests that were on the wire when the gateway went away all fail, and say no
        // more than the first of them: only a probe that failed makes the pause longer.
        let opens = inner.probe_at.is_none() && inner.failures >= FAILURES_TO_OPEN;
        if opens || inner.probing {
            inner.probing = false;
            inner.pause = (inner.pause * 2).clamp(MIN_OPEN_TIME, MAX_OPEN_TIME);
            inner.probe_at = Some(Instant::now() + inner.pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FAILURES_TO_OPEN, GatewayBreaker, MIN_OPEN_TIME};

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_failures_in_a_row_and_lets_one_probe_through() {
        let breaker = GatewayBreaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            assert!(breaker.allows_request(true));
            breaker.record_failure(false);
        }
        assert!(breaker.is_open() && !breaker.allows_request(true));
        tokio::time::advance(MIN_OPEN_TIME).await;
        assert!(breaker.allows_request(true), "one probe");
        assert!(!breaker.allows_request(true), "and only one");
        breaker.record_response();
        assert!(!breaker.is_open() && breaker.allows_request(true));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_in_flight_do_not_extend_the_open_time() {
        let breaker = GatewayBreaker::default();
        for _ in 0..200 {
            breaker.record_failure(false);
        }
        tokio::time::advance(MIN_OPEN_TIME).await;
        assert!(breaker.allows_request(true), "the first probe");
        breaker.record_failure(false);
        breaker.record_failure(false);
        tokio::time::advance(MIN_OPEN_TIME).await;
        assert!(
            !breaker.allows_request(true),
            "a probe that failed doubles the pause"
        );
        tokio::time::advance(MIN_OPEN_TIME).await;
        assert!(breaker.allows_request(true), "the second probe");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_between_starts_the_count_again() {
        let breaker = GatewayBreaker::default();
        for _ in 0..FAILURES_TO_OPEN - 1 {
            breaker.record_failure(false);
        }
        breaker.record_response();
        breaker.record_failure(false);
        assert!(breaker.allows_request(true));
    }

    #[tokio::test(start_paused = true)]
    async fn untried_transactions_pass_a_half_open_breaker() {
        let breaker = GatewayBreaker::default();
        for _ in 0..FAILURES_TO_OPEN {
            breaker.record_failure(true);
        }
        assert!(breaker.is_open() && !breaker.allows_request(true));
        assert!(breaker.allows_request(false) && breaker.allows_request(false));
        breaker.record_failure(false);
        assert!(
            !breaker.allows_request(false),
            "now it cannot be reached at all"
        );
    }
}
