//! What can go wrong with the database, told apart by what a caller can do about it.

use std::fmt;

/// A failed statement.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached, or broke off. What was asked may or may not have happened.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Two writers met (40001, 40P01, 55P03): the same batch may be tried again at once.
    #[error("two writers met")]
    Conflict(#[source] sqlx::Error),
    /// The data was refused (classes 22 and 23, and what cannot be encoded).
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
    /// A mistake in a statement or the schema.
    #[error("the database and this program do not fit together")]
    Broken(#[source] sqlx::Error),
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

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let code = match &error {
            sqlx::Error::Database(database) => database.code().map(|c| c.into_owned()),
            sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) => return Self::Data(error),
            sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::ColumnNotFound(_)
            | sqlx::Error::Decode(_)
            | sqlx::Error::TypeNotFound { .. }
            | sqlx::Error::RowNotFound => return Self::Broken(error),
            _ => return Self::Unavailable(error),
        };
        match code.as_deref().unwrap_or("") {
            "40001" | "40P01" | "55P03" => Self::Conflict(error),
            code if code.starts_with("22") || code.starts_with("23") => Self::Data(error),
            // Connection lost, resources (disk, memory, connections), cancelled, shutting down,
            // internal errors, read-only after a failover: all pass, and none is a caller's fault.
            code if ["08", "53", "57", "58", "XX", "25", "26", "34", "F0"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Self::Unavailable(error)
            }
            _ => Self::Broken(error),
        }
    }
}
