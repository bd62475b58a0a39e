//! Paths of the container that are made read-only or masked, after the root is
//! the container's.
//!
//! Each path is looked up once; what is found is what is covered. A file is
//! covered by a null device that was opened on the host, a directory by one
//! empty read-only file system for all.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountFlags};

use super::RootfsError;
use super::beneath::{Found, Links, Missing};
use super::filesystem;
use super::kernel::{self, Kernel};
use super::options::{Attributes, Reach};
use super::perform::{Builder, open_null};
use super::steps::{Filesystem, Place};

/// What covers masked paths. A mount can be copied only while it is attached,
/// so the first path gets the mount itself.
#[derive(Debug, Default)]
pub(super) struct Masks {
    null: Cover,
    directory: Cover,
}

#[derive(Debug, Default)]
enum Cover {
    #[default]
    Nothing,
    Detached(OwnedFd),
    Attached(OwnedFd),
}

impl Masks {
    /// Keeps the host's null device over the switch of the root.
    ///
    /// # Errors
    /// When it is something else.
    pub(super) fn keep_null(&mut self, kernel: &Kernel) -> Result<(), RootfsError> {
        let null = open_null(Path::new("/dev/null"))?;
        if kernel.has_mount_fds {
            let mount = kernel::clone_tree(null.as_fd(), Reach::Mount)
                .map_err(|error| RootfsError::Root("keep /dev/null", error))?;
            self.null = Cover::Detached(mount);
        }
        Ok(())
    }
}

/// Makes `path`, not what is mounted below it, read-only, if it is there.
///
/// # Errors
/// Which part of it failed.
pub(super) fn make_read_only(builder: &Builder<'_>, path: &Path) -> Result<(), RootfsError> {
    let failed = |step| {
        move |source| RootfsError::ReadOnly {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let Some(found) = find(builder, path).map_err(failed("find it"))? else {
        return Ok(());
    };
    let place = found.handle.as_fd();
    let seal = |mount: BorrowedFd<'_>| {
        builder
            .kernel
            .change(mount, kernel::READ_ONLY, Reach::Mount)
    };
    if found.path.parent().is_none() {
        return seal(builder.root.as_fd()).map_err(failed("change the root"));
    }
    if builder.kernel.has_mount_fds && builder.kernel.has_attributes {
        let mount = kernel::clone_tree(place, Reach::Tree).map_err(failed("bind it"))?;
        seal(mount.as_fd()).map_err(failed("change the mount"))?;
        return kernel::attach(mount.as_fd(), place).map_err(failed("attach the mount"));
    }
    let of = kernel::path_of(place);
    let bound = builder
        .kernel
        .by_path(|| rustix::mount::mount_bind_recursive(&*of, &*of));
    bound.map_err(failed("bind it"))?;
    let mount = again(builder, &found).map_err(failed("find the mount"))?;
    seal(mount.as_fd()).map_err(failed("change the mount"))
}

/// Covers `path`, if it is there.
///
/// # Errors
/// Which part of it failed.
pub(super) fn mask(builder: &mut Builder<'_>, path: &Path) -> Result<(), RootfsError> {
    let failed = |step| {
        move |source| RootfsError::Mask {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let Some(found) = find(builder, path).map_err(failed("find it"))? else {
        return Ok(());
    };
    if found.path.parent().is_none() {
        return Err(RootfsError::MountOnRoot(path.to_owned()));
    }
    match (found.is_directory(), builder.kernel.has_mount_fds) {
        (true, true) => {
            if matches!(builder.masks.directory, Cover::Nothing) {
                let label = builder.plan.mask_label.as_ref();
                builder.masks.directory = Cover::Detached(empty_directory(path, label)?);
            }
            let covered = cover(&mut builder.masks.directory, found.handle.as_fd());
            covered.map_err(failed("cover the directory"))
        }
        (false, true) => {
            let covered = cover(&mut builder.masks.null, found.handle.as_fd());
            covered.map_err(failed("cover the file"))
        }
        (true, false) => mask_directory_old(builder, &found).map_err(failed("cover the directory")),
        (false, false) => mask_file_old(builder, path, &found),
    }
}

/// Finds what is named; what is not there needs no protection.
fn find(builder: &Builder<'_>, path: &Path) -> Result<Option<Found>, Errno> {
    match builder.root.find(path, Links::Follow, Missing::Fail) {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        found => found.map(Some),
    }
}

fn cover(cover: &mut Cover, place: BorrowedFd<'_>) -> Result<(), Errno> {
    match std::mem::take(cover) {
        Cover::Nothing => Err(Errno::NODEV),
        Cover::Detached(mount) => {
            kernel::attach(mount.as_fd(), place)?;
            *cover = Cover::Attached(mount);
            Ok(())
        }
        Cover::Attached(mount) => {
            let copy = kernel::clone_tree(mount.as_fd(), Reach::Mount)?;
            *cover = Cover::Attached(mount);
            kernel::attach(copy.as_fd(), place)
        }
    }
}

fn empty_directory(path: &Path, label: Option<&String>) -> Result<OwnedFd, RootfsError> {
    let attributes = Attributes::setting(
        MountAttrFlags::MOUNT_ATTR_RDONLY
            | MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    );
    let create = |inodes| filesystem::create(&empty(label), &room(inodes), &attributes, path);
    // Some kernels count the root twice.
    create(1).or_else(|_| create(2))
}

/// An empty tmpfs with room for nothing.
fn empty(label: Option<&String>) -> Filesystem {
    Filesystem {
        kind: "tmpfs".to_owned(),
        source: Some(PathBuf::from("tmpfs")),
        superblock: MountFlags::empty(),
        data: Vec::new(),
        place: Place::Any,
        copy_up: false,
        label: label.cloned(),
    }
}

fn room(inodes: u32) -> [String; 2] {
    ["nr_blocks=1".to_owned(), format!("nr_inodes={inodes}")]
}

fn mask_directory_old(builder: &mut Builder<'_>, found: &Found) -> Result<(), Errno> {
    let to = kernel::path_of(found.handle.as_fd());
    if let Cover::Attached(mount) = &builder.masks.directory {
        let from = kernel::path_of(mount.as_fd());
        return builder
            .kernel
            .by_path(|| rustix::mount::mount_bind(from, to));
    }
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let cover = empty(builder.plan.mask_label.as_ref());
    let mount = |inodes| filesystem::mount_old(&cover, &room(inodes), flags, &to);
    builder.kernel.by_path(|| mount(1).or_else(|_| mount(2)))?;
    builder.masks.directory = Cover::Attached(again(builder, found)?);
    Ok(())
}

/// The host's device cannot be kept without descriptors of mounts; the
/// container's does as well, once it is seen to be one.
fn mask_file_old(builder: &Builder<'_>, path: &Path, found: &Found) -> Result<(), RootfsError> {
    let null = open_null(Path::new("/dev/null"))?;
    let from = kernel::path_of(null.as_fd());
    let to = kernel::path_of(found.handle.as_fd());
    let bound = builder
        .kernel
        .by_path(|| rustix::mount::mount_bind(from, to));
    bound.map_err(|source| RootfsError::Mask {
        path: path.to_owned(),
        step: "cover the file",
        source,
    })
}

fn again(builder: &Builder<'_>, found: &Found) -> Result<OwnedFd, Errno> {
    let found = builder
        .root
        .find(&found.path, Links::Refuse, Missing::Fail)?;
    Ok(found.handle)
}
