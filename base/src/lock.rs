//! Advisory locks on files, freed by the kernel when their holder dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::file::{PathContext as _, PathError};

/// An exclusive lock, held until dropped or until the process dies.
///
/// The descriptor is close-on-exec: a child never inherits the lock.
#[derive(Debug)]
pub struct FileLock(File);

impl AsRawFd for FileLock {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl FileLock {
    /// Waits for the lock on `path`, which is made if it is not there.
    ///
    /// # Errors
    /// When the file cannot be opened or locked.
    pub fn acquire(path: &Path) -> Result<Self, PathError> {
        loop {
            let file = open(path)?;
            file.lock().at("lock", path)?;
            if is_at(&file, path)? {
                return Ok(Self(file));
            }
        }
    }

    /// Takes the lock on `path` if nobody holds it, else returns `None`.
    ///
    /// # Errors
    /// When the file cannot be opened or locked for another reason.
    pub fn try_acquire(path: &Path) -> Result<Option<Self>, PathError> {
        loop {
            let file = open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path)? => return Ok(Some(Self(file))),
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error).at("lock", path),
            }
        }
    }

    /// Returns whether somebody holds the lock on `path`; a missing file is not held.
    ///
    /// # Errors
    /// When an existing file cannot be opened or tested.
    pub fn is_held(path: &Path) -> Result<bool, PathError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.at("open", path)?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error).at("lock", path),
        }
    }

    /// Writes `<pid> <version>` into the locked file, for [`holder`] and for people.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_holder(&self, path: &Path, version: &str) -> Result<(), PathError> {
        let mut file = &self.0;
        let text = format!("{} {version}\n", std::process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(text.as_bytes()));
        written.at("write", path)
    }

    /// Returns the locked file, to write a pid or a build into it.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Returns the process id recorded in a lock that is held; `None` if nobody
/// holds it or nothing is recorded.
///
/// # Errors
/// When the file cannot be read or tested.
pub fn holder(path: &Path) -> Result<Option<i32>, PathError> {
    const LIMIT_BYTES: u64 = 256;
    if !FileLock::is_held(path)? {
        return Ok(None);
    }
    let content = crate::file::read_bounded(path, LIMIT_BYTES)?;
    let text = String::from_utf8_lossy(&content);
    Ok(text
        .split_whitespace()
        .next()
        .and_then(|pid| pid.parse().ok()))
}

fn open(path: &Path) -> Result<File, PathError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .at("open", path)
}

/// Returns whether a locked file is still the one at `path`: it may have been
/// removed, and another made, between its opening and its locking.
fn is_at(file: &File, path: &Path) -> Result<bool, PathError> {
    let ours = file.metadata().at("look at", path)?;
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        there => {
            let there = there.at("look at", path)?;
            Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_removed_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let opened = open(&path).unwrap();
        assert!(is_at(&opened, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&opened, &path).unwrap());
        let _other = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(!is_at(&opened, &path).unwrap());
    }

    #[test]
    fn a_lock_is_exclusive_until_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert!(!FileLock::is_held(&path).unwrap());
        let first = FileLock::try_acquire(&path).unwrap().unwrap();
        assert!(FileLock::try_acquire(&path).unwrap().is_none());
        assert!(FileLock::is_held(&path).unwrap());
        assert_eq!(holder(&path).unwrap(), None, "nothing is recorded yet");
        first.record_holder(&path, "1.0").unwrap();
        assert_eq!(holder(&path).unwrap(), Some(std::process::id() as i32));
        drop(first);
        assert_eq!(holder(&path).unwrap(), None, "nobody holds it");
        assert!(FileLock::try_acquire(&path).unwrap().is_some());
    }
}
