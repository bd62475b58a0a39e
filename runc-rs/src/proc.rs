//! What procfs says about processes: identity that survives pid reuse, and
//! ends.
//!
//! A pid alone is never trusted: a process is its pid and its start time, and
//! is signalled through a pidfd opened before the start time is compared.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::file::{PathContext as _, PathError, read_bounded};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

const STAT_LIMIT_BYTES: u64 = 4096;

/// A process, told apart from a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// Field 22 of `/proc/<pid>/stat`, in clock ticks since boot.
    pub start_time: u64,
}

/// A process that was alive, and is the right one, when this was made.
#[derive(Debug)]
pub struct LiveProcess {
    identity: ProcessIdentity,
    pidfd: OwnedFd,
}

impl ProcessIdentity {
    /// Reads the identity of the process that has `pid` now.
    ///
    /// # Errors
    /// When there is none.
    pub fn of(pid: i32) -> Result<Self, PathError> {
        let (_, start_time) = read_stat(pid)?;
        Ok(Self { pid, start_time })
    }

    /// Reads the caller's own identity.
    ///
    /// # Errors
    /// When procfs is not mounted.
    pub fn own() -> Result<Self, PathError> {
        Self::of(rustix::process::getpid().as_raw_nonzero().get())
    }

    /// Returns the process if it still runs: not gone, not a zombie, and not
    /// another one that got its pid.
    pub fn open(self) -> Option<LiveProcess> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        let (state, start_time) = read_stat(self.pid).ok()?;
        let live = start_time == self.start_time && !matches!(state, 'Z' | 'X' | 'x');
        live.then_some(LiveProcess {
            identity: self,
            pidfd,
        })
    }
}

impl LiveProcess {
    /// Returns the process's pid and start time.
    pub fn identity(&self) -> ProcessIdentity {
        self.identity
    }

    /// Returns the descriptor that stands for the process.
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }

    /// Returns the path of a file of the process in procfs.
    pub fn path(&self, name: &str) -> PathBuf {
        Path::new("/proc")
            .join(self.identity.pid.to_string())
            .join(name)
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// `ESRCH` when the process has ended meanwhile.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.pidfd, signal)?)
    }

    /// Waits until the process has ended and returns whether it did in time.
    ///
    /// # Errors
    /// When the wait itself fails.
    pub fn wait_end(&self, limit: Duration) -> io::Result<bool> {
        let mut watched = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        Ok(poll(&mut watched, Some(&limit))? > 0)
    }
}

fn read_stat(pid: i32) -> Result<(char, u64), PathError> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let text = read_bounded(&path, STAT_LIMIT_BYTES)?;
    parse_stat(&String::from_utf8_lossy(&text))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
        .at("parse", &path)
}

/// Returns the state letter and the start time from a `stat` line. The command
/// name, in parentheses, may itself hold spaces and parentheses.
fn parse_stat(line: &str) -> Option<(char, u64)> {
    let (_, rest) = line.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_cannot_forge_the_fields() {
        let line = "7 (a) Z 1) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 9876 1 1";
        assert_eq!(parse_stat(line), Some(('S', 9876)));
        assert_eq!(parse_stat("7 (sh) S 1"), None);
    }

    #[test]
    fn a_reused_pid_is_not_the_process() {
        let own = ProcessIdentity::own().unwrap();
        assert!(own.open().is_some());
        let earlier = ProcessIdentity {
            start_time: own.start_time - 1,
            ..own
        };
        assert!(earlier.open().is_none());
    }

    #[test]
    fn a_zombie_has_ended() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let identity = ProcessIdentity::of(child.id() as i32).unwrap();
        if let Some(live) = identity.open() {
            assert!(live.wait_end(Duration::from_secs(10)).unwrap());
        }
        assert!(identity.open().is_none());
        child.wait().unwrap();
    }
}
