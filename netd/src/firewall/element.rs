//! The elements of our sets and maps, and their form on the wire.
//!
//! Every part of a concatenated key or value is padded to four bytes; numbers
//! are big-endian. The golden tests compare with what `nft` itself sends.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use netd_api::Protocol;

use crate::family::Family;

/// Bytes of an interface name in a set.
const INTERFACE_BYTES: usize = 16;
/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// One element of one of our sets or maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// An interface that is one of our bridges.
    Bridge(String),
    /// A bridge whose containers reach the outside, masqueraded.
    Outbound { interface: String, family: Family },
    /// A bridge whose containers are reached at their own addresses, at the ports
    /// that are open.
    Routed { interface: String, family: Family },
    /// The same, at all ports.
    Unprotected { interface: String, family: Family },
    /// A bridge without a way to the outside.
    Internal(String),
    /// A bridge whose containers reach each other.
    Within(String),
    /// A bridge and its subnet: published ports that lead from one container
    /// of it to another must be answered through the host.
    Hairpin { interface: String, subnet: IpNet },
    /// Forwarding of a family between foreign interfaces is dropped.
    Guarded(Family),
    /// Loopback of this family cannot be answered from a bridge.
    Deaf(Family),
    /// A port of one host address leads to a container, of the same family.
    Publish {
        protocol: Protocol,
        host: SocketAddr,
        container: SocketAddr,
    },
    /// A port of a container that is reached without translation.
    Open {
        protocol: Protocol,
        container: SocketAddr,
    },
    /// A port of every host address of the container's family leads to it.
    PublishAny {
        protocol: Protocol,
        host_port: u16,
        container: SocketAddr,
    },
}

/// The name of every set and map with elements.
pub const SETS: [&str; 19] = [
    "bridges",
    "outbound",
    "outbound6",
    "routed",
    "routed6",
    "unprotected",
    "unprotected6",
    "open",
    "open6",
    "internal",
    "within",
    "hairpin",
    "hairpin6",
    "guarded",
    "deaf",
    "publish",
    "publish6",
    "publish_any",
    "publish_any6",
];

impl Element {
    /// Returns the set or map this belongs to.
    pub fn set(&self) -> &'static str {
        match self {
            Self::Bridge(_) => "bridges",
            Self::Outbound { family, .. } => family.choose(["outbound", "outbound6"]),
            Self::Routed { family, .. } => family.choose(["routed", "routed6"]),
            Self::Unprotected { family, .. } => family.choose(["unprotected", "unprotected6"]),
            Self::Open { container, .. } => of_family(container.ip(), ["open", "open6"]),
            Self::Internal(_) => "internal",
            Self::Within(_) => "within",
            Self::Hairpin { subnet, .. } => of_family(subnet.addr(), ["hairpin", "hairpin6"]),
            Self::Guarded(_) => "guarded",
            Self::Deaf(_) => "deaf",
            Self::Publish { container, .. } => of_family(container.ip(), ["publish", "publish6"]),
            Self::PublishAny { container, .. } => {
                of_family(container.ip(), ["publish_any", "publish_any6"])
            }
        }
    }

    /// Returns the element that publishes one port.
    pub fn publishing(protocol: Protocol, host: SocketAddr, container: SocketAddr) -> Self {
        if host.ip().is_unspecified() {
            let host_port = host.port();
            return Self::PublishAny {
                protocol,
                host_port,
                container,
            };
        }
        Self::Publish {
            protocol,
            host,
            container,
        }
    }

    /// Returns key and value as the kernel holds them.
    pub fn raw(&self) -> RawElement {
        RawElement {
            set: self.set().to_owned(),
            key: self.key(),
            key_end: self.key_end(),
            value: self.value(),
        }
    }

    fn key(&self) -> Vec<u8> {
        match self {
            Self::Bridge(name) | Self::Internal(name) => interface(name).to_vec(),
            Self::Outbound {
                interface: name, ..
            }
            | Self::Routed {
                interface: name, ..
            }
            | Self::Unprotected {
                interface: name, ..
            } => interface(name).to_vec(),
            Self::Within(name) => interface(name).repeat(2),
            Self::Hairpin {
                interface: name,
                subnet,
            } => edge(name, subnet.network()),
            Self::Guarded(family) | Self::Deaf(family) => {
                vec![family.choose([NFPROTO_IPV4, NFPROTO_IPV6])]
            }
            Self::Open {
                protocol,
                container,
            } => at(*protocol, container),
            Self::Publish { protocol, host, .. } => at(*protocol, host),
            Self::PublishAny {
                protocol,
                host_port,
                ..
            } => [proto(*protocol), service(*host_port)].concat(),
        }
    }

    fn key_end(&self) -> Option<Vec<u8>> {
        let Self::Hairpin {
            interface: name,
            subnet,
        } = self
        else {
            return None;
        };
        Some(edge(name, subnet.broadcast()))
    }

    fn value(&self) -> Option<Vec<u8>> {
        let (Self::Publish { container, .. } | Self::PublishAny { container, .. }) = self else {
            return None;
        };
        Some(socket(container))
    }
}

/// An element as bytes: what is dumped, compared and deleted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RawElement {
    pub set: String,
    pub key: Vec<u8>,
    /// The other end of an interval.
    pub key_end: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

fn interface(name: &str) -> [u8; INTERFACE_BYTES] {
    let mut bytes = [0; INTERFACE_BYTES];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(INTERFACE_BYTES - 1)) {
        *to = from;
    }
    bytes
}

fn proto(protocol: Protocol) -> [u8; 4] {
    match protocol {
        Protocol::Tcp => [6, 0, 0, 0],
        Protocol::Udp => [17, 0, 0, 0],
    }
}

fn service(port: u16) -> [u8; 4] {
    let [high, low] = port.to_be_bytes();
    [high, low, 0, 0]
}

fn edge(name: &str, address: IpAddr) -> Vec<u8> {
    [&interface(name)[..], &octets(address)].concat()
}

fn at(protocol: Protocol, address: &SocketAddr) -> Vec<u8> {
    let (protocol, port) = (proto(protocol), service(address.port()));
    [&protocol[..], &octets(address.ip()), &port].concat()
}

fn socket(address: &SocketAddr) -> Vec<u8> {
    [&octets(address.ip())[..], &service(address.port())].concat()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn of_family<T>(address: IpAddr, both: [T; 2]) -> T {
    Family::of(address).choose(both)
}
