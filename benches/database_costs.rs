//! Cost of a load in PostgreSQL: statements, time, WAL and row versions per item.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};

/// Resets the statement statistics.
pub async fn begin(database: &str) {
    crate::execute(
        database,
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset()",
    )
    .await;
}

/// Returns the statement statistics since [`begin`] per item, with the most expensive statements by
/// name.
pub async fn end(database: &str, items: usize) -> Value {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let items = items as f64;
    let each = |value: f64| (value / items * 1e3).round() / 1e3;
    let totals = sqlx::query(
        "SELECT sum(calls)::float8, sum(total_exec_time)::float8, sum(wal_bytes)::float8
         FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()",
    )
    .fetch_one(&mut connection)
    .await
    .expect("totals");
    let statements = sqlx::query(
        "SELECT coalesce(substring(query from '-- ([a-z_]+)'), left(query, 40)) AS name,
            sum(calls)::float8, sum(total_exec_time)::float8, sum(wal_bytes)::float8
         FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid AND d.datname = current_database()
         GROUP BY name ORDER BY 3 DESC LIMIT 16",
    )
    .fetch_all(&mut connection)
    .await
    .expect("statements");
    let number =
        |row: &sqlx::postgres::PgRow, at: usize| row.get::<Option<f64>, _>(at).unwrap_or(0.0);
    let dearest: Vec<Value> = statements
        .iter()
        .map(|row| {
            json!({
                "name": row.get::<String, _>(0), "calls": number(row, 1),
                "us_each": (number(row, 2) / items * 1e6).round() / 1e3,
                "wal_bytes_each": (number(row, 3) / items).round(),
            })
        })
        .collect();
    json!({
        "statements_each": each(number(&totals, 0)),
        "exec_us_each": (number(&totals, 1) / items * 1e6).round() / 1e3,
        "wal_bytes_each": (number(&totals, 2) / items).round(),
        "statements": dearest,
    })
}

/// Returns the row versions since the database was created, per item.
///
/// A server process reports its counts now and then, and when it ends. The service must therefore
/// have ended.
pub async fn rows(database: &str, items: usize) -> Value {
    let mut connection = PgConnection::connect(database).await.expect("a connection");
    let others = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(others)
        .fetch_one(&mut connection)
        .await
        .expect("processes")
        > 0
    {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let counted = sqlx::query(
        "SELECT sum(n_tup_ins)::float8, sum(n_tup_upd)::float8, sum(n_tup_hot_upd)::float8,
            sum(n_tup_del)::float8 FROM pg_stat_user_tables",
    )
    .fetch_one(&mut connection)
    .await
    .expect("rows");
    let each = |at: usize| {
        let count = counted.get::<Option<f64>, _>(at).unwrap_or(0.0);
        (count / items as f64 * 1e3).round() / 1e3
    };
    json!({
        "inserted_each": each(0), "updated_each": each(1), "of_them_hot_each": each(2),
        "deleted_each": each(3),
    })
}
