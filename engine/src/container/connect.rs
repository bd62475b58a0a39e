//! A container joins a network or leaves one, whether it runs or not.

use std::sync::Arc;
use std::time::Duration;

use engine_api::network::EndpointSettings;
use engine_model::container::{NetworkEndpoint, NetworkMode};
use engine_model::{ContainerConfig, Status};
use netd_api::{Attached, Connect, Disconnect, NetworkConfig, NetworkDriver, NetworksChanged};

use super::start::small_files;
use super::{Container, Requested, create, network};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, internal, invalid};

/// How long netd may take.
const LIMIT: Duration = Duration::from_secs(20);

/// Lets a container join a network: at once if it runs, else when it starts.
///
/// # Errors
/// Invalid options or a mode that knows no networks, a network it is on already.
pub async fn connect(
    engine: &Engine,
    container: &Arc<Container>,
    network: &NetworkConfig,
    settings: EndpointSettings,
) -> Result<()> {
    let _operation = container.operation.lock().await;
    check(container, network)?;
    let (config, requested) = (container.config(), container.requested());
    let NetworkMode::Networks(endpoints) = &config.network else {
        return Err(foreign_mode(&config.network));
    };
    let endpoint = create::network::endpoint(&network.name, Some(&settings), "")?;
    network::check_addresses(network, &endpoint)?;
    let mut endpoints = endpoints.clone();
    let known = position(&endpoints, network);
    if known.is_some() && !container.state().is_live() {
        // As with Docker, what was asked first holds.
        return Ok(());
    }
    endpoints.push(endpoint.clone());
    create::network::check_interfaces(&endpoints)?;
    let mut new_requested = Requested::clone(&requested);
    let shown = &mut new_requested.networking_config.endpoints_config;
    shown.insert(network.name.clone(), Some(settings));
    if !container.state().is_live() {
        return redefine(container, endpoints, new_requested).await;
    }
    if known.is_some() {
        return Err(already(container, network));
    }
    let body = Connect {
        run: container.run(),
        endpoint: network::request(network, &endpoint)?,
    };
    let before = attached(engine, container)?;
    let changed = call(engine, container, &body).await?;
    let noted = async {
        follow(container, before, changed.attached).await?;
        redefine(container, endpoints, new_requested).await
    };
    match noted.await {
        Ok(()) => Ok(()),
        Err(failure) => Err(take_back(engine, container, network, failure).await),
    }
}

/// While it runs, this is what Docker's server says of a network it is on.
fn already(container: &Container, network: &NetworkConfig) -> base::Failure {
    let (name, network) = (container.name(), &network.name);
    base::Failure::new(
        base::FailureKind::Forbidden,
        format_args!("endpoint with name {name} already exists in network {network}"),
    )
}

/// Takes a connection back that could not be noted; returns why, and what failed then.
async fn take_back(
    engine: &Engine,
    container: &Container,
    network: &NetworkConfig,
    failure: base::Failure,
) -> base::Failure {
    let body = Disconnect {
        run: container.run(),
        network: network.id.clone(),
    };
    match call(engine, container, &body).await {
        Ok(_) => failure,
        Err(undo) => base::Failure::new(
            failure.kind,
            format_args!(
                "{}; undoing it failed too: {}",
                failure.message, undo.message
            ),
        ),
    }
}

/// Takes a container out of a network.
///
/// # Errors
/// When it is not on it, or netd cannot take its interface away.
pub async fn disconnect(
    engine: &Engine,
    container: &Arc<Container>,
    network: &NetworkConfig,
) -> Result<()> {
    let _operation = container.operation.lock().await;
    check_removal(container)?;
    if container.config().network == NetworkMode::Host && network.driver == NetworkDriver::Host {
        return Err(invalid(
            "container cannot be disconnected from host network or connected to host network",
        ));
    }
    let live = container.state().is_live();
    if live && is_on(container, network) {
        let body = Disconnect {
            run: container.run(),
            network: network.id.clone(),
        };
        let before = attached(engine, container)?;
        let changed = call(engine, container, &body).await?;
        follow(container, before, changed.attached).await?;
    }
    let what = if live { "network" } else { "the network" };
    forget_locked(container, &[&network.name, network.id.as_str()], what).await
}

