//! What the memory limits of a specification mean, before a version's own
//! spelling of them.

use oci_spec::runtime::LinuxMemory;

use super::PlanError;

/// Limits in bytes, -1 for none. `swap` is that of memory and swap together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryLimits {
    pub(super) limit: Option<i64>,
    pub(super) swap: Option<i64>,
    pub(super) reservation: Option<i64>,
}

/// Returns the limits that are set: zero means unset, as with runc. Memory
/// without a limit frees swap too, unless that has a limit of its own.
///
/// # Errors
/// When one is negative, or the sum is below the memory's.
pub(super) fn memory_limits(memory: &LinuxMemory) -> Result<MemoryLimits, PlanError> {
    let limit = checked("limit", memory.limit())?;
    let swap = checked("swap", memory.swap())?;
    let reservation = checked("reservation", memory.reservation())?;
    let swap = match (limit, swap) {
        (Some(-1), None) => Some(-1),
        (_, swap) => swap,
    };
    if let (Some(limit), Some(swap)) = (limit, swap)
        && swap != -1
        && swap < limit
    {
        return Err(PlanError::SwapBelowMemory { swap, limit });
    }
    Ok(MemoryLimits {
        limit,
        swap,
        reservation,
    })
}

fn checked(name: &'static str, value: Option<i64>) -> Result<Option<i64>, PlanError> {
    match value {
        None | Some(0) => Ok(None),
        Some(value) if value < -1 => Err(PlanError::Memory { name, value }),
        value => Ok(value),
    }
}
