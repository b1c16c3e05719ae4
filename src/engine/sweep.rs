//! Slow work beside the checks: partitions are made ahead, and orphans are tried again.

use crate::domain::evidence::FoundBy;
use crate::domain::{Channel, DiscrepancyKind, Fact, ShopId, Timestamp};
use crate::engine::Shared;
use crate::gateway::{WebhookReading, read_webhook};
use crate::ledger::{Learned, Record, Target};
use crate::store::StoreError;
use crate::store::sweeps::{self, OrphanRow};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How often orphans are tried again.
const ORPHANS: Duration = Duration::from_secs(5);

/// How often the rest is done.
const SLOW: Duration = Duration::from_secs(3600);

/// Past this a transaction that has not ended is told to a person: the gateway's webhooks last a day
/// and a half, its tasks one.
const TOO_LONG: Duration = Duration::from_secs(3 * 86_400);

/// How many months of partitions are made ahead.
const MONTHS_AHEAD: i32 = 3;

/// Sweeps until the service stops.
pub(crate) async fn run(shared: Arc<Shared>, shops: Vec<ShopId>) {
    let mut slow_at = Instant::now();
    while !shared.dispatch.is_stopping() {
        for shop in &shops {
            log("orphans", rematch(&shared, shop).await);
        }
        if Instant::now() >= slow_at {
            log(
                "partitions",
                sweeps::ensure_partitions(&shared.store, MONTHS_AHEAD).await,
            );
            log("evidence", forget_evidence(&shared).await);
            for shop in &shops {
                log("events", forget_events(&shared, shop).await);
                log("stuck", tell_stuck(&shared, shop).await);
            }
            slow_at = Instant::now() + SLOW;
        }
        tokio::select! {
            () = tokio::time::sleep(ORPHANS) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

fn log(what: &'static str, done: Result<(), StoreError>) {
    if let Err(error) = done {
        tracing::warn!(what, error = error.chain(), "a sweep did not come through");
    }
}

/// Tries orphans again whose owner, parent or name has appeared since.
async fn rematch(shared: &Shared, shop: &ShopId) -> Result<(), StoreError> {
    for orphan in sweeps::matchable_orphans(&shared.store, shop, 100).await? {
        let Some(record) = evidence_of(&orphan) else {
            continue;
        };
        if let Ok(recorded) = shared.ledger.record(shop, record).await
            && let Some(transaction) = recorded.transaction
        {
            sweeps::orphan_matched(&shared.store, shop, orphan.id, transaction.record.id).await?;
        }
    }
    Ok(())
}

/// The evidence that an orphan amounts to, now that it may have an owner.
pub fn evidence_of(orphan: &OrphanRow) -> Option<Record> {
    let sha256 = orphan.body_sha256.as_slice().try_into().ok()?;
    let reading = read_webhook(&orphan.body, sha256, Timestamp::END);
    let WebhookReading::Transaction { snapshot, .. } = reading else {
        return None;
    };
    let fact = Fact::Seen {
        snapshot,
        found_by: FoundBy::TrackingId,
    };
    let mut learned = Learned::said(
        Channel::Webhook,
        None,
        None,
        orphan.body.clone(),
        sha256,
        vec![fact],
    );
    learned.id = orphan.id;
    learned.signed = Some(orphan.signed);
    Some(Record {
        target: Target::Snapshots,
        learned,
        lease: None,
        next_check: None,
    })
}

/// Drops months of evidence that are older than they are kept.
async fn forget_evidence(shared: &Shared) -> Result<(), StoreError> {
    let keep = shared.settings.evidence_retention;
    let dropped = sweeps::forget_evidence(&shared.store, keep).await?;
    if dropped > 0 {
        tracing::info!(dropped, "months of evidence were dropped");
    }
    Ok(())
}

/// Tells of transactions that have not ended for longer than the gateway itself would take.
async fn tell_stuck(shared: &Shared, shop: &ShopId) -> Result<(), StoreError> {
    for (id, state) in sweeps::stuck(&shared.store, shop, TOO_LONG, 1_000).await? {
        let days = TOO_LONG.as_secs() / 86_400;
        let text = format!("it has been {state} for more than {days} days");
        let act = json!({ "reason": text });
        let mut learned = Learned::act(Channel::Local, "pending_too_long", &act, Vec::new());
        learned.note = Some(text.clone());
        learned.finding = Some((DiscrepancyKind::PendingTooLong, text));
        let record = Record {
            target: Target::Transaction(id),
            learned,
            lease: None,
            next_check: None,
        };
        if let Err(error) = shared.ledger.record(shop, record).await {
            tracing::warn!(shop = %shop, %id, %error, "a stuck transaction was not told");
        }
    }
    Ok(())
}

/// Drops events that are older than they are kept.
async fn forget_events(shared: &Shared, shop: &ShopId) -> Result<(), StoreError> {
    while sweeps::forget_events(&shared.store, shop, shared.settings.events_retention).await? > 0 {
        if shared.dispatch.is_stopping() {
            break;
        }
    }
    Ok(())
}
