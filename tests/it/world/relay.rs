//! The way to the gateway, which can be shut: then connections are refused, and those that there
//! were are cut, while the gateway itself lives on.

use crate::world::service::free;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A relay of bytes.
pub struct Relay {
    address: SocketAddr,
    running: Mutex<Option<JoinHandle<()>>>,
    carried: Arc<AtomicU32>,
}

impl Relay {
    /// An address where nobody listens yet.
    pub fn reserve() -> Self {
        Self {
            address: free().local_addr().expect("its address"),
            running: Mutex::new(None),
            carried: Arc::default(),
        }
    }

    /// The origin that leads here, by this name of the machine.
    pub fn base(&self, host: &str) -> String {
        format!("http://{host}:{}", self.address.port())
    }

    /// How many connections have come.
    pub fn carried(&self) -> u32 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Opens the way to the gateway at this origin.
    pub async fn open(&self, origin: &str) {
        let upstream = origin.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind(self.address).await.expect("its port");
        let carried = Arc::clone(&self.carried);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                carried.fetch_add(1, Ordering::Relaxed);
                let upstream = upstream.clone();
                connections.spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(upstream).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
                while connections.try_join_next().is_some() {}
            }
        });
        *self.running() = Some(task);
    }

    /// Shuts it, and cuts what is open.
    pub async fn shut(&self) {
        let task = self.running().take().expect("it is open");
        task.abort();
        let _ = task.await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
