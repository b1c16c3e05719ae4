//! What a load costs PostgreSQL: statements, time, WAL and row versions, for each item of the load.

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};

/// Forgets what was counted so far.
pub async fn begin(database: &str) {
    crate::execute(
        database,
        "CREATE EXTENSION IF NOT EXISTS pg_stat_statements; SELECT pg_stat_statements_reset(); SELECT pg_stat_reset()",
    )
    .await;
}

/// What was counted since, divided by the items; the dearest statements by name.
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
    // What a backend counts reaches the tables' statistics with some delay.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let rows = sqlx::query(
        "SELECT sum(n_tup_ins)::float8, sum(n_tup_upd)::float8, sum(n_tup_hot_upd)::float8,
            sum(n_tup_del)::float8 FROM pg_stat_user_tables",
    )
    .fetch_one(&mut connection)
    .await
    .expect("rows");
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
        "rows_inserted_each": each(number(&rows, 0)),
        "rows_updated_each": each(number(&rows, 1)),
        "of_them_hot_each": each(number(&rows, 2)),
        "rows_deleted_each": each(number(&rows, 3)),
        "statements": dearest,
    })
}
