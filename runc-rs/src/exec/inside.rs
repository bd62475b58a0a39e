//! The steps a process takes inside the container before it becomes the
//! planned program, in the order runc takes them.
//!
//! Nothing of the container is executed or trusted here: its procfs is not
//! used (a private one is, for the AppArmor label), its multiplexer is
//! verified, and the only file opened by a path of the container is the
//! program itself, at the end.

use std::error::Error;
use std::io::Write as _;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandle};
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::ExecPlan;
use super::plan::CapabilityMasks;
use crate::{payload, sys, terminal};

/// The highest bit a capability can have in the kernel's masks.
const CAPABILITY_BITS: u32 = 64;

/// Becomes the planned program, and returns what failed if it did not.
/// `hand_over` gets the listener of a filter that has one.
pub(super) fn become_process(
    plan: &ExecPlan,
    console: Option<BorrowedFd<'_>>,
    joined_user_namespace: bool,
    hand_over: impl Fn(OwnedFd) -> Result<(), String>,
) -> String {
    match confine(plan, console, joined_user_namespace, hand_over) {
        Err(message) => message,
        Ok(()) => {
            let error = payload::execute(
                &plan.process,
                &payload::socket_activation(plan.activation_sockets),
            );
            base::failure::chain(&error)
        }
    }
}

/// Returns a message saying that `step` failed with an error.
pub(crate) fn failed<E: Error>(step: &'static str) -> impl Fn(E) -> String {
    move |error| format!("cannot {step}: {}", base::failure::chain(&error))
}

fn confine(
    plan: &ExecPlan,
    console: Option<BorrowedFd<'_>>,
    joined_user_namespace: bool,
    hand_over: impl Fn(OwnedFd) -> Result<(), String>,
) -> Result<(), String> {
    if joined_user_namespace {
        become_namespace_root()?;
    }
    rustix::process::setsid().map_err(failed("start a session"))?;
    join_keyring(plan)?;
    if let Some(socket) = console {
        terminal::take_new(socket).map_err(|error| base::failure::chain(&error))?;
        if plan.is_proxied {
            // Before the program can write: the runtime may be late.
            terminal::keep_newlines(rustix::stdio::stdin())
                .map_err(failed("set the terminal's mode"))?;
        }
    }
    settle(plan, Closing::OnExec, hand_over)
}

/// Joins the container's session keyring, so that the caller's keys are out of
/// reach. A kernel without keyrings has none to leak.
///
/// # Errors
/// A message; when the quota is used up, say.
pub(crate) fn join_keyring(plan: &ExecPlan) -> Result<(), String> {
    let Some(name) = &plan.keyring else {
        return Ok(());
    };
    if let Some(label) = label(plan) {
        set_label("keycreate", label)?;
    }
    match sys::join_session_keyring(name) {
        Err(error) if error.raw_os_error() != Some(libc::ENOSYS) => {
            Err(failed("join the session keyring")(error))
        }
        _ => Ok(()),
    }
}

/// What becomes of descriptors that are not the process's. It is done before
/// the filter is loaded, which may not allow it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closing<'a> {
    /// They are closed as the program is executed.
    OnExec,
    /// They are closed now, since that may be long after, but for these.
    AllBut(&'a [RawFd]),
}

/// Becomes what the plan says in all but the program; init and every later
/// process do it here.
///
/// # Errors
/// A message that names the step.
pub(crate) fn settle(
    plan: &ExecPlan,
    closing: Closing<'_>,
    hand_over: impl Fn(OwnedFd) -> Result<(), String>,
) -> Result<(), String> {
    // An ordinary user's process, and one that may trace, could find it there.
    sys::forget_environment();
    set_console_size(plan);
    give_streams(plan.process.user().uid())?;
    if let Some(personality) = plan.personality {
        sys::set_personality(personality).map_err(failed("set the personality"))?;
    }
    plan.scheduling.apply()?;
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    take_privileges(plan, closing, hand_over)
}

/// The order matters: without no_new_privs, loading the filter needs the
/// capabilities that are dropped after it; with it, the filter comes last, so
/// that it need not allow what drops them.
fn take_privileges(
    plan: &ExecPlan,
    closing: Closing<'_>,
    hand_over: impl Fn(OwnedFd) -> Result<(), String>,
) -> Result<(), String> {
    let process = &plan.process;
    let no_new_privileges = process.no_new_privileges() == Some(true);
    if no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    }
    if let Some(profile) = process
        .apparmor_profile()
        .as_deref()
        .filter(|name| !name.is_empty())
    {
        set_apparmor_profile(profile)?;
    }
    if let Some(label) = label(plan) {
        set_label("exec", label)?;
    }
    let first = plan.first_closed();
    let closed = match closing {
        Closing::OnExec => sys::close_on_exec_from(first),
        Closing::AllBut(kept) => sys::close_all_but(first, kept),
    };
    closed.map_err(failed("close descriptors"))?;
    let entered = enter_working_directory(plan);
    if !no_new_privileges {
        load_filter(plan, &hand_over)?;
    }
    if let Some(masks) = &plan.capabilities {
        limit_capabilities(masks)?;
    }
    set_user(plan)?;
    if let Some(masks) = &plan.capabilities {
        set_capabilities(masks)?;
    }
    // Root may be kept out of a directory the user may enter.
    if entered.is_err() {
        enter_working_directory(plan)?;
    }
    verify_working_directory()?;
    if no_new_privileges {
        load_filter(plan, &hand_over)?;
    }
    Ok(())
}

