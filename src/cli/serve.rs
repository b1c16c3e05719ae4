//! `serve` and `migrate`: run the service, and apply migrations.

use crate::app::{App, ConfigReloader, Listeners, Roles};
use crate::cli::check_config::{load, warnings};
use crate::cli::output;
use crate::config::{self, ConfigSource, LoadedConfig};
use crate::store::history::Acceptance;
use crate::store::pooler::{PoolerError, PoolingMode};
use crate::store::{Store, migrate as schema, plan};
use anyhow::Context;
use leaves::telemetry;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(super) struct ServeArgs {
    /// Parts to run; repeat or separate by commas [default: all]
    #[arg(long, value_delimiter = ',', value_name = "ROLE")]
    role: Vec<Role>,
    /// Apply pending migrations before starting
    #[arg(long)]
    migrate: bool,
    /// After a database restore: look up each transaction at the gateway before submitting it, for
    /// 36 h
    #[arg(long)]
    after_restore: bool,
    /// After a failover or a move that lost no commit: accept the database as it is
    #[arg(long, conflicts_with = "after_restore")]
    after_failover: bool,
}

impl ServeArgs {
    fn acceptance(&self) -> Option<Acceptance> {
        let restore = self.after_restore.then_some(Acceptance::Restore);
        restore.or(self.after_failover.then_some(Acceptance::Failover))
    }
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

/// Serves until SIGTERM or SIGINT. SIGHUP reloads the keys.
pub(super) async fn serve(path: Option<&Path>, args: ServeArgs) -> anyhow::Result<()> {
    let source = ConfigSource::new(path);
    let loaded = source
        .load()
        .map_err(|errors| anyhow::anyhow!("{errors}"))?;
    let LoadedConfig { config, settings } = loaded;
    let format = telemetry::LogFormat::from_word(config.telemetry.format.as_str())
        .unwrap_or(telemetry::LogFormat::Auto);
    telemetry::init(&config.telemetry.log, format)?;
    telemetry::forbid_core_dumps()?;
    let endpoint = config.telemetry.otlp_endpoint.clone();
    let export = endpoint
        .map(|endpoint| telemetry::traces::export(endpoint.as_str(), crate::metrics::VERSION))
        .transpose()?;
    for warning in warnings(&config) {
        tracing::warn!(warning, "configuration warning");
    }
    // Handlers are installed first, so that a signal during start-up stops the service too.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let hangup = signal(SignalKind::hangup())?;
    let roles = roles(&args.role);
    let listeners = Listeners::bind(&config, roles)?;
    if args.migrate {
        apply(&config).await?;
    }
    let acceptance = args.acceptance();
    let mut app = App::start(Arc::new(config), listeners, roles, acceptance).await?;
    let reload = ConfigReloader::new(source, settings, app.config(), app.store());
    let reloading = tokio::spawn(reload.run(hangup));
    tracing::info!(version = crate::metrics::VERSION, "service started");
    let failed = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        error = app.startup_error() => Some(error),
    };
    tracing::info!("shutting down");
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
    tracing::info!("shutdown complete");
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Options of `migrate`.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Print what the pending migrations lock and how long they are expected to take; change nothing
    #[arg(long)]
    plan: bool,
    /// Print the plan as JSON
    #[arg(long, requires = "plan")]
    json: bool,
}

/// Applies pending migrations, or prints what they would lock.
pub(super) async fn migrate(path: Option<&Path>, args: MigrateArgs) -> anyhow::Result<()> {
    let config = load(path)?;
    if args.plan {
        return print_plan(&config, args.json).await;
    }
    apply(&config).await
}

async fn print_plan(config: &config::Config, json: bool) -> anyhow::Result<()> {
    let store = Store::for_a_person(config.database.migrate_url().expose(), 1)?;
    let plan = plan::plan(&store).await;
    store.close().await;
    let plan = plan.context("failed to read the applied migrations")?;
    if json {
        return output::print_json(&plan);
    }
    let rows = plan.statements.iter().map(|one| {
        vec![
            one.version.to_string(),
            one.action.to_owned(),
            one.table.clone(),
            one.lock.to_owned(),
            one.waits.as_str().to_owned(),
            format!("{} MB", one.table_bytes / 1_000_000),
            format!("{} s", one.expected_seconds),
        ]
    });
    let names = [
        "migration",
        "statement",
        "table",
        "lock",
        "who waits",
        "size",
        "expected",
    ];
    if !plan.statements.is_empty() {
        output::print(&output::table(&names, rows.collect()))?;
    }
    let pending = plan.pending.len();
    output::print(&format!(
        "{pending} migrations are pending; nothing was changed"
    ))
}

async fn apply(config: &config::Config) -> anyhow::Result<()> {
    let store = Store::for_a_person(config.database.migrate_url().expose(), 1)?;
    // The lock that serialises migrations is bound to a database session.
    let sessions = store.sessions().await;
    let shared = matches!(
        sessions,
        Ok(PoolingMode::Shared { .. })
            | Err(PoolerError::NoPreparedStatements(_) | PoolerError::NoTransactions(_))
    );
    anyhow::ensure!(
        !shared,
        "migrations need a dedicated connection, and this pooler shares connections; set \
             database.migrate_url to the direct address of the database"
    );
    let applied = schema::migrate(&store)
        .await
        .context("failed to apply migrations")?;
    store.close().await;
    println!("{applied} migrations applied; the schema is up to date");
    Ok(())
}
