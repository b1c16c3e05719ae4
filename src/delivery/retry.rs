//! Retry schedule of failed messages.
//!
//! The delays are those that Standard Webhooks recommends, four days in all: enough for a
//! subscriber that fails on the first evening of a long weekend.
//!
//! Not responsible for: other messages. If a subscriber accepts nothing, the circuit breaker acts.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

/// Delays after the first failure, the second, and so on, in seconds.
const RETRY_DELAYS_SECONDS: [u64; 10] = [
    5,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
    24 * HOUR,
];

/// Relative jitter of a delay, so that messages that failed together are not retried together.
const JITTER: f64 = 0.1;

/// Maximum delay that a subscriber can request.
pub(super) const MAX_RETRY_DELAY: Duration = Duration::from_secs(24 * HOUR);

/// Returns the delay after the given number of failures, or `None` if the message is abandoned.
///
/// The delay is never shorter than the one that the subscriber requested. `chance` is a random
/// number from 0 to 1 for the jitter.
pub(super) fn retry_delay(failures: i32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    let index = usize::try_from(failures.checked_sub(1)?).ok()?;
    let pause = Duration::from_secs(*RETRY_DELAYS_SECONDS.get(index)?);
    let varied = pause.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0));
    Some(varied.max(asked.unwrap_or_default().min(MAX_RETRY_DELAY)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn delays_grow_and_stop_after_four_days() {
        let pauses: Vec<u64> = (1..)
            .map_while(|n| retry_delay(n, None, 0.5))
            .map(|p| p.as_secs())
            .collect();
        assert_eq!(pauses[..4], [5, 300, 1_800, 7_200]);
        assert!(pauses.is_sorted());
        let days = pauses.iter().sum::<u64>() as f64 / 86_400.0;
        assert!((4.0..4.5).contains(&days), "{days}");
        assert_eq!(retry_delay(11, None, 0.5), None);
        assert_eq!(retry_delay(0, None, 0.5), None);
    }

    #[test]
    fn delays_have_jitter() {
        assert_eq!(retry_delay(2, None, 0.0), Some(Duration::from_secs(270)));
        assert_eq!(retry_delay(2, None, 1.0), Some(Duration::from_secs(330)));
    }

    #[test]
    fn a_subscriber_can_only_lengthen_a_delay() {
        let asked = |seconds| retry_delay(1, Some(Duration::from_secs(seconds)), 0.5);
        assert_eq!(asked(120), Some(Duration::from_secs(120)));
        assert_eq!(asked(1), Some(Duration::from_secs(5)));
        assert_eq!(asked(u64::MAX), Some(MAX_RETRY_DELAY));
    }
}
