//! `docker ps`.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use base::{ContainerId, Digest, Timestamp};
use engine_api::container::{ContainerSummary, Port, SummaryHostConfig, SummaryNetworkSettings};
use engine_api::filters::Filters;
use engine_api::network::EndpointSettings;
use engine_model::{ContainerState, HealthState, MountSource};
use netd_api::Lease;
use regex_lite::Regex;

use super::network::{NetworkIds, endpoints, lease, protocol};
use super::{inspect, status};
use crate::Engine;
use crate::api::peer::Caller;
use crate::container::{Container, health, links};
use crate::error::{OrFail as _, Result, invalid, not_found};

/// The filters Docker knows, less those of swarm and Windows.
pub(in crate::api) const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network",
    "publish", "since", "status", "volume",
];

/// Bytes of a row as JSON, about.
const ROW_BYTES: usize = 700;

/// Which containers a client asks for.
#[derive(Debug)]
pub(in crate::api) struct Wanted {
    pub(in crate::api) filters: Filters,
    /// Those that do not run too.
    pub(in crate::api) all: bool,
    pub(in crate::api) limit: Option<usize>,
}

/// Returns the containers that a client asks for and that exist for it, the newest first.
///
/// # Errors
/// Invalid for a filter's value Docker refuses too, or a lease that cannot be read.
pub(in crate::api) fn containers(
    who: (&Engine, &Caller),
    wanted: &Wanted,
) -> Result<Vec<ContainerSummary>> {
    let mut rows = Vec::new();
    each(who, wanted, |row| {
        rows.push(row);
        Ok(())
    })?;
    Ok(rows)
}

/// The same as JSON; each row is written as soon as it is there, so that a list of
/// thousands needs no more memory than its text.
///
/// # Errors
/// As [`containers`].
pub(in crate::api) fn json(who: (&Engine, &Caller), wanted: &Wanted) -> Result<Vec<u8>> {
    let most = wanted.limit.unwrap_or(usize::MAX);
    let rows = who.0.containers.len().min(most);
    let mut text = Vec::with_capacity(rows * ROW_BYTES);
    text.push(b'[');
    each(who, wanted, |row| {
        if text.len() > 1 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &row).or_internal()
    })?;
    text.extend_from_slice(b"]\n");
    Ok(text)
}

fn each(
    (engine, caller): (&Engine, &Caller),
    wanted: &Wanted,
    mut take: impl FnMut(ContainerSummary) -> Result<()>,
) -> Result<()> {
    let filters = &wanted.filters;
    check(filters)?;
    let all = wanted.all || filters.has("status") || filters.has("exited");
    let bounds = Bounds::read(engine, caller, filters)?;
    let linked = links::names(engine);
    let mut images = ImageNames::new(engine);
    let networks = NetworkIds::new(engine);
    let mut rows = 0;
    for container in engine.containers.all() {
        if wanted.limit.is_some_and(|limit| rows >= limit) {
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
        let image = images.of(&container);
        let mut row = summary(engine, &container, image, (&state, &linked))?;
        networks.add(&container, &mut row.network_settings.networks);
        if has_port(filters, &row.ports) {
            rows += 1;
            take(row)?;
        }
    }
    Ok(())
}

fn check(filters: &Filters) -> Result<()> {
    if let Some(bad) = filters
        .values("status")
        .find(|value| !status::STATES.contains(value))
    {
        return Err(invalid(format!(
            "invalid filter 'status={bad}': invalid value for state ({bad}): must be one of {}",
            status::STATES.join(", ")
        )));
    }
    if let Some(bad) = filters
        .values("health")
        .find(|v| !["starting", "healthy", "unhealthy", "none"].contains(v))
    {
        return Err(invalid(format!(
            "invalid filter 'health={bad}': invalid value for health ({bad}): must be one of none, starting, healthy, unhealthy"
        )));
    }
    if let Some(bad) = filters
        .values("exited")
        .find(|value| value.parse::<i32>().is_err())
    {
        return Err(invalid(format!(
            "invalid filter 'exited={bad}': invalid syntax"
        )));
    }
    for key in ["publish", "expose"] {
        if let Some(bad) = filters.values(key).find(|text| ports_of(text).is_none()) {
            return Err(invalid(format!(
                "error while looking up for {key} {bad}: invalid syntax"
            )));
        }
    }
    Ok(())
}

/// Containers made before one and after another, of some images, of some names.
struct Bounds {
    before: Option<Timestamp>,
    since: Option<Timestamp>,
    images: Option<HashSet<Digest>>,
    names: Option<Vec<Name>>,
}

/// A name, or an expression for some.
struct Name {
    text: String,
    /// None where the text is no expression.
    expression: Option<Regex>,
}

impl Name {
    fn new(text: &str) -> Self {
        let text = text.trim_start_matches('/');
        Self {
            text: text.to_owned(),
            expression: Regex::new(text).ok(),
        }
    }

    fn matches(&self, name: &str) -> bool {
        let matched = self.expression.as_ref().is_some_and(|it| it.is_match(name));
        matched || self.text == name
    }
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
            names: filters
                .has("name")
                .then(|| filters.values("name").map(Name::new).collect()),
        })
    }

    fn allow(&self, container: &Arc<Container>) -> bool {
        let created = container.config().created;
        let name = container.name();
        let is_named = |names: &Vec<Name>| names.iter().any(|wanted| wanted.matches(&name));
        self.names.as_ref().is_none_or(is_named)
            && self.before.is_none_or(|before| created < before)
            && self.since.is_none_or(|since| created > since)
            && self
                .images
                .as_ref()
                .is_none_or(|images| images.contains(&container.config().image_id))
    }
}

