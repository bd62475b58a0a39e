//! Looking up, and making, what a path of the container names: below the
//! descriptor of its root, one name at a time, never by a joined string.
//!
//! Symbolic links are read and followed here as if the root were `/`, so no
//! link leads out of it, a magic link of a procfs is nothing but text, and
//! `..` goes back the way that was come, whatever has been renamed meanwhile.
//! What is found is a descriptor, and the way to it without links.

use std::collections::VecDeque;
use std::ffi::{CStr, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// As the kernel follows.
const LINK_LIMIT: usize = 40;
/// What a container can nest names in a path.
const DEPTH_LIMIT: usize = 512;
const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The root of a container.
#[derive(Debug)]
pub(super) struct Beneath {
    root: OwnedFd,
}

/// Returns where `path` leads in the root `root`, without links; what is not
/// there leads on as it is written.
pub fn resolve(root: &impl AsFd, path: &Path) -> PathBuf {
    let Ok(root) = root.as_fd().try_clone_to_owned() else {
        return path.to_owned();
    };
    let root = Beneath::new(root);
    for found in path.ancestors() {
        if let Ok(there) = root.find(found, Links::Follow, Missing::Fail) {
            let rest = path.strip_prefix(found).unwrap_or(Path::new(""));
            // Name by name: an empty rest would add a slash.
            return there.path.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

/// What a path names.
#[derive(Debug)]
pub(super) struct Found {
    /// Opened for its place only (`O_PATH`).
    pub(super) handle: OwnedFd,
    pub(super) status: Stat,
    /// Absolute in the container, without links.
    pub(super) path: PathBuf,
    /// Whether it was missing and has been made.
    pub(super) is_new: bool,
}

/// What is done about a name that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Fail,
    /// A directory is made, and those above it.
    Directory,
    /// An empty file is made, and the directories above it.
    File,
}

/// What is done about symbolic links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    Follow,
    /// They are `ELOOP`.
    Refuse,
}

/// A lookup under way.
#[derive(Debug)]
struct Walk<'a> {
    root: BorrowedFd<'a>,
    passed: Vec<(OsString, OwnedFd, Stat)>,
    ahead: VecDeque<OsString>,
    links: usize,
    is_new: bool,
}

impl Beneath {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root }
    }

    /// Finds what `path` names.
    ///
    /// # Errors
    /// As open(2), in which the root is `/`.
    pub(super) fn find(&self, path: &Path, links: Links, missing: Missing) -> Result<Found, Errno> {
        let mut walk = Walk {
            root: self.root.as_fd(),
            passed: Vec::new(),
            ahead: names(path).collect(),
            links: 0,
            is_new: false,
        };
        while let Some(name) = walk.ahead.pop_front() {
            walk.step(name, links, missing)?;
        }
        walk.finish()
    }

    /// Finds, or makes, the directory that holds the last name of `path`, and
    /// returns that name.
    ///
    /// # Errors
    /// As [`Beneath::find`]; `EINVAL` when `path` ends in no name.
    pub(super) fn find_parent<'a>(&self, path: &'a Path) -> Result<(Found, &'a OsStr), Errno> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        let parent = path.parent().ok_or(Errno::INVAL)?;
        let found = self.find(parent, Links::Follow, Missing::Directory)?;
        Ok((found, name))
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Found {
    pub(super) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.status.st_mode)
    }

    pub(super) fn is_directory(&self) -> bool {
        self.kind() == FileType::Directory
    }
}

/// Opens the place of `name` in `directory`, of a link itself.
pub(super) fn look(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(OwnedFd, Stat), Errno> {
    let handle = rustix::fs::openat(directory, name, LOOK, Mode::empty())?;
    let status = rustix::fs::fstat(&handle)?;
    Ok((handle, status))
}

impl Walk<'_> {
    fn here(&self) -> BorrowedFd<'_> {
        self.passed
            .last()
            .map_or(self.root, |(_, handle, _)| handle.as_fd())
    }

    fn step(&mut self, name: OsString, links: Links, missing: Missing) -> Result<(), Errno> {
        if name == ".." {
            self.passed.pop();
            return Ok(());
        }
        if self.passed.len() == DEPTH_LIMIT {
            return Err(Errno::NAMETOOLONG);
        }
        let (handle, status) = match look(self.here(), &name) {
            Err(Errno::NOENT) => {
                self.make(&name, missing)?;
                look(self.here(), &name)?
            }
            looked => looked?,
        };
        match FileType::from_raw_mode(status.st_mode) {
            FileType::Symlink => self.follow(&handle, links),
            FileType::Directory => {
                self.passed.push((name, handle, status));
                Ok(())
            }
            // `file/..` names nothing, as for the kernel.
            _ if !self.ahead.is_empty() => Err(Errno::NOTDIR),
            _ => {
                self.passed.push((name, handle, status));
                Ok(())
            }
        }
    }

    fn follow(&mut self, link: &OwnedFd, links: Links) -> Result<(), Errno> {
        self.links += 1;
        if links == Links::Refuse || self.links > LINK_LIMIT {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        if target.as_os_str().is_empty() {
            return Err(Errno::NOENT);
        }
        if target.is_absolute() {
            self.passed.clear();
        }
        for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
            self.ahead.push_front(name);
        }
        Ok(())
    }

    fn make(&mut self, name: &OsStr, missing: Missing) -> Result<(), Errno> {
        // Where `..` of something made now would lead is nobody's intention.
        if missing == Missing::Fail || self.ahead.iter().any(|name| name == "..") {
            return Err(Errno::NOENT);
        }
        let made = match missing == Missing::File && self.ahead.is_empty() {
            true => make_file(self.here(), name),
            false => rustix::fs::mkdirat(self.here(), name, Mode::from_raw_mode(0o755)),
        };
        self.is_new = true;
        match made {
            // Somebody was faster; whatever it is, it is looked at next.
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }

    fn finish(self) -> Result<Found, Errno> {
        let path = self.passed.iter().map(|(name, ..)| name);
        let path = Path::new("/").join(path.collect::<PathBuf>());
        let is_new = self.is_new;
        let (handle, status) = match self.passed.into_iter().last() {
            Some((_, handle, status)) => (handle, status),
            None => look(self.root, OsStr::new("."))?,
        };
        Ok(Found {
            handle,
            status,
            path,
            is_new,
        })
    }
}

fn make_file(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    rustix::fs::openat(directory, name, flags, mode).map(drop)
}

/// Returns the names a path consists of; the root's is none of them.
fn names(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

/// Returns the text of the link that `name` in `directory` is, if it is one.
pub(super) fn link_text(directory: BorrowedFd<'_>, name: &CStr) -> Option<OsString> {
    let target = rustix::fs::readlinkat(directory, name, Vec::new()).ok()?;
    Some(OsStr::from_bytes(target.as_bytes()).to_owned())
}

#[cfg(test)]
#[path = "tests/beneath.rs"]
mod tests;
