//! Golden plans: what is done on the host for a lease, a network, a difference.

use std::net::Ipv4Addr;

use base::id::RunNumber;
use base::{ContainerId, NetworkId, RunId, Timestamp};
use netd_api::{
    Attach, Dns, EndpointRequest, Lease, NetworkConfig, NetworkDriver, Parent, ParentOrigin, Pool,
    Protocol, PublishedPort,
};

use super::attach::{Networks, plan_attach, plan_change, plan_dismantle, plan_unpublish};
use super::network::{plan_create, plan_remove};
use super::reconcile::{Found, plan_reconcile};
use super::{Operation, network};
use crate::family::Family;
use crate::firewall::Element;
use crate::netlink::route::Link;
use crate::state::{Phase, Run, State};

const PREFIX: &str = "eabcdef-";

fn network_of(number: u8, internal: bool) -> NetworkConfig {
    NetworkConfig {
        id: format!("{number:064}").parse().unwrap(),
        name: format!("net{number}"),
        driver: NetworkDriver::Bridge,
        created: Timestamp::from_seconds(0),
        ipv4: Some(Pool {
            subnet: format!("10.0.{number}.0/24").parse().unwrap(),
            gateway: Some(Ipv4Addr::new(10, 0, number, 1).into()),
            range: None,
            aux: Default::default(),
            chosen: Default::default(),
        }),
        ipv6: None,
        unused: Vec::new(),
        internal,
        labels: Default::default(),
        options: Default::default(),
        interface: Some(format!("{PREFIX}{number}")),
        adopted: false,
        parent: None,
        attachable: false,
        template: None,
        config_from: None,
        ipam_options: Default::default(),
    }
}

/// A state with networks 1 and (internal) 2, and a run on both with ports.
fn example() -> (Lease, Networks) {
    let mut state = State::new(PREFIX.to_owned());
    for network in [network_of(1, false), network_of(2, true)] {
        state.saw_interface(network.interface.as_deref().unwrap());
        state.networks.insert(network.id.clone(), network);
    }
    let endpoint = |network: &NetworkId| EndpointRequest {
        network: network.clone(),
        aliases: Vec::new(),
        ipv4: None,
        ipv6: None,
        link_local: Vec::new(),
        mac: None,
        links: Vec::new(),
        gateway_priority: 0,
        interface: netd_api::InterfaceOptions::default(),
    };
    let container: ContainerId = "c".repeat(64).parse().unwrap();
    let request = Attach {
        user_namespace: None,
        run: RunId::new(container, RunNumber(1)),
        container_name: "web".to_owned(),
        hostname: "web".to_owned(),
        // The internal one first: route and ports go to the other.
        endpoints: state.networks.keys().rev().map(endpoint).collect(),
        ports: Vec::new(),
        dns: Dns::default(),
    };
    let port = |host: [u8; 4], host_port| PublishedPort {
        protocol: Protocol::Tcp,
        container_port: 80,
        host_ip: Ipv4Addr::from(host).into(),
        host_port,
    };
    let ports = vec![port([0, 0, 0, 0], 8080), port([127, 0, 0, 1], 8081)];
    let lease = state.plan_lease(&request, "/run/netns/x".into(), ports, &Dns::default());
    (lease.unwrap(), state.networks)
}

fn check(plan: &[Operation], expected: &[&str]) {
    let lines: Vec<String> = plan.iter().map(ToString::to_string).collect();
    assert_eq!(lines, expected);
}

#[test]
fn an_attach_makes_the_namespace_first_and_publishes_last() {
    let (lease, networks) = example();
    let plan = plan_attach(&lease, &networks);
    check(
        &plan,
        &[
            "create namespace: /run/netns/x",
            "create interface: eabcdef-3 on eabcdef-1, eth0 10.0.1.2/24 02:42:0a:00:01:02 mtu 1500 via 10.0.1.1",
            "create interface: eabcdef-4 on eabcdef-2, eth1 10.0.2.2/24 02:42:0a:00:02:02 mtu 1500",
            "add elements: [PublishAny { protocol: Tcp, host_port: 8080, container: 10.0.1.2:80 }, \
         Publish { protocol: Tcp, host: 127.0.0.1:8081, container: 10.0.1.2:80 }]",
        ],
    );
    let undo: Vec<Operation> = plan.iter().rev().filter_map(Operation::undo).collect();
    let mut release = plan_unpublish(&lease, &networks);
    release.extend([
        Operation::RemoveLink("eabcdef-4".to_owned()),
        Operation::RemoveLink("eabcdef-3".to_owned()),
        Operation::ReleaseNamespace("/run/netns/x".into()),
    ]);
    assert_eq!(undo, release, "the undo of all of it is a release");
    check(
        &plan_dismantle(&lease, &networks),
        &[
            "remove link: eabcdef-3",
            "remove link: eabcdef-4",
            "release namespace: /run/netns/x",
        ],
    );
}

