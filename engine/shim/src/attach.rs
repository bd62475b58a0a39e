//! Attached clients: the hello, frames, and what waits to be sent.
//!
//! A client has one chunk of output waiting at most while the process runs;
//! whoever wants to read more output asks [`Client::has_room`] first. That is
//! how a slow client holds the process back, and only as long as it lives.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use engine_shim_api::attach::{AttachHello, GRANTED, HELLO_LIMIT_BYTES};
use engine_shim_api::log_reader::LogPosition;
use engine_shim_api::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};

use crate::stdio::Stream;

/// Clients at once, hellos included.
pub(crate) const CLIENTS_LIMIT: usize = 64;
/// A client says hello within this time.
const HELLO_LIMIT: Duration = Duration::from_secs(5);
/// After the process's end a client may have this much waiting: all that two
/// full pipes hold, so that the end need not wait for a slow client.
const WAITING_AFTER_END_BYTES: usize = 256 * 1024;
/// Reads of input that nobody wants before a connection is closed.
const DISCARD_READS: usize = 16;

/// Whether a stream is sent raw or in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Raw,
    Framed,
}

/// One connection to `attach.sock`.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: u32,
    socket: OwnedFd,
    greeting: Option<Greeting>,
    /// The process it is attached to, by key.
    pub(crate) process: Option<u32>,
    wants: Wants,
    waiting: Vec<u8>,
    input_open: bool,
    output_open: bool,
    closing: bool,
}

/// A hello that is not complete.
#[derive(Debug)]
struct Greeting {
    received: Vec<u8>,
    deadline: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Wants {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// What a client has sent.
#[derive(Debug)]
pub(crate) enum Received {
    Nothing,
    Hello(AttachHello),
    /// Bytes in the scratch buffer, for the process.
    Input(usize),
    /// No more input will come; it was the process's.
    InputEnded,
    /// The client is of no more use, with the reason it is told.
    Refused(String),
}

impl Client {
    pub(crate) fn new(key: u32, socket: OwnedFd) -> Self {
        let greeting = Greeting {
            received: Vec::new(),
            deadline: Instant::now() + HELLO_LIMIT,
        };
        Self {
            key,
            socket,
            greeting: Some(greeting),
            process: None,
            wants: Wants::default(),
            waiting: Vec::new(),
            input_open: true,
            output_open: true,
            closing: false,
        }
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Grants the hello; with a position, says where in the log the stream begins.
    pub(crate) fn grant(
        &mut self,
        hello: &AttachHello,
        process: u32,
        position: Option<LogPosition>,
    ) {
        self.wants = Wants {
            stdin: hello.stdin,
            stdout: hello.stdout,
            stderr: hello.stderr,
        };
        self.process = Some(process);
        let position = position.and_then(|position| serde_json::to_string(&position).ok());
        let answer = match position {
            Some(position) => format!("{GRANTED} {position}\n"),
            None => format!("{GRANTED}\n"),
        };
        self.send(answer.as_bytes());
    }

    /// Sends `reason` as the last line.
    pub(crate) fn refuse(&mut self, reason: &str) {
        self.greeting = None;
        self.send(format!("{}\n", reason.replace('\n', " ")).as_bytes());
        self.closing = true;
    }

    /// Reads what the client has sent; input goes to `scratch`.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> Received {
        let flags = RecvFlags::DONTWAIT;
        let length = match rustix::net::recv(&self.socket, &mut *scratch, flags) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Received::Nothing,
            Err(_) => 0,
        };
        if self.greeting.is_some() {
            return self.greet(&scratch[..length]);
        }
        if length == 0 {
            self.input_open = false;
        }
        match (self.wants.stdin, length) {
            (false, _) => Received::Nothing,
            (true, 0) => Received::InputEnded,
            (true, length) => Received::Input(length),
        }
    }

    fn greet(&mut self, bytes: &[u8]) -> Received {
        let Some(greeting) = &mut self.greeting else {
            return Received::Nothing;
        };
        greeting.received.extend(bytes);
        let line = match greeting.received.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 == greeting.received.len() => &greeting.received[..end],
            Some(_) => return Received::Refused("input before the hello was answered".into()),
            None if bytes.is_empty() => return Received::Refused("no hello".into()),
            None if greeting.received.len() >= HELLO_LIMIT_BYTES => {
                return Received::Refused("the hello is too long".into());
            }
            None => return Received::Nothing,
        };
        let parsed = parse_hello(line);
        self.greeting = None;
        match parsed {
            Ok(hello) => Received::Hello(hello),
            Err(reason) => Received::Refused(reason),
        }
    }

