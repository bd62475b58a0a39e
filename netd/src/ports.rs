//! Host ports of published ports. Each is held by a bound socket that drops
//! whatever reaches it: so the kernel finds conflicts with every other program,
//! in both directions, while packets are translated before they get here.
//!
//! Translation keeps the family: a port of an IPv6 address leads to a container's
//! IPv6 address or nowhere. What names a host address of a family the container
//! lacks is refused; what names none is published in the families it has, under
//! one number.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};

use netd_api::{HostPorts, PortRequest, Protocol, PublishedPort};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use crate::family::{Families, Family};
use crate::state::change::Reach;
use crate::{sys, sysctl};

/// How often a free port is looked for that is free in both families.
const FREE_TRIES: usize = 16;

/// Why a port cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("Bind for {address} failed: port is already allocated")]
    Allocated { address: SocketAddr },
    #[error("Bind for {host}:{first}-{last} failed: all ports are allocated")]
    AllAllocated { host: IpAddr, first: u16, last: u16 },
    #[error("cannot publish a port on {address}: the host has no such address")]
    NoSuchAddress { address: SocketAddr },
    #[error(
        "cannot publish port {container_port} on {host}: no network of the container that leads \
         out has addresses of that family, and ports are not passed on by a proxy"
    )]
    OtherFamily { host: IpAddr, container_port: u16 },
    #[error(
        "cannot publish a port on {host}: bridges hand IPv6 to the firewall \
         (net.bridge.bridge-nf-call-ip6tables), so answers would not reach loopback; 127.0.0.1 \
         can be published on"
    )]
    Deaf { host: IpAddr },
    #[error("invalid port: {0}")]
    Invalid(&'static str),
    #[error("cannot reserve port {address}")]
    Bind {
        address: SocketAddr,
        source: io::Error,
    },
}

/// A port that is held until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    pub port: PublishedPort,
    /// None where packets are not translated: nothing of the host is taken.
    _socket: Option<OwnedFd>,
}

/// Reserves a host port for every request, in each of the families if neither it
/// nor the network names a host address; either all or none.
///
/// # Errors
/// The first port that cannot be had.
pub fn reserve(requests: &[PortRequest], reach: Reach) -> Result<Vec<Reservation>, PortError> {
    let mut all = Vec::with_capacity(requests.len());
    for request in requests {
        let mut request = request.clone();
        request.host_ip = request.host_ip.or(reach.binding);
        all.extend(reserve_one(&request, reach)?);
    }
    Ok(all)
}

/// Returns what of `requests` is to be reserved when a run comes to be reachable
/// in further families: a port that is published already keeps its number.
pub fn late(
    requests: &[PortRequest],
    published: &[PublishedPort],
    families: Families,
) -> Vec<PortRequest> {
    let mut rest: Vec<&PublishedPort> = published.iter().collect();
    let mut follow = |request: &PortRequest| {
        let is_its = |port: &&PublishedPort| {
            let is_in = |range: HostPorts| (range.first..=range.last).contains(&port.host_port);
            (port.protocol, port.container_port) == (request.protocol, request.container_port)
                && port.host_ip.is_unspecified()
                && request.host_ports.is_none_or(is_in)
        };
        let index = rest.iter().position(is_its)?;
        let number = rest.remove(index).host_port;
        Some(HostPorts {
            first: number,
            last: number,
        })
    };
    let meant = |request: &&PortRequest| {
        let host = request.host_ip;
        host.map_or(families.any(), |ip| {
            families.has(Family::of(ip.to_canonical()))
        })
    };
    let mut wanted: Vec<PortRequest> = requests.iter().filter(meant).cloned().collect();
    for request in wanted.iter_mut().filter(|it| it.host_ip.is_none()) {
        request.host_ports = follow(request).or(request.host_ports);
    }
    wanted
}

/// Holds a port again that was published before the daemon was restarted.
///
/// # Errors
/// When somebody else took it meanwhile.
pub fn reserve_again(port: &PublishedPort) -> Result<Reservation, PortError> {
    if port.host_port == 0 {
        return Ok(untranslated(port.clone()));
    }
    let address = SocketAddr::new(port.host_ip, port.host_port);
    bind(port.protocol, port.container_port, address)
}

