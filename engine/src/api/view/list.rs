//! `docker ps`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use base::{ContainerId, Timestamp};
use engine_api::container::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
use engine_api::filters::Filters;
use engine_model::{ContainerState, HealthState, MountSource};

use super::network::{endpoints, lease, protocol};
use super::{inspect, status};
use crate::Engine;
use crate::api::peer::Caller;
use crate::container::{Container, links};
use crate::error::{Result, invalid, not_found};

/// The filters Docker knows, less those of swarm and Windows.
pub(in crate::api) const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network",
    "publish", "since", "status", "volume",
];

/// Returns the containers that pass the filters and exist for whoever asks, the
/// newest first.
///
/// # Errors
/// Invalid for a filter's value Docker refuses too, or a lease that cannot be read.
pub(in crate::api) fn containers(
    (engine, caller): (&Engine, &Caller),
    filters: &Filters,
    all: bool,
    limit: Option<usize>,
) -> Result<Vec<ContainerSummary>> {
    check(filters)?;
    let all = all || filters.has("status") || filters.has("exited");
    let bounds = Bounds::read(engine, caller, filters)?;
    let linked = links::names(engine);
    let mut rows = Vec::new();
    for container in engine.containers.all() {
        if limit.is_some_and(|limit| rows.len() >= limit) {
            break;
        }
        let state = container.state();
        if !caller.sees(container.owner.as_deref())
            || !(all || state.is_live())
            || !bounds.allow(&container)
            || !allows(filters, &container, &state)
        {
            continue;
        }
        rows.push(summary(engine, &container, (&state, &linked))?);
    }
    Ok(rows)
}

fn check(filters: &Filters) -> Result<()> {
    const STATES: [&str; 7] = [
        "created",
        "running",
        "paused",
        "restarting",
        "removing",
        "exited",
        "dead",
    ];
    if let Some(bad) = filters
        .values("status")
        .find(|value| !STATES.contains(value))
    {
        return Err(invalid(format!("invalid filter 'status={bad}'")));
    }
    if let Some(bad) = filters
        .values("health")
        .find(|v| !["starting", "healthy", "unhealthy", "none"].contains(v))
    {
        return Err(invalid(format!("invalid filter 'health={bad}'")));
    }
    if let Some(bad) = filters
        .values("exited")
        .find(|value| value.parse::<i32>().is_err())
    {
        return Err(invalid(format!("invalid filter 'exited={bad}'")));
    }
    Ok(())
}

/// Containers made before one and after another.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    images: Option<HashSet<base::Digest>>,
}

impl Bounds {
    fn read(engine: &Engine, caller: &Caller, filters: &Filters) -> Result<Self> {
        let created = |key: &str| -> Result<Option<Timestamp>> {
            let Some(text) = filters.values(key).next() else {
                return Ok(None);
            };
            let container = engine.containers.find(text)?;
            match caller.sees(container.owner.as_deref()) {
                true => Ok(Some(container.config().created)),
                false => Err(not_found(format!("No such container: {text}"))),
            }
        };
        let images = filters.has("ancestor").then(|| {
            filters
                .values("ancestor")
                .filter_map(|name| engine.images.resolve(name).ok())
                .map(|image| image.id)
                .collect()
        });
        Ok(Self {
            before: created("before")?,
            since: created("since")?,
            images,
        })
    }

    fn allow(&self, container: &Arc<Container>) -> bool {
        let created = container.config().created;
        self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self
                .images
                .as_ref()
                .is_none_or(|images| images.contains(&container.config().image_id))
    }
}

