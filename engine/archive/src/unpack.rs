//! An archive to files below a directory of a container.
//!
//! An entry's directory is resolved within the container's root, links included, as
//! the container itself would; its last name is never followed, and is made anew.
//! Metadata of directories is set last, when nothing is written into them any more.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use base::user_namespace::to_host;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

use crate::pack::{DEPTH_LIMIT, names};
use crate::root::{Root, not_found, stat_at};
use crate::{ArchiveError, file};

const ATTRIBUTE_PREFIX: &str = "SCHILY.xattr.";
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BZIP2: &[u8] = b"BZh";
const XZ: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z'];

/// How entries become files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Refuses a file in place of a directory, and a directory in place of a file.
    pub keep_kinds: bool,
    /// User and group of everything, in place of the archive's.
    pub owner: Option<(u32, u32)>,
    /// What the first name of every path is called instead; an empty one leaves it out.
    pub rename: Option<OsString>,
}

/// Unpacks an archive, plain or compressed by gzip or zstd, into the directory at
/// `path`.
///
/// # Errors
/// `NotFound` or `NotADirectory` for the path; the first entry that cannot be written
/// or read, those before it being written then.
pub fn unpack(
    root: &Root,
    path: &Path,
    archive: impl Read,
    options: UnpackOptions,
) -> Result<(), ArchiveError> {
    let top = root.open_path(path, OFlags::PATH)?;
    let stat = rustix::fs::fstat(&top).map_err(file("look at", path))?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(ArchiveError::NotADirectory);
    }
    let mut unpacker = Unpacker {
        root,
        top: root.path_of(top.as_fd())?,
        options,
        directories: BTreeMap::new(),
    };
    let mut archive = Archive::new(decompressed(archive)?);
    for entry in archive.entries().map_err(ArchiveError::Read)? {
        unpacker.entry(&mut entry.map_err(ArchiveError::Read)?)?;
    }
    unpacker.finish()
}

/// Returns a reader of the plain archive, by what its first bytes are.
fn decompressed<'a>(archive: impl Read + 'a) -> Result<Box<dyn Read + 'a>, ArchiveError> {
    let mut archive = BufReader::new(archive);
    let begin = archive.fill_buf().map_err(ArchiveError::Read)?;
    if begin.starts_with(BZIP2) {
        return Err(ArchiveError::Compression("bzip2"));
    }
    if begin.starts_with(XZ) {
        return Err(ArchiveError::Compression("xz"));
    }
    if begin.starts_with(GZIP) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(archive)));
    }
    if begin.starts_with(ZSTD) {
        let decoder = zstd::Decoder::with_buffer(archive).map_err(ArchiveError::Read)?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(archive))
}

struct Unpacker<'a> {
    root: &'a Root,
    /// Within the root, without links.
    top: PathBuf,
    options: UnpackOptions,
    /// By path within the root; set when all is written.
    directories: BTreeMap<PathBuf, Metadata>,
}

#[derive(Debug)]
struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
}

