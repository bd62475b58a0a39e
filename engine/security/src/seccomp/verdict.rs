//! What a profile says about a call, computed without the kernel: for tests,
//! and to check what the kernel does against it.

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall,
};

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Errno(u32),
    /// Killed, trapped, traced or logged.
    Other(LinuxSeccompAction),
}

/// Returns what `profile` does to the call `name` with `arguments`. A rule
/// without conditions on arguments decides before those that have some, as
/// libseccomp has it.
pub fn verdict(profile: &LinuxSeccomp, name: &str, arguments: &[u64; 6]) -> Verdict {
    let rules = profile.syscalls().iter().flatten();
    let mut matching: Vec<&LinuxSyscall> = rules
        .filter(|rule| rule.names().iter().any(|listed| listed == name))
        .filter(|rule| {
            rule.args()
                .iter()
                .flatten()
                .all(|test| holds(test, arguments))
        })
        .collect();
    matching.sort_by_key(|rule| rule.args().as_ref().is_some_and(|args| !args.is_empty()));
    match matching.first() {
        Some(rule) => judge(rule.action(), rule.errno_ret()),
        None => judge(profile.default_action(), profile.default_errno_ret()),
    }
}

fn judge(action: LinuxSeccompAction, errno: Option<u32>) -> Verdict {
    match action {
        LinuxSeccompAction::ScmpActAllow => Verdict::Allow,
        LinuxSeccompAction::ScmpActErrno => Verdict::Errno(errno.unwrap_or(1)),
        other => Verdict::Other(other),
    }
}

fn holds(test: &LinuxSeccompArg, arguments: &[u64; 6]) -> bool {
    use LinuxSeccompOperator as Op;
    let Some(&actual) = arguments.get(test.index()) else {
        return false;
    };
    match test.op() {
        Op::ScmpCmpNe => actual != test.value(),
        Op::ScmpCmpLt => actual < test.value(),
        Op::ScmpCmpLe => actual <= test.value(),
        Op::ScmpCmpEq => actual == test.value(),
        Op::ScmpCmpGe => actual >= test.value(),
        Op::ScmpCmpGt => actual > test.value(),
        Op::ScmpCmpMaskedEq => actual & test.value() == test.value_two().unwrap_or(0),
    }
}
