//! The only place with SQL. One function per statement; each statement names itself in its first
//! comment and stays inside one shop.
//!
//! What it deliberately cannot do: decide anything. It knows rows and the words of the domain, and
//! nothing of the gateway or of HTTP.

mod attentive;
pub mod batch;
pub mod checks;
pub mod discrepancies;
pub mod earlier;
pub mod error;
pub mod feed;
pub mod hints;
pub mod history;
mod lent;
pub mod maintenance;
pub mod migrate;
pub mod pacing;
mod pinned_connection;
pub mod plan;
pub mod pooler;
pub mod read;
pub mod roles;
pub mod rows;
pub mod shop_controls;
mod standing;
pub mod subscribers;
mod timed_pool;
pub mod uids;
pub mod waiting;

pub use error::StoreError;
pub use pinned_connection::PinnedConnection;
pub use rows::{
    CheckRow, CheckWrite, DiscrepancyRow, EventWrite, EvidenceRow, EvidenceWrite, OrphanWrite,
    StoredTransaction,
};
pub use timed_pool::{TimedPool, within};

use crate::config::hosts;
use sqlx::postgres::{PgConnectOptions, PgPool, Postgres};
use sqlx::{Error, Executor, Transaction};
use standing::Standing;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A pool of connections to the one PostgreSQL.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    standing: Arc<Standing>,
    known_history: Arc<history::KnownHistory>,
}

/// How long a statement outside a batch may take.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a statement of a sweep may take: it may move a month of evidence.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(600);

/// The server's own limit for a statement: a little longer than ours, so that it is the last resort.
const SERVER_STATEMENT: Duration = Duration::from_secs(15);

/// How long the answer to COMMIT may take. After that its fate is sought.
const COMMITTING: Duration = Duration::from_secs(5);

/// What each connection is told first. Everything on a hot path is found by an index; a plan made while
/// a table was small would read it whole, and be kept while it grows. No statement waits for ever, also when
/// we are gone. Behind a pooler that shares connections it would be told to some of them, by chance; there
/// the server has to be told by itself.
const FIRST: &str = "-- first
    SET enable_seqscan = off; SET statement_timeout = '15s'; SET lock_timeout = '8s';
    SET idle_in_transaction_session_timeout = '30s'";

/// How the database stands, for a probe or a gauge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Writes were taken when it was last looked at, and nothing has spoken against it since.
    pub is_writable: bool,
    /// There are commits of unknown fate that no later one covers.
    pub is_unconfirmed: bool,
    /// How many waits were given up and cancelled at the server.
    pub given_up: u64,
}

impl Store {
    /// Prepares a pool. No connection is made yet, so that a database that is down at the start
    /// is like one that goes down later. One of the connections is reserved: it looks how the database stands,
    /// and cancels what is given up.
    pub fn connect_lazy(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let standing = Arc::new(Standing::new(options(url)?, false));
        let told = Arc::clone(&standing);
        let pool = timed_pool::pool_options(max_connections.saturating_sub(1).max(1))
            .after_connect(move |connection, _| {
                let is_shared = told.shared.load(Ordering::Relaxed);
                Box::pin(async move {
                    if !is_shared {
                        connection.execute(FIRST).await?;
                    }
                    Ok(())
                })
            });
        Ok(Self::with(pool, standing))
    }

    /// The same for a command of a person: nothing has a limit that the person does not set, and a database
    /// that takes no writes can be read.
    pub fn for_a_person(url: &str, max_connections: u32) -> Result<Self, StoreError> {
        let standing = Arc::new(Standing::new(options(url)?, true));
        let pool = timed_pool::pool_options(max_connections).after_connect(|connection, _| {
            Box::pin(async move {
                connection
                    .execute("-- first\nSET enable_seqscan = off")
                    .await?;
                Ok(())
            })
        });
        Ok(Self::with(pool, standing))
    }

    fn with(pool: sqlx::postgres::PgPoolOptions, standing: Arc<Standing>) -> Self {
        let pool = pool.connect_lazy_with(standing.first());
        let known_history = Arc::clone(&standing.history);
        Self {
            pool,
            standing,
            known_history,
        }
    }

    /// From here on nothing is set on a connection outside of a transaction.
    fn share_sessions(&self) {
        self.standing.shared.store(true, Ordering::Relaxed);
    }

    /// The pool, for statements outside a batch.
    pub fn pool(&self) -> TimedPool<'_> {
        TimedPool {
            store: self,
            limit: STATEMENT_TIMEOUT,
            is_slow: false,
        }
    }

    /// The pool, for the statements of slow sweeps.
    pub fn slow_pool(&self) -> TimedPool<'_> {
        TimedPool {
            store: self,
            limit: SWEEP_TIMEOUT,
            is_slow: true,
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

    /// Whether the database takes a write and confirms it.
    pub async fn write(&self) -> Result<(), StoreError> {
        let mut lent = self.lend().await?;
        standing::write(lent.session()?).await?;
        lent.finish();
        Ok(())
    }

    /// How the database stands.
    pub fn condition(&self) -> Condition {
        Condition {
            is_writable: self.standing.is_trusted(),
            is_unconfirmed: self.standing.is_unconfirmed(),
            given_up: self.standing.given_up(),
        }
    }

    /// Whether a session that is held may go on to be used.
    fn stands_well(&self) -> bool {
        self.standing.is_trusted() && !self.standing.is_unconfirmed()
    }

    /// Commits. An error means that it is not known whether it stands, unless it is about the data: a commit
    /// that broke off, or whose wait for the standby did, may stand on this server alone, and nothing is read
    /// until a later one has been confirmed.
    ///
    /// # Errors
    /// When it is not known to stand here and on its standby.
    pub async fn commit(&self, tx: Transaction<'_, Postgres>) -> Result<(), StoreError> {
        let doubts = self.standing.doubts();
        let committed = within(COMMITTING, attentive::attentive(tx.commit())).await;
        let committed = committed.map_err(StoreError::from);
        match committed {
            Ok(((), false)) if self.standing.doubts() == doubts => Ok(()),
            // What became doubtful meanwhile may be what this one has read.
            Ok(((), false)) => {
                self.standing.prove_apart(&self.pool).await?;
                Ok(())
            }
            Ok(((), true)) => {
                self.standing.doubt();
                let kind = std::io::ErrorKind::Other;
                let error = timed_pool::failure(kind, standing::UNCONFIRMED);
                Err(StoreError::Unavailable(error))
            }
            Err(error @ (StoreError::Data(_) | StoreError::Conflict(_))) => Err(error),
            Err(error) => {
                self.standing.doubt();
                Err(error)
            }
        }
    }

    /// Gives the connections back.
    pub async fn close(&self) {
        self.pool.close().await;
        self.standing.close().await;
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// What each host of an address is connected to with.
fn options(url: &str) -> Result<Vec<PgConnectOptions>, StoreError> {
    let urls = hosts(url).map_err(|error| StoreError::from(Error::Configuration(error.into())))?;
    let each = urls.iter().map(|url| {
        // PgBouncer refuses a connection that begins with a parameter it does not know, and no float
        // is ever read as text here.
        let options = PgConnectOptions::from_str(url)?;
        Ok(options
            .application_name(standing::NAME)
            .extra_float_digits(None))
    });
    each.collect::<Result<_, Error>>().map_err(StoreError::from)
}
