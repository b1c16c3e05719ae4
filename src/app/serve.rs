//! Starting and stopping the service.

use crate::config::{Config, Live};
use crate::dispatch::Dispatch;
use crate::domain::ShopId;
use crate::domain::schedule::Pace;
use crate::engine::Engine;
use crate::gateway::{ClientError, GatewayClient};
use crate::http;
use crate::ledger::{Ledger, Settings};
use crate::metrics::Metrics;
use crate::store::audit::may_rewrite_evidence;
use crate::store::migrate::MigrateError;
use crate::store::pooler::{PoolerError, Sessions};
use crate::store::waiting::keys_in_use;
use crate::store::{Store, StoreError, controls};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Which parts of the service run in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// The REST API.
    pub api: bool,
    /// The webhook listener.
    pub webhooks: bool,
    /// Checks, submissions of what waits, sweeps.
    pub engine: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self {
        api: true,
        webhooks: true,
        engine: true,
    };
}

/// The bound listeners; those of roles that do not run are not used.
#[derive(Debug)]
pub struct Listeners {
    /// For internal services.
    pub api: Option<TcpListener>,
    /// For the gateway.
    pub webhooks: Option<TcpListener>,
    /// For Prometheus and probes.
    pub ops: TcpListener,
}

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// An address cannot be bound.
    #[error("cannot listen on {address} ({key})")]
    Bind {
        /// The key of the setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The database.
    #[error("the database cannot be used")]
    Store(#[from] StoreError),
    /// What leads to the database.
    #[error("the way to the database cannot be used")]
    Pooler(#[from] PoolerError),
    /// The schema.
    #[error("the schema cannot be used")]
    Migrate(#[from] MigrateError),
    /// The HTTP client.
    #[error("the gateway's client cannot be set up")]
    Client(#[from] ClientError),
    /// A key is gone that is still needed.
    #[error(
        "security.fingerprint_key lacks the key {0}, which kept fingerprints or waiting requests name; \
         list it after the new one"
    )]
    DroppedKey(String),
    /// The listeners.
    #[error("the listeners cannot be started")]
    Http(#[source] std::io::Error),
}

/// How many jobs the ledger commits at once.
const MAX_BATCH: usize = 512;

/// How long reads on the wire may go on after a stop.
const READ_PATIENCE: Duration = Duration::from_secs(1);

impl Listeners {
    /// Binds what the roles need, so that a taken port is told before anything runs.
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

/// The running service.
pub struct App {
    config: Live,
    store: Store,
    dispatch: Dispatch,
    engine: Option<Engine>,
    servers: http::Servers,
    ledger: Ledger,
    learning: JoinHandle<()>,
    drain: Duration,
    prepared: Option<JoinHandle<Result<(), AppError>>>,
}

impl App {
    /// Starts everything. The database need not be up; readiness tells when it is. One that is up has
    /// to be reached in a way that can be used.
    pub async fn start(
        config: Arc<Config>,
        listeners: Listeners,
        roles: Roles,
        after_restore: bool,
    ) -> Result<Self, AppError> {
        let metrics = Arc::new(Metrics::new());
        let database = &config.database;
        let store = Store::connect_lazy(database.url.expose(), database.max_connections)?;
        let shops: Vec<ShopId> = config
            .shops
            .iter()
            .filter_map(|shop| ShopId::parse(&shop.id).ok())
            .collect();
        let names: Vec<String> = shops.iter().map(ToString::to_string).collect();
        let prepared = begin_preparing(&store, names, key_ids(&config)).await?;
        let ledger = Ledger::start(
            store.clone(),
            shops,
            ledger_settings(&config),
            Arc::clone(&metrics),
        );
        let gateway = GatewayClient::new(&config.gateway)?;
        let drain = config.serve.drain_timeout;
        // From here on only what is in use is asked: the keys of the start must not outlive it.
        let live = Live::new(config);
        let dispatch = Dispatch::new(
            &live,
            store.clone(),
            ledger.clone(),
            gateway,
            Arc::clone(&metrics),
            after_restore,
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
        let parts = http::Parts {
            config: live.clone(),
            store: store.clone(),
            ledger: ledger.clone(),
            dispatch: dispatch.clone(),
            metrics,
        };
        let context = Arc::new(http::Context::new(parts, tokio::runtime::Handle::current()));
        let sockets = http::Sockets {
            api: listeners.api,
            webhooks: listeners.webhooks,
            ops: Some(listeners.ops),
        };
        let servers =
            http::start(context, sockets, http::Workers::default()).map_err(AppError::Http)?;
        Ok(Self {
            config: live,
            learning: learn(&ledger, &dispatch),
            store,
            dispatch,
            engine,
            servers,
            ledger,
            drain,
            prepared: Some(prepared),
        })
    }

    /// Ends when a database that was down at the start is up, and cannot be used.
    pub async fn failed(&mut self) -> AppError {
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

    /// The configuration in use.
    pub fn config(&self) -> Live {
        self.config.clone()
    }

    /// Withdraws readiness, and goes on for as long as balancers may need to notice.
    pub async fn withdraw(&self) {
        self.servers.withdraw();
        tokio::time::sleep(self.config.now().serve.shutdown_delay).await;
    }

    /// Stops: readiness goes off, nothing new is taken, what is not yet sent is handed back; at once
    /// when no submit is on the wire, else when those are answered, at most the drain timeout.
    pub async fn stop(mut self) {
        self.dispatch.stop();
        let drained = async {
            if let Some(engine) = self.engine.take() {
                engine.stopped(READ_PATIENCE).await;
            }
            self.dispatch.drained().await;
            self.servers.stop(true).await;
        };
        if tokio::time::timeout(self.drain, drained).await.is_err() {
            tracing::warn!(
                submits = self.dispatch.on_the_wire(),
                "the drain timeout is over; the leases of what is on the wire will end"
            );
        }
        self.servers.stop_ops().await;
        let shared = async {
            let _ = (&mut self.learning).await;
            self.ledger.share_learning().await;
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), shared).await;
        self.learning.abort();
        let _ = tokio::time::timeout(Duration::from_secs(1), self.store.close()).await;
    }
}

/// In every role: whoever hears of an end learns from it, and whoever plans a look needs it.
fn learn(ledger: &Ledger, dispatch: &Dispatch) -> JoinHandle<()> {
    let (ledger, dispatch) = (ledger.clone(), dispatch.clone());
    tokio::spawn(async move { ledger.keep_learning(dispatch.stopping()).await })
}

/// Looks at what leads to the database, and says what is unwise about it.
async fn way(store: &Store) -> Result<(), PoolerError> {
    if store.sessions().await? == (Sessions::Shared { by_index: false }) {
        tracing::warn!(
            "database.url leads through a pooler that shares connections, and the database role may \
             read whole tables; run once: ALTER ROLE … SET enable_seqscan = off"
        );
    }
    Ok(())
}

/// The ids of the keys that are listed.
pub(crate) fn key_ids(config: &Config) -> Vec<String> {
    let keys = config.security.fingerprint_key.iter();
    keys.map(|key| key.id().to_owned()).collect()
}

/// The first key that something stored names and that is not listed.
pub(crate) async fn dropped_key(
    store: &Store,
    shops: &[String],
    listed: &[String],
) -> Result<Option<String>, StoreError> {
    let needed = keys_in_use(store, shops).await?;
    Ok(needed.into_iter().find(|key| !listed.contains(key)))
}

/// Fails when the way to the database cannot be used, or a key that it needs is gone.
async fn fits(store: &Store, shops: &[String], listed: &[String]) -> Result<(), AppError> {
    way(store).await?;
    match dropped_key(store, shops, listed).await? {
        Some(key) => Err(AppError::DroppedKey(key)),
        None => Ok(()),
    }
}

/// Looks at the database now, if that is possible, and prepares it as soon as it answers.
async fn begin_preparing(
    store: &Store,
    shops: Vec<String>,
    listed: Vec<String>,
) -> Result<JoinHandle<Result<(), AppError>>, AppError> {
    let known = match fits(store, &shops, &listed).await {
        Ok(()) => true,
        Err(AppError::Pooler(PoolerError::Store(_)) | AppError::Store(_)) => false,
        Err(unfit) => return Err(unfit),
    };
    Ok(tokio::spawn(prepare(store.clone(), shops, listed, known)))
}

/// Makes sure that each shop has its row, as soon as the database answers, and in a way that can be used.
async fn prepare(
    store: Store,
    shops: Vec<String>,
    listed: Vec<String>,
    mut known: bool,
) -> Result<(), AppError> {
    let step = async |known: &mut bool| -> Result<(), AppError> {
        if !*known {
            fits(&store, &shops, &listed).await?;
            *known = true;
        }
        Ok(controls::ensure(&store, &shops).await?)
    };
    loop {
        match step(&mut known).await {
            Ok(()) => break,
            Err(AppError::Pooler(PoolerError::Store(error)) | AppError::Store(error)) => {
                tracing::warn!(error = error.chain(), "the database does not answer yet");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(unfit) => return Err(unfit),
        }
    }
    // Evidence is worth more when the service itself cannot change it.
    if matches!(may_rewrite_evidence(&store).await, Ok(true)) {
        tracing::warn!(
            "this database role may change or remove evidence; docs/operations.md tells how to run \
             with one that may only add to it"
        );
    }
    Ok(())
}

/// What the ledger reads of the configuration.
pub fn ledger_settings(config: &Config) -> Settings {
    Settings {
        pace: Pace {
            first_check: config.follow.first_check,
            max_interval: config.follow.max_interval,
            max_interval_old: config.follow.max_interval_old,
            recheck_after_final: config.follow.recheck_after_final.clone(),
        },
        lease: config.follow.lease,
        clock_tolerance: config.follow.clock_tolerance,
        max_batch: MAX_BATCH,
    }
}
