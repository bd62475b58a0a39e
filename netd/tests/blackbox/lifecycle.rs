//! What a run holds, when it is let go, and what a daemon leaves behind.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use base::FailureKind;
use events::CallError;
use netd_api::{Attach, HostPorts, Protocol};

use crate::support::*;

fn refusal<T: std::fmt::Debug>(result: Result<T, CallError>) -> (FailureKind, String) {
    match result {
        Err(CallError::Refused(failure)) => (failure.kind, failure.message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn an_attach_repeated_answers_the_same_and_a_different_one_is_refused() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let first = host.attach(&request);
    assert_eq!(host.attach(&request), first);
    request.ports.clear();
    let (kind, _) = refusal(host.try_attach(&request));
    assert_eq!(kind, FailureKind::Conflict);
    host.assert_holds(1, 1);
    host.detach(&request.run);
    host.detach(&request.run);
    host.assert_holds(0, 1);
}

#[test]
fn an_exit_releases_only_its_run() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Udp, 5353, 53)];
    let first = host.attach(&request);
    let mut next = request.clone();
    next.run.run.0 = 2;
    next.ports.clear();
    let second = host.attach(&next);
    host.exited(&request.run);
    host.exited(&request.run);
    host.assert_holds(1, 1);
    assert_eq!(host.published(), 0);
    assert!(netd::namespace::is_bound(&second.namespace));
    assert!(!first.namespace.exists());
    let mut third = request.clone();
    third.run.run.0 = 3;
    assert_eq!(
        address(&host.attach(&third)),
        address(&first),
        "address and port are free"
    );
    host.exited(&third.run);
    host.exited(&next.run);
    host.assert_holds(0, 1);
}

#[test]
fn a_port_that_is_taken_is_refused_in_dockers_words_and_leaves_nothing() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut first = attach(&[&bridge]);
    first.ports = vec![port(Protocol::Tcp, 8080, 80)];
    host.attach(&first);
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 8081)).unwrap();
    for taken in [8080, 8081] {
        let mut second = attach(&[&bridge]);
        second.ports = vec![
            port(Protocol::Tcp, 9000, 80),
            port(Protocol::Tcp, taken, 80),
        ];
        let text = format!("Bind for 0.0.0.0:{taken} failed: port is already allocated");
        assert_eq!(
            refusal(host.try_attach(&second)),
            (FailureKind::Conflict, text)
        );
    }
    drop(listener);
    host.assert_holds(1, 1);
    let mut third = attach(&[&bridge]);
    third.ports = vec![port(Protocol::Tcp, 9000, 80), port(Protocol::Tcp, 8081, 80)];
    host.attach(&third);
    let taken = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000));
    assert_eq!(taken.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
}

/// The shim's directory is removed file by file: for a moment it is there
/// without the word of the exit.
#[test]
fn a_port_of_a_run_that_has_ended_is_waited_for() {
    const RUNS: u16 = 40;
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut runs = Vec::new();
    for number in 0..RUNS {
        let mut request = attach(&[&bridge]);
        request.ports = vec![port(Protocol::Tcp, 8100 + number, 80)];
        host.attach(&request);
        std::fs::create_dir_all(host.instance.shim(&request.run)).unwrap();
        runs.push(request.run);
    }
    // More than there are threads: most are released after the next is asked for.
    let all: Vec<_> = runs.iter().collect();
    host.exited_at_once(&all);
    let mut next = attach(&[&bridge]);
    next.ports = vec![port(Protocol::Tcp, 8100 + RUNS - 1, 80)];
    host.attach(&next);
    host.exited(&next.run);
    until("released", || host.leases().is_empty());
}

#[test]
fn ports_of_a_range_and_random_ports_are_found() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    let mut range = port(Protocol::Tcp, 0, 80);
    range.host_ports = Some(HostPorts {
        first: 7000,
        last: 7001,
    });
    let mut any = port(Protocol::Tcp, 0, 81);
    any.host_ports = None;
    request.ports = vec![range.clone(), range.clone(), any];
    let attached = host.attach(&request);
    assert_eq!(
        (attached.ports[0].host_port, attached.ports[1].host_port),
        (7000, 7001)
    );
    let server = TcpServer::new(&attached.namespace, 81);
    let random = SocketAddr::from((HOST, attached.ports[2].host_port));
    assert_eq!(server.reach(&host.outside, random), Some(OUTSIDE));
    let mut full = attach(&[&bridge]);
    full.ports = vec![range];
    let (kind, text) = refusal(host.try_attach(&full));
    assert_eq!(
        (kind, text.contains("all ports are allocated")),
        (FailureKind::Conflict, true)
    );
}

#[test]
fn bad_requests_get_one_clear_error_and_leave_nothing() {
    let mut host = Sandbox::new();
    let (bridge, host_network) = (host.bridge(), host.network_named("host").id);
    let unknown = base::NetworkId::random();
    let mut outside = attach(&[&bridge]);
    outside.endpoints[0].ipv4 = Some(Ipv4Addr::new(10, 0, 0, 1));
    let mut mac = attach(&[&bridge]);
    mac.endpoints[0].mac = Some("01:00".to_owned());
    let mut six = attach(&[&bridge]);
    six.ports = vec![port(Protocol::Tcp, 8080, 80)];
    six.ports[0].host_ip = Some("::1".parse().unwrap());
    let cases: [(Attach, FailureKind, &str); 6] = [
        (attach(&[&unknown]), FailureKind::NotFound, "not found"),
        (
            attach(&[&host_network]),
            FailureKind::Invalid,
            "cannot be joined",
        ),
        (
            attach(&[&bridge, &bridge]),
            FailureKind::Invalid,
            "named twice",
        ),
        (outside, FailureKind::Invalid, "does not belong to"),
        (mac, FailureKind::Invalid, "invalid MAC address"),
        (six, FailureKind::Invalid, "has addresses of that family"),
    ];
    for (request, kind, text) in cases {
        let (found, message) = refusal(host.try_attach(&request));
        assert!(
            found == kind && message.contains(text),
            "{found:?} {message}"
        );
    }
    host.assert_holds(0, 0);
}

