//! The options that `create` and `run` share, as clap reads them: values are
//! checked one by one here, together with the host in `container_plan`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use engine_api::host_config::{DeviceMapping, RestartPolicy, ThrottleDevice, Ulimit, WeightDevice};
use engine_api::mount::Mount;
use serde_json::Value;

use crate::parse::network::Attachment;
use crate::parse::port::{Expose, Publish};
use crate::parse::security::SecurityOption;
use crate::parse::volume::Volume;
use crate::parse::{
    block_io, cpus, device, duration, env, gpus, label, mount, network, port, restart, security,
    size, ulimit, volume,
};

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    Always,
    Missing,
    Never,
}

/// A standard stream to attach to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AttachStream {
    Stdin,
    Stdout,
    Stderr,
}

/// What `create` and `run` take.
#[derive(Debug, Clone, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct ContainerOptions {
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    #[command(flatten)]
    pub general: GeneralOptions,
    #[command(flatten)]
    pub process: ProcessOptions,
    #[command(flatten)]
    pub filesystem: FilesystemOptions,
    #[command(flatten)]
    pub network: NetworkOptions,
    #[command(flatten)]
    pub resources: ResourceOptions,
    #[command(flatten)]
    pub security: SecurityOptions,
    #[command(flatten)]
    pub health: HealthOptions,

    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub image_and_command: Vec<String>,
}

/// Identity, image and logs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "General")]
pub(crate) struct GeneralOptions {
    /// Assign a name to the container
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Write the container's id to the file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Pull the image before running
    #[arg(long, value_name = "WHEN", default_value = "missing", value_enum)]
    pub pull: PullPolicy,
    /// Suppress the pull's output
    #[arg(short, long)]
    pub quiet: bool,
    /// Platform of the image, os/arch[/variant]
    #[arg(long, value_name = "PLATFORM")]
    pub platform: Option<String>,
    /// Set a label, key or key=value
    #[arg(short, long, value_name = "LABEL", value_parser = label::parse)]
    pub label: Vec<String>,
    /// Read labels from a file, one a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Pass an annotation to the runtime
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    pub annotation: Vec<String>,
    /// Remove the container and its anonymous volumes when it exits
    #[arg(long)]
    pub rm: bool,
    /// What to do when the container exits
    #[arg(long, value_name = "POLICY", value_parser = restart::parse)]
    pub restart: Option<RestartPolicy>,
    /// Log driver
    #[arg(long, value_name = "DRIVER")]
    pub log_driver: Option<String>,
    /// Log driver option
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    pub log_opt: Vec<String>,
    /// Runtime to use for this container
    #[arg(long, value_name = "RUNTIME")]
    pub runtime: Option<String>,
}

/// What runs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub(crate) struct ProcessOptions {
    /// Keep stdin open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub tty: bool,
    /// Attach to stdin, stdout or stderr
    #[arg(short, long, value_name = "STREAM", value_enum, ignore_case = true)]
    pub attach: Vec<AttachStream>,
    /// Set an environment variable; without a value, the client's own
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = env::parse)]
    pub env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// User, <name|uid>[:<group|gid>]
    #[arg(short, long, value_name = "USER")]
    pub user: Option<String>,
    /// Additional groups
    #[arg(long, value_name = "GROUP")]
    pub group_add: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Overwrite the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Run an init that forwards signals and reaps processes
    #[arg(long)]
    pub init: bool,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// Seconds to wait after it before killing
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub stop_timeout: Option<i64>,
}