fn become_namespace_root() -> Result<(), String> {
    let gid = rustix::process::Gid::ROOT;
    let uid = rustix::process::Uid::ROOT;
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(failed("become the user namespace's group 0"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(failed("become the user namespace's user 0"))
}

fn set_console_size(plan: &ExecPlan) {
    payload::set_console_size(&plan.process);
}

/// Gives the standard streams to the process's user, as for init.
fn give_streams(uid: u32) -> Result<(), String> {
    let streams = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    for stream in streams {
        let Ok(status) = rustix::fs::fstat(stream) else {
            continue;
        };
        let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
        let is_null = is_device && status.st_rdev == rustix::fs::makedev(1, 3);
        if is_null || status.st_uid == uid {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(uid)), None) {
            Err(Errno::INVAL | Errno::PERM | Errno::ROFS) => {}
            changed => changed.map_err(failed("give a standard stream to the user"))?,
        }
    }
    Ok(())
}

fn set_apparmor_profile(profile: &str) -> Result<(), String> {
    let places = ["attr/apparmor/exec", "attr/exec"];
    write_attribute(&places, &format!("exec {profile}"))
        .map_err(|error| format!("cannot set the AppArmor profile: {error}"))
}

fn label(plan: &ExecPlan) -> Option<&str> {
    let label = plan.process.selinux_label().as_deref();
    label.filter(|label| !label.is_empty())
}

/// Sets which label SELinux gives to what this process will do next.
fn set_label(of: &str, label: &str) -> Result<(), String> {
    write_attribute(&[&format!("attr/{of}")], label)
        .map_err(|error| format!("cannot set the SELinux label: {error}"))
}

/// Writes to the first of some files of this thread's that is there.
fn write_attribute(places: &[&str], value: &str) -> Result<(), String> {
    let handle = ProcfsHandle::new().map_err(|error| error.to_string())?;
    let mut error = String::new();
    for place in places {
        match handle.open(ProcfsBase::ProcThreadSelf, place, OpenFlags::O_WRONLY) {
            Ok(mut attribute) => {
                let written = attribute.write_all(value.as_bytes());
                return written.map_err(|error| error.to_string());
            }
            Err(failed) => error = failed.to_string(),
        }
    }
    Err(error)
}

fn enter_working_directory(plan: &ExecPlan) -> Result<(), String> {
    let cwd = plan.process.cwd();
    rustix::process::chdir(cwd)
        .map_err(|error| format!("cannot enter the working directory {cwd:?}: {error}"))
}

/// A descriptor of the host must not have become the working directory
/// (CVE-2024-21626): the kernel then cannot name it below the root.
fn verify_working_directory() -> Result<(), String> {
    let path = rustix::process::getcwd(Vec::new()).map_err(failed("find the working directory"))?;
    match path.as_bytes().first() {
        Some(b'/') => Ok(()),
        _ => Err("the working directory is outside of the container".to_owned()),
    }
}

fn load_filter(
    plan: &ExecPlan,
    hand_over: impl Fn(OwnedFd) -> Result<(), String>,
) -> Result<(), String> {
    let Some(filter) = &plan.filter else {
        return Ok(());
    };
    match filter.load().map_err(failed("load the seccomp filter"))? {
        Some(listener) => hand_over(listener),
        None => Ok(()),
    }
}

/// Drops what is not in the bounding set, while that is still allowed, and
/// asks the kernel to keep the permitted set over the change of user.
fn limit_capabilities(masks: &CapabilityMasks) -> Result<(), String> {
    for bit in 0..CAPABILITY_BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if masks.bounding & capability.bits() != 0 {
            continue;
        }
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(capability)
                .map_err(failed("drop a capability from the bounding set"))?,
            Ok(false) => {}
            // The kernel knows no capability from here on.
            Err(_) => break,
        }
    }
    rustix::thread::set_keep_capabilities(true).map_err(failed("keep capabilities"))
}

fn set_user(plan: &ExecPlan) -> Result<(), String> {
    let user = plan.process.user();
    let groups = user.additional_gids().iter().flatten();
    let groups: Vec<Gid> = groups.map(|gid| Gid::from_raw(*gid)).collect();
    match rustix::thread::set_thread_groups(&groups) {
        // A user namespace made without privilege denies it; then there are
        // no groups to clear either.
        Err(Errno::PERM) if groups.is_empty() => {}
        set => set.map_err(failed("set supplementary groups"))?,
    }
    let gid = rustix::process::Gid::from_raw(user.gid());
    let uid = rustix::process::Uid::from_raw(user.uid());
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("set the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("set the user"))
}

fn set_capabilities(masks: &CapabilityMasks) -> Result<(), String> {
    rustix::thread::set_keep_capabilities(false).map_err(failed("stop keeping capabilities"))?;
    let sets = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(masks.effective),
        permitted: CapabilitySet::from_bits_retain(masks.permitted),
        inheritable: CapabilitySet::from_bits_retain(masks.inheritable),
    };
    rustix::thread::set_capabilities(None, sets).map_err(failed("set capabilities"))?;
    rustix::thread::clear_ambient_capability_set().map_err(failed("clear ambient capabilities"))?;
    for bit in (0..CAPABILITY_BITS).filter(|bit| masks.ambient & (1 << bit) != 0) {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        // As runc: what the other sets do not allow is left out.
        rustix::thread::configure_capability_in_ambient_set(capability, true).ok();
    }
    Ok(())
}
