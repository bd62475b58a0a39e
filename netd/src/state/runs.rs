//! The runs, by what they are and by what they hold: who looks for a free address
//! or name does not go through all runs. What a run holds changes here only.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;

use base::{NetworkId, RunId};
use netd_api::{Endpoint, Lease};

use super::{Phase, Run};

/// Addresses with the number of runs that hold them: two do while one that is
/// over has not been released.
pub type Addresses = BTreeMap<IpAddr, usize>;

/// All runs that hold something; read as a map.
#[derive(Debug, Default)]
pub struct Runs {
    all: BTreeMap<RunId, Run>,
    addresses: BTreeMap<NetworkId, Addresses>,
    interfaces: BTreeMap<String, usize>,
}

impl Deref for Runs {
    type Target = BTreeMap<RunId, Run>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Runs {
    /// Adds a run, or puts it in the place of what was known of it.
    pub fn insert(&mut self, run: Run) {
        let id = run.lease.request.run.clone();
        self.remove(&id);
        self.hold(&run.lease);
        self.all.insert(id, run);
    }

    /// Forgets a run; none is no error.
    pub fn remove(&mut self, id: &RunId) {
        if let Some(run) = self.all.remove(id) {
            self.let_go(&run.lease);
        }
    }

    /// Gives a run that is known another lease.
    pub fn set_lease(&mut self, lease: Lease) {
        if let Some(known) = self.all.get(&lease.request.run) {
            let (phase, is_ending) = (known.phase, known.is_ending);
            self.insert(Run {
                lease,
                phase,
                is_ending,
            });
        }
    }

    /// Says where a run stands that is known.
    pub fn set_phase(&mut self, id: &RunId, phase: Phase) {
        if let Some(known) = self.all.get_mut(id) {
            known.phase = phase;
        }
    }

    /// Says of a run that is known that it will be released.
    pub fn note_ending(&mut self, id: &RunId) {
        if let Some(known) = self.all.get_mut(id) {
            known.is_ending = true;
        }
    }

    /// Returns the addresses that are held on a network.
    pub fn addresses(&self, network: &NetworkId) -> Option<&Addresses> {
        self.addresses.get(network)
    }

    /// Returns whether a run has an interface of the host that is called so.
    pub fn has_interface(&self, name: &str) -> bool {
        self.interfaces.contains_key(name)
    }

    fn hold(&mut self, lease: &Lease) {
        for name in &lease.interfaces {
            *self.interfaces.entry(name.clone()).or_default() += 1;
        }
        for endpoint in &lease.attached.endpoints {
            let held = self.addresses.entry(endpoint.network.clone()).or_default();
            endpoint
                .addresses()
                .for_each(|address| *held.entry(address).or_default() += 1);
        }
    }

    fn let_go(&mut self, lease: &Lease) {
        for name in &lease.interfaces {
            give_back(&mut self.interfaces, name);
        }
        for endpoint in &lease.attached.endpoints {
            self.let_go_addresses(endpoint);
        }
    }

    fn let_go_addresses(&mut self, endpoint: &Endpoint) {
        if let Some(held) = self.addresses.get_mut(&endpoint.network) {
            endpoint
                .addresses()
                .for_each(|address| give_back(held, &address));
            if held.is_empty() {
                self.addresses.remove(&endpoint.network);
            }
        }
    }
}

/// Counts one holder less; one whom nobody holds any more is forgotten.
fn give_back<K: Ord>(held: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = held.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            held.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::ContainerId;
    use base::id::RunNumber;
    use netd_api::{Attach, Attached, Dns, NetworkDriver};

    fn run(number: u32, network: &NetworkId, address: &str) -> Run {
        let id = RunId::new(ContainerId::random(), RunNumber(1));
        let endpoint = Endpoint {
            network: network.clone(),
            network_name: "n".to_owned(),
            driver: NetworkDriver::Bridge,
            interface: "eth0".to_owned(),
            ipv4: Some(address.parse().unwrap()),
            gateway: None,
            ipv6: None,
            ipv6_gateway: None,
            link_local: Vec::new(),
            mac: String::new(),
            dns_names: Vec::new(),
            gateway_priority: 0,
        };
        let lease = Lease {
            request: Attach {
                run: id,
                container_name: String::new(),
                hostname: String::new(),
                endpoints: Vec::new(),
                ports: Vec::new(),
                dns: Dns::default(),
                user_namespace: None,
            },
            attached: Attached {
                namespace: "/x".into(),
                endpoints: vec![endpoint],
                ports: Vec::new(),
                resolver: Default::default(),
            },
            interfaces: vec![format!("e{number}")],
        };
        Run {
            lease,
            phase: Phase::Attached,
            is_ending: false,
        }
    }

    #[test]
    fn an_address_is_held_until_the_last_that_has_it_is_gone() {
        let (one, other) = (NetworkId::random(), NetworkId::random());
        let mut runs = Runs::default();
        let (old, new) = (run(1, &one, "10.0.0.2/24"), run(2, &one, "10.0.0.2/24"));
        let ids = [&old, &new].map(|run| run.lease.request.run.clone());
        let is_held = |runs: &Runs, address: &str| {
            let address = address.parse().unwrap();
            let held = |network| runs.addresses(network);
            assert_eq!(held(&other), None);
            held(&one).is_some_and(|held| held.contains_key(&address))
        };
        runs.insert(old);
        runs.insert(new.clone());
        runs.remove(&ids[0]);
        assert!(is_held(&runs, "10.0.0.2"));
        assert!(runs.has_interface("e2") && !runs.has_interface("e1"));
        let mut lease = new.lease;
        lease.attached.endpoints[0].ipv4 = Some("10.0.0.3/24".parse().unwrap());
        lease.interfaces = vec!["e3".to_owned()];
        runs.set_phase(&ids[1], Phase::Releasing);
        runs.set_lease(lease);
        assert_eq!(runs[&ids[1]].phase, Phase::Releasing);
        assert!(!is_held(&runs, "10.0.0.2") && is_held(&runs, "10.0.0.3"));
        assert!(runs.has_interface("e3") && !runs.has_interface("e2"));
        runs.remove(&ids[1]);
        assert!(!is_held(&runs, "10.0.0.3") && !runs.has_interface("e3"));
    }

    #[test]
    fn a_run_that_is_not_known_gets_no_lease() {
        let mut runs = Runs::default();
        runs.set_lease(run(1, &NetworkId::random(), "10.0.0.2/24").lease);
        assert!(runs.is_empty() && !runs.has_interface("e1"));
    }
}
