//! Steps back from a receiver that takes nothing: after failures in a row one message at a time
//! is tried, the others wait where they are.
//!
//! What it deliberately cannot do: give anything up.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// So many failures in a row open it.
pub(super) const THRESHOLD: u32 = 5;

/// The first pause between probes, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// A probe whose end was never told is forgotten after this.
const PROBE: Duration = Duration::from_secs(30);

/// The longest that a receiver can silence us: a mistake there must not last.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// One receiver, as one replica sees it.
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
    /// Whether a message may be sent now. Whoever is let through tells how it ended.
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

    /// A message was taken.
    pub(super) fn taken(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures = 0;
        state.open = None;
    }

    /// A message was not taken. `true` when this opened it.
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
            // Sent before it opened: tells nothing new.
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

    /// The receiver has asked for a pause.
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
    async fn failures_in_a_row_leave_one_probe_at_a_time() {
        let breaker = opened();
        assert!(!breaker.may_send());
        // Those that were on the way do not make the pause longer.
        assert!(!breaker.failed());
        advance(PAUSES.0).await;
        assert!(breaker.may_send() && !breaker.may_send(), "one probe");
        breaker.failed();
        advance(PAUSES.0).await;
        assert!(!breaker.may_send(), "the pause has grown");
        advance(PAUSES.0).await;
        assert!(breaker.may_send());
        breaker.taken();
        assert!(breaker.may_send() && breaker.may_send());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_ends_growing_and_a_lost_probe_is_forgotten() {
        let breaker = opened();
        for _ in 0..20 {
            advance(PAUSES.1).await;
            assert!(breaker.may_send());
            breaker.failed();
        }
        advance(PAUSES.1).await;
        assert!(breaker.may_send());
        advance(PROBE).await;
        assert!(breaker.may_send(), "nobody told of the last probe");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_was_asked_for_is_kept_but_not_for_ever() {
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
