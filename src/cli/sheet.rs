//! What commands print: tables for people, JSON for programs.
//!
//! Texts come from the gateway and from whoever wrote them there, so that nothing in a table can
//! steer the terminal. What this deliberately cannot do: leave anything out of a text.

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, TableComponent, presets};
use domain::{Currency, Timestamp};
use serde::Serialize;
use std::io::{IsTerminal as _, Write as _};
use words::money::{self, Overrides};

/// Prints a text. That nobody reads it any more is no mistake: `… | head`.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot print")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A table with a line of names above it.
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

/// Names on the left, what they stand for on the right; what is absent is left out.
pub(super) fn pairs(pairs: Vec<(&str, Option<String>)>) -> String {
    let rows = pairs
        .into_iter()
        .filter_map(|(name, value)| Some(vec![name.to_owned(), value?]));
    fill(bare(), rows.collect())
}

/// As wide as the terminal; in a file or pipe as wide as it gets, one line a row.
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
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    table.trim_fmt()
}

/// A text without what would steer a terminal or turn its order round.
pub(super) fn plain(text: &str) -> String {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars()
        .map(|c| if steers(c) { '\u{fffd}' } else { c })
        .collect()
}

/// An amount for people: as a decimal number, and in the minor units that everything else speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Amount {
    minor: i64,
    currency: Option<String>,
    exponent: Option<u8>,
    decimal: Option<String>,
}

impl Amount {
    /// The amount as the shop counts its minor units; `None` where there is none. A child need not
    /// name its currency: then it is known in minor units only.
    pub(super) fn of(
        minor: Option<i64>,
        currency: Option<&str>,
        overrides: &Overrides,
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

    /// `32.45 EUR`
    pub(super) fn short(&self) -> String {
        match (&self.decimal, &self.currency) {
            (Some(decimal), Some(currency)) => format!("{decimal} {currency}"),
            _ => format!("{} minor units", self.minor),
        }
    }

    /// `32.45 EUR (3245 minor units)`
    pub(super) fn long(&self) -> String {
        match self.decimal {
            Some(_) => format!("{} ({} minor units)", self.short(), self.minor),
            None => self.short(),
        }
    }
}

/// A time to the second.
pub(super) fn second(at: Timestamp) -> String {
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
    fn nothing_in_a_table_steers_the_terminal() {
        let shown = pairs(vec![
            ("message", Some("a\x1b[2Jb\nc\u{202e}d".to_owned())),
            ("absent", None),
        ]);
        assert!(!shown.contains(['\x1b', '\n', '\u{202e}']), "{shown:?}");
        assert!(!shown.contains("absent"));
        assert!(table(&["a"], vec![vec!["ж\t".to_owned()]]).contains("ж\u{fffd}"));
    }

    #[test]
    fn amounts_have_the_exponent_of_the_shop() {
        let own = Overrides::from([("IDR".to_owned(), 2)]);
        let amount = |currency, overrides| Amount::of(Some(3_245), Some(currency), overrides);
        let shown = |currency, overrides| amount(currency, overrides).unwrap().long();
        let none = Overrides::new();
        assert_eq!(shown("EUR", &none), "32.45 EUR (3245 minor units)");
        assert_eq!(shown("IDR", &none), "3245 IDR (3245 minor units)");
        assert_eq!(shown("IDR", &own), "32.45 IDR (3245 minor units)");
        assert_eq!(Amount::of(None, Some("EUR"), &none), None);
        let of_child = Amount::of(Some(1), None, &none).unwrap();
        assert_eq!(
            (of_child.short(), of_child.long()),
            ("1 minor units".into(), "1 minor units".into())
        );
    }

    #[test]
    fn times_are_told_to_the_second() {
        assert_eq!(
            second(Timestamp::from_micros(1_500_000)),
            "1970-01-01T00:00:01Z"
        );
        assert_eq!(second(Timestamp::from_micros(0)), "1970-01-01T00:00:00Z");
    }
}