fn allows(filters: &Filters, container: &Container, state: &ContainerState) -> bool {
    let config = &container.config();
    let name = container.name();
    let networks = endpoints(container, None);
    let health = container.watch().borrow().health;
    filters.allows("id", |id| config.id.as_str().starts_with(id))
        && filters.allows("name", |wanted| {
            name.contains(wanted.trim_start_matches('/'))
        })
        && filters.allows("status", |status| state.status.as_str() == status)
        && filters.allows("exited", |code| {
            state.finished.is_some() && !state.is_live() && code.parse() == Ok(state.exit_code)
        })
        && filters.allows("health", |wanted| health_word(health) == wanted)
        && filters.allows("network", |network| networks.contains_key(network))
        && filters.allows("volume", |volume| uses_volume(container, volume))
        && filters.allows("publish", |port| {
            let is = |p: &engine_model::container::PortConfig| {
                port_matches(port, p.container_port, &p.protocol)
            };
            config.ports.iter().any(is)
        })
        && filters.allows("expose", |port| {
            container
                .requested()
                .config
                .exposed_ports
                .keys()
                .any(|key| {
                    let (number, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
                    number
                        .parse()
                        .is_ok_and(|number| port_matches(port, number, protocol))
                })
        })
        && filters.allows_labels("label", &config.labels)
}

fn health_word(health: Option<HealthState>) -> &'static str {
    health.map_or("none", |health| health.status.as_str())
}

fn uses_volume(container: &Container, wanted: &str) -> bool {
    container.config().mounts.iter().any(|mount| {
        mount.destination == wanted
            || match &mount.source {
                MountSource::Volume { name, .. } => name.as_str() == wanted,
                MountSource::Bind { host_path, .. } => host_path == wanted,
                MountSource::Tmpfs { .. } => false,
            }
    })
}

/// `80`, `80/udp`, `80-90/tcp`.
fn port_matches(text: &str, port: u16, protocol: &str) -> bool {
    let (range, wanted) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
        return false;
    };
    protocol == wanted && (first..=last).contains(&port)
}

fn summary(
    engine: &Engine,
    container: &Container,
    (state, linked): (&ContainerState, &BTreeMap<ContainerId, Vec<String>>),
) -> Result<ContainerSummary> {
    let config = &container.config();
    let lease = lease(engine, container)?;
    let health = container.watch().borrow().health;
    Ok(ContainerSummary {
        id: config.id.to_string(),
        names: std::iter::once(container.name())
            .chain(linked.get(&container.id).into_iter().flatten().cloned())
            .map(|name| format!("/{name}"))
            .collect(),
        image: image_name(engine, container),
        image_id: config.image_id.to_string(),
        command: config.process.arguments.join(" "),
        created: config.created.seconds(),
        ports: ports(container, lease.as_ref().map(|lease| &lease.attached)),
        labels: config.labels.clone(),
        state: state.status.as_str().into(),
        status: status::text(state, health, Timestamp::now()),
        host_config: SummaryHostConfig {
            network_mode: container.requested().host_config.network_mode.clone(),
            ..SummaryHostConfig::default()
        },
        network_settings: SummaryNetworkSettings {
            networks: endpoints(container, lease.as_ref()),
        },
        mounts: inspect::mounts(engine, container),
        ..ContainerSummary::default()
    })
}

/// The name the user gave, as long as it still means the same image.
fn image_name(engine: &Engine, container: &Container) -> String {
    let config = &container.config();
    match engine.images.resolve(&config.image) {
        Ok(image) if image.id == config.image_id => config.image.clone(),
        _ => config.image_id.to_string(),
    }
}

fn ports(container: &Container, attached: Option<&netd_api::Attached>) -> Vec<Port> {
    let Some(attached) = attached else {
        return Vec::new();
    };
    let mut all: Vec<Port> = attached
        .ports
        .iter()
        .map(|port| Port {
            ip: port.host_ip.to_string(),
            private_port: port.container_port,
            public_port: port.host_port,
            r#type: protocol(port.protocol).into(),
        })
        .collect();
    for key in container.requested().config.exposed_ports.keys() {
        let (number, kind) = key.split_once('/').unwrap_or((key, "tcp"));
        let Ok(private_port) = number.parse() else {
            continue;
        };
        if !all
            .iter()
            .any(|port| port.private_port == private_port && port.r#type == kind)
        {
            all.push(Port {
                private_port,
                r#type: kind.into(),
                ..Port::default()
            });
        }
    }
    all
}
