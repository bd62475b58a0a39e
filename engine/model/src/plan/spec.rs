//! The OCI runtime specification of one start (runtime-spec 1.2).

use std::collections::HashMap;
use std::path::PathBuf;

use oci_spec::runtime::{
    BoxBuilder, Capabilities, Linux, LinuxBuilder, LinuxCapabilities, LinuxCapabilitiesBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, PosixRlimit, PosixRlimitBuilder,
    PosixRlimitType, Process, ProcessBuilder, RootBuilder, Spec, SpecBuilder, UserBuilder,
};

use super::block_io::BlockDevices;
use super::limits::resources;
use super::links::{LinkedContainer, linked_environment};
use super::mounts::{INIT_PATH, ResolvedMount, plan_mounts};
use crate::container::{ContainerConfig, NamespaceMode, NetworkMode, ProcessConfig};
use crate::resources::Resources;
use crate::security::SecurityProfile;

/// What had to be looked up on the host before the specification can be written.
#[derive(Debug, Clone)]
pub struct StartFacts {
    pub rootfs: PathBuf,
    /// In the order of [`ContainerConfig::mounts`].
    pub mounts: Vec<ResolvedMount>,
    /// The namespace to join; `None` with [`NetworkMode::Host`] only.
    pub network_namespace: Option<PathBuf>,
    /// The user namespace to join, which the network namespace belongs to; its
    /// mappings are the configuration's.
    pub user_namespace: Option<PathBuf>,
    /// `/proc/<pid>/ns` of the container whose PID namespace is shared.
    pub pid_namespace: Option<PathBuf>,
    pub ipc_namespace: Option<PathBuf>,
    /// The shared memory directory of the container whose IPC namespace is shared.
    pub shared_memory: Option<PathBuf>,
    pub user: ResolvedUser,
    pub cgroup: String,
    pub hosts_file: Option<PathBuf>,
    pub hostname_file: Option<PathBuf>,
    pub resolv_conf: Option<PathBuf>,
    pub security: SecurityProfile,
    /// The init to put in front of the process.
    pub init: Option<PathBuf>,
    /// What the container is called, without a slash.
    pub name: String,
    /// The devices that limits name.
    pub block_devices: BlockDevices,
    /// The other ends of its links.
    pub links: Vec<LinkedContainer>,
}

/// The user a process runs as, looked up in the root filesystem.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvedUser {
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    /// From the passwd file, `/` if it has no entry.
    pub home: String,
}

/// Why no specification can be made.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    #[error("no numbers of the block device {0}")]
    BlockDevice(String),
    #[error("cannot build the {part} of the OCI specification")]
    Build {
        part: &'static str,
        source: oci_spec::OciSpecError,
    },
}

pub(super) fn build<T>(
    part: &'static str,
    result: Result<T, oci_spec::OciSpecError>,
) -> Result<T, SpecError> {
    result.map_err(|source| SpecError::Build { part, source })
}

/// Returns the specification of one start of `config`.
///
/// # Errors
/// When a ulimit has a name the specification does not know.
pub fn plan_spec(config: &ContainerConfig, facts: &StartFacts) -> Result<Spec, SpecError> {
    let root = build(
        "root",
        RootBuilder::default()
            .path(&facts.rootfs)
            .readonly(config.read_only)
            .build(),
    )?;
    let mut process = process(config, facts)?;
    if config.process.init {
        prepend_init(&mut process);
    }
    let spec = SpecBuilder::default()
        .version("1.2.0")
        .root(root)
        .mounts(plan_mounts(config, facts))
        .process(process)
        .linux(linux(config, facts)?);
    let mut spec = build("document", spec.build())?;
    // The crate's defaults name a host of their own.
    let own_host_name = config.uts_mode != NamespaceMode::Host;
    spec.set_hostname(own_host_name.then(|| config.hostname.clone()));
    if !config.domainname.is_empty() {
        spec.set_domainname(Some(config.domainname.clone()));
    }
    spec.set_annotations(Some(config.annotations.clone().into_iter().collect()));
    Ok(spec)
}

fn prepend_init(process: &mut Process) {
    let mut arguments = vec![INIT_PATH.to_owned(), "--".to_owned()];
    arguments.extend(process.args().clone().unwrap_or_default());
    process.set_args(Some(arguments));
}

/// Returns the process JSON of an exec: the container's own limits and rights.
///
/// # Errors
/// As [`plan_spec`].
pub fn exec_process(
    process: &ProcessConfig,
    resources: &Resources,
    user: &ResolvedUser,
    security: &SecurityProfile,
) -> Result<Process, SpecError> {
    let user_spec = build("user", user_builder(user).build())?;
    let spec = ProcessBuilder::default()
        .terminal(process.terminal)
        .user(user_spec)
        .args(process.arguments.clone())
        .env(environment(process, user))
        .cwd(working_directory(process))
        .capabilities(capabilities(user, security)?)
        .rlimits(rlimits(resources)?)
        .no_new_privileges(security.no_new_privileges);
    let spec = match &security.apparmor_profile {
        Some(profile) => spec.apparmor_profile(profile),
        None => spec,
    };
    let mut built = build("process", spec.build())?;
    built.set_oom_score_adj(resources.oom_score_adj);
    if let Some(size) = process.console_size.filter(|_| process.terminal) {
        let size = BoxBuilder::default().height(size.rows).width(size.columns);
        built.set_console_size(Some(build("console size", size.build())?));
    }
    Ok(built)
}

