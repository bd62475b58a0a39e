//! The few rtnetlink(7) messages of moving a device. netlink-packet-route has
//! them all, and makes this program a tenth larger.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use base::netlink::{Family, Socket};
use netlink_packet_core::{DefaultNla, Emitable as _};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NlaBuffer, NlasIterator,
};

const HEADER_BYTES: usize = 16;
/// `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK_BYTES: usize = 16;
const ADDRESS_BYTES: usize = 8;
const UP: u32 = libc::IFF_UP.cast_unsigned();

/// rtnetlink of the namespace that the thread was in.
pub(super) struct Route(Socket);

/// An address of a device, wherever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    family: u8,
    prefix_bits: u8,
    flags: u8,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl Route {
    /// # Errors
    /// When the kernel refuses the socket.
    pub(super) fn open() -> io::Result<Self> {
        Socket::open(Family::Route).map(Self)
    }

    /// # Errors
    /// When there is no such device.
    pub(super) fn index(&mut self, name: &str) -> io::Result<u32> {
        let mut request = Request::new(libc::RTM_GETLINK, &link(0, 0));
        request.attribute(libc::IFLA_IFNAME, &text(name));
        let answer = self.query(&request, libc::RTM_NEWLINK, 0)?;
        let index = answer.first().and_then(|payload| word(payload, 4));
        index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn indexes(&mut self) -> io::Result<Vec<u32>> {
        let request = Request::new(libc::RTM_GETLINK, &link(0, 0));
        let answer = self.query(&request, libc::RTM_NEWLINK, NLM_F_DUMP)?;
        Ok(answer
            .iter()
            .filter_map(|payload| word(payload, 4))
            .collect())
    }

    /// Returns the device that there was not before.
    ///
    /// # Errors
    /// When there is not just one.
    pub(super) fn new_index(&mut self, known: &[u32]) -> io::Result<u32> {
        let mut indexes = self.indexes()?;
        indexes.retain(|index| !known.contains(index));
        match indexes[..] {
            [index] => Ok(index),
            _ => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        }
    }

    /// Moves and renames a device.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub(super) fn move_link(
        &mut self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: &str,
    ) -> io::Result<()> {
        let mut request = Request::new(libc::RTM_SETLINK, &link(index, 0));
        let descriptor = namespace.as_raw_fd().to_ne_bytes();
        request.attribute(libc::IFLA_NET_NS_FD, &descriptor);
        request.attribute(libc::IFLA_IFNAME, &text(name));
        self.request(&request, 0)
    }

    /// # Errors
    /// What the kernel has against it.
    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        self.request(&Request::new(libc::RTM_SETLINK, &link(index, UP)), 0)
    }

    /// Returns the addresses that somebody has set and that reach further than
    /// the link, which makes its own.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(super) fn addresses(&mut self, index: u32) -> io::Result<Vec<Address>> {
        let request = Request::new(libc::RTM_GETADDR, &[0; ADDRESS_BYTES]);
        let answer = self.query(&request, libc::RTM_NEWADDR, NLM_F_DUMP)?;
        let all = answer.iter().filter_map(|payload| kept(payload, index));
        Ok(all.collect())
    }

    /// # Errors
    /// What the kernel has against it.
    pub(super) fn add_address(&mut self, index: u32, address: &Address) -> io::Result<()> {
        let mut header = [
            address.family,
            address.prefix_bits,
            address.flags,
            libc::RT_SCOPE_UNIVERSE,
        ]
        .to_vec();
        header.extend(index.to_ne_bytes());
        let mut request = Request::new(libc::RTM_NEWADDR, &header);
        for (kind, value) in &address.attributes {
            request.attribute(*kind, value);
        }
        self.request(&request, NLM_F_CREATE | NLM_F_EXCL)
    }

    fn request(&mut self, request: &Request, flags: u16) -> io::Result<()> {
        let sequence = self.0.next_sequence();
        let bytes = request.bytes(sequence, NLM_F_ACK | flags);
        match self.0.transact(&bytes, &[sequence])?.first() {
            Some(0) | None => Ok(()),
            Some(error) => Err(io::Error::from_raw_os_error(*error)),
        }
    }

    /// Returns what follows the header of each answer of a kind.
    fn query(&mut self, request: &Request, kind: u16, flags: u16) -> io::Result<Vec<Vec<u8>>> {
        let mut answer = Vec::new();
        let build = |sequence| request.bytes(sequence, flags);
        self.0.query(build, &mut |bytes| {
            if bytes.get(4..6) == Some(&kind.to_ne_bytes()) {
                answer.extend(bytes.get(HEADER_BYTES..).map(<[u8]>::to_vec));
            }
        })?;
        Ok(answer)
    }
}

