//! Whole programs, judged call by call as the kernel would.
//!
//! `profile.json` is of the kind of Docker's default profile: a long list of
//! what is allowed, some calls by argument, and one of each other action.

use oci_spec::runtime::{Arch, LinuxSeccomp};
use proptest::prelude::*;
use rustix::process::WaitStatus;

use super::bpf::{Instruction, Program};
use super::compile::{self, Platform, Shape};
use super::interpreter::{Call, Judgement, judge};
use super::newer::{self, X32_BIT};
use super::plan::{Action, Comparison, Condition, LoadFlags, ProgramPlan, Rule};
use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const AARCH64: u32 = 0xc000_00b7;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const KILL: u32 = libc::SECCOMP_RET_KILL_THREAD;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

fn profile() -> ProgramPlan {
    let section: LinuxSeccomp = serde_json::from_str(include_str!("profile.json")).unwrap();
    plan(&section).unwrap().program
}

fn compiled(plan: &ProgramPlan) -> Program {
    compile::compile(plan, Platform::detect().unwrap()).unwrap()
}

fn call(architecture: u32, number: u32, arguments: &[u64]) -> Call {
    let mut call = Call {
        architecture,
        number,
        ..Call::default()
    };
    call.arguments[..arguments.len()].copy_from_slice(arguments);
    call
}

fn body(plan: &ProgramPlan, shape: Shape) -> Vec<Instruction> {
    compile::body(plan, &compile::calls(plan), shape).unwrap()
}

#[track_caller]
fn assert_verdicts(program: &Program, cases: &[(u32, u32, &[u64], u32)]) {
    for (architecture, number, arguments, expected) in cases {
        let call = call(*architecture, *number, arguments);
        let verdict = judge(program.instructions(), &call).verdict;
        assert_eq!(verdict, *expected, "{call:x?}: {verdict:#x}");
    }
}

#[test]
fn calls_of_x86_64_are_judged_by_number_and_arguments() {
    const CLONE_NEWUSER: u64 = 0x1000_0000;
    let cases: &[(u32, u32, &[u64], u32)] = &[
        (X86_64, 0, &[], ALLOW),                      // read
        (X86_64, 83, &[], ALLOW),                     // mkdir
        (X86_64, 165, &[], EPERM),                    // mount, not named
        (X86_64, 101, &[], EPERM),                    // ptrace, named for that
        (X86_64, 56, &[0x11], ALLOW),                 // clone: a fork
        (X86_64, 56, &[CLONE_NEWUSER | 0x11], EPERM), // clone: a namespace
        (X86_64, 56, &[0x0002_0000], EPERM),          // clone: a mount namespace
        (X86_64, 56, &[1 << 63 | 0x11], ALLOW),       // clone: bits beyond the mask
        (X86_64, 435, &[], ENOSYS),                   // clone3
        (X86_64, 135, &[0], ALLOW),                   // personality
        (X86_64, 135, &[8], ALLOW),
        (X86_64, 135, &[0x2_0000], ALLOW),
        (X86_64, 135, &[0x2_0008], ALLOW),
        (X86_64, 135, &[0xffff_ffff], ALLOW),
        (X86_64, 135, &[0x4_0000], EPERM),
        (X86_64, 135, &[1 << 32], EPERM),
        (X86_64, 41, &[1], ALLOW), // socket
        (X86_64, 41, &[38], EPERM),
        (X86_64, 41, &[39], ALLOW),
        (X86_64, 41, &[40], EPERM),
        (X86_64, 41, &[41], ALLOW),
        (X86_64, 167, &[], libc::SECCOMP_RET_KILL_PROCESS), // swapon
        (X86_64, 168, &[], libc::SECCOMP_RET_TRAP),         // swapoff
        (X86_64, 163, &[], libc::SECCOMP_RET_TRACE | 7),    // acct
        (X86_64, 162, &[], libc::SECCOMP_RET_LOG),          // sync
    ];
    assert_verdicts(&compiled(&profile()), cases);
}

