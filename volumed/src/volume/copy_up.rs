//! Filling an empty volume with what the image has at its destination.
//!
//! The content is first copied aside, to a directory named `partial`, which is
//! renamed to `whole` once it is complete and synced; then its entries are moved
//! into the data one by one. A partial copy that is found is the remains of one
//! that was killed and is deleted, a whole one is finished: a copy counts when it
//! is whole, and the data directory stays the one that others may have bound.
//! A backing store holds both names in the data directory itself, since a rename
//! does not cross file systems.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{CWD, Dir, Mode, OFlags, RenameFlags, ResolveFlags};
use rustix::io::Errno;

use crate::copy::{self, CopyError};
use crate::rootfs::plan::Operation;
use crate::{metadata, mounts, purge};
use base::Steps;

// In a backing store these stand among a user's files: names nobody else uses.
const PARTIAL: &str = ".engine-copy-up.partial";
const WHOLE: &str = ".engine-copy-up.whole";

/// The kernel gives up on `..` when anything on the host was renamed meanwhile.
const RESOLVE_ATTEMPTS: usize = 128;

/// Why a volume cannot be filled.
#[derive(Debug, thiserror::Error)]
pub enum CopyUpError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot copy the image's {destination:?} into the volume at {data:?}")]
    Copy {
        destination: PathBuf,
        data: PathBuf,
        source: CopyError,
    },
}

/// Performs an [`Operation::CopyUp`]; any other operation is none of ours. The
/// volume's lock is held.
///
/// # Errors
/// The step that failed; what was copied is then deleted.
pub fn fill(steps: &Steps, operation: &Operation) -> Result<(), CopyUpError> {
    let Operation::CopyUp {
        data,
        rootfs,
        destination,
        ..
    } = operation
    else {
        return Ok(());
    };
    let staging = Staging::of(data)?;
    staging.finish_interrupted(steps)?;
    if !staging.is_data_empty()? {
        return Ok(());
    }
    let Some(source) = open_inside(rootfs, destination)? else {
        return Ok(());
    };
    let copied = staging.copy(steps, &source);
    if let Err(source) = copied {
        // The copy's own error is the one to report; the remains are also
        // deleted by the next attempt.
        drop(purge::purge_with_root(&staging.partial));
        return Err(match source {
            StagingError::File(error) => error.into(),
            StagingError::Copy(source) => CopyUpError::Copy {
                destination: destination.clone(),
                data: data.clone(),
                source,
            },
        });
    }
    Ok(staging.finish(steps)?)
}

/// Gives a volume that is empty and root's of the host to the root of a user
/// namespace, as Docker does; one that somebody uses stays as it is. The
/// volume's lock is held.
///
/// # Errors
/// When it cannot be examined or given away.
pub fn give(data: &Path, (uid, gid): (u32, u32)) -> Result<(), PathError> {
    let found = fs::metadata(data).at("examine", data)?;
    if (found.uid(), found.gid()) != (0, 0) || !Staging::of(data)?.is_data_empty()? {
        return Ok(());
    }
    std::os::unix::fs::lchown(data, Some(uid), Some(gid)).at("give to another owner", data)
}

#[derive(Debug, thiserror::Error)]
enum StagingError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Copy(#[from] CopyError),
}

/// Opens the directory at a container's path, resolved as the container would:
/// no symbolic link leads out. `None` if there is no directory.
fn open_inside(rootfs: &Path, destination: &Path) -> Result<Option<OwnedFd>, PathError> {
    let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(rootfs, OFlags::PATH | directory, Mode::empty());
    let root = root.at("open", rootfs)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::RDONLY | directory;
    for _ in 0..RESOLVE_ATTEMPTS {
        match rustix::fs::openat2(&root, destination, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            other => {
                let action = "open in the root filesystem";
                return other.map(Some).at(action, destination);
            }
        }
    }
    Err(Errno::AGAIN).at("open in the root filesystem", destination)
}

struct Staging {
    data: PathBuf,
    partial: PathBuf,
    whole: PathBuf,
}

impl Staging {
    fn of(data: &Path) -> Result<Self, PathError> {
        let parent = match mounts::is_mount_point(data)? {
            true => data,
            false => data.parent().unwrap_or(data),
        };
        Ok(Self {
            data: data.to_owned(),
            partial: parent.join(PARTIAL),
            whole: parent.join(WHOLE),
        })
    }

    /// Does what is left of a copy that a crash interrupted.
    fn finish_interrupted(&self, steps: &Steps) -> Result<(), PathError> {
        purge::purge_with_root(&self.partial)?;
        match self.whole.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => self.finish(steps),
            _ => Ok(()),
        }
    }

    fn is_data_empty(&self) -> Result<bool, PathError> {
        let mut entries = fs::read_dir(&self.data).at("list", &self.data)?;
        Ok(entries.next().is_none())
    }

    /// Copies `source` aside and makes the copy count.
    fn copy(&self, steps: &Steps, source: &OwnedFd) -> Result<(), StagingError> {
        steps.reached("copy.make");
        base::file::make_directories(&self.partial, 0o700)?;
        let target = open_directory(&self.partial)?;
        steps.reached("copy.fill");
        let copied = copy::copy_tree(source, &target)?;
        if copied.entries > 0 {
            rustix::fs::syncfs(&target).at("sync", &self.partial)?;
        }
        steps.reached("copy.rename");
        fs::rename(&self.partial, &self.whole).at("rename to", &self.whole)?;
        Ok(())
    }

    /// Moves the whole copy into the data; safe to repeat.
    fn finish(&self, steps: &Steps) -> Result<(), PathError> {
        let from = open_directory(&self.whole)?;
        let to = open_directory(&self.data)?;
        for name in names(&from).at("list", &self.whole)? {
            steps.reached("copy.move");
            let moved = rustix::fs::renameat_with(&from, &name, &to, &name, RenameFlags::NOREPLACE);
            match moved {
                // A container that shares the volume was faster; its file counts.
                Err(Errno::EXIST) => {}
                other => other.at("move into", self.data.join(lossy(&name)))?,
            }
        }
        steps.reached("copy.metadata");
        metadata::copy(&from, &to).at("copy the metadata of", &self.data)?;
        steps.reached("copy.done");
        purge::purge_with_root(&self.whole).map(drop)
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd, PathError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn lossy(name: &CStr) -> PathBuf {
    std::ffi::OsStr::from_bytes(name.to_bytes()).into()
}
