//! The OCI runtime's command lines, how one is started, and what it said when
//! it failed. The only place that starts a process.
//!
//! Commands are started and not waited for: the loop hears of their end.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::{Failure, FailureKind, PathContext as _, PathError};
use engine_shim_api::{ShimConfig, runtime_id};
use rustix::process::{Pid, WaitStatus};
use serde::Deserialize;

/// Starting may wait for hooks and slow disks.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Everything else.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// What is kept of a command's output, from the start.
const OUTPUT_LIMIT_BYTES: usize = 4096;
/// What is read of a command's log, from the start.
const LOG_LIMIT_BYTES: u64 = 64 * 1024;
/// A pid has at most 10 digits.
const PID_FILE_LIMIT_BYTES: u64 = 32;

/// What the runtime is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RuntimeCommand {
    Run,
    Exec { process: PathBuf },
    Signal { signal: u32, target: Target },
    Pause,
    Resume,
    Update { resources: PathBuf },
    Delete,
}

/// Which processes a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Init,
    All,
}

/// Where a command leaves what it has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandFiles {
    pub(crate) log: PathBuf,
    pub(crate) pid: PathBuf,
    /// Where the runtime sends the terminal, if the process has one.
    pub(crate) console: Option<PathBuf>,
}

/// The environment every runtime command gets.
#[derive(Debug, Default)]
pub struct Environment(Vec<CString>);

impl FromIterator<(OsString, OsString)> for Environment {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let lines = variables.into_iter().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        // A variable of this process has no zero byte in it.
        Self(lines.filter_map(|line| text(line).ok()).collect())
    }
}

/// The three standard streams a command is given.
#[derive(Debug)]
pub(crate) struct ChildStdio {
    /// Absent: `/dev/null`.
    pub(crate) stdin: Option<OwnedFd>,
    /// Absent: `/dev/null`.
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: OwnedFd,
    /// Our end of `stderr`, where that is not the process's.
    pub(crate) errors: Option<OwnedFd>,
}

impl ChildStdio {
    /// Nothing to read, and what is said is collected.
    ///
    /// # Errors
    /// When descriptors ran out.
    pub(crate) fn quiet() -> rustix::io::Result<Self> {
        let (errors, stderr) = crate::stdio::output_pipe()?;
        Ok(Self {
            stdin: None,
            stdout: None,
            stderr,
            errors: Some(errors),
        })
    }
}

/// A command that has been started.
#[derive(Debug)]
pub(crate) struct RunningCommand {
    pub(crate) pid: Pid,
    files: CommandFiles,
    /// Its standard error, unless that is the process's own.
    errors: Option<OwnedFd>,
    collected: Vec<u8>,
    overdue: bool,
    pub(crate) deadline: Instant,
}

impl RuntimeCommand {
    fn limit(&self) -> Duration {
        match self {
            Self::Run | Self::Exec { .. } => START_LIMIT,
            Self::Signal { .. }
            | Self::Pause
            | Self::Resume
            | Self::Update { .. }
            | Self::Delete => COMMAND_LIMIT,
        }
    }

    fn words(&self) -> Vec<OsString> {
        let words: &[&str] = match self {
            Self::Run => &["run", "--detach"],
            Self::Exec { .. } => &["exec", "--detach"],
            Self::Signal { target, .. } => match target {
                Target::Init => &["kill"],
                Target::All => &["kill", "--all"],
            },
            Self::Pause => &["pause"],
            Self::Resume => &["resume"],
            Self::Update { .. } => &["update"],
            // By force: it then also removes what a failed start left.
            Self::Delete => &["delete", "--force"],
        };
        words.iter().map(OsString::from).collect()
    }

    fn starts_a_process(&self) -> bool {
        matches!(self, Self::Run | Self::Exec { .. })
    }
}

/// Returns the arguments of one command, pure.
pub(crate) fn arguments(
    config: &ShimConfig,
    command: &RuntimeCommand,
    files: &CommandFiles,
) -> Vec<OsString> {
    let mut line: Vec<OsString> = config.runtime.arguments.iter().map(Into::into).collect();
    option(&mut line, "--root", &config.runtime.state_root);
    option(&mut line, "--log", &files.log);
    option(&mut line, "--log-format", Path::new("json"));
    line.extend(command.words());
    if *command == RuntimeCommand::Run {
        option(&mut line, "--bundle", &config.bundle);
    }
    if let RuntimeCommand::Exec { process } = command {
        option(&mut line, "--process", process);
    }
    if let RuntimeCommand::Update { resources } = command {
        option(&mut line, "--resources", resources);
    }
    if command.starts_a_process() {
        option(&mut line, "--pid-file", &files.pid);
        if let Some(console) = &files.console {
            option(&mut line, "--console-socket", console);
        }
    }
    line.push(runtime_id(&config.run).into());
    if let RuntimeCommand::Signal { signal, .. } = command {
        line.push(signal.to_string().into());
    }
    line
}

fn option(line: &mut Vec<OsString>, name: &str, value: &Path) {
    line.push(name.into());
    line.push(value.into());
}

