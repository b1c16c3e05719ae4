//! What stands between the service and PostgreSQL, told by how it behaves: a pooler that shares the
//! server's connections has no version that could be asked for by its clients.
//!
//! Statements are prepared once and run by name. A pooler that lends another connection for each
//! transaction has to carry those names along; one that does not fails most requests, some of them
//! in the middle of a payment, so that it is found out before the first.

use crate::store::{Store, StoreError, within};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Error, Row};
use std::time::Duration;
use uuid::Uuid;

/// Whose the server's connections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolingMode {
    /// Each of our connections has one of the server's for itself.
    Own,
    /// A pooler lends them, one transaction at a time, and keeps prepared statements.
    Shared {
        /// Whether the server has been told by itself to plan by index.
        by_index: bool,
    },
}

/// Why the way to the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PoolerError {
    /// It is not known yet.
    #[error("the database cannot be asked")]
    Store(#[from] StoreError),
    /// Another connection for each transaction, and no prepared statements on it.
    #[error(
        "database.url leads through a pooler that lends a connection for one transaction and does not \
         keep prepared statements; take PgBouncer 1.21 or newer and set max_prepared_statements = 200, \
         or set pool_mode = session"
    )]
    NoPreparedStatements(#[source] Error),
    /// Another connection for each statement.
    #[error(
        "database.url leads through a pooler that refuses transactions; set pool_mode = transaction \
         and max_prepared_statements = 200 (PgBouncer 1.21 or newer), or pool_mode = session"
    )]
    NoTransactions(#[source] Error),
}

/// How long the way is looked at.
const POOLER_CHECK_TIMEOUT: Duration = Duration::from_secs(3);

/// How often two connections try to meet on one of the server's. PgBouncer lends first what was given
/// back last, so that once is enough as long as nobody else takes it in between.
const MAX_CHECK_ROUNDS: usize = 8;

impl Store {
    /// Finds out whose the server's connections are, and whether statements can be prepared on them.
    pub async fn sessions(&self) -> Result<PoolingMode, PoolerError> {
        self.standing
            .refresh(&self.pool)
            .await
            .map_err(StoreError::from)?;
        let options = self.pool.connect_options();
        // Without a memory of its own a connection forgets names by itself, and would tell nothing.
        let options = (*options).clone().statement_cache_capacity(16);
        let looked = within(POOLER_CHECK_TIMEOUT, async { Ok(inspect(&options).await) }).await;
        let sessions = looked.map_err(StoreError::from)??;
        if sessions != PoolingMode::Own {
            self.share_sessions();
        }
        Ok(sessions)
    }
}

/// One connection prepares a statement; another takes what the first had, if it can be taken, and
/// prepares the same under the same name.
async fn inspect(options: &PgConnectOptions) -> Result<PoolingMode, PoolerError> {
    let connect = async || PgConnection::connect_with(options).await;
    let mut first = connect().await.map_err(StoreError::from)?;
    let mut second = connect().await.map_err(StoreError::from)?;
    let mut sessions = PoolingMode::Own;
    for _ in 0..MAX_CHECK_ROUNDS {
        let place = prepared(&mut first).await?;
        if begin(&mut second).await? == place {
            prepared(&mut second).await?;
            let by_index = plans_by_index(&mut second).await?;
            sessions = PoolingMode::Shared { by_index };
        }
        simple(&mut second, "ROLLBACK").await?;
        if sessions != PoolingMode::Own {
            break;
        }
    }
    // A farewell that goes wrong changes nothing.
    let _ = tokio::join!(first.close(), second.close());
    Ok(sessions)
}

/// Runs a prepared statement and tells which of the server's connections did. The word is there to
/// notice when somebody else's statement was run by the same name.
async fn prepared(connection: &mut PgConnection) -> Result<i32, PoolerError> {
    let word = Uuid::new_v4();
    let found = sqlx::query!(
        r#"-- whose_session
        SELECT pg_backend_pid() AS "pid!", $1::uuid AS "word!""#,
        word
    )
    .fetch_one(connection)
    .await;
    match found {
        Ok(row) if row.word == word => Ok(row.pid),
        Ok(_) => Err(PoolerError::NoPreparedStatements(Error::Protocol(
            "another statement answered".to_owned(),
        ))),
        Err(error @ (Error::Database(_) | Error::ColumnDecode { .. } | Error::Protocol(_)))
            if speaks_of_statements(&error) =>
        {
            Err(PoolerError::NoPreparedStatements(error))
        }
        Err(error) => Err(StoreError::from(error).into()),
    }
}

/// No such statement, there is one already, or it is not the one that was meant. All else, as a server
/// that shuts down, says nothing about the pooler.
fn speaks_of_statements(error: &Error) -> bool {
    let Error::Database(told) = error else {
        return true;
    };
    let code = told.code();
    ["26000", "42P05", "08P01"].contains(&code.as_deref().unwrap_or(""))
}

/// Begins a transaction, which holds a connection of the server until it ends; tells which.
async fn begin(connection: &mut PgConnection) -> Result<i32, PoolerError> {
    match simple(connection, "BEGIN READ ONLY").await {
        Err(PoolerError::Store(StoreError::Unavailable(error)))
            if error.to_string().contains("statement pooling") =>
        {
            return Err(PoolerError::NoTransactions(error));
        }
        other => other?,
    }
    let row = sqlx::raw_sql("-- backend\nSELECT pg_backend_pid()").fetch_one(connection);
    let row = row.await.map_err(StoreError::from)?;
    Ok(row.try_get(0).map_err(StoreError::from)?)
}

/// Whether the server plans by index without being told by us.
async fn plans_by_index(connection: &mut PgConnection) -> Result<bool, PoolerError> {
    let by_itself = sqlx::query_scalar!(
        r#"-- plans_by_index
        SELECT reset_val = 'off' AS "off!" FROM pg_settings WHERE name = 'enable_seqscan'"#
    );
    Ok(by_itself
        .fetch_one(connection)
        .await
        .map_err(StoreError::from)?)
}

async fn simple(connection: &mut PgConnection, sql: &'static str) -> Result<(), PoolerError> {
    let done = sqlx::raw_sql(sql).execute(connection).await;
    Ok(done.map(drop).map_err(StoreError::from)?)
}
