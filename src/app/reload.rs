//! Reading the configuration again, on SIGHUP and when one of its files has changed, so that keys are
//! changed without a restart.
//!
//! The whole is read and checked by the loader of the start; what is wrong anywhere changes nothing.
//! What it deliberately cannot do: change anything but keys (`config::Live` says which), or act on a
//! file that is still being written.

use crate::app::serve::{AppError, dropped_key, key_ids};
use crate::config::{ConfigErrors, Live, Loaded, Setting, Source};
use crate::store::Store;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};
use zeroize::Zeroizing;

/// How often the files are looked at. A change is acted on when two looks saw the same.
const LOOK: Duration = Duration::from_secs(2);

/// No file of a configuration is larger; what is, is told apart by its length alone.
const LARGEST: u64 = 8 * 1_048_576;

/// What stands in the files, as a hash.
type Content = [u8; 32];

/// Keeps the keys in use as they are configured.
pub struct Reload {
    source: Source,
    live: Live,
    store: Store,
    /// The settings of the start: what is no key is as it was then.
    started: Vec<Setting>,
    files: BTreeSet<PathBuf>,
    /// What was read last, and what the last look saw.
    read: Option<Content>,
    seen: Option<Content>,
    /// Why the last reading failed, if it did.
    failure: Option<String>,
}

impl Reload {
    /// Follows the source that the service was started from.
    pub fn new(source: Source, started: Vec<Setting>, live: Live, store: Store) -> Self {
        let files = source.files(&started);
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

    /// Goes on until the process ends.
    pub async fn run(mut self, mut hangup: Signal) {
        if self.files.iter().all(|file| file.is_file()) {
            // What changed between the start's reading and here is a change as well.
            self.reload(None).await;
        } else {
            // A pipe could be read once only.
            self.read = self.content().await;
        }
        let mut looks = interval(LOOK);
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

    /// Whether the files are others than those that were read, and are no longer being written.
    async fn has_changed(&mut self) -> bool {
        if self.failure.is_some() {
            // What failed may have named a file that was not there yet. It is known once it can be read.
            if let Ok(loaded) = self.load().await {
                self.files = self.source.files(&loaded.settings);
            }
        }
        let now = self.content().await;
        let settled = now.is_some() && now == self.seen;
        self.seen = now;
        settled && now != self.read
    }

    /// Reads everything again, and takes the keys over if all of it is right.
    async fn reload(&mut self, cause: Option<&'static str>) {
        let read = match self.load_known().await {
            Ok(loaded) => self.keeps_keys(&loaded).await.map(|()| loaded),
            Err(reason) => Err(reason),
        };
        match read {
            Ok(loaded) => self.take_over(&loaded, cause),
            Err(reason) => {
                let known = self.failure.as_ref() == Some(&reason);
                if cause == Some("SIGHUP") || !known {
                    tracing::error!(
                        cause,
                        reason,
                        "the configuration cannot be read again; nothing was changed"
                    );
                }
                self.failure = Some(reason);
            }
        }
    }

    /// Fails when a fingerprint key is gone that something stored names, or when that cannot be told.
    async fn keeps_keys(&self, loaded: &Loaded) -> Result<(), String> {
        let (before, after) = (key_ids(&self.live.now()), key_ids(&loaded.config));
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
                "security.fingerprint_key: a key is gone, and whether something needs it cannot be read: {error}"
            )),
        }
    }

    fn take_over(&mut self, loaded: &Loaded, cause: Option<&'static str>) {
        let changes = self.live.take_over(loaded, &self.started);
        let failed = self.failure.take().is_some();
        if !changes.taken_over.is_empty() || cause.is_some() || failed {
            let keys = list(&changes.taken_over);
            tracing::info!(
                cause,
                keys,
                "the configuration was read again; these keys are in use now"
            );
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!("needs a restart: {}", list(&changes.needs_restart));
        }
    }

    /// Reads everything, and notes what stood in the files when it was.
    async fn load_known(&mut self) -> Result<Loaded, String> {
        // Noted before anything is read: what changes meanwhile is a change for the next look.
        self.read = self.content().await;
        let first = self.load().await?;
        let files = self.source.files(&first.settings);
        if files == self.files {
            return Ok(first);
        }
        self.files = files;
        self.read = self.content().await;
        self.load().await
    }

    async fn load(&self) -> Result<Loaded, String> {
        let source = self.source.clone();
        let loaded = tokio::task::spawn_blocking(move || source.load()).await;
        match loaded {
            Ok(loaded) => loaded.map_err(|errors| one_line(&errors)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn content(&self) -> Option<Content> {
        let files = self.files.clone();
        let hashed = tokio::task::spawn_blocking(move || content(&files)).await;
        hashed.ok()
    }
}

/// A hash of what stands in all the files. Links are followed, as whole directories of them are
/// exchanged where configurations are mounted.
fn content(files: &BTreeSet<PathBuf>) -> Content {
    let mut all = Sha256::new();
    for file in files {
        let known = std::fs::metadata(file).ok();
        let length = known.as_ref().map_or(0, std::fs::Metadata::len);
        // A pipe could be read once only, and waiting for it would never end.
        let readable = known.is_some_and(|known| known.is_file()) && length <= LARGEST;
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
