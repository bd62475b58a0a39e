//! How the daemon tells the DNS child what it knows: one small JSON message a
//! packet on a seqpacket socket, with the descriptors it speaks of. Tables come
//! in a memory file, so that no packet grows with the number of containers.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Seek as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::MemfdFlags;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::table::Table;

/// No packet is larger.
const PACKET_LIMIT_BYTES: usize = 4096;
/// No packet has more descriptors.
const DESCRIPTOR_LIMIT: usize = 2;
/// Names of about a hundred thousand containers.
const TABLE_LIMIT_BYTES: u64 = 64 << 20;

/// What the child is told.
#[derive(Debug)]
pub enum Message {
    /// Answer a run on these sockets, which are in its namespace.
    Listen {
        run: String,
        udp: OwnedFd,
        tcp: OwnedFd,
    },
    /// Answer it no more.
    Forget { run: String },
    /// Know this from now on.
    Table(Box<Table>),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Packet {
    Listen { run: String },
    Forget { run: String },
    Table,
}

/// Sends sockets to answer on.
///
/// # Errors
/// When the child is gone.
pub fn send_listen(
    socket: BorrowedFd<'_>,
    run: &str,
    sockets: [BorrowedFd<'_>; 2],
) -> io::Result<()> {
    let run = run.to_owned();
    send(socket, &Packet::Listen { run }, &sockets)
}

/// Withdraws sockets.
///
/// # Errors
/// When the child is gone.
pub fn send_forget(socket: BorrowedFd<'_>, run: &str) -> io::Result<()> {
    let run = run.to_owned();
    send(socket, &Packet::Forget { run }, &[])
}

/// Sends what there is to know.
///
/// # Errors
/// When the child is gone, or there is no memory.
pub fn send_table(socket: BorrowedFd<'_>, table: &Table) -> io::Result<()> {
    let memory = rustix::fs::memfd_create("names", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&serde_json::to_vec(table)?)?;
    send(socket, &Packet::Table, &[file.as_fd()])
}

/// Waits for the next message; `None` when the daemon is gone.
///
/// # Errors
/// When a packet makes no sense.
pub fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Message>> {
    let mut bytes = [0; PACKET_LIMIT_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_LIMIT))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(socket, &mut parts, &mut ancillary, flags)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(more) = message {
            descriptors.extend(more);
        }
    }
    let packet: Packet = serde_json::from_slice(&bytes[..received.bytes])?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(io::ErrorKind::InvalidData);
    Ok(Some(match packet {
        Packet::Listen { run } => Message::Listen {
            run,
            udp: next()?,
            tcp: next()?,
        },
        Packet::Forget { run } => Message::Forget { run },
        Packet::Table => Message::Table(Box::new(read_table(next()?)?)),
    }))
}

fn read_table(memory: OwnedFd) -> io::Result<Table> {
    let mut file = std::fs::File::from(memory);
    file.rewind()?;
    let mut json = Vec::new();
    file.take(TABLE_LIMIT_BYTES).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

fn send(socket: BorrowedFd<'_>, packet: &Packet, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = serde_json::to_vec(packet)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTOR_LIMIT))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let parts = [IoSlice::new(&bytes)];
    rustix::net::sendmsg(socket, &parts, &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn messages_arrive_whole_with_their_descriptors() {
        let kind = SocketType::SEQPACKET;
        let (here, there) =
            socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let upstream = (0..100_000).map(|n| Ipv4Addr::from(n).into()).collect();
        let table = Table {
            upstream,
            ..Table::default()
        };
        send_listen(here.as_fd(), "r.1", [here.as_fd(), there.as_fd()]).unwrap();
        send_table(here.as_fd(), &table).unwrap();
        send_forget(here.as_fd(), "r.1").unwrap();
        drop(here);
        let next = || receive(there.as_fd()).unwrap();
        assert!(matches!(next(), Some(Message::Listen { run, .. }) if run == "r.1"));
        assert!(matches!(next(), Some(Message::Table(read)) if *read == table));
        assert!(matches!(next(), Some(Message::Forget { run }) if run == "r.1"));
        assert!(next().is_none());
    }
}