#[test]
fn a_bridge_comes_up_behind_its_rules() {
    let hairpin = "Hairpin { interface: \"eabcdef-1\", subnet: 10.0.1.0/24 }";
    let elements = format!(
        "[Bridge(\"eabcdef-1\"), Within(\"eabcdef-1\"), {hairpin}, Outbound {{ interface: \"eabcdef-1\", family: V4 }}]"
    );
    check(
        &plan_create(&network_of(1, false)),
        &[
            &format!("add elements: {elements}"),
            "ensure bridge: eabcdef-1 10.0.1.1/24 mtu 1500",
        ],
    );
    check(
        &plan_remove(&network_of(1, false)),
        &[
            "remove link: eabcdef-1",
            &format!("remove elements: {elements}"),
        ],
    );
    let internal = network::elements(&network_of(2, true));
    assert_eq!(
        internal.last(),
        Some(&Element::Internal("eabcdef-2".to_owned()))
    );
    let mut unmasked = network_of(1, false);
    unmasked.options.insert(
        "com.docker.network.bridge.enable_ip_masquerade".to_owned(),
        "false".to_owned(),
    );
    assert_eq!(network::elements(&unmasked).len(), 3);
}

/// The example with IPv6 on network 2, which is not internal then.
fn dual_example() -> (State, Lease) {
    let mut state = State::new(PREFIX.to_owned());
    let mut dual = network_of(2, false);
    dual.ipv6 = Some(Pool {
        subnet: "fd00:2::/64".parse().unwrap(),
        gateway: Some("fd00:2::1".parse().unwrap()),
        range: None,
        aux: Default::default(),
        chosen: Default::default(),
    });
    for network in [network_of(1, false), dual] {
        state.saw_interface(network.interface.as_deref().unwrap());
        state.networks.insert(network.id.clone(), network);
    }
    let (lease, _) = example();
    let mut request = lease.request;
    request.endpoints.sort_by_key(|it| it.network.clone());
    request.endpoints[0].gateway_priority = 1;
    request.endpoints[1].link_local = vec!["fe80::7".parse().unwrap()];
    let ports = ["0.0.0.0", "::"].map(|host| PublishedPort {
        protocol: Protocol::Tcp,
        container_port: 80,
        host_ip: host.parse().unwrap(),
        host_port: 8080,
    });
    let namespace = "/run/netns/x".into();
    let lease = state.plan_lease(&request, namespace, ports.to_vec(), &Dns::default());
    let lease = lease.unwrap();
    (state, lease)
}

#[test]
fn each_family_has_its_default_route_and_ports_on_the_first_network_that_has_it() {
    let (state, lease) = dual_example();
    check(
        &plan_attach(&lease, &state.networks)[1..],
        &[
            "create interface: eabcdef-3 on eabcdef-1, eth0 10.0.1.2/24 02:42:0a:00:01:02 mtu 1500 via 10.0.1.1",
            "create interface: eabcdef-4 on eabcdef-2, eth1 10.0.2.2/24 fd00:2::2/64 fe80::7/64 02:42:0a:00:02:02 mtu 1500 via fd00:2::1",
            "add elements: [PublishAny { protocol: Tcp, host_port: 8080, container: 10.0.1.2:80 }, \
         PublishAny { protocol: Tcp, host_port: 8080, container: [fd00:2::2]:80 }]",
        ],
    );
    let elements = network::elements(state.networks.values().nth(1).unwrap());
    let hairpin = Element::Hairpin {
        interface: "eabcdef-2".to_owned(),
        subnet: "fd00:2::/64".parse().unwrap(),
    };
    assert!(elements.contains(&hairpin), "{elements:?}");
}

#[test]
fn a_network_that_is_left_takes_the_routes_and_ports_of_its_families() {
    let (mut state, lease) = dual_example();
    let run = lease.request.run.clone();
    let known = Run {
        lease,
        phase: Phase::Attached,
        is_ending: false,
    };
    state.runs.insert(known);
    let networks = state.networks.clone();
    let ids: Vec<NetworkId> = networks.keys().cloned().collect();
    let mut leave = |id| {
        let change = state.leave(&run, id, &Dns::default()).unwrap().unwrap();
        plan_change(&change.old, &change.new, &networks)
    };
    check(
        &leave(&ids[0]),
        &[
            "remove elements: [PublishAny { protocol: Tcp, host_port: 8080, container: 10.0.1.2:80 }]",
            "remove link: eabcdef-3",
            "set default route: 10.0.2.1 in /run/netns/x",
            "add elements: [PublishAny { protocol: Tcp, host_port: 8080, container: 10.0.2.2:80 }]",
        ],
    );
    check(
        &leave(&ids[1]),
        &[
            "remove elements: [PublishAny { protocol: Tcp, host_port: 8080, container: 10.0.2.2:80 }, \
         PublishAny { protocol: Tcp, host_port: 8080, container: [fd00:2::2]:80 }]",
            "remove link: eabcdef-4",
        ],
    );
}

