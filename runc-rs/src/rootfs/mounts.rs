//! One mount: the place for it, the mount itself, complete before it is seen,
//! and what can only be done once it is in its place.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::beneath::{Found, Links, Missing};
use super::options::Reach;
use super::perform::Builder;
use super::steps::{Bind, Content, Filesystem, MountStep, Place};
use super::{RootfsError, bind, copy_up, filesystem, guard, kernel};

/// Makes the mount `step`.
///
/// # Errors
/// Which part of it failed.
pub(super) fn mount(builder: &mut Builder<'_>, step: &MountStep) -> Result<(), RootfsError> {
    let mounted = match &step.content {
        Content::Bind(bind) => bind::mount(builder, step, bind)?,
        Content::Filesystem(filesystem) => mount_new(builder, step, filesystem)?,
        Content::Remount { superblock, data } => return remount(builder, step, *superblock, data),
        Content::Unified {
            filesystem,
            directory,
        } => mount_unified(builder, step, filesystem, directory)?,
    };
    for propagation in &step.propagation {
        builder
            .kernel
            .propagate(mounted.as_fd(), *propagation)
            .map_err(failed(step, "set its propagation"))?;
    }
    if step.sealed {
        builder.unsealed.push(mounted);
    }
    Ok(())
}

/// Returns an error of `step` saying what cannot be done.
pub(super) fn failed(step: &MountStep, what: &'static str) -> impl Fn(Errno) -> RootfsError {
    let destination = step.destination.clone();
    move |source| RootfsError::Mount {
        destination: destination.clone(),
        step: what,
        source,
    }
}

/// Finds, or makes, the place of a mount, and refuses what would hide the root
/// or pretend to be the container's proc.
pub(super) fn place(
    builder: &Builder<'_>,
    step: &MountStep,
    links: Links,
    missing: Missing,
) -> Result<Found, RootfsError> {
    let found = builder
        .root
        .find(&step.destination, links, missing)
        .map_err(failed(step, "find or make the mount point"))?;
    match found.path.parent() {
        None => Err(RootfsError::MountOnRoot(step.destination.clone())),
        Some(_) => Ok(found),
    }
}

fn mount_new(
    builder: &mut Builder<'_>,
    step: &MountStep,
    filesystem: &Filesystem,
) -> Result<OwnedFd, RootfsError> {
    let found = match filesystem.place {
        Place::Any | Place::KeepsMode => place(builder, step, Links::Follow, Missing::Directory)?,
        Place::Ordinary => ordinary_place(builder, step, filesystem)?,
    };
    if !found.is_directory() {
        return Err(RootfsError::NotADirectory(step.destination.clone()));
    }
    guard::check_new(&step.destination, &found, &filesystem.kind)?;
    let mut data = Vec::new();
    if filesystem.place == Place::KeepsMode && !found.is_new {
        // A mode among the options comes later and counts.
        let mode = Mode::from_raw_mode(found.status.st_mode).as_raw_mode();
        data.push(format!("mode={mode:04o}"));
    }
    data.extend(filesystem.data.iter().cloned());
    let hidden = match filesystem.copy_up {
        true => Some(open_directory(&found).map_err(failed(step, "open what is to be copied up"))?),
        false => None,
    };
    let label = |mounted: BorrowedFd<'_>| {
        filesystem::label_root(filesystem, mounted).map_err(failed(step, "label it"))
    };
    let fill = |mounted: BorrowedFd<'_>| match &hidden {
        Some(hidden) => copy_up::copy(hidden, mounted, &step.destination),
        None => Ok(()),
    };
    let is_old = !builder.kernel.has_mount_fds || filesystem::needs_old_call(filesystem, &data);
    if is_old {
        let mounted = mount_old(builder, step, filesystem, &data, &found)?;
        label(mounted.as_fd())?;
        fill(mounted.as_fd())?;
        return Ok(mounted);
    }
    let mounted = filesystem::create(filesystem, &data, &step.attributes, &step.destination)?;
    label(mounted.as_fd())?;
    fill(mounted.as_fd())?;
    kernel::attach(mounted.as_fd(), found.handle.as_fd())
        .map_err(failed(step, "attach it to the mount point"))?;
    Ok(mounted)
}

