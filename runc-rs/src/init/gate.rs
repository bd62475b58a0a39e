//! The gate a created container waits at until it is started: a FIFO in its
//! directory.
//!
//! Init has it open for reading and writing from before it enters its root, so
//! that nothing of the container can stand in its place and waiting needs no
//! other call than `read`. While the FIFO is there the container is *created*;
//! removing it is what makes one of many callers the one who starts it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use base::file::{PathContext as _, PathError};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::io::Errno;

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

/// Opens the gate at `path`, once.
///
/// # Errors
/// `Open` when somebody was faster; when nobody waits there any more.
pub fn open(path: &Path) -> Result<(), GateError> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let gate = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Err(GateError::Open),
        gate => gate.at("open", path)?,
    };
    match rustix::fs::unlink(path) {
        Err(Errno::NOENT) => return Err(GateError::Open),
        unlinked => unlinked.at("remove", path)?,
    }
    Ok(rustix::io::write(&gate, GO).map(drop).at("write", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_many_opens_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("start.fifo");
        let gate = build(&path).unwrap();
        let winners = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| open(&path).is_ok()))
                .collect();
            let tries = tries.into_iter().map(|one| one.join().unwrap());
            tries.filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
        wait(&gate).unwrap();
        assert!(!path.exists());
        assert!(matches!(open(&path), Err(GateError::Open)));
    }

    #[test]
    fn nobody_waits_at_an_abandoned_gate() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("start.fifo");
        drop(build(&path).unwrap());
        assert!(matches!(open(&path), Err(GateError::File(_))));
    }
}
