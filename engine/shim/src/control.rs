//! `control.sock`: connections, packets in, messages out. What a request does
//! is decided by the supervisor.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use base::{Failure, FailureKind};
use engine_shim_api::control::{
    ControlReply, ControlRequest, Message, Notice, PACKET_LIMIT_BYTES, Packet,
};
use engine_shim_api::{OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::Deserialize;

use crate::directory::accept;

/// Connections at once.
const CONNECTIONS_LIMIT: usize = 16;
/// Messages that wait for a client to read; past it the client is cut off.
const WAITING_LIMIT: usize = 64;

/// Where the answer to a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyTo {
    connection: u32,
    id: u64,
}

/// The control socket and who is connected to it.
#[derive(Debug)]
pub(crate) struct ControlServer {
    listener: OwnedFd,
    connections: Vec<Connection>,
    next_key: u32,
}

#[derive(Debug)]
struct Connection {
    key: u32,
    socket: OwnedFd,
    waiting: VecDeque<Vec<u8>>,
    closed: bool,
}

/// The part of a packet that every version has.
#[derive(Deserialize)]
struct PacketHead {
    #[serde(default)]
    protocol: u32,
    #[serde(default)]
    id: u64,
}

impl ControlServer {
    pub(crate) fn new(listener: OwnedFd) -> Self {
        Self {
            listener,
            connections: Vec::new(),
            next_key: 0,
        }
    }

    /// Returns the listening socket, unless no further connection is taken.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        (self.connections.len() < CONNECTIONS_LIMIT).then(|| self.listener.as_fd())
    }

    /// Returns each connection: key, descriptor, and whether messages wait.
    pub(crate) fn connections(&self) -> impl Iterator<Item = (u32, BorrowedFd<'_>, bool)> {
        self.connections.iter().map(|connection| {
            let behind = !connection.waiting.is_empty();
            (connection.key, connection.socket.as_fd(), behind)
        })
    }

    /// Takes one new connection.
    pub(crate) fn accept(&mut self) {
        if let Some(socket) = accept(&self.listener) {
            let key = self.next_key;
            self.next_key = self.next_key.wrapping_add(1);
            self.connections.push(Connection {
                key,
                socket,
                waiting: VecDeque::new(),
                closed: false,
            });
        }
    }

    /// Receives one request; a bad one is answered here.
    pub(crate) fn receive(&mut self, key: u32) -> Option<(ReplyTo, ControlRequest)> {
        let connection = self.connections.iter_mut().find(|it| it.key == key)?;
        let bytes = connection.receive()?;
        match parse(&bytes) {
            Ok(packet) => {
                let to = ReplyTo {
                    connection: key,
                    id: packet.id,
                };
                Some((to, packet.request))
            }
            Err((id, failure)) => {
                let to = ReplyTo {
                    connection: key,
                    id,
                };
                self.reply(to, Err(failure));
                None
            }
        }
    }

    /// Sends what waits for one client.
    pub(crate) fn flush(&mut self, key: u32) {
        if let Some(connection) = self.connections.iter_mut().find(|it| it.key == key) {
            connection.flush();
        }
    }

    /// Answers a request; a client that has gone gets nothing.
    pub(crate) fn reply(&mut self, to: ReplyTo, result: Result<ControlReply, Failure>) {
        let message = Message::Reply { id: to.id, result };
        let connection = self.connections.iter_mut();
        if let Some(connection) = connection.into_iter().find(|it| it.key == to.connection) {
            connection.send(encode(&message));
        }
    }

    /// Tells every client.
    pub(crate) fn notify(&mut self, notice: Notice) {
        let bytes = encode(&Message::Notice(notice));
        for connection in &mut self.connections {
            connection.send(bytes.clone());
        }
    }

    /// Forgets connections that are closed.
    pub(crate) fn sweep(&mut self) {
        self.connections.retain(|connection| !connection.closed);
    }
}

impl Connection {
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let received = self.packet_size().and_then(|size| {
            bytes.resize(size.min(PACKET_LIMIT_BYTES), 0);
            rustix::net::recv(&self.socket, &mut bytes[..], RecvFlags::DONTWAIT)
                .map(|(received, _)| (size, received))
        });
        match received {
            Err(Errno::AGAIN | Errno::INTR) => None,
            // An empty packet is the end of a seqpacket stream; one over the
            // limit comes from nobody we know.
            Ok((size, received)) if received > 0 && size <= PACKET_LIMIT_BYTES => Some(bytes),
            Ok(_) | Err(_) => {
                self.closed = true;
                None
            }
        }
    }

    /// Returns the size of the next packet, so that no large buffer is kept.
    fn packet_size(&self) -> rustix::io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC | RecvFlags::DONTWAIT;
        let mut probe = [0_u8; 1];
        let (_, size) = rustix::net::recv(&self.socket, &mut probe[..], flags)?;
        Ok(size)
    }

    fn send(&mut self, bytes: Vec<u8>) {
        if self.waiting.len() >= WAITING_LIMIT {
            self.closed = true;
            return;
        }
        self.waiting.push_back(bytes);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(bytes) = self.waiting.front() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, bytes, flags) {
                Ok(_) => drop(self.waiting.pop_front()),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}

fn encode(message: &Message) -> Vec<u8> {
    serde_json::to_vec(message).expect("a message has string keys only")
}

/// Reads a packet; the error carries the id to answer to, 0 if there is none.
fn parse(bytes: &[u8]) -> Result<Packet, (u64, Failure)> {
    let refuse = |id, kind, message: String| (id, Failure::new(kind, message));
    let head: PacketHead = serde_json::from_slice(bytes).map_err(|error| {
        refuse(
            0,
            FailureKind::Invalid,
            format!("cannot read packet: {error}"),
        )
    })?;
    if !(OLDEST_PROTOCOL_VERSION..=PROTOCOL_VERSION).contains(&head.protocol) {
        let message = format!("control protocol {} is not supported", head.protocol);
        return Err(refuse(head.id, FailureKind::Unsupported, message));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("cannot read request: {error}");
        refuse(head.id, FailureKind::Invalid, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_packet_is_answered_with_its_id() {
        let cases = [
            ("garbage", 0, FailureKind::Invalid),
            (
                r#"{"protocol":9,"id":4,"request":{"do":"start"}}"#,
                4,
                FailureKind::Unsupported,
            ),
            (
                r#"{"protocol":1,"id":5,"request":{"do":"dance"}}"#,
                5,
                FailureKind::Invalid,
            ),
            (r#"{"protocol":1,"id":6}"#, 6, FailureKind::Invalid),
        ];
        for (text, id, kind) in cases {
            let (answered, failure) = parse(text.as_bytes()).unwrap_err();
            assert_eq!((answered, failure.kind), (id, kind), "{text}");
        }
        let packet = parse(br#"{"protocol":1,"id":7,"request":{"do":"start"}}"#).unwrap();
        assert_eq!((packet.id, packet.request), (7, ControlRequest::Start));
    }
}
