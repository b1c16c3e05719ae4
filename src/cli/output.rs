//! Output of commands: tables for people, JSON for programs.
//!
//! Texts from the gateway are untrusted, so tables contain no terminal control characters.
//!
//! Not responsible for: shortening texts.

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use domain::{Currency, Timestamp};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use words::money::{self, ExponentOverrides};

/// Prints a text. A closed pipe (`… | head`) is not an error.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("failed to print")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as indented JSON.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// Formats a table with a header row.
pub(super) fn table(names: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = bare();
    for line in [
        TableComponent::HeaderLines,
        TableComponent::MiddleHeaderIntersections,
    ] {
        table.set_style(line, '─');
    }
    table.set_header(names.to_vec());
    fill(table, rows)
}

/// Formats pairs as a two-column table of names and values. Absent values are left out.
pub(super) fn key_value_table(pairs: Vec<(&str, Option<String>)>) -> String {
    let rows = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]));
    fill(bare(), rows.collect())
}

/// Returns an empty table as wide as the terminal. In a file or pipe each row is one line.
fn bare() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    let out = std::io::stdout();
    if out.is_terminal() {
        let columns = rustix::termios::tcgetwinsize(&out).map_or(0, |size| size.ws_col);
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(if columns == 0 { 80 } else { columns });
    }
    table
}

fn fill(mut table: Table, rows: Vec<Vec<String>>) -> String {
    for row in rows {
        table.add_row(row.iter().map(|cell| strip_control_chars(cell)));
    }
    table.trim_fmt()
}

/// Removes control characters and bidirectional overrides, which could steer a terminal.
pub(super) fn strip_control_chars(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// An amount as a decimal number and in the minor units that the API uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct DisplayAmount {
    minor: i64,
    currency: Option<String>,
    exponent: Option<u8>,
    decimal: Option<String>,
}

impl DisplayAmount {
    /// Returns the amount with the shop's exponent for its currency, or `None` if there is no
    /// amount. A child transaction may lack a currency; its amount is then shown in minor units
    /// only.
    pub(super) fn of(
        minor: Option<i64>,
        currency: Option<&str>,
        overrides: &ExponentOverrides,
    ) -> Option<Self> {
        let minor = minor?;
        let currency = currency.and_then(Currency::parse);
        let exponent = currency.map(|currency| money::exponent(currency, overrides));
        Some(Self {
            minor,
            currency: currency.map(|currency| currency.to_string()),
            exponent,
            decimal: exponent.map(|exponent| money::decimal(minor, exponent)),
        })
    }

    /// Formats the amount as `32.45 EUR`.
    pub(super) fn to_short_string(&self) -> String {
        match (&self.decimal, &self.currency) {
            (Some(decimal), Some(currency)) => format!("{decimal} {currency}"),
            _ => format!("{} minor units", self.minor),
        }
    }

    /// Formats the amount as `32.45 EUR (3245 minor units)`.
    pub(super) fn to_long_string(&self) -> String {
        match self.decimal {
            Some(_) => format!("{} ({} minor units)", self.to_short_string(), self.minor),
            None => self.to_short_string(),
        }
    }
}

/// Formats a time with a precision of one second.
pub(super) fn format_time(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    match text.split_once('.') {
        Some((second, _)) => format!("{second}Z"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
    use super::*;

    #[test]
    fn tables_contain_no_control_characters() {
        let shown = key_value_table(vec![
            ("message", Some("a\x1b[2Jb\nc\u{202e}d".to_owned())),
            ("absent", None),
        ]);
        assert!(!shown.contains(['\x1b', '\n', '\u{202e}']), "{shown:?}");
        assert!(!shown.contains("absent"));
        assert!(table(&["a"], vec![vec!["ж\t".to_owned()]]).contains("ж\u{fffd}"));
    }

    #[test]
    fn amounts_use_the_exponents_of_the_shop() {
        let own = ExponentOverrides::from([("IDR".to_owned(), 2)]);
        let amount =
            |currency, overrides| DisplayAmount::of(Some(3_245), Some(currency), overrides);
        let shown = |currency, overrides| amount(currency, overrides).unwrap().to_long_string();
        let none = ExponentOverrides::new();
        assert_eq!(shown("EUR", &none), "32.45 EUR (3245 minor units)");
        assert_eq!(shown("IDR", &none), "3245 IDR (3245 minor units)");
        assert_eq!(shown("IDR", &own), "32.45 IDR (3245 minor units)");
        assert_eq!(DisplayAmount::of(None, Some("EUR"), &none), None);
        let of_child = DisplayAmount::of(Some(1), None, &none).unwrap();
        assert_eq!(
            (of_child.to_short_string(), of_child.to_long_string()),
            ("1 minor units".into(), "1 minor units".into())
        );
    }

    #[test]
    fn times_are_formatted_to_the_second() {
        assert_eq!(
            format_time(Timestamp::from_micros(1_500_000)),
            "1970-01-01T00:00:01Z"
        );
        assert_eq!(
            format_time(Timestamp::from_micros(0)),
            "1970-01-01T00:00:00Z"
        );
    }
}
