//! Bind mounts: something of the host, or of the container made so far, at a
//! place in the container.
//!
//! Sources are opened when it is their turn and not earlier: one may be what an
//! earlier mount has brought. In a user namespace the parent opens what is out
//! of reach, from within the same mount namespace, so that what is locked there
//! stays so.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::beneath::{Found, Links, Missing};
use super::kernel::{self, Change};
use super::mounts::{again, failed, place};
use super::options::Reach;
use super::perform::Builder;
use super::steps::{Bind, IdMap, MountStep, SourceRequest};
use super::{RootfsError, guard};

/// What is to be bound.
enum Source {
    /// A mount of it, attached nowhere.
    Mount(OwnedFd),
    /// Its place only, where the kernel has no mounts by descriptor.
    Place(OwnedFd),
}

/// Binds what `bind` names and returns the mount's root.
///
/// # Errors
/// Which part failed.
pub(super) fn mount(
    builder: &mut Builder<'_>,
    step: &MountStep,
    bind: &Bind,
) -> Result<OwnedFd, RootfsError> {
    let source = open(builder, step, bind)?;
    let (Source::Mount(handle) | Source::Place(handle)) = &source;
    let status = rustix::fs::fstat(handle).map_err(failed(step, "look at the source"))?;
    let missing = match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory => Missing::Directory,
        _ => Missing::File,
    };
    let found = place(builder, step, Links::Follow, missing)?;
    if found.is_directory() != (missing == Missing::Directory) {
        return Err(RootfsError::Unlike {
            destination: step.destination.clone(),
            path: bind.source.clone(),
        });
    }
    guard::check_bind(&step.destination, &found, handle.as_fd())?;
    match source {
        Source::Mount(mount) => {
            // The old call changes no mount that is not in its place.
            if builder.kernel.has_attributes {
                set_attributes(builder, step, bind, mount.as_fd())?;
            }
            kernel::attach(mount.as_fd(), found.handle.as_fd())
                .map_err(failed(step, "attach it to the mount point"))?;
            if !builder.kernel.has_attributes {
                set_attributes(builder, step, bind, mount.as_fd())?;
            }
            Ok(mount)
        }
        Source::Place(place) => bind_old(builder, step, bind, (place, status), &found),
    }
}

fn open(builder: &mut Builder<'_>, step: &MountStep, bind: &Bind) -> Result<Source, RootfsError> {
    // Mapping ids is the privilege of whoever mounted the file system.
    let is_unmapped = bind.id_map.is_some() && builder.fds.id_maps.is_empty();
    if is_unmapped && builder.plan.in_user_namespace {
        return ask_parent(builder, step, bind).map(Source::Mount);
    }
    let opened = match builder.kernel.has_mount_fds {
        true => kernel::clone_path(&bind.source, bind.reach).map(Source::Mount),
        false => {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, &bind.source, flags, Mode::empty()).map(Source::Place)
        }
    };
    let opened = match opened {
        // What root of a user namespace may not look at, root of the host may.
        Err(Errno::ACCESS) if builder.plan.in_user_namespace && bind.index.is_some() => {
            return ask_parent(builder, step, bind).map(Source::Mount);
        }
        opened => opened.map_err(|source| RootfsError::Source {
            destination: step.destination.clone(),
            path: bind.source.clone(),
            source,
        })?,
    };
    if let Some(map) = bind.id_map {
        map_ids(builder, step, map, &opened)?;
    }
    Ok(opened)
}

fn ask_parent(
    builder: &mut Builder<'_>,
    step: &MountStep,
    bind: &Bind,
) -> Result<OwnedFd, RootfsError> {
    let request = SourceRequest {
        index: bind.index.unwrap_or_default(),
        path: bind.source.clone(),
        reach: bind.reach,
        id_map: bind.id_map,
    };
    builder
        .hooks
        .mount_source(&request)
        .map_err(|message| RootfsError::ParentSource {
            destination: step.destination.clone(),
            path: bind.source.clone(),
            message,
        })
}

