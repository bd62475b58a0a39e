//! A living run joins a network or leaves one: what its lease says then.

use std::net::IpAddr;

use base::{NetworkId, RunId};
use netd_api::{Dns, EndpointRequest, Lease, NetworkConfig, PublishedPort};

use super::{ENDPOINT_LIMIT, LeaseError, Phase, Run, State, interface_name, rank};
use crate::family::{Families, Family};
use crate::options::{BridgeOptions, GatewayMode};
use crate::resolver;

/// A run's lease before and after.
#[derive(Debug, Clone)]
pub struct Change {
    pub old: Lease,
    pub new: Lease,
}

/// How a run is reached from outside the host: for each family the first of its
/// networks counts that leads out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    pub families: Families,
    /// Those in which nothing is translated.
    pub routed: Families,
    /// Where ports are published that name no address; absent, everywhere.
    pub binding: Option<IpAddr>,
}

impl Reach {
    fn add(&mut self, network: &NetworkConfig) {
        let options = BridgeOptions::of(network);
        if !self.families.any() {
            self.binding = options.host_binding;
        }
        let is_routed = |family| options.mode(family) == GatewayMode::Routed;
        let has = Families {
            ipv4: network.ipv4.is_some(),
            ipv6: network.ipv6.is_some(),
        };
        let new = has.without(self.families);
        self.routed = self.routed.and(Families {
            ipv4: new.ipv4 && is_routed(Family::V4),
            ipv6: new.ipv6 && is_routed(Family::V6),
        });
        self.families = self.families.and(new);
    }
}

impl State {
    /// Returns how networks, the preferred first, are reached from outside the host.
    pub fn reach<'a>(&self, networks: impl IntoIterator<Item = &'a NetworkId>) -> Reach {
        let known = networks.into_iter().filter_map(|id| self.networks.get(id));
        let leading = known.filter(|network| network.interface.is_some() && !network.internal);
        let mut reach = Reach::default();
        leading.for_each(|network| reach.add(network));
        reach
    }

    /// Returns whether one of some networks leads out of the host.
    pub fn leads_out<'a>(&self, networks: impl IntoIterator<Item = &'a NetworkId>) -> bool {
        let mut known = networks.into_iter().filter_map(|id| self.networks.get(id));
        known.any(|network| network.driver.has_interfaces() && !network.internal)
    }

    /// Adds an endpoint to the lease of an attached run, and `ports`, which are
    /// published from now on.
    ///
    /// # Errors
    /// When it is not attached, on the network already, or the network is
    /// missing or has no address; nothing changes then.
    pub fn join(
        &mut self,
        run: &RunId,
        wanted: &EndpointRequest,
        ports: Vec<PublishedPort>,
        host_dns: &Dns,
    ) -> Result<Change, LeaseError> {
        let old = self.attached(run)?.lease.clone();
        let missing = || LeaseError::NoNetwork(wanted.network.clone());
        let network = self.networks.get(&wanted.network).ok_or_else(missing)?;
        let network = network.clone();
        if network.template.is_some() {
            return Err(LeaseError::Template);
        }
        if !network.driver.has_interfaces() {
            return Err(LeaseError::NotJoinable(network.name));
        }
        if old.attached.endpoint_on(&network.id).is_some() {
            return Err(LeaseError::Joined {
                container: old.request.container_name,
                network: network.name,
            });
        }
        if old.attached.endpoints.len() >= ENDPOINT_LIMIT {
            return Err(LeaseError::TooMany);
        }
        let mut new = old.clone();
        let name = interface_name(
            &network,
            wanted,
            (&old.request.endpoints, &old.attached.endpoints),
        )?;
        let endpoint = self.endpoint(&old.request, wanted, &network, name)?;
        let mut others = old.attached.endpoints.iter();
        let place = others.position(|other| rank(other) > rank(&endpoint));
        let place = place.unwrap_or(old.attached.endpoints.len());
        new.interfaces.insert(place, self.next_interface()?);
        new.request.endpoints.push(wanted.clone());
        new.attached.endpoints.insert(place, endpoint);
        new.attached.ports.extend(ports);
        self.replace_lease(&mut new, host_dns);
        Ok(Change { old, new })
    }

    /// Takes the endpoint on a network out of a run's lease, and the ports of
    /// families in which no other network leads out; `None` where there is none.
    ///
    /// # Errors
    /// When the run is not attached.
    pub fn leave(
        &mut self,
        run: &RunId,
        network: &NetworkId,
        host_dns: &Dns,
    ) -> Result<Option<Change>, LeaseError> {
        let old = self.attached(run)?.lease.clone();
        let mut endpoints = old.attached.endpoints.iter();
        let Some(index) = endpoints.position(|endpoint| endpoint.network == *network) else {
            return Ok(None);
        };
        let mut new = old.clone();
        new.attached.endpoints.remove(index);
        new.interfaces.remove(index);
        new.request.endpoints.retain(|it| it.network != *network);
        let rest = new.attached.endpoints.iter().map(|it| &it.network);
        let families = self.reach(rest).families;
        new.attached.ports.retain(|port| families.carry(port));
        self.replace_lease(&mut new, host_dns);
        Ok(Some(Change { old, new }))
    }

    fn attached(&self, run: &RunId) -> Result<&Run, LeaseError> {
        let known = self.runs.get(run);
        known
            .filter(|known| known.phase == Phase::Attached)
            .ok_or_else(|| LeaseError::NotAttached(run.clone()))
    }

    fn replace_lease(&mut self, new: &mut Lease, host_dns: &Dns) {
        let lookup = Self::lookup(&new.attached.endpoints);
        new.attached.resolver = resolver::resolver(lookup, &new.request.dns, host_dns);
        self.runs.set_lease(new.clone());
    }
}
