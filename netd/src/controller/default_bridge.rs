//! The addresses of the default bridge, where the configuration says something
//! about them.

use ipnet::IpNet;
use netd_api::config::DefaultBridge;
use netd_api::{Chosen, NetworkConfig, Pool, PoolRequest};

use super::networks::NetworkError;
use super::{ControlError, Controller};
use crate::family::Family;
use crate::plan::network::plan_remove;
use crate::pools;
use crate::state::DEFAULT_NETWORK;
use crate::sysctl;

impl Controller {
    /// Gives the default network the subnets that the configuration names; one that
    /// somebody is on keeps what it has until the next start.
    ///
    /// # Errors
    /// When there is no subnet, or the network cannot be written.
    pub(crate) fn adapt_default_bridge(&self) -> Result<(), ControlError> {
        let (old, is_used) = {
            let state = self.state();
            let Some(network) = state.network_named(DEFAULT_NETWORK) else {
                return Ok(());
            };
            let is_used = state.members(&network.id).next().is_some();
            (network.clone(), is_used)
        };
        let mut new = old.clone();
        if let Some(pool) = pool_of(self.config.ipv4()) {
            new.ipv4 = Some(pool);
        }
        new.ipv6 = self.default_ipv6(&old)?;
        if new == old {
            return Ok(());
        }
        if is_used {
            tracing::warn!("containers are on the default network, its subnets stay");
            return Ok(());
        }
        self.steps.reached("write default network");
        self.store.write_network(&new)?;
        self.state().networks.insert(new.id.clone(), new);
        for error in self.host()?.dismantle(&plan_remove(&old)) {
            tracing::error!(%error, "the old default bridge is left behind");
        }
        Ok(())
    }

    /// One that the configuration does not name is chosen once.
    fn default_ipv6(&self, old: &NetworkConfig) -> Result<Option<Pool>, ControlError> {
        if !self.config.default_bridge_ipv6 {
            return Ok(None);
        }
        if !sysctl::is_ipv6_there() {
            return Err(NetworkError::NoIpv6(old.name.clone()).into());
        }
        if let Some(pool) = pool_of(self.config.ipv6()).or_else(|| old.ipv6.clone()) {
            return Ok(Some(pool));
        }
        let mut taken: Vec<IpNet> = self.host_facts()?.subnets;
        let state = self.state();
        let others = state.networks.values().flat_map(NetworkConfig::pools);
        taken.extend(others.map(|pool| pool.subnet));
        let pool = self.pool(&state, &PoolRequest::default(), Family::V6, &taken);
        Ok(Some(pool.map_err(NetworkError::from)?))
    }
}

/// A range alone is the subnet as well, as in Docker.
fn pool_of(said: DefaultBridge) -> Option<Pool> {
    let range = said.range.map(|range| range.trunc());
    let Some(gateway) = said.gateway else {
        return Some(Pool {
            range,
            ..pools::with_first_gateway(range?, Chosen::Subnet)
        });
    };
    Some(Pool {
        subnet: gateway.trunc(),
        gateway: Some(gateway.addr()),
        range,
        aux: Default::default(),
        chosen: Chosen::All,
    })
}
