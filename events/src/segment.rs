//! Segment files: their names, the list of them, their seal, the space kept
//! for them, and searching one without reading all of it.
//!
//! A sealed segment has mode 0400: one `fstat` tells a writer that somebody
//! rotated, and a reader that nothing more comes here.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base::{PathContext as _, PathError, Timestamp};
use rustix::fs::FallocateFlags;

use crate::format::{Header, Line, RECORD_LIMIT_BYTES, check_line, peek_header};
use crate::position::Position;
use crate::scan::lines;

/// The most bytes of a segment anybody reads at once.
pub(crate) const SEGMENT_READ_LIMIT_BYTES: u64 = 64 << 20;
const SEALED_MODE: u32 = 0o400;
const OPEN_MODE: u32 = 0o600;
/// A search narrows down to this many bytes and leaves the rest to reading.
const SEARCH_WINDOW_BYTES: u64 = 32 * 1024;

/// Names a segment: `<epoch>-<first seq>.jsonl`, padded so that names sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentKey {
    pub(crate) epoch: u64,
    pub(crate) first: u64,
}

impl SegmentKey {
    pub(crate) fn path(self, directory: &Path) -> PathBuf {
        directory.join(self.to_string())
    }

    /// Returns the position of the first record.
    pub(crate) fn position(self) -> Position {
        Position {
            epoch: self.epoch,
            seq: self.first,
        }
    }
}

impl fmt::Display for SegmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:010}-{:020}.jsonl", self.epoch, self.first)
    }
}

impl FromStr for SegmentKey {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        let stem = name.strip_suffix(".jsonl").ok_or(())?;
        let (epoch, first) = stem.split_once('-').ok_or(())?;
        let key = Self {
            epoch: epoch.parse().map_err(|_| ())?,
            first: first.parse().map_err(|_| ())?,
        };
        if key.to_string() == name {
            Ok(key)
        } else {
            Err(())
        }
    }
}

/// What one `fstat` of a segment tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SegmentStatus {
    pub(crate) size_bytes: u64,
    pub(crate) sealed: bool,
    /// The file has been removed or replaced under its name.
    pub(crate) unlinked: bool,
}

/// Returns the segments in `directory`, oldest first.
pub(crate) fn list(directory: &Path) -> Result<Vec<SegmentKey>, PathError> {
    let mut keys = Vec::new();
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let name = entry.at("list", directory)?.file_name();
        if let Some(Ok(key)) = name.to_str().map(SegmentKey::from_str) {
            keys.push(key);
        }
    }
    keys.sort_unstable();
    Ok(keys)
}

/// Opens a segment to read it.
pub(crate) fn open_for_reading(directory: &Path, key: SegmentKey) -> Result<File, PathError> {
    let path = key.path(directory);
    File::open(&path).at("open", &path)
}

/// Opens a segment to append to it.
pub(crate) fn open_for_writing(directory: &Path, key: SegmentKey) -> Result<File, PathError> {
    let path = key.path(directory);
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    options.open(&path).at("open", &path)
}

/// Opens an empty file that nobody may read but its owner, made if it is not
/// there. An empty one keeps the space that is kept for it.
pub(crate) fn create(path: &Path) -> Result<File, PathError> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(OPEN_MODE).open(path).at("create", path)?;
    if status(&file, path)?.size_bytes > 0 {
        file.set_len(0).at("cut", path)?;
    }
    Ok(file)
}

pub(crate) fn status(file: &File, path: &Path) -> Result<SegmentStatus, PathError> {
    let metadata = file.metadata().at("inspect", path)?;
    Ok(SegmentStatus {
        size_bytes: metadata.len(),
        sealed: metadata.mode() & 0o200 == 0,
        unlinked: metadata.nlink() == 0,
    })
}

/// Gives back the space kept beyond `end` and marks the segment as complete.
pub(crate) fn seal(file: &File, path: &Path, end: u64) -> Result<(), PathError> {
    file.set_len(end).at("cut", path)?;
    file.set_permissions(Permissions::from_mode(SEALED_MODE))
        .at("seal", path)
}

