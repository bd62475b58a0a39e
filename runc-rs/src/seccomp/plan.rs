//! What a specification's seccomp section asks for, checked: pure, and the
//! same on every host and for every version of libseccomp.
//!
//! Names of system calls are not looked up here; what the library does not
//! know is passed over when the program is made, as runc does, since profiles
//! name calls of kernels and architectures that are not this one.

use std::path::PathBuf;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag,
    LinuxSeccompOperator, LinuxSyscall,
};
use serde::Serialize;

use super::SeccompError;

/// All actions, as the specification calls them.
pub const ACTIONS: [LinuxSeccompAction; 9] = [
    LinuxSeccompAction::ScmpActAllow,
    LinuxSeccompAction::ScmpActErrno,
    LinuxSeccompAction::ScmpActKill,
    LinuxSeccompAction::ScmpActKillProcess,
    LinuxSeccompAction::ScmpActKillThread,
    LinuxSeccompAction::ScmpActLog,
    LinuxSeccompAction::ScmpActNotify,
    LinuxSeccompAction::ScmpActTrace,
    LinuxSeccompAction::ScmpActTrap,
];

/// All operators.
pub const OPERATORS: [LinuxSeccompOperator; 7] = [
    LinuxSeccompOperator::ScmpCmpEq,
    LinuxSeccompOperator::ScmpCmpGe,
    LinuxSeccompOperator::ScmpCmpGt,
    LinuxSeccompOperator::ScmpCmpLe,
    LinuxSeccompOperator::ScmpCmpLt,
    LinuxSeccompOperator::ScmpCmpMaskedEq,
    LinuxSeccompOperator::ScmpCmpNe,
];

/// All flags.
pub const FLAGS: [LinuxSeccompFilterFlag; 4] = [
    LinuxSeccompFilterFlag::SeccompFilterFlagLog,
    LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow,
    LinuxSeccompFilterFlag::SeccompFilterFlagTsync,
    LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv,
];

/// What an action returns where the section does not say.
const DEFAULT_ERRNO: u16 = libc::EPERM as u16;
/// The kernel cuts larger ones off (`MAX_ERRNO`).
const LAST_ERRNO: u32 = 4095;
const LAST_ARGUMENT: usize = 5;

/// A whole seccomp section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterPlan {
    pub program: ProgramPlan,
    pub flags: LoadFlags,
    /// Who answers calls whose action is to notify; `None` without any.
    pub agent: Option<Agent>,
}

/// What the program of a filter depends on, besides this machine's kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramPlan {
    /// Besides the native one, which a filter always has.
    pub architectures: Vec<Arch>,
    pub default: Action,
    pub rules: Vec<Rule>,
}

/// What happens to the calls of these names, if all conditions hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub names: Vec<String>,
    pub action: Action,
    /// At most one for each argument.
    pub conditions: Vec<Condition>,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Action {
    KillThread,
    KillProcess,
    Trap,
    Errno(u16),
    Trace(u16),
    Notify,
    Log,
    Allow,
}

/// What must be true of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Condition {
    pub argument: u32,
    pub comparison: Comparison,
}

/// How an argument is compared, all 64 bits and without sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Comparison {
    NotEqual(u64),
    Less(u64),
    LessOrEqual(u64),
    Equal(u64),
    GreaterOrEqual(u64),
    Greater(u64),
    MaskedEqual { mask: u64, value: u64 },
}

/// Flags of seccomp(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadFlags {
    pub required: libc::c_ulong,
    /// Left out where the kernel does not know them.
    pub wanted: libc::c_ulong,
}

/// Who gets the descriptor on which calls are notified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    /// The socket it listens on.
    pub path: PathBuf,
    /// What it is told besides, as is.
    pub metadata: Option<String>,
}

impl Action {
    /// Returns whether a call it is the default for goes ahead, or is left to
    /// a tracer, which knows best itself what to do with a new one.
    pub(super) fn is_permissive(self) -> bool {
        match self {
            Self::Allow | Self::Log | Self::Trace(_) => true,
            Self::KillThread | Self::KillProcess | Self::Trap | Self::Errno(_) | Self::Notify => {
                false
            }
        }
    }
}

/// Returns what `section` asks for.
///
/// # Errors
/// The first thing in it that has no meaning or cannot be done.
pub fn plan(section: &LinuxSeccomp) -> Result<FilterPlan, SeccompError> {
    let default = action(section.default_action(), section.default_errno_ret())?;
    if default == Action::Notify {
        return Err(SeccompError::NotifyByDefault);
    }
    let mut rules = Vec::new();
    for syscall in section.syscalls().iter().flatten() {
        rules.extend(rules_of(syscall)?);
    }
    let agent = agent(section, &rules)?;
    Ok(FilterPlan {
        program: ProgramPlan {
            architectures: section.architectures().clone().unwrap_or_default(),
            default,
            rules,
        },
        flags: flags(section.flags().as_deref(), agent.is_some()),
        agent,
    })
}

