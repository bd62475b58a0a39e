//! Appending, under the log's lock: catch up with what others appended,
//! rotate when the segment is full, one write, nothing half done left behind.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{PathContext as _, PathError, Timestamp};
use serde::Serialize;

use crate::active::{Active, Damage, Verify};
use crate::format::{Entry, body_fits, encode_body, push_line};
use crate::log::{AppendError, LogOptions};
use crate::meta::Meta;
use crate::position::Position;
use crate::segment::{self, SegmentKey};

/// The event that tells of damage; its subject and source are the log itself.
pub const REPAIRED: &str = "log.repaired";
const SELF: &str = "log";

/// The payload of [`REPAIRED`].
#[derive(Debug, Serialize)]
struct Repaired {
    segment: String,
    what: &'static str,
    /// Appends go on from here.
    resumed_at: Position,
}

/// One process's end of the log; all its calls go through one mutex.
#[derive(Debug)]
pub(crate) struct Writer {
    directory: PathBuf,
    lock: File,
    segment_bytes: u64,
    pub(crate) active: Active,
    pub(crate) trust: Trust,
}

/// Whether what this process knows of the file can still be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    Sound,
    /// The disk was full and what was half written is cut: the next append
    /// reads everything anew and tries again.
    Full,
    /// A write or a sync failed: refuses everything until reopened.
    Lost,
}

/// Bodies of a batch, ready but for their positions.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Encodes `entries`.
    pub(crate) fn encode<'a>(
        entries: impl Iterator<Item = Entry<'a>>,
    ) -> Result<Self, AppendError> {
        let mut batch = Self::default();
        for entry in entries {
            let start = batch.bytes.len();
            encode_body(&entry, &mut batch.bytes);
            let size_bytes = batch.bytes.len() - start;
            if !body_fits(size_bytes) {
                let kind = entry.kind.to_owned();
                return Err(AppendError::TooLarge { kind, size_bytes });
            }
            batch.ends.push(batch.bytes.len());
        }
        Ok(batch)
    }

    fn bodies(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let body = &self.bytes[start..*end];
            start = *end;
            body
        })
    }
}

impl Writer {
    pub(crate) fn new(directory: &Path, lock: File, options: &LogOptions, active: Active) -> Self {
        Self {
            directory: directory.to_owned(),
            lock,
            segment_bytes: options.segment_bytes,
            active,
            trust: Trust::Sound,
        }
    }

    /// Appends a batch as one write.
    pub(crate) fn append(&mut self, batch: &Batch) -> Result<Vec<Position>, AppendError> {
        self.locked(|writer| {
            writer.catch_up()?;
            writer.write_batch(batch)
        })
    }

    /// Takes note of everything that is in the log now.
    pub(crate) fn refresh(&mut self) -> Result<(), AppendError> {
        self.locked(Self::catch_up)
    }

    /// Starts over after a failed write or sync.
    pub(crate) fn reopen(&mut self) -> Result<(), AppendError> {
        self.trust = Trust::Full;
        self.locked(|_| Ok(()))
    }

    /// Reads every line of the active segment; a damaged one is sealed.
    pub(crate) fn verify_active(&mut self) -> Result<(), AppendError> {
        self.locked(|writer| {
            writer.catch_up()?;
            match writer.active.rescan()? {
                Some(what) => writer.go_on_after(what),
                None => Ok(()),
            }
        })
    }

