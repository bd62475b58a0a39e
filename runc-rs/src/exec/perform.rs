//! Getting a planned process into a container.
//!
//! Two forks: the first child enters the control groups (on v2 it is made in
//! its group: moving there would wait for every processor), takes the limits that
//! need the host's privilege, and joins the namespaces (all in one `setns` on
//! init's pidfd, so that it is init's namespaces or none, and the user
//! namespace first); only a child of its own can be in the joined pid
//! namespace, and that becomes the process. It is made a sibling, so that it
//! is this process's child and can be waited for. What goes wrong in either is
//! told through a socket that `execve` closes.
//!
//! Under a filter with a listener the second child says on that socket which
//! descriptor it is, and waits until this process has given it to the agent.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::Path;

use base::file::PathError;
use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Pid, Resource, Rlimit, Signal, WaitOptions};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::inside::{self, failed};
use super::{ExecError, ExecPlan, Target};
use crate::cgroup::write_control;
use crate::resources::rdt;
use crate::seccomp::notify;
use crate::sys::{self, Fork};

const REPORT_LIMIT_BYTES: usize = 16 * 1024;
const PID: u8 = b'P';
const LISTENER: u8 = b'L';
const TAKEN: u8 = b'T';
const ERROR: u8 = b'E';

/// A process that runs in the container.
#[derive(Debug, Clone, Copy)]
pub struct Started {
    /// Its pid on the host; it is a child of this process.
    pub pid: Pid,
}

/// Runs `plan` in the container of `target`. With a `console`, a socket, the
/// process gets a terminal of the container whose master is sent there.
///
/// # Errors
/// When it could not be started; nothing is left behind then.
pub fn perform(
    target: &Target,
    plan: &ExecPlan,
    console: Option<BorrowedFd<'_>>,
) -> Result<Started, ExecError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|error| ExecError::Kernel("make a socket pair", error.into()))?;
    let (forked, born) = fork_helper(plan).map_err(|error| ExecError::Kernel("fork", error))?;
    let helper = match forked {
        Fork::Parent(pid) => pid,
        Fork::Child => {
            drop(ours);
            run_child(&theirs, || enter(target, plan, born, console, &theirs))
        }
    };
    drop(theirs);
    let report = read_report(&ours, plan);
    // The helper ends as soon as it has forked; its status is in the report.
    rustix::process::waitpid(Some(helper), WaitOptions::empty()).ok();
    match report? {
        Report {
            pid: Some(pid),
            error: None,
            ..
        } => Ok(Started { pid }),
        Report { pid, error, .. } => {
            if let Some(pid) = pid {
                rustix::process::waitpid(Some(pid), WaitOptions::empty()).ok();
            }
            Err(error.unwrap_or(ExecError::EndedEarly))
        }
    }
}

/// Where the first child begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Born {
    /// In the control group it has to enter.
    Inside,
    Outside,
}

/// Makes the first child, in its control group where that is one of v2 that takes
/// it at birth.
fn fork_helper(plan: &ExecPlan) -> std::io::Result<(Fork, Born)> {
    if let Some(group) = group_of_birth(plan)
        && let Ok(forked) = sys::process::clone_process(0, Some(group.as_fd()))
    {
        return Ok((forked, Born::Inside));
    }
    // What is wrong with the group shows as it is entered.
    Ok((sys::fork()?, Born::Outside))
}

