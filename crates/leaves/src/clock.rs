//! The only module that reads the system clock.
//!
//! Code that decides by time takes the time as an argument, so that a test can choose it;
//! `clippy.toml` forbids other clocks. The database clock decides leases, horizons and replay
//! limits.
//!
//! Not responsible for: faking or shifting time.

use std::ops::Add;
use std::time::Duration;

use time::OffsetDateTime;

/// Returns the current time, truncated to microseconds as in PostgreSQL, so that a time read back
/// equals the time written.
pub fn now_utc() -> OffsetDateTime {
    #[expect(clippy::disallowed_methods, reason = "this module reads the clock")]
    let now = OffsetDateTime::now_utc();
    truncate_to_microseconds(now)
}

fn truncate_to_microseconds(at: OffsetDateTime) -> OffsetDateTime {
    let micros = at.nanosecond() / 1_000;
    // The new nanosecond is below one second, so the replacement cannot fail.
    at.replace_nanosecond(micros * 1_000).unwrap_or(at)
}

/// An instant of a monotonic clock that counts suspension.
///
/// `std::time::Instant` stops while the machine is suspended. A lease measured by it would seem
/// valid after a resume, long after another replica has acquired it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootInstant(Duration);

impl BootInstant {
    /// Returns the current instant.
    pub fn now() -> Self {
        let read = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel counts up from zero, and nanoseconds are below one second.
        let seconds = u64::try_from(read.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(read.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// Returns the time since this instant; zero if it is in the future.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }

    /// Returns the time until this instant; zero if it has passed.
    pub fn remaining(self) -> Duration {
        self.duration_since(Self::now())
    }

    /// Returns the time from `earlier` to this instant; zero if `earlier` is later.
    pub fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    /// Returns the instant `duration` later, saturating.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_have_the_precision_of_postgresql() {
        assert_eq!(
            truncate_to_microseconds(datetime!(2026-11-22 10:00:00.123456789 UTC)),
            datetime!(2026-11-22 10:00:00.123456 UTC)
        );
        assert_eq!(
            truncate_to_microseconds(datetime!(2026-11-22 23:59:59.999999999 UTC)),
            datetime!(2026-11-22 23:59:59.999999 UTC)
        );
        assert_eq!(now_utc().nanosecond() % 1_000, 0);
    }

    #[test]
    fn boottime_is_monotonic_and_saturates_at_zero() {
        let start = BootInstant::now();
        let later = start + Duration::from_secs(5);
        assert_eq!(later.duration_since(start), Duration::from_secs(5));
        assert_eq!(start.duration_since(later), Duration::ZERO);
        assert_eq!(later.elapsed(), Duration::ZERO);
        assert!(later.remaining() <= Duration::from_secs(5));
        assert!(later.remaining() > Duration::from_secs(4));
        assert!(BootInstant::now() >= start);
        assert_eq!(start + Duration::MAX, BootInstant(Duration::MAX));
    }

    /// The kernel's uptime uses the same clock. A clock that stops during suspension or has another
    /// zero would differ from it.
    #[cfg(target_os = "linux")]
    #[test]
    fn boottime_equals_the_machine_uptime() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let Some(uptime) = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok())
        else {
            return;
        };
        let difference = BootInstant::now().0.as_secs_f64() - uptime;
        assert!((-0.1..5.0).contains(&difference), "{difference} s apart");
    }
}
