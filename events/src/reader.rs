//! Following the log from a position.
//!
//! A reader trusts only whole lines with a good checksum, in order. Between
//! calls it keeps nothing but the offset after the last one, so that a tail
//! that is cut and written anew is read anew.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{PathContext as _, PathError};

use crate::format::{Header, Line, RECORD_LIMIT_BYTES, check_line, decode};
use crate::log::AppendError;
use crate::position::Position;
use crate::record::Record;
use crate::scan::{Sequence, Tail, lines, scan_from};
use crate::segment::{self, SegmentKey};
use crate::watch;
use crate::writer::{LOCK_NAME, lock, unlock};

/// The most records one call returns.
const BATCH_RECORDS: usize = 1024;
/// The most bytes one call reads at a time; at least one whole record fits.
const CHUNK_BYTES: u64 = 2 * RECORD_LIMIT_BYTES as u64;
/// The most bytes of records one call returns, give or take a chunk.
const BATCH_BYTES: usize = 1 << 20;
const PIECE_RECORDS: usize = 32;
const PIECE_BYTES: usize = 16 << 10;
/// How often a waiting reader looks for itself, should a hint get lost.
const SLOW_POLL: Duration = Duration::from_secs(1);

/// Why reading cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    File(#[from] PathError),
    /// The records after `after` have been dropped; resync from state files
    /// and go on from `oldest`.
    #[error("events after {after} have been dropped; the oldest kept is {oldest}")]
    Gap { after: Position, oldest: Position },
    /// A record that follows a valid one is missing or damaged.
    #[error("event log damaged after {after}: {what}")]
    Damaged { after: Position, what: String },
    /// A service could not make up for a gap.
    #[error("cannot make up for dropped events")]
    Resync(#[source] base::Failure),
    /// A server could not append a reply.
    #[error("cannot answer a request")]
    Append(#[from] AppendError),
}

/// Reads records in order; keeps the offset of the last whole record only.
#[derive(Debug)]
pub struct Reader {
    directory: PathBuf,
    position: Position,
    current: Option<Current>,
    buffer: Vec<u8>,
    hints: Option<OwnedFd>,
    /// The slow poll found a later segment although ours is not sealed.
    overtaken: bool,
}

/// The segment being read.
#[derive(Debug)]
struct Current {
    key: SegmentKey,
    path: PathBuf,
    file: File,
    offset: u64,
    sequence: Sequence,
    /// There was a later segment already when this one was opened.
    superseded: bool,
}

/// How a look at the current segment ended.
enum Progress {
    /// Something was read, there may be more.
    More,
    /// Nothing to read; no more will come in this segment.
    Complete,
    /// Nothing to read now.
    CaughtUp,
}

/// Records on their way to whoever reads, and how many may be.
#[derive(Debug)]
struct Batch {
    records: Vec<Record>,
    /// Of the lines they were read from.
    bytes: usize,
    most_records: usize,
    most_bytes: usize,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= self.most_records || self.bytes >= self.most_bytes
    }
}

impl Reader {
    pub(crate) fn new(directory: &Path, position: Position) -> Self {
        Self {
            directory: directory.to_owned(),
            position,
            current: None,
            buffer: Vec::new(),
            hints: None,
            overtaken: false,
        }
    }