/// A message without its header.
struct Request {
    kind: u16,
    payload: Vec<u8>,
}

impl Request {
    fn new(kind: u16, header: &[u8]) -> Self {
        let payload = header.to_vec();
        Self { kind, payload }
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        let attribute = DefaultNla::new(kind, value.to_vec());
        let begin = self.payload.len();
        self.payload.resize(begin + attribute.buffer_len(), 0);
        attribute.emit(&mut self.payload[begin..]);
    }

    fn bytes(&self, sequence: u32, flags: u16) -> Vec<u8> {
        let length = HEADER_BYTES + self.payload.len();
        let length = u32::try_from(length).expect("a message is short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(self.kind.to_ne_bytes());
        bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// `struct ifinfomsg`; of the flags only those that are named change.
fn link(index: u32, flags: u32) -> [u8; LINK_BYTES] {
    let mut bytes = [0; LINK_BYTES];
    bytes[4..8].copy_from_slice(&index.to_ne_bytes());
    bytes[8..12].copy_from_slice(&flags.to_ne_bytes());
    bytes[12..].copy_from_slice(&flags.to_ne_bytes());
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*word))
}

/// The address of `struct ifaddrmsg` and its attributes, if it goes along. Its
/// label has the old name in it; what else there is, is the kernel's own.
fn kept(payload: &[u8], index: u32) -> Option<Address> {
    let header: &[u8; ADDRESS_BYTES] = payload.first_chunk()?;
    let [family, prefix_bits, flags, scope, ..] = *header;
    if word(header, 4)? != index || scope != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    let mut attributes = Vec::new();
    let mut all_flags = u32::from(flags);
    for attribute in NlasIterator::new(&payload[ADDRESS_BYTES..]) {
        let attribute: NlaBuffer<&[u8]> = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            libc::IFA_FLAGS => {
                all_flags = word(value, 0)?;
                // The routes stay behind: the kernel has to make the address's own.
                let theirs = all_flags & !libc::IFA_F_NOPREFIXROUTE;
                attributes.push((libc::IFA_FLAGS, theirs.to_ne_bytes().to_vec()));
                continue;
            }
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => {}
            _ => continue,
        }
        attributes.push((attribute.kind(), value.to_vec()));
    }
    (all_flags & libc::IFA_F_PERMANENT != 0).then_some(Address {
        family,
        prefix_bits,
        flags,
        attributes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address of device 7 as the kernel writes it, with a label.
    fn address(scope: u8, flags: u32) -> Vec<u8> {
        let mut request = Request::new(0, &[2, 24, 0, scope, 7, 0, 0, 0]);
        request.attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]);
        request.attribute(libc::IFA_LABEL, b"eth0\0");
        request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
        request.payload
    }

    #[test]
    fn lasting_global_addresses_go_along_without_their_labels() {
        let permanent = libc::IFA_F_PERMANENT;
        let found = kept(&address(0, permanent), 7).unwrap();
        let expected = [
            (libc::IFA_LOCAL, vec![10, 0, 0, 1]),
            (libc::IFA_FLAGS, permanent.to_ne_bytes().to_vec()),
        ];
        assert_eq!((found.family, found.prefix_bits), (2, 24));
        assert_eq!(found.attributes, expected);
        let without_route = permanent | libc::IFA_F_NOPREFIXROUTE;
        assert_eq!(kept(&address(0, without_route), 7), Some(found));
        assert_eq!(kept(&address(0, permanent), 8), None);
        assert_eq!(kept(&address(libc::RT_SCOPE_LINK, permanent), 7), None);
        assert_eq!(kept(&address(0, 0), 7), None);
    }

    #[test]
    fn a_cut_address_is_none() {
        let whole = address(0, libc::IFA_F_PERMANENT);
        for cut in 0..whole.len() {
            assert_eq!(kept(&whole[..cut], 7), None, "{cut}");
        }
    }

    #[test]
    fn a_message_says_how_long_it_is() {
        let mut request = Request::new(libc::RTM_GETLINK, &link(3, UP));
        request.attribute(libc::IFLA_IFNAME, &text("eth0"));
        let bytes = request.bytes(9, 0);
        assert_eq!(bytes.len(), 16 + 16 + 12);
        assert_eq!(word(&bytes, 0), Some(44));
        assert_eq!(word(&bytes, 8), Some(9));
        assert_eq!(word(&bytes, 20), Some(3));
    }
}
