//! Creating a container: everything before its program runs.
//!
//! The specification is validated, normalised and planned; then init is made,
//! which waits at the gate for its start. On failure all of it is undone.

mod plan;

pub(crate) use plan::{reach, resources};

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base::file::PathError;
use base::lock::FileLock;
use base::time::Timestamp;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::Pid;

use crate::cgroup::{Cgroup, CgroupError};
use crate::exec::ExecError;
use crate::handover::{self, HandoverError};
use crate::hooks;
use crate::init::{self, Inheritance, Init, InitError, InitPlan, Work, gate};
use crate::log::Logger;
use crate::pid_file;
use crate::proc::ProcessIdentity;
use crate::resources::ResourceError;
use crate::resources::rdt::{self, RdtError};
use crate::rootfs::{self, RootfsError, RootfsFacts, RootfsFds, RootfsPlan};
use crate::seccomp::SeccompError;
use crate::spec::{self, HostFacts, SpecError};
use crate::state::{ContainerDirectory, ContainerName, KeyringMode, Record, StateError, Store};
use crate::systemd::{self, SystemdError};

/// Says which step of a creation failed.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Resources(#[from] ResourceError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error(transparent)]
    Rdt(#[from] RdtError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error("invalid root filesystem or mounts")]
    Rootfs(#[from] RootfsError),
    #[error("cannot make a socket for the terminal")]
    Console(#[source] std::io::Error),
    #[error(transparent)]
    Process(Box<ExecError>),
    #[error("unable to start container process")]
    Init(#[from] InitError),
}

impl CreateError {
    /// Returns whether the control groups are somebody else's, and not to be
    /// emptied.
    fn is_foreign(&self) -> bool {
        match self {
            Self::Cgroup(error) => error.is_foreign(),
            Self::Init(InitError::Systemd(error)) => error.is_foreign(),
            _ => false,
        }
    }
}

/// Who holds the container's terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// Nobody: the caller's standard streams are the container's.
    Inherited,
    /// The process that listens on this socket.
    Socket(PathBuf),
    /// This process, which copies between it and its own terminal.
    Own,
}

/// How the container's root becomes the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootSwitch {
    PivotRoot,
    /// For a root filesystem on an initial ramdisk.
    MoveMount,
    /// For a container in the host's mount namespace: what is mounted for it
    /// is mounted on the host, and stays when it is gone, as with runc.
    Chroot,
}

/// Who makes a container's control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// This runtime, by folders and files.
    Files,
    Systemd,
}

/// What to create.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    pub id: ContainerName,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    pub console: Console,
    pub pid_file: Option<PathBuf>,
    /// Where init's pidfd is sent.
    pub pidfd_socket: Option<PathBuf>,
    pub preserve_fds: u32,
    pub keyring: KeyringMode,
    pub root_switch: RootSwitch,
    pub cgroup_driver: CgroupDriver,
    /// Whether who creates it may lack the privilege for control groups.
    pub is_rootless: bool,
}

/// A container whose init waits for the start.
#[derive(Debug)]
pub struct Created {
    pub directory: ContainerDirectory,
    pub record: Record,
    pub spec: Spec,
    pub init: Init,
    /// The terminal, when it is this process that holds it.
    pub terminal: Option<OwnedFd>,
}

/// What a specification comes to.
#[derive(Debug)]
pub(crate) struct Planned {
    /// As its author wrote it.
    pub written: Spec,
    /// With its gaps filled: what later processes are planned from.
    pub normalised: Spec,
    pub rootfs: RootfsPlan,
}

/// A container of which there is a directory, and nothing else yet.
#[derive(Debug)]
pub(crate) struct Begun {
    pub directory: ContainerDirectory,
    pub record: Record,
    pub planned: Planned,
    /// Held by what is cloned from here on as well, so that `delete` can tell
    /// when nothing of a killed creation is left.
    pub lock: FileLock,
}

