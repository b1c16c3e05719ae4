//! Configuration: a TOML file, the environment over it, and defaults under it, parsed
//! into types and checked as a whole before anything starts.
//!
//! `load` either gives a `Config` in which every rule holds or every error at once, each
//! with its full key. `Live` is the one in use, of which only keys can change at run time. It
//! deliberately knows nothing of the parts that it configures, and never prints a secret.

mod address;
mod check;
mod choices;
mod document;
mod entries;
mod env;
mod error;
mod explain;
mod fields;
mod guarded;
mod hosts;
mod keys;
mod live;
mod load;
mod network;
pub mod sealing;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use zeroize::Zeroizing;

pub use check::{broken_promises, named_shops, warnings};
pub use env::environment;
pub use error::{ConfigError, ConfigErrors};
pub use explain::{Origin, Setting};
pub use hosts::hosts;
pub use keys::{FingerprintKey, KeyDigest};
pub use live::{Changes, Live, Loaded, Source};
pub use network::Network;
pub use types::{
    ApiConfig, ClientConfig, Config, DatabaseConfig, DeliveryConfig, EventName, Follow,
    FollowConfig, GatewayConfig, Limits, LogFormat, OpsConfig, RetentionConfig, Scope,
    SecurityConfig, ServeConfig, ShopConfig, ShopSet, Submits, SubscriberBody, SubscriberConfig,
    TelemetryConfig, WebhookSignature, WebhooksConfig,
};

use document::Document;
use fields::Notes;

/// Reads the file at `path`, if one is given, and lays the environment over it.
///
/// Of `env` only `RECONCILER__…` and `DATABASE_URL` are looked at; `environment()` gives
/// those of this process.
pub fn load(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Config, ConfigErrors> {
    read(path, env).map(|(config, _)| config)
}

/// As `load`, but gives every effective setting with where it came from.
pub fn explain(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<Setting>, ConfigErrors> {
    read(path, env).map(|(_, settings)| settings)
}

fn read(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Vec<Setting>), ConfigErrors> {
    let mut notes = Notes::default();
    let mut document = Document::default();
    if let Some(path) = path {
        notes.directory = path.parent().map(Path::to_owned).unwrap_or_default();
        let text = std::fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| {
                let problem = format!("cannot read the file: {error}");
                let key = path.display().to_string();
                ConfigErrors(vec![ConfigError {
                    key,
                    variable: None,
                    problem,
                }])
            })?;
        // Whatever else could be said about a file that is not TOML would only distract.
        document =
            Document::parse(&text, &mut notes.errors).map_err(|error| ConfigErrors(vec![error]))?;
    }
    env::overlay(&mut document, env, &mut notes.errors);
    let sections = load::sections(&mut document, &mut notes);
    let shops = entries::entries(&mut document, &mut notes, "shops", entries::shop);
    let clients = entries::entries(&mut document, &mut notes, "clients", entries::client);
    let subscribers = entries::entries(
        &mut document,
        &mut notes,
        "subscribers",
        entries::subscriber,
    );
    notes
        .errors
        .extend(check::check(&sections, &shops, &clients, &subscribers));
    let all = Config::assemble(sections, shops, clients, subscribers);
    match all {
        Some(config) if notes.errors.is_empty() => Ok((config, notes.settings)),
        Some(_) | None => Err(ConfigErrors(notes.errors)),
    }
}

impl Config {
    /// All parts, if none is broken.
    fn assemble(
        sections: load::Sections,
        shops: Vec<Option<ShopConfig>>,
        clients: Vec<Option<ClientConfig>>,
        subscribers: Vec<Option<SubscriberConfig>>,
    ) -> Option<Self> {
        Some(Self {
            database: sections.database?,
            api: sections.api?,
            webhooks: sections.webhooks?,
            ops: sections.ops?,
            security: sections.security?,
            gateway: sections.gateway?,
            delivery: sections.delivery?,
            follow: sections.follow?,
            retention: sections.retention?,
            serve: sections.serve?,
            telemetry: sections.telemetry?,
            shops: shops.into_iter().collect::<Option<_>>()?,
            clients: clients.into_iter().collect::<Option<_>>()?,
            subscribers: subscribers.into_iter().collect::<Option<_>>()?,
        })
    }
}
