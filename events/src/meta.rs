//! `meta.json`: which log this is, its format version, epoch and boot.

use std::path::{Path, PathBuf};

use base::boot::BootId;
use base::file::{FileMode, read_bounded, write_durable};
use serde::{Deserialize, Serialize};

use crate::log::OpenError;

/// The format this crate writes and reads.
pub(crate) const FORMAT_VERSION: u32 = 1;
const META_LIMIT_BYTES: u64 = 4096;

/// The content of `meta.json`; written before the epoch's first segment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Meta {
    /// Tells one log from another at the same path.
    pub(crate) log: String,
    pub(crate) version: u32,
    pub(crate) epoch: u64,
    /// The first seq of the epoch.
    pub(crate) first: u64,
    pub(crate) boot_id: BootId,
}

impl Meta {
    /// Returns the description of a new log.
    pub(crate) fn new_log(epoch: u64, first: u64, boot_id: BootId) -> Self {
        Self {
            log: uuid::Uuid::new_v4().to_string(),
            version: FORMAT_VERSION,
            epoch,
            first,
            boot_id,
        }
    }

    /// Returns the log's description, or nothing for a directory without one.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = path(directory);
        let content = match read_bounded(&path, META_LIMIT_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let meta: Self =
            serde_json::from_slice(&content).map_err(|source| OpenError::Meta { path, source })?;
        if meta.version != FORMAT_VERSION {
            return Err(OpenError::Version {
                found: meta.version,
                known: FORMAT_VERSION,
            });
        }
        Ok(Some(meta))
    }

    pub(crate) fn write(&self, directory: &Path) -> Result<(), OpenError> {
        let path = path(directory);
        let mut content = serde_json::to_vec(self).map_err(|source| OpenError::Meta {
            path: path.clone(),
            source,
        })?;
        content.push(b'\n');
        write_durable(&path, &content, FileMode::Private)?;
        Ok(())
    }
}

fn path(directory: &Path) -> PathBuf {
    directory.join("meta.json")
}
