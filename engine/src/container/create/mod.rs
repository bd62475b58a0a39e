//! Creating a container: the request is checked and completed from its image,
//! converted to the model, and written down. Nothing is started.

mod binds;
mod conflicts;
mod cpuset;
mod health;
mod image_mounts;
mod mounts;
pub(super) mod network;
mod ports;
pub(super) mod process;
pub(super) mod refuse;
pub(super) mod resources;
mod security;
mod user_namespace;
mod volumes;
mod volumes_from;

use std::sync::Arc;

use base::file::make_directories;
use base::{ContainerId, PathContext as _, Timestamp};
use engine_api::config::ContainerConfig as RequestedConfig;
use engine_api::container::{ContainerCreateBody, ContainerCreateResponse};
use engine_image::Image;
use engine_model::container::{ExtraHost, NamespaceMode};
use engine_model::signal::Signal;
use engine_model::{ContainerConfig, ContainerState, RestartPolicy};

use super::registry::NameClaim;
use super::{Container, Requested, links, log, store, told};
use crate::Engine;
use crate::config::EngineConfig;
use crate::error::{OrFail as _, Result, conflict, invalid};

pub use security::profile as security_profile;
pub use volumes::ANONYMOUS;

/// Docker's stop timeout.
const STOP_TIMEOUT_SECONDS: u32 = 10;
/// Creates a container from a request; `owner` is who it belongs to, if to anybody.
///
/// # Errors
/// Invalid or unsupported options, an unknown image, a name that is taken.
pub async fn create(
    engine: &Arc<Engine>,
    name: Option<&str>,
    body: ContainerCreateBody,
    owner: Option<String>,
) -> Result<ContainerCreateResponse> {
    if body.config == RequestedConfig::default() {
        return Err(invalid(
            "config cannot be empty in order to create a container",
        ));
    }
    refuse::unsupported_options(&body)?;
    conflicts::check(&body)?;
    let warnings = conflicts::warnings(&body);
    let image = crate::image::resolve(engine, &body.config.image)?;
    let id = ContainerId::random();
    let requested = settle(engine, &id, body, &image)?;
    let mut config = convert(engine, &id, &requested, &image)?;
    binds::check(&config.mounts).await?;
    health::check_label(&config)?;
    config.user_namespace = user_namespace::decide(engine, &requested, owner.as_deref())?;
    user_namespace::check_shared(engine, &config)?;
    let claim = claim_name(engine, name, &id)?;
    // Most often the start follows at once.
    engine.group_moves.prepare();
    let directory = engine.instance.container(&id);
    let stored = store::StoredContainer {
        name: claim.name().to_owned(),
        config,
        requested,
        owner,
    };
    engine.steps.reached("create.record");
    write_down(stored.clone(), directory.clone()).await?;
    // With a record, what a crash leaves is found and can be removed.
    if let Err(failure) = volumes::make(engine, &stored).await {
        return Err(take_back(directory, failure).await);
    }
    let container = Arc::new(Container::new(stored, ContainerState::created(), directory));
    engine.steps.reached("create.tell");
    told::tell_created(engine, &container)?;
    engine.steps.reached("create.told");
    store::note_told(container.directory()).or_internal()?;
    claim.keep(container);
    Ok(ContainerCreateResponse {
        id: id.to_string(),
        warnings,
    })
}

/// Writes the container's record; a directory without one is taken away again.
async fn write_down(stored: store::StoredContainer, directory: std::path::PathBuf) -> Result<()> {
    crate::blocking(move || {
        make_directories(&directory, 0o700).or_internal()?;
        store::prepare_state(&directory)
            .and_then(|()| store::write_config(&directory, &stored))
            .or_internal()
            .inspect_err(|_| {
                // The write's own error is the one to report; what stays is
                // deleted when the engine starts next.
                std::fs::remove_dir_all(&directory).unwrap_or_default();
            })
    })
    .await
}

/// Takes back the record of a container that nobody has been told of; returns
/// `failure`, with what of that failed.
async fn take_back(directory: std::path::PathBuf, failure: base::Failure) -> base::Failure {
    let remove = move || {
        std::fs::remove_dir_all(&directory)
            .at("remove", &directory)
            .or_internal()
    };
    match crate::blocking(remove).await {
        Ok(()) => failure,
        Err(error) => {
            let message = format!("{}; and then: {}", failure.message, error.message);
            base::Failure::new(failure.kind, message)
        }
    }
}

