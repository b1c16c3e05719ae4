//! Time limits for everything that is said to the database.
//!
//! A server that is gone answers nothing, and neither does a network that swallows packets: without
//! a limit of our own, one lost answer would hold a shop for ever. What ran into its limit may have
//! taken place. Its connection is closed and never used again.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use sqlx::pool::PoolConnectionMetadata;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions, PgQueryResult, PgRow, PgTypeInfo};
use sqlx::postgres::{PgStatement, Postgres};
use sqlx::{Connection, Either, Error, Execute, Executor, SqlStr};
use std::time::Duration;
use tokio::time::timeout;

/// How long a caller waits for a connection before the database counts as unavailable.
const ACQUIRE: Duration = Duration::from_secs(5);

/// How long a connection that is asked whether it lives may take.
pub(super) const PING: Duration = Duration::from_secs(2);

/// The pool's options: a connection is asked whether it lives when it is taken and when it is given
/// back, and does not get for ever to answer.
pub(super) fn pool_options(max_connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE)
        .test_before_acquire(false)
        .before_acquire(lives)
        .after_release(lives)
}

/// An error closes the connection hard, without a farewell that might hang as well.
fn lives(
    connection: &mut PgConnection,
    _: PoolConnectionMetadata,
) -> BoxFuture<'_, Result<bool, Error>> {
    Box::pin(async move { within(PING, connection.ping()).await.map(|()| true) })
}

/// Runs something that has so much time.
pub async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let kind = std::io::ErrorKind::TimedOut;
        let message = "the database did not answer in time";
        Err(Error::Io(std::io::Error::new(kind, message)))
    })
}

/// A pool each of whose statements has so much time, the wait for a connection included.
#[derive(Debug, Clone, Copy)]
pub struct Bounded<'p> {
    pub(super) pool: &'p PgPool,
    pub(super) limit: Duration,
}

impl<'p> Executor<'p> for Bounded<'p> {
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
            let all = self.pool.fetch_many(query).try_collect();
            let rows: Vec<Either<PgQueryResult, PgRow>> = within(self.limit, all).await?;
            Ok::<_, Error>(stream::iter(rows.into_iter().map(Ok)))
        };
        stream::once(rows).try_flatten().boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        'p: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(within(self.limit, self.pool.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        Box::pin(within(self.limit, self.pool.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        Box::pin(within(self.limit, self.pool.describe(sql)))
    }
}
