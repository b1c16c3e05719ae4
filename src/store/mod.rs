//! The only place with SQL. One function per statement; each statement names itself in its first
//! comment and stays inside one shop.
//!
//! What it deliberately cannot do: decide anything. It knows rows and the words of the domain, and
//! nothing of the gateway or of HTTP.

pub mod batch;
mod bounded;
pub mod checks;
pub mod controls;
pub mod discrepancies;
pub mod earlier;
pub mod error;
pub mod feed;
pub mod hints;
pub mod migrate;
pub mod pacing;
pub mod pooler;
pub mod read;
pub mod roles;
pub mod rows;
mod session;
pub mod subscribers;
pub mod sweeps;
pub mod uids;
pub mod waiting;

pub use bounded::{Bounded, within};
pub use error::StoreError;
pub use rows::{
    CheckRow, CheckWrite, DiscrepancyRow, EventWrite, EvidenceRow, EvidenceWrite, OrphanWrite,
    StoredTransaction,
};
pub use session::Session;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgPool};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A pool of connections to the one PostgreSQL.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    /// Whether a pooler shares the server's connections: nothing may be set on them then.
    shared: Arc<AtomicBool>,
}

/// How long a statement outside a batch may take.
const STATEMENT: Duration = Duration::from_secs(10);

/// How long a statement of a sweep may take: it may move a month of evidence.
const SWEEP: Duration = Duration::from_secs(600);

/// What each connection is told first. Everything on a hot path is found by an index; a plan made while
/// a table was small would read it whole, and be kept while it grows. Behind a pooler that shares
/// connections it would be told to some of them, by chance; there the server has to be told by itself.
const BY_INDEX: &str = "SET enable_seqscan = off";

impl Store {
    /// Prepares a pool. No connection is made yet, so that a database that is down at the start
    /// is like one that goes down later.
    pub fn connect_lazy(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        // PgBouncer refuses a connection that begins with a parameter it does not know, and no float
        // is ever read as text here.
        let options = PgConnectOptions::from_str(url)?
            .application_name("reconciler")
            .extra_float_digits(None);
        let shared = Arc::new(AtomicBool::new(false));
        let is_shared = Arc::clone(&shared);
        let pool = bounded::pool_options(max_connections)
            .after_connect(move |connection, _| {
                let is_shared = is_shared.load(Ordering::Relaxed);
                Box::pin(async move {
                    if !is_shared {
                        connection.execute(BY_INDEX).await?;
                    }
                    Ok(())
                })
            })
            .connect_lazy_with(options);
        Ok(Self { pool, shared })
    }

    /// From here on nothing is set on a connection outside of a transaction.
    fn share_sessions(&self) {
        self.shared.store(true, Ordering::Relaxed);
    }

    /// The pool, for statements outside a batch.
    pub fn pool(&self) -> Bounded<'_> {
        Bounded {
            pool: &self.pool,
            limit: STATEMENT,
        }
    }

    /// The pool, for the statements of slow sweeps.
    pub fn slow_pool(&self) -> Bounded<'_> {
        Bounded {
            pool: &self.pool,
            limit: SWEEP,
        }
    }

    /// The pool without a limit, for what a person started and can end.
    pub fn unbounded_pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("-- ping\nSELECT 1 AS one")
            .fetch_one(self.pool())
            .await?;
        Ok(())
    }

    /// Gives the connections back.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}
