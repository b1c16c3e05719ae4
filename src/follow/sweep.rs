//! Slow work beside the checks: partitions are made ahead, and orphans are tried again.

use crate::follow::{EngineContext, earlier};
use crate::ledger::{EvidenceTarget, RecordEvidence, ResolveDiscrepancy, observation_from_orphan};
use crate::observation::Observation;
use crate::store::StoreError;
use crate::store::maintenance::Sweepable;
use crate::store::waiting;
use crate::store::{discrepancies, hints, maintenance};
use domain::{Channel, DiscrepancyKind, ShopId};
use leaves::clock::now_utc;
use serde_json::json;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// How often orphans are tried again.
const ORPHAN_INTERVAL: Duration = Duration::from_secs(5);

/// How many orphans of a shop are tried in one round.
const AT_ONCE: i64 = 100;

/// How often the hints that were looked up are removed.
const FORGET_HINTS: Duration = Duration::from_secs(60);

/// How often the rest is done.
const SLOW_SWEEP_INTERVAL: Duration = Duration::from_secs(3600);

/// Past this a transaction that has not ended is told to a person: the gateway's webhooks last a day
/// and a half, its tasks one.
pub const PENDING_TOO_LONG_AFTER: Duration = Duration::from_secs(3 * 86_400);

/// How many months of partitions are made ahead.
const MONTHS_AHEAD: i32 = 3;

/// How soon the rest is tried again when it did not come through.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// All sweeps by name.
const SWEEP_NAMES: [&str; 7] = [
    "orphans",
    "earlier",
    "partitions",
    "evidence",
    "events",
    "stuck",
    "requests",
];

