//! Turning one written value into one typed value.
//!
//! A value comes from the file with a TOML type, or from the environment as text. Text
//! is read as whatever the setting wants, so `1001` is a shop id here and a number
//! there. Nothing in this module knows which key it reads, and no secret passes through
//! it: its errors repeat what they found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use toml::Value;
use url::Url;

use super::types::ShopSelection;

/// A value as it was written.
#[derive(Clone, Debug)]
pub(super) enum SettingValue {
    /// From the file.
    Toml(Value),
    /// From the environment.
    Text(String),
}

impl SettingValue {
    /// What it is, without telling the content.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Toml(Value::String(_)) => "text",
            Self::Toml(Value::Integer(_)) => "an integer",
            Self::Toml(Value::Float(_)) => "a float",
            Self::Toml(Value::Boolean(_)) => "a boolean",
            Self::Toml(Value::Datetime(_)) => "a date",
            Self::Toml(Value::Array(_)) => "a list",
            Self::Toml(Value::Table(_)) => "a table",
        }
    }

    /// What it is, with the content where that is short.
    fn describe(&self) -> String {
        match self {
            Self::Text(text) | Self::Toml(Value::String(text)) if text.chars().count() <= 60 => {
                format!("{text:?}")
            }
            Self::Toml(Value::Integer(number)) => number.to_string(),
            Self::Toml(Value::Float(number)) => number.to_string(),
            Self::Toml(Value::Boolean(value)) => value.to_string(),
            Self::Text(_)
            | Self::Toml(
                Value::String(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_),
            ) => self.kind().to_owned(),
        }
    }

    /// The text, when it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Toml(Value::String(text)) => Some(text),
            Self::Toml(_) => None,
        }
    }

    /// The items, when it is a list. Text is a TOML array when it opens like one, else
    /// its parts between commas.
    pub(super) fn items(&self) -> Option<Vec<SettingValue>> {
        match self {
            Self::Toml(Value::Array(values)) => {
                Some(values.iter().cloned().map(SettingValue::Toml).collect())
            }
            Self::Toml(_) => None,
            Self::Text(text) if text.trim_start().starts_with('[') => match toml_value(text)? {
                Value::Array(values) => Some(values.into_iter().map(untyped).collect()),
                _ => None,
            },
            Self::Text(text) => Some(
                text.split(',')
                    .map(str::trim)
                    .filter(|part| !part.is_empty())
                    .map(|part| SettingValue::Text(part.to_owned()))
                    .collect(),
            ),
        }
    }
}

/// One TOML value that stands alone.
pub(super) fn toml_value(text: &str) -> Option<Value> {
    toml::from_str::<toml::Table>(&format!("v = {}", text.trim()))
        .ok()?
        .remove("v")
}

/// Scalars of a list in the environment are text again, so that `[1001]` can be ids.
fn untyped(value: Value) -> SettingValue {
    match value {
        Value::String(text) => SettingValue::Text(text),
        Value::Integer(number) => SettingValue::Text(number.to_string()),
        Value::Float(number) => SettingValue::Text(number.to_string()),
        Value::Boolean(value) => SettingValue::Text(value.to_string()),
        other @ (Value::Datetime(_) | Value::Array(_) | Value::Table(_)) => {
            SettingValue::Toml(other)
        }
    }
}

/// A type that a setting can have.
pub(super) trait FromSetting: Sized {
    /// What is allowed, after the word "expected".
    fn expected() -> String;
    /// The value, when `raw` is one.
    fn from_raw(raw: &SettingValue) -> Option<Self>;
    /// How it is printed for people.
    fn show(&self) -> String;

    /// The value or what is wrong.
    fn read(raw: &SettingValue) -> Result<Self, String> {
        Self::from_raw(raw)
            .ok_or_else(|| format!("expected {}, got {}", Self::expected(), raw.describe()))
    }
}

