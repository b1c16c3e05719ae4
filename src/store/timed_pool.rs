//! Time limits for everything that is said to the database.
//!
//! A server that is gone answers nothing, and neither does a network that swallows packets: without
//! a limit of our own, one lost answer would hold a shop for ever. What ran into its limit may have
//! taken place. Its connection is closed and never used again.

use super::Store;
use super::attentive::attentive;
use super::lent::Lent;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::postgres::{PgConnection, PgPoolOptions, PgQueryResult, PgRow, PgTypeInfo};
use sqlx::postgres::{PgStatement, Postgres};
use sqlx::{Either, Error, Execute, Executor, SqlStr};
use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How long the pool itself waits for a session: less than who takes one through it, so that it is noticed that
/// none can be had.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a connection that is asked whether it lives may take.
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// The pool's options. Whether a session lives is asked by who takes it.
pub(super) fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
}

/// An error of our own about the way to the database.
pub(super) fn failure(kind: ErrorKind, text: impl Into<String>) -> Error {
    Error::Io(std::io::Error::new(kind, text.into()))
}

/// Runs something that has so much time.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let silence = || {
        Err(failure(
            ErrorKind::TimedOut,
            "the database did not answer in time",
        ))
    };
    timeout(limit, work).await.unwrap_or_else(|_| silence())
}

/// A pool each of whose statements has so much time, the wait for a connection included.
#[derive(Debug, Clone, Copy)]
pub struct TimedPool<'p> {
    pub(super) store: &'p Store,
    pub(super) limit: Duration,
    /// The server's own limit is set for what is slow, and set back.
    pub(super) is_slow: bool,
}

impl TimedPool<'_> {
    /// Lends a session, and does with it what has so much time.
    async fn with<T>(
        self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let done = async {
            let mut lent = self.store.lend().await?;
            let is_told = self.is_slow && !self.store.standing.shared.load(Ordering::Relaxed);
            if is_told {
                patience(&mut lent, self.limit).await?;
                // Until it is set back it is no session for anybody else.
                lent.set_doubtful(true);
            }
            let (done, warned) = attentive(work(lent.session()?)).await?;
            if warned {
                // It may have been a write whose wait for the standby was cancelled.
                self.store.standing.doubt();
            }
            // A commit that became doubtful meanwhile may be among what was read.
            self.store.standing.prove(lent.session()?).await?;
            if is_told {
                patience(&mut lent, super::SERVER_STATEMENT).await?;
                lent.set_doubtful(false);
            }
            lent.finish();
            Ok(done)
        };
        within(self.limit, done).await
    }
}

/// How long the server itself lets a statement of this session take.
async fn patience(lent: &mut Lent, limit: Duration) -> Result<(), Error> {
    let told = format!("-- patience\nSET statement_timeout = {}", limit.as_millis());
    let told = sqlx::raw_sql(sqlx::AssertSqlSafe(told));
    lent.session()?.execute(told).await.map(drop)
}

impl<'p> Executor<'p> for TimedPool<'p> {
    type Database = Postgres;

    // The rows are collected first: the limit is for all of them together.
    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let rows = async move {
            let all = async |session: &mut PgConnection| {
                session.fetch_many(query).try_collect::<Vec<_>>().await
            };
            let rows = self.with(all).await?;
            Ok::<_, Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(self.with(async |session: &mut PgConnection| session.fetch_optional(query).await))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let prepare =
            async |session: &mut PgConnection| session.prepare_with(sql, parameters).await;
        Box::pin(self.with(prepare))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(self.with(async |session: &mut PgConnection| session.describe(sql).await))
    }
}
