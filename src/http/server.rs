//! The three listeners, and how they stop.
//!
//! Sockets are bound by the caller, so that an address in use is found before anything starts and
//! a test can take any free port. Signals are the caller's business as well.

use crate::config::Limits;
use crate::http::access_log::observe;
use crate::http::connection::{LINGER_TIMEOUT, Stream};
use crate::http::context::HttpContext;
use crate::http::listener::Listener;
use actix_http::error::DispatchError;
use actix_http::{Extensions, HttpService, KeepAlive, Response};
use actix_server::{ServerBuilder, ServerHandle};
use actix_service::{IntoServiceFactory, ServiceFactoryExt, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::{App, Error, web};
use std::future::ready;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// The most connections of one worker.
const MAX_CONNECTIONS_PER_WORKER: u64 = 8_192;
/// What the system keeps of answers that are not read yet, for each connection. It doubles it for itself.
const SEND_BUFFER: usize = 64 * 1024;
/// The bytes of heads that the operations listener keeps.
const PROBES: usize = 8 * 1024 * 1024;
/// So many open files are left for everything but listeners: the database, the gateway, subscribers,
/// the runtime itself.
const RESERVED_FILE_DESCRIPTORS: u64 = 256;

/// What to listen on. A listener that is left out is not served by this process.
#[derive(Debug, Default)]
pub struct ListenerSockets {
    /// The REST API.
    pub api: Option<TcpListener>,
    /// The gateway's webhooks.
    pub webhooks: Option<TcpListener>,
    /// Probes and metrics.
    pub ops: Option<TcpListener>,
}

/// How many threads serve each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerCounts {
    /// The REST API.
    pub api: usize,
    /// The gateway's webhooks.
    pub webhooks: usize,
    /// Probes and metrics.
    pub ops: usize,
}

impl Default for WorkerCounts {
    fn default() -> Self {
        Self {
            api: 2,
            webhooks: 2,
            ops: 1,
        }
    }
}

/// Registers the routes of one listener, with the context that its handlers need. Called once for
/// each worker.
pub type Configure = Arc<dyn Fn(&mut web::ServiceConfig) + Send + Sync>;

/// The routes of each listener.
pub struct Routes {
    /// The REST API.
    pub api: Configure,
    /// The gateway's webhooks.
    pub webhooks: Configure,
    /// Probes and metrics.
    pub ops: Configure,
}

/// The running listeners.
pub struct RunningServers {
    context: Arc<HttpContext>,
    work: Vec<Running>,
    ops: Option<Running>,
}

struct Running {
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

/// Starts to serve. Must be called inside the runtime that is to drive the listeners.
pub fn start(
    context: Arc<HttpContext>,
    sockets: ListenerSockets,
    workers: WorkerCounts,
    routes: Routes,
) -> io::Result<RunningServers> {
    let share = ConnectionShares::of(open_files());
    let config = context.config.current();
    let serve = |socket: Option<TcpListener>, plan: Plan| {
        let context = Arc::clone(&context);
        socket.map(|socket| run(context, socket, plan)).transpose()
    };
    let api = Plan {
        name: "api",
        workers: workers.api,
        connections: share.work,
        keep_alive: config.api.keep_alive,
        limits: config.api.limits.clone(),
        configure: routes.api,
    };
    let webhooks = Plan {
        name: "webhooks",
        workers: workers.webhooks,
        connections: share.work,
        keep_alive: config.webhooks.keep_alive,
        limits: config.webhooks.limits.clone(),
        configure: routes.webhooks,
    };
    // Probes have no body to speak of, and come from few addresses.
    let limits = Limits {
        max_connections_per_peer: u32::MAX,
        trusted_proxies: Vec::new(),
        max_body_total: PROBES,
    };
    let ops = Plan {
        name: "ops",
        workers: workers.ops,
        connections: share.ops,
        keep_alive: config.ops.keep_alive,
        limits,
        configure: routes.ops,
    };
    let api = serve(sockets.api, api)?;
    let webhooks = serve(sockets.webhooks, webhooks)?;
    let ops = serve(sockets.ops, ops)?;
    Ok(RunningServers {
        context,
        work: api.into_iter().chain(webhooks).collect(),
        ops,
    })
}

/// How many files this process may have open, with the limit raised as far as it may raise it itself.
fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Where it may not be raised, what there is is shared.
    let raised = setrlimit(Resource::Nofile, raised).map_or(limit, |()| raised);
    raised.current.unwrap_or(u64::MAX)
}

/// How many connections each listener may have. Together they never take the last file: a process that
/// has none left accepts nobody, and whoever fills the API would silence the probes.
#[derive(Debug, PartialEq, Eq)]
struct ConnectionShares {
    /// The API, and the webhooks.
    work: u64,
    /// Probes and metrics.
    ops: u64,
}

impl ConnectionShares {
    fn of(files: u64) -> Self {
        let ops = files / 16;
        let rest = files
            .saturating_sub(RESERVED_FILE_DESCRIPTORS)
            .saturating_sub(ops);
        Self {
            work: rest / 2,
            ops,
        }
    }
}