/// Creates a container. On failure nothing of it remains.
///
/// # Errors
/// The step that failed.
pub fn create(
    store: &Store,
    log: &Logger,
    spec: Spec,
    request: &CreateRequest,
) -> Result<Created, CreateError> {
    let Begun {
        directory,
        record,
        planned,
        lock: _held,
    } = begin(store, log, spec, request)?;
    let hooks = planned.normalised.hooks().clone();
    build(log, &directory, record.clone(), planned, request).inspect_err(|error| {
        undo(log, &directory, (!error.is_foreign()).then_some(&record));
        if let CreateError::Init(_) = error {
            // Hooks of the creation may have run: what they made is theirs to end.
            hooks::run_poststop(hooks.as_ref(), &record, log);
        }
    })
}

/// Validates and plans a container, and reserves its directory.
///
/// # Errors
/// What is wrong with the specification, or that the id is taken.
pub(crate) fn begin(
    store: &Store,
    log: &Logger,
    spec: Spec,
    request: &CreateRequest,
) -> Result<Begun, CreateError> {
    let facts = HostFacts::gather(&spec, &request.bundle)?;
    spec::validate(&spec, &facts)?;
    // What is mounted for the container depends on where it will be.
    let cgroup = plan::cgroup(&spec, request)?;
    let planned = Planned {
        rootfs: plan::rootfs(&spec, &facts, &cgroup, request)?,
        normalised: spec::normalise(spec.clone(), &facts, &cgroup),
        written: spec,
    };
    let (directory, lock) = store.reserve(&request.id)?;
    log.step("reserved the container's directory");
    let record = match new_record(request, &planned.normalised, facts, cgroup) {
        Ok(record) => record,
        Err(error) => {
            undo(log, &directory, None);
            return Err(error);
        }
    };
    Ok(Begun {
        directory,
        record,
        planned,
        lock,
    })
}

/// Plans the root filesystem of a container that is there, as it was planned
/// when it was created.
///
/// # Errors
/// When the host has become another one.
pub(crate) fn rootfs_again(
    spec: &Spec,
    record: &Record,
) -> Result<(RootfsPlan, RootfsFacts), RootfsError> {
    let (rootfs, bundle) = (&record.rootfs, &record.bundle);
    let facts = RootfsFacts::gather(rootfs, bundle, &record.cgroup, RootSwitch::PivotRoot)?;
    Ok((rootfs::plan(spec, &facts)?, facts))
}

fn new_record(
    request: &CreateRequest,
    spec: &Spec,
    facts: HostFacts,
    cgroup: Cgroup,
) -> Result<Record, CreateError> {
    Ok(Record {
        version: Record::current_version(),
        oci_version: spec.version().clone(),
        id: request.id.clone(),
        bundle: request.bundle.clone(),
        rootfs: facts.rootfs,
        created: Timestamp::now(),
        owner_uid: rustix::process::getuid().as_raw(),
        annotations: spec
            .annotations()
            .clone()
            .unwrap_or_default()
            .into_iter()
            .collect(),
        cgroup,
        rdt: plan::class_of_service(spec, &request.id)?,
        creator: ProcessIdentity::own()?,
        init: None,
        keyring: request.keyring,
    })
}