impl Unpacker<'_> {
    /// Returns the owner on the host of one in the container.
    fn on_host(&self, uid: u32, gid: u32) -> Result<(u32, u32), ArchiveError> {
        let mappings = self.root.mappings();
        if mappings.uids.is_empty() {
            return Ok((uid, gid));
        }
        let host = |ranges, id| {
            let unmapped = || format!("container ID {id} cannot be mapped to a host ID");
            let unmapped = || ArchiveError::Owner(unmapped());
            to_host(ranges, id).ok_or_else(unmapped)
        };
        Ok((host(&mappings.uids, uid)?, host(&mappings.gids, gid)?))
    }

    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(());
        }
        let path = self.clean(&entry.path_bytes())?;
        let metadata = self.metadata(entry)?;
        let (Some(name), parent) = (path.file_name(), path.parent().unwrap_or(Path::new("")))
        else {
            // The directory itself.
            self.directories.insert(self.top.clone(), metadata);
            return Ok(());
        };
        let parent_path = self.top.join(parent);
        let parent = self.root.make_directories(&parent_path)?;
        let place = Place {
            parent: parent.as_fd(),
            name,
            path: &path,
        };
        if self.make_room(&place, kind)? == Room::IsThere {
            let full = parent_path.join(name);
            self.directories.insert(full, metadata);
            return Ok(());
        }
        if kind == EntryType::Directory {
            let mode = Mode::from_raw_mode(0o700);
            rustix::fs::mkdirat(place.parent, name, mode).map_err(file("make", &path))?;
            self.directories.insert(parent_path.join(name), metadata);
            return Ok(());
        }
        self.make(&place, entry, &metadata)
    }

    /// Makes anything but a directory.
    fn make<R: Read>(
        &self,
        place: &Place<'_>,
        entry: &mut Entry<'_, R>,
        metadata: &Metadata,
    ) -> Result<(), ArchiveError> {
        let (name, path) = (place.name, place.path);
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                write_file(place, entry, metadata)
            }
            EntryType::Link => self.hard_link(place, entry),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                rustix::fs::symlinkat(&target[..], place.parent, name)
                    .map_err(file("link", path))?;
                settle(place, metadata, AtFlags::SYMLINK_NOFOLLOW)
            }
            kind @ (EntryType::Char | EntryType::Block | EntryType::Fifo) => {
                make_node(place, entry, kind)?;
                settle(place, metadata, AtFlags::SYMLINK_NOFOLLOW)?;
                let mode = Mode::from_raw_mode(metadata.mode);
                rustix::fs::chmodat(place.parent, name, mode, AtFlags::empty())
                    .map_err(file("set the mode of", path))
            }
            other => Err(ArchiveError::Kind {
                kind: char::from(other.as_byte()),
                path: path.to_owned(),
            }),
        }
    }

    /// Returns an entry's path as it is to be.
    fn clean(&self, bytes: &[u8]) -> Result<PathBuf, ArchiveError> {
        let path = clean(bytes)?;
        let Some(name) = &self.options.rename else {
            return Ok(path);
        };
        let rest: PathBuf = path.components().skip(1).collect();
        Ok(match name.is_empty() {
            true => rest,
            false => Path::new(name).join(rest),
        })
    }

    fn metadata<R: Read>(&self, entry: &Entry<'_, R>) -> Result<Metadata, ArchiveError> {
        let header = entry.header();
        let id = |field: [u8; 8], id: io::Result<u64>| {
            // One that says nothing is root.
            let is_blank = field.iter().all(|byte| matches!(byte, 0 | b' '));
            let id = if is_blank { Ok(0) } else { id };
            let id = id.map_err(ArchiveError::Read)?;
            let invalid = || io::Error::from(io::ErrorKind::InvalidData);
            // The largest is no id.
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| ArchiveError::Read(invalid()))
        };
        let (uid, gid) = match self.options.owner {
            Some(owner) => owner,
            None => {
                let fields = header.as_old();
                (id(fields.uid, header.uid())?, id(fields.gid, header.gid())?)
            }
        };
        let (uid, gid) = self.on_host(uid, gid)?;
        let mtime = header.mtime().map_err(ArchiveError::Read)?;
        Ok(Metadata {
            mode: header.mode().map_err(ArchiveError::Read)? & 0o7777,
            uid,
            gid,
            mtime: i64::try_from(mtime).unwrap_or(i64::MAX),
        })
    }

    /// Removes what an entry replaces.
    fn make_room(&self, place: &Place<'_>, kind: EntryType) -> Result<Room, ArchiveError> {
        let stat = match stat_at(place.parent, place.name) {
            Err(Errno::NOENT) => return Ok(Room::Free),
            stat => stat.map_err(file("look at", place.path))?,
        };
        let is_directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        match (is_directory, kind == EntryType::Directory) {
            (true, true) => return Ok(Room::IsThere),
            (true, false) if self.options.keep_kinds => {
                return Err(ArchiveError::OverDirectory(place.path.to_owned()));
            }
            (false, true) if self.options.keep_kinds => {
                return Err(ArchiveError::OverFile(place.path.to_owned()));
            }
            (true, false) => remove_directory(place.parent, place.name, place.path, 0)?,
            (false, _) => rustix::fs::unlinkat(place.parent, place.name, AtFlags::empty())
                .map_err(file("remove", place.path))?,
        }
        Ok(Room::Free)
    }

    fn hard_link<R: Read>(
        &self,
        place: &Place<'_>,
        entry: &Entry<'_, R>,
    ) -> Result<(), ArchiveError> {
        let target = self.clean(&entry.link_name_bytes().unwrap_or_default())?;
        let Some(name) = target.file_name() else {
            return Err(ArchiveError::Path(target));
        };
        let parent = self.top.join(target.parent().unwrap_or(Path::new("")));
        let parent = self
            .root
            .open_path(&parent, OFlags::PATH | OFlags::DIRECTORY)?;
        rustix::fs::linkat(&parent, name, place.parent, place.name, AtFlags::empty())
            .map_err(|error| not_found(&target, error))
    }

    fn finish(self) -> Result<(), ArchiveError> {
        for (path, metadata) in self.directories.iter().rev() {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            // Replaced by a later entry.
            let Ok(directory) = self.root.open_within(path, flags) else {
                continue;
            };
            let directory = crate::root::reopen(directory.as_fd(), OFlags::DIRECTORY)
                .map_err(file("open", path))?;
            settle_open(&directory, metadata, path)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// A directory, which stays.
    IsThere,
}

/// Where an entry goes.
struct Place<'a> {
    parent: BorrowedFd<'a>,
    name: &'a OsStr,
    /// As the archive has it, for messages.
    path: &'a Path,
}

/// Returns an entry's path without what leads nowhere; what would lead up is refused.
fn clean(bytes: &[u8]) -> Result<PathBuf, ArchiveError> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(ArchiveError::Path(path.to_owned()));
            }
        }
    }
    Ok(clean)
}

