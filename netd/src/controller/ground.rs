//! What a new network stands on: a bridge of ours, one that is there already, or
//! another interface of the host.

use ipnet::IpNet;
use netd_api::{Chosen, NetworkConfig, NetworkDriver, Parent, ParentOrigin};

use super::ControlError;
use super::networks::NetworkError;
use crate::family::Family;
use crate::netlink::route::Link;
use crate::options::{BridgeOptions, GatewayMode};
use crate::plan::parent::parent;
use crate::plan::{MacvlanMode, Uplink, network};
use crate::state::State;

/// What the host has.
#[derive(Debug)]
pub(super) struct HostFacts {
    pub(super) links: Vec<Link>,
    pub(super) subnets: Vec<IpNet>,
}

impl HostFacts {
    fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

/// Gives a network that is to be made its bridge or its parent.
///
/// # Errors
/// When another network has it, or it is none.
pub(super) fn ground(
    state: &mut State,
    new: &mut NetworkConfig,
    host: &HostFacts,
) -> Result<(), ControlError> {
    match new.driver {
        NetworkDriver::Bridge => {
            let Some(name) = BridgeOptions::of(new).name else {
                new.interface = Some(state.next_interface()?);
                return Ok(());
            };
            let mut others = state.networks.values();
            if let Some(other) = others.find(|it| it.interface.as_ref() == Some(&name)) {
                return Err(same_bridge(new, other, name).into());
            }
            let there = host.link(&name);
            if there.is_some_and(|link| !link.is_bridge) {
                return Err(NetworkError::NotBridge(name).into());
            }
            new.adopted = there.is_some();
            new.interface = Some(name);
        }
        NetworkDriver::Macvlan => new.parent = Some(find_parent(state, "macvlan", new, host)?),
        NetworkDriver::Ipvlan => new.parent = Some(find_parent(state, "ipvlan", new, host)?),
        NetworkDriver::Host | NetworkDriver::Null => {}
    }
    Ok(check_passthru(state, new)?)
}

fn same_bridge(new: &NetworkConfig, old: &NetworkConfig, bridge: String) -> NetworkError {
    NetworkError::SameBridge {
        new: new.id.clone(),
        old: old.id.clone(),
        bridge,
    }
}

fn find_parent(
    state: &mut State,
    driver: &'static str,
    new: &NetworkConfig,
    host: &HostFacts,
) -> Result<Parent, ControlError> {
    let is_there = |name: &str| host.link(name).is_some();
    let named = parent(driver, &new.options, is_there).map_err(NetworkError::from)?;
    let Some(named) = named else {
        return Ok(Parent {
            interface: state.next_interface()?,
            origin: ParentOrigin::Dummy,
        });
    };
    // One that was made for a network is there for as long as one of them is.
    let others = state.networks.values().filter_map(|it| it.parent.as_ref());
    let mut same = others.filter(|other| other.interface == named.interface);
    Ok(same.next().cloned().unwrap_or(named))
}

/// In that mode a parent has one network.
fn check_passthru(state: &State, new: &NetworkConfig) -> Result<(), NetworkError> {
    let Some(parent) = new.parent.as_ref().filter(|_| is_macvlan(new)) else {
        return Ok(());
    };
    let mut others = state.networks.values();
    let conflict = others.find(|other| {
        let is_same = other
            .parent
            .as_ref()
            .is_some_and(|it| it.interface == parent.interface);
        is_same && is_macvlan(other) && (is_passthru(new) || is_passthru(other))
    });
    match conflict {
        None => Ok(()),
        Some(other) => Err(NetworkError::ParentInUse {
            driver: "macvlan",
            other: other.id.clone(),
            parent: parent.interface.clone(),
        }),
    }
}

fn is_macvlan(network: &NetworkConfig) -> bool {
    network.driver == NetworkDriver::Macvlan
}

fn is_passthru(network: &NetworkConfig) -> bool {
    let mode = |uplink| {
        matches!(
            uplink,
            Uplink::Macvlan {
                mode: MacvlanMode::Passthru,
                ..
            }
        )
    };
    network::uplink(network).is_some_and(mode)
}

/// Where no router can be, its address is a container's, unless the user named it.
pub(super) fn leave_out_gateways(network: &mut NetworkConfig) {
    let options = BridgeOptions::of(network);
    let is_on_parent = network.parent.is_some() && network.internal;
    let is_routed = network.is_without_router();
    for pool in network.ipv4.iter_mut().chain(&mut network.ipv6) {
        let family = Family::of(pool.subnet.network());
        let is_isolated = options.mode(family) == GatewayMode::Isolated;
        if (is_isolated || is_on_parent || is_routed) && pool.chosen != Chosen::All {
            pool.gateway = None;
        }
    }
}
