//! `docker inspect` of a container.

use base::Timestamp;
use engine_api::host_config::HostConfig;
use engine_api::inspect::{
    ContainerInspect, ContainerState as WireState, GraphDriver, Health, HealthResult, NEVER,
};
use engine_api::mount::MountPoint;
use engine_model::container::{LogDriver, NetworkMode};
use engine_model::{MountSource, Propagation, Status};
use volumed_api::query::data_directory;

use super::network;
use crate::Engine;
use crate::container::{Container, health, links, lock, logs};
use crate::error::{OrFail as _, Result};

/// Returns everything about one container.
///
/// # Errors
/// When its lease cannot be read.
pub(in crate::api) fn container(
    engine: &Engine,
    container: &Container,
) -> Result<ContainerInspect> {
    let config = &container.config();
    let lease = network::lease(engine, container)?;
    let state = container.state();
    // What a start makes is not there before.
    let file = |name: &str| {
        let path = container.directory().join(name);
        match path.exists() {
            true => path.display().to_string(),
            false => String::new(),
        }
    };
    let (path, args) = config
        .process
        .arguments
        .split_first()
        .map_or_else(Default::default, |(path, args)| {
            (path.clone(), args.to_vec())
        });
    let execs = engine.execs.running_in(&config.id);
    Ok(ContainerInspect {
        id: config.id.to_string(),
        created: config.created.to_string(),
        path,
        args,
        state: wire_state(container),
        image: config.image_id.to_string(),
        resolv_conf_path: file("resolv.conf"),
        hostname_path: file("hostname"),
        hosts_path: file("hosts"),
        log_path: log_path(container),
        name: format!("/{}", container.name()),
        restart_count: i64::from(state.restarts),
        driver: "overlay2".into(),
        platform: "linux".into(),
        exec_ids: Some(execs).filter(|execs| !execs.is_empty()),
        host_config: host_config(engine, container)?,
        graph_driver: graph_driver(engine, container),
        mounts: mounts(engine, container),
        config: requested_config(container),
        network_settings: network::settings(engine, container, lease.as_ref()),
        ..ContainerInspect::default()
    })
}

/// Docker names no file of the other drivers, whose format is nobody's business, and
/// none before there is one.
fn log_path(container: &Container) -> String {
    let is_json = matches!(container.config().log, LogDriver::JsonFile { .. });
    let is_named = is_json && container.state().started.is_some();
    logs::place(container)
        .filter(|_| is_named)
        .map_or_else(String::new, |place| place.file(0).display().to_string())
}

/// The host's half, with what it means where nothing was said.
fn host_config(engine: &Engine, container: &Container) -> Result<HostConfig> {
    let mut shown = container.requested().host_config.clone();
    shown.links = links::shown(engine, container);
    let security = &container.config().security;
    if !security.privileged && (shown.masked_paths.is_none() || shown.readonly_paths.is_none()) {
        let closed = engine_security::closed_paths(security).or_invalid()?;
        shown.masked_paths.get_or_insert(closed.masked);
        shown.readonly_paths.get_or_insert(closed.read_only);
    }
    if shown.memory > 0 && shown.memory_swap == 0 {
        shown.memory_swap = container
            .config()
            .resources
            .memory_swap_bytes
            .unwrap_or_default();
    }
    let unified = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !unified {
        shown.oom_kill_disable.get_or_insert(false);
    }
    Ok(shown)
}

/// The portable half; an address that was asked for is told as of the container too.
fn requested_config(container: &Container) -> engine_api::config::ContainerConfig {
    let mut shown = container.requested().config.clone();
    if let NetworkMode::Networks(endpoints) = &container.config().network {
        let mac = endpoints.first().and_then(|first| first.mac.clone());
        shown.mac_address = mac.unwrap_or_default();
    }
    shown
}

/// Where the root filesystem is made of; it is mounted only while the container runs.
fn graph_driver(engine: &Engine, container: &Container) -> GraphDriver {
    let config = container.config();
    let own = |name: &str| container.directory().join(name).display().to_string();
    let layers = config.layers.iter().rev();
    let layers: Vec<String> = layers
        .map(|diff_id| engine.instance.layer(diff_id).display().to_string())
        .collect();
    let merged = engine.instance.rootfs(&container.run());
    let data = [
        ("ID", config.id.to_string()),
        ("LowerDir", layers.join(":")),
        ("MergedDir", merged.display().to_string()),
        ("UpperDir", own("upper")),
        ("WorkDir", own("work")),
    ];
    GraphDriver {
        data: data.map(|(name, value)| (name.to_owned(), value)).into(),
        name: "overlay2".into(),
    }
}