fn map_ids(
    builder: &Builder<'_>,
    step: &MountStep,
    map: IdMap,
    source: &Source,
) -> Result<(), RootfsError> {
    let namespace = builder.fds.id_maps.get(map.number);
    let namespace = namespace.ok_or_else(|| RootfsError::NoIdMap(step.destination.clone()))?;
    let mapped = match source {
        Source::Mount(mount) => kernel::map_ids(mount.as_fd(), namespace.as_fd(), map.reach),
        Source::Place(_) => Err(Errno::NOSYS),
    };
    mapped.map_err(|source| RootfsError::IdMap {
        destination: step.destination.clone(),
        reach: map.reach,
        source,
    })
}

/// Gives the mount the attributes asked for, then those for its whole tree.
fn set_attributes(
    builder: &Builder<'_>,
    step: &MountStep,
    bind: &Bind,
    mount: BorrowedFd<'_>,
) -> Result<(), RootfsError> {
    if bind.explicit {
        let change = step.attributes.change_all();
        match builder.kernel.change(mount, change, Reach::Mount) {
            Err(Errno::PERM) => keep_locked(builder, step, mount)?,
            changed => changed.map_err(failed(step, "set its attributes"))?,
        }
    }
    if step.tree_attributes.is_empty() {
        return Ok(());
    }
    let change = step.tree_attributes.change();
    match builder.kernel.change(mount, change, Reach::Tree) {
        Err(Errno::NOSYS) => Err(RootfsError::Kernel {
            destination: step.destination.clone(),
            what: "a recursive attribute",
            version: "5.12",
        }),
        changed => changed.map_err(failed(step, "set the attributes of its tree")),
    }
}

/// Sets attributes in a user namespace, where those that a mount came with are
/// locked: they stay, unless the container was promised that they do not.
fn keep_locked(
    builder: &Builder<'_>,
    step: &MountStep,
    mount: BorrowedFd<'_>,
) -> Result<(), RootfsError> {
    let has = kernel::attributes_of(mount).map_err(failed(step, "look at its attributes"))?;
    let locked = |flags: MountAttrFlags| RootfsError::Locked {
        destination: step.destination.clone(),
        flags: kernel::names_of(flags),
        source: Errno::PERM,
    };
    let unwanted = has & step.attributes.clear & kernel::LOCKABLE;
    if !unwanted.is_empty() {
        return Err(locked(unwanted));
    }
    let asked = step.attributes.change().set;
    if step.attributes.sets_times() && asked & kernel::TIMES != has & kernel::TIMES {
        return Err(locked(has & kernel::TIMES));
    }
    let change = Change {
        set: step.attributes.set.difference(kernel::TIMES),
        clear: MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW.difference(step.attributes.set),
    };
    let changed = builder.kernel.change(mount, change, Reach::Mount);
    changed.map_err(failed(step, "set its attributes beside locked ones"))
}

/// Binds with `mount(2)`, and makes sure that what is found at the place then
/// is what was bound.
fn bind_old(
    builder: &Builder<'_>,
    step: &MountStep,
    bind: &Bind,
    (source, status): (OwnedFd, Stat),
    found: &Found,
) -> Result<OwnedFd, RootfsError> {
    let from = kernel::path_of(source.as_fd());
    let to = kernel::path_of(found.handle.as_fd());
    let call = || match bind.reach {
        Reach::Mount => rustix::mount::mount_bind(from, to),
        Reach::Tree => rustix::mount::mount_bind_recursive(from, to),
    };
    builder
        .kernel
        .by_path(call)
        .map_err(failed(step, "bind its source"))?;
    let mounted = again(builder, step, found)?;
    let is_source =
        (mounted.status.st_dev, mounted.status.st_ino) == (status.st_dev, status.st_ino);
    if !is_source {
        return Err(RootfsError::MountedOver(step.destination.clone()));
    }
    set_attributes(builder, step, bind, mounted.handle.as_fd())?;
    Ok(mounted.handle)
}
