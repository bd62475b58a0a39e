//! The cpu hierarchy of v1.

use oci_spec::runtime::LinuxCpu;

use super::{ControlWrite, Controller, PlanError};
use crate::resources::plan::idle;

const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 1 << 18;

/// Returns the writes. Zero means unset, as with runc.
pub(super) fn plan(cpu: &LinuxCpu) -> Result<Vec<ControlWrite>, PlanError> {
    let mut writes = Vec::new();
    let idle = idle(cpu)?;
    if let Some(idle) = idle {
        writes.push(write("cpu.idle", idle));
    }
    // The kernel refuses shares of an idle group.
    let shares = cpu.shares().filter(|_| idle != Some(1));
    match shares {
        None | Some(0) => {}
        // The kernel would take the nearest and say nothing.
        Some(shares) if shares < SHARES_MIN => return Err(PlanError::SharesTooLow(shares)),
        Some(shares) if shares > SHARES_MAX => return Err(PlanError::SharesTooHigh(shares)),
        Some(shares) => writes.push(write("cpu.shares", shares)),
    }
    writes.extend(plan_bandwidth(cpu));
    writes.extend(plan_realtime(cpu));
    Ok(writes)
}

/// The kernel compares each of the three with the others' present values; what
/// contradicts an old one may agree with the new.
fn plan_bandwidth(cpu: &LinuxCpu) -> Vec<ControlWrite> {
    let quota = cpu.quota().filter(|quota| *quota != 0);
    let or_retry = |write: ControlWrite| match quota {
        Some(_) => write.or_retry(),
        None => write,
    };
    let mut writes = Vec::new();
    if let Some(period) = cpu.period().filter(|period| *period != 0) {
        writes.push(or_retry(write("cpu.cfs_period_us", period)));
    }
    match cpu.burst() {
        None => {}
        // A kernel without bursts has none to forbid.
        Some(0) => writes.push(or_retry(write("cpu.cfs_burst_us", 0).or_skip())),
        Some(burst) => writes.push(or_retry(write("cpu.cfs_burst_us", burst))),
    }
    if let Some(quota) = quota {
        writes.push(write("cpu.cfs_quota_us", quota));
    }
    writes
}

fn plan_realtime(cpu: &LinuxCpu) -> Vec<ControlWrite> {
    let runtime = cpu.realtime_runtime().filter(|runtime| *runtime != 0);
    let mut writes = Vec::new();
    if let Some(period) = cpu.realtime_period().filter(|period| *period != 0) {
        let period = write("cpu.rt_period_us", period);
        writes.push(match runtime {
            Some(_) => period.or_retry(),
            None => period,
        });
    }
    if let Some(runtime) = runtime {
        writes.push(write("cpu.rt_runtime_us", runtime));
    }
    writes
}

fn write(file: &'static str, value: impl ToString) -> ControlWrite {
    ControlWrite::new(Controller::Cpu, file, value)
}
