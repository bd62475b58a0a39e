//! Answers of `/version` and `/info`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::StringMap;
use crate::wire::{is_zero, null_is_default, wire};

/// Returns Docker's name of the architecture this was built for.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

wire! {
    /// The answer to `GET /version`.
    pub struct VersionResponse {
        pub platform: Platform,
        pub components: Vec<Component>,
        pub version: String,
        pub api_version: String,
        #[serde(rename = "MinAPIVersion")]
        pub min_api_version: String,
        pub git_commit: String,
        pub go_version: String,
        pub os: String,
        pub arch: String,
        pub kernel_version: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub experimental: bool,
        pub build_time: String,
    }

    /// The product's name.
    pub struct Platform {
        pub name: String,
    }

    /// One program of the installation.
    pub struct Component {
        pub name: String,
        pub version: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub details: StringMap,
    }

    /// The answer to `GET /info`.
    pub struct InfoResponse {
        #[serde(rename = "ID")]
        pub id: String,
        pub containers: i64,
        pub containers_running: i64,
        pub containers_paused: i64,
        pub containers_stopped: i64,
        pub images: i64,
        pub driver: String,
        pub driver_status: Vec<(String, String)>,
        pub plugins: PluginsInfo,
        pub memory_limit: bool,
        pub swap_limit: bool,
        pub cpu_cfs_period: bool,
        pub cpu_cfs_quota: bool,
        #[serde(rename = "CPUShares")]
        pub cpu_shares: bool,
        #[serde(rename = "CPUSet")]
        pub cpu_set: bool,
        pub pids_limit: bool,
        #[serde(rename = "IPv4Forwarding")]
        pub ipv4_forwarding: bool,
        pub debug: bool,
        #[serde(rename = "NFd")]
        pub n_fd: i64,
        pub oom_kill_disable: bool,
        pub n_goroutines: i64,
        pub system_time: String,
        pub logging_driver: String,
        pub cgroup_driver: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub cgroup_version: String,
        pub n_events_listener: i64,
        pub kernel_version: String,
        pub operating_system: String,
        #[serde(rename = "OSVersion")]
        pub os_version: String,
        #[serde(rename = "OSType")]
        pub os_type: String,
        pub architecture: String,
        pub index_server_address: String,
        pub registry_config: RegistryConfig,
        #[serde(rename = "NCPU")]
        pub n_cpu: i64,
        pub mem_total: i64,
        pub docker_root_dir: String,
        pub http_proxy: String,
        pub https_proxy: String,
        pub no_proxy: String,
        pub name: String,
        pub labels: Vec<String>,
        pub experimental_build: bool,
        pub server_version: String,
        pub runtimes: BTreeMap<String, RuntimeInfo>,
        pub default_runtime: String,
        pub swarm: SwarmInfo,
        pub live_restore_enabled: bool,
        pub isolation: String,
        pub init_binary: String,
        pub containerd_commit: Commit,
        pub runc_commit: Commit,
        pub init_commit: Commit,
        pub security_options: Vec<String>,
        pub firewall_backend: FirewallInfo,
        #[serde(rename = "CDISpecDirs")]
        pub cdi_spec_dirs: Vec<String>,
        pub generic_resources: Option<Vec<Value>>,
        pub warnings: Option<Vec<String>>,
    }

    /// What the rules of networks are written with.
    pub struct FirewallInfo {
        pub driver: String,
    }

    /// How registries are reached.
    pub struct RegistryConfig {
        /// Where TLS is not asked for.
        #[serde(rename = "InsecureRegistryCIDRs")]
        pub insecure_registry_cidrs: Vec<String>,
        pub index_configs: BTreeMap<String, IndexConfig>,
        /// Of Docker's registry.
        pub mirrors: Option<Vec<String>>,
    }

    /// How one registry is reached.
    pub struct IndexConfig {
        pub name: String,
        pub mirrors: Vec<String>,
        pub secure: bool,
        pub official: bool,
    }

    /// What drivers there are.
    pub struct PluginsInfo {
        pub volume: Vec<String>,
        pub network: Vec<String>,
        pub authorization: Option<Vec<String>>,
        pub log: Vec<String>,
    }

    /// Swarm's state, always inactive.
    pub struct SwarmInfo {
        #[serde(rename = "NodeID")]
        pub node_id: String,
        pub node_addr: String,
        pub local_node_state: String,
        pub control_available: bool,
        pub error: String,
        pub remote_managers: Option<Vec<Value>>,
    }

    /// A program's source revision.
    pub struct Commit {
        #[serde(rename = "ID")]
        pub id: String,
    }
}

/// An OCI runtime; Docker writes these names in lower case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RuntimeInfo {
    pub path: String,
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "null_is_default")]
    pub runtime_args: Vec<String>,
}
