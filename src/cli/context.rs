//! Context of the commands that read or change the database: configuration, store and one shop.
//!
//! These commands connect to the database directly, so that they work while the service is down.
//!
//! Not responsible for: gateway requests, or changing a transaction without evidence.

use crate::app::ledger_settings;
use crate::cli::check_config::load;
use crate::config::{Config, ShopConfig};
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::read::{self, TransactionRef};
use crate::store::{Store, StoredTransaction};
use anyhow::{Context, bail};
use domain::ShopId;
use gateway::redact_text;
use std::path::Path;
use std::sync::Arc;

/// Option that selects the shop of a command.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ShopArg {
    /// Shop ID; optional if only one shop is configured
    #[arg(long, value_name = "ID")]
    pub(super) shop: Option<String>,
}

/// Configuration, its database, and the selected shop.
pub(super) struct CommandContext {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) shop: ShopConfig,
    pub(super) id: ShopId,
}

/// Maximum number of database connections of one command.
const MAX_CONNECTIONS: u32 = 2;

/// Maximum length of an operator's name in evidence, in characters.
const MAX_OPERATOR_NAME_LEN: usize = 64;

impl CommandContext {
    /// Loads the configuration, selects the shop and prepares a lazy database pool.
    pub(super) fn open(path: Option<&Path>, shop: &ShopArg) -> anyhow::Result<Self> {
        let config = load(path)?;
        let shop = choose(&config, shop.shop.as_deref())?.clone();
        let id = ShopId::parse(&shop.id)?;
        let store = Store::for_a_person(config.database.url.expose(), MAX_CONNECTIONS)
            .context("invalid database.url")?;
        Ok(Self {
            config,
            store,
            shop,
            id,
        })
    }

    /// Returns the transaction with a tracking ID, or with `~` followed by its transaction ID.
    pub(super) async fn find(&self, name: &str) -> anyhow::Result<StoredTransaction> {
        let Some(parsed) = TransactionRef::parse(name) else {
            bail!("the part after ~ must be a transaction ID (UUID)");
        };
        let found = read::find(&self.store, &self.id, &parsed).await?;
        found.with_context(|| format!("shop {} has no transaction {name:?}", self.id))
    }

    /// Starts a ledger for this command, to record evidence.
    pub(super) fn ledger(&self) -> Ledger {
        let settings = ledger_settings(&self.config);
        let metrics = Arc::new(Metrics::new());
        Ledger::start(self.store.clone(), [self.id.clone()], settings, metrics)
    }
}

/// Returns the shop named by `--shop`, or the only configured one.
fn choose<'a>(config: &'a Config, named: Option<&str>) -> anyhow::Result<&'a ShopConfig> {
    let ids = || -> String {
        let ids: Vec<&str> = config.shops.iter().map(|shop| shop.id.as_str()).collect();
        ids.join(", ")
    };
    match (named, config.shops.as_slice()) {
        (Some(id), _) => config
            .shop(id)
            .with_context(|| format!("no shop {id:?} is configured; there are {}", ids())),
        (None, [only]) => Ok(only),
        (None, _) => bail!("--shop is required; there are {}", ids()),
    }
}

/// Returns the name of the operator at this terminal, as evidence records it.
pub(super) fn current_user() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.is_empty());
    named.map_or_else(|| "cli".to_owned(), |name| operator_name(&name))
}

fn operator_name(name: &str) -> String {
    let plain: String = name.chars().filter(|c| !c.is_control()).collect();
    let short: String = redact_text(&plain)
        .chars()
        .take(MAX_OPERATOR_NAME_LEN)
        .collect();
    format!("cli:{short}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn config(shops: &[&str]) -> Config {
        let mut text = "[database]\nurl = \"postgres://localhost/x\"\n\
            [webhooks]\npublic_url = \"https://hooks.example.com\"\n\
            [security]\nfingerprint_key = \"0123456789abcdef0123456789abcdef\"\n"
            .to_owned();
        for id in shops {
            text.push_str(&format!("[[shops]]\nid = \"{id}\"\nsecret_key = \"s\"\n"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        crate::config::load(Some(file.path()), std::iter::empty()).unwrap()
    }

    #[test]
    fn the_only_shop_is_the_default() {
        let (one, two) = (config(&["1001"]), config(&["1001", "1002"]));
        let id = |config, named| choose(config, named).map(|shop| shop.id.clone());
        assert_eq!(id(&one, None).unwrap(), "1001");
        assert_eq!(id(&two, Some("1002")).unwrap(), "1002");
        let text = id(&two, None).unwrap_err().to_string();
        assert_eq!(text, "--shop is required; there are 1001, 1002");
        let text = id(&one, Some("7")).unwrap_err().to_string();
        assert_eq!(text, "no shop \"7\" is configured; there are 1001");
    }

    #[test]
    fn an_operator_name_is_shortened_and_cleaned() {
        assert_eq!(operator_name("ann"), "cli:ann");
        assert_eq!(operator_name("a\x1b[31mb"), "cli:a[31mb");
        assert_eq!(operator_name(&"x".repeat(100)).len(), 68);
        assert_eq!(operator_name("4200000000000000"), "cli:[redacted]");
    }
}
