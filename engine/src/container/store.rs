//! What is kept of a container: `config.json`, written once and durably, and
//! `state.json`, which the event log could rebuild.

use std::path::{Path, PathBuf};

use base::file::{FileMode, read_bounded, replace, write_durable};
use base::{ContainerId, PathContext as _, PathError};
use engine_model::{ContainerConfig, ContainerState};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Requested;

/// No file of a container's is larger.
const FILE_LIMIT_BYTES: u64 = 16 << 20;

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredContainer {
    pub name: String,
    pub config: ContainerConfig,
    pub requested: Requested,
}

/// Why a container's files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read {path:?} as JSON")]
    Decode {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("cannot write {path:?} as JSON")]
    Encode {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Writes `config.json` so that the container exists from then on.
///
/// # Errors
/// When it cannot be written; nothing exists then.
pub fn write_config(directory: &Path, stored: &StoredContainer) -> Result<(), StoreError> {
    let path = directory.join("config.json");
    let content = encode(&path, stored)?;
    Ok(write_durable(&path, &content, FileMode::Private)?)
}

/// Writes `state.json`.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn write_state(directory: &Path, state: &ContainerState) -> Result<(), StoreError> {
    let path = directory.join("state.json");
    let content = encode(&path, state)?;
    Ok(replace(&path, &content, FileMode::Private)?)
}

/// A container's directory as it was found.
#[derive(Debug)]
pub enum Found {
    Whole(Box<StoredContainer>, ContainerState),
    /// Its creation or removal was cut short: to be deleted.
    Leftover,
}

/// Reads a container's directory.
///
/// # Errors
/// When a file is there and cannot be read.
pub fn read(directory: &Path) -> Result<Found, StoreError> {
    let Some(stored) = decode::<StoredContainer>(&directory.join("config.json"))? else {
        return Ok(Found::Leftover);
    };
    // The state is written after the configuration and never synced: without
    // one, the container has been created and nothing more is known.
    let state = decode(&directory.join("state.json"))?.unwrap_or_else(ContainerState::created);
    Ok(Found::Whole(Box::new(stored), state))
}

/// Lists the directories of all containers, by id.
///
/// # Errors
/// When the directory cannot be listed.
pub fn list(containers: &Path) -> Result<Vec<(ContainerId, PathBuf)>, StoreError> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(containers).at("list", containers)? {
        let entry = entry.at("list", containers)?;
        if let Ok(id) = entry.file_name().to_string_lossy().parse() {
            all.push((id, entry.path()));
        }
    }
    all.sort();
    Ok(all)
}

fn encode(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|source| StoreError::Encode {
        path: path.to_owned(),
        source,
    })
}

fn decode<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let content = match read_bounded(path, FILE_LIMIT_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|source| StoreError::Decode {
        path: path.to_owned(),
        source,
    })
}
