//! What validation and normalisation must know of the root filesystem.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use base::file::PathContext as _;
use oci_spec::runtime::Spec;
use rustix::fs::OFlags;

use super::SpecError;
use crate::passwd;

/// There where SELinux is enabled (selinux(8)).
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// What the host was asked before anything is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// The root filesystem, canonical.
    pub rootfs: PathBuf,
    /// Whether SELinux is there to give labels.
    pub has_selinux: bool,
    /// HOME of the process's user, by the root filesystem's passwd file.
    pub home: String,
}

impl HostFacts {
    /// Looks at the root filesystem that `spec`, of `bundle`, names.
    ///
    /// # Errors
    /// When the specification names none, or it is not a directory.
    pub fn gather(spec: &Spec, bundle: &Path) -> Result<Self, SpecError> {
        let root = spec.root().as_ref().ok_or(SpecError::Missing("root"))?;
        let path = bundle.join(root.path());
        let rootfs = path.canonicalize().at("resolve root filesystem", &path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&rootfs, flags, rustix::fs::Mode::empty())
            .at("open root filesystem", &rootfs)?;
        let handle = File::from(handle);
        let uid = spec
            .process()
            .as_ref()
            .map_or(0, |process| process.user().uid());
        Ok(Self {
            rootfs,
            has_selinux: has_selinux(),
            home: passwd::home_of(handle.as_fd(), uid),
        })
    }
}

/// Returns whether the kernel has SELinux, and it is enabled.
pub(crate) fn has_selinux() -> bool {
    Path::new(SELINUX).exists()
}
