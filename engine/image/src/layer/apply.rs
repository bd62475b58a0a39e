//! Writes the entries of a layer into its tree, in overlayfs's form.
//!
//! A later entry wins over an earlier one. Whiteouts become character devices
//! 0:0 and opaque markers an attribute; they speak of lower layers only, so a
//! file of this layer stays whichever comes first. Metadata of directories is
//! set last, when nothing is written into them any more.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::tar::{Entry, Kind, TarReader};
use super::tree::{Tree, is_directory, is_whiteout, set_attribute_at};
use super::{LayerError, clean_path, printable};

const WHITEOUT: &[u8] = b".wh.";
const WHITEOUT_META: &[u8] = b".wh..wh.";
const WHITEOUT_OPAQUE: &[u8] = b".wh..wh..opq";
/// Names that would make overlayfs see what the image did not say.
const RESERVED: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const IMPLIED_MODE: u32 = 0o755;

/// Owner, mode, times and attributes of an entry.
#[derive(Debug)]
struct Metadata {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: (i64, u32),
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Writes one layer.
pub(super) struct Applier {
    tree: Tree,
    directories: BTreeMap<PathBuf, Metadata>,
    /// Whether files begin with owner and group 0, which saves a call each.
    is_root: bool,
}

impl Applier {
    pub(super) fn new(root: OwnedFd, graveyard: OwnedFd) -> Self {
        let is_root = rustix::process::geteuid().is_root() && rustix::process::getegid().is_root();
        Self {
            tree: Tree::new(root, graveyard),
            directories: BTreeMap::new(),
            is_root,
        }
    }

    /// Writes `entry`, reading its data from `archive`.
    pub(super) fn apply<R: BufRead>(
        &mut self,
        entry: Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), LayerError> {
        let path = clean_path(&entry.path)?;
        if let Some(name) = reserved_attribute(&entry) {
            let path = printable(&entry.path);
            return Err(LayerError::Attribute { path, name });
        }
        let name = path.file_name().map_or(&b""[..], |n| n.as_bytes());
        if name.starts_with(WHITEOUT) {
            return self.whiteout(&path, name);
        }
        match entry.kind {
            Kind::Directory => self.directory(path, entry),
            _ if path.as_os_str().is_empty() => Err(LayerError::Name(printable(&entry.path))),
            Kind::File => self.file(&path, entry, archive),
            Kind::HardLink => self.hard_link(&path, &entry),
            Kind::Symlink | Kind::Character | Kind::Block | Kind::Fifo => self.node(&path, entry),
        }
    }

    /// Sets the metadata of directories; returns those that no entry named.
    pub(super) fn finish(self) -> Result<Vec<PathBuf>, LayerError> {
        for (path, metadata) in self.directories.iter().rev() {
            match self
                .tree
                .open_directory(path, OFlags::RDONLY | OFlags::NOFOLLOW)
            {
                // Replaced later, by another name for the same place.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                opened => {
                    let descriptor = opened.map_err(failed("open", path))?;
                    set_metadata(&descriptor, path, metadata, IdsSet::No)?;
                }
            }
        }
        let named = |path: &PathBuf| self.directories.contains_key(path);
        let mut implied = self.tree.implied().to_vec();
        implied.retain(|path| !named(path));
        for path in &implied {
            // mkdir's mode is cut by the process's umask.
            let descriptor = self.tree.open_directory(path, OFlags::RDONLY);
            let descriptor = descriptor.map_err(failed("open", path))?;
            rustix::fs::fchmod(&descriptor, Mode::from(IMPLIED_MODE))
                .map_err(failed("change the mode of", path))?;
        }
        Ok(implied)
    }

