//! The bundle: facts gathered from helpers and the root filesystem, and the
//! planned specification.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::PathBuf;

use base::file::{FileMode, make_directories, replace};
use base::{Instance, PathContext as _, RunId};
use engine_model::container::{NamespaceMode, NetworkMode};
use engine_model::plan::{BlockDevices, ResolvedMount, StartFacts, plan_spec};
use engine_model::resources::BlockIo;
use engine_model::{MountConfig, MountSource};
use netd_api::Attached;
use volumed_api::RootfsMounted;

use super::{propagation, shared_memory, small_files};
use crate::Engine;
use crate::container::{Container, links, user};
use crate::error::{OrFail as _, Result, conflict, internal, invalid};

/// Writes `bundle/config.json` and the small files it names.
///
/// # Errors
/// When a user or device is not there, or a file cannot be written.
pub(super) fn write_bundle(
    engine: &Engine,
    container: &Container,
    run: &RunId,
    (attached, mounted): (Option<&Attached>, &RootfsMounted),
) -> Result<()> {
    let facts = gather(engine, container, run, (attached, mounted))?;
    let spec = plan_spec(&container.config(), &facts).or_invalid()?;
    let bundle = container.directory().join("bundle");
    make_directories(&bundle, 0o700).or_internal()?;
    let content = serde_json::to_vec(&spec).or_internal()?;
    replace(&bundle.join("config.json"), &content, FileMode::Private).or_internal()
}

fn gather(
    engine: &Engine,
    container: &Container,
    run: &RunId,
    (attached, mounted): (Option<&Attached>, &RootfsMounted),
) -> Result<StartFacts> {
    let config = &container.config();
    refuse_device_requests(container)?;
    let user = user::resolve(
        &mounted.rootfs,
        &config.process.user,
        &config.process.additional_groups,
    )
    // Known only now: as with Docker, not the fault of the request that starts it.
    .map_err(|failure| internal(failure.message))?;
    let links = links::linked(engine, container)?;
    let files = small_files::provide(engine, container, attached, &links)?;
    Ok(StartFacts {
        rootfs: mounted.rootfs.clone(),
        mounts: resolved_mounts(&config.mounts, mounted)?,
        network_namespace: network_namespace(engine, container, run)?,
        user_namespace: user_namespace(engine, container, run)?,
        pid_namespace: shared_namespace(engine, &config.pid_mode, "pid")?,
        ipc_namespace: shared_namespace(engine, &config.ipc_mode, "ipc")?,
        shared_memory: shared_memory::find(engine, container)?,
        user,
        cgroup: cgroup_of(&engine.instance, container),
        hosts_file: Some(files.hosts),
        hostname_file: Some(files.hostname),
        resolv_conf: Some(files.resolv_conf),
        security: crate::container::create::security_profile(&config.security)?,
        init: config.process.init.then(|| engine.binaries.shim.clone()),
        name: container.name(),
        block_devices: block_devices(&config.resources.block_io)?,
        links,
    })
}

/// No driver of devices is there that `--gpus` could select.
fn refuse_device_requests(container: &Container) -> Result<()> {
    let requested = container.requested();
    let requests = requested.host_config.device_requests.as_deref();
    let Some(request) = requests.unwrap_or_default().first() else {
        return Ok(());
    };
    let driver = request["Driver"].as_str().unwrap_or_default();
    let words = |set: &serde_json::Value| {
        let words = set.as_array().into_iter().flatten();
        let words: Vec<&str> = words.filter_map(serde_json::Value::as_str).collect();
        format!("[{}]", words.join(" "))
    };
    let sets = request["Capabilities"].as_array().into_iter().flatten();
    let sets: Vec<String> = sets.map(words).collect();
    Err(invalid(format!(
        "could not select device driver {driver:?} with capabilities: [{}]",
        sets.join(" ")
    )))
}

