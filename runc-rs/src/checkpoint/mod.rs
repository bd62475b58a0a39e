//! Checkpoint and restore of whole containers, by CRIU.
//!
//! `criu swrk` is run for one request and spoken to over a socket ([`rpc`]).
//! What of a container comes from outside of it, mounts and namespaces, is
//! named when it is dumped and given again by these names when it is restored
//! ([`external`]).

mod dump;
mod external;
mod prepare;
mod restore;
mod rpc;

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, PathError, make_directories};

use crate::cgroup::CgroupError;
use crate::create::CreateError;
use crate::handover::HandoverError;
use crate::hooks::HookError;
use crate::resources::ResourceError;
use crate::resources::rdt::RdtError;
use crate::rootfs::RootfsError;
use crate::spec::SpecError;
use crate::state::StateError;
use crate::systemd::SystemdError;

pub use dump::{DumpRequest, dump};
pub use restore::{RestoreRequest, Restored, restore};

/// The descriptors of the process's standard streams, in the image's folder.
const DESCRIPTORS: &str = "descriptors.json";
/// Lines of CRIU's log that are shown when it fails.
const LOG_LINES: usize = 10;
const LOG_LIMIT_BYTES: u64 = 64 << 20;
const FOLDER_MODE: u32 = 0o700;

/// Says which step of a checkpoint or a restore failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error(transparent)]
    Resources(#[from] ResourceError),
    #[error(transparent)]
    Rdt(#[from] RdtError),
    #[error(transparent)]
    Rootfs(#[from] RootfsError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("cannot {0}")]
    Kernel(&'static str, #[source] io::Error),
    #[error("cannot run criu, which checkpoints and restores: {0}")]
    NoCriu(String),
    #[error("cannot talk to criu")]
    Talk(#[source] io::Error),
    #[error("criu said what cannot be understood")]
    Decode(#[source] prost::DecodeError),
    #[error("criu failed: type {kind} errno {errno}{message}; its log is {log:?}{lines}")]
    Criu {
        kind: &'static str,
        errno: i32,
        message: String,
        log: PathBuf,
        lines: String,
    },
    #[error("invalid --parent-path: {0}")]
    ParentPath(String),
    #[error("invalid --status-fd: {0} is not open for writing")]
    StatusFd(RawFd),
    #[error("the mount points of the container cannot be made: {0}")]
    MountPoints(String),
    #[error("{0:?} is not what a checkpoint writes")]
    Descriptors(PathBuf),
}

/// What CRIU does about control groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum CgroupMode {
    #[default]
    Soft,
    Full,
    Strict,
    Ignore,
}

impl CgroupMode {
    fn number(self) -> i32 {
        match self {
            Self::Ignore => 0,
            Self::Soft => 3,
            Self::Full => 4,
            Self::Strict => 5,
        }
    }
}

/// What a dump and a restore are both told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CriuOptions {
    /// Where the image is; made by a dump.
    pub image: PathBuf,
    /// Where logs go; the image's folder by default.
    pub work: Option<PathBuf>,
    pub tcp_established: bool,
    pub external_unix_sockets: bool,
    pub shell_job: bool,
    pub file_locks: bool,
    pub cgroup_mode: CgroupMode,
    /// The network namespace is made anew and not filled.
    pub empty_network: bool,
    pub auto_dedup: bool,
    pub lazy_pages: bool,
}

impl CriuOptions {
    /// Makes the folders that are missing.
    fn make_folders(&self) -> Result<(), PathError> {
        make_directories(&self.image, FOLDER_MODE)?;
        self.make_work_folder()
    }

    fn make_work_folder(&self) -> Result<(), PathError> {
        match &self.work {
            Some(work) => make_directories(work, FOLDER_MODE),
            None => Ok(()),
        }
    }

    fn work(&self) -> &Path {
        self.work.as_deref().unwrap_or(&self.image)
    }

    /// Returns the options of a request.
    fn to_rpc(&self, log_file: &str) -> rpc::Options {
        rpc::Options {
            log_level: Some(rpc::LOG_LEVEL),
            log_file: Some(log_file.to_owned()),
            tcp_established: Some(self.tcp_established),
            ext_unix_sk: Some(self.external_unix_sockets),
            shell_job: Some(self.shell_job),
            file_locks: Some(self.file_locks),
            manage_cgroups: Some(true),
            manage_cgroups_mode: Some(self.cgroup_mode.number()),
            empty_ns: self.empty_network.then_some(libc::CLONE_NEWNET as u32),
            auto_dedup: Some(self.auto_dedup),
            lazy_pages: Some(self.lazy_pages),
            notify_scripts: Some(true),
            orphan_pts_master: Some(true),
            ..rpc::Options::default()
        }
    }
}

/// Opens a folder for CRIU, which reaches it through this process.
fn open_folder(path: &Path) -> Result<std::os::fd::OwnedFd, PathError> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).at("open", path)
}

/// Returns the last lines of CRIU's log that tell of errors.
fn errors_of(log: &Path) -> String {
    let text = base::file::read_bounded(log, LOG_LIMIT_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let errors: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("Error ("))
        .collect();
    let shown = errors.len().saturating_sub(LOG_LINES);
    errors[shown..]
        .iter()
        .map(|line| format!("\n{line}"))
        .collect()
}