/// Takes a network that is not there any more out of what a container joins.
///
/// # Errors
/// When the container does not name it.
pub async fn forget(container: &Arc<Container>, name: &str) -> Result<()> {
    let _operation = container.operation.lock().await;
    forget_locked(container, &[name], "the network").await
}

async fn forget_locked(container: &Arc<Container>, names: &[&str], what: &str) -> Result<()> {
    let is_meant = |name: &str| names.contains(&name);
    let mut endpoints = match &container.config().network {
        NetworkMode::Networks(endpoints) => endpoints.clone(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => Vec::new(),
    };
    let before = endpoints.len();
    endpoints.retain(|endpoint| !is_meant(&endpoint.network));
    if endpoints.len() == before {
        let (id, name) = (&container.id, names.first().copied().unwrap_or_default());
        return Err(internal(format_args!(
            "container {id} is not connected to {what} {name}"
        )));
    }
    let mut requested = Requested::clone(&container.requested());
    let shown = &mut requested.networking_config.endpoints_config;
    shown.retain(|name, _| !is_meant(name));
    redefine(container, endpoints, requested).await
}

fn check(container: &Container, network: &NetworkConfig) -> Result<()> {
    check_removal(container)?;
    match network.driver {
        NetworkDriver::Bridge | NetworkDriver::Macvlan | NetworkDriver::Ipvlan => Ok(()),
        NetworkDriver::Host => Err(invalid(
            "cannot connect container to host network - container must be created in host network mode",
        )),
        NetworkDriver::Null => Err(foreign_mode(&NetworkMode::None)),
    }
}

fn check_removal(container: &Container) -> Result<()> {
    if matches!(container.state().status, Status::Removing | Status::Dead) {
        return Err(conflict(format_args!(
            "container is marked for removal and cannot be connected or disconnected to the network: {}",
            container.id
        )));
    }
    Ok(())
}

/// Says why a container of this mode joins no network.
fn foreign_mode(mode: &NetworkMode) -> base::Failure {
    invalid(match mode {
        NetworkMode::None => {
            "container cannot be connected to multiple networks with one of the networks in private (none) mode"
        }
        NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Networks(_) => {
            "container sharing network namespace with another container or host cannot be connected to any other network"
        }
    })
}

fn is_on(container: &Container, network: &NetworkConfig) -> bool {
    match &container.config().network {
        NetworkMode::Networks(endpoints) => position(endpoints, network).is_some(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => false,
    }
}

fn position(endpoints: &[NetworkEndpoint], network: &NetworkConfig) -> Option<usize> {
    endpoints.iter().position(|endpoint| {
        endpoint.network == network.name || endpoint.network == network.id.as_str()
    })
}

fn attached(engine: &Engine, container: &Container) -> Result<Option<Attached>> {
    let lease = netd_api::query::lease(&engine.instance, &container.run()).or_internal()?;
    Ok(lease.map(|lease| lease.attached))
}

async fn call<B: events::RequestBody<Reply = NetworksChanged>>(
    engine: &Engine,
    container: &Container,
    body: &B,
) -> Result<NetworksChanged> {
    let subject = container.run().to_string();
    engine.bus.call(&subject, body, LIMIT).await
}

/// The container's hosts and resolv.conf follow its networks.
async fn follow(
    container: &Arc<Container>,
    before: Option<Attached>,
    after: Attached,
) -> Result<()> {
    let container = container.clone();
    crate::blocking(move || small_files::follow(&container, before.as_ref(), &after)).await
}

async fn redefine(
    container: &Arc<Container>,
    endpoints: Vec<NetworkEndpoint>,
    requested: Requested,
) -> Result<()> {
    let config = ContainerConfig {
        network: NetworkMode::Networks(endpoints),
        ..ContainerConfig::clone(&container.config())
    };
    let container = container.clone();
    crate::blocking(move || container.redefine(config, requested)).await
}
