//! What the runtime remembers of a container, and what the container's status is.
//!
//! ```text
//! <root>/<id>/            0700; making it is what reserves the id
//!     state.json          0600, replaced by rename: this module's Record
//!     config.json         the specification as normalised, what exec reads
//!     creating.lock       held by every process of an unfinished creation
//!     update.lock         held while limits are changed
//!     exec.fifo           the gate init waits at from creation until start
//!     criu-root/          the root filesystem as a mount, while a restore goes on
//! <root>/@seccomp/        programs of filters, see seccomp::cache; no id is so
//! ```
//! The record never holds a status: that is derived from the kernel and from
//! the presence of the gate each time it is asked, so that no command and
//! no crash can leave a wrong one behind.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::file::{FileMode, PathContext as _, PathError, make_directories, read_bounded, replace};
use base::lock::FileLock;
use base::time::Timestamp;
use oci_spec::runtime::Spec;
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags};
use serde::{Deserialize, Serialize};

use crate::cgroup::Cgroup;
use crate::init::gate;
use crate::proc::{LiveProcess, ProcessIdentity};
use crate::resources::rdt::Class;

/// The layout version of `state.json`; another one is refused.
const RECORD_VERSION: u32 = 1;
/// A state or configuration file larger than this is not ours.
const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// How often a directory is emptied that others write to.
const REMOVE_ATTEMPTS: usize = 100;
/// File names end at 255 bytes.
const ID_LIMIT: usize = 255;

/// Says why a container's record could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(
        "invalid container id {0:?}: only letters, digits and _ + - . are allowed, at most {ID_LIMIT} of them, and not . or .."
    )]
    InvalidId(String),
    #[error("container with id {0} already exists")]
    Exists(ContainerName),
    #[error("container {0} does not exist")]
    DoesNotExist(ContainerName),
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot parse {path:?}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path:?} has version {found}, this program writes {RECORD_VERSION}")]
    Version { path: PathBuf, found: u32 },
}

/// A container's id as the caller chose it, checked to be one safe file name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerName(String);

/// What the runtime remembers of one container.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub oci_version: String,
    pub id: ContainerName,
    /// The caller's bundle directory, absolute.
    pub bundle: PathBuf,
    /// The root filesystem on the host, canonical.
    pub rootfs: PathBuf,
    pub created: Timestamp,
    /// The user who created it.
    pub owner_uid: u32,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub cgroup: Cgroup,
    /// The class of service of the resource director, where one is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Class>,
    /// The runtime process that creates it; of interest until `init` is set.
    pub creator: ProcessIdentity,
    /// The container's first process, once there is one.
    pub init: Option<ProcessIdentity>,
    /// Whether processes get a session keyring of their own.
    pub keyring: KeyringMode,
}

/// Whether a container's processes get a session keyring of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyringMode {
    Fresh,
    Inherited,
}

/// A container's status in the words of the specification, and `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

/// The directory in which all containers of one `--root` are.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// The directory of one container.
#[derive(Debug, Clone)]
pub struct ContainerDirectory {
    id: ContainerName,
    path: PathBuf,
}

impl Store {
    /// Returns the store in `root`, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Returns where `id` is or would be.
    pub fn directory(&self, id: &ContainerName) -> ContainerDirectory {
        ContainerDirectory {
            id: id.clone(),
            path: self.root.join(&id.0),
        }
    }

    /// Reserves `id` by making its directory: of many callers at once, one wins.
    ///
    /// # Errors
    /// `Exists` for all others; when a directory cannot be made.
    pub fn reserve(
        &self,
        id: &ContainerName,
    ) -> Result<(ContainerDirectory, FileLock), StateError> {
        make_directories(&self.root, 0o711)?;
        let directory = self.directory(id);
        match fs::DirBuilder::new().mode(0o700).create(&directory.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(StateError::Exists(id.clone()));
            }
            made => {
                made.at("make directory", &directory.path)?;
            }
        }
        let lock = directory.enter()?;
        Ok((directory, lock))
    }

    /// Returns the ids of all containers, sorted. A store that does not exist
    /// is empty.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn ids(&self) -> Result<Vec<ContainerName>, StateError> {
        let entries = match fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.at("read", &self.root)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.at("read", &self.root)?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.parse().ok());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                ids.extend(id);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

impl ContainerDirectory {
    /// Returns the container's id.
    pub fn id(&self) -> &ContainerName {
        &self.id
    }

