//! Making and removing networks.

use base::{FailureKind, NetworkId, RequestId, Timestamp};
use ipnet::IpNet;
use netd_api::config::AddressPool;
use netd_api::{
    CreateNetwork, NetworkConfig, NetworkDriver, NetworkRemoved, PREDEFINED, Pool, PoolRequest,
};

use super::ground::{HostFacts, ground, leave_out_gateways};
use super::{ControlError, Controller};
use crate::family::Family;
use crate::options::{BridgeOptions, Frame, OptionError};
use crate::plan::Operation;
use crate::plan::network::{plan_create, plan_remove};
use crate::plan::parent::{self, ParentError};
use crate::pools::{self, PoolError};
use crate::state::{DEFAULT_NETWORK, Phase, State};
use crate::sysctl;

/// No network's name is longer.
const NAME_LIMIT_BYTES: usize = 255;
/// Why a network cannot be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error("invalid network name {0:?}: it must not be blank or hold control characters")]
    Name(String),
    #[error("network with name {0} already exists")]
    Exists(String),
    #[error("only one instance of {0:?} network is allowed")]
    Single(String),
    #[error(transparent)]
    Option(#[from] OptionError),
    #[error(transparent)]
    Parent(#[from] ParentError),
    #[error(
        "cannot create network {new} ({bridge}): conflicts with network {old} ({bridge}): networks have same bridge name"
    )]
    SameBridge {
        new: NetworkId,
        old: NetworkId,
        bridge: String,
    },
    #[error("existing interface {0} is not a bridge")]
    NotBridge(String),
    #[error(
        "cannot use mode passthru, {driver} network {other} is already using parent interface {parent}"
    )]
    ParentInUse {
        driver: &'static str,
        other: NetworkId,
        parent: String,
    },
    #[error("cannot take away what a network stands on: {0}")]
    Left(String),
    #[error("configuration network {0:?} does not exist")]
    NoTemplate(String),
    #[error("error while removing network: configuration network {0:?} is in use")]
    TemplateInUse(String),
    #[error("IPv4 or IPv6 must be enabled")]
    NoFamily,
    #[error("the kernel has no IPv6, which network {0} is to have")]
    NoIpv6(String),
    #[error(transparent)]
    Pool(#[from] PoolError),
    #[error("network {0} not found")]
    NotFound(NetworkId),
    #[error("{0} is a pre-defined network and cannot be removed")]
    Predefined(String),
    #[error("error while removing network: network {name} has active endpoints ({members})")]
    InUse { name: String, members: String },
}

impl NetworkError {
    pub(super) fn kind(&self) -> FailureKind {
        match self {
            Self::Option(OptionError::Unsupported(_)) | Self::NoIpv6(_) => FailureKind::Unsupported,
            Self::Name(_) | Self::Option(_) | Self::Parent(_) | Self::NoFamily => {
                FailureKind::Invalid
            }
            Self::NotBridge(_) => FailureKind::Invalid,
            Self::Exists(_) => FailureKind::Conflict,
            Self::Single(_)
            | Self::Predefined(_)
            | Self::InUse { .. }
            | Self::SameBridge { .. }
            | Self::ParentInUse { .. }
            | Self::TemplateInUse(_) => FailureKind::Forbidden,
            Self::NotFound(_) | Self::NoTemplate(_) => FailureKind::NotFound,
            Self::Left(_) => FailureKind::Internal,
            Self::Pool(error) => match error {
                PoolError::Exhausted => FailureKind::Exhausted,
                PoolError::Overlap { .. } => FailureKind::Forbidden,
                PoolError::TooSmall(_)
                | PoolError::NotUnicast(_)
                | PoolError::Outside { .. }
                | PoolError::NoSubnet
                | PoolError::TooManyReserved
                | PoolError::TooManyUnused
                | PoolError::OtherFamily(_) => FailureKind::Invalid,
            },
        }
    }
}

