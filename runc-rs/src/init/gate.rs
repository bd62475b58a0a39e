//! The gate a created container waits at until it is started: a FIFO in its
//! directory.
//!
//! Init has it open for reading and writing from before it enters its root, so
//! that nothing of the container can stand in its place and waiting needs no
//! other call than `read`. While the FIFO is there and init has it open the
//! container is *created*. Of many callers the one that locks the FIFO starts
//! it: it writes, and then removes it, so that one killed at any moment leaves a
//! container that is either created or started.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use base::file::{PathContext as _, PathError};
use rustix::fs::{CWD, FileType, FlockOperation, Mode, OFlags, flock, mknodat};
use rustix::io::Errno;

use crate::log::Logger;

const GO: &[u8] = b"s";

/// Says why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error("container has been started already")]
    Open,
    #[error(transparent)]
    File(#[from] PathError),
}

/// Makes the gate at `path` and returns init's side of it.
///
/// # Errors
/// When it cannot be made.
pub fn build(path: &Path) -> Result<OwnedFd, PathError> {
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, path, FileType::Fifo, mode, 0).at("make", path)?;
    // For both, so that waiting does not end when the runtime does.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty()).at("open", path)
}

/// Waits until somebody opens the gate.
///
/// # Errors
/// When the wait fails.
pub fn wait(gate: &OwnedFd) -> io::Result<()> {
    let mut word = [0];
    loop {
        match rustix::io::read(gate, &mut word) {
            Err(Errno::INTR) => {}
            read => return Ok(read.map(drop)?),
        }
    }
}

/// Returns whether somebody waits at the gate at `path`.
pub fn is_waited_at(path: &Path) -> bool {
    match open_to_write(path) {
        Ok(_) => true,
        // Not there, or nobody has it open.
        Err(Errno::NOENT | Errno::NXIO) => false,
        Err(_) => path.exists(),
    }
}

/// Opens the gate at `path`, once.
///
/// # Errors
/// `Open` when somebody was faster, or nobody waits there any more.
pub fn open(path: &Path, log: &Logger) -> Result<(), GateError> {
    let gate = match open_to_write(path) {
        Err(Errno::NOENT) => return Err(GateError::Open),
        Err(Errno::NXIO) => {
            // Who opened it was killed before this.
            remove(path)?;
            return Err(GateError::Open);
        }
        gate => gate.at("open", path)?,
    };
    match flock(&gate, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Err(GateError::Open),
        locked => locked.at("lock", path)?,
    }
    // Somebody may have been here since the gate was found.
    if !path.exists() {
        return Err(GateError::Open);
    }
    log.step("locked the gate");
    rustix::io::write(&gate, GO).at("write", path)?;
    log.step("opened the gate");
    remove(path)?;
    log.step("removed the gate");
    Ok(())
}

fn open_to_write(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty())
}

fn remove(path: &Path) -> Result<(), PathError> {
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed.at("remove", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogFormat, Verbosity};

    fn log() -> Logger {
        Logger::open(None, LogFormat::Text, Verbosity::Normal).unwrap()
    }

    #[test]
    fn one_of_many_opens_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exec.fifo");
        let gate = build(&path).unwrap();
        let winners = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| open(&path, &log()).is_ok()))
                .collect();
            let tries = tries.into_iter().map(|one| one.join().unwrap());
            tries.filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
        wait(&gate).unwrap();
        assert!(!path.exists());
        assert!(matches!(open(&path, &log()), Err(GateError::Open)));
    }

    #[test]
    fn nobody_waits_at_an_abandoned_gate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("exec.fifo");
        let gate = build(&path).unwrap();
        assert!(is_waited_at(&path));
        drop(gate);
        assert!(!is_waited_at(&path));
        assert!(matches!(open(&path, &log()), Err(GateError::Open)));
        assert!(!path.exists(), "what a killed starter left is removed");
    }
}
