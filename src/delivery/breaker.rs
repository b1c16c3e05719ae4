//! Circuit breaker of one subscriber.
//!
//! After [`FAILURES_TO_OPEN`] failures in a row, one trial message at a time is sent; the others wait.
//!
//! Not responsible for: abandoning messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Number of failures in a row that opens the circuit breaker.
pub(super) const FAILURES_TO_OPEN: u32 = 5;

/// Minimum time that the circuit breaker stays open; doubled after each failed trial message.
const MIN_OPEN_TIME: Duration = Duration::from_secs(1);

/// Maximum time that the circuit breaker stays open between trial messages.
const MAX_OPEN_TIME: Duration = Duration::from_secs(300);

/// Time after which a trial message without an outcome no longer blocks the next one.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum pause that a subscriber can request. Limits the effect of a mistaken `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// State of one subscriber in this replica.
#[derive(Debug, Default)]
pub(super) struct CircuitBreaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
    held_until: Option<Instant>,
}

#[derive(Debug)]
struct Open {
    pause: Duration,
    probe_at: Instant,
    probing: bool,
}

impl CircuitBreaker {
    /// Returns whether a message may be sent now. The caller must then report the outcome with
    /// [`Self::record_success`] or [`Self::record_failure`].
    pub(super) fn may_send(&self) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.held_until.is_some_and(|until| until > now) {
            return false;
        }
        match &mut state.open {
            None => true,
            Some(open) if open.probe_at > now => false,
            Some(open) => {
                open.probing = true;
                open.probe_at = now + TRIAL_TIMEOUT;
                true
            }
        }
    }

    /// Records an accepted message and closes the circuit breaker.
    pub(super) fn record_success(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        state.open = None;
    }

    /// Records a failed attempt. Returns `true` if this opened the circuit breaker.
    pub(super) fn record_failure(&self) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        let opens = state.open.is_none() && state.failures >= FAILURES_TO_OPEN;
        match &mut state.open {
            Some(open) if open.probing => {
                open.pause = (open.pause * 2).min(MAX_OPEN_TIME);
                open.probe_at = now + open.pause;
                open.probing = false;
            }
            // Sent before the circuit breaker opened, so it adds no information.
            Some(_) => {}
            None if opens => {
                state.open = Some(Open {
                    pause: MIN_OPEN_TIME,
                    probe_at: now + MIN_OPEN_TIME,
                    probing: false,
                });
            }
            None => {}
        }
        opens
    }

    /// Stops sending for the pause that the subscriber requested.
    pub(super) fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause.min(MAX_RETRY_AFTER);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held_until = state.held_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn opened() -> CircuitBreaker {
        let breaker = CircuitBreaker::default();
        for n in 1..=FAILURES_TO_OPEN {
            assert!(breaker.may_send());
            assert_eq!(breaker.record_failure(), n == FAILURES_TO_OPEN);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_allow_one_trial_message() {
        let breaker = opened();
        assert!(!breaker.may_send());
        // Messages that were in flight do not extend the open time.
        assert!(!breaker.record_failure());
        advance(MIN_OPEN_TIME).await;
        assert!(
            breaker.may_send() && !breaker.may_send(),
            "one trial message"
        );
        breaker.record_failure();
        advance(MIN_OPEN_TIME).await;
        assert!(!breaker.may_send(), "the open time has doubled");
        advance(MIN_OPEN_TIME).await;
        assert!(breaker.may_send());
        breaker.record_success();
        assert!(breaker.may_send() && breaker.may_send());
    }

    #[tokio::test(start_paused = true)]
    async fn open_time_is_limited_and_a_lost_trial_expires() {
        let breaker = opened();
        for _ in 0..20 {
            advance(MAX_OPEN_TIME).await;
            assert!(breaker.may_send());
            breaker.record_failure();
        }
        advance(MAX_OPEN_TIME).await;
        assert!(breaker.may_send());
        advance(TRIAL_TIMEOUT).await;
        assert!(breaker.may_send(), "the last trial message has no outcome");
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_pause_is_kept_up_to_the_limit() {
        let breaker = CircuitBreaker::default();
        breaker.pause(Duration::from_secs(20));
        breaker.pause(Duration::from_secs(1));
        advance(Duration::from_secs(19)).await;
        assert!(!breaker.may_send());
        advance(Duration::from_secs(1)).await;
        assert!(breaker.may_send());
        breaker.pause(Duration::from_secs(86_400));
        advance(MAX_RETRY_AFTER).await;
        assert!(breaker.may_send());
    }
}
