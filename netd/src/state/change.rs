//! A living run joins a network or leaves one: what its lease says then.

use base::{NetworkId, RunId};
use netd_api::{Dns, EndpointRequest, Lease, NetworkDriver, PublishedPort};

use super::{ENDPOINT_LIMIT, LeaseError, Phase, Run, State};
use crate::family::Families;
use crate::resolver;

/// A run's lease before and after.
#[derive(Debug, Clone)]
pub struct Change {
    pub old: Lease,
    pub new: Lease,
}

impl State {
    /// Returns the families in which networks lead out of the host.
    pub fn reach<'a>(&self, networks: impl IntoIterator<Item = &'a NetworkId>) -> Families {
        let known = networks.into_iter().filter_map(|id| self.networks.get(id));
        let leading = known.filter(|network| network.interface.is_some() && !network.internal);
        let each = leading.map(|network| Families {
            ipv4: network.ipv4.is_some(),
            ipv6: network.ipv6.is_some(),
        });
        each.fold(Families::default(), Families::and)
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
        if network.driver != NetworkDriver::Bridge {
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
        let endpoint = self.endpoint(&old.request, wanted, &network, free_number(&old))?;
        new.interfaces.push(self.next_interface()?);
        new.request.endpoints.push(wanted.clone());
        new.attached.endpoints.push(endpoint);
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
        let reach = self.reach(rest);
        new.attached.ports.retain(|port| reach.carry(port));
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
        if let Some(known) = self.runs.get_mut(&new.request.run) {
            known.lease = new.clone();
        }
    }
}

/// Returns the lowest number that no interface of the run has.
fn free_number(lease: &Lease) -> usize {
    let is_used = |number: &usize| {
        let name = format!("eth{number}");
        let mut endpoints = lease.attached.endpoints.iter();
        endpoints.any(|endpoint| endpoint.interface == name)
    };
    (0..)
        .find(|number| !is_used(number))
        .expect("a run has few interfaces")
}
