//! Files to an archive in tar's form, as Docker's has it: a directory comes with
//! what is below it, under the last name of its path.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use base::user_namespace::from_host;
use base::{IdMappings, IdRange};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use tar::{Builder, EntryType, Header};

use crate::changes::{is_mount_point, is_opaque, is_whiteout};
use crate::root::{Found, reopen};
use crate::{ArchiveError, file};

/// Directories below one another; each takes a descriptor while it is read.
pub const DEPTH_LIMIT: usize = 512;
/// Attributes that are kept, and how an archive calls them.
const CAPABILITY: &str = "security.capability";
const ATTRIBUTE_PREFIX: &str = "SCHILY.xattr.";
const ATTRIBUTE_LIMIT: usize = 4096;
/// Before the name of what is removed, and in place of it for all that was there.
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &str = ".wh..opq";
/// What GNU calls an entry that has the name of the next.
const LONG_NAME: &[u8] = b"././@LongLink";

/// Whether overlayfs's marks are files like others, or say what is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Files,
    /// OCI image specification, layer.md, "Whiteouts".
    Layer,
}

/// An archive being written.
pub struct Packer<W: Write> {
    builder: Builder<W>,
    form: Form,
    mappings: IdMappings,
    /// Files with further names, by device and number, and their first path.
    linked: HashMap<(u64, u64), PathBuf>,
}

impl<W: Write> std::fmt::Debug for Packer<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let linked = self.linked.len();
        f.debug_struct("Packer")
            .field("linked", &linked)
            .finish_non_exhaustive()
    }
}

impl<W: Write> Packer<W> {
    /// Begins an archive.
    pub fn new(out: W) -> Self {
        Self::of_form(out, Form::Files)
    }

    /// Begins an archive of a writable layer in the form of image layers: what was
    /// removed has a whiteout, and what a start made to mount on is left out.
    pub fn layer(out: W) -> Self {
        Self::of_form(out, Form::Layer)
    }

    fn of_form(out: W, form: Form) -> Self {
        Self {
            builder: Builder::new(out),
            form,
            mappings: IdMappings::default(),
            linked: HashMap::new(),
        }
    }

    /// Writes the owners that files have in a user namespace; those it has not
    /// stay the host's.
    #[must_use]
    pub fn seen_from(self, mappings: &IdMappings) -> Self {
        let mappings = mappings.clone();
        Self { mappings, ..self }
    }

    /// Writes what was found, and all below it, as `name`.
    ///
    /// # Errors
    /// When something cannot be read, or the receiver has gone.
    pub fn add(&mut self, found: &Found, name: &OsStr) -> Result<(), ArchiveError> {
        let path = PathBuf::from(name);
        self.entry(found.handle.as_fd(), &found.stat, &path, 0)
    }

    /// Writes the end of the archive.
    ///
    /// # Errors
    /// When the receiver has gone.
    pub fn finish(self) -> Result<W, ArchiveError> {
        self.builder.into_inner().map_err(ArchiveError::Write)
    }

