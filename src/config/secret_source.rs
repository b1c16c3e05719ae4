//! Getting at the bytes of a setting that may be a value or a file, one or a list.
//!
//! What passes through here may be secret: errors name kinds, lengths and what the system
//! says of a file, never content and never a path.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::document::RawSetting;
use super::provenance::SettingOrigin;
use super::value::SettingValue;

/// More than any secret has; what is larger is the wrong file.
const MAX_SECRET_FILE: u64 = 64 * 1024;

/// One value and the file that it was read from.
pub(super) struct SecretContent {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    pub(super) path: Option<PathBuf>,
}

/// Every value of a setting. `from_file` says that what is written are paths; those in
/// the configuration file are relative to `directory`.
pub(super) fn read_values(
    given: &RawSetting,
    many: bool,
    from_file: bool,
    directory: &Path,
) -> Result<Vec<SecretContent>, String> {
    let texts = written(&given.raw, many)?;
    let count = texts.len();
    let one = |(index, text): (usize, Zeroizing<String>)| {
        if !from_file {
            return Ok(SecretContent {
                bytes: Zeroizing::new(text.as_bytes().to_vec()),
                path: None,
            });
        }
        // A path in the environment comes from whoever started the process, and is
        // relative to where that happened.
        let path = match given.origin {
            SettingOrigin::File => directory.join(&*text),
            SettingOrigin::Env(_) | SettingOrigin::Default => PathBuf::from(&*text),
        };
        let bytes = read_secret_file(&path).map_err(|e| with_index(count, index, e))?;
        Ok(SecretContent {
            bytes,
            path: Some(path),
        })
    };
    texts.into_iter().enumerate().map(one).collect()
}

/// A problem with one of several values says which.
pub(super) fn with_index(count: usize, index: usize, problem: String) -> String {
    if count > 1 {
        format!("item {}: {problem}", index + 1)
    } else {
        problem
    }
}

/// The texts of a guarded setting. What is found is named by its kind alone.
fn written(raw: &SettingValue, many: bool) -> Result<Vec<Zeroizing<String>>, String> {
    let wanted = if many {
        "text in quotes or a list of texts"
    } else {
        "text in quotes"
    };
    let wrong = |found: &SettingValue| format!("expected {wanted}, got {}", found.kind());
    let is_list = match raw {
        SettingValue::Text(text) => text.trim_start().starts_with('[') || text.contains(','),
        SettingValue::Toml(toml::Value::Array(_)) => true,
        SettingValue::Toml(_) => false,
    };
    if !(many && is_list) {
        let text = raw.text().ok_or_else(|| wrong(raw))?;
        return Ok(vec![Zeroizing::new(
            text.trim_end_matches(['\r', '\n']).to_owned(),
        )]);
    }
    let items = raw.items().ok_or_else(|| wrong(raw))?;
    if items.is_empty() {
        return Err("expected at least one value, the list is empty".to_owned());
    }
    let text = |item: &SettingValue| Some(Zeroizing::new(item.text()?.to_owned()));
    items
        .iter()
        .map(|item| text(item).ok_or_else(|| wrong(item)))
        .collect()
}

/// The content of a file without the line end that editors put there. The path is not
/// repeated: people do put the secret itself where its path belongs.
fn read_secret_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let explain = |error: std::io::Error| {
        format!("cannot read the file: {error}; a relative path starts at the configuration file")
    };
    let length = std::fs::metadata(path).map_err(explain)?.len();
    if length > MAX_SECRET_FILE {
        return Err(format!(
            "the file has {length} bytes, {MAX_SECRET_FILE} are allowed"
        ));
    }
    let mut bytes = Zeroizing::new(std::fs::read(path).map_err(explain)?);
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    Ok(bytes)
}
