//! Starts other programs: the only module of xtask that does.
//!
//! Every wait has a limit, and a program that fails is named with its arguments
//! and what it wrote to standard error. Nothing here knows what it runs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, kill_process, kill_process_group, pidfd_open,
};

/// How long a program may run when its caller names no limit.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long a program may take to end after SIGTERM before it gets SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(10);
/// How much of a failed program's standard error a message repeats.
const STDERR_SHOWN_BYTES: usize = 4096;

/// A program to start, with its arguments, environment and limit.
#[derive(Debug, Clone)]
pub(crate) struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    directory: Option<PathBuf>,
    stdin: Option<Vec<u8>>,
    timeout: Duration,
}

/// What a program that was run to its end left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    /// From just before the program was started until its status was known.
    pub(crate) elapsed: Duration,
}

/// What a measured program took and printed.
#[derive(Debug)]
pub(crate) struct Timed {
    pub(crate) begun: Timestamp,
    pub(crate) elapsed: Duration,
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// A program that runs in the background until it is ended.
#[derive(Debug)]
pub(crate) struct Background {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Cmd {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            directory: None,
            stdin: None,
            timeout: DEFAULT_TIMEOUT,
        }
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub(crate) fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.into(), Some(value.as_ref().to_owned())));
        self
    }

    pub(crate) fn env_remove(mut self, name: &str) -> Self {
        self.env.push((name.into(), None));
        self
    }

    pub(crate) fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }

    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program with our own standard output and error.
    ///
    /// # Errors
    /// Fails when the program cannot be started, fails, or exceeds its limit.
    pub(crate) fn run(&self) -> Result<()> {
        let status = self.status()?;
        if !status.success() {
            bail!("`{self}` ended with {}", describe(status));
        }
        Ok(())
    }

    /// Runs the program with our own standard output and error; returns how it ended.
    ///
    /// # Errors
    /// Fails when the program cannot be started or exceeds its limit.
    pub(crate) fn status(&self) -> Result<ExitStatus> {
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("start `{self}`"))?;
        match wait_for(&mut child, self.timeout)? {
            Some(status) => Ok(status),
            None => {
                end(&mut child)?;
                bail!("`{self}` was ended after its limit of {:?}", self.timeout)
            }
        }
    }

    /// Runs the program and returns its standard output as text, without the last newline.
    ///
    /// # Errors
    /// Fails when the program cannot be started, fails, or exceeds its limit.
    pub(crate) fn read(&self) -> Result<String> {
        let finished = self.output()?;
        if !finished.status.success() {
            bail!(
                "`{self}` ended with {}{}",
                describe(finished.status),
                shown_stderr(&finished.stderr)
            );
        }
        let text = String::from_utf8(finished.stdout)
            .with_context(|| format!("read the output of `{self}` as UTF-8"))?;
        Ok(text.trim_end_matches('\n').to_owned())
    }

    /// Runs the program to its end with captured output, whatever its status.
    ///
    /// # Errors
    /// Fails when the program cannot be started or exceeds its limit.
    pub(crate) fn output(&self) -> Result<Finished> {
        let mut command = self.command();
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.stdin(if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        });
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("start `{self}`"))?;
        let writer = self.feed(&mut child);
        let stdout = drain(child.stdout.take().expect("standard output is piped"));
        let stderr = drain(child.stderr.take().expect("standard error is piped"));
        let status = wait_for(&mut child, self.timeout)?;
        let elapsed = started.elapsed();
        if status.is_none() {
            kill_group(&mut child)?;
        }
        let (stdout, stderr) = (joined(stdout), joined(stderr));
        if let Some(writer) = writer {
            joined(writer);
        }
        match status {
            Some(status) => Ok(Finished {
                status,
                stdout,
                stderr,
                elapsed,
            }),
            None => bail!(
                "`{self}` was ended after its limit of {:?}{}",
                self.timeout,
                shown_stderr(&stderr)
            ),
        }
    }

    /// Runs the program and measures it, with as little beside it as possible.
    ///
    /// Output goes to a file: a pipe would have to be read while time counts, and a
    /// daemon that inherited it would hold it open.
    ///
    /// # Errors
    /// Fails when the program cannot be started or exceeds its limit.
    pub(crate) fn timed(&self, output: &Path) -> Result<Timed> {
        let file = File::create(output).with_context(|| format!("create {}", output.display()))?;
        let mut command = self.command();
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("duplicate a descriptor")?);
        command.stderr(file);
        let (begun, started) = (Timestamp::now(), Instant::now());
        let mut child = command.spawn().with_context(|| format!("start `{self}`"))?;
        let status = wait_for(&mut child, self.timeout)?;
        let elapsed = started.elapsed();
        let Some(status) = status else {
            end(&mut child)?;
            bail!("`{self}` was ended after its limit of {:?}", self.timeout);
        };
        let bytes = std::fs::read(output).with_context(|| format!("read {}", output.display()))?;
        let output = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Timed {
            begun,
            elapsed,
            code: exit_code(status),
            output,
        })
    }

    /// Starts the program in the background, its output going to `log`.
    ///
    /// # Errors
    /// Fails when the log cannot be created or the program cannot be started.
    pub(crate) fn background(&self, log: &Path) -> Result<Background> {
        let file = File::create(log).with_context(|| format!("create {}", log.display()))?;
        let child = self
            .command()
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("duplicate a log descriptor")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start `{self}`"))?;
        Ok(Background {
            name: self.to_string(),
            child,
            log: log.to_owned(),
        })
    }

    /// Becomes the program; returns only when that fails.
    pub(crate) fn exec(&self) -> anyhow::Error {
        let error = self.command().exec();
        anyhow::Error::new(error).context(format!("execute `{self}`"))
    }

    /// Runs the program as process 1 does: reaps whatever ends until the program itself has.
    ///
    /// # Errors
    /// Fails when the program cannot be started or waited for.
    pub(crate) fn spawn_as_init(&self) -> Result<i32> {
        let child = self
            .command()
            .spawn()
            .with_context(|| format!("start `{self}`"))?;
        loop {
            let ended = match rustix::process::wait(WaitOptions::empty()) {
                Err(rustix::io::Errno::INTR) => continue,
                ended => ended.context("wait for any child")?,
            };
            if let Some((pid, status)) = ended
                && pid == pid_of(&child)
            {
                return Ok(exit_code(ExitStatus::from_raw(status.as_raw())));
            }
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args);
        for (name, value) in &self.env {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        command
    }

    fn feed(&self, child: &mut Child) -> Option<thread::JoinHandle<Vec<u8>>> {
        let bytes = self.stdin.clone()?;
        let mut stdin = child.stdin.take().expect("standard input is piped");
        Some(thread::spawn(move || {
            // The program may end without reading; its status says whether that was wrong.
            stdin.write_all(&bytes).err();
            Vec::new()
        }))
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

impl Finished {
    /// Returns standard output as text, with what is not UTF-8 replaced.
    pub(crate) fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns standard error as text, with what is not UTF-8 replaced.
    pub(crate) fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Returns the exit code as a shell would give it: 128 + signal for a signal.
    pub(crate) fn code(&self) -> i32 {
        exit_code(self.status)
    }
}

impl Background {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether it has ended by itself.
    ///
    /// # Errors
    /// Fails when it cannot be waited for.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        let status = self.child.try_wait();
        let status = status.with_context(|| format!("wait for `{}`", self.name))?;
        Ok(status.is_some())
    }

    /// Waits until `ready` answers true.
    ///
    /// # Errors
    /// Fails with the end of the log when the program ends or `limit` passes first.
    pub(crate) fn wait_until(
        &mut self,
        limit: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        while !ready() {
            if let Some(status) = wait_for(&mut self.child, Duration::from_millis(50))? {
                bail!(
                    "`{}` ended with {}\n{}",
                    self.name,
                    describe(status),
                    self.log_tail()
                );
            }
            if Instant::now() > deadline {
                bail!(
                    "`{}` was not ready within {limit:?}\n{}",
                    self.name,
                    self.log_tail()
                );
            }
        }
        Ok(())
    }

    /// Ends the program: SIGTERM, a grace period, SIGKILL.
    ///
    /// # Errors
    /// Fails when the program can neither be signalled nor waited for.
    pub(crate) fn stop(mut self) -> Result<()> {
        end(&mut self.child).with_context(|| format!("end `{}`", self.name))
    }

    fn log_tail(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(STDERR_SHOWN_BYTES)..]).into()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // An early return must not leave a daemon behind; stop() reports errors.
        end(&mut self.child).err();
    }
}

