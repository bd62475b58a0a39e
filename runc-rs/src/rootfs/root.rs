//! The root itself: a mount of its own, then the root of this process, then
//! what is left to do to it as such.

use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use pathrs::flags::OpenFlags;
use pathrs::procfs::ProcfsBase;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::RootfsError;
use super::beneath::Beneath;
use super::facts::{TableLine, parse_table};
use super::kernel;
use super::options::{Propagation, PropagationKind, Reach};
use super::perform::Builder;
use crate::create::RootSwitch;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
/// Directories above the root filesystem.
const DEPTH_LIMIT: usize = 512;
const TABLE_LIMIT_BYTES: u64 = 64 << 20;

/// Sets the propagation of the mount that is `/`, or of all below it as well.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn propagate(propagation: Propagation) -> Result<(), RootfsError> {
    let flags = kernel::propagation_flags(propagation);
    rustix::mount::mount_change("/", flags)
        .map_err(|error| RootfsError::Root("set the propagation of /", error))
}

/// Binds the root filesystem onto itself.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn bind(
    builder: &mut Builder<'_>,
    parent: Option<PropagationKind>,
) -> Result<(), RootfsError> {
    if let Some(parent) = parent {
        unshare_parent(builder, parent).map_err(|error| {
            RootfsError::Root("unshare the mount of the root filesystem", error)
        })?;
    }
    let place = builder.root.as_fd();
    let failed = |error| RootfsError::Root("bind the root filesystem onto itself", error);
    let root = match builder.kernel.has_mount_fds {
        true => {
            let mount = kernel::clone_tree(place, Reach::Tree).map_err(failed)?;
            kernel::attach(mount.as_fd(), place).map_err(failed)?;
            mount
        }
        false => bind_old(builder).map_err(failed)?,
    };
    let id = |directory| rustix::fs::fstat(directory).map(|s| (s.st_dev, s.st_ino));
    let is_same = id(place).and_then(|place| Ok(place == id(root.as_fd())?));
    if !is_same.map_err(failed)? {
        return Err(RootfsError::RootChanged(builder.plan.rootfs.clone()));
    }
    builder.root = Beneath::new(root);
    Ok(())
}

fn bind_old(builder: &Builder<'_>) -> Result<OwnedFd, Errno> {
    let path = kernel::path_of(builder.root.as_fd());
    let call = || rustix::mount::mount_bind_recursive(&*path, &*path);
    builder.kernel.by_path(call)?;
    rustix::fs::open(&builder.plan.rootfs, DIRECTORY, Mode::empty())
}

/// Makes the mount that the root filesystem is in share nothing outwards: the
/// bind on it would appear on the host, and `pivot_root` refuses.
fn unshare_parent(builder: &Builder<'_>, kind: PropagationKind) -> Result<(), Errno> {
    let propagation = Propagation {
        kind,
        reach: Reach::Mount,
    };
    let mut directory = rustix::fs::openat(builder.root.as_fd(), ".", DIRECTORY, Mode::empty())?;
    for _ in 0..DEPTH_LIMIT {
        match builder.kernel.propagate(directory.as_fd(), propagation) {
            // Not the root of a mount: that is further up.
            Err(Errno::INVAL) => {
                directory = rustix::fs::openat(&directory, "..", DIRECTORY, Mode::empty())?;
            }
            done => return done,
        }
    }
    Err(Errno::INVAL)
}

/// Makes the container's root this process's root.
///
/// # Errors
/// Which part of it failed.
pub(super) fn switch(builder: &Builder<'_>, switch: RootSwitch) -> Result<(), RootfsError> {
    match switch {
        RootSwitch::PivotRoot => pivot(builder),
        RootSwitch::MoveMount => {
            hide_host(builder)?;
            move_root(builder)
        }
        RootSwitch::Chroot => chroot(builder),
    }
}