    /// Returns the records that are there, at most a bounded number (1024);
    /// empty when the reader has caught up. Never blocks.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_batch(&mut self) -> Result<Vec<Record>, ReadError> {
        self.read_at_most(BATCH_RECORDS, BATCH_BYTES)
    }

    /// The same in small pieces, for one of many readers: about 16 KiB of records, and
    /// nothing is held until the next piece.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read_piece(&mut self) -> Result<Vec<Record>, ReadError> {
        let piece = self.read_at_most(PIECE_RECORDS, PIECE_BYTES);
        self.buffer = Vec::new();
        piece
    }

    fn read_at_most(
        &mut self,
        most_records: usize,
        most_bytes: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let mut batch = Batch {
            records: Vec::new(),
            bytes: 0,
            most_records,
            most_bytes,
        };
        if self.current.is_none() {
            self.current = self.enter()?;
        }
        while !batch.is_full() && self.current.is_some() {
            match self.read_chunk(&mut batch) {
                Ok(Progress::More) => {}
                Ok(Progress::CaughtUp) => break,
                Ok(Progress::Complete) if self.advance()? => {}
                Ok(Progress::Complete) => break,
                // What was read before the trouble is good; it comes next time.
                Err(_) if !batch.records.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(batch.records)
    }

    /// Blocks until there may be more to read, at most `limit`; returns whether
    /// there is a reason to read. Wake-ups come from inotify, with a slow poll
    /// as the safety net.
    ///
    /// # Errors
    /// When the directory cannot be watched.
    pub fn wait(&mut self, limit: Duration) -> Result<bool, ReadError> {
        if self.hints.is_none() {
            // What was appended before the watch existed gave no hint.
            self.hints = Some(watch::directory(&self.directory)?);
            return Ok(true);
        }
        let deadline = Instant::now() + limit;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.wait_for_hint(left.min(SLOW_POLL))? {
                watch::Woken::Hint => return Ok(true),
                watch::Woken::Signal => return Ok(false),
                watch::Woken::Timeout => {}
            }
            if self.look()? {
                return Ok(true);
            }
            if left <= SLOW_POLL {
                return Ok(false);
            }
        }
    }

    /// Returns the position of the last record returned.
    pub fn position(&self) -> Position {
        self.position
    }

    fn wait_for_hint(&self, limit: Duration) -> Result<watch::Woken, ReadError> {
        let Some(hints) = &self.hints else {
            return Ok(watch::Woken::Hint);
        };
        Ok(watch::wait(hints, limit).at("watch", &self.directory)?)
    }

    /// Finds the segment that holds the record after our position.
    fn enter(&self) -> Result<Option<Current>, ReadError> {
        let keys = segment::list(&self.directory)?;
        let wanted = self.position.seq.saturating_add(1);
        let Some(oldest) = keys.first() else {
            return Ok(None);
        };
        if self.position == Position::default() {
            return self.open(&keys, 0);
        }
        if oldest.first > wanted {
            return Err(self.gap(*oldest));
        }
        let holder = keys.iter().rposition(|key| key.first <= wanted);
        let Some(mut current) = self.open(&keys, holder.unwrap_or(0))? else {
            return Ok(None);
        };
        self.skip(&mut current)?;
        Ok(Some(current))
    }

    /// Opens a segment; none if it was dropped since it was listed, in which
    /// case the next call lists again.
    fn open(&self, keys: &[SegmentKey], index: usize) -> Result<Option<Current>, ReadError> {
        let key = keys[index];
        let file = match segment::open_for_reading(&self.directory, key) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(Some(Current {
            key,
            path: key.path(&self.directory),
            file,
            offset: 0,
            sequence: Sequence::starting_at(key.position()),
            superseded: index + 1 < keys.len(),
        }))
    }

    /// Goes close to our position, where that saves reading.
    fn skip(&self, current: &mut Current) -> Result<(), ReadError> {
        let (file, path) = (&current.file, current.path.as_path());
        let size = segment::status(file, path)?.size_bytes;
        let is_before = |header: &Header<'_>| header.position.seq <= self.position.seq;
        let offset = segment::search(file, path, size, is_before)?;
        if offset > 0 {
            let hole_last = segment::hole_last(file, path)?;
            current.sequence = Sequence::inside(current.key.epoch, hole_last);
            current.offset = offset;
        }
        Ok(())
    }

    fn gap(&self, oldest: SegmentKey) -> ReadError {
        ReadError::Gap {
            after: self.position,
            oldest: oldest.position(),
        }
    }

    fn read_chunk(&mut self, batch: &mut Batch) -> Result<Progress, ReadError> {
        let Some(current) = &mut self.current else {
            return Ok(Progress::CaughtUp);
        };
        // The order matters: what is there when the seal is seen is all.
        let status = segment::status(&current.file, &current.path)?;
        let complete = status.sealed || status.unlinked || current.superseded;
        let wanted = status.size_bytes.saturating_sub(current.offset);
        self.buffer.resize(wanted.min(CHUNK_BYTES) as usize, 0);
        let read = segment::read_at(&current.file, &mut self.buffer, current.offset)
            .at("read", &current.path)?;
        let start = current.offset;
        let mut bad = None;
        for (_, line) in lines(&self.buffer[..read]) {
            if batch.is_full() {
                break;
            }
            match take(current, self.position, line) {
                Ok(Some(record)) => {
                    self.position = record.position;
                    batch.bytes += line.len();
                    batch.records.push(record);
                }
                Ok(None) => {}
                Err(what) => {
                    bad = Some(what);
                    break;
                }
            }
        }
        if current.offset > start {
            return Ok(Progress::More);
        }
        if bad.is_none() && (read as u64) < CHUNK_BYTES {
            return Ok(self.nothing_read(complete, wanted));
        }
        self.judge(complete)
    }

    fn nothing_read(&self, complete: bool, unread_bytes: u64) -> Progress {
        if complete || (self.overtaken && unread_bytes == 0) {
            Progress::Complete
        } else {
            Progress::CaughtUp
        }
    }

    /// A line is not good. While a writer is at work that can be a moment's
    /// view, so it is looked at again with all writers kept out.
    fn judge(&self, complete: bool) -> Result<Progress, ReadError> {
        let Some(current) = &self.current else {
            return Ok(Progress::CaughtUp);
        };
        let lock_file = self.open_lock()?;
        if let Some(file) = &lock_file {
            lock(file, &self.directory)?;
        }
        let size = segment::status(&current.file, &current.path)?.size_bytes;
        let bytes = segment::read_range(&current.file, &current.path, current.offset, size);
        if let Some(file) = &lock_file {
            unlock(file, &self.directory)?;
        }
        let scan = scan_from(&bytes?, current.sequence.clone());
        match scan.tail {
            Tail::Corrupt { what } if scan.end == 0 => Err(self.damaged(what)),
            _ if scan.end > 0 => Ok(Progress::More),
            _ if complete => Ok(Progress::Complete),
            _ => Ok(Progress::CaughtUp),
        }
    }

    /// A log on a read-only file system has no writers to keep out.
    fn open_lock(&self) -> Result<Option<File>, ReadError> {
        let path = self.directory.join(LOCK_NAME);
        match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at("open", &path)?,
        }
    }

    fn damaged(&self, what: impl Into<String>) -> ReadError {
        ReadError::Damaged {
            after: self.position,
            what: what.into(),
        }
    }

    /// Goes on to the next segment; returns whether there is one.
    fn advance(&mut self) -> Result<bool, ReadError> {
        let Some(current) = &self.current else {
            return Ok(false);
        };
        let keys = segment::list(&self.directory)?;
        let Some(index) = keys.iter().position(|key| *key > current.key) else {
            return Ok(false);
        };
        let next = keys[index];
        let successor = current.sequence.successor();
        let follows = successor.is_none_or(|seq| seq == next.first);
        // What was removed was removed from the oldest on.
        let removed_between = index == 0;
        if !follows && removed_between {
            return Err(self.gap(next));
        }
        if !follows && next.epoch == current.key.epoch {
            return Err(self.damaged(format!("segment {next} does not follow")));
        }
        let Some(opened) = self.open(&keys, index)? else {
            return Ok(false);
        };
        self.current = Some(opened);
        self.overtaken = false;
        Ok(true)
    }

    /// Looks for more without a hint.
    fn look(&mut self) -> Result<bool, ReadError> {
        let keys = segment::list(&self.directory)?;
        let Some(current) = &self.current else {
            return Ok(!keys.is_empty());
        };
        self.overtaken = keys.last().is_some_and(|newest| *newest > current.key);
        let size = segment::status(&current.file, &current.path)?.size_bytes;
        Ok(self.overtaken || size > current.offset)
    }
}

/// Takes one line: moves past it, and returns its record unless it is old.
fn take(current: &mut Current, after: Position, line: &[u8]) -> Result<Option<Record>, ()> {
    let parsed = check_line(line).map_err(drop)?;
    let mut sequence = current.sequence.clone();
    sequence.accept(&parsed).map_err(drop)?;
    let record = match parsed {
        Line::Record(header) if header.position.seq > after.seq => {
            Some(decode(line).map_err(drop)?)
        }
        _ => None,
    };
    current.sequence = sequence;
    current.offset += line.len() as u64 + 1;
    Ok(record)
}
