//! The table as `nft` itself sees it: our elements, encoded by us, print as if
//! `nft` had added them, and come back from a dump as they went in.

use std::net::SocketAddr;
use std::process::Command;

use netd::family::Family;
use netd::firewall::{Element, Firewall, base, element};
use netd_api::Protocol;

use crate::support::*;

fn nft(arguments: &[&str]) -> String {
    let output = Command::new("nft").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn every_kind() -> Vec<Element> {
    let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
    let name = || "eabcdef-1".to_owned();
    let others = [
        Element::Bridge(name()),
        Element::Internal(name()),
        Element::Within(name()),
        Element::Hairpin {
            interface: name(),
            subnet: "172.17.0.0/16".parse().unwrap(),
        },
        Element::Hairpin {
            interface: name(),
            subnet: "fd00:1::/64".parse().unwrap(),
        },
        Element::Guarded(Family::V4),
        Element::Deaf(Family::V6),
        Element::publishing(
            Protocol::Tcp,
            socket("10.0.0.1:8080"),
            socket("172.17.0.2:80"),
        ),
        Element::publishing(
            Protocol::Udp,
            socket("0.0.0.0:5353"),
            socket("172.17.0.2:53"),
        ),
        Element::publishing(
            Protocol::Tcp,
            socket("[fd00:2::1]:8080"),
            socket("[fd00:1::2]:80"),
        ),
        Element::publishing(Protocol::Udp, socket("[::]:5353"), socket("[fd00:1::2]:53")),
    ];
    of_modes().into_iter().chain(others).collect()
}

fn of_modes() -> Vec<Element> {
    let socket = |text: &str| text.parse::<SocketAddr>().unwrap();
    let name = || "eabcdef-1".to_owned();
    let both = [Family::V4, Family::V6];
    let joined = both.into_iter().flat_map(|family| {
        let interface = name;
        [
            Element::Outbound {
                interface: interface(),
                family,
            },
            Element::Routed {
                interface: interface(),
                family,
            },
            Element::Unprotected {
                interface: interface(),
                family,
            },
        ]
    });
    let open = ["172.17.0.2:80", "[fd00:1::2]:80"].map(|container| Element::Open {
        protocol: Protocol::Tcp,
        container: socket(container),
    });
    joined.chain(open).collect()
}

/// The same elements as `nft` writes them, by set.
const PRINTED: [(&str, &str); 19] = [
    ("bridges", "{ \"eabcdef-1\" }"),
    ("outbound", "{ \"eabcdef-1\" }"),
    ("outbound6", "{ \"eabcdef-1\" }"),
    ("routed", "{ \"eabcdef-1\" }"),
    ("routed6", "{ \"eabcdef-1\" }"),
    ("unprotected", "{ \"eabcdef-1\" }"),
    ("unprotected6", "{ \"eabcdef-1\" }"),
    ("open", "{ tcp . 172.17.0.2 . 80 }"),
    ("open6", "{ tcp . fd00:1::2 . 80 }"),
    ("internal", "{ \"eabcdef-1\" }"),
    ("within", "{ \"eabcdef-1\" . \"eabcdef-1\" }"),
    ("hairpin", "{ \"eabcdef-1\" . 172.17.0.0/16 }"),
    ("hairpin6", "{ \"eabcdef-1\" . fd00:1::/64 }"),
    ("guarded", "{ ipv4 }"),
    ("deaf", "{ ipv6 }"),
    ("publish", "{ tcp . 10.0.0.1 . 8080 : 172.17.0.2 . 80 }"),
    ("publish_any", "{ udp . 5353 : 172.17.0.2 . 53 }"),
    ("publish6", "{ tcp . fd00:2::1 . 8080 : fd00:1::2 . 80 }"),
    ("publish_any6", "{ udp . 5353 : fd00:1::2 . 53 }"),
];

#[test]
fn our_elements_are_those_that_nft_would_have_added() {
    let _host = Sandbox::without_netd();
    base::load("ours", "").unwrap();
    base::load("theirs", "").unwrap();
    let elements = every_kind();
    assert_eq!(
        elements.len(),
        element::SETS.len(),
        "every set has an example"
    );
    let mut firewall = Firewall::open("ours").unwrap();
    firewall.add(&elements).unwrap();
    firewall.add(&elements).unwrap();
    for (set, text) in PRINTED {
        nft(&["add", "element", "inet", "theirs", set, text]);
    }
    let theirs = nft(&["list", "table", "inet", "theirs"]);
    assert_eq!(
        nft(&["list", "table", "inet", "ours"]),
        theirs.replacen("theirs", "ours", 1)
    );
    let mut raw: Vec<_> = elements.iter().map(Element::raw).collect();
    raw.sort();
    for table in ["ours", "theirs"] {
        let mut dumped = Firewall::open(table).unwrap().elements().unwrap();
        dumped.sort();
        assert_eq!(dumped, raw, "{table}");
    }
    base::load("ours", "").unwrap();
    assert_eq!(
        firewall.elements().unwrap().len(),
        raw.len(),
        "a reload keeps elements"
    );
    firewall.remove(&elements[..3]).unwrap();
    firewall.remove(&elements).unwrap();
    assert_eq!(firewall.elements().unwrap(), []);
}

#[test]
fn a_table_of_another_build_is_replaced() {
    let _host = Sandbox::without_netd();
    nft(&["add table inet ours"]);
    nft(&["add set inet ours bridges { type ipv4_addr; }"]);
    base::load("ours", "").unwrap();
    assert!(nft(&["list", "set", "inet", "ours", "bridges"]).contains("type ifname"));
}

/// Returns whether a published port is reached from outside.
fn is_reached(host: &Sandbox, server: &TcpServer) -> bool {
    server.reach(&host.outside, (HOST, 8080).into()) == Some(OUTSIDE)
}

#[test]
fn cve_2025_54410_and_cve_2025_54388_rules_that_somebody_flushes_are_back_within_a_second() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mine = host.network(network("mine"));
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let other = host.attach(&attach(&[&mine.id]));
    let server = TcpServer::new(&attached.namespace, 80);
    assert!(is_reached(&host, &server));
    let table = host.instance.firewall_table();
    // Elements have no order.
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split([' ', ',', '\n']).map(str::to_owned).collect();
        words.sort();
        words
    };
    let before = sorted(&nft(&["-s", "list", "table", "inet", &table]));
    let flushes: [&[&str]; 3] = [
        &["flush", "ruleset"],
        &["delete", "table", "inet", &table],
        &["flush", "chain", "inet", &table, "forward"],
    ];
    for flush in flushes {
        nft(flush);
        let begun = std::time::Instant::now();
        let is_back = || {
            let list = Command::new("nft")
                .args(["-s", "list", "table", "inet", &table])
                .output();
            sorted(&String::from_utf8(list.unwrap().stdout).unwrap()) == before
        };
        until("the same table", is_back);
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
        assert!(is_reached(&host, &server), "{flush:?}");
    }
    // What ends afterwards takes its own away, and nothing comes back.
    host.detach(&request.run);
    assert_eq!(host.published(), 0);
    nft(&["flush", "ruleset"]);
    let has_rules = || {
        Command::new("nft")
            .args(["list", "chain", "inet", &table, "forward"])
            .output()
    };
    until("rules", || has_rules().unwrap().status.success());
    assert_eq!(host.published(), 0);
    drop(other);
}

#[test]
fn a_docker_that_comes_later_lets_our_traffic_pass() {
    let mut host = Sandbox::new();
    let bridge = host.bridge();
    let mut request = attach(&[&bridge]);
    request.ports = vec![port(Protocol::Tcp, 8080, 80)];
    let attached = host.attach(&request);
    let server = TcpServer::new(&attached.namespace, 80);
    for command in [
        "add table ip filter",
        "add chain ip filter DOCKER-USER",
        "add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        "add rule ip filter FORWARD jump DOCKER-USER",
    ] {
        nft(&command.split(' ').collect::<Vec<_>>());
    }
    until("traffic passes", || is_reached(&host, &server));
}
