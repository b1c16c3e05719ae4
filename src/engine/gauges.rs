//! Levels that are read from the database now and then, for the engineer on call.

use crate::dispatch::REFUSED_KEY;
use crate::engine::Shared;
use crate::metrics::{MoneyInDoubt, OpenTransactions, ShopLevel};
use crate::store::{StoreError, checks, controls, discrepancies};
use domain::{DiscrepancyKind, ShopId, State};
use std::sync::Arc;
use std::time::Duration;

/// How often the levels are read.
const EVERY: Duration = Duration::from_secs(10);

/// Reads the levels until the service stops.
pub(crate) async fn run(shared: Arc<Shared>, shops: Vec<ShopId>) {
    while !shared.dispatch.is_stopping() {
        if let Err(error) = read(&shared, &shops).await {
            tracing::debug!(error = error.chain(), "levels could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

async fn read(shared: &Shared, shops: &[ShopId]) -> Result<(), StoreError> {
    let mut open = Vec::new();
    let mut money = Vec::new();
    let mut findings = Vec::new();
    let mut due = 0;
    let mut lag: f64 = 0.0;
    for shop in shops {
        let level = |label: String, value| ShopLevel {
            shop: shop.to_string(),
            label,
            value,
        };
        let gauges = checks::open_gauges(&shared.store, shop).await?;
        for state in State::ALL.iter().filter(|state| !state.is_final()) {
            let known = gauges.iter().find(|gauge| gauge.state == *state);
            open.push(OpenTransactions {
                shop: shop.to_string(),
                state: state.to_string(),
                count: known.map_or(0, |gauge| gauge.count),
                oldest: Duration::from_secs_f64(known.map_or(0.0, |g| g.oldest_seconds.max(0.0))),
            });
        }
        let in_doubt = checks::money_in_doubt(&shared.store, shop).await?;
        money.extend(
            in_doubt
                .into_iter()
                .map(|(currency, kind, value)| MoneyInDoubt {
                    shop: shop.to_string(),
                    currency,
                    kind,
                    value,
                }),
        );
        let counts = discrepancies::open_counts(&shared.store, shop).await?;
        for kind in DiscrepancyKind::ALL {
            let count = counts
                .iter()
                .find(|(k, _)| k == kind)
                .map_or(0, |(_, count)| *count);
            findings.push(level(kind.to_string(), count));
        }
        let (shop_due, shop_lag) = checks::lag(&shared.store, shop).await?;
        due += shop_due;
        lag = lag.max(shop_lag);
    }
    let names: Vec<String> = shops.iter().map(ToString::to_string).collect();
    let refused = controls::refused_keys(&shared.store, &names, REFUSED_KEY).await?;
    for name in &names {
        let is_refused = refused.contains(name);
        shared.metrics.set_key_refused(name, is_refused);
    }
    shared.metrics.set_open(&open);
    shared.metrics.set_money_in_doubt(&money);
    shared.metrics.set_discrepancies_open(&findings);
    shared
        .metrics
        .set_checks(due, Duration::from_secs_f64(lag.max(0.0)));
    Ok(())
}