#[test]
fn conditions_on_several_arguments_hold_together_and_on_one_apart() {
    let cases: &[(u32, u32, &[u64], u32)] = &[
        // lookup_dcookie: all three.
        (X86_64, 212, &[1 << 32, 4, 7], ALLOW),
        (X86_64, 212, &[u64::MAX, 6, 0], ALLOW),
        (X86_64, 212, &[0xffff_ffff, 4, 7], EPERM),
        (X86_64, 212, &[1 << 32, 5, 7], EPERM),
        (X86_64, 212, &[1 << 32, 4, 8], EPERM),
        // quotactl: any of the three.
        (X86_64, 179, &[1, 0, 0, 0], ALLOW),
        (X86_64, 179, &[2, 0, 0, 0], ALLOW),
        (X86_64, 179, &[3, 0, 0, 0x5f], ALLOW),
        (X86_64, 179, &[3, 0, 0, 0xf0], EPERM),
    ];
    assert_verdicts(&compiled(&profile()), cases);
}

/// The largest the profile names is `landlock_restrict_self`, 446.
#[test]
fn calls_of_the_future_fail_with_enosys_on_every_architecture() {
    let cases: &[(u32, u32, &[u64], u32)] = &[
        (X86_64, 446, &[], ALLOW),
        (X86_64, 447, &[], ENOSYS),
        (X86_64, 0x3fff_ffff, &[], ENOSYS),
        (I386, 446, &[], ALLOW),
        (I386, 447, &[], ENOSYS),
        (I386, X32_BIT, &[], ENOSYS),
        (X86_64, X32_BIT | 547, &[], ENOSYS),
        // What a tracer makes of a call that is to be skipped.
        (X86_64, u32::MAX, &[], ENOSYS),
    ];
    assert_verdicts(&compiled(&profile()), cases);
}

#[test]
fn other_architectures_have_their_own_numbers() {
    let cases: &[(u32, u32, &[u64], u32)] = &[
        (I386, 39, &[], ALLOW),             // mkdir
        (I386, 83, &[], ALLOW),             // symlink, mkdir on x86-64
        (I386, 21, &[], EPERM),             // mount
        (I386, 120, &[0x1000_0011], EPERM), // clone
        (I386, 359, &[40], EPERM),          // socket
        (I386, 359, &[1], ALLOW),
        (X86_64, X32_BIT, &[], ALLOW),       // read
        (X86_64, X32_BIT | 165, &[], EPERM), // mount
        (X86_64, X32_BIT | 515, &[], ALLOW), // readv
        (X86_64, X32_BIT | 56, &[0x1000_0011], EPERM),
        // An architecture that the filter does not have.
        (AARCH64, 63, &[], KILL),
        (AARCH64, 9999, &[], KILL),
    ];
    assert_verdicts(&compiled(&profile()), cases);
}

#[test]
fn without_x32_in_the_filter_its_calls_are_of_no_architecture() {
    let mut plan = profile();
    plan.architectures = vec![Arch::ScmpArchNative];
    let cases: &[(u32, u32, &[u64], u32)] = &[
        (X86_64, 0, &[], ALLOW),
        (X86_64, 447, &[], ENOSYS),
        (X86_64, X32_BIT, &[], KILL),
        (X86_64, X32_BIT | 547, &[], KILL),
        (I386, 3, &[], KILL),
    ];
    assert_verdicts(&compiled(&plan), cases);
}

#[test]
fn only_a_default_that_refuses_tells_newer_calls_apart() {
    let verdict_of_newer = |default| {
        let mut plan = profile();
        plan.default = default;
        judge(compiled(&plan).instructions(), &call(X86_64, 447, &[])).verdict
    };
    let cases = [
        (Action::Errno(1), ENOSYS),
        (Action::Errno(38), ENOSYS),
        (Action::KillThread, ENOSYS),
        (Action::KillProcess, ENOSYS),
        (Action::Trap, ENOSYS),
        (Action::Trace(7), libc::SECCOMP_RET_TRACE | 7),
        (Action::Log, libc::SECCOMP_RET_LOG),
        (Action::Allow, ALLOW),
    ];
    for (default, expected) in cases {
        assert_eq!(verdict_of_newer(default), expected, "{default:?}");
    }
}

#[test]
fn a_profile_that_names_nothing_has_no_newer_calls() {
    for names in [vec![], vec!["a_call_nobody_knows".to_owned()]] {
        let plan = ProgramPlan {
            architectures: vec![Arch::ScmpArchX86],
            default: Action::Errno(1),
            rules: vec![Rule {
                names,
                action: Action::Allow,
                conditions: Vec::new(),
            }],
        };
        let cases: &[(u32, u32, &[u64], u32)] =
            &[(X86_64, 9999, &[], EPERM), (I386, 9999, &[], EPERM)];
        assert_verdicts(&compiled(&plan), cases);
    }
}

