//! Running another process in a container that exists.
//!
//! [`plan`] says what the process will be, from the container's specification
//! and the request; [`perform`] enters the container and becomes it. A
//! container's first process is planned here too, so that both are confined alike.

mod groups;
pub(crate) mod inside;
mod perform;
mod plan;
mod user;

use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;

use base::file::{PathContext as _, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::thread::ThreadNameSpaceType;

use crate::cgroup::Directories;
use crate::passwd;
use crate::proc::LiveProcess;
use crate::seccomp::notify::NotifyError;
use crate::seccomp::{self, Filter, SeccompError};
use crate::spec::{SpecError, has_selinux, validate_label};
use crate::state::{ContainerDirectory, Record, StateError};
use crate::terminal::TerminalError;

pub use groups::{GroupError, SubGroups};
pub(crate) use perform::set_limit;
pub use perform::{Started, perform};
pub use plan::{Container, ExecPlan, ExecRequest, Overrides, plan};
pub use user::UserRequest;

/// Says why a process could not be run in a container.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error(transparent)]
    Group(#[from] GroupError),
    #[error("cannot run in container {id}: it is {status}")]
    NotRunning { id: String, status: &'static str },
    #[error("cannot exec in a paused container (use --ignore-paused)")]
    Paused,
    #[error("unable to find user {0:?}: no matching entry in the container's passwd file")]
    UnknownUser(String),
    #[error("unable to find group {0:?}: no matching entry in the container's group file")]
    UnknownGroup(String),
    #[error("unknown capability {0:?}")]
    UnknownCapability(String),
    #[error("cannot {0}")]
    Kernel(&'static str, #[source] std::io::Error),
    #[error("unable to start container process: {0}")]
    Inside(String),
    #[error("unable to start container process: it ended before it executed anything")]
    EndedEarly,
}

/// What is asked of the host before an exec is planned.
#[derive(Debug)]
pub struct Target {
    /// The container's init, whose namespaces are joined.
    pub init: LiveProcess,
    /// The namespaces of init that are not this process's own.
    pub namespaces: ThreadNameSpaceType,
    /// The container's root directory.
    pub root: OwnedFd,
}

/// The namespace files of procfs and what `setns` calls them.
const NAMESPACES: [(&str, ThreadNameSpaceType); 8] = [
    ("user", ThreadNameSpaceType::USER),
    ("mnt", ThreadNameSpaceType::MOUNT),
    ("pid", ThreadNameSpaceType::PROCESS_ID),
    ("net", ThreadNameSpaceType::NETWORK),
    ("ipc", ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION),
    ("uts", ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME),
    ("cgroup", ThreadNameSpaceType::CONTROL_GROUP),
    ("time", ThreadNameSpaceType::TIME),
];

/// Looks at the container's init.
///
/// # Errors
/// When it has ended, or procfs does not show it.
pub fn look_at(record: &Record) -> Result<Target, ExecError> {
    let ended = || ExecError::NotRunning {
        id: record.id.to_string(),
        status: "stopped",
    };
    let init = record.live_init().ok_or_else(ended)?;
    let mut namespaces = ThreadNameSpaceType::empty();
    for (name, kind) in NAMESPACES {
        let theirs = init.path(&format!("ns/{name}"));
        let own = PathBuf::from(format!("/proc/self/ns/{name}"));
        let theirs = match rustix::fs::stat(&theirs) {
            // A kernel without this kind of namespace.
            Err(rustix::io::Errno::NOENT) if !own.exists() => continue,
            theirs => theirs.at("look at", theirs_path(&init, name))?,
        };
        let own = rustix::fs::stat(&own).at("look at", &own)?;
        if (own.st_dev, own.st_ino) != (theirs.st_dev, theirs.st_ino) {
            namespaces |= kind;
        }
    }
    let path = init.path("root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
    if init.identity().open().is_none() {
        // What was looked at may be of a later process with the same pid.
        return Err(ended());
    }
    Ok(Target {
        init,
        namespaces,
        root,
    })
}

fn theirs_path(init: &LiveProcess, name: &str) -> PathBuf {
    init.path(&format!("ns/{name}"))
}

/// Plans `request` for the container in `directory`.
///
/// # Errors
/// When the container's specification cannot be read, or the request names
/// something unknown or wrong.
pub fn prepare(
    directory: &ContainerDirectory,
    record: &Record,
    target: &Target,
    request: ExecRequest,
) -> Result<ExecPlan, ExecError> {
    let spec = directory.load_spec()?;
    let root = File::from(target.root.try_clone().at("duplicate", directory.path())?);
    let user = match &request.overrides.user {
        Some(user) => Some(user.resolve(root.as_fd())?),
        None => None,
    };
    let home = |uid| passwd::home_of(root.as_fd(), uid);
    let container = Container {
        spec: &spec,
        record,
        status: directory.status(record),
        filter: filter(directory, &spec)?,
    };
    let is_at_top = request.groups == SubGroups::default();
    let mut plan = plan(container, request, user, home)?;
    validate_label(plan.process.selinux_label().as_deref(), has_selinux())?;
    if is_at_top && let Directories::Unified(group) = &record.cgroup.directories {
        plan.second_entrance = groups::group_of_init(&target.init, group);
    }
    Ok(plan)
}

/// Makes the container's filter, or takes it from the cache. It is done here,
/// outside of the container, so that it is only loaded inside.
///
/// # Errors
/// When the section is invalid or its program cannot be made.
pub(crate) fn filter(
    directory: &ContainerDirectory,
    spec: &oci_spec::runtime::Spec,
) -> Result<Option<Filter>, SeccompError> {
    let linux = spec.linux().as_ref();
    let Some(section) = linux.and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(None);
    };
    let plan = seccomp::plan(section)?;
    Ok(Some(seccomp::prepare(directory.state_root(), plan)?))
}
