//! A container's root, by descriptor, and what is at a path of it.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use base::IdMappings;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::{ArchiveError, file};

/// Links lead within the root, and what procfs calls links leads nowhere.
const WITHIN: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
/// The kernel asks to try again where a component was moved meanwhile.
const ATTEMPTS: usize = 32;

/// The root of a container's files.
#[derive(Debug)]
pub struct Root {
    handle: OwnedFd,
    mappings: IdMappings,
}

/// What is at a path: the last name is not followed, unless the path ends in a slash
/// or a dot.
#[derive(Debug)]
pub struct Found {
    /// Opened as a path only.
    pub handle: OwnedFd,
    pub stat: Stat,
    /// The path's last name, `/` for the root, `.` where that is what it ends in.
    pub name: OsString,
    /// Where a link leads within the root, if that is there, else what it says.
    pub link: Option<PathBuf>,
}

impl Found {
    /// Returns what kind of file it is.
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

impl Root {
    /// Opens a directory as the root.
    ///
    /// # Errors
    /// When it is none.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty());
        let handle = handle.map_err(file("open", path))?;
        let mappings = IdMappings::default();
        Ok(Self { handle, mappings })
    }

    /// Says that the files are those of a user namespace: archives name the
    /// owners they have in there.
    #[must_use]
    pub fn seen_from(self, mappings: IdMappings) -> Self {
        Self { mappings, ..self }
    }

    /// Returns how the owners of the files are those in archives.
    pub fn mappings(&self) -> &IdMappings {
        &self.mappings
    }

    /// Opens what is at a path, following links within the root.
    ///
    /// # Errors
    /// `NotFound` where nothing is, or a link of the way leads nowhere.
    pub fn open_path(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, ArchiveError> {
        self.open_within(path, flags)
            .map_err(|error| not_found(path, error))
    }

    pub(crate) fn open_within(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = match path.as_os_str().is_empty() {
            true => Path::new("."),
            false => path,
        };
        for _ in 0..ATTEMPTS {
            let flags = flags | OFlags::CLOEXEC;
            match rustix::fs::openat2(&self.handle, path, flags, Mode::empty(), WITHIN) {
                Err(Errno::AGAIN) => {}
                opened => return opened,
            }
        }
        Err(Errno::AGAIN)
    }

    /// Returns what is at a path.
    ///
    /// # Errors
    /// `NotFound` where nothing is.
    pub fn find(&self, path: &Path) -> Result<Found, ArchiveError> {
        let (parent, name) = split(path);
        let Some(last) = &name.to_open else {
            // As a directory: a slash or a dot after a file is an error.
            let handle = self.open_path(path, OFlags::PATH | OFlags::DIRECTORY)?;
            let stat = rustix::fs::fstat(&handle).map_err(file("look at", path))?;
            return Ok(Found {
                handle,
                stat,
                name: name.shown,
                link: None,
            });
        };
        let parent = self.open_path(&parent, OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&parent, last, flags, Mode::empty());
        let handle = handle.map_err(|error| not_found(path, error))?;
        let stat = rustix::fs::fstat(&handle).map_err(file("look at", path))?;
        let link = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Some(self.target(path, parent.as_fd(), handle.as_fd())?),
            _ => None,
        };
        Ok(Found {
            handle,
            stat,
            name: name.shown,
            link,
        })
    }

    fn target(
        &self,
        path: &Path,
        parent: BorrowedFd<'_>,
        link: BorrowedFd<'_>,
    ) -> Result<PathBuf, ArchiveError> {
        let text = rustix::fs::readlinkat(link, "", Vec::new()).map_err(file("read", path))?;
        let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
        if let Ok(target) = self.open_within(path, OFlags::PATH) {
            return self.path_of(target.as_fd());
        }
        Ok(match text.is_absolute() {
            true => text,
            false => self.path_of(parent)?.join(text),
        })
    }

