//! Levels that are read from the database now and then, for the engineer on call.

use crate::follow::EngineContext;
use crate::metrics::{MoneyInDoubt, OpenTransactions, ShopGauge};
use crate::store::checks::OpenTransactionsRow;
use crate::store::{StoreError, checks, discrepancies, shop_controls};
use crate::submit::REFUSED_KEY;
use domain::{DiscrepancyKind, ShopId, State};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// How often the levels are read.
const GAUGE_INTERVAL: Duration = Duration::from_secs(10);

/// Reads the levels until the service stops.
pub(crate) async fn run(shared: Arc<EngineContext>, shops: Vec<ShopId>) {
    let names: Vec<String> = shops.iter().map(ToString::to_string).collect();
    while !shared.dispatch.is_stopping() {
        if let Err(error) = read(&shared, &names).await {
            tracing::debug!(error = error.chain(), "levels could not be read");
        }
        tokio::select! {
            () = tokio::time::sleep(GAUGE_INTERVAL) => {}
            () = shared.dispatch.stopping() => {}
        }
    }
}

async fn read(shared: &EngineContext, names: &[String]) -> Result<(), StoreError> {
    let (store, metrics) = (&shared.store, &shared.metrics);
    let gauges = checks::open_gauges(store, names).await?;
    let gauges: HashMap<(&str, State), &OpenTransactionsRow> = gauges
        .iter()
        .map(|gauge| ((gauge.shop.as_str(), gauge.state), gauge))
        .collect();
    let counts = discrepancies::open_counts(store, names).await?;
    let counts: HashMap<(&str, DiscrepancyKind), i64> = counts
        .iter()
        .map(|(shop, kind, count)| ((shop.as_str(), *kind), *count))
        .collect();
    let (mut open, mut findings) = (Vec::new(), Vec::new());
    for shop in names {
        for state in State::ALL.iter().filter(|state| !state.is_final()) {
            let known = gauges.get(&(shop.as_str(), *state));
            open.push(OpenTransactions {
                shop: shop.clone(),
                state: state.to_string(),
                count: known.map_or(0, |gauge| gauge.count),
                oldest: Duration::from_secs_f64(known.map_or(0.0, |g| g.oldest_seconds.max(0.0))),
            });
        }
        findings.extend(DiscrepancyKind::ALL.iter().map(|kind| ShopGauge {
            shop: shop.clone(),
            label: kind.to_string(),
            value: counts.get(&(shop.as_str(), *kind)).copied().unwrap_or(0),
        }));
    }
    let money = checks::money_in_doubt(store, names).await?;
    let money = money.into_iter().map(|sum| MoneyInDoubt {
        shop: sum.shop,
        currency: sum.currency,
        kind: sum.kind,
        value: sum.amount,
    });
    let (due, lag) = checks::lag(store, names).await?;
    let refused = shop_controls::refused_keys(store, names, REFUSED_KEY).await?;
    let refused: HashSet<String> = refused.into_iter().collect();
    for name in names {
        metrics.set_key_refused(name, refused.contains(name));
    }
    metrics.set_open(&open);
    metrics.set_money_in_doubt(&money.collect::<Vec<_>>());
    metrics.set_discrepancies_open(&findings);
    metrics.set_checks(due, Duration::from_secs_f64(lag.max(0.0)));
    Ok(())
}
