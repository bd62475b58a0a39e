//! The plan that gives a run what its lease says, and the one that takes it away.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use base::NetworkId;
use ipnet::IpNet;
use netd_api::{Endpoint, InterfaceSysctl, Lease, NetworkConfig, PublishedPort};

use super::{Interface, Operation, Way, network};
use crate::family::Family;
use crate::firewall::Element;
use crate::mac::Mac;
use crate::options::{BridgeOptions, GatewayMode};

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
    let left = interfaces(old, networks).filter(|it| !new.interfaces.contains(&it.host_name));
    plan.extend(left.map(|it| it.removal()));
    for interface in interfaces(new, networks) {
        if !old.interfaces.contains(&interface.host_name) {
            plan.push(Operation::CreateInterface(Box::new(interface)));
            continue;
        }
        for way in interface.default_routes {
            if routed(old, networks, way.family()).is_none_or(|(_, was)| was != way) {
                let namespace = new.attached.namespace.clone();
                plan.push(Operation::SetDefaultRoute { namespace, way });
            }
        }
    }
    if !missing.is_empty() {
        plan.push(Operation::AddElements(missing));
    }
    plan
}

/// Returns where a run's default route of a family leads, and by which network.
fn routed<'a>(
    lease: &'a Lease,
    networks: &Networks,
    family: Family,
) -> Option<(&'a NetworkId, Way)> {
    let mut endpoints = lease.attached.endpoints.iter();
    endpoints.find_map(|endpoint| {
        let way = way(endpoint, networks.get(&endpoint.network)?, family)?;
        Some((&endpoint.network, way))
    })
}

fn way(endpoint: &Endpoint, network: &NetworkConfig, family: Family) -> Option<Way> {
    if network.is_without_router() {
        let is_its = |address: IpAddr| Family::of(address) == family;
        let has = !network.internal && endpoint.addresses().any(is_its);
        let name = endpoint.interface.clone();
        return has.then_some(Way::Interface { name, family });
    }
    let mut gateways = endpoint.gateways();
    let gateway = gateways.find(|gateway| Family::of(*gateway) == family);
    gateway.map(Way::Router)
}

/// Returns the quick part of a release: afterwards ports are free.
pub fn plan_unpublish(lease: &Lease, networks: &Networks) -> Vec<Operation> {
    match published(lease, networks) {
        elements if elements.is_empty() => Vec::new(),
        elements => vec![Operation::RemoveElements(elements)],
    }
}

/// Returns the slow part of a release: interfaces and namespace.
pub fn plan_dismantle(lease: &Lease, networks: &Networks) -> Vec<Operation> {
    let known: Vec<Interface> = interfaces(lease, networks).collect();
    let names = lease.interfaces.iter();
    // One whose network nobody knows may still be there.
    let others = names.filter(|name| known.iter().all(|it| it.host_name != **name));
    let others = others.cloned().map(Operation::RemoveLink);
    let namespace = Operation::ReleaseNamespace(lease.attached.namespace.clone());
    let links = known.iter().map(Interface::removal).chain(others);
    links.chain([namespace]).collect()
}

/// Returns the interfaces of a run as they are made.
pub fn interfaces(lease: &Lease, networks: &Networks) -> impl Iterator<Item = Interface> {
    let endpoints = &lease.attached.endpoints;
    let routes = [Family::V4, Family::V6].map(|family| routed(lease, networks, family));
    let pairs = endpoints.iter().zip(&lease.interfaces);
    pairs.filter_map(move |(endpoint, host_name)| {
        let config = networks.get(&endpoint.network)?;
        Some(Interface {
            host_name: host_name.clone(),
            uplink: network::uplink(config)?,
            namespace: lease.attached.namespace.clone(),
            name: endpoint.interface.clone(),
            mac: mac(endpoint)?,
            addresses: addresses(endpoint),
            default_routes: routes
                .iter()
                .flatten()
                .filter(|(network, _)| **network == endpoint.network)
                .map(|(_, way)| way.clone())
                .collect(),
            mtu: BridgeOptions::of(config).mtu,
            sysctls: sysctls(lease, endpoint),
        })
    })
}

fn sysctls(lease: &Lease, endpoint: &Endpoint) -> Vec<InterfaceSysctl> {
    let mut asked = lease.request.endpoints.iter();
    let asked = asked.find(|asked| asked.network == endpoint.network);
    asked.map_or_else(Vec::new, |asked| asked.interface.sysctls.clone())
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
    let mut reachable: Vec<(IpAddr, GatewayMode)> = Vec::new();
    for endpoint in &lease.attached.endpoints {
        let network = networks.get(&endpoint.network);
        let Some(network) = network.filter(|it| !it.internal && it.interface.is_some()) else {
            continue;
        };
        let options = BridgeOptions::of(network);
        let mode = |ip: IpAddr| (ip, options.mode(Family::of(ip)));
        reachable.extend(endpoint.addresses().map(mode));
    }
    let element = |port: &PublishedPort| {
        let family = Family::of(port.host_ip);
        let mut addresses = reachable.iter();
        let (address, mode) = addresses.find(|(address, _)| Family::of(*address) == family)?;
        let container = SocketAddr::new(*address, port.container_port);
        let protocol = port.protocol;
        if *mode == GatewayMode::Routed {
            return Some(Element::Open {
                protocol,
                container,
            });
        }
        // It was made where nothing was translated, and has no port of the host.
        let host = Some(port.host_port).filter(|port| *port != 0)?;
        let host = SocketAddr::new(port.host_ip, host);
        Some(Element::publishing(protocol, host, container))
    };
    lease.attached.ports.iter().filter_map(element).collect()
}
