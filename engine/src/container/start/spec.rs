//! The bundle: facts gathered from helpers and the root filesystem, the
//! planned specification, and the small files beside it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use base::file::{FileMode, make_directories, replace};
use base::{Instance, RunId};
use engine_model::container::{DnsConfig, NamespaceMode, NetworkMode};
use engine_model::plan::{ResolvedMount, StartFacts, hosts_file, plan_spec, resolv_conf};
use engine_model::{MountConfig, MountSource};
use netd_api::Attached;
use volumed_api::RootfsMounted;

use crate::Engine;
use crate::container::{Container, files, user};
use crate::error::{OrFail as _, Result, conflict, internal, invalid};

/// Writes `bundle/config.json` and the files it names.
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
    let spec = plan_spec(&container.config, &facts).or_invalid()?;
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
    let config = &container.config;
    let user = user::resolve(
        &mounted.rootfs,
        &config.process.user,
        &config.process.additional_groups,
    )?;
    let files = write_files(container, attached)?;
    Ok(StartFacts {
        rootfs: mounted.rootfs.clone(),
        mounts: resolved_mounts(&config.mounts, mounted)?,
        network_namespace: network_namespace(engine, container, run)?,
        pid_namespace: shared_namespace(engine, &config.pid_mode, "pid")?,
        ipc_namespace: shared_namespace(engine, &config.ipc_mode, "ipc")?,
        shared_memory: shared_memory(engine, &config.ipc_mode)?,
        user,
        cgroup: cgroup_of(&engine.instance, container),
        hosts_file: Some(files.hosts),
        hostname_file: Some(files.hostname),
        resolv_conf: Some(files.resolv_conf),
        security: crate::container::create::security_profile(&config.security)?,
        init: config.process.init.then(|| engine.binaries.shim.clone()),
    })
}

/// Returns the cgroup of a container, relative to each hierarchy.
pub(crate) fn cgroup_of(instance: &Instance, container: &Container) -> String {
    format!("{}/{}", instance.cgroup_parent(), container.config.id)
}

/// Matches volumed's two lists, each in the order of the request, to the mounts.
fn resolved_mounts(mounts: &[MountConfig], mounted: &RootfsMounted) -> Result<Vec<ResolvedMount>> {
    let mut volumes = mounted.volumes.iter();
    let mut binds = mounted.binds.iter();
    let missing = || internal("volumed answered with fewer mounts than asked for");
    let resolve = |mount: &MountConfig| {
        let host_path = match &mount.source {
            MountSource::Tmpfs { .. } => None,
            MountSource::Volume { .. } => Some(volumes.next().ok_or_else(missing)?.path.clone()),
            MountSource::Bind { .. } => Some(binds.next().ok_or_else(missing)?.source.clone()),
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
    match &container.config.network {
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

fn shared_memory(engine: &Engine, mode: &NamespaceMode) -> Result<Option<PathBuf>> {
    let id = match mode {
        NamespaceMode::Container(id) => id,
        NamespaceMode::Host => return host_has_shared_memory().map(|()| None),
        NamespaceMode::Private => return Ok(None),
    };
    let other = live(engine, id)?;
    Ok(Some(PathBuf::from(format!(
        "/proc/{}/root/dev/shm",
        other.state().pid
    ))))
}

/// The host's own are bound into a container that shares its IPC namespace.
fn host_has_shared_memory() -> Result<()> {
    let needed = ["/dev/shm", "/dev/mqueue"];
    match needed.iter().find(|path| !Path::new(path).is_dir()) {
        Some(path) => Err(invalid(format!(
            "{path} is not mounted, but must be for --ipc=host"
        ))),
        None => Ok(()),
    }
}

fn live(engine: &Engine, id: &base::ContainerId) -> Result<std::sync::Arc<Container>> {
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

struct SmallFiles {
    hosts: PathBuf,
    hostname: PathBuf,
    resolv_conf: PathBuf,
}

/// hosts, hostname and resolv.conf are bind-mounted, hence rewritten in place.
fn write_files(container: &Container, attached: Option<&Attached>) -> Result<SmallFiles> {
    let directory = container.directory();
    let config = &container.config;
    let paths = SmallFiles {
        hosts: directory.join("hosts"),
        hostname: directory.join("hostname"),
        resolv_conf: directory.join("resolv.conf"),
    };
    let own: Vec<(IpAddr, Vec<String>)> = attached
        .iter()
        .flat_map(|attached| &attached.endpoints)
        .map(|endpoint| (IpAddr::V4(endpoint.ipv4.addr()), host_names(config)))
        .collect();
    let gateway = attached
        .iter()
        .flat_map(|a| &a.endpoints)
        .find_map(|endpoint| endpoint.gateway)
        .map(IpAddr::V4);
    let extra = extra_hosts(config, gateway)?;
    let hosts = if config.network == NetworkMode::Host && extra.is_empty() {
        files::host_file(Path::new("/etc/hosts"))?
    } else {
        hosts_file(&own, &extra)
    };
    let resolver = match attached {
        Some(attached) => resolv_conf(&DnsConfig {
            servers: attached.resolver.servers.clone(),
            search: attached.resolver.search.clone(),
            options: attached.resolver.options.clone(),
        }),
        None if config.dns.servers.is_empty() => files::host_file(Path::new("/etc/resolv.conf"))?,
        None => resolv_conf(&config.dns),
    };
    files::write_in_place(&paths.hosts, &hosts)?;
    files::write_in_place(&paths.hostname, &format!("{}\n", config.hostname))?;
    files::write_in_place(&paths.resolv_conf, &resolver)?;
    Ok(paths)
}

fn host_names(config: &engine_model::ContainerConfig) -> Vec<String> {
    let mut names = vec![config.hostname.clone()];
    if !config.domainname.is_empty() {
        names.insert(0, format!("{}.{}", config.hostname, config.domainname));
    }
    names
}

fn extra_hosts(
    config: &engine_model::ContainerConfig,
    gateway: Option<IpAddr>,
) -> Result<Vec<(String, IpAddr)>> {
    let address = |host: &engine_model::container::ExtraHost| {
        let found = host.address.or(gateway);
        let missing = || {
            conflict(format!(
                "cannot resolve host-gateway for {}: no network has a gateway",
                host.name
            ))
        };
        Ok((host.name.clone(), found.ok_or_else(missing)?))
    };
    config.extra_hosts.iter().map(address).collect()
}