#[test]
fn running_containers_keep_everything_while_the_daemon_is_away() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::new(&attached.namespace, 80);
    let published = SocketAddr::from((HOST, 8080));
    for stop in [Sandbox::kill as fn(&mut Sandbox), |host| {
        assert!(host.stop())
    }] {
        stop(&mut host);
        assert!(
            server.reach(&host.outside, published).is_some(),
            "without a daemon"
        );
        host.start(&[]);
        assert!(
            server.reach(&host.outside, published).is_some(),
            "after its return"
        );
        let mut second = attach(&[&bridge]);
        second.ports = request.ports.clone();
        assert_eq!(
            refusal(host.try_attach(&second)).0,
            FailureKind::Conflict,
            "still held"
        );
        assert_eq!(host.attach(&request), attached);
    }
    host.kill();
    host.exited(&request.run);
    host.start(&[]);
    host.assert_holds(0, 1);
}

#[test]
fn a_start_puts_back_what_is_missing_and_removes_what_is_nobodys() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    host.kill();
    let prefix = host.instance.interface_prefix();
    let mut route = netd::netlink::route::RouteSocket::open().unwrap();
    for link in host.links() {
        route.delete_link(&link).unwrap();
    }
    route
        .create_bridge(
            &format!("{prefix}77"),
            "02:00:00:00:00:09".parse().unwrap(),
            1500,
        )
        .unwrap();
    route
        .create_bridge("foreign", "02:00:00:00:00:0a".parse().unwrap(), 1500)
        .unwrap();
    let orphan = host.instance.network_namespace(&run());
    netd::namespace::create(&orphan).unwrap();
    let table = host.instance.firewall_table();
    let mut firewall = netd::firewall::Firewall::open(&table).unwrap();
    firewall.delete_table().unwrap();
    host.start(&[]);
    host.assert_holds(1, 1);
    assert!(route.link("foreign").unwrap().is_some(), "not ours");
    let server = TcpServer::new(&attached.namespace, 80);
    assert!(server.reach(&host.outside, (HOST, 8080).into()).is_some());
    let outside = TcpServer::new(&host.outside, 80);
    assert_eq!(
        outside.reach(&attached.namespace, (OUTSIDE, 80).into()),
        Some(HOST)
    );
}

#[test]
fn a_stop_while_nobody_is_attached_leaves_nothing() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let created = host.network(network("mine"));
    let request = attach(&[&bridge, &created.id]);
    host.attach(&request);
    assert_eq!(netd::sysctl::read("net/ipv4/ip_forward").unwrap(), "1");
    host.detach(&request.run);
    assert!(host.stop());
    host.assert_holds(0, 0);
    let tables = Command::new("nft")
        .args(["list", "tables"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&tables.stdout), "");
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    assert!(
        !mounts.contains(host.instance.run().to_str().unwrap()),
        "{mounts}"
    );
    host.start(&[]);
    assert_eq!(host.network_named("mine"), created);
    host.attach(&request);
    assert_eq!((host.links().len(), host.namespaces().len()), (4, 1));
}

#[test]
fn a_second_daemon_is_refused_with_a_clear_message() {
    let host = Sandbox::new();
    let second = Command::new(env!("CARGO_BIN_EXE_netd"))
        .arg("--root")
        .arg(host.instance.root())
        .arg("--run-dir")
        .arg(host.instance.run())
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let errors = String::from_utf8(second.stderr).unwrap();
    assert!(
        errors.contains("another netd runs for this installation"),
        "{errors}"
    );
}

#[test]
fn an_attach_starts_no_process() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    // Page faults of children that were waited for; nft at the start was one.
    let stat = format!("/proc/{}/stat", host.pid());
    let childrens_faults = || {
        let stat = std::fs::read_to_string(&stat).unwrap();
        let (_, fields) = stat.rsplit_once(')').unwrap();
        fields
            .split_whitespace()
            .nth(8)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let before = childrens_faults();
    assert!(before > 0);
    for _ in 0..5 {
        let mut request = attach(&[&bridge]);
        request.ports = vec![port(Protocol::Tcp, 8080, 80)];
        host.attach(&request);
        host.detach(&request.run);
    }
    assert_eq!(childrens_faults(), before);
}

/// The kernel goes through all routes of IPv6 when an interface comes or goes, and
/// waits for every processor when it takes the queues away again that it has made
/// for a pair too many.
#[test]
fn a_port_of_a_bridge_has_one_queue_and_no_ipv6_of_its_own() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    for _ in 0..3 {
        host.attach(&attach(&[&bridge]));
    }
    let mut show = Command::new("ip");
    let shown = show.args(["-d", "-o", "link", "show", "type", "veth"]);
    let shown = String::from_utf8(shown.output().unwrap().stdout).unwrap();
    let is_port = |line: &&str| line.contains("bridge_slave");
    let ports: Vec<&str> = shown.lines().filter(is_port).collect();
    assert_eq!(ports.len(), 3, "{shown}");
    let routes = std::fs::read_to_string("/proc/thread-self/net/ipv6_route");
    let routes = routes.unwrap_or_default();
    for port in ports {
        assert!(port.contains("numtxqueues 1 numrxqueues 1"), "{port}");
        let name = port.split([' ', '@']).nth(1).unwrap();
        let of_it = routes.lines().filter(|route| route.ends_with(name));
        assert_eq!(of_it.count(), 0, "{name}: {routes}");
    }
}
