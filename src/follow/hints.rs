//! Looks up what unsigned webhooks named: by its uid, whoever it belongs to. What the gateway tells then is
//! evidence; what the webhook said is none.

use crate::follow::effects::{GatewayRead, LiveEffects, StepEffects};
use crate::follow::{EngineContext, ShopContext};
use crate::ledger::{EvidenceTarget, RecordEvidence};
use crate::observation::query::{Asked, observe};
use crate::store::{StoreError, hints};
use domain::Uid;
use futures_util::future::join_all;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The pause after a turn that failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How many of ours are looked up in one turn.
const AT_ONCE: i64 = 8;

/// Looks up what is hinted at one shop until the service stops. `rate`: the shop's requests a second. `due` wakes
/// when something is.
pub(crate) async fn run(
    shared: Arc<EngineContext>,
    shop: ShopContext,
    rate: u32,
    due: Arc<Notify>,
) {
    while !shared.dispatch.is_stopping() {
        tokio::select! {
            () = due.notified() => {}
            () = shared.dispatch.stopping() => return,
        }
        while !shared.dispatch.is_stopping() {
            match follow_hints(&shared, &shop, rate).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::debug!(shop = %shop.id, error = error.chain(), "hints could not be taken");
                    tokio::time::sleep(RETRY_INTERVAL).await;
                    break;
                }
            }
        }
    }
}

/// Those of ours first. Of the others a tenth of the shop's budget: as many in ten seconds as it has in one.
async fn follow_hints(
    shared: &EngineContext,
    shop: &ShopContext,
    rate: u32,
) -> Result<bool, StoreError> {
    let (store, lease) = (&shared.store, shared.settings.lease);
    let mut due = hints::lease(store, &shop.id, None, AT_ONCE, lease).await?;
    if due.is_empty() {
        let most = i64::from(rate).max(1);
        due = hints::lease(store, &shop.id, Some(most), 1, lease).await?;
    }
    // Behind every other check.
    let tried = true;
    let hands = LiveEffects {
        shared,
        shop,
        tried,
    };
    // At once, so that none outlasts its lease while it waits for another.
    let looks = due.iter().map(async |hint| {
        let told = match Uid::from_gateway(&hint.uid) {
            Some(uid) => look_up(&hands, &uid).await?,
            None => true,
        };
        hints::mark_done(store, &shop.id, hint, told).await
    });
    let done: Result<Vec<()>, StoreError> = join_all(looks).await.into_iter().collect();
    done.map(|_| !due.is_empty())
}

/// Looks up what was hinted at, and records what is told, whoever it belongs to. Whether the look told
/// something.
///
/// # Errors
///
/// Returns why the owner could not be read.
pub async fn look_up<H: StepEffects>(hands: &H, uid: &Uid) -> Result<bool, StoreError> {
    if hands.acquire_permission().await.is_err() {
        return Ok(false);
    }
    let Some(answer) = hands.read_gateway(GatewayRead::Uid(uid)).await else {
        return Ok(false);
    };
    let owners = hands.owners(&[uid.to_string()]).await?;
    let owner = owners.first().map(|(_, id, _)| *id);
    // The gateway's own word that there is no such thing is an answer.
    let is_missing = answer.status == 404;
    let Some(learned) = observe(&answer, Asked::Uid(uid), owner.is_some()) else {
        return Ok(is_missing);
    };
    let told = is_missing || learned.is_about_it();
    let record = RecordEvidence {
        target: owner.map_or(EvidenceTarget::Snapshots, EvidenceTarget::Transaction),
        observation: learned,
        lease: None,
        next_check: None,
    };
    Ok(hands.record(record).await.is_ok() && told)
}
