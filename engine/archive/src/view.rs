//! Work on a container's root filesystem with its volumes in place, whether it runs
//! or not: in a thread with a mount namespace of its own, so that nobody else sees
//! what is mounted for it, and nothing stays.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use base::IdMappings;
use nix::sched::{CloneFlags, unshare};
use rustix::fs::OFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, mount_change, mount_remount};

use crate::ArchiveError;
use crate::root::Root;

/// What a container has mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Where the host has its root filesystem mounted.
    pub rootfs: PathBuf,
    pub access: Access,
    /// How the container sees the owners of its files, where not as the host does.
    pub mappings: Option<IdMappings>,
    /// In the order of mounting.
    pub mounts: Vec<ViewMount>,
}

/// A volume or a bind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewMount {
    pub source: PathBuf,
    /// A path of the container; a directory that is not there is made, as by a start.
    pub destination: PathBuf,
    pub access: Access,
}

/// Whether it can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl View {
    /// Does `work` in the view, and returns what it does.
    ///
    /// # Errors
    /// When something cannot be mounted; and those of `work`.
    pub fn enter<T: Send + 'static>(
        self,
        work: impl FnOnce(&Root) -> Result<T, ArchiveError> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        // A thread of its own, that ends: no other shares its mounts and its root.
        let thread = std::thread::Builder::new().name("view".to_owned());
        let thread = thread.spawn(move || self.mount().and_then(|root| work(&root)));
        let joined = thread.map_err(failed("start a thread"))?.join();
        joined.unwrap_or_else(|_| {
            let panicked = io::Error::other("it panicked");
            Err(ArchiveError::View("work on the files", panicked))
        })
    }

    fn mount(&self) -> Result<Root, ArchiveError> {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
            .map_err(failed("make a mount namespace"))?;
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", flags).map_err(failed("make mounts private"))?;
        if self.access == Access::ReadOnly {
            mount_remount(&self.rootfs, MountFlags::BIND | MountFlags::RDONLY, c"")
                .map_err(failed("make the root filesystem read-only"))?;
        }
        let mut root = Root::open(&self.rootfs)?;
        if let Some(mappings) = &self.mappings {
            base::user_namespace::own_files_as_root_of(mappings)
                .map_err(failed("own files as the container's root"))?;
            root = root.seen_from(mappings.clone());
        }
        for mount in &self.mounts {
            mount_one(&root, mount)?;
        }
        Ok(root)
    }
}

fn mount_one(root: &Root, mount: &ViewMount) -> Result<(), ArchiveError> {
    let target = match root.open_path(&mount.destination, OFlags::PATH) {
        Err(ArchiveError::NotFound(_)) if mount.source.is_dir() => {
            match root.make_directories(&mount.destination) {
                // Then nothing can be mounted there by a start either.
                Err(ArchiveError::ReadOnly(_)) => return Ok(()),
                made => made?,
            }
        }
        // A file is mounted where the first start makes one.
        Err(ArchiveError::NotFound(_)) => return Ok(()),
        target => target?,
    };
    let place = |number: i32| format!("/proc/self/fd/{number}");
    rustix::mount::mount_bind_recursive(&mount.source, place(target.as_raw_fd()))
        .map_err(failed("mount a volume"))?;
    if mount.access == Access::ReadOnly {
        // Opened again, it is what was mounted there.
        let mounted = root.open_path(&mount.destination, OFlags::PATH)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY;
        mount_remount(place(mounted.as_raw_fd()), flags, c"")
            .map_err(failed("make a volume read-only"))?;
    }
    Ok(())
}

fn failed<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> ArchiveError {
    move |error| ArchiveError::View(what, error.into())
}
