//! Starts and stops the service.

use crate::config::{Config, LiveConfig};
use crate::delivery::Deliveries;
use crate::follow::Engine;
use crate::http::{self, HttpContext};
use crate::ledger::{Ledger, LedgerSettings};
use crate::metrics::Metrics;
use crate::store::history::Acceptance;
use crate::store::migrate::MigrateError;
use crate::store::pooler::{PoolerError, PoolingMode};
use crate::store::roles::may_rewrite_evidence;
use crate::store::waiting::keys_in_use;
use crate::store::{Store, StoreError, shop_controls};
use crate::submit::Dispatcher;
use crate::{api, ops, webhooks};
use domain::ShopId;
use domain::schedule::Pace;
use gateway::{ClientError, GatewayClient};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Parts of the service that run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// The REST API.
    pub api: bool,
    /// The webhook listener.
    pub webhooks: bool,
    /// Checks, submits of queued requests, sweeps, and deliveries to subscribers.
    pub engine: bool,
}

impl Roles {
    /// All parts.
    pub const ALL: Self = Self {
        api: true,
        webhooks: true,
        engine: true,
    };
}

/// The bound listeners. `None` for a role that does not run here.
#[derive(Debug)]
pub struct Listeners {
    /// REST API, for internal services.
    pub api: Option<TcpListener>,
    /// Webhooks, for the gateway.
    pub webhooks: Option<TcpListener>,
    /// Metrics and health probes, for Prometheus and Kubernetes.
    pub ops: TcpListener,
}

