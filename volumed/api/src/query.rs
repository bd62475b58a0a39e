//! Queries: read volumed's files, whether it runs or not.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use base::file::read_bounded;
use base::{Instance, PathContext as _, PathError, RunId, VolumeName};
use serde::de::DeserializeOwned;

use crate::rootfs::Holder;
use crate::volume::VolumeConfig;

/// No file of ours is larger.
const FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read {path:?} as JSON")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
}

/// Returns where a volume's data is on the host.
pub fn data_directory(instance: &Instance, name: &VolumeName) -> PathBuf {
    instance.volume(name).join("_data")
}

/// Returns one volume.
///
/// # Errors
/// When its file exists and cannot be read.
pub fn volume(instance: &Instance, name: &VolumeName) -> Result<Option<VolumeConfig>, QueryError> {
    read_one(&instance.volume(name).join("volume.json"))
}

/// Returns every volume, by name.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn volumes(instance: &Instance) -> Result<Vec<VolumeConfig>, QueryError> {
    let directory = instance.volumes();
    let mut all: Vec<VolumeConfig> = Vec::new();
    for path in list(&directory)? {
        all.extend(read_one(&path.join("volume.json"))?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Returns what one run holds.
///
/// # Errors
/// When its file exists and cannot be read.
pub fn holder(instance: &Instance, run: &RunId) -> Result<Option<Holder>, QueryError> {
    read_one(
        &instance
            .volumed()
            .join("holders")
            .join(format!("{run}.json")),
    )
}

/// Returns what every run holds.
///
/// # Errors
/// When the directory or a file in it cannot be read.
pub fn holders(instance: &Instance) -> Result<Vec<Holder>, QueryError> {
    let mut all = Vec::new();
    for path in list(&instance.volumed().join("holders"))? {
        all.extend(read_one(&path)?);
    }
    Ok(all)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, QueryError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", directory)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.at("list", directory)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

/// A file that vanished between listing and reading is not there.
fn read_one<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, QueryError> {
    let content = match read_bounded(path, FILE_LIMIT_BYTES) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        other => other?,
    };
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|source| QueryError::Json {
        path: path.to_owned(),
        source,
    })
}
