//! Reading a container's log while the shim writes it: from the oldest record,
//! from a time, or the last lines; across rotation; following.
//!
//! The format stands in `docs/formats/container-log.md`. A reader holds no lock
//! and keeps open what it has not read yet, so that rotation cannot take it
//! away. What was rotated out before a reader came to it is told by the number
//! of files.

mod compressed;
mod files;
mod lines;
mod record;
mod tail;
mod watch;

use std::collections::VecDeque;
use std::time::Duration;

use base::{PathContext as _, PathError, Timestamp};

pub use compressed::Origin;
pub use record::{LogContent, LogEntry, LogStream};

use crate::LogPlace;
use lines::LineReader;
use record::FileHead;
use watch::Watch;

/// Output is cut into lines, and lines into records, of at most this.
pub const LINE_LIMIT_BYTES: usize = 16 * 1024;
/// No record is longer: every byte of a line may be escaped to six.
pub const RECORD_LIMIT_BYTES: usize = 128 * 1024;

/// Where a reader begins; by default at the oldest record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStart {
    /// Only records of this time or later.
    pub since: Option<Timestamp>,
    /// Only the last so many lines that are there when the reader is opened.
    pub tail: Option<u64>,
}

/// Reads one container's log.
#[derive(Debug)]
pub struct LogReader {
    place: LogPlace,
    current: Option<LineReader>,
    /// Files after the current one, oldest first.
    newer: VecDeque<LineReader>,
    /// The number of the last file that said its own.
    number: Option<u64>,
    since: Option<Timestamp>,
    watch: Option<Watch>,
}

impl LogReader {
    /// Opens a log; one that does not exist yet is empty.
    ///
    /// # Errors
    /// When a file cannot be opened or read.
    pub fn open(place: &LogPlace, start: &LogStart) -> Result<Self, PathError> {
        let directory = &place.directory;
        let mut files = files::open_all(place)?;
        files::drop_older(&mut files, start.since);
        if let Some(count) = start.tail {
            tail::keep_last(&mut files, count).at("read a log in", directory)?;
        }
        let mut newer: VecDeque<_> = files.into();
        let current = newer.pop_front();
        let head = current.as_ref().and_then(|current| current.head);
        Ok(Self {
            place: place.clone(),
            number: head.map(|head| head.number),
            current,
            newer,
            since: start.since,
            watch: None,
        })
    }

    /// Returns how many bytes the files of a log take together.
    ///
    /// # Errors
    /// When a file cannot be looked at.
    pub fn size(place: &LogPlace) -> Result<u64, PathError> {
        files::size(place)
    }

    /// Returns the next entry, or `None` if there is none now: more may come.
    ///
    /// # Errors
    /// When a file cannot be opened or read.
    pub fn next_entry(&mut self) -> Result<Option<LogEntry>, PathError> {
        loop {
            if let Some(entry) = self.read_current()? {
                if self.since.is_none_or(|since| entry.time >= since) {
                    return Ok(Some(entry));
                }
                continue;
            }
            if let Some(next) = self.newer.pop_front() {
                let missed = next.head.and_then(|head| self.enter(head));
                self.current = Some(next);
                match missed {
                    None => continue,
                    missed => return Ok(missed),
                }
            }
            self.newer = files::open_newer(&self.place, self.current.as_ref())?.into();
            if self.newer.is_empty() {
                return Ok(None);
            }
            // The current file may have grown before it was rotated: it is read
            // to its end once more before the next one is taken.
        }
    }

    /// Returns once something may have been written, or `limit` has passed. The
    /// first call returns at once.
    pub fn wait(&mut self, limit: Duration) {
        match &mut self.watch {
            Some(watch) => watch.wait(limit),
            None => self.watch = Some(Watch::new(&self.place.directory)),
        }
    }

    /// Returns the next entry of the current file; lines that are no records
    /// are skipped.
    fn read_current(&mut self) -> Result<Option<LogEntry>, PathError> {
        while let Some(current) = &mut self.current
            && let Some(line) = current
                .next_line()
                .at("read a log in", &self.place.directory)?
        {
            if let Some(entry) = record::parse(line) {
                return Ok(Some(entry));
            }
            // A file that was opened while it was empty says its number here.
            if let Some(missed) = record::parse_head(line).and_then(|head| self.enter(head)) {
                return Ok(Some(missed));
            }
        }
        let damaged = self.current.as_mut().and_then(LineReader::take_damage);
        Ok(damaged.map(|time| LogEntry::notice(time, LogContent::Damaged)))
    }

    /// Takes note of a file; returns an entry for those that are missing before it.
    fn enter(&mut self, head: FileHead) -> Option<LogEntry> {
        let before = self.number.replace(head.number)?;
        let files = head.number.saturating_sub(before).saturating_sub(1);
        let missed = LogContent::Missed { files };
        (files > 0).then(|| LogEntry::notice(head.time, missed))
    }
}

#[cfg(test)]
mod tests;