fn process(config: &ContainerConfig, facts: &StartFacts) -> Result<Process, SpecError> {
    let process = ProcessConfig {
        environment: linked_environment(config, &facts.name, &facts.links),
        ..config.process.clone()
    };
    exec_process(&process, &config.resources, &facts.user, &facts.security)
}

fn user_builder(user: &ResolvedUser) -> UserBuilder {
    UserBuilder::default()
        .uid(user.uid)
        .gid(user.gid)
        .additional_gids(user.additional_gids.clone())
}

fn working_directory(process: &ProcessConfig) -> &str {
    if process.working_directory.is_empty() {
        "/"
    } else {
        &process.working_directory
    }
}

/// Adds what Docker adds when the user and the image say nothing: PATH, HOME
/// and, for a terminal, TERM.
fn environment(process: &ProcessConfig, user: &ResolvedUser) -> Vec<String> {
    let mut all = process.environment.clone();
    let mut default = |name: &str, value: &str| {
        let is_set = all
            .iter()
            .any(|entry| entry.split('=').next() == Some(name));
        if !is_set {
            all.push(format!("{name}={value}"));
        }
    };
    default(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    default(
        "HOME",
        if user.home.is_empty() {
            "/"
        } else {
            &user.home
        },
    );
    if process.terminal {
        default("TERM", "xterm");
    }
    all
}

/// A user other than root starts with an empty effective set, as with Docker:
/// the kernel would clear it at the exec anyway.
fn capabilities(
    user: &ResolvedUser,
    security: &SecurityProfile,
) -> Result<LinuxCapabilities, SpecError> {
    let all: Capabilities = security.capabilities.iter().copied().collect();
    let kept = if user.uid == 0 {
        all.clone()
    } else {
        Capabilities::new()
    };
    let built = LinuxCapabilitiesBuilder::default()
        .bounding(all)
        .permitted(kept.clone())
        .effective(kept)
        .inheritable(Capabilities::new())
        .ambient(Capabilities::new())
        .build();
    build("capabilities", built)
}

fn rlimits(resources: &Resources) -> Result<Vec<PosixRlimit>, SpecError> {
    resources
        .ulimits
        .iter()
        .map(|limit| {
            let name = format!("RLIMIT_{}", limit.name.to_ascii_uppercase());
            let kind: PosixRlimitType = serde_json::from_value(name.into())
                .map_err(|_| SpecError::Ulimit(limit.name.clone()))?;
            build(
                "rlimit",
                PosixRlimitBuilder::default()
                    .typ(kind)
                    .soft(limit.soft)
                    .hard(limit.hard)
                    .build(),
            )
        })
        .collect()
}

fn linux(config: &ContainerConfig, facts: &StartFacts) -> Result<Linux, SpecError> {
    let security = &facts.security;
    let sysctls: HashMap<String, String> = config.sysctls.clone().into_iter().collect();
    let linux = LinuxBuilder::default()
        .namespaces(namespaces(config, facts)?)
        .resources(resources(
            &config.resources,
            security.device_rules.clone(),
            &facts.block_devices,
        )?)
        .cgroups_path(&facts.cgroup)
        .devices(security.devices.clone())
        .masked_paths(security.masked_paths.clone())
        .readonly_paths(security.readonly_paths.clone())
        .sysctl(sysctls);
    let linux = match &security.seccomp {
        Some(seccomp) => linux.seccomp(seccomp.clone()),
        None => linux,
    };
    let mut built = build("linux section", linux.build())?;
    built.set_rootfs_propagation(None);
    Ok(built)
}

fn namespaces(
    config: &ContainerConfig,
    facts: &StartFacts,
) -> Result<Vec<LinuxNamespace>, SpecError> {
    use LinuxNamespaceType as T;
    let mut wanted: Vec<(T, Option<PathBuf>)> = vec![(T::Mount, None)];
    let mut add = |kind: T, mode: &NamespaceMode, path: &Option<PathBuf>| match mode {
        NamespaceMode::Private => wanted.push((kind, None)),
        NamespaceMode::Host => {}
        NamespaceMode::Container(_) => wanted.push((kind, path.clone())),
    };
    add(T::Uts, &config.uts_mode, &None);
    add(T::Ipc, &config.ipc_mode, &facts.ipc_namespace);
    add(T::Pid, &config.pid_mode, &facts.pid_namespace);
    add(T::Cgroup, &config.cgroupns_mode, &None);
    if config.network != NetworkMode::Host {
        wanted.push((T::Network, facts.network_namespace.clone()));
    }
    if let Some(path) = &facts.user_namespace {
        wanted.push((T::User, Some(path.clone())));
    }
    let namespace = |(kind, path): (T, Option<PathBuf>)| {
        let builder = LinuxNamespaceBuilder::default().typ(kind);
        let builder = match path {
            Some(path) => builder.path(path),
            None => builder,
        };
        build("namespace", builder.build())
    };
    wanted.into_iter().map(namespace).collect()
}
