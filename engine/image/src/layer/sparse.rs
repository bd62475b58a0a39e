//! Files with holes, in the four ways GNU tar stores them.

use std::io::{self, BufRead};

use super::header::{BLOCK, number};
use super::pax::decimal;

/// A run of data in a file that otherwise is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Segment {
    /// Returns the segment unless its end cannot be a file's size.
    pub(super) fn new(offset: u64, length: u64) -> Option<Self> {
        let end = offset.checked_add(length)?;
        i64::try_from(end).ok()?;
        Some(Self { offset, length })
    }
}

/// Where the data of a sparse file goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    pub(super) segments: Vec<Segment>,
    pub(super) real_size: u64,
}

/// No map has more segments; real ones have some thousand.
const MAX_SEGMENTS: usize = 1 << 20;
/// Bytes of a number in a 1.0 map, with its newline.
const MAX_NUMBER: usize = 22;

impl SparseMap {
    /// Returns the map if its segments rise, fit the file and hold exactly `stored` bytes.
    pub(super) fn checked(segments: Vec<Segment>, real_size: u64, stored: u64) -> Option<Self> {
        let mut end = 0;
        let mut total: u64 = 0;
        for segment in &segments {
            if segment.offset < end || segments.len() > MAX_SEGMENTS {
                return None;
            }
            end = segment.offset + segment.length;
            total = total.checked_add(segment.length)?;
        }
        i64::try_from(real_size).ok()?;
        (end <= real_size && total == stored).then_some(Self {
            segments,
            real_size,
        })
    }
}

/// Appends the segments of a block of the old GNU format, 24 bytes each, zeros at the end.
pub(super) fn old_segments(field: &[u8], segments: &mut Vec<Segment>) -> Option<()> {
    for pair in field.chunks_exact(24) {
        if pair.iter().all(|b| *b == 0) {
            break;
        }
        let part = |field| u64::try_from(number(field)?).ok();
        segments.push(Segment::new(part(&pair[..12])?, part(&pair[12..])?)?);
    }
    (segments.len() <= MAX_SEGMENTS).then_some(())
}

/// Reads a 1.0 map from the start of an entry's data; returns the bytes it took.
pub(super) fn map_in_data(
    data: &mut impl BufRead,
    segments: &mut Vec<Segment>,
) -> io::Result<Option<u64>> {
    let mut used = 0;
    let Some(count) = line(data, &mut used)? else {
        return Ok(None);
    };
    if count > MAX_SEGMENTS as u64 {
        return Ok(None);
    }
    for _ in 0..count {
        let (Some(offset), Some(length)) = (line(data, &mut used)?, line(data, &mut used)?) else {
            return Ok(None);
        };
        let Some(segment) = Segment::new(offset, length) else {
            return Ok(None);
        };
        segments.push(segment);
    }
    let block = BLOCK as u64;
    let padding = used.next_multiple_of(block) - used;
    let skipped = io::copy(&mut io::Read::take(data, padding), &mut io::sink())?;
    Ok((skipped == padding).then_some(used + padding))
}

fn line(data: &mut impl BufRead, used: &mut u64) -> io::Result<Option<u64>> {
    let mut text = Vec::with_capacity(MAX_NUMBER);
    let mut bounded = io::Read::take(data, MAX_NUMBER as u64);
    *used += bounded.read_until(b'\n', &mut text)? as u64;
    Ok(text.strip_suffix(b"\n").and_then(decimal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_lie_are_refused() {
        let segment = |offset, length| Segment { offset, length };
        let good = vec![segment(0, 4), segment(512, 4), segment(1000, 0)];
        assert!(SparseMap::checked(good.clone(), 1000, 8).is_some());
        assert!(
            SparseMap::checked(good.clone(), 999, 8).is_none(),
            "past the end"
        );
        assert!(
            SparseMap::checked(good, 1000, 9).is_none(),
            "more data than mapped"
        );
        let crossed = vec![segment(512, 4), segment(0, 4)];
        assert!(SparseMap::checked(crossed, 1000, 8).is_none(), "falling");
        assert!(
            SparseMap::checked(vec![], u64::MAX, 0).is_none(),
            "no file is so large"
        );
        assert!(Segment::new(u64::MAX, 1).is_none());
    }

    #[test]
    fn a_map_in_the_data_takes_whole_blocks() {
        let mut data = b"2\n0\n5\n1024\n6\n".to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"hello");
        let mut segments = Vec::new();
        let mut rest = data.as_slice();
        assert_eq!(map_in_data(&mut rest, &mut segments).unwrap(), Some(512));
        assert_eq!(segments.len(), 2);
        assert_eq!(rest, b"hello");
        let endless = vec![b'1'; 4096];
        assert_eq!(
            map_in_data(&mut endless.as_slice(), &mut segments).unwrap(),
            None
        );
    }
}