/// A host that has exactly what the example needs.
fn settled(lease: &Lease, networks: &Networks) -> Found {
    let link = |index, name: &str, controller| Link {
        index,
        name: name.to_owned(),
        controller,
        is_bridge: false,
        alias: None,
    };
    let elements = networks.values().flat_map(network::elements);
    let published = super::attach::published(lease, networks);
    Found {
        links: vec![
            link(1, "eabcdef-1", None),
            link(2, "eabcdef-2", None),
            link(3, "eabcdef-3", Some(1)),
            link(4, "eabcdef-4", Some(2)),
            link(5, "docker0", None),
        ],
        namespaces: vec!["/run/netns/x".into()],
        elements: elements
            .chain(published)
            .map(|element| element.raw())
            .collect(),
    }
}

#[test]
fn a_settled_host_needs_nothing() {
    let (lease, networks) = example();
    let found = settled(&lease, &networks);
    let difference = plan_reconcile(PREFIX, &[lease], &networks, &found);
    assert_eq!(difference, Default::default());
}

#[test]
fn a_difference_removes_orphans_and_restores_what_is_missing() {
    let (lease, networks) = example();
    let mut found = settled(&lease, &networks);
    found.links[2].controller = None;
    found.links[3].name = "eabcdef-9".to_owned();
    found.namespaces.push("/run/netns/orphan".into());
    let stale = Element::Bridge("eabcdef-8".to_owned()).raw();
    found.elements.retain(|element| element.set != "publish");
    found
        .elements
        .extend([stale.clone(), Element::Guarded(Family::V4).raw()]);
    let difference = plan_reconcile(PREFIX, &[lease], &networks, &found);
    check(
        &difference.operations,
        &[
            "remove link: eabcdef-9",
            "release namespace: /run/netns/orphan",
            "join bridge: eabcdef-3 on eabcdef-1",
            "create interface: eabcdef-4 on eabcdef-2, eth1 10.0.2.2/24 02:42:0a:00:02:02 mtu 1500",
            "add elements: [Publish { protocol: Tcp, host: 127.0.0.1:8081, container: 10.0.1.2:80 }]",
        ],
    );
    assert_eq!(difference.stale, [stale], "the guard is kept");
}

/// The ways of a run on networks 1 and 2, of which the latter has both families, as
/// the priorities say.
fn gateways_with(priorities: [i64; 2]) -> Vec<String> {
    let (mut state, lease) = dual_example();
    let mut request = lease.request;
    for (endpoint, priority) in request.endpoints.iter_mut().zip(priorities) {
        endpoint.gateway_priority = priority;
    }
    let lease = state.plan_lease(&request, "/x".into(), Vec::new(), &Dns::default());
    let made = super::attach::interfaces(&lease.unwrap(), &state.networks).collect::<Vec<_>>();
    let ways = made.iter().flat_map(|it| &it.default_routes);
    ways.map(ToString::to_string).collect()
}

#[test]
fn the_default_route_follows_priority_then_families_then_names() {
    assert_eq!(gateways_with([0, 0]), ["10.0.2.1", "fd00:2::1"]);
    assert_eq!(gateways_with([1, 0]), ["10.0.1.1", "fd00:2::1"]);
    assert_eq!(gateways_with([0, -1]), ["10.0.1.1", "fd00:2::1"]);
    assert_eq!(gateways_with([5, 6]), ["10.0.2.1", "fd00:2::1"]);
}

