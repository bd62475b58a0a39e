//! The answer to `GET /containers/{id}/json`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::{ContainerConfig, StringMap};
use crate::host_config::{HostConfig, PortMap};
use crate::mount::MountPoint;
use crate::network::EndpointSettings;
use crate::wire::wire;

/// The time that stands for "never" in Docker's answers.
pub const NEVER: &str = "0001-01-01T00:00:00Z";

wire! {
    /// Everything about one container.
    pub struct ContainerInspect {
        pub id: String,
        pub created: String,
        pub path: String,
        pub args: Vec<String>,
        pub state: ContainerState,
        /// The image's id.
        pub image: String,
        pub resolv_conf_path: String,
        pub hostname_path: String,
        pub hosts_path: String,
        pub log_path: String,
        /// Begins with a slash.
        pub name: String,
        pub restart_count: i64,
        pub driver: String,
        pub platform: String,
        pub mount_label: String,
        pub process_label: String,
        pub app_armor_profile: String,
        #[serde(rename = "ExecIDs")]
        pub exec_ids: Option<Vec<String>>,
        pub host_config: HostConfig,
        pub graph_driver: GraphDriver,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        pub mounts: Vec<MountPoint>,
        pub config: ContainerConfig,
        pub network_settings: NetworkSettings,
    }

    /// What a container does at the moment.
    pub struct ContainerState {
        /// `created`, `running`, `paused`, `restarting`, `removing`, `exited` or `dead`.
        pub status: String,
        pub running: bool,
        pub paused: bool,
        pub restarting: bool,
        #[serde(rename = "OOMKilled")]
        pub oom_killed: bool,
        pub dead: bool,
        pub pid: i64,
        pub exit_code: i64,
        pub error: String,
        /// RFC 3339, or [`NEVER`].
        pub started_at: String,
        pub finished_at: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub health: Option<Health>,
    }

    /// The outcome of the health checks.
    pub struct Health {
        /// `starting`, `healthy`, `unhealthy` or `none`.
        pub status: String,
        pub failing_streak: i64,
        pub log: Vec<HealthResult>,
    }

    /// One health check.
    pub struct HealthResult {
        pub start: String,
        pub end: String,
        pub exit_code: i64,
        pub output: String,
    }

    /// How the root filesystem is kept.
    pub struct GraphDriver {
        pub data: StringMap,
        pub name: String,
    }

    /// What networks a container is in, with the flat fields of old clients.
    pub struct NetworkSettings {
        pub bridge: String,
        #[serde(rename = "SandboxID")]
        pub sandbox_id: String,
        pub sandbox_key: String,
        pub ports: PortMap,
        pub hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        pub link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        pub link_local_ipv6_prefix_len: i64,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        pub mac_address: String,
        /// Never set; old clients look for it.
        #[serde(rename = "SecondaryIPAddresses")]
        pub secondary_ip_addresses: Option<Vec<Value>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        pub secondary_ipv6_addresses: Option<Vec<Value>>,
        pub networks: BTreeMap<String, EndpointSettings>,
    }
}
