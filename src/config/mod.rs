//! Configuration: a TOML file, the environment over it, and defaults under it, parsed
//! into types and checked as a whole before anything starts.
//!
//! `load` either gives a `Config` in which every rule holds or every error at once, each
//! with its full key. `Live` is the one in use, of which only keys can change at run time. It
//! deliberately knows nothing of the parts that it configures, and never prints a secret.

mod address;
mod check;
mod document;
mod env;
mod error;
mod hosts;
mod keys;
mod live;
mod load;
mod network;
mod provenance;
mod repeated_sections;
pub mod sealing;
mod secret_source;
mod section_reader;
mod string_enum;
mod types;
mod value;

#[cfg(test)]
mod tests;

use std::path::Path;

use zeroize::Zeroizing;

pub use check::{broken_promises, named_shops, warnings};
pub use env::environment;
pub use error::{ConfigError, ConfigErrors};
pub use hosts::hosts;
pub use keys::{FingerprintKey, KeyDigest};
pub use live::{ConfigSource, LiveConfig, LoadedConfig, ReloadChanges};
pub use network::Network;
pub use provenance::{EffectiveSetting, SettingOrigin};
pub use types::{
    ApiConfig, ClientConfig, Config, DatabaseConfig, DeliveryConfig, EventType, FollowConfig,
    FollowMode, GatewayConfig, Limits, LogFormat, OpsConfig, PayloadStyle, RetentionConfig, Scope,
    SecurityConfig, ServeConfig, ShopConfig, ShopSelection, SubmitsMode, SubscriberConfig,
    TelemetryConfig, WebhookSignature, WebhooksConfig,
};

use document::ConfigDocument;
use section_reader::Diagnostics;

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
pub fn effective_settings(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Vec<EffectiveSetting>, ConfigErrors> {
    read(path, env).map(|(_, settings)| settings)
}

fn read(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<(Config, Vec<EffectiveSetting>), ConfigErrors> {
    let mut notes = Diagnostics::default();
    let mut document = ConfigDocument::default();
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
        document = ConfigDocument::parse(&text, &mut notes.errors)
            .map_err(|error| ConfigErrors(vec![error]))?;
    }
    env::apply_environment(&mut document, env, &mut notes.errors);
    let sections = load::sections(&mut document, &mut notes);
    let shops =
        repeated_sections::entries(&mut document, &mut notes, "shops", repeated_sections::shop);
    let clients = repeated_sections::entries(
        &mut document,
        &mut notes,
        "clients",
        repeated_sections::client,
    );
    let subscribers = repeated_sections::entries(
        &mut document,
        &mut notes,
        "subscribers",
        repeated_sections::subscriber,
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
        sections: load::ParsedSections,
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
