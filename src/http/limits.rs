//! How often something may happen in this process: a client's requests, and what a flood of forged
//! webhooks may cost.
//!
//! What it deliberately cannot do: know of other replicas. The limit towards the gateway, which all
//! replicas share, is another one (`submit`).

use leaves::clock::BootInstant;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A bucket that fills at a rate and holds one second's worth.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    rate: f64,
    level: Mutex<(f64, BootInstant)>,
}

impl TokenBucket {
    pub(crate) fn new(per_second: u32, now: BootInstant) -> Self {
        let rate = f64::from(per_second.max(1));
        Self {
            rate,
            level: Mutex::new((rate, now)),
        }
    }

    /// Takes one, or tells after which time there is one again.
    pub(crate) fn try_acquire(&self, now: BootInstant) -> Result<(), Duration> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let (tokens, at) = *level;
        let filled = tokens + now.duration_since(at).as_secs_f64() * self.rate;
        let tokens = filled.min(self.rate);
        let granted = tokens >= 1.0;
        *level = (if granted { tokens - 1.0 } else { tokens }, now.max(at));
        if granted {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - tokens) / self.rate))
    }
}

/// Lets one thing of each kind through per interval. The kinds must be few.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    interval: Duration,
    last: Mutex<HashMap<K, BootInstant>>,
}

impl<K: Eq + Hash> Throttle<K> {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Mutex::new(HashMap::new()),
        }
    }

    /// Whether it may happen now.
    pub(crate) fn allows(&self, kind: K, now: BootInstant) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let allowed = last
            .get(&kind)
            .is_none_or(|at| now.duration_since(*at) >= self.interval);
        if allowed {
            last.insert(kind, now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_seconds_worth_and_then_its_rate() {
        let start = BootInstant::now();
        let bucket = TokenBucket::new(4, start);
        for _ in 0..4 {
            assert_eq!(bucket.try_acquire(start), Ok(()));
        }
        assert_eq!(bucket.try_acquire(start), Err(Duration::from_millis(250)));
        let later = start + Duration::from_millis(250);
        assert_eq!(bucket.try_acquire(later), Ok(()));
        assert!(bucket.try_acquire(later).is_err());
        let much_later = start + Duration::from_secs(60);
        let granted = (0..10)
            .filter(|_| bucket.try_acquire(much_later).is_ok())
            .count();
        assert_eq!(granted, 4);
    }

    #[test]
    fn a_throttle_lets_each_kind_through_once_per_interval() {
        let start = BootInstant::now();
        let throttle = Throttle::new(Duration::from_secs(1));
        assert!(throttle.allows("a", start));
        assert!(!throttle.allows("a", start));
        assert!(throttle.allows("b", start));
        assert!(!throttle.allows("a", start + Duration::from_millis(999)));
        assert!(throttle.allows("a", start + Duration::from_secs(1)));
    }
}
