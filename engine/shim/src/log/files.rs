//! The files of a container's log: bounded by size and number from the start.
//!
//! Invariant: `size` is the length of the current file, and that file ends with
//! a whole record. A write that fails in part is cut back.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use base::{PathContext as _, PathError, Timestamp};
use engine_shim_api::LogConfig;
use engine_shim_api::log_reader::{RECORD_LIMIT_BYTES, file_name};

use super::record;

/// A record that counts lost ones is not longer.
const MARKER_BYTES: u64 = 80;
/// The line a file begins with is not longer.
const HEAD_BYTES: u64 = 80;
/// Files of an earlier, larger limit that are looked for.
const STALE_FILES_LIMIT: u32 = 1000;

/// The current file and the rotated ones beside it.
#[derive(Debug)]
pub(super) struct LogFiles {
    config: LogConfig,
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
    pub(super) fn open(config: &LogConfig) -> Result<Self, PathError> {
        let mut files = Self {
            config: config.clone(),
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
        Ok(files)
    }

    /// Returns whether a batch of `end` bytes whose last record begins at
    /// `begin` needs a new file before that record.
    pub(super) fn is_full_with(&self, begin: usize, end: usize) -> bool {
        let marker = if self.dropped > 0 { MARKER_BYTES } else { 0 };
        let head = if self.size == 0 { HEAD_BYTES } else { 0 };
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
        let marker = record::dropped(self.dropped, &Timestamp::now().to_string());
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
        if self.size == 0 {
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
        let free = (1..kept).find(|number| !self.path(*number).exists());
        for number in (0..free.unwrap_or(kept)).rev() {
            let (from, to) = (self.path(number), self.path(number + 1));
            match std::fs::rename(&from, &to) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).at("rename to", &to);
                }
                _ => {}
            }
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

    fn number_in(&self, position: u32) -> Result<Option<u64>, PathError> {
        let path = self.path(position);
        match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => {
                let mut beginning = [0; HEAD_BYTES as usize];
                let file = other.at("open", &path)?;
                let length = file.read_at(&mut beginning, 0).at("read", &path)?;
                Ok(record::number_of(&beginning[..length]))
            }
        }
    }

    fn remove_stale(&mut self) {
        let first = self.config.max_files.max(1);
        for number in first..first.saturating_add(STALE_FILES_LIMIT) {
            if std::fs::remove_file(self.path(number)).is_err() {
                return;
            }
        }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.config.directory.join(file_name(number))
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
