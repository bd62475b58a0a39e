//! Copying a tree: owner, mode, extended attributes, times, symbolic links, hard
//! links, device nodes and holes.
//!
//! Everything is reached by descriptor and no symbolic link is followed, in the
//! source or in the target. The target must be empty; what a failed copy leaves is
//! the caller's to delete.

use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat};
use rustix::io::Errno;

use crate::metadata;

/// Directories below each other; three descriptors are open for each.
const DEPTH_LIMIT: usize = 128;
/// Files with several names that are remembered; of more, each name becomes a
/// file of its own.
const LINK_LIMIT: usize = 1 << 20;
const BUFFER_BYTES: usize = 256 * 1024;

/// Why a tree cannot be copied; paths are relative to it.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("{0:?} is more than {DEPTH_LIMIT} directories deep")]
    TooDeep(PathBuf),
}

/// What a copy made.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Files, directories and everything else below the root.
    pub entries: u64,
}

/// Copies everything in the directory `source` into the directory `target`, and
/// the metadata of the directory itself.
///
/// # Errors
/// The first entry that cannot be copied.
pub fn copy_tree(source: &OwnedFd, target: &OwnedFd) -> Result<Copied, CopyError> {
    let mut copy = Copy {
        target,
        links: HashMap::new(),
        buffer: vec![0; BUFFER_BYTES],
        copied: Copied::default(),
    };
    copy.run(source)?;
    Ok(copy.copied)
}

struct Copy<'a> {
    target: &'a OwnedFd,
    /// Where the first name of a file with several names went.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
    copied: Copied,
}

/// A directory that is being copied.
struct Level {
    source: Dir,
    target: OwnedFd,
    path: PathBuf,
}

/// An entry that is being copied.
struct Entry<'a> {
    source: BorrowedFd<'a>,
    target: BorrowedFd<'a>,
    name: &'a CStr,
    path: &'a Path,
    stat: &'a Stat,
}

impl Copy<'_> {
    fn run(&mut self, source: &OwnedFd) -> Result<(), CopyError> {
        let root = Path::new(".");
        let target = self.target.try_clone();
        let mut levels = vec![Level {
            source: Dir::read_from(source).at("list", root)?,
            target: target.at("open", root)?,
            path: PathBuf::new(),
        }];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.source.read() else {
                let source = level.source.fd().at("examine", &level.path)?;
                metadata::copy(source, &level.target).at("copy the metadata of", &level.path)?;
                levels.pop();
                continue;
            };
            let entry = entry.at("list", &level.path)?;
            let below = self.copy_entry(level, entry.file_name())?;
            if levels.len() == DEPTH_LIMIT && below.is_some() {
                let path = below.map(|below| below.path).unwrap_or_default();
                return Err(CopyError::TooDeep(path));
            }
            levels.extend(below);
        }
        Ok(())
    }

    /// Copies one entry; of a directory, makes it and returns it to be filled.
    fn copy_entry(&mut self, level: &Level, name: &CStr) -> Result<Option<Level>, CopyError> {
        if name == c"." || name == c".." {
            return Ok(None);
        }
        let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
        let source = level.source.fd().at("examine", &path)?;
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW);
        let entry = Entry {
            source,
            target: level.target.as_fd(),
            name,
            path: &path,
            stat: &stat.at("examine", &path)?,
        };
        self.copied.entries += 1;
        let kind = FileType::from_raw_mode(entry.stat.st_mode);
        if kind == FileType::Directory {
            return Ok(Some(entry.make_directory()?));
        }
        if self.link(&entry)? {
            return Ok(None);
        }
        match kind {
            FileType::RegularFile => self.copy_file(&entry)?,
            FileType::Symlink => entry.copy_symlink().at("copy symbolic link", &path)?,
            _ => entry.copy_special(kind).at("copy special file", &path)?,
        }
        Ok(None)
    }

    /// Gives a file that was copied under another name this one, too; remembers
    /// the first name of a file with several.
    fn link(&mut self, entry: &Entry<'_>) -> Result<bool, PathError> {
        if entry.stat.st_nlink < 2 {
            return Ok(false);
        }
        let key = (entry.stat.st_dev, entry.stat.st_ino);
        let Some(first) = self.links.get(&key) else {
            if self.links.len() < LINK_LIMIT {
                self.links.insert(key, entry.path.to_owned());
            }
            return Ok(false);
        };
        link_again(self.target, first, entry).at("link", entry.path)?;
        Ok(true)
    }

    fn copy_file(&mut self, entry: &Entry<'_>) -> Result<(), PathError> {
        let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // Should it be a pipe by now, opening it must not wait.
        let read = flags | OFlags::RDONLY | OFlags::NONBLOCK;
        let source = rustix::fs::openat(entry.source, entry.name, read, Mode::empty())
            .at("open", entry.path)?;
        let write = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let mode = Mode::RUSR | Mode::WUSR;
        let target =
            rustix::fs::openat(entry.target, entry.name, write, mode).at("create", entry.path)?;
        let (source, target) = (File::from(source), File::from(target));
        copy_extents(&source, &target, &mut self.buffer).at("copy", entry.path)?;
        metadata::copy(&source, &target).at("copy the metadata of", entry.path)
    }
}

