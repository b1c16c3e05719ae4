//! `serve` and `migrate`.

use crate::app::{App, Listeners, Reload, Roles};
use crate::cli::config::{load, warnings};
use crate::config::{self, Loaded, Source};
use crate::store::pooler::{PoolerError, Sessions};
use crate::store::{Store, migrate as schema};
use crate::telemetry;
use anyhow::Context;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Which parts run here; all of them when left out.
    #[arg(long, value_delimiter = ',', value_name = "ROLE")]
    role: Vec<Role>,
    /// Bring the schema up to date first.
    #[arg(long)]
    migrate: bool,
    /// The database was restored from a backup: look each new submit up before it is sent.
    #[arg(long)]
    after_restore: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Role {
    Api,
    Webhooks,
    Engine,
}

fn roles(given: &[Role]) -> Roles {
    if given.is_empty() {
        return Roles::ALL;
    }
    Roles {
        api: given.contains(&Role::Api),
        webhooks: given.contains(&Role::Webhooks),
        engine: given.contains(&Role::Engine),
    }
}

/// Serves until SIGTERM or SIGINT. SIGHUP has the keys read again.
pub(super) async fn serve(path: Option<&Path>, args: ServeArgs) -> anyhow::Result<()> {
    let source = Source::new(path);
    let loaded = source
        .load()
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let Loaded { config, settings } = loaded;
    let format = telemetry::Format::from_word(config.telemetry.format.as_str())
        .unwrap_or(telemetry::Format::Auto);
    telemetry::init(&config.telemetry.log, format)?;
    telemetry::forbid_core_dumps()?;
    let endpoint = config.telemetry.otlp_endpoint.clone();
    let export = endpoint
        .map(|endpoint| telemetry::traces::export(endpoint.as_str(), crate::metrics::VERSION))
        .transpose()?;
    for warning in warnings(&config) {
        tracing::warn!("{warning}");
    }
    // Handlers first: a signal during the start must stop it too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let roles = roles(&args.role);
    let listeners = Listeners::bind(&config, roles)?;
    if args.migrate {
        apply(&config).await?;
    }
    let mut app = App::start(Arc::new(config), listeners, roles, args.after_restore).await?;
    let reload = Reload::new(source, settings, app.config(), app.store());
    let reloading = tokio::spawn(reload.run(hangup));
    tracing::info!(version = crate::metrics::VERSION, "the service runs");
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = app.failed() => Some(error),
    };
    tracing::info!("stopping");
    reloading.abort();
    if failed.is_none() {
        // A second signal ends the wait.
        tokio::select! {
            () = app.withdraw() => {}
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
    app.stop().await;
    if let Some(export) = export {
        tokio::task::spawn_blocking(|| export.end()).await?;
    }
    tracing::info!("stopped");
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Brings the schema up to date.
pub(super) async fn migrate(path: Option<&Path>) -> anyhow::Result<()> {
    let config = load(path)?;
    apply(&config).await
}

async fn apply(config: &config::Config) -> anyhow::Result<()> {
    let store = Store::for_a_person(config.database.migrate_url().expose(), 1)?;
    // The lock that keeps two migrations apart belongs to a session.
    let sessions = store.sessions().await;
    let shared = matches!(
        sessions,
        Ok(Sessions::Shared { .. }) | Err(PoolerError::Forgets(_) | PoolerError::NoTransactions(_))
    );
    anyhow::ensure!(
        !shared,
        "the schema is reached through a pooler that shares connections, and migrations need one of \
         their own: give the direct address in database.migrate_url"
    );
    let applied = schema::migrate(&store)
        .await
        .context("the schema is not up to date")?;
    store.close().await;
    println!("{applied} migrations applied; the schema is up to date");
    Ok(())
}
