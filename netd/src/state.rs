//! What netd knows: networks, runs and what they hold. Pure; the controller
//! keeps it behind one lock and never does I/O while holding it for long.

pub mod change;
pub mod runs;

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::IpAddr;

use base::{ContainerId, NetworkId, RunId};
use ipnet::IpNet;
use netd_api::attach::{Attach, Attached, Dns, Endpoint, EndpointRequest, Lease, PublishedPort};
use netd_api::interface::is_interface_name;
use netd_api::{NetworkConfig, NetworkDriver, Pool};

use crate::family::in_subnet;
use crate::ipam::{self, IpamError};
use crate::mac::{Mac, MacError};
use crate::options::BridgeOptions;
use crate::plan::attach::Networks;
use crate::resolver::{self, Lookup};
use runs::Runs;

/// Interfaces are numbered up to this and then from the start again; with the
/// prefix `e<6 hex>-` the name keeps within 15 bytes.
const INTERFACE_NUMBERS: u32 = 10_000_000;
/// A run may join this many networks.
pub const ENDPOINT_LIMIT: usize = 64;
/// The name of the network that resolves no names.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Attaching,
    Attached,
    Releasing,
}

/// A run and what it holds.
#[derive(Debug, Clone)]
pub struct Run {
    pub lease: Lease,
    pub phase: Phase,
    /// It will be released: the log says so already.
    pub is_ending: bool,
}