/// Returns the numbers of the devices that limits name.
fn block_devices(limits: &BlockIo) -> Result<BlockDevices> {
    let numbers = |path: &str| {
        let found = std::fs::metadata(path).at("look at", path).or_invalid()?;
        if !found.file_type().is_block_device() {
            return Err(invalid(format!("{path} is no block device")));
        }
        let device = found.rdev();
        let numbers = (rustix::fs::major(device), rustix::fs::minor(device));
        Ok((path.to_owned(), numbers))
    };
    limits.devices().map(numbers).collect()
}

/// Returns the cgroup of a container, relative to each hierarchy.
pub(crate) fn cgroup_of(instance: &Instance, container: &Container) -> String {
    match &container.config().cgroup_parent {
        Some(parent) => format!("{parent}/{}", container.id),
        None => format!("{}/{}", instance.cgroup_parent(), container.id),
    }
}

/// Matches volumed's three lists, each in the order of the request, to the mounts.
fn resolved_mounts(mounts: &[MountConfig], mounted: &RootfsMounted) -> Result<Vec<ResolvedMount>> {
    let mut volumes = mounted.volumes.iter();
    let mut binds = mounted.binds.iter();
    let mut images = mounted.images.iter();
    let mut table = propagation::Table::default();
    let missing = || internal("volumed answered with fewer mounts than asked for");
    let resolve = |mount: &MountConfig| {
        let host_path = match &mount.source {
            MountSource::Tmpfs { .. } => None,
            MountSource::Volume { .. } => Some(volumes.next().ok_or_else(missing)?.path.clone()),
            MountSource::Image { .. } => Some(images.next().ok_or_else(missing)?.clone()),
            MountSource::Bind { propagation, .. } => {
                let source = &binds.next().ok_or_else(missing)?.source;
                table.check(source, *propagation)?;
                Some(source.clone())
            }
        };
        Ok(ResolvedMount { host_path })
    };
    mounts.iter().map(resolve).collect()
}

fn network_namespace(
    engine: &Engine,
    container: &Container,
    run: &RunId,
) -> Result<Option<PathBuf>> {
    match &container.config().network {
        NetworkMode::Host => Ok(None),
        NetworkMode::None | NetworkMode::Networks(_) => {
            Ok(Some(engine.instance.network_namespace(run)))
        }
        NetworkMode::Container(id) => {
            let other = live(engine, id)?;
            Ok(Some(PathBuf::from(format!(
                "/proc/{}/ns/net",
                other.state().pid
            ))))
        }
    }
}

/// Returns the user namespace of a container that has one: whoever shares a
/// namespace with another shares the user namespace it belongs to.
fn user_namespace(engine: &Engine, container: &Container, run: &RunId) -> Result<Option<PathBuf>> {
    let config = container.config();
    if config.user_namespace.is_none() {
        return Ok(None);
    }
    let owner = match (&config.network, &config.pid_mode, &config.ipc_mode) {
        (NetworkMode::Container(id), _, _)
        | (_, NamespaceMode::Container(id), _)
        | (_, _, NamespaceMode::Container(id)) => id,
        _ => return Ok(Some(engine.instance.user_namespace(run))),
    };
    let pid = live(engine, owner)?.state().pid;
    Ok(Some(PathBuf::from(format!("/proc/{pid}/ns/user"))))
}

fn shared_namespace(engine: &Engine, mode: &NamespaceMode, kind: &str) -> Result<Option<PathBuf>> {
    let NamespaceMode::Container(id) = mode else {
        return Ok(None);
    };
    let other = live(engine, id)?;
    Ok(Some(PathBuf::from(format!(
        "/proc/{}/ns/{kind}",
        other.state().pid
    ))))
}

/// Returns a container whose namespaces are joined.
pub(super) fn live(engine: &Engine, id: &base::ContainerId) -> Result<std::sync::Arc<Container>> {
    let container = engine
        .containers
        .by_id(id)
        .filter(|container| container.state().pid != 0);
    container.ok_or_else(|| {
        conflict(format!(
            "cannot join namespaces of container {id}: it is not running"
        ))
    })
}
