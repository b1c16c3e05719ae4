//! One test for each rule of the configuration contract.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod checks;
mod contract;
mod environment;
mod keys;
mod secrets;
mod writing;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{Config, ConfigErrors, EffectiveSetting, load};

/// A throw-away RSA key of 2048 bits, as the back office shows one.
const PUBLIC_KEY: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs8X6XDT/PediaeyvD8BYAFsgwc09CF5IgSMiU5nax5CUhU0iDYfMZWEcgKspsnu5ktJhIpFvGRxDgUKWHyVv5R8aHTzYp8/S2/ZmqorpaFvhXoqpJsGpFZEigStdfOnaqDPh0NMTpW+38fA5/D02Tiq0YINAUPhTJTar6h/UCV3TagnRI6MC7frDboDrgqtYsFEXeSo+7C6LoU6FIYaik/OpkQiG9EwM12x6kTgWt9h2L43v6jnOokbQMyfQRuU1eu/CJpOCWXXbGFpXfY7zjm1oYhTNwf53PbL9yXezJhL71ukkQoVdEl8YXyBR60CNQfmKkfKGQUWgKAmi5gOUQQIDAQAB";

/// The least that makes a configuration.
fn minimal() -> String {
    format!(
        r#"
[database]
url = "postgres://localhost/reconciler"
[webhooks]
public_url = "https://hooks.example.com"
[security]
fingerprint_key = "0123456789abcdef0123456789abcdef"
[[shops]]
id = "1001"
secret_key = "shop-secret"
public_key = "{PUBLIC_KEY}"
"#
    )
}

/// The least, with one piece of text replaced.
fn minimal_with(from: &str, to: &str) -> String {
    let text = minimal();
    assert!(
        text.contains(from),
        "{from} is not in the minimal configuration"
    );
    text.replace(from, to)
}

/// The least, and more.
fn minimal_and(more: &str) -> String {
    format!("{}{more}\n", minimal())
}

/// A configuration file in a directory of its own.
struct File {
    directory: TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("config.toml"), text).unwrap();
        Self { directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// Writes a file beside the configuration.
    fn beside(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.directory.path().join(name), content).unwrap();
        self
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        load(Some(&self.path()), pairs(env))
    }

    fn explain(&self, env: &[(&str, &str)]) -> Vec<EffectiveSetting> {
        super::effective_settings(Some(&self.path()), pairs(env)).unwrap()
    }
}

fn pairs(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn parse(text: &str) -> Config {
    File::new(text).load(&[]).unwrap()
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Config {
    File::new(text).load(env).unwrap()
}

/// Every error, as it is printed.
fn errors(text: &str) -> Vec<String> {
    errors_with_env(text, &[])
}

fn errors_with_env(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    let errors = File::new(text).load(env).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

/// The only error there is.
#[track_caller]
fn only_error(text: &str) -> String {
    only(errors(text))
}

#[track_caller]
fn only(errors: Vec<String>) -> String {
    let [error] = errors.as_slice() else {
        panic!("not exactly one error: {errors:#?}")
    };
    error.clone()
}

fn no_file(env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    load(None::<&Path>, pairs(env))
}
