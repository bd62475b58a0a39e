//! Giving one file the mode, owner, extended attributes and times of another,
//! by descriptor.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use rustix::fs::{Gid, Mode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// The kernel's limits on one value and on the list of names.
const VALUE_LIMIT_BYTES: usize = 64 * 1024;
const LIST_LIMIT_BYTES: usize = 64 * 1024;
/// What overlay keeps for itself; it means nothing in another directory.
const OVERLAY_PREFIX: &[u8] = b"trusted.overlay.";

/// Copies owner, mode, extended attributes and times, in the order in which none
/// undoes another: a change of owner clears set-user-id bits and capabilities.
///
/// # Errors
/// The first step that failed. Attributes that the target's file system does
/// not know are left out, as Docker does.
pub fn copy(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let (from, to) = (from.as_fd(), to.as_fd());
    let stat = rustix::fs::fstat(from)?;
    let (uid, gid) = owner(&stat);
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(to, mode(&stat))?;
    copy_attributes(from, to)?;
    rustix::fs::futimens(to, &times(&stat))
}

/// Returns the owner and group of a file.
pub fn owner(stat: &Stat) -> (Uid, Gid) {
    (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))
}

/// Returns the permission bits of a file.
pub fn mode(stat: &Stat) -> Mode {
    Mode::from_raw_mode(stat.st_mode & 0o7777)
}

/// Returns the access and modification times of a file.
pub fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec.cast_signed(),
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec.cast_signed(),
        },
    }
}

fn copy_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<(), Errno> {
    let length = match rustix::fs::flistxattr_query(from) {
        Err(Errno::NOTSUP) | Ok(0) => return Ok(()),
        other => other?,
    };
    let mut names = vec![0; length.min(LIST_LIMIT_BYTES)];
    let length = rustix::fs::flistxattr(from, &mut names[..])?;
    let mut value = vec![0; VALUE_LIMIT_BYTES];
    for name in names[..length].split(|byte| *byte == 0) {
        if name.is_empty() || name.starts_with(OVERLAY_PREFIX) {
            continue;
        }
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        match rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty()) {
            Err(Errno::NOTSUP) => tracing::debug!(fd = to.as_raw_fd(), "attribute left out"),
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn owner_mode_attributes_and_times_are_copied() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        std::fs::create_dir(&a).unwrap();
        std::fs::create_dir(&b).unwrap();
        let (from, to) = (File::open(&a).unwrap(), File::open(&b).unwrap());
        std::os::unix::fs::chown(&a, Some(33), Some(44)).unwrap();
        rustix::fs::fchmod(&from, Mode::from_raw_mode(0o3751)).unwrap();
        for (name, value) in [("user.x", b"1"), ("trusted.overlay.opaque", b"y")] {
            rustix::fs::fsetxattr(&from, name, value, XattrFlags::empty()).unwrap();
        }
        copy(&from, &to).unwrap();
        let (source, copied) = (from.metadata().unwrap(), to.metadata().unwrap());
        assert_eq!(copied.mode() & 0o7777, 0o3751);
        assert_eq!((copied.uid(), copied.gid()), (33, 44));
        assert_eq!(copied.mtime_nsec(), source.mtime_nsec());
        let mut value = [0; 8];
        assert_eq!(rustix::fs::fgetxattr(&to, "user.x", &mut value[..]), Ok(1));
        let hidden = rustix::fs::fgetxattr(&to, "trusted.overlay.opaque", &mut value[..]);
        assert_eq!(hidden, Err(Errno::NODATA));
    }
}
