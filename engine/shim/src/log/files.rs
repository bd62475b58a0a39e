//! The files of a container's log: bounded by size and number from the start.
//!
//! Invariant: `size` is the length of the current file, and that file ends with
//! a whole record. A write that fails in part is cut back.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError, Timestamp};
use engine_shim_api::log_reader::{Origin, RECORD_LIMIT_BYTES};
use engine_shim_api::{LogFilesConfig, LogFormat};
use rustix::process::Pid;

use super::compress::Compressor;
use super::{Moment, record};
use crate::stdio::Stream;

/// A record that counts lost ones is not longer, but for attributes.
const MARKER_BYTES: u64 = 160;
/// The line a file begins with is not longer.
const HEAD_BYTES: u64 = 80;
/// Files of an earlier, larger limit that are looked for.
const STALE_FILES_LIMIT: u32 = 1000;

/// The current file and the rotated ones beside it.
#[derive(Debug)]
pub(super) struct LogFiles {
    config: LogFilesConfig,
    /// The configured attributes, as each record has them.
    attributes: Vec<u8>,
    compressor: Compressor,
    current: Option<File>,
    size: u64,
    /// Files are numbered, so that a reader knows when one was gone before it came.
    number: u64,
    /// The next record belongs into a new file.
    rotation_due: bool,
    /// Records lost since the last one written.
    dropped: u64,
    error: Option<PathError>,
}

impl LogFiles {
    /// Opens the current file, making it if it is not there.
    ///
    /// # Errors
    /// When it cannot be opened, or a torn record cannot be cut.
    pub(super) fn open(config: &LogFilesConfig) -> Result<Self, PathError> {
        let mut files = Self {
            config: config.clone(),
            attributes: record::attributes(&config.attributes),
            compressor: Compressor::new(config),
            current: None,
            size: 0,
            number: 0,
            rotation_due: false,
            dropped: 0,
            error: None,
        };
        files.remove_stale();
        files.number = files.number_on_disk()?;
        files.open_current()?;
        files.compress_next();
        Ok(files)
    }

    /// Appends the record for `content` to `batch`, newline included.
    pub(super) fn encode(
        &self,
        batch: &mut Vec<u8>,
        stream: Stream,
        content: &[u8],
        time: &Moment,
    ) {
        match self.config.format {
            LogFormat::Local => record::encode(batch, stream, content, &time.text),
            LogFormat::Json => {
                record::encode_json(batch, stream, content, &time.short, &self.attributes);
            }
        }
    }

    /// Takes note of a child that has ended; returns whether it was ours.
    pub(super) fn child_ended(&mut self, pid: Pid, succeeded: bool) -> bool {
        match self.compressor.ended(pid, succeeded) {
            None => false,
            Some(result) => {
                match result {
                    Ok(()) => self.compress_next(),
                    Err(error) => self.error = Some(error),
                }
                true
            }
        }
    }

    /// Gives up what is being compressed: the next run does it.
    pub(super) fn finish(&mut self) {
        self.compressor.abandon();
    }

    fn compress_next(&mut self) {
        if let Err(error) = self.compressor.begin_next() {
            self.error = Some(error);
        }
    }

    /// Returns whether a batch of `end` bytes whose last record begins at
    /// `begin` needs a new file before that record.
    pub(super) fn is_full_with(&self, begin: usize, end: usize) -> bool {
        let marker_bytes = MARKER_BYTES + self.attributes.len() as u64;
        let marker = if self.dropped > 0 { marker_bytes } else { 0 };
        let head = if self.size == 0 && self.has_heads() {
            HEAD_BYTES
        } else {
            0
        };
        let before = self.size + begin as u64;
        before > 0 && self.size + head + marker + end as u64 > self.config.max_size_bytes
    }

    /// Writes whole records; those that cannot be written are counted.
    pub(super) fn write(&mut self, batch: &[u8]) {
        if batch.is_empty() {
            return;
        }
        let result = self.write_marker().and_then(|()| self.append(batch));
        if let Err(failed) = result {
            self.dropped += count_records(&batch[failed.written..]);
            self.error = Some(failed.error);
        }
    }

    /// Lets the next record begin a new file. While that fails, records are
    /// dropped: the bound holds whatever happens.
    pub(super) fn rotate(&mut self) {
        self.current = None;
        self.size = 0;
        self.rotation_due = true;
    }

    /// Returns the last error, once.
    pub(super) fn take_error(&mut self) -> Option<PathError> {
        self.error.take()
    }

    fn write_marker(&mut self) -> Result<(), Failed> {
        if self.dropped == 0 {
            return Ok(());
        }
        let time = Moment::now();
        let mut marker = Vec::new();
        match self.config.format {
            LogFormat::Local => marker = record::dropped(self.dropped, &time.text),
            LogFormat::Json => {
                let text = dropped_text(self.dropped);
                self.encode(&mut marker, Stream::Stderr, text.as_bytes(), &time);
            }
        }
        self.append(&marker).map_err(|failed| Failed {
            written: 0,
            ..failed
        })?;
        self.dropped = 0;
        Ok(())
    }

    fn append(&mut self, batch: &[u8]) -> Result<(), Failed> {
        self.ensure_open()
            .map_err(|error| Failed { written: 0, error })?;
        if self.size == 0 && self.has_heads() {
            let head = record::head(self.number, &Timestamp::now().to_string());
            self.put(&head).map_err(|failed| Failed {
                written: 0,
                ..failed
            })?;
        }
        self.put(batch)
    }

