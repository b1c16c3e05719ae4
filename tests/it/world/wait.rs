//! Waiting for a condition, with a deadline that only a hang reaches.

use std::time::Duration;
use tokio::time::Instant;

/// How long anything may take before the test is given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// Looks again and again until there is something to see.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match eventually_within(PATIENCE, look).await {
        Some(seen) => seen,
        None => panic!("waited in vain for: {what}"),
    }
}

/// As [`eventually`], for a time of its own; `None` when it did not come.
pub async fn eventually_within<T>(
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Option<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return Some(seen);
        }
        if Instant::now() > deadline {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
