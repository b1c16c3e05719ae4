//! Hears what the server says beside its answer to a COMMIT.
//!
//! A commit whose wait for the standby was cancelled is answered like any other; only a warning tells that it
//! stands on this server alone. The driver hands warnings to `tracing` and to nobody else, from within the
//! future that reads them: so that is where they are heard.

use sqlx::Error;
use std::cell::Cell;
use std::pin::pin;
use std::sync::OnceLock;
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

/// What the driver calls what a server says by itself.
const NOTICES: &str = "sqlx::postgres::notice";

thread_local! {
    static WARNED: Cell<bool> = const { Cell::new(false) };
}

/// Hears warnings of the server. What else the driver says meanwhile is heard by nobody.
struct Ear;

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == NOTICES && *metadata.level() <= Level::WARN
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if self.enabled(event.metadata()) {
            WARNED.set(true);
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The ear, and nobody beside it. While only one dispatcher is known, `tracing` asks the current thread's own whether
/// a new place is of interest, and keeps the answer: a warning that nobody waited for would silence all later ones.
struct Ears {
    ear: Dispatch,
    _nobody: Dispatch,
}

fn ear() -> &'static Dispatch {
    static EARS: OnceLock<Ears> = OnceLock::new();
    let ears = EARS.get_or_init(|| Ears {
        ear: Dispatch::new(Ear),
        _nobody: Dispatch::new(Ear),
    });
    &ears.ear
}

/// Runs what the server answers, and tells whether it warned meanwhile. The text is of no use: it is in the
/// server's language.
pub(super) async fn attentive<T>(
    asked: impl Future<Output = Result<T, Error>>,
) -> Result<(T, bool), Error> {
    let mut asked = pin!(asked);
    let mut warned = false;
    let answer = std::future::poll_fn(|context| {
        WARNED.set(false);
        let polled = dispatcher::with_default(ear(), || asked.as_mut().poll(context));
        warned |= WARNED.replace(false);
        polled
    })
    .await?;
    Ok((answer, warned))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

    use super::{NOTICES, attentive};

    /// As the driver does it.
    fn warn() {
        if tracing::enabled!(target: NOTICES, tracing::Level::WARN) {
            tracing::event!(target: NOTICES, tracing::Level::WARN, message = "cancelled");
        }
    }

    #[tokio::test]
    async fn a_warning_is_noticed_after_an_ignored_one() {
        attentive(async { Ok(()) }).await.unwrap();
        warn();
        let ((), warned) = attentive(async {
            warn();
            Ok(())
        })
        .await
        .unwrap();
        assert!(warned);
        let ((), warned) = attentive(async { Ok(()) }).await.unwrap();
        assert!(!warned);
    }
}