    fn whiteout(&mut self, path: &Path, name: &[u8]) -> Result<(), LayerError> {
        if name == WHITEOUT_OPAQUE {
            let marked = path.parent().unwrap_or(Path::new(""));
            self.tree
                .parent_of(path)
                .map_err(failed("make the parent of", path))?;
            return self
                .tree
                .make_opaque(marked)
                .map_err(failed("make opaque", marked));
        }
        if name.starts_with(WHITEOUT_META) {
            // AUFS's own bookkeeping, which no other engine unpacks either.
            return Ok(());
        }
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::Name(printable(path.as_os_str().as_bytes())));
        }
        let hidden = Path::new(std::ffi::OsStr::from_bytes(hidden));
        let parent = self
            .tree
            .parent_of(path)
            .map_err(failed("make the parent of", path))?;
        let device = rustix::fs::makedev(0, 0);
        match rustix::fs::mknodat(
            parent,
            hidden,
            FileType::CharacterDevice,
            Mode::empty(),
            device,
        ) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(failed("white out", path)),
        }
        let there = path.with_file_name(hidden);
        let stat = self.tree.stat(&there).map_err(failed("examine", &there))?;
        if is_directory(&stat) {
            return self
                .tree
                .make_opaque(&there)
                .map_err(failed("make opaque", &there));
        }
        Ok(())
    }

    fn directory(&mut self, path: PathBuf, entry: Entry) -> Result<(), LayerError> {
        if !path.as_os_str().is_empty() {
            self.ensure_directory(&path)?;
        }
        let metadata = Metadata {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            attributes: entry.attributes,
        };
        self.directories.insert(path, metadata);
        Ok(())
    }

    fn ensure_directory(&mut self, path: &Path) -> Result<(), LayerError> {
        let make = |tree: &mut Tree| {
            let name = Path::new(path.file_name().expect("not the root"));
            let parent = tree.parent_of(path)?;
            Ok::<_, io::Error>(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
        };
        let first = make(&mut self.tree);
        if !is_there_already(&first) {
            return first.map_err(failed("make directory", path));
        }
        let stat = self.tree.stat(path).map_err(failed("examine", path))?;
        if is_directory(&stat) {
            return Ok(());
        }
        self.clear(path)?;
        make(&mut self.tree).map_err(failed("make directory", path))?;
        if is_whiteout(&stat) {
            return self
                .tree
                .make_opaque(path)
                .map_err(failed("make opaque", path));
        }
        Ok(())
    }

    fn file<R: BufRead>(
        &mut self,
        path: &Path,
        entry: Entry,
        archive: &mut TarReader<R>,
    ) -> Result<(), LayerError> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = self.create(path, "create", |parent, name| {
            rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
        })?;
        let file = File::from(descriptor);
        match &entry.sparse {
            None => super::unpack::write_data(&file, archive, path)?,
            Some(_) => super::unpack::write_sparse(&file, &entry, archive, path)?,
        }
        let owner_is_set = self.is_root && entry.uid == 0 && entry.gid == 0;
        let ids = if owner_is_set {
            IdsSet::Yes
        } else {
            IdsSet::No
        };
        set_metadata(&file, path, &Metadata::of(entry), ids)
    }

    fn hard_link(&mut self, path: &Path, entry: &Entry) -> Result<(), LayerError> {
        let target = clean_path(&entry.link)?;
        let missing = || LayerError::HardLink {
            link: path.display().to_string(),
            target: printable(&entry.link),
        };
        let name = Path::new(target.file_name().ok_or_else(missing)?);
        let above = target.parent().unwrap_or(Path::new(""));
        let above = self
            .tree
            .open_directory(above, OFlags::PATH)
            .map_err(|_| missing())?;
        let stat =
            rustix::fs::statat(&above, name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| missing())?;
        if is_directory(&stat) || is_whiteout(&stat) {
            return Err(missing());
        }
        if let Ok(there) = self.tree.stat(path)
            && (there.st_ino, there.st_dev) == (stat.st_ino, stat.st_dev)
        {
            return Ok(());
        }
        self.create(path, "link", |parent, link| {
            rustix::fs::linkat(&above, name, parent, link, AtFlags::empty())
        })
    }

    fn node(&mut self, path: &Path, entry: Entry) -> Result<(), LayerError> {
        let mode = Mode::from(entry.mode);
        let device = rustix::fs::makedev(entry.device.0, entry.device.1);
        self.create(path, "create", |parent, name| match entry.kind {
            Kind::Symlink => rustix::fs::symlinkat(entry.link.as_slice(), parent, name),
            Kind::Fifo => rustix::fs::mknodat(parent, name, FileType::Fifo, mode, 0),
            Kind::Block => rustix::fs::mknodat(parent, name, FileType::BlockDevice, mode, device),
            _ => rustix::fs::mknodat(parent, name, FileType::CharacterDevice, mode, device),
        })?;
        let is_symlink = entry.kind == Kind::Symlink;
        let metadata = Metadata::of(entry);
        let name = Path::new(path.file_name().expect("not the root"));
        let parent = self
            .tree
            .parent_of(path)
            .map_err(failed("reopen the parent of", path))?;
        let (uid, gid) = metadata.owner();
        rustix::fs::chownat(
            parent,
            name,
            Some(uid),
            Some(gid),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .map_err(failed("change the owner of", path))?;
        for attribute in &metadata.attributes {
            let set = set_attribute_at(parent, name, (&attribute.0, &attribute.1));
            tolerate_attribute(set, path, &attribute.0)?;
        }
        if !is_symlink {
            // Not followed: this name was made a device or fifo a moment ago.
            rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
                .map_err(failed("change the mode of", path))?;
        }
        let times = metadata.times();
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(failed("set the time of", path))
    }

    /// Runs `make` for `path`, once more after clearing what stood there.
    fn create<T>(
        &mut self,
        path: &Path,
        action: &'static str,
        make: impl Fn(std::os::fd::BorrowedFd<'_>, &Path) -> rustix::io::Result<T>,
    ) -> Result<T, LayerError> {
        let name = Path::new(path.file_name().expect("not the root"));
        let parent = self
            .tree
            .parent_of(path)
            .map_err(failed("make the parent of", path))?;
        match make(parent, name) {
            Err(Errno::EXIST) => {}
            made => return made.map_err(failed(action, path)),
        }
        self.clear(path)?;
        let parent = self
            .tree
            .parent_of(path)
            .map_err(failed("make the parent of", path))?;
        make(parent, name).map_err(failed(action, path))
    }

    fn clear(&mut self, path: &Path) -> Result<(), LayerError> {
        self.tree.clear(path).map_err(failed("replace", path))?;
        self.directories
            .retain(|directory, _| !directory.starts_with(path));
        Ok(())
    }
}

impl Metadata {
    fn of(entry: Entry) -> Self {
        Self {
            mode: entry.mode,
            uid: entry.uid,
            gid: entry.gid,
            mtime: entry.mtime,
            attributes: entry.attributes,
        }
    }

    fn owner(&self) -> (Uid, Gid) {
        (Uid::from_raw(self.uid), Gid::from_raw(self.gid))
    }

    fn times(&self) -> Timestamps {
        let time = Timespec {
            tv_sec: self.mtime.0,
            tv_nsec: self.mtime.1.into(),
        };
        Timestamps {
            last_access: time,
            last_modification: time,
        }
    }
}

/// Whether owner and group are already what they should be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum IdsSet {
    Yes,
    No,
}

