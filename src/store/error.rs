//! What can go wrong with the database, told apart by what a caller can do about it.

use super::standing::{READ_ONLY, UNCONFIRMED, is_read_only};
use std::fmt;

/// A failed statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is about the server: it cannot be reached, broke off, or does not take this now. What was asked
    /// may or may not have happened.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Two writers met (40001, 40P01, 55P03): the same batch may be tried again at once.
    #[error("two writers met")]
    Conflict(#[source] sqlx::Error),
    /// The data was refused (classes 22, 23 and 54, and what cannot be encoded).
    #[error("the database refused the data")]
    Data(#[source] sqlx::Error),
    /// A row that the domain cannot read: nobody but a program wrote it.
    #[error("row {row} of {table} is inconsistent in {column}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// The row's key.
        row: String,
    },
    /// Any other code: a mistake in a statement or the schema, or a trigger's own. Whether it is about the
    /// item shows when it comes again while others pass.
    #[error("the database and this program do not fit together")]
    SchemaMismatch(#[source] sqlx::Error),
}

impl StoreError {
    /// An inconsistent row.
    pub fn inconsistent(table: &'static str, column: &'static str, row: impl fmt::Display) -> Self {
        Self::Inconsistent {
            table,
            column,
            row: row.to_string(),
        }
    }

    /// The database did not answer in time.
    pub fn silence() -> Self {
        Self::Unavailable(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))
    }

    /// What may be told outside of a database that is not available.
    pub fn outside(&self) -> &'static str {
        match self {
            Self::Unavailable(error) if is_read_only(error) => READ_ONLY,
            Self::Unavailable(error) if error.to_string().ends_with(UNCONFIRMED) => UNCONFIRMED,
            _ => "the database cannot be reached",
        }
    }

    /// The server does not offer what was asked for, or not to this role.
    pub(super) fn is_not_provided(&self) -> bool {
        let Self::SchemaMismatch(sqlx::Error::Database(error)) = self else {
            return false;
        };
        matches!(error.code().as_deref(), Some("42501" | "42883" | "0A000"))
    }

    /// The whole chain in one line, for a log. It holds no values of rows.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        text
    }
}

/// The classes of SQLSTATE that are about the server: connections, the transaction's state (a standby says
/// 25006), who may connect, rollbacks, resources, objects not in a usable state, operators, the system, and
/// what is broken inside. All pass, and none is an item's fault.
const ABOUT_THE_SERVER: [&str; 9] = ["08", "25", "28", "40", "53", "55", "57", "58", "XX"];

/// The classes that are about the item: its data, a constraint, a limit of the program.
const ABOUT_THE_ITEM: [&str; 3] = ["22", "23", "54"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let database = match &error {
            sqlx::Error::Database(database) => database,
            sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => return Self::Data(error),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound => return Self::SchemaMismatch(error),
            _ => return Self::Unavailable(error),
        };
        let code = database.code().unwrap_or_default();
        let is_named = database.constraint().is_some();
        match about(&code, is_named) {
            About::Writers => Self::Conflict(error),
            About::Server => Self::Unavailable(error),
            About::Item => Self::Data(error),
            About::Other => Self::SchemaMismatch(error),
        }
    }
}

/// What an error of the server is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Writers,
    Server,
    Item,
    Other,
}

/// The one classification by SQLSTATE. `is_named`: the error names a constraint.
fn about(code: &str, is_named: bool) -> About {
    let class = code.get(..2).unwrap_or_default();
    match code {
        "40001" | "40P01" | "55P03" => About::Writers,
        // No partition takes the row: one is missing, and the row is right.
        "23514" if !is_named => About::Server,
        _ if ABOUT_THE_SERVER.contains(&class) => About::Server,
        _ if ABOUT_THE_ITEM.contains(&class) => About::Item,
        _ => About::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_about_the_server_the_item_or_other_writers() {
        let table = [
            (About::Writers, "40001 40P01 55P03"),
            (
                About::Server,
                "08006 08P01 25006 25P02 28000 28P01 40002 40003 53100 53200 53300 53400 55000 55006 \
                 57014 57P01 57P02 57P03 58000 58030 58P01 XX000 XX001 23514",
            ),
            (
                About::Item,
                "22001 22P05 22021 23502 23503 23505 54000 54001",
            ),
            (
                About::Other,
                "26000 34000 42501 42P01 42703 F0000 P0001 0A000 2BP01",
            ),
        ];
        for (expected, codes) in table {
            for code in codes.split_whitespace() {
                assert_eq!(about(code, false), expected, "{code}");
            }
        }
        assert_eq!(about("23514", true), About::Item);
        assert_eq!(about("", false), About::Other);
    }
}
