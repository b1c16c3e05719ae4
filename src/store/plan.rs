//! What the pending migrations will lock, and for how long.
//!
//! The locks are those that PostgreSQL documents for each kind of statement; the times are what reading a table of
//! this size takes on an ordinary disk.

use super::migrate::{MigrateError, pending};
use super::{Store, StoreError};
use std::collections::HashSet;

/// How much of a table is read in a second, in bytes. A guess on the careful side.
const READ_RATE: i64 = 50_000_000;

/// Who waits for a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waits {
    /// Nobody: readers and writers go on.
    Nobody,
    /// Everybody, for the moment that the catalogue is changed.
    Moment,
    /// Writers, until the table was read.
    Writers,
    /// Everybody, until the table was written anew.
    Everybody,
}

impl Waits {
    /// A word for a table of the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "nobody",
            Self::Moment => "all, for a moment",
            Self::Writers => "writers",
            Self::Everybody => "all",
        }
    }
}

/// One statement of a pending migration that locks a table which is there.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PlannedStatement {
    /// The migration's version.
    pub version: i64,
    /// The migration's name.
    pub migration: String,
    /// What it does, in the words of SQL.
    pub action: &'static str,
    /// Which table.
    pub table: String,
    /// The lock on that table, as PostgreSQL calls it.
    pub lock: &'static str,
    /// Who waits for it.
    pub waits: Waits,
    /// The size of the table with its indexes, in bytes.
    pub table_bytes: i64,
    /// How long it is expected to take, in seconds: 0 for a moment.
    pub expected_seconds: i64,
}

/// The pending migrations.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Plan {
    /// Their versions.
    pub pending: Vec<i64>,
    /// What they lock.
    pub statements: Vec<PlannedStatement>,
}

/// A kind of statement: its words, its lock, who waits, and how often it reads the table.
struct Kind {
    action: &'static str,
    lock: &'static str,
    waits: Waits,
    reads: i64,
}

const fn kind(action: &'static str, lock: &'static str, waits: Waits, reads: i64) -> Kind {
    Kind {
        action,
        lock,
        waits,
        reads,
    }
}

/// Lists what the pending migrations will lock. Changes nothing.
///
/// # Errors
/// When the database does not answer.
pub async fn plan(store: &Store) -> Result<Plan, MigrateError> {
    let pending = pending(store).await?;
    let mut plan = Plan {
        pending: pending.iter().map(|one| one.version).collect(),
        statements: Vec::new(),
    };
    let mut new = HashSet::new();
    for migration in &pending {
        for statement in statements(migration.sql.as_str()) {
            if let Some(table) = word_after(&statement, "CREATE TABLE") {
                new.insert(table);
                continue;
            }
            let Some((kind, table)) = classify(&statement) else {
                continue;
            };
            if new.contains(&table) {
                continue;
            }
            let table_bytes = size(store, &table).await?;
            plan.statements.push(PlannedStatement {
                version: migration.version,
                migration: migration.description.to_string(),
                action: kind.action,
                table,
                lock: kind.lock,
                waits: kind.waits,
                table_bytes,
                expected_seconds: kind.reads * table_bytes / READ_RATE,
            });
        }
    }
    Ok(plan)
}

/// The size of a table, of its partitions and of their indexes; 0 when it is not there.
async fn size(store: &Store, table: &str) -> Result<i64, StoreError> {
    let size: Option<i64> = sqlx::query_scalar(
        "-- table_size
        SELECT greatest(pg_total_relation_size(to_regclass($1)),
            (SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(to_regclass($1))))::bigint",
    )
    .bind(table)
    .fetch_one(store.pool())
    .await?;
    Ok(size.unwrap_or(0))
}

/// The statements of a migration, without comments and without the bodies of functions, in one line each.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or(line));
    let code = lines.collect::<Vec<_>>().join(" ");
    let outside = code.split("$$").step_by(2).collect::<Vec<_>>().join(" ");
    let each = outside
        .split(';')
        .map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "));
    each.filter(|one| !one.is_empty()).collect()
}