fn pivot(builder: &Builder<'_>) -> Result<(), RootfsError> {
    let failed = |step| move |error| RootfsError::Root(step, error);
    let old = rustix::fs::open("/", DIRECTORY, Mode::empty()).map_err(failed("open /"))?;
    rustix::process::fchdir(builder.root.as_fd()).map_err(failed("enter the new root"))?;
    // The old root ends up below the new one's own directory, without a place
    // for it having to be made.
    rustix::process::pivot_root(".", ".").map_err(failed("pivot_root"))?;
    rustix::process::fchdir(&old).map_err(failed("enter the old root"))?;
    // What is unmounted here must stay mounted on the host. Slave and not
    // private: private mounts would hold what the host unmounts meanwhile.
    let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(".", slave).map_err(failed("separate the old root"))?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).map_err(failed("detach the old root"))?;
    rustix::process::chdir("/").map_err(failed("enter /"))
}

fn move_root(builder: &Builder<'_>) -> Result<(), RootfsError> {
    let failed = |step| move |error| RootfsError::Root(step, error);
    rustix::process::fchdir(builder.root.as_fd()).map_err(failed("enter the new root"))?;
    rustix::mount::mount_move(".", "/").map_err(failed("move the new root onto /"))?;
    chroot(builder)
}

fn chroot(builder: &Builder<'_>) -> Result<(), RootfsError> {
    let failed = |step| move |error| RootfsError::Root(step, error);
    rustix::process::fchdir(builder.root.as_fd()).map_err(failed("enter the new root"))?;
    rustix::process::chroot(".").map_err(failed("chroot"))?;
    rustix::process::chdir("/").map_err(failed("enter /"))
}

/// Hides the host's proc and sysfs mounts. With only a chroot they stay in the
/// namespace, and by that the kernel would let a container mount its own
/// without what is masked.
fn hide_host(builder: &Builder<'_>) -> Result<(), RootfsError> {
    let failed = |error| RootfsError::Root("hide the host's proc and sys", error);
    for line in parse_table(&mount_table()?) {
        if !is_full(&line) || line.mount_point.starts_with(&builder.plan.rootfs) {
            continue;
        }
        let slave = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        match rustix::mount::mount_change(&line.mount_point, slave) {
            // Gone with one above it.
            Err(Errno::NOENT) => continue,
            changed => changed.map_err(failed)?,
        }
        match rustix::mount::unmount(&line.mount_point, UnmountFlags::DETACH) {
            // Locked, in a user namespace.
            Err(Errno::INVAL | Errno::PERM) => cover(&line.mount_point).map_err(failed)?,
            unmounted => unmounted.map_err(failed)?,
        }
    }
    Ok(())
}

fn cover(path: &Path) -> Result<(), Errno> {
    rustix::mount::mount("tmpfs", path, "tmpfs", MountFlags::empty(), c"")
}

fn is_full(line: &TableLine) -> bool {
    line.root == Path::new("/") && matches!(line.kind.as_str(), "proc" | "sysfs")
}

fn mount_table() -> Result<String, RootfsError> {
    let procfs = kernel::procfs()?;
    let file = procfs
        .open(ProcfsBase::ProcThreadSelf, "mountinfo", OpenFlags::O_RDONLY)
        .map_err(|error| RootfsError::Procfs(Box::new(error)))?;
    let mut text = String::new();
    let mut bounded = std::io::Read::take(file, TABLE_LIMIT_BYTES);
    std::io::Read::read_to_string(&mut bounded, &mut text).map_err(|error| {
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        RootfsError::Root("read the mount table", error)
    })?;
    Ok(text)
}

/// Makes the root read-only; attributes that are locked stay as they are.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn seal(builder: &Builder<'_>) -> Result<(), RootfsError> {
    builder
        .kernel
        .change(builder.root.as_fd(), kernel::READ_ONLY, Reach::Mount)
        .map_err(|error| RootfsError::Root("make the root read-only", error))
}
