//! The memory controller of v2. Swappiness and the switch of the OOM killer
//! do not exist there.

use oci_spec::runtime::LinuxMemory;

use super::{ControlWrite, Controller, Existing, PlanError};
use crate::resources::plan::memory::{MemoryLimits, memory_limits};

/// Returns the writes. Zero means unset, as with runc.
pub(super) fn plan(
    memory: &LinuxMemory,
    existing: &Existing,
) -> Result<Vec<ControlWrite>, PlanError> {
    let limits = memory_limits(memory)?;
    // The kernel takes a limit below the usage and begins to kill.
    if memory.check_before_update() == Some(true)
        && let Some(usage) = existing.memory_usage_bytes
    {
        check_usage("memory+swap", limits.swap, usage)?;
        check_usage("memory", limits.limit, usage)?;
    }
    let mut writes = Vec::new();
    if let Some(swap) = swap_alone(&limits)? {
        let swap_write = write("memory.swap.max", spelled(swap));
        writes.push(match swap {
            // Without swap there is nothing to limit.
            -1 | 0 => swap_write.or_skip(),
            _ => swap_write,
        });
    }
    if let Some(limit) = limits.limit {
        writes.push(write("memory.max", spelled(limit)));
    }
    if let Some(reservation) = limits.reservation {
        writes.push(write("memory.low", spelled(reservation)));
    }
    Ok(writes)
}

/// The specification limits the sum of memory and swap, v2 swap alone.
fn swap_alone(limits: &MemoryLimits) -> Result<Option<i64>, PlanError> {
    match (limits.swap, limits.limit) {
        (None, _) => Ok(None),
        (Some(-1), _) => Ok(Some(-1)),
        (Some(swap), None) => Err(PlanError::SwapWithoutMemory(swap)),
        (Some(swap), Some(-1)) => Ok(Some(swap)),
        (Some(swap), Some(limit)) => Ok(Some(swap - limit)),
    }
}

fn check_usage(name: &'static str, value: Option<i64>, usage: u64) -> Result<(), PlanError> {
    match value {
        Some(value) if value > 0 && value.unsigned_abs() <= usage => {
            Err(PlanError::BelowUsage { name, value, usage })
        }
        _ => Ok(()),
    }
}

fn spelled(value: i64) -> String {
    match value {
        -1 => "max".to_owned(),
        value => value.to_string(),
    }
}

fn write(file: &'static str, value: String) -> ControlWrite {
    ControlWrite::new(Controller::Memory, file, value)
}
