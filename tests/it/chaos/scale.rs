//! How hard and how long. The same code runs in every form.

use std::time::Duration;

/// The least number of open transactions when a fault begins.
pub const IN_FLIGHT: i64 = 200;

/// The size of all cases.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Callers, each of whom has one transaction in hand at any time.
    pub callers: usize,
    /// How long an outage lasts.
    pub outage: Duration,
    /// How often something is repeated that happens again and again.
    pub rounds: u32,
    /// After this a recovery counts as one that does not come.
    pub patience: Duration,
}

impl Scale {
    /// What `RECONCILER_CHAOS` asks for: `short`, `middle` or `long`.
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
            Ok(other) => panic!("RECONCILER_CHAOS={other}: short, middle or long"),
        }
    }
}
