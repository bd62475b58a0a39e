//! The plans that make and remove a network's bridge.

use netd_api::{NetworkConfig, Pool};

use super::{Bridge, DEFAULT_MTU, Operation};
use crate::family::in_subnet;
use crate::firewall::Element;

/// Docker's option for the interfaces' MTU.
pub const MTU_OPTION: &str = "com.docker.network.driver.mtu";
/// Docker's option that turns masquerade off.
pub const MASQUERADE_OPTION: &str = "com.docker.network.bridge.enable_ip_masquerade";

/// Returns the operations that put a network's bridge in place: the firewall
/// first, so that the bridge is never up without it. A network without a
/// bridge needs none.
pub fn plan_create(network: &NetworkConfig) -> Vec<Operation> {
    let (Some(interface), Some(first)) = (&network.interface, network.pools().next()) else {
        return Vec::new();
    };
    let address = |pool: &Pool| in_subnet(pool.gateway, &pool.subnet);
    let bridge = Bridge {
        interface: interface.clone(),
        mac: first.gateway.into(),
        addresses: network.pools().map(address).collect(),
        mtu: mtu(network),
    };
    vec![
        Operation::AddElements(elements(network)),
        Operation::EnsureBridge(bridge),
    ]
}

/// Returns the operations that remove a network's bridge.
pub fn plan_remove(network: &NetworkConfig) -> Vec<Operation> {
    let Some(interface) = &network.interface else {
        return Vec::new();
    };
    vec![
        Operation::RemoveLink(interface.clone()),
        Operation::RemoveElements(elements(network)),
    ]
}

/// Returns what the firewall knows of a network.
pub fn elements(network: &NetworkConfig) -> Vec<Element> {
    let Some(name) = &network.interface else {
        return Vec::new();
    };
    let mut elements = vec![Element::Bridge(name.clone()), Element::Within(name.clone())];
    elements.extend(network.pools().map(|pool| Element::Hairpin {
        interface: name.clone(),
        subnet: pool.subnet,
    }));
    if network.internal {
        elements.push(Element::Internal(name.clone()));
    } else if network
        .options
        .get(MASQUERADE_OPTION)
        .is_none_or(|value| value != "false")
    {
        elements.push(Element::Outbound(name.clone()));
    }
    elements
}

/// Returns the MTU of a network's interfaces.
pub fn mtu(network: &NetworkConfig) -> u32 {
    let option = network.options.get(MTU_OPTION);
    option
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT_MTU)
}
