//! Circuit breaker of one subscriber.
//!
//! After [`THRESHOLD`] failures in a row, one trial message at a time is sent; the others wait.
//!
//! Not responsible for: abandoning messages.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Number of failures in a row that opens the circuit breaker.
pub(super) const THRESHOLD: u32 = 5;

/// Initial and maximum time between trial messages.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Time after which a trial message without an outcome no longer blocks the next one.
const PROBE: Duration = Duration::from_secs(30);

/// Maximum pause that a subscriber can request. Limits the effect of a mistaken `Retry-After`.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// State of one subscriber in this replica.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

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

impl Breaker {
    /// Returns whether a message may be sent now. The caller must then report the outcome with
    /// [`Self::taken`] or [`Self::failed`].
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
                open.probe_at = now + PROBE;
                true
            }
        }
    }

    /// Records an accepted message and closes the circuit breaker.
    pub(super) fn taken(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        state.open = None;
    }

    /// Records a failed attempt. Returns `true` if this opened the circuit breaker.
    pub(super) fn failed(&self) -> bool {
        let now = Instant::now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = state.failures.saturating_add(1);
        let opens = state.open.is_none() && state.failures >= THRESHOLD;
        match &mut state.open {
            Some(open) if open.probing => {
                open.pause = (open.pause * 2).min(PAUSES.1);
                open.probe_at = now + open.pause;
                open.probing = false;
            }
            // Sent before the circuit breaker opened, so it adds no information.
            Some(_) => {}
            None if opens => {
                state.open = Some(Open {
                    pause: PAUSES.0,
                    probe_at: now + PAUSES.0,
                    probing: false,
                });
            }
            None => {}
        }
        opens
    }

    /// Stops sending for the pause that the subscriber requested.
    pub(super) fn hold(&self, pause: Duration) {
        let until = Instant::now() + pause.min(LONGEST_HOLD);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.held_until = state.held_until.max(Some(until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    fn opened() -> Breaker {
        let breaker = Breaker::default();
        for n in 1..=THRESHOLD {
            assert!(breaker.may_send());
            assert_eq!(breaker.failed(), n == THRESHOLD);
        }
        breaker
    }

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_allow_one_trial_message() {
        let breaker = opened();
        assert!(!breaker.may_send());
        // Messages that were in flight do not extend the open time.
        assert!(!breaker.failed());
        advance(PAUSES.0).await;
        assert!(
            breaker.may_send() && !breaker.may_send(),
            "one trial message"
        );
        breaker.failed();
        advance(PAUSES.0).await;
        assert!(!breaker.may_send(), "the open time has doubled");
        advance(PAUSES.0).await;
        assert!(breaker.may_send());
        breaker.taken();
        assert!(breaker.may_send() && breaker.may_send());
    }

    #[tokio::test(start_paused = true)]
    async fn open_time_is_limited_and_a_lost_trial_expires() {
        let breaker = opened();
        for _ in 0..20 {
            advance(PAUSES.1).await;
            assert!(breaker.may_send());
            breaker.failed();
        }
        advance(PAUSES.1).await;
        assert!(breaker.may_send());
        advance(PROBE).await;
        assert!(breaker.may_send(), "the last trial message has no outcome");
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_pause_is_kept_up_to_the_limit() {
        let breaker = Breaker::default();
        breaker.hold(Duration::from_secs(20));
        breaker.hold(Duration::from_secs(1));
        advance(Duration::from_secs(19)).await;
        assert!(!breaker.may_send());
        advance(Duration::from_secs(1)).await;
        assert!(breaker.may_send());
        breaker.hold(Duration::from_secs(86_400));
        advance(LONGEST_HOLD).await;
        assert!(breaker.may_send());
    }
}
