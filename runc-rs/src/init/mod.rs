//! Making a container's first process.
//!
//! The parent plans everything, clones once into all new namespaces, and moves
//! the child into its control groups while that builds its root filesystem.
//! The two talk over a [`line`](line::Line); at its end init waits at a
//! [`gate`] until it is started.
//!
//! `plan` and what it uses is pure; `parent` and `child` perform, each on its
//! side of the clone.

mod child;
pub mod gate;
mod identity;
mod line;
mod namespaces;
mod parent;
mod plan;
pub mod scheduling;
mod sysctl;
mod work;

use std::io;
use std::path::PathBuf;

use base::file::PathError;

pub use child::Inheritance;
pub use identity::{IdMapError, user_namespace};
pub use namespaces::open as open_namespaces;
pub use parent::{Init, ParentWork, make};
pub use plan::InitPlan;
pub use work::Work;

use crate::cgroup::CgroupError;
use crate::hooks::HookError;
use crate::net_devices::NetDeviceError;
use crate::resources::ResourceError;
use crate::resources::rdt::RdtError;
use crate::rootfs::RootfsError;
use crate::seccomp::notify::NotifyError;
use crate::systemd::SystemdError;

/// Says which step of making init failed.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot {0}")]
    Kernel(&'static str, #[source] io::Error),
    #[error("cannot map the ids of the user namespace")]
    IdMap(#[source] IdMapError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    // In runc's words.
    #[error("unable to apply cgroup configuration")]
    Resources(#[from] ResourceError),
    #[error(transparent)]
    Rdt(#[from] RdtError),
    #[error(transparent)]
    NetDevice(#[from] NetDeviceError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Notify(#[from] NotifyError),
    #[error("cannot set limit {0} of the container's process")]
    Limit(String, #[source] io::Error),
    #[error("cannot set the OOM score of the container's process: {0:?}")]
    OomScore(PathBuf, #[source] PathError),
    /// What init itself said.
    #[error("error during container init: {0}")]
    Inside(String),
    /// What a started init said instead of executing its program.
    #[error("{0}")]
    NotExecuted(String),
    #[error("init {0} before it was ready")]
    EndedEarly(String),
    #[error("init said something unexpected")]
    Unexpected,
}
