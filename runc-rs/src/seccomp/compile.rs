//! Makes the program of a planned filter: libseccomp translates the rules,
//! the head for newer calls is put before them.
//!
//! Nothing here depends on the kernel; of the host only the native
//! architecture and the library's version matter.

use std::fs::File;
use std::io::{Read as _, Seek as _};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall,
    ScmpVersion,
};
use oci_spec::runtime::Arch;
use rustix::fs::MemfdFlags;

use super::SeccompError;
use super::bpf::{self, INSTRUCTION_BYTES, Instruction, PROGRAM_LIMIT, Program};
use super::newer::{self, Known, Largest};
use super::plan::{Action, Comparison, Condition, ProgramPlan, Rule};

/// From so many calls on, one node of a binary tree, a tree is asked for. In
/// it a verdict takes a number of steps that is logarithmic: 9 instead of 12 on
/// average for 4 calls, 14 instead of 228 for the profile of the tests. With no
/// call at all, libseccomp up to 2.5.3 loses the default action in the tree.
const TREE_FROM_CALLS: usize = 4;
/// The library's word for a binary tree.
const BINARY_TREE: u32 = 2;
/// More is not read back: even what the kernel refuses is not much larger.
const EXPORT_LIMIT_BYTES: u64 = (16 * PROGRAM_LIMIT * INSTRUCTION_BYTES) as u64;

/// All architectures: the specification's name and the library's.
const ARCHITECTURES: [(Arch, ScmpArch); 23] = [
    (Arch::ScmpArchAarch64, ScmpArch::Aarch64),
    (Arch::ScmpArchArm, ScmpArch::Arm),
    (Arch::ScmpArchLoongarch64, ScmpArch::Loongarch64),
    (Arch::ScmpArchM68k, ScmpArch::M68k),
    (Arch::ScmpArchMips, ScmpArch::Mips),
    (Arch::ScmpArchMips64, ScmpArch::Mips64),
    (Arch::ScmpArchMips64n32, ScmpArch::Mips64N32),
    (Arch::ScmpArchMipsel, ScmpArch::Mipsel),
    (Arch::ScmpArchMipsel64, ScmpArch::Mipsel64),
    (Arch::ScmpArchMipsel64n32, ScmpArch::Mipsel64N32),
    (Arch::ScmpArchParisc, ScmpArch::Parisc),
    (Arch::ScmpArchParisc64, ScmpArch::Parisc64),
    (Arch::ScmpArchPpc, ScmpArch::Ppc),
    (Arch::ScmpArchPpc64, ScmpArch::Ppc64),
    (Arch::ScmpArchPpc64le, ScmpArch::Ppc64Le),
    (Arch::ScmpArchRiscv64, ScmpArch::Riscv64),
    (Arch::ScmpArchS390, ScmpArch::S390),
    (Arch::ScmpArchS390x, ScmpArch::S390X),
    (Arch::ScmpArchSh, ScmpArch::Sh),
    (Arch::ScmpArchSheb, ScmpArch::Sheb),
    (Arch::ScmpArchX32, ScmpArch::X32),
    (Arch::ScmpArchX86, ScmpArch::X86),
    (Arch::ScmpArchX86_64, ScmpArch::X8664),
];

/// What a program depends on besides its plan.
#[derive(Debug, Clone, Copy)]
pub(super) struct Platform {
    /// The library's version, each part of it.
    pub(super) library: [u32; 3],
    pub(super) native: Arch,
}

/// How libseccomp lays out the way to a call's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Row,
    Tree,
}

/// A rule, one of its names, and the library's number of that call.
pub(super) type RuleCall<'a> = (&'a Rule, &'a str, ScmpSyscall);

impl Shape {
    fn of(calls: usize) -> Self {
        match calls >= TREE_FROM_CALLS {
            true => Self::Tree,
            false => Self::Row,
        }
    }
}