fn allows(filters: &Filters, container: &Container, state: &ContainerState) -> bool {
    let config = &container.config();
    let is_on = |network: &str| endpoints(container, None).contains_key(network);
    filters.allows("id", |id| config.id.as_str().starts_with(id))
        && filters.allows("status", |status| state.status.as_str() == status)
        && filters.allows("exited", |code| {
            state.finished.is_some() && !state.is_live() && code.parse() == Ok(state.exit_code)
        })
        && filters.allows("health", |wanted| {
            health_word(health::shown(container)) == wanted
        })
        && filters.allows("network", is_on)
        && filters.allows("volume", |volume| uses_volume(container, volume))
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
                MountSource::Image { reference, .. } => reference == wanted,
                MountSource::Tmpfs { .. } => false,
            }
    })
}

/// Whether one of the ports is published, or exposed, as the filters want it.
fn has_port(filters: &Filters, ports: &[Port]) -> bool {
    let is = |text: &str, number: u16, kind: &str| {
        let wanted = ports_of(text);
        wanted.is_some_and(|(range, protocol)| range.contains(&number) && protocol == kind)
    };
    let is_wanted = |port: &Port| {
        let mut published = filters.values("publish");
        let mut exposed = filters.values("expose");
        published.any(|text| is(text, port.public_port, &port.r#type))
            || exposed.any(|text| is(text, port.private_port, &port.r#type))
    };
    !(filters.has("publish") || filters.has("expose")) || ports.iter().any(is_wanted)
}

/// Reads `80`, `80/udp`, `80-90/tcp`.
fn ports_of(text: &str) -> Option<(RangeInclusive<u16>, &str)> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    Some((first.parse().ok()?..=last.parse().ok()?, protocol))
}

fn summary(
    engine: &Engine,
    container: &Container,
    image: String,
    (state, linked): (&ContainerState, &BTreeMap<ContainerId, Vec<String>>),
) -> Result<ContainerSummary> {
    let config = &container.config();
    let lease = lease(engine, container)?;
    let health = container.health();
    Ok(ContainerSummary {
        id: config.id.to_string(),
        names: std::iter::once(container.name())
            .chain(linked.get(&container.id).into_iter().flatten().cloned())
            .map(|name| format!("/{name}"))
            .collect(),
        image,
        image_id: config.image_id.to_string(),
        command: command(&config.process.arguments),
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
            networks: listed_endpoints(container, lease.as_ref()),
        },
        mounts: inspect::mounts(engine, container),
        ..ContainerSummary::default()
    })
}

/// Words with a space in them are quoted.
fn command(words: &[String]) -> String {
    let quoted = words.iter().map(|word| match word.contains(' ') {
        true => format!("'{word}'"),
        false => word.clone(),
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// The endpoints without the names that only inspecting tells.
fn listed_endpoints(
    container: &Container,
    lease: Option<&Lease>,
) -> BTreeMap<String, EndpointSettings> {
    let mut all = endpoints(container, lease);
    for endpoint in all.values_mut() {
        endpoint.dns_names = None;
    }
    all
}

/// What the names that containers were made with mean now, each looked up once.
struct ImageNames<'a> {
    engine: &'a Engine,
    known: HashMap<String, Option<Digest>>,
}

impl<'a> ImageNames<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            known: HashMap::new(),
        }
    }

    /// The name the user gave, as long as it still means the same image.
    fn of(&mut self, container: &Container) -> String {
        let config = &container.config();
        match self.meaning(&config.image) == Some(config.image_id) {
            true => config.image.clone(),
            false => config.image_id.to_string(),
        }
    }

    fn meaning(&mut self, name: &str) -> Option<Digest> {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let resolved = self.engine.images.resolve(name).ok();
        let id = resolved.map(|image| image.id);
        self.known.insert(name.to_owned(), id);
        id
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_looked_for_on_their_side() {
        let port = |public_port, private_port, kind: &str| Port {
            public_port,
            private_port,
            r#type: kind.to_owned(),
            ..Port::default()
        };
        let ports = [port(8080, 80, "tcp"), port(0, 53, "udp")];
        for (key, text, expected) in [
            ("publish", "8080", true),
            ("publish", "80", false),
            ("publish", "8000-8090/tcp", true),
            ("publish", "8080/udp", false),
            ("expose", "80", true),
            ("expose", "53/udp", true),
            ("expose", "53", false),
        ] {
            let mut filters = Filters::default();
            filters.add(key, text);
            assert_eq!(has_port(&filters, &ports), expected, "{key}={text}");
        }
        assert!(has_port(&Filters::default(), &[]));
        for bad in ["http", "", "80-x", "70000"] {
            assert!(ports_of(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_name_is_an_expression_or_itself() {
        assert!(Name::new("/web").matches("my-web-1"));
        assert!(Name::new("^web-[0-9]$").matches("web-1"));
        assert!(!Name::new("^web$").matches("web-1"));
        assert!(Name::new("[").matches("["));
    }
}
