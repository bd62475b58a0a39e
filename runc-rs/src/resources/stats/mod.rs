//! What a container has used, in the form runc prints and containerd decodes.
//!
//! Field names and what is left out when it is zero are runc's. `rdma` is an
//! addition that its readers skip.

mod network;
mod parse;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use base::file::PathError;
use serde::Serialize;

use super::files;
use super::plan::Version;
use super::rdt::{self, RdtStats};
use crate::cgroup::Cgroup;
use crate::proc::LiveProcess;

const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// All measures of one container.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    pub cpu: Cpu,
    pub cpuset: Cpuset,
    pub memory: Memory,
    pub pids: Pids,
    pub blkio: Blkio,
    pub hugetlb: BTreeMap<String, Hugetlb>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rdma: Option<Rdma>,
    pub intel_rdt: RdtStats,
    pub network_interfaces: Vec<NetworkInterface>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    pub usage: CpuUsage,
    pub throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Times in nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CpuUsage {
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    pub kernel: u64,
    pub user: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// In nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// How long processes had to wait for a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Pressure {
    pub some: PressureShares,
    pub full: PressureShares,
}

/// Percentages over 10, 60 and 300 seconds, and microseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PressureShares {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cpuset {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// In bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    pub usage: MemoryEntry,
    /// Of memory and swap together.
    pub swap: MemoryEntry,
    pub kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    pub kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// In bytes; no limit is the highest number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEntry {
    pub limit: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

/// No limit is zero here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Pids {
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BlkioEntry {
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// In bytes, of one page size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hugetlb {
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    pub failcnt: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rdma {
    pub current: Vec<RdmaEntry>,
    pub limit: Vec<RdmaEntry>,
}

/// No limit is the highest number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RdmaEntry {
    pub device: String,
    pub hca_handles: u32,
    pub hca_objects: u32,
}

/// What an interface of the container has received and sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// Measures a container. What the kernel does not count is zero.
///
/// # Errors
/// When a file that is there cannot be read.
pub fn measure(
    cgroup: &Cgroup,
    init: Option<&LiveProcess>,
    class: &str,
) -> Result<Stats, PathError> {
    let mut stats = match files::version(cgroup) {
        Version::V1 => v1::measure(cgroup)?,
        Version::V2 => v2::measure(cgroup)?,
    };
    let root = Path::new(rdt::ROOT);
    if let Ok(group) = rdt::group(root, class) {
        stats.intel_rdt = rdt::measure(root, &group)?;
    }
    if let Some(init) = init {
        stats.network_interfaces = network::measure(init)?;
    }
    Ok(stats)
}

/// Returns the huge page sizes of this kernel, as the control files spell them.
fn page_sizes() -> Vec<String> {
    // A kernel without huge pages has no such directory.
    let entries = fs::read_dir(HUGE_PAGES).into_iter().flatten().flatten();
    let mut sizes: Vec<String> = entries
        .filter_map(|entry| parse::page_size(entry.file_name().to_str()?))
        .collect();
    sizes.sort();
    sizes
}

/// Reads the limits or the use of RDMA devices, which both versions spell the
/// same.
fn measure_rdma(group: &Path) -> Result<Option<Rdma>, PathError> {
    let current = files::read_if_there(&group.join("rdma.current"))?;
    let limit = files::read_if_there(&group.join("rdma.max"))?;
    let (Some(current), Some(limit)) = (current, limit) else {
        return Ok(None);
    };
    let rdma = Rdma {
        current: parse::rdma(&current),
        limit: parse::rdma(&limit),
    };
    let is_empty = rdma.current.is_empty() && rdma.limit.is_empty();
    Ok((!is_empty).then_some(rdma))
}

/// Reads one number; a file that is not there is zero.
fn number(group: &Path, file: &str) -> Result<u64, PathError> {
    let text = files::read_if_there(&group.join(file))?;
    Ok(text.map_or(0, |text| parse::number(&text)))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
