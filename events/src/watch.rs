//! Hints that a directory changed, from inotify. A hint may be false, merged
//! with others, or lost: whoever gets none must look for itself now and then.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use base::{PathContext as _, PathError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    Hint,
    Signal,
    Timeout,
}

/// Starts to watch `path` for writes and new names.
pub(crate) fn directory(path: &Path) -> Result<OwnedFd, PathError> {
    let hints = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).at("watch", path)?;
    let flags = WatchFlags::MODIFY | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
    inotify::add_watch(&hints, path, flags).at("watch", path)?;
    Ok(hints)
}

/// Waits for a hint and takes all that are there.
pub(crate) fn wait(hints: &OwnedFd, limit: Duration) -> io::Result<Woken> {
    let limit = Timespec::try_from(limit).unwrap_or(Timespec {
        tv_sec: 1,
        tv_nsec: 0,
    });
    let mut descriptors = [PollFd::new(hints, PollFlags::IN)];
    match poll(&mut descriptors, Some(&limit)) {
        Ok(0) => Ok(Woken::Timeout),
        Ok(_) => drain(hints).map(|()| Woken::Hint),
        Err(Errno::INTR) => Ok(Woken::Signal),
        Err(error) => Err(error.into()),
    }
}

fn drain(hints: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
    loop {
        match rustix::io::read(hints, &mut buffer) {
            // The queue holds more only if it filled the buffer.
            Ok((taken, _)) if taken.len() + 512 > 4096 => {}
            Ok(_) | Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
