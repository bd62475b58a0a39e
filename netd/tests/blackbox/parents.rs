//! Networks on an interface of the host: macvlan here, ipvlan, virtual LANs and
//! dummies where the kernel has them.

use std::net::{Ipv4Addr, SocketAddr};

use base::FailureKind;
use events::CallError;
use netd_api::{
    Connect, CreateNetwork, Disconnect, NetworkConfig, NetworkDriver, PoolRequest, Protocol,
};

use crate::support::*;

fn to(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

/// A network on the wire to the outside, in its subnet.
fn on(parent: &str, options: &[(&str, &str)]) -> CreateNetwork {
    let all = [("parent", parent)]
        .into_iter()
        .chain(options.iter().copied());
    CreateNetwork {
        driver: NetworkDriver::Macvlan,
        ipv4: PoolRequest {
            subnet: Some("203.0.113.0/24".parse().unwrap()),
            range: Some("203.0.113.64/26".parse().unwrap()),
            gateway: Some(OUTSIDE.into()),
            ..PoolRequest::default()
        },
        options: all
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        ..network("lan")
    }
}

fn refusal(result: Result<NetworkConfig, CallError>) -> (FailureKind, String) {
    match result {
        Err(CallError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn containers_on_a_parent_are_on_its_wire() {
    let mut host = Sandbox::new();
    let lan = host.network(on("wire0", &[]));
    let mut request = attach(&[&lan.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let (a, b) = (host.attach(&request), host.attach(&attach(&[&lan.id])));
    assert!(a.ports.is_empty(), "there is no translation");
    assert_eq!(a.endpoints[0].gateway, Some(OUTSIDE));
    let server = TcpServer::new(&a.namespace, 80);
    let seen = server.reach(&host.outside, to(address(&a), 80));
    assert_eq!(seen, Some(OUTSIDE), "from the wire");
    let seen = server.reach(&b.namespace, to(address(&a), 80));
    assert_eq!(seen, Some(address(&b)));
    assert_eq!(server.reach_from_host(to(address(&a), 80)), None);
    let outside = TcpServer::new(&host.outside, 81);
    let seen = outside.reach(&b.namespace, to(OUTSIDE, 81));
    assert_eq!(seen, Some(address(&b)));
    assert!(ip(&a.namespace, "route show default").contains("203.0.113.2"));
    let links = host.links();
    host.kill();
    host.start(&[]);
    assert!(server.reach(&host.outside, to(address(&a), 80)).is_some());
    assert_eq!(host.links(), links, "nothing was made again");
    host.detach(&request.run);
    let again = host.attach(&attach(&[&lan.id]));
    assert_eq!(address(&again), address(&a));
}

#[test]
fn a_parent_is_shared_as_the_mode_says() {
    let mut host = Sandbox::new();
    let private = host.network(on("wire0", &[("macvlan_mode", "private")]));
    let a = host.attach(&attach(&[&private.id]));
    let b = host.attach(&attach(&[&private.id]));
    let server = TcpServer::new(&a.namespace, 80);
    assert_eq!(server.reach(&b.namespace, to(address(&a), 80)), None);
    assert!(server.reach(&host.outside, to(address(&a), 80)).is_some());
    let passthru = CreateNetwork {
        name: "second".to_owned(),
        ipv4: PoolRequest::default(),
        ..on("wire0", &[("macvlan_mode", "passthru")])
    };
    let (kind, message) = refusal(host.try_network(passthru));
    assert_eq!(kind, FailureKind::Forbidden);
    let expected = format!(
        "cannot use mode passthru, macvlan network {} is already using parent interface wire0",
        private.id
    );
    assert_eq!(message, expected);
}

#[test]
fn a_parent_that_makes_no_sense_is_refused() {
    let mut host = Sandbox::new();
    for (parent, options, expected) in [
        (
            "lo",
            &[][..],
            "loopback interface is not a valid macvlan parent link",
        ),
        (
            "eth9",
            &[],
            "invalid subinterface vlan name eth9, example formatting is eth0.10",
        ),
        (
            "eth9.10",
            &[],
            "-o parent interface was not found on the host: eth9",
        ),
        (
            "wire0",
            &[("macvlan_mode", "pigeon")],
            "requested macvlan mode 'pigeon' is not valid, 'bridge' mode is the macvlan driver default",
        ),
    ] {
        let (kind, message) = refusal(host.try_network(on(parent, options)));
        assert_eq!((kind, message.as_str()), (FailureKind::Invalid, expected));
    }
    host.assert_holds(0, 0);
}

#[test]
fn a_living_container_joins_and_leaves_a_network_on_a_parent() {
    let mut host = Sandbox::new();
    let lan = host.network(on("wire0", &[]));
    let bridge = host.bridge();
    let request = attach(&[&bridge]);
    let a = host.attach(&request);
    let body = Connect {
        run: request.run.clone(),
        endpoint: endpoint(&lan.id),
    };
    let joined = host.call(&request.run.to_string(), &body).unwrap();
    let own = joined.attached.endpoint_on(&lan.id).unwrap();
    let server = TcpServer::new(&a.namespace, 80);
    let there = to(own.ipv4.unwrap().addr(), 80);
    assert!(server.reach(&host.outside, there).is_some());
    let body = Disconnect {
        run: request.run.clone(),
        network: lan.id.clone(),
    };
    host.call(&request.run.to_string(), &body).unwrap();
    assert!(!ip(&a.namespace, "-br link").contains("eth1"));
    host.detach(&request.run);
    host.remove_network(&lan.id).unwrap();
    host.assert_holds(0, 1);
}

#[test]
fn an_internal_network_on_a_parent_has_no_router() {
    let mut host = Sandbox::new();
    let mut request = on("wire0", &[]);
    request.internal = true;
    request.ipv4.gateway = None;
    request.ipv4.range = None;
    let lan = host.network(request);
    let a = host.attach(&attach(&[&lan.id]));
    assert_eq!(a.endpoints[0].gateway, None);
    assert_eq!(ip(&a.namespace, "route show default"), "");
}

fn is_there(name: &str) -> bool {
    let mut route = netd::netlink::route::RouteSocket::open().unwrap();
    route.link(name).unwrap().is_some()
}

/// What the machine's kernel says to a link that it has no driver for.
fn is_missing(made: &Result<NetworkConfig, CallError>) -> bool {
    match made {
        Err(CallError::Refused(failure)) => failure.message.contains("not supported"),
        _ => false,
    }
}

#[test]
fn a_virtual_lan_goes_with_the_last_network_on_it() {
    let mut host = Sandbox::new();
    let made = host.try_network(on("wire0.7", &[]));
    if is_missing(&made) {
        host.assert_holds(0, 0);
        assert!(!is_there("wire0.7"));
        println!("skipped: the kernel has no virtual LANs");
        return;
    }
    let second = CreateNetwork {
        name: "second".to_owned(),
        ipv4: PoolRequest::default(),
        ..on("wire0.7", &[])
    };
    let second = host.network(second);
    host.remove_network(&made.unwrap().id).unwrap();
    assert!(is_there("wire0.7"));
    host.remove_network(&second.id).unwrap();
    assert!(!is_there("wire0.7"));
}

#[test]
fn containers_on_a_dummy_reach_each_other() {
    let mut host = Sandbox::new();
    let request = CreateNetwork {
        ipv4: PoolRequest::default(),
        ..on("", &[])
    };
    let made = host.try_network(request);
    if is_missing(&made) {
        host.assert_holds(0, 0);
        println!("skipped: the kernel has no dummies");
        return;
    }
    let made = made.unwrap();
    let (a, b) = (
        host.attach(&attach(&[&made.id])),
        host.attach(&attach(&[&made.id])),
    );
    let server = TcpServer::new(&a.namespace, 80);
    assert!(server.reach(&b.namespace, to(address(&a), 80)).is_some());
}

#[test]
fn ipvlan_shares_the_address_of_its_parent() {
    for (mode, way) in [
        ("l2", "via 203.0.113.2"),
        ("l3", "dev eth0"),
        ("l3s", "dev eth0"),
    ] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut host = Sandbox::new();
                let request = CreateNetwork {
                    driver: NetworkDriver::Ipvlan,
                    ..on("wire0", &[("ipvlan_mode", mode)])
                };
                let made = host.network(request);
                let attached = host.try_attach(&attach(&[&made.id]));
                if let Err(CallError::Refused(failure)) = &attached {
                    assert!(failure.message.contains("not supported"), "{failure:?}");
                    println!("skipped: the kernel has no ipvlan");
                    return;
                }
                let attached = attached.unwrap();
                assert_eq!(attached.endpoints[0].mac, "");
                let route = ip(&attached.namespace, "route show default");
                assert!(route.contains(way), "{route}");
                let server = TcpServer::new(&attached.namespace, 80);
                let own = address(&attached);
                if mode != "l2" {
                    // It answers nobody who asks the wire for it, and is routed to.
                    ip(&host.outside, &format!("route add {own}/32 via {HOST}"));
                }
                assert!(server.reach(&host.outside, to(own, 80)).is_some(), "{mode}");
            });
        });
    }
}
