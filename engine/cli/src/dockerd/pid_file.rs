//! The file that says which process the daemon is.

use std::path::{Path, PathBuf};

use base::PathError;
use base::file::{FileMode, make_directories, read_bounded, remove_if_there, replace};

/// A number and the end of its line.
const LIMIT_BYTES: u64 = 64;

/// Why it cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    #[error(
        "failed to start daemon, ensure docker is not running or delete {path:?}: process with PID {pid} is still running"
    )]
    Running { path: PathBuf, pid: u32 },
    #[error(transparent)]
    File(#[from] PathError),
}

/// A file with the own process id, removed when this is dropped.
#[derive(Debug)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file.
    ///
    /// # Errors
    /// When the process of the one that is there lives, or it cannot be written.
    pub(super) fn write(path: &Path) -> Result<Self, PidFileError> {
        if let Some(pid) = living(path)? {
            let path = path.to_owned();
            return Err(PidFileError::Running { path, pid });
        }
        if let Some(directory) = path.parent() {
            make_directories(directory, 0o755)?;
        }
        let pid = std::process::id().to_string();
        replace(path, pid.as_bytes(), FileMode::Public)?;
        Ok(Self(path.to_owned()))
    }
}

/// Returns the process that an earlier file names, if it lives and is another.
fn living(path: &Path) -> Result<Option<u32>, PathError> {
    let content = match read_bounded(path, LIMIT_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let pid = String::from_utf8_lossy(&content).trim().parse::<u32>();
    let lives = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
    Ok(pid
        .ok()
        .filter(|pid| lives(pid) && *pid != std::process::id()))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // What stays names a process that has ended, which nobody takes for the daemon.
        drop(remove_if_there(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_process_keeps_its_file() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("run/docker.pid");
        let own = PidFile::write(&path).unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        assert_eq!(written, std::process::id().to_string());
        drop(own);
        assert!(!path.exists());
        replace(&path, b"1\n", FileMode::Public).unwrap();
        let error = PidFile::write(&path).unwrap_err().to_string();
        assert!(error.contains("PID 1 is still running"), "{error}");
        replace(&path, b"4194305", FileMode::Public).unwrap();
        PidFile::write(&path).unwrap();
    }
}
