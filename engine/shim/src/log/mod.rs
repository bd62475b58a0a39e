//! The container's log: lines into records, records into bounded files, and to
//! whoever else is to be told.
//!
//! The formats and their crash cases stand in `docs/formats/container-log.md`.
//! Nothing on the disk ever stops the container: what cannot be written is
//! dropped and counted. A destination may hold it back, if it is asked to.

mod compress;
mod destination;
mod files;
mod record;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use base::{PathError, Timestamp};
use engine_shim_api::LogConfig;
use engine_shim_api::log_reader::{LINE_LIMIT_BYTES, LogPosition};
use memchr::memchr;
use rustix::event::PollFlags;
use rustix::process::Pid;

use crate::stdio::{OUTPUTS, Stream};
use destination::Destination;
use files::LogFiles;

pub use compress::{ARGUMENT as COMPRESS_ARGUMENT, compress_log};
pub use destination::ConnectError;

/// Records are written at least this often while one chunk is cut into lines.
const BATCH_LIMIT_BYTES: usize = 32 * 1024;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error(transparent)]
    Files(#[from] PathError),
    #[error(transparent)]
    Destination(#[from] ConnectError),
}

/// A line of output, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Line<'a> {
    stream: Stream,
    content: &'a [u8],
    time: Timestamp,
    partial: Partial,
}

/// Which part of a line: the first is 1, and 0 the whole of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Partial {
    ordinal: u32,
    is_last: bool,
}

impl Line<'_> {
    /// Returns the content without the newline it may end with.
    fn text(&self) -> &[u8] {
        self.content.strip_suffix(b"\n").unwrap_or(self.content)
    }
}

impl Partial {
    /// Returns what a piece is that follows this one in the stream.
    fn next(self, ends_line: bool) -> Self {
        let is_within = self.ordinal > 0 && !self.is_last;
        match (is_within, ends_line) {
            (false, true) => Self::default(),
            (false, false) => Self {
                ordinal: 1,
                is_last: false,
            },
            (true, is_last) => Self {
                ordinal: self.ordinal.saturating_add(1),
                is_last,
            },
        }
    }
}

/// Writes one container's log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    files: Option<LogFiles>,
    destination: Option<Destination>,
    /// The beginning of a line of each stream.
    lines: [Vec<u8>; 2],
    /// What the last record of each stream was.
    partials: [Partial; 2],
    batch: Vec<u8>,
}

impl LogWriter {
    /// Opens the log, cutting a record that a crash has torn.
    ///
    /// # Errors
    /// When the current file cannot be opened, or the destination is not there.
    pub(crate) fn open(config: &LogConfig) -> Result<Self, OpenLogError> {
        let destination = config.destination.as_ref().map(Destination::open);
        let destination = destination.transpose()?;
        let files = config.files.as_ref().map(LogFiles::open).transpose()?;
        Ok(Self {
            files,
            destination,
            lines: [Vec::new(), Vec::new()],
            partials: [Partial::default(); 2],
            batch: Vec::new(),
        })
    }

    /// Writes a chunk of output; whole lines of it are in the file afterwards.
    pub(crate) fn write(&mut self, stream: Stream, chunk: &[u8]) {
        let time = Moment::now();
        let mut line = std::mem::take(&mut self.lines[stream as usize]);
        let mut rest = chunk;
        while !rest.is_empty() {
            rest = self.take_line(stream, &mut line, rest, &time);
        }
        self.lines[stream as usize] = line;
        self.flush();
    }

    /// Returns where the next record goes: what has been written comes before it, but
    /// for the beginnings of lines. `None` where no log is kept.
    pub(crate) fn position(&self) -> Option<LogPosition> {
        self.files.as_ref()?.position()
    }

    /// Returns the beginning of a line that is in no record yet.
    pub(crate) fn beginning(&self, stream: Stream) -> &[u8] {
        &self.lines[stream as usize]
    }

    /// Writes lines that have no end.
    pub(crate) fn finish(&mut self) {
        let time = Moment::now();
        for stream in OUTPUTS {
            let line = std::mem::take(&mut self.lines[stream as usize]);
            if !line.is_empty() {
                self.record(stream, &line, &time);
            }
        }
        self.flush();
        if let Some(files) = &mut self.files {
            files.finish();
        }
    }