/// An error that prevents the service from starting or running.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A listen address could not be bound.
    #[error("failed to listen on {address} ({key})")]
    Bind {
        /// Key of the setting that names the address.
        key: &'static str,
        /// Address that could not be bound.
        address: SocketAddr,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The database.
    #[error("database error")]
    Store(#[from] StoreError),
    /// The connection to the database, if a pooler on the way is unsuitable.
    #[error("unsupported connection pooler")]
    Pooler(#[from] PoolerError),
    /// The schema is missing a migration or does not match this version.
    #[error("schema check failed")]
    Migrate(#[from] MigrateError),
    /// The HTTP client for the gateway could not be created.
    #[error("failed to create the gateway client")]
    Client(#[from] ClientError),
    /// A fingerprint key was removed that stored data still names.
    #[error(
        "security.fingerprint_key: key {0} is missing, and stored fingerprints or queued requests \
             need it; list it after the new one"
    )]
    DroppedKey(String),
    /// A shop was removed whose open transactions nobody would follow.
    #[error(
        "shops: shop {0} is missing and has open transactions; keep it with submits = \"off\" until they have ended"
    )]
    ForgottenShop(String),
    /// The listeners could not be started.
    #[error("failed to start listeners")]
    Http(#[source] std::io::Error),
}

/// Maximum number of commands that the ledger commits in one batch.
const MAX_BATCH_COMMANDS: usize = 512;

/// Time that gateway reads in flight may take after a stop.
const READ_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

impl Listeners {
    /// Binds the listeners of the roles. Called first, so that an address in use is reported before
    /// anything starts.
    pub fn bind(config: &Config, roles: Roles) -> Result<Self, AppError> {
        let bind = |key, address: SocketAddr| {
            TcpListener::bind(address).map_err(|source| AppError::Bind {
                key,
                address,
                source,
            })
        };
        let optional = |wanted: bool, key, address| wanted.then(|| bind(key, address)).transpose();
        Ok(Self {
            api: optional(roles.api, "api.listen", config.api.listen)?,
            webhooks: optional(roles.webhooks, "webhooks.listen", config.webhooks.listen)?,
            ops: bind("ops.listen", config.ops.listen)?,
        })
    }
}

/// The running service. [`App::stop`] stops it.
pub struct App {
    config: LiveConfig,
    store: Store,
    dispatch: Dispatcher,
    engine: Option<Engine>,
    deliveries: Option<Deliveries>,
    servers: http::RunningServers,
    ledger: Ledger,
    learning: JoinHandle<()>,
    history: JoinHandle<()>,
    drain: Duration,
    prepared: Option<JoinHandle<Result<(), AppError>>>,
}

impl App {
    /// Starts all parts of the service.
    ///
    /// The database may be unavailable; readiness reports when it is available. If it is available,
    /// the connection to it must be usable.
    ///
    /// # Errors
    ///
    /// Returns an error if the connection pooler is unsuitable, a key that stored data needs is
    /// missing, or a listener or HTTP client cannot be created.
    pub async fn start(
        config: Arc<Config>,
        listeners: Listeners,
        roles: Roles,
        acceptance: Option<Acceptance>,
    ) -> Result<Self, AppError> {
        let metrics = Arc::new(Metrics::new());
        metrics.set_clock_tolerance(config.follow.clock_tolerance);
        let database = &config.database;
        let store = Store::connect_lazy(database.url.expose(), database.max_connections)?;
        let shops = shop_ids(&config);
        let names: Vec<String> = shops.iter().map(ToString::to_string).collect();
        let prepared = begin_preparing(&store, names.clone(), key_ids(&config), acceptance).await?;
        let settings = ledger_settings(&config);
        let ledger = Ledger::start(store.clone(), shops, settings, Arc::clone(&metrics));
        let gateway = GatewayClient::new(&config.gateway.client())?;
        let drain = config.serve.drain_timeout;
        // Only the live configuration is read below: start-up keys must not outlive a rotation.
        let live = LiveConfig::new(config);
        let dispatch = Dispatcher::new(
            &live,
            store.clone(),
            ledger.clone(),
            gateway,
            Arc::clone(&metrics),
        );
        let engine = roles.engine.then(|| {
            Engine::start(
                &live,
                store.clone(),
                ledger.clone(),
                dispatch.clone(),
                Arc::clone(&metrics),
            )
        });
        let deliveries = roles.engine.then(|| {
            Deliveries::start(
                &live,
                store.clone(),
                ledger.clone(),
                dispatch.clone(),
                Arc::clone(&metrics),
            )
        });
        let context = Arc::new(HttpContext::new(live.clone(), dispatch.clone(), metrics));
        let routes = routes(&context, &store, &ledger, &dispatch);
        let sockets = http::ListenerSockets {
            api: listeners.api,
            webhooks: listeners.webhooks,
            ops: Some(listeners.ops),
        };
        let servers = http::start(context, sockets, http::WorkerCounts::default(), routes)
            .map_err(AppError::Http)?;
        Ok(Self {
            config: live,
            learning: spawn_forecast_sync(&ledger, &dispatch),
            history: spawn_history(&store, names),
            store,
            dispatch,
            engine,
            deliveries,
            servers,
            ledger,
            drain,
            prepared: Some(prepared),
        })
    }

    /// Completes with an error if a database that was down at start-up turns out to be unusable.
    /// Never completes otherwise.
    pub async fn startup_error(&mut self) -> AppError {
        if let Some(prepared) = self.prepared.take()
            && let Ok(Err(error)) = prepared.await
        {
            return error;
        }
        std::future::pending().await
    }

    /// The database.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Returns the live configuration.
    pub fn config(&self) -> LiveConfig {
        self.config.clone()
    }

    /// Turns readiness off, and waits for as long as load balancers may need to notice.
    pub async fn withdraw(&self) {
        self.servers.withdraw();
        tokio::time::sleep(self.config.current().serve.shutdown_delay).await;
    }

    /// Stops the service.
    ///
    /// Readiness turns off, no new requests are accepted, and unsent submits are handed back. If
    /// submits are in flight, `stop` waits for them, at most for `serve.drain_timeout`.
    pub async fn stop(mut self) {
        self.dispatch.stop();
        let drained = async {
            if let Some(deliveries) = self.deliveries.take() {
                deliveries.stopped().await;
            }
            if let Some(engine) = self.engine.take() {
                engine.stopped(READ_DRAIN_TIMEOUT).await;
            }
            self.dispatch.drained().await;
            self.servers.stop(true).await;
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!(
                submits = self.dispatch.in_flight(),
                "drain timeout expired with submits in flight; their transactions will be looked up"
            );
        }
        self.servers.stop_ops().await;
        let shared = async {
            let _ = (&mut self.learning).await;
            self.ledger.sync_forecasts().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), shared).await;
        self.learning.abort();
        self.history.abort();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.store.close()).await;
    }
}

/// Returns the routes of the three listeners, each with the context of its own handlers.
fn routes(
    context: &Arc<HttpContext>,
    store: &Store,
    ledger: &Ledger,
    dispatch: &Dispatcher,
) -> http::Routes {
    // Work that must complete even if the caller disconnects runs in this runtime.
    let tasks = tokio::runtime::Handle::current();
    let (http, store, ledger) = (Arc::clone(context), store.clone(), ledger.clone());
    http::Routes {
        webhooks: webhooks::configure(webhooks::WebhookContext::new(
            context,
            store.clone(),
            ledger.clone(),
            tasks.clone(),
        )),
        ops: ops::configure(ops::OpsContext::new(Arc::clone(context), store.clone())),
        api: api::configure(api::ApiContext::new(
            http,
            store,
            ledger,
            dispatch.clone(),
            tasks,
        )),
    }
}

