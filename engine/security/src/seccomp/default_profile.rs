//! The default profile: everything is refused with EPERM but what the table
//! names, the rules below allow by argument, or a capability brings along.

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator,
};

use super::table::{ALLOWED, BY_CAPABILITY};
use super::{ARCHITECTURE, Conditions, KernelVersion, Profile, Rule};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The kernel's crypto sockets, which have had too many holes.
const AF_ALG: u64 = 38;
/// Sockets between virtual machines and their host, which no namespace confines.
const AF_VSOCK: u64 = 40;
/// All flags of clone that make a namespace.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `PER_LINUX`, `PER_LINUX32`, both with `UNAME26`, and the question what is set.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// Before this kernel a tracer could change a call after it was judged.
const PTRACE_KERNEL: KernelVersion = KernelVersion { major: 4, minor: 8 };

/// Returns the profile that a container gets unless it asks for another.
pub fn default_profile() -> Profile {
    let mut rules: Vec<Rule> = ALLOWED.iter().map(|names| allow(names)).collect();
    rules.extend(by_argument());
    rules.extend(by_host());
    rules.extend(by_capability());
    rules.extend(without_administration());
    Profile {
        default_action: LinuxSeccompAction::ScmpActErrno,
        default_errno: Some(EPERM),
        architectures: architectures(),
        flags: Vec::new(),
        rules,
    }
}

fn architectures() -> Vec<Arch> {
    if ARCHITECTURE == "amd64" {
        vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32]
    } else {
        vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm]
    }
}

/// Sockets of all families but two; only known personalities.
fn by_argument() -> Vec<Rule> {
    use LinuxSeccompOperator::{ScmpCmpEq, ScmpCmpGt, ScmpCmpLt};
    let socket = |op, family| allow_if("socket", argument(0, family, op));
    let mut rules = vec![
        socket(ScmpCmpLt, AF_ALG),
        socket(ScmpCmpEq, AF_ALG + 1),
        socket(ScmpCmpGt, AF_VSOCK),
    ];
    for value in PERSONALITIES {
        rules.push(allow_if("personality", argument(0, value, ScmpCmpEq)));
    }
    rules
}

/// What depends on the kernel and the processor.
fn by_host() -> Vec<Rule> {
    let mut tracing = allow("process_vm_readv process_vm_writev ptrace");
    tracing.includes.kernel = Some(PTRACE_KERNEL);
    let mut rules = vec![tracing];
    let by_architecture = [
        ("amd64", "arch_prctl modify_ldt"),
        (
            "arm64",
            "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
        ),
    ];
    for (architecture, names) in by_architecture {
        let mut rule = allow(names);
        rule.includes.architectures = vec![architecture.to_owned()];
        rules.push(rule);
    }
    rules
}

fn by_capability() -> impl Iterator<Item = Rule> {
    BY_CAPABILITY.iter().map(|(capability, names)| {
        let mut rule = allow(names);
        rule.includes.capabilities = vec![*capability];
        rule
    })
}

/// Without CAP_SYS_ADMIN clone may make processes but no namespaces. The flags
/// of clone3 are behind a pointer, so it answers that it does not exist, and C
/// libraries use clone.
fn without_administration() -> [Rule; 2] {
    let no_administration = Conditions {
        capabilities: vec![Capability::SysAdmin],
        ..Conditions::default()
    };
    let mask = LinuxSeccompOperator::ScmpCmpMaskedEq;
    let mut clone = allow_if("clone", argument(0, CLONE_NAMESPACES, mask));
    clone.excludes = no_administration.clone();
    let mut clone3 = allow("clone3");
    clone3.action = LinuxSeccompAction::ScmpActErrno;
    clone3.errno = Some(ENOSYS);
    clone3.excludes = no_administration;
    [clone, clone3]
}

/// Allows the calls in `names`, separated by blanks.
fn allow(names: &str) -> Rule {
    Rule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: LinuxSeccompAction::ScmpActAllow,
        errno: None,
        arguments: Vec::new(),
        includes: Conditions::default(),
        excludes: Conditions::default(),
    }
}

fn allow_if(name: &str, argument: LinuxSeccompArg) -> Rule {
    let mut rule = allow(name);
    rule.arguments.push(argument);
    rule
}

fn argument(index: usize, value: u64, op: LinuxSeccompOperator) -> LinuxSeccompArg {
    LinuxSeccompArgBuilder::default()
        .index(index)
        .value(value)
        .op(op)
        .build()
        .expect("all fields are set")
}
