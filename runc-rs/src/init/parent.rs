//! The runtime's side of making init: clone, maps, groups, limits, hooks.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxNamespaceType as T;
use rustix::process::{
    DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus, kill_process, set_dumpable_behavior,
    waitpid,
};

use super::InitError;
use super::child::{self, Inheritance};
use super::line::{self, Line, Word};
use super::namespaces::{self, Entry};
use super::plan::InitPlan;
use crate::cgroup::write_control;
use crate::exec::inside::failed;
use crate::exec::set_limit;
use crate::rootfs::SourceRequest;
use crate::sys::{self, Fork};

/// The number of SIGKILL.
const KILL: i32 = Signal::KILL.as_raw();

/// What the creation of a container does for init from outside.
pub trait ParentWork {
    /// Moves init into its control groups.
    ///
    /// # Errors
    /// When a group cannot be made or entered.
    fn group(&mut self, pid: i32) -> Result<(), InitError>;

    /// Runs the hooks of the runtime's side; init's mounts are there.
    ///
    /// # Errors
    /// When one fails.
    fn mounted(&mut self, pid: i32) -> Result<(), InitError>;

    /// Opens the source of a mount, as init has it mounted.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn source(&mut self, pid: i32, request: &SourceRequest) -> Result<OwnedFd, InitError>;

    /// Takes the listener of init's filter, which has it as `descriptor`.
    ///
    /// # Errors
    /// When it cannot be taken or handed on.
    fn listener(&mut self, pid: i32, descriptor: i32) -> Result<(), InitError>;
}

/// An init that waits for its start, and is this process's child.
#[derive(Debug)]
pub struct Init {
    pub pid: i32,
    line: Line,
}

impl Init {
    /// Waits until the started init executes its program.
    ///
    /// # Errors
    /// What kept it from that.
    pub fn wait_executed(&self) -> Result<(), InitError> {
        match self.line.hear() {
            Ok(Some(Word::Failed(message))) => Err(InitError::NotExecuted(message)),
            // Its end of the line was closed: it has executed, or was killed,
            // which is an end like any other.
            Ok(_) => Ok(()),
            Err(error) => Err(InitError::Kernel("hear init", error)),
        }
    }

    /// Tells it that its process id is written down.
    pub fn tell_recorded(&self) {
        tell(&self.line, &Word::Recorded);
    }

    /// Ends it, where what follows its creation has failed.
    pub fn kill(&self) {
        end(self.pid);
    }
}

/// Makes init by `plan`. `group` is the directory to clone it into, on a kernel
/// and a layout where that can be.
///
/// # Errors
/// The step that failed; there is no process then.
pub fn make(
    plan: &InitPlan,
    inheritance: Inheritance,
    group: Option<BorrowedFd<'_>>,
    work: &mut dyn ParentWork,
) -> Result<Init, InitError> {
    let (line, theirs) = line::pair().map_err(|error| InitError::Kernel("make a line", error))?;
    let flags = plan.namespaces.clone_flags();
    let staged = plan.namespaces.entry() == Entry::Staged;
    let cloned = match staged {
        true => sys::process::clone_process(0, None),
        // A group that takes nobody at birth may take it later.
        false => sys::process::clone_process(flags, group).or_else(|error| match group {
            Some(_) => sys::process::clone_process(flags, None),
            None => Err(error),
        }),
    };
    match cloned.map_err(|error| InitError::Kernel("make a process", error))? {
        Fork::Child => {
            drop(line);
            if inheritance.is_rootless {
                set_own_oom_score(plan, &theirs);
            }
            match staged {
                true => stage(plan, inheritance, &theirs),
                false => become_init(plan, inheritance, &theirs),
            }
        }
        Fork::Parent(child) => {
            let is_rootless = inheritance.is_rootless;
            drop((theirs, inheritance));
            let pid = match staged {
                true => hear_pid(&line, child)?,
                false => child.as_raw_nonzero().get(),
            };
            match drive(plan, pid, &line, work, is_rootless) {
                Ok(()) => Ok(Init { pid, line }),
                Err(Stopped::Silent) => Err(InitError::EndedEarly(told(end(pid)))),
                Err(Stopped::Failed(error)) => {
                    end(pid);
                    Err(error)
                }
            }
        }
    }
}

/// Why the making of init stopped.
enum Stopped {
    /// The line came to its end: how init ended is known once it is waited for.
    Silent,
    Failed(InitError),
}

impl<E: Into<InitError>> From<E> for Stopped {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Says how a process ended.
fn told(status: Option<WaitStatus>) -> String {
    let signal = status.and_then(WaitStatus::terminating_signal);
    match (signal, status.and_then(WaitStatus::exit_status)) {
        (Some(KILL), _) => "was killed (a memory limit may be too small for it)".to_owned(),
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, code) => format!("ended with status {}", code.unwrap_or(0)),
    }
}

fn become_init(plan: &InitPlan, inheritance: Inheritance, line: &Line) -> ! {
    let message = child::run(plan, inheritance, line);
    if line.say(&Word::Failed(message.clone())).is_err() {
        // The runtime has gone, as after `create`: the container's own error
        // stream is what is left.
        eprintln!("runc-rs: {message}");
    }
    sys::exit_now(1)
}

