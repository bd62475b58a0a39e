//! A connection to systemd, over its own socket or a bus.

use std::env;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::sockopt::{self, Timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::message::{Call, HEAD_BYTES, Kind, Malformed, Message};
use super::value::Value;
use crate::cgroup::Manager;

/// How long one message may take to come.
const REPLY_LIMIT: Duration = Duration::from_secs(30);
/// An answer to the greeting is shorter.
const GREETING_LIMIT_BYTES: usize = 4096;
const NEWLINE: &[u8] = b"\r\n";
/// Who we are, the kernel says to the other side: that also holds in a user
/// namespace, whose ids nobody outside knows.
const GREETING: &[u8] = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n";
const DAEMON: &str = "org.freedesktop.DBus";

/// Says why systemd cannot be spoken with.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    #[error("cannot connect to systemd: tried {}", tried.join(", "))]
    Connect { tried: Vec<String> },
    #[error("systemd's bus refused this process: {0:?}")]
    Refused(String),
    #[error("cannot exchange messages with systemd")]
    Exchange(#[source] io::Error),
    #[error("systemd did not answer within {REPLY_LIMIT:?}")]
    Timeout,
    #[error("systemd sent a message that cannot be read")]
    Malformed(#[from] Malformed),
    #[error("systemd: {text} ({name})")]
    Answer { name: String, text: String },
}

/// A connection.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
}

impl Bus {
    /// Connects to a manager.
    ///
    /// # Errors
    /// When none of its sockets takes a connection.
    pub(super) fn connect(manager: Manager) -> Result<Self, BusError> {
        let mut tried = Vec::new();
        for address in addresses(manager) {
            let stream = match address.connect() {
                Ok(stream) => stream,
                Err(error) => {
                    tried.push(format!("{address} ({error})"));
                    continue;
                }
            };
            let mut bus = Self::over(stream)?;
            if address.is_bus() {
                bus.enter()?;
            }
            return Ok(bus);
        }
        Err(BusError::Connect { tried })
    }

    /// Begins to speak over a connection.
    ///
    /// # Errors
    /// When this process is refused.
    pub(super) fn over(stream: UnixStream) -> Result<Self, BusError> {
        let mut bus = Self {
            stream,
            serial: 0,
            signals: Vec::new(),
        };
        bus.greet()?;
        Ok(bus)
    }

    fn greet(&mut self) -> Result<(), BusError> {
        let limit = Some(REPLY_LIMIT);
        let both = self.stream.set_read_timeout(limit);
        let both = both.and_then(|()| self.stream.set_write_timeout(limit));
        both.map_err(BusError::Exchange)?;
        self.stream.write_all(GREETING).map_err(exchange)?;
        let deadline = Instant::now() + REPLY_LIMIT;
        // Byte by byte: messages may follow at once.
        let mut answer = Vec::new();
        for accepted in [&b"DATA"[..], b"OK"] {
            answer.clear();
            while !answer.ends_with(NEWLINE) {
                let mut byte = [0];
                self.fill(&mut byte, deadline)?;
                answer.push(byte[0]);
                if answer.len() > GREETING_LIMIT_BYTES {
                    break;
                }
            }
            if !answer.starts_with(accepted) {
                let answer = String::from_utf8_lossy(&answer).trim_end().to_owned();
                return Err(BusError::Refused(answer));
            }
        }
        Ok(())
    }

    /// Says hello to a bus, and what is to be heard of: that jobs end.
    fn enter(&mut self) -> Result<(), BusError> {
        let daemon = |method, body| Call {
            destination: DAEMON,
            path: "/org/freedesktop/DBus",
            interface: DAEMON,
            method,
            body,
        };
        self.call(&daemon("Hello", &[]))?;
        let wanted = "type='signal',interface='org.freedesktop.systemd1.Manager',\
            member='JobRemoved',path='/org/freedesktop/systemd1'";
        self.call(&daemon("AddMatch", &[Value::text(wanted)]))?;
        self.call(&super::manager::call("Subscribe", &[])).map(drop)
    }

    /// Calls a method and returns its answer.
    ///
    /// # Errors
    /// What the other side says is wrong; when it does not answer.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Result<Message, BusError> {
        self.serial += 1;
        let bytes = call.encode(self.serial);
        self.stream.write_all(&bytes).map_err(exchange)?;
        let deadline = Instant::now() + REPLY_LIMIT;
        loop {
            let message = self.receive(deadline)?;
            match message.kind {
                Kind::Signal => self.signals.push(message),
                _ if message.reply_to != Some(self.serial) => {}
                Kind::Error => return Err(answer(&message)),
                _ => return Ok(message),
            }
        }
    }

    /// Returns the next signal: one that has come already, or is waited for.
    ///
    /// # Errors
    /// When none comes until the deadline.
    pub(super) fn signal(&mut self, deadline: Instant) -> Result<Message, BusError> {
        if !self.signals.is_empty() {
            return Ok(self.signals.remove(0));
        }
        loop {
            let message = self.receive(deadline)?;
            if message.kind == Kind::Signal {
                return Ok(message);
            }
        }
    }

    fn receive(&mut self, deadline: Instant) -> Result<Message, BusError> {
        let mut head = [0; HEAD_BYTES];
        self.fill(&mut head, deadline)?;
        let mut rest = vec![0; Message::rest_bytes(&head)?];
        self.fill(&mut rest, deadline)?;
        Ok(Message::decode(&head, &rest)?)
    }

    fn fill(&mut self, mut buffer: &mut [u8], deadline: Instant) -> Result<(), BusError> {
        while !buffer.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(BusError::Timeout);
            }
            let limited = self.stream.set_read_timeout(Some(left));
            limited.map_err(BusError::Exchange)?;
            match self.stream.read(buffer) {
                Ok(0) => return Err(exchange(io::ErrorKind::UnexpectedEof.into())),
                Ok(count) => buffer = &mut buffer[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(exchange(error)),
            }
        }
        Ok(())
    }
}

