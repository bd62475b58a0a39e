//! Id-mapped clones of the directories that layers lie in, for the moment in
//! which an overlay is mounted from them: the overlay keeps clones of its own.
//!
//! On disk every file stays as it is. A clone is attached at a mount point of
//! its own below `<run>/mnt/<id>.<run>`, where the overlay is going to be: that
//! directory is private, and whatever a killed volumed leaves there goes with
//! the run. Kernels before 6.15 stack no layers from mounts that are detached.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base::user_namespace::{Held, Kinds, UserNamespaceError};
use base::{IdMappings, PathContext as _, PathError, Steps};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount, open_tree,
};

use crate::overlay::{Overlay, Writable};
use crate::sys;

/// What follows the name of the run in the name of a clone.
pub const CLONES: &str = ".layers";

/// Why layers cannot be shown with other owners.
#[derive(Debug, thiserror::Error)]
pub enum IdMapError {
    #[error(transparent)]
    UserNamespace(#[from] UserNamespaceError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(
        "the file system of {directory:?} cannot be mounted with mapped ids, which a container in a user namespace needs (Linux 5.19 or later); use --userns host"
    )]
    Unsupported {
        directory: PathBuf,
        source: io::Error,
    },
    #[error("the layer {0:?} lies in no directory")]
    NoParent(PathBuf),
}

/// Clones that are attached; dropped, they are taken away again.
#[derive(Debug, Default)]
pub struct Clones {
    /// The directory that was cloned, and where.
    attached: Vec<(PathBuf, PathBuf)>,
}

impl Clones {
    /// Attaches a clone of every directory that layers of `overlay` lie in. Its
    /// padding stays: nobody sees an owner there, and its file system, the one of
    /// `<run>`, cannot be mapped before Linux 6.3.
    ///
    /// # Errors
    /// When the kernel or the file system cannot; nothing stays attached then.
    pub fn attach(
        overlay: &Overlay,
        mappings: &IdMappings,
        steps: &Steps,
    ) -> Result<Self, IdMapError> {
        let held = Held::new(Kinds::User, mappings)?;
        let path = held.path("user");
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let namespace = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
        if let Some(mounts) = overlay.target.parent() {
            let_pass(mounts, mappings.root().1)?;
        }
        let mut clones = Self::default();
        let upper = overlay.writable.iter().map(|writable| &writable.upper);
        let paths = overlay.lowers.iter().chain(upper);
        for path in paths {
            let parent = path.parent();
            let parent = parent.ok_or_else(|| IdMapError::NoParent(path.clone()))?;
            if clones.place(parent).is_none() {
                steps.reached("layers.attach");
                clones.attach_one(parent, &overlay.target, namespace.as_fd())?;
            }
        }
        Ok(clones)
    }

    /// Returns `overlay` with its layers where they show mapped owners.
    ///
    /// # Errors
    /// When a layer is none of those that were attached.
    pub fn layers_of(&self, overlay: &Overlay) -> Result<Overlay, IdMapError> {
        let moved = |path: &PathBuf| {
            let place = path.parent().and_then(|parent| self.place(parent));
            let name = path.file_name();
            let both = place.zip(name).map(|(place, name)| place.join(name));
            both.ok_or_else(|| IdMapError::NoParent(path.clone()))
        };
        let writable = overlay.writable.as_ref().map(|it| {
            Ok::<_, IdMapError>(Writable {
                upper: moved(&it.upper)?,
                work: moved(&it.work)?,
                durability: it.durability,
            })
        });
        Ok(Overlay {
            lowers: overlay.lowers.iter().map(moved).collect::<Result<_, _>>()?,
            writable: writable.transpose()?,
            ..overlay.clone()
        })
    }

    fn place(&self, directory: &Path) -> Option<&PathBuf> {
        let mut all = self.attached.iter();
        all.find(|(of, _)| of == directory).map(|(_, place)| place)
    }

    fn attach_one(
        &mut self,
        directory: &Path,
        target: &Path,
        namespace: rustix::fd::BorrowedFd<'_>,
    ) -> Result<(), IdMapError> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let tree = open_tree(CWD, directory, flags).at("clone the mount of", directory)?;
        sys::map_ids(tree.as_fd(), namespace).map_err(|source| IdMapError::Unsupported {
            directory: directory.to_owned(),
            source,
        })?;
        let mut place = target.as_os_str().to_owned();
        place.push(format!("{CLONES}{}", self.attached.len()));
        let place = PathBuf::from(place);
        base::file::make_directories(&place, 0o700)?;
        self.attached.push((directory.to_owned(), place.clone()));
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        move_mount(tree.as_fd(), "", CWD, &place, flags).at("mount layers at", &place)?;
        rustix::mount::mount_change(&place, MountPropagationFlags::PRIVATE)
            .at("make private", &place)?;
        Ok(())
    }
}

/// Lets the root of a user namespace reach its root filesystem, which a runtime
/// opens as that; nobody else of the host can, and nobody can list what there is.
fn let_pass(mounts: &Path, gid: u32) -> Result<(), PathError> {
    std::os::unix::fs::chown(mounts, None, Some(gid)).at("give to a group", mounts)?;
    let mode = std::fs::Permissions::from_mode(0o710);
    std::fs::set_permissions(mounts, mode).at("set the mode of", mounts)
}

impl Drop for Clones {
    fn drop(&mut self) {
        for (_, place) in &self.attached {
            let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            let gone = rustix::mount::unmount(place, flags);
            // Not mounted yet, if the attempt failed in between.
            let gone = gone.or_else(|e| match e {
                rustix::io::Errno::INVAL => Ok(()),
                other => Err(io::Error::from(other)),
            });
            if let Err(error) = gone.and_then(|()| std::fs::remove_dir(place)) {
                tracing::error!(?place, %error, "cannot take mapped layers away");
            }
        }
    }
}