/// What one listener is started with.
struct Plan {
    name: &'static str,
    workers: usize,
    connections: u64,
    keep_alive: Duration,
    limits: Limits,
    configure: Configure,
}

fn run(context: Arc<HttpContext>, socket: TcpListener, plan: Plan) -> io::Result<Running> {
    let workers = plan.workers.max(1);
    let each = plan.connections / u64::try_from(workers).unwrap_or(1);
    let each = usize::try_from(each.clamp(4, MAX_CONNECTIONS_PER_WORKER)).unwrap_or(4);
    // Whole seconds, rounded up, since the server knows no others.
    let drain = context.config.current().serve.drain_timeout;
    let drain = drain.as_secs() + u64::from(drain.subsec_nanos() > 0);
    let listener = Arc::new(Listener::new(
        plan.name,
        each * workers,
        plan.keep_alive,
        &plan.limits,
        Arc::clone(&context.metrics),
    ));
    let (data, configure) = (web::Data::from(context), plan.configure);
    let builder = ServerBuilder::new();
    let leaving = builder.graceful_shutdown_signal();
    let server = builder
        .workers(workers)
        .max_concurrent_connections(each)
        .shutdown_timeout(drain)
        .disable_signals()
        .listen(plan.name, socket, move || {
            let (listener, leaving) = (Arc::clone(&listener), leaving.clone());
            let configure = Arc::clone(&configure);
            let app = App::new()
                .app_data(data.clone())
                .wrap(from_fn(observe))
                .configure(|service| configure(service));
            let app = app
                .into_factory()
                .map_err(|error: Error| Response::from(error));
            // The stream has all deadlines but that of the last farewell.
            let http = HttpService::build()
                .keep_alive(KeepAlive::Os)
                .client_request_timeout(Duration::ZERO)
                .client_disconnect_timeout(LINGER_TIMEOUT)
                .graceful_shutdown_signal(move || {
                    let leaving = leaving.clone();
                    async move { leaving.notified().await }
                })
                .on_connect_ext(|stream: &Stream<TcpStream>, data: &mut Extensions| {
                    data.insert(Rc::clone(stream.connection()));
                })
                .h1(map_config(app, |()| AppConfig::default()));
            fn_service(move |io: TcpStream| ready(enter(&listener, io))).and_then(http)
        })?
        .run();
    Ok(Running {
        handle: server.handle(),
        task: tokio::spawn(server),
    })
}

/// Takes a connection in, unless its peer has as many as it may.
fn enter(
    listener: &Arc<Listener>,
    io: TcpStream,
) -> Result<(Stream<TcpStream>, Option<SocketAddr>), DispatchError> {
    let from = io.peer_addr()?;
    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
    let place = listener.enter(from).ok_or_else(refused)?;
    // The system tells of room in lumps of a third: a reader that keeps up is seen to. Where it cannot be set, a slow
    // reader has less patience.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(&io, SEND_BUFFER);
    Ok((Stream::new(io, Arc::clone(listener), place), Some(from)))
}

impl RunningServers {
    /// Withdraws readiness; requests are still taken.
    pub fn withdraw(&self) {
        self.context.withdraw();
    }

    /// Stops to take requests and webhooks. Gracefully, those in hand are answered first, for
    /// `serve.drain_timeout` at most; idle connections are closed at once. Probes and metrics go on.
    pub async fn stop(&mut self, graceful: bool) {
        self.context.start_draining();
        let work = std::mem::take(&mut self.work);
        futures_util::future::join_all(work.into_iter().map(|one| one.stop(graceful))).await;
    }

    /// Stops the operations listener, the last one.
    pub async fn stop_ops(&mut self) {
        if let Some(ops) = self.ops.take() {
            ops.stop(false).await;
        }
    }

    /// Ends when a listener has ended by itself, which is a failure of the process.
    pub async fn ended(&mut self) -> io::Error {
        let tasks = self
            .work
            .iter_mut()
            .chain(&mut self.ops)
            .map(|one| &mut one.task);
        let tasks: Vec<_> = tasks.collect();
        if tasks.is_empty() {
            return std::future::pending().await;
        }
        let (ended, _, _) = futures_util::future::select_all(tasks).await;
        match ended {
            Ok(Ok(())) => io::Error::other("a listener ended"),
            Ok(Err(error)) => error,
            Err(error) => io::Error::other(error),
        }
    }
}

impl Running {
    async fn stop(self, graceful: bool) {
        self.handle.stop(graceful).await;
        if let Err(error) = self.task.await {
            tracing::error!(error = %error, "a listener broke off");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_leave_file_descriptors_for_the_rest() {
        for files in [0, 100, 600, 1_024, 20_000, 1 << 30] {
            let ConnectionShares { work, ops } = ConnectionShares::of(files);
            let taken = 2 * work + ops + RESERVED_FILE_DESCRIPTORS;
            assert!(taken <= files || work == 0, "{files}: {work} and {ops}");
        }
        let enough = ConnectionShares::of(1 << 16);
        assert!(enough.work / 2 > MAX_CONNECTIONS_PER_WORKER && enough.ops > 4_000);
    }
}
