//! The cpu controller of v2. It has no limits for realtime scheduling.

use oci_spec::runtime::LinuxCpu;

use super::{ControlWrite, Controller, PlanError};
use crate::resources::plan::idle;

const SHARES_MIN: u64 = 2;
const SHARES_MAX: u64 = 1 << 18;
const WEIGHT_MIN: u64 = 1;
const WEIGHT_MAX: u64 = 10_000;

/// Returns the writes. Zero means unset, as with runc.
pub(super) fn plan(cpu: &LinuxCpu) -> Result<Vec<ControlWrite>, PlanError> {
    let mut writes = Vec::new();
    let idle = idle(cpu)?;
    if let Some(idle) = idle {
        writes.push(write("cpu.idle", idle));
    }
    // The kernel refuses the weight of an idle group.
    let shares = cpu.shares().filter(|_| idle != Some(1));
    if let Some(shares) = shares.filter(|shares| *shares != 0) {
        writes.push(write("cpu.weight", weight(shares)));
    }
    let bandwidth = bandwidth(cpu);
    if let Some(burst) = cpu.burst() {
        let mut burst_write = write("cpu.max.burst", burst);
        if burst == 0 {
            // A kernel without bursts has none to forbid.
            burst_write = burst_write.or_skip();
        }
        if bandwidth.is_some() {
            // It may contradict the old quota only.
            burst_write = burst_write.or_retry();
        }
        writes.push(burst_write);
    }
    writes.extend(bandwidth.map(|value| write("cpu.max", value)));
    Ok(writes)
}

/// Returns quota and period; a quota alone leaves the period as it is.
fn bandwidth(cpu: &LinuxCpu) -> Option<String> {
    let period = cpu.period().filter(|period| *period != 0);
    let quota = match cpu.quota() {
        None | Some(0) => None,
        Some(quota) if quota < 0 => Some("max".to_owned()),
        Some(quota) => Some(quota.to_string()),
    };
    match (quota, period) {
        (None, None) => None,
        (Some(quota), None) => Some(quota),
        (quota, Some(period)) => {
            let quota = quota.unwrap_or_else(|| "max".to_owned());
            Some(format!("{quota} {period}"))
        }
    }
}

/// Converts shares of v1 (2 to 262144, default 1024) to a weight of v2 (1 to
/// 10000, default 100) by the curve through these three points that runc and
/// crun use: the logarithm of the weight is quadratic in that of the shares.
pub(in crate::resources::plan) fn weight(shares: u64) -> u64 {
    if shares <= SHARES_MIN {
        return WEIGHT_MIN;
    }
    if shares >= SHARES_MAX {
        return WEIGHT_MAX;
    }
    let logarithm = (shares as f64).log2();
    let exponent = (logarithm * logarithm + 125.0 * logarithm - 126.0) / 612.0;
    10_f64.powf(exponent).ceil() as u64
}

fn write(file: &'static str, value: impl ToString) -> ControlWrite {
    ControlWrite::new(Controller::Cpu, file, value)
}
