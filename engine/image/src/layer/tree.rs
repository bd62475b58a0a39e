//! The directory a layer is written into, reached by descriptors only.
//!
//! Whatever links the layer itself made, no path leads out: directories are
//! opened with `RESOLVE_IN_ROOT` and everything else happens on a name within
//! an open directory, never following a link there. The descriptor of the last
//! parent is kept, so that a file costs no walk.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Missing directories and dangling links gone through for one name.
const MAX_MADE: u32 = 512;
const IMPLIED_MODE: u32 = 0o755;
const OPAQUE: &str = "trusted.overlay.opaque";

/// A tree under construction.
pub(super) struct Tree {
    root: OwnedFd,
    /// What was replaced is moved here: taking a tree apart can wait.
    graveyard: OwnedFd,
    buried: u64,
    parent: Option<(PathBuf, OwnedFd)>,
    implied: Vec<PathBuf>,
}

impl Tree {
    /// Takes over two empty directories of one file system.
    pub(super) fn new(root: OwnedFd, graveyard: OwnedFd) -> Self {
        Self {
            root,
            graveyard,
            buried: 0,
            parent: None,
            implied: Vec::new(),
        }
    }

    /// Returns the directories that no entry named so far but children needed.
    pub(super) fn implied(&self) -> &[PathBuf] {
        &self.implied
    }

    /// Returns the directory that `path` lies in, which is made if missing.
    pub(super) fn parent_of(&mut self, path: &Path) -> io::Result<BorrowedFd<'_>> {
        let directory = path.parent().unwrap_or(Path::new(""));
        let is_cached = matches!(&self.parent, Some((cached, _)) if cached == directory);
        if !is_cached {
            let opened = match self.open_directory(directory, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => self.make(directory, &mut 0)?,
                other => other?,
            };
            self.parent = Some((directory.to_owned(), opened));
        }
        let (_, descriptor) = self.parent.as_ref().expect("set above");
        Ok(descriptor.as_fd())
    }

    /// Opens the directory at `path` within the tree, following links within it.
    pub(super) fn open_directory(&self, path: &Path, how: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        let flags = how | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)
    }

    /// Makes `path` and the directories above it, through dangling links as well.
    fn make(&mut self, path: &Path, made: &mut u32) -> io::Result<OwnedFd> {
        match self.open_directory(path, OFlags::PATH) {
            // A whiteout is no directory but gives way to one.
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            other => return Ok(other?),
        }
        *made += 1;
        if *made > MAX_MADE {
            return Err(Errno::LOOP.into());
        }
        let above = path.parent().unwrap_or(Path::new(""));
        let directory = self.make(above, made)?;
        if let Some(Component::Normal(name)) = path.components().next_back() {
            let name = Path::new(name);
            match rustix::fs::mkdirat(&directory, name, Mode::from(IMPLIED_MODE)) {
                Ok(()) => self.implied.push(path.to_owned()),
                Err(Errno::EXIST) => self.make_through(&directory, path, made)?,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.open_directory(path, OFlags::PATH)?)
    }

    /// Makes what the link or whiteout at `path` stands for.
    fn make_through(&mut self, above: &OwnedFd, path: &Path, made: &mut u32) -> io::Result<()> {
        let name = Path::new(path.file_name().ok_or(Errno::NOENT)?);
        if is_whiteout(&rustix::fs::statat(above, name, AtFlags::SYMLINK_NOFOLLOW)?) {
            rustix::fs::unlinkat(above, name, AtFlags::empty())?;
            rustix::fs::mkdirat(above, name, Mode::from(IMPLIED_MODE))?;
            self.implied.push(path.to_owned());
            return self.make_opaque(path);
        }
        let target = match rustix::fs::readlinkat(above, name, Vec::new()) {
            Err(Errno::INVAL) => return Err(Errno::NOTDIR.into()),
            other => other?,
        };
        let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes())).to_owned();
        let above = path.parent().unwrap_or(Path::new(""));
        let target = above.join(target);
        let target = target.strip_prefix("/").unwrap_or(&target);
        self.make(target, made).map(drop)
    }

    /// Says that the directory at `path` hides what lower layers have there.
    pub(super) fn make_opaque(&self, path: &Path) -> io::Result<()> {
        let directory = self.open_directory(path, OFlags::RDONLY)?;
        let flags = rustix::fs::XattrFlags::empty();
        Ok(rustix::fs::fsetxattr(directory, OPAQUE, b"y", flags)?)
    }

    /// Takes away what is at `path`, whatever it is.
    pub(super) fn clear(&mut self, path: &Path) -> io::Result<()> {
        let name = Path::new(path.file_name().ok_or(Errno::BUSY)?).to_owned();
        let grave = self.buried.to_string();
        self.buried += 1;
        self.parent_of(path)?;
        let (_, parent) = self.parent.as_ref().expect("set by parent_of");
        match rustix::fs::unlinkat(parent, &name, AtFlags::empty()) {
            Err(Errno::ISDIR) => {}
            other => return Ok(other?),
        }
        rustix::fs::renameat(parent, &name, &self.graveyard, grave)?;
        // The directory may be the cached one or above it.
        self.parent = None;
        self.implied.retain(|implied| !implied.starts_with(path));
        Ok(())
    }

    /// Returns what is at `path`, without following a link there.
    pub(super) fn stat(&mut self, path: &Path) -> io::Result<Stat> {
        let name = Path::new(path.file_name().unwrap_or(".".as_ref())).to_owned();
        let parent = self.parent_of(path)?;
        Ok(rustix::fs::statat(
            parent,
            &name,
            AtFlags::SYMLINK_NOFOLLOW,
        )?)
    }
}

/// Returns whether overlayfs takes this for a whiteout.
pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Sets attributes on `name` in `parent`, which may be of any kind, without following it.
pub(super) fn set_attribute_at(
    parent: BorrowedFd<'_>,
    name: &Path,
    attribute: (&[u8], &[u8]),
) -> rustix::io::Result<()> {
    // There is no setxattrat before kernel 6.13; the descriptor's link in /proc
    // is resolved by the kernel, so nothing is looked up by path.
    let path = Path::new("/proc/self/fd")
        .join(parent.as_raw_fd().to_string())
        .join(name);
    rustix::fs::lsetxattr(
        path,
        attribute.0,
        attribute.1,
        rustix::fs::XattrFlags::empty(),
    )
}