/// Returns the exit code as a shell would give it: 128 + signal for a signal.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(255)
}

fn describe(status: ExitStatus) -> String {
    match status.signal() {
        Some(signal) => format!("signal {signal}"),
        None => format!("status {}", exit_code(status)),
    }
}

fn shown_stderr(stderr: &[u8]) -> String {
    let tail = &stderr[stderr.len().saturating_sub(STDERR_SHOWN_BYTES)..];
    let text = String::from_utf8_lossy(tail);
    if text.trim().is_empty() {
        String::new()
    } else {
        format!(":\n{}", text.trim_end())
    }
}

/// Waits for the child without reaping anybody else; `None` when the limit passed.
fn wait_for(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    if let Some(status) = child.try_wait().context("wait for a child")? {
        return Ok(Some(status));
    }
    let pidfd = pidfd_open(pid_of(child), PidfdFlags::empty()).context("open a pidfd")?;
    let timeout = Timespec {
        tv_sec: limit.as_secs() as i64,
        tv_nsec: limit.subsec_nanos().into(),
    };
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(_) => return child.try_wait().context("wait for a child"),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno).context("poll a pidfd"),
        }
    }
}

fn end(child: &mut Child) -> Result<()> {
    if child.try_wait().context("wait for a child")?.is_some() {
        return Ok(());
    }
    kill_process(pid_of(child), Signal::TERM).context("send SIGTERM")?;
    if wait_for(child, TERMINATE_GRACE)?.is_none() {
        child.kill().context("send SIGKILL")?;
        child.wait().context("wait for a killed child")?;
    }
    Ok(())
}

