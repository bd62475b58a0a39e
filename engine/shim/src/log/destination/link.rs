//! The socket to a destination: made, lost, and made again.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine_shim_api::SyslogAddress;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect,
    socket_with,
};

/// Where the host's own syslog may listen.
const LOCAL: [&str; 3] = ["/dev/log", "/var/run/syslog", "/var/run/log"];
/// How long a connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The first and the longest pause between two attempts.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
/// What a server says is thrown away.
const DISCARD_BYTES: usize = 1024;

/// Says that a destination cannot be reached, in Docker's words.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("journald is not enabled on this host")]
    Journald,
    #[error("Unix syslog delivery error")]
    Local,
    #[error("dial {0}: {1}")]
    Dial(String, String),
}

/// How a send went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    All,
    /// The rest when there is room.
    Part(usize),
    /// Not this one: it is too long, or nobody takes such datagrams.
    Lost,
}

/// One destination's socket, or the wait for one.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    state: State,
    pause: Duration,
}

#[derive(Debug)]
enum State {
    Connected(OwnedFd),
    Connecting { socket: OwnedFd, due: Instant },
    Away { retry: Instant },
}

#[derive(Debug, Clone)]
enum Target {
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Unix(PathBuf),
    Unixgram(PathBuf),
}

impl Target {
    fn is_stream(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Unix(_))
    }

    fn words(&self) -> String {
        let say = |kind: &str, place: &dyn Display| format!("{kind} {place}");
        match self {
            Self::Udp(address) => say("udp", address),
            Self::Tcp(address) => say("tcp", address),
            Self::Unix(path) => say("unix", &path.display()),
            Self::Unixgram(path) => say("unixgram", &path.display()),
        }
    }
}

impl Link {
    /// Connects to the journal.
    ///
    /// # Errors
    /// When nobody is there.
    pub(super) fn journal(socket: &Path) -> Result<Self, ConnectError> {
        Self::connect(Target::Unixgram(socket.to_owned())).map_err(|_| ConnectError::Journald)
    }

    /// Connects to a syslog server.
    ///
    /// # Errors
    /// When nobody is there, of a kind that tells.
    pub(super) fn syslog(address: &SyslogAddress) -> Result<Self, ConnectError> {
        match address {
            SyslogAddress::Local => Self::local(),
            SyslogAddress::Udp(address) => Self::connect(Target::Udp(*address)),
            SyslogAddress::Tcp(address) => Self::connect(Target::Tcp(*address)),
            SyslogAddress::Unix(path) => Self::connect(Target::Unix(path.clone())),
            SyslogAddress::Unixgram(path) => Self::connect(Target::Unixgram(path.clone())),
        }
    }

    fn local() -> Result<Self, ConnectError> {
        for target in [Target::Unixgram, Target::Unix] {
            for path in LOCAL {
                if let Ok(link) = Self::connect(target(path.into())) {
                    return Ok(link);
                }
            }
        }
        Err(ConnectError::Local)
    }

