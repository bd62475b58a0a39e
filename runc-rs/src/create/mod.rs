//! Creating a container: everything before its program runs.
//!
//! libcontainer makes the container from a specification we have validated
//! and normalised; around it stand the record, the control groups' check, the
//! steps it lacks (keyring, groups, loopback, owner of the standard streams)
//! and, on failure, the undoing of all of it.

mod after;
mod before;
mod hook_state;
mod start;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use base::file::{FileMode, PathError, replace};
use base::lock::FileLock;
use base::time::Timestamp;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::Spec;

use crate::cgroup::{Cgroup, CgroupError, Layout};
use crate::log::Logger;
use crate::payload::InitPayload;
use crate::proc::ProcessIdentity;
use crate::spec::{self, HostFacts, Normalised, SpecError};
use crate::state::{ContainerDirectory, ContainerName, KeyringMode, Record, StateError, Store};
use crate::terminal::{self, TerminalError};

pub use hook_state::{COMMAND as HOOK_COMMAND, HookStateError, become_hook};
pub use start::{StartError, start};

/// Says which step of a creation failed.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error("cannot join a new session keyring")]
    Keyring(#[source] std::io::Error),
    #[error("cannot clear supplementary groups")]
    Groups(#[source] std::io::Error),
    #[error("cannot make the working directory {0:?}")]
    WorkingDirectory(PathBuf, #[source] pathrs::error::Error),
    #[error("cannot set the loopback interface up")]
    Loopback(#[source] std::io::Error),
    #[error("unable to start container process")]
    Build(#[source] LibcontainerError),
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
}

/// What to create.
#[derive(Debug, Clone)]
pub struct CreateRequest {
    pub id: ContainerName,
    /// The bundle, absolute.
    pub bundle: PathBuf,
    pub console: Console,
    pub pid_file: Option<PathBuf>,
    pub preserve_fds: u32,
    pub keyring: KeyringMode,
    pub root_switch: RootSwitch,
}

/// A container whose init waits for the start.
#[derive(Debug)]
pub struct Created {
    pub directory: ContainerDirectory,
    pub record: Record,
    pub spec: Spec,
    pub init: ProcessIdentity,
    /// The terminal, when it is this process that holds it.
    pub terminal: Option<OwnedFd>,
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
    let facts = HostFacts::gather(&spec, &request.bundle)?;
    spec::validate(&spec, &facts)?;
    let linux = spec.linux().as_ref();
    let wanted = linux.and_then(|linux| linux.cgroups_path().as_deref());
    let cgroup = Cgroup::plan(&Layout::detect()?, wanted, request.id.as_str())?;
    let normalised = spec::normalise(spec, &facts, &cgroup);
    let directory = store.reserve(&request.id)?;
    log.debug("reserved the container's directory");
    let record = match new_record(request, &normalised.spec, facts, cgroup) {
        Ok(record) => record,
        Err(error) => {
            undo(log, &directory, None);
            return Err(error);
        }
    };
    build(&directory, record.clone(), normalised, request).inspect_err(|error| {
        // Groups somebody else uses are not ours to empty.
        let foreign = matches!(
            error,
            CreateError::Cgroup(CgroupError::InUse(_) | CgroupError::Frozen(_))
        );
        undo(log, &directory, (!foreign).then_some(&record));
    })
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
        creator: ProcessIdentity::own()?,
        init: None,
        keyring: request.keyring,
    })
}

fn build(
    directory: &ContainerDirectory,
    mut record: Record,
    normalised: Normalised,
    request: &CreateRequest,
) -> Result<Created, CreateError> {
    let spec = normalised.spec;
    record.cgroup.ensure_unused()?;
    // Held by what is forked from here on as well, so that delete can tell
    // when nothing of a killed creation is left.
    let _lock = FileLock::acquire(&directory.creation_lock())?;
    directory.save(&record)?;
    let spec = hook_state::wrap(spec, &record.bundle);
    directory.save_spec(&spec)?;
    before::prepare(&record, &spec, normalised.working_directory.as_deref())?;
    let listener = match request.console {
        Console::Own => Some(terminal::listen(&directory.console_socket())?),
        Console::Inherited | Console::Socket(_) => None,
    };
    let pid = build_init(directory, &spec, request)?;
    let init = ProcessIdentity::of(pid)?;
    let finished = finish(directory, &mut record, &spec, init, request);
    let terminal = finished
        .and_then(|()| receive_terminal(listener, directory))
        .inspect_err(|_| after::kill_init(init))?;
    Ok(Created {
        directory: directory.clone(),
        record,
        spec,
        init,
        terminal,
    })
}

fn build_init(
    directory: &ContainerDirectory,
    spec: &Spec,
    request: &CreateRequest,
) -> Result<i32, CreateError> {
    let console = match &request.console {
        Console::Inherited => None,
        Console::Socket(path) => Some(path.clone()),
        Console::Own => Some(directory.console_socket()),
    };
    let _oom_score = before::OomScore::keep(spec)?;
    let preserved = i32::try_from(request.preserve_fds).unwrap_or(i32::MAX);
    let container = ContainerBuilder::new(request.id.to_string(), SyscallType::default())
        .with_executor(InitPayload)
        .with_root_path(directory.init_root())
        .map_err(CreateError::Build)?
        .with_console_socket(console)
        .with_preserved_fds(preserved)
        .as_init(directory.path())
        .with_systemd(false)
        .with_detach(true)
        .with_no_pivot(request.root_switch == RootSwitch::MoveMount)
        .build()
        .map_err(CreateError::Build)?;
    let pid = container.pid().map_or(0, nix::unistd::Pid::as_raw);
    Ok(pid)
}

fn finish(
    directory: &ContainerDirectory,
    record: &mut Record,
    spec: &Spec,
    init: ProcessIdentity,
    request: &CreateRequest,
) -> Result<(), CreateError> {
    record.init = Some(init);
    record.cgroup.forget_unmade();
    directory.save(record)?;
    after::complete(spec, init)?;
    if let Some(path) = &request.pid_file {
        replace(path, init.pid.to_string().as_bytes(), FileMode::Public)?;
    }
    Ok(())
}

fn receive_terminal(
    listener: Option<UnixListener>,
    directory: &ContainerDirectory,
) -> Result<Option<OwnedFd>, CreateError> {
    let Some(listener) = listener else {
        return Ok(None);
    };
    let terminal = terminal::receive(&listener)?;
    base::file::remove_if_there(&directory.console_socket())?;
    Ok(Some(terminal))
}

/// Undoes a failed creation; what cannot be undone is logged.
fn undo(log: &Logger, directory: &ContainerDirectory, record: Option<&Record>) {
    let warn = |error: &dyn std::error::Error| {
        log.warn(&format!("undo of create: {}", base::failure::chain(error)));
    };
    if let Some(record) = record {
        if let Err(error) = record.cgroup.kill_all() {
            warn(&error);
        }
        if let Err(error) = record.cgroup.remove() {
            warn(&error);
        }
    }
    if let Err(error) = directory.remove() {
        warn(&error);
    }
}