fn write_file<R: Read>(
    place: &Place<'_>,
    entry: &mut Entry<'_, R>,
    metadata: &Metadata,
) -> Result<(), ArchiveError> {
    let attributes = attributes(entry)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o600);
    let made = rustix::fs::openat(place.parent, place.name, flags, mode);
    let made: OwnedFd = made.map_err(file("make", place.path))?;
    let mut made = File::from(made);
    copy(entry, &mut made, place.path)?;
    let made = OwnedFd::from(made);
    settle_open(&made, metadata, place.path)?;
    // After the owner: a change of that takes capabilities away.
    for (name, value) in attributes {
        rustix::fs::fsetxattr(&made, &name, &value, rustix::fs::XattrFlags::empty())
            .map_err(file("set an attribute of", place.path))?;
    }
    Ok(())
}

/// Copies, so that it is known which side failed.
fn copy(from: &mut impl Read, to: &mut File, path: &Path) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count.map_err(ArchiveError::Read)?,
        };
        if count == 0 {
            return Ok(());
        }
        io::Write::write_all(to, &buffer[..count]).map_err(file("write", path))?;
    }
}

/// Returns capabilities and users' attributes; the others are the host's business.
fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<(OsString, Vec<u8>)>, ArchiveError> {
    let Some(extensions) = entry.pax_extensions().map_err(ArchiveError::Read)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for extension in extensions {
        let extension = extension.map_err(ArchiveError::Read)?;
        let key = extension.key_bytes();
        let Some(name) = key.strip_prefix(ATTRIBUTE_PREFIX.as_bytes()) else {
            continue;
        };
        if name == b"security.capability" || name.starts_with(b"user.") {
            let name = OsStr::from_bytes(name).to_owned();
            found.push((name, extension.value_bytes().to_owned()));
        }
    }
    Ok(found)
}

fn make_node<R: Read>(
    place: &Place<'_>,
    entry: &Entry<'_, R>,
    kind: EntryType,
) -> Result<(), ArchiveError> {
    let number = |number: io::Result<Option<u32>>| {
        let number = number.map_err(ArchiveError::Read)?;
        Ok::<_, ArchiveError>(number.unwrap_or(0))
    };
    let (kind, device) = match kind {
        EntryType::Fifo => (FileType::Fifo, 0),
        kind => {
            let header = entry.header();
            let device = rustix::fs::makedev(
                number(header.device_major())?,
                number(header.device_minor())?,
            );
            match kind {
                EntryType::Char => (FileType::CharacterDevice, device),
                _ => (FileType::BlockDevice, device),
            }
        }
    };
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(place.parent, place.name, kind, mode, device)
        .map_err(file("make", place.path))
}

/// Sets owner and time of what cannot be opened.
fn settle(place: &Place<'_>, metadata: &Metadata, flags: AtFlags) -> Result<(), ArchiveError> {
    let owner = (
        Some(Uid::from_raw(metadata.uid)),
        Some(Gid::from_raw(metadata.gid)),
    );
    rustix::fs::chownat(place.parent, place.name, owner.0, owner.1, flags)
        .map_err(file("set the owner of", place.path))?;
    rustix::fs::utimensat(place.parent, place.name, &times(metadata), flags)
        .map_err(file("set the time of", place.path))
}

fn settle_open(handle: &OwnedFd, metadata: &Metadata, path: &Path) -> Result<(), ArchiveError> {
    let owner = (
        Some(Uid::from_raw(metadata.uid)),
        Some(Gid::from_raw(metadata.gid)),
    );
    rustix::fs::fchown(handle, owner.0, owner.1).map_err(file("set the owner of", path))?;
    rustix::fs::fchmod(handle, Mode::from_raw_mode(metadata.mode))
        .map_err(file("set the mode of", path))?;
    rustix::fs::futimens(handle, &times(metadata)).map_err(file("set the time of", path))
}

fn times(metadata: &Metadata) -> Timestamps {
    let time = Timespec {
        tv_sec: metadata.mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// Removes a directory with what is in it, by descriptor.
fn remove_directory(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    path: &Path,
    depth: usize,
) -> Result<(), ArchiveError> {
    if depth == DEPTH_LIMIT {
        return Err(ArchiveError::Deep(path.to_owned()));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(parent, name, flags, Mode::empty());
    let directory = directory.map_err(file("open", path))?;
    for inner in names(directory.as_fd(), path)? {
        let (inner, below) = (
            OsStr::from_bytes(&inner),
            path.join(OsStr::from_bytes(&inner)),
        );
        match rustix::fs::unlinkat(&directory, inner, AtFlags::empty()) {
            Err(Errno::ISDIR) => remove_directory(directory.as_fd(), inner, &below, depth + 1)?,
            removed => removed.map_err(file("remove", &below))?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR).map_err(file("remove", path))
}

#[cfg(test)]
mod tests;
