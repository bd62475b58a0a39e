//! Golden plans: what is done on the host for a lease, a network, a difference.

use std::net::Ipv4Addr;

use base::id::RunNumber;
use base::{ContainerId, NetworkId, RunId, Timestamp};
use netd_api::{
    Attach, Dns, EndpointRequest, Lease, NetworkConfig, NetworkDriver, Pool, Protocol,
    PublishedPort,
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
            gateway: Ipv4Addr::new(10, 0, number, 1).into(),
            range: None,
            aux: Default::default(),
        }),
        ipv6: None,
        unused: Vec::new(),
        internal,
        labels: Default::default(),
        options: Default::default(),
        interface: Some(format!("{PREFIX}{number}")),
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
            "create interface: eabcdef-3 on eabcdef-2, eth0 10.0.2.2/24 02:42:0a:00:02:02 mtu 1500",
            "create interface: eabcdef-4 on eabcdef-1, eth1 10.0.1.2/24 02:42:0a:00:01:02 mtu 1500 via 10.0.1.1",
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
        &plan_dismantle(&lease),
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
        "[Bridge(\"eabcdef-1\"), Within(\"eabcdef-1\"), {hairpin}, Outbound(\"eabcdef-1\")]"
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
    unmasked
        .options
        .insert(network::MASQUERADE_OPTION.to_owned(), "false".to_owned());
    assert_eq!(network::elements(&unmasked).len(), 3);
}

/// The example with IPv6 on network 2, which is not internal then.
fn dual_example() -> (State, Lease) {
    let mut state = State::new(PREFIX.to_owned());
    let mut dual = network_of(2, false);
    dual.ipv6 = Some(Pool {
        subnet: "fd00:2::/64".parse().unwrap(),
        gateway: "fd00:2::1".parse().unwrap(),
        range: None,
        aux: Default::default(),
    });
    for network in [network_of(1, false), dual] {
        state.saw_interface(network.interface.as_deref().unwrap());
        state.networks.insert(network.id.clone(), network);
    }
    let (lease, _) = example();
    let mut request = lease.request;
    request.endpoints.sort_by_key(|it| it.network.clone());
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
    state.runs.insert(run.clone(), known);
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
    };
    let elements = networks.values().flat_map(network::elements);
    let published = super::attach::published(lease, networks);
    Found {
        links: vec![
            link(1, "eabcdef-1", None),
            link(2, "eabcdef-2", None),
            link(3, "eabcdef-3", Some(2)),
            link(4, "eabcdef-4", Some(1)),
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
            "join bridge: eabcdef-3 on eabcdef-2",
            "create interface: eabcdef-4 on eabcdef-1, eth1 10.0.1.2/24 02:42:0a:00:01:02 mtu 1500 via 10.0.1.1",
            "add elements: [Publish { protocol: Tcp, host: 127.0.0.1:8081, container: 10.0.1.2:80 }]",
        ],
    );
    assert_eq!(difference.stale, [stale], "the guard is kept");
}
