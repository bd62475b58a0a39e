//! Where a writable layer goes before it is deleted: `<root>/volumes/.trash/`.
//!
//! A rename makes it vanish at once and whole, so that a crash never leaves half
//! of one; the janitor deletes it behind everybody's back.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use base::file::make_directories;
use base::{PathContext as _, PathError, RequestId};

use crate::purge;

/// How long the janitor leaves alone what it could not delete.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// The trash of an installation.
#[derive(Debug)]
pub struct Trash {
    directory: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_dirty: bool,
    is_closed: bool,
}

impl Trash {
    /// Opens the trash in `directory`, made if it is not there; what a former
    /// process left in it will be deleted.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(directory: PathBuf) -> Result<Self, PathError> {
        make_directories(&directory, 0o700)?;
        let state = Mutex::new(State {
            is_dirty: true,
            is_closed: false,
        });
        Ok(Self {
            directory,
            state,
            changed: Condvar::new(),
        })
    }

    /// Throws `path` away; one that is not there is no error.
    ///
    /// # Errors
    /// When it cannot be renamed, or, on another file system, deleted.
    pub fn discard(&self, path: &Path) -> Result<(), PathError> {
        let target = self.directory.join(RequestId::random().as_str());
        match fs::rename(path, &target) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                purge::purge_with_root(path).map(drop)
            }
            other => {
                other.at("throw away", path)?;
                self.update(|state| state.is_dirty = true);
                Ok(())
            }
        }
    }

    /// Deletes what is thrown away until the trash is closed.
    pub fn empty_until_closed(&self) {
        while self.wait_for_work() {
            match purge::purge(&self.directory) {
                Ok(purged) => tracing::debug!(?purged, "trash emptied"),
                Err(error) => {
                    tracing::warn!(error = %base::failure::chain(&error), "trash stays");
                    self.wait_for_retry();
                }
            }
        }
    }

    /// Makes `empty_until_closed` return.
    pub fn close(&self) {
        self.update(|state| state.is_closed = true);
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait_for_work(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |state: &mut State| !state.is_dirty && !state.is_closed;
        let waited = self.changed.wait_while(state, idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.is_dirty = false;
        !state.is_closed
    }

    fn wait_for_retry(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = |state: &mut State| !state.is_closed;
        drop(self.changed.wait_timeout_while(state, RETRY_AFTER, open));
        self.update(|state| state.is_dirty = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_is_discarded_vanishes_at_once_and_is_deleted_behind() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("trash");
        fs::create_dir_all(place.join("left-over/x")).unwrap();
        let upper = directory.path().join("upper");
        fs::create_dir_all(upper.join("a/b")).unwrap();
        let trash = Trash::open(place.clone()).unwrap();
        trash.discard(&upper).unwrap();
        trash.discard(&upper).unwrap();
        assert!(!upper.exists());
        std::thread::scope(|scope| {
            scope.spawn(|| trash.empty_until_closed());
            let started = Instant::now();
            while fs::read_dir(&place).unwrap().count() > 0 {
                assert!(started.elapsed() < Duration::from_secs(10), "never emptied");
                std::thread::yield_now();
            }
            trash.close();
        });
    }
}