impl Controller {
    /// Makes a network and its bridge. Repeated with the same id it answers
    /// the same.
    ///
    /// # Errors
    /// When the request makes no sense or a step fails; nothing is left then.
    pub fn create_network(&self, request: &CreateNetwork) -> Result<NetworkConfig, ControlError> {
        if let Some(network) = self.state().networks.get(&request.id) {
            let network = network.clone();
            if network.name == request.name {
                return Ok(network);
            }
        }
        check(request)?;
        let network = self.register_network(request)?;
        if let Err(error) = self.build_network(&network) {
            self.state().networks.remove(&network.id);
            self.unbuild_network(&network);
            return Err(error);
        }
        self.publish_names();
        Ok(network)
    }

    /// Makes the networks every installation has, if they are not there.
    ///
    /// # Errors
    /// When one cannot be made.
    pub(crate) fn ensure_predefined(&self) -> Result<(), ControlError> {
        for (name, driver) in PREDEFINED {
            if self.state().network_named(name).is_some() {
                continue;
            }
            self.steps.reached("make predefined network");
            let network = self.register_network(&CreateNetwork {
                id: NetworkId::random(),
                name: name.to_owned(),
                driver,
                ipv4: PoolRequest::default(),
                without_ipv4: false,
                ipv6: None,
                unused: Vec::new(),
                internal: false,
                labels: Default::default(),
                options: Default::default(),
                attachable: false,
                template: None,
                config_from: None,
                ipam_options: Default::default(),
            })?;
            self.store.write_network(&network)?;
        }
        Ok(())
    }

    /// Takes note of a network with a subnet and an interface name of its own.
    fn register_network(&self, request: &CreateNetwork) -> Result<NetworkConfig, ControlError> {
        let host = self.host_facts()?;
        let mut state = self.state();
        if state.network_named(&request.name).is_some() {
            return Err(NetworkError::Exists(request.name.clone()).into());
        }
        check_template(&state, request)?;
        let has_pools = request.driver.has_interfaces();
        let own = state.networks.values().flat_map(NetworkConfig::pools);
        let mut taken: Vec<IpNet> = own.map(|pool| pool.subnet).collect();
        if request.driver == NetworkDriver::Bridge {
            // On a parent, containers are to be in the host's own subnets.
            taken.extend(&host.subnets);
        }
        let pool = |wanted: &PoolRequest, family| {
            let chosen = self.pool(&state, wanted, family, &taken);
            chosen.map_err(NetworkError::from)
        };
        let wants_ipv4 = has_pools && !request.without_ipv4;
        let ipv4 = wants_ipv4.then(|| pool(&request.ipv4, Family::V4));
        let ipv6 = request.ipv6.as_ref().filter(|_| has_pools);
        let ipv6 = ipv6.map(|wanted| pool(wanted, Family::V6));
        let mut network = NetworkConfig {
            id: request.id.clone(),
            name: request.name.clone(),
            driver: request.driver,
            created: Timestamp::now(),
            ipv4: ipv4.transpose()?,
            ipv6: ipv6.transpose()?,
            unused: request.unused.clone(),
            internal: request.internal,
            labels: request.labels.clone(),
            options: request.options.clone(),
            interface: None,
            adopted: false,
            parent: None,
            attachable: request.attachable,
            template: request.template,
            config_from: request.config_from.clone(),
            ipam_options: request.ipam_options.clone(),
        };
        ground(&mut state, &mut network, &host)?;
        leave_out_gateways(&mut network);
        state.networks.insert(network.id.clone(), network.clone());
        Ok(network)
    }

