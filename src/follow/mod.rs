//! The engine: takes leases on what is due, takes one step for each, and records what it learned.
//!
//! Level-triggered: a step re-reads the state and acts on nothing else, so that timer, webhook,
//! operator and start-up all end here. Each shop has a loop of its own, so that one shop's storm
//! does not age another's checks; one at which nothing is due rests (`agenda`). What it deliberately cannot do: change a state.

mod absence;
mod agenda;
mod earlier;
pub mod effects;
mod gauges;
pub mod hints;
mod lookups;
pub mod step;
pub mod sweep;

use crate::config::{Config, FollowMode, LiveConfig, WebhookSignature};
use crate::follow::agenda::Agenda;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::{Store, StoreError, checks};
use crate::submit::Dispatcher;
use domain::ShopId;
use domain::schedule::Pace;
use leaves::telemetry::traces::TraceSpan;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// What the steps need.
pub(crate) struct EngineContext {
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    pub(crate) dispatch: Dispatcher,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: EngineSettings,
}

/// The settings that the engine reads.
#[derive(Debug, Clone)]
pub struct EngineSettings {
    /// When checks come.
    pub pace: Pace,
    /// How long a lease lasts.
    pub lease: Duration,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// The least time between two look-ups of a proof.
    pub absence_interval: Duration,
    /// How long doubt lasts before absence can be proved.
    pub in_doubt_horizon: Duration,
    /// Which address of a task is asked.
    pub follow: FollowMode,
    /// Whether requests in doubt are repeated under their `RequestID`.
    pub trust_request_id: bool,
    /// How long evidence is kept.
    pub evidence_retention: Duration,
    /// How long events are kept.
    pub events_retention: Duration,
}

impl EngineSettings {
    /// The least time between two notes of one ability: far less than a proof's look-ups are apart.
    pub fn between_controls(&self) -> Duration {
        (self.absence_interval / 10).min(Duration::from_secs(60))
    }
}

/// One shop, as the engine sees it.
#[derive(Debug, Clone)]
pub(crate) struct ShopContext {
    pub(crate) id: ShopId,
    pub(crate) notification_url: String,
    pub(crate) paused: bool,
    pub(crate) permits: usize,
}

/// The running loops.
pub struct Engine {
    loops: Vec<JoinHandle<()>>,
    steps: TaskTracker,
}

/// The pause after a look for due work that failed.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

/// The pause where some work was found, or there is no place for more.
const SOON: Duration = Duration::from_millis(50);

/// The shortest.
const BUSY_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The most leases taken at once.
const MAX_LEASED_CHECKS: i64 = 256;

impl Engine {
    /// Starts a loop for each shop, and the sweeps.
    pub fn start(
        live: &LiveConfig,
        store: Store,
        ledger: Ledger,
        dispatch: Dispatcher,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = live.current();
        let config = now.as_ref();
        let settings = settings(config);
        let shared = Arc::new(EngineContext {
            store,
            ledger,
            dispatch,
            metrics,
            settings,
        });
        let steps = TaskTracker::new();
        let shops: Vec<ShopContext> = config
            .shops
            .iter()
            .filter_map(|s| plan(config, s))
            .collect();
        let ids: Vec<ShopId> = shops.iter().map(|shop| shop.id.clone()).collect();
        let agenda = Agenda::of(&shared, &ids);
        let mut loops: Vec<JoinHandle<()>> = shops
            .iter()
            .map(|shop| {
                tokio::spawn(run_shop_loop(
                    Arc::clone(&shared),
                    shop.clone(),
                    steps.clone(),
                ))
            })
            .collect();
        for (plan, shop) in shops.iter().zip(&config.shops) {
            let rate = shop.max_requests_per_second;
            // Elsewhere no webhook is taken without a signature, and so none is a hint.
            if shop.webhook_signature != WebhookSignature::Optional {
                continue;
            }
            loops.push(tokio::spawn(hints::run(
                Arc::clone(&shared),
                plan.clone(),
                rate,
                agenda.hints(&plan.id),
            )));
        }
        loops.push(tokio::spawn(agenda.run(Arc::clone(&shared))));
        loops.push(tokio::spawn(gauges::run(Arc::clone(&shared), ids.clone())));
        loops.push(tokio::spawn(sweep::run(shared, ids)));
        Self { loops, steps }
    }

    /// Waits until the loops have ended, after [`Dispatcher::stop`]; reads on the wire get `patience`.
    pub async fn stopped(self, patience: Duration) {
        for running in self.loops {
            let _ = running.await;
        }
        self.steps.close();
        let _ = tokio::time::timeout(patience, self.steps.wait()).await;
    }
}

