//! Following the log from a position.

use std::time::Duration;

use base::PathError;

use crate::position::Position;
use crate::record::Record;

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    File(#[from] PathError),
    /// The records after `after` have been dropped; resync from state files
    /// and go on from `oldest`.
    #[error("events after {after} have been dropped; the oldest kept is {oldest}")]
    Gap { after: Position, oldest: Position },
    /// A record that follows a valid one is missing or damaged.
    #[error("event log damaged after {after}: {what}")]
    Damaged { after: Position, what: String },
}

/// Reads records in order; keeps the offset of the last whole record only.
#[derive(Debug)]
pub struct Reader {}

impl Reader {
    /// Returns the records that are there, at most a bounded number (1024);
    /// empty when the reader has caught up. Never blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_batch(&mut self) -> Result<Vec<Record>, ReadError> {
        Ok(Vec::new())
    }

    /// Blocks until there may be more to read, at most `limit`; returns whether
    /// there is a reason to read. Wake-ups come from inotify, with a slow poll
    /// as the safety net.
    ///
    /// # Errors
    /// When the directory cannot be watched.
    pub fn wait(&mut self, _limit: Duration) -> Result<bool, ReadError> {
        Ok(false)
    }

    /// Returns the position of the last record returned.
    pub fn position(&self) -> Position {
        Position::default()
    }
}
