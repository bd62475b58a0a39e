//! Host ports of published ports. Each is held by a bound socket that drops
//! whatever reaches it: so the kernel finds conflicts with every other program,
//! in both directions, while packets are translated before they get here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd as _, OwnedFd};

use netd_api::{PortRequest, Protocol, PublishedPort};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::sys;

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("Bind for {address} failed: port is already allocated")]
    Allocated { address: SocketAddrV4 },
    #[error("Bind for {host}:{first}-{last} failed: all ports are allocated")]
    AllAllocated {
        host: Ipv4Addr,
        first: u16,
        last: u16,
    },
    #[error("cannot publish a port on {address}: the host has no such address")]
    NoSuchAddress { address: SocketAddrV4 },
    #[error("cannot publish a port on {0}: only IPv4 host addresses are supported")]
    NotIpv4(IpAddr),
    #[error("invalid port: {0}")]
    Invalid(&'static str),
    #[error("cannot reserve port {address}")]
    Bind {
        address: SocketAddrV4,
        source: io::Error,
    },
}

/// A port that is held until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    pub port: PublishedPort,
    _socket: OwnedFd,
}

/// Reserves a host port for every request; either all or none.
///
/// # Errors
/// The first port that cannot be had.
pub fn reserve(requests: &[PortRequest]) -> Result<Vec<Reservation>, PortError> {
    requests.iter().map(reserve_one).collect()
}

/// Holds a port again that was published before the daemon was restarted.
///
/// # Errors
/// When somebody else took it meanwhile.
pub fn reserve_again(port: &PublishedPort) -> Result<Reservation, PortError> {
    let IpAddr::V4(host) = port.host_ip else {
        return Err(PortError::NotIpv4(port.host_ip));
    };
    bind(
        port.protocol,
        port.container_port,
        SocketAddrV4::new(host, port.host_port),
    )
}

fn reserve_one(request: &PortRequest) -> Result<Reservation, PortError> {
    let host = match request.host_ip {
        None => Ipv4Addr::UNSPECIFIED,
        Some(IpAddr::V4(host)) => host,
        Some(other) => return Err(PortError::NotIpv4(other)),
    };
    if request.container_port == 0 {
        return Err(PortError::Invalid("the container's port may not be 0"));
    }
    let (first, last) = match request.host_ports {
        None => (0, 0), // the kernel picks one of its local range
        Some(range) if range.first == 0 || range.first > range.last => {
            return Err(PortError::Invalid(
                "the range of host ports is empty or begins at 0",
            ));
        }
        Some(range) => (range.first, range.last),
    };
    for port in first..=last {
        let address = SocketAddrV4::new(host, port);
        match bind(request.protocol, request.container_port, address) {
            Err(PortError::Allocated { .. }) if first != last => {}
            result => return result,
        }
    }
    Err(PortError::AllAllocated { host, first, last })
}

fn bind(
    protocol: Protocol,
    container_port: u16,
    address: SocketAddrV4,
) -> Result<Reservation, PortError> {
    let (socket, bound) = bound_socket(protocol, address).map_err(|errno| match errno.kind() {
        io::ErrorKind::AddrInUse => PortError::Allocated { address },
        io::ErrorKind::AddrNotAvailable => PortError::NoSuchAddress { address },
        _ => PortError::Bind {
            address,
            source: errno,
        },
    })?;
    let port = PublishedPort {
        protocol,
        container_port,
        host_ip: IpAddr::V4(*address.ip()),
        host_port: bound,
    };
    Ok(Reservation {
        port,
        _socket: socket,
    })
}

fn bound_socket(protocol: Protocol, address: SocketAddrV4) -> io::Result<(OwnedFd, u16)> {
    let (kind, transport) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, Some(transport))?;
    sys::refuse_traffic(socket.as_fd())?;
    if protocol == Protocol::Tcp {
        // Old connections in TIME_WAIT are no conflict, listeners are.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    if protocol == Protocol::Tcp {
        rustix::net::listen(&socket, 0)?;
    }
    let bound = SocketAddr::try_from(rustix::net::getsockname(&socket)?)?;
    Ok((socket, bound.port()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netd_api::HostPorts;
    use std::net::{TcpListener, UdpSocket};

    fn request(protocol: Protocol, ports: Option<(u16, u16)>) -> PortRequest {
        PortRequest {
            protocol,
            container_port: 80,
            host_ip: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host_ports: ports.map(|(first, last)| HostPorts { first, last }),
        }
    }

    #[test]
    fn a_port_is_held_against_everybody_until_it_is_dropped() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let held = reserve(&[request(protocol, None)]).unwrap();
            let port = held[0].port.host_port;
            let again = reserve(&[request(protocol, Some((port, port)))]).unwrap_err();
            let text = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
            assert_eq!(again.to_string(), text);
            let other = match protocol {
                Protocol::Tcp => TcpListener::bind(("127.0.0.1", port)).map(drop),
                Protocol::Udp => UdpSocket::bind(("127.0.0.1", port)).map(drop),
            };
            assert_eq!(other.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(held);
            reserve(&[request(protocol, Some((port, port)))]).unwrap();
        }
    }

    #[test]
    fn a_listener_of_another_program_is_a_conflict() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = reserve(&[request(Protocol::Tcp, Some((port, port)))]).unwrap_err();
        assert!(matches!(error, PortError::Allocated { .. }), "{error}");
    }

    #[test]
    fn the_first_free_port_of_a_range_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = listener.local_addr().unwrap().port().min(65_500);
        let range = Some((first, first + 20));
        let held = reserve(&[request(Protocol::Tcp, range)]).unwrap();
        assert!((first..=first + 20).contains(&held[0].port.host_port));
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_its_reason() {
        let mut six = request(Protocol::Tcp, None);
        six.host_ip = Some("::1".parse().unwrap());
        assert!(matches!(reserve(&[six]), Err(PortError::NotIpv4(_))));
        let mut elsewhere = request(Protocol::Tcp, None);
        elsewhere.host_ip = Some("192.0.2.1".parse().unwrap());
        assert!(matches!(
            reserve(&[elsewhere]),
            Err(PortError::NoSuchAddress { .. })
        ));
        let backwards = request(Protocol::Tcp, Some((9, 8)));
        assert!(matches!(reserve(&[backwards]), Err(PortError::Invalid(_))));
    }
}
