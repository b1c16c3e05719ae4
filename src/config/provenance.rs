//! Every effective setting with where it came from, for `reconciler check-config`.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingOrigin {
    /// It was left out.
    Default,
    /// The configuration file.
    File,
    /// This environment variable.
    Env(String),
}

impl SettingOrigin {
    /// The environment variable, if it was one.
    pub(super) fn env_variable_name(&self) -> Option<&str> {
        match self {
            Self::Env(name) => Some(name),
            Self::Default | Self::File => None,
        }
    }
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Env(name) => write!(f, "env {name}"),
        }
    }
}

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// The full key, such as `gateway.request_timeout` or `shops[0].id`.
    pub key: String,
    /// The value; `***` for a secret.
    pub value: String,
    /// Where it came from.
    pub origin: SettingOrigin,
    /// The files it was read from, when it was given as `…_file`.
    pub read_from: Vec<PathBuf>,
}

impl fmt::Display for EffectiveSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)?;
        for path in &self.read_from {
            write!(f, ", read from {}", path.display())?;
        }
        Ok(())
    }
}
