//! One module per command, each with its arguments and a `run`.

pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::io::{self, Write as _};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::ExitCode;

use base::file::PathError;

use crate::cgroup::CgroupError;
use crate::checkpoint::CheckpointError;
use crate::create::{CgroupDriver, CreateError};
use crate::exec::ExecError;
use crate::handover::HandoverError;
use crate::init::InitError;
use crate::init::gate::GateError;
use crate::log::Logger;
use crate::resources::ResourceError;
use crate::resources::rdt::RdtError;
use crate::seal::SealError;
use crate::signals::WaitError;
use crate::spec::SpecError;
use crate::state::{ContainerDirectory, ContainerName, Record, StateError, Status, Store};
use crate::sys;
use crate::systemd::SystemdError;
use crate::terminal::TerminalError;

/// What `run` exits with when the program could not be executed, as runc.
const NOT_EXECUTED: u8 = 255;

/// What every command needs.
#[derive(Debug)]
pub struct Context<'a> {
    pub store: Store,
    pub log: &'a Logger,
    pub cgroup_driver: CgroupDriver,
    /// Whether privilege is lacking, and that is to be tolerated, where it is said.
    pub rootless: Option<bool>,
}

/// Says why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{0}")]
    Usage(String),
    #[error("the container has no control group, which tells its processes")]
    NoGroups,
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Resource(#[from] ResourceError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error(transparent)]
    Rdt(#[from] RdtError),
    #[error(transparent)]
    Create(#[from] CreateError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error("unable to start container process")]
    Init(#[from] InitError),
    #[error(transparent)]
    Exec(#[from] ExecError),
    #[error(transparent)]
    Wait(#[from] WaitError),
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    #[error(transparent)]
    Handover(#[from] HandoverError),
    #[error(transparent)]
    Hook(crate::hooks::HookError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error("container not running")]
    NotRunning,
    #[error("container with id {0} is not running")]
    NotRunningById(ContainerName),
    #[error("cannot wait for events of the container")]
    Poll(#[source] io::Error),
    #[error("cannot {action} container {id}: it is {status}")]
    WrongStatus {
        action: &'static str,
        id: ContainerName,
        status: Status,
    },
    #[error("cannot delete container {id} that is not stopped: it is {status}")]
    NotStopped { id: ContainerName, status: Status },
    #[error("cannot signal container {0}")]
    Signal(ContainerName, #[source] io::Error),
    #[error("init of container {0} did not end in time after SIGKILL")]
    KillTimeout(ContainerName),
    #[error("file descriptor {0} is to be preserved but is not open")]
    NotOpen(RawFd),
    #[error("cannot run ps")]
    Ps(#[source] io::Error),
    #[error("ps failed: {0}")]
    PsFailed(String),
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Who speaks where an error is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    Runtime,
    /// What is shown in place of the program's own words, as by a shell.
    Program,
}

/// A failed command: its error and the exit code that goes with it.
#[derive(Debug)]
pub struct Failure {
    error: CommandError,
    code: u8,
    speaker: Speaker,
    /// What failed by it, in runc's words: people look errors up by them.
    what: Option<&'static str>,
}

impl Failure {
    /// Returns a failure because of how the program was called.
    pub fn usage(message: impl Into<String>) -> Self {
        CommandError::Usage(message.into()).into()
    }

    /// Returns this failure with another exit code.
    pub fn with_code(self, code: u8) -> Self {
        Self { code, ..self }
    }

    /// Returns this failure as one of the program itself, if it was started and
    /// could not be executed: in the foreground that is its output, as with runc.
    pub fn of_program(self) -> Self {
        match self.error {
            CommandError::Init(InitError::NotExecuted(_)) => Self {
                speaker: Speaker::Program,
                code: NOT_EXECUTED,
                ..self
            },
            _ => self,
        }
    }

    /// Returns whose error it is.
    pub fn speaker(&self) -> Speaker {
        self.speaker
    }

    /// Says what failed by the error.
    pub fn of(self, what: &'static str) -> Self {
        Self {
            what: Some(what),
            ..self
        }
    }

    /// Returns the error and its causes on one line, errors of the kernel
    /// without their number and in lower case.
    pub fn message(&self) -> String {
        let text = match (&self.error, self.speaker, self.what) {
            (CommandError::Init(error), Speaker::Program, _) => error.to_string(),
            (error, _, None) => base::failure::chain(error),
            (error, _, Some(what)) => format!("{what}: {}", base::failure::chain(error)),
        };
        without_numbers(&text)
    }

    /// Returns what the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl<E: Into<CommandError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            code: 1,
            speaker: Speaker::Runtime,
            what: None,
        }
    }
}

/// Rewrites what the standard library calls an error of the kernel, such as
/// "Permission denied (os error 13)", as Go does, "permission denied".
fn without_numbers(text: &str) -> String {
    const MARK: &str = " (os error ";
    let mut parts = text.split(MARK);
    let mut rewritten = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let number = part.split_once(')').and_then(|(number, rest)| {
            let number: i32 = number.parse().ok()?;
            Some((number, rest))
        });
        let Some((number, rest)) = number else {
            // Somebody's own words.
            rewritten.push_str(MARK);
            rewritten.push_str(part);
            continue;
        };
        let reason = sys::reason(number);
        let begin = rewritten.len().saturating_sub(reason.len());
        if rewritten
            .get(begin..)
            .is_some_and(|end| end.eq_ignore_ascii_case(&reason))
        {
            rewritten.replace_range(begin.., &reason);
        }
        rewritten.push_str(rest);
    }
    rewritten
}

/// A command on one container and nothing more.
#[derive(Debug, clap::Args)]
pub struct ContainerArgs {
    /// The container's id
    id: String,
}

/// Options of the commands that create a container.
#[derive(Debug, Default, clap::Args)]
pub struct CreationArgs {
    /// Directory with config.json; the working directory by default
    #[arg(short, long)]
    bundle: Option<PathBuf>,
    /// Socket that gets the master side of the container's terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// File to write init's pid to
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// Socket that gets a pidfd of init
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// Move the root mount instead of pivoting, for initial ramdisks
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Pass on this many descriptors after standard error
    #[arg(long, default_value_t = 0)]
    pub preserve_fds: u32,
    /// The new container's id
    id: String,
}

/// Refuses descriptors that are to be passed on but are not open: other ones
/// opened later would take their numbers.
///
/// # Errors
/// When one is not open.
pub fn check_preserved_descriptors(count: u32) -> Result<(), Failure> {
    for descriptor in (3..).take(count as usize) {
        if !sys::is_open(descriptor) {
            return Err(CommandError::NotOpen(descriptor).into());
        }
    }
    Ok(())
}

/// Finds an existing container.
fn find(context: &Context<'_>, id: &str) -> Result<(ContainerDirectory, Record), CommandError> {
    let directory = context.store.directory(&id.parse()?);
    let record = directory.load()?;
    Ok((directory, record))
}

/// Writes text to standard output; a reader that went away is no error.
fn print(text: &str) -> Result<(), CommandError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

/// Makes a path independent of the working directory.
fn absolute(path: Option<PathBuf>) -> Result<Option<PathBuf>, CommandError> {
    use base::file::PathContext as _;
    let path = path.map(|path| std::path::absolute(&path).at("resolve", &path));
    Ok(path.transpose()?)
}

#[cfg(test)]
mod tests {
    use super::without_numbers;

    #[test]
    fn errors_of_the_kernel_read_as_with_go() {
        let check = |text: &str, expected: &str| {
            assert_eq!(without_numbers(text), expected);
        };
        check(
            "a: Permission denied (os error 13); b: No such file or directory (os error 2)",
            "a: permission denied; b: no such file or directory",
        );
        check("it said (os error 5)", "it said");
        check("odd (os error x)", "odd (os error x)");
        for odd in ["x (os error 01)", "x (os error 1", "x (os error +1) y"] {
            assert!(!without_numbers(odd).is_empty(), "it ends");
        }
        check("nothing", "nothing");
    }
}
