//! Reloads the configuration on SIGHUP and when one of its files changes, so that keys rotate
//! without a restart.
//!
//! The loader of start-up reads and checks the whole configuration. An error anywhere changes
//! nothing.
//!
//! Not responsible for: settings other than keys (`config::Live` lists the keys), or files that are
//! still being written.

use crate::app::serve::{AppError, dropped_key, key_ids};
use crate::config::{ConfigErrors, ConfigSource, EffectiveSetting, LiveConfig, LoadedConfig};
use crate::store::Store;
use crate::store::shop_controls::forgotten_shop;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

/// Interval between polls of the files. A change is applied once two consecutive polls see the same
/// content.
const FILE_POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Maximum size of a file whose content is hashed. Larger files are compared by length only.
const MAX_FILE_BYTES: u64 = 8 * 1_048_576;

/// SHA-256 digest of the contents of all files.
type FilesDigest = [u8; 32];

/// Keeps the keys in use equal to the configured ones.
pub struct ConfigReloader {
    source: ConfigSource,
    live: LiveConfig,
    store: Store,
    /// Settings at start-up. Settings other than keys keep these values until a restart.
    started: Vec<EffectiveSetting>,
    files: BTreeSet<PathBuf>,
    /// Digest at the last load, and digest at the last poll.
    read: Option<FilesDigest>,
    seen: Option<FilesDigest>,
    /// Reason why the last load failed, if it did.
    failure: Option<String>,
}

impl ConfigReloader {
    /// Creates a reloader for the source that the service was started from.
    pub fn new(
        source: ConfigSource,
        started: Vec<EffectiveSetting>,
        live: LiveConfig,
        store: Store,
    ) -> Self {
        let files = source.watched_files(&started);
        Self {
            source,
            live,
            store,
            started,
            files,
            read: None,
            seen: None,
            failure: None,
        }
    }

