//! The answer to `GET /containers/{id}/stats`, and a piece of its stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::wire::{is_zero, null_is_default};

/// Declares structs whose names are in `snake_case`, as only here.
macro_rules! snake {
    ($($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct $name {
            $($(#[$field_meta])*
            #[serde(deserialize_with = "null_is_default")]
            pub $field: $type,)*
        }
    )*};
}

snake! {
    /// What a container uses, and its processors a moment before.
    pub struct StatsResponse {
        /// With a slash before it.
        #[serde(skip_serializing_if = "is_zero")]
        pub name: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub id: String,
        /// When it was measured (RFC 3339); the year one where nothing was.
        pub read: String,
        /// When `precpu_stats` was.
        pub preread: String,
        pub pids_stats: PidsStats,
        pub blkio_stats: BlkioStats,
        /// Of Windows; always 0.
        pub num_procs: u32,
        /// Of Windows; always empty.
        pub storage_stats: BTreeMap<String, u64>,
        pub cpu_stats: CpuStats,
        pub precpu_stats: CpuStats,
        pub memory_stats: MemoryStats,
        /// By the name of the interface.
        #[serde(skip_serializing_if = "is_zero")]
        pub networks: BTreeMap<String, NetworkStats>,
    }

    /// Its processes and threads.
    pub struct PidsStats {
        #[serde(skip_serializing_if = "is_zero")]
        pub current: u64,
        #[serde(skip_serializing_if = "is_zero")]
        pub limit: u64,
    }

    /// Block devices. All but the first two are of v1, and empty without a scheduler that counts.
    pub struct BlkioStats {
        pub io_service_bytes_recursive: Option<Vec<BlkioEntry>>,
        pub io_serviced_recursive: Option<Vec<BlkioEntry>>,
        pub io_queue_recursive: Option<Vec<BlkioEntry>>,
        pub io_service_time_recursive: Option<Vec<BlkioEntry>>,
        pub io_wait_time_recursive: Option<Vec<BlkioEntry>>,
        pub io_merged_recursive: Option<Vec<BlkioEntry>>,
        pub io_time_recursive: Option<Vec<BlkioEntry>>,
        pub sectors_recursive: Option<Vec<BlkioEntry>>,
    }

    /// A count of one operation on one device.
    pub struct BlkioEntry {
        pub major: u64,
        pub minor: u64,
        pub op: String,
        pub value: u64,
    }

    /// Processors, the container's beside the host's.
    pub struct CpuStats {
        pub cpu_usage: CpuUsage,
        /// Nanoseconds of all processors since the host began.
        #[serde(skip_serializing_if = "is_zero")]
        pub system_cpu_usage: u64,
        #[serde(skip_serializing_if = "is_zero")]
        pub online_cpus: u32,
        pub throttling_data: ThrottlingData,
    }

    /// Nanoseconds on processors.
    pub struct CpuUsage {
        pub total_usage: u64,
        /// Of v1 only.
        #[serde(skip_serializing_if = "is_zero")]
        pub percpu_usage: Vec<u64>,
        pub usage_in_kernelmode: u64,
        pub usage_in_usermode: u64,
    }

    /// How often and how long, in nanoseconds, it was held back by its quota.
    pub struct ThrottlingData {
        pub periods: u64,
        pub throttled_periods: u64,
        pub throttled_time: u64,
    }

    /// Memory, in bytes; `stats` is what the kernel's `memory.stat` says.
    pub struct MemoryStats {
        #[serde(skip_serializing_if = "is_zero")]
        pub usage: u64,
        /// Of v1 only.
        #[serde(skip_serializing_if = "is_zero")]
        pub max_usage: u64,
        #[serde(skip_serializing_if = "is_zero")]
        pub stats: BTreeMap<String, u64>,
        #[serde(skip_serializing_if = "is_zero")]
        pub failcnt: u64,
        #[serde(skip_serializing_if = "is_zero")]
        pub limit: u64,
    }

    /// What went over an interface.
    pub struct NetworkStats {
        pub rx_bytes: u64,
        pub rx_packets: u64,
        pub rx_errors: u64,
        pub rx_dropped: u64,
        pub tx_bytes: u64,
        pub tx_packets: u64,
        pub tx_errors: u64,
        pub tx_dropped: u64,
    }
}
