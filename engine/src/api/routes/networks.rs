//! `/networks`.

mod ipam;
mod template;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use base::{Failure, FailureKind, NetworkId};
use engine_api::network::{
    NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse, NetworkDisconnectBody,
};
use engine_api::prune::NetworksPruneResponse;
use engine_api::versions::{Answer, Body as RequestBody};
use engine_model::container::NetworkMode;
use hyper::{Response, StatusCode};
use netd_api::{CreateNetwork, NetworkConfig, NetworkDriver, PREDEFINED, RemoveNetwork};

use crate::Engine;
use crate::api::prune::Chosen;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::view;
use crate::container::network::find;
use crate::container::{Container, connect};
use crate::error::{OrFail as _, Result, invalid, not_found, unsupported};

/// How long netd may take.
const LIMIT: Duration = Duration::from_secs(20);
const IPV4_OPTION: &str = "com.docker.network.enable_ipv4";
const IPV6_OPTION: &str = "com.docker.network.enable_ipv6";

/// `GET /networks`.
pub(in crate::api) fn list(engine: &Arc<Engine>, request: &Request) -> Result<Response<Body>> {
    let filters =
        request.filters(&["dangling", "driver", "id", "label", "name", "scope", "type"])?;
    let dangling = filters.boolean("dangling").or_invalid()?;
    let mut types = filters.values("type");
    if let Some(unknown) = types.find(|kind| !["builtin", "custom"].contains(kind)) {
        return Err(invalid(format!("invalid filter: 'type'='{unknown}'")));
    }
    let used = used_networks(engine);
    let all = netd_api::query::networks(&engine.instance).or_internal()?;
    let chosen = all.iter().filter(|network| {
        let is_custom = !is_predefined(network);
        let is_dangling =
            is_custom && !used.contains(&network.name) && !used.contains(network.id.as_str());
        filters.allows("name", |name| network.name.contains(name))
            && filters.allows("id", |id| network.id.as_str().starts_with(id))
            && filters.allows("driver", |driver| {
                view::network::driver(network.driver) == driver
            })
            && filters.allows("scope", |scope| scope == "local")
            && filters.allows("type", |kind| {
                kind == if is_custom { "custom" } else { "builtin" }
            })
            && filters.allows_labels("label", &network.labels)
            && dangling.is_none_or(|wanted| wanted == is_dangling)
    });
    let answer = chosen
        .map(|network| view::network::inspect(engine, network))
        .collect::<Result<Vec<_>>>()?;
    response::versioned((Answer::NetworkList, request.version), &answer)
}

fn is_predefined(network: &NetworkConfig) -> bool {
    matches!(network.name.as_str(), "bridge" | "host" | "none")
}

/// Names and ids of networks that a container uses or would when started.
fn used_networks(engine: &Engine) -> HashSet<String> {
    let all = engine.containers.all().into_iter();
    all.flat_map(|container| networks_of(&container)).collect()
}

/// Names and ids of networks that a container is on.
fn joined_networks(engine: &Engine) -> HashSet<String> {
    let all = engine.containers.all().into_iter();
    let live = all.filter(|container| container.state().is_live());
    live.flat_map(|container| networks_of(&container)).collect()
}

fn networks_of(container: &Container) -> Vec<String> {
    match &container.config().network {
        NetworkMode::Networks(endpoints) => endpoints
            .iter()
            .map(|endpoint| endpoint.network.clone())
            .collect(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => Vec::new(),
    }
}

/// `GET /networks/{id}`.
pub(in crate::api) fn inspect(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let network = find(&engine.instance, id)?;
    response::json(StatusCode::OK, &view::network::inspect(engine, &network)?)
}

/// `POST /networks/create`.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    mut request: Request,
) -> Result<Response<Body>> {
    let body: NetworkCreateBody = request.versioned_json(RequestBody::NetworkCreate).await?;
    let wanted = convert(engine, body)?;
    let engine = engine.clone();
    let work = async move { engine.bus.call(wanted.id.as_str(), &wanted, LIMIT).await };
    let made = crate::uninterrupted(work).await?;
    response::json(
        StatusCode::CREATED,
        &NetworkCreateResponse {
            id: made.id.to_string(),
            warning: String::new(),
        },
    )
}

fn convert(engine: &Engine, body: NetworkCreateBody) -> Result<CreateNetwork> {
    refuse(&body)?;
    let families = ipam::Enabled {
        ipv4: is_enabled(body.enable_ipv4, &body.options, IPV4_OPTION, true)?,
        ipv6: is_enabled(body.enable_ipv6, &body.options, IPV6_OPTION, false)?,
    };
    if let Some(name) = template::name_in(&body) {
        return template::follow(engine, &name, body);
    }
    let driver = driver(&body)?;
    let ipam = body.ipam.unwrap_or_default();
    let subnets = ipam::convert(&ipam.config, families)?;
    let request = CreateNetwork {
        id: NetworkId::random(),
        name: body.name,
        driver,
        ipv4: subnets.ipv4,
        without_ipv4: !families.ipv4,
        ipv6: families.ipv6.then_some(subnets.ipv6),
        unused: subnets.unused,
        internal: body.internal,
        labels: body.labels,
        options: body.options,
        attachable: body.attachable,
        template: None,
        config_from: None,
        ipam_options: ipam.options.unwrap_or_default(),
    };
    Ok(match body.config_only {
        true => template::made_of(request),
        false => request,
    })
}

