//! The writes for v2, one controller after the other.

pub(super) mod cpu;
mod hugetlb;
mod io;
mod memory;
mod unified;

use oci_spec::runtime::{LinuxCpu, LinuxResources};

use super::{ControlWrite, Controller, Existing, PlanError, plan_pids, plan_rdma};

/// Returns the writes, devices excepted. The free-form values come last, so
/// that they win.
pub(super) fn plan(
    resources: &LinuxResources,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    let mut writes = Vec::new();
    if let Some(pids) = resources.pids() {
        writes.extend(plan_pids(pids)?);
    }
    if let Some(memory) = resources.memory() {
        writes.extend(memory::plan(memory, existing)?);
    }
    if let Some(block_io) = resources.block_io() {
        writes.extend(io::plan(block_io, existing)?);
    }
    if let Some(cpu) = resources.cpu() {
        writes.extend(cpu::plan(cpu)?);
        writes.extend(plan_cpuset(cpu));
    }
    for limit in resources.hugepage_limits().iter().flatten() {
        writes.extend(hugetlb::plan(limit)?);
    }
    writes.extend(plan_rdma(resources)?);
    if let Some(values) = resources.unified() {
        writes.extend(unified::plan(values, existing)?);
    }
    Ok(writes)
}

/// A group without lists of its own uses its parent's, so that nothing needs
/// to be inherited by hand.
fn plan_cpuset(cpu: &LinuxCpu) -> Vec<ControlWrite> {
    let lists = [("cpuset.cpus", cpu.cpus()), ("cpuset.mems", cpu.mems())];
    let given = lists
        .into_iter()
        .filter_map(|(file, list)| Some((file, list.as_ref()?)));
    given
        .filter(|(_, list)| !list.is_empty())
        .map(|(file, list)| ControlWrite::new(Controller::Cpuset, file, list))
        .collect()
}