fn group_of_birth(plan: &ExecPlan) -> Option<OwnedFd> {
    let [entrance] = &plan.entrances[..] else {
        return None;
    };
    // The processors to begin on are those of outside.
    if plan.scheduling.initial_affinity().is_some() {
        return None;
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(entrance.parent()?, flags, Mode::empty()).ok()
}

/// Runs a step in a forked child, which must never return to the caller's code.
fn run_child(report: &OwnedFd, step: impl FnOnce() -> Result<(), String>) -> ! {
    if let Err(message) = step() {
        let mut packet = vec![ERROR];
        packet.extend(message.bytes().take(REPORT_LIMIT_BYTES - 1));
        // Without the socket there is nobody to tell; the status says it too.
        say(report, &packet).ok();
        sys::exit_now(1);
    }
    sys::exit_now(0)
}

/// The first child: takes what needs the host, joins, and forks the second.
fn enter(
    target: &Target,
    plan: &ExecPlan,
    born: Born,
    console: Option<BorrowedFd<'_>>,
    report: &OwnedFd,
) -> Result<(), String> {
    plan.scheduling.apply_initial()?;
    if born == Born::Outside {
        enter_groups(plan)?;
    }
    if let Some(class) = &plan.class {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        class
            .join(Path::new(rdt::ROOT), own)
            .map_err(|error| base::failure::chain(&error))?;
    }
    if let Some(score) = plan.process.oom_score_adj() {
        write_control(Path::new("/proc/self/oom_score_adj"), &score.to_string())
            .map_err(|error| base::failure::chain(&error))?;
    }
    for limit in plan.process.rlimits().iter().flatten() {
        set_limit(None, limit).map_err(failed("set a resource limit"))?;
    }
    // Processes of the container must not look into this one while it is
    // half inside.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(failed("become undumpable"))?;
    join(target)?;
    match sys::fork_sibling().map_err(failed("fork"))? {
        Fork::Parent(pid) => {
            let mut packet = vec![PID];
            packet.extend(pid.as_raw_nonzero().get().to_ne_bytes());
            say(report, &packet).map_err(failed("report the pid"))
        }
        Fork::Child => run_child(report, || {
            let user_namespace = target.namespaces.contains(ThreadNameSpaceType::USER);
            let hand_over = |listener| hand_over(listener, report);
            let ended = inside::become_process(plan, console, user_namespace, hand_over);
            Err(ended)
        }),
    }
}

fn enter_groups(plan: &ExecPlan) -> Result<(), String> {
    for entrance in &plan.entrances {
        // "0" is the writer. A group that is gone fails: the process must not
        // run outside of the container's limits.
        match (write_control(entrance, "0"), &plan.second_entrance) {
            (Err(error), Some(second)) if error.source.raw_os_error() == Some(libc::EBUSY) => {
                write_control(second, "0").map_err(|error| not_added(second, &error))?;
            }
            (entered, _) => entered.map_err(|error| not_added(entrance, &error))?,
        }
    }
    Ok(())
}

/// Says that this process could not be moved into a group, in runc's words.
fn not_added(entrance: &Path, error: &PathError) -> String {
    let pid = rustix::process::getpid();
    let reason = match error.source.raw_os_error() {
        Some(code) => sys::reason(code),
        None => error.source.to_string(),
    };
    format!(
        "error adding pid {pid} to cgroups: {}: {reason}",
        entrance.display()
    )
}

fn join(target: &Target) -> Result<(), String> {
    if !target.namespaces.is_empty() {
        move_into_thread_name_spaces(target.init.pidfd().as_fd(), target.namespaces)
            .map_err(failed("join the container's namespaces"))?;
    }
    // Joining a mount namespace sets the root; without one of its own the
    // container lives in a changed root.
    if !target.namespaces.contains(ThreadNameSpaceType::MOUNT) {
        rustix::process::fchdir(&target.root).map_err(failed("enter the container's root"))?;
        rustix::process::chroot(".").map_err(failed("change to the container's root"))?;
    }
    Ok(())
}

/// Sets a limit of the process `pid`; `None` is the caller.
///
/// # Errors
/// Where the kernel refuses it: to raise a hard one needs CAP_SYS_RESOURCE.
pub(crate) fn set_limit(pid: Option<Pid>, limit: &PosixRlimit) -> rustix::io::Result<()> {
    let value = |number: u64| (number != u64::MAX).then_some(number);
    let wanted = Rlimit {
        current: value(limit.soft()),
        maximum: value(limit.hard()),
    };
    rustix::process::prlimit(pid, resource(limit.typ()), wanted).map(drop)
}

fn resource(kind: PosixRlimitType) -> Resource {
    match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    }
}

/// Says a packet; with a plain write, which is allowed under every filter that
/// allows anything.
fn say(socket: &OwnedFd, packet: &[u8]) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::io::write(socket, packet)).map(drop)
}

/// Tells which descriptor the listener is, and waits until it has been taken:
/// whoever answers must be there before there is a call to answer.
fn hand_over(listener: OwnedFd, report: &OwnedFd) -> Result<(), String> {
    let mut packet = vec![LISTENER];
    packet.extend(notify::announced(listener).to_ne_bytes());
    say(report, &packet).map_err(failed("announce the seccomp listener"))?;
    let mut answer = [0];
    let read = retry_on_intr(|| rustix::io::read(report, &mut answer));
    match read.map_err(failed("wait for the seccomp agent"))? {
        1 if answer == [TAKEN] => Ok(()),
        _ => Err("the seccomp listener was not taken".to_owned()),
    }
}

/// What the children told before the socket was closed.
#[derive(Debug, Default)]
struct Report {
    pid: Option<Pid>,
    listener: Option<RawFd>,
    error: Option<ExecError>,
}

fn read_report(socket: &OwnedFd, plan: &ExecPlan) -> Result<Report, ExecError> {
    let mut report = Report::default();
    let mut packet = [0; REPORT_LIMIT_BYTES];
    loop {
        let length = match retry_on_intr(|| rustix::io::read(socket, &mut packet)) {
            // Closed with an answer unread in it.
            Err(Errno::CONNRESET) => 0,
            read => read.map_err(|error| ExecError::Kernel("read the report", error.into()))?,
        };
        let Some((letter, rest)) = packet[..length].split_first() else {
            return Ok(report);
        };
        let number = rest.try_into().ok().map(i32::from_ne_bytes);
        match *letter {
            PID => report.pid = number.and_then(Pid::from_raw),
            LISTENER => report.listener = number,
            _ => {
                let text = String::from_utf8_lossy(rest).into_owned();
                // What this process did to it comes before what it says of that.
                report.error.get_or_insert(ExecError::Inside(text));
            }
        }
        // They come in any order, from two processes.
        if let (Some(pid), Some(listener)) = (report.pid, report.listener) {
            report.listener = None;
            if let Err(error) = give_to_agent(socket, plan, pid, listener) {
                report.error = Some(error);
                // It waits for the answer, and may not be allowed to give up.
                rustix::process::kill_process(pid, Signal::KILL).ok();
            }
        }
    }
}

fn give_to_agent(
    socket: &OwnedFd,
    plan: &ExecPlan,
    pid: Pid,
    listener: RawFd,
) -> Result<(), ExecError> {
    if let Some(agent) = plan.filter.as_ref().and_then(|filter| filter.agent()) {
        let listener = notify::take(pid, listener)?;
        agent.tell(listener.as_fd(), pid, &plan.state)?;
    }
    say(socket, &[TAKEN]).map_err(|error| ExecError::Kernel("answer the process", error.into()))
}