/// Joins what only children get, and makes init, a child of the runtime's.
fn stage(plan: &InitPlan, inheritance: Inheritance, line: &Line) -> ! {
    let flags = plan.namespaces.clone_flags() | libc::CLONE_PARENT as u64;
    let made = enter_stage(plan, &inheritance)
        .and_then(|()| sys::process::clone_process(flags, None).map_err(failed("make a process")));
    let word = match made {
        Ok(Fork::Child) => become_init(plan, inheritance, line),
        Ok(Fork::Parent(pid)) => Word::Pid(pid.as_raw_nonzero().get()),
        Err(message) => Word::Failed(message),
    };
    // Without the runtime there is nobody to tell.
    sys::exit_now(i32::from(line.say(&word).is_err()))
}

/// Joins, and makes a time namespace beside a joined user namespace: as root of the
/// host, to whom the offsets belong, or as an ordinary user who is root in there.
fn enter_stage(plan: &InitPlan, inheritance: &Inheritance) -> Result<(), String> {
    let offsets = plan.time_offsets.as_deref();
    let is_new = plan.namespaces.is_new(T::Time) && plan.namespaces.is_joined(T::User);
    if is_new && !inheritance.is_rootless {
        namespaces::enter_new_time(offsets)?;
    }
    namespaces::join(&inheritance.namespaces)?;
    if is_new && inheritance.is_rootless {
        // With the change of ids its own files went to the host's root.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(failed("become dumpable"))?;
        namespaces::enter_new_time(offsets)?;
    }
    Ok(())
}

fn hear_pid(line: &Line, stage: Pid) -> Result<i32, InitError> {
    let heard = line.hear();
    // It ends as soon as it has said its word.
    let ended = waitpid(Some(stage), WaitOptions::empty());
    match heard.map_err(|error| InitError::Kernel("hear the stage", error))? {
        Some(Word::Pid(pid)) => Ok(pid),
        Some(Word::Failed(message)) => Err(InitError::Inside(message)),
        Some(_) => Err(InitError::Unexpected),
        None => Err(InitError::EndedEarly(told(status_of(ended)))),
    }
}

fn drive(
    plan: &InitPlan,
    pid: i32,
    line: &Line,
    work: &mut dyn ParentWork,
    is_rootless: bool,
) -> Result<(), Stopped> {
    if !is_rootless {
        set_oom_score(plan, &pid.to_string())?;
    }
    if plan.namespaces.is_new(T::User) {
        plan.id_maps.write(pid).map_err(InitError::IdMap)?;
        tell(line, &Word::Mapped);
    }
    work.group(pid)?;
    tell(line, &Word::Grouped);
    loop {
        match line
            .hear()
            .map_err(|error| InitError::Kernel("hear init", error))?
        {
            Some(Word::Mounted) => {
                set_limits(plan, pid)?;
                work.mounted(pid)?;
                tell(line, &Word::Hooked);
            }
            Some(Word::Source(index)) => {
                let request = plan.source(index).ok_or(InitError::Unexpected)?;
                let source = work.source(pid, &request)?;
                // An init that has gone has said why, which is heard next.
                line.give(source.as_fd()).ok();
            }
            Some(Word::Listener(descriptor)) => {
                work.listener(pid, descriptor)?;
                tell(line, &Word::Taken);
            }
            Some(Word::Ready) => return Ok(()),
            Some(Word::Failed(message)) => return Err(InitError::Inside(message).into()),
            Some(_) => return Err(InitError::Unexpected.into()),
            None => return Err(Stopped::Silent),
        }
    }
}

/// Says a word. An init that has gone has said why, which is heard next.
fn tell(line: &Line, word: &Word) {
    line.say(word).ok();
}

/// Sets the score of this process while it may: its runtime cannot where it hides,
/// nor itself as root of a user namespace.
fn set_own_oom_score(plan: &InitPlan, line: &Line) {
    if let Err(error) = set_oom_score(plan, "self") {
        // Without the runtime there is nobody to tell.
        line.say(&Word::Failed(base::failure::chain(&error))).ok();
        sys::exit_now(1);
    }
}

fn set_oom_score(plan: &InitPlan, pid: &str) -> Result<(), InitError> {
    let Some(score) = plan.process.process.oom_score_adj() else {
        return Ok(());
    };
    let path = PathBuf::from(format!("/proc/{pid}/oom_score_adj"));
    write_control(&path, &score.to_string()).map_err(|error| InitError::OomScore(path, error))
}

/// Limits come late, since a small one would keep init from building its root.
fn set_limits(plan: &InitPlan, pid: i32) -> Result<(), InitError> {
    let target = Pid::from_raw(pid);
    for limit in plan.process.process.rlimits().iter().flatten() {
        set_limit(target, limit)
            .map_err(|error| InitError::Limit(limit.typ().to_string(), error.into()))?;
    }
    Ok(())
}

/// Ends an init and returns how it did; it is our child and not yet waited for,
/// so its pid is its own.
fn end(pid: i32) -> Option<WaitStatus> {
    let pid = Pid::from_raw(pid)?;
    // It may have ended by itself, which is as good.
    kill_process(pid, Signal::KILL).ok();
    status_of(waitpid(Some(pid), WaitOptions::empty()))
}

fn status_of(waited: rustix::io::Result<Option<(Pid, WaitStatus)>>) -> Option<WaitStatus> {
    waited.ok().flatten().map(|(_, status)| status)
}