fn build(
    log: &Logger,
    directory: &ContainerDirectory,
    mut record: Record,
    planned: Planned,
    request: &CreateRequest,
) -> Result<Created, CreateError> {
    let spec = planned.normalised;
    record.cgroup.ensure_unused()?;
    write_down(log, directory, &record, &spec)?;
    let process = plan::process(directory, &spec, &record, request.preserve_fds)?;
    for warning in &process.warnings {
        log.warn(warning);
    }
    let plan = InitPlan::new(&planned.written, record.clone(), planned.rootfs, process)?;
    warn_of_shared_processes(log, &record, &plan);
    let (console, ours) = plan::open_console(&request.console)?;
    let pidfd_socket = request.pidfd_socket.as_deref();
    let pidfd_socket = pidfd_socket.map(handover::connect).transpose()?;
    let inheritance = Inheritance {
        namespaces: init::open_namespaces(&plan.namespaces)?,
        rootfs: RootfsFds {
            id_maps: plan::id_maps(&plan.rootfs)?,
        },
        console,
        gate: gate::build(&directory.gate())?,
        is_rootless: !rustix::process::geteuid().is_root(),
        awaits_record: !record.cgroup.has_controllers(),
    };
    log.step("made the gate");
    let resources = plan::resources(&spec);
    let mut work = Work::new(&mut record.cgroup, &resources, &plan, &spec, log);
    let init = make(&plan, inheritance, &mut work)?;
    log.step("init waits at the gate");
    let finished = finish(directory, &mut record, &init, request);
    let terminal = finished
        .and_then(|()| send_pidfd(pidfd_socket.as_ref(), init.pid))
        .and_then(|()| receive_terminal(ours))
        .inspect_err(|_| init.kill())?;
    log.step("wrote init's process id");
    Ok(Created {
        directory: directory.clone(),
        record,
        spec,
        init,
        terminal,
    })
}

/// Warns of a container whose processes nothing holds together, in runc's words.
fn warn_of_shared_processes(log: &Logger, record: &Record, plan: &InitPlan) {
    if record.cgroup.has_controllers() || plan.namespaces.is_new(LinuxNamespaceType::Pid) {
        return;
    }
    log.warn(
        "Creating a rootless container with no cgroup and no private pid namespace. \
         Such configuration is strongly discouraged (as it is impossible to properly kill \
         all container's processes)",
    );
}

fn write_down(
    log: &Logger,
    directory: &ContainerDirectory,
    record: &Record,
    spec: &Spec,
) -> Result<(), StateError> {
    directory.save(record)?;
    log.step("wrote the record");
    directory.save_spec(spec)?;
    log.step("wrote the specification");
    Ok(())
}

fn make(
    plan: &InitPlan,
    inheritance: Inheritance,
    work: &mut Work<'_>,
) -> Result<Init, CreateError> {
    let group = work.prepare()?;
    let group = group.as_ref().map(|group| group.as_fd());
    Ok(init::make(plan, inheritance, group, work)?)
}

fn finish(
    directory: &ContainerDirectory,
    record: &mut Record,
    init: &Init,
    request: &CreateRequest,
) -> Result<(), CreateError> {
    let pid = init.pid;
    record.init = Some(ProcessIdentity::of(pid)?);
    directory.save(record)?;
    if !record.cgroup.has_controllers() {
        init.tell_recorded();
    }
    if let Some(path) = &request.pid_file {
        pid_file::write(path, pid)?;
    }
    Ok(())
}

fn send_pidfd(socket: Option<&UnixStream>, pid: i32) -> Result<(), CreateError> {
    let Some(socket) = socket else {
        return Ok(());
    };
    let init = Pid::from_raw(pid).expect("init has a pid");
    Ok(handover::send_pidfd(socket, init)?)
}

fn receive_terminal(socket: Option<OwnedFd>) -> Result<Option<OwnedFd>, CreateError> {
    let terminal = socket.map(|socket| handover::receive(socket.as_fd()));
    Ok(terminal.transpose()?)
}

/// Undoes a failed creation; what cannot be undone is logged.
pub(crate) fn undo(log: &Logger, directory: &ContainerDirectory, record: Option<&Record>) {
    let warn = |error: &dyn std::error::Error| {
        log.warn(&format!("undo of create: {}", base::failure::chain(error)));
    };
    if let Some(record) = record {
        if let Err(error) = record.cgroup.kill_all() {
            warn(&error);
        }
        if let Err(error) = systemd::stop(&record.cgroup) {
            warn(&error);
        }
        if let Err(error) = record.cgroup.remove() {
            warn(&error);
        }
        let class = record.rdt.as_ref();
        if let Some(Err(error)) = class.map(|class| class.remove(Path::new(rdt::ROOT))) {
            warn(&error);
        }
    }
    if let Err(error) = directory.remove() {
        warn(&error);
    }
}
