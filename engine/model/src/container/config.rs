//! A container's configuration, resolved against its image: what every start of
//! it is planned from.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base::{ContainerId, Digest, IdMappings, Timestamp};
use serde::{Deserialize, Serialize};

use crate::health::HealthConfig;
use crate::mount::MountConfig;
use crate::resources::Resources;
use crate::restart::RestartPolicy;
use crate::signal::Signal;

/// Everything a start needs to know, fixed at creation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerConfig {
    pub id: ContainerId,
    pub created: Timestamp,
    /// The reference as the user gave it.
    pub image: String,
    pub image_id: Digest,
    /// Diff ids, the lowest layer first.
    pub layers: Vec<Digest>,
    pub process: ProcessConfig,
    pub hostname: String,
    pub domainname: String,
    pub labels: BTreeMap<String, String>,
    /// What the runtime is told beside all else.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// The control group that the container's is below; the installation's if absent.
    #[serde(default)]
    pub cgroup_parent: Option<String>,
    pub mounts: Vec<MountConfig>,
    /// Whether the root filesystem is mounted read-only.
    pub read_only: bool,
    pub resources: Resources,
    pub security: SecurityConfig,
    pub network: NetworkMode,
    pub ports: Vec<PortConfig>,
    pub dns: DnsConfig,
    pub extra_hosts: Vec<ExtraHost>,
    /// Containers of the default network that this one knows by other names.
    #[serde(default)]
    pub links: Vec<Link>,
    pub pid_mode: NamespaceMode,
    pub ipc_mode: NamespaceMode,
    /// Whether there is a `/dev/shm`.
    #[serde(default = "yes")]
    pub shared_memory: bool,
    pub uts_mode: NamespaceMode,
    pub cgroupns_mode: NamespaceMode,
    /// The ids of its user namespace; absent where it has the host's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<IdMappings>,
    pub sysctls: BTreeMap<String, String>,
    pub restart: RestartPolicy,
    pub auto_remove: bool,
    pub health: Option<HealthConfig>,
    pub stop_signal: Signal,
    pub stop_timeout_seconds: u32,
    pub log: LogDriver,
    /// The name of a configured OCI runtime; `runc-rs` if absent.
    pub runtime: Option<String>,
}

const fn yes() -> bool {
    true
}

/// The process a container runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessConfig {
    /// Entrypoint and command in one; never empty.
    pub arguments: Vec<String>,
    pub environment: Vec<String>,
    pub working_directory: String,
    /// `user[:group]`, names or numbers, looked up in the root filesystem.
    pub user: String,
    pub additional_groups: Vec<String>,
    pub terminal: bool,
    /// What a terminal begins with; the kernel's zeros if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    pub stdin: StdinConfig,
    /// Whether a small init of ours is pid 1 and reaps orphans.
    pub init: bool,
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleSize {
    pub rows: u16,
    pub columns: u16,
}

impl ConsoleSize {
    /// Reads Docker's pair of height and width, of which zeros say nothing; what is
    /// larger than a terminal can be is as large as it can be.
    pub fn from_api([rows, columns]: [u32; 2]) -> Option<Self> {
        let clip = |count: u32| u16::try_from(count).unwrap_or(u16::MAX);
        (rows != 0 || columns != 0).then(|| Self {
            rows: clip(rows),
            columns: clip(columns),
        })
    }
}

/// What becomes of standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinConfig {
    Closed,
    Open,
    /// Closed when the first client that attached to it goes.
    Once,
}

/// Deviations from the default profile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityConfig {
    pub privileged: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    /// `--security-opt` values as given.
    pub options: Vec<String>,
    /// `--device` values.
    pub devices: Vec<DeviceConfig>,
    /// `--device-cgroup-rule` values as given.
    pub device_rules: Vec<String>,
    /// In place of the default ones.
    #[serde(default)]
    pub masked_paths: Option<Vec<String>>,
    #[serde(default)]
    pub readonly_paths: Option<Vec<String>>,
}

/// A host device given to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceConfig {
    pub host_path: String,
    pub container_path: String,
    /// A subset of `rwm`.
    pub permissions: String,
}

/// Which network a container gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Loopback only.
    None,
    /// The host's own namespace.
    Host,
    /// The namespace of another container.
    Container(ContainerId),
    /// One or more networks by name or id; the first has the default route.
    Networks(Vec<NetworkEndpoint>),
}

/// A network to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkEndpoint {
    /// A name or an id, resolved at each start.
    pub network: String,
    #[serde(default)]
    pub aliases: Vec<String>,
    #[serde(default)]
    pub ipv4: Option<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Addresses of the link beside the network's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    #[serde(default)]
    pub mac: Option<String>,
    /// Names of other containers and what only this one calls them.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Where the default route leads is decided by this first, the highest wins.
    #[serde(default)]
    pub gateway_priority: i64,
    /// Docker's options of an endpoint; of those that netd knows the values are right.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortConfig {
    pub container_port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    pub host_ip: Option<IpAddr>,
    /// First and last host port that may be taken; a free one if absent.
    pub host_ports: Option<(u16, u16)>,
}

/// What resolv.conf shall hold beside what the network gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub servers: Vec<IpAddr>,
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// A line of the container's hosts file; no address means the host's gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    pub name: String,
    pub address: Option<IpAddr>,
}

/// A container that another knows by a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub target: ContainerId,
    pub alias: String,
}

/// Where a namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    Private,
    Host,
    Container(ContainerId),
}

/// Where output is kept to be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogDriver {
    /// Records of our own, rotated.
    Local {
        max_size_bytes: u64,
        max_files: u32,
        #[serde(default)]
        compress: bool,
    },
    /// As Docker's `json-file` driver keeps it.
    JsonFile {
        max_size_bytes: u64,
        max_files: u32,
        compress: bool,
    },
    /// Nowhere.
    None,
}
