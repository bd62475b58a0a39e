//! Compressing the files of a log that are no longer written.
//!
//! The work is that of a child, this program again under another argument, so
//! that neither the container waits nor the shim grows for it: one at a time,
//! at the lowest priority. Names are the shim's business alone: the child fills
//! the unfinished file, and once it has ended the shim looks where the file it
//! was made of is now, gives it the name beside that one, and removes the other.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use base::{PathContext as _, PathError};
use engine_shim_api::LogFilesConfig;
use engine_shim_api::log_reader::Origin;
use flate2::{Compression, GzBuilder};
use rustix::process::{Pid, Signal};

use super::record;

/// The argument that makes this program the child.
pub const ARGUMENT: &str = "--compress-log";
/// This program, whatever its file is called by now.
const PROGRAM: &str = "/proc/self/exe";
const LOWEST_PRIORITY: i32 = 19;
/// What a file of our format begins with is not longer.
const HEAD_BYTES: usize = 80;

/// Keeps one child busy as long as there is something to compress.
#[derive(Debug)]
pub(super) struct Compressor {
    config: LogFilesConfig,
    running: Option<Running>,
    is_over: bool,
}

#[derive(Debug)]
struct Running {
    pid: Pid,
    inode: u64,
}

impl Compressor {
    /// Removes what an earlier run has left unfinished.
    pub(super) fn new(config: &LogFilesConfig) -> Self {
        let compressor = Self {
            config: config.clone(),
            running: None,
            is_over: !config.compress,
        };
        compressor.remove_unfinished();
        compressor
    }

    /// Begins with the newest file that is not compressed, unless one is at work.
    ///
    /// # Errors
    /// When no child can be started.
    pub(super) fn begin_next(&mut self) -> Result<(), PathError> {
        if self.is_over || self.running.is_some() {
            return Ok(());
        }
        let Some((path, inode)) = self.next() else {
            return Ok(());
        };
        let pid = spawn(&path, &self.config.place.unfinished()).at("compress", &path)?;
        self.running = Some(Running { pid, inode });
        Ok(())
    }

    /// Takes note of a child that has ended; `None` if it is not the one.
    pub(super) fn ended(&mut self, pid: Pid, succeeded: bool) -> Option<Result<(), PathError>> {
        let running = self.running.take_if(|running| running.pid == pid)?;
        if succeeded && !self.is_over {
            return Some(self.put_in_place(running.inode));
        }
        self.remove_unfinished();
        // It would fail again, and again.
        self.is_over = true;
        let path = self.config.place.unfinished();
        Some(Err(io::Error::other("the child failed")).at("write", path))
    }

    /// Ends the child that is at work; nothing is begun any more.
    pub(super) fn abandon(&mut self) {
        self.is_over = true;
        if let Some(running) = &self.running {
            // It may have ended in this moment.
            rustix::process::kill_process(running.pid, Signal::KILL).ok();
            self.remove_unfinished();
        }
    }

    fn next(&self) -> Option<(PathBuf, u64)> {
        let place = &self.config.place;
        (1..self.config.max_files).find_map(|number| {
            let path = place.file(number);
            let metadata = std::fs::metadata(&path).ok()?;
            Some((path, metadata.ino()))
        })
    }

    /// The compressed file is in place before the other goes: a reader finds one.
    fn put_in_place(&self, inode: u64) -> Result<(), PathError> {
        let place = &self.config.place;
        let written = modified(&place.unfinished());
        // The inode may be another file's since the child has let go of it.
        let number = (1..self.config.max_files).find(|number| {
            let path = place.file(*number);
            let metadata = std::fs::metadata(&path);
            metadata.is_ok_and(|it| it.ino() == inode) && modified(&path) == written
        });
        let Some(number) = number else {
            // It was rotated out meanwhile.
            self.remove_unfinished();
            return Ok(());
        };
        let to = place.compressed(number);
        std::fs::rename(place.unfinished(), &to).at("rename to", &to)?;
        base::file::remove_if_there(&place.file(number))
    }

    fn remove_unfinished(&self) {
        // Most often there is none; one that stays is written over.
        std::fs::remove_file(self.config.place.unfinished()).ok();
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.abandon();
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}

fn spawn(from: &Path, to: &Path) -> io::Result<Pid> {
    let program = CString::new(PROGRAM)?;
    let words = [
        CString::new("engine-shim")?,
        CString::new(ARGUMENT)?,
        CString::new(from.as_os_str().as_bytes())?,
        CString::new(to.as_os_str().as_bytes())?,
    ];
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    let streams = [null.as_fd(), null.as_fd(), null.as_fd()];
    crate::sys::spawn(&program, &words, &[], streams)
}

/// Compresses one file: what the child does.
///
/// # Errors
/// When a file cannot be read or written; what was written is no use then.
pub fn compress_log(from: &Path, to: &Path) -> Result<(), PathError> {
    // Without it the work is only less polite.
    rustix::process::setpriority_process(None, LOWEST_PRIORITY).ok();
    let mut source = File::open(from).at("open", from)?;
    let metadata = source.metadata().at("stat", from)?;
    let origin = Origin {
        inode: metadata.ino(),
        number: first_number(&source).at("read", from)?,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .at("create", to)?;
    let comment = CString::new(origin.comment()).map_err(io::Error::from);
    let mut encoder = GzBuilder::new()
        .comment(comment.at("write", to)?)
        .write(file, Compression::fast());
    io::copy(&mut source, &mut encoder).at("compress", from)?;
    let mut file = encoder.finish().at("write", to)?;
    file.flush().at("write", to)?;
    let modified = metadata.modified().at("stat", from)?;
    file.set_modified(modified).at("set the time of", to)?;
    // The other file goes once this one is in place.
    file.sync_all().at("sync", to)
}

fn first_number(file: &File) -> io::Result<Option<u64>> {
    use std::os::unix::fs::FileExt as _;
    let mut beginning = [0; HEAD_BYTES];
    let length = file.read_at(&mut beginning, 0)?;
    Ok(record::number_of(&beginning[..length]))
}
