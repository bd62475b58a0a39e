//! A synchronous netlink socket: framing, acknowledgements, dumps, with a limit
//! on every wait. It knows no message type; those who use it do.
//!
//! A netlink socket belongs to the network namespace its maker was in.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_MULTIPART, NLMSG_DONE, NLMSG_ERROR};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, sockopt,
};

/// The kernel answers at once; a longer silence is an error, not a wait.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// One read takes this much; the kernel never sends a larger datagram in a dump.
const RECEIVE_BYTES: usize = 64 * 1024;
/// Room for the dumps and acknowledgements of a thousand containers.
const RECEIVE_BUFFER_BYTES: usize = 1 << 20;
/// A dump that another change disturbed is taken again at most this often.
const DUMP_ATTEMPTS: usize = 5;
/// No answer of ours has more datagrams.
const DATAGRAM_LIMIT: usize = 65_536;

const HEADER_BYTES: usize = 16;
const NLM_F_DUMP_INTR: u16 = 0x10;

/// Which part of the kernel a socket talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses, routes.
    Route,
    /// nf_tables and connection tracking.
    Netfilter,
}

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    descriptor: OwnedFd,
    sequence: u32,
    /// Where answers are read to; made with the first.
    buffer: Vec<u8>,
}

/// One message of an answer.
#[derive(Debug)]
struct Frame<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    whole: &'a [u8],
}

impl Frame<'_> {
    fn payload(&self) -> &[u8] {
        &self.whole[HEADER_BYTES..]
    }

    /// The error number of an `NLMSG_ERROR` or `NLMSG_DONE` frame; 0 is an
    /// acknowledgement.
    fn errno(&self) -> i32 {
        let number = self.payload().first_chunk().copied();
        number.map_or(0, i32::from_ne_bytes).wrapping_neg()
    }
}

impl Socket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub fn open(family: Family) -> io::Result<Self> {
        let protocol: Option<Protocol> = match family {
            Family::Route => None, // NETLINK_ROUTE is 0
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let flags = SocketFlags::CLOEXEC;
        let descriptor =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
        sockopt::set_socket_timeout(&descriptor, sockopt::Timeout::Recv, Some(REPLY_LIMIT))?;
        sockopt::set_socket_recv_buffer_size(&descriptor, RECEIVE_BUFFER_BYTES)?;
        Ok(Self {
            descriptor,
            sequence: 0,
            buffer: Vec::new(),
        })
    }

    /// Opens a socket that hears what the kernel tells everybody in a group.
    ///
    /// # Errors
    /// When the kernel refuses one, or `group` is beyond the first 32.
    pub fn listen(family: Family, group: u32) -> io::Result<Self> {
        let socket = Self::open(family)?;
        let groups = group.checked_sub(1).and_then(|bit| 1_u32.checked_shl(bit));
        let groups = groups.ok_or(io::ErrorKind::InvalidInput)?;
        let address = netlink::SocketAddrNetlink::new(0, groups);
        rustix::net::bind(&socket.descriptor, &address)?;
        Ok(socket)
    }

    /// Waits at most `limit` for something said in the group and hands each message
    /// of it to `each`; returns whether anything was said.
    ///
    /// # Errors
    /// The socket's own; `ENOBUFS` if more was said than there was room for.
    pub fn hear(&self, limit: Duration, each: &mut dyn FnMut(&[u8])) -> io::Result<bool> {
        let timeout = Some(limit.max(Duration::from_millis(1)));
        sockopt::set_socket_timeout(&self.descriptor, sockopt::Timeout::Recv, timeout)?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        match receive(&self.descriptor, &mut buffer) {
            Ok(length) => {
                frames(&buffer[..length]).for_each(|frame| each(frame.whole));
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns the socket, to be waited for beside others.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Returns the number for the next message.
    pub fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends `bytes` and returns once every sequence number in `awaited` was
    /// acknowledged: one error number each, 0 for success.
    ///
    /// # Errors
    /// When the socket fails, or an acknowledgement does not come.
    pub fn transact(&mut self, bytes: &[u8], awaited: &[u32]) -> io::Result<Vec<i32>> {
        self.send(bytes)?;
        let mut results: Vec<Option<i32>> = vec![None; awaited.len()];
        for _ in 0..DATAGRAM_LIMIT {
            for frame in frames(self.receive()?) {
                let index = awaited
                    .iter()
                    .position(|awaited| *awaited == frame.sequence);
                if let (NLMSG_ERROR, Some(index)) = (frame.kind, index) {
                    results[index].get_or_insert(frame.errno());
                }
            }
            if let Some(results) = results.iter().copied().collect() {
                return Ok(results);
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Sends one request and hands each message of the answer to `each`; the
    /// answer ends with the first message that is not part of a dump.
    ///
    /// # Errors
    /// The error the kernel answered with, or the socket's own.
    pub fn query(
        &mut self,
        build: impl Fn(u32) -> Vec<u8>,
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        for _ in 0..DUMP_ATTEMPTS {
            let mut collected = Vec::new();
            let sequence = self.next_sequence();
            self.send(&build(sequence))?;
            if self.collect(sequence, &mut collected)? {
                collected.iter().for_each(|message| each(message));
                return Ok(());
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }

    /// Returns whether the answer is consistent.
    fn collect(&mut self, sequence: u32, collected: &mut Vec<Vec<u8>>) -> io::Result<bool> {
        let mut consistent = true;
        for _ in 0..DATAGRAM_LIMIT {
            for frame in frames(self.receive()?).filter(|f| f.sequence == sequence) {
                consistent &= frame.flags & NLM_F_DUMP_INTR == 0;
                if matches!(frame.kind, NLMSG_ERROR | NLMSG_DONE) {
                    return match frame.errno() {
                        0 => Ok(consistent),
                        errno => Err(io::Error::from_raw_os_error(errno)),
                    };
                }
                collected.push(frame.whole.to_vec());
                if frame.flags & NLM_F_MULTIPART == 0 {
                    return Ok(consistent);
                }
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let sent = rustix::net::send(self.descriptor.as_fd(), bytes, SendFlags::empty())?;
        if sent < bytes.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    fn receive(&mut self) -> io::Result<&[u8]> {
        self.buffer.resize(RECEIVE_BYTES, 0);
        let length = receive(&self.descriptor, &mut self.buffer)?;
        Ok(&self.buffer[..length])
    }
}

fn receive(descriptor: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::net::recv(descriptor.as_fd(), &mut *buffer, RecvFlags::empty()) {
            Ok((length, _)) => return Ok(length),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Splits a datagram; what is malformed ends it.
fn frames(datagram: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let header: &[u8; HEADER_BYTES] = rest.first_chunk()?;
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let length = word(0) as usize;
        let whole = rest
            .get(..length)
            .filter(|whole| whole.len() >= HEADER_BYTES)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Frame {
            kind: half(4),
            flags: half(6),
            sequence: word(8),
            whole,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_datagram_yields_only_whole_messages() {
        let mut message = vec![0; 20];
        message[0] = 20;
        message[4] = 2;
        message[8] = 7;
        let mut two = message.clone();
        two.extend(&message);
        assert_eq!(frames(&two).count(), 2);
        for cut in 20..40 {
            assert_eq!(frames(&two[..cut]).count(), 1, "{cut}");
        }
        message[0] = 3;
        assert_eq!(frames(&message).count(), 0);
    }
}
