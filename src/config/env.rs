//! Laying the environment over what the file says.
//!
//! `RECONCILER__SECTION__KEY` replaces one value, `RECONCILER__SHOPS__1001__KEY` one of
//! the entry with that id (or name, or index), `RECONCILER__SHOPS` a whole list written
//! as TOML. A value and its `…_file` are one setting: giving either in the environment
//! drops both from the file. Other variables are none of our business.

use std::collections::BTreeMap;

use toml::Value;

use super::document::{
    ConfigDocument, REPEATED_SECTIONS, RawSetting, RawTable, SECTIONS, tables, to_raw_table,
    unknown_section,
};
use super::error::ConfigError;
use super::provenance::SettingOrigin;
use super::value::{SettingValue, toml_value};

const PREFIX: &str = "RECONCILER__";
/// Settings that are tables themselves, of which the environment can give one entry.
const MAPS: [&str; 1] = ["currency_exponents"];

/// The variables of this process that a configuration can come from.
///
/// A value that is not UTF-8 is passed on with replacement characters, which `load`
/// refuses.
pub fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let ours = name.starts_with(PREFIX) || name == "DATABASE_URL";
            ours.then(|| (name, value.to_string_lossy().into_owned()))
        })
        .collect()
}

/// One variable, taken apart.
struct EnvOverride {
    name: String,
    /// The parts after the section.
    path: Vec<String>,
    value: String,
}

impl EnvOverride {
    fn origin(&self) -> SettingOrigin {
        SettingOrigin::Env(self.name.clone())
    }

    fn error(&self, key: String, problem: impl Into<String>) -> ConfigError {
        ConfigError {
            key,
            variable: Some(self.name.clone()),
            problem: problem.into(),
        }
    }
}

/// Applies every variable that is ours, in the order of their names.
pub(super) fn apply_environment(
    document: &mut ConfigDocument,
    env: impl IntoIterator<Item = (String, String)>,
    errors: &mut Vec<ConfigError>,
) {
    let mut sections: BTreeMap<String, Vec<EnvOverride>> = BTreeMap::new();
    let mut database_url = None;
    let sorted: BTreeMap<String, String> = env.into_iter().collect();
    for (name, value) in sorted {
        if name == "DATABASE_URL" {
            database_url = (!value.is_empty()).then_some(value);
            continue;
        }
        let Some(rest) = name.strip_prefix(PREFIX) else {
            continue;
        };
        let mut parts = rest.split("__").map(str::to_owned);
        let section = parts.next().unwrap_or_default().to_lowercase();
        let variable = EnvOverride {
            path: parts.collect(),
            value,
            name,
        };
        if variable.value.contains('\u{FFFD}') {
            errors.push(variable.error(section, "the value is not utf-8"));
            continue;
        }
        sections.entry(section).or_default().push(variable);
    }
    for (section, variables) in sections {
        if let Some(table) = SECTIONS.iter().find(|table| **table == section) {
            overlay_table(
                document.tables.entry(table).or_default(),
                table,
                variables,
                errors,
            );
        } else if let Some((list, id_key)) =
            REPEATED_SECTIONS.iter().find(|(list, _)| *list == section)
        {
            let entries = document.lists.entry(list).or_default();
            overlay_list(entries, list, id_key, variables, errors);
        } else {
            errors.extend(variables.iter().map(|variable| {
                let path = variable
                    .path
                    .iter()
                    .map(|part| format!(".{}", part.to_lowercase()));
                variable.error(
                    format!("{section}{}", path.collect::<String>()),
                    unknown_section(),
                )
            }));
        }
    }
    if let Some(url) = database_url {
        let table = document.tables.entry("database").or_default();
        table.remove("url_file");
        let origin = SettingOrigin::Env("DATABASE_URL".to_owned());
        table.insert(
            "url".to_owned(),
            RawSetting {
                raw: SettingValue::Text(url),
                origin,
            },
        );
    }
}

fn overlay_table(
    entries: &mut RawTable,
    section: &str,
    variables: Vec<EnvOverride>,
    errors: &mut Vec<ConfigError>,
) {
    let keys = variables
        .iter()
        .map(|variable| variable.path.join("__").to_lowercase());
    let keys: Vec<String> = keys.collect();
    for (variable, key) in variables.into_iter().zip(keys) {
        if key.is_empty() {
            let problem = format!("expected a key after the section, {PREFIX}SECTION__KEY");
            errors.push(variable.error(section.to_owned(), problem));
        } else {
            set(entries, section, &key, variable, errors);
        }
    }
}

/// Sets one key. The file's value for it goes, and so does what the file says of its
/// other spelling.
fn set(
    entries: &mut RawTable,
    path: &str,
    key: &str,
    variable: EnvOverride,
    errors: &mut Vec<ConfigError>,
) {
    if let Some(RawSetting {
        origin: SettingOrigin::Env(earlier),
        ..
    }) = entries.get(key)
    {
        let problem = format!("{earlier} sets it too");
        errors.push(variable.error(format!("{path}.{key}"), problem));
        return;
    }
    let other = match key.strip_suffix("_file") {
        Some(plain) => plain.to_owned(),
        None => format!("{key}_file"),
    };
    if entries
        .get(&other)
        .is_some_and(|given| given.origin == SettingOrigin::File)
    {
        entries.remove(&other);
    }
    let origin = variable.origin();
    entries.insert(
        key.to_owned(),
        RawSetting {
            raw: SettingValue::Text(variable.value),
            origin,
        },
    );
}