fn reserve_one(request: &PortRequest, reach: Reach) -> Result<Vec<Reservation>, PortError> {
    let hosts = hosts(request, reach.families)?;
    if request.container_port == 0 {
        return Err(PortError::Invalid("the container's port may not be 0"));
    }
    let (routed, hosts): (Vec<_>, Vec<_>) = hosts
        .into_iter()
        .partition(|host| reach.routed.has(Family::of(*host)));
    let routed = routed.into_iter().map(|host| {
        untranslated(PublishedPort {
            protocol: request.protocol,
            container_port: request.container_port,
            host_ip: host,
            host_port: 0,
        })
    });
    let mut all = Vec::new();
    if !hosts.is_empty() {
        all.extend(reserve_on(request, hosts)?);
    }
    all.extend(routed);
    Ok(all)
}

fn untranslated(port: PublishedPort) -> Reservation {
    Reservation {
        port,
        _socket: None,
    }
}

fn reserve_on(request: &PortRequest, hosts: Vec<IpAddr>) -> Result<Vec<Reservation>, PortError> {
    let Some(range) = request.host_ports else {
        return reserve_free(request, &hosts);
    };
    if range.first == 0 || range.first > range.last {
        return Err(PortError::Invalid(
            "the range of host ports is empty or begins at 0",
        ));
    }
    let (first, last) = (range.first, range.last);
    for port in first..=last {
        match bind_all(request, &hosts, port) {
            Err(PortError::Allocated { .. }) if first != last => {}
            result => return result,
        }
    }
    let host = hosts.first().copied();
    let host = host.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    Err(PortError::AllAllocated { host, first, last })
}

/// The kernel picks a port of its local range for the first address; with the
/// others it may be somebody else's.
fn reserve_free(request: &PortRequest, hosts: &[IpAddr]) -> Result<Vec<Reservation>, PortError> {
    let mut result = bind_all(request, hosts, 0);
    for _ in 1..FREE_TRIES {
        match result {
            Err(PortError::Allocated { .. }) => result = bind_all(request, hosts, 0),
            done => return done,
        }
    }
    result
}

fn hosts(request: &PortRequest, families: Families) -> Result<Vec<IpAddr>, PortError> {
    let Some(host) = request.host_ip else {
        let ipv4 = families.ipv4.then_some(Ipv4Addr::UNSPECIFIED.into());
        let ipv6 = families.ipv6.then_some(Ipv6Addr::UNSPECIFIED.into());
        return Ok(ipv4.into_iter().chain(ipv6).collect());
    };
    let host = host.to_canonical();
    if !families.has(Family::of(host)) {
        return Err(PortError::OtherFamily {
            host,
            container_port: request.container_port,
        });
    }
    if host.is_ipv6() && host.is_loopback() && sysctl::do_bridges_filter_ipv6() {
        return Err(PortError::Deaf { host });
    }
    Ok(vec![host])
}

fn bind_all(
    request: &PortRequest,
    hosts: &[IpAddr],
    port: u16,
) -> Result<Vec<Reservation>, PortError> {
    let mut all: Vec<Reservation> = Vec::with_capacity(hosts.len());
    for host in hosts {
        let port = all.first().map_or(port, |first| first.port.host_port);
        let address = SocketAddr::new(*host, port);
        all.push(bind(request.protocol, request.container_port, address)?);
    }
    Ok(all)
}

fn bind(
    protocol: Protocol,
    container_port: u16,
    address: SocketAddr,
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
        host_ip: address.ip(),
        host_port: bound,
    };
    Ok(Reservation {
        port,
        _socket: Some(socket),
    })
}