/// Keeps `size_bytes` of disk for a file without changing its length, so that
/// appends work on a full disk. A file system that cannot, or that has no
/// space left, is no error: appends then find out by themselves.
pub(crate) fn preallocate(file: &File, size_bytes: u64) {
    let kept = rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size_bytes);
    if let Err(error) = kept {
        tracing::debug!(%error, size_bytes, "no disk space kept for the event log");
    }
}

/// Reads the bytes from `start` to `end`.
pub(crate) fn read_range(
    file: &File,
    path: &Path,
    start: u64,
    end: u64,
) -> Result<Vec<u8>, PathError> {
    let length = end.saturating_sub(start);
    if length > SEGMENT_READ_LIMIT_BYTES {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge)).at("read", path);
    }
    let mut bytes = vec![0; length as usize];
    let read = read_at(file, &mut bytes, start).at("read", path)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buffer` from `offset` as far as the file goes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Returns the seq that the last line of a segment reaches, if that line is
/// whole and valid; reads only the end of the file.
pub(crate) fn last_line_seq(
    file: &File,
    path: &Path,
    size_bytes: u64,
) -> Result<Option<u64>, PathError> {
    for window in [4096, RECORD_LIMIT_BYTES as u64 + 1] {
        let start = size_bytes.saturating_sub(window);
        let bytes = read_range(file, path, start, size_bytes)?;
        let Some((b'\n', content)) = bytes.split_last() else {
            return Ok(None);
        };
        let before = content.iter().rposition(|b| *b == b'\n');
        let line = match before {
            Some(newline) => &content[newline + 1..],
            None if start == 0 => content,
            None => continue,
        };
        return Ok(check_line(line).ok().map(|line| match line {
            Line::Record(header) => header.position.seq,
            Line::Compacted { last, .. } => last,
        }));
    }
    Ok(None)
}

/// The last record of a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastRecord {
    pub(crate) position: Position,
    pub(crate) time: Timestamp,
}

/// Returns the last valid record in the last bytes of a segment.
pub(crate) fn last_record(
    file: &File,
    path: &Path,
    size_bytes: u64,
) -> Result<Option<LastRecord>, PathError> {
    let start = size_bytes.saturating_sub(2 * RECORD_LIMIT_BYTES as u64);
    let bytes = read_range(file, path, start, size_bytes)?;
    let headers = lines(&bytes).filter_map(|(_, line)| match check_line(line) {
        Ok(Line::Record(header)) => Some(header),
        _ => None,
    });
    Ok(headers.last().map(|header| LastRecord {
        position: header.position,
        time: header.time.parse().unwrap_or_default(),
    }))
}

/// Returns the offset of a line from which reading on finds the first record
/// that `is_before` is false for, by bisection over the line starts.
///
/// Lines are not verified here: a damaged one ends the search early, and
/// reading from the offset meets it.
pub(crate) fn search(
    file: &File,
    path: &Path,
    size_bytes: u64,
    is_before: impl Fn(&Header<'_>) -> bool,
) -> Result<u64, PathError> {
    let mut low = 0;
    let mut high = size_bytes;
    while high - low > SEARCH_WINDOW_BYTES {
        let middle = low + (high - low) / 2;
        let limit = (middle + 2 * RECORD_LIMIT_BYTES as u64).min(size_bytes);
        let bytes = read_range(file, path, middle, limit)?;
        let Some((start, line)) = lines(&bytes).nth(1) else {
            break;
        };
        let Some(header) = peek_header(line) else {
            break;
        };
        let start = middle + start as u64;
        if !is_before(&header) {
            high = middle;
        } else if start < high {
            low = start;
        } else {
            break;
        }
    }
    Ok(low)
}

/// Returns the end of the hole that the segment's compaction mark allows.
pub(crate) fn hole_last(file: &File, path: &Path) -> Result<Option<u64>, PathError> {
    let mut start = [0; 128];
    let read = read_at(file, &mut start, 0).at("read", path)?;
    Ok(lines(&start[..read])
        .next()
        .and_then(|(_, line)| match check_line(line) {
            Ok(Line::Compacted { last, .. }) => Some(last),
            _ => None,
        }))
}
