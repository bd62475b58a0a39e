//! Whole lines of one file that may still grow, and may shrink by a torn record.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

use super::RECORD_LIMIT_BYTES;
use super::record::{self, FileHead};

/// What is read at once.
const READ_BYTES: usize = 64 * 1024;
/// No file's first line that says its number is longer.
const HEAD_LIMIT_BYTES: usize = 128;

/// Returns what a file begins with; one without content, or of an earlier
/// version, does not.
fn file_head(file: &File) -> io::Result<Option<FileHead>> {
    let mut buffer = [0; HEAD_LIMIT_BYTES];
    let length = file.read_at(&mut buffer, 0)?;
    let mut lines = buffer[..length].split_inclusive(|byte| *byte == b'\n');
    Ok(lines.next().and_then(record::parse_head))
}

/// What makes a file the same under another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Reads one file line by line.
#[derive(Debug)]
pub(super) struct LineReader {
    pub(super) file: File,
    pub(super) identity: FileIdentity,
    /// Where the bytes that have not been handed out begin in the file.
    pub(super) offset: u64,
    pub(super) head: Option<FileHead>,
    buffer: Vec<u8>,
    /// Where they begin in the buffer.
    begin: usize,
}

impl LineReader {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            head: file_head(&file)?,
            file,
            identity: FileIdentity {
                device: metadata.dev(),
                inode: metadata.ino(),
            },
            offset: 0,
            buffer: Vec::new(),
            begin: 0,
        })
    }

    /// Returns the next whole line, newline included, or `None` if there is
    /// none now. A line over the limit is skipped: it is no record.
    pub(super) fn next_line(&mut self) -> io::Result<Option<&[u8]>> {
        let mut searched = self.begin;
        loop {
            let newline = self.buffer[searched..].iter().position(|b| *b == b'\n');
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
        let position = self.offset + held as u64;
        let read = self.file.read_at(&mut self.buffer[held..], position);
        let length = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(held + length);
        if length == 0 {
            self.buffer = Vec::new();
        }
        read.map(|length| length > 0)
    }
}