/// The place of proc and sysfs. A link on the way would let an image choose
/// where they are, and what is then masked elsewhere (CVE-2023-27561).
fn ordinary_place(
    builder: &Builder<'_>,
    step: &MountStep,
    filesystem: &Filesystem,
) -> Result<Found, RootfsError> {
    match place(builder, step, Links::Refuse, Missing::Directory) {
        Ok(found) if found.is_directory() => Ok(found),
        Ok(_)
        | Err(RootfsError::Mount {
            source: Errno::LOOP | Errno::NOTDIR,
            ..
        }) => Err(RootfsError::NotOrdinary {
            destination: step.destination.clone(),
            kind: filesystem.kind.clone(),
        }),
        Err(error) => Err(error),
    }
}

fn mount_old(
    builder: &Builder<'_>,
    step: &MountStep,
    filesystem: &Filesystem,
    data: &[String],
    found: &Found,
) -> Result<OwnedFd, RootfsError> {
    let flags = kernel::mount_flags(&step.attributes);
    let mount = || {
        filesystem::mount_old(
            filesystem,
            data,
            flags,
            &kernel::path_of(found.handle.as_fd()),
        )
    };
    builder
        .kernel
        .by_path(mount)
        .map_err(|source| RootfsError::Filesystem {
            destination: step.destination.clone(),
            what: format!("a file system of type {:?}", filesystem.kind),
            said: String::new(),
            source,
        })?;
    let mounted = again(builder, step, found)?;
    let (before, after) = (&found.status, &mounted.status);
    // A tmpfs is a new file system; of others there may be an instance below.
    let is_new = match filesystem.kind == "tmpfs" {
        true => after.st_dev != before.st_dev,
        false => (after.st_dev, after.st_ino) != (before.st_dev, before.st_ino),
    };
    match is_new {
        true => Ok(mounted.handle),
        false => Err(RootfsError::MountedOver(step.destination.clone())),
    }
}

/// Looks a place up again, after the old call has mounted something on it.
pub(super) fn again(
    builder: &Builder<'_>,
    step: &MountStep,
    found: &Found,
) -> Result<Found, RootfsError> {
    builder
        .root
        .find(&found.path, Links::Refuse, Missing::Fail)
        .map_err(failed(step, "find what was mounted"))
}

fn mount_unified(
    builder: &mut Builder<'_>,
    step: &MountStep,
    filesystem: &Filesystem,
    directory: &Path,
) -> Result<OwnedFd, RootfsError> {
    match mount_new(builder, step, filesystem) {
        // In a user namespace without a cgroup namespace of its own.
        Err(RootfsError::Filesystem {
            source: Errno::PERM | Errno::BUSY,
            ..
        }) => {
            let group = Bind {
                index: None,
                source: directory.to_owned(),
                reach: Reach::Mount,
                explicit: true,
                id_map: None,
            };
            bind::mount(builder, step, &group)
        }
        mounted => mounted,
    }
}

fn remount(
    builder: &Builder<'_>,
    step: &MountStep,
    superblock: MountFlags,
    data: &[String],
) -> Result<(), RootfsError> {
    let found = place(builder, step, Links::Follow, Missing::Fail)?;
    guard::check_new(&step.destination, &found, "")?;
    let flags = kernel::mount_flags(&step.attributes) | superblock;
    let data = std::ffi::CString::new(data.join(","))
        .map_err(|_| failed(step, "pass its options")(Errno::INVAL))?;
    let path = kernel::path_of(found.handle.as_fd());
    builder
        .kernel
        .by_path(|| rustix::mount::mount_remount(path, flags, &*data))
        .map_err(failed(step, "change the mount there"))
}

fn open_directory(found: &Found) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(&found.handle, ".", flags, Mode::empty())
}
