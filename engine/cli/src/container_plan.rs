//! Options to the body of `POST /containers/create`. What is needed of the
//! client's host is gathered by [`gather`] first; [`plan`] is pure.

use std::path::Path;

use base::file::read_bounded;
use engine_api::config::{ContainerConfig, Healthcheck};
use engine_api::container::ContainerCreateBody;
use engine_api::host_config::{HostConfig, LogConfig, RestartPolicy};
use engine_api::network::NetworkingConfig;
use engine_api::wire::{Empty, StringList};

use crate::container_options::{
    AttachStream, ContainerOptions, HealthOptions, LimitOptions, NetworkOptions,
};
use crate::context::Environment;
use crate::error::CliError;
use crate::parse::security::{PROFILE_LIMIT_BYTES, SecurityOption};
use crate::parse::volume::{Volume, to_bind};
use crate::parse::{ParseError, env, label, network, refuse};

/// Bytes of an environment or label file.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// The network a container joins when none is named.
const DEFAULT_NETWORK: &str = "default";

/// Whether the container is watched by the command that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Foreground,
    Detached,
}

/// What the files named by the options hold.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Variables of all environment files.
    variables: Vec<String>,
    labels: Vec<String>,
    /// Seccomp profiles, in the order of their options.
    profiles: Vec<String>,
}

/// Reads the files that the options name.
///
/// # Errors
/// When one cannot be read or makes no sense.
pub(crate) fn gather(options: &ContainerOptions) -> Result<Gathered, CliError> {
    let mut gathered = Gathered::default();
    for path in &options.process.env_file {
        let content = read_text(path, FILE_LIMIT_BYTES)?;
        gathered
            .variables
            .extend(env::parse_file(&path.display().to_string(), &content)?);
    }
    for path in &options.general.label_file {
        gathered
            .labels
            .extend(label::parse_file(&read_text(path, FILE_LIMIT_BYTES)?)?);
    }
    for option in &options.security.security_opt {
        if let SecurityOption::SeccompFile(path) = option {
            gathered.profiles.push(read_profile(Path::new(path))?);
        }
    }
    Ok(gathered)
}

fn read_text(path: &Path, limit_bytes: u64) -> Result<String, CliError> {
    let content = read_bounded(path, limit_bytes)?;
    let text = String::from_utf8(content);
    text.map_err(|_| ParseError::new(format!("{} is not UTF-8 text", path.display())).into())
}

/// Reads a seccomp profile, in its shortest form.
fn read_profile(path: &Path) -> Result<String, CliError> {
    let text = read_text(path, PROFILE_LIMIT_BYTES)?;
    let profile: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
        ParseError::new(format!(
            "seccomp profile {} is not JSON: {error}",
            path.display()
        ))
    })?;
    Ok(profile.to_string())
}

/// Returns the body of the request.
///
/// # Errors
/// When options contradict each other.
pub(crate) fn plan(
    options: &ContainerOptions,
    mode: Mode,
    gathered: Gathered,
    environment: &Environment,
) -> Result<ContainerCreateBody, ParseError> {
    check(options, mode)?;
    let networking_config = networking(&options.network)?;
    let mut config = config(options, mode);
    let variables = gathered
        .variables
        .into_iter()
        .chain(options.process.env.iter().cloned());
    config.env = env::resolve(variables, &environment.variables);
    config.labels = label::to_map(gathered.labels.iter().chain(&options.general.label));
    let mut host_config = host_config(options, &environment.directory);
    apply_security(
        &mut host_config,
        &options.security.security_opt,
        gathered.profiles,
    );
    Ok(ContainerCreateBody {
        config,
        host_config,
        networking_config,
    })
}

