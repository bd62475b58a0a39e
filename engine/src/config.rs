//! The whole of `/etc/engine/config.toml`, described in docs/formats/config.md.
//!
//! The file is shared with netd and volumed, which read a table of it each and
//! skip the rest. So it is here that every table and key is tested, theirs
//! included, before anything is started: a misspelt name is an error and is
//! never ignored.

mod api;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::PathError;
use base::file::read_bounded;
use engine_api::host_config::LogConfig;
use engine_image::{Limits, Mirror};
use netd_api::config::{NetworkSection, NetworkSectionError};
use serde::Deserialize;
use volumed_api::config::{StorageSection, StorageSectionError};

use crate::container::log;
use crate::user_namespace::{self, RemapError};
pub use api::{ApiSection, ApiSectionError, Rule, TlsFiles};

/// Where the configuration is unless `--config` says otherwise.
const DEFAULT_FILE: &str = "/etc/engine/config.toml";
/// The file is not expected to be larger.
const LIMIT_BYTES: u64 = 1 << 20;
/// Bytes of a MiB.
const MIB: u64 = 1 << 20;
/// The runtime that is there without being configured.
pub const OWN_RUNTIME: &str = "runc-rs";
/// What clients of Docker call the default runtime; it is ours unless the
/// configuration names another so.
pub const DEFAULT_RUNTIME: &str = "runc";

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the configuration")]
    Read(#[source] PathError),
    #[error("cannot read {path:?} as TOML")]
    Toml {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("{path:?} cannot be used")]
    Value { path: PathBuf, source: ValueError },
}

/// Why a value of the configuration makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    #[error("the path {path:?} of runtime {name:?} is not absolute")]
    RelativeRuntime { name: String, path: PathBuf },
    #[error("default-runtime is {0:?}, which table runtimes does not have")]
    DefaultRuntime(String),
    #[error("the runtime name {OWN_RUNTIME:?} is taken by the engine's own runtime")]
    OwnRuntime,
    #[error("{key} in table events is 0: nothing would be kept")]
    NothingKept { key: &'static str },
    #[error("{key} in table images is 0: no layer could be unpacked")]
    NothingUnpacked { key: &'static str },
    #[error("userns-remap cannot be used")]
    Remap(#[from] RemapError),
    #[error(transparent)]
    Log(#[from] log::DefaultError),
    #[error(transparent)]
    Api(#[from] ApiSectionError),
    #[error(transparent)]
    Network(#[from] NetworkSectionError),
    #[error(transparent)]
    Storage(#[from] StorageSectionError),
}

/// What the file may say; unknown tables and keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct EngineConfig {
    /// Registries that may be spoken to without TLS, beside those on loopback.
    pub insecure_registries: Vec<String>,
    /// Servers that are asked for a registry's images before it is, by its name.
    pub mirrors: BTreeMap<String, Vec<Mirror>>,
    /// The log driver of containers that name none.
    pub log_driver: String,
    /// Its options, where a container does not say them itself.
    pub log_opts: BTreeMap<String, String>,
    /// The runtime of containers that name none.
    pub default_runtime: String,
    /// Whose subordinate ids containers have: `default`, `user[:group]`,
    /// `uid[:gid]`; the host's own ids if empty.
    pub userns_remap: String,
    /// Other OCI runtimes, by name.
    pub runtimes: BTreeMap<String, RuntimeEntry>,
    pub events: EventLimits,
    pub images: ImageLimits,
    pub api: ApiSection,
    /// netd's table.
    pub network: NetworkSection,
    /// volumed's table.
    pub storage: StorageSection,
    /// The file all this was read from, for the helpers to read too.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            insecure_registries: Vec::new(),
            mirrors: BTreeMap::new(),
            log_driver: log::DEFAULT_DRIVER.to_owned(),
            log_opts: BTreeMap::new(),
            default_runtime: DEFAULT_RUNTIME.to_owned(),
            userns_remap: String::new(),
            runtimes: BTreeMap::new(),
            events: EventLimits::default(),
            images: ImageLimits::default(),
            api: ApiSection::default(),
            network: NetworkSection::default(),
            storage: StorageSection::default(),
            file: None,
        }
    }
}

/// An OCI runtime.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RuntimeEntry {
    pub path: PathBuf,
    /// What it is called with before everything else.
    #[serde(default)]
    pub args: Vec<String>,
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

/// What one layer of an image may use at most.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ImageLimits {
    /// MiB of the uncompressed archive.
    pub layer_size_mib: u64,
    /// Files, directories and other entries of the archive.
    pub layer_entries: u64,
}

impl Default for ImageLimits {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            layer_size_mib: limits.layer_bytes / MIB,
            layer_entries: limits.layer_entries,
        }
    }
}

