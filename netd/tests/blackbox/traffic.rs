//! What reaches what, through the real kernel: between containers, host and
//! outside, by address and by published port.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::*;
use netd_api::Protocol;

fn to(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

#[test]
fn a_run_without_networks_has_loopback_only() {
    let mut host = Sandbox::new();
    let none = host.network_named("none").id;
    for request in [attach(&[]), attach(&[&none])] {
        let attached = host.attach(&request);
        assert!(attached.endpoints.is_empty());
        let server = TcpServer::new(&attached.namespace, 80);
        assert!(
            server
                .reach(&attached.namespace, to(Ipv4Addr::LOCALHOST, 80))
                .is_some()
        );
        let mut namespace = netd::namespace::open(&attached.namespace).unwrap();
        assert_eq!(namespace.route.links().unwrap().len(), 1);
        let setting = || netd::sysctl::read("net/ipv4/ping_group_range").unwrap();
        assert_eq!(inside(&attached.namespace, setting), "0\t2147483647");
        host.detach(&request.run);
    }
    host.assert_holds(0, 0);
}

#[test]
fn containers_of_the_default_network_reach_each_other_the_host_and_the_outside() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let (a, b) = (
        host.attach(&attach(&[&bridge])),
        host.attach(&attach(&[&bridge])),
    );
    assert_eq!(address(&a), Ipv4Addr::new(172, 17, 0, 2));
    assert_eq!(address(&b), Ipv4Addr::new(172, 17, 0, 3));
    assert_eq!(b.endpoints[0].mac, "02:42:ac:11:00:03");
    let server = TcpServer::new(&b.namespace, 80);
    assert_eq!(
        server.reach(&a.namespace, to(address(&b), 80)),
        Some(address(&a))
    );
    assert!(server.reach_from_host(to(address(&b), 80)).is_some());
    let outside = TcpServer::new(&host.outside, 80);
    assert_eq!(
        outside.reach(&a.namespace, to(OUTSIDE, 80)),
        Some(HOST),
        "masqueraded"
    );
    assert_eq!(
        server.reach(&host.outside, to(address(&b), 80)),
        None,
        "not published"
    );
}

#[test]
fn a_published_tcp_port_is_reached_from_everywhere() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let published = host.attach(&request);
    let other = host.attach(&attach(&[&bridge]));
    let server = TcpServer::new(&published.namespace, 80);
    let gateway = published.endpoints[0].gateway.unwrap();
    assert_eq!(
        server.reach(&host.outside, to(HOST, 8080)),
        Some(OUTSIDE),
        "the client's address stays"
    );
    assert_eq!(
        server.reach_from_host(to(Ipv4Addr::LOCALHOST, 8080)),
        Some(gateway)
    );
    assert!(server.reach_from_host(to(HOST, 8080)).is_some());
    assert!(server.reach_from_host(to(gateway, 8080)).is_some());
    assert_eq!(
        server.reach(&other.namespace, to(HOST, 8080)),
        Some(gateway),
        "same network"
    );
    assert_eq!(
        server.reach(&published.namespace, to(HOST, 8080)),
        Some(gateway),
        "itself"
    );
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
}

#[test]
fn a_published_udp_port_is_reached_from_everywhere() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Udp, 5300, 53)];
    let published = host.attach(&request);
    let server = UdpServer::new(&published.namespace, 53);
    assert_eq!(server.reach(&host.outside, to(HOST, 5300)), Some(OUTSIDE));
    assert!(
        server
            .reach_from_host(to(Ipv4Addr::LOCALHOST, 5300))
            .is_some()
    );
    assert!(server.reach_from_host(to(HOST, 5300)).is_some());
}