fn check(options: &ContainerOptions, mode: Mode) -> Result<(), ParseError> {
    let general = &options.general;
    let restarts = general
        .restart
        .as_ref()
        .is_some_and(|policy| !policy.name.is_empty() && policy.name != "no");
    if general.rm && restarts {
        return refuse("conflicting options: cannot specify both --restart and --rm");
    }
    if general.log_driver.as_deref() == Some("none") && !general.log_opt.is_empty() {
        return refuse("invalid logging opts for driver none");
    }
    if mode == Mode::Detached && !options.process.attach.is_empty() {
        return refuse("conflicting options: cannot specify both --attach and --detach");
    }
    let limits = &options.resources.limits;
    if limits.cpus.is_some() && (limits.cpu_period.is_some() || limits.cpu_quota.is_some()) {
        return refuse(
            "conflicting options: cannot specify both --cpus and --cpu-period or --cpu-quota",
        );
    }
    Ok(())
}

fn config(options: &ContainerOptions, mode: Mode) -> ContainerConfig {
    let (process, network) = (&options.process, &options.network);
    let (image, command) = match options.image_and_command.split_first() {
        Some((image, command)) => (image.clone(), command.to_vec()),
        None => (String::new(), Vec::new()),
    };
    let anonymous = options
        .filesystem
        .volume
        .iter()
        .filter_map(|volume| match volume {
            Volume::Anonymous(target) => Some((target.clone(), Empty {})),
            Volume::Bind { .. } => None,
        });
    let published = network.publish.iter().flat_map(|publish| &publish.0);
    let exposed = published
        .map(|(port, _)| port)
        .chain(network.expose.iter().flat_map(|expose| &expose.0));
    let mut config = ContainerConfig {
        hostname: network.hostname.clone().unwrap_or_default(),
        domainname: network.domainname.clone().unwrap_or_default(),
        user: process.user.clone().unwrap_or_default(),
        exposed_ports: exposed.map(|port| (port.clone(), Empty {})).collect(),
        tty: process.tty,
        open_stdin: process.interactive,
        cmd: (!command.is_empty()).then_some(StringList(command)),
        healthcheck: healthcheck(&options.health),
        image,
        volumes: Some(anonymous.collect()),
        working_dir: process.workdir.clone().unwrap_or_default(),
        entrypoint: process
            .entrypoint
            .clone()
            .map(|word| StringList(vec![word])),
        stop_signal: process.stop_signal.clone().unwrap_or_default(),
        stop_timeout: process.stop_timeout,
        ..ContainerConfig::default()
    };
    attach(&mut config, &process.attach, mode);
    config
}

/// Says which streams the client watches.
fn attach(config: &mut ContainerConfig, streams: &[AttachStream], mode: Mode) {
    if mode == Mode::Detached {
        return;
    }
    let all = streams.is_empty();
    config.attach_stdin = streams.contains(&AttachStream::Stdin) || (all && config.open_stdin);
    config.attach_stdout = all || streams.contains(&AttachStream::Stdout);
    config.attach_stderr = all || streams.contains(&AttachStream::Stderr);
    config.stdin_once = config.open_stdin && config.attach_stdin;
}

fn healthcheck(options: &HealthOptions) -> Option<Healthcheck> {
    if options.no_healthcheck {
        return Some(Healthcheck {
            test: vec!["NONE".to_owned()],
            ..Healthcheck::default()
        });
    }
    let shell = |command: &String| vec!["CMD-SHELL".to_owned(), command.clone()];
    let check = Healthcheck {
        test: options.health_cmd.as_ref().map(shell).unwrap_or_default(),
        interval: options.health_interval.unwrap_or_default(),
        timeout: options.health_timeout.unwrap_or_default(),
        start_period: options.health_start_period.unwrap_or_default(),
        start_interval: options.health_start_interval.unwrap_or_default(),
        retries: options.health_retries.map(i64::from).unwrap_or_default(),
    };
    (check != Healthcheck::default()).then_some(check)
}

