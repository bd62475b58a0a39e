//! Networks of a living run change. The lease in the state changes first, so that
//! address and name are taken; its file changes when an interface is there, and
//! before one goes: what a killed daemon leaves belongs to no lease, and the next
//! start takes it away and performs the request again.

use std::net::IpAddr;

use base::RunId;
use netd_api::{Connect, Disconnect, NetworksChanged};

use super::{ControlError, Controller};
use crate::family::Family;
use crate::plan::attach::{Networks, plan_change};
use crate::ports::{self, Reservation};
use crate::state::change::Change;
use crate::state::{LeaseError, Phase};

impl Controller {
    /// Gives a run an interface on one more network. Repeated with the same
    /// endpoint it answers the same.
    ///
    /// # Errors
    /// When the request makes no sense or a step fails; nothing is left then.
    pub fn connect(&self, request: &Connect) -> Result<NetworksChanged, ControlError> {
        let run = &request.run;
        if let Some(changed) = self.already_connected(request) {
            return Ok(changed);
        }
        let reserved = self.reserve_late_ports(request)?;
        let ports = reserved.iter().map(|it| it.port.clone()).collect();
        self.wait_for_addresses(std::slice::from_ref(&request.endpoint));
        let host_dns = self.host_dns();
        let (change, networks) = {
            let mut state = self.state();
            let change = state.join(run, &request.endpoint, ports, &host_dns)?;
            (change, state.networks.clone())
        };
        let done = self.build(&change, &networks);
        let done = done.and_then(|()| self.write_lease(run));
        if let Err(error) = done {
            self.take_back(request);
            return Err(error);
        }
        self.hold(run, reserved);
        self.publish_names_of(&change.new);
        self.changed(&change, &request.endpoint.network)
    }

    /// Takes a run's interface on a network away; one that is not there is no
    /// error.
    ///
    /// # Errors
    /// When the run is not attached or the lease cannot be written; nothing
    /// has changed then. Else the next start takes away what is left.
    pub fn disconnect(&self, request: &Disconnect) -> Result<NetworksChanged, ControlError> {
        let run = &request.run;
        let host_dns = self.host_dns();
        let (change, networks) = {
            let mut state = self.state();
            let networks = state.networks.clone();
            match state.leave(run, &request.network, &host_dns)? {
                Some(change) => (change, networks),
                None => {
                    let lease = state.runs[run].lease.clone();
                    let change = Change {
                        old: lease.clone(),
                        new: lease,
                    };
                    drop(state);
                    return self.changed(&change, &request.network);
                }
            }
        };
        self.steps.reached("write lease without endpoint");
        if let Err(error) = self.write_lease(run) {
            self.state().runs.set_lease(change.old);
            return Err(error);
        }
        let errors = self
            .host()?
            .dismantle(&plan_change(&change.old, &change.new, &networks));
        self.keep_held(run, &change.new.attached.ports);
        self.publish_names();
        if !errors.is_empty() {
            let errors = errors.join("; ");
            return Err(ControlError::Release {
                run: run.clone(),
                errors,
            });
        }
        self.changed(&change, &request.network)
    }

    fn already_connected(&self, request: &Connect) -> Option<NetworksChanged> {
        let lease = {
            let state = self.state();
            let known = state.runs.get(&request.run)?;
            if known.phase != Phase::Attached {
                return None;
            }
            known.lease.clone()
        };
        if !lease.request.endpoints.contains(&request.endpoint) {
            return None;
        }
        let change = Change {
            old: lease.clone(),
            new: lease,
        };
        self.changed(&change, &request.endpoint.network).ok()
    }

    /// Ports that could not be published before, because no network of the run
    /// led out in their family, are published on the first that does.
    fn reserve_late_ports(&self, request: &Connect) -> Result<Vec<Reservation>, ControlError> {
        let (wanted, reach) = {
            let state = self.state();
            let Some(known) = state.runs.get(&request.run) else {
                return Ok(Vec::new());
            };
            let lease = &known.lease;
            let networks = lease.attached.endpoints.iter().map(|it| &it.network);
            let mut reach = state.reach([&request.endpoint.network]);
            reach.families = reach.families.without(state.reach(networks).families);
            let (asked, published) = (&lease.request.ports, &lease.attached.ports);
            let mut wanted = ports::late(asked, published, reach.families);
            let elsewhere = |ip: IpAddr| !reach.families.has(Family::of(ip));
            if reach.binding.is_some_and(elsewhere) {
                wanted.retain(|port| port.host_ip.is_some());
            }
            (wanted, reach)
        };
        Ok(self.reserve(&wanted, reach)?)
    }

    fn build(&self, change: &Change, networks: &Networks) -> Result<(), ControlError> {
        let mut host = self.host()?;
        for endpoint in &change.new.attached.endpoints {
            if let Some(network) = networks.get(&endpoint.network) {
                self.ensure_network(&mut host, network)?;
            }
        }
        host.apply(&plan_change(&change.old, &change.new, networks))?;
        Ok(())
    }

    /// Writes the lease as the state has it: names may have changed meanwhile.
    fn write_lease(&self, run: &RunId) -> Result<(), ControlError> {
        self.steps.reached("write lease");
        let state = self.state();
        let known = state.runs.get(run);
        let known = known.ok_or_else(|| LeaseError::NotAttached(run.clone()))?;
        Ok(self.store.rewrite(&known.lease)?)
    }

    /// Undoes a connection that failed.
    fn take_back(&self, request: &Connect) {
        let undo = Disconnect {
            run: request.run.clone(),
            network: request.endpoint.network.clone(),
        };
        if let Err(error) = self.disconnect(&undo) {
            let error = base::failure::chain(&error);
            tracing::error!(run = %request.run, %error, "left behind");
        }
    }

    fn changed(
        &self,
        change: &Change,
        network: &base::NetworkId,
    ) -> Result<NetworksChanged, ControlError> {
        let state = self.state();
        let missing = || LeaseError::NoNetwork(network.clone());
        let named = state.networks.get(network).ok_or_else(missing)?;
        Ok(NetworksChanged {
            network: network.clone(),
            network_name: named.name.clone(),
            driver: named.driver,
            attached: change.new.attached.clone(),
        })
    }
}
