//! A TCP relay in front of the gateway. While it is shut, connections are refused and existing ones
//! are closed; the gateway itself keeps running.

use crate::world::service::free;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A TCP relay.
pub struct Relay {
    address: SocketAddr,
    running: Mutex<Option<JoinHandle<()>>>,
    carried: Arc<AtomicU32>,
}

impl Relay {
    /// Reserves an address without listening.
    pub fn reserve() -> Self {
        Self {
            address: free().local_addr().expect("its address"),
            running: Mutex::new(None),
            carried: Arc::default(),
        }
    }

    /// Returns the relay's origin, with the given host name.
    pub fn base(&self, host: &str) -> String {
        format!("http://{host}:{}", self.address.port())
    }

    /// Returns the number of accepted connections.
    pub fn carried(&self) -> u32 {
        self.carried.load(Ordering::Relaxed)
    }

    /// Starts to relay to the gateway at this origin.
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

    /// Stops relaying and closes all connections.
    pub async fn shut(&self) {
        let task = self.running().take().expect("it is open");
        task.abort();
        let _ = task.await;
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