/// Why a lease cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("network {0} not found")]
    NoNetwork(NetworkId),
    #[error("network {0} cannot be joined together with others")]
    NotJoinable(String),
    #[error("network {0} was named twice")]
    Twice(String),
    #[error("a container may join at most {ENDPOINT_LIMIT} networks")]
    TooMany,
    #[error("run {0} has no networks that could change")]
    NotAttached(RunId),
    #[error("endpoint with name {container} already exists in network {network}")]
    Joined { container: String, network: String },
    #[error("interface name {0:?} is that of another network of the container")]
    InterfaceTaken(String),
    #[error("no interface name is free")]
    NoInterfaceName,
    #[error("interface name {0:?} of network {1} is not one an interface may have")]
    InterfaceName(String, String),
    #[error("cannot create endpoint on configuration-only network")]
    Template,
    #[error(transparent)]
    Address(#[from] IpamError),
    #[error(transparent)]
    Mac(#[from] MacError),
}

/// Everything netd knows.
#[derive(Debug, Default)]
pub struct State {
    pub networks: Networks,
    pub runs: Runs,
    /// Bridges this process has put in place.
    pub ready: BTreeSet<String>,
    prefix: String,
    last_number: u32,
}

impl State {
    /// Returns an empty state of an instance whose interfaces begin with `prefix`.
    pub fn new(prefix: String) -> Self {
        Self {
            prefix,
            ..Self::default()
        }
    }

    /// Returns the network called `name`.
    pub fn network_named(&self, name: &str) -> Option<&NetworkConfig> {
        self.networks.values().find(|network| network.name == name)
    }

    /// Returns the runs that have something on a network.
    pub fn members(&self, network: &NetworkId) -> impl Iterator<Item = &Run> {
        self.runs.values().filter(move |run| {
            let mut endpoints = run.lease.attached.endpoints.iter();
            endpoints.any(|endpoint| endpoint.network == *network)
        })
    }

    /// Returns endpoints as they are preferred: the first that has a gateway of a
    /// family carries its default route.
    pub fn in_order<'a>(&self, endpoints: &'a [EndpointRequest]) -> Vec<&'a EndpointRequest> {
        let mut all: Vec<&EndpointRequest> = endpoints.iter().collect();
        all.sort_by_key(|endpoint| {
            let network = self.networks.get(&endpoint.network);
            let gateways = network.map_or(0, gateways);
            let name = network.map(|network| network.name.as_str());
            (
                Reverse(endpoint.gateway_priority),
                Reverse(gateways),
                name.unwrap_or_default().to_owned(),
            )
        });
        all
    }

    /// Returns an interface name nobody has. Names are not used again soon, so
    /// that an interface the kernel is still taking apart is in nobody's way.
    ///
    /// # Errors
    /// When all are taken.
    pub fn next_interface(&mut self) -> Result<String, LeaseError> {
        for step in 1..INTERFACE_NUMBERS {
            let number = (self.last_number + step) % INTERFACE_NUMBERS;
            let name = format!("{}{number}", self.prefix);
            if !self.is_interface(&name) {
                self.last_number = number;
                return Ok(name);
            }
        }
        Err(LeaseError::NoInterfaceName)
    }

    /// Takes note of an interface of ours that is on the host.
    pub fn saw_interface(&mut self, name: &str) {
        let number = name
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.parse::<u32>().ok());
        if let Some(number) = number.filter(|number| *number < INTERFACE_NUMBERS) {
            self.last_number = self.last_number.max(number);
        }
    }

    /// Returns whether an interface of ours is called so.
    fn is_interface(&self, name: &str) -> bool {
        let is_its = |network: &NetworkConfig| network.interface.as_deref() == Some(name);
        self.runs.has_interface(name) || self.networks.values().any(is_its)
    }

    /// Returns what a run is to get: addresses, names, resolver. Nothing is
    /// taken note of yet.
    ///
    /// # Errors
    /// When a network is missing or has no address.
    pub fn plan_lease(
        &mut self,
        request: &Attach,
        namespace: std::path::PathBuf,
        ports: Vec<PublishedPort>,
        host_dns: &Dns,
    ) -> Result<Lease, LeaseError> {
        let mut endpoints = Vec::new();
        let mut interfaces = Vec::new();
        self.check_endpoints(&request.endpoints)?;
        for wanted in self.in_order(&request.endpoints) {
            let network = self.networks[&wanted.network].clone();
            if !network.driver.has_interfaces() {
                continue; // `none`: loopback only
            }
            let name = interface_name(&network, wanted, (&request.endpoints, &endpoints))?;
            endpoints.push(self.endpoint(request, wanted, &network, name)?);
            interfaces.push(self.next_interface()?);
        }
        let resolver = resolver::resolver(Self::lookup(&endpoints), &request.dns, host_dns);
        let attached = Attached {
            namespace,
            endpoints,
            ports,
            resolver,
        };
        Ok(Lease {
            request: request.clone(),
            attached,
            interfaces,
        })
    }

    /// Gives the attached runs of a container another name, and returns those
    /// that had another one.
    pub fn rename(&mut self, container: &ContainerId, name: &str) -> Vec<RunId> {
        let is_its = |run: &&Run| {
            let request = &run.lease.request;
            let has_other = request.container_name != name;
            request.run.container == *container && run.phase == Phase::Attached && has_other
        };
        let leases = self.runs.values().filter(is_its).map(|run| &run.lease);
        let leases: Vec<Lease> = leases.map(|lease| renamed(lease.clone(), name)).collect();
        let runs = leases.iter().map(|lease| lease.request.run.clone());
        let runs = runs.collect();
        for lease in leases {
            self.runs.set_lease(lease);
        }
        runs
    }

    fn check_endpoints(&self, endpoints: &[EndpointRequest]) -> Result<(), LeaseError> {
        if endpoints.len() > ENDPOINT_LIMIT {
            return Err(LeaseError::TooMany);
        }
        let mut seen = BTreeSet::new();
        for endpoint in endpoints {
            let id = &endpoint.network;
            let network = self
                .networks
                .get(id)
                .ok_or_else(|| LeaseError::NoNetwork(id.clone()))?;
            let alone = endpoints.len() == 1;
            if network.template.is_some() {
                return Err(LeaseError::Template);
            }
            match network.driver {
                NetworkDriver::Bridge | NetworkDriver::Macvlan | NetworkDriver::Ipvlan => {}
                NetworkDriver::Null if alone => {}
                NetworkDriver::Null | NetworkDriver::Host => {
                    return Err(LeaseError::NotJoinable(network.name.clone()));
                }
            }
            if !seen.insert(id) {
                return Err(LeaseError::Twice(network.name.clone()));
            }
        }
        Ok(())
    }

    fn endpoint(
        &self,
        request: &Attach,
        wanted: &EndpointRequest,
        network: &NetworkConfig,
        interface: String,
    ) -> Result<Endpoint, LeaseError> {
        let held = self.runs.addresses(&network.id);
        let is_used = |address: &IpAddr| {
            let is_reserved = |pool: &Pool| pool.aux.values().any(|it| it == address);
            held.is_some_and(|held| held.contains_key(address)) || network.pools().any(is_reserved)
        };
        let choose = |pool: Option<&Pool>, wanted: Option<IpAddr>| {
            let chosen = choose_of(&network.name, pool, &is_used, wanted)?;
            Ok::<_, IpamError>(chosen.map(|(address, pool)| (address, pool.gateway)))
        };
        let ipv4 = choose(network.ipv4.as_ref(), wanted.ipv4.map(IpAddr::V4))?;
        let ipv6 = choose(network.ipv6.as_ref(), wanted.ipv6.map(IpAddr::V6))?;
        let first = ipv4.or(ipv6).map(|(address, _)| address.addr());
        let mac = mac(wanted, first)?;
        let gateway = |chosen: Option<(IpNet, Option<IpAddr>)>| {
            let chosen = chosen.filter(|_| leads_out(network));
            chosen.and_then(|(_, gateway)| gateway)
        };
        Ok(Endpoint {
            network: network.id.clone(),
            network_name: network.name.clone(),
            driver: network.driver,
            interface,
            ipv4: ipv4.and_then(|(net, _)| as_ipv4(net)),
            gateway: match gateway(ipv4) {
                Some(IpAddr::V4(gateway)) => Some(gateway),
                Some(IpAddr::V6(_)) | None => None,
            },
            ipv6: ipv6.and_then(|(net, _)| as_ipv6(net)),
            ipv6_gateway: match gateway(ipv6) {
                Some(IpAddr::V6(gateway)) => Some(gateway),
                Some(IpAddr::V4(_)) | None => None,
            },
            link_local: wanted.link_local.clone(),
            // On ipvlan it has its parent's.
            mac: mac
                .filter(|_| network.driver != NetworkDriver::Ipvlan)
                .map_or_else(String::new, |mac| mac.to_string()),
            dns_names: dns_names(request, wanted, &network.name),
            gateway_priority: wanted.gateway_priority,
        })
    }

    fn lookup(endpoints: &[Endpoint]) -> Lookup {
        let is_users = |endpoint: &Endpoint| endpoint.network_name != DEFAULT_NETWORK;
        match endpoints {
            [] => Lookup::Nowhere,
            some if some.iter().any(is_users) => Lookup::Network,
            _ => Lookup::Host,
        }
    }
}

