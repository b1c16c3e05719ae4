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

/// The longest time that the head of a request may take.
const HEAD: Duration = Duration::from_secs(5);
/// For how long the rest of an unread body is taken, so that the answer to it can be read.
const LINGER: Duration = Duration::from_secs(3);
/// The most connections of one worker.
const CONNECTIONS: u64 = 8_192;
/// So many open files are left for everything but listeners: the database, the gateway, subscribers,
/// the runtime itself.
const OTHER_FILES: u64 = 256;

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
    let share = Share::of(open_files());
    let serve = |socket: Option<TcpListener>, workers: usize, connections, kept, configure| {
        let size = (workers.max(1), connections, kept);
        socket
            .map(|socket| run(Arc::clone(&context), socket, size, configure))
            .transpose()
    };
    let api: Configure = routes::configure_api;
    let config = context.config.now();
    let kept = config.api.keep_alive;
    let api = serve(sockets.api, workers.api, share.work, kept, api)?;
    let hooks = routes::configure_webhooks;
    let kept = config.webhooks.keep_alive;
    let webhooks = serve(sockets.webhooks, workers.webhooks, share.work, kept, hooks)?;
    let (kept, probes) = (config.ops.keep_alive, routes::configure_ops);
    let ops = serve(sockets.ops, workers.ops, share.ops, kept, probes)?;
    Ok(Servers {
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
struct Share {
    /// The API, and the webhooks.
    work: u64,
    /// Probes and metrics.
    ops: u64,
}

impl Share {
    fn of(files: u64) -> Self {
        let ops = files / 16;
        let rest = files.saturating_sub(OTHER_FILES).saturating_sub(ops);
        Self {
            work: rest / 2,
            ops,
        }
    }
}

type Configure = fn(&mut web::ServiceConfig);

fn run(
    context: Arc<Context>,
    socket: TcpListener,
    (workers, connections, keep_alive): (usize, u64, Duration),
    configure: Configure,
) -> io::Result<Running> {
    let each = connections / u64::try_from(workers).unwrap_or(1);
    let each = usize::try_from(each.clamp(4, CONNECTIONS)).unwrap_or(4);
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
    .workers(workers)
    .max_connections(each)
    .keep_alive(keep_alive)
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
    /// Withdraws readiness; requests are still taken.
    pub fn withdraw(&self) {
        self.context.withdraw();
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_never_take_the_last_file() {
        for files in [0, 100, 600, 1_024, 20_000, 1 << 30] {
            let Share { work, ops } = Share::of(files);
            let taken = 2 * work + ops + OTHER_FILES;
            assert!(taken <= files || work == 0, "{files}: {work} and {ops}");
        }
        let enough = Share::of(1 << 16);
        assert!(enough.work / 2 > CONNECTIONS && enough.ops > 4_000);
    }
}
