//! `check-config`: every value, and where it comes from. Secrets are hidden.

use crate::config;
use std::path::Path;

/// Loads the configuration. All mistakes are told at once.
pub(super) fn load(path: Option<&Path>) -> anyhow::Result<config::Config> {
    config::load(path, config::environment()).map_err(|errors| anyhow::anyhow!("{errors}"))
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
    for warning in config::warnings(&config) {
        println!("warning: {warning}");
    }
    println!("the configuration can be used");
    Ok(())
}
