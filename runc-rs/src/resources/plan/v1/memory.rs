//! The memory hierarchy of v1. Kernel memory limits are obsolete and left out.

use oci_spec::runtime::LinuxMemory;

use super::{ControlWrite, Controller, Existing, PlanError};
use crate::resources::plan::memory::memory_limits;

const LIMIT: &str = "memory.limit_in_bytes";
const LIMIT_AND_SWAP: &str = "memory.memsw.limit_in_bytes";
const SWAPPINESS_LIMIT: u64 = 100;

/// Returns the writes. Zero means unset, as with runc.
pub(super) fn plan(
    memory: &LinuxMemory,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    let limits = memory_limits(memory)?;
    let limit = limits.limit.map(|value| write(LIMIT, value));
    let swap = limits.swap.map(|value| match value {
        // Without swap accounting nothing is limited.
        -1 => write(LIMIT_AND_SWAP, value).or_skip(),
        value => write(LIMIT_AND_SWAP, value),
    });
    // At no moment may the sum be below the limit.
    let raised = match limits.swap {
        Some(-1) => true,
        Some(swap) => existing
            .memory_limit_bytes
            .is_some_and(|limit| limit < swap.unsigned_abs()),
        None => false,
    };
    let mut writes: Vec<_> = match raised {
        true => swap.into_iter().chain(limit).collect(),
        false => limit.into_iter().chain(swap).collect(),
    };
    if let Some(value) = limits.reservation {
        writes.push(write("memory.soft_limit_in_bytes", value));
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.push(write("memory.oom_control", 1));
    }
    match memory.swappiness() {
        // -1, read as unsigned, is how some callers say "unset".
        None | Some(u64::MAX) => {}
        Some(value) if value <= SWAPPINESS_LIMIT => {
            writes.push(write("memory.swappiness", value));
        }
        Some(value) => return Err(PlanError::Swappiness(value)),
    }
    Ok(writes)
}

fn write(file: &'static str, value: impl ToString) -> ControlWrite {
    ControlWrite::new(Controller::Memory, file, value)
}
