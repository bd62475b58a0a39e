//! Where a consumer stands: a low-water mark in `<root>/events/cursors/<consumer>`.

use base::PathError;

use crate::position::Position;

/// A registered consumer's position; retention never passes it (up to a hard cap).
#[derive(Debug)]
pub struct Cursor {}

impl Cursor {
    /// Returns the stored position.
    pub fn position(&self) -> Position {
        Position::default()
    }

    /// Stores `position`, by rename and without a sync.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&mut self, _position: Position) -> Result<(), PathError> {
        Ok(())
    }
}
