//! Speaking to a shim: blocking calls with limits, for use from any thread.
//!
//! An async caller waits for [`ControlClient`]'s descriptor and then calls
//! [`ControlClient::receive`], which does not block with a limit of zero.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base::{Failure, PathContext as _, PathError};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType};

use crate::attach::{AttachHello, GRANTED, HELLO_LIMIT_BYTES};
use crate::control::{ControlReply, ControlRequest, Message, Notice, PACKET_LIMIT_BYTES, Packet};
use crate::log_reader::LogPosition;
use crate::{ATTACH_SOCKET, CONTROL_SOCKET, PROTOCOL_VERSION};

/// Notices kept for [`ControlClient::next_notice`]; the oldest go first. The
/// event log has them all.
const NOTICES_LIMIT: usize = 256;
/// How long a shim may take to answer a hello.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// How long a shim may leave connections and requests waiting.
const SEND_LIMIT: Duration = Duration::from_secs(5);

/// Why a call has no answer, or the answer is no.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error(transparent)]
    Connect(#[from] PathError),
    #[error("cannot send a request to the shim")]
    Send(#[source] std::io::Error),
    #[error("cannot receive from the shim")]
    Receive(#[source] std::io::Error),
    #[error("cannot read what the shim says")]
    Decode(#[source] serde_json::Error),
    #[error("the shim has gone")]
    Gone,
    #[error("the shim did not answer in time")]
    TimedOut,
    /// The shim refuses, or the runtime failed.
    #[error(transparent)]
    Refused(#[from] Failure),
}

/// Why a stream cannot be attached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Connect(#[from] PathError),
    #[error("cannot greet the shim")]
    Greet(#[source] std::io::Error),
    #[error("the shim refuses to attach: {0}")]
    Refused(String),
}

/// A connection to a shim's control socket.
#[derive(Debug)]
pub struct ControlClient {
    socket: OwnedFd,
    next_id: u64,
    notices: VecDeque<Notice>,
}

impl ControlClient {
    /// Connects to the shim whose directory this is.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(directory: &Path) -> Result<Self, PathError> {
        let socket = connect(directory, CONTROL_SOCKET, SocketType::SEQPACKET)?;
        Ok(Self {
            socket,
            next_id: 1,
            notices: VecDeque::new(),
        })
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// When the shim has gone, does not answer in time, or refuses.
    pub fn call(
        &mut self,
        request: ControlRequest,
        limit: Duration,
    ) -> Result<ControlReply, CallError> {
        let deadline = Instant::now() + limit;
        let id = self.send(request)?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.receive(left)? {
                Message::Reply {
                    id: answered,
                    result,
                } if answered == id => return Ok(result?),
                // The answer to a call that was given up.
                Message::Reply { .. } => {}
                Message::Notice(notice) => self.keep(notice),
            }
        }
    }

    /// Returns the next notice, waiting for it.
    ///
    /// # Errors
    /// When the shim has gone, or nothing comes in time.
    pub fn next_notice(&mut self, limit: Duration) -> Result<Notice, CallError> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(notice) = self.notices.pop_front() {
                return Ok(notice);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if let Message::Notice(notice) = self.receive(left)? {
                self.keep(notice);
            }
        }
    }

    /// Sends a request and returns its id, for callers that wait themselves.
    ///
    /// # Errors
    /// When the shim has gone.
    pub fn send(&mut self, request: ControlRequest) -> Result<u64, CallError> {
        let id = self.next_id;
        self.next_id += 1;
        let packet = Packet {
            protocol: PROTOCOL_VERSION,
            id,
            request,
        };
        let bytes = serde_json::to_vec(&packet).map_err(CallError::Decode)?;
        rustix::net::send(&self.socket, &bytes, SendFlags::NOSIGNAL)
            .map_err(|errno| CallError::Send(errno.into()))?;
        Ok(id)
    }

    /// Returns the next message, waiting for it up to `limit`.
    ///
    /// # Errors
    /// When the shim has gone, or nothing comes in time.
    pub fn receive(&mut self, limit: Duration) -> Result<Message, CallError> {
        wait_readable(self.socket.as_fd(), limit)?;
        let mut bytes = vec![0; PACKET_LIMIT_BYTES];
        let received = rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT);
        match received {
            Ok((0, _)) => Err(CallError::Gone),
            Ok((length, _)) => serde_json::from_slice(&bytes[..length]).map_err(CallError::Decode),
            Err(Errno::AGAIN | Errno::INTR) => Err(CallError::TimedOut),
            Err(errno) => Err(CallError::Receive(errno.into())),
        }
    }

    fn keep(&mut self, notice: Notice) {
        if self.notices.len() == NOTICES_LIMIT {
            self.notices.pop_front();
        }
        self.notices.push_back(notice);
    }
}

impl AsFd for ControlClient {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Attaches to streams like [`connect_attach`]; returns where in the log they begin too,
/// if that was asked for and is known.
///
/// # Errors
/// As [`connect_attach`].
pub fn connect_attach_at(
    directory: &Path,
    hello: &AttachHello,
) -> Result<(UnixStream, Option<LogPosition>), AttachError> {
    let mut stream: UnixStream = connect(directory, ATTACH_SOCKET, SocketType::STREAM)?.into();
    let answer = greet(&mut stream, hello).map_err(AttachError::Greet)?;
    match answer.strip_prefix(GRANTED) {
        Some("") => Ok((stream, None)),
        Some(position) => match serde_json::from_str(position.trim_start()) {
            Ok(position) => Ok((stream, Some(position))),
            Err(error) => Err(AttachError::Greet(error.into())),
        },
        None => Err(AttachError::Refused(answer)),
    }
}

/// Attaches to streams; what is read and written afterwards are their bytes.
///
/// # Errors
/// When nobody listens there, or the shim refuses.
pub fn connect_attach(directory: &Path, hello: &AttachHello) -> Result<UnixStream, AttachError> {
    connect_attach_at(directory, hello).map(|(stream, _)| stream)
}

fn greet(stream: &mut UnixStream, hello: &AttachHello) -> std::io::Result<String> {
    let mut line = serde_json::to_vec(hello)?;
    line.push(b'\n');
    stream.set_read_timeout(Some(HELLO_LIMIT))?;
    stream.write_all(&line)?;
    let answer = read_line(stream)?;
    stream.set_read_timeout(None)?;
    stream.set_write_timeout(None)?;
    Ok(answer)
}

/// Reads byte by byte: what follows the line is output.
fn read_line(stream: &mut UnixStream) -> std::io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < HELLO_LIMIT_BYTES {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        line.push(byte[0]);
    }
    Err(std::io::Error::from(std::io::ErrorKind::InvalidData))
}

/// Connects through `/proc/self/fd`: the path itself may be too long.
fn connect(directory: &Path, name: &str, kind: SocketType) -> Result<OwnedFd, PathError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = rustix::fs::open(directory, flags, Mode::empty()).at("open", directory)?;
    let short = format!("/proc/self/fd/{}/{name}", handle.as_raw_fd());
    connect_to(&short, kind).at("connect to", directory.join(name))
}

fn connect_to(path: &str, kind: SocketType) -> rustix::io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    // It bounds the wait for a shim that does not accept, too.
    set_socket_timeout(&socket, Timeout::Send, Some(SEND_LIMIT))?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

fn wait_readable(socket: BorrowedFd<'_>, limit: Duration) -> Result<(), CallError> {
    let timeout = Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut ready = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    match rustix::event::poll(&mut ready, Some(&timeout)) {
        Ok(0) => Err(CallError::TimedOut),
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(CallError::Receive(errno.into())),
    }
}
