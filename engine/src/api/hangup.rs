//! Whether a client that only listens is still there.
//!
//! A client may end its half of a connection and wait for the answer, so that the end
//! of what it sends says nothing. One that has gone is noticed when something is sent
//! to it; to whoever waits for an event that never comes, nothing is.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// How often it is looked.
const PERIOD: Duration = Duration::from_secs(1);
/// How many times in a row a client may have ended its half before it counts as gone:
/// over TCP nobody can tell one from the other.
const PATIENCE: u32 = 60;
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// A connection whose socket can be looked at.
pub(super) trait Watched: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    fn descriptor(&self) -> BorrowedFd<'_>;
}

impl Watched for UnixStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Watched for TcpStream {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }
}

impl Watched for TlsStream<TcpStream> {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.get_ref().0.as_fd()
    }
}

/// Returns when the other end of a socket has gone. Only while an answer is sent:
/// what a request has begun goes on until it can be answered.
pub(super) async fn of(socket: OwnedFd, is_answered: &AtomicBool) {
    let mut ended = 0;
    loop {
        tokio::time::sleep(PERIOD).await;
        if !is_answered.load(Ordering::Relaxed) {
            ended = 0;
            continue;
        }
        let mut watched = [PollFd::new(&socket, PollFlags::RDHUP)];
        if poll(&mut watched, Some(&NOW)).is_err() {
            continue;
        }
        let seen = watched[0].revents();
        if seen.intersects(PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        ended = match seen.contains(PollFlags::RDHUP) {
            true => ended + 1,
            false => 0,
        };
        if ended >= PATIENCE {
            return;
        }
    }
}