impl ImageLimits {
    /// Returns the image store's limits; what the file says nothing of stays.
    pub fn limits(&self) -> Limits {
        Limits {
            layer_bytes: self.layer_size_mib.saturating_mul(MIB),
            layer_entries: self.layer_entries,
            ..Limits::default()
        }
    }

    fn check(&self) -> Result<(), ValueError> {
        let limits = [
            ("layer-size-mib", self.layer_size_mib),
            ("layer-entries", self.layer_entries),
        ];
        match limits.iter().find(|(_, value)| *value == 0) {
            Some(&(key, _)) => Err(ValueError::NothingUnpacked { key }),
            None => Ok(()),
        }
    }
}

impl EngineConfig {
    /// Reads the file at `path`, which must be there; without one, the default
    /// file, which need not.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, or has an unknown key or a bad value.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        match path {
            Some(path) => Self::read(path),
            None => Self::read_if_there(Path::new(DEFAULT_FILE)),
        }
    }

    fn read_if_there(path: &Path) -> Result<Self, ConfigError> {
        match Self::read(path) {
            Err(ConfigError::Read(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            other => other,
        }
    }

    fn read(path: &Path) -> Result<Self, ConfigError> {
        let content = read_bounded(path, LIMIT_BYTES).map_err(ConfigError::Read)?;
        let config: Self = toml::from_slice(&content).map_err(|source| ConfigError::Toml {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        config.check().map_err(|source| ConfigError::Value {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            file: Some(path.to_owned()),
            ..config
        })
    }

    fn check(&self) -> Result<(), ValueError> {
        let default = &self.default_runtime;
        let own = [OWN_RUNTIME, DEFAULT_RUNTIME];
        if !own.contains(&default.as_str()) && !self.runtimes.contains_key(default) {
            return Err(ValueError::DefaultRuntime(default.clone()));
        }
        for (name, RuntimeEntry { path, .. }) in &self.runtimes {
            if name == OWN_RUNTIME {
                return Err(ValueError::OwnRuntime);
            }
            if !path.is_absolute() {
                let (name, path) = (name.clone(), path.clone());
                return Err(ValueError::RelativeRuntime { name, path });
            }
        }
        let kept = [
            ("days", u64::from(self.events.days)),
            ("size-mib", self.events.size_mib),
        ];
        if let Some(&(key, _)) = kept.iter().find(|(_, value)| *value == 0) {
            return Err(ValueError::NothingKept { key });
        }
        if !self.userns_remap.is_empty() {
            user_namespace::mappings(&self.userns_remap)?;
        }
        self.images.check()?;
        log::check(&self.log())?;
        self.api.check()?;
        self.network.check()?;
        Ok(self.storage.check()?)
    }

    /// Returns the log driver and options of containers that say nothing.
    pub fn log(&self) -> LogConfig {
        LogConfig {
            r#type: self.log_driver.clone(),
            config: self.log_opts.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an example in the documentation begins with.
    const EXAMPLE: &str = "```toml\n";

    fn load(text: &str) -> Result<EngineConfig, String> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        base::file::replace(&path, text.as_bytes(), base::file::FileMode::Private).unwrap();
        let config =
            EngineConfig::load(Some(&path)).map_err(|error| base::failure::chain(&error))?;
        assert_eq!(config.file.as_deref(), Some(&*path));
        Ok(config)
    }

    #[track_caller]
    fn refused(text: &str, named: &str) {
        let message = load(text).unwrap_err();
        assert!(message.contains(named), "{text:?}: {message}");
    }

    #[test]
    fn the_keys_of_every_daemon_are_read() {
        let text = "insecure-registries = [\"r:5000\"]\n[mirrors]\n\"docker.io\" = [\"http://m:5000\"]\n[runtimes.crun]\npath = \"/usr/bin/crun\"\nargs = [\"--debug\"]\n\
            [events]\ndays = 3\n[images]\nlayer-size-mib = 5\n[[network.address-pools]]\nbase = \"10.9.0.0/16\"\nsize = 24\n\
            [storage]\nteardown-workers = 7\n";
        let config = load(text).unwrap();
        assert_eq!(config.mirrors["docker.io"][0].to_string(), "http://m:5000");
        assert_eq!(config.runtimes["crun"].path, Path::new("/usr/bin/crun"));
        assert_eq!(config.runtimes["crun"].args, ["--debug"]);
        assert_eq!((config.events.days, config.events.size_mib), (3, 256));
        let limits = config.images.limits();
        let default = Limits::default();
        assert_eq!(limits.layer_bytes, 5 << 20);
        assert_eq!(limits.layer_entries, default.layer_entries);
        assert_eq!(limits.archive_bytes, default.archive_bytes);
        assert_eq!(config.network.address_pools[0].size, 24);
        assert_eq!(config.storage.teardown_workers, 7);
    }

    #[test]
    fn a_misspelt_name_is_refused_wherever_it_stands() {
        refused("insecure-registry = []", "insecure-registry");
        refused("[netwrok]\n", "netwrok");
        refused("[network]\naddress_pools = []", "address_pools");
        refused("[storage]\nwrokers = 1", "wrokers");
        refused("[events]\nday = 1", "day");
        refused("[images]\nlayer-mib = 1", "layer-mib");
        refused("[runtimes.x]\nprogram = \"/x\"", "program");
        refused("file = \"/x\"", "file");
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        refused("[runtimes.x]\npath = \"crun\"", "not absolute");
        refused("[mirrors]\n\"docker.io\" = [\"m:5000\"]", "m:5000");
        refused("[runtimes.runc-rs]\npath = \"/x\"", "own runtime");
        refused("default-runtime = \"crun\"", "crun");
        refused("log-driver = \"gelf\"", "plugin \"gelf\" not found");
        refused("[log-opts]\nmax-sise = \"1m\"", "'max-sise'");
        refused(
            "[log-opts]\nmax-file = \"0\"",
            "max-file cannot be less than 1",
        );
        refused("[events]\ndays = 0", "days");
        refused("[events]\nsize-mib = 0", "size-mib");
        refused("[images]\nlayer-size-mib = 0", "layer-size-mib");
        refused("[images]\nlayer-entries = 0", "layer-entries");
        refused("[images]\nlayer-size-mib = -1", "layer-size-mib");
        refused("[storage]\nworkers = 0", "workers = 0");
        refused("[network]\naddress-pools = []", "address-pools");
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let missing = Path::new("/nonexistent/config.toml");
        let error = EngineConfig::load(Some(missing)).unwrap_err();
        assert!(base::failure::chain(&error).contains("/nonexistent/config.toml"));
        let config = EngineConfig::read_if_there(missing).unwrap();
        assert_eq!(config, EngineConfig::default());
    }

    #[test]
    fn the_documented_example_says_every_default() {
        let document = include_str!("../../docs/formats/config.md");
        let (_, rest) = document.split_once(EXAMPLE).unwrap();
        let (example, _) = rest.split_once("```").unwrap();
        let expected = EngineConfig {
            file: None,
            ..load(example).unwrap()
        };
        assert_eq!(expected, EngineConfig::default());
        let table: toml::Table = toml::from_str(example).unwrap();
        let keys: Vec<_> = table.keys().map(String::as_str).collect();
        let known = [
            "api",
            "default-runtime",
            "events",
            "images",
            "insecure-registries",
            "log-driver",
            "log-opts",
            "mirrors",
            "network",
            "runtimes",
            "storage",
            "userns-remap",
        ];
        assert_eq!(keys, known);
    }
}
