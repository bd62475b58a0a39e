//! Terminals of containers: opening them, and copying between one and the
//! caller's own terminal in the foreground.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::{
    OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};

use crate::handover::{self, HandoverError};

const COPY_BYTES: usize = 4096;
/// Output not yet written to the caller's terminal; then the container waits.
const PENDING_LIMIT_BYTES: usize = 64 * 1024;
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Says which step with a terminal failed.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    #[error("cannot hand over the terminal")]
    Handover(#[from] HandoverError),
    #[error("cannot open a pseudoterminal of the container")]
    Open(#[source] io::Error),
    #[error("the container's /dev/pts/ptmx is not a pseudoterminal multiplexer")]
    NotPtmx,
    #[error("cannot make the terminal the controlling one")]
    Control(#[source] io::Error),
    #[error("cannot change the mode of the caller's terminal")]
    Mode(#[source] io::Error),
    #[error("cannot copy between the terminals")]
    Copy(#[source] io::Error),
}

/// Opens a new terminal of the container this process has entered, sends its
/// master side over `socket` and makes the other this process's own.
///
/// The multiplexer is checked to be the real one: the container may have put
/// anything in its place (CVE-2025-52565).
///
/// # Errors
/// The step that failed.
pub fn take_new(socket: BorrowedFd<'_>) -> Result<(), TerminalError> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = |error: Errno| TerminalError::Open(error.into());
    let master = rustix::fs::open("/dev/pts/ptmx", flags, Mode::empty()).map_err(opened)?;
    verify_multiplexer(&master)?;
    rustix::pty::unlockpt(&master).map_err(opened)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).map_err(opened)?;
    handover::send(socket, "/dev/ptmx", master.as_fd())?;
    let controlled = |error: Errno| TerminalError::Control(error.into());
    rustix::process::ioctl_tiocsctty(&slave).map_err(controlled)?;
    rustix::stdio::dup2_stdin(&slave).map_err(controlled)?;
    rustix::stdio::dup2_stdout(&slave).map_err(controlled)?;
    rustix::stdio::dup2_stderr(&slave).map_err(controlled)
}

fn verify_multiplexer(master: &OwnedFd) -> Result<(), TerminalError> {
    let looked = |error: Errno| TerminalError::Open(error.into());
    let status = rustix::fs::fstat(master).map_err(looked)?;
    let system = rustix::fs::fstatfs(master).map_err(looked)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    let is_real = is_device
        && system.f_type as u64 == DEVPTS_SUPER_MAGIC
        && status.st_rdev == rustix::fs::makedev(5, 2);
    is_real.then_some(()).ok_or(TerminalError::NotPtmx)
}

/// Copies between the caller's terminal, in raw mode, and a container's. The
/// caller's mode is put back when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    master: OwnedFd,
    input: VecDeque<u8>,
    output: VecDeque<u8>,
    input_open: bool,
    master_open: bool,
    saved: Option<Termios>,
}

impl Proxy {
    /// Begins copying to and from `master`.
    ///
    /// # Errors
    /// When the caller's terminal refuses raw mode.
    pub fn start(master: OwnedFd) -> Result<Self, TerminalError> {
        let flags = rustix::fs::fcntl_getfl(&master).map_err(|e| TerminalError::Mode(e.into()))?;
        rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)
            .map_err(|error| TerminalError::Mode(error.into()))?;
        keep_newlines(&master).map_err(|error| TerminalError::Mode(error.into()))?;
        let saved = enter_raw_mode().map_err(|error| TerminalError::Mode(error.into()))?;
        let proxy = Self {
            master,
            input: VecDeque::new(),
            output: VecDeque::new(),
            input_open: true,
            master_open: true,
            saved,
        };
        proxy.resize();
        Ok(proxy)
    }

    /// Gives the container's terminal the size of the caller's, if that is one.
    pub fn resize(&self) {
        if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
            // The container may have closed its side; there is nobody to tell.
            rustix::termios::tcsetwinsize(&self.master, size).ok();
        }
    }

    /// Waits until something can be copied or `other` can be read, and copies.
    ///
    /// # Errors
    /// When a terminal fails in another way than by being closed.
    pub fn step(&mut self, other: BorrowedFd<'_>) -> Result<(), TerminalError> {
        let nothing = PollFlags::empty();
        let when = |wanted: bool, flags: PollFlags| if wanted { flags } else { nothing };
        let read_input = self.input_open && self.input.is_empty();
        let from_master = when(self.output.len() < PENDING_LIMIT_BYTES, PollFlags::IN);
        let to_master = when(!self.input.is_empty(), PollFlags::OUT);
        let mut watched = vec![PollFd::from_borrowed_fd(other, PollFlags::IN)];
        let (stdin, stdout) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        // A descriptor polled for nothing still reports a hang-up, endlessly.
        let mut add = |wanted: bool, descriptor, flags| {
            if wanted {
                watched.push(PollFd::from_borrowed_fd(descriptor, flags));
            }
            wanted.then(|| watched.len() - 1)
        };
        let master = self.master.as_fd();
        let master = add(self.master_open, master, from_master | to_master);
        let input = add(read_input, stdin, PollFlags::IN);
        let output = add(!self.output.is_empty(), stdout, PollFlags::OUT);
        match poll(&mut watched, None) {
            Err(Errno::INTR) => return Ok(()),
            result => result.map_err(|error| TerminalError::Copy(error.into()))?,
        };
        let ready = |index: Option<usize>| index.is_some_and(|i| !watched[i].revents().is_empty());
        let (master, input, output) = (ready(master), ready(input), ready(output));
        if master {
            self.copy_master()?;
        }
        if input {
            self.input_open = fill(stdin, &mut self.input)?;
        }
        if output {
            drain(stdout, &mut self.output)?;
        }
        Ok(())
    }

    /// Copies what the container wrote before it ended.
    ///
    /// # Errors
    /// When the caller's terminal cannot be written to.
    pub fn finish(mut self) -> Result<(), TerminalError> {
        while self.master_open {
            let before = self.output.len();
            self.master_open = fill(self.master.as_fd(), &mut self.output)?;
            if self.output.len() == before {
                break;
            }
            while !self.output.is_empty() {
                drain(rustix::stdio::stdout(), &mut self.output)?;
            }
        }
        while !self.output.is_empty() {
            drain(rustix::stdio::stdout(), &mut self.output)?;
        }
        Ok(())
    }

    fn copy_master(&mut self) -> Result<(), TerminalError> {
        if !self.input.is_empty() {
            drain(self.master.as_fd(), &mut self.input)?;
        }
        self.master_open = fill(self.master.as_fd(), &mut self.output)?;
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(mode) = &self.saved {
            // The terminal may be gone with the session.
            tcsetattr(rustix::stdio::stdin(), OptionalActions::Flush, mode).ok();
        }
    }
}