/// Otherwise the kernel would run the filter for each call.
#[test]
fn the_kernel_can_tell_what_is_always_allowed() {
    let plan = profile();
    let native = Platform::detect().unwrap().native;
    let head = newer::head(&compile::known(&plan, native));
    assert!(!head.is_empty());
    for instruction in head {
        let is_load = instruction.code == 0x20 && [0, 4].contains(&instruction.operand);
        assert!(is_load || [0x05, 0x06, 0x15, 0x25, 0x35].contains(&instruction.code));
    }
}

#[test]
fn a_tree_says_the_same_as_a_row() {
    let plan = profile();
    let (row, tree) = (body(&plan, Shape::Row), body(&plan, Shape::Tree));
    for architecture in [X86_64, I386, AARCH64] {
        for number in (0..600).flat_map(|number| [number, number | X32_BIT]) {
            let call = call(architecture, number, &[1 << 32, 4, 7, 0x5f]);
            let (one, other) = (judge(&row, &call), judge(&tree, &call));
            assert_eq!(one.verdict, other.verdict, "{call:x?}");
        }
    }
}

#[test]
fn a_program_too_long_for_the_kernel_is_refused() {
    let rule = |value| Rule {
        names: vec!["ioctl".to_owned()],
        action: Action::Allow,
        conditions: vec![Condition {
            argument: 1,
            comparison: Comparison::Equal(value),
        }],
    };
    let plan = ProgramPlan {
        architectures: Vec::new(),
        default: Action::Errno(1),
        rules: (0..2500).map(|value| rule(value << 32 | value)).collect(),
    };
    let error = compile::compile(&plan, Platform::detect().unwrap()).unwrap_err();
    assert!(matches!(error, SeccompError::TooLong(4097..)), "{error}");
}

#[test]
fn an_architecture_of_the_other_byte_order_is_refused() {
    let mut plan = profile();
    plan.architectures = vec![Arch::ScmpArchS390x];
    let error = compile::compile(&plan, Platform::detect().unwrap()).unwrap_err();
    assert!(matches!(error, SeccompError::Architecture(..)), "{error}");
}

/// Calls with few uses, so that the rules of a random plan can be any.
const NAMES: [&str; 8] = [
    "read",
    "clone",
    "personality",
    "socket",
    "acct",
    "openat2",
    "faccessat2",
    "no_such_call",
];

fn comparison() -> impl Strategy<Value = Comparison> {
    let value = prop_oneof![0_u64..4, Just(u64::MAX), Just(1 << 32)];
    (0..7, value.clone(), value).prop_map(|(kind, value, mask)| match kind {
        0 => Comparison::NotEqual(value),
        1 => Comparison::Less(value),
        2 => Comparison::LessOrEqual(value),
        3 => Comparison::Equal(value),
        4 => Comparison::GreaterOrEqual(value),
        5 => Comparison::Greater(value),
        _ => Comparison::MaskedEqual { mask, value },
    })
}

/// One action for all rules: several on one call may contradict one another,
/// which libseccomp refuses.
fn random_plan() -> impl Strategy<Value = ProgramPlan> {
    let condition = (0_u32..6, comparison()).prop_map(|(argument, comparison)| Condition {
        argument,
        comparison,
    });
    let rule = (0..NAMES.len(), proptest::option::of(condition));
    let architectures = prop_oneof![
        Just(vec![]),
        Just(vec![Arch::ScmpArchX86]),
        Just(vec![Arch::ScmpArchX32]),
        Just(vec![
            Arch::ScmpArchX86,
            Arch::ScmpArchNative,
            Arch::ScmpArchX32
        ]),
    ];
    let default = prop_oneof![
        Just(Action::Errno(1)),
        Just(Action::KillProcess),
        Just(Action::Log),
    ];
    let rules = proptest::collection::vec(rule, 0..40);
    (architectures, default, rules).prop_map(|(architectures, default, rules)| {
        let rule = |(name, condition): (usize, Option<Condition>)| Rule {
            names: vec![NAMES[name].to_owned()],
            action: Action::Allow,
            conditions: Vec::from_iter(condition),
        };
        ProgramPlan {
            architectures,
            default,
            rules: rules.into_iter().map(rule).collect(),
        }
    })
}