    /// Returns a network's addresses of a family, those the user asked for or some
    /// that nobody has.
    pub(super) fn pool(
        &self,
        state: &State,
        wanted: &PoolRequest,
        family: Family,
        taken: &[IpNet],
    ) -> Result<Pool, PoolError> {
        if let Some(pool) = pools::check(wanted, family, taken)? {
            return Ok(pool);
        }
        let is_meant = |pool: &&AddressPool| Family::of(pool.base.addr()) == family;
        let mut configured = self.config.address_pools.iter().filter(is_meant).peekable();
        if configured.peek().is_none() && family == Family::V6 {
            let default = state.network_named(DEFAULT_NETWORK);
            let own = default.map(|network| pools::own_block(&network.id));
            return pools::choose(&own, taken);
        }
        pools::choose(configured, taken)
    }

    /// Returns the host's interfaces, and what its routes, addresses and name
    /// servers use.
    pub(super) fn host_facts(&self) -> Result<HostFacts, ControlError> {
        let mut host = self.host()?;
        let links = host.route().links()?;
        let is_ours = |index: u32| {
            let mut ours = links.iter().filter(|link| link.is_of(&self.prefix));
            ours.any(|link| link.index == index)
        };
        let routes = host.route().routes()?;
        let routes = routes
            .into_iter()
            .filter(|(index, _)| !index.is_some_and(is_ours));
        let addresses = host.route().addresses()?;
        let addresses = addresses.into_iter().filter(|(index, _)| !is_ours(*index));
        let mut subnets: Vec<IpNet> = routes.map(|(_, net)| net).collect();
        subnets.extend(addresses.map(|(_, net)| net.trunc()));
        subnets.extend(self.host_dns().servers.into_iter().map(IpNet::from));
        Ok(HostFacts { links, subnets })
    }

    fn build_network(&self, network: &NetworkConfig) -> Result<(), ControlError> {
        self.steps.reached("write network");
        self.store.write_network(network)?;
        let mut host = self.host()?;
        host.apply(&plan_create(network))?;
        let parent = network.parent.as_ref().map(|parent| &parent.interface);
        if let Some(interface) = network.interface.as_ref().or(parent) {
            self.state().ready.insert(interface.clone());
        }
        self.steps.reached("network created");
        Ok(())
    }

    /// Takes a network's file and bridge away as far as possible.
    fn unbuild_network(&self, network: &NetworkConfig) {
        let removed = self.store.remove_network(&network.id);
        let error = removed.err().map(|error| base::failure::chain(&error));
        let host = self
            .host()
            .map(|mut host| host.dismantle(&self.plan_remove(network)));
        let errors = host.unwrap_or_else(|error| vec![base::failure::chain(&error)]);
        for error in error.into_iter().chain(errors) {
            tracing::error!(network = network.name, %error, "left behind");
        }
    }

    /// A parent that others are on as well stays.
    fn plan_remove(&self, network: &NetworkConfig) -> Vec<Operation> {
        let state = self.state();
        let mut others = state.networks.values().filter(|it| it.id != network.id);
        let is_shared = network.parent.is_some() && others.any(|it| it.parent == network.parent);
        match is_shared {
            true => Vec::new(),
            false => plan_remove(network),
        }
    }

    /// Removes a network that nobody has joined.
    ///
    /// # Errors
    /// When it is not there, predefined or in use, or a step fails.
    pub fn remove_network(
        &self,
        id: &NetworkId,
        request: Option<&RequestId>,
    ) -> Result<NetworkRemoved, ControlError> {
        let network = match (self.removable(id), request) {
            (Err(not_found @ ControlError::Network(NetworkError::NotFound(_))), Some(request)) => {
                // The daemon may have been killed between the removal and its reply.
                return self.store.removed_by(request)?.ok_or(not_found);
            }
            (network, _) => network?,
        };
        let removed = NetworkRemoved {
            name: network.name.clone(),
            driver: network.driver,
        };
        self.forget_network(&network)?;
        self.steps.reached("note removal");
        let noted = request.map_or(Ok(()), |it| self.store.note_removal(it, &removed));
        self.steps.reached("remove network file");
        if let Err(error) = noted.and_then(|()| self.store.remove_network(id)) {
            self.state().networks.insert(id.clone(), network);
            return Err(error.into());
        }
        let mut host = self.host()?;
        for error in host.dismantle(&self.plan_remove(&network)) {
            // The next start finds the rest: it belongs to no network.
            tracing::error!(network = network.name, %error, "left behind");
        }
        self.steps.reached("network removed");
        Ok(removed)
    }