/// Returns a lease as it is when its container is called `name`.
fn renamed(mut lease: Lease, name: &str) -> Lease {
    let request = &mut lease.request;
    name.clone_into(&mut request.container_name);
    for endpoint in &mut lease.attached.endpoints {
        let mut wanted = request.endpoints.iter();
        if let Some(wanted) = wanted.find(|it| it.network == endpoint.network) {
            endpoint.dns_names = dns_names(request, wanted, &endpoint.network_name);
        }
    }
    lease
}

/// That of the request, or one that goes with the first address.
fn mac(wanted: &EndpointRequest, first: Option<IpAddr>) -> Result<Option<Mac>, MacError> {
    match &wanted.mac {
        Some(text) => text.parse().map(Some),
        None => Ok(first.map(Mac::from)),
    }
}

/// Returns whether a router can be reached on a network.
fn leads_out(network: &NetworkConfig) -> bool {
    !network.internal && !network.is_without_router()
}

fn gateways(network: &NetworkConfig) -> usize {
    let pools = network.pools().filter(|pool| pool.gateway.is_some());
    if leads_out(network) { pools.count() } else { 0 }
}

/// How an endpoint is preferred, as [`State::in_order`] has it.
fn rank(endpoint: &Endpoint) -> impl Ord + '_ {
    (
        Reverse(endpoint.gateway_priority),
        Reverse(endpoint.gateways().count()),
        endpoint.network_name.as_str(),
    )
}

/// Returns the name of a run's next interface on a network: the one that is asked for,
/// else with the lowest number that is free and that no other endpoint asks for.
fn interface_name(
    network: &NetworkConfig,
    wanted: &EndpointRequest,
    (asked, others): (&[EndpointRequest], &[Endpoint]),
) -> Result<String, LeaseError> {
    let is_free = |name: &String| others.iter().all(|other| other.interface != *name);
    if let Some(name) = &wanted.interface.name {
        return match is_free(name) {
            true => Ok(name.clone()),
            false => Err(LeaseError::InterfaceTaken(name.clone())),
        };
    }
    let is_asked = |name: &String| {
        let mut names = asked.iter().map(|other| other.interface.name.as_ref());
        names.any(|other| other == Some(name))
    };
    let prefix = BridgeOptions::of(network).prefix;
    let most = asked.len() + others.len();
    let mut names = (0..=most).map(|number| format!("{prefix}{number}"));
    let name = names.find(|name| is_free(name) && !is_asked(name));
    let name = name.ok_or(LeaseError::NoInterfaceName)?;
    match is_interface_name(&name) {
        true => Ok(name),
        false => Err(LeaseError::InterfaceName(name, network.name.clone())),
    }
}

/// Returns an address of a pool with the subnet's prefix, none where the network
/// has no such pool.
fn choose_of<'a>(
    network: &str,
    pool: Option<&'a Pool>,
    is_used: &dyn Fn(&IpAddr) -> bool,
    wanted: Option<IpAddr>,
) -> Result<Option<(IpNet, &'a Pool)>, IpamError> {
    let Some(pool) = pool else {
        return match wanted {
            None => Ok(None),
            Some(address) => Err(IpamError::NoSubnet {
                network: network.to_owned(),
                address,
            }),
        };
    };
    let address = ipam::choose(network, pool, is_used, wanted)?;
    Ok(Some((in_subnet(address, &pool.subnet), pool)))
}

fn as_ipv4(net: IpNet) -> Option<ipnet::Ipv4Net> {
    match net {
        IpNet::V4(net) => Some(net),
        IpNet::V6(_) => None,
    }
}

fn as_ipv6(net: IpNet) -> Option<ipnet::Ipv6Net> {
    match net {
        IpNet::V6(net) => Some(net),
        IpNet::V4(_) => None,
    }
}

/// The names a network's DNS knows a container by, as Docker has them: name,
/// aliases, short id, host name; none on the default network.
fn dns_names(request: &Attach, wanted: &EndpointRequest, network: &str) -> Vec<String> {
    if network == DEFAULT_NETWORK {
        return Vec::new();
    }
    let short = request.run.container.short().to_owned();
    let mut names = vec![request.container_name.clone()];
    names.extend(wanted.aliases.iter().cloned());
    names.extend([short, request.hostname.clone()]);
    let mut seen = BTreeSet::new();
    names.retain(|name| !name.is_empty() && seen.insert(name.to_ascii_lowercase()));
    names
}
