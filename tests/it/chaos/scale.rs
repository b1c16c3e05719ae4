//! Size of the cases. All sizes run the same code.

use std::time::Duration;

/// Minimum number of open transactions when a fault begins.
pub const IN_FLIGHT: i64 = 200;

/// Size of all cases.
#[derive(Debug, Clone, Copy)]
pub struct ChaosScale {
    /// Number of callers. Each has one transaction in progress at any time.
    pub callers: usize,
    /// Duration of an outage.
    pub outage: Duration,
    /// Number of repetitions of a repeated fault.
    pub rounds: u32,
    /// Timeout of a recovery.
    pub patience: Duration,
}

impl ChaosScale {
    /// Returns the size that `RECONCILER_CHAOS` selects: `short`, `middle` or `long`.
    pub fn chosen() -> Self {
        let scale = |callers, outage, rounds, patience| Self {
            callers,
            outage: Duration::from_secs(outage),
            rounds,
            patience: Duration::from_secs(patience),
        };
        match std::env::var("RECONCILER_CHAOS").as_deref() {
            Err(_) | Ok("" | "short") => scale(240, 2, 4, 90),
            Ok("middle") => scale(300, 20, 12, 180),
            Ok("long") => scale(400, 150, 40, 900),
            Ok(other) => panic!("RECONCILER_CHAOS must be short, middle or long, got {other}"),
        }
    }
}
