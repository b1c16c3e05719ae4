//! A time in microseconds since 1970 (UTC), the precision of PostgreSQL.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Microseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The latest time. Stands for "time of receipt", which the ledger fills in.
    pub const END: Self = Self(i64::MAX);

    /// Creates a time from microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339 with any offset and fraction. Returns `None` for other texts.
    pub fn parse(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text.trim(), &Rfc3339)
            .ok()
            .map(Self::from)
    }

    /// Formats the time as RFC 3339 in UTC, with a fraction only if there is one.
    pub fn to_rfc3339(self) -> String {
        self.with_rfc3339(str::to_owned)
    }

    /// Passes the formatted time to `told` without an allocation.
    pub fn with_rfc3339<T>(self, told: impl FnOnce(&str) -> T) -> T {
        // Long enough for `2026-02-03T10:15:30.123456Z`.
        let mut room = [0_u8; 40];
        let mut rest = room.as_mut_slice();
        let written = OffsetDateTime::from(self).format_into(&mut rest, &Rfc3339);
        let left = rest.len();
        let text = written
            .ok()
            .and_then(|_| std::str::from_utf8(room.get(..room.len() - left)?).ok());
        told(text.unwrap_or("1970-01-01T00:00:00Z"))
    }

    /// Returns this time plus a duration, saturating.
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros_of(by)))
    }

    /// Returns this time minus a duration, saturating.
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(micros_of(by)))
    }

    /// Returns the time since `earlier`; zero if it is in the future.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

fn micros_of(by: Duration) -> i64 {
    i64::try_from(by.as_micros()).unwrap_or(i64::MAX)
}

/// Years 0 to 9999, which RFC 3339 can express. Other times are formatted as the epoch.
const PRINTABLE: std::ops::RangeInclusive<i64> = -62_167_219_200_000_000..=253_402_300_799_999_999;

impl From<Timestamp> for OffsetDateTime {
    fn from(value: Timestamp) -> Self {
        let micros = if PRINTABLE.contains(&value.0) {
            value.0
        } else {
            0
        };
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(value: OffsetDateTime) -> Self {
        Self(i64::try_from(value.unix_timestamp_nanos().div_euclid(1_000)).unwrap_or(0))
    }
}