impl Platform {
    /// Asks the library.
    pub(super) fn detect() -> Result<Self, SeccompError> {
        let version = ScmpVersion::current().map_err(step("tell its version"))?;
        let native = ScmpArch::native();
        let named = ARCHITECTURES.iter().find(|(_, scmp)| *scmp == native);
        Ok(Self {
            library: [version.major, version.minor, version.micro],
            native: named.map_or(Arch::ScmpArchNative, |(arch, _)| *arch),
        })
    }
}

/// Returns the architectures this library knows.
pub fn architectures() -> Vec<Arch> {
    // One that it does not know has no calls.
    let is_known = |scmp| ScmpSyscall::from_name_by_arch("read", scmp).is_ok();
    let known = ARCHITECTURES.iter().filter(|(_, scmp)| is_known(*scmp));
    known.map(|(arch, _)| *arch).collect()
}

/// Makes the program.
///
/// # Errors
/// When the library refuses an architecture or a rule, or the program gets too
/// long for the kernel.
pub(super) fn compile(plan: &ProgramPlan, platform: Platform) -> Result<Program, SeccompError> {
    let calls = calls(plan);
    let body = body(plan, &calls, Shape::of(calls.len()))?;
    let mut program = match wants_head(plan.default) {
        true => newer::head(&known(plan, platform.native)),
        false => Vec::new(),
    };
    program.extend(body);
    let length = program.len();
    Program::new(program).ok_or(SeccompError::TooLong(length))
}

/// A default of ENOSYS says already what the head would.
fn wants_head(default: Action) -> bool {
    !default.is_permissive() && default != Action::Errno(libc::ENOSYS as u16)
}

/// Returns what libseccomp makes of the rules for `calls`.
pub(super) fn body(
    plan: &ProgramPlan,
    calls: &[RuleCall<'_>],
    shape: Shape,
) -> Result<Vec<Instruction>, SeccompError> {
    let failed = step("begin a filter");
    let mut filter = ScmpFilterContext::new(library_action(plan.default)).map_err(failed)?;
    for arch in &plan.architectures {
        let refused = |source| SeccompError::Architecture(*arch, source);
        filter.add_arch(library_arch(*arch)).map_err(refused)?;
    }
    if shape == Shape::Tree {
        // A library without it makes the same filter in a row.
        filter.set_ctl_optimize(BINARY_TREE).ok();
    }
    for (rule, name, call) in calls {
        let conditions: Vec<_> = rule.conditions.iter().map(library_condition).collect();
        let refused = |source| SeccompError::Rule((*name).to_owned(), source);
        filter
            .add_rule_conditional(library_action(rule.action), *call, &conditions)
            .map_err(refused)?;
    }
    export(&filter)
}

/// Returns the calls there are rules for. Left out are those of another kernel
/// or architecture, and what says no more than the default, which the library
/// refuses.
pub(super) fn calls(plan: &ProgramPlan) -> Vec<RuleCall<'_>> {
    let rules = plan.rules.iter().filter(|rule| rule.action != plan.default);
    let named = rules.flat_map(|rule| rule.names.iter().map(move |name| (rule, name.as_str())));
    let resolved =
        named.filter_map(|(rule, name)| Some((rule, name, ScmpSyscall::from_name(name).ok()?)));
    resolved.collect()
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<Instruction>, SeccompError> {
    let memory = rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC);
    let mut file = File::from(memory.map_err(|error| SeccompError::Export(error.into()))?);
    filter.export_bpf(&file).map_err(step("export a filter"))?;
    file.rewind().map_err(SeccompError::Export)?;
    let mut bytes = Vec::with_capacity(PROGRAM_LIMIT * INSTRUCTION_BYTES);
    let read = file.take(EXPORT_LIMIT_BYTES).read_to_end(&mut bytes);
    read.map_err(SeccompError::Export)?;
    bpf::decode(&bytes).ok_or_else(|| SeccompError::Export(std::io::ErrorKind::InvalidData.into()))
}

