//! The simulator's two clocks.
//!
//! Virtual time, in milliseconds since the start, decides when events occur: task delays, retention
//! and retries. It can be scaled and advanced. The times that bodies show come from the wall clock,
//! because the service under test compares them with its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// Virtual milliseconds since the simulator started.
pub type VirtualMillis = u64;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// The simulator's only source of time.
pub struct VirtualClock {
    anchor: Mutex<Anchor>,
}

struct Anchor {
    at: Instant,
    base_ms: f64,
    scale: f64,
    stamp_offset: time::Duration,
}

impl VirtualClock {
    /// Creates a clock whose virtual time runs `scale` times as fast as real time.
    pub fn new(scale: f64) -> Self {
        let anchor = Anchor {
            at: real_now(),
            base_ms: 0.0,
            scale,
            stamp_offset: time::Duration::ZERO,
        };
        Self {
            anchor: Mutex::new(anchor),
        }
    }

    fn anchor(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current virtual time.
    pub fn now(&self) -> VirtualMillis {
        self.anchor().virtual_ms() as VirtualMillis
    }

    /// Returns the time that bodies show: UTC, truncated to milliseconds.
    pub fn stamp(&self) -> OffsetDateTime {
        let offset = self.anchor().stamp_offset;
        truncate_to_millis(wall() + offset)
    }

    /// Returns the factor between real and virtual time.
    pub fn scale(&self) -> f64 {
        self.anchor().scale
    }

    /// Advances virtual time; with `stamps`, also the times in bodies.
    pub fn advance(&self, seconds: f64, stamps: bool) {
        let mut anchor = self.anchor();
        anchor.base_ms += seconds.max(0.0) * 1000.0;
        if stamps {
            anchor.stamp_offset += time::Duration::seconds_f64(seconds);
        }
    }

    /// Changes the factor from now on.
    pub fn set_scale(&self, scale: f64) {
        let mut anchor = self.anchor();
        anchor.base_ms = anchor.virtual_ms();
        anchor.at = real_now();
        anchor.scale = scale;
    }

    /// Returns the real duration of a number of virtual milliseconds.
    pub fn real(&self, virtual_ms: VirtualMillis) -> Duration {
        Duration::from_secs_f64(virtual_ms as f64 / 1000.0 / self.scale())
    }
}

impl Anchor {
    fn virtual_ms(&self) -> f64 {
        self.base_ms + self.at.elapsed().as_secs_f64() * 1000.0 * self.scale
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the simulator shares no code with the service, its clock included"
)]
fn wall() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a suspended simulator is a suspended gateway"
)]
fn real_now() -> Instant {
    Instant::now()
}

/// Converts the seconds of a script or setting to virtual milliseconds.
pub fn ms(seconds: f64) -> VirtualMillis {
    // A float-to-integer cast saturates, so an invalid script cannot cause a panic.
    (seconds.max(0.0) * 1000.0) as VirtualMillis
}

/// Truncates a time to milliseconds, the precision of the gateway's bodies.
pub fn truncate_to_millis(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_millisecond(at.millisecond()).unwrap_or(at)
}

/// Formats a time as the gateway does, such as `2026-02-03T10:15:30.120Z`.
pub fn text(at: OffsetDateTime) -> String {
    at.to_offset(time::UtcOffset::UTC)
        .format(FORMAT)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_can_scale_and_advance_alone() {
        let clock = VirtualClock::new(1000.0);
        clock.advance(3600.0, false);
        assert!(clock.now() >= 3_600_000);
        assert!((clock.stamp() - wall()).abs() < time::Duration::seconds(5));
        clock.advance(60.0, true);
        assert!(clock.stamp() - wall() > time::Duration::seconds(55));
        assert_eq!(clock.real(1000), Duration::from_millis(1));
    }

    #[test]
    fn times_are_formatted_with_milliseconds() {
        let at = time::macros::datetime!(2026-02-03 10:15:30.120_9 UTC);
        assert_eq!(text(truncate_to_millis(at)), "2026-02-03T10:15:30.120Z");
    }
}
