//! The address of the default bridge, where the configuration names one.

use ipnet::Ipv4Net;
use netd_api::Pool;

use super::{ControlError, Controller};
use crate::plan::network::plan_remove;
use crate::state::DEFAULT_NETWORK;

impl Controller {
    /// Gives the default network the subnet that the configuration names; one that
    /// somebody is on keeps what it has until the next start.
    ///
    /// # Errors
    /// When the network cannot be written.
    pub(crate) fn adapt_default_bridge(&self) -> Result<(), ControlError> {
        let Some(wanted) = self.config.default_bridge.map(pool_of) else {
            return Ok(());
        };
        let (old, is_used) = {
            let state = self.state();
            let Some(network) = state.network_named(DEFAULT_NETWORK) else {
                return Ok(());
            };
            let is_used = state.members(&network.id).next().is_some();
            (network.clone(), is_used)
        };
        if old.ipv4.as_ref() == Some(&wanted) {
            return Ok(());
        }
        if is_used {
            let subnet = wanted.subnet;
            tracing::warn!(%subnet, "containers are on the default network, its subnet stays");
            return Ok(());
        }
        let mut new = old.clone();
        new.ipv4 = Some(wanted);
        self.steps.reached("write default network");
        self.store.write_network(&new)?;
        self.state().networks.insert(new.id.clone(), new);
        for error in self.host()?.dismantle(&plan_remove(&old)) {
            tracing::error!(%error, "the old default bridge is left behind");
        }
        Ok(())
    }
}

fn pool_of(bridge: Ipv4Net) -> Pool {
    Pool {
        subnet: bridge.trunc().into(),
        gateway: bridge.addr().into(),
        range: None,
        aux: Default::default(),
    }
}