/// Returns the largest numbers the plan names, for each of its architectures.
pub(super) fn known(plan: &ProgramPlan, native: Arch) -> Vec<Known> {
    let largest = |arch| largest(plan, library_arch(arch));
    let resolved = plan.architectures.iter().map(|arch| match arch {
        Arch::ScmpArchNative => native,
        arch => *arch,
    });
    let mut all = vec![native];
    for arch in resolved {
        if !all.contains(&arch) {
            all.push(arch);
        }
    }
    let x86_64 = |has: bool, arch| has.then(|| largest(arch)).flatten();
    let (has_native, has_x32) = (
        all.contains(&Arch::ScmpArchX86_64),
        all.contains(&Arch::ScmpArchX32),
    );
    let of = |arch: &Arch| {
        let largest = match arch {
            // One architecture to the kernel, with the other's name.
            Arch::ScmpArchX32 if has_native => return None,
            Arch::ScmpArchX86_64 | Arch::ScmpArchX32 => Largest::X86_64 {
                native: x86_64(has_native, Arch::ScmpArchX86_64),
                x32: x86_64(has_x32, Arch::ScmpArchX32),
            },
            Arch::ScmpArchS390 | Arch::ScmpArchS390x => Largest::S390(largest(*arch)?),
            arch => Largest::Plain(largest(*arch)?),
        };
        let architecture = kernel_arch(*arch);
        Some(Known {
            architecture,
            largest,
        })
    };
    all.iter().filter_map(of).collect()
}

fn largest(plan: &ProgramPlan, arch: ScmpArch) -> Option<u32> {
    let names = plan.rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| {
        let call = ScmpSyscall::from_name_by_arch(name, arch).ok()?;
        // Negative ones are the library's own, for calls other ones have.
        u32::try_from(call.as_raw_syscall()).ok()
    });
    numbers.max()
}

/// Returns the kernel's name of an architecture, which is the value of the
/// specification's but for x32.
fn kernel_arch(arch: Arch) -> u32 {
    match arch {
        Arch::ScmpArchX32 => Arch::ScmpArchX86_64 as u32,
        arch => arch as u32,
    }
}

fn library_arch(arch: Arch) -> ScmpArch {
    let known = ARCHITECTURES.iter().find(|(name, _)| *name == arch);
    known.map_or(ScmpArch::Native, |(_, scmp)| *scmp)
}

fn library_action(action: Action) -> ScmpAction {
    match action {
        Action::KillThread => ScmpAction::KillThread,
        Action::KillProcess => ScmpAction::KillProcess,
        Action::Trap => ScmpAction::Trap,
        Action::Errno(errno) => ScmpAction::Errno(errno.into()),
        Action::Trace(value) => ScmpAction::Trace(value),
        Action::Notify => ScmpAction::Notify,
        Action::Log => ScmpAction::Log,
        Action::Allow => ScmpAction::Allow,
    }
}

fn library_condition(condition: &Condition) -> ScmpArgCompare {
    let (operator, value) = match condition.comparison {
        Comparison::NotEqual(value) => (ScmpCompareOp::NotEqual, value),
        Comparison::Less(value) => (ScmpCompareOp::Less, value),
        Comparison::LessOrEqual(value) => (ScmpCompareOp::LessOrEqual, value),
        Comparison::Equal(value) => (ScmpCompareOp::Equal, value),
        Comparison::GreaterOrEqual(value) => (ScmpCompareOp::GreaterEqual, value),
        Comparison::Greater(value) => (ScmpCompareOp::Greater, value),
        Comparison::MaskedEqual { mask, value } => (ScmpCompareOp::MaskedEqual(mask), value),
    };
    ScmpArgCompare::new(condition.argument, operator, value)
}

fn step(name: &'static str) -> impl FnOnce(libseccomp::error::SeccompError) -> SeccompError {
    move |source| SeccompError::Library(name, source)
}
