//! What init does from its first instruction to its program's, in order.
//!
//! It trusts nothing that the container or its image has: the root filesystem
//! is built by descriptor, parameters and labels go through a procfs of our
//! own, and the only file opened by a path of the container is the program.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use oci_spec::runtime::{Hook, LinuxNamespaceType as T, Process};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use super::identity::become_root;
use super::line::{Line, Word};
use super::namespaces::{self, Entry, OpenNamespace};
use super::plan::InitPlan;
use super::{gate, sysctl};
use crate::exec::inside::{self, Closing, failed};
use crate::hooks::{self, HookPlace, HookPoint};
use crate::rootfs::{self, RootfsFds, RootfsHooks, SourceRequest};
use crate::seccomp::notify;
use crate::state::Status;
use crate::{passwd, payload, sys, terminal};

/// What init has from the parent, opened before the clone.
#[derive(Debug)]
pub struct Inheritance {
    pub namespaces: Vec<OpenNamespace>,
    pub rootfs: RootfsFds,
    /// Where the master side of its terminal goes.
    pub console: Option<OwnedFd>,
    pub gate: OwnedFd,
    /// Whether this is an ordinary user's, whose runtime cannot look into what is
    /// hidden either.
    pub is_rootless: bool,
    /// Whether it has to be told that its process id is written down, since nothing
    /// else would lead to it.
    pub awaits_record: bool,
}

/// Becomes the container's program; returns only to say why not.
pub(super) fn run(plan: &InitPlan, inheritance: Inheritance, line: &Line) -> String {
    // The runtime of an ordinary user could not map the ids of what is hidden.
    let hidden = match inheritance.is_rootless && plan.namespaces.is_new(T::User) {
        true => Ok(()),
        false => hide(),
    };
    let ready = hidden.and_then(|()| prepare(plan, inheritance, line));
    match ready.and_then(|ready| begin(plan, ready, line)) {
        Ok(never) => match never {},
        Err(message) => message,
    }
}

/// Keeps processes of the container, or of one whose process ids are shared,
/// from looking into this one, which has the caller's environment and
/// descriptors until it executes its program.
fn hide() -> Result<(), String> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("become undumpable"))
}

/// What is left to do once the container is made.
struct Prepared {
    process: Process,
    gate: OwnedFd,
    awaits_record: bool,
}

fn prepare(plan: &InitPlan, inheritance: Inheritance, line: &Line) -> Result<Prepared, String> {
    enter_namespaces(plan, &inheritance.namespaces, line)?;
    if plan.namespaces.is_joined(T::Pid) {
        // Others are there. In a new namespace nobody is, and those of the host's
        // are the user's own.
        hide()?;
    }
    let mut points = Points {
        plan,
        line,
        is_grouped: false,
    };
    rootfs::perform(&plan.rootfs, inheritance.rootfs, &mut points)
        .map_err(|error| base::failure::chain(&error))?;
    if let Some(socket) = &inheritance.console {
        terminal::take_new(socket.as_fd()).map_err(|error| base::failure::chain(&error))?;
        rootfs::console(rustix::stdio::stdin()).map_err(|error| base::failure::chain(&error))?;
    }
    drop(inheritance.console);
    set_names(plan)?;
    sysctl::apply(&plan.sysctls)?;
    let process = with_home(plan)?;
    // From here on init may wait for long: nothing of the caller's stays open.
    // It is in its groups, where `delete` finds it: the lock can go as well.
    drop(inheritance.namespaces);
    let kept = [line.descriptor(), inheritance.gate.as_raw_fd()];
    sys::end_on_signals();
    inside::settle(&plan.process, Closing::AllBut(&kept), |listener| {
        hand_over(listener, line)
    })?;
    // As the container's user would find it: an engine wants to know now.
    payload::find_program(&process).map_err(|error| base::failure::chain(&error))?;
    Ok(Prepared {
        process,
        gate: inheritance.gate,
        awaits_record: inheritance.awaits_record,
    })
}

/// Waits for the start and executes the program.
fn begin(plan: &InitPlan, ready: Prepared, line: &Line) -> Result<Infallible, String> {
    line.say(&Word::Ready)
        .map_err(failed("say that init is ready"))?;
    if ready.awaits_record {
        line.expect(&Word::Recorded)?;
    }
    gate::wait(&ready.gate).map_err(failed("wait for the start"))?;
    let hooks = plan.hooks.start_container().as_deref();
    let of_process = HookPlace {
        directory: None,
        variables: ready.process.env().as_deref(),
    };
    run_hooks(plan, hooks, HookPoint::StartContainer, of_process)?;
    let sockets = payload::socket_activation(plan.process.activation_sockets);
    let error = payload::execute(&ready.process, &sockets);
    Err(base::failure::chain(&error))
}