/// Takes the name that was asked for, or one of our own.
fn claim_name<'a>(
    engine: &'a Engine,
    name: Option<&str>,
    id: &ContainerId,
) -> Result<NameClaim<'a>> {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return crate::names::claim(&engine.containers, id);
    };
    let name = name.strip_prefix('/').unwrap_or(name);
    if !base::id::is_valid_name(name) {
        return Err(invalid(format!(
            "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
        )));
    }
    engine.containers.claim(name, id)
}

/// Returns the request with nothing left open.
fn settle(
    engine: &Engine,
    id: &ContainerId,
    body: ContainerCreateBody,
    image: &Image,
) -> Result<Requested> {
    let of_image = crate::image::config_of(image)?;
    let mut requested = complete(body, &of_image, &engine.config);
    name_host(engine, &mut requested, id)?;
    network::name(engine, &mut requested);
    Ok(requested)
}

/// Completes the request from the image, as inspecting the container shows it.
fn complete(
    body: ContainerCreateBody,
    of_image: &RequestedConfig,
    of_engine: &EngineConfig,
) -> Requested {
    let mut requested = Requested {
        config: body.config,
        host_config: body.host_config,
        networking_config: body.networking_config,
    };
    process::complete(&mut requested.config, of_image);
    let host = &mut requested.host_config;
    if host.network_mode.is_empty() || host.network_mode == "default" {
        host.network_mode = "bridge".into();
    }
    if host.shm_size == 0 {
        host.shm_size = 64 << 20;
    }
    // Zero is no limit, as nothing is.
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
    log::complete(&mut host.log_config, &of_engine.log());
    if host.runtime.is_empty() {
        host.runtime.clone_from(&of_engine.default_runtime);
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".into();
    }
    for (mode, default) in [
        (&mut host.ipc_mode, "private"),
        (&mut host.cgroupns_mode, "private"),
    ] {
        if mode.is_empty() {
            *mode = default.into();
        }
    }
    requested
}

/// A container without a host name of its own is called as the owner of the
/// network it shares; else by its id.
fn name_host(engine: &Engine, requested: &mut Requested, id: &ContainerId) -> Result<()> {
    let config = &mut requested.config;
    let mode = requested.host_config.network_mode.as_str();
    if let Some(other) = mode.strip_prefix("container:") {
        let other = engine.containers.find(other)?;
        config.hostname.clone_from(&other.config().hostname);
        config.domainname.clone_from(&other.config().domainname);
    } else if config.hostname.is_empty() && mode == "host" {
        let name = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        config.hostname = name;
    } else if config.hostname.is_empty() {
        config.hostname = id.short().to_owned();
    }
    Ok(())
}

/// Converts the completed request to the model.
fn convert(
    engine: &Engine,
    id: &ContainerId,
    requested: &Requested,
    image: &Image,
) -> Result<ContainerConfig> {
    let (config, host) = (&requested.config, &requested.host_config);
    let mounts = mounts::convert(engine, config, host)?;
    image_mounts::check_layers(image.layers.len(), &mounts)?;
    let result = ContainerConfig {
        id: id.clone(),
        created: Timestamp::now(),
        image: config.image.clone(),
        image_id: image.id,
        layers: image.layers.iter().map(|layer| layer.diff_id).collect(),
        process: process::convert(config, host)?,
        hostname: config.hostname.clone(),
        domainname: config.domainname.clone(),
        labels: config.labels.clone(),
        annotations: host.annotations.clone(),
        cgroup_parent: cgroup_parent(&host.cgroup_parent)?,
        mounts,
        read_only: host.readonly_rootfs,
        resources: resources::convert(host)?,
        security: security::convert(host)?,
        network: network::convert(engine, requested)?,
        ports: ports::convert(config, host)?,
        dns: network::dns(host)?,
        links: links::resolve(engine, requested)?,
        extra_hosts: extra_hosts(host.extra_hosts.as_deref().unwrap_or_default())?,
        pid_mode: namespace(engine, "pid", &host.pid_mode)?,
        ipc_mode: namespace(engine, "ipc", &host.ipc_mode)?,
        shared_memory: host.ipc_mode != "none",
        uts_mode: namespace(engine, "uts", &host.uts_mode)?,
        cgroupns_mode: namespace(engine, "cgroup", &host.cgroupns_mode)?,
        user_namespace: None,
        sysctls: host.sysctls.clone(),
        restart: restart_policy(host)?,
        auto_remove: host.auto_remove,
        health: health::convert(config.healthcheck.as_ref())?,
        stop_signal: stop_signal(&config.stop_signal)?,
        stop_timeout_seconds: stop_timeout(config.stop_timeout),
        log: log::convert(&host.log_config)?,
        runtime: Some(host.runtime.clone()).filter(|name| !name.is_empty()),
    };
    super::shim::runtime(engine, result.runtime.as_deref())?;
    security::check(&result.security)?;
    Ok(result)
}

