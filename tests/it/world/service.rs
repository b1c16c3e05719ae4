//! The service in the test's process, composed as `serve` does.

use reconciler::app::{App, Listeners, Roles};
use reconciler::config;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Listen addresses of a service.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// REST API, for internal services.
    pub api: SocketAddr,
    /// Webhooks, for the gateway.
    pub webhooks: SocketAddr,
    /// Metrics and health probes.
    pub ops: SocketAddr,
}

impl Addresses {
    /// Reserves free ports.
    pub fn reserve() -> Self {
        // All ports are bound before any is released, so that they differ.
        let bound = [free(), free(), free()];
        let [api, webhooks, ops] = bound.map(|port| port.local_addr().expect("its address"));
        Self { api, webhooks, ops }
    }
}

/// Returns a free loopback port from a range that outgoing connections do not use, so that it stays
/// free until it is used.
pub fn free() -> TcpListener {
    let some = u64::from(std::process::id()) << 16
        | NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    (0..)
        .map(|step: u64| 10_000 + u16::try_from((some * 7 + step) % 20_000).expect("a port"))
        .find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .expect("a free port")
}

static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A running service.
pub struct Service {
    app: App,
}

/// Timeout of a stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

impl Service {
    /// Loads the configuration with the real loader and starts the service.
    pub async fn start(text: &str, addresses: &Addresses) -> Self {
        let config = load(text);
        let bind = |at: SocketAddr| TcpListener::bind(at).expect("its port is free");
        let listeners = Listeners {
            api: Some(bind(addresses.api)),
            webhooks: Some(bind(addresses.webhooks)),
            ops: bind(addresses.ops),
        };
        let app = App::start(Arc::new(config), listeners, Roles::ALL, None).await;
        Self {
            app: app.expect("the service starts"),
        }
    }

    /// Stops the service like a SIGTERM.
    pub async fn stop(self) {
        tokio::time::timeout(STOP_TIMEOUT, self.app.stop())
            .await
            .expect("a stop does not hang");
    }
}

fn load(text: &str) -> config::Config {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, text).expect("a file");
    config::load(Some(&path), []).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}
