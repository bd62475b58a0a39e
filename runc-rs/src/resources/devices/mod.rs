//! Which devices a container may use: the rules of a specification, what they
//! come to, and the program that enforces that on v2.
//!
//! A later rule wins over an earlier one, for each of the three accesses by
//! itself. What no rule matches is denied, unless a rule for all devices says
//! otherwise. The rules every container needs come last and cannot be lost.

mod attach;
mod policy;
mod program;

use oci_spec::runtime::LinuxDeviceCgroup;

pub use attach::AttachError;
pub(crate) use attach::{attach, is_unprivileged};
pub use policy::{Access, DeviceKind, DevicePolicy, Exception, Verdict};
pub use program::compile;

use super::plan::PlanError;

/// More rules than this would not fit into a program of the oldest kernels.
const RULES_LIMIT: usize = 512;

/// What every container may use, as kind, major, minor and access; no number
/// means any. Making a device node harms nobody who may not open it. Unlike
/// with runc, `/dev/net/tun` is not among them.
const ALWAYS: [(DeviceKind, Option<u32>, Option<u32>, Access); 11] = [
    (DeviceKind::Character, None, None, Access::MKNOD),
    (DeviceKind::Block, None, None, Access::MKNOD),
    // null, zero, full, random, urandom
    (DeviceKind::Character, Some(1), Some(3), Access::ALL),
    (DeviceKind::Character, Some(1), Some(5), Access::ALL),
    (DeviceKind::Character, Some(1), Some(7), Access::ALL),
    (DeviceKind::Character, Some(1), Some(8), Access::ALL),
    (DeviceKind::Character, Some(1), Some(9), Access::ALL),
    // tty, console, ptmx, pts/*
    (DeviceKind::Character, Some(5), Some(0), Access::ALL),
    (DeviceKind::Character, Some(5), Some(1), Access::ALL),
    (DeviceKind::Character, Some(5), Some(2), Access::ALL),
    (DeviceKind::Character, Some(136), None, Access::ALL),
];

/// Returns what `rules`, and after them those for every container, come to.
///
/// # Errors
/// When a rule is not one, or there are too many.
pub fn policy(rules: &[LinuxDeviceCgroup]) -> Result<DevicePolicy, PlanError> {
    let count = rules.len();
    if count > RULES_LIMIT {
        return Err(PlanError::DeviceRules {
            count,
            limit: RULES_LIMIT,
        });
    }
    let mut policy = DevicePolicy::deny_all();
    for rule in rules {
        policy.add(rule)?;
    }
    for (kind, major, minor, access) in ALWAYS {
        policy.except(Exception {
            verdict: Verdict::Allow,
            kind,
            major,
            minor,
            access,
        });
    }
    Ok(policy)
}

#[cfg(test)]
mod tests;