    fn entry(
        &mut self,
        handle: BorrowedFd<'_>,
        stat: &Stat,
        path: &Path,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut header = header(stat, &self.mappings);
        if self.form == Form::Layer {
            if is_whiteout(stat) {
                return self.whiteout(path);
            }
            if kind.is_file() && stat.st_size == 0 && is_mount_point(&Path::new("/").join(path)) {
                return Ok(());
            }
        }
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let identity = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&identity) {
                header.set_entry_type(EntryType::Link);
                let first = first.clone();
                return self.append(header, path, Some(first.as_os_str()), io::empty());
            }
            self.linked.insert(identity, path.to_owned());
        }
        match kind {
            FileType::RegularFile => self.regular(handle, stat, path, header),
            FileType::Directory => self.directory(handle, path, header, depth),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(handle, "", Vec::new());
                let target = target.map_err(file("read", path))?;
                header.set_entry_type(EntryType::Symlink);
                let target = OsStr::from_bytes(target.as_bytes());
                self.append(header, path, Some(target), io::empty())
            }
            FileType::CharacterDevice => self.node(path, header, EntryType::Char, stat),
            FileType::BlockDevice => self.node(path, header, EntryType::Block, stat),
            FileType::Fifo => self.node(path, header, EntryType::Fifo, stat),
            // No archive has sockets.
            _ => Ok(()),
        }
    }

    /// Says that what has this path below is gone.
    fn whiteout(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let mut name = WHITEOUT.to_vec();
        name.extend(path.file_name().unwrap_or_default().as_bytes());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        for set in [
            Header::set_uid,
            Header::set_gid,
            Header::set_mtime,
            Header::set_size,
        ] {
            set(&mut header, 0);
        }
        let path = path.with_file_name(OsStr::from_bytes(&name));
        self.append(header, &path, None, io::empty())
    }

    fn regular(
        &mut self,
        handle: BorrowedFd<'_>,
        stat: &Stat,
        path: &Path,
        mut header: Header,
    ) -> Result<(), ArchiveError> {
        let content = reopen(handle, OFlags::empty());
        let content = File::from(content.map_err(file("open", path))?);
        let mut value = [0; ATTRIBUTE_LIMIT];
        if let Ok(length) = rustix::fs::fgetxattr(&content, CAPABILITY, &mut value[..]) {
            let name = format!("{ATTRIBUTE_PREFIX}{CAPABILITY}");
            let attributes = [(name.as_str(), &value[..length])];
            let written = self.builder.append_pax_extensions(attributes);
            written.map_err(ArchiveError::Write)?;
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        header.set_entry_type(EntryType::Regular);
        header.set_size(size);
        let content = Exactly {
            inner: content,
            left: size,
        };
        self.append(header, path, None, content)
    }

    fn directory(
        &mut self,
        handle: BorrowedFd<'_>,
        path: &Path,
        mut header: Header,
        depth: usize,
    ) -> Result<(), ArchiveError> {
        if depth == DEPTH_LIMIT {
            return Err(ArchiveError::Deep(path.to_owned()));
        }
        header.set_entry_type(EntryType::Directory);
        // With a slash, as tar has it.
        let with_slash = path.join("");
        // The root itself has no name where what is below has none before it.
        if !path.as_os_str().is_empty() {
            self.append(header, &with_slash, None, io::empty())?;
        }
        let opened = reopen(handle, OFlags::DIRECTORY).map_err(file("open", path))?;
        if self.form == Form::Layer && is_opaque(opened.as_fd()) {
            self.whiteout(&path.join(OPAQUE))?;
        }
        for name in names(opened.as_fd(), path)? {
            let inner = path.join(OsStr::from_bytes(&name));
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let entry = rustix::fs::openat(&opened, &name[..], flags, Mode::empty());
            // What has gone meanwhile is not in the archive.
            let Ok(entry) = entry else {
                continue;
            };
            let stat = rustix::fs::fstat(&entry).map_err(file("look at", &inner))?;
            self.entry(entry.as_fd(), &stat, &inner, depth + 1)?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        path: &Path,
        mut header: Header,
        kind: EntryType,
        stat: &Stat,
    ) -> Result<(), ArchiveError> {
        header.set_entry_type(kind);
        if kind != EntryType::Fifo {
            let (major, minor) = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
            header
                .set_device_major(major)
                .map_err(ArchiveError::Write)?;
            header
                .set_device_minor(minor)
                .map_err(ArchiveError::Write)?;
        }
        self.append(header, path, None, io::empty())
    }
}

impl<W: Write> Packer<W> {
    /// Appends an entry; a name that its header has no room for is in one before, as
    /// with GNU.
    fn append(
        &mut self,
        mut header: Header,
        path: &Path,
        link: Option<&OsStr>,
        content: impl Read,
    ) -> Result<(), ArchiveError> {
        // The library would leave out the dots and slashes that Docker has.
        let mut names = vec![(EntryType::GNULongName, path.as_os_str().as_bytes())];
        names.extend(link.map(|link| (EntryType::GNULongLink, link.as_bytes())));
        for (kind, name) in names {
            let old = header.as_old_mut();
            let field = match kind {
                EntryType::GNULongName => &mut old.name,
                _ => &mut old.linkname,
            };
            let count = name.len().min(field.len());
            field[..count].copy_from_slice(&name[..count]);
            if name.len() > count {
                self.append_long(kind, name)?;
            }
        }
        header.set_cksum();
        let written = self.builder.append(&header, content);
        written.map_err(ArchiveError::Write)
    }

    fn append_long(&mut self, kind: EntryType, name: &[u8]) -> Result<(), ArchiveError> {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..LONG_NAME.len()].copy_from_slice(LONG_NAME);
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        let content = [name, b"\0"].concat();
        let written = self.builder.append(&header, &content[..]);
        written.map_err(ArchiveError::Write)
    }
}

