//! Finding places in the log without reading all of it.

use std::path::Path;

use base::{PathError, Timestamp};

use crate::format::{Header, Line, check_line};
use crate::position::Position;
use crate::scan::lines;
use crate::segment::{self, SegmentKey};

/// How much of a segment is read after a search has narrowed it down.
const WINDOW_BYTES: u64 = 4 * 64 * 1024;

/// Returns the position of the newest whole record, zero if there is none.
pub(crate) fn last(directory: &Path) -> Result<Position, PathError> {
    for key in segment::list(directory)?.into_iter().rev() {
        let path = key.path(directory);
        let file = segment::open_for_reading(directory, key)?;
        let size = segment::status(&file, &path)?.size_bytes;
        if let Some(last) = segment::last_record(&file, &path, size)? {
            return Ok(last.position);
        }
    }
    Ok(Position::default())
}

/// Returns the position before the first record of `time` or later.
pub(crate) fn before_time(directory: &Path, time: Timestamp) -> Result<Position, PathError> {
    let wanted = time.to_string();
    let keys = segment::list(directory)?;
    let mut chosen = None;
    for key in keys.into_iter().rev() {
        chosen = Some(key);
        match first_header(directory, key, 0)? {
            Some((_, first)) if first < wanted => break,
            _ => {}
        }
    }
    match chosen {
        Some(key) => before_time_in(directory, key, &wanted),
        None => Ok(Position::default()),
    }
}

fn before_time_in(directory: &Path, key: SegmentKey, wanted: &str) -> Result<Position, PathError> {
    let path = key.path(directory);
    let file = segment::open_for_reading(directory, key)?;
    let size = segment::status(&file, &path)?.size_bytes;
    let is_before = |header: &Header<'_>| header.time < wanted;
    let start = segment::search(&file, &path, size, is_before)?;
    let bytes = segment::read_range(&file, &path, start, size.min(start + WINDOW_BYTES))?;
    let mut before = Position {
        epoch: key.epoch,
        seq: key.first.saturating_sub(1),
    };
    for (_, line) in lines(&bytes) {
        match check_line(line) {
            Ok(Line::Record(header)) if is_before(&header) => before = header.position,
            Ok(Line::Record(header)) => {
                before.seq = header.position.seq - 1;
                break;
            }
            _ => {}
        }
    }
    Ok(before)
}

/// Returns place and time of the first record at or after `offset`.
fn first_header(
    directory: &Path,
    key: SegmentKey,
    offset: u64,
) -> Result<Option<(Position, String)>, PathError> {
    let path = key.path(directory);
    let file = segment::open_for_reading(directory, key)?;
    let size = segment::status(&file, &path)?.size_bytes;
    let bytes = segment::read_range(&file, &path, offset, size.min(offset + WINDOW_BYTES))?;
    Ok(lines(&bytes).find_map(|(_, line)| match check_line(line) {
        Ok(Line::Record(header)) => Some((header.position, header.time.to_owned())),
        _ => None,
    }))
}
