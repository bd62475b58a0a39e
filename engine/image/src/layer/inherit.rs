//! Gives directories that a layer implies but does not describe the owner and
//! mode that the layers below give them.
//!
//! In an overlay the topmost directory decides; without this, a layer that has
//! `tmp/x` but no `tmp` would turn a lower, sticky `/tmp` into a plain one.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid};

/// Copies owner, mode and time of each of `implied` in the directory `layer`
/// from the first of `below` (nearest layer first) that has it.
pub(crate) fn inherit_directories(
    layer: &Path,
    implied: &[PathBuf],
    below: &[PathBuf],
) -> Result<(), PathError> {
    if implied.is_empty() {
        return Ok(());
    }
    let open = |path: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty()).at("open", path)
    };
    let below = below
        .iter()
        .map(|path| open(path))
        .collect::<Result<Vec<_>, _>>()?;
    let layer_root = open(layer)?;
    for path in implied {
        let target = within(layer_root.as_fd(), path).at("open", layer.join(path))?;
        let found = below
            .iter()
            .find_map(|root| within(root.as_fd(), path).ok());
        if let Some(source) = found {
            copy(&source, &target).at("set owner and mode of", layer.join(path))?;
        }
    }
    Ok(())
}

fn within(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn copy(source: &OwnedFd, target: &OwnedFd) -> rustix::io::Result<()> {
    let stat = rustix::fs::fstat(source)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(target, Some(uid), Some(gid))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = Timespec {
        tv_sec: stat.st_mtime,
        tv_nsec: stat.st_mtime_nsec as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::futimens(target, &times)
}
