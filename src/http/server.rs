//! The three listeners, and how they stop.
//!
//! Sockets are bound by the caller, so that an address in use is found before anything starts and
//! a test can take any free port. Signals are the caller's business as well.

use crate::http::context::Context;
use crate::http::observe::observe;
use crate::http::routes;
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpServer, web};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// For how long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The longest time that the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// For how long the rest of an unread body is taken, so that the answer to it can be read.
const LINGER: Duration = Duration::from_secs(3);
/// The most connections of one worker.
const CONNECTIONS: usize = 8_192;

/// What to listen on. A listener that is left out is not served by this process.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The REST API.
    pub api: Option<TcpListener>,
    /// The gateway's webhooks.
    pub webhooks: Option<TcpListener>,
    /// Probes and metrics.
    pub ops: Option<TcpListener>,
}

/// How many threads serve each listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workers {
    /// The REST API.
    pub api: usize,
    /// The gateway's webhooks.
    pub webhooks: usize,
    /// Probes and metrics.
    pub ops: usize,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            api: 2,
            webhooks: 2,
            ops: 1,
        }
    }
}

/// The running listeners.
pub struct Servers {
    context: Arc<Context>,
    work: Vec<Running>,
    ops: Option<Running>,
}

struct Running {
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

/// Starts to serve. Must be called inside the runtime that is to drive the listeners.
pub fn start(context: Arc<Context>, sockets: Sockets, workers: Workers) -> io::Result<Servers> {
    let serve = |socket: Option<TcpListener>, workers, configure| {
        socket
            .map(|socket| run(Arc::clone(&context), socket, workers, configure))
            .transpose()
    };
    let api = serve(sockets.api, workers.api, routes::configure_api as Configure)?;
    let webhooks = serve(
        sockets.webhooks,
        workers.webhooks,
        routes::configure_webhooks,
    )?;
    let ops = serve(sockets.ops, workers.ops, routes::configure_ops)?;
    Ok(Servers {
        context,
        work: api.into_iter().chain(webhooks).collect(),
        ops,
    })
}

type Configure = fn(&mut web::ServiceConfig);

fn run(
    context: Arc<Context>,
    socket: TcpListener,
    workers: usize,
    configure: Configure,
) -> io::Result<Running> {
    // Whole seconds, rounded up, since the server knows no others.
    let drain = context.config.now().serve.drain_timeout;
    let drain = drain.as_secs() + u64::from(drain.subsec_nanos() > 0);
    let data = web::Data::from(context);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(data.clone())
            .wrap(from_fn(observe))
            .configure(configure)
    })
    .workers(workers.max(1))
    .max_connections(CONNECTIONS)
    .keep_alive(KEEP_ALIVE)
    .client_request_timeout(HEAD)
    .client_disconnect_timeout(LINGER)
    .shutdown_timeout(drain)
    .disable_signals()
    .listen(socket)?
    .run();
    Ok(Running {
        handle: server.handle(),
        task: tokio::spawn(server),
    })
}

impl Servers {
    /// Stops to take requests and webhooks. Gracefully, those in hand are answered first, for
    /// `serve.drain_timeout` at most; idle connections are closed at once. Probes and metrics go on.
    pub async fn stop(&mut self, graceful: bool) {
        self.context.drain();
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
