//! What was removed: renamed out of sight at once, taken apart in the background.
//!
//! A crash leaves things in the trash; the next open goes on with them.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use base::{PathContext as _, PathError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

/// The trash directory and the one thread that empties it.
#[derive(Debug)]
pub(crate) struct Trash {
    directory: PathBuf,
    number: AtomicU64,
    signal: Arc<Signal>,
    sweeper: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    has_work: bool,
    is_busy: bool,
    stop: bool,
}

impl Trash {
    /// Opens the trash and begins to empty it.
    pub(crate) fn open(directory: &Path) -> Result<Self, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle =
            rustix::fs::openat(CWD, directory, flags, Mode::empty()).at("open", directory)?;
        let signal = Arc::new(Signal::default());
        signal.update(|state| state.has_work = true);
        let seen = Arc::clone(&signal);
        let sweeper = std::thread::Builder::new()
            .name("image-sweeper".to_owned())
            .spawn(move || seen.sweep_on_demand(&handle))
            .at("start a thread to empty", directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            number: AtomicU64::new(0),
            signal,
            sweeper: Some(sweeper),
        })
    }

    /// Moves `path` away; a missing one is no error.
    pub(crate) fn take(&self, path: &Path) -> Result<(), PathError> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let nonce = uuid_like(number);
        match rustix::fs::rename(path, self.directory.join(nonce)) {
            Err(Errno::NOENT) => return Ok(()),
            other => other.at("move to the trash", path)?,
        }
        self.signal.update(|state| state.has_work = true);
        Ok(())
    }

    /// Waits until everything that was thrown away is gone.
    pub(crate) fn wait_until_empty(&self) {
        let mut state = self.signal.lock();
        while state.has_work || state.is_busy {
            state = self
                .signal
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Trash {
    fn drop(&mut self) {
        self.signal.update(|state| state.stop = true);
        if let Some(sweeper) = self.sweeper.take()
            && sweeper.join().is_err()
        {
            tracing::error!("the image sweeper panicked");
        }
    }
}

/// A name no earlier process used, since the trash may still hold its files.
fn uuid_like(number: u64) -> String {
    let now = base::Timestamp::now().nanoseconds();
    format!("{now:x}-{}-{number}", std::process::id())
}

impl Signal {
    fn lock(&self) -> std::sync::MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut SignalState)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn must_stop(&self) -> bool {
        self.lock().stop
    }

    fn sweep_on_demand(&self, trash: &OwnedFd) {
        loop {
            let mut state = self.lock();
            while !state.has_work && !state.stop {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.stop {
                return;
            }
            (state.has_work, state.is_busy) = (false, true);
            drop(state);
            if let Err(error) = sweep(trash, &|| self.must_stop()) {
                tracing::warn!(%error, "the image trash could not be emptied; the next removal tries again");
            }
            self.update(|state| state.is_busy = false);
        }
    }
}

/// Removes everything in `trash`, until `must_stop`.
///
/// Directories within directories are first moved up here, so that neither the
/// stack nor the number of open files grows with the depth an image chose.
fn sweep(trash: &OwnedFd, must_stop: &dyn Fn() -> bool) -> io::Result<()> {
    let mut number = 0;
    loop {
        let names = names_in(trash)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if must_stop() {
                return Ok(());
            }
            remove(trash, &name, &mut number)?;
        }
    }
}

fn remove(trash: &OwnedFd, name: &CString, number: &mut u64) -> io::Result<()> {
    match rustix::fs::unlinkat(trash, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return Ok(other?),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(trash, name, flags, Mode::empty())?;
    for child in names_in(&directory)? {
        match rustix::fs::unlinkat(&directory, &child, AtFlags::empty()) {
            Err(Errno::ISDIR) => lift(&directory, &child, trash, number)?,
            other => other?,
        }
    }
    Ok(rustix::fs::unlinkat(trash, name, AtFlags::REMOVEDIR)?)
}

/// Removes an empty directory, moves another one up to the trash.
fn lift(directory: &OwnedFd, child: &CString, trash: &OwnedFd, number: &mut u64) -> io::Result<()> {
    match rustix::fs::unlinkat(directory, child, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY) => {}
        other => return Ok(other?),
    }
    loop {
        *number += 1;
        let grave = format!("lifted-{number}");
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(directory, child, trash, grave, flags) {
            Err(Errno::EXIST) => {}
            other => return Ok(other?),
        }
    }
}

fn names_in(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let trash = Trash::open(directory.path()).unwrap();
        let victims = tempfile::tempdir_in(directory.path().parent().unwrap()).unwrap();
        let top = victims.path().join("top");
        std::fs::create_dir(&top).unwrap();
        let mut level: OwnedFd = std::fs::File::open(&top).unwrap().into();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&level, "d", Mode::RWXU).unwrap();
            rustix::fs::symlinkat("/", &level, "out").unwrap();
            level = rustix::fs::openat(&level, "d", OFlags::RDONLY, Mode::empty()).unwrap();
        }
        trash.take(&top).unwrap();
        trash.take(&top).unwrap();
        trash.wait_until_empty();
        assert!(!top.exists());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        assert!(Path::new("/tmp").exists());
    }
}