    /// Lets nobody join a network any more, once the last has left.
    fn forget_network(&self, network: &NetworkConfig) -> Result<(), ControlError> {
        let id = &network.id;
        self.wait_released(|state| state.members(id).next().is_none());
        let mut state = self.state();
        // Somebody may have joined while we waited.
        if state.members(id).next().is_some() {
            return Err(in_use(network, "being released".to_owned()));
        }
        state.networks.remove(id);
        if let Some(interface) = &network.interface {
            state.ready.remove(interface);
        }
        drop(state);
        self.publish_names();
        Ok(())
    }

    fn removable(&self, id: &NetworkId) -> Result<NetworkConfig, ControlError> {
        let state = self.state();
        let network = state
            .networks
            .get(id)
            .ok_or_else(|| NetworkError::NotFound(id.clone()))?;
        if PREDEFINED.iter().any(|(name, _)| *name == network.name) {
            return Err(NetworkError::Predefined(network.name.clone()).into());
        }
        let mut others = state.networks.values();
        if network.template.is_some()
            && others.any(|it| it.config_from.as_ref() == Some(&network.name))
        {
            return Err(NetworkError::TemplateInUse(network.name.clone()).into());
        }
        let live = state
            .members(id)
            .filter(|run| run.phase != Phase::Releasing && !run.is_ending);
        let members: Vec<String> = live
            .map(|run| {
                let request = &run.lease.request;
                format!(
                    "name:{:?} id:{:?}",
                    request.container_name,
                    request.run.container.short()
                )
            })
            .collect();
        if !members.is_empty() {
            return Err(in_use(network, members.join(", ")));
        }
        Ok(network.clone())
    }
}

fn in_use(network: &NetworkConfig, members: String) -> ControlError {
    let name = network.name.clone();
    NetworkError::InUse { name, members }.into()
}

/// Docker takes nearly anything.
fn is_network_name(name: &str) -> bool {
    let sensible = name.len() <= NAME_LIMIT_BYTES && !name.chars().any(char::is_control);
    sensible && !name.trim().is_empty()
}

fn check(request: &CreateNetwork) -> Result<(), NetworkError> {
    if !is_network_name(&request.name) {
        return Err(NetworkError::Name(request.name.clone()));
    }
    if request.without_ipv4 && request.ipv6.is_none() {
        return Err(NetworkError::NoFamily);
    }
    pools::check_unused(&request.unused)?;
    if request.ipv6.is_some() && !sysctl::is_ipv6_there() {
        return Err(NetworkError::NoIpv6(request.name.clone()));
    }
    match request.driver {
        NetworkDriver::Bridge => {
            let frame = Frame {
                ipv6: request.ipv6.is_some(),
                internal: request.internal,
            };
            BridgeOptions::parse(&request.options, frame)?;
        }
        NetworkDriver::Macvlan => drop(parent::macvlan_mode(&request.options)?),
        NetworkDriver::Ipvlan => drop(parent::ipvlan_mode(&request.options)?),
        NetworkDriver::Null if request.template.is_some() => {}
        NetworkDriver::Host => return Err(NetworkError::Single("host".to_owned())),
        NetworkDriver::Null => return Err(NetworkError::Single("null".to_owned())),
    }
    Ok(())
}

fn check_template(state: &State, request: &CreateNetwork) -> Result<(), NetworkError> {
    let Some(name) = &request.config_from else {
        return Ok(());
    };
    let found = state.network_named(name);
    match found.is_some_and(|network| network.template.is_some()) {
        true => Ok(()),
        false => Err(NetworkError::NoTemplate(name.clone())),
    }
}