fn classify(statement: &str) -> Option<(Kind, String)> {
    let has = |words: &str| statement.contains(words);
    let table = |before: &str| word_after(statement, before);
    if statement.starts_with("CREATE") && has("INDEX") {
        let kind = match has("CONCURRENTLY") {
            true => kind(
                "CREATE INDEX CONCURRENTLY",
                "SHARE UPDATE EXCLUSIVE",
                Waits::Nobody,
                2,
            ),
            false => kind("CREATE INDEX", "SHARE", Waits::Writers, 1),
        };
        return Some((kind, table(" ON")?));
    }
    if statement.starts_with("CREATE TRIGGER") {
        let kind = kind("CREATE TRIGGER", "SHARE ROW EXCLUSIVE", Waits::Moment, 0);
        return Some((kind, table(" ON")?));
    }
    if statement.starts_with("ALTER TABLE") {
        let table = table("ALTER TABLE")?;
        let writes_anew = has(" TYPE ") || has("SET NOT NULL") || has("ADD PRIMARY KEY");
        let checks = has("ADD CONSTRAINT") && !has("NOT VALID");
        let kind = match () {
            () if has("VALIDATE CONSTRAINT") => kind(
                "VALIDATE CONSTRAINT",
                "SHARE UPDATE EXCLUSIVE",
                Waits::Nobody,
                1,
            ),
            () if writes_anew => kind("ALTER TABLE", "ACCESS EXCLUSIVE", Waits::Everybody, 3),
            () if checks => kind("ADD CONSTRAINT", "ACCESS EXCLUSIVE", Waits::Everybody, 1),
            () => kind("ALTER TABLE", "ACCESS EXCLUSIVE", Waits::Moment, 0),
        };
        return Some((kind, table));
    }
    for (word, before) in [
        ("UPDATE", "UPDATE"),
        ("DELETE", "DELETE FROM"),
        ("INSERT", "INSERT INTO"),
    ] {
        if statement.starts_with(word) {
            let kind = kind(word, "ROW EXCLUSIVE", Waits::Nobody, 1);
            return Some((kind, table(before)?));
        }
    }
    None
}

/// The name that follows some words.
fn word_after(statement: &str, words: &str) -> Option<String> {
    let (_, rest) = statement.split_once(words)?;
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("IF NOT EXISTS ").unwrap_or(rest);
    let name = rest.split([' ', '(']).next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    fn found(statement: &str) -> (&'static str, String, Waits) {
        let (kind, table) = classify(statement).unwrap();
        (kind.lock, table, kind.waits)
    }

    #[test]
    fn each_kind_of_statement_has_its_lock() {
        let at = |lock, table: &str, waits| (lock, table.to_owned(), waits);
        let online = "CREATE UNIQUE INDEX CONCURRENTLY i ON transactions (shop_id)";
        let table = [
            (
                online,
                at("SHARE UPDATE EXCLUSIVE", "transactions", Waits::Nobody),
            ),
            (
                "CREATE INDEX i ON uids (uid)",
                at("SHARE", "uids", Waits::Writers),
            ),
            (
                "ALTER TABLE uids ADD COLUMN key uuid",
                at("ACCESS EXCLUSIVE", "uids", Waits::Moment),
            ),
            (
                "ALTER TABLE uids ALTER COLUMN key TYPE uuid USING uid_key(uid)",
                at("ACCESS EXCLUSIVE", "uids", Waits::Everybody),
            ),
            (
                "ALTER TABLE orphans ADD CONSTRAINT c CHECK (true) NOT VALID",
                at("ACCESS EXCLUSIVE", "orphans", Waits::Moment),
            ),
            (
                "ALTER TABLE orphans VALIDATE CONSTRAINT c",
                at("SHARE UPDATE EXCLUSIVE", "orphans", Waits::Nobody),
            ),
            (
                "UPDATE shop_controls SET tokens = 1",
                at("ROW EXCLUSIVE", "shop_controls", Waits::Nobody),
            ),
        ];
        for (statement, expected) in table {
            assert_eq!(found(statement), expected, "{statement}");
        }
        assert!(classify("COMMENT ON TABLE uids IS 'x'").is_none());
    }

    #[test]
    fn bodies_of_functions_are_no_statements() {
        let sql = "-- a; b\nCREATE FUNCTION f() AS $$ BEGIN UPDATE uids; END $$; ALTER TABLE uids -- c\n ADD x;";
        let found = statements(sql);
        assert_eq!(found, ["CREATE FUNCTION f() AS", "ALTER TABLE uids ADD x"]);
    }
}
