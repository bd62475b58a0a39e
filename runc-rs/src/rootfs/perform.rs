//! Performs a plan, step by step, in the process that becomes the container's
//! init: privileged in its user namespace, alone in its mount namespace, with
//! one thread.
//!
//! The host's paths are used for what the specification names on the host and
//! nothing else. Whatever is in the root, or comes into it, is handled by
//! descriptor, since the image and the volumes may be another's to change.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::beneath::Beneath;
use super::kernel::{self, Kernel};
use super::options::Reach;
use super::steps::{RootfsPlan, SourceRequest, Step};
use super::{RootfsError, console, devices, mounts, paths, root};
use crate::create::RootSwitch;

/// What is done by others while the root filesystem is built. Each may fail
/// with a text that says all there is to say.
pub trait RootfsHooks {
    /// Returns once this process is in the container's control groups and, if
    /// it gets one, in its cgroup namespace. Called once, before the first
    /// mount of control groups or, without one, after all mounts.
    ///
    /// # Errors
    /// When it cannot be moved there.
    fn cgroup_ready(&mut self) -> Result<(), String>;

    /// Called once, between the last mount and the switch of the root.
    ///
    /// # Errors
    /// When a hook of the container fails.
    fn before_pivot(&mut self) -> Result<(), String>;

    /// Called once, when the root is the container's and not yet read-only.
    ///
    /// # Errors
    /// When what is to be made there cannot be.
    fn at_root(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// Returns what [`super::open_source`] opened, by the parent: called in a
    /// user namespace for sources that are out of reach there, and for mounts
    /// that are to be id-mapped.
    ///
    /// # Errors
    /// When the source cannot be opened.
    fn mount_source(&mut self, request: &SourceRequest) -> Result<OwnedFd, String> {
        Err(format!("there is nobody to open {:?}", request.path))
    }
}

/// Descriptors that the parent hands over.
#[derive(Debug, Default)]
pub struct RootfsFds {
    /// One user namespace for each of [`RootfsPlan::id_mappings`]. None for a
    /// child in a user namespace, for which the parent maps the sources.
    pub id_maps: Vec<OwnedFd>,
}

/// The state between steps.
pub(super) struct Builder<'a> {
    pub(super) plan: &'a RootfsPlan,
    pub(super) fds: RootfsFds,
    pub(super) hooks: &'a mut dyn RootfsHooks,
    pub(super) kernel: Kernel,
    /// The container's root, once there is one.
    pub(super) root: Beneath,
    /// Mounts that become read-only in the end.
    pub(super) unsealed: Vec<OwnedFd>,
    pub(super) masks: paths::Masks,
}

/// Performs `plan`. When this returns, the root directory is the container's,
/// complete, and the working directory is `/`.
///
/// # Errors
/// The step that failed. The namespace is then of no use to anybody.
pub fn perform(
    plan: &RootfsPlan,
    resources: RootfsFds,
    hooks: &mut dyn RootfsHooks,
) -> Result<(), RootfsError> {
    // Every mode here is meant as it is written.
    let caller = rustix::process::umask(Mode::empty());
    let performed = build(plan, resources, hooks);
    rustix::process::umask(caller);
    performed
}

fn build(
    plan: &RootfsPlan,
    fds: RootfsFds,
    hooks: &mut dyn RootfsHooks,
) -> Result<(), RootfsError> {
    let kernel = Kernel::probe()?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(&plan.rootfs, flags, Mode::empty())
        .map_err(|error| RootfsError::Root("open the root filesystem", error))?;
    let mut builder = Builder {
        plan,
        fds,
        hooks,
        kernel,
        root: Beneath::new(root),
        unsealed: Vec::new(),
        masks: paths::Masks::default(),
    };
    plan.steps.iter().try_for_each(|step| builder.take(step))
}

impl Builder<'_> {
    fn take(&mut self, step: &Step) -> Result<(), RootfsError> {
        match step {
            Step::Propagate(propagation) => root::propagate(*propagation),
            Step::BindRoot { parent } => root::bind(self, *parent),
            Step::Mount(mount) => mounts::mount(self, mount),
            Step::AwaitCgroup => self.hooks.cgroup_ready().map_err(RootfsError::Hook),
            Step::Node(node) => devices::make_node(self, node),
            Step::Multiplexer => devices::make_multiplexer(self),
            Step::Link(link) => devices::make_link(self, link),
            Step::BeforePivot => self.before_pivot(),
            Step::SwitchRoot(switch) => self.switch_root(*switch),
            Step::PropagateRoot(propagation) => root::propagate(*propagation),
            Step::ConsolePlace => console::make_place(&self.root),
            Step::SealMounts => self.seal_mounts(),
            Step::SealRoot => root::seal(self),
            Step::ReadOnly(path) => paths::make_read_only(self, path),
            Step::Mask(path) => paths::mask(self, path),
        }
    }

    fn switch_root(&mut self, switch: RootSwitch) -> Result<(), RootfsError> {
        root::switch(self, switch)?;
        self.hooks.at_root().map_err(RootfsError::Hook)
    }

    fn before_pivot(&mut self) -> Result<(), RootfsError> {
        if self
            .plan
            .steps
            .iter()
            .any(|step| matches!(step, Step::Mask(_)))
        {
            self.masks.keep_null(&self.kernel)?;
        }
        self.hooks.before_pivot().map_err(RootfsError::Hook)
    }

    fn seal_mounts(&mut self) -> Result<(), RootfsError> {
        for mount in std::mem::take(&mut self.unsealed) {
            self.kernel
                .change(mount.as_fd(), kernel::READ_ONLY, Reach::Mount)
                .map_err(|error| RootfsError::Root("make a mount read-only", error))?;
        }
        Ok(())
    }
}

/// Opens the host's null device, which must be that and nothing else: what is
/// bound over a path of the container must not be another file (CVE-2025-31133).
pub(super) fn open_null(path: &Path) -> Result<OwnedFd, RootfsError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = |error: Errno| RootfsError::Root("open /dev/null", error);
    let null = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(failed)?;
    let status = rustix::fs::fstat(&null).map_err(failed)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    match is_device && status.st_rdev == rustix::fs::makedev(1, 3) {
        true => Ok(null),
        false => Err(RootfsError::NotNull),
    }
}