    /// Runs until the process ends.
    pub async fn run(mut self, mut hangup: Signal) {
        if self.files.iter().all(|file| file.is_file()) {
            // A file may have changed between the load at start-up and this point.
            self.reload(None).await;
        } else {
            // A pipe can be read only once.
            self.read = self.content().await;
        }
        let mut looks = interval(FILE_POLL_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                signal = hangup.recv() => {
                    if signal.is_none() {
                        return;
                    }
                    self.reload(Some("SIGHUP")).await;
                }
                _ = looks.tick() => {
                    if self.has_changed().await {
                        self.reload(Some("a file has changed")).await;
                    }
                }
            }
        }
    }

    /// Returns whether the files differ from those loaded last and are no longer being written.
    async fn has_changed(&mut self) -> bool {
        if self.failure.is_some() {
            // A failed load may have named a file that did not exist yet. The set of files is known
            // once a load succeeds.
            if let Ok(loaded) = self.load().await {
                self.files = self.source.watched_files(&loaded.settings);
            }
        }
        let now = self.content().await;
        let settled = now.is_some() && now == self.seen;
        self.seen = now;
        settled && now != self.read
    }

    /// Loads the configuration and applies its keys if all of it is valid.
    async fn reload(&mut self, cause: Option<&'static str>) {
        let read = match self.load_known().await {
            Ok(loaded) => match self.keeps_keys(&loaded).await {
                Ok(()) => self.keeps_shops(&loaded).await.map(|()| loaded),
                Err(reason) => Err(reason),
            },
            Err(reason) => Err(reason),
        };
        match read {
            Ok(loaded) => self.apply_keys(&loaded, cause),
            Err(reason) => {
                let known = self.failure.as_ref() == Some(&reason);
                if cause == Some("SIGHUP") || !known {
                    tracing::error!(
                        cause,
                        reason,
                        "configuration reload failed; nothing was changed"
                    );
                }
                self.failure = Some(reason);
            }
        }
    }

    /// Fails if a removed fingerprint key is still named by stored data, or if that cannot be read.
    async fn keeps_keys(&self, loaded: &LoadedConfig) -> Result<(), String> {
        let (before, after) = (key_ids(&self.live.current()), key_ids(&loaded.config));
        if before.iter().all(|key| after.contains(key)) {
            return Ok(());
        }
        let shops: Vec<String> = (loaded.config.shops.iter())
            .map(|shop| shop.id.clone())
            .collect();
        match dropped_key(&self.store, &shops, &after).await {
            Ok(None) => Ok(()),
            Ok(Some(key)) => Err(AppError::DroppedKey(key).to_string()),
            Err(error) => Err(format!(
                "security.fingerprint_key: a key was removed, and reading whether stored data needs it failed: {error}"
            )),
        }
    }

    /// Fails if a removed shop has open transactions, or if that cannot be read.
    async fn keeps_shops(&self, loaded: &LoadedConfig) -> Result<(), String> {
        let after: Vec<String> = (loaded.config.shops.iter())
            .map(|shop| shop.id.clone())
            .collect();
        let before = self.live.current();
        if before.shops.iter().all(|shop| after.contains(&shop.id)) {
            return Ok(());
        }
        match forgotten_shop(&self.store, &after).await {
            Ok(None) => Ok(()),
            Ok(Some(shop)) => Err(AppError::ForgottenShop(shop).to_string()),
            Err(error) => Err(format!(
                "shops: a shop was removed, and reading whether it has open transactions failed: {error}"
            )),
        }
    }

    fn apply_keys(&mut self, loaded: &LoadedConfig, cause: Option<&'static str>) {
        let changes = self.live.apply_keys(loaded, &self.started);
        let failed = self.failure.take().is_some();
        if !changes.taken_over.is_empty() || cause.is_some() || failed {
            let keys = list(&changes.taken_over);
            tracing::info!(cause, keys, "configuration reloaded");
        }
        if !changes.needs_restart.is_empty() {
            let keys = list(&changes.needs_restart);
            tracing::warn!(keys, "configuration changes require a restart");
        }
    }

    /// Loads the configuration and records the digest of its files.
    async fn load_known(&mut self) -> Result<LoadedConfig, String> {
        // Recorded before the load, so that the next poll sees a change made during the load.
        self.read = self.content().await;
        let first = self.load().await?;
        let files = self.source.watched_files(&first.settings);
        if files == self.files {
            return Ok(first);
        }
        self.files = files;
        self.read = self.content().await;
        self.load().await
    }

    async fn load(&self) -> Result<LoadedConfig, String> {
        let source = self.source.clone();
        let loaded = tokio::task::spawn_blocking(move || source.load()).await;
        match loaded {
            Ok(loaded) => loaded.map_err(|errors| one_line(&errors)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn content(&self) -> Option<FilesDigest> {
        let files = self.files.clone();
        let hashed = tokio::task::spawn_blocking(move || content(&files)).await;
        hashed.ok()
    }
}

/// Returns a digest of the contents of all files. Follows symbolic links, because mounted
/// configurations are replaced as whole directories of links.
fn content(files: &BTreeSet<PathBuf>) -> FilesDigest {
    let mut all = Sha256::new();
    for file in files {
        let known = std::fs::metadata(file).ok();
        let length = known.as_ref().map_or(0, std::fs::Metadata::len);
        // A pipe can be read only once, and reading it could block for ever.
        let readable = known.is_some_and(|known| known.is_file()) && length <= MAX_FILE_BYTES;
        let bytes = readable.then(|| std::fs::read(file).ok().map(Zeroizing::new));
        let hash = bytes.flatten().map(|bytes| Sha256::digest(&*bytes));
        all.update([u8::from(hash.is_some())]);
        all.update(length.to_be_bytes());
        all.update(hash.unwrap_or_default());
    }
    all.finalize().into()
}

fn one_line(errors: &ConfigErrors) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.join(", ")
}