    /// Returns the path of an open file within the root.
    ///
    /// # Errors
    /// When procfs does not say.
    pub fn path_of(&self, handle: BorrowedFd<'_>) -> Result<PathBuf, ArchiveError> {
        let name = |handle: BorrowedFd<'_>| {
            let link = format!("/proc/self/fd/{}", handle.as_raw_fd());
            std::fs::read_link(&link).map_err(file("read", link))
        };
        let (own, path) = (name(self.handle.as_fd())?, name(handle)?);
        let within = path.strip_prefix(&own).unwrap_or(&path);
        Ok(Path::new("/").join(within))
    }

    /// Returns the descriptor of a directory; missing ones are made.
    ///
    /// # Errors
    /// When one cannot be made, or something else is in its place.
    pub fn make_directories(&self, path: &Path) -> Result<OwnedFd, ArchiveError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.open_within(path, flags) {
            Err(Errno::NOENT) => {}
            opened => return opened.map_err(file("open", path)),
        }
        let (parent, name) = (path.parent(), path.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(ArchiveError::NotFound(path.to_owned()));
        };
        let parent = self.make_directories(parent)?;
        match rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => {}
            made => made.map_err(file("make", path))?,
        }
        self.open_path(path, flags)
    }
}

/// The last name of a path.
struct Name {
    /// As an archive of it calls it.
    shown: OsString,
    /// Absent where the whole path is to be followed.
    to_open: Option<OsString>,
}

fn split(path: &Path) -> (PathBuf, Name) {
    let bytes = path.as_os_str().as_bytes();
    let ends_in_slash = bytes.ends_with(b"/");
    let ends_in_dot = bytes.ends_with(b"/.") || bytes == b".";
    let last = path.components().next_back();
    let shown = match last {
        _ if ends_in_dot => OsString::from("."),
        Some(Component::Normal(name)) => name.to_owned(),
        _ => OsString::from("/"),
    };
    match last {
        Some(Component::Normal(name)) if !ends_in_slash && !ends_in_dot => {
            let parent = path.parent().unwrap_or(Path::new("/")).to_owned();
            let to_open = Some(name.to_owned());
            (parent, Name { shown, to_open })
        }
        _ => {
            let to_open = None;
            (path.to_owned(), Name { shown, to_open })
        }
    }
}

/// Says that nothing is there, if that is what an error says.
pub(crate) fn not_found(path: &Path, error: Errno) -> ArchiveError {
    match error {
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP => ArchiveError::NotFound(path.to_owned()),
        error => file("open", path)(error),
    }
}

/// Opens again, for reading, what was opened as a path and is a file or a directory.
pub(crate) fn reopen(handle: BorrowedFd<'_>, flags: OFlags) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Returns what is at a name of a directory; links are not followed.
pub(crate) fn stat_at(directory: impl AsFd, name: &std::ffi::OsStr) -> Result<Stat, Errno> {
    rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn place() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("run/app")).unwrap();
        std::fs::create_dir(folder.path().join("var")).unwrap();
        symlink("/run", folder.path().join("var/run")).unwrap();
        symlink("../../../../../../etc", folder.path().join("out")).unwrap();
        symlink("app", folder.path().join("run/link")).unwrap();
        symlink("nowhere", folder.path().join("run/broken")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        (folder, root)
    }

    #[test]
    fn absolute_links_lead_within_the_root() {
        let (_folder, root) = place();
        let found = root.find(Path::new("/var/run/app")).unwrap();
        assert_eq!(found.kind(), FileType::Directory);
        assert_eq!(found.name, "app");
        let link = root.find(Path::new("/var/run")).unwrap();
        assert_eq!(link.kind(), FileType::Symlink);
        assert_eq!(link.link, Some("/run".into()));
        let followed = root.find(Path::new("/var/run/")).unwrap();
        assert_eq!(followed.kind(), FileType::Directory);
    }

    #[test]
    fn no_path_leads_out() {
        let (_folder, root) = place();
        for path in [
            "/out/passwd",
            "/../../etc/passwd",
            "/nope",
            "/var/run/app/x/y",
        ] {
            let found = root.find(Path::new(path));
            assert!(matches!(found, Err(ArchiveError::NotFound(_))), "{path}");
        }
        assert_eq!(
            root.find(Path::new("/../..")).unwrap().stat.st_ino,
            root.find(Path::new("/")).unwrap().stat.st_ino
        );
    }

    #[test]
    fn links_say_where_they_lead() {
        let (_folder, root) = place();
        let target = |path: &str| root.find(Path::new(path)).unwrap().link;
        assert_eq!(target("/run/link"), Some("/run/app".into()));
        assert_eq!(target("/run/broken"), Some("/run/nowhere".into()));
    }

    #[test]
    fn missing_directories_are_made_within() {
        let (folder, root) = place();
        root.make_directories(Path::new("/var/run/new/deep"))
            .unwrap();
        assert!(folder.path().join("run/new/deep").is_dir());
        std::fs::File::create(folder.path().join("run/file")).unwrap();
        assert!(root.make_directories(Path::new("/run/file/x")).is_err());
    }
}
