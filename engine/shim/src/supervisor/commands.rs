//! Runtime commands: one at a time but execs, started here, ended elsewhere.

use std::time::Instant;

use base::{Failure, FailureKind, PathContext as _, PathError};
use rustix::event::PollFlags;
use rustix::process::{Pid, WaitStatus};

use super::Supervisor;
use crate::control::ReplyTo;
use crate::poll::{PollSet, Token};
use crate::process::{INIT, Process, Stage};
use crate::runtime::{self, ChildStdio, CommandFiles, RunningCommand, RuntimeCommand};
use crate::stdio::{Console, Streams};

/// Commands that wait for their turn.
const JOBS_LIMIT: usize = 32;

/// A command that waits for its turn.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) command: RuntimeCommand,
    pub(super) reply: Option<ReplyTo>,
}

/// The command whose turn it is.
#[derive(Debug)]
pub(super) struct SerialCommand {
    pub(super) job: Job,
    pub(super) running: RunningCommand,
}

impl SerialCommand {
    pub(super) fn deadline(&self) -> Instant {
        self.running.deadline
    }
}

impl Supervisor {
    /// Queues a command that somebody asked for.
    pub(super) fn enqueue(&mut self, command: RuntimeCommand, reply: ReplyTo) {
        if self.jobs.len() >= JOBS_LIMIT {
            let failure = Failure::new(FailureKind::Exhausted, "too many requests are waiting");
            return self.control.reply(reply, Err(failure));
        }
        self.jobs.push_back(Job {
            command,
            reply: Some(reply),
        });
    }

    /// Queues a command of our own, ahead of all that were asked for.
    pub(super) fn enqueue_first(&mut self, command: RuntimeCommand) {
        self.jobs.push_front(Job {
            command,
            reply: None,
        });
    }

    /// Starts the next command if it is its turn.
    pub(super) fn start_next_job(&mut self, now: Instant) {
        if self.deletion.retry.is_some_and(|due| due > now) {
            return;
        }
        self.deletion.retry = None;
        while self.serial.is_none() {
            let Some(job) = self.jobs.pop_front() else {
                return;
            };
            self.start_job(job);
        }
    }

    fn start_job(&mut self, job: Job) {
        let starts = job.command == RuntimeCommand::Run;
        let asked = job.reply.filter(|_| !starts);
        if let Some(reply) = asked.filter(|_| !self.phase.is_running()) {
            let failure = Failure::new(FailureKind::Conflict, "the container is not running");
            return self.control.reply(reply, Err(failure));
        }
        let spawned = if starts {
            self.spawn_process(INIT, &RuntimeCommand::Run)
        } else {
            self.spawn_plain(&job.command)
        };
        match spawned {
            Ok(running) => self.serial = Some(SerialCommand { job, running }),
            Err(error) => {
                self.abandon_streams(if starts { Some(INIT) } else { None });
                self.finish_job(job, Err(base::failure::chain(&error)));
            }
        }
    }

    /// Gives up the streams of a process that was not started.
    pub(super) fn abandon_streams(&mut self, key: Option<u32>) {
        if let Some(key) = key {
            self.take_messages(key);
            self.remove_console(key);
        }
    }

    /// Starts a command that starts no process.
    fn spawn_plain(&self, command: &RuntimeCommand) -> Result<RunningCommand, PathError> {
        let files = self.command_files("runtime", None);
        let stdio = ChildStdio::quiet().at("make a pipe for", &files.log)?;
        self.spawn(command, files, stdio)
    }

    fn spawn(
        &self,
        command: &RuntimeCommand,
        files: CommandFiles,
        stdio: ChildStdio,
    ) -> Result<RunningCommand, PathError> {
        let settings = (&self.config, &self.environment);
        runtime::spawn(settings, command, files, stdio)
    }

    /// Starts `run` or `exec` with the streams of the process `key`.
    pub(super) fn spawn_process(
        &mut self,
        key: u32,
        command: &RuntimeCommand,
    ) -> Result<RunningCommand, PathError> {
        let process = self.process_mut(key);
        let process = process.expect("a process is started only after it was added");
        let (terminal, mode) = (process.uses_terminal(), process.input_mode);
        let name = format!("process-{key}");
        if terminal {
            let console = Console::listen(&self.directory, format!("{name}.sock"))?;
            let files = self.command_files(&name, Some(&console));
            let stdio = ChildStdio::quiet().at("make a pipe for", &files.log)?;
            self.set_console(key, console);
            return self.spawn(command, files, stdio);
        }
        let files = self.command_files(&name, None);
        let (streams, stdio) =
            Streams::pipes(mode, self.config.stream_owner).at("make pipes for", &files.log)?;
        if let Some(process) = self.process_mut(key) {
            process.streams = streams;
        }
        self.spawn(command, files, stdio)
    }

