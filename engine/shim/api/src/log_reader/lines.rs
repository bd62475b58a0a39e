//! Whole lines of one file: one that may still grow, and may shrink by a torn
//! record, or a compressed one.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use base::Timestamp;
use memchr::memchr;

use super::compressed::{Compressed, HEADER_LIMIT_BYTES, Origin};
use super::record::{self, FileHead};
use super::{LogPosition, RECORD_LIMIT_BYTES};

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// No file's first line that says its number is longer.
const HEAD_LIMIT_BYTES: usize = 128;

/// Returns what a file begins with; one without content, or of an earlier
/// version, does not.
fn file_head(beginning: &[u8]) -> Option<FileHead> {
    let mut lines = beginning.split_inclusive(|byte| *byte == b'\n');
    lines.next().and_then(record::parse_head)
}

/// What makes a file the same under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Reads one file line by line.
#[derive(Debug)]
pub(super) struct LineReader {
    source: Source,
    identity: FileIdentity,
    /// When it was written last, as far as is known.
    modified: Timestamp,
    /// Where the bytes that have not been handed out begin in the content.
    pub(super) offset: u64,
    pub(super) head: Option<FileHead>,
    buffer: Vec<u8>,
    /// Where they begin in the buffer.
    begin: usize,
    damage_told: bool,
}

#[derive(Debug)]
enum Source {
    Plain(File),
    Compressed(Box<Compressed>),
}

impl LineReader {
    /// Reads a file that may be written.
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut beginning = [0; HEAD_LIMIT_BYTES];
        let length = file.read_at(&mut beginning, 0)?;
        let identity = FileIdentity {
            device: metadata.dev(),
            inode: metadata.ino(),
        };
        Ok(Self {
            modified: modified(&metadata),
            head: file_head(&beginning[..length]),
            ..Self::of(Source::Plain(file), identity)
        })
    }

    /// Reads a compressed file, which is written no more.
    pub(super) fn compressed(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut beginning = [0; HEADER_LIMIT_BYTES];
        let length = file.read_at(&mut beginning, 0)?;
        let origin = Origin::parse(&beginning[..length]);
        let identity = FileIdentity {
            device: metadata.dev(),
            inode: origin.map_or(metadata.ino(), |origin| origin.inode),
        };
        let modified = modified(&metadata);
        let number = origin.and_then(|origin| origin.number);
        Ok(Self {
            modified,
            head: number.map(|number| FileHead {
                number,
                time: modified,
            }),
            ..Self::of(
                Source::Compressed(Box::new(Compressed::new(file)?)),
                identity,
            )
        })
    }

    fn of(source: Source, identity: FileIdentity) -> Self {
        Self {
            source,
            identity,
            modified: Timestamp::default(),
            offset: 0,
            head: None,
            buffer: Vec::new(),
            begin: 0,
            damage_told: false,
        }
    }

    /// Returns the inode of the file, or of the one it was compressed from.
    pub(super) fn inode(&self) -> u64 {
        self.identity.inode
    }

    /// Returns where the file ends now; one that is compressed is read to its end.
    pub(super) fn end(&self) -> io::Result<LogPosition> {
        let bytes = match &self.source {
            Source::Plain(file) => file.metadata()?.len(),
            Source::Compressed(_) => u64::MAX,
        };
        let file = self.head.map_or(self.inode(), |head| head.number);
        Ok(LogPosition { file, bytes })
    }

    /// Returns when the file had been written last when it was opened.
    pub(super) fn modified(&self) -> Timestamp {
        self.modified
    }

    /// Returns whether both are of one file. An inode may be that of another
    /// file once its own was compressed; then the time of the last write tells.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let both_plain = self.plain().is_some() && other.plain().is_some();
        self.identity == other.identity && (both_plain || self.last_write() == other.last_write())
    }

    /// Returns the file if it is not compressed.
    pub(super) fn plain(&self) -> Option<&File> {
        match &self.source {
            Source::Plain(file) => Some(file),
            Source::Compressed(_) => None,
        }
    }

    fn last_write(&self) -> Timestamp {
        let now = self.plain().and_then(|file| file.metadata().ok());
        now.map_or(self.modified, |metadata| modified(&metadata))
    }

    /// Returns once, where a compressed file cannot be read to its end, the time
    /// of the file.
    pub(super) fn take_damage(&mut self) -> Option<Timestamp> {
        match &self.source {
            Source::Compressed(compressed) if compressed.damaged && !self.damage_told => {
                self.damage_told = true;
                Some(self.modified)
            }
            _ => None,
        }
    }

    /// Goes back to the beginning.
    pub(super) fn rewind(&mut self) -> io::Result<()> {
        if let Source::Compressed(compressed) = &mut self.source {
            compressed.rewind()?;
        }
        (self.offset, self.begin) = (0, 0);
        self.buffer = Vec::new();
        Ok(())
    }

    /// Returns the next whole line, newline included, or `None` if there is
    /// none now. A line over the limit is skipped: it is no record.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.begin;
        loop {
            let newline = memchr(b'\n', &self.buffer[searched..]);
            if let Some(position) = newline {
                let (begin, end) = (self.begin, searched + position + 1);
                self.begin = end;
                self.offset += (end - begin) as u64;
                return Ok(Some(&self.buffer[begin..end]));
            }
            searched = self.buffer.len() - self.begin;
            if searched > RECORD_LIMIT_BYTES {
                self.offset += searched as u64;
                self.begin = self.buffer.len();
                searched = 0;
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more; at the end of the file a beginning of a line is forgotten,
    /// since the writer may cut and replace it.
    fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.begin);
        self.begin = 0;
        let held = self.buffer.len();
        self.buffer.resize(held + READ_BYTES, 0);
        let read = match &mut self.source {
            Source::Plain(file) => {
                let position = self.offset + held as u64;
                file.read_at(&mut self.buffer[held..], position)
            }
            Source::Compressed(compressed) => Ok(compressed.read(&mut self.buffer[held..])),
        };
        let length = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(held + length);
        if length == 0 {
            self.buffer = Vec::new();
        }
        read.map(|length| length > 0)
    }
}

fn modified(metadata: &Metadata) -> Timestamp {
    let seconds = metadata.mtime().saturating_mul(1_000_000_000);
    Timestamp::from_nanoseconds(seconds.saturating_add(metadata.mtime_nsec()))
}
