//! Compressing the files of a log that are no longer written.
//!
//! The work is that of a child, this program again under another argument, so
//! that neither the container waits nor the shim grows for it: one at a time,
//! at the lowest priority. Names are the shim's business alone: the child has one
//! file as its input and the unfinished one as its output. Once it has ended the
//! shim looks where the first is now, gives the other the name beside it, and
//! removes the first.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
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
        let Some((path, source)) = self.next() else {
            return Ok(());
        };
        let inode = source.metadata().at("stat", &path)?.ino();
        let to = self.config.place.unfinished();
        let target = create(&to).at("create", &to)?;
        let pid = spawn(&source, &target).at("compress", &path)?;
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

    fn next(&self) -> Option<(PathBuf, File)> {
        let place = &self.config.place;
        (1..self.config.max_files).find_map(|number| {
            let path = place.file(number);
            let file = File::open(&path).ok()?;
            Some((path, file))
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

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

fn spawn(source: &File, target: &File) -> io::Result<Pid> {
    let program = CString::new(PROGRAM)?;
    let words = [CString::new("engine-shim")?, CString::new(ARGUMENT)?];
    let null = OpenOptions::new().write(true).open("/dev/null")?;
    let streams = [source.as_fd(), target.as_fd(), null.as_fd()];
    crate::sys::spawn(&program, &words, &[], streams)
}

/// Compresses standard input, a file, to standard output: what the child does.
///
/// # Errors
/// When either cannot be read or written; what was written is no use then.
pub fn compress_log() -> io::Result<()> {
    // Without it the work is only less polite.
    rustix::process::setpriority_process(None, LOWEST_PRIORITY).ok();
    let source = io::stdin().as_fd().try_clone_to_owned()?;
    let target = io::stdout().as_fd().try_clone_to_owned()?;
    compress(source.into(), target.into())
}

pub(super) fn compress(mut source: File, target: File) -> io::Result<()> {
    let metadata = source.metadata()?;
    let origin = Origin {
        inode: metadata.ino(),
        number: first_number(&source)?,
    };
    let mut encoder = GzBuilder::new()
        .comment(CString::new(origin.comment())?)
        .write(target, Compression::fast());
    io::copy(&mut source, &mut encoder)?;
    let mut target = encoder.finish()?;
    target.flush()?;
    target.set_modified(metadata.modified()?)?;
    // The other file goes once this one is in place.
    target.sync_all()
}

fn first_number(file: &File) -> io::Result<Option<u64>> {
    let mut beginning = [0; HEAD_BYTES];
    let length = file.read_at(&mut beginning, 0)?;
    Ok(record::number_of(&beginning[..length]))
}
