//! Docker's options of bridges, through the real kernel, and which network has the
//! default route.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use base::FailureKind;
use events::CallError;
use netd_api::{Connect, CreateNetwork, Disconnect, NetworkConfig, Protocol};

use crate::support::*;

fn to(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

fn with(name: &str, options: &[(&str, &str)]) -> CreateNetwork {
    let options = options.iter();
    let whole = |name: &str| format!("com.docker.network.{name}");
    CreateNetwork {
        options: options
            .map(|(name, value)| (whole(name), (*value).to_owned()))
            .collect(),
        ..network(name)
    }
}

fn ip(namespace: Option<&Path>, arguments: &str) -> String {
    let run = || {
        let mut command = Command::new("ip");
        let output = command.args(arguments.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    match namespace {
        Some(path) => inside(path, run),
        None => run(),
    }
}

fn refusal(result: Result<NetworkConfig, CallError>) -> (FailureKind, String) {
    match result {
        Err(CallError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("{other:?}"),
    }
}

/// Whether bridges hand frames to the firewall is a setting of the host's.
fn for_each_way_of_filtering(check: impl Fn(&mut Sandbox) + Sync) {
    for value in ["0", "1"] {
        std::thread::scope(|scope| {
            let run = || {
                let mut host = Sandbox::without_netd();
                for setting in ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"] {
                    let name = format!("net/bridge/{setting}");
                    netd::sysctl::write_if_there(&name, value).unwrap();
                }
                host.start(&[]);
                check(&mut host);
            };
            scope.spawn(run).join().unwrap();
        });
    }
}

#[test]
fn containers_that_are_kept_apart_reach_each_other_by_published_ports_only() {
    for_each_way_of_filtering(|host| {
        let apart = host.network(with("apart", &[("bridge.enable_icc", "false")]));
        let mut request = attach(&[&apart.id]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        let a = host.attach(&request);
        let b = host.attach(&attach(&[&apart.id]));
        let server = TcpServer::new(&a.namespace, 80);
        assert_eq!(server.reach(&b.namespace, to(address(&a), 80)), None);
        let gateway = a.endpoints[0].gateway.unwrap();
        for client in [&b.namespace, &a.namespace] {
            assert!(server.reach(client, to(gateway, 8080)).is_some());
        }
        assert!(server.reach(&host.outside, to(HOST, 8080)).is_some());
        assert!(server.reach_from_host(to(address(&a), 80)).is_some());
        let outside = TcpServer::new(&host.outside, 81);
        assert_eq!(outside.reach(&b.namespace, to(OUTSIDE, 81)), Some(HOST));
    });
}

#[test]
fn containers_that_are_kept_apart_are_so_after_a_restart() {
    let mut host = Sandbox::new();
    let apart = host.network(with("apart", &[("bridge.enable_icc", "false")]));
    let a = host.attach(&attach(&[&apart.id]));
    let b = host.attach(&attach(&[&apart.id]));
    host.kill();
    host.start(&[]);
    let server = TcpServer::new(&a.namespace, 80);
    assert_eq!(server.reach(&b.namespace, to(address(&a), 80)), None);
    assert!(server.reach_from_host(to(address(&a), 80)).is_some());
}

#[test]
fn a_bridge_is_called_as_the_user_wants_and_goes_with_its_network() {
    let mut host = Sandbox::new();
    let named = host.network(with("named", &[("bridge.name", "br-mine")]));
    assert_eq!(named.interface.as_deref(), Some("br-mine"));
    let a = host.attach(&attach(&[&named.id]));
    let outside = TcpServer::new(&host.outside, 80);
    assert_eq!(outside.reach(&a.namespace, to(OUTSIDE, 80)), Some(HOST));
    let (kind, message) = refusal(host.try_network(with("two", &[("bridge.name", "br-mine")])));
    assert_eq!(kind, FailureKind::Forbidden);
    assert!(
        message.ends_with("networks have same bridge name"),
        "{message}"
    );
    let (_, message) = refusal(host.try_network(with("two", &[("bridge.name", "lo")])));
    assert_eq!(message, "existing interface lo is not a bridge");
    host.detach(&a_run(&host));
    host.remove_network(&named.id).unwrap();
    assert!(!ip(None, "-br link").contains("br-mine"));
}

fn a_run(host: &Sandbox) -> base::RunId {
    let leases = netd_api::query::leases(&host.instance).unwrap();
    leases[0].request.run.clone()
}

#[test]
fn a_named_bridge_that_no_network_has_any_more_is_taken_away() {
    let mut host = Sandbox::new();
    let named = host.network(with("named", &[("bridge.name", "br-mine")]));
    host.kill();
    let file = host.instance.networks().join(format!("{}.json", named.id));
    std::fs::remove_file(file).unwrap();
    host.start(&[]);
    assert!(!ip(None, "-br link").contains("br-mine"));
}

#[test]
fn a_bridge_that_was_there_stays_and_loses_our_address() {
    let mut host = Sandbox::new();
    ip(None, "link add br-theirs type bridge");
    let adopted = host.network(with("adopted", &[("bridge.name", "br-theirs")]));
    assert!(adopted.adopted);
    let a = host.attach(&attach(&[&adopted.id]));
    let server = TcpServer::new(&a.namespace, 80);
    assert!(server.reach_from_host(to(address(&a), 80)).is_some());
    let run = a_run(&host);
    host.detach(&run);
    host.remove_network(&adopted.id).unwrap();
    let shown = ip(None, "-br -4 addr show dev br-theirs");
    let own = adopted.ipv4.unwrap().gateway.unwrap().to_string();
    assert!(!shown.contains(&own), "{shown}");
    assert!(ip(None, "-br link").contains("br-theirs"), "it stays");
}

#[test]
fn ports_are_bound_where_the_network_says() {
    let mut host = Sandbox::new();
    let bound = host.network(with("bound", &[("bridge.host_binding_ipv4", "127.0.0.1")]));
    let mut request = attach(&[&bound.id]);
    let everywhere = netd_api::PortRequest {
        host_ip: Some(Ipv4Addr::UNSPECIFIED.into()),
        ..port(Protocol::Tcp, 8081, 80)
    };
    request.ports = vec![port(Protocol::Tcp, 8080, 80), everywhere];
    let a = host.attach(&request);
    let hosts: Vec<IpAddr> = a.ports.iter().map(|port| port.host_ip).collect();
    let expected = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED].map(IpAddr::V4);
    assert_eq!(hosts, expected);
    let server = TcpServer::new(&a.namespace, 80);
    assert!(
        server
            .reach_from_host(to(Ipv4Addr::LOCALHOST, 8080))
            .is_some()
    );
    assert_eq!(server.reach(&host.outside, to(HOST, 8080)), None);
    assert!(server.reach(&host.outside, to(HOST, 8081)).is_some());
}

#[test]
fn interfaces_are_called_as_the_network_says() {
    let mut host = Sandbox::new();
    let (one, two) = ("container_iface_prefix", "waytoolonginterface");
    let named = host.network(with("named", &[(one, "net")]));
    let other = host.network(network("other"));
    let a = host.attach(&attach(&[&named.id, &other.id]));
    let names: Vec<&str> = a.endpoints.iter().map(|it| it.interface.as_str()).collect();
    assert_eq!(names, ["net0", "eth0"]);
    let long = host.network(with("long", &[(one, two)]));
    let refused = host.try_attach(&attach(&[&long.id])).unwrap_err();
    assert!(
        refused.to_string().contains("waytoolonginterface0"),
        "{refused}"
    );
}

/// A route to the containers of a network, by way of the host.
fn lead_outside_to(host: &Sandbox, made: &NetworkConfig) {
    let subnet = made.ipv4.as_ref().unwrap().subnet;
    let arguments = format!("route add {subnet} via {HOST}");
    ip(Some(&host.outside), &arguments);
}

#[test]
fn a_routed_network_has_its_published_ports_open_and_no_others() {
    let mut host = Sandbox::new();
    let routed = host.network(with("routed", &[("bridge.gateway_mode_ipv4", "routed")]));
    lead_outside_to(&host, &routed);
    let other = host.network(network("other"));
    let mut request = attach(&[&routed.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let a = host.attach(&request);
    assert_eq!(a.ports[0].host_port, 0, "nothing of the host is taken");
    let b = host.attach(&attach(&[&other.id]));
    let (open, closed) = (
        TcpServer::new(&a.namespace, 80),
        TcpServer::new(&a.namespace, 81),
    );
    for client in [&host.outside, &b.namespace] {
        assert!(open.reach(client, to(address(&a), 80)).is_some());
        assert_eq!(closed.reach(client, to(address(&a), 81)), None);
    }
    assert_eq!(open.reach(&host.outside, to(HOST, 8080)), None);
    let outside = TcpServer::new(&host.outside, 82);
    let seen = outside.reach(&a.namespace, to(OUTSIDE, 82));
    assert_eq!(seen, Some(address(&a)), "not masqueraded");
    host.kill();
    host.start(&[]);
    assert!(open.reach(&host.outside, to(address(&a), 80)).is_some());
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
}

#[test]
fn an_unprotected_network_is_reached_at_every_port_and_translated_too() {
    let mut host = Sandbox::new();
    let mode = ("bridge.gateway_mode_ipv4", "nat-unprotected");
    let bare = host.network(with("bare", &[mode]));
    lead_outside_to(&host, &bare);
    let other = host.network(network("other"));
    let mut request = attach(&[&bare.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let a = host.attach(&request);
    let b = host.attach(&attach(&[&other.id]));
    let server = TcpServer::new(&a.namespace, 80);
    assert!(server.reach(&host.outside, to(address(&a), 80)).is_some());
    assert!(server.reach(&host.outside, to(HOST, 8080)).is_some());
    assert_eq!(server.reach(&b.namespace, to(address(&a), 80)), None);
}

#[test]
fn an_isolated_network_has_no_host() {
    let mut host = Sandbox::new();
    let mode = ("bridge.gateway_mode_ipv4", "isolated");
    let (kind, message) = refusal(host.try_network(with("alone", &[mode])));
    assert_eq!(kind, FailureKind::Invalid);
    assert!(message.contains("internal network"), "{message}");
    let alone = host.network(CreateNetwork {
        internal: true,
        ..with("alone", &[mode])
    });
    let a = host.attach(&attach(&[&alone.id]));
    let b = host.attach(&attach(&[&alone.id]));
    let first = alone.ipv4.unwrap();
    assert_eq!(first.gateway, None);
    assert!(address(&a).octets()[3] == 1, "the first address is free");
    let server = TcpServer::new(&a.namespace, 80);
    assert!(server.reach(&b.namespace, to(address(&a), 80)).is_some());
    assert_eq!(server.reach_from_host(to(address(&a), 80)), None);
}

#[test]
fn the_default_route_follows_priorities_while_networks_come_and_go() {
    let mut host = Sandbox::new();
    let ids: Vec<_> = ["aa", "bb", "cc"]
        .map(|name| host.network(network(name)).id)
        .into();
    let mut request = attach(&[&ids[1]]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let gateway = |index: usize| {
        let endpoint = attached.endpoints.get(index);
        endpoint.and_then(|it| it.gateway).unwrap()
    };
    let route = || ip(Some(&attached.namespace), "route show default");
    assert!(route().contains(&gateway(0).to_string()));
    let run = request.run.clone();
    let join = |host: &mut Sandbox, index: usize, priority| {
        let mut endpoint = endpoint(&ids[index]);
        endpoint.gateway_priority = priority;
        let body = Connect {
            run: run.clone(),
            endpoint,
        };
        let changed = host.call(&run.to_string(), &body).unwrap();
        changed
            .attached
            .endpoint_on(&ids[index])
            .unwrap()
            .gateway
            .unwrap()
    };
    let third = join(&mut host, 2, 0);
    assert!(!route().contains(&third.to_string()), "bb is before cc");
    let first = join(&mut host, 0, 0);
    assert!(route().contains(&first.to_string()), "aa is before bb");
    let leave = |host: &mut Sandbox, index: usize| {
        let body = Disconnect {
            run: request.run.clone(),
            network: ids[index].clone(),
        };
        host.call(&request.run.to_string(), &body).unwrap();
    };
    leave(&mut host, 0);
    assert!(route().contains(&gateway(0).to_string()));
    leave(&mut host, 2);
    let third = join(&mut host, 2, 7);
    assert!(route().contains(&third.to_string()), "by its priority");
    let server = TcpServer::new(&attached.namespace, 80);
    assert!(server.reach(&host.outside, to(HOST, 8080)).is_some());
}
