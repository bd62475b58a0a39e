//! IPv6 beside IPv4, and alone: what reaches what, what is translated, what
//! survives.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use base::{FailureKind, NetworkId, RunId};
use events::CallError;
use netd_api::{
    Attached, Connect, CreateNetwork, Disconnect, NetworkConfig, NetworksChanged, PoolRequest,
    PortRequest, Protocol,
};

use netd::plan::Way;

use crate::support::*;

/// The host's IPv6 address on the wire to the outside, and the outside's.
const HOST6: &str = "2001:db8::1";
const OUTSIDE6: &str = "2001:db8::2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn to(address: IpAddr, port: u16) -> SocketAddr {
    (address, port).into()
}

fn command(arguments: &str) {
    let arguments = arguments.split(' ');
    let status = std::process::Command::new("ip").args(arguments).status();
    assert!(status.unwrap().success());
}

/// Whether bridges hand IPv6 to the firewall, as where br_netfilter is loaded.
fn bridges_filter(is_on: bool) {
    let value = if is_on { "1" } else { "0" };
    netd::sysctl::write_if_there("net/bridge/bridge-nf-call-ip6tables", value).unwrap();
}

/// A test's host whose outside has IPv6 too.
fn host() -> Sandbox {
    let mut host = host_without_netd();
    host.start(&[]);
    host
}

fn host_without_netd() -> Sandbox {
    let host = Sandbox::without_netd();
    bridges_filter(false);
    command(&format!("addr add {HOST6}/64 dev wire0 nodad"));
    inside(&host.outside, || {
        netd::sysctl::set_ipv6("eth0", true).unwrap();
        command(&format!("addr add {OUTSIDE6}/64 dev eth0 nodad"));
        command(&format!("route add default via {HOST6}"));
    });
    host
}

fn dual(name: &str) -> CreateNetwork {
    CreateNetwork {
        ipv6: Some(PoolRequest::default()),
        ..network(name)
    }
}

fn with_subnet(name: &str, subnet: &str) -> CreateNetwork {
    CreateNetwork {
        ipv6: Some(PoolRequest {
            subnet: Some(subnet.parse().unwrap()),
            ..PoolRequest::default()
        }),
        ..network(name)
    }
}

fn address6(attached: &Attached) -> IpAddr {
    attached.endpoints[0].ipv6.unwrap().addr().into()
}

fn connect(host: &mut Sandbox, run: &RunId, network: &NetworkId) -> NetworksChanged {
    let body = Connect {
        run: run.clone(),
        endpoint: endpoint(network),
    };
    host.call(&run.to_string(), &body).unwrap()
}

fn disconnect(host: &mut Sandbox, run: &RunId, network: &NetworkId) -> NetworksChanged {
    let body = Disconnect {
        run: run.clone(),
        network: network.clone(),
    };
    host.call(&run.to_string(), &body).unwrap()
}

fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> (FailureKind, String) {
    match result {
        Err(CallError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn containers_of_a_network_with_ipv6_reach_each_other_the_host_and_the_outside() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let pool = mine.ipv6.clone().unwrap();
    assert!(pool.subnet.to_string().ends_with("::/64"), "{pool:?}");
    let (a, b) = (
        host.attach(&attach(&[&mine.id])),
        host.attach(&attach(&[&mine.id])),
    );
    assert_eq!(a.endpoints[0].ipv6_gateway.map(IpAddr::V6), pool.gateway);
    let server = TcpServer::of_both(&b.namespace, 80);
    let there = to(address6(&b), 80);
    assert_eq!(server.reach_any(&a.namespace, there), Some(address6(&a)));
    let by_ipv4 = to(address(&b).into(), 80);
    assert!(server.reach_any(&a.namespace, by_ipv4).is_some());
    assert_eq!(server.reach_any_from_host(there), pool.gateway);
    let outside = TcpServer::of_both(&host.outside, 80);
    let seen = outside.reach_any(&a.namespace, to(ip(OUTSIDE6), 80));
    assert_eq!(seen, Some(ip(HOST6)), "masqueraded");
    let inward = server.reach_any(&host.outside, there);
    assert_eq!(inward, None, "not published");
    host.flush("forward");
    let inward = server.reach_any(&host.outside, there);
    assert!(inward.is_some(), "the attempt would have succeeded");
}

#[test]
fn a_network_without_ipv6_gives_none() {
    let mut host = host();
    let bridge = host.bridge();
    let plain = host.attach(&attach(&[&bridge]));
    assert_eq!(plain.endpoints[0].ipv6, None);
    let read = |name: &str| {
        let name = format!("net/ipv6/conf/{name}/disable_ipv6");
        netd::sysctl::read(&name).unwrap()
    };
    let interface = host.network_named("bridge").interface.unwrap();
    assert_eq!(read(&interface), "1");
    assert_eq!(inside(&plain.namespace, || read("eth0")), "1");
    assert_eq!(
        netd::sysctl::read("net/ipv6/conf/all/forwarding").unwrap(),
        "0"
    );
    let mut wanting = attach(&[&bridge]);
    wanting.endpoints[0].ipv6 = Some("fd00::5".parse().unwrap());
    let (kind, text) = refusal(host.try_attach(&wanting));
    assert_eq!(kind, FailureKind::Invalid, "{text}");
    assert!(text.contains("contains IP address fd00::5"), "{text}");
}

#[test]
fn a_network_without_ipv4_does_all_with_ipv6() {
    let mut host = host();
    let mine = host.network(CreateNetwork {
        without_ipv4: true,
        ..dual("mine")
    });
    assert_eq!(mine.ipv4, None);
    let gateway = mine.ipv6.clone().unwrap().gateway.unwrap();
    let mut request = attach(&[&mine.id]);
    request.container_name = "web".to_owned();
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let (a, b) = (host.attach(&request), host.attach(&attach(&[&mine.id])));
    assert_eq!((a.endpoints[0].ipv4, a.endpoints[0].gateway), (None, None));
    assert!(
        a.endpoints[0].mac.starts_with("02:42:"),
        "{:?}",
        a.endpoints
    );
    let hosts: Vec<_> = a.ports.iter().map(|port| port.host_ip).collect();
    assert_eq!(hosts, [IpAddr::V6(Ipv6Addr::UNSPECIFIED)]);
    let server = TcpServer::of_both(&a.namespace, 80);
    assert!(
        server
            .reach_any(&b.namespace, to(address6(&a), 80))
            .is_some()
    );
    let published = to(ip(HOST6), 8080);
    assert_eq!(
        server.reach_any(&host.outside, published),
        Some(ip(OUTSIDE6))
    );
    assert_eq!(a.endpoints[0].ipv6_gateway.map(IpAddr::V6), Some(gateway));
    until("web is known", || {
        lookup(&b, "web").contains(&address6(&a).to_string())
    });
    request.run = run();
    request.ports[0].host_ip = Some(HOST.into());
    let (kind, text) = refusal(host.try_attach(&request));
    assert_eq!(kind, FailureKind::Invalid, "{text}");
}

/// What busybox prints of a name.
fn lookup(from: &Attached, name: &str) -> String {
    let server = from.resolver.servers[0].to_string();
    let output = inside(&from.namespace, || {
        let arguments = ["nslookup", name, &server];
        std::process::Command::new("busybox")
            .args(arguments)
            .output()
    });
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn names_have_addresses_of_both_families_and_addresses_have_names() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let mut request = attach(&[&mine.id]);
    request.container_name = "web".to_owned();
    let web = host.attach(&request);
    let other = host.attach(&attach(&[&mine.id]));
    let (four, six) = (address(&web).to_string(), address6(&web).to_string());
    until("both", || {
        let text = lookup(&other, "web");
        text.contains(&four) && text.contains(&six)
    });
    let named = lookup(&other, &six);
    assert!(named.contains("web.mine"), "{named}");
}

#[test]
fn a_published_port_is_reached_by_both_families_from_everywhere() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let other = host.network(dual("other"));
    let mut request = attach(&[&mine.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let published = host.attach(&request);
    let hosts: Vec<_> = published
        .ports
        .iter()
        .map(|it| it.host_ip.to_string())
        .collect();
    assert_eq!(hosts, ["0.0.0.0", "::"]);
    bridges_filter(false);
    let (near, far) = (
        host.attach(&attach(&[&mine.id])),
        host.attach(&attach(&[&other.id])),
    );
    let server = TcpServer::of_both(&published.namespace, 80);
    let gateway = mine.ipv6.unwrap().gateway.unwrap();
    let port = to(ip(HOST6), 8080);
    let seen = server.reach_any(&host.outside, port);
    assert_eq!(seen, Some(ip(OUTSIDE6)), "the client's address stays");
    assert!(
        server
            .reach_any(&host.outside, to(HOST.into(), 8080))
            .is_some()
    );
    assert!(server.reach_any_from_host(port).is_some());
    assert_eq!(
        server.reach_any_from_host(to(ip("::1"), 8080)),
        Some(gateway)
    );
    assert!(server.reach_any_from_host(to(gateway, 8080)).is_some());
    assert_eq!(server.reach_any(&near.namespace, port), Some(gateway));
    assert_eq!(server.reach_any(&published.namespace, port), Some(gateway));
    assert_eq!(server.reach_any(&far.namespace, port), Some(address6(&far)));
    assert!(
        std::net::TcpListener::bind("[::]:8080").is_err(),
        "it is held"
    );
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
    assert!(std::net::TcpListener::bind("[::]:8080").is_ok());
}

#[test]
fn a_published_udp_port_is_reached_by_ipv6() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let mut request = attach(&[&mine.id]);
    request.ports = vec![port(Protocol::Udp, 5300, 53)];
    let published = host.attach(&request);
    let bind = |at: &str| {
        let socket = std::net::UdpSocket::bind(at).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket
    };
    let server = inside(&published.namespace, || bind("[::]:53"));
    let client = inside(&host.outside, || bind("[::]:0"));
    let mut buffer = [0; 16];
    client.send_to(b"ask", to(ip(HOST6), 5300)).unwrap();
    let (length, seen) = server.recv_from(&mut buffer).unwrap();
    assert_eq!((&buffer[..length], seen.ip()), (&b"ask"[..], ip(OUTSIDE6)));
    server.send_to(b"answer", seen).unwrap();
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"answer");
    assert_eq!(from, to(ip(HOST6), 5300), "from where it was asked");
}

fn nft(arguments: &[&str]) -> String {
    let output = std::process::Command::new("nft").args(arguments).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn beside_a_docker_that_drops_ipv6_traffic_passes() {
    let mut host = host_without_netd();
    nft(&["add table ip6 filter"]);
    nft(&["add chain ip6 filter DOCKER-USER"]);
    nft(&["add chain ip6 filter FORWARD { type filter hook forward priority 0; policy drop; }"]);
    nft(&["add rule ip6 filter FORWARD counter jump DOCKER-USER"]);
    host.start(&[]);
    let mine = host.network(dual("mine"));
    let mut request = attach(&[&mine.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::of_both(&attached.namespace, 80);
    let seen = server.reach_any(&host.outside, to(ip(HOST6), 8080));
    assert_eq!(seen, Some(ip(OUTSIDE6)));
    host.detach(&request.run);
    assert!(host.stop());
    let rules = nft(&["list", "chain", "ip6", "filter", "DOCKER-USER"]);
    assert!(!rules.contains("accept"), "{rules}");
}

#[test]
fn a_port_of_one_host_address_is_published_there_only() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let on = |address: &str, number| PortRequest {
        host_ip: Some(ip(address)),
        ..port(Protocol::Tcp, number, 80)
    };
    let mut request = attach(&[&mine.id]);
    request.ports = vec![on("::1", 8080), on(HOST6, 8081), on("0.0.0.0", 8082)];
    let published = host.attach(&request);
    let server = TcpServer::of_both(&published.namespace, 80);
    assert!(server.reach_any_from_host(to(ip("::1"), 8080)).is_some());
    assert_eq!(server.reach_any(&host.outside, to(ip(HOST6), 8080)), None);
    assert_eq!(server.reach_any_from_host(to(ip("127.0.0.1"), 8080)), None);
    let seen = server.reach_any(&host.outside, to(ip(HOST6), 8081));
    assert_eq!(seen, Some(ip(OUTSIDE6)));
    assert!(
        server
            .reach_any(&host.outside, to(HOST.into(), 8082))
            .is_some()
    );
    assert_eq!(server.reach_any(&host.outside, to(ip(HOST6), 8082)), None);
}

/// Regression test: a client that tried `::1` first waited for long.
#[test]
fn loopback_that_cannot_be_answered_refuses_at_once() {
    let mut host = host_without_netd();
    bridges_filter(true);
    if !netd::sysctl::do_bridges_filter_ipv6() {
        bridges_filter(false);
        return; // the kernel has no such filter, hence no such trouble
    }
    host.start(&[]);
    let mine = host.network(dual("mine"));
    let mut request = attach(&[&mine.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let published = host.attach(&request);
    let server = TcpServer::of_both(&published.namespace, 80);
    let begun = std::time::Instant::now();
    let refused = std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, 8080)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(begun.elapsed() < std::time::Duration::from_millis(500));
    assert!(
        server
            .reach_any_from_host(to(ip("127.0.0.1"), 8080))
            .is_some()
    );
    assert!(server.reach_any_from_host(to(ip(HOST6), 8080)).is_some());
    let seen = server.reach_any(&host.outside, to(ip(HOST6), 8080));
    assert_eq!(seen, Some(ip(OUTSIDE6)));
    request.run = run();
    request.ports[0].host_ip = Some(ip("::1"));
    let (kind, text) = refusal(host.try_attach(&request));
    assert_eq!(kind, FailureKind::Unsupported, "{text}");
}

#[test]
fn a_host_address_of_the_other_family_is_refused() {
    let mut host = host();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![PortRequest {
        host_ip: Some(ip(HOST6)),
        ..port(Protocol::Tcp, 8080, 80)
    }];
    let (kind, text) = refusal(host.try_attach(&request));
    assert_eq!(kind, FailureKind::Invalid, "{text}");
    assert!(
        text.contains("cannot publish port 80 on 2001:db8::1"),
        "{text}"
    );
    host.assert_holds(0, 0);
}

#[test]
fn networks_are_isolated_and_an_internal_one_reaches_nothing_outside_itself() {
    let mut host = host();
    let (one, two) = (host.network(dual("one")), host.network(dual("two")));
    let inner = host.network(CreateNetwork {
        internal: true,
        ..dual("inner")
    });
    let (a, b) = (
        host.attach(&attach(&[&one.id])),
        host.attach(&attach(&[&two.id])),
    );
    let server = TcpServer::of_both(&a.namespace, 80);
    let there = to(address6(&a), 80);
    assert_eq!(server.reach_any(&b.namespace, there), None);
    let (c, d) = (
        host.attach(&attach(&[&inner.id])),
        host.attach(&attach(&[&inner.id])),
    );
    assert_eq!(c.endpoints[0].ipv6_gateway, None);
    let inside_server = TcpServer::of_both(&c.namespace, 80);
    let within = inside_server.reach_any(&d.namespace, to(address6(&c), 80));
    assert_eq!(within, Some(address6(&d)));
    // Not even where the container sets a route of its own.
    let gateway = inner.ipv6.unwrap().gateway.unwrap();
    let mut namespace = netd::namespace::open(&c.namespace).unwrap();
    namespace
        .route
        .set_default_route(&Way::Router(gateway))
        .unwrap();
    let outside = TcpServer::of_both(&host.outside, 80);
    let out = to(ip(OUTSIDE6), 80);
    assert_eq!(outside.reach_any(&c.namespace, out), None);
    assert_eq!(server.reach_any(&c.namespace, there), None);
    let here = TcpServer::here_of_both(8888);
    let own = to(ip(HOST6), 8888);
    assert_eq!(here.reach_any(&c.namespace, own), None);
    let bridge = here.reach_any(&c.namespace, to(gateway, 8888));
    assert!(bridge.is_some(), "the bridge itself answers");
    host.flush("input");
    host.flush("forward");
    assert!(here.reach_any(&c.namespace, own).is_some());
    assert!(server.reach_any(&b.namespace, there).is_some());
}

#[test]
fn a_container_does_not_reach_the_hosts_ipv6_loopback_and_gives_no_routes() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let attached = host.attach(&attach(&[&mine.id]));
    let gateway = mine.ipv6.unwrap().gateway.unwrap();
    let secret = TcpServer::here_of_both(5432);
    assert!(secret.reach_any_from_host(to(ip("::1"), 5432)).is_some());
    inside(&attached.namespace, || {
        command("-6 addr del ::1/128 dev lo");
        command(&format!("-6 route add ::1/128 via {gateway} dev eth0"));
    });
    assert_eq!(
        secret.reach_any(&attached.namespace, to(ip("::1"), 5432)),
        None
    );
    for (setting, place) in [
        ("accept_ra", mine.interface.as_deref().unwrap()),
        ("accept_dad", mine.interface.as_deref().unwrap()),
    ] {
        let name = format!("net/ipv6/conf/{place}/{setting}");
        assert_eq!(netd::sysctl::read(&name).unwrap(), "0", "{name}");
    }
    let read = || netd::sysctl::read("net/ipv6/conf/eth0/accept_ra").unwrap();
    assert_eq!(inside(&attached.namespace, read), "0");
}

#[test]
fn forwarding_of_ipv6_stays_off_between_foreign_interfaces_and_routers_are_heard() {
    let mut host = host_without_netd();
    let second = host.second_outside();
    let far = ip("2001:db8:2::2");
    command("addr add 2001:db8:2::1/64 dev second nodad");
    inside(&second, || {
        netd::sysctl::set_ipv6("eth0", true).unwrap();
        command("addr add 2001:db8:2::2/64 dev eth0 nodad");
        command("route add default via 2001:db8:2::1");
    });
    let read = |name: &str| netd::sysctl::read(&format!("net/ipv6/conf/{name}")).unwrap();
    netd::sysctl::write("net/ipv6/conf/wire0/accept_ra", "1").unwrap();
    netd::sysctl::write("net/ipv6/conf/second/accept_ra", "0").unwrap();
    host.start(&[]);
    assert_eq!(read("all/forwarding"), "0", "no network needs it");
    let made = host.network(dual("mine"));
    assert_eq!(read("all/forwarding"), "1");
    assert_eq!(
        (read("wire0/accept_ra"), read("second/accept_ra")),
        ("2".into(), "0".into())
    );
    let server = TcpServer::of_both(&second, 80);
    assert_eq!(server.reach_any(&host.outside, to(far, 80)), None);
    // The guard is put back with the rest.
    host.kill();
    let table = host.instance.firewall_table();
    let delete = ["delete", "table", "inet", &table];
    let done = std::process::Command::new("nft").args(delete).status();
    assert!(done.unwrap().success());
    host.start(&[]);
    assert_eq!(server.reach_any(&host.outside, to(far, 80)), None);
    host.flush("foreign");
    let reached = server.reach_any(&host.outside, to(far, 80));
    assert!(reached.is_some(), "the attempt would have succeeded");
    host.start(&[]);
    host.remove_network(&made.id).unwrap();
    assert!(host.stop());
    assert_eq!(
        (read("all/forwarding"), read("wire0/accept_ra")),
        ("0".into(), "1".into())
    );
}

#[test]
fn subnets_and_addresses_are_those_that_were_asked_for() {
    let mut host = host();
    let mut request = with_subnet("mine", "fd00:77::/64");
    let pool = request.ipv6.as_mut().unwrap();
    pool.range = Some("fd00:77::a:0/112".parse().unwrap());
    pool.gateway = Some(ip("fd00:77::ff"));
    pool.aux = [("router".to_owned(), ip("fd00:77::a:0"))].into();
    request.ipv4.subnet = Some("10.77.0.0/24".parse().unwrap());
    request.ipv4.aux = [("printer".to_owned(), ip("10.77.0.2"))].into();
    let mine: NetworkConfig = host.network(request);
    assert_eq!(
        mine.ipv6.as_ref().unwrap().aux["router"],
        ip("fd00:77::a:0")
    );
    let first = host.attach(&attach(&[&mine.id]));
    assert_eq!(
        address6(&first),
        ip("fd00:77::a:1"),
        "what is reserved is left out"
    );
    assert_eq!(IpAddr::from(address(&first)), ip("10.77.0.3"));
    let mut fixed = attach(&[&mine.id]);
    fixed.endpoints[0].ipv6 = Some("fd00:77::5".parse().unwrap());
    fixed.endpoints[0].link_local = vec![ip("fe80::77"), ip("169.254.7.7")];
    let attached = host.attach(&fixed);
    assert_eq!(address6(&attached), ip("fd00:77::5"));
    let shown = inside(&attached.namespace, || {
        let show = ["addr", "show", "dev", "eth0"];
        std::process::Command::new("ip")
            .args(show)
            .output()
            .unwrap()
    });
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    for expected in ["fd00:77::5/64", "fe80::77/64", "169.254.7.7/16"] {
        assert!(shown.contains(expected), "{shown}");
    }
    assert!(!shown.contains("tentative"), "{shown}");
}

#[test]
fn what_is_taken_or_makes_no_sense_is_refused() {
    let mut host = host();
    let mut request = with_subnet("mine", "fd00:77::/64");
    let pool = request.ipv6.as_mut().unwrap();
    pool.aux = [("router".to_owned(), ip("fd00:77::a:0"))].into();
    let mine = host.network(request);
    for taken in ["fd00:77::1", "fd00:77::a:0"] {
        let mut same = attach(&[&mine.id]);
        same.endpoints[0].ipv6 = Some(taken.parse().unwrap());
        let (kind, text) = refusal(host.try_attach(&same));
        assert_eq!(kind, FailureKind::Forbidden, "{text}");
    }
    for taken in ["fd00:77::/80", "2001:db8::/48"] {
        let (kind, text) = refusal(host.try_network(with_subnet("taken", taken)));
        assert_eq!(kind, FailureKind::Forbidden, "{text}");
    }
    let neither = CreateNetwork {
        without_ipv4: true,
        ..network("odd")
    };
    assert_eq!(refusal(host.try_network(neither)).0, FailureKind::Invalid);
    let mut narrow = dual("odd");
    narrow.options = [(
        "com.docker.network.driver.mtu".to_owned(),
        "1000".to_owned(),
    )]
    .into();
    assert_eq!(refusal(host.try_network(narrow)).0, FailureKind::Invalid);
}

#[test]
fn ports_and_the_default_route_follow_the_networks_in_each_family() {
    let mut host = host();
    let bridge = host.bridge();
    let (one, two) = (host.network(dual("one")), host.network(dual("two")));
    let mut request = attach(&[&bridge]);
    request.ports = vec![PortRequest {
        host_ports: None,
        ..port(Protocol::Tcp, 1, 80)
    }];
    let run = &request.run;
    let attached = host.attach(&request);
    let number = attached.ports[0].host_port;
    assert_eq!(attached.ports.len(), 1);
    let server = TcpServer::of_both(&attached.namespace, 80);
    let outside = TcpServer::of_both(&host.outside, 80);
    let reached = |host: &Sandbox| server.reach_any(&host.outside, to(ip(HOST6), number));
    let leads_out = |host: &Sandbox| {
        let _ = host;
        outside
            .reach_any(&attached.namespace, to(ip(OUTSIDE6), 80))
            .is_some()
    };
    assert_eq!((reached(&host), leads_out(&host)), (None, false));
    let joined = connect(&mut host, run, &one.id).attached;
    let numbers: Vec<_> = joined.ports.iter().map(|it| it.host_port).collect();
    assert_eq!(numbers, [number, number], "the same in both families");
    assert_eq!(
        (reached(&host), leads_out(&host)),
        (Some(ip(OUTSIDE6)), true)
    );
    connect(&mut host, run, &two.id);
    let left = disconnect(&mut host, run, &one.id).attached;
    assert_eq!(left.ports.len(), 2);
    assert_eq!(
        (reached(&host), leads_out(&host)),
        (Some(ip(OUTSIDE6)), true)
    );
    let left = disconnect(&mut host, run, &two.id).attached;
    assert_eq!(left.ports.len(), 1, "IPv4's is left");
    assert_eq!((reached(&host), leads_out(&host)), (None, false));
    assert!(std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, number)).is_ok());
    assert!(
        server
            .reach_any(&host.outside, to(HOST.into(), number))
            .is_some()
    );
}

#[test]
fn what_a_flush_and_a_kill_took_away_is_put_back() {
    let mut host = host();
    let mine = host.network(dual("mine"));
    let mut request = attach(&[&mine.id]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::of_both(&attached.namespace, 80);
    let outside = TcpServer::of_both(&host.outside, 80);
    let works = |host: &Sandbox| {
        let published = server.reach_any(&host.outside, to(ip(HOST6), 8080));
        let out = outside.reach_any(&attached.namespace, to(ip(OUTSIDE6), 80));
        (published, out)
    };
    let expected = (Some(ip(OUTSIDE6)), Some(ip(HOST6)));
    assert_eq!(works(&host), expected);
    host.kill();
    assert_eq!(works(&host), expected, "nobody is needed for what is there");
    let interface = mine.interface.as_deref().unwrap();
    command(&format!("-6 addr flush dev {interface}"));
    netd::sysctl::write(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
    let table = host.instance.firewall_table();
    let flush = ["delete", "table", "inet", &table];
    std::process::Command::new("nft")
        .args(flush)
        .status()
        .unwrap();
    assert_ne!(works(&host), expected);
    host.start(&[]);
    assert_eq!(works(&host), expected);
    assert!(
        std::net::TcpListener::bind("[::]:8080").is_err(),
        "held again"
    );
    host.kill();
    command(&format!("link del {interface}"));
    host.start(&[]);
    until("all is back", || works(&host) == expected);
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
}

#[test]
fn leases_of_a_build_without_ipv6_are_kept() {
    let mut host = host();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    host.kill();
    // What is new is left out where there is none of it.
    let name = format!("{}.json", request.run);
    let path = host.instance.netd().join("leases").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(
        !text.contains("ipv6") && !text.contains("link_local"),
        "{text}"
    );
    host.start(&[]);
    host.assert_holds(1, 1);
    let server = TcpServer::new(&attached.namespace, 80);
    assert_eq!(
        server.reach(&host.outside, to(HOST.into(), 8080)),
        Some(OUTSIDE)
    );
}
