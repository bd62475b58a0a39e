//! The plan that gives a run what its lease says, and the one that takes it away.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use base::NetworkId;
use ipnet::IpNet;
use netd_api::{Endpoint, Lease, NetworkConfig, PublishedPort};

use super::{Interface, Operation, network};
use crate::family::Family;
use crate::firewall::Element;
use crate::mac::Mac;

/// The prefix lengths of addresses of the link.
const LINK_BITS: u8 = 16;
const LINK_BITS_IPV6: u8 = 64;

/// Networks by their id.
pub type Networks = BTreeMap<NetworkId, NetworkConfig>;

/// Returns the operations that attach a run: namespace, interfaces, and last
/// the published ports, so that no packet arrives before there is a receiver.
pub fn plan_attach(lease: &Lease, networks: &Networks) -> Vec<Operation> {
    let path = lease.attached.namespace.clone();
    let mut plan = vec![match lease.request.user_namespace.clone() {
        None => Operation::CreateNamespace(path),
        Some(mappings) => Operation::CreateOwnedNamespace { path, mappings },
    }];
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
            continue;
        }
        for gateway in interface.default_routes {
            if routed(old, Family::of(gateway)) != Some(gateway) {
                let namespace = new.attached.namespace.clone();
                plan.push(Operation::SetDefaultRoute { namespace, gateway });
            }
        }
    }
    if !missing.is_empty() {
        plan.push(Operation::AddElements(missing));
    }
    plan
}

/// Returns the gateway of a run's default route of a family.
fn routed(lease: &Lease, family: Family) -> Option<IpAddr> {
    let mut gateways = lease.attached.endpoints.iter().flat_map(Endpoint::gateways);
    gateways.find(|gateway| Family::of(*gateway) == family)
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
    let routes = [Family::V4, Family::V6].map(|family| routed(lease, family));
    let pairs = endpoints.iter().zip(&lease.interfaces);
    pairs.filter_map(move |(endpoint, host_name)| {
        let config = networks.get(&endpoint.network)?;
        Some(Interface {
            host_name: host_name.clone(),
            bridge: config.interface.clone()?,
            namespace: lease.attached.namespace.clone(),
            name: endpoint.interface.clone(),
            mac: mac(endpoint)?,
            addresses: addresses(endpoint),
            default_routes: endpoint
                .gateways()
                .filter(|gateway| routes.contains(&Some(*gateway)))
                .collect(),
            mtu: network::mtu(config),
        })
    })
}

fn mac(endpoint: &Endpoint) -> Option<Mac> {
    let own = || endpoint.addresses().next().map(Mac::from);
    endpoint.mac.parse().ok().or_else(own)
}

fn addresses(endpoint: &Endpoint) -> Vec<IpNet> {
    let ipv4 = endpoint.ipv4.map(IpNet::V4);
    let ipv6 = endpoint.ipv6.map(IpNet::V6);
    let link = endpoint.link_local.iter().filter_map(|ip| {
        let bits = if ip.is_ipv4() {
            LINK_BITS
        } else {
            LINK_BITS_IPV6
        };
        IpNet::new(*ip, bits).ok()
    });
    ipv4.into_iter().chain(ipv6).chain(link).collect()
}

/// Returns the elements that publish a run's ports, each on the first endpoint
/// of its family that is reachable from outside.
pub fn published(lease: &Lease, networks: &Networks) -> Vec<Element> {
    let outside = |network: &NetworkId| networks.get(network).is_some_and(|n| !n.internal);
    let endpoints = lease.attached.endpoints.iter();
    let reachable: Vec<IpAddr> = endpoints
        .filter(|endpoint| outside(&endpoint.network))
        .flat_map(Endpoint::addresses)
        .collect();
    let element = |port: &PublishedPort| {
        let family = Family::of(port.host_ip);
        let mut addresses = reachable.iter();
        let address = addresses.find(|address| Family::of(**address) == family)?;
        let container = SocketAddr::new(*address, port.container_port);
        let host = SocketAddr::new(port.host_ip, port.host_port);
        Some(Element::publishing(port.protocol, host, container))
    };
    lease.attached.ports.iter().filter_map(element).collect()
}
