//! Finding the last lines of a log without reading all of it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::lines::LineReader;
use super::{RECORD_LIMIT_BYTES, record};

/// What is read at once, backwards.
const BLOCK_BYTES: u64 = 64 * 1024;

/// Moves the beginning to the last `count` lines.
pub(super) fn keep_last(files: &mut Vec<LineReader>, count: u64) -> io::Result<()> {
    let mut left = Left { count, seen: false };
    for index in (0..files.len()).rev() {
        if begin_in(&mut files[index], &mut left)? {
            files.drain(..index);
            break;
        }
    }
    Ok(())
}

/// Lines that may still be taken.
struct Left {
    count: u64,
    seen: bool,
}

impl Left {
    /// Returns whether the record before those taken may be taken too: a part
    /// of a line comes with the line, and the newest record is one in any case.
    fn takes(&mut self, ends_line: bool) -> bool {
        let begins_another = ends_line || !self.seen;
        self.seen = true;
        if begins_another && self.count == 0 {
            return false;
        }
        if begins_another {
            self.count -= 1;
        }
        true
    }
}

/// Moves to where the lines to take begin; returns whether that is not the
/// file's beginning.
fn begin_in(reader: &mut LineReader, left: &mut Left) -> io::Result<bool> {
    let Some(file) = reader.plain() else {
        return begin_in_compressed(reader, left);
    };
    match begin_in_plain(file, left)? {
        Some(offset) => {
            reader.offset = offset;
            Ok(true)
        }
        None => Ok(false),
    }
}

/// A compressed file cannot be read backwards: its lines are counted first.
fn begin_in_compressed(reader: &mut LineReader, left: &mut Left) -> io::Result<bool> {
    let (mut ends, mut entries, mut in_line) = (0_u64, 0_u64, false);
    while let Some(line) = reader.next_line()? {
        if let Some(entry) = record::parse(line) {
            entries += 1;
            in_line = !entry.ends_line();
            ends += u64::from(!in_line);
        }
    }
    reader.rewind()?;
    // A part of a line at the end belongs to what was taken already, if anything was.
    let lines = ends + u64::from(in_line && !left.seen);
    if lines <= left.count {
        left.count -= lines;
        left.seen |= entries > 0;
        return Ok(false);
    }
    skip_lines(reader, lines - left.count)?;
    Ok(true)
}

fn skip_lines(reader: &mut LineReader, count: u64) -> io::Result<()> {
    let mut left = count;
    while left > 0
        && let Some(line) = reader.next_line()?
    {
        let ends_line = record::parse(line).is_some_and(|entry| entry.ends_line());
        left -= u64::from(ends_line);
    }
    Ok(())
}

/// Returns where the lines to take begin, `None` if the whole file is taken.
fn begin_in_plain(file: &File, left: &mut Left) -> io::Result<Option<u64>> {
    let mut lines = Backward::new(file)?;
    while let Some((offset, line)) = lines.previous()? {
        let end = offset + line.len() as u64;
        let Some(entry) = record::parse(&line) else {
            continue;
        };
        if !left.takes(entry.ends_line()) {
            return Ok(Some(end));
        }
    }
    Ok(None)
}

/// Whole lines of a file, last first.
struct Backward<'a> {
    file: &'a File,
    /// The file's offset of the buffer's first byte.
    begin: u64,
    buffer: Vec<u8>,
}

impl<'a> Backward<'a> {
    fn new(file: &'a File) -> io::Result<Self> {
        let begin = file.metadata()?.len();
        Ok(Self {
            file,
            begin,
            buffer: Vec::new(),
        })
    }

    fn previous(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            let before_last = self.buffer.len().saturating_sub(1);
            let newline = self.buffer[..before_last].iter().rposition(|b| *b == b'\n');
            if let Some(position) = newline {
                let line = self.buffer.split_off(position + 1);
                return Ok(Some((self.begin + position as u64 + 1, line)));
            }
            if self.begin == 0 || self.buffer.len() > RECORD_LIMIT_BYTES {
                let line = std::mem::take(&mut self.buffer);
                return Ok((!line.is_empty()).then_some((self.begin, line)));
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let length = self.begin.min(BLOCK_BYTES);
        let mut block = vec![0; length as usize];
        self.file.read_exact_at(&mut block, self.begin - length)?;
        block.append(&mut self.buffer);
        self.buffer = block;
        self.begin -= length;
        Ok(())
    }
}
