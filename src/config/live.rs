//! The configuration in use, of which the keys can change while the process runs.
//!
//! Everybody who needs a key asks for it each time it is used, and gets one whole configuration, so
//! that there is no moment at which a key is new here and old there. What it deliberately cannot do:
//! take over anything but keys. What else differs is named, and waits for a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::error::ConfigErrors;
use super::provenance::EffectiveSetting;
use super::types::{ClientConfig, Config, SubscriberConfig};

/// A configuration as it was read, with where everything came from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    /// The values.
    pub config: Config,
    /// The same for people; secrets are hidden.
    pub settings: Vec<EffectiveSetting>,
}

/// Where a configuration is read from: a file, if there is one, and the environment of the process.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    path: Option<PathBuf>,
}

impl ConfigSource {
    /// The file at `path`, and the environment over it.
    pub fn new(path: Option<&Path>) -> Self {
        Self {
            path: path.map(Path::to_owned),
        }
    }

    /// Reads and checks everything.
    pub fn load(&self) -> Result<LoadedConfig, ConfigErrors> {
        let (config, settings) = super::read(self.path.as_deref(), super::environment())?;
        Ok(LoadedConfig { config, settings })
    }

    /// The file itself and, as far as is known from `settings`, those that it names.
    pub fn watched_files(&self, settings: &[EffectiveSetting]) -> BTreeSet<PathBuf> {
        let named = settings.iter().flat_map(|setting| &setting.read_from);
        self.path.iter().chain(named).cloned().collect()
    }
}

/// The configuration in use. Cheap to clone; all clones see the same.
#[derive(Clone, Debug)]
pub struct LiveConfig(Arc<ArcSwap<Config>>);

/// What became of a configuration that was read again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadChanges {
    /// The keys that are in use from now on, by their names.
    pub taken_over: BTreeSet<String>,
    /// What differs and was left as it is, by its names.
    pub needs_restart: BTreeSet<String>,
}

impl LiveConfig {
    /// Begins with the configuration of the start.
    pub fn new(config: Arc<Config>) -> Self {
        Self(Arc::new(ArcSwap::new(config)))
    }

    /// The configuration as it is now. Not to be kept: a key that was removed would go on working.
    pub fn current(&self) -> Arc<Config> {
        self.0.load_full()
    }

    /// Takes the keys of a configuration that was read again, all at once. `started` are the settings
    /// of the start, by which it is told what else differs.
    pub fn apply_keys(&self, read: &LoadedConfig, started: &[EffectiveSetting]) -> ReloadChanges {
        let running = self.current();
        let (merged, taken_over) = merge(&running, &read.config);
        let needs_restart = others(&running, started, read);
        if !taken_over.is_empty() {
            self.0.store(Arc::new(merged));
        }
        ReloadChanges {
            taken_over,
            needs_restart,
        }
    }
}

/// What runs, with the keys of what was read.
fn merge(running: &Config, read: &Config) -> (Config, BTreeSet<String>) {
    let mut merged = running.clone();
    let mut changed = BTreeSet::new();
    if replace(
        &mut merged.security.fingerprint_key,
        &read.security.fingerprint_key,
    ) {
        changed.insert("security.fingerprint_key".to_owned());
    }
    for shop in &mut merged.shops {
        let Some(new) = read.shop(&shop.id) else {
            continue;
        };
        if replace(&mut shop.secret_key, &new.secret_key) {
            changed.insert(format!("shops.{}.secret_key", shop.id));
        }
        if replace(&mut shop.public_key, &new.public_key) {
            changed.insert(format!("shops.{}.public_key", shop.id));
        }
    }
    for subscriber in &mut merged.subscribers {
        let new = read.subscriber(&subscriber.name);
        if new.is_some_and(|new| replace(&mut subscriber.secret, &new.secret)) {
            changed.insert(format!("subscribers.{}.secret", subscriber.name));
        }
    }
    // A client's key is changed by a second entry, so that entries come and go.
    changed.extend(differing(&running.clients, &read.clients));
    merged.clients.clone_from(&read.clients);
    (merged, changed)
}

fn replace<T: Clone + PartialEq>(value: &mut T, new: &T) -> bool {
    let differs = value != new;
    if differs {
        value.clone_from(new);
    }
    differs
}

/// The clients that came, went or changed.
fn differing(running: &[ClientConfig], read: &[ClientConfig]) -> BTreeSet<String> {
    let by_name = |clients| -> BTreeMap<String, ClientConfig> {
        let clients: &[ClientConfig] = clients;
        let named = clients.iter().map(|client| (client.name.clone(), client));
        named.map(|(name, client)| (name, client.clone())).collect()
    };
    let (running, read) = (by_name(running), by_name(read));
    let names = running.keys().chain(read.keys());
    names
        .filter(|name| running.get(*name) != read.get(*name))
        .map(|name| format!("clients.{name}"))
        .collect()
}

/// The names of what differs from the start and is no key.
fn others(running: &Config, started: &[EffectiveSetting], read: &LoadedConfig) -> BTreeSet<String> {
    let (before, after) = (
        fixed(running, started),
        fixed(&read.config, read.settings.as_slice()),
    );
    let mut names: BTreeSet<String> = before
        .keys()
        .chain(after.keys())
        .filter(|name| before.get(*name) != after.get(*name))
        .cloned()
        .collect();
    // A shop or subscriber that came or went is one thing and not one for each of its keys.
    let ids = |config: &Config| -> BTreeSet<String> {
        let shops = config.shops.iter().map(|shop| format!("shops.{}", shop.id));
        let subscribers = config.subscribers.iter();
        shops
            .chain(subscribers.map(|one| format!("subscribers.{}", one.name)))
            .collect()
    };
    for entry in ids(running).symmetric_difference(&ids(&read.config)) {
        let inside = format!("{entry}.");
        names.retain(|name| !name.starts_with(&inside));
        names.insert(entry.clone());
    }
    names.extend(hidden(running, &read.config));
    names
}

/// Every setting that is no key, by a name that does not depend on the order of entries.
fn fixed<'a>(config: &Config, settings: &'a [EffectiveSetting]) -> BTreeMap<String, &'a str> {
    let name = |key: &str| -> Option<String> {
        let Some((section, rest)) = key.split_once('[') else {
            return (key != "security.fingerprint_key").then(|| key.to_owned());
        };
        let (index, key) = rest.split_once("].")?;
        let index: usize = index.parse().ok()?;
        let (entry, is_key) = match section {
            "shops" => {
                let id = &config.shops.get(index)?.id;
                (id, matches!(key, "secret_key" | "public_key"))
            }
            "subscribers" => (&config.subscribers.get(index)?.name, key == "secret"),
            // Clients are taken over whole.
            _ => return None,
        };
        (!is_key).then(|| format!("{section}.{entry}.{key}"))
    };
    settings
        .iter()
        .filter_map(|setting| Some((name(&setting.key)?, setting.value.as_str())))
        .collect()
}

/// What differs without showing, since parts of it are not printed.
fn hidden(running: &Config, read: &Config) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    if running.database.url != read.database.url {
        names.insert("database.url".to_owned());
    }
    if running.database.migrate_url != read.database.migrate_url {
        names.insert("database.migrate_url".to_owned());
    }
    if running.telemetry.otlp_endpoint != read.telemetry.otlp_endpoint {
        names.insert("telemetry.otlp_endpoint".to_owned());
    }
    for SubscriberConfig { name, url, .. } in &running.subscribers {
        if read.subscriber(name).is_some_and(|new| new.url != *url) {
            names.insert(format!("subscribers.{name}.url"));
        }
    }
    names
}
