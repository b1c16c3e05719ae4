//! A connection that a committer keeps while there is work.
//!
//! The pool hands out the connection that has rested longest: batch after batch would go through all
//! of them in turn, and each server process would read its plans and its catalogue into cold caches.

use super::bounded::PING;
use super::{STATEMENT, Store, StoreError, within};
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Postgres, Transaction};

/// A connection from one transaction to the next.
#[derive(Debug)]
pub struct Session {
    store: Store,
    held: Option<PoolConnection<Postgres>>,
}

impl Session {
    /// None is taken yet.
    pub fn new(store: Store) -> Self {
        Self { store, held: None }
    }

    /// Begins a transaction. A kept connection was in use a moment ago: whether it still lives shows by
    /// its answer. One that gives none is not kept by who calls [`Session::release`] after a failure, and
    /// nothing has been said in it that could be lost.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection can be had in time, or the kept one is gone.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, StoreError> {
        let (connection, patience) = match self.held.take() {
            Some(held) => (held, PING),
            None => (
                within(STATEMENT, self.store.pool.acquire()).await?,
                STATEMENT,
            ),
        };
        let connection = self.held.insert(connection);
        Ok(within(patience, connection.begin()).await?)
    }

    /// Gives the connection back, where the pool asks whether it still lives. To be called when there
    /// is nothing to do, and after every failure.
    pub fn release(&mut self) {
        self.held = None;
    }

    /// Gives the connection back when others wait for one.
    pub fn yield_to_others(&mut self) {
        let pool = &self.store.pool;
        if pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections() {
            self.release();
        }
    }
}
