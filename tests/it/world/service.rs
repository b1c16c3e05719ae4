//! The service inside the test's process, put together as `serve` does it.

use reconciler::app::{App, Listeners, Roles};
use reconciler::config;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Where a service listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    /// For internal services.
    pub api: SocketAddr,
    /// For the gateway.
    pub webhooks: SocketAddr,
    /// For Prometheus and probes.
    pub ops: SocketAddr,
}

impl Addresses {
    /// Ports that are free now.
    pub fn reserve() -> Self {
        // All are bound before any is given up, so that they differ.
        let bound = [free(), free(), free()];
        let [api, webhooks, ops] = bound.map(|port| port.local_addr().expect("its address"));
        Self { api, webhooks, ops }
    }
}

/// A free loopback port, from a range that outgoing connections do not use, so that it stays free
/// between being found and being used.
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

/// A stop that takes longer hangs.
const STOP: Duration = Duration::from_secs(20);

impl Service {
    /// Reads the configuration with the real loader, and starts everything.
    pub async fn start(text: &str, addresses: &Addresses) -> Self {
        let config = load(text);
        let bind = |at: SocketAddr| TcpListener::bind(at).expect("its port is free");
        let listeners = Listeners {
            api: Some(bind(addresses.api)),
            webhooks: Some(bind(addresses.webhooks)),
            ops: bind(addresses.ops),
        };
        let app = App::start(Arc::new(config), listeners, Roles::ALL, false).await;
        Self {
            app: app.expect("the service starts"),
        }
    }

    /// Stops it as a SIGTERM would.
    pub async fn stop(self) {
        tokio::time::timeout(STOP, self.app.stop())
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
