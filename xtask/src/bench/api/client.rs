//! The client of the bench: HTTP/1.1 on a unix socket, as little as possible of it.
//!
//! It costs the same whoever answers: one write for a request, reads into one
//! large buffer, and bodies are handed on where they lie. It knows the three ways
//! an answer of a Docker API may end, and no others.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::super::Who;
use super::super::daemons;
use super::framing::Framing;

/// Whoever says nothing for so long has failed.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// The head of an answer is not longer.
const HEAD_LIMIT_BYTES: usize = 16 << 10;

/// A connection that is kept from one request to the next.
#[derive(Debug)]
pub(super) struct Connection {
    socket: UnixStream,
    buffer: Vec<u8>,
    /// What of the buffer has been read and not been looked at.
    begin: usize,
    end: usize,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    pub(super) path: &'a str,
    /// JSON, or nothing.
    pub(super) body: &'a str,
    /// The status that the answer must have.
    pub(super) status: u16,
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(super) struct Stream {
    connection: Connection,
    framing: Framing,
}

struct Head {
    status: u16,
    framing: Framing,
}

impl<'a> Request<'a> {
    pub(super) fn get(path: &'a str) -> Self {
        Self {
            method: "GET",
            path,
            body: "",
            status: 200,
        }
    }

    pub(super) fn post(path: &'a str, body: &'a str, status: u16) -> Self {
        Self {
            method: "POST",
            path,
            body,
            status,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let Self {
            method, path, body, ..
        } = self;
        let upgrade = match self.status {
            101 => "Connection: Upgrade\r\nUpgrade: tcp\r\n",
            _ => "",
        };
        let about_body = match body.len() {
            0 if *method == "GET" => String::new(),
            0 => "Content-Length: 0\r\n".to_owned(),
            length => {
                format!("Content-Type: application/json\r\nContent-Length: {length}\r\n")
            }
        };
        format!("{method} {path} HTTP/1.1\r\nHost: bench\r\n{upgrade}{about_body}\r\n{body}")
            .into_bytes()
    }
}

impl Connection {
    /// Connects to a contender.
    ///
    /// # Errors
    /// Fails when nobody listens.
    pub(super) fn open(who: Who) -> Result<Self> {
        let path = daemons::socket(who);
        let socket = UnixStream::connect(path).with_context(|| format!("connect to {path}"))?;
        socket.set_read_timeout(Some(SILENCE_LIMIT))?;
        socket.set_write_timeout(Some(SILENCE_LIMIT))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER_BYTES],
            begin: 0,
            end: 0,
        })
    }

    /// Asks, and returns the whole body of the answer.
    ///
    /// # Errors
    /// Fails when the answer has another status, with what it says.
    pub(super) fn call(&mut self, request: Request<'_>) -> Result<Vec<u8>> {
        let asked = || format!("{} {}", request.method, request.path);
        let mut head = self.ask(request).with_context(asked)?;
        let mut body = Vec::new();
        while !head.framing.is_over() {
            let more = self.take(&mut head.framing, &mut |piece| {
                body.extend_from_slice(piece);
                Ok(())
            });
            if !more.with_context(asked)? {
                break;
            }
        }
        ensure!(
            head.status == request.status,
            "{}: status {} instead of {}: {}",
            asked(),
            head.status,
            request.status,
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }

    /// Asks, and returns the answer as a stream once its head is there.
    ///
    /// # Errors
    /// Fails when the answer has another status.
    pub(super) fn stream(mut self, request: Request<'_>) -> Result<Stream> {
        let head = self
            .ask(request)
            .with_context(|| format!("{} {}", request.method, request.path))?;
        ensure!(
            head.status == request.status,
            "{} {}: status {} instead of {}",
            request.method,
            request.path,
            head.status,
            request.status
        );
        Ok(Stream {
            connection: self,
            framing: head.framing,
        })
    }

    fn ask(&mut self, request: Request<'_>) -> Result<Head> {
        self.socket
            .write_all(&request.bytes())
            .context("send a request")?;
        loop {
            let read = &self.buffer[self.begin..self.end];
            if let Some(length) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = parse_head(&read[..length + 2])?;
                self.begin += length + 4;
                return Ok(head);
            }
            ensure!(read.len() < HEAD_LIMIT_BYTES, "an answer's head has no end");
            ensure!(
                self.fill().context("read an answer")?,
                "the connection ended"
            );
        }
    }

    /// Hands on the parts of a body that have been read; reads once if there are none.
    /// Returns whether there may be more.
    fn take(
        &mut self,
        framing: &mut Framing,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<bool> {
        if self.begin == self.end && !self.fill().context("read an answer")? {
            return Ok(false);
        }
        while self.begin < self.end && !framing.is_over() {
            let found = framing.next(&self.buffer[self.begin..self.end])?;
            let payload = self.begin + found.before;
            self.begin = payload + found.length;
            if found.length > 0 {
                sink(&self.buffer[payload..self.begin])?;
            }
        }
        Ok(true)
    }

    fn fill(&mut self) -> std::io::Result<bool> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        let count = self.socket.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count > 0)
    }
}

impl Stream {
    /// Hands on what there is of the body, waiting for some; returns whether there may
    /// be more.
    ///
    /// # Errors
    /// Fails when nothing comes for long, or what comes is no body.
    pub(super) fn read(&mut self, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<bool> {
        if self.framing.is_over() {
            return Ok(false);
        }
        let more = self.connection.take(&mut self.framing, sink)?;
        Ok(more && !self.framing.is_over())
    }

    /// Returns whether some of the body has been read already.
    pub(super) fn has_read(&self) -> bool {
        self.connection.begin < self.connection.end
    }

    /// Sends input, on a connection that was taken over.
    ///
    /// # Errors
    /// Fails when the other side is gone.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.connection
            .socket
            .write_all(bytes)
            .context("send input")
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.socket.as_fd()
    }
}

fn parse_head(bytes: &[u8]) -> Result<Head> {
    let text = std::str::from_utf8(bytes).context("read an answer's head as UTF-8")?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok());
    let Some(status) = status else {
        bail!("{first:?} is no answer");
    };
    let mut framing = match status {
        204 | 304 => Framing::length(0),
        _ => Framing::UntilClosed,
    };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            framing = Framing::length(value.parse().context("read a body's length")?);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            ensure!(value == "chunked", "transfer encoding {value:?}");
            framing = Framing::chunked();
        }
    }
    Ok(Head { status, framing })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_how_its_body_ends() {
        let over = |head: &str| parse_head(head.as_bytes()).unwrap().framing.is_over();
        assert!(over("HTTP/1.1 204 No Content\r\n"));
        assert!(over("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"));
        assert!(!over("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"));
        assert!(!over("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"));
        assert!(!over("HTTP/1.1 101 UPGRADED\r\n"));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for head in ["", "SSH-2.0\r\n", "HTTP/1.1 2xx\r\n"] {
            assert!(parse_head(head.as_bytes()).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_request_is_one_piece() {
        let request = Request::post("/x", "{}", 201);
        assert_eq!(
            request.bytes(),
            b"POST /x HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n\
              Content-Length: 2\r\n\r\n{}"
        );
    }
}