proptest! {
    /// The head changes no verdict but that of a newer call on an architecture
    /// of the filter, and that only to ENOSYS where the default refused.
    #[test]
    fn the_head_touches_only_newer_calls(
        plan in random_plan(),
        architecture in prop_oneof![Just(X86_64), Just(I386), Just(AARCH64)],
        number in prop_oneof![0_u32..500, Just(u32::MAX)],
        is_x32 in any::<bool>(),
        arguments in proptest::array::uniform6(prop_oneof![0_u64..4, Just(1 << 32)]),
    ) {
        let number = if is_x32 { number | X32_BIT } else { number };
        let native = Platform::detect().unwrap().native;
        let known = compile::known(&plan, native);
        let body = body(&plan, Shape::Tree);
        let call = Call { architecture, number, arguments };
        // One rule at least: see the library's defect with none.
        prop_assume!(!compile::calls(&plan).is_empty());
        let without = judge(&body, &call).verdict;
        let with = judge(compiled(&plan).instructions(), &call).verdict;
        let here = known.iter().find(|known| known.architecture == architecture);
        let largest = here.and_then(|known| match known.largest {
            newer::Largest::Plain(largest) | newer::Largest::S390(largest) => Some(largest),
            newer::Largest::X86_64 { native, x32 } => {
                if number >= X32_BIT { x32 } else { native }
            }
        });
        let is_newer = largest.is_some_and(|largest| number > largest);
        let expected = match plan.default {
            Action::Log => without,
            _ if is_newer => ENOSYS,
            _ => without,
        };
        prop_assert_eq!(with, expected, "{:x?}", call);
    }
}

/// Runs `inside` in a process that has loaded `filter`, and returns how that
/// ended.
fn confined(filter: &Filter, inside: impl FnOnce() -> i32) -> WaitStatus {
    match crate::sys::fork().unwrap() {
        crate::sys::Fork::Child => {
            rustix::thread::set_no_new_privs(true).unwrap();
            let status = match filter.load() {
                Ok(_) => inside(),
                Err(_) => 99,
            };
            crate::sys::exit_now(status)
        }
        crate::sys::Fork::Parent(pid) => {
            let waited = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            waited.unwrap().unwrap().1
        }
    }
}

#[test]
fn the_kernel_takes_the_program_with_every_flag() {
    let program = compiled(&profile());
    for flag in supported_flags() {
        let flags = match plan::kernel_flag(flag) {
            // Only with a listener.
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV => continue,
            required => LoadFlags {
                required,
                wanted: 0,
            },
        };
        let filter = Filter::new(program.clone(), flags, None);
        let status = confined(&filter, || 0);
        assert_eq!(status.exit_status(), Some(0), "{flag}");
    }
}

#[test]
fn a_flag_the_kernel_does_not_know_is_done_without_only_if_it_is_not_required() {
    const UNKNOWN: libc::c_ulong = 1 << 30;
    let program = compiled(&profile());
    for (required, wanted, expected) in [(0, UNKNOWN, 0), (UNKNOWN, 0, 99)] {
        let flags = LoadFlags { required, wanted };
        let filter = Filter::new(program.clone(), flags, None);
        assert_eq!(confined(&filter, || 0).exit_status(), Some(expected));
    }
}

#[test]
fn a_refused_call_has_its_errno_in_the_kernel_too() {
    let filter = Filter::new(compiled(&profile()), LoadFlags::default(), None);
    let errno = |call: fn() -> rustix::io::Result<()>| {
        confined(&filter, || {
            call().err().map_or(0, |error| error.raw_os_error())
        })
    };
    let refused =
        errno(|| rustix::mount::unmount("/nowhere", rustix::mount::UnmountFlags::empty()));
    assert_eq!(refused.exit_status(), Some(libc::EPERM));
    let allowed = errno(|| rustix::fs::rmdir("/nowhere"));
    assert_eq!(allowed.exit_status(), Some(libc::ENOENT));
}

#[test]
fn a_tree_takes_fewer_steps_than_a_row() {
    let plan = profile();
    let steps = |shape| {
        let program = body(&plan, shape);
        let all = (0..440).map(|number| judge(&program, &call(X86_64, number, &[])));
        let (mut sum, mut most) = (0, 0);
        for Judgement { steps, .. } in all {
            sum += steps;
            most = most.max(steps);
        }
        (program.len(), sum / 440, most)
    };
    let (row, tree) = (steps(Shape::Row), steps(Shape::Tree));
    println!("instructions, mean and most steps: row {row:?}, tree {tree:?}");
    assert!(tree.1 * 4 < row.1, "row {row:?}, tree {tree:?}");
}