    fn set_console(&mut self, key: u32, console: Console) {
        if let Some(process) = self.process_mut(key) {
            process.console = Some(console);
        }
    }

    fn command_files(&self, name: &str, console: Option<&Console>) -> CommandFiles {
        CommandFiles {
            log: self.directory.file(&format!("{name}.log")),
            pid: self.directory.file(&format!("{name}.pid")),
            console: console.map(|console| console.path(&self.directory)),
        }
    }

    /// Watches what commands write for themselves.
    pub(super) fn watch_commands<'a>(&'a self, set: &mut PollSet<'a>) {
        let serial = self.serial.iter().map(|serial| (None, &serial.running));
        let execs = self.processes.iter().filter_map(|process| {
            exec_command(process).map(|command| (Some(process.key), command))
        });
        for (key, command) in serial.chain(execs) {
            if let Some(errors) = command.errors() {
                set.add(Token::RuntimeOutput(key), errors, PollFlags::IN);
            }
        }
    }

    /// Keeps the beginning of what a command writes for itself.
    pub(super) fn collect_messages(&mut self, key: Option<u32>) {
        let mut processes = self.processes.iter_mut();
        let command = match key {
            None => self.serial.as_mut().map(|serial| &mut serial.running),
            Some(key) => processes
                .find(|it| it.key == key)
                .and_then(|process| match &mut process.stage {
                    Stage::ExecStarting { command, .. } => Some(command),
                    _ => None,
                }),
        };
        if let Some(command) = command {
            command.collect(&mut self.scratch);
        }
    }

    /// Kills commands that take too long; their end is then heard of as usual.
    pub(super) fn end_overdue_commands(&mut self, now: Instant) {
        let serial = self.serial.as_mut().map(|serial| &mut serial.running);
        let execs = self
            .processes
            .iter_mut()
            .filter_map(|process| match &mut process.stage {
                Stage::ExecStarting { command, .. } => Some(command),
                _ => None,
            });
        for command in serial.into_iter().chain(execs) {
            command.kill_if_overdue(now);
        }
    }

    /// The serial command has ended.
    pub(super) fn end_serial(&mut self, status: WaitStatus) {
        let Some(SerialCommand { job, mut running }) = self.serial.take() else {
            return;
        };
        running.collect(&mut self.scratch);
        let result = if job.command == RuntimeCommand::Run {
            self.take_started(INIT, &running, status)
        } else if status.exit_status() == Some(0) {
            running.forget_files();
            Ok(None)
        } else {
            Err(running.failure(status, &[]))
        };
        self.finish_job(job, result);
    }

    /// Returns the process that a successful `run` or `exec` has started, with
    /// its streams connected; else the runtime's reason.
    pub(super) fn take_started(
        &mut self,
        key: u32,
        command: &RunningCommand,
        status: WaitStatus,
    ) -> Result<Option<Pid>, String> {
        if status.exit_status() != Some(0) {
            let messages = self.take_messages(key);
            self.remove_console(key);
            return Err(command.failure(status, &messages));
        }
        let started = command.started();
        command.forget_files();
        let pid = started.map_err(|error| base::failure::chain(&error))?;
        if self.waits_for_terminal(key) {
            // It was sent before the runtime ended, so it is there.
            self.receive_terminal(key);
        }
        if self.waits_for_terminal(key) {
            self.remove_console(key);
            return Err("the OCI runtime sent no terminal".to_owned());
        }
        Ok(Some(pid))
    }

    fn waits_for_terminal(&self, key: u32) -> bool {
        let process = self.process(key);
        process.is_some_and(|process| process.console.is_some())
    }

    /// Takes the terminal of a process if the runtime has sent it.
    pub(super) fn receive_terminal(&mut self, key: u32) {
        let Some(process) = self.process_mut(key) else {
            return;
        };
        let Some(master) = process.console.as_mut().and_then(Console::receive) else {
            return;
        };
        let mode = process.input_mode;
        let streams = Streams::terminal(master, mode);
        let (size, streams) = (process.size.take(), streams.unwrap_or_default());
        if let Some(size) = size {
            // A terminal that cannot be resized still works.
            streams.resize(size).ok();
        }
        process.streams = streams;
        self.remove_console(key);
    }

    pub(super) fn remove_console(&mut self, key: u32) {
        let process = self.process_mut(key);
        if let Some(console) = process.and_then(|process| process.console.take()) {
            console.remove(&self.directory);
        }
    }
}

fn exec_command(process: &Process) -> Option<&RunningCommand> {
    match &process.stage {
        Stage::ExecStarting { command, .. } => Some(command),
        _ => None,
    }
}
