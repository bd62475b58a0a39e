//! The log as its users see it: opening, appending, durability, reading.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use base::boot::BootId;
use base::{PathError, Timestamp};

pub use crate::active::Verify;
use crate::cursor::Cursor;
use crate::durable::{Durability, guard};
use crate::format::Entry;
use crate::meta::Meta;
use crate::position::Position;
use crate::reader::Reader;
use crate::record::Draft;
use crate::writer::{Batch, Writer};
use crate::{find, open};

/// The size at which a segment is full.
pub const SEGMENT_BYTES: u64 = 8 << 20;

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot read the description of the event log {path:?}")]
    Meta {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the event log has format version {found}; this build knows version {known}")]
    Version { found: u32, known: u32 },
    #[error("there is no event log in {directory:?}")]
    Missing { directory: PathBuf },
    #[error("invalid consumer name {0:?}")]
    ConsumerName(String),
    #[error("cannot record the repair of the event log")]
    Report(#[from] Box<AppendError>),
}

impl From<AppendError> for OpenError {
    fn from(error: AppendError) -> Self {
        Self::Report(Box::new(error))
    }
}

/// Why an append failed; nothing of the batch is in the log then, except
/// what `Partial` names.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("event {kind} is {size_bytes} bytes long, more than the limit of 64 KiB")]
    TooLarge { kind: String, size_bytes: usize },
    #[error("a batch of {size_bytes} bytes is more than the limit of {limit_bytes}")]
    BatchTooLarge { size_bytes: u64, limit_bytes: u64 },
    /// The disk filled up within a batch: readers may have seen these already.
    #[error("only {} events of the batch were recorded", recorded.len())]
    Partial {
        recorded: Vec<Position>,
        source: PathError,
    },
    /// Reopen to go on, see [`Log::reopen`].
    #[error("an earlier write to the event log {directory:?} failed; it must be reopened")]
    Refused { directory: PathBuf },
    #[error("event {position} is not in the log")]
    NotInLog { position: Position },
    #[error("event {position} may not be on disk: a sync failed")]
    NotDurable { position: Position },
    #[error("the event log is open for reading only")]
    ReadOnly,
    #[error("cannot begin a new epoch of the event log")]
    Epoch(#[from] Box<OpenError>),
}

/// How a log is opened.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The boot to open it in; the running one by default.
    pub boot_id: Option<BootId>,
    /// The size at which a segment is full.
    pub segment_bytes: u64,
    /// The highest seq that any state file mentions: never used again.
    pub floor: u64,
    /// How closely the newest segment is looked at within the same boot; the
    /// first opener of a boot always looks at every line.
    pub verify: Verify,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            boot_id: None,
            segment_bytes: SEGMENT_BYTES,
            floor: 0,
            verify: Verify::Tail,
        }
    }
}

/// An open event log; cheap to clone, shared by all threads of a process.
#[derive(Debug, Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    boot_id: BootId,
    epoch: u64,
    /// Absent in a log that is open for reading only.
    writer: Option<Mutex<Writer>>,
    durability: Durability,
}

impl Log {
    /// Opens the log in `directory`, making it if it is not there. The first
    /// opener after a boot repairs the tail and begins a new epoch.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be made, read or repaired.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Self::open_with(directory, &LogOptions::default())
    }

    /// Opens the log as `open` does, with `options`.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(directory: &Path, options: &LogOptions) -> Result<Self, OpenError> {
        let boot_id = match &options.boot_id {
            Some(boot_id) => boot_id.clone(),
            None => BootId::current()?,
        };
        let writer = open::open(directory, options, &boot_id)?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                boot_id,
                epoch: writer.active.key.epoch,
                writer: Some(Mutex::new(writer)),
                durability: Durability::default(),
            }),
        })
    }

    /// Opens an existing log to read it: works with no daemon, changes nothing.
    ///
    /// # Errors
    /// When there is no log, or it cannot be read.
    pub fn open_read_only(directory: &Path) -> Result<Self, OpenError> {
        let meta = Meta::read(directory)?.ok_or_else(|| OpenError::Missing {
            directory: directory.to_owned(),
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                directory: directory.to_owned(),
                boot_id: meta.boot_id,
                epoch: meta.epoch,
                writer: None,
                durability: Durability::default(),
            }),
        })
    }

    /// Appends `drafts` as one write and returns their positions. Not synced.
    ///
    /// # Errors
    /// When one is too large or the write fails.
    pub fn append(&self, drafts: &[Draft]) -> Result<Vec<Position>, AppendError> {
        self.append_entries(drafts.iter().map(Entry::from))
    }

    /// Appends `drafts` and returns once they are on disk (group commit).
    ///
    /// # Errors
    /// As `append`, and when the sync fails.
    pub fn append_durable(&self, drafts: &[Draft]) -> Result<Vec<Position>, AppendError> {
        let positions = self.append(drafts)?;
        if let Some(last) = positions.last() {
            self.wait_durable(*last)?;
        }
        Ok(positions)
    }

    /// Returns once everything up to `position` is on disk.
    ///
    /// # Errors
    /// When the sync fails.
    pub fn wait_durable(&self, position: Position) -> Result<(), AppendError> {
        self.inner.durability.wait(position, self.writer()?)
    }

    /// Starts over after a failed write or sync made the log refuse everything.
    /// A full disk needs no such call: each append then tries anew.
    ///
    /// # Errors
    /// When what is on disk cannot be read or repaired.
    pub fn reopen(&self) -> Result<(), AppendError> {
        guard(self.writer()?).reopen()
    }

    /// Returns the position of the newest whole record, zero for an empty log.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn last(&self) -> Result<Position, OpenError> {
        Ok(find::last(&self.inner.directory)?)
    }

    /// Returns a reader of all records after `position`; `Position::default()`
    /// is before the oldest one kept.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn read_after(&self, position: Position) -> Result<Reader, OpenError> {
        Ok(Reader::new(&self.inner.directory, position))
    }

    /// Returns the position to read after in order to begin with the first
    /// record of `time` or later. Clocks may jump: then it is the first place
    /// a search by halves finds.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn position_before(&self, time: Timestamp) -> Result<Position, OpenError> {
        Ok(find::before_time(&self.inner.directory, time)?)
    }

    /// Returns the cursor of `consumer`, at zero if it is new.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn cursor(&self, consumer: &str) -> Result<Cursor, OpenError> {
        Cursor::open(&self.inner.directory, consumer)
    }

    /// Returns the epoch of this boot.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch
    }

    /// Returns the boot this log was opened in.
    ///
    /// # Errors
    /// None today; the boot is read when the log is opened.
    pub fn boot_id(&self) -> Result<BootId, PathError> {
        Ok(self.inner.boot_id.clone())
    }

    pub(crate) fn current_boot(&self) -> &BootId {
        &self.inner.boot_id
    }

    /// Returns the log's directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Appends what is only borrowed.
    pub(crate) fn append_entries<'a>(
        &self,
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> Result<Vec<Position>, AppendError> {
        let writer = self.writer()?;
        let batch = Batch::encode(entries)?;
        guard(writer).append(&batch)
    }

    pub(crate) fn writer(&self) -> Result<&Mutex<Writer>, AppendError> {
        self.inner.writer.as_ref().ok_or(AppendError::ReadOnly)
    }
}
