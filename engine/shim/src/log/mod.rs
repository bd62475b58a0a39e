//! The container's log: lines into records, records into bounded files.
//!
//! The format and its crash cases stand in `docs/formats/container-log.md`.
//! Nothing here ever stops the container: what cannot be written is dropped and
//! counted.

mod files;
mod record;

use base::{PathError, Timestamp};
use engine_shim_api::LogConfig;
use engine_shim_api::log_reader::LINE_LIMIT_BYTES;

use crate::stdio::{OUTPUTS, Stream};
use files::LogFiles;

/// Records are written at least this often while one chunk is cut into lines.
const BATCH_LIMIT_BYTES: usize = 32 * 1024;

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    files: LogFiles,
    /// The beginning of a line of each stream.
    lines: [Vec<u8>; 2],
    batch: Vec<u8>,
}

impl LogWriter {
    /// Opens the log, cutting a record that a crash has torn.
    ///
    /// # Errors
    /// When the current file cannot be opened.
    pub(crate) fn open(config: &LogConfig) -> Result<Self, PathError> {
        Ok(Self {
            files: LogFiles::open(config)?,
            lines: [Vec::new(), Vec::new()],
            batch: Vec::new(),
        })
    }

    /// Writes a chunk of output; whole lines of it are in the file afterwards.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8]) {
        let time = Timestamp::now().to_string();
        let mut line = std::mem::take(&mut self.lines[stream as usize]);
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.take_line(stream, &mut line, rest, &time);
        }
        self.lines[stream as usize] = line;
        self.flush();
    }

    /// Writes lines that have no end.
    pub(crate) fn finish(&mut self) {
        let time = Timestamp::now().to_string();
        for stream in OUTPUTS {
            let line = std::mem::take(&mut self.lines[stream as usize]);
            if !line.is_empty() {
                self.record(stream, &line, &time);
            }
        }
        self.flush();
    }

    /// Returns why the last record was dropped, once.
    pub(crate) fn take_error(&mut self) -> Option<PathError> {
        self.files.take_error()
    }

    /// Takes one line, or a part of one, off `chunk`; returns what is left.
    fn take_line<'a>(
        &mut self,
        stream: Stream,
        line: &mut Vec<u8>,
        chunk: &'a [u8],
        time: &str,
    ) -> &'a [u8] {
        let room = LINE_LIMIT_BYTES - line.len();
        let window = &chunk[..chunk.len().min(room)];
        if let Some(end) = window.iter().position(|byte| *byte == b'\n') {
            self.whole_line(stream, line, &window[..=end], time);
            return &chunk[end + 1..];
        }
        line.extend(window);
        if line.len() == LINE_LIMIT_BYTES {
            let cut = record::text_boundary(line);
            self.record(stream, &line[..cut], time);
            line.drain(..cut);
        }
        &chunk[window.len()..]
    }

    fn whole_line(&mut self, stream: Stream, line: &mut Vec<u8>, end: &[u8], time: &str) {
        if line.is_empty() {
            return self.record(stream, end, time);
        }
        line.extend(end);
        self.record(stream, line, time);
        *line = Vec::new();
    }

    fn record(&mut self, stream: Stream, content: &[u8], time: &str) {
        let begin = self.batch.len();
        record::encode(&mut self.batch, stream, content, time);
        if self.files.is_full_with(begin, self.batch.len()) {
            let record = self.batch.split_off(begin);
            self.flush();
            self.files.rotate();
            self.batch = record;
        }
        if self.batch.len() >= BATCH_LIMIT_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.files.write(&self.batch);
        self.batch.clear();
        // One escape-heavy record can be 100 KiB; do not keep that for ever.
        self.batch.shrink_to(BATCH_LIMIT_BYTES);
    }
}

#[cfg(test)]
mod tests;
