//! The way into a process: what waits for it, and when it ends.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// How long standard input stays open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputMode {
    /// There is none.
    Nothing,
    /// Until the process ends.
    Open,
    /// Until the first client that sends goes.
    UntilEnd,
}

/// Our writing end of a process's standard input.
#[derive(Debug, Default)]
pub(crate) struct Input {
    end: Option<OwnedFd>,
    waiting: Vec<u8>,
    ends: bool,
    ending: bool,
}

impl Input {
    /// Takes over `end`, which does not block.
    pub(super) fn pipe(end: OwnedFd, mode: InputMode) -> Self {
        Self {
            end: Some(end),
            waiting: Vec::new(),
            ends: mode == InputMode::UntilEnd,
            ending: false,
        }
    }

    /// Returns whether a client's bytes may be read now: either there is room,
    /// or nobody will ever read them and they are dropped.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Returns the descriptor to watch for room, if bytes wait for it.
    pub(crate) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        let end = self.end.as_ref().filter(|_| !self.waiting.is_empty());
        end.map(|end| end.as_fd())
    }

    /// Hands `bytes` on; to be called only when there is room.
    pub(crate) fn offer(&mut self, bytes: &[u8]) {
        if self.end.is_some() && !self.ending {
            self.waiting.extend(bytes);
            self.flush();
        }
    }

    /// Writes what waits, as much as the process takes.
    pub(crate) fn flush(&mut self) {
        while let (Some(end), false) = (&self.end, self.waiting.is_empty()) {
            match rustix::io::write(end, &self.waiting) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // The process has closed its end.
                Err(_) => self.close(),
            }
        }
        self.waiting = Vec::new();
        if self.ending {
            self.close();
        }
    }

    /// Says that the client that sends has gone.
    pub(crate) fn end(&mut self) {
        if self.ends {
            self.ending = true;
            self.flush();
        }
    }

    /// Closes it, whatever waits.
    pub(crate) fn close(&mut self) {
        self.end = None;
        self.waiting = Vec::new();
    }
}
