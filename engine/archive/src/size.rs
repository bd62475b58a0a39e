//! How much a directory holds.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::pack::{DEPTH_LIMIT, names};
use crate::root::stat_at;
use crate::{ArchiveError, file};

/// Returns the bytes of the files below a directory, each counted once whatever names
/// it has; none where the directory is not there.
///
/// # Errors
/// When a directory cannot be read.
pub fn size_of(path: &Path) -> Result<u64, ArchiveError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        top => top.map_err(file("open", path))?,
    };
    let mut count = Count::default();
    count.directory(top.as_fd(), path, 0)?;
    Ok(count.bytes)
}

#[derive(Default)]
struct Count {
    bytes: u64,
    /// Files with further names.
    seen: HashSet<(u64, u64)>,
}

impl Count {
    fn directory(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        if depth == DEPTH_LIMIT {
            return Err(ArchiveError::Deep(path.to_owned()));
        }
        for name in names(directory, path)? {
            let (name, inner) = (
                OsStr::from_bytes(&name),
                path.join(OsStr::from_bytes(&name)),
            );
            // What has gone meanwhile holds nothing.
            let Ok(stat) = stat_at(directory, name) else {
                continue;
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => {
                    let flags =
                        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    if let Ok(below) = rustix::fs::openat(directory, name, flags, Mode::empty()) {
                        self.directory(below.as_fd(), &inner, depth + 1)?;
                    }
                }
                FileType::RegularFile | FileType::Symlink => {
                    let is_new = stat.st_nlink < 2 || self.seen.insert((stat.st_dev, stat.st_ino));
                    if is_new {
                        self.bytes += u64::try_from(stat.st_size).unwrap_or(0);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::file::{FileMode, replace};

    use super::*;

    #[test]
    fn a_file_counts_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("sub")).unwrap();
        replace(&path("sub/a"), &[0; 1000], FileMode::Public).unwrap();
        std::fs::hard_link(path("sub/a"), path("b")).unwrap();
        replace(&path("c"), &[0; 10], FileMode::Public).unwrap();
        assert_eq!(size_of(folder.path()).unwrap(), 1010);
        assert_eq!(size_of(&path("nowhere")).unwrap(), 0);
    }
}