fn host_config(options: &ContainerOptions, directory: &Path) -> HostConfig {
    let mut host = HostConfig {
        auto_remove: options.general.rm,
        restart_policy: options
            .general
            .restart
            .clone()
            .unwrap_or_else(|| RestartPolicy {
                name: "no".to_owned(),
                maximum_retry_count: 0,
            }),
        log_config: LogConfig {
            r#type: options.general.log_driver.clone().unwrap_or_default(),
            config: label::to_map(&options.general.log_opt),
        },
        annotations: label::to_map(&options.general.annotation),
        runtime: options.general.runtime.clone().unwrap_or_default(),
        group_add: some(&options.process.group_add),
        init: options.process.init.then_some(true),
        ..HostConfig::default()
    };
    apply_filesystem(&mut host, options, directory);
    apply_network(&mut host, &options.network);
    apply_resources(&mut host, options);
    apply_privileges(&mut host, options);
    host
}

fn apply_filesystem(host: &mut HostConfig, options: &ContainerOptions, directory: &Path) {
    let filesystem = &options.filesystem;
    let binds = filesystem.volume.iter().filter_map(|volume| match volume {
        Volume::Anonymous(_) => None,
        Volume::Bind {
            source,
            target,
            mode,
        } => Some(to_bind(source, target, mode.as_deref(), directory)),
    });
    host.binds = some(&binds.collect::<Vec<_>>());
    host.mounts = filesystem.mount.clone();
    host.tmpfs = filesystem.tmpfs.iter().cloned().collect();
    host.readonly_rootfs = filesystem.read_only;
    host.volumes_from = some(&filesystem.volumes_from);
    host.volume_driver = filesystem.volume_driver.clone().unwrap_or_default();
    host.devices = some(&filesystem.device);
    host.device_cgroup_rules = some(&filesystem.device_cgroup_rule);
    host.shm_size = filesystem.shm_size.unwrap_or_default();
}

fn apply_network(host: &mut HostConfig, network: &NetworkOptions) {
    host.network_mode = match network.network.first() {
        Some(attachment) => attachment.network.clone(),
        None => DEFAULT_NETWORK.to_owned(),
    };
    for (port, binding) in network.publish.iter().flat_map(|publish| &publish.0) {
        let bindings = host.port_bindings.entry(port.clone()).or_default();
        bindings.get_or_insert_default().push(binding.clone());
    }
    host.publish_all_ports = network.publish_all;
    if !is_users_network(&host.network_mode) {
        host.links = some(&network.link);
    }
    host.extra_hosts = some(&network.add_host);
    host.dns = some(&network.dns);
    host.dns_search = some(&network.dns_search);
    host.dns_options = some(&network.dns_option);
}

/// Links are names on a user's network, and Docker's legacy links elsewhere.
fn is_users_network(mode: &str) -> bool {
    let known = matches!(mode, "default" | "bridge" | "host" | "none");
    !known && !mode.starts_with("container:")
}

fn apply_resources(host: &mut HostConfig, options: &ContainerOptions) {
    let resources = &options.resources;
    apply_limits(host, &resources.limits);
    host.ulimits = some(&resources.ulimit);
    host.memory_swappiness = resources.memory_swappiness;
    host.oom_kill_disable = resources.oom_kill_disable.then_some(true);
    host.blkio_weight_device = some(&resources.blkio_weight_device);
    host.blkio_device_read_bps = some(&resources.device_read_bps);
    host.blkio_device_write_bps = some(&resources.device_write_bps);
    host.blkio_device_read_iops = some(&resources.device_read_iops);
    host.blkio_device_write_iops = some(&resources.device_write_iops);
    host.oom_score_adj = resources.oom_score_adj.unwrap_or_default();
    host.device_requests = some(&resources.gpus);
    host.storage_opt = label::to_map(&resources.storage_opt);
    host.cgroup_parent = resources.cgroup_parent.clone().unwrap_or_default();
}

