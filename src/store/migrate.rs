//! The schema: migrations are embedded, forward only, and taken by one process at a time.

use crate::store::{Store, StoreError};
use sqlx::PgConnection;
use sqlx::migrate::{Migration, Migrator};
use std::time::Duration;

/// The embedded migrations. One that a newer release has applied is no error: after a step back, the
/// older program goes on with the newer schema, as the deploy order promises.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    // See [`take_turn`].
    migrator.set_locking(false);
    migrator
}

/// Names the lock by which one process at a time migrates.
const TURN: i64 = 0x7265_636f_6e63_696c;

/// How often a process asks whether it is its turn.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Waits until no other process migrates. The migrator's own lock is waited for inside a statement, whose
/// snapshot an index that is built concurrently waits for in turn: of two that began together one would fail.
async fn take_turn(conn: &mut PgConnection) -> Result<(), StoreError> {
    let ask = "-- take_turn\nSELECT pg_try_advisory_lock($1)";
    while !sqlx::query_scalar::<_, bool>(ask)
        .bind(TURN)
        .fetch_one(&mut *conn)
        .await?
    {
        tokio::time::sleep(ASK_AGAIN).await;
    }
    Ok(())
}

/// Why the schema is not as this program needs it.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The database did not answer.
    #[error("the database did not answer")]
    Store(#[from] StoreError),
    /// A migration failed.
    #[error("a migration failed")]
    Failed(#[source] sqlx::migrate::MigrateError),
    /// The schema is behind.
    #[error("the database lacks migration {0}; run `reconciler migrate`")]
    Behind(i64),
}

/// Applies what is missing. Returns how many migrations were applied.
pub async fn migrate(store: &Store) -> Result<usize, MigrateError> {
    let before = applied(store).await?.len();
    let conn = store.unbounded_pool().acquire().await;
    let mut conn = conn.map_err(StoreError::from)?;
    take_turn(&mut conn).await?;
    let done = migrator().run(&mut *conn).await;
    // Ends the turn whatever came of it: the connection is closed, and not given back.
    let closed = conn.close().await.map_err(StoreError::from);
    done.map_err(MigrateError::Failed)?;
    closed?;
    Ok(applied(store).await?.len() - before)
}

/// Fails when a migration of this program has not been applied.
pub async fn check(store: &Store) -> Result<(), MigrateError> {
    let applied = applied(store).await?;
    match migrator()
        .iter()
        .find(|migration| !applied.contains(&migration.version))
    {
        Some(missing) => Err(MigrateError::Behind(missing.version)),
        None => Ok(()),
    }
}

/// The migrations that are still to be applied, in their order.
pub(super) async fn pending(store: &Store) -> Result<Vec<Migration>, MigrateError> {
    let applied = applied(store).await?;
    let migrator = migrator();
    let pending = migrator
        .iter()
        .filter(|one| !applied.contains(&one.version));
    Ok(pending.cloned().collect())
}

async fn applied(store: &Store) -> Result<Vec<i64>, StoreError> {
    // The table belongs to the migrator, and is not there before its first run, so that the
    // statement cannot be checked at build time.
    let present: Option<String> =
        sqlx::query_scalar("-- migrations_table\nSELECT to_regclass('_sqlx_migrations')::text")
            .fetch_one(store.pool())
            .await?;
    if present.is_none() {
        return Ok(Vec::new());
    }
    Ok(sqlx::query_scalar(
        "-- applied_migrations\nSELECT version FROM _sqlx_migrations WHERE success",
    )
    .fetch_all(store.pool())
    .await?)
}