fn driver(body: &NetworkCreateBody) -> Result<NetworkDriver> {
    match body.driver.as_str() {
        "" | "bridge" | "default" => Ok(NetworkDriver::Bridge),
        "macvlan" => Ok(NetworkDriver::Macvlan),
        "ipvlan" => Ok(NetworkDriver::Ipvlan),
        "host" | "null" if body.config_only => Ok(NetworkDriver::Null),
        "host" | "null" => Err(invalid(format!(
            "only one instance of \"{}\" network is allowed",
            body.driver
        ))),
        "overlay" => Err(Failure::new(
            FailureKind::Forbidden,
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" \
             to connect this node to swarm and try again.",
        )),
        other => Err(not_found(format!("plugin {other:?} not found"))),
    }
}

/// Whether a network has a family may be an option too.
fn is_enabled(
    said: Option<bool>,
    options: &BTreeMap<String, String>,
    option: &str,
    default: bool,
) -> Result<bool> {
    let Some(text) = options.get(option).filter(|_| said.is_none()) else {
        return Ok(said.unwrap_or(default));
    };
    text.parse().map_err(|_| {
        invalid(format!(
            "failed to parse {option} value: {text} (strconv.ParseBool: parsing {text:?}: invalid syntax)"
        ))
    })
}

fn refuse(body: &NetworkCreateBody) -> Result<()> {
    let forbidden = |why: String| Err(Failure::new(FailureKind::Forbidden, why));
    if body.name.is_empty() {
        return Err(invalid("invalid name: name is empty"));
    }
    if PREDEFINED.iter().any(|(name, _)| *name == body.name) {
        let name = &body.name;
        return forbidden(format!(
            "operation is not permitted on predefined {name} network "
        ));
    }
    if body.ingress {
        return forbidden("Ingress network can only be global scope network".to_owned());
    }
    match body.scope.as_str() {
        "" | "local" => {}
        "swarm" => {
            let why = "cannot create a swarm scoped network when swarm is not active";
            return forbidden(why.to_owned());
        }
        other => {
            return Err(unsupported(format!(
                "scope {other} is not supported for networks"
            )));
        }
    }
    match body.ipam.as_ref().map_or("", |ipam| ipam.driver.as_str()) {
        "" | "default" => Ok(()),
        "null" => Err(unsupported(
            "the address management driver null is not supported",
        )),
        other => Err(not_found(format!("plugin {other:?} not found"))),
    }
}

/// `DELETE /networks/{id}`.
pub(in crate::api) async fn remove(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let network = find(&engine.instance, id)?;
    if is_predefined(&network) {
        let name = &network.name;
        return Err(Failure::new(
            FailureKind::Forbidden,
            format_args!("{name} is a pre-defined network and cannot be removed"),
        ));
    }
    remove_now(engine, &network).await?;
    response::empty(StatusCode::NO_CONTENT)
}

async fn remove_now(engine: &Arc<Engine>, network: &NetworkConfig) -> Result<()> {
    let (engine, body) = (
        engine.clone(),
        RemoveNetwork {
            id: network.id.clone(),
        },
    );
    crate::uninterrupted(async move { engine.bus.call(body.id.as_str(), &body, LIMIT).await })
        .await
        .map(drop)
}

/// `POST /networks/{id}/connect`.
pub(in crate::api) async fn connect(
    engine: &Arc<Engine>,
    mut request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let body: NetworkConnectBody = request.json().await?;
    let container = engine.containers.find(&body.container)?;
    let network = find(&engine.instance, id)?;
    let settings = body.endpoint_config.unwrap_or_default();
    let engine = engine.clone();
    let work = async move { connect::connect(&engine, &container, &network, settings).await };
    crate::uninterrupted(work).await?;
    response::empty(StatusCode::OK)
}

/// `POST /networks/{id}/disconnect`. With `force`, a network that is gone is left
/// all the same.
pub(in crate::api) async fn disconnect(
    engine: &Arc<Engine>,
    mut request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let body: NetworkDisconnectBody = request.json().await?;
    let found = find(&engine.instance, id);
    let container = match engine.containers.find(&body.container) {
        Err(failure) if body.force && failure.kind == FailureKind::NotFound => {
            found?;
            let name = &body.container;
            return Err(not_found(format!("endpoint {name} not found")));
        }
        container => container?,
    };
    let network = match found {
        Ok(network) => Ok(network),
        Err(failure) if !body.force => return Err(failure),
        Err(_) => Err(id.to_owned()),
    };
    let engine = engine.clone();
    let work = async move {
        match network {
            Ok(network) => connect::disconnect(&engine, &container, &network).await,
            Err(name) => connect::forget(&container, &name).await,
        }
    };
    crate::uninterrupted(work).await?;
    response::empty(StatusCode::OK)
}

/// `POST /networks/prune`.
pub(in crate::api) async fn prune(
    engine: &Arc<Engine>,
    request: &Request,
) -> Result<Response<Body>> {
    let chosen = Chosen::read(request, &["until"])?;
    let used = joined_networks(engine);
    let mut deleted = Vec::new();
    for network in netd_api::query::networks(&engine.instance).or_internal()? {
        let is_chosen = chosen.has(&network.labels, Some(network.created));
        let is_used = used.contains(&network.name) || used.contains(network.id.as_str());
        if !is_predefined(&network) && !is_used && is_chosen {
            remove_now(engine, &network).await?;
            deleted.push(network.name);
        }
    }
    response::json(
        StatusCode::OK,
        &NetworksPruneResponse {
            networks_deleted: Some(deleted).filter(|deleted| !deleted.is_empty()),
        },
    )
}
