//! The one place where time is read.
//!
//! Everything that decides by time takes the time as an argument, so that a test can
//! say what time it is; `clippy.toml` bans the other ways of asking. This module
//! deliberately cannot be faked or shifted: it reads, and others pass on what it read.
//! Leases, horizons and replay limits are not decided by this clock but by Postgres'.

use std::ops::Add;
use std::time::Duration;

use time::OffsetDateTime;

/// The time now, cut to microseconds: what Postgres keeps, so that a time read back
/// equals the time written.
pub fn now_utc() -> OffsetDateTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    let now = OffsetDateTime::now_utc();
    truncate_to_microseconds(now)
}

fn truncate_to_microseconds(at: OffsetDateTime) -> OffsetDateTime {
    let micros = at.nanosecond() / 1_000;
    // The replacement is below one second by construction, so it is never refused.
    at.replace_nanosecond(micros * 1_000).unwrap_or(at)
}

/// An instant on a monotonic clock that goes on counting while the machine sleeps.
///
/// `std::time::Instant` stops during suspension: a lease measured by it looks alive
/// after a laptop or a virtual machine woke up, long after another replica took the
/// work over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Boottime(Duration);

impl Boottime {
    /// The instant now.
    pub fn now() -> Self {
        let read = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        // The kernel counts up from zero, and nanoseconds stay below one second.
        let seconds = u64::try_from(read.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(read.tv_nsec).unwrap_or(0);
        Self(Duration::new(seconds, nanos))
    }

    /// How long ago this instant was; zero when it is still to come.
    pub fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }

    /// How long it is until this instant; zero when it has passed.
    pub fn remaining(self) -> Duration {
        self.duration_since(Self::now())
    }

    /// The time from `earlier` to this instant; zero when `earlier` is the later one.
    pub fn duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Boottime {
    type Output = Self;

    /// The instant `duration` later, at most the last one that can be expressed.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn times_have_the_precision_of_postgres() {
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
    fn boottime_runs_forward_and_never_below_zero() {
        let start = Boottime::now();
        let later = start + Duration::from_secs(5);
        assert_eq!(later.duration_since(start), Duration::from_secs(5));
        assert_eq!(start.duration_since(later), Duration::ZERO);
        assert_eq!(later.elapsed(), Duration::ZERO);
        assert!(later.remaining() <= Duration::from_secs(5));
        assert!(later.remaining() > Duration::from_secs(4));
        assert!(Boottime::now() >= start);
        assert_eq!(start + Duration::MAX, Boottime(Duration::MAX));
    }

    /// The kernel's uptime is the same clock, so it tells `Boottime` from one that
    /// stops during suspension or starts at another zero.
    #[cfg(target_os = "linux")]
    #[test]
    fn boottime_is_the_uptime_of_the_machine() {
        let text = std::fs::read_to_string("/proc/uptime").unwrap_or_default();
        let Some(uptime) = text
            .split(' ')
            .next()
            .and_then(|word| word.parse::<f64>().ok())
        else {
            return;
        };
        let difference = Boottime::now().0.as_secs_f64() - uptime;
        assert!((-0.1..5.0).contains(&difference), "{difference} s apart");
    }
}
