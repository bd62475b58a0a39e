//! The plans that make and remove a network's bridge, or what else its interfaces
//! are on.

use netd_api::{NetworkConfig, NetworkDriver, ParentOrigin, Pool};

use super::{Bridge, Operation, Port, Uplink, parent};
use crate::family::{Family, in_subnet};
use crate::firewall::Element;
use crate::mac::Mac;
use crate::options::{BridgeOptions, GatewayMode};

/// Returns the operations that put a network's bridge in place: the firewall
/// first, so that the bridge is never up without it. A network with neither a
/// bridge nor a parent needs none.
pub fn plan_create(network: &NetworkConfig) -> Vec<Operation> {
    if let Some(parent) = &network.parent {
        return vec![Operation::EnsureParent(parent.clone())];
    }
    let Some(bridge) = bridge(network) else {
        return Vec::new();
    };
    vec![
        Operation::AddElements(elements(network)),
        Operation::EnsureBridge(bridge),
    ]
}

/// Returns the operations that remove a network's bridge, or the parent that was
/// made for it.
pub fn plan_remove(network: &NetworkConfig) -> Vec<Operation> {
    if let Some(parent) = &network.parent {
        return match parent.origin {
            ParentOrigin::Host => Vec::new(),
            ParentOrigin::Vlan { .. } | ParentOrigin::Dummy => {
                vec![Operation::RemoveLink(parent.interface.clone())]
            }
        };
    }
    let Some(bridge) = bridge(network) else {
        return Vec::new();
    };
    let removal = match network.adopted {
        true => Operation::LeaveBridge(bridge),
        false => Operation::RemoveLink(bridge.interface),
    };
    vec![removal, Operation::RemoveElements(elements(network))]
}

fn bridge(network: &NetworkConfig) -> Option<Bridge> {
    let (interface, first) = (network.interface.clone()?, network.pools().next()?);
    let options = BridgeOptions::of(network);
    let addresses = network.pools().filter_map(|pool| {
        let is_isolated = options.mode(family(pool)) == GatewayMode::Isolated;
        let gateway = pool.gateway.filter(|_| !is_isolated)?;
        Some(in_subnet(gateway, &pool.subnet))
    });
    // Without a gateway, no container has the number of the subnet itself.
    let own = first.gateway.unwrap_or(first.subnet.network());
    Some(Bridge {
        interface,
        adopted: network.adopted,
        mac: Mac::from(own),
        addresses: addresses.collect(),
        mtu: options.mtu,
    })
}

/// Returns what the interfaces of a network are on.
pub fn uplink(network: &NetworkConfig) -> Option<Uplink> {
    match network.driver {
        NetworkDriver::Bridge => Some(Uplink::Bridge(Port {
            bridge: network.interface.clone()?,
            isolated: !BridgeOptions::of(network).joins,
        })),
        NetworkDriver::Macvlan => Some(Uplink::Macvlan {
            parent: network.parent.as_ref()?.interface.clone(),
            mode: parent::macvlan_mode(&network.options).unwrap_or_default(),
        }),
        NetworkDriver::Ipvlan => {
            let (mode, flag) = parent::ipvlan_mode(&network.options).unwrap_or_default();
            Some(Uplink::Ipvlan {
                parent: network.parent.as_ref()?.interface.clone(),
                mode,
                flag,
            })
        }
        NetworkDriver::Host | NetworkDriver::Null => None,
    }
}

fn family(pool: &Pool) -> Family {
    Family::of(pool.subnet.network())
}

/// Returns what the firewall knows of a network.
pub fn elements(network: &NetworkConfig) -> Vec<Element> {
    let Some(name) = &network.interface else {
        return Vec::new();
    };
    let options = BridgeOptions::of(network);
    let mut elements = vec![Element::Bridge(name.clone())];
    if options.joins {
        elements.push(Element::Within(name.clone()));
    }
    elements.extend(network.pools().map(|pool| Element::Hairpin {
        interface: name.clone(),
        subnet: pool.subnet,
    }));
    if network.internal {
        elements.push(Element::Internal(name.clone()));
        return elements;
    }
    for family in network.pools().map(family) {
        let interface = name.clone();
        match options.mode(family) {
            GatewayMode::Routed => elements.push(Element::Routed { interface, family }),
            GatewayMode::NatUnprotected => {
                elements.push(Element::Unprotected {
                    interface: interface.clone(),
                    family,
                });
                elements.push(Element::Outbound { interface, family });
            }
            GatewayMode::Nat | GatewayMode::Isolated => {
                elements.push(Element::Outbound { interface, family });
            }
        }
    }
    if !options.masquerades {
        elements.retain(|element| !matches!(element, Element::Outbound { .. }));
    }
    elements
}
