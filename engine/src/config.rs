//! `/etc/engine/config.toml`, described in docs/formats/config.md.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::file::read_bounded;
use serde::Deserialize;

use crate::error::{OrFail as _, Result, invalid};

/// The file is not expected to be larger.
const LIMIT_BYTES: u64 = 1 << 20;

/// What the file may say; unknown keys are errors.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EngineConfig {
    /// Registries that may be spoken to without TLS, beside those on loopback.
    pub insecure_registries: Vec<String>,
    /// Other OCI runtimes, by name.
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    pub events: EventLimits,
    /// Address pools; netd reads them.
    pub address_pools: Vec<toml::Value>,
}

/// An OCI runtime.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuntimeEntry {
    pub path: PathBuf,
}

/// How much of the event log is kept.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EventLimits {
    /// Facts older than this many days are dropped.
    pub days: u32,
    /// Segments beyond this many MiB are dropped, oldest first.
    pub size_mib: u64,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            days: 90,
            size_mib: 256,
        }
    }
}

impl EngineConfig {
    /// Reads the configuration; a file that is not there is the default one,
    /// unless `path` was asked for by name.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or has an unknown key.
    pub fn load(path: &Path, asked_for: bool) -> Result<Self> {
        let content = match read_bounded(path, LIMIT_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !asked_for => {
                return Ok(Self::default());
            }
            other => other.or_invalid()?,
        };
        let text = String::from_utf8(content).or_invalid()?;
        Self::parse(&text).map_err(|error| invalid(format!("cannot read {path:?}: {error}")))
    }

    fn parse(text: &str) -> std::result::Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Returns the program of the runtime called `name`.
    pub fn runtime(&self, name: &str) -> Option<PathBuf> {
        self.runtimes.get(name).map(|entry| entry.path.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_keys_are_read_and_others_refused() {
        let text = "insecure-registries = [\"r:5000\"]\n[runtimes.crun]\npath = \"/usr/bin/crun\"\n[events]\ndays = 3\n";
        let config = EngineConfig::parse(text).unwrap();
        assert_eq!(config.runtime("crun"), Some("/usr/bin/crun".into()));
        assert_eq!((config.events.days, config.events.size_mib), (3, 256));
        assert!(EngineConfig::parse("insecure_registry = 1").is_err());
        assert!(EngineConfig::load(Path::new("/nonexistent/config.toml"), true).is_err());
        assert_eq!(
            EngineConfig::load(Path::new("/nonexistent/config.toml"), false).unwrap(),
            EngineConfig::default()
        );
    }
}
