//! The writes for v1, one hierarchy after the other.

mod blkio;
mod cpu;
pub(crate) mod cpuset;
pub(crate) mod devices;
mod hugetlb;
mod memory;
mod network;

use oci_spec::runtime::LinuxResources;

use super::{ControlWrite, Controller, Existing, PlanError, plan_pids, plan_rdma};
use crate::cgroup::HYBRID;

/// Returns the writes, devices excepted.
pub(super) fn plan(
    resources: &LinuxResources,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    if let Some(key) = resources
        .unified()
        .iter()
        .flatten()
        .map(|(key, _)| key)
        .min()
    {
        return Err(PlanError::UnifiedOnV1(key.clone()));
    }
    let mut writes = Vec::new();
    if let Some(cpu) = resources.cpu() {
        writes.extend(cpuset::plan(cpu));
        writes.extend(cpu::plan(cpu)?);
    }
    if let Some(memory) = resources.memory() {
        writes.extend(memory::plan(memory, existing)?);
    }
    if let Some(pids) = resources.pids() {
        writes.extend(plan_pids(pids)?);
    }
    if let Some(block_io) = resources.block_io() {
        writes.extend(blkio::plan(block_io, existing));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        writes.extend(hugetlb::plan(limit)?);
    }
    if let Some(network) = resources.network() {
        writes.extend(network::plan(network)?);
    }
    writes.extend(plan_rdma(resources)?);
    Ok(writes)
}

/// Returns whether a container with `resources` joins the hierarchy called
/// `name`: all that account for it, share between it and others, or guard it,
/// and v2 beside them, which programs on sockets and devices go by. The rest
/// costs a move for nothing unless a value of theirs is set.
pub(crate) fn is_joined(name: &str, resources: &LinuxResources) -> bool {
    match name {
        "blkio" | "cpu" | "cpuacct" | "devices" | "freezer" | "memory" | "pids" | HYBRID => true,
        "cpuset" => resources.cpu().as_ref().is_some_and(cpuset::is_set),
        "hugetlb" => resources
            .hugepage_limits()
            .as_ref()
            .is_some_and(|limits| !limits.is_empty()),
        "net_cls" => resources
            .network()
            .as_ref()
            .is_some_and(|network| network.class_id().is_some()),
        "net_prio" => resources
            .network()
            .as_ref()
            .and_then(|network| network.priorities().as_ref())
            .is_some_and(|priorities| !priorities.is_empty()),
        "rdma" => resources
            .rdma()
            .as_ref()
            .is_some_and(|rdma| !rdma.is_empty()),
        _ => false,
    }
}