fn enter_namespaces(plan: &InitPlan, joined: &[OpenNamespace], line: &Line) -> Result<(), String> {
    if plan.namespaces.is_new(T::Time) && !plan.namespaces.is_joined(T::User) {
        // As who made the user namespace: to its root the offsets may not belong.
        namespaces::enter_new_time(plan.time_offsets.as_deref())?;
    }
    if plan.namespaces.is_new(T::User) {
        line.expect(&Word::Mapped)?;
        become_root()?;
    }
    rustix::process::setsid().map_err(failed("start a session"))?;
    if plan.namespaces.entry() == Entry::Direct {
        namespaces::join(joined)?;
    }
    inside::join_keyring(&plan.process)?;
    if plan.namespaces.is_new(T::Network) {
        sys::set_loopback_up().map_err(failed("set the loopback interface up"))?;
    }
    Ok(())
}

/// Where the building of the root filesystem waits for others.
struct Points<'a> {
    plan: &'a InitPlan,
    line: &'a Line,
    /// Whether the parent has said that this process is in its groups: that
    /// comes when it is so, whatever is asked meanwhile.
    is_grouped: bool,
}

impl Points<'_> {
    fn await_groups(&mut self) -> Result<(), String> {
        if !self.is_grouped {
            self.line.expect(&Word::Grouped)?;
            self.is_grouped = true;
        }
        Ok(())
    }
}

impl RootfsHooks for Points<'_> {
    fn cgroup_ready(&mut self) -> Result<(), String> {
        self.await_groups()?;
        if !self.plan.namespaces.is_new(T::Cgroup) {
            return Ok(());
        }
        unshare(CloneFlags::CLONE_NEWCGROUP).map_err(failed("make a control group namespace"))
    }

    fn before_pivot(&mut self) -> Result<(), String> {
        let line = self.line;
        line.say(&Word::Mounted)
            .map_err(failed("say that mounts are there"))?;
        line.expect(&Word::Hooked)?;
        let hooks = self.plan.hooks.create_container().as_deref();
        let in_root = HookPlace {
            directory: Some(&self.plan.record.rootfs),
            variables: None,
        };
        run_hooks(self.plan, hooks, HookPoint::CreateContainer, in_root)
    }

    fn at_root(&mut self) -> Result<(), String> {
        make_working_directory(self.plan.process.process.cwd())
    }

    fn mount_source(&mut self, request: &SourceRequest) -> Result<OwnedFd, String> {
        // Else its word would be taken for the answer.
        self.await_groups()?;
        let index = i32::try_from(request.index).map_err(failed("count mounts"))?;
        let asked = self.line.say(&Word::Source(index));
        asked.map_err(failed("ask for the source of a mount"))?;
        let source = self.line.take();
        source.map_err(|error| base::failure::chain(&error))
    }
}

/// Runs hooks of the container's side, which know it by its own process id.
fn run_hooks(
    plan: &InitPlan,
    hooks: Option<&[Hook]>,
    point: HookPoint,
    place: HookPlace<'_>,
) -> Result<(), String> {
    let status = match point {
        HookPoint::StartContainer => Status::Created,
        _ => Status::Creating,
    };
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let state = crate::oci_state::of_creation(&plan.record, status, pid);
    let ran = hooks::run_each(hooks.unwrap_or_default(), point, &state, place);
    ran.map_err(|error| base::failure::chain(&error))
}

fn set_names(plan: &InitPlan) -> Result<(), String> {
    if let Some(name) = &plan.hostname {
        rustix::system::sethostname(name.as_bytes()).map_err(failed("set the host name"))?;
    }
    if let Some(name) = &plan.domainname {
        rustix::system::setdomainname(name.as_bytes()).map_err(failed("set the domain name"))?;
    }
    Ok(())
}

/// Sets HOME by the container's own passwd file, as it is mounted now.
fn with_home(plan: &InitPlan) -> Result<Process, String> {
    let mut process = plan.process.process.clone();
    if plan.has_home {
        return Ok(process);
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty());
    let root = root.map_err(failed("open the container's root"))?;
    let home = passwd::home_of(root.as_fd(), process.user().uid());
    let mut variables = process.env().clone().unwrap_or_default();
    variables.retain(|variable| !variable.starts_with("HOME="));
    variables.push(format!("HOME={home}"));
    process.set_env(Some(variables));
    Ok(process)
}

/// Makes the working directory as runc does; where that cannot be, entering it
/// says so.
fn make_working_directory(path: &Path) -> Result<(), String> {
    match std::fs::create_dir_all(path) {
        Err(error) if error.raw_os_error() == Some(Errno::ROFS.raw_os_error()) => Ok(()),
        Err(_) if path.exists() => Ok(()),
        made => {
            made.map_err(|error| format!("cannot make the working directory {path:?}: {error}"))
        }
    }
}

/// Lets the parent take the listener of our filter: we may no longer be allowed
/// to send it.
fn hand_over(listener: OwnedFd, line: &Line) -> Result<(), String> {
    line.say(&Word::Listener(notify::announced(listener)))
        .map_err(failed("say where the listener is"))?;
    line.expect(&Word::Taken)
}
