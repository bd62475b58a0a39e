//! Waiting for many descriptors at once, each with the name of what it is for.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::stdio::Stream;

/// What a descriptor that became ready belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Children,
    /// The log's destination.
    Log,
    ControlListener,
    AttachListener,
    Control(u32),
    Client(u32),
    Output(u32, Stream),
    Input(u32),
    Console(u32),
    /// What the runtime writes: of the serial command, or of an exec.
    RuntimeOutput(Option<u32>),
}

/// The descriptors of one turn of the loop.
#[derive(Debug, Default)]
pub(crate) struct PollSet<'a> {
    tokens: Vec<Token>,
    descriptors: Vec<PollFd<'a>>,
}

impl<'a> PollSet<'a> {
    /// Adds `descriptor`; `events` may be empty to hear of a hang-up only.
    pub(crate) fn add(&mut self, token: Token, descriptor: BorrowedFd<'a>, events: PollFlags) {
        self.tokens.push(token);
        self.descriptors
            .push(PollFd::from_borrowed_fd(descriptor, events));
    }

    /// Waits until a descriptor is ready or `deadline` has passed.
    pub(crate) fn wait(mut self, deadline: Option<Instant>) -> Vec<(Token, PollFlags)> {
        let timeout = deadline.map(timespec_until);
        if rustix::event::poll(&mut self.descriptors, timeout.as_ref()).is_err() {
            // Interrupted, or short of memory: the next turn asks again.
            return Vec::new();
        }
        let ready = self.tokens.iter().zip(&self.descriptors);
        ready
            .map(|(token, descriptor)| (*token, descriptor.revents()))
            .filter(|(_, events)| !events.is_empty())
            .collect()
    }
}

fn timespec_until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}