    /// Returns the directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the directory of all containers of the store this one is in.
    pub fn state_root(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// Returns the lock that whoever is creating the container holds, every
    /// process forked for it included, until init executes its program.
    pub fn creation_lock(&self) -> PathBuf {
        self.path.join("creating.lock")
    }

    fn record(&self) -> PathBuf {
        self.path.join("state.json")
    }

    /// Takes the lock of a directory that was just made. `delete` may have removed
    /// it already, and somebody else made it again: who has the lock has the
    /// directory, until there is a record.
    fn enter(&self) -> Result<FileLock, StateError> {
        match FileLock::try_acquire(&self.creation_lock())? {
            Some(lock) if !self.record().exists() => Ok(lock),
            _ => Err(StateError::Exists(self.id.clone())),
        }
    }

    /// Returns the lock that whoever changes the container's limits holds.
    pub fn update_lock(&self) -> PathBuf {
        self.path.join("update.lock")
    }

    /// Returns the normalised specification.
    pub fn config(&self) -> PathBuf {
        self.path.join("config.json")
    }

    /// Returns the gate at which init waits for the start.
    pub fn gate(&self) -> PathBuf {
        self.path.join("exec.fifo")
    }

    /// Reads the record.
    ///
    /// # Errors
    /// `DoesNotExist` when there is none; when it is not readable.
    pub fn load(&self) -> Result<Record, StateError> {
        let path = self.record();
        let text = match read_bounded(&path, FILE_LIMIT_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::DoesNotExist(self.id.clone()));
            }
            text => text?,
        };
        let record: Record = parse(&path, &text)?;
        if record.version != RECORD_VERSION {
            let found = record.version;
            return Err(StateError::Version { path, found });
        }
        Ok(record)
    }

    /// Replaces the record, atomically.
    ///
    /// # Errors
    /// When it cannot be written; the old one is then still there.
    pub fn save(&self, record: &Record) -> Result<(), StateError> {
        let text = serde_json::to_vec(record).expect("a record always serializes");
        Ok(replace(&self.record(), &text, FileMode::Private)?)
    }

    /// Reads the normalised specification.
    ///
    /// # Errors
    /// When it cannot be read or parsed.
    pub fn load_spec(&self) -> Result<Spec, StateError> {
        let path = self.config();
        let text = read_bounded(&path, FILE_LIMIT_BYTES)?;
        parse(&path, &text)
    }

    /// Writes the normalised specification.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save_spec(&self, spec: &Spec) -> Result<(), StateError> {
        let text = serde_json::to_vec(spec).expect("a specification always serializes");
        Ok(replace(&self.config(), &text, FileMode::Private)?)
    }

    /// Returns the place where the root filesystem is mounted for a restore.
    pub fn restored_root(&self) -> PathBuf {
        self.path.join("criu-root")
    }

    /// Takes away what is mounted for a restore, and its place.
    ///
    /// # Errors
    /// When it cannot be unmounted.
    pub fn unmount_restored_root(&self) -> Result<(), PathError> {
        let root = self.restored_root();
        // What is mounted below it elsewhere stays: a killed restore may have
        // left it shared. Nothing is there as a rule.
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        match rustix::mount::mount_change(&root, private) {
            Err(Errno::NOENT) => return Ok(()),
            Err(Errno::INVAL) | Ok(()) => {}
            changed => changed.at("make a mount of its own of", &root)?,
        }
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&root, flags) {
            // Not there, or no mount.
            Err(Errno::NOENT | Errno::INVAL) => {}
            unmounted => unmounted.at("unmount", &root)?,
        }
        unless_gone(fs::remove_dir(&root)).at("remove", &root)
    }

    /// Removes the directory, the record last, so that an interrupted removal
    /// can be repeated.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn remove(&self) -> Result<(), StateError> {
        self.unmount_restored_root()?;
        let mut attempts = 0;
        loop {
            match self.remove_once() {
                // Somebody else who deletes it has made the lock anew meanwhile.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    attempts += 1;
                    if attempts == REMOVE_ATTEMPTS {
                        return Err(error.into());
                    }
                }
                removed => return Ok(removed?),
            }
        }
    }

    fn remove_once(&self) -> Result<(), PathError> {
        let record = self.record();
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.at("read", &self.path)?,
        };
        for entry in entries {
            let path = entry.at("read", &self.path)?.path();
            if path == record {
                continue;
            }
            let removed = match path.symlink_metadata() {
                // Never what is in it: that could be a root filesystem.
                Ok(meta) if meta.is_dir() => fs::remove_dir(&path),
                _ => fs::remove_file(&path),
            };
            unless_gone(removed).at("remove", &path)?;
        }
        base::file::remove_if_there(&record)?;
        unless_gone(fs::remove_dir(&self.path)).at("remove", &self.path)
    }

    /// Derives the container's status from what is true now.
    pub fn status(&self, record: &Record) -> Status {
        let Some(init) = record.init else {
            return match record.creator.open() {
                Some(_) => Status::Creating,
                None => Status::Stopped,
            };
        };
        if init.open().is_none() {
            return Status::Stopped;
        }
        if record.cgroup.is_frozen() {
            return Status::Paused;
        }
        match gate::is_waited_at(&self.gate()) {
            true => Status::Created,
            false => Status::Running,
        }
    }
}

impl Record {
    /// Returns the init process, if it still runs.
    pub fn live_init(&self) -> Option<LiveProcess> {
        self.init.and_then(ProcessIdentity::open)
    }

    /// Returns the version to write into a new record.
    pub fn current_version() -> u32 {
        RECORD_VERSION
    }
}

impl Status {
    /// Returns the word the specification has for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl ContainerName {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerName {
    type Err = StateError;
    fn from_str(text: &str) -> Result<Self, StateError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        let valid = (1..=ID_LIMIT).contains(&text.len())
            && text.chars().all(allowed)
            && text != "."
            && text != "..";
        match valid {
            true => Ok(Self(text.to_owned())),
            false => Err(StateError::InvalidId(text.chars().take(300).collect())),
        }
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ContainerName {
    type Error = StateError;
    fn try_from(text: String) -> Result<Self, StateError> {
        text.parse()
    }
}

impl From<ContainerName> for String {
    fn from(id: ContainerName) -> String {
        id.0
    }
}

/// Somebody else may remove the same container: what is gone is removed.
fn unless_gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn parse<T: serde::de::DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T, StateError> {
    serde_json::from_slice(text).map_err(|source| StateError::Parse {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