/// Returns rows and columns of the caller's terminal, if it has one.
pub fn own_size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// The container's terminal leaves newlines as they are: the caller's adds what
/// it needs, and a file or pipe needs nothing.
///
/// # Errors
/// When it is no terminal.
pub fn keep_newlines(terminal: impl AsFd) -> Result<(), Errno> {
    let mut settings = tcgetattr(&terminal)?;
    settings.output_modes.remove(OutputModes::ONLCR);
    tcsetattr(&terminal, OptionalActions::Now, &settings)
}

fn enter_raw_mode() -> Result<Option<Termios>, Errno> {
    let stdin = rustix::stdio::stdin();
    if !isatty(stdin) {
        return Ok(None);
    }
    let saved = tcgetattr(stdin)?;
    let mut raw = saved.clone();
    raw.make_raw();
    // Output is still the caller's to process, as with runc.
    raw.output_modes |= OutputModes::OPOST;
    tcsetattr(stdin, OptionalActions::Flush, &raw)?;
    Ok(Some(saved))
}

/// Reads once and returns whether more may come.
fn fill(from: BorrowedFd<'_>, into: &mut VecDeque<u8>) -> Result<bool, TerminalError> {
    let mut bytes = [0; COPY_BYTES];
    match rustix::io::read(from, &mut bytes) {
        // A terminal's master reports EIO once nobody has the other side open.
        Ok(0) | Err(Errno::IO) => Ok(false),
        Ok(count) => {
            into.extend(&bytes[..count]);
            Ok(true)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(true),
        Err(error) => Err(TerminalError::Copy(error.into())),
    }
}

/// Writes once. What cannot be delivered because the other side is gone is
/// dropped.
fn drain(into: BorrowedFd<'_>, from: &mut VecDeque<u8>) -> Result<(), TerminalError> {
    match rustix::io::write(into, from.as_slices().0) {
        Ok(count) => drop(from.drain(..count)),
        Err(Errno::AGAIN | Errno::INTR) => {}
        Err(Errno::IO | Errno::PIPE) => from.clear(),
        Err(error) => return Err(TerminalError::Copy(error.into())),
    }
    Ok(())
}