    /// Returns when a client that has not said hello is turned away.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.greeting.as_ref().map(|greeting| greeting.deadline)
    }

    /// Returns whether it is to get what the process `key` writes to `stream`.
    pub(crate) fn wants_output(&self, key: u32, stream: Stream) -> bool {
        let wanted = match stream {
            Stream::Stdout => self.wants.stdout,
            Stream::Stderr => self.wants.stderr,
        };
        wanted && self.output_open && !self.closing && self.process == Some(key)
    }

    /// Returns whether its end would end the input of the process `key`.
    pub(crate) fn sends_input(&self, key: u32) -> bool {
        self.wants.stdin && self.input_open && self.process == Some(key)
    }

    /// Returns whether something it sends should be read.
    pub(crate) fn is_listened_to(&self) -> bool {
        self.input_open && !self.closing
    }

    /// Returns whether only input for its process is expected from it.
    pub(crate) fn gives_input(&self) -> bool {
        self.greeting.is_none() && self.wants.stdin
    }

    /// Returns whether more output may be read for it.
    pub(crate) fn has_room(&self, ended: bool) -> bool {
        self.waiting.is_empty() || (ended && self.waiting.len() < WAITING_AFTER_END_BYTES)
    }

    /// Sends one chunk of output, or keeps it until the client reads.
    pub(crate) fn output(&mut self, framing: Framing, stream: Stream, bytes: &[u8]) {
        if framing == Framing::Framed {
            let header = frame_header(stream, bytes.len());
            self.waiting.extend(header);
        }
        self.send(bytes);
    }

    fn send(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
        self.flush();
    }

    /// Sends what waits, as much as the client takes.
    pub(crate) fn flush(&mut self) {
        let mut sent = 0;
        while self.output_open && sent < self.waiting.len() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &self.waiting[sent..], flags) {
                Ok(length) => sent += length,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => self.output_open = false,
            }
        }
        if !self.output_open || sent == self.waiting.len() {
            // Give the memory back: most clients are idle most of the time.
            self.waiting = Vec::new();
        } else {
            self.waiting.drain(..sent);
        }
    }

    /// Returns whether output waits for the client to read.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Says that nothing more will be sent than what waits.
    pub(crate) fn finish(&mut self) {
        self.closing = true;
    }

    /// The other side has gone for good.
    pub(crate) fn hang_up(&mut self) {
        self.output_open = false;
        self.input_open = false;
        self.waiting = Vec::new();
    }

    /// Returns whether the connection can be closed.
    pub(crate) fn is_done(&self) -> bool {
        let gone = !self.input_open && !self.output_open;
        (self.closing && self.waiting.is_empty()) || gone
    }

    /// Closes the connection so that the other side reads an orderly end: with
    /// input left unread the kernel would reset it.
    pub(crate) fn close(self, scratch: &mut [u8]) {
        // A peer that has gone already is closed all the same.
        rustix::net::shutdown(&self.socket, Shutdown::Write).ok();
        for _ in 0..DISCARD_READS {
            let received = rustix::net::recv(&self.socket, &mut *scratch, RecvFlags::DONTWAIT);
            if !matches!(received, Ok((length, _)) if length > 0) {
                return;
            }
        }
    }
}

fn parse_hello(line: &[u8]) -> Result<AttachHello, String> {
    let hello: AttachHello =
        serde_json::from_slice(line).map_err(|error| format!("cannot read the hello: {error}"))?;
    if !(OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).contains(&hello.protocol) {
        return Err(format!("protocol {} is not supported", hello.protocol));
    }
    Ok(hello)
}

/// Docker's frame: stream number, three zero bytes, big-endian length.
fn frame_header(stream: Stream, length: usize) -> [u8; 8] {
    let number = match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    };
    // A chunk is never larger than the scratch buffer.
    let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_with_stream_and_length() {
        assert_eq!(frame_header(Stream::Stdout, 5), [1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(
            frame_header(Stream::Stderr, 0x01_02_03),
            [2, 0, 0, 0, 0, 1, 2, 3]
        );
    }

    #[test]
    fn a_hello_of_another_protocol_is_refused() {
        let hello = |protocol| {
            format!(r#"{{"protocol":{protocol},"stdin":true,"stdout":true,"stderr":true}}"#)
        };
        assert!(parse_hello(hello(PROTOCOL_VERSION).as_bytes()).is_ok());
        assert!(parse_hello(hello(99).as_bytes()).is_err());
        assert!(parse_hello(b"GET / HTTP/1.1").is_err());
    }
}