/// Sorts the variables of a list section by the entry they are about, then applies them.
fn overlay_list(
    list: &mut Vec<RawTable>,
    section: &str,
    id_key: &str,
    variables: Vec<EnvOverride>,
    errors: &mut Vec<ConfigError>,
) {
    let mut by_entry: BTreeMap<String, Vec<(Vec<String>, EnvOverride)>> = BTreeMap::new();
    for variable in variables {
        if variable.path.is_empty() {
            replace_list(list, section, &variable, errors);
            continue;
        }
        // An id may itself contain two underscores, so the key is what stands last.
        let (id, key) = variable.path.split_at(key_position(&variable.path));
        let (id, key) = (
            id.join("__"),
            key.iter().map(|part| part.to_owned()).collect(),
        );
        if id.is_empty() {
            let problem = format!(
                "expected an {id_key} or index and a key, {PREFIX}{}__{}__KEY",
                section.to_uppercase(),
                id_key.to_uppercase(),
            );
            errors.push(variable.error(section.to_owned(), problem));
            continue;
        }
        by_entry.entry(id).or_default().push((key, variable));
    }
    for (id, variables) in by_entry {
        let renames = variables.iter().any(|(key, _)| is_key(key, id_key));
        let index = match find(list, id_key, &id) {
            Ok(Some(index)) => index,
            Ok(None) => add(list, id_key, &id, renames, &variables),
            Err(problem) => {
                let errors_of = variables.iter().map(|(_, variable)| {
                    variable.error(format!("{section}[{id}]"), problem.clone())
                });
                errors.extend(errors_of);
                continue;
            }
        };
        if let Some(entries) = list.get_mut(index) {
            let path = format!("{section}[{index}]");
            for (key, variable) in variables {
                set_in_entry(entries, &path, &key, variable, errors);
            }
        }
    }
}

fn key_position(path: &[String]) -> usize {
    let before_last = path.len().saturating_sub(2);
    let in_map = path.len() > 2
        && path
            .get(before_last)
            .is_some_and(|part| MAPS.contains(&part.to_lowercase().as_str()));
    if in_map { before_last } else { path.len() - 1 }
}

fn is_key(key: &[String], name: &str) -> bool {
    matches!(key, [only] if only.eq_ignore_ascii_case(name))
}

/// The entry that an id, a name or an index in a variable means. Names of variables
/// cannot hold every character of an id, so `a-b` is also found as `A_B`.
fn find(list: &[RawTable], id_key: &str, id: &str) -> Result<Option<usize>, String> {
    let ids: Vec<Option<&str>> = list
        .iter()
        .map(|entries| entries.get(id_key).and_then(|given| given.raw.text()))
        .collect();
    if let Some(index) = ids.iter().position(|found| *found == Some(id)) {
        return Ok(Some(index));
    }
    let alike = ids
        .iter()
        .enumerate()
        .filter(|(_, found)| found.is_some_and(|found| variable_name(found) == variable_name(id)));
    let alike: Vec<usize> = alike.map(|(index, _)| index).collect();
    match alike.as_slice() {
        [] => Ok(id.parse::<usize>().ok().filter(|index| *index < list.len())),
        [index] => Ok(Some(*index)),
        _ => Err(format!(
            "several entries have an {id_key} like this, use the index"
        )),
    }
}

fn variable_name(id: &str) -> String {
    id.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect()
}

/// Adds an entry that the file does not have, with its id unless the variables give one.
fn add(
    list: &mut Vec<RawTable>,
    id_key: &str,
    id: &str,
    renames: bool,
    variables: &[(Vec<String>, EnvOverride)],
) -> usize {
    let mut entries = RawTable::new();
    if let (false, Some((_, variable))) = (renames, variables.first()) {
        // Shop ids are case sensitive and stand in the variable as they are; names are
        // written small.
        let id = if id_key == "id" {
            id.to_owned()
        } else {
            id.to_lowercase()
        };
        let raw = SettingValue::Toml(Value::String(id));
        entries.insert(
            id_key.to_owned(),
            RawSetting {
                raw,
                origin: variable.origin(),
            },
        );
    }
    list.push(entries);
    list.len() - 1
}

fn set_in_entry(
    entries: &mut RawTable,
    path: &str,
    key: &[String],
    variable: EnvOverride,
    errors: &mut Vec<ConfigError>,
) {
    match key {
        [map, entry] => {
            let map = map.to_lowercase();
            let origin = variable.origin();
            let empty = || RawSetting {
                raw: SettingValue::Toml(Value::Table(toml::Table::new())),
                origin,
            };
            let given = entries.entry(map.clone()).or_insert_with(empty);
            given.origin = variable.origin();
            if let SettingValue::Toml(Value::Table(table)) = &mut given.raw {
                table.insert(entry.clone(), Value::String(variable.value));
            } else {
                let problem = "the whole table is set by another variable";
                errors.push(variable.error(format!("{path}.{map}"), problem));
            }
        }
        _ => set(
            entries,
            path,
            &key.join("__").to_lowercase(),
            variable,
            errors,
        ),
    }
}

fn replace_list(
    list: &mut Vec<RawTable>,
    section: &str,
    variable: &EnvOverride,
    errors: &mut Vec<ConfigError>,
) {
    match toml_value(&variable.value).and_then(tables) {
        Some(tables) => {
            let origin = variable.origin();
            *list = tables
                .into_iter()
                .map(|table| to_raw_table(table, &origin))
                .collect();
        }
        None => {
            let problem = "expected a toml array of inline tables, such as [{ id = \"1001\" }]";
            errors.push(variable.error(section.to_owned(), problem));
        }
    }
}
