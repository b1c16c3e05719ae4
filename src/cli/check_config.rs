//! `check-config`: validates the configuration and prints every setting with its source. Secrets
//! are hidden.

use crate::config;
use std::path::Path;
use words::money;

/// Loads the configuration. An error lists all mistakes.
pub(super) fn load(path: Option<&Path>) -> anyhow::Result<config::Config> {
    config::load(path, config::environment()).map_err(|errors| anyhow::anyhow!("{errors}"))
}

/// Returns a warning for each valid but risky setting, one sentence each.
pub(super) fn warnings(config: &config::Config) -> Vec<String> {
    let mut disputed: Vec<(String, Vec<&str>)> = Vec::new();
    for shop in &config.shops {
        let codes = money::conflicting_exponents(&shop.currency_exponents);
        let codes: Vec<String> = codes.iter().map(ToString::to_string).collect();
        let codes = codes.join(" ");
        match disputed.iter_mut().find(|(same, _)| *same == codes) {
            _ if codes.is_empty() => {}
            Some((_, shops)) => shops.push(&shop.id),
            None => disputed.push((codes, vec![&shop.id])),
        }
    }
    let disputed = disputed.iter().map(|(codes, shops)| {
        format!(
            "{}: the gateway's minor units of {codes} may differ from ISO 4217; confirm the \
                 exponents with the gateway and set currency_exponents",
            config::named_shops(shops)
        )
    });
    let mut all = config::warnings(config);
    all.extend(disputed);
    all
}

/// Prints every setting with its source; fails if the configuration breaks a promised limit.
pub(super) fn check(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    let settings = config::effective_settings(path, config::environment())
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
    println!("configuration is valid");
    Ok(())
}
