//! Making host and files agree when the daemon starts: finish what a killed
//! daemon had begun to take away, remove what belongs to nobody, put back what
//! is missing. Only what carries our prefix or lies in our table and
//! directories is ever touched.

use std::sync::Arc;

use base::RunId;
use netd_api::{Lease, Reconciled};

use crate::controller::{ControlError, Controller};
use crate::family::Family;
use crate::firewall::Element;
use crate::namespace;
use crate::plan::network::plan_create;
use crate::plan::reconcile::{Found, plan_reconcile};
use crate::ports;
use crate::state::{DEFAULT_NETWORK, Phase, Run};

impl Controller {
    /// Loads the files and makes the host agree with them.
    ///
    /// # Errors
    /// When files or the kernel's tables cannot be read.
    pub fn reconcile(&self) -> Result<Reconciled, ControlError> {
        let mut counts = Reconciled::default();
        self.load_networks()?;
        self.ensure_predefined()?;
        self.finish_releases(&mut counts)?;
        self.load_leases(&mut counts)?;
        self.adapt_default_bridge()?;
        self.restore_bridges(&mut counts)?;
        self.settle(&mut counts)?;
        self.bind_again(&mut counts);
        self.publish_names();
        Ok(counts)
    }

    fn load_networks(&self) -> Result<(), ControlError> {
        let networks = self.store.networks()?;
        let links = self.host()?.route().links()?;
        let mut state = self.state();
        for link in &links {
            state.saw_interface(&link.name);
        }
        for network in networks {
            if let Some(interface) = &network.interface {
                state.saw_interface(interface);
            }
            state.networks.insert(network.id.clone(), network);
        }
        Ok(())
    }

    /// Takes away what was being made or released when the daemon died.
    fn finish_releases(&self, counts: &mut Reconciled) -> Result<(), ControlError> {
        for lease in self.store.incomplete()? {
            counts.runs_released += 1;
            self.remember(lease.clone(), Phase::Releasing);
            self.dismantle(&lease)?;
        }
        Ok(())
    }

    fn load_leases(&self, counts: &mut Reconciled) -> Result<(), ControlError> {
        for lease in self.store.complete()? {
            let alive = namespace::is_bound(&lease.attached.namespace);
            self.remember(lease.clone(), Phase::Attached);
            if alive {
                counts.runs += 1;
            } else {
                // The host was rebooted, or somebody unmounted it: nobody lives there.
                counts.runs_released += 1;
                self.detach(&lease.request.run)?;
            }
        }
        Ok(())
    }

    fn remember(&self, lease: Lease, phase: Phase) {
        let mut state = self.state();
        for interface in &lease.interfaces {
            state.saw_interface(interface);
        }
        let known = Run {
            lease,
            phase,
            is_ending: false,
        };
        state.runs.insert(known);
    }

    /// Puts every network's bridge in place; the default network's only if it
    /// is in use, so that a host where nobody uses it has no such bridge.
    fn restore_bridges(&self, counts: &mut Reconciled) -> Result<(), ControlError> {
        let mut host = self.host()?;
        let networks: Vec<_> = self.state().networks.values().cloned().collect();
        for network in networks {
            let parent = network.parent.as_ref().map(|parent| &parent.interface);
            let Some(interface) = network.interface.as_ref().or(parent).cloned() else {
                continue;
            };
            let used = self.state().members(&network.id).next().is_some();
            let there = host.route().link(&interface)?.is_some();
            if !used && !there && network.name == DEFAULT_NETWORK {
                continue;
            }
            counts.links_added += u64::from(!there);
            match host.apply(&plan_create(&network)) {
                Ok(()) => {
                    self.state().ready.insert(interface);
                }
                Err(error) => {
                    let error = base::failure::chain(&error);
                    tracing::error!(network = network.name, %error, "bridge not in place");
                }
            }
        }
        Ok(())
    }

    fn settle(&self, counts: &mut Reconciled) -> Result<(), ControlError> {
        let mut host = self.host()?;
        let found = Found {
            links: host.route().links()?,
            namespaces: namespace::list(&self.instance.run().join("netns"))
                .map_err(crate::store::StoreError::from)?,
            elements: host.firewall()?.elements()?,
        };
        let (leases, networks) = {
            let state = self.state();
            let leases: Vec<_> = state.runs.values().map(|run| run.lease.clone()).collect();
            (leases, state.networks.clone())
        };
        let prefix = self.instance.interface_prefix();
        let difference = plan_reconcile(&prefix, &leases, &networks, &found);
        for error in host.dismantle(&difference.operations) {
            tracing::error!(%error, "cannot reconcile");
        }
        host.firewall()?.remove_raw(&difference.stale)?;
        for family in [Family::V4, Family::V6] {
            if self.forwarding.is_ours(family) {
                host.firewall()?.add(&[Element::Guarded(family)])?;
            }
        }
        counts.links_removed += difference.links_removed as u64;
        counts.links_added += difference.links_added as u64;
        counts.namespaces_removed += difference.namespaces_removed as u64;
        counts.elements_added += difference.elements_added as u64;
        counts.elements_removed += difference.stale.len() as u64;
        Ok(())
    }

    fn bind_again(&self, counts: &mut Reconciled) {
        let leases: Vec<Lease> = self
            .state()
            .runs
            .values()
            .map(|run| run.lease.clone())
            .collect();
        for lease in leases {
            let mut held = Vec::new();
            for port in &lease.attached.ports {
                match ports::reserve_again(port) {
                    Ok(reservation) => held.push(reservation),
                    // It still leads to the container; only conflicts go unseen.
                    Err(error) => {
                        counts.ports_lost += 1;
                        tracing::error!(error = base::failure::chain(&error), "port not held");
                    }
                }
            }
            self.hold(&lease.request.run, held);
        }
    }

    /// Releases the runs whose shim left its exit behind, for when the events
    /// that told of it are gone.
    ///
    /// # Errors
    /// When a release cannot be recorded.
    pub fn release_exited(self: &Arc<Self>) -> Result<(), ControlError> {
        let runs: Vec<RunId> = self.state().runs.keys().cloned().collect();
        for run in runs {
            if self.instance.shim(&run).join("exit.json").exists() {
                self.release(&run)?;
            }
        }
        Ok(())
    }
}