/// A path below the hierarchies' roots.
fn cgroup_parent(text: &str) -> Result<Option<String>> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_plain = |part: &str| part != ".." && part != "." && !part.contains('\0');
    if text.ends_with(".slice") || !text.split('/').all(is_plain) {
        return Err(invalid(format!(
            "invalid cgroup parent {text:?}: it must be a path of control groups"
        )));
    }
    Ok(Some(format!("/{}", text.trim_matches('/'))))
}

fn stop_signal(text: &str) -> Result<Signal> {
    if text.is_empty() {
        Ok(Signal::TERM)
    } else {
        text.parse().or_invalid()
    }
}

/// A negative timeout waits as long as can be counted.
fn stop_timeout(seconds: Option<i64>) -> u32 {
    seconds.map_or(STOP_TIMEOUT_SECONDS, |seconds| {
        u32::try_from(seconds).unwrap_or(u32::MAX)
    })
}

pub(super) fn restart_policy(host: &engine_api::host_config::HostConfig) -> Result<RestartPolicy> {
    let policy = &host.restart_policy;
    let retries = u32::try_from(policy.maximum_retry_count)
        .map_err(|_| invalid("invalid restart policy: maximum retry count cannot be negative"))?;
    let parsed = match policy.name.as_str() {
        "" | "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => RestartPolicy::OnFailure {
            maximum_retries: retries,
        },
        other => {
            return Err(invalid(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if retries > 0 && !matches!(parsed, RestartPolicy::OnFailure { .. }) {
        return Err(invalid(
            "invalid restart policy: maximum retry count can only be used with 'on-failure'",
        ));
    }
    if host.auto_remove && parsed != RestartPolicy::No {
        return Err(invalid(
            "can't create 'AutoRemove' container with restart policy",
        ));
    }
    Ok(parsed)
}

/// Reads `host`, `private`, `shareable`, `none`, `container:<name>`.
fn namespace(engine: &Engine, kind: &str, mode: &str) -> Result<NamespaceMode> {
    match mode {
        "" | "private" | "shareable" => Ok(NamespaceMode::Private),
        "none" if kind == "ipc" => Ok(NamespaceMode::Private),
        "host" => Ok(NamespaceMode::Host),
        other => match other.strip_prefix("container:") {
            Some(name) if kind == "pid" || kind == "ipc" => Ok(NamespaceMode::Container(
                engine.containers.find(name)?.id.clone(),
            )),
            _ => Err(invalid(format!(
                "invalid {} mode: {mode}",
                kind.to_uppercase()
            ))),
        },
    }
}

/// Reads `name:address` and `name:host-gateway`.
fn extra_hosts(entries: &[String]) -> Result<Vec<ExtraHost>> {
    let parse = |entry: &String| {
        let bad = || {
            invalid(format!(
                "invalid extra host {entry:?}: expected name:address"
            ))
        };
        let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(bad());
        }
        let address = match address {
            "host-gateway" => None,
            text => Some(text.trim_matches(['[', ']']).parse().map_err(|_| bad())?),
        };
        Ok(ExtraHost {
            name: name.to_owned(),
            address,
        })
    };
    entries.iter().map(parse).collect()
}

/// Checks that nothing of the engine's is asked for twice.
fn unique<'a>(destinations: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = std::collections::HashSet::new();
    for destination in destinations {
        if !seen.insert(destination) {
            return Err(conflict(format!("Duplicate mount point: {destination}")));
        }
    }
    Ok(())
}
