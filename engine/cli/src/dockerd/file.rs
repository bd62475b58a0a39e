//! Docker's `daemon.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::PathError;
use base::file::read_bounded;
use serde::Deserialize;
use serde_json::Value;

/// Where it is unless the command line says otherwise; it need not be there.
const DEFAULT_FILE: &str = "/etc/docker/daemon.json";
/// The file is not expected to be larger.
const LIMIT_BYTES: u64 = 1 << 20;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("unable to configure the Docker daemon with file {path:?}")]
    Read { path: PathBuf, source: PathError },
    #[error("unable to configure the Docker daemon with file {path:?}: it is not as Docker's")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// What it says; keys that are not here mean nothing to us.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub(super) struct DaemonJson {
    pub hosts: Vec<String>,
    pub data_root: Option<PathBuf>,
    pub exec_root: Option<PathBuf>,
    pub pidfile: Option<PathBuf>,
    pub debug: bool,
    pub log_level: Option<String>,
    pub default_runtime: Option<String>,
    pub runtimes: BTreeMap<String, Runtime>,
    pub insecure_registries: Vec<String>,
    pub registry_mirrors: Vec<String>,
    pub bip: Option<String>,
    pub fixed_cidr: Option<String>,
    pub ipv6: bool,
    pub bip6: Option<String>,
    pub fixed_cidr_v6: Option<String>,
    pub default_address_pools: Vec<Pool>,
    pub log_driver: Option<String>,
    pub log_opts: BTreeMap<String, String>,
    pub storage_driver: Option<String>,
    pub userns_remap: Option<String>,
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// An OCI runtime.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Runtime {
    pub path: String,
    #[serde(rename = "runtimeArgs")]
    pub arguments: Vec<String>,
}

/// Where networks get subnets from.
#[derive(Debug, PartialEq, Deserialize)]
pub(super) struct Pool {
    pub base: String,
    pub size: u8,
}

/// Reads the file at `path`, which must be there; without one, the default file,
/// which need not.
///
/// # Errors
/// When it cannot be read, or a value has another type than Docker's.
pub(super) fn read(path: Option<&Path>) -> Result<DaemonJson, FileError> {
    let default = Path::new(DEFAULT_FILE);
    let at = path.unwrap_or(default);
    let content = match read_bounded(at, LIMIT_BYTES) {
        Err(error) if path.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(DaemonJson::default());
        }
        other => other.map_err(|source| FileError::Read {
            path: at.to_owned(),
            source,
        })?,
    };
    if content.iter().all(u8::is_ascii_whitespace) {
        return Ok(DaemonJson::default());
    }
    serde_json::from_slice(&content).map_err(|source| FileError::Json {
        path: at.to_owned(),
        source,
    })
}
