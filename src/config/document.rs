//! What was written, before anybody asks what it means: sections and their keys, each
//! value with its origin.
//!
//! It knows which sections there are and nothing about the keys in them; who reads a
//! section says which keys it knows and complains about the rest.

use std::collections::BTreeMap;

use toml::Value;

use super::error::ConfigError;
use super::provenance::SettingOrigin;
use super::value::SettingValue;

/// The sections with one table each.
pub(super) const SECTIONS: [&str; 11] = [
    "database",
    "api",
    "webhooks",
    "ops",
    "security",
    "gateway",
    "delivery",
    "follow",
    "retention",
    "serve",
    "telemetry",
];

/// The sections that repeat, each with the key by which its entries are told apart.
pub(super) const REPEATED_SECTIONS: [(&str, &str); 3] = [
    ("shops", "id"),
    ("clients", "name"),
    ("subscribers", "name"),
];

/// A written value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct RawSetting {
    pub(super) raw: SettingValue,
    pub(super) origin: SettingOrigin,
}

/// The keys of one table.
pub(super) type RawTable = BTreeMap<String, RawSetting>;

/// Everything that was written.
#[derive(Debug, Default)]
pub(super) struct ConfigDocument {
    pub(super) tables: BTreeMap<&'static str, RawTable>,
    pub(super) lists: BTreeMap<&'static str, Vec<RawTable>>,
}

impl ConfigDocument {
    /// Reads the text of a file; the error is for text that is no TOML at all.
    pub(super) fn parse(text: &str, errors: &mut Vec<ConfigError>) -> Result<Self, ConfigError> {
        let table = text.parse::<toml::Table>().map_err(|error| ConfigError {
            key: position(text, error.span()),
            variable: None,
            // The whole error would show the line, which may hold a secret.
            problem: format!("not toml: {}", error.message().replace('\n', ", ")),
        })?;
        let mut document = Self::default();
        for (name, value) in table {
            document.add_section(&name, value, errors);
        }
        Ok(document)
    }

    fn add_section(&mut self, name: &str, value: Value, errors: &mut Vec<ConfigError>) {
        let mut wrong = |problem: String| {
            errors.push(ConfigError {
                key: name.to_owned(),
                variable: None,
                problem,
            });
        };
        if let Some(section) = SECTIONS.iter().find(|section| **section == name) {
            match value {
                Value::Table(table) => {
                    self.tables.insert(section, from_file(table));
                }
                _ => wrong(format!("expected a table, write [{name}]")),
            }
        } else if let Some((section, _)) = REPEATED_SECTIONS
            .iter()
            .find(|(section, _)| *section == name)
        {
            match tables(value) {
                Some(tables) => {
                    self.lists
                        .insert(section, tables.into_iter().map(from_file).collect());
                }
                None => wrong(format!(
                    "expected a list of tables, write [[{name}]] for each"
                )),
            }
        } else {
            wrong(unknown_section());
        }
    }
}

/// The problem with a section that does not exist.
pub(super) fn unknown_section() -> String {
    let lists = REPEATED_SECTIONS.iter().map(|(name, _)| *name);
    let known: Vec<&str> = SECTIONS.into_iter().chain(lists).collect();
    format!("unknown section, known are {}", known.join(", "))
}

/// A list of tables, when it is one.
pub(super) fn tables(value: Value) -> Option<Vec<toml::Table>> {
    let Value::Array(values) = value else {
        return None;
    };
    values
        .into_iter()
        .map(|value| match value {
            Value::Table(table) => Some(table),
            _ => None,
        })
        .collect()
}

fn from_file(table: toml::Table) -> RawTable {
    to_raw_table(table, &SettingOrigin::File)
}

/// A table whose values all have one origin.
pub(super) fn to_raw_table(table: toml::Table, origin: &SettingOrigin) -> RawTable {
    table
        .into_iter()
        .map(|(key, value)| {
            (
                key,
                RawSetting {
                    raw: SettingValue::Toml(value),
                    origin: origin.clone(),
                },
            )
        })
        .collect()
}

fn position(text: &str, span: Option<std::ops::Range<usize>>) -> String {
    let Some(before) = span.and_then(|span| text.get(..span.start)) else {
        return "file".to_owned();
    };
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count()
        + 1;
    format!("file, line {line}, column {column}")
}