    /// Returns what there is to tell of the log, once: why records were dropped.
    pub(crate) fn take_report(&mut self) -> Option<String> {
        let error = self.files.as_mut().and_then(LogFiles::take_error);
        let report = error.map(|error| base::failure::chain(&error));
        report.or_else(|| self.destination.as_mut()?.take_report())
    }

    /// Returns whether output may be read: the destination is not behind.
    pub(crate) fn has_room(&self) -> bool {
        self.destination.as_ref().is_none_or(Destination::has_room)
    }

    /// Returns whether nothing waits to be sent to a destination that is there.
    pub(crate) fn is_idle(&self) -> bool {
        self.destination.as_ref().is_none_or(Destination::is_idle)
    }

    /// Returns the descriptor to wait for, and for what.
    pub(crate) fn watched(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.destination.as_ref()?.watched()
    }

    /// Returns when the next thing is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.destination.as_ref()?.deadline()
    }

    /// Does what is due.
    pub(crate) fn advance(&mut self, now: Instant) {
        if let Some(destination) = &mut self.destination {
            destination.advance(now);
        }
    }

    /// Handles what became ready of [`LogWriter::watched`].
    pub(crate) fn serve(&mut self, events: PollFlags) {
        if let Some(destination) = &mut self.destination {
            destination.serve(events);
        }
    }

    /// Takes note of a child that has ended; returns whether it was the log's.
    pub(crate) fn child_ended(&mut self, pid: Pid, succeeded: bool) -> bool {
        let files = self.files.as_mut();
        files.is_some_and(|files| files.child_ended(pid, succeeded))
    }

    /// Takes one line, or a part of one, off `chunk`; returns what is left.
    fn take_line<'a>(
        &mut self,
        stream: Stream,
        line: &mut Vec<u8>,
        chunk: &'a [u8],
        time: &Moment,
    ) -> &'a [u8] {
        let room = LINE_LIMIT_BYTES - line.len();
        let window = &chunk[..chunk.len().min(room)];
        if let Some(end) = memchr(b'\n', window) {
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

    fn whole_line(&mut self, stream: Stream, line: &mut Vec<u8>, end: &[u8], time: &Moment) {
        if line.is_empty() {
            return self.record(stream, end, time);
        }
        line.extend(end);
        self.record(stream, line, time);
        *line = Vec::new();
    }

    fn record(&mut self, stream: Stream, content: &[u8], time: &Moment) {
        if self.files.is_some() {
            self.record_in_files(stream, content, time);
        }
        if let Some(destination) = &mut self.destination {
            let partial = &mut self.partials[stream as usize];
            *partial = partial.next(content.ends_with(b"\n"));
            destination.put(&Line {
                stream,
                content,
                time: time.time,
                partial: *partial,
            });
        }
    }

    fn record_in_files(&mut self, stream: Stream, content: &[u8], time: &Moment) {
        let Some(files) = &mut self.files else { return };
        let begin = self.batch.len();
        files.encode(&mut self.batch, stream, content, time);
        if files.is_full_with(begin, self.batch.len()) {
            let record = self.batch.split_off(begin);
            files.write(&self.batch);
            files.rotate();
            self.batch = record;
        }
        if self.batch.len() >= BATCH_LIMIT_BYTES {
            files.write(&self.batch);
            self.batch.clear();
        }
    }

    fn flush(&mut self) {
        if let Some(files) = &mut self.files {
            files.write(&self.batch);
            self.batch.clear();
            // One escape-heavy record can be 100 KiB; do not keep that for ever.
            self.batch.shrink_to(BATCH_LIMIT_BYTES);
        }
        if let Some(destination) = &mut self.destination {
            destination.flush();
        }
    }
}

/// When a chunk was read.
struct Moment {
    time: Timestamp,
    text: String,
    /// Without the zeros the fraction ends with.
    short: String,
}

impl Moment {
    fn now() -> Self {
        let time = Timestamp::now();
        let text = time.to_string();
        let short = record::short(&text);
        Self { time, text, short }
    }
}

#[cfg(test)]
mod tests;
