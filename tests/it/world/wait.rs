//! Waits for a condition, with a deadline that only a hang reaches.

use std::time::Duration;
use tokio::time::Instant;

/// Timeout of every wait.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Poll interval.
const POLL_INTERVAL: Duration = Duration::from_millis(15);

/// Polls until `look` returns a value. Panics after the timeout.
pub async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    match eventually_within(WAIT_TIMEOUT, look).await {
        Some(seen) => seen,
        None => panic!("timed out waiting for: {what}"),
    }
}

/// Like [`eventually`], with a given timeout. Returns `None` after the timeout.
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
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
