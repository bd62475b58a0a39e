//! Sending lines to somebody else: the host's journal, or a syslog server.
//!
//! Nothing here blocks. Lines that cannot be sent at once wait in a queue with
//! a bound. Where the log is `blocking`, a destination that is connected and
//! slow holds the container's output back; one that is away never does: lines
//! that find no room until it is back are dropped and counted.

mod journald;
mod link;
mod queue;
mod syslog;

use std::os::fd::BorrowedFd;
use std::time::Instant;

use base::Timestamp;
use engine_shim_api::{LogDestination, LogPeer};
use rustix::event::PollFlags;

use super::Line;
use journald::Journal;
use link::{Link, Sent};
use queue::Queue;
use syslog::Syslog;

pub use link::ConnectError;

/// What waits before the container is held back.
const HOLD_BYTES: usize = 64 * 1024;
/// What waits at most where it is: one chunk of empty lines comes on top.
const BLOCKING_LIMIT_BYTES: usize = 1024 * 1024;

/// One destination and what is on its way to it.
#[derive(Debug)]
pub(super) struct Destination {
    link: Link,
    format: Format,
    queue: Queue,
    holds_back: bool,
    /// The message that is being sent, as it is sent.
    message: Vec<u8>,
    /// How much of it a stream has taken.
    sent: usize,
    /// Lines lost since that was reported.
    dropped: u64,
    report: Option<String>,
}

#[derive(Debug)]
enum Format {
    Journal(Journal),
    Syslog(Syslog),
}

impl Destination {
    /// Connects to the destination.
    ///
    /// # Errors
    /// When nobody is there, of a kind that would tell.
    pub(super) fn open(config: &LogDestination) -> Result<Self, ConnectError> {
        let (link, format) = match &config.peer {
            LogPeer::Journald { socket, fields } => {
                let journal = Journal::new(fields);
                (Link::journal(socket)?, Format::Journal(journal))
            }
            LogPeer::Syslog(config) => {
                let syslog = Syslog::new(config);
                (Link::syslog(&config.address)?, Format::Syslog(syslog))
            }
        };
        let limit = config.buffer_bytes.map_or(BLOCKING_LIMIT_BYTES, |bytes| {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        });
        Ok(Self {
            link,
            format,
            queue: Queue::new(limit),
            holds_back: config.buffer_bytes.is_none(),
            message: Vec::new(),
            sent: 0,
            dropped: 0,
            report: None,
        })
    }

    /// Takes one line, or a part of one.
    pub(super) fn put(&mut self, line: &Line<'_>) {
        if matches!(self.format, Format::Syslog(_)) && line.text().is_empty() {
            // As Docker does: such a message says nothing.
            return;
        }
        if !self.queue.push(line) {
            self.dropped += 1;
        }
    }

    /// Sends what can be sent now.
    pub(super) fn flush(&mut self) {
        while self.link.is_connected() && self.next_message() {
            match self.link.send(&self.message[self.sent..]) {
                Ok(Sent::All) => self.message.clear(),
                Ok(Sent::Part(length)) => {
                    self.sent += length;
                    return;
                }
                Ok(Sent::Lost) => {
                    self.message.clear();
                    self.dropped += 1;
                }
                Err(reason) => return self.lose(&reason),
            }
        }
        self.report_dropped();
    }

    /// Makes sure that there is a message to send, if anything waits.
    fn next_message(&mut self) -> bool {
        if self.message.is_empty() {
            self.sent = 0;
            let Some(line) = self.queue.pop() else {
                self.message.shrink_to(HOLD_BYTES);
                return false;
            };
            match &mut self.format {
                Format::Journal(journal) => journal.encode(&mut self.message, &line),
                Format::Syslog(syslog) => syslog.encode(&mut self.message, &line),
            }
        }
        true
    }

    fn lose(&mut self, reason: &str) {
        self.report = Some(format!("the log's destination is away: {reason}"));
        // On another connection the message is sent from its beginning.
        self.sent = 0;
        self.link.lose(Instant::now());
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 && self.link.is_connected() {
            let dropped = std::mem::take(&mut self.dropped);
            self.report = Some(format!(
                "{dropped} lines were not sent to the log's destination"
            ));
        }
    }

    /// Returns whether more output may be read.
    pub(super) fn has_room(&self) -> bool {
        !(self.holds_back && self.link.is_connected() && self.queue.bytes() >= HOLD_BYTES)
    }

    /// Returns whether nothing is going to happen: all is sent, or nobody is there.
    pub(super) fn is_idle(&self) -> bool {
        let all_sent = self.queue.bytes() == 0 && self.message.is_empty();
        all_sent || self.link.is_away()
    }

    /// Returns what to wait for, and for what.
    pub(super) fn watched(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        let waiting = self.queue.bytes() > 0 || !self.message.is_empty();
        self.link.watched(waiting)
    }

    /// Returns when the next attempt at a connection is due, or over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.link.deadline()
    }

    /// Does what is due.
    pub(super) fn advance(&mut self, now: Instant) {
        if self.link.deadline().is_some_and(|due| due <= now) {
            self.link.advance(now);
            self.flush();
        }
    }

    /// Handles what became ready.
    pub(super) fn serve(&mut self, events: PollFlags) {
        match self.link.serve(events, Instant::now()) {
            Ok(()) => self.flush(),
            Err(reason) => self.lose(&reason),
        }
    }

    /// Returns what there is to tell of, once.
    pub(super) fn take_report(&mut self) -> Option<String> {
        self.report.take()
    }
}

/// Returns the host's name.
fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// Returns a time without the zeros its fraction ends with.
fn short(time: Timestamp) -> String {
    super::record::short(&time.to_string())
}

#[cfg(test)]
mod tests;
