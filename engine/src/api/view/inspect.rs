//! `docker inspect` of a container.

use base::Timestamp;
use engine_api::host_config::HostConfig;
use engine_api::inspect::{
    ContainerInspect, ContainerState as WireState, GraphDriver, Health, HealthResult, NEVER,
};
use engine_api::mount::MountPoint;
use engine_model::container::LogDriver;
use engine_model::{MountSource, Status};
use volumed_api::query::data_directory;

use super::network;
use crate::Engine;
use crate::container::{Container, links, lock, logs};
use crate::error::Result;

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
    let file = |name: &str| container.directory().join(name).display().to_string();
    let (path, args) = config
        .process
        .arguments
        .split_first()
        .map_or_else(Default::default, |(path, args)| {
            (path.clone(), args.to_vec())
        });
    let execs = engine.execs.running_in(&config.id);
    // Docker names no file of the other drivers, whose format is nobody's business,
    // and none before there is one.
    let is_named = matches!(config.log, LogDriver::JsonFile { .. }) && state.started.is_some();
    let log_path = logs::place(container)
        .filter(|_| is_named)
        .map_or_else(String::new, |place| place.file(0).display().to_string());
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
        log_path,
        name: format!("/{}", container.name()),
        restart_count: i64::from(state.restarts),
        driver: "overlay2".into(),
        platform: "linux".into(),
        exec_ids: Some(execs).filter(|execs| !execs.is_empty()),
        host_config: HostConfig {
            links: links::shown(engine, container),
            ..container.requested().host_config.clone()
        },
        graph_driver: GraphDriver {
            name: "overlay2".into(),
            ..GraphDriver::default()
        },
        mounts: mounts(engine, container),
        config: container.requested().config.clone(),
        network_settings: network::settings(engine, container, lease.as_ref()),
        ..ContainerInspect::default()
    })
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
        health: health(container),
    }
}

fn health(container: &Container) -> Option<Health> {
    container.config().health.as_ref()?;
    let report = lock(&container.health);
    let results = report.results.iter().map(|result| HealthResult {
        start: result.start.to_string(),
        end: result.end.to_string(),
        exit_code: i64::from(result.exit_code),
        output: result.output.clone(),
    });
    let state = report
        .state
        .unwrap_or_else(engine_model::HealthState::starting);
    Some(Health {
        status: state.status.as_str().into(),
        failing_streak: i64::from(state.failing_streak),
        log: results.collect(),
    })
}

/// Returns the mounts a client sees: binds and volumes, not tmpfs.
pub(super) fn mounts(engine: &Engine, container: &Container) -> Vec<MountPoint> {
    let point = |mount: &engine_model::MountConfig| {
        let mut point = MountPoint {
            destination: mount.destination.clone(),
            mode: if mount.read_only {
                "ro".into()
            } else {
                String::new()
            },
            rw: !mount.read_only,
            ..MountPoint::default()
        };
        match &mount.source {
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
            MountSource::Tmpfs { .. } => point.r#type = "tmpfs".into(),
        }
        point
    };
    container.config().mounts.iter().map(point).collect()
}
