//! The PostgreSQL server of the test binary, and a new database for each test.
//!
//! The first test that needs the server starts it. A supervising shell holds the other end of a
//! pipe and stops the server when this process ends in any way.

use reconciler::store::{Store, migrate};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::sync::atomic::{AtomicU32, Ordering};
use testkit::postgres::{ClusterOptions, PostgresCluster};
use tokio::sync::OnceCell;

const TEMPLATE: &str = "migrated";

static CLUSTER: OnceCell<PostgresCluster> = OnceCell::const_new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

async fn cluster() -> &'static PostgresCluster {
    CLUSTER.get_or_init(prepare).await
}

async fn prepare() -> PostgresCluster {
    let options = ClusterOptions {
        max_connections: 400,
        ..ClusterOptions::default()
    };
    let cluster = PostgresCluster::start(options)
        .await
        .expect("a PostgreSQL server");
    cluster
        .create_database(TEMPLATE)
        .await
        .expect("the template");
    migrated(&cluster.url(TEMPLATE)).await;
    cluster
}

async fn migrated(url: &str) {
    let store = Store::connect_lazy(url, 1).expect("a url");
    migrate::migrate(&store)
        .await
        .expect("migrations apply to an empty database");
    store.close().await;
}

/// Starts a private server with a migrated database, for tests that stop it.
pub async fn private_cluster() -> (PostgresCluster, String) {
    private_cluster_with(ClusterOptions::default()).await
}

/// Like [`private_cluster`], with given options.
pub async fn private_cluster_with(options: ClusterOptions) -> (PostgresCluster, String) {
    let cluster = PostgresCluster::start(options)
        .await
        .expect("a PostgreSQL server");
    cluster.create_database("own").await.expect("a database");
    let url = cluster.url("own");
    migrated(&url).await;
    (cluster, url)
}

/// The database of one test.
pub struct Database {
    /// URL of the database.
    pub url: String,
    /// Connections to inspect the service's data.
    pub pool: PgPool,
    name: Option<String>,
}

impl Database {
    /// Creates a migrated database.
    pub async fn fresh() -> Self {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let cluster = cluster().await;
        cluster
            .create_from_template(TEMPLATE, &name)
            .await
            .expect("a copy of the template");
        Self {
            name: Some(name.clone()),
            ..Self::at(cluster.url(&name))
        }
    }

    /// Creates an empty database, for tests of the migrations.
    pub async fn empty() -> Self {
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let cluster = cluster().await;
        cluster.create_database(&name).await.expect("a database");
        Self {
            name: Some(name.clone()),
            ..Self::at(cluster.url(&name))
        }
    }

    /// Uses a database that the test manages itself.
    pub fn at(url: String) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy(&url)
            .expect("a url");
        Self {
            url,
            pool,
            name: None,
        }
    }

    /// Returns one value.
    pub async fn one<T>(&self, sql: &'static str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql)
            .fetch_one(&self.pool)
            .await
            .expect(sql)
    }

    /// Returns one column.
    pub async fn all<T>(&self, sql: &'static str) -> Vec<T>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        sqlx::query_scalar(sql)
            .fetch_all(&self.pool)
            .await
            .expect(sql)
    }

    /// Executes a statement that changes data.
    pub async fn execute(&self, sql: &'static str) -> u64 {
        sqlx::query(sql)
            .execute(&self.pool)
            .await
            .expect(sql)
            .rows_affected()
    }

    /// Returns the server's data directory.
    pub async fn data_directory(&self) -> std::path::PathBuf {
        cluster().await.data_dir().to_owned()
    }

    /// Drops the database.
    pub async fn remove(self) {
        self.pool.close().await;
        if let Some(name) = &self.name {
            cluster()
                .await
                .drop_database(name)
                .await
                .expect("dropping a database");
        }
    }
}
