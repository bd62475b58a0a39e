//! The devices hierarchy of v1: a default and exceptions to it.

use super::{ControlWrite, Controller, PlanError};
use crate::resources::devices::{DevicePolicy, Exception, Verdict};

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";

/// Returns the writes that bring a group, whatever it allows, to `policy`.
///
/// # Errors
/// When the policy takes a part of a wildcard rule back: the kernel would
/// ignore that and say nothing.
pub(crate) fn plan(policy: &DevicePolicy) -> Result<Vec<ControlWrite>, PlanError> {
    let (reset, file) = match policy.default {
        Verdict::Deny => (DENY, ALLOW),
        Verdict::Allow => (ALLOW, DENY),
    };
    if let Some(hole) = policy
        .exceptions
        .iter()
        .position(|exception| exception.verdict == policy.default)
    {
        return Err(hole_error(policy, hole));
    }
    let reset = ControlWrite::new(Controller::Devices, reset, "a");
    let exceptions = policy.exceptions.iter();
    let exceptions =
        exceptions.map(|exception| ControlWrite::new(Controller::Devices, file, exception.rule()));
    Ok(std::iter::once(reset).chain(exceptions).collect())
}

fn hole_error(policy: &DevicePolicy, hole: usize) -> PlanError {
    let exception = &policy.exceptions[hole];
    let earlier = policy.exceptions[..hole].iter();
    let rule = earlier.rev().find(|rule| rule.overlaps(exception));
    PlanError::DeviceHole {
        exception: exception.rule(),
        rule: rule.map(Exception::rule).unwrap_or_default(),
    }
}