/// Sets the limits that are named; the others stay zero, which names none.
pub(crate) fn apply_limits(host: &mut HostConfig, limits: &LimitOptions) {
    host.memory = limits.memory.unwrap_or_default();
    host.memory_reservation = limits.memory_reservation.unwrap_or_default();
    host.memory_swap = limits.memory_swap.unwrap_or_default();
    host.nano_cpus = limits.cpus.unwrap_or_default();
    host.cpu_shares = limits.cpu_shares.unwrap_or_default();
    host.cpu_period = limits.cpu_period.unwrap_or_default();
    host.cpu_quota = limits.cpu_quota.unwrap_or_default();
    host.cpuset_cpus = limits.cpuset_cpus.clone().unwrap_or_default();
    host.cpuset_mems = limits.cpuset_mems.clone().unwrap_or_default();
    host.cpu_realtime_period = limits.cpu_rt_period.unwrap_or_default();
    host.cpu_realtime_runtime = limits.cpu_rt_runtime.unwrap_or_default();
    host.blkio_weight = limits.blkio_weight.unwrap_or_default();
    host.pids_limit = limits.pids_limit;
}

fn apply_privileges(host: &mut HostConfig, options: &ContainerOptions) {
    let security = &options.security;
    host.privileged = security.privileged;
    host.cap_add = some(&security.cap_add);
    host.cap_drop = some(&security.cap_drop);
    host.sysctls = label::to_map(&security.sysctl);
    host.isolation = security.isolation.clone().unwrap_or_default();
    host.pid_mode = security.pid.clone().unwrap_or_default();
    host.ipc_mode = security.ipc.clone().unwrap_or_default();
    host.uts_mode = security.uts.clone().unwrap_or_default();
    host.userns_mode = security.userns.clone().unwrap_or_default();
    host.cgroupns_mode = security.cgroupns.clone().unwrap_or_default();
}

fn apply_security(host: &mut HostConfig, options: &[SecurityOption], profiles: Vec<String>) {
    let mut profiles = profiles.into_iter();
    let mut list = Vec::new();
    for option in options {
        match option {
            SecurityOption::Plain(text) => list.push(text.clone()),
            SecurityOption::SeccompFile(_) => {
                list.extend(profiles.next().map(|profile| format!("seccomp={profile}")));
            }
            SecurityOption::SystemPathsUnconfined => {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }
        }
    }
    host.security_opt = some(&list);
}

/// Returns the networks to join; options without a network of their own belong
/// to the first.
fn networking(options: &NetworkOptions) -> Result<NetworkingConfig, ParseError> {
    let mut attachments = options.network.clone();
    let is_plain = options.network_alias.is_empty()
        && options.ip.is_none()
        && options.ip6.is_none()
        && options.mac_address.is_none()
        && options.link_local_ip.is_empty();
    if attachments.is_empty() && is_plain {
        return Ok(NetworkingConfig::default());
    }
    if attachments.is_empty() {
        attachments.push(network::parse(DEFAULT_NETWORK)?);
    }
    let first = &mut attachments[0].endpoint;
    if !options.network_alias.is_empty() {
        let aliases = first.aliases.get_or_insert_default();
        aliases.extend(options.network_alias.iter().cloned());
    }
    if is_users_network(&attachments[0].network) {
        attachments[0].endpoint.links = some(&options.link);
    }
    let first = &mut attachments[0].endpoint;
    if !options.link_local_ip.is_empty() {
        network::ipam(first)
            .link_local_ips
            .clone_from(&options.link_local_ip);
    }
    if let Some(ip) = &options.ip {
        network::ipam(first).ipv4_address.clone_from(ip);
    }
    if let Some(ip6) = &options.ip6 {
        network::ipam(first).ipv6_address.clone_from(ip6);
    }
    if let Some(mac_address) = &options.mac_address {
        first.mac_address.clone_from(mac_address);
    }
    let mut config = NetworkingConfig::default();
    for attachment in attachments {
        let (name, endpoint) = (attachment.network, Some(attachment.endpoint));
        if config
            .endpoints_config
            .insert(name.clone(), endpoint)
            .is_some()
        {
            return refuse(format!("network {name:?} is specified multiple times"));
        }
    }
    Ok(config)
}

/// Returns `None` for an empty list, as Docker sends it.
fn some<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    (!list.is_empty()).then(|| list.to_vec())
}

#[cfg(test)]
mod tests;