/// What a mount's mode was said to be: of what has none, Docker says that others may
/// share a volume, unless the container's own settings ask for one at that place.
fn mode(container: &Container, destination: &str, is_volume: bool) -> String {
    let requested = container.requested();
    let binds = requested.host_config.binds.iter().flatten();
    let mut said = binds.filter_map(|bind| {
        let mut parts = bind.splitn(3, ':').skip(1);
        (parts.next() == Some(destination)).then(|| parts.next().unwrap_or_default())
    });
    let plain = requested.config.volumes.as_ref();
    let is_plain = plain.is_some_and(|volumes| volumes.contains_key(destination));
    match said.next_back().unwrap_or_default() {
        "" if is_volume && !is_plain => "z".to_owned(),
        said => said.to_owned(),
    }
}

fn wire_state(container: &Container) -> WireState {
    let state = container.state();
    let time = |time: Option<Timestamp>| time.map_or(NEVER.to_owned(), |time| time.to_string());
    WireState {
        status: state.status.as_str().into(),
        running: matches!(
            state.status,
            Status::Running | Status::Paused | Status::Restarting
        ),
        paused: state.status == Status::Paused,
        restarting: state.status == Status::Restarting,
        oom_killed: state.oom_killed,
        dead: state.status == Status::Dead,
        pid: i64::from(state.pid),
        exit_code: i64::from(state.exit_code),
        error: state.error,
        started_at: time(state.started),
        finished_at: time(state.finished),
        health: wire_health(container),
    }
}

fn wire_health(container: &Container) -> Option<Health> {
    let state = health::shown(container)?;
    let report = lock(&container.health);
    let results = report.results.iter().map(|result| HealthResult {
        start: result.start.to_string(),
        end: result.end.to_string(),
        exit_code: i64::from(result.exit_code),
        output: result.output.clone(),
    });
    Some(Health {
        status: state.status.as_str().into(),
        failing_streak: i64::from(state.failing_streak),
        log: results.collect(),
    })
}

/// Returns the mounts a client sees: of those in memory only what the long form asked for.
pub(super) fn mounts(engine: &Engine, container: &Container) -> Vec<MountPoint> {
    let (config, requested) = (container.config(), container.requested());
    // What `--tmpfs` asks for is told by the host's half alone.
    let is_hidden = |destination| requested.host_config.tmpfs.contains_key(destination);
    // Volumed names an image by its place among them.
    let mut places = 0..;
    let mut all = Vec::new();
    for mount in &config.mounts {
        if is_hidden(&mount.destination) {
            continue;
        }
        let is_volume = matches!(mount.source, MountSource::Volume { .. });
        let mut point = MountPoint {
            destination: mount.destination.clone(),
            mode: mode(container, &mount.destination, is_volume),
            rw: !mount.read_only,
            ..MountPoint::default()
        };
        tell_source(engine, &mount.source, &mut point);
        if matches!(mount.source, MountSource::Image { .. }) {
            let place = places.next().unwrap_or_default();
            let mounted = volumed_api::image(&engine.instance, &container.run(), place);
            point.source = mounted.display().to_string();
        }
        all.push(point);
    }
    all
}

/// Says what a mount is of; where an image is, the run decides.
fn tell_source(engine: &Engine, source: &MountSource, point: &mut MountPoint) {
    match source {
        MountSource::Bind {
            host_path,
            propagation,
            ..
        } => {
            point.r#type = "bind".into();
            point.source.clone_from(host_path);
            point.propagation = propagation.as_str().into();
        }
        MountSource::Volume { name, .. } => {
            point.r#type = "volume".into();
            point.name = name.to_string();
            point.source = data_directory(&engine.instance, name).display().to_string();
            point.driver = "local".into();
        }
        MountSource::Image { reference, .. } => {
            point.r#type = "image".into();
            point.name.clone_from(reference);
            point.propagation = Propagation::default().as_str().into();
        }
        MountSource::Tmpfs { .. } => point.r#type = "tmpfs".into(),
    }
}
