//! Mounting the backing store of a volume with options, at
//! `<run>/mnt/volumes/<name>`, for as long as a run uses the volume.

use std::ffi::CString;
use std::io;
use std::path::{Path, PathBuf};

use base::file::make_directories;
use base::{Instance, PathError, VolumeName};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
    mount_remount,
};

use super::driver::{Backing, BindBacking, FileSystemBacking};
use crate::mounts;

/// Why a backing store cannot be mounted. The options are never told: they may
/// hold a password.
#[derive(Debug, thiserror::Error)]
pub enum BackingError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("cannot bind {device:?} for volume {name}")]
    Bind {
        name: VolumeName,
        device: PathBuf,
        source: io::Error,
    },
    #[error("cannot mount {device:?} of type {kind:?} for volume {name}")]
    Mount {
        name: VolumeName,
        kind: String,
        device: String,
        source: io::Error,
    },
    #[error("this kernel has no file system {kind:?}, which volume {name} needs")]
    UnknownFileSystem { name: VolumeName, kind: String },
}

/// Returns the directory of all backing stores' mount points.
pub fn directory(instance: &Instance) -> PathBuf {
    instance.mounts().join("volumes")
}

/// Returns where the backing store of a volume is mounted.
pub fn mount_point(instance: &Instance, name: &VolumeName) -> PathBuf {
    directory(instance).join(name.as_str())
}

/// Mounts a backing store unless it is mounted; returns whether it did.
///
/// # Errors
/// The step that failed; nothing is mounted then.
pub fn ensure_mounted(
    instance: &Instance,
    name: &VolumeName,
    backing: &Backing,
) -> Result<bool, BackingError> {
    let target = mount_point(instance, name);
    if *backing == Backing::Directory || mounts::is_mount_point(&target)? {
        return Ok(false);
    }
    make_directories(&target, 0o700)?;
    let mounted = match backing {
        Backing::Directory => Ok(()),
        Backing::Bind(bind) => mount_directory(name, bind, &target),
        Backing::FileSystem(file_system) => mount_file_system(name, file_system, &target),
    };
    if let Err(error) = mounted {
        // The mount's own error is the one to report.
        drop(mounts::detach_and_remove(&target));
        return Err(error);
    }
    Ok(true)
}

fn mount_directory(
    name: &VolumeName,
    bind: &BindBacking,
    target: &Path,
) -> Result<(), BackingError> {
    let result = bind_privately(bind, target);
    result.map_err(|source| BackingError::Bind {
        name: name.clone(),
        device: bind.device.clone(),
        source: source.into(),
    })
}

/// A bind of a shared mount joins its peers; unmounting it would then unmount
/// the host's own, so it is made private at once.
fn bind_privately(bind: &BindBacking, target: &Path) -> Result<(), Errno> {
    if bind.is_recursive {
        mount_bind_recursive(&bind.device, target)?;
    } else {
        mount_bind(&bind.device, target)?;
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change(target, private)?;
    if bind.flags.is_empty() {
        return Ok(());
    }
    mount_remount(target, MountFlags::BIND | bind.flags, c"")
}

fn mount_file_system(
    name: &VolumeName,
    store: &FileSystemBacking,
    target: &Path,
) -> Result<(), BackingError> {
    let data = CString::new(store.data.as_str()).expect("parsing refused NUL bytes");
    let kind = store.kind.as_str();
    let result = mount(
        store.device.as_str(),
        target,
        kind,
        store.flags,
        data.as_c_str(),
    );
    result.map_err(|source| match source {
        Errno::NODEV => BackingError::UnknownFileSystem {
            name: name.clone(),
            kind: kind.to_owned(),
        },
        _ => BackingError::Mount {
            name: name.clone(),
            kind: kind.to_owned(),
            device: store.device.clone(),
            source: source.into(),
        },
    })
}