fn bound_socket(protocol: Protocol, address: SocketAddr) -> io::Result<(OwnedFd, u16)> {
    let (kind, transport) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
    };
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, kind, flags, Some(transport))?;
    sys::refuse_traffic(socket.as_fd())?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, or is none of ours.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
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

    const NONE: Families = Families {
        ipv4: false,
        ipv6: false,
    };
    const IPV4: Reach = Reach {
        families: Families {
            ipv4: true,
            ipv6: false,
        },
        routed: NONE,
        binding: None,
    };
    const BOTH: Reach = Reach {
        families: Families {
            ipv4: true,
            ipv6: true,
        },
        ..IPV4
    };

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
            let held = reserve(&[request(protocol, None)], IPV4).unwrap();
            let port = held[0].port.host_port;
            let again = reserve(&[request(protocol, Some((port, port)))], IPV4).unwrap_err();
            let text = format!("Bind for 127.0.0.1:{port} failed: port is already allocated");
            assert_eq!(again.to_string(), text);
            let other = match protocol {
                Protocol::Tcp => TcpListener::bind(("127.0.0.1", port)).map(drop),
                Protocol::Udp => UdpSocket::bind(("127.0.0.1", port)).map(drop),
            };
            assert_eq!(other.unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(held);
            reserve(&[request(protocol, Some((port, port)))], IPV4).unwrap();
        }
    }

    #[test]
    fn a_listener_of_another_program_is_a_conflict() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = reserve(&[request(Protocol::Tcp, Some((port, port)))], IPV4).unwrap_err();
        assert!(matches!(error, PortError::Allocated { .. }), "{error}");
    }

    #[test]
    fn the_first_free_port_of_a_range_is_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let first = listener.local_addr().unwrap().port().min(65_500);
        let range = Some((first, first + 20));
        let held = reserve(&[request(Protocol::Tcp, range)], IPV4).unwrap();
        assert!((first..=first + 20).contains(&held[0].port.host_port));
    }

    #[test]
    fn what_cannot_be_published_is_refused_with_its_reason() {
        let mut six = request(Protocol::Tcp, None);
        six.host_ip = Some("2001:db8::1".parse().unwrap());
        let refused = reserve(&[six], IPV4);
        assert!(matches!(refused, Err(PortError::OtherFamily { .. })));
        let mut elsewhere = request(Protocol::Tcp, None);
        elsewhere.host_ip = Some("192.0.2.1".parse().unwrap());
        assert!(matches!(
            reserve(&[elsewhere], IPV4),
            Err(PortError::NoSuchAddress { .. })
        ));
        let backwards = request(Protocol::Tcp, Some((9, 8)));
        assert!(matches!(
            reserve(&[backwards], IPV4),
            Err(PortError::Invalid(_))
        ));
    }

    #[test]
    fn a_network_says_where_its_ports_are_and_whether_there_is_translation() {
        let any = PortRequest {
            host_ip: None,
            ..request(Protocol::Tcp, None)
        };
        let shown = |reach| -> Vec<String> {
            let held = reserve(std::slice::from_ref(&any), reach).unwrap();
            let ports = held.iter().map(|it| &it.port);
            let shown = ports.map(|port| format!("{} {}", port.host_ip, port.host_port > 0));
            shown.collect()
        };
        let bound = Reach {
            binding: Some("127.0.0.1".parse().unwrap()),
            ..BOTH
        };
        assert_eq!(shown(bound), ["127.0.0.1 true"]);
        let routed = Reach {
            routed: IPV4.families,
            ..BOTH
        };
        assert_eq!(shown(routed), [":: true", "0.0.0.0 false"]);
    }

    #[test]
    fn without_a_host_address_both_families_have_one_number() {
        let any = |ports| PortRequest {
            host_ip: None,
            ..request(Protocol::Tcp, ports)
        };
        let held = reserve(&[any(None)], BOTH).unwrap();
        let hosts: Vec<_> = held.iter().map(|it| it.port.host_ip.to_string()).collect();
        assert_eq!(hosts, ["0.0.0.0", "::"]);
        let number = held[0].port.host_port;
        assert_eq!(held[1].port.host_port, number);
        drop(held);
        let _taken = TcpListener::bind(("::1", number)).unwrap();
        let again = reserve(&[any(Some((number, number)))], BOTH).unwrap_err();
        let text = format!("Bind for [::]:{number} failed: port is already allocated");
        assert_eq!(again.to_string(), text);
        reserve(&[any(Some((number, number)))], IPV4).unwrap();
    }

    #[test]
    fn ports_that_are_late_keep_their_numbers() {
        let any = |ports: Option<(u16, u16)>| PortRequest {
            host_ip: None,
            ..request(Protocol::Tcp, ports)
        };
        let published = |host_port| PublishedPort {
            protocol: Protocol::Tcp,
            container_port: 80,
            host_ip: Ipv4Addr::UNSPECIFIED.into(),
            host_port,
        };
        let requests = [
            any(None),
            request(Protocol::Tcp, Some((81, 81))),
            any(Some((90, 95))),
        ];
        let ipv6 = BOTH.families.without(IPV4.families);
        let late = |families| -> Vec<_> {
            let all = super::late(&requests, &[published(5000), published(92)], families);
            let numbers = all.into_iter().map(|it| it.host_ports.unwrap());
            numbers.map(|range| (range.first, range.last)).collect()
        };
        assert_eq!(late(ipv6), [(5000, 5000), (92, 92)]);
        assert_eq!(late(IPV4.families), [(5000, 5000), (81, 81), (92, 92)]);
        assert_eq!(late(Families::default()), []);
    }
}
