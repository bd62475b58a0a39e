//! The plan that gives a run what its lease says, and the one that takes it away.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use base::NetworkId;
use netd_api::{Lease, NetworkConfig, PublishedPort};

use super::{Interface, Operation, network};
use crate::firewall::Element;
use crate::mac::Mac;

/// Networks by their id.
pub type Networks = BTreeMap<NetworkId, NetworkConfig>;

/// Returns the operations that attach a run: namespace, interfaces, and last
/// the published ports, so that no packet arrives before there is a receiver.
pub fn plan_attach(lease: &Lease, networks: &Networks) -> Vec<Operation> {
    let mut plan = vec![Operation::CreateNamespace(lease.attached.namespace.clone())];
    plan.extend(interfaces(lease, networks).map(|it| Operation::CreateInterface(Box::new(it))));
    let elements = published(lease, networks);
    if !elements.is_empty() {
        plan.push(Operation::AddElements(elements));
    }
    plan
}

/// Returns the operations that lead from one lease of a run to another: what it
/// no longer has goes first, published ports follow the endpoint they are on.
pub fn plan_change(old: &Lease, new: &Lease, networks: &Networks) -> Vec<Operation> {
    let (was, is) = (published(old, networks), published(new, networks));
    let without = |some: &[Element], others: &[Element]| -> Vec<Element> {
        let rest = some.iter().filter(|element| !others.contains(element));
        rest.cloned().collect()
    };
    let mut plan = Vec::new();
    let (stale, missing) = (without(&was, &is), without(&is, &was));
    if !stale.is_empty() {
        plan.push(Operation::RemoveElements(stale));
    }
    let left = |name: &&String| !new.interfaces.contains(name);
    let links = old.interfaces.iter().filter(left).cloned();
    plan.extend(links.map(Operation::RemoveLink));
    for interface in interfaces(new, networks) {
        if !old.interfaces.contains(&interface.host_name) {
            plan.push(Operation::CreateInterface(Box::new(interface)));
        } else if let Some(gateway) = interface.default_route
            && routed(old) != Some(gateway)
        {
            let namespace = new.attached.namespace.clone();
            plan.push(Operation::SetDefaultRoute { namespace, gateway });
        }
    }
    if !missing.is_empty() {
        plan.push(Operation::AddElements(missing));
    }
    plan
}

/// Returns the gateway of a run's default route.
fn routed(lease: &Lease) -> Option<Ipv4Addr> {
    let mut endpoints = lease.attached.endpoints.iter();
    endpoints.find_map(|endpoint| endpoint.gateway)
}

/// Returns the quick part of a release: afterwards ports are free.
pub fn plan_unpublish(lease: &Lease, networks: &Networks) -> Vec<Operation> {
    match published(lease, networks) {
        elements if elements.is_empty() => Vec::new(),
        elements => vec![Operation::RemoveElements(elements)],
    }
}

/// Returns the slow part of a release: interfaces and namespace.
pub fn plan_dismantle(lease: &Lease) -> Vec<Operation> {
    let links = lease.interfaces.iter().cloned().map(Operation::RemoveLink);
    let namespace = Operation::ReleaseNamespace(lease.attached.namespace.clone());
    links.chain([namespace]).collect()
}

/// Returns the interfaces of a run as they are made.
pub fn interfaces(lease: &Lease, networks: &Networks) -> impl Iterator<Item = Interface> {
    let endpoints = &lease.attached.endpoints;
    let routed = endpoints
        .iter()
        .position(|endpoint| endpoint.gateway.is_some());
    let pairs = endpoints.iter().zip(&lease.interfaces).enumerate();
    pairs.filter_map(move |(number, (endpoint, host_name))| {
        let config = networks.get(&endpoint.network)?;
        Some(Interface {
            host_name: host_name.clone(),
            bridge: config.interface.clone()?,
            namespace: lease.attached.namespace.clone(),
            name: endpoint.interface.clone(),
            mac: endpoint
                .mac
                .parse()
                .unwrap_or_else(|_| Mac::from(endpoint.ipv4.addr())),
            address: endpoint.ipv4,
            default_route: endpoint.gateway.filter(|_| routed == Some(number)),
            mtu: network::mtu(config),
        })
    })
}

/// Returns the elements that publish a run's ports on its first endpoint that
/// is reachable from outside.
pub fn published(lease: &Lease, networks: &Networks) -> Vec<Element> {
    let outside = |network: &NetworkId| networks.get(network).is_some_and(|n| !n.internal);
    let mut endpoints = lease.attached.endpoints.iter();
    let Some(endpoint) = endpoints.find(|endpoint| outside(&endpoint.network)) else {
        return Vec::new();
    };
    let element = |port: &PublishedPort| {
        let IpAddr::V4(host) = port.host_ip else {
            return None;
        };
        let container = SocketAddrV4::new(endpoint.ipv4.addr(), port.container_port);
        let host = SocketAddrV4::new(host, port.host_port);
        Some(Element::publishing(port.protocol, host, container))
    };
    lease.attached.ports.iter().filter_map(element).collect()
}
