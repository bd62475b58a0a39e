//! How a container meets its host: the `HostConfig` object of create and inspect.
//!
//! Options that the engine does not carry out are listed too, so that it can
//! refuse them by name instead of skipping them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::StringMap;
use crate::mount::Mount;
use crate::wire::{is_zero, wire};

/// Published ports: `80/tcp` to where it is bound on the host. `None` is an
/// exposed port that nobody published.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// The host's half of a container's configuration.
    pub struct HostConfig {
        pub binds: Option<Vec<String>>,
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        pub log_config: LogConfig,
        pub network_mode: String,
        pub port_bindings: PortMap,
        pub restart_policy: RestartPolicy,
        pub auto_remove: bool,
        pub volume_driver: String,
        pub volumes_from: Option<Vec<String>>,
        /// Height and width.
        pub console_size: [u32; 2],
        #[serde(skip_serializing_if = "is_zero")]
        pub annotations: StringMap,
        pub cap_add: Option<Vec<String>>,
        pub cap_drop: Option<Vec<String>>,
        pub cgroupns_mode: String,
        pub dns: Option<Vec<String>>,
        pub dns_options: Option<Vec<String>>,
        pub dns_search: Option<Vec<String>>,
        pub extra_hosts: Option<Vec<String>>,
        pub group_add: Option<Vec<String>>,
        pub ipc_mode: String,
        pub cgroup: String,
        pub links: Option<Vec<String>>,
        pub oom_score_adj: i64,
        pub pid_mode: String,
        pub privileged: bool,
        pub publish_all_ports: bool,
        pub readonly_rootfs: bool,
        pub security_opt: Option<Vec<String>>,
        #[serde(skip_serializing_if = "is_zero")]
        pub storage_opt: StringMap,
        #[serde(skip_serializing_if = "is_zero")]
        pub tmpfs: StringMap,
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        pub userns_mode: String,
        /// Bytes; zero is the default of 64 MiB.
        pub shm_size: i64,
        #[serde(skip_serializing_if = "is_zero")]
        pub sysctls: StringMap,
        #[serde(skip_serializing_if = "is_zero")]
        pub runtime: String,
        pub isolation: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub mounts: Vec<Mount>,
        /// `None` is the default list, an empty one masks nothing.
        pub masked_paths: Option<Vec<String>>,
        /// `None` is the default list, an empty one protects nothing.
        pub readonly_paths: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool>,

        pub cpu_shares: i64,
        /// Bytes.
        pub memory: i64,
        pub nano_cpus: i64,
        pub cgroup_parent: String,
        pub blkio_weight: u16,
        pub blkio_weight_device: Option<Vec<WeightDevice>>,
        pub blkio_device_read_bps: Option<Vec<ThrottleDevice>>,
        pub blkio_device_write_bps: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: Option<Vec<ThrottleDevice>>,
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: Option<Vec<ThrottleDevice>>,
        pub cpu_period: i64,
        pub cpu_quota: i64,
        pub cpu_realtime_period: i64,
        pub cpu_realtime_runtime: i64,
        pub cpuset_cpus: String,
        pub cpuset_mems: String,
        pub devices: Option<Vec<DeviceMapping>>,
        pub device_cgroup_rules: Option<Vec<String>>,
        /// `--gpus` and CDI; kept to be refused.
        pub device_requests: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "is_zero")]
        pub kernel_memory: i64,
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
        pub kernel_memory_tcp: i64,
        pub memory_reservation: i64,
        /// Memory and swap together, bytes; `-1` is no limit.
        pub memory_swap: i64,
        pub memory_swappiness: Option<i64>,
        pub oom_kill_disable: Option<bool>,
        /// `None`, zero and negative are no limit.
        pub pids_limit: Option<i64>,
        pub ulimits: Option<Vec<Ulimit>>,
        pub cpu_count: i64,
        pub cpu_percent: i64,
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
    }

    /// Where a published port is bound on the host.
    pub struct PortBinding {
        #[serde(rename = "HostIp")]
        pub host_ip: String,
        /// A number, a range `8000-8010`, or empty for any free port.
        pub host_port: String,
    }

    /// `no`, `always`, `unless-stopped` or `on-failure`; empty is `no`.
    pub struct RestartPolicy {
        pub name: String,
        pub maximum_retry_count: i64,
    }

    /// Where output is logged.
    pub struct LogConfig {
        pub r#type: String,
        pub config: StringMap,
    }

    /// A device of the host given to the container.
    pub struct DeviceMapping {
        pub path_on_host: String,
        pub path_in_container: String,
        pub cgroup_permissions: String,
    }

    /// A resource limit, `nofile` and so on; `-1` is unlimited.
    pub struct Ulimit {
        pub name: String,
        pub hard: i64,
        pub soft: i64,
    }

    /// A share of a block device.
    pub struct WeightDevice {
        pub path: String,
        pub weight: u16,
    }

    /// A rate limit of a block device.
    pub struct ThrottleDevice {
        pub path: String,
        pub rate: u64,
    }
}
