//! The cpuset hierarchy of v1, whose new groups are empty and take nobody
//! before they have processors and memory nodes.

use oci_spec::runtime::LinuxCpu;

use super::{ControlWrite, Controller};

const CPUS: &str = "cpuset.cpus";
const MEMS: &str = "cpuset.mems";

/// The processors and memory nodes of a group, as lists of ranges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpusetValues {
    pub(crate) cpus: String,
    pub(crate) mems: String,
}

/// Returns whether `cpu` restricts processors or memory nodes.
pub(super) fn is_set(cpu: &LinuxCpu) -> bool {
    let is_given = |list: &Option<String>| list.as_ref().is_some_and(|list| !list.is_empty());
    is_given(cpu.cpus()) || is_given(cpu.mems())
}

/// Returns the writes.
pub(super) fn plan(cpu: &LinuxCpu) -> Vec<ControlWrite> {
    let lists = [(CPUS, cpu.cpus()), (MEMS, cpu.mems())];
    let given = lists
        .into_iter()
        .filter_map(|(file, list)| Some((file, list.as_ref()?)));
    given
        .filter(|(_, list)| !list.is_empty())
        .map(|(file, list)| ControlWrite::new(Controller::Cpuset, file, list))
        .collect()
}

/// Returns the writes that give an empty group what its parent has.
pub(crate) fn inherited(own: &CpusetValues, parent: &CpusetValues) -> Vec<ControlWrite> {
    let pairs = [
        (CPUS, &own.cpus, &parent.cpus),
        (MEMS, &own.mems, &parent.mems),
    ];
    let empty = pairs.into_iter().filter(|(_, own, _)| own.is_empty());
    empty
        .map(|(file, _, parent)| ControlWrite::new(Controller::Cpuset, file, parent))
        .collect()
}
