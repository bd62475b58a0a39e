//! `/networks`.

mod ipam;

use std::sync::Arc;
use std::time::Duration;

use base::NetworkId;
use engine_api::network::{
    NetworkConnectBody, NetworkCreateBody, NetworkCreateResponse, NetworkDisconnectBody,
};
use engine_api::prune::NetworksPruneResponse;
use engine_api::versions::{Answer, Body as RequestBody};
use engine_model::container::NetworkMode;
use hyper::{Response, StatusCode};
use netd_api::{CreateNetwork, NetworkConfig, NetworkDriver, RemoveNetwork};

use crate::Engine;
use crate::api::prune::Chosen;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::view;
use crate::container::connect;
use crate::container::network::find;
use crate::error::{OrFail as _, Result, conflict, invalid, not_found, unsupported};

/// How long netd may take.
const LIMIT: Duration = Duration::from_secs(20);

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
fn used_networks(engine: &Engine) -> std::collections::HashSet<String> {
    let endpoints = |container: Arc<crate::container::Container>| match &container.config().network
    {
        NetworkMode::Networks(endpoints) => endpoints
            .iter()
            .map(|endpoint| endpoint.network.clone())
            .collect(),
        NetworkMode::None | NetworkMode::Host | NetworkMode::Container(_) => Vec::new(),
    };
    engine
        .containers
        .all()
        .into_iter()
        .flat_map(endpoints)
        .collect()
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
    let wanted = convert(body)?;
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

fn convert(body: NetworkCreateBody) -> Result<CreateNetwork> {
    refuse(&body)?;
    let driver = match body.driver.as_str() {
        "" | "bridge" | "default" => NetworkDriver::Bridge,
        "host" | "null" => {
            return Err(base::Failure::new(
                base::FailureKind::Invalid,
                format!(
                    "only one instance of \"{}\" network is allowed",
                    body.driver
                ),
            ));
        }
        other => {
            return Err(not_found(format!(
                "could not find plugin {other} in v1 plugin registry: plugin not found"
            )));
        }
    };
    let enabled = ipam::Enabled {
        ipv4: body.enable_ipv4 != Some(false),
        ipv6: body.enable_ipv6 == Some(true),
    };
    let subnets = body.ipam.map(|ipam| ipam.config).unwrap_or_default();
    let subnets = ipam::convert(&subnets, enabled)?;
    Ok(CreateNetwork {
        id: NetworkId::random(),
        name: body.name,
        driver,
        ipv4: subnets.ipv4,
        without_ipv4: !enabled.ipv4,
        ipv6: enabled.ipv6.then_some(subnets.ipv6),
        unused: subnets.unused,
        internal: body.internal,
        labels: body.labels,
        options: body.options,
    })
}

fn refuse(body: &NetworkCreateBody) -> Result<()> {
    let table = [
        ("ingress", body.ingress),
        (
            "config-only",
            body.config_only
                || body
                    .config_from
                    .as_ref()
                    .is_some_and(|from| !from.network.is_empty()),
        ),
        ("scope swarm", !matches!(body.scope.as_str(), "" | "local")),
    ];
    match table.into_iter().find(|(_, is_asked)| *is_asked) {
        Some((what, _)) => Err(unsupported(format!("{what} is not supported for networks"))),
        None => Ok(()),
    }
}

/// `DELETE /networks/{id}`.
pub(in crate::api) async fn remove(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let network = find(&engine.instance, id)?;
    if is_predefined(&network) {
        return Err(conflict(format!(
            "{} is a pre-defined network and cannot be removed",
            network.name
        )));
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
    let container = engine.containers.find(&body.container)?;
    let found = find(&engine.instance, id);
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
    let used = used_networks(engine);
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
            networks_deleted: Some(deleted),
        },
    )
}