fn settings(config: &Config) -> EngineSettings {
    EngineSettings {
        pace: Pace {
            first_check: config.follow.first_check,
            max_interval: config.follow.max_interval,
            max_interval_old: config.follow.max_interval_old,
            recheck_after_final: config.follow.recheck_after_final.clone(),
        },
        lease: config.follow.lease,
        request_timeout: config.gateway.request_timeout,
        absence_interval: config.follow.absence_interval,
        in_doubt_horizon: config.follow.in_doubt_horizon,
        follow: config.gateway.follow,
        trust_request_id: config.gateway.trust_request_id,
        evidence_retention: config.retention.evidence,
        events_retention: config.retention.events,
    }
}

fn plan(config: &Config, shop: &crate::config::ShopConfig) -> Option<ShopContext> {
    Some(ShopContext {
        id: ShopId::parse(&shop.id).ok()?,
        notification_url: config.webhooks.notification_url(&shop.id).to_string(),
        paused: shop.submits.is_stopped(),
        permits: shop.max_in_flight as usize,
    })
}

/// The places of one shop's looks. A part is kept for what has not been tried in vain, so that what hangs
/// cannot take them all.
struct Places {
    any: Arc<Semaphore>,
    untried: Arc<Semaphore>,
}

/// One place of so many is kept.
const KEPT: usize = 4;

impl Places {
    fn of(places: usize) -> Self {
        let kept = places / KEPT;
        Self {
            any: Arc::new(Semaphore::new(places - kept)),
            untried: Arc::new(Semaphore::new(kept)),
        }
    }
}

fn free(places: &Semaphore) -> i64 {
    let free = i64::try_from(places.available_permits());
    free.unwrap_or(MAX_LEASED_CHECKS).min(MAX_LEASED_CHECKS)
}

/// The loop of one shop: three lines around a step.
async fn run_shop_loop(shared: Arc<EngineContext>, shop: ShopContext, steps: TaskTracker) {
    let places = Places::of(shop.permits);
    let trouble = AtomicBool::new(false);
    let due = shared.ledger.due(&shop.id);
    while !shared.dispatch.is_stopping() {
        let next = match poll_due(&shared, &shop, &steps, &places).await {
            Ok(next) => {
                trouble.store(false, Ordering::Relaxed);
                next
            }
            Err(error) => {
                // Said once for each outage, not at each turn.
                if !trouble.swap(true, Ordering::Relaxed) {
                    tracing::error!(shop = %shop.id, error = error.chain(), "due checks could not be leased");
                }
                Some(RETRY_INTERVAL)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(next.unwrap_or_default()), if next.is_some() => {}
            // What becomes due does not wait for the next turn.
            () = due.come() => tokio::time::sleep(BUSY_POLL_INTERVAL).await,
            () = shared.dispatch.stopping() => {}
        }
    }
}

/// One turn: leases what is due and starts a step for each. Returns how soon the next one follows; `None` when
/// nothing was due.
async fn poll_due(
    shared: &Arc<EngineContext>,
    shop: &ShopContext,
    steps: &TaskTracker,
    places: &Places,
) -> Result<Option<Duration>, StoreError> {
    let (store, lasts) = (&shared.store, shared.settings.lease);
    let wanted = free(&places.any);
    let mut taken = 0;
    if wanted > 0 {
        // Taken before the lease, so that the lease is never longer than we believe.
        let until = leaves::clock::BootInstant::now() + lasts;
        let leased = checks::lease_due(store, &shop.id, wanted, lasts, Uuid::new_v4()).await?;
        taken = i64::try_from(leased.len()).unwrap_or(wanted);
        begin(shared, shop, steps, &places.any, leased, until);
    }
    // More is due than there are places for all: now the kept ones are used.
    let kept = free(&places.untried);
    let mut more = false;
    if taken == wanted && kept > 0 {
        let until = leaves::clock::BootInstant::now() + lasts;
        let token = Uuid::new_v4();
        let leased = checks::lease_untried(store, &shop.id, kept, lasts, token).await?;
        more = !leased.is_empty();
        begin(shared, shop, steps, &places.untried, leased, until);
    }
    if more || (taken == wanted && wanted > 0) {
        return Ok(Some(BUSY_POLL_INTERVAL));
    }
    Ok((taken > 0 || wanted == 0).then_some(SOON))
}

/// Starts a step for each lease, as far as there are places.
fn begin(
    shared: &Arc<EngineContext>,
    shop: &ShopContext,
    steps: &TaskTracker,
    places: &Arc<Semaphore>,
    leased: Vec<checks::LeasedCheck>,
    until: leaves::clock::BootInstant,
) {
    for lease in leased {
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            break;
        };
        let (shared, shop) = (Arc::clone(shared), shop.clone());
        steps.spawn(async move {
            let hands = effects::LiveEffects {
                shared: &shared,
                shop: &shop,
                tried: lease.course.unanswered > 0,
            };
            let timeout = shared.settings.request_timeout;
            let span = TraceSpan::for_step("check");
            span.set_attribute("reconciler.shop", shop.id.to_string());
            let step = step::execute(&hands, &lease, || until.remaining() >= timeout);
            Box::pin(span.instrument(step)).await;
            drop(place);
        });
    }
}