#[test]
fn a_network_that_is_joined_takes_the_default_route_if_it_is_preferred() {
    let mut state = State::new(PREFIX.to_owned());
    for network in [network_of(1, false), network_of(2, false)] {
        state.networks.insert(network.id.clone(), network);
    }
    let (example, _) = example();
    let mut request = example.request;
    let first = request.endpoints.remove(1);
    let mut second = request.endpoints.remove(0);
    for (own, joined, priority, expected) in [
        (&first, &mut second.clone(), 0, None),
        (&first, &mut second, 1, Some("via 10.0.2.1")),
    ] {
        joined.gateway_priority = priority;
        request.endpoints = vec![own.clone()];
        let lease = state.plan_lease(&request, "/x".into(), Vec::new(), &Dns::default());
        let known = Run {
            lease: lease.unwrap(),
            phase: Phase::Attached,
            is_ending: false,
        };
        state.runs.insert(known);
        let change = state.join(&request.run, joined, Vec::new(), &Dns::default());
        let change = change.unwrap();
        let plan = plan_change(&change.old, &change.new, &state.networks);
        let made = plan[0].to_string();
        assert_eq!(plan.len(), 1, "{plan:?}");
        assert_eq!(expected.is_some(), made.contains("via"), "{made}");
        assert!(expected.is_none_or(|it| made.contains(it)), "{made}");
    }
}

fn with_option(name: &str, value: &str) -> NetworkConfig {
    let mut network = network_of(1, false);
    network
        .options
        .insert(format!("com.docker.network.{name}"), value.to_owned());
    network
}

#[test]
fn a_bridges_options_are_elements_of_the_rules() {
    let has = |network: &NetworkConfig, set: &str| {
        let elements = network::elements(network);
        elements.iter().any(|element| element.set() == set)
    };
    assert!(!has(&with_option("bridge.enable_icc", "false"), "within"));
    let routed = with_option("bridge.gateway_mode_ipv4", "routed");
    assert!(has(&routed, "routed") && !has(&routed, "outbound"));
    let open = with_option("bridge.gateway_mode_ipv4", "nat-unprotected");
    assert!(has(&open, "unprotected") && has(&open, "outbound"));
    let (lease, mut networks) = example();
    networks.values_mut().next().unwrap().options = routed.options;
    let published = super::attach::published(&lease, &networks);
    let expected = Element::Open {
        protocol: Protocol::Tcp,
        container: "10.0.1.2:80".parse().unwrap(),
    };
    assert_eq!(published, [expected.clone(), expected]);
}

#[test]
fn a_bridge_without_the_host_has_no_address() {
    let mut network = with_option("bridge.gateway_mode_ipv4", "isolated");
    network.internal = true;
    let plan = plan_create(&network);
    assert_eq!(plan[1].to_string(), "ensure bridge: eabcdef-1  mtu 1500");
}

#[test]
fn what_is_on_a_parent_has_no_other_end() {
    let mut state = State::new(PREFIX.to_owned());
    let mut network = network_of(1, false);
    network.driver = NetworkDriver::Macvlan;
    network.interface = None;
    let on = "eth0".to_owned();
    network.parent = Some(Parent {
        interface: "eth0.7".to_owned(),
        origin: ParentOrigin::Vlan { on, id: 7 },
    });
    check(
        &plan_create(&network),
        &["ensure parent: eth0.7 Vlan { on: \"eth0\", id: 7 }"],
    );
    check(&plan_remove(&network), &["remove link: eth0.7"]);
    state.networks.insert(network.id.clone(), network.clone());
    let mut request = example().0.request;
    request.endpoints.retain(|it| it.network == network.id);
    let lease = state
        .plan_lease(&request, "/x".into(), Vec::new(), &Dns::default())
        .unwrap();
    let plan = plan_attach(&lease, &state.networks);
    check(
        &plan[1..],
        &[
            "create interface: eabcdef-1 on eth0.7, eth0 10.0.1.2/24 02:42:0a:00:01:02 mtu 1500 via 10.0.1.1",
        ],
    );
    check(
        &plan_dismantle(&lease, &state.networks),
        &["remove inner link: eth0 in /x", "release namespace: /x"],
    );
}

#[test]
fn a_network_without_a_router_is_left_by_its_interface() {
    let mut state = State::new(PREFIX.to_owned());
    let mut network = network_of(1, false);
    network.driver = NetworkDriver::Ipvlan;
    network
        .options
        .insert("ipvlan_mode".to_owned(), "l3".to_owned());
    network.parent = Some(Parent {
        interface: "eth0".to_owned(),
        origin: ParentOrigin::Host,
    });
    state.networks.insert(network.id.clone(), network.clone());
    let mut request = example().0.request;
    request.endpoints.retain(|it| it.network == network.id);
    let lease = state
        .plan_lease(&request, "/x".into(), Vec::new(), &Dns::default())
        .unwrap();
    assert_eq!(lease.attached.endpoints[0].gateway, None);
    let made = super::attach::interfaces(&lease, &state.networks)
        .next()
        .unwrap();
    let way = super::Way::Interface {
        name: "eth0".to_owned(),
        family: Family::V4,
    };
    assert_eq!(made.default_routes, [way]);
}
