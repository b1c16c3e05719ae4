//! `check-config`: every value, and where it comes from. Secrets are hidden.

use crate::config;
use std::path::Path;
use words::money;

/// Loads the configuration. All mistakes are told at once.
pub(super) fn load(path: Option<&Path>) -> anyhow::Result<config::Config> {
    config::load(path, config::environment()).map_err(|errors| anyhow::anyhow!("{errors}"))
}

/// What works and is unwise, one sentence each.
pub(super) fn warnings(config: &config::Config) -> Vec<String> {
    let disputed = config.shops.iter().filter_map(|shop| {
        let codes = money::disputed(&shop.currency_exponents);
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        (!codes.is_empty()).then(|| {
            format!(
                "shop {}: the gateway counts the minor units of {} otherwise than ISO 4217 does; \
                 before one of them is used, ask the gateway and set it in currency_exponents",
                shop.id,
                codes.join(" ")
            )
        })
    });
    let mut all = config::warnings(config);
    all.extend(disputed);
    all
}

/// Prints every value; fails when the configuration cannot be used.
pub(super) fn check(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    let settings = config::explain(path, config::environment())
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let width = settings
        .iter()
        .map(|setting| setting.key.len())
        .max()
        .unwrap_or(0);
    for setting in &settings {
        println!(
            "{:width$}  {}  ({})",
            setting.key, setting.value, setting.origin
        );
    }
    let broken = config::broken_promises(&config);
    for warning in warnings(&config) {
        if !broken.contains(&warning) {
            println!("warning: {warning}");
        }
    }
    if !broken.is_empty() {
        anyhow::bail!("{}", broken.join("\n"));
    }
    println!("the configuration can be used");
    Ok(())
}