/// Returns the names in a directory, sorted, so that an archive comes out the same.
pub(crate) fn names(directory: BorrowedFd<'_>, path: &Path) -> Result<Vec<Vec<u8>>, ArchiveError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory).map_err(file("list", path))? {
        let entry = entry.map_err(file("list", path))?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn header(stat: &Stat, mappings: &IdMappings) -> Header {
    let inside = |ranges: &[IdRange], id| u64::from(from_host(ranges, id).unwrap_or(id));
    let mut header = Header::new_gnu();
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(inside(&mappings.uids, stat.st_uid));
    header.set_gid(inside(&mappings.gids, stat.st_gid));
    // Before 1970 there is no time in a header of this form.
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(0);
    header
}

/// A file as long as its header says: one that grows is cut, one that shrinks goes on
/// with zeros, so that the archive stays one.
struct Exactly {
    inner: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX);
        let wanted = wanted.min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = match self.inner.read(&mut buffer[..wanted])? {
            0 => {
                buffer[..wanted].fill(0);
                wanted
            }
            count => count,
        };
        self.left -= count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use base::file::{FileMode, replace};

    use super::*;
    use crate::root::Root;

    fn packed(root: &Root, path: &str) -> Vec<(String, char, String)> {
        let found = root.find(Path::new(path)).unwrap();
        let mut packer = Packer::new(Vec::new());
        packer.add(&found, &found.name.clone()).unwrap();
        let archive = packer.finish().unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let kind = char::from(entry.header().entry_type().as_byte());
            let mut content = String::new();
            match entry.link_name().unwrap() {
                Some(link) => content = link.to_str().unwrap().to_owned(),
                None => drop(entry.read_to_string(&mut content).unwrap()),
            }
            (path, kind, content)
        });
        entries.collect()
    }

    #[test]
    fn a_directory_comes_under_its_last_name() {
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path().join("srv/data");
        std::fs::create_dir_all(top.join("sub")).unwrap();
        replace(&top.join("a"), b"one", FileMode::Public).unwrap();
        std::fs::hard_link(top.join("a"), top.join("b")).unwrap();
        symlink("/etc/passwd", top.join("link")).unwrap();
        nix::unistd::mkfifo(&top.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let entry = |path: &str, kind, content: &str| (path.to_owned(), kind, content.to_owned());
        let below = |name: &str| {
            let path = |rest: &str| format!("{name}/{rest}");
            vec![
                entry(&path(""), '5', ""),
                entry(&path("a"), '0', "one"),
                entry(&path("b"), '1', &path("a")),
                entry(&path("link"), '2', "/etc/passwd"),
                entry(&path("pipe"), '6', ""),
                entry(&path("sub/"), '5', ""),
            ]
        };
        assert_eq!(packed(&root, "/srv/data"), below("data"));
        assert_eq!(packed(&root, "/srv/data/"), below("data"));
        assert_eq!(packed(&root, "/srv/data/."), below("."));
        assert_eq!(packed(&root, "/srv/data/a"), [entry("a", '0', "one")]);
        assert_eq!(
            packed(&root, "/srv/data/link"),
            [entry("link", '2', "/etc/passwd")]
        );
    }

    #[test]
    fn a_layer_says_what_is_removed() {
        use rustix::fs::{CWD, XattrFlags};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("etc")).unwrap();
        std::fs::create_dir_all(path("data")).unwrap();
        replace(&path("etc/hosts"), b"", FileMode::Public).unwrap();
        replace(&path("etc/new"), b"", FileMode::Public).unwrap();
        rustix::fs::setxattr(
            path("data"),
            "trusted.overlay.opaque",
            b"y",
            XattrFlags::empty(),
        )
        .unwrap();
        let (kind, mode) = (FileType::CharacterDevice, Mode::empty());
        rustix::fs::mknodat(CWD, path("etc/gone"), kind, mode, 0).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let mut packer = Packer::layer(Vec::new());
        packer
            .add(&root.find(Path::new("/")).unwrap(), "".as_ref())
            .unwrap();
        let archive = packer.finish().unwrap();
        let mut archive = tar::Archive::new(&archive[..]);
        let names = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8(entry.unwrap().path_bytes().into_owned()).unwrap());
        let names: Vec<String> = names.collect();
        let expected = [
            "data/",
            "data/.wh..wh..opq",
            "etc/",
            "etc/.wh.gone",
            "etc/new",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn long_names_and_the_root_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let long = "x".repeat(150);
        replace(&folder.path().join(&long), b"", FileMode::Public).unwrap();
        symlink("y".repeat(200), folder.path().join("l")).unwrap();
        let root = Root::open(folder.path()).unwrap();
        let entry = |path: String, kind, content: String| (path, kind, content);
        let expected = [
            entry("/".to_owned(), '5', String::new()),
            entry("/l".to_owned(), '2', "y".repeat(200)),
            entry(format!("/{long}"), '0', String::new()),
        ];
        assert_eq!(packed(&root, "/"), expected);
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_keeps_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"abc", FileMode::Public).unwrap();
        let mut content = Vec::new();
        let inner = File::open(&path).unwrap();
        Exactly { inner, left: 5 }
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content, b"abc\0\0");
    }
}