/// Starts the synchronisation of forecasts. It runs in every role, because every role observes
/// final states or schedules checks.
fn spawn_forecast_sync(ledger: &Ledger, dispatch: &Dispatcher) -> JoinHandle<()> {
    let (ledger, dispatch) = (ledger.clone(), dispatch.clone());
    tokio::spawn(async move { ledger.run_forecast_sync(dispatch.stopping()).await })
}

/// Follows the history of the database, in every role: every role knows commits.
fn spawn_history(store: &Store, shops: Vec<String>) -> JoinHandle<()> {
    let store = store.clone();
    tokio::spawn(async move { store.follow_history(&shops).await })
}

/// Checks whether the connection to the database is suitable, and logs a warning if its settings
/// are risky.
async fn check_pooler(store: &Store) -> Result<(), PoolerError> {
    if store.sessions().await? == (PoolingMode::Shared { by_index: false }) {
        tracing::warn!(
            "database.url uses a pooler that shares connections, and the database role allows \
                 sequential scans; run once: ALTER ROLE … SET enable_seqscan = off"
        );
    }
    Ok(())
}

/// Returns the ids of the configured fingerprint keys.
pub(crate) fn key_ids(config: &Config) -> Vec<String> {
    let keys = config.security.fingerprint_key.iter();
    keys.map(|key| key.id().to_owned()).collect()
}

/// Returns the first fingerprint key that stored data names and that is not in `listed`.
pub(crate) async fn dropped_key(
    store: &Store,
    shops: &[String],
    listed: &[String],
) -> Result<Option<String>, StoreError> {
    let needed = keys_in_use(store, shops).await?;
    Ok(needed.into_iter().find(|key| !listed.contains(key)))
}

/// Fails if the connection to the database is unsuitable, or if a key that stored data needs is
/// missing.
async fn fits(
    store: &Store,
    shops: &[String],
    listed: &[String],
    acceptance: Option<Acceptance>,
) -> Result<(), AppError> {
    check_pooler(store).await?;
    if let Some(key) = dropped_key(store, shops, listed).await? {
        return Err(AppError::DroppedKey(key));
    }
    store.read_history(shops, acceptance).await?;
    match shop_controls::forgotten_shop(store, shops).await? {
        Some(shop) => Err(AppError::ForgottenShop(shop)),
        None => Ok(()),
    }
}

/// Checks the database now, if it is available, and starts a task that prepares it.
async fn begin_preparing(
    store: &Store,
    shops: Vec<String>,
    listed: Vec<String>,
    acceptance: Option<Acceptance>,
) -> Result<JoinHandle<Result<(), AppError>>, AppError> {
    let known = match fits(store, &shops, &listed, acceptance).await {
        Ok(()) => true,
        Err(AppError::Pooler(PoolerError::Store(_)) | AppError::Store(_)) => false,
        Err(unfit) => return Err(unfit),
    };
    let preparing = prepare(store.clone(), shops, listed, acceptance, known);
    Ok(tokio::spawn(preparing))
}

/// Creates the row of each shop. Waits until the database is available, and checks the connection
/// first.
async fn prepare(
    store: Store,
    shops: Vec<String>,
    listed: Vec<String>,
    acceptance: Option<Acceptance>,
    mut known: bool,
) -> Result<(), AppError> {
    let step = async |known: &mut bool| -> Result<(), AppError> {
        if !*known {
            fits(&store, &shops, &listed, acceptance).await?;
            *known = true;
        }
        Ok(shop_controls::ensure_rows(&store, &shops).await?)
    };
    loop {
        match step(&mut known).await {
            Ok(()) => break,
            Err(AppError::Pooler(PoolerError::Store(error)) | AppError::Store(error)) => {
                tracing::warn!(
                    error = error.chain(),
                    "database not available yet; retrying in 1 s"
                );
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(unfit) => return Err(unfit),
        }
    }
    // Evidence is stronger if the service's own role cannot modify it.
    if matches!(may_rewrite_evidence(&store).await, Ok(true)) {
        tracing::warn!(
            "database role can modify evidence; docs/operations.md describes an append-only role"
        );
    }
    Ok(())
}

/// Returns the IDs of the configured shops; the configuration accepts no other ones.
fn shop_ids(config: &Config) -> Vec<ShopId> {
    let ids = config.shops.iter().map(|shop| ShopId::parse(&shop.id));
    ids.filter_map(Result::ok).collect()
}

/// Returns the ledger's settings from the configuration.
pub fn ledger_settings(config: &Config) -> LedgerSettings {
    LedgerSettings {
        pace: Pace {
            first_check: config.follow.first_check,
            max_interval: config.follow.max_interval,
            max_interval_old: config.follow.max_interval_old,
            recheck_after_final: config.follow.recheck_after_final.clone(),
        },
        lease: config.follow.lease,
        clock_tolerance: config.follow.clock_tolerance,
        max_batch: MAX_BATCH_COMMANDS,
    }
}
