//! Hearing of writes by inotify, or by looking now and then where there is none.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

/// How long a reader sleeps where inotify instances have run out.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Events that are read at once; what they say does not matter.
const EVENTS_BYTES: usize = 4096;

/// Watches one directory.
#[derive(Debug)]
pub(super) struct Watch {
    events: Option<OwnedFd>,
}

impl Watch {
    pub(super) fn new(directory: &Path) -> Self {
        Self {
            events: watch(directory).ok(),
        }
    }

    /// Returns once something has been written, or `limit` has passed.
    pub(super) fn wait(&self, limit: Duration) {
        let Some(events) = &self.events else {
            return std::thread::sleep(limit.min(POLL_PAUSE));
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut ready = [PollFd::new(events, PollFlags::IN)];
        // An error, like an event, makes the caller look again.
        rustix::event::poll(&mut ready, Some(&timeout)).ok();
        let mut discarded = [0; EVENTS_BYTES];
        while rustix::io::read(events, &mut discarded[..]).is_ok_and(|length| length > 0) {}
    }
}

fn watch(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
    let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
    inotify::add_watch(&events, directory, flags)?;
    Ok(events)
}
