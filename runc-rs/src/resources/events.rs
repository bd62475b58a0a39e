//! Notices when the kernel kills a container's processes for want of memory.

use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, PathError};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::files;
use super::plan::Controller;
use crate::cgroup::{Cgroup, Directories, write_control};

const OOM_CONTROL: &str = "memory.oom_control";
const EVENT_CONTROL: &str = "cgroup.event_control";
const EVENTS: &str = "memory.events";
const KILLS: &str = "oom_kill ";
const BUFFER_BYTES: usize = 1024;

/// A descriptor that becomes readable when memory has run out.
#[derive(Debug)]
pub struct OomWatch {
    descriptor: OwnedFd,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// v1: the kernel counts into the descriptor, also when the group goes.
    Counter { control: PathBuf, _oom: File },
    /// v2: the file with the counts has changed.
    File { events: PathBuf, seen: u64 },
}

impl OomWatch {
    /// Begins to watch; without a memory controller there is nothing to watch.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn start(cgroup: &Cgroup) -> Result<Option<Self>, PathError> {
        let Some(group) = files::group(cgroup, Controller::Memory.name()) else {
            return Ok(None);
        };
        match cgroup.directories {
            Directories::Split(_) => start_counter(group).map(Some),
            Directories::Unified(_) => start_file(group),
        }
    }

    /// Returns how often memory has run out since the last call, or the start.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn take(&mut self) -> Result<u64, PathError> {
        match &mut self.source {
            Source::Counter { control, .. } => {
                let count = read_counter(&self.descriptor).at("read", &*control)?;
                // The removal of the group counts as well.
                Ok(if control.exists() { count } else { 0 })
            }
            Source::File { events, seen } => {
                drain(&self.descriptor).at("read", &*events)?;
                let now = kills(events)?.unwrap_or(*seen);
                let count = now.saturating_sub(*seen);
                *seen = now;
                Ok(count)
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

fn start_counter(group: &Path) -> Result<OomWatch, PathError> {
    let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
    let descriptor = eventfd(0, flags).at("make a counter for", group)?;
    let oom_path = group.join(OOM_CONTROL);
    let oom = File::open(&oom_path).at("open", &oom_path)?;
    let control = group.join(EVENT_CONTROL);
    let registration = format!("{} {}", descriptor.as_raw_fd(), oom.as_raw_fd());
    write_control(&control, &registration)?;
    Ok(OomWatch {
        descriptor,
        source: Source::Counter { control, _oom: oom },
    })
}

fn start_file(group: &Path) -> Result<Option<OomWatch>, PathError> {
    let events = group.join(EVENTS);
    let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
    let descriptor = inotify::init(flags).at("watch", &events)?;
    match inotify::add_watch(&descriptor, &events, inotify::WatchFlags::MODIFY) {
        Err(Errno::NOENT) => return Ok(None),
        added => added.at("watch", &events)?,
    };
    let seen = kills(&events)?.unwrap_or_default();
    let source = Source::File { events, seen };
    Ok(Some(OomWatch { descriptor, source }))
}

fn read_counter(descriptor: &OwnedFd) -> Result<u64, Errno> {
    let mut count = [0; 8];
    match rustix::io::read(descriptor, &mut count) {
        Err(Errno::AGAIN) => Ok(0),
        read => read.map(|_| u64::from_ne_bytes(count)),
    }
}

/// Takes what is there off the descriptor; the file says more.
fn drain(descriptor: &OwnedFd) -> Result<(), Errno> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    loop {
        match rustix::io::read(descriptor, &mut buffer) {
            Err(Errno::AGAIN) => return Ok(()),
            read => read.map(drop)?,
        }
    }
}

/// Returns how many processes have been killed; `None` once the group is gone.
fn kills(events: &Path) -> Result<Option<u64>, PathError> {
    let Some(text) = files::read_if_there(events)? else {
        return Ok(None);
    };
    let count = text.lines().find_map(|line| line.strip_prefix(KILLS));
    Ok(count.and_then(|count| count.parse().ok()))
}
