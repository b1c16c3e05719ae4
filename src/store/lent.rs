//! A session of the pool, lent for one statement or one transaction.
//!
//! Who gives up leaves a server process that goes on by itself: one that waits for its standby, or for a lock,
//! does not notice that nobody listens any more. Its place in the pool stays taken until the server says that
//! it has ended, so that there are never more of them than the pool is large.

use super::standing::{Process, Standing, is_read_only};
use super::timed_pool::{PING_TIMEOUT, within};
use super::{STATEMENT_TIMEOUT, Store};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, Postgres};
use sqlx::{Connection, Error};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

/// How long a caller waits for a session before the database counts as unavailable.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a session that was left in the middle may take to come to its end by itself.
const BY_ITSELF: Duration = Duration::from_secs(1);

/// How long a session is waited for that cannot be cancelled because the server cannot be asked.
const NOBODY_TO_ASK: Duration = Duration::from_secs(60);

/// A session of the pool.
#[derive(Debug)]
pub(super) struct Lent {
    store: Store,
    held: Option<PoolConnection<Postgres>>,
    /// The server's process; `None` while it is not known.
    process: Option<Process>,
    /// Whether it may not be used again: what comes next could be inside a transaction that nobody knows of.
    doubtful: bool,
}

impl Store {
    /// Lends a session that takes writes, and whose server confirms its commits.
    pub(super) async fn lend(&self) -> Result<Lent, Error> {
        let lending = async {
            loop {
                self.standing.refresh(&self.pool).await?;
                let held = self.pool.acquire().await;
                let held = held.inspect_err(|error| self.missed(error))?;
                let mut lent = Lent {
                    store: self.clone(),
                    held: Some(held),
                    process: None,
                    doubtful: false,
                };
                let Some(session) = lent.held.as_deref_mut() else {
                    return Err(Error::PoolClosed);
                };
                match self.standing.who(session).await {
                    Ok(process) => {
                        lent.process = Some(process);
                        self.standing.prove(lent.session()?).await?;
                        return Ok(lent);
                    }
                    Err(error) => {
                        lent.close_hard().await;
                        if is_read_only(&error) {
                            self.standing.distrust(true);
                            self.empty().await;
                        }
                    }
                }
            }
        };
        within(ACQUIRE_TIMEOUT, Box::pin(lending)).await
    }

    /// No session could be had. A pool that is used up says nothing about the server.
    fn missed(&self, error: &Error) {
        let is_used_up = self.pool.size() >= self.pool.options().get_max_connections();
        if !matches!(error, Error::PoolClosed) && !is_used_up {
            self.standing.distrust(false);
        }
    }

    /// Closes all sessions that rest: they are at the same server.
    async fn empty(&self) {
        while let Some(held) = self.pool.try_acquire() {
            let _ = within(PING_TIMEOUT, held.detach().close_hard()).await;
        }
    }
}

impl Lent {
    /// The session.
    pub(super) fn session(&mut self) -> Result<&mut PgConnection, Error> {
        self.held.as_deref_mut().ok_or(Error::PoolClosed)
    }

    /// All that was asked has been answered.
    pub(super) fn finish(mut self) {
        drop(self.held.take());
    }

    /// What comes next could be inside a transaction that nobody knows of.
    pub(super) fn set_doubtful(&mut self, doubtful: bool) {
        self.doubtful = doubtful;
    }

    async fn close_hard(mut self) {
        if let Some(held) = self.held.take() {
            let _ = within(PING_TIMEOUT, held.detach().close_hard()).await;
        }
    }
}

impl Drop for Lent {
    /// Whoever had it did not say how it ended.
    fn drop(&mut self) {
        if let (Some(held), Ok(runtime)) = (self.held.take(), Handle::try_current()) {
            let (pool, standing) = (self.store.pool.clone(), Arc::clone(&self.store.standing));
            runtime.spawn(finish(pool, standing, held, self.process, self.doubtful));
        }
    }
}

/// Brings a session that was left in the middle to an end: by itself, or by a word to its server.
async fn finish(
    pool: PgPool,
    standing: Arc<Standing>,
    mut held: PoolConnection<Postgres>,
    process: Option<Process>,
    doubtful: bool,
) {
    if within(BY_ITSELF, held.ping()).await.is_ok() {
        if doubtful {
            let _ = within(PING_TIMEOUT, held.close()).await;
        }
        return;
    }
    let is_ours = !standing.shared.load(Ordering::Relaxed);
    if let Some(process) = process.filter(|_| is_ours) {
        standing.give_up();
        ended(&pool, &standing, &mut held, process).await;
    }
    let _ = within(PING_TIMEOUT, held.detach().close_hard()).await;
}

/// Waits until a session has ended, and sees to it.
async fn ended(
    pool: &PgPool,
    standing: &Standing,
    held: &mut PoolConnection<Postgres>,
    process: Process,
) {
    let since = Instant::now();
    for round in 0_u32.. {
        let asked = standing.cancel(pool, process, round > 1).await;
        match asked {
            Ok(false) => return,
            // It answers, or its connection is broken and the server will tell that it is gone.
            Ok(true) if within(PING_TIMEOUT / 4, held.ping()).await.is_ok() => return,
            Ok(true) => sleep(Duration::from_millis(100)).await,
            Err(_) if since.elapsed() > NOBODY_TO_ASK => return,
            Err(_) => {
                // The server may be gone, and another one the right one.
                standing.distrust(false);
                sleep(Duration::from_millis(500)).await;
            }
        }
        if since.elapsed() > NOBODY_TO_ASK + STATEMENT_TIMEOUT {
            return;
        }
    }
}
