//! Opening, appending, rotation and durability.

use std::path::Path;

use base::PathError;
use base::boot::BootId;

use crate::cursor::Cursor;
use crate::position::Position;
use crate::reader::Reader;
use crate::record::Draft;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] PathError),
}

/// Why an append failed; nothing of the batch is in the log then.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("event {kind} is {size_bytes} bytes long, more than the limit of 64 KiB")]
    TooLarge {
        kind: &'static str,
        size_bytes: usize,
    },
}

/// An open event log; cheap to clone, shared by all threads of a process.
#[derive(Debug, Clone)]
pub struct Log {}

impl Log {
    /// Opens the log in `directory`, making it if it is not there. The first
    /// opener after a boot repairs the tail and begins a new epoch.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be made, read or repaired.
    pub fn open(_directory: &Path) -> Result<Self, OpenError> {
        Ok(Self {})
    }

    /// Appends `drafts` as one write and returns their positions. Not synced.
    ///
    /// # Errors
    /// When one is too large or the write fails.
    pub fn append(&self, _drafts: &[Draft]) -> Result<Vec<Position>, AppendError> {
        Ok(Vec::new())
    }

    /// Appends `drafts` and returns once they are on disk (group commit).
    ///
    /// # Errors
    /// As `append`, and when the sync fails.
    pub fn append_durable(&self, drafts: &[Draft]) -> Result<Vec<Position>, AppendError> {
        let positions = self.append(drafts)?;
        if let Some(last) = positions.last() {
            self.wait_durable(*last)?;
        }
        Ok(positions)
    }

    /// Returns once everything up to `position` is on disk.
    ///
    /// # Errors
    /// When the sync fails.
    pub fn wait_durable(&self, _position: Position) -> Result<(), AppendError> {
        Ok(())
    }

    /// Returns the position of the newest whole record, zero for an empty log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn last(&self) -> Result<Position, OpenError> {
        Ok(Position::default())
    }

    /// Returns a reader of all records after `position`; `Position::default()`
    /// is before the oldest one kept.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_after(&self, _position: Position) -> Result<Reader, OpenError> {
        Ok(Reader {})
    }

    /// Returns the cursor of `consumer`, at zero if it is new.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn cursor(&self, _consumer: &str) -> Result<Cursor, OpenError> {
        Ok(Cursor {})
    }

    /// Returns the epoch of this boot.
    pub fn epoch(&self) -> u64 {
        0
    }

    /// Returns the boot this log was opened in.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn boot_id(&self) -> Result<BootId, PathError> {
        BootId::current()
    }
}