fn exchange(error: io::Error) -> BusError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => BusError::Timeout,
        _ => BusError::Exchange(error),
    }
}

fn answer(message: &Message) -> BusError {
    let text = message.body().text().unwrap_or("it gives no reason");
    BusError::Answer {
        name: message.error.clone().unwrap_or_default(),
        text: text.to_owned(),
    }
}

/// Where a manager may be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Address {
    /// systemd itself.
    Direct(PathBuf),
    Bus(PathBuf),
    /// A bus on a name of the network namespace's.
    Abstract(String),
}

impl Address {
    /// Also connecting has its limit: a manager that hangs takes no connection
    /// once its queue is full.
    fn connect(&self) -> io::Result<UnixStream> {
        let address = match self {
            Self::Direct(path) | Self::Bus(path) => SocketAddrUnix::new(path)?,
            Self::Abstract(name) => SocketAddrUnix::new_abstract_name(name.as_bytes())?,
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_timeout(&socket, Timeout::Send, Some(REPLY_LIMIT))?;
        net::connect(&socket, &address)?;
        Ok(socket.into())
    }

    fn is_bus(&self) -> bool {
        !matches!(self, Self::Direct(_))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Direct(path) | Self::Bus(path) => write!(formatter, "{}", path.display()),
            Self::Abstract(name) => write!(formatter, "@{name}"),
        }
    }
}

/// Returns where a manager may be reached, in the order to try.
fn addresses(manager: Manager) -> Vec<Address> {
    match manager {
        Manager::System => {
            let named = env::var("DBUS_SYSTEM_BUS_ADDRESS").unwrap_or_default();
            let mut addresses = named_addresses(&named);
            addresses.extend([
                Address::Direct("/run/systemd/private".into()),
                Address::Bus("/run/dbus/system_bus_socket".into()),
            ]);
            addresses
        }
        Manager::User => {
            let named = env::var("DBUS_SESSION_BUS_ADDRESS").unwrap_or_default();
            let mut addresses = named_addresses(&named);
            let runtime = env::var_os("XDG_RUNTIME_DIR").map_or_else(
                || Path::new("/run/user").join(rustix::process::getuid().as_raw().to_string()),
                PathBuf::from,
            );
            addresses.extend([
                Address::Direct(runtime.join("systemd/private")),
                Address::Bus(runtime.join("bus")),
            ]);
            addresses
        }
    }
}

/// Reads a list of addresses (D-Bus specification, "Server Addresses"); those
/// that are no sockets of this machine are left out.
fn named_addresses(text: &str) -> Vec<Address> {
    let sockets = text.split(';').filter_map(|address| {
        let keys = address.strip_prefix("unix:")?;
        keys.split(',')
            .find_map(|pair| match pair.split_once('=')? {
                ("path", path) => Some(Address::Bus(unescaped(path)?.into())),
                ("abstract", name) => Some(Address::Abstract(unescaped(name)?)),
                _ => None,
            })
    });
    sockets.collect()
}

/// Undoes `%20` and the like.
fn unescaped(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let text = "tcp:host=a;unix:path=/run/a%20b,guid=0f;unix:abstract=x;unix:path=%zz";
        let expected = [
            Address::Bus("/run/a b".into()),
            Address::Abstract("x".to_owned()),
        ];
        assert_eq!(named_addresses(text), expected);
        assert!(named_addresses("").is_empty());
    }
}
