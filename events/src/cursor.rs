//! Where a consumer stands: a low-water mark in `<root>/events/cursors/<consumer>`.
//!
//! The file is written by rename and without a sync: a cursor that went back
//! makes facts come again, which every handler must bear anyway.

use std::path::{Path, PathBuf};

use base::PathError;
use base::file::{FileMode, make_directories, read_bounded, remove_if_there, replace};
use base::id::is_valid_name;

use crate::log::OpenError;
use crate::position::Position;

const CURSOR_LIMIT_BYTES: u64 = 256;

/// A registered consumer's position; retention never passes it (up to a hard cap).
#[derive(Debug)]
pub struct Cursor {
    path: PathBuf,
    position: Position,
}

impl Cursor {
    /// Opens the cursor of `consumer`, registering it if it is new.
    pub(crate) fn open(log_directory: &Path, consumer: &str) -> Result<Self, OpenError> {
        if !is_valid_name(consumer) {
            return Err(OpenError::ConsumerName(consumer.to_owned()));
        }
        let directory = directory(log_directory);
        let path = directory.join(consumer);
        if let Some(position) = read(&path)? {
            return Ok(Self { path, position });
        }
        make_directories(&directory, 0o700)?;
        let mut cursor = Self {
            path,
            position: Position::default(),
        };
        cursor.store(Position::default())?;
        Ok(cursor)
    }

    /// Returns the stored position.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Stores `position`, by rename and without a sync.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&mut self, position: Position) -> Result<(), PathError> {
        let content = format!("{position}\n");
        replace(&self.path, content.as_bytes(), FileMode::Private)?;
        self.position = position;
        Ok(())
    }

    /// Removes the cursor: its consumer is gone and holds nothing back any more.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(self) -> Result<(), PathError> {
        remove_if_there(&self.path)
    }
}

/// Returns the positions of all registered consumers.
pub(crate) fn all(log_directory: &Path) -> Result<Vec<Position>, PathError> {
    use base::PathContext as _;
    let directory = directory(log_directory);
    let entries = match std::fs::read_dir(&directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", &directory)?,
    };
    let mut positions = Vec::new();
    for entry in entries {
        let name = entry.at("list", &directory)?.file_name();
        // Anything else here is a temporary of a store under way.
        if name.to_str().is_some_and(is_valid_name) {
            positions.extend(read(&directory.join(name))?);
        }
    }
    Ok(positions)
}

/// Returns the position in a cursor's file, nothing if there is no such file.
/// An unreadable text counts as the beginning: everything kept comes again.
fn read(path: &Path) -> Result<Option<Position>, PathError> {
    match read_bounded(path, CURSOR_LIMIT_BYTES) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            Ok(Some(text.trim().parse().unwrap_or_default()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn directory(log_directory: &Path) -> PathBuf {
    log_directory.join("cursors")
}
