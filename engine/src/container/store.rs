//! What is kept of a container: `config.json`, written once and durably, and
//! `state.json`, which the event log could rebuild.
//!
//! Beside them `state.reserve` holds the space of one more state, since on a
//! full disk a container must be able to end: it may be the one that fills it.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::file::{FileMode, read_bounded, replace, write_durable};
use base::{ContainerId, PathContext as _, PathError};
use engine_model::{ContainerConfig, ContainerState};
use rustix::fs::{CWD, RenameFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Requested;

/// No file of a container's is larger.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
const STATE: &str = "state.json";
/// The state until the event log tells of the container.
const UNTOLD: &str = "state.untold";
const RESERVE: &str = "state.reserve";
/// A block of most file systems; a state is some hundred bytes.
const RESERVE_BYTES: usize = 4096;

/// `config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredContainer {
    pub name: String,
    pub config: ContainerConfig,
    pub requested: Requested,
    /// Who it belongs to, where its creator may only have containers of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
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

/// Writes the state of a container to be, and takes the reserve of later ones.
///
/// # Errors
/// When either cannot be written.
pub fn prepare_state(directory: &Path) -> Result<(), StoreError> {
    let reserve = directory.join(RESERVE);
    replace(&reserve, &[b' '; RESERVE_BYTES], FileMode::Private)?;
    let path = directory.join(UNTOLD);
    let content = encode(&path, &ContainerState::created())?;
    Ok(replace(&path, &content, FileMode::Private)?)
}

/// Notes that the event log tells of the container.
///
/// # Errors
/// When its state cannot be renamed.
pub fn note_told(directory: &Path) -> Result<(), StoreError> {
    let (untold, path) = (directory.join(UNTOLD), directory.join(STATE));
    Ok(std::fs::rename(untold, &path).at("rename to", &path)?)
}

/// Writes `state.json`.
///
/// # Errors
/// When it cannot be written; the old one stays.
pub fn write_state(directory: &Path, state: &ContainerState) -> Result<(), StoreError> {
    let path = directory.join(STATE);
    let content = encode(&path, state)?;
    match replace(&path, &content, FileMode::Private) {
        Err(full) if full.is_full() => {
            let written = write_in_reserve(directory, &content);
            // What can be done about is the full disk.
            Ok(written.map_err(|_| full)?)
        }
        written => Ok(written?),
    }
}

/// Writes into the space of the reserve, which then changes places with the old
/// state. Both have a block of their own, so that this can go on for ever; only
/// a file system that copies on write needs a new one all the same.
fn write_in_reserve(directory: &Path, content: &[u8]) -> Result<(), PathError> {
    let (reserve, path) = (directory.join(RESERVE), directory.join(STATE));
    let file = OpenOptions::new().write(true).open(&reserve);
    let file = file.at("open", &reserve)?;
    file.write_all_at(content, 0).at("write", &reserve)?;
    let length = content.len() as u64;
    file.set_len(length).at("cut", &reserve)?;
    rustix::fs::renameat_with(CWD, &reserve, CWD, &path, RenameFlags::EXCHANGE)
        .at("exchange with the reserve", &path)
}

/// A container's directory as it was found.
#[derive(Debug)]
pub enum Found {
    Whole(Box<StoredContainer>, ContainerState),
    /// It has been created, and the event log may not tell of it.
    Untold(Box<StoredContainer>),
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
    // The state has its name once the container has been told of, and is never synced:
    // without one, the container has been created and nothing more is known.
    Ok(match decode(&directory.join(STATE))? {
        Some(state) => Found::Whole(Box::new(stored), state),
        None => Found::Untold(Box::new(stored)),
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_written_into_the_reserve_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        prepare_state(directory.path()).unwrap();
        note_told(directory.path()).unwrap();
        for error in ["", "a longer text than before", "short"] {
            let state = ContainerState {
                error: error.to_owned(),
                ..ContainerState::created()
            };
            let content = encode(Path::new(STATE), &state).unwrap();
            write_in_reserve(directory.path(), &content).unwrap();
            let found: Option<ContainerState> = decode(&directory.path().join(STATE)).unwrap();
            assert_eq!(found, Some(state));
        }
        assert!(directory.path().join(RESERVE).exists());
    }
}
