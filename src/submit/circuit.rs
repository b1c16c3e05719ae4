//! A circuit for one shop whose key the gateway refuses: three submits in a row that were answered so, over all
//! replicas, open it. While it is open one submit goes out now and then, and any other answer to it closes it.
//!
//! A wrong key would otherwise end payment after payment as rejected. What it deliberately cannot do: read
//! an answer.

use crate::store::{Store, StoreError, shop_controls};
use domain::ShopId;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// So many refusals in a row open it.
pub(crate) const REFUSALS_TO_OPEN: i32 = 3;

/// How often a submit goes out while it is open, over all replicas.
pub(crate) const PROBE: Duration = Duration::from_secs(15);

/// For how long a replica that has met no refusal believes that there are none.
const STATE_LIFETIME: Duration = Duration::from_millis(250);

/// How long the database may take to note an answer; recording it does not wait any longer.
const NOTE: Duration = Duration::from_secs(1);

/// One shop's circuit, as one replica sees it.
pub(crate) struct Circuit {
    store: Store,
    shop: ShopId,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    looked: Option<Instant>,
    refusals: i32,
}

impl Circuit {
    pub(crate) fn new(store: Store, shop: ShopId) -> Self {
        Self {
            store,
            shop,
            known: Mutex::default(),
        }
    }

    /// Whether a submit may go as far as is known now; takes nothing. `tries`: while the circuit is open it
    /// may be the one that tries the key.
    pub(crate) async fn admits(&self, tries: bool) -> Result<bool, StoreError> {
        if self.known_to_be_closed() {
            return Ok(true);
        }
        let taken = shop_controls::key_taken(&self.store, &self.shop).await?;
        self.learn(taken.refusals);
        Ok(taken.refusals < REFUSALS_TO_OPEN || (tries && taken.is_probe_due))
    }

    /// The last that is asked before a stamp: while the circuit is open one submit now and then takes the
    /// probe, and no other goes.
    pub(crate) async fn lets_go(&self) -> Result<bool, StoreError> {
        if self.refusals() < REFUSALS_TO_OPEN {
            return Ok(true);
        }
        shop_controls::take_key_probe(&self.store, &self.shop, PROBE).await
    }

    /// A submit was answered. `refused`: by 401 or E.1021.
    pub(crate) async fn record_response(&self, refused: bool) {
        if !refused && self.known_to_be_closed() {
            return;
        }
        let noting =
            shop_controls::note_key(&self.store, &self.shop, refused, REFUSALS_TO_OPEN, PROBE);
        let Ok(Ok(refusals)) = timeout(NOTE, noting).await else {
            return;
        };
        let before = self.learn(refusals.now);
        if refusals.now == REFUSALS_TO_OPEN {
            tracing::warn!(shop = %self.shop, "the gateway refuses the shop's key: submits are held back, and \
                one tries it each 15 seconds");
        }
        if !refused && refusals.before.max(before) >= REFUSALS_TO_OPEN {
            tracing::warn!(shop = %self.shop, "the gateway takes the shop's key again");
        }
    }

    fn known_to_be_closed(&self) -> bool {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.refusals == 0 && known.looked.is_some_and(|at| at.elapsed() < STATE_LIFETIME)
    }

    /// As they were when they were last asked for.
    fn refusals(&self) -> i32 {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.refusals
    }

    fn learn(&self, refusals: i32) -> i32 {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.looked = Some(Instant::now());
        std::mem::replace(&mut known.refusals, refusals)
    }
}
