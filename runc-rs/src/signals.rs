//! Waiting for a container's process in the foreground.
//!
//! Signals are blocked before the process exists and read from a descriptor,
//! so that an end can come at any moment, even before we look, without being
//! lost.

use std::io;
use std::os::fd::AsFd as _;

use nix::sys::signal::{SigSet, Signal as NixSignal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait};

use crate::terminal::{Proxy, TerminalError};

/// Says what went wrong while waiting.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    #[error("cannot block signals")]
    Block(#[source] io::Error),
    #[error("cannot read signals")]
    Read(#[source] io::Error),
    #[error("cannot wait for process {0}")]
    Wait(i32, #[source] io::Error),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
}

/// All signals, blocked and readable.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal that can be, but those that tell of a fault of this
    /// program itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn block() -> Result<Self, WaitError> {
        let mut set = SigSet::all();
        for fault in [
            NixSignal::SIGSEGV,
            NixSignal::SIGBUS,
            NixSignal::SIGILL,
            NixSignal::SIGFPE,
            NixSignal::SIGABRT,
            NixSignal::SIGTRAP,
        ] {
            set.remove(fault);
        }
        let failed = |error: nix::errno::Errno| WaitError::Block(error.into());
        set.thread_block().map_err(failed)?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags).map_err(failed)?))
    }

    /// Waits for the child `pid`, passing signals on to it and copying its
    /// terminal meanwhile, and returns its exit code: its status, or 128 and
    /// the signal that ended it.
    ///
    /// # Errors
    /// When waiting or copying fails.
    pub fn supervise(&self, pid: Pid, mut proxy: Option<Proxy>) -> Result<u8, WaitError> {
        let code = loop {
            if let Some(code) = reap(pid)? {
                break code;
            }
            match &mut proxy {
                Some(proxy) => proxy.step(self.0.as_fd())?,
                None => self.wait_for_signal()?,
            }
            self.handle_signals(pid, proxy.as_ref())?;
        };
        if let Some(proxy) = proxy {
            proxy.finish()?;
        }
        Ok(code)
    }

    fn wait_for_signal(&self) -> Result<(), WaitError> {
        let mut watched = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        match poll(&mut watched, None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(WaitError::Read(error.into())),
        }
    }

    fn handle_signals(&self, pid: Pid, proxy: Option<&Proxy>) -> Result<(), WaitError> {
        let read = |error: nix::errno::Errno| WaitError::Read(error.into());
        while let Some(info) = self.0.read_signal().map_err(read)? {
            let signal = crate::sys::signal_from_number(info.ssi_signo as i32);
            let passed = match (signal, proxy) {
                // The second: nobody reads our output any more; not init's matter.
                (Signal::CHILD | Signal::PIPE, _) => continue,
                (Signal::WINCH, Some(proxy)) => {
                    proxy.resize();
                    continue;
                }
                (signal, _) => signal,
            };
            // It is our child and not yet waited for, so the pid is its own;
            // when it has ended there is nothing to pass on.
            kill_process(pid, passed).ok();
        }
        Ok(())
    }
}

/// Reaps every child that has ended and returns the exit code if `pid` did.
fn reap(pid: Pid) -> Result<Option<u8>, WaitError> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((ended, status))) if ended == pid => return Ok(Some(exit_code(status))),
            Ok(Some(_)) => {}
            Ok(None) => return Ok(None),
            Err(error) => return Err(WaitError::Wait(pid.as_raw_nonzero().get(), error.into())),
        }
    }
}

/// Returns the exit code a shell gives a status: 128 and more for signals.
fn exit_code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 255,
    };
    u8::try_from(code).unwrap_or(255)
}
