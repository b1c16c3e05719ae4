//! Reading one section key by key.
//!
//! Each read gives a value, or `None` after having noted what is wrong; so one pass over
//! a section finds every error in it, and the caller puts its struct together only when
//! nothing is missing. Each value read is also noted for `explain`. Keys that nobody
//! asked for are errors when the section is finished.

use std::path::PathBuf;

use url::Url;

use super::address::parse_http_url;
use super::document::{RawSetting, RawTable};
use super::error::ConfigError;
use super::provenance::{EffectiveSetting, SettingOrigin};
use super::secret_source::{SecretContent, read_values, with_index};
use super::value::FromSetting;

/// What the example of the configuration has in the place of each secret.
const PLACEHOLDER: &[u8] = b"replace-me";

/// What reading has found so far, over all sections.
#[derive(Debug, Default)]
pub(super) struct Diagnostics {
    pub(super) errors: Vec<ConfigError>,
    pub(super) settings: Vec<EffectiveSetting>,
    /// What relative paths in the file are relative to.
    pub(super) directory: PathBuf,
}

/// One section, or one entry of a repeated section, while it is read.
pub(super) struct SectionReader<'a> {
    path: String,
    entries: RawTable,
    known: Vec<String>,
    notes: &'a mut Diagnostics,
}

impl<'a> SectionReader<'a> {
    pub(super) fn new(path: String, entries: RawTable, notes: &'a mut Diagnostics) -> Self {
        Self {
            path,
            entries,
            known: Vec::new(),
            notes,
        }
    }

    /// A setting that has a default.
    pub(super) fn with_default<T: FromSetting>(&mut self, key: &str, default: T) -> Option<T> {
        self.with_default_checked(key, default, |_| Ok(()))
    }

    /// A setting that has a default and a rule beyond its type.
    pub(super) fn with_default_checked<T: FromSetting>(
        &mut self,
        key: &str,
        default: T,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        match self.optional_checked(key, check)? {
            Some(value) => Some(value),
            None => {
                self.note(key, default.show(), SettingOrigin::Default, Vec::new());
                Some(default)
            }
        }
    }

