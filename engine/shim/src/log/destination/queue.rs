//! Lines that wait to be sent, as compact as they were read.

use base::Timestamp;

use super::super::{Line, Partial};
use crate::stdio::Stream;

/// Stream and position, ordinal, time, length.
const HEADER_BYTES: usize = 17;
/// Room that is kept while little waits.
const KEPT_BYTES: usize = 16 * 1024;

/// A first-in, first-out queue with a bound in bytes.
#[derive(Debug)]
pub(super) struct Queue {
    bytes: Vec<u8>,
    begin: usize,
    limit: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            begin: 0,
            limit,
        }
    }

    /// Returns how much waits.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len() - self.begin
    }

    /// Returns whether there was room. An empty queue takes any line.
    pub(super) fn push(&mut self, line: &Line<'_>) -> bool {
        let text = line.text();
        let waiting = self.bytes();
        if waiting > 0 && waiting + HEADER_BYTES + text.len() > self.limit {
            return false;
        }
        let flags = line.stream as u8 | u8::from(line.partial.is_last) << 1;
        self.bytes.push(flags);
        self.bytes.extend(line.partial.ordinal.to_le_bytes());
        self.bytes.extend(line.time.nanoseconds().to_le_bytes());
        let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
        self.bytes.extend(length.to_le_bytes());
        self.bytes.extend(&text[..length as usize]);
        true
    }

    /// Takes the first line.
    pub(super) fn pop(&mut self) -> Option<Line<'_>> {
        self.tidy();
        let (header, rest) = self.bytes[self.begin..].split_first_chunk::<HEADER_BYTES>()?;
        let [flags, header @ ..] = header;
        let (ordinal, header) = header.split_first_chunk()?;
        let (time, length) = header.split_first_chunk()?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        self.begin += HEADER_BYTES + length;
        Some(Line {
            stream: match flags & 1 {
                0 => Stream::Stdout,
                _ => Stream::Stderr,
            },
            content: &rest[..length],
            time: Timestamp::from_nanoseconds(i64::from_le_bytes(*time)),
            partial: Partial {
                ordinal: u32::from_le_bytes(*ordinal),
                is_last: flags & 2 != 0,
            },
        })
    }

    /// Gives back the room of what was taken.
    fn tidy(&mut self) {
        if self.begin == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.begin = 0;
        } else if self.begin > self.bytes.len() / 2 {
            self.bytes.drain(..self.begin);
            self.begin = 0;
        }
    }
}