/// Sweeps until the service stops.
pub(crate) async fn run(shared: Arc<EngineContext>, shops: Vec<ShopId>) {
    // From here on each grows old until it comes through.
    for name in SWEEP_NAMES {
        swept(&shared, name);
    }
    for what in ["events", "evidence_months"] {
        shared.metrics.dropped(what, 0);
    }
    let names: Vec<String> = shops.iter().map(ToString::to_string).collect();
    let mut slow_at = Instant::now();
    let mut forget_at = Instant::now() + FORGET_HINTS;
    let mut places = HashMap::new();
    while !shared.dispatch.is_stopping() {
        match maintenance::sweepable(&shared.store, &names, earlier::APART).await {
            Ok(found) => quick(&shared, &found, &mut places).await,
            Err(error) => {
                note(&shared, "orphans", Err(error));
            }
        }
        if Instant::now() >= forget_at {
            forget_at = Instant::now() + FORGET_HINTS;
            if let Err(error) = hints::forget(&shared.store, &names).await {
                tracing::debug!(error = error.chain(), "failed to remove old hints");
            }
        }
        if Instant::now() >= slow_at {
            let pause = if slow(&shared, &names).await {
                SLOW_SWEEP_INTERVAL
            } else {
                RETRY_INTERVAL
            };
            slow_at = Instant::now() + pause;
        }
        tokio::select! {
            () = tokio::time::sleep(ORPHAN_INTERVAL) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

/// The sweeps that are made all the time, at the shops where they may find something.
async fn quick(shared: &EngineContext, found: &[Sweepable], places: &mut HashMap<ShopId, Uuid>) {
    let with = |wanted: fn(&Sweepable) -> bool| -> Vec<ShopId> {
        let shops = found.iter().filter(|shop| wanted(shop));
        shops
            .filter_map(|shop| ShopId::parse(&shop.shop).ok())
            .collect()
    };
    let orphans = with(|shop| shop.orphans);
    places.retain(|shop, _| orphans.contains(shop));
    let rematched = rematch_all(shared, &orphans, places).await;
    let findings = with(|shop| shop.findings);
    let closed = each(&findings, |shop| close_owned(shared, shop)).await;
    note(shared, "orphans", rematched.and(closed));
    let shops = with(|shop| shop.earlier);
    let looked_over = each(&shops, |shop| earlier::look_over(shared, shop, shops.len())).await;
    note(shared, "earlier", looked_over);
}

/// Whether all of the slow sweeps came through.
async fn slow(shared: &EngineContext, shops: &[String]) -> bool {
    let partitions = note(shared, "partitions", make_partitions(shared).await);
    let evidence = note(shared, "evidence", forget_evidence(shared).await);
    let events = note(shared, "events", forget_events(shared, shops).await);
    let stuck = note(shared, "stuck", tell_stuck(shared, shops).await);
    let requests = waiting::forget(&shared.store, shops).await;
    let requests = note(shared, "requests", requests);
    partitions && evidence && events && stuck && requests
}

fn note(shared: &EngineContext, sweep: &'static str, done: Result<(), StoreError>) -> bool {
    match &done {
        Ok(()) => swept(shared, sweep),
        Err(error) => {
            tracing::warn!(sweep, error = error.chain(), "a sweep did not come through");
        }
    }
    done.is_ok()
}

fn swept(shared: &EngineContext, sweep: &'static str) {
    let seconds = u64::try_from(now_utc().unix_timestamp()).unwrap_or(0);
    shared
        .metrics
        .sweep_succeeded(sweep, Duration::from_secs(seconds));
}

/// Makes partitions ahead, and looks how many there are whatever came of it.
async fn make_partitions(shared: &EngineContext) -> Result<(), StoreError> {
    let made = maintenance::ensure_partitions(&shared.store, MONTHS_AHEAD).await;
    let ahead = maintenance::months_ahead(&shared.store).await?;
    shared.metrics.set_evidence_months_ahead(ahead);
    if made.is_ok() && ahead < i64::from(MONTHS_AHEAD) {
        tracing::warn!(
            ahead,
            "partitions of evidence are missing; the server's log has the reason"
        );
    }
    let misplaced = maintenance::misplaced_evidence(&shared.store).await?;
    shared.metrics.set_evidence_default_rows(misplaced);
    made
}

/// Sweeps each shop. What fails for one stops no other; the first failure is told.
async fn each<'a, F: Future<Output = Result<(), StoreError>>>(
    shops: &'a [ShopId],
    sweep: impl Fn(&'a ShopId) -> F,
) -> Result<(), StoreError> {
    let mut done = Ok(());
    for shop in shops {
        let next = sweep(shop).await;
        done = done.and(next);
    }
    done
}

/// Tries orphans of each shop again, from where the last round ended.
async fn rematch_all(
    shared: &EngineContext,
    shops: &[ShopId],
    places: &mut HashMap<ShopId, Uuid>,
) -> Result<(), StoreError> {
    let mut done = Ok(());
    for shop in shops {
        let after = places.entry(shop.clone()).or_insert(Uuid::nil());
        match rematch(shared, shop, *after).await {
            Ok(next) => *after = next,
            Err(error) => done = Err(error),
        }
    }
    done
}

/// Closes findings about webhooks that belonged to nothing, once what they tell of has an owner.
async fn close_owned(shared: &EngineContext, shop: &ShopId) -> Result<(), StoreError> {
    for id in discrepancies::owned(&shared.store, shop, AT_ONCE).await? {
        let close = ResolveDiscrepancy {
            id,
            by: None,
            reason: "it belongs to a transaction now".to_owned(),
        };
        if let Err(error) = shared.ledger.resolve_discrepancy(shop, close).await {
            tracing::warn!(shop = %shop, %id, %error, "a finding was not closed");
        }
    }
    Ok(())
}

/// Tries orphans again whose owner, parent or name has appeared since. Gives the place where to go on.
async fn rematch(shared: &EngineContext, shop: &ShopId, after: Uuid) -> Result<Uuid, StoreError> {
    let orphans = maintenance::matchable_orphans(&shared.store, shop, after, AT_ONCE).await?;
    let is_full = i64::try_from(orphans.len()).is_ok_and(|count| count >= AT_ONCE);
    let last = orphans.last().map(|orphan| orphan.id).filter(|_| is_full);
    for orphan in orphans {
        let Some(record) = observation_from_orphan(&orphan) else {
            continue;
        };
        if let Ok(recorded) = shared.ledger.record(shop, record).await
            && let Some(owner) = recorded.owner
        {
            maintenance::orphan_matched(&shared.store, shop, orphan.id, owner).await?;
        }
    }
    Ok(last.unwrap_or(Uuid::nil()))
}

/// Drops months of evidence that are older than they are kept.
async fn forget_evidence(shared: &EngineContext) -> Result<(), StoreError> {
    let keep = shared.settings.evidence_retention;
    let dropped = maintenance::drop_old_evidence(&shared.store, keep).await?;
    let number = u64::try_from(dropped).unwrap_or(0);
    shared.metrics.dropped("evidence_months", number);
    if dropped > 0 {
        tracing::info!(dropped, "months of evidence were dropped");
    }
    Ok(())
}

/// What is told of one that has been in a state for longer than [`PENDING_TOO_LONG_AFTER`].
pub fn stuck(id: Uuid, state: &str) -> RecordEvidence {
    let days = PENDING_TOO_LONG_AFTER.as_secs() / 86_400;
    let text = format!("it has been {state} for more than {days} days");
    let act = json!({ "reason": text });
    let mut learned = Observation::local(Channel::Local, "pending_too_long", &act, Vec::new());
    learned.note = Some(text.clone());
    learned.finding = Some((DiscrepancyKind::PendingTooLong, text));
    RecordEvidence {
        target: EvidenceTarget::Transaction(id),
        observation: learned,
        lease: None,
        next_check: None,
    }
}

/// Tells of transactions that have not ended for longer than the gateway itself would take.
async fn tell_stuck(shared: &EngineContext, shops: &[String]) -> Result<(), StoreError> {
    for (shop, id, state) in
        maintenance::overdue_transactions(&shared.store, shops, PENDING_TOO_LONG_AFTER, 1_000)
            .await?
    {
        let Ok(shop) = ShopId::parse(&shop) else {
            continue;
        };
        let record = stuck(id, &state);
        if let Err(error) = shared.ledger.record(&shop, record).await {
            tracing::warn!(%shop, %id, %error, "a stuck transaction was not told");
        }
    }
    Ok(())
}

/// Drops events that are older than they are kept.
async fn forget_events(shared: &EngineContext, shops: &[String]) -> Result<(), StoreError> {
    let keep = shared.settings.events_retention;
    let old = maintenance::with_old_events(&shared.store, shops, keep).await?;
    for shop in old.iter().filter_map(|shop| ShopId::parse(shop).ok()) {
        while !shared.dispatch.is_stopping() {
            let number = maintenance::drop_old_events(&shared.store, &shop, keep).await?;
            shared.metrics.dropped("events", number);
            if number == 0 {
                break;
            }
        }
    }
    Ok(())
}