/// What it sees of files.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filesystem")]
pub(crate) struct FilesystemOptions {
    /// Mount a volume or a directory, [SOURCE:]TARGET[:MODE]
    #[arg(short, long, value_name = "VOLUME", value_parser = volume::parse)]
    pub volume: Vec<Volume>,
    /// Mount, type=bind|volume|tmpfs|image,source=...,target=...
    #[arg(long, value_name = "MOUNT", value_parser = mount::parse)]
    pub mount: Vec<Mount>,
    /// Mount a tmpfs, PATH[:OPTIONS]
    #[arg(long, value_name = "TMPFS", value_parser = mount::parse_tmpfs)]
    pub tmpfs: Vec<(String, String)>,
    /// Mount the volumes of another container, CONTAINER[:ro]
    #[arg(long, value_name = "CONTAINER")]
    pub volumes_from: Vec<String>,
    /// Driver of the volumes that are made
    #[arg(long, value_name = "DRIVER")]
    pub volume_driver: Option<String>,
    /// Mount the root filesystem read-only
    #[arg(long)]
    pub read_only: bool,
    /// Give a device of the host
    #[arg(long, value_name = "DEVICE", value_parser = device::parse)]
    pub device: Vec<DeviceMapping>,
    /// Add a rule to the devices allowed
    #[arg(long, value_name = "RULE")]
    pub device_cgroup_rule: Vec<String>,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub shm_size: Option<i64>,
}

/// What it sees of networks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// Publish a port, [IP:][HOST:]CONTAINER[/PROTOCOL]
    #[arg(short, long, value_name = "PORT", value_parser = port::parse)]
    pub publish: Vec<Publish>,
    /// Publish all exposed ports to free ports
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Expose a port or a range
    #[arg(long, value_name = "PORT", value_parser = port::parse_expose)]
    pub expose: Vec<Expose>,
    /// Connect to a network
    #[arg(long, alias = "net", value_name = "NETWORK", value_parser = network::parse)]
    pub network: Vec<Attachment>,
    /// Add a name within the network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// IPv4 address
    #[arg(long, value_name = "ADDRESS", value_parser = network::check_ip)]
    pub ip: Option<String>,
    /// IPv6 address
    #[arg(long, value_name = "ADDRESS", value_parser = network::check_ip)]
    pub ip6: Option<String>,
    /// Link-local address
    #[arg(long, value_name = "ADDRESS", value_parser = network::check_ip)]
    pub link_local_ip: Vec<String>,
    /// Call another container by a name that only this one knows, NAME[:ALIAS]
    #[arg(long, value_name = "NAME")]
    pub link: Vec<String>,
    /// MAC address
    #[arg(long, value_name = "ADDRESS", value_parser = network::mac_address)]
    pub mac_address: Option<String>,
    /// Host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,
    /// Add a line to /etc/hosts, HOST:IP
    #[arg(long, value_name = "HOST:IP", value_parser = network::extra_host)]
    pub add_host: Vec<String>,
    /// DNS server
    #[arg(long, value_name = "ADDRESS", value_parser = network::check_ip)]
    pub dns: Vec<String>,
    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// DNS option
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
}

/// How much it may use, which can be changed later.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub(crate) struct LimitOptions {
    /// Memory limit
    #[arg(short, long, value_name = "SIZE", value_parser = size::parse)]
    pub memory: Option<i64>,
    /// Memory soft limit
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub memory_reservation: Option<i64>,
    /// Memory and swap together; -1 is no limit
    #[arg(long, value_name = "SIZE", value_parser = size::parse_or_unlimited)]
    #[arg(allow_negative_numbers = true)]
    pub memory_swap: Option<i64>,
    /// Number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = cpus::parse)]
    pub cpus: Option<i64>,
    /// CPU shares, relative
    #[arg(short = 'c', long, value_name = "NUMBER")]
    pub cpu_shares: Option<i64>,
    /// CFS period in microseconds
    #[arg(long, value_name = "NUMBER")]
    pub cpu_period: Option<i64>,
    /// CFS quota in microseconds
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub cpu_quota: Option<i64>,
    /// CPUs to run on, 0-3 or 0,1
    #[arg(long, value_name = "CPUS")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use
    #[arg(long, value_name = "NODES")]
    pub cpuset_mems: Option<String>,
    /// Real-time period in microseconds
    #[arg(long, value_name = "NUMBER")]
    pub cpu_rt_period: Option<i64>,
    /// Real-time runtime in microseconds
    #[arg(long, value_name = "NUMBER")]
    pub cpu_rt_runtime: Option<i64>,
    /// Weight of its block I/O, 10 to 1000
    #[arg(long, value_name = "NUMBER")]
    pub blkio_weight: Option<u16>,
    /// Number of processes; -1 is no limit
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub pids_limit: Option<i64>,
}

