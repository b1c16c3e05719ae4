//! Where a person at a terminal works: the configuration, its database, and one shop of it.
//!
//! Commands at the desk speak to the database itself, so that they work while the service is down.
//! What they deliberately cannot do: reach the gateway, or change a transaction other than by
//! evidence.

use crate::app::ledger_settings;
use crate::cli::config::load;
use crate::config::{Config, ShopConfig};
use crate::domain::ShopId;
use crate::gateway::redact_text;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::store::read::{self, Name};
use crate::store::{Store, StoredTransaction};
use anyhow::{Context, bail};
use std::path::Path;
use std::sync::Arc;

/// Which shop a command is about.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct ShopArg {
    /// The shop; may be left out when only one is configured.
    #[arg(long, value_name = "ID")]
    pub(super) shop: Option<String>,
}

/// The configuration, its database, and one shop.
pub(super) struct Desk {
    pub(super) config: Config,
    pub(super) store: Store,
    pub(super) shop: ShopConfig,
    pub(super) id: ShopId,
}

/// As many connections as one command needs.
const CONNECTIONS: u32 = 2;

/// The longest name of a person that evidence takes.
const MAX_NAME: usize = 64;

impl Desk {
    /// Reads the configuration and prepares the database.
    pub(super) fn open(path: Option<&Path>, shop: &ShopArg) -> anyhow::Result<Self> {
        let config = load(path)?;
        let shop = choose(&config, shop.shop.as_deref())?.clone();
        let id = ShopId::parse(&shop.id)?;
        let store = Store::for_a_person(config.database.url.expose(), CONNECTIONS)
            .context("the database cannot be used")?;
        Ok(Self {
            config,
            store,
            shop,
            id,
        })
    }

    /// The transaction that goes by a name: its tracking id, or `~` and its id.
    pub(super) async fn find(&self, name: &str) -> anyhow::Result<StoredTransaction> {
        let Some(parsed) = Name::parse(name) else {
            bail!("what follows ~ must be the id of a transaction, a uuid");
        };
        let found = read::find(&self.store, &self.id, &parsed).await?;
        found.with_context(|| format!("shop {} has no transaction {name:?}", self.id))
    }

    /// A door of our own, for evidence.
    pub(super) fn ledger(&self) -> Ledger {
        let settings = ledger_settings(&self.config);
        let metrics = Arc::new(Metrics::new());
        Ledger::start(self.store.clone(), [self.id.clone()], settings, metrics)
    }
}

/// The shop that was named, or the only one.
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
        (None, _) => bail!("name a shop with --shop; there are {}", ids()),
    }
}

/// Who works at this terminal, as evidence and switches name them.
pub(super) fn person() -> String {
    let named = ["SUDO_USER", "USER", "LOGNAME"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.is_empty());
    named.map_or_else(|| "cli".to_owned(), |name| named_person(&name))
}

fn named_person(name: &str) -> String {
    let plain: String = name.chars().filter(|c| !c.is_control()).collect();
    let short: String = redact_text(&plain).chars().take(MAX_NAME).collect();
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
    fn the_only_shop_need_not_be_named() {
        let (one, two) = (config(&["1001"]), config(&["1001", "1002"]));
        let id = |config, named| choose(config, named).map(|shop| shop.id.clone());
        assert_eq!(id(&one, None).unwrap(), "1001");
        assert_eq!(id(&two, Some("1002")).unwrap(), "1002");
        let text = id(&two, None).unwrap_err().to_string();
        assert_eq!(text, "name a shop with --shop; there are 1001, 1002");
        let text = id(&one, Some("7")).unwrap_err().to_string();
        assert_eq!(text, "no shop \"7\" is configured; there are 1001");
    }

    #[test]
    fn a_person_is_named_shortly_and_plainly() {
        assert_eq!(named_person("ann"), "cli:ann");
        assert_eq!(named_person("a\x1b[31mb"), "cli:a[31mb");
        assert_eq!(named_person(&"x".repeat(100)).len(), 68);
        assert_eq!(named_person("4200000000000000"), "cli:[redacted]");
    }
}
