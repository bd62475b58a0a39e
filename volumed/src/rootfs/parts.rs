//! Mounts of a run beside its root filesystem, in `<run>/mnt/parts`: a folder of
//! a volume or of an image, and memory that other containers may share.
//!
//! A volume's content is its containers', an image's is whoever made it: a path in
//! one is walked by descriptor, never leaves it, and what was found is mounted, so
//! that nobody can put something else in its place between the look and the
//! container's start.

use std::ffi::CString;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::plan::Operation;

/// Why a part cannot be mounted.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot access path {}: no such file or directory", .0.display())]
    Missing(PathBuf),
    #[error("path {} escapes the volume or image it is in", .0.display())]
    Escapes(PathBuf),
    #[error("path {} is neither a directory nor a regular file", .0.display())]
    Kind(PathBuf),
}

/// Performs the operations that are about parts; others are nothing to do.
///
/// # Errors
/// When what is to be mounted is not there, leads out of where it is looked for, or cannot be
/// mounted; the mount point may be there then.
pub fn mount(operation: &Operation) -> Result<(), PartError> {
    match operation {
        Operation::MountFolder {
            data,
            subpath,
            target,
        } => mount_folder(data, subpath, target),
        Operation::MountMemory { target, size_bytes } => mount_memory(target, *size_bytes),
        _ => Ok(()),
    }
}

/// Mounts what `subpath` leads to in the directory `data` at `target`.
fn mount_folder(data: &Path, subpath: &str, target: &Path) -> Result<(), PartError> {
    let found = open_below(data, subpath)?;
    let path = data.join(subpath);
    let stat = rustix::fs::fstat(&found).at("examine", &path)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => make_directory(target)?,
        FileType::RegularFile => make_file(target)?,
        _ => return Err(PartError::Kind(path)),
    }
    let link = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::mount::mount_bind_recursive(link, target).at("bind to", target)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change(target, private).at("make private", target)?)
}

/// Mounts empty memory of a size at `target`.
fn mount_memory(target: &Path, size_bytes: u64) -> Result<(), PartError> {
    make_directory(target)?;
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    let options = CString::new(format!("mode=1777,size={size_bytes}")).unwrap_or_default();
    Ok(
        rustix::mount::mount("shm", target, "tmpfs", flags, options.as_c_str())
            .at("mount", target)?,
    )
}

/// Follows links as long as they stay below, as Docker does; `..` and absolute
/// links that lead out are refused by the kernel.
fn open_below(data: &Path, subpath: &str) -> Result<OwnedFd, PartError> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::open(data, flags | OFlags::DIRECTORY, Mode::empty()).at("open", data)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let path = data.join(subpath);
    match rustix::fs::openat2(&root, subpath, flags, Mode::empty(), resolve) {
        Err(Errno::NOENT) => Err(PartError::Missing(path)),
        Err(Errno::XDEV | Errno::LOOP) => Err(PartError::Escapes(path)),
        other => Ok(other.at("open", path)?),
    }
}

fn make_directory(path: &Path) -> Result<(), PathError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        other => other.at("make directory", path),
    }
}

fn make_file(path: &Path) -> Result<(), PathError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path).map(drop::<File>) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_file() => Ok(()),
        other => other.at("create", path),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// What a hostile container leaves in a volume leads nowhere but below it.
    #[test]
    fn links_do_not_lead_out_of_the_volume() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("_data");
        fs::create_dir_all(data.join("sub/deep")).unwrap();
        fs::File::create(place.path().join("secret")).unwrap();
        symlink("/", data.join("root")).unwrap();
        symlink("../secret", data.join("up")).unwrap();
        symlink("sub/../../secret", data.join("sub-up")).unwrap();
        symlink("/proc/self/root/etc", data.join("magic")).unwrap();
        symlink("round", data.join("round")).unwrap();
        symlink("sub/deep", data.join("inside")).unwrap();
        for path in [
            "root",
            "root/etc",
            "up",
            "sub-up",
            "magic",
            "round",
            "../secret",
        ] {
            let refused = open_below(&data, path).unwrap_err();
            assert!(
                matches!(refused, PartError::Escapes(_)),
                "{path}: {refused}"
            );
        }
        for path in ["none", "sub/none"] {
            let refused = open_below(&data, path).unwrap_err();
            assert!(
                matches!(refused, PartError::Missing(_)),
                "{path}: {refused}"
            );
        }
        let found = open_below(&data, "inside").unwrap();
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let expected = data.canonicalize().unwrap().join("sub/deep");
        assert_eq!(fs::read_link(link).unwrap(), expected);
    }
}
