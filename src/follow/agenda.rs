//! Finds what is due, for all shops by one statement, and tells the loops of those shops.
//!
//! A shop at which nothing is due costs no statement of its own. What this process makes due it tells by itself
//! ([`crate::ledger::Ledger::due`]); here is found what others made due, what a lease has run out of, and what
//! was there at the start.

use crate::follow::EngineContext;
use crate::ledger::Due;
use crate::store::{StoreError, checks};
use domain::ShopId;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often the database is asked.
const AGENDA_INTERVAL: Duration = Duration::from_secs(1);

/// Whom to tell of one shop.
struct ReadOutcome {
    due: Arc<Due>,
    hints: Arc<Notify>,
}

/// The agenda of all shops.
pub(crate) struct Agenda {
    names: Vec<String>,
    told: HashMap<String, ReadOutcome>,
}

impl Agenda {
    /// Of these shops.
    pub(crate) fn of(shared: &EngineContext, shops: &[ShopId]) -> Self {
        let told = shops.iter().map(|shop| {
            let told = ReadOutcome {
                due: shared.ledger.due(shop),
                hints: Arc::default(),
            };
            (shop.to_string(), told)
        });
        Self {
            names: shops.iter().map(ToString::to_string).collect(),
            told: told.collect(),
        }
    }

    /// Wakes when a hint is due at a shop.
    pub(crate) fn hints(&self, shop: &ShopId) -> Arc<Notify> {
        let told = self.told.get(shop.as_str());
        told.map(|told| Arc::clone(&told.hints)).unwrap_or_default()
    }

    /// Asks the database again and again until the service stops. Every shop's loop waits for it: not even a panic
    /// ends it.
    pub(crate) async fn run(self, shared: Arc<EngineContext>) {
        let agenda = Arc::new(self);
        let mut trouble = false;
        while !shared.dispatch.is_stopping() {
            let began = Instant::now();
            let reading = tokio::spawn(Arc::clone(&agenda).read(Arc::clone(&shared)));
            let failed = match reading.await {
                Ok(read) => read.err().map(|error| error.chain()),
                Err(_) => Some("it panicked".to_owned()),
            };
            // Said once for each outage, not each time.
            if let Some(error) = failed.as_ref().filter(|_| !trouble) {
                tracing::error!(error, "failed to read what is due; retrying");
            }
            trouble = failed.is_some();
            tokio::select! {
                () = tokio::time::sleep_until(began + AGENDA_INTERVAL) => {}
                () = shared.dispatch.stopping() => {}
            }
        }
    }

    async fn read(self: Arc<Self>, shared: Arc<EngineContext>) -> Result<(), StoreError> {
        // Until after the next time, should that be late.
        let due = checks::due_soon(&shared.store, &self.names, AGENDA_INTERVAL * 2).await?;
        for soon in due {
            let Some(told) = self.told.get(&soon.shop) else {
                continue;
            };
            if let Some(at) = soon.check {
                told.due.notify_after(at.since(soon.now));
            }
            if soon.hint {
                told.hints.notify_one();
            }
        }
        Ok(())
    }
}
