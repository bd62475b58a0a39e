//! What makes host and files agree after a start: the difference between what
//! the leases and networks say and what the kernel has, of ours only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use netd_api::Lease;

use super::attach::{Networks, interfaces, published};
use super::network;
use super::{Operation, Uplink};
use crate::family::Family;
use crate::firewall::Element;
use crate::firewall::element::RawElement;
use crate::netlink::route::Link;

/// What the kernel and the run directory have.
#[derive(Debug, Default)]
pub struct Found {
    /// All interfaces of the host.
    pub links: Vec<Link>,
    /// What is bound in `<run>/netns`, or was about to be.
    pub namespaces: Vec<PathBuf>,
    /// The elements of our table.
    pub elements: Vec<RawElement>,
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Removals first, then what is missing.
    pub operations: Vec<Operation>,
    /// Elements nobody asked for.
    pub stale: Vec<RawElement>,
    pub links_removed: usize,
    pub namespaces_removed: usize,
    pub links_added: usize,
    pub elements_added: usize,
}

/// Returns the difference. `leases` are those that are complete and whose
/// namespace is there; bridges are in place already.
pub fn plan_reconcile(
    prefix: &str,
    leases: &[Lease],
    networks: &Networks,
    found: &Found,
) -> Difference {
    let mut difference = Difference::default();
    remove_orphans(prefix, leases, networks, found, &mut difference);
    restore_links(leases, networks, found, &mut difference);
    compare_elements(leases, networks, found, &mut difference);
    difference
}

fn remove_orphans(
    prefix: &str,
    leases: &[Lease],
    networks: &Networks,
    found: &Found,
    difference: &mut Difference,
) {
    let links = leases.iter().flat_map(|lease| &lease.interfaces);
    let bridges = networks
        .values()
        .filter_map(|network| network.interface.as_ref());
    let parents = networks
        .values()
        .filter_map(|network| Some(&network.parent.as_ref()?.interface));
    let wanted: BTreeSet<&String> = links.chain(bridges).chain(parents).collect();
    let ours = found.links.iter().filter(|link| link.is_of(prefix));
    for link in ours.filter(|link| !wanted.contains(&link.name)) {
        difference.links_removed += 1;
        difference
            .operations
            .push(Operation::RemoveLink(link.name.clone()));
    }
    let wanted: BTreeSet<_> = leases
        .iter()
        .map(|lease| &lease.attached.namespace)
        .collect();
    for path in found
        .namespaces
        .iter()
        .filter(|path| !wanted.contains(path))
    {
        difference.namespaces_removed += 1;
        difference
            .operations
            .push(Operation::ReleaseNamespace(path.clone()));
    }
}

/// Interfaces that somebody removed, or whose bridge somebody removed.
fn restore_links(
    leases: &[Lease],
    networks: &Networks,
    found: &Found,
    difference: &mut Difference,
) {
    let by_name: BTreeMap<&str, &Link> = found
        .links
        .iter()
        .map(|link| (link.name.as_str(), link))
        .collect();
    for interface in leases.iter().flat_map(|lease| interfaces(lease, networks)) {
        // What is on a parent is in the run's namespace only.
        let Uplink::Bridge(port) = interface.uplink.clone() else {
            continue;
        };
        let bridge = by_name.get(port.bridge.as_str()).map(|link| link.index);
        match by_name.get(interface.host_name.as_str()) {
            None => {
                difference.links_added += 1;
                difference
                    .operations
                    .push(Operation::CreateInterface(Box::new(interface)));
            }
            Some(link) if link.controller != bridge || bridge.is_none() => {
                difference.operations.push(Operation::JoinBridge {
                    interface: interface.host_name,
                    port,
                });
            }
            Some(_) => {}
        }
    }
}

/// Returns the elements that networks and leases say and the table has not.
pub fn missing_elements(leases: &[Lease], networks: &Networks, found: &Found) -> Vec<Element> {
    let mut difference = Difference::default();
    compare_elements(leases, networks, found, &mut difference);
    let added = difference.operations.into_iter().filter_map(|it| match it {
        Operation::AddElements(elements) => Some(elements),
        _ => None,
    });
    added.flatten().collect()
}

fn compare_elements(
    leases: &[Lease],
    networks: &Networks,
    found: &Found,
    difference: &mut Difference,
) {
    let bridged = |name: &String| found.links.iter().any(|link| link.name == *name);
    let there = networks
        .values()
        .filter(|network| network.interface.as_ref().is_some_and(bridged));
    let mut wanted: Vec<Element> = there.flat_map(network::elements).collect();
    wanted.extend(leases.iter().flat_map(|lease| published(lease, networks)));
    let raw: BTreeSet<RawElement> = wanted.iter().map(Element::raw).collect();
    let have: BTreeSet<&RawElement> = found.elements.iter().collect();
    // These are kept by `forwarding` and where bridges are made.
    let guards = [
        Element::Guarded(Family::V4).raw(),
        Element::Guarded(Family::V6).raw(),
        Element::Deaf(Family::V6).raw(),
    ];
    let stale = found
        .elements
        .iter()
        .filter(|element| !raw.contains(element) && !guards.contains(element));
    difference.stale = stale.cloned().collect();
    let missing: Vec<Element> = wanted
        .into_iter()
        .filter(|element| !have.contains(&element.raw()))
        .collect();
    if !missing.is_empty() {
        difference.elements_added = missing.len();
        difference.operations.push(Operation::AddElements(missing));
    }
}