impl FromSetting for bool {
    fn expected() -> String {
        "true or false".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        match raw {
            SettingValue::Toml(value) => value.as_bool(),
            SettingValue::Text(text) => text.trim().parse().ok(),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

macro_rules! integers {
    ($($kind:ty),+) => {$(
        impl FromSetting for $kind {
            fn expected() -> String {
                format!("an integer from 0 to {}", <$kind>::MAX)
            }

            fn from_raw(raw: &SettingValue) -> Option<Self> {
                match raw {
                    SettingValue::Toml(value) => value.as_integer()?.try_into().ok(),
                    SettingValue::Text(text) => text.trim().parse().ok(),
                }
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

integers!(u8, u32, usize);

impl FromSetting for String {
    fn expected() -> String {
        "text in quotes".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        raw.text().map(|text| text.trim().to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl FromSetting for Duration {
    fn expected() -> String {
        "a duration such as 150ms, 30s, 24h or 400d".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        humantime::parse_duration(raw.text()?.trim()).ok()
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

impl FromSetting for SocketAddr {
    fn expected() -> String {
        "an ip address and port such as 127.0.0.1:8080 or [::1]:8080".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        raw.text()?.trim().parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl FromSetting for Url {
    fn expected() -> String {
        "an absolute url such as https://host/path".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        Url::parse(raw.text()?.trim()).ok()
    }

    /// Without the query, where tokens are kept.
    fn show(&self) -> String {
        let mut shown = self.clone();
        if shown.query().is_some() {
            shown.set_query(Some("***"));
        }
        shown.to_string()
    }

    /// An address may hold a password, so it is not repeated.
    fn read(raw: &SettingValue) -> Result<Self, String> {
        Self::from_raw(raw)
            .ok_or_else(|| format!("expected {}, got other {}", Self::expected(), raw.kind()))
    }
}

impl<T: FromSetting> FromSetting for Vec<T> {
    fn expected() -> String {
        format!("a list of {}", T::expected())
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        raw.items()?.iter().map(T::from_raw).collect()
    }

    fn show(&self) -> String {
        let shown: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", shown.join(", "))
    }

    /// Names the item that is wrong.
    fn read(raw: &SettingValue) -> Result<Self, String> {
        let items = raw
            .items()
            .ok_or_else(|| format!("expected {}, got {}", Self::expected(), raw.describe()))?;
        let read = items.iter().enumerate();
        read.map(|(index, item)| T::read(item).map_err(|e| format!("item {}: {e}", index + 1)))
            .collect()
    }
}

impl<T: FromSetting + Ord> FromSetting for BTreeSet<T> {
    fn expected() -> String {
        Vec::<T>::expected()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        Some(Vec::<T>::from_raw(raw)?.into_iter().collect())
    }

    fn show(&self) -> String {
        let shown: Vec<String> = self.iter().map(T::show).collect();
        format!("[{}]", shown.join(", "))
    }

    fn read(raw: &SettingValue) -> Result<Self, String> {
        Ok(Vec::<T>::read(raw)?.into_iter().collect())
    }
}

impl FromSetting for ShopSelection {
    fn expected() -> String {
        "a list of shop ids, or [\"*\"] for every shop".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        let shops = match raw {
            // Without brackets a lone shop is as clear as a list of one.
            SettingValue::Toml(Value::String(shop)) => BTreeSet::from([shop.clone()]),
            SettingValue::Toml(_) | SettingValue::Text(_) => BTreeSet::from_raw(raw)?,
        };
        Some(if shops.contains("*") {
            Self::All
        } else {
            Self::Only(shops)
        })
    }

    fn show(&self) -> String {
        match self {
            Self::All => "[*]".to_owned(),
            Self::Only(shops) => shops.show(),
        }
    }
}

/// Currency exponents: a table in the file; `{ CVE = 0 }` or `CVE=0,…` in the environment.
impl FromSetting for BTreeMap<String, u8> {
    fn expected() -> String {
        "a table from currency code to exponent, such as { CVE = 0 }".to_owned()
    }

    fn from_raw(raw: &SettingValue) -> Option<Self> {
        match raw {
            SettingValue::Toml(Value::Table(table)) => {
                let pairs = table.iter();
                pairs
                    .map(|(code, value)| Some((code.clone(), exponent(value)?)))
                    .collect()
            }
            SettingValue::Toml(_) => None,
            SettingValue::Text(text) if text.trim_start().starts_with('{') => {
                Self::from_raw(&SettingValue::Toml(toml_value(text)?))
            }
            SettingValue::Text(_) => raw
                .items()?
                .iter()
                .map(|item| {
                    let (code, digits) = item.text()?.split_once('=')?;
                    Some((code.trim().to_owned(), digits.trim().parse().ok()?))
                })
                .collect(),
        }
    }

    fn show(&self) -> String {
        let pairs: Vec<String> = self
            .iter()
            .map(|(code, exponent)| format!("{code} = {exponent}"))
            .collect();
        if pairs.is_empty() {
            "{}".to_owned()
        } else {
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

/// A number, or the text of one where a single entry came from the environment.
fn exponent(value: &Value) -> Option<u8> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_integer()?.try_into().ok(),
    }
}
