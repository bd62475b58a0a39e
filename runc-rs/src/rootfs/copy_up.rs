//! Fills a new tmpfs with what is in the directory it will hide.
//!
//! Both sides are descriptors, and no link is followed. What is copied: the
//! files, their owners, modes and times; not extended attributes and not that
//! two names were one file, as with runc.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod,
    fchown, futimens, mkdirat, mknodat, openat, readlinkat, symlinkat,
};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::look;

/// Each level holds descriptors.
const DEPTH_LIMIT: usize = 128;

/// One directory and its copy.
#[derive(Clone, Copy)]
struct Pair<'fd> {
    from: BorrowedFd<'fd>,
    to: BorrowedFd<'fd>,
}

/// Why something could not be copied, and what.
enum Failure {
    TooDeep,
    Entry(PathBuf, Errno),
}

/// Copies what is in `from` into `to`, the root of an empty file system.
///
/// # Errors
/// The first entry that cannot be copied, for the mount on `destination`.
pub(super) fn copy(
    from: &OwnedFd,
    to: BorrowedFd<'_>,
    destination: &Path,
) -> Result<(), RootfsError> {
    let pair = Pair {
        from: from.as_fd(),
        to,
    };
    copy_directory(pair, destination, DEPTH_LIMIT).map_err(|failure| match failure {
        Failure::TooDeep => RootfsError::CopyUpDepth(destination.to_owned()),
        Failure::Entry(path, source) => RootfsError::CopyUp {
            destination: destination.to_owned(),
            path,
            source,
        },
    })
}

fn copy_directory(pair: Pair<'_>, path: &Path, depth: usize) -> Result<(), Failure> {
    let at = |error| Failure::Entry(path.to_owned(), error);
    for entry in Dir::read_from(pair.from).map_err(at)? {
        let entry = entry.map_err(at)?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            copy_entry(pair, name, &path.join(name), depth)?;
        }
    }
    Ok(())
}

fn copy_entry(pair: Pair<'_>, name: &OsStr, path: &Path, depth: usize) -> Result<(), Failure> {
    let at = |error| Failure::Entry(path.to_owned(), error);
    let (handle, status) = look(pair.from, name).map_err(at)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::Directory if depth == 0 => Err(Failure::TooDeep),
        FileType::Directory => {
            let (from, to) = make_directory(pair, name).map_err(at)?;
            let below = Pair {
                from: from.as_fd(),
                to: to.as_fd(),
            };
            copy_directory(below, path, depth - 1)?;
            settle(&to, &status).map_err(at)
        }
        FileType::RegularFile => copy_file(pair, name, &status).map_err(at),
        FileType::Symlink => copy_link(pair, name, &handle, &status).map_err(at),
        kind => copy_node(pair, name, kind, &status).map_err(at),
    }
}

fn make_directory(pair: Pair<'_>, name: &OsStr) -> Result<(OwnedFd, OwnedFd), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    mkdirat(pair.to, name, Mode::RWXU)?;
    let from = openat(pair.from, name, flags, Mode::empty())?;
    let to = openat(pair.to, name, flags, Mode::empty())?;
    Ok((from, to))
}

fn copy_file(pair: Pair<'_>, name: &OsStr, status: &Stat) -> Result<(), Errno> {
    // Not to wait for a pipe that has taken the file's place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = openat(pair.from, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&from)?;
    if (found.st_dev, found.st_ino) != (status.st_dev, status.st_ino) {
        return Err(Errno::AGAIN);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let to = openat(pair.to, name, flags, Mode::RUSR | Mode::WUSR)?;
    let (mut from, mut to) = (File::from(from), File::from(to));
    io::copy(&mut from, &mut to)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    settle(&to, status)
}

fn copy_link(pair: Pair<'_>, name: &OsStr, link: &OwnedFd, status: &Stat) -> Result<(), Errno> {
    let target = readlinkat(link, c"", Vec::new())?;
    symlinkat(target, pair.to, name)?;
    give(pair.to, name, status)
}

fn copy_node(pair: Pair<'_>, name: &OsStr, kind: FileType, status: &Stat) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(status.st_mode);
    match mknodat(pair.to, name, kind, mode, status.st_rdev) {
        // A device, in a user namespace: on a tmpfs made there it would not
        // work either.
        Err(Errno::PERM) => Ok(()),
        made => made.and_then(|()| give(pair.to, name, status)),
    }
}

fn give(directory: BorrowedFd<'_>, name: &OsStr, status: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(status);
    chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a copy its owner, its mode, which a new owner may have taken bits
/// from, and its times, in this order.
fn settle(copy: impl AsFd, status: &Stat) -> Result<(), Errno> {
    let (uid, gid) = owner(status);
    fchown(&copy, uid, gid)?;
    fchmod(&copy, Mode::from_raw_mode(status.st_mode))?;
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as i64,
    };
    let times = Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    };
    futimens(&copy, &times)
}

fn owner(status: &Stat) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(status.st_uid)),
        Some(Gid::from_raw(status.st_gid)),
    )
}
