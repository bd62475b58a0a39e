//! Queries: read netd's files, whether it runs or not.

use std::fs;
use std::io;
use std::path::Path;

use base::file::read_bounded;
use base::{Instance, PathContext as _, PathError, RunId};
use serde::de::DeserializeOwned;

use crate::attach::Lease;
use crate::network::NetworkConfig;

/// No file of ours is larger.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read {path:?} as JSON")]
    Json {
        path: std::path::PathBuf,
        source: serde_json::Error,
    },
}

/// Returns every network, oldest first.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn networks(instance: &Instance) -> Result<Vec<NetworkConfig>, QueryError> {
    let mut all: Vec<NetworkConfig> = read_all(&instance.networks())?;
    all.sort_by_key(|network| (network.created, network.name.clone()));
    Ok(all)
}

/// Returns what every run holds.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn leases(instance: &Instance) -> Result<Vec<Lease>, QueryError> {
    read_leases(&instance.netd().join("leases"))
}

/// Returns the leases in `directory`.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn read_leases(directory: &Path) -> Result<Vec<Lease>, QueryError> {
    read_all(directory)
}

/// Returns what one run holds.
///
/// # Errors
/// When its file exists and cannot be read.
pub fn lease(instance: &Instance, run: &RunId) -> Result<Option<Lease>, QueryError> {
    read_one(&instance.netd().join("leases").join(format!("{run}.json")))
}

fn read_all<T: DeserializeOwned>(directory: &Path) -> Result<Vec<T>, QueryError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", directory)?,
    };
    let mut all = Vec::new();
    for entry in entries {
        let path = entry.at("list", directory)?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden
            && path
                .extension()
                .is_some_and(|extension| extension == "json")
        {
            all.extend(read_one(&path)?);
        }
    }
    Ok(all)
}

/// A file that vanished between listing and reading is not there.
fn read_one<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, QueryError> {
    let content = match read_bounded(path, FILE_LIMIT_BYTES) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|source| QueryError::Json {
        path: path.to_owned(),
        source,
    })
}