/// Owner first: a change of owner clears set-uid bits and capabilities.
fn set_metadata(
    file: impl AsFd,
    path: &Path,
    metadata: &Metadata,
    ids: IdsSet,
) -> Result<(), LayerError> {
    let file = file.as_fd();
    if ids == IdsSet::No {
        let (uid, gid) = metadata.owner();
        rustix::fs::fchown(file, Some(uid), Some(gid))
            .map_err(failed("change the owner of", path))?;
    }
    for (name, value) in &metadata.attributes {
        let set = rustix::fs::fsetxattr(
            file,
            name.as_slice(),
            value,
            rustix::fs::XattrFlags::empty(),
        );
        tolerate_attribute(set, path, name)?;
    }
    rustix::fs::fchmod(file, Mode::from(metadata.mode))
        .map_err(failed("change the mode of", path))?;
    rustix::fs::futimens(file, &metadata.times()).map_err(failed("set the time of", path))
}

/// Lets pass what the file system or the kind of file cannot store, as Docker does.
fn tolerate_attribute(
    set: rustix::io::Result<()>,
    path: &Path,
    name: &[u8],
) -> Result<(), LayerError> {
    match set {
        Err(error @ (Errno::NOTSUP | Errno::PERM)) => {
            tracing::warn!(path = %path.display(), name = %printable(name), %error, "attribute not kept");
            Ok(())
        }
        other => other.map_err(failed("set an attribute of", path)),
    }
}

fn reserved_attribute(entry: &Entry) -> Option<String> {
    let is_reserved = |name: &[u8]| RESERVED.iter().any(|reserved| name.starts_with(reserved));
    let mut names = entry.attributes.iter().map(|(name, _)| name.as_slice());
    names.find(|name| is_reserved(name)).map(printable)
}

fn is_there_already(made: &io::Result<()>) -> bool {
    matches!(made, Err(error) if error.kind() == io::ErrorKind::AlreadyExists)
}

/// Returns what turns a kernel's answer on `path` into an error.
pub(super) fn failed<E: Into<io::Error>>(
    action: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> LayerError {
    move |source| LayerError::Entry {
        action,
        path: path.display().to_string(),
        source: source.into(),
    }
}