    /// Returns the file to sync and the seq that this makes durable.
    pub(crate) fn sync_target(&self) -> (Arc<File>, PathBuf, u64) {
        let active = &self.active;
        (active.file.clone(), active.path.clone(), active.last_seq)
    }

    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, AppendError>,
    ) -> Result<T, AppendError> {
        if self.trust == Trust::Lost {
            return Err(AppendError::Refused {
                directory: self.directory.clone(),
            });
        }
        lock(&self.lock, &self.directory)?;
        let result = self.regain_trust().and_then(|()| work(self));
        unlock(&self.lock, &self.directory)?;
        result
    }

    fn regain_trust(&mut self) -> Result<(), AppendError> {
        if self.trust == Trust::Full {
            self.adopt_newest(Verify::Full)?;
            self.trust = Trust::Sound;
        }
        Ok(())
    }

    fn catch_up(&mut self) -> Result<(), AppendError> {
        let status = segment::status(&self.active.file, &self.active.path)?;
        if status.sealed {
            return self.follow_rotation();
        }
        if status.unlinked {
            let gone = io::Error::from(io::ErrorKind::NotFound);
            return Err(gone).at("append to", &self.active.path)?;
        }
        if status.size_bytes < self.active.end {
            return self.begin_epoch_after("a sealed part of the segment is gone");
        }
        match self.active.catch_up()? {
            Some(what) => self.go_on_after(what),
            None => Ok(()),
        }
    }

    /// Somebody sealed our segment: goes on in the newest, or makes it if its
    /// maker died in between.
    fn follow_rotation(&mut self) -> Result<(), AppendError> {
        let known = self.active.key;
        self.adopt_newest(Verify::Tail)?;
        if self.active.key > known {
            return self.catch_up();
        }
        self.active.rescan()?;
        self.rotate()
    }

    fn adopt_newest(&mut self, verify: Verify) -> Result<(), AppendError> {
        let newest = segment::list(&self.directory)?
            .pop()
            .unwrap_or(self.active.key);
        let (active, damage) = Active::adopt(&self.directory, newest, self.segment_bytes, verify)?;
        self.active = active;
        let sealed = segment::status(&self.active.file, &self.active.path)?.sealed;
        match damage {
            Some(what) if !sealed => self.go_on_after(what),
            _ => Ok(()),
        }
    }

    fn rotate(&mut self) -> Result<(), AppendError> {
        self.active
            .seal()
            .inspect_err(|_| self.trust = Trust::Lost)?;
        let key = SegmentKey {
            epoch: self.active.key.epoch,
            first: self.active.last_seq.saturating_add(1),
        };
        self.active = Active::create(&self.directory, key, self.segment_bytes)?;
        Ok(())
    }

    /// Seals a damaged segment, goes on in a new one and says so.
    pub(crate) fn go_on_after(&mut self, what: Damage) -> Result<(), AppendError> {
        let damaged = self.active.key;
        self.rotate()?;
        self.report(damaged, what)
    }

    /// Records that were there are gone, so their numbers must not come again.
    fn begin_epoch_after(&mut self, what: Damage) -> Result<(), AppendError> {
        let damaged = self.active.key;
        let read = Meta::read(&self.directory).map_err(Box::new)?;
        let epoch = read.as_ref().map_or(damaged.epoch, |meta| meta.epoch);
        if let Some(mut meta) = read {
            meta.epoch = epoch.max(damaged.epoch) + 1;
            meta.first = self.active.last_seq + 1;
            meta.write(&self.directory).map_err(Box::new)?;
        }
        let size = segment::status(&self.active.file, &self.active.path)?.size_bytes;
        self.active.end = size;
        self.active
            .seal()
            .inspect_err(|_| self.trust = Trust::Lost)?;
        let key = SegmentKey {
            epoch: epoch.max(damaged.epoch) + 1,
            first: self.active.last_seq + 1,
        };
        self.active = Active::create(&self.directory, key, self.segment_bytes)?;
        self.report(damaged, what)
    }

    /// Appends the fact that the log was damaged.
    pub(crate) fn report(&mut self, damaged: SegmentKey, what: Damage) -> Result<(), AppendError> {
        let payload = Repaired {
            segment: damaged.to_string(),
            what,
            resumed_at: self.active.key.position(),
        };
        let data = serde_json::value::to_raw_value(&payload)
            .expect("a struct of texts and numbers is JSON");
        let entry = Entry {
            source: SELF,
            kind: REPAIRED,
            subject: SELF,
            request: None,
            data: &data,
        };
        self.write_batch(&Batch::encode(std::iter::once(entry))?)?;
        Ok(())
    }

    fn write_batch(&mut self, batch: &Batch) -> Result<Vec<Position>, AppendError> {
        let (bytes, ends, positions) = self.place(batch);
        let size = bytes.len() as u64;
        if size > self.segment_bytes {
            return Err(AppendError::BatchTooLarge {
                size_bytes: size,
                limit_bytes: self.segment_bytes,
            });
        }
        if self.active.end > 0 && self.active.end + size > self.segment_bytes {
            self.rotate()?;
        }
        let (written, result) = self.active.write(&bytes);
        if let Err(error) = result {
            let whole = ends.iter().filter(|end| **end <= written).count();
            let end = if whole == 0 { 0 } else { ends[whole - 1] };
            return self.cut_back(&positions[..whole], end, error);
        }
        self.active.end += size;
        self.active.last_seq += positions.len() as u64;
        Ok(positions)
    }

    /// Gives every body its position and checksum.
    fn place(&self, batch: &Batch) -> (Vec<u8>, Vec<usize>, Vec<Position>) {
        let epoch = self.active.key.epoch;
        let time = Timestamp::now();
        let mut bytes = Vec::with_capacity(batch.bytes.len() + batch.ends.len() * 112);
        let mut ends = Vec::with_capacity(batch.ends.len());
        let mut positions = Vec::with_capacity(batch.ends.len());
        for (seq, body) in (self.active.last_seq + 1..).zip(batch.bodies()) {
            let position = Position { epoch, seq };
            push_line(&mut bytes, position, time, body);
            ends.push(bytes.len());
            positions.push(position);
        }
        (bytes, ends, positions)
    }

    /// Removes what a failed write left, down to the last whole record:
    /// readers act on whole records at once, so those cannot be taken back.
    fn cut_back(
        &mut self,
        recorded: &[Position],
        whole_bytes: usize,
        error: io::Error,
    ) -> Result<Vec<Position>, AppendError> {
        self.trust = Trust::Lost;
        let end = self.active.end + whole_bytes as u64;
        self.active.cut(end)?;
        let is_full = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
        if is_full.contains(&error.kind()) {
            self.trust = Trust::Full;
        }
        self.active.last_seq += recorded.len() as u64;
        let source = PathError {
            action: "append to",
            path: self.active.path.clone(),
            source: error,
        };
        if recorded.is_empty() {
            return Err(AppendError::File(source));
        }
        Err(AppendError::Partial {
            recorded: recorded.to_vec(),
            source,
        })
    }
}

/// Waits for the log's lock; a signal in between is no failure.
pub(crate) fn lock(file: &File, directory: &Path) -> Result<(), PathError> {
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.at("lock", directory.join(LOCK_NAME)),
        }
    }
}

pub(crate) fn unlock(file: &File, directory: &Path) -> Result<(), PathError> {
    file.unlock().at("unlock", directory.join(LOCK_NAME))
}

/// The file whose lock orders all appends.
pub(crate) const LOCK_NAME: &str = "LOCK";
