//! Networks of users: made, isolated, removed; the guards of the firewall.

use std::net::{Ipv4Addr, SocketAddr};

use base::FailureKind;
use events::CallError;
use netd_api::{CreateNetwork, NetworkDriver, PoolRequest, Protocol};

use netd::plan::Way;

use crate::support::*;

fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> (FailureKind, String) {
    match result {
        Err(CallError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("not refused: {other:?}"),
    }
}

fn to(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

#[test]
fn networks_are_isolated_but_published_ports_are_reached_through_the_host() {
    let mut host = Sandbox::new();
    let (one, two) = (
        host.network(network("one")).id,
        host.network(network("two")).id,
    );
    let mut request = attach(&[&one]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let (a, b) = (host.attach(&request), host.attach(&attach(&[&two])));
    let server = TcpServer::new(&a.namespace, 80);
    assert_eq!(server.reach(&b.namespace, to(address(&a), 80)), None);
    assert_eq!(
        server.reach(&b.namespace, to(HOST, 8080)),
        Some(address(&b))
    );
    let both = host.attach(&attach(&[&two, &one]));
    let own = both.endpoint_on(&one).unwrap();
    assert_eq!(own.interface, "eth0", "in the order of names");
    assert_eq!(
        server.reach(&both.namespace, to(address(&a), 80)),
        Some(own.ipv4.unwrap().addr())
    );
}

#[test]
fn an_internal_network_reaches_nothing_outside_itself() {
    let mut host = Sandbox::new();
    let inner = host
        .network(CreateNetwork {
            internal: true,
            ..network("inner")
        })
        .id;
    let open = host.network(network("open")).id;
    let mut request = attach(&[&inner]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let (a, b) = (host.attach(&request), host.attach(&attach(&[&inner])));
    assert_eq!(a.ports, [], "an internal network publishes nothing");
    assert_eq!(a.endpoints[0].gateway, None);
    let server = TcpServer::new(&a.namespace, 80);
    assert!(server.reach(&b.namespace, to(address(&a), 80)).is_some());
    let outside = TcpServer::new(&host.outside, 80);
    assert_eq!(outside.reach(&a.namespace, to(OUTSIDE, 80)), None);
    // Not even where the container sets a route of its own.
    let gateway = host.network_named("inner").ipv4.unwrap().gateway.unwrap();
    let mut namespace = netd::namespace::open(&a.namespace).unwrap();
    namespace
        .route
        .set_default_route(&Way::Router(gateway))
        .unwrap();
    assert_eq!(outside.reach(&a.namespace, to(OUTSIDE, 80)), None);
    let here = TcpServer::here(8888);
    assert_eq!(
        here.reach(&a.namespace, to(HOST, 8888)),
        None,
        "the host's other addresses"
    );
    let mut request = attach(&[&open]);
    request.ports = vec![port(Protocol::Tcp, 9090, 80)];
    let c = host.attach(&request);
    let open_server = TcpServer::new(&c.namespace, 80);
    assert_eq!(open_server.reach(&a.namespace, to(HOST, 9090)), None);
    assert!(open_server.reach(&host.outside, to(HOST, 9090)).is_some());
}

#[test]
fn a_container_does_not_reach_the_hosts_loopback() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let secret = TcpServer::here(5432);
    assert!(
        secret
            .reach_from_host(to(Ipv4Addr::LOCALHOST, 5432))
            .is_some()
    );
    // What a hostile container would do: send 127/8 over its interface.
    let hostile = || {
        netd::sysctl::write("net/ipv4/conf/all/route_localnet", "1").unwrap();
        let ip = |arguments: &str| {
            let arguments = arguments.split(' ');
            assert!(
                std::process::Command::new("ip")
                    .args(arguments)
                    .status()
                    .unwrap()
                    .success()
            );
        };
        ip("addr del 127.0.0.1/8 dev lo");
        ip("route add 127.0.0.0/8 via 172.17.0.1 dev eth0 src 172.17.0.2");
    };
    inside(&attached.namespace, hostile);
    assert_eq!(
        secret.reach(&attached.namespace, to(Ipv4Addr::LOCALHOST, 5432)),
        None
    );
    // It is the guard that keeps them out.
    host.flush("guard");
    let reached = secret.reach(&attached.namespace, to(Ipv4Addr::LOCALHOST, 5432));
    assert!(reached.is_some(), "the attempt would have succeeded");
}

#[test]
fn forwarding_between_foreign_interfaces_stays_off_where_netd_turned_it_on() {
    let mut host = Sandbox::without_netd();
    let second = host.second_outside();
    host.start(&[]);
    let bridge = host.bridge();
    host.attach(&attach(&[&bridge]));
    assert_eq!(netd::sysctl::read("net/ipv4/ip_forward").unwrap(), "1");
    let server = TcpServer::new(&second, 80);
    assert_eq!(server.reach(&host.outside, to(SECOND, 80)), None);
    host.flush("foreign");
    let reached = server.reach(&host.outside, to(SECOND, 80));
    assert!(reached.is_some(), "the attempt would have succeeded");
    // The administrator's own decision is not ours to undo.
    host.start(&[]);
    host.stop();
    drop(host);
    let mut host = Sandbox::without_netd();
    netd::sysctl::write("net/ipv4/ip_forward", "1").unwrap();
    let second = host.second_outside();
    host.start(&[]);
    let bridge = host.bridge();
    host.attach(&attach(&[&bridge]));
    let server = TcpServer::new(&second, 80);
    assert!(server.reach(&host.outside, to(SECOND, 80)).is_some());
}

#[test]
fn a_subnet_avoids_and_refuses_what_the_host_uses() {
    let mut host = Sandbox::without_netd();
    let mut route = netd::netlink::route::RouteSocket::open().unwrap();
    // As a running Docker has it.
    route
        .create_bridge("docker0", "02:00:00:00:00:0b".parse().unwrap(), 1500)
        .unwrap();
    let docker = route.index("docker0").unwrap();
    route
        .add_address(docker, "172.17.0.1/16".parse().unwrap())
        .unwrap();
    host.start(&[]);
    assert_eq!(
        host.network_named("bridge")
            .ipv4
            .unwrap()
            .subnet
            .to_string(),
        "172.18.0.0/16"
    );
    let wanting = |name: &str, subnet: &str| CreateNetwork {
        ipv4: PoolRequest {
            subnet: Some(subnet.parse().unwrap()),
            ..PoolRequest::default()
        },
        ..network(name)
    };
    for taken in ["172.17.9.0/24", "172.18.0.0/16", "203.0.113.0/28"] {
        let (kind, text) = refusal(host.try_network(wanting("taken", taken)));
        assert_eq!(
            (kind, text.contains("overlaps")),
            (FailureKind::Forbidden, true),
            "{text}"
        );
    }
    let made = host.network(wanting("mine", "10.77.0.0/24"));
    let mut fixed = attach(&[&made.id]);
    fixed.endpoints[0].ipv4 = Some(Ipv4Addr::new(10, 77, 0, 50));
    assert_eq!(address(&host.attach(&fixed)), Ipv4Addr::new(10, 77, 0, 50));
    let mut same = attach(&[&made.id]);
    same.endpoints[0].ipv4 = Some(Ipv4Addr::new(10, 77, 0, 50));
    assert_eq!(refusal(host.try_attach(&same)).0, FailureKind::Forbidden);
}

#[test]
fn a_network_is_removed_only_when_nobody_is_on_it() {
    let mut host = Sandbox::new();
    let made = host.network(network("mine"));
    assert_eq!(
        host.network(CreateNetwork {
            id: made.id.clone(),
            ..network("mine")
        }),
        made,
        "repeated"
    );
    assert_eq!(
        refusal(host.try_network(network("mine"))).0,
        FailureKind::Conflict,
        "name taken"
    );
    let request = attach(&[&made.id]);
    host.attach(&request);
    let (kind, text) = refusal(host.remove_network(&made.id));
    assert_eq!(
        (kind, text.contains("has active endpoints")),
        (FailureKind::Forbidden, true)
    );
    host.exited(&request.run);
    until("released", || host.leases().is_empty());
    assert_eq!(host.remove_network(&made.id).unwrap().name, "mine");
    host.assert_holds(0, 0);
    assert_eq!(
        refusal(host.remove_network(&made.id)).0,
        FailureKind::NotFound
    );
    let bridge = host.bridge();
    let (kind, text) = refusal(host.remove_network(&bridge));
    assert_eq!(
        (kind, text.as_str()),
        (
            FailureKind::Forbidden,
            "bridge is a pre-defined network and cannot be removed"
        )
    );
}

#[test]
fn a_network_whose_members_have_all_ended_is_removed_once_they_are_released() {
    const MEMBERS: usize = 40;
    let mut host = Sandbox::new();
    let made = host.network(network("mine"));
    let requests: Vec<_> = (0..MEMBERS).map(|_| attach(&[&made.id])).collect();
    for request in &requests {
        host.attach(request);
    }
    // More than there are threads, so that most still wait for their turn.
    let runs: Vec<_> = requests.iter().map(|request| &request.run).collect();
    host.exited_at_once(&runs);
    assert_eq!(host.remove_network(&made.id).unwrap().name, "mine");
    host.assert_holds(0, 0);
}

#[test]
fn a_network_that_makes_no_sense_is_refused() {
    let mut host = Sandbox::new();
    let option = |name: &str, value: &str| CreateNetwork {
        options: [(name.to_owned(), value.to_owned())].into(),
        ..network("odd")
    };
    let gateway_alone = PoolRequest {
        gateway: Some(HOST.into()),
        ..PoolRequest::default()
    };
    let cases = [
        (network("  "), FailureKind::Invalid),
        (network("a\nb"), FailureKind::Invalid),
        (
            CreateNetwork {
                driver: NetworkDriver::Host,
                ..network("odd")
            },
            FailureKind::Forbidden,
        ),
        (
            CreateNetwork {
                ipv4: gateway_alone,
                ..network("odd")
            },
            FailureKind::Invalid,
        ),
        (
            option("com.docker.network.driver.mtu", "big"),
            FailureKind::Invalid,
        ),
        (
            option("com.docker.network.bridge.inhibit_ipv4", "true"),
            FailureKind::Unsupported,
        ),
    ];
    for (request, kind) in cases {
        assert_eq!(
            refusal(host.try_network(request.clone())).0,
            kind,
            "{request:?}"
        );
    }
    host.assert_holds(0, 0);
}

#[test]
fn the_mtu_option_is_honoured() {
    let mut host = Sandbox::new();
    let mtu = host.network(CreateNetwork {
        options: [(
            "com.docker.network.driver.mtu".to_owned(),
            "1400".to_owned(),
        )]
        .into(),
        ..network("narrow")
    });
    let attached = host.attach(&attach(&[&mtu.id]));
    let shown = inside(&attached.namespace, || {
        let mut command = std::process::Command::new("ip");
        command.args(["link", "show", "eth0"]).output().unwrap()
    });
    assert!(String::from_utf8_lossy(&shown.stdout).contains("mtu 1400"));
}

fn nft(arguments: &[&str]) -> String {
    let output = std::process::Command::new("nft")
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn beside_a_docker_that_drops_what_it_does_not_know_traffic_passes() {
    let mut host = Sandbox::without_netd();
    nft(&["add table ip filter"]);
    nft(&["add chain ip filter DOCKER-USER"]);
    nft(&["add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }"]);
    nft(&["add rule ip filter FORWARD counter jump DOCKER-USER"]);
    nft(&["add rule ip filter DOCKER-USER counter return"]);
    let before = nft(&["list", "chain", "ip", "filter", "DOCKER-USER"]);
    host.start(&[]);
    host.kill();
    host.start(&[]);
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let outside = TcpServer::new(&host.outside, 80);
    assert_eq!(
        outside.reach(&attached.namespace, to(OUTSIDE, 80)),
        Some(HOST)
    );
    let server = TcpServer::new(&attached.namespace, 80);
    assert_eq!(server.reach(&host.outside, to(HOST, 8080)), Some(OUTSIDE));
    let rules = nft(&["list", "chain", "ip", "filter", "DOCKER-USER"]);
    assert_eq!(rules.matches("accept").count(), 2, "{rules}");
    host.detach(&request.run);
    assert!(host.stop());
    let uncounted = |rules: &str| {
        rules
            .lines()
            .filter(|line| !line.contains("counter"))
            .count()
    };
    let after = nft(&["list", "chain", "ip", "filter", "DOCKER-USER"]);
    assert_eq!(
        (uncounted(&after), after.lines().count()),
        (uncounted(&before), before.lines().count())
    );
}

#[test]
fn the_default_bridge_has_the_address_that_the_configuration_names() {
    let mut host = Sandbox::without_netd();
    let path = host.directory.path().join("config.toml");
    let start = |host: &mut Sandbox, bridge: &str| {
        let text = format!("[network]\ndefault-bridge = \"{bridge}\"\n");
        base::file::replace(&path, text.as_bytes(), base::file::FileMode::Private).unwrap();
        host.start(&["--config", path.to_str().unwrap()]);
    };
    start(&mut host, "10.77.0.9/24");
    let bridge = host.bridge();
    let request = attach(&[&bridge]);
    let attached = host.attach(&request);
    let gateway = |attached: &netd_api::Attached| attached.endpoints[0].gateway.unwrap();
    assert_eq!(gateway(&attached), Ipv4Addr::new(10, 77, 0, 9));
    assert_eq!(address(&attached), Ipv4Addr::new(10, 77, 0, 1));
    // While somebody is on it, it stays.
    host.stop();
    start(&mut host, "10.78.0.1/24");
    let second = attach(&[&bridge]);
    assert_eq!(gateway(&host.attach(&second)), Ipv4Addr::new(10, 77, 0, 9));
    host.detach(&second.run);
    host.detach(&request.run);
    host.kill();
    start(&mut host, "10.78.0.1/24");
    let attached = host.attach(&attach(&[&bridge]));
    assert_eq!(gateway(&attached), Ipv4Addr::new(10, 78, 0, 1));
    assert_eq!(host.links().len(), 2, "{:?}", host.links());
}

#[test]
fn the_default_bridge_has_ipv6_where_the_configuration_says_so() {
    let mut host = Sandbox::without_netd();
    let file = host.directory.path().join("config.toml");
    let path = file.to_str().unwrap().to_owned();
    let with = |host: &mut Sandbox, lines: &str| {
        host.stop();
        let text = format!("[network]\n{lines}\n");
        base::file::replace(&file, text.as_bytes(), base::file::FileMode::Private).unwrap();
        host.start(&["--config", &path]);
        host.network_named("bridge")
    };
    assert_eq!(with(&mut host, "").ipv6, None);
    let chosen = with(&mut host, "default-bridge-ipv6 = true").ipv6.unwrap();
    assert_eq!(chosen.chosen, netd_api::Chosen::Nothing);
    let again = with(&mut host, "default-bridge-ipv6 = true").ipv6;
    assert_eq!(again, Some(chosen), "chosen once");
    let ranged = "default-bridge-ipv6 = true\ndefault-bridge6-range = \"fd00:77::/64\"\n\
        default-bridge-range = \"10.77.5.0/24\"\ndefault-bridge = \"10.77.0.1/16\"";
    let bridge = with(&mut host, ranged);
    assert_eq!(
        bridge.ipv6.unwrap().gateway.unwrap().to_string(),
        "fd00:77::1"
    );
    let request = attach(&[&bridge.id]);
    let attached = host.attach(&request);
    let own = &attached.endpoints[0];
    assert_eq!(own.ipv4.unwrap().to_string(), "10.77.5.0/16");
    assert_eq!(own.ipv6.unwrap().to_string(), "fd00:77::2/64");
    assert_eq!(own.ipv6_gateway.unwrap().to_string(), "fd00:77::1");
    let server = TcpServer::of_both(&attached.namespace, 80);
    let there = SocketAddr::new(own.ipv6.unwrap().addr().into(), 80);
    assert!(server.reach_any_from_host(there).is_some());
    host.detach(&request.run);
    assert_eq!(with(&mut host, "").ipv6, None);
}