fn kill_group(child: &mut Child) -> Result<()> {
    kill_process_group(pid_of(child), Signal::KILL).context("kill a process group")?;
    child.wait().context("wait for a killed child")?;
    Ok(())
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_raw(child.id() as i32).expect("a child has a pid above zero")
}

fn drain(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // A pipe that breaks half way still gives what came before.
        pipe.read_to_end(&mut bytes).err();
        bytes
    })
}

fn joined(handle: thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    handle.join().expect("a pipe thread does not panic")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Cmd {
        Cmd::new("sh").arg("-c").arg(script)
    }

    #[test]
    fn a_failure_names_the_command_and_its_stderr() {
        let error = sh("echo why >&2; exit 3").read().expect_err("status 3");
        let text = format!("{error:#}");
        assert!(
            text.contains("echo why") && text.contains("status 3"),
            "{text}"
        );
        assert!(text.ends_with("why"), "{text}");
    }

    #[test]
    fn output_is_captured_with_the_status() {
        let finished = sh("cat; kill -9 $$").stdin("in").output().unwrap();
        assert_eq!(finished.stdout, b"in");
        assert_eq!(finished.code(), 137);
    }

    #[test]
    fn a_program_over_its_limit_is_ended_with_its_children() {
        let started = Instant::now();
        let cmd = sh("sleep 60 & wait").timeout(Duration::from_millis(100));
        let error = cmd.output().expect_err("the limit passes");
        assert!(error.to_string().contains("limit"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_background_program_that_ends_early_shows_its_log() {
        let directory = tempfile::tempdir().unwrap();
        let mut background = sh("echo broken; exit 1")
            .background(&directory.path().join("log"))
            .unwrap();
        let error = background
            .wait_until(Duration::from_secs(10), || false)
            .expect_err("it ended");
        assert!(error.to_string().contains("broken"), "{error}");
    }
}
