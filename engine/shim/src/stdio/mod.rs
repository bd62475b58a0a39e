//! The standard streams of one process: pipes or a terminal, our ends of them.
//!
//! Nothing here blocks. Who gets the bytes is decided elsewhere.

mod console;
mod input;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, OFlags, Uid};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

pub(crate) use console::Console;
pub(crate) use engine_shim_api::log_reader::LogStream as Stream;
pub(crate) use input::{Input, InputMode};

use crate::runtime::ChildStdio;

/// Both output streams.
pub(crate) const OUTPUTS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// Our ends of a process's streams.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// A terminal's one stream is `Stdout`, and its input too.
    outputs: [Option<OwnedFd>; 2],
    pub(crate) input: Input,
    terminal: bool,
}

/// What a read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    Bytes(usize),
    Nothing,
    End,
}

impl Streams {
    /// Makes pipes; returns our ends and those of the process.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub(crate) fn pipes(
        mode: InputMode,
        owner: Option<(u32, u32)>,
    ) -> rustix::io::Result<(Self, ChildStdio)> {
        let (stdout, child_stdout) = output_pipe()?;
        let (stderr, child_stderr) = output_pipe()?;
        give_to(&child_stdout, owner)?;
        give_to(&child_stderr, owner)?;
        let (input, stdin) = match mode {
            InputMode::Nothing => (Input::default(), None),
            InputMode::Open | InputMode::UntilEnd => {
                let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
                give_to(&reader, owner)?;
                rustix::fs::fcntl_setfl(&writer, OFlags::WRONLY | OFlags::NONBLOCK)?;
                (Input::pipe(writer, mode), Some(reader))
            }
        };
        let streams = Self {
            outputs: [Some(stdout), Some(stderr)],
            input,
            terminal: false,
        };
        let child = ChildStdio {
            stdin,
            stdout: Some(child_stdout),
            stderr: child_stderr,
            errors: None,
        };
        Ok((streams, child))
    }

    /// Takes over the master side of a terminal.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub(crate) fn terminal(master: OwnedFd, mode: InputMode) -> rustix::io::Result<Self> {
        rustix::fs::fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
        let input = match mode {
            InputMode::Nothing => Input::default(),
            // A terminal has no end of input: it stays open.
            InputMode::Open | InputMode::UntilEnd => {
                let writer = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
                Input::pipe(writer, InputMode::Open)
            }
        };
        Ok(Self {
            outputs: [Some(master), None],
            input,
            terminal: true,
        })
    }

    /// Returns the descriptor to read `stream` from, `None` once it has ended.
    pub(crate) fn output(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        self.outputs[stream as usize]
            .as_ref()
            .map(|end| end.as_fd())
    }

    /// Reads what is there of `stream`; closes it at its end.
    pub(crate) fn read(&mut self, stream: Stream, scratch: &mut [u8]) -> ReadOutcome {
        let Some(end) = &self.outputs[stream as usize] else {
            return ReadOutcome::End;
        };
        match rustix::io::read(end, scratch) {
            Ok(length) if length > 0 => ReadOutcome::Bytes(length),
            Err(Errno::AGAIN | Errno::INTR) => ReadOutcome::Nothing,
            // A terminal whose last user has gone says EIO.
            Ok(_) | Err(_) => {
                self.outputs[stream as usize] = None;
                ReadOutcome::End
            }
        }
    }

    /// Gives up both outputs.
    pub(crate) fn close_outputs(&mut self) {
        self.outputs = [None, None];
    }

    /// Returns whether all output has been read.
    pub(crate) fn is_drained(&self) -> bool {
        self.outputs.iter().all(Option::is_none)
    }

    /// Sets the size of the terminal.
    ///
    /// # Errors
    /// When the process has no terminal any more.
    pub(crate) fn resize(&self, size: Winsize) -> rustix::io::Result<()> {
        let master = self.outputs[0].as_ref().filter(|_| self.terminal);
        rustix::termios::tcsetwinsize(master.ok_or(Errno::NOTTY)?, size)
    }
}

/// The root of a user namespace opens its streams again by `/dev/stdout`.
fn give_to(end: &OwnedFd, owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
    let Some((uid, gid)) = owner else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::fchown(end, Some(uid), Some(gid))
}

/// Returns a pipe for collecting a runtime command's own messages.
///
/// # Errors
/// When descriptors ran out.
pub(crate) fn output_pipe() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Only our end: the process's end must block.
    rustix::fs::fcntl_setfl(&reader, OFlags::RDONLY | OFlags::NONBLOCK)?;
    Ok((reader, writer))
}
