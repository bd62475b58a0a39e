//! What runs hold that are over. Order is per subject: a request may be served
//! before the exit that stands before it in the log, and then finds a port or
//! an address taken by a run that is about to let go of it. It waits for that,
//! a bounded time; what a living run holds is refused at once.

use std::net::IpAddr;

use base::RunId;
use engine_shim_api::EXIT_FILE;
use netd_api::{Endpoint, EndpointRequest, PortRequest, PublishedPort};

use super::Controller;
use crate::ports::{self, PortError, Reservation};
use crate::state::State;
use crate::state::change::Reach;

impl Controller {
    /// Reserves ports of some families, waiting for those of runs that are over.
    pub(super) fn reserve(
        &self,
        requests: &[PortRequest],
        reach: Reach,
    ) -> Result<Vec<Reservation>, PortError> {
        match ports::reserve(requests, reach) {
            Err(PortError::Allocated { .. } | PortError::AllAllocated { .. }) => {
                self.wait_for_those_over(|_| self.holders_of_ports(requests));
                ports::reserve(requests, reach)
            }
            result => result,
        }
    }

    /// Waits for the addresses of runs that are over, if `endpoints` name any.
    pub(super) fn wait_for_addresses(&self, endpoints: &[EndpointRequest]) {
        if endpoints.iter().any(|it| fixed(it).next().is_some()) {
            self.wait_for_those_over(|state| holders_of_addresses(state, endpoints));
        }
    }

    fn wait_for_those_over(&self, holders: impl Fn(&State) -> Vec<RunId>) {
        let done = |state: &State| {
            let holders = holders(state);
            holders.is_empty() || holders.iter().any(|run| !self.is_over(state, run))
        };
        if !self.wait_released(done) {
            tracing::warn!("a run that is over has not been released in time");
        }
    }

    /// A shim writes the exit before it tells of it; its directory goes later,
    /// file by file. What the log has told is known at any time.
    fn is_over(&self, state: &State, run: &RunId) -> bool {
        if state.runs.get(run).is_some_and(|known| known.is_ending) {
            return true;
        }
        let shim = self.instance.shim(run);
        shim.join(EXIT_FILE).exists() || !shim.exists()
    }

    fn holders_of_ports(&self, requests: &[PortRequest]) -> Vec<RunId> {
        let held = self.held();
        let wanted = |held: &Reservation| requests.iter().any(|it| is_wanted(it, &held.port));
        let holders = held.iter().filter(|(_, held)| held.iter().any(wanted));
        holders.map(|(run, _)| run.clone()).collect()
    }
}

/// The addresses that a request names.
fn fixed(request: &EndpointRequest) -> impl Iterator<Item = IpAddr> {
    let ipv6 = request.ipv6.map(IpAddr::V6);
    request.ipv4.map(IpAddr::V4).into_iter().chain(ipv6)
}

fn is_wanted(request: &PortRequest, held: &PublishedPort) -> bool {
    let range = request.host_ports.as_ref();
    let is_in = range.is_some_and(|range| (range.first..=range.last).contains(&held.host_port));
    is_in && request.protocol == held.protocol
}

fn holders_of_addresses(state: &State, wanted: &[EndpointRequest]) -> Vec<RunId> {
    let is_wanted = |endpoint: &Endpoint| {
        let mut asked = wanted.iter();
        asked.any(|it| {
            let holds = |address| endpoint.addresses().any(|held| held == address);
            it.network == endpoint.network && fixed(it).any(holds)
        })
    };
    let holders = state
        .runs
        .values()
        .filter(|run| run.lease.attached.endpoints.iter().any(is_wanted));
    holders.map(|run| run.lease.request.run.clone()).collect()
}