impl Entry<'_> {
    fn make_directory(&self) -> Result<Level, PathError> {
        rustix::fs::mkdirat(self.target, self.name, Mode::RWXU).at("make directory", self.path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = |parent| {
            rustix::fs::openat(parent, self.name, flags, Mode::empty()).at("open", self.path)
        };
        Ok(Level {
            source: Dir::new(open(self.source)?).at("list", self.path)?,
            target: open(self.target)?,
            path: self.path.to_owned(),
        })
    }

    fn copy_symlink(&self) -> Result<(), Errno> {
        let link = rustix::fs::readlinkat(self.source, self.name, Vec::new())?;
        rustix::fs::symlinkat(link, self.target, self.name)?;
        self.copy_owner_and_times()
    }

    fn copy_special(&self, kind: FileType) -> Result<(), Errno> {
        let mode = metadata::mode(self.stat);
        let device = self.stat.st_rdev;
        rustix::fs::mknodat(self.target, self.name, kind, mode, device)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(self.target, self.name, flags, Mode::empty())?;
        self.copy_owner_and_times()?;
        // The umask took bits away; a node has no other way to be changed without
        // opening it or following its name.
        rustix::fs::chmod(format!("/proc/self/fd/{}", made.as_raw_fd()), mode)
    }

    fn copy_owner_and_times(&self) -> Result<(), Errno> {
        let (uid, gid) = metadata::owner(self.stat);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(self.target, self.name, Some(uid), Some(gid), flags)?;
        rustix::fs::utimensat(self.target, self.name, &metadata::times(self.stat), flags)
    }
}

/// Links the file copied to `first` to the entry's name.
fn link_again(root: &OwnedFd, first: &Path, entry: &Entry<'_>) -> Result<(), Errno> {
    let parent = match first.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::openat2(root, parent, flags, Mode::empty(), resolve)?;
    let name = first.file_name().unwrap_or_default().as_bytes();
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    rustix::fs::linkat(parent, name, entry.target, entry.name, AtFlags::empty())
}

/// Copies the data of a file and leaves its holes.
fn copy_extents(source: &File, target: &File, buffer: &mut [u8]) -> std::io::Result<()> {
    let size = source.metadata()?.len();
    let mut offset = 0;
    while offset < size {
        let Some((start, end)) = next_extent(source, offset, size)? else {
            break;
        };
        offset = copy_range(source, target, (start, end), buffer)?;
    }
    rustix::fs::ftruncate(target, size)?;
    Ok(())
}

/// Returns the next range that holds data; the whole rest where the file system
/// does not tell.
fn next_extent(source: &File, offset: u64, size: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match rustix::fs::seek(source, SeekFrom::Data(offset)) {
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL | Errno::NOTSUP) => return Ok(Some((offset, size))),
        other => other?,
    };
    let end = rustix::fs::seek(source, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(size))))
}

fn copy_range(
    source: &File,
    target: &File,
    (start, end): (u64, u64),
    buffer: &mut [u8],
) -> std::io::Result<u64> {
    let mut offset = start;
    while offset < end {
        let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
        let want = left.min(buffer.len());
        let length = source.read_at(&mut buffer[..want], offset)?;
        if length == 0 {
            // It became shorter meanwhile; what is missing reads as zeros.
            return Ok(end);
        }
        target.write_all_at(&buffer[..length], offset)?;
        offset += length as u64;
    }
    Ok(end)
}

#[cfg(test)]
#[path = "copy/tests.rs"]
mod tests;
