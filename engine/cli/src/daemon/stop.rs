//! Stopping the daemon: whoever listens on the socket is told to end by a
//! signal to its descriptor, so that no reused process id is ever hit.
//!
//! Containers keep running; stopping those is the command's own first step.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use engine_api::socket::ShortPath;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{DaemonOptions, StartError, start};

/// How long the daemon may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Why the daemon did not stop.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StopError {
    #[error("cannot find out who listens on the engine's socket")]
    Peer(#[source] io::Error),
    #[error("cannot signal the engine (process {pid})")]
    Signal { pid: i32, source: io::Error },
    #[error("the engine (process {pid}) did not end within {STOP_LIMIT:?}")]
    Stuck { pid: i32 },
    #[error(transparent)]
    Unit(#[from] StartError),
}

/// Stops the daemon that listens on `socket` and waits until it is gone;
/// nobody listening is no error.
///
/// # Errors
/// When it cannot be signalled or does not end.
pub(crate) fn stop(options: &DaemonOptions, socket: &Path) -> Result<(), StopError> {
    if start::is_default(options) && start::has_unit() {
        return Ok(start::systemctl("stop")?);
    }
    let Some((pid, daemon)) = listener(socket).map_err(StopError::Peer)? else {
        return Ok(());
    };
    let pid = pid.as_raw_nonzero().get();
    let signalled = pidfd_send_signal(&daemon, Signal::TERM);
    signalled.map_err(|error| StopError::Signal {
        pid,
        source: error.into(),
    })?;
    match wait(&daemon) {
        Ok(true) => Ok(()),
        Ok(false) => Err(StopError::Stuck { pid }),
        Err(source) => Err(StopError::Signal { pid, source }),
    }
}

/// Returns the process that listens on `socket`, `None` if nobody does.
fn listener(socket: &Path) -> io::Result<Option<(Pid, OwnedFd)>> {
    use io::ErrorKind as K;
    let connect = ShortPath::new(socket).and_then(|short| UnixStream::connect(short.path()));
    let stream = match connect {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), K::NotFound | K::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let pid = rustix::net::sockopt::socket_peercred(&stream)?.pid;
    if pid.as_raw_nonzero().get() == 1 {
        return Err(io::Error::other("process 1 holds the socket"));
    }
    Ok(Some((pid, pidfd_open(pid, PidfdFlags::empty())?)))
}

/// Waits for the end of a process; returns whether it came.
fn wait(process: &OwnedFd) -> io::Result<bool> {
    let limit = Timespec::try_from(STOP_LIMIT).map_err(io::Error::other)?;
    let mut events = [PollFd::new(process, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut events, Some(&limit)))? > 0)
}