    /// A setting that must be there.
    pub(super) fn required<T: FromSetting>(
        &mut self,
        key: &str,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<T> {
        let value = self.optional_checked(key, check)?;
        if value.is_none() {
            self.error(key, None, format!("is missing, expected {}", T::expected()));
        }
        value
    }

    /// A setting that may be left out: `Some(None)` when it is.
    pub(super) fn optional_checked<T: FromSetting>(
        &mut self,
        key: &str,
        check: impl FnOnce(&T) -> Result<(), String>,
    ) -> Option<Option<T>> {
        let Some(RawSetting { raw, origin }) = self.take(key) else {
            return Some(None);
        };
        match T::read(&raw).and_then(|value| check(&value).map(|()| value)) {
            Ok(value) => {
                self.note(key, value.show(), origin, Vec::new());
                Some(Some(value))
            }
            Err(problem) => {
                self.error(key, origin.env_variable_name(), problem);
                None
            }
        }
    }

    /// An address that must be https unless it is loopback or `allow_http` is set.
    pub(super) fn url(&mut self, key: &str, allow_http: bool) -> Option<Option<Url>> {
        let allow_key = self.key("allow_http");
        self.optional_checked(key, |url| parse_http_url(url, allow_http, &allow_key))
    }

    /// An address to which paths are appended, so it has no query.
    pub(super) fn base_url(
        &mut self,
        key: &str,
        default: Option<&str>,
        allow_http: bool,
    ) -> Option<Option<Url>> {
        let allow_key = self.key("allow_http");
        let given = self.optional_checked(key, |url: &Url| {
            parse_http_url(url, allow_http, &allow_key)?;
            match url.query() {
                Some(_) => Err("a query (?…) in the address is not accepted".to_owned()),
                None => Ok(()),
            }
        });
        if !matches!(given, Some(None)) {
            return given;
        }
        let default = default.and_then(|text| Url::parse(text).ok());
        if let Some(url) = &default {
            self.note(key, url.show(), SettingOrigin::Default, Vec::new());
        }
        Some(default)
    }

    /// The values of a setting that is given itself or as `…_file`, one or a list of them,
    /// none when it is left out. `show` prints one for people.
    pub(super) fn secret_values<T>(
        &mut self,
        key: &str,
        many: bool,
        parse: impl Fn(&[u8]) -> Result<T, String>,
        show: impl Fn(&T) -> String,
    ) -> Option<Vec<T>> {
        let file_key = format!("{key}_file");
        let (given, from_file) = match (self.take(key), self.take(&file_key)) {
            (Some(_), Some(file)) => {
                let problem = format!("give either {key} or {file_key}, not both");
                self.error(key, file.origin.env_variable_name(), problem);
                return None;
            }
            (None, None) => return Some(Vec::new()),
            (Some(given), None) => (given, false),
            (None, Some(given)) => (given, true),
        };
        let named = if from_file { &file_key } else { key };
        let read =
            read_values(&given, many, from_file, &self.notes.directory).and_then(|contents| {
                let count = contents.len();
                let one = |(index, SecretContent { bytes, path }): (usize, SecretContent)| {
                    if bytes.is_empty() {
                        return Err(with_index(count, index, "is empty".to_owned()));
                    }
                    if bytes
                        .windows(PLACEHOLDER.len())
                        .any(|part| part == PLACEHOLDER)
                    {
                        let problem = "is still the placeholder of config.example.toml";
                        return Err(with_index(count, index, problem.to_owned()));
                    }
                    let value =
                        parse(&bytes).map_err(|problem| with_index(count, index, problem))?;
                    Ok((value, path))
                };
                contents
                    .into_iter()
                    .enumerate()
                    .map(one)
                    .collect::<Result<Vec<_>, String>>()
            });
        match read {
            Ok(values) => {
                let shown: Vec<String> = values.iter().map(|(value, _)| show(value)).collect();
                let shown = if shown.len() > 1 {
                    format!("[{}]", shown.join(", "))
                } else {
                    shown.concat()
                };
                let (values, paths): (Vec<T>, Vec<_>) = values.into_iter().unzip();
                self.note(
                    key,
                    shown,
                    given.origin,
                    paths.into_iter().flatten().collect(),
                );
                Some(values)
            }
            Err(problem) => {
                self.error(named, given.origin.env_variable_name(), problem);
                None
            }
        }
    }

    /// Where a file is: a relative path starts at the directory of the configuration file.
    pub(super) fn file(&self, path: &str) -> PathBuf {
        self.notes.directory.join(path)
    }

    /// Notes that a required setting is missing.
    pub(super) fn report_missing(&mut self, key: &str, problem: &str) {
        self.error(key, None, problem.to_owned());
    }

    /// Ends the section: whatever was written and not read is an error.
    pub(super) fn finish(self) {
        for (key, given) in &self.entries {
            let problem = format!("unknown key, known here are {}", self.known.join(", "));
            self.notes.errors.push(ConfigError {
                key: join(&self.path, key),
                variable: given.origin.env_variable_name().map(str::to_owned),
                problem,
            });
        }
    }

    fn take(&mut self, key: &str) -> Option<RawSetting> {
        self.known.push(key.to_owned());
        self.entries.remove(key)
    }

    fn key(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn note(&mut self, key: &str, value: String, origin: SettingOrigin, read_from: Vec<PathBuf>) {
        let key = self.key(key);
        self.notes.settings.push(EffectiveSetting {
            key,
            value,
            origin,
            read_from,
        });
    }

    fn error(&mut self, key: &str, variable: Option<&str>, problem: String) {
        let key = self.key(key);
        let variable = variable.map(str::to_owned);
        self.notes.errors.push(ConfigError {
            key,
            variable,
            problem,
        });
    }
}

fn join(path: &str, key: &str) -> String {
    // Keys that TOML has to quote are quoted here too, so that the whole stays readable.
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) {
        format!("{path}.{key}")
    } else {
        format!("{path}.{key:?}")
    }
}