/// How much it may use.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Resources")]
pub(crate) struct ResourceOptions {
    #[command(flatten)]
    pub limits: LimitOptions,
    /// Resource limit, NAME=SOFT[:HARD]
    #[arg(long, value_name = "LIMIT", value_parser = ulimit::parse)]
    pub ulimit: Vec<Ulimit>,
    /// How readily its memory is swapped out, 0 to 100
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub memory_swappiness: Option<i64>,
    /// Do not kill it when memory is short
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// Weight of its I/O on a device, PATH:WEIGHT
    #[arg(long, value_name = "DEVICE:WEIGHT", value_parser = block_io::parse_weight)]
    pub blkio_weight_device: Vec<WeightDevice>,
    /// Bytes a second it may read from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = block_io::parse_bytes)]
    pub device_read_bps: Vec<ThrottleDevice>,
    /// Bytes a second it may write to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = block_io::parse_bytes)]
    pub device_write_bps: Vec<ThrottleDevice>,
    /// Operations a second it may read from a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = block_io::parse_operations)]
    pub device_read_iops: Vec<ThrottleDevice>,
    /// Operations a second it may write to a device
    #[arg(long, value_name = "DEVICE:RATE", value_parser = block_io::parse_operations)]
    pub device_write_iops: Vec<ThrottleDevice>,
    /// Adjust the out-of-memory score
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i64).range(-1000..=1000))]
    pub oom_score_adj: Option<i64>,
    /// Devices of a driver: all, a number, or device=…,driver=…,capabilities=…
    #[arg(long, value_name = "REQUEST", value_parser = gpus::parse)]
    pub gpus: Vec<Value>,
    /// Option of the writable layer
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    pub storage_opt: Vec<String>,
    /// Cgroup to make the container's below
    #[arg(long, value_name = "CGROUP")]
    pub cgroup_parent: Option<String>,
}

/// What it may do.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Security")]
pub(crate) struct SecurityOptions {
    /// Give extended privileges
    #[arg(long)]
    pub privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "CAP", value_parser = security::capability)]
    pub cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAP", value_parser = security::capability)]
    pub cap_drop: Vec<String>,
    /// Security option
    #[arg(long, value_name = "OPTION", value_parser = security::parse)]
    pub security_opt: Vec<SecurityOption>,
    /// Kernel parameter of its namespaces
    #[arg(long, value_name = "KEY=VALUE", value_parser = label::parse_option)]
    pub sysctl: Vec<String>,
    /// How it is isolated; there is only `default`
    #[arg(long, value_name = "NAME")]
    pub isolation: Option<String>,
    /// Process namespace
    #[arg(long, value_name = "MODE")]
    pub pid: Option<String>,
    /// IPC namespace
    #[arg(long, value_name = "MODE")]
    pub ipc: Option<String>,
    /// Host name namespace
    #[arg(long, value_name = "MODE")]
    pub uts: Option<String>,
    /// User namespace
    #[arg(long, value_name = "MODE")]
    pub userns: Option<String>,
    /// Cgroup namespace, host or private
    #[arg(long, value_name = "MODE", value_parser = ["host", "private"])]
    pub cgroupns: Option<String>,
}

/// How its health is checked.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Health")]
pub(crate) struct HealthOptions {
    /// Command to run to check health
    #[arg(long, value_name = "COMMAND")]
    pub health_cmd: Option<String>,
    /// Time between checks
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub health_interval: Option<i64>,
    /// Failures in a row that mean unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<u32>,
    /// Time a check may take
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub health_timeout: Option<i64>,
    /// Time before failures count
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub health_start_period: Option<i64>,
    /// Time between checks until then
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub health_start_interval: Option<i64>,
    /// Disable the image's health check
    #[arg(long, conflicts_with_all = ["health_cmd", "health_interval", "health_retries"])]
    #[arg(conflicts_with_all = ["health_timeout", "health_start_period", "health_start_interval"])]
    pub no_healthcheck: bool,
}