/// The specification demands that an errno beside an action without one fails.
fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<Action, SeccompError> {
    use LinuxSeccompAction as A;
    let planned = match action {
        A::ScmpActErrno => return errno_or_default(errno, LAST_ERRNO).map(Action::Errno),
        A::ScmpActTrace => return errno_or_default(errno, u16::MAX.into()).map(Action::Trace),
        A::ScmpActKill | A::ScmpActKillThread => Action::KillThread,
        A::ScmpActKillProcess => Action::KillProcess,
        A::ScmpActTrap => Action::Trap,
        A::ScmpActNotify => Action::Notify,
        A::ScmpActLog => Action::Log,
        A::ScmpActAllow => Action::Allow,
    };
    match errno {
        Some(_) => Err(SeccompError::ErrnoWithoutUse(action)),
        None => Ok(planned),
    }
}

fn errno_or_default(errno: Option<u32>, last: u32) -> Result<u16, SeccompError> {
    let Some(errno) = errno else {
        return Ok(DEFAULT_ERRNO);
    };
    let small = u16::try_from(errno).ok().filter(|_| errno <= last);
    small.ok_or(SeccompError::ErrnoTooLarge(errno))
}

fn rules_of(syscall: &LinuxSyscall) -> Result<Vec<Rule>, SeccompError> {
    let names = syscall.names();
    if names.iter().any(String::is_empty) {
        return Err(SeccompError::EmptyName);
    }
    let action = action(syscall.action(), syscall.errno_ret())?;
    if action == Action::Notify && names.iter().any(|name| name == "write") {
        return Err(SeccompError::NotifyOfWrite);
    }
    let arguments = syscall.args().iter().flatten();
    let conditions = arguments.map(condition).collect::<Result<Vec<_>, _>>()?;
    let rule = |conditions| Rule {
        names: names.clone(),
        action,
        conditions,
    };
    // Each alone where two are about one argument, so that any of them is
    // enough: profiles are written for the way runc reads them.
    if names_argument_twice(&conditions) {
        return Ok(conditions.into_iter().map(|one| rule(vec![one])).collect());
    }
    Ok(vec![rule(conditions)])
}

fn names_argument_twice(conditions: &[Condition]) -> bool {
    (1..conditions.len()).any(|at| {
        let (before, rest) = conditions.split_at(at);
        before.iter().any(|one| one.argument == rest[0].argument)
    })
}

/// Of a masked comparison `value` is the mask and `valueTwo` what must remain.
fn condition(argument: &LinuxSeccompArg) -> Result<Condition, SeccompError> {
    use LinuxSeccompOperator as O;
    if argument.index() > LAST_ARGUMENT {
        return Err(SeccompError::NoSuchArgument(argument.index()));
    }
    let value = argument.value();
    let comparison = match argument.op() {
        O::ScmpCmpNe => Comparison::NotEqual(value),
        O::ScmpCmpLt => Comparison::Less(value),
        O::ScmpCmpLe => Comparison::LessOrEqual(value),
        O::ScmpCmpEq => Comparison::Equal(value),
        O::ScmpCmpGe => Comparison::GreaterOrEqual(value),
        O::ScmpCmpGt => Comparison::Greater(value),
        O::ScmpCmpMaskedEq => Comparison::MaskedEqual {
            mask: value,
            value: argument.value_two().unwrap_or(0),
        },
    };
    Ok(Condition {
        argument: argument.index() as u32,
        comparison,
    })
}

fn agent(section: &LinuxSeccomp, rules: &[Rule]) -> Result<Option<Agent>, SeccompError> {
    let path = section.listener_path().as_ref();
    let path = path.filter(|path| !path.as_os_str().is_empty());
    let metadata = section.listener_metadata().as_ref();
    let metadata = metadata.filter(|text| !text.is_empty());
    if path.is_none() && metadata.is_some() {
        return Err(SeccompError::MetadataWithoutListener);
    }
    // Without such a rule the path is to be ignored.
    if !rules.iter().any(|rule| rule.action == Action::Notify) {
        return Ok(None);
    }
    let path = path.ok_or(SeccompError::NotifyWithoutListener)?.clone();
    Ok(Some(Agent {
        path,
        metadata: metadata.cloned(),
    }))
}

/// Without a list, as with runc and crun, the mitigation of Speculative Store
/// Bypass is not turned on, which older kernels do for every filter and which
/// slows interpreters down; an empty list means no flag.
fn flags(named: Option<&[LinuxSeccompFilterFlag]>, notifies: bool) -> LoadFlags {
    let Some(named) = named else {
        return LoadFlags {
            required: 0,
            wanted: libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        };
    };
    let bits = named.iter().map(|flag| kernel_flag(*flag));
    let mut required = bits.fold(0, |all, bit| all | bit);
    // It is for processes with threads, which this has none of; and the kernel
    // takes it beside a listener only since 5.7.
    required &= !libc::SECCOMP_FILTER_FLAG_TSYNC;
    if !notifies {
        // The kernel refuses it without a listener, where it means nothing.
        required &= !libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    }
    LoadFlags {
        required,
        wanted: 0,
    }
}

/// Returns the kernel's bit of a flag.
pub(super) fn kernel_flag(flag: LinuxSeccompFilterFlag) -> libc::c_ulong {
    use LinuxSeccompFilterFlag as F;
    match flag {
        F::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        F::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        F::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        F::SeccompFilterFlagWaitKillableRecv => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    }
}

#[cfg(test)]
mod tests;
