//! One process of the container: init (key 0) or an exec.

use std::time::{Duration, Instant};

use base::Timestamp;
use rustix::process::Pid;
use rustix::termios::Winsize;

use crate::attach::Framing;
use crate::control::ReplyTo;
use crate::runtime::RunningCommand;
use crate::stdio::{Console, InputMode, Streams};

/// The key of init.
pub(crate) const INIT: u32 = 0;
/// Execs at once, those included that only have clients waiting.
pub(crate) const EXECS_LIMIT: usize = 64;
/// How long output is read after the process's end, where somebody else still
/// holds its streams or a client does not read.
pub(crate) const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// A process and what is ours of it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) key: u32,
    /// The exec's id; `None` for init.
    pub(crate) exec: Option<String>,
    pub(crate) framing: Framing,
    pub(crate) input_mode: InputMode,
    pub(crate) stage: Stage,
    pub(crate) streams: Streams,
    pub(crate) console: Option<Console>,
    /// The size asked for, until there is a terminal to set it on.
    pub(crate) size: Option<Winsize>,
}

/// How far a process is.
#[derive(Debug)]
pub(crate) enum Stage {
    /// It was not asked for yet.
    Waiting,
    /// Init's start is under way, as the serial command.
    Starting,
    /// An exec's command is under way.
    ExecStarting {
        command: RunningCommand,
        reply: ReplyTo,
    },
    Running {
        pid: Pid,
    },
    /// It has ended; its output is being read until the deadline.
    Draining {
        end: End,
        deadline: Instant,
    },
    Ended {
        end: Option<End>,
    },
}

/// How and when a process ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    pub(crate) exit_code: i32,
    pub(crate) exited: Timestamp,
}

impl Process {
    pub(crate) fn new(key: u32, exec: Option<String>) -> Self {
        Self {
            key,
            exec,
            framing: Framing::Framed,
            input_mode: InputMode::Nothing,
            stage: Stage::Waiting,
            streams: Streams::default(),
            console: None,
            size: None,
        }
    }

    /// Returns the pid while the process lives.
    pub(crate) fn pid(&self) -> Option<Pid> {
        match self.stage {
            Stage::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// Returns whether the process runs or has run.
    pub(crate) fn has_started(&self) -> bool {
        self.is_readable() || self.is_over()
    }

    /// Returns whether output may be read: a process that is being started has
    /// the runtime's messages in its streams, which are no output.
    pub(crate) fn is_readable(&self) -> bool {
        matches!(self.stage, Stage::Running { .. } | Stage::Draining { .. })
    }

    /// Returns whether its end has come.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Draining { .. } | Stage::Ended { .. })
    }

    /// Returns whether nothing of it will come any more.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Ended { .. })
    }

    /// Returns how it ended, if its output is read or was waited for long enough.
    pub(crate) fn settled(&self, now: Instant) -> Option<End> {
        match self.stage {
            Stage::Draining { end, deadline } if self.streams.is_drained() || deadline <= now => {
                Some(end)
            }
            _ => None,
        }
    }

    /// Returns how it ended, once its output is read.
    pub(crate) fn end(&self) -> Option<End> {
        match self.stage {
            Stage::Ended { end } => end,
            _ => None,
        }
    }

    /// Returns when it is given up to wait for output.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Draining { deadline, .. } => Some(*deadline),
            Stage::ExecStarting { command, .. } => Some(command.deadline),
            _ => None,
        }
    }

    pub(crate) fn uses_terminal(&self) -> bool {
        self.framing == Framing::Raw
    }
}