/// Starts a command in `environment`.
///
/// # Errors
/// When the runtime cannot be executed.
pub(crate) fn spawn(
    (config, environment): (&ShimConfig, &Environment),
    command: &RuntimeCommand,
    files: CommandFiles,
    stdio: ChildStdio,
) -> Result<RunningCommand, PathError> {
    base::file::remove_if_there(&files.log)?;
    base::file::remove_if_there(&files.pid)?;
    let program = &config.runtime.path;
    let mut words = vec![program.clone().into_os_string()];
    words.extend(arguments(config, command, &files));
    let pid = execute(words, environment, &stdio).at("run the OCI runtime", program)?;
    Ok(RunningCommand {
        pid,
        files,
        errors: stdio.errors,
        collected: Vec::new(),
        overdue: false,
        deadline: Instant::now() + command.limit(),
    })
}

fn execute(
    words: Vec<OsString>,
    environment: &Environment,
    stdio: &ChildStdio,
) -> std::io::Result<Pid> {
    let words: Vec<CString> = words.into_iter().map(text).collect::<Result<_, _>>()?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let null = null.as_fd();
    let streams = [
        stdio.stdin.as_ref().map_or(null, |end| end.as_fd()),
        stdio.stdout.as_ref().map_or(null, |end| end.as_fd()),
        stdio.stderr.as_fd(),
    ];
    crate::sys::spawn(&words[0], &words, &environment.0, streams)
}

fn text(word: OsString) -> std::io::Result<CString> {
    Ok(CString::new(word.into_vec())?)
}

impl RunningCommand {
    /// Returns what to watch for messages.
    pub(crate) fn errors(&self) -> Option<BorrowedFd<'_>> {
        self.errors.as_ref().map(|errors| errors.as_fd())
    }

    /// Kills the command if its time is over.
    pub(crate) fn kill_if_overdue(&mut self, now: Instant) {
        if now >= self.deadline {
            self.overdue = true;
            self.deadline = now + COMMAND_LIMIT;
            // It is our child and not waited for, so that it exists.
            drop(crate::sys::kill(self.pid, libc::SIGKILL));
        }
    }

    /// Reads what the command has written to its standard error.
    pub(crate) fn collect(&mut self, scratch: &mut [u8]) {
        let Some(errors) = &self.errors else { return };
        loop {
            match rustix::io::read(errors.as_fd(), &mut *scratch) {
                Ok(0) => break,
                Ok(length) => {
                    let room = OUTPUT_LIMIT_BYTES - self.collected.len();
                    self.collected.extend(&scratch[..length.min(room)]);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => break,
            }
        }
        self.errors = None;
    }

    /// Returns the process that a `run` or `exec` has started.
    ///
    /// # Errors
    /// When the runtime left no pid file, or not a pid in it.
    pub(crate) fn started(&self) -> Result<Pid, PathError> {
        let text = base::file::read_bounded(&self.files.pid, PID_FILE_LIMIT_BYTES)?;
        let number = String::from_utf8_lossy(&text).trim().parse().ok();
        number
            .filter(|number| *number > 0)
            .and_then(Pid::from_raw)
            .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidData))
            .at("read a pid from", &self.files.pid)
    }

    /// Returns why the command failed, and removes its files. `printed` is what
    /// it wrote to streams that are not its own.
    pub(crate) fn failure(&self, status: WaitStatus, printed: &[u8]) -> String {
        let log = read_start(&self.files.log);
        let printed = [&self.collected, printed].concat();
        self.forget_files();
        if self.overdue {
            return "the OCI runtime did not finish in time".to_owned();
        }
        failure_message(&log, &printed, status)
    }

    /// Removes the files of a command that is done.
    pub(crate) fn forget_files(&self) {
        // What cannot be removed goes with the directory, which the engine removes.
        drop(std::fs::remove_file(&self.files.log));
        drop(std::fs::remove_file(&self.files.pid));
    }
}

fn read_start(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    if let Ok(file) = File::open(path) {
        // A part that can be read is better than none.
        drop(file.take(LOG_LIMIT_BYTES).read_to_end(&mut content));
    }
    content
}

/// A line of a runtime's log, in the form containerd decodes.
#[derive(Deserialize)]
struct LogLine {
    level: String,
    msg: String,
}

/// Returns the last error of the log, else what was printed, else the status.
fn failure_message(log: &[u8], printed: &[u8], status: WaitStatus) -> String {
    let mut errors = log
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice::<LogLine>(line).ok())
        .filter(|line| matches!(line.level.as_str(), "error" | "fatal" | "panic"));
    if let Some(line) = errors.next_back() {
        return line.msg;
    }
    let printed = String::from_utf8_lossy(printed);
    if !printed.trim().is_empty() {
        return printed.trim().to_owned();
    }
    match status.terminating_signal() {
        Some(signal) => format!("the OCI runtime was ended by signal {signal}"),
        None => {
            let code = status.exit_status().unwrap_or_default();
            format!("the OCI runtime exited with status {code}")
        }
    }
}

/// How runtimes say that the process asked about has ended.
const ENDED: [&str; 4] = [
    "container not running",
    "is not running",
    "process already finished",
    "no such process",
];

/// Returns the runtime's reason as a failure; a process that has ended is a
/// conflict, not somebody's fault.
pub(crate) fn runtime_failure(reason: String) -> Failure {
    let ended = ENDED.iter().any(|words| reason.contains(words));
    let kind = if ended {
        FailureKind::Conflict
    } else {
        FailureKind::Internal
    };
    Failure::new(kind, reason)
}

/// Returns the exit code as Docker counts it: 128 + signal for a killed process.
pub(crate) fn exit_code(status: WaitStatus) -> i32 {
    match status.terminating_signal() {
        Some(signal) => 128 + signal,
        None => status.exit_status().unwrap_or(255),
    }
}

#[cfg(test)]
mod tests;