    /// Connects, waiting for it: nothing runs yet.
    fn connect(target: Target) -> Result<Self, ConnectError> {
        let failed = |reason: String| ConnectError::Dial(target.words(), reason);
        let in_connect = |errno: Errno| failed(format!("connect: {}", words(errno)));
        let (socket, is_made) = begin(&target).map_err(in_connect)?;
        if !is_made {
            let limit = Timespec {
                tv_sec: CONNECT_LIMIT.as_secs().cast_signed(),
                tv_nsec: 0,
            };
            let mut waited = [PollFd::new(&socket, PollFlags::OUT)];
            if rustix::event::poll(&mut waited, Some(&limit)) == Ok(0) {
                return Err(failed("i/o timeout".to_owned()));
            }
            made(&socket).map_err(in_connect)?;
        }
        Ok(Self {
            target,
            state: State::Connected(socket),
            pause: FIRST_RETRY,
        })
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_))
    }

    pub(super) fn is_away(&self) -> bool {
        matches!(self.state, State::Away { .. })
    }

    /// Sends a message, or as much of it as there is room for.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub(super) fn send(&mut self, message: &[u8]) -> Result<Sent, String> {
        let State::Connected(socket) = &self.state else {
            return Ok(Sent::Part(0));
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut result = rustix::net::send(socket, message, flags);
        // What a datagram before it has met is told to the next one.
        if matches!(self.target, Target::Udp(_)) && result == Err(Errno::CONNREFUSED) {
            result = rustix::net::send(socket, message, flags);
        }
        match result {
            Ok(length) if length >= message.len() || !self.target.is_stream() => Ok(Sent::All),
            Ok(length) => Ok(Sent::Part(length)),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Sent::Part(0)),
            Err(Errno::MSGSIZE) => Ok(Sent::Lost),
            // Nobody is told that a datagram has got nowhere.
            Err(_) if matches!(self.target, Target::Udp(_)) => Ok(Sent::Lost),
            Err(errno) => Err(words(errno)),
        }
    }

    /// Gives the connection up; another is tried after a pause.
    pub(super) fn lose(&mut self, now: Instant) {
        self.state = State::Away {
            retry: now + self.pause,
        };
        self.pause = (self.pause * 2).min(LAST_RETRY);
    }

    /// Returns what to wait for.
    pub(super) fn watched(&self, waiting: bool) -> Option<(BorrowedFd<'_>, PollFlags)> {
        match &self.state {
            State::Away { .. } => None,
            State::Connecting { socket, .. } => Some((socket.as_fd(), PollFlags::OUT)),
            State::Connected(socket) => {
                let mut events = PollFlags::empty();
                // A stream that ends is heard of before the next line is lost.
                events.set(PollFlags::IN, self.target.is_stream());
                events.set(PollFlags::OUT, waiting);
                (!events.is_empty()).then_some((socket.as_fd(), events))
            }
        }
    }

    /// Returns when the next attempt is due, or the one under way over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Connected(_) => None,
            State::Connecting { due, .. } => Some(*due),
            State::Away { retry } => Some(*retry),
        }
    }

    /// Gives up what takes too long, or tries again.
    pub(super) fn advance(&mut self, now: Instant) {
        if !self.is_away() {
            return self.lose(now);
        }
        match begin(&self.target) {
            Ok((socket, true)) => self.connected(socket),
            Ok((socket, false)) => {
                let due = now + CONNECT_LIMIT;
                self.state = State::Connecting { socket, due };
            }
            Err(_) => self.lose(now),
        }
    }

    fn connected(&mut self, socket: OwnedFd) {
        self.state = State::Connected(socket);
        self.pause = FIRST_RETRY;
    }

    /// Handles what became ready.
    ///
    /// # Errors
    /// Why the connection is lost.
    pub(super) fn serve(&mut self, events: PollFlags, now: Instant) -> Result<(), String> {
        let state = std::mem::replace(&mut self.state, State::Away { retry: now });
        match state {
            State::Connecting { socket, .. } => {
                made(&socket).map_err(words)?;
                self.connected(socket);
                Ok(())
            }
            State::Connected(socket) => {
                let over = self.target.is_stream() && has_ended(&socket, events);
                self.state = State::Connected(socket);
                match over {
                    true => Err("it has closed the connection".to_owned()),
                    false => Ok(()),
                }
            }
            State::Away { retry } => {
                self.state = State::Away { retry };
                Ok(())
            }
        }
    }
}

/// Begins a connection; returns whether it is made already.
fn begin(target: &Target) -> rustix::io::Result<(OwnedFd, bool)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let make = |family, kind| socket_with(family, kind, flags, None);
    let of_address = |address: &SocketAddr| match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let (socket, result) = match target {
        Target::Udp(address) => {
            let socket = make(of_address(address), SocketType::DGRAM)?;
            let result = connect(&socket, address);
            (socket, result)
        }
        Target::Tcp(address) => {
            let socket = make(of_address(address), SocketType::STREAM)?;
            let result = connect(&socket, address);
            (socket, result)
        }
        Target::Unix(path) => {
            let socket = make(AddressFamily::UNIX, SocketType::STREAM)?;
            let result = connect(&socket, &SocketAddrUnix::new(path)?);
            (socket, result)
        }
        Target::Unixgram(path) => {
            let socket = make(AddressFamily::UNIX, SocketType::DGRAM)?;
            let result = connect(&socket, &SocketAddrUnix::new(path)?);
            (socket, result)
        }
    };
    match result {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(errno) => Err(errno),
    }
}

/// Returns whether a connection that was begun is made.
fn made(socket: &OwnedFd) -> rustix::io::Result<()> {
    rustix::net::sockopt::socket_error(socket)?
}

/// Returns whether the other side has closed; what it says is thrown away.
fn has_ended(socket: &OwnedFd, events: PollFlags) -> bool {
    if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
        return false;
    }
    let mut discarded = [0; DISCARD_BYTES];
    match rustix::net::recv(socket, &mut discarded[..], RecvFlags::DONTWAIT) {
        Ok((length, _)) => length == 0,
        Err(Errno::AGAIN | Errno::INTR) => false,
        Err(_) => true,
    }
}

/// Returns the host's words for an error, as Go programs say them.
fn words(errno: Errno) -> String {
    let text = io::Error::from(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}
