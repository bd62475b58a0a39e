//! The segment that appends go to: making it, finding its end, cutting what a
//! dead writer left, and moving on to the next. Every function here is called
//! under the log's lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::file::sync_directory;
use base::{PathContext as _, PathError};

use crate::scan::{Sequence, Tail, scan_from};
use crate::segment::{self, SegmentKey};

/// The file that becomes the next segment; its space is kept already.
const SPARE_NAME: &str = "next";

/// The segment at the end of the log, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) key: SegmentKey,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<File>,
    /// The offset after the last whole record.
    pub(crate) end: u64,
    pub(crate) last_seq: u64,
    /// How much disk is kept for it.
    segment_bytes: u64,
}

/// How closely a segment is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Only its last line, as long as that is good: costs nothing.
    Tail,
    /// Every line: costs some milliseconds.
    Full,
}

/// What is wrong with a segment, for `log.repaired`.
pub(crate) type Damage = &'static str;

impl Active {
    /// Makes the segment `key`, durable as a name before it returns.
    pub(crate) fn create(
        directory: &Path,
        key: SegmentKey,
        segment_bytes: u64,
    ) -> Result<Self, PathError> {
        let spare = directory.join(SPARE_NAME);
        let path = key.path(directory);
        let file = segment::create(&spare)?;
        segment::preallocate(&file, segment_bytes);
        std::fs::rename(&spare, &path).at("rename to", &path)?;
        sync_directory(directory)?;
        prepare_spare(&spare, segment_bytes);
        Ok(Self {
            key,
            path,
            file: Arc::new(file),
            end: 0,
            last_seq: key.first.saturating_sub(1),
            segment_bytes,
        })
    }

    /// Opens the existing segment `key` and finds its end.
    pub(crate) fn adopt(
        directory: &Path,
        key: SegmentKey,
        segment_bytes: u64,
        verify: Verify,
    ) -> Result<(Self, Option<Damage>), PathError> {
        let file = segment::open_for_writing(directory, key)?;
        let mut active = Self {
            key,
            path: key.path(directory),
            file: Arc::new(file),
            end: 0,
            last_seq: key.first.saturating_sub(1),
            segment_bytes,
        };
        let damage = match verify {
            Verify::Tail => active.catch_up()?,
            Verify::Full => active.rescan()?,
        };
        Ok((active, damage))
    }

    /// Takes note of what others appended since, and cuts a torn tail.
    pub(crate) fn catch_up(&mut self) -> Result<Option<Damage>, PathError> {
        let size = segment::status(&self.file, &self.path)?.size_bytes;
        if size <= self.end {
            return Ok(None);
        }
        if let Some(seq) = segment::last_line_seq(&self.file, &self.path, size)? {
            self.end = size;
            self.last_seq = self.last_seq.max(seq);
            return Ok(None);
        }
        if self.end == 0 {
            return self.rescan();
        }
        let hole_last = segment::hole_last(&self.file, &self.path)?;
        self.settle(self.end, Sequence::inside(self.key.epoch, hole_last))
    }

    /// Reads the whole segment and cuts a torn tail.
    pub(crate) fn rescan(&mut self) -> Result<Option<Damage>, PathError> {
        self.settle(0, Sequence::starting_at(self.key.position()))
    }

    fn settle(&mut self, from: u64, sequence: Sequence) -> Result<Option<Damage>, PathError> {
        let size = segment::status(&self.file, &self.path)?.size_bytes;
        let bytes = segment::read_range(&self.file, &self.path, from, size)?;
        let scan = scan_from(&bytes, sequence);
        self.last_seq = self.last_seq.max(scan.last_seq.unwrap_or(0));
        self.end = from + scan.end as u64;
        match scan.tail {
            Tail::Clean => Ok(None),
            Tail::Torn => {
                self.cut(self.end)?;
                Ok(None)
            }
            Tail::Corrupt { what } => {
                // Nothing is cut: what the file holds is evidence.
                self.end = size;
                Ok(Some(what))
            }
        }
    }

    /// Makes the file end at `end`, and keeps the space that this gives back.
    pub(crate) fn cut(&mut self, end: u64) -> Result<(), PathError> {
        self.file.set_len(end).at("cut", &self.path)?;
        segment::preallocate(&self.file, self.segment_bytes);
        self.end = end;
        Ok(())
    }

    /// Writes `bytes` after the last record and tells how many went in.
    pub(crate) fn write(&self, bytes: &[u8]) -> (usize, io::Result<()>) {
        let mut written = 0;
        while written < bytes.len() {
            let offset = self.end + written as u64;
            match self.file.write_at(&bytes[written..], offset) {
                Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Err(error)),
            }
        }
        (written, Ok(()))
    }

    /// Ends this segment: what it holds is on disk, nothing more comes.
    pub(crate) fn seal(&self) -> Result<(), PathError> {
        self.file.sync_data().at("sync", &self.path)?;
        segment::seal(&self.file, &self.path, self.end)
    }
}

/// Keeps the space of the next segment. It is a reserve: failing to make it
/// now only means that the rotation itself must find the space.
fn prepare_spare(spare: &Path, segment_bytes: u64) {
    if let Ok(file) = segment::create(spare) {
        segment::preallocate(&file, segment_bytes);
    }
}
