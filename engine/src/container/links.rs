//! Docker's legacy links: containers on the default network that another knows by
//! a name of its own, from its hosts file and environment.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{ContainerId, Instance};
use engine_model::ContainerConfig;
use engine_model::container::{Link, NetworkMode};
use engine_model::plan::LinkedContainer;

use super::start::small_files;
use super::{Container, Requested};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, invalid, not_found};

/// The network whose containers are linked.
const DEFAULT_NETWORK: &str = "bridge";

/// Takes `NAME[:ALIAS]` apart; `/NAME:/PARENT/ALIAS` is how inspecting shows it.
///
/// # Errors
/// Invalid for an empty name.
pub(super) fn parse(text: &str) -> Result<(&str, &str)> {
    let (name, alias) = match text.split_once(':') {
        Some((name, alias)) => (name, alias.rsplit('/').next().unwrap_or(alias)),
        None => (text, text),
    };
    let name = name.trim_start_matches('/');
    if name.is_empty() || alias.is_empty() || alias.contains(':') {
        return Err(invalid(format!("bad format for links: {text}")));
    }
    Ok((name, alias.trim_start_matches('/')))
}

/// Returns the links of a container that is to be on the default network.
///
/// # Errors
/// Invalid for one that is not there, or a mode that has no links.
pub(super) fn resolve(engine: &Engine, requested: &Requested) -> Result<Vec<Link>> {
    let host = &requested.host_config;
    let texts = host.links.as_deref().unwrap_or_default();
    let mode = host.network_mode.as_str();
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let shared = match mode {
        "host" => Some("host type networking"),
        _ => mode
            .starts_with("container:")
            .then_some("container type network"),
    };
    if let Some(shared) = shared {
        return Err(invalid(format!(
            "conflicting options: {shared} can't be used with links. This would result in undefined behavior"
        )));
    }
    if mode != DEFAULT_NETWORK {
        return Ok(Vec::new());
    }
    let link = |text: &String| {
        let (name, alias) = parse(text)?;
        let found = engine.containers.find(name);
        let target = found.map_err(|failure| {
            invalid(format!(
                "could not get container for {name}: {}",
                failure.message
            ))
        })?;
        if target.config().network == NetworkMode::Host {
            return Err(invalid(
                "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
            ));
        }
        Ok(Link {
            target: target.id.clone(),
            alias: alias.to_owned(),
        })
    };
    texts.iter().map(link).collect()
}

/// Returns the other ends of a container's links as they are now.
///
/// # Errors
/// Conflict, with Docker's sentence, for one that does not run.
pub(super) fn linked(engine: &Engine, container: &Container) -> Result<Vec<LinkedContainer>> {
    let parent = container.name();
    let end = |link: &Link| {
        let target = engine.containers.by_id(&link.target);
        let target =
            target.ok_or_else(|| not_found(format!("No such container: {}", link.target)))?;
        let name = target.name();
        if !target.state().is_live() {
            let alias = &link.alias;
            return Err(conflict(format!(
                "Cannot link to a non running container: /{name} AS /{parent}/{alias}"
            )));
        }
        let found = end_of(&engine.instance, link, &target)?;
        found.ok_or_else(|| {
            conflict(format!(
                "Cannot link to /{name}, as it does not belong to the default network"
            ))
        })
    };
    container.config().links.iter().map(end).collect()
}

fn end_of(instance: &Instance, link: &Link, target: &Container) -> Result<Option<LinkedContainer>> {
    let lease = netd_api::query::lease(instance, &target.run()).or_internal()?;
    let endpoints = lease.iter().flat_map(|lease| &lease.attached.endpoints);
    let on_default = endpoints.filter(|it| it.network_name == DEFAULT_NETWORK);
    let Some(address) = on_default.flat_map(netd_api::Endpoint::addresses).next() else {
        return Ok(None);
    };
    let config = target.config();
    let requested = target.requested();
    let ports = requested.config.exposed_ports.keys().filter_map(|key| {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        Some((port.parse().ok()?, protocol.to_owned()))
    });
    Ok(Some(LinkedContainer {
        alias: link.alias.clone(),
        name: target.name(),
        hostname: config.hostname.clone(),
        address,
        environment: config.process.environment.clone(),
        ports: ports.collect(),
    }))
}

/// Tells those that are linked to a container that has started where it is now.
///
/// # Errors
/// When a hosts file cannot be written.
pub(super) fn tell_parents(engine: &Engine, target: &Container) -> Result<()> {
    for (parent, link) in every(engine) {
        if link.target != target.id || !parent.state().is_live() {
            continue;
        }
        if let Some(end) = end_of(&engine.instance, &link, target)? {
            small_files::move_host(&parent, end.address, &end.host_names())?;
        }
    }
    Ok(())
}

/// Returns the further names of containers: `PARENT/ALIAS` for each link to one.
pub fn names(engine: &Engine) -> BTreeMap<ContainerId, Vec<String>> {
    let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (parent, link) in every(engine) {
        let name = format!("{}/{}", parent.name(), link.alias);
        all.entry(link.target).or_default().push(name);
    }
    all
}

/// Returns a container's links as inspecting it shows them.
pub fn shown(engine: &Engine, container: &Container) -> Option<Vec<String>> {
    let parent = container.name();
    let config = container.config();
    let shown = config.links.iter().filter_map(|link| {
        let target = engine.containers.by_id(&link.target)?;
        Some(format!("/{}:/{parent}/{}", target.name(), link.alias))
    });
    Some(shown.collect()).filter(|all: &Vec<_>| !all.is_empty())
}

fn every(engine: &Engine) -> impl Iterator<Item = (Arc<Container>, Link)> {
    let all = engine.containers.unordered().into_iter();
    all.flat_map(|parent| {
        let links = parent.config().links.clone();
        links.into_iter().map(move |link| (parent.clone(), link))
    })
}

/// Removes the link that is called `PARENT/ALIAS`.
///
/// # Errors
/// Not found for a link that is not there; when the parent cannot be written.
pub async fn remove(engine: &Arc<Engine>, text: &str) -> Result<()> {
    let missing = || not_found(format!("No such container: {text}"));
    let (parent, alias) = text
        .trim_start_matches('/')
        .rsplit_once('/')
        .ok_or_else(|| {
            invalid(format!(
                "Conflict, cannot remove the default link name of the container: {text}"
            ))
        })?;
    let parent = engine.containers.find(parent)?;
    let _operation = parent.operation.lock().await;
    let mut config = ContainerConfig::clone(&parent.config());
    let before = config.links.len();
    config.links.retain(|link| link.alias != alias);
    if config.links.len() == before {
        return Err(missing());
    }
    let mut requested = Requested::clone(&parent.requested());
    let is_other = |text: &String| parse(text).is_ok_and(|(_, known)| known != alias);
    if let Some(links) = &mut requested.host_config.links {
        links.retain(is_other);
    }
    let work = parent.clone();
    crate::blocking(move || work.redefine(config, requested)).await
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn links_read_as_given_and_as_shown() {
        assert_eq!(parse("db").unwrap(), ("db", "db"));
        assert_eq!(parse("db:store").unwrap(), ("db", "store"));
        assert_eq!(parse("/db:/web/store").unwrap(), ("db", "store"));
        for wrong in ["", ":", "db:", ":store", "a:b:c"] {
            parse(wrong).unwrap_err();
        }
    }
}
