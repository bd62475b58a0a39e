//! Children that have ended, and what follows for their process.
//!
//! While a `run` or `exec` is under way only the pids we know are waited for:
//! the new process may end before its pid file is read, and until then nobody
//! may free its pid.

use std::time::Instant;

use base::Timestamp;
use engine_shim_api::control::{ControlReply, Notice};
use engine_shim_api::event;
use engine_shim_api::{ExecExited, ExecStarted};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, WaitStatus};

use super::Supervisor;
use crate::outbox::Weight;
use crate::phase::PhaseEvent;
use crate::process::{DRAIN_LIMIT, End, INIT, Process, Stage};
use crate::runtime::{RuntimeCommand, exit_code, runtime_failure};

/// More signals than this are never read at once.
const SIGNAL_BUFFER_BYTES: usize = 4 * 128;

/// Of a process whose status nobody can tell.
const UNKNOWN_EXIT_CODE: i32 = 255;

impl Supervisor {
    /// Waits for every child that has ended.
    pub(super) fn reap(&mut self) {
        let mut signals = [0; SIGNAL_BUFFER_BYTES];
        // Only that it was readable matters: one signal may stand for many.
        rustix::io::read(&self.children, &mut signals[..]).ok();
        while self.reap_once() {}
    }

    /// Returns whether a child had ended.
    fn reap_once(&mut self) -> bool {
        let ended = if self.is_starting() {
            self.known_children().into_iter().find_map(|pid| {
                let ended = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG);
                ended.ok().flatten()
            })
        } else {
            let ended = rustix::process::wait(WaitOptions::NOHANG);
            ended.ok().flatten()
        };
        if let Some((pid, status)) = ended {
            self.child_ended(pid, status);
        }
        ended.is_some()
    }

    fn is_starting(&self) -> bool {
        let serial = self.serial.as_ref();
        let exec = |process: &Process| matches!(process.stage, Stage::ExecStarting { .. });
        serial.is_some_and(|serial| serial.job.command == RuntimeCommand::Run)
            || self.processes.iter().any(exec)
    }

    fn known_children(&self) -> Vec<Pid> {
        let serial = self.serial.iter().map(|serial| serial.running.pid);
        let processes = self
            .processes
            .iter()
            .filter_map(|process| match &process.stage {
                Stage::ExecStarting { command, .. } => Some(command.pid),
                _ => process.pid(),
            });
        serial.chain(processes).collect()
    }

    fn child_ended(&mut self, pid: Pid, status: WaitStatus) {
        if self.serial.as_ref().is_some_and(|it| it.running.pid == pid) {
            return self.end_serial(status);
        }
        let owner = self
            .processes
            .iter_mut()
            .find(|process| match &process.stage {
                Stage::ExecStarting { command, .. } => command.pid == pid,
                _ => process.pid() == Some(pid),
            });
        let Some(process) = owner else {
            // The log's, or an orphan of a container that shares the host's pids.
            if let Some(log) = &mut self.log {
                log.child_ended(pid, status.exit_status() == Some(0));
            }
            return;
        };
        let key = process.key;
        if process.pid() == Some(pid) {
            self.process_ended(key, exit_code(status));
        } else {
            self.end_exec_command(key, status);
        }
    }

    /// A runtime that waits for the process it has started takes its status
    /// with it: nothing will ever be heard of that process.
    pub(super) fn end_if_lost(&mut self, key: u32, pid: Pid) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let peeked = rustix::process::waitid(WaitId::Pid(pid), options);
        if peeked.is_err_and(|errno| errno == Errno::CHILD) {
            let message = format!(
                "the runtime kept the exit status of process {}",
                number(pid)
            );
            self.diagnostics.report(message);
            self.process_ended(key, UNKNOWN_EXIT_CODE);
        }
    }

    fn process_ended(&mut self, key: u32, exit_code: i32) {
        let end = End {
            exit_code,
            exited: Timestamp::now(),
        };
        if let Some(process) = self.process_mut(key) {
            process.streams.input.close();
            process.stage = Stage::Draining {
                end,
                deadline: Instant::now() + DRAIN_LIMIT,
            };
        }
        if key == INIT {
            self.step(PhaseEvent::InitExited);
        }
    }

    /// An exec's runtime command has ended.
    fn end_exec_command(&mut self, key: u32, status: WaitStatus) {
        let Some(process) = self.process_mut(key) else {
            return;
        };
        let stage = std::mem::replace(&mut process.stage, Stage::Ended { end: None });
        let Stage::ExecStarting { mut command, reply } = stage else {
            return;
        };
        command.collect(&mut self.scratch);
        match self.take_started(key, &command, status) {
            Ok(Some(pid)) => {
                self.control.reply(reply, Ok(started(pid)));
                self.exec_runs(key, pid);
            }
            Ok(None) => unreachable!("an exec that succeeds has a pid"),
            Err(reason) => {
                self.control.reply(reply, Err(runtime_failure(reason)));
            }
        }
    }

    fn exec_runs(&mut self, key: u32, pid: Pid) {
        let Some(process) = self.process_mut(key) else {
            return;
        };
        process.stage = Stage::Running { pid };
        let Some(exec) = process.exec.clone() else {
            return;
        };
        let payload = ExecStarted {
            exec,
            pid: number(pid),
        };
        let pushed = self
            .outbox
            .push(event::EXEC_STARTED, &payload, Weight::Droppable);
        self.report(pushed);
        self.end_if_lost(key, pid);
    }

    /// Ends processes whose output is read, or that have had their time; init
    /// last, so that no exec outlives it in the event log.
    pub(super) fn settle_processes(&mut self, now: Instant) {
        let settled: Vec<(u32, End)> = self
            .processes
            .iter()
            .rev()
            .filter_map(|process| process.settled(now).map(|end| (process.key, end)))
            .collect();
        for (key, end) in settled {
            let due = self.process(key).and_then(Process::deadline);
            let overdue = due.is_some_and(|due| due <= now);
            if key != INIT || overdue || !self.is_exec_draining() {
                self.drain_at_once(key);
                self.settle(key, end);
            }
        }
        self.finish_clients();
    }

    fn is_exec_draining(&self) -> bool {
        let draining = |process: &Process| matches!(process.stage, Stage::Draining { .. });
        self.processes.iter().skip(1).any(draining)
    }

    fn settle(&mut self, key: u32, end: End) {
        let Some(process) = self.process_mut(key) else {
            return;
        };
        process.stage = Stage::Ended { end: Some(end) };
        let exec = process.exec.clone();
        match exec {
            None => self.step(PhaseEvent::Drained),
            Some(exec) => self.record_exec_exit(exec, end.exit_code),
        }
    }

    fn record_exec_exit(&mut self, exec: String, exit_code: i32) {
        let payload = ExecExited { exec, exit_code };
        let pushed = self
            .outbox
            .push(event::EXEC_EXITED, &payload, Weight::Droppable);
        self.report(pushed);
        let ExecExited { exec, exit_code } = payload;
        self.control.notify(Notice::ExecExited { exec, exit_code });
    }

    /// Lets go of clients whose process is over, once they have read all.
    fn finish_clients(&mut self) {
        let over: Vec<u32> = self
            .processes
            .iter()
            .filter(|process| process.is_over())
            .map(|process| process.key)
            .collect();
        for client in &mut self.clients {
            if client.process.is_some_and(|key| over.contains(&key)) {
                client.finish();
            }
        }
    }
}

/// Returns the answer to a request that started a process.
pub(super) fn started(pid: Pid) -> ControlReply {
    ControlReply::Started { pid: number(pid) }
}

pub(super) fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().unsigned_abs()
}