    fn put(&mut self, batch: &[u8]) -> Result<(), Failed> {
        let path = self.path(0);
        let Some(file) = &mut self.current else {
            return Ok(());
        };
        let mut written = 0;
        while written < batch.len() {
            match file.write(&batch[written..]) {
                Ok(0) => break,
                Ok(length) => written += length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let whole = whole_records(&batch[..written]);
                    self.cut_back(self.size + whole as u64);
                    return Err(error).at("write", path).map_err(|error| Failed {
                        written: whole,
                        error,
                    });
                }
            }
        }
        self.size += written as u64;
        Ok(())
    }

    /// Opens the file to write to, if it is not open.
    fn ensure_open(&mut self) -> Result<(), PathError> {
        if self.rotation_due {
            self.shift()?;
            self.number += 1;
            self.rotation_due = false;
            self.compress_next();
        }
        match self.current {
            Some(_) => Ok(()),
            None => self.open_current(),
        }
    }

    fn cut_back(&mut self, size: u64) {
        let cut = self.current.as_ref().map(|file| file.set_len(size));
        match cut {
            Some(Ok(())) => self.size = size,
            // Opening it anew cuts what is torn.
            Some(Err(_)) | None => self.current = None,
        }
    }

    fn open_current(&mut self) -> Result<(), PathError> {
        let path = self.path(0);
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&path)
            .at("open", &path)?;
        let length = file.metadata().at("stat", &path)?.len();
        let whole = end_of_records(&file, length).at("read", &path)?;
        if whole < length {
            file.set_len(whole).at("cut", &path)?;
        }
        self.size = whole;
        self.current = Some(file);
        Ok(())
    }

    /// Frees the name of the current file. Only files up to the first free
    /// number move, so that repeating it after a failure loses nothing more.
    fn shift(&self) -> Result<(), PathError> {
        let kept = self.config.max_files.max(1) - 1;
        if kept == 0 {
            return base::file::remove_if_there(&self.path(0));
        }
        let place = &self.config.place;
        let is_free =
            |number: &u32| !place.file(*number).exists() && !place.compressed(*number).exists();
        let free = (1..kept).find(is_free);
        for number in (0..free.unwrap_or(kept)).rev() {
            self.move_up(number)?;
        }
        Ok(())
    }

    /// Moves a file, compressed or not, in place of the one before it.
    fn move_up(&self, number: u32) -> Result<(), PathError> {
        let place = &self.config.place;
        let (plain, compressed) = (place.file(number + 1), place.compressed(number + 1));
        if rename_if_there(&place.file(number), &plain)? {
            base::file::remove_if_there(&compressed)?;
        }
        if number > 0 && rename_if_there(&place.compressed(number), &compressed)? {
            base::file::remove_if_there(&plain)?;
        }
        Ok(())
    }

    /// Returns the number of the current file, or of the one to be begun.
    fn number_on_disk(&self) -> Result<u64, PathError> {
        let current = self.number_in(0)?;
        Ok(match current {
            Some(number) => number,
            None => self.number_in(1)?.map_or(1, |before| before + 1),
        })
    }

    /// Files of the other format have no numbers, nor a line that says them.
    fn has_heads(&self) -> bool {
        self.config.format == LogFormat::Local
    }

    fn number_in(&self, position: u32) -> Result<Option<u64>, PathError> {
        let plain = beginning_of(&self.path(position))?;
        if position == 0 || !plain.is_empty() {
            return Ok(record::number_of(&plain));
        }
        let compressed = beginning_of(&self.config.place.compressed(position))?;
        Ok(Origin::parse(&compressed).and_then(|origin| origin.number))
    }

    fn remove_stale(&mut self) {
        let first = self.config.max_files.max(1);
        let place = &self.config.place;
        for number in first..first.saturating_add(STALE_FILES_LIMIT) {
            let plain = std::fs::remove_file(place.file(number));
            let compressed = std::fs::remove_file(place.compressed(number));
            if plain.is_err() && compressed.is_err() {
                return;
            }
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.config.place.file(number)
    }
}

/// What stands in a log of Docker's format where records were lost.
fn dropped_text(records: u64) -> String {
    format!("[{records} log records were lost: the disk was full]\n")
}

/// Returns whether there was a file to rename.
fn rename_if_there(from: &Path, to: &Path) -> Result<bool, PathError> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        other => other.at("rename to", to).map(|()| true),
    }
}

/// Returns what a file begins with, nothing where it is not there.
fn beginning_of(path: &Path) -> Result<Vec<u8>, PathError> {
    match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        other => {
            let mut beginning = vec![0; HEAD_BYTES as usize];
            let file = other.at("open", path)?;
            let length = file.read_at(&mut beginning, 0).at("read", path)?;
            beginning.truncate(length);
            Ok(beginning)
        }
    }
}

/// A write that failed after `written` bytes of whole records.
struct Failed {
    written: usize,
    error: PathError,
}

/// Returns the length of the whole records that `bytes` begins with.
fn whole_records(bytes: &[u8]) -> usize {
    let newline = bytes.iter().rposition(|byte| *byte == b'\n');
    newline.map_or(0, |position| position + 1)
}

fn count_records(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Returns where the last whole record of a file of `length` bytes ends.
fn end_of_records(file: &File, length: u64) -> std::io::Result<u64> {
    let mut last = [0];
    if length == 0 || (file.read_exact_at(&mut last, length - 1).is_ok() && last[0] == b'\n') {
        return Ok(length);
    }
    let begin = length.saturating_sub(RECORD_LIMIT_BYTES as u64);
    let mut tail = vec![0; usize::try_from(length - begin).unwrap_or(0)];
    file.read_exact_at(&mut tail, begin)?;
    Ok(match whole_records(&tail) {
        // Not one of our records in sight: nothing of it could be read.
        0 => 0,
        whole => begin + whole as u64,
    })
}
