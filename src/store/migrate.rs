//! The schema: migrations are embedded, forward only, and taken by one process at a time.

use crate::store::{Store, StoreError};
use sqlx::migrate::Migrator;

/// The embedded migrations. One that a newer release has applied is no error: after a step back, the
/// older program goes on with the newer schema, as the deploy order promises.
fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.set_ignore_missing(true);
    migrator
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
    migrator()
        .run(store.unbounded_pool())
        .await
        .map_err(MigrateError::Failed)?;
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
