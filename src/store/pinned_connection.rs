//! A connection that a committer keeps while there is work.
//!
//! The pool hands out the connection that has rested longest: batch after batch would go through all
//! of them in turn, and each server process would read its plans and its catalogue into cold caches.

use super::lent::Lent;
use super::timed_pool::PING_TIMEOUT;
use super::{STATEMENT_TIMEOUT, Store, StoreError, within};
use sqlx::{Connection, Postgres, Transaction};

/// A connection from one transaction to the next.
#[derive(Debug)]
pub struct PinnedConnection {
    store: Store,
    held: Option<Lent>,
    /// BEGIN was said and not answered: what comes next on this connection could be inside a transaction
    /// that nobody knows of.
    doubtful: bool,
}

impl PinnedConnection {
    /// None is taken yet.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            held: None,
            doubtful: false,
        }
    }

    /// Begins a transaction. A kept connection was in use within a second or so: whether it still lives shows by
    /// its answer. Nothing has been said in it that could be lost.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when no connection can be had in time, or the kept one is gone.
    pub async fn begin(&mut self) -> Result<Transaction<'_, Postgres>, StoreError> {
        // While a commit is of unknown fate no session is used that has not shown otherwise.
        if !self.store.stands_well() {
            self.release();
        }
        let (lent, patience) = match self.held.take() {
            Some(held) => (held, PING_TIMEOUT),
            None => (self.store.lend().await?, STATEMENT_TIMEOUT),
        };
        self.doubtful = true;
        let begun = self.held.insert(lent).session()?.begin();
        let begun = within(patience, begun).await?;
        self.doubtful = false;
        Ok(begun)
    }

    /// Gives the connection back, where it is asked whether it still lives; one that has not answered
    /// to BEGIN is closed. To be called when there is nothing to do, and after every failure.
    pub fn release(&mut self) {
        if let Some(mut held) = self.held.take() {
            held.set_doubtful(self.doubtful);
        }
        self.doubtful = false;
    }

    /// Gives the connection back when others wait for one, or for the end.
    pub fn release_if_contended(&mut self) {
        let pool = &self.store.pool;
        let is_wanted = pool.num_idle() == 0 && pool.size() >= pool.options().get_max_connections();
        if is_wanted || pool.is_closed() {
            self.release();
        }
    }
}

impl Drop for PinnedConnection {
    fn drop(&mut self) {
        self.release();
    }
}
