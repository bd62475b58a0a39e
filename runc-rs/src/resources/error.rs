//! Why a container's limits could not be put into force.

use std::io;
use std::path::PathBuf;

use base::file::PathError;

use super::devices::AttachError;
use super::plan::PlanError;
use crate::cgroup::CgroupError;

/// Says which step failed.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Devices(#[from] AttachError),
    #[error("cannot set {file:?} to {value:?}")]
    Write {
        file: PathBuf,
        value: String,
        source: io::Error,
    },
    #[error(
        "cannot set {file:?} to {value:?}: neither the kernel nor the groups above offer this limit"
    )]
    NotOffered { file: PathBuf, value: String },
    #[error("cannot set {file} to {value:?}: the container has no {controller} control group")]
    NoGroup {
        controller: &'static str,
        file: String,
        value: String,
    },
    // In runc's words.
    #[error("rootless needs no limits + no cgrouppath when no permission is granted for cgroups")]
    Unprivileged,
    #[error("unable to set memory limit to {limit} (current usage: {usage}, peak usage: {peak})")]
    MemoryInUse {
        limit: String,
        usage: String,
        peak: String,
    },
    #[error("cannot enter cgroup {0:?}: it is in threaded mode, which limits like memory exclude")]
    Threaded(PathBuf),
    #[error("processes of the container keep appearing outside of cgroup {0:?}")]
    Unsettled(PathBuf),
}
