//! What a container has changed: its writable layer beside the layers below.
//!
//! The writable layer is overlayfs's (kernel, filesystems/overlayfs): what was
//! removed is a character device 0:0, and a directory that hides those below it has
//! the attribute `trusted.overlay.opaque`.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::pack::{DEPTH_LIMIT, names};
use crate::root::stat_at;
use crate::{ArchiveError, file};

const OPAQUE: &str = "trusted.overlay.opaque";
/// Where every start mounts something. What is made to mount it on is no change of
/// the container's; Docker has a layer of its own for these.
const MOUNT_POINTS: [&str; 11] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// How a path differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Modified,
    Added,
    Deleted,
}

/// A path that differs from the image's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute.
    pub path: PathBuf,
    pub kind: ChangeKind,
}

/// Returns what the writable layer `upper` changes of the layers below, of which the
/// first is the topmost.
///
/// # Errors
/// When a directory cannot be read.
pub fn changes(upper: &Path, lowers: &[PathBuf]) -> Result<Vec<Change>, ArchiveError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = match rustix::fs::open(upper, flags, Mode::empty()) {
        // Never started.
        Err(Errno::NOENT) => return Ok(Vec::new()),
        top => top.map_err(file("open", upper))?,
    };
    let lowers = lowers
        .iter()
        .map(|path| {
            let opened = rustix::fs::open(path, flags, Mode::empty());
            opened.map(Some).map_err(file("open", path))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut walk = Walk { found: Vec::new() };
    walk.directory(top.as_fd(), Path::new("/"), &lowers, 0)?;
    Ok(walk.found)
}

struct Walk {
    found: Vec<Change>,
}

impl Walk {
    /// `lowers` are the directories of the same path below, which are seen together.
    fn directory(
        &mut self,
        upper: BorrowedFd<'_>,
        path: &Path,
        lowers: &[Option<OwnedFd>],
        depth: usize,
    ) -> Result<(), ArchiveError> {
        if depth == DEPTH_LIMIT {
            return Err(ArchiveError::Deep(path.to_owned()));
        }
        for name in names(upper, path)? {
            let name = OsStr::from_bytes(&name);
            let inner = path.join(name);
            let stat = stat_at(upper, name).map_err(file("look at", &inner))?;
            let below = below(lowers, name).map_err(file("look at", &inner))?;
            if is_whiteout(&stat) {
                // One of what is not there, made and removed, is no change.
                if below.is_there {
                    self.add(inner, ChangeKind::Deleted);
                }
                continue;
            }
            let kind = match below.is_there {
                true => ChangeKind::Modified,
                false => ChangeKind::Added,
            };
            let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
            let is_made = kind == ChangeKind::Added && (is_directory || stat.st_size == 0);
            if !(is_made && is_mount_point(&inner)) {
                self.add(inner.clone(), kind);
            }
            let begin = self.found.len();
            if is_directory {
                let directory = open_directory(upper, name).map_err(file("open", &inner))?;
                let hides = is_opaque(directory.as_fd());
                if hides {
                    self.hidden(directory.as_fd(), &inner, &below.directories)?;
                }
                let lowers = if hides { Vec::new() } else { below.directories };
                self.directory(directory.as_fd(), &inner, &lowers, depth + 1)?;
                let is_same = below.stat.is_some_and(|below| is_same(&stat, &below));
                if self.found.len() == begin && is_same && !hides {
                    // It is there because of a mount point below.
                    self.found.pop();
                }
            }
        }
        Ok(())
    }

    /// What an opaque directory hides is gone, but for what is in it again.
    fn hidden(
        &mut self,
        upper: BorrowedFd<'_>,
        path: &Path,
        lowers: &[Option<OwnedFd>],
    ) -> Result<(), ArchiveError> {
        let mut gone = Vec::new();
        for lower in lowers.iter().flatten() {
            gone.extend(names(lower.as_fd(), path)?);
        }
        gone.sort();
        gone.dedup();
        for name in gone {
            let name = OsStr::from_bytes(&name);
            let inner = path.join(name);
            let is_there = below(lowers, name)
                .map_err(file("look at", &inner))?
                .is_there;
            if is_there && matches!(stat_at(upper, name), Err(Errno::NOENT)) {
                self.add(inner, ChangeKind::Deleted);
            }
        }
        Ok(())
    }

    fn add(&mut self, path: PathBuf, kind: ChangeKind) {
        self.found.push(Change { path, kind });
    }
}

/// What the layers below have of a name.
struct Below {
    is_there: bool,
    /// Of the topmost.
    stat: Option<Stat>,
    /// Where it is a directory: those of all layers that are seen together.
    directories: Vec<Option<OwnedFd>>,
}

fn below(lowers: &[Option<OwnedFd>], name: &OsStr) -> Result<Below, Errno> {
    let mut found = Below {
        is_there: false,
        stat: None,
        directories: Vec::new(),
    };
    for lower in lowers.iter().flatten() {
        let stat = match stat_at(lower, name) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        if is_whiteout(&stat) {
            break;
        }
        let is_first = !found.is_there;
        found.is_there = true;
        found.stat.get_or_insert(stat);
        if !FileType::from_raw_mode(stat.st_mode).is_dir() {
            // A file ends what is below it, and above it is not merged with.
            break;
        }
        let directory = open_directory(lower.as_fd(), name)?;
        let hides = is_opaque(directory.as_fd());
        if is_first || !found.directories.is_empty() {
            found.directories.push(Some(directory));
        }
        if hides {
            break;
        }
    }
    Ok(found)
}

fn is_same(one: &Stat, other: &Stat) -> bool {
    let of = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid);
    of(one) == of(other)
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

pub(crate) fn is_mount_point(path: &Path) -> bool {
    MOUNT_POINTS.iter().any(|point| path == Path::new(point))
}

pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn is_opaque(directory: BorrowedFd<'_>) -> bool {
    let mut value = [0; 8];
    let length = rustix::fs::fgetxattr(directory, OPAQUE, &mut value[..]);
    length.is_ok_and(|length| &value[..length] == b"y")
}

#[cfg(test)]
mod tests {
    use base::file::{FileMode, replace};
    use rustix::fs::{CWD, XattrFlags};

    use super::*;

    struct Layers(tempfile::TempDir);

    impl Layers {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str) {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            replace(&path, b"", FileMode::Public).unwrap();
        }

        fn whiteout(&self, name: &str) {
            let path = self.path(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
            rustix::fs::mknodat(CWD, &path, kind, mode, 0).unwrap();
        }

        fn opaque(&self, name: &str) {
            let path = self.path(name);
            std::fs::create_dir_all(&path).unwrap();
            rustix::fs::setxattr(&path, OPAQUE, b"y", XattrFlags::empty()).unwrap();
        }

        fn changes(&self) -> Vec<String> {
            let lowers = [self.path("two"), self.path("one")];
            let changes = changes(&self.path("upper"), &lowers).unwrap();
            let line = |change: Change| {
                let kind = match change.kind {
                    ChangeKind::Modified => 'C',
                    ChangeKind::Added => 'A',
                    ChangeKind::Deleted => 'D',
                };
                format!("{kind} {}", change.path.display())
            };
            changes.into_iter().map(line).collect()
        }
    }

    #[test]
    fn changes_are_told_as_by_docker() {
        let layers = Layers::new();
        layers.file("one/etc/base");
        layers.file("one/etc/gone");
        layers.file("one/lib/a");
        layers.file("two/etc/more");
        layers.whiteout("two/etc/gone");
        layers.file("upper/etc/base");
        layers.file("upper/etc/gone");
        layers.file("upper/new/x");
        layers.whiteout("upper/etc/more");
        layers.whiteout("upper/etc/never");
        layers.whiteout("upper/lib/a");
        let expected = [
            "C /etc",
            "C /etc/base",
            "A /etc/gone",
            "D /etc/more",
            "C /lib",
            "D /lib/a",
            "A /new",
            "A /new/x",
        ];
        assert_eq!(layers.changes(), expected);
    }

    #[test]
    fn an_opaque_directory_hides_what_is_below() {
        let layers = Layers::new();
        layers.file("one/data/a");
        layers.file("two/data/b");
        layers.opaque("upper/data");
        layers.file("upper/data/b");
        let expected = ["C /data", "D /data/a", "A /data/b"];
        assert_eq!(layers.changes(), expected);
    }

    #[test]
    fn mount_points_of_a_start_are_no_changes() {
        let layers = Layers::new();
        layers.file("one/etc/passwd");
        layers.file("two/x");
        layers.file("upper/etc/hosts");
        layers.file("upper/etc/resolv.conf");
        std::fs::create_dir_all(layers.path("upper/dev/pts")).unwrap();
        std::fs::create_dir_all(layers.path("upper/proc")).unwrap();
        assert_eq!(layers.changes(), [""; 0]);
        layers.file("upper/dev/own");
        layers.file("upper/etc/own");
        assert_eq!(layers.changes(), ["A /dev/own", "C /etc", "A /etc/own"]);
    }

    #[test]
    fn a_container_that_never_ran_has_changed_nothing() {
        let layers = Layers::new();
        layers.file("one/a");
        layers.file("two/b");
        assert_eq!(layers.changes(), [""; 0]);
    }
}
