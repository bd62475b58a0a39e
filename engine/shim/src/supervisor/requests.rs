//! What a shim is asked on its control socket.

use std::path::PathBuf;

use base::{Failure, FailureKind};
use engine_shim_api::control::{ControlReply, ControlRequest};
use rustix::event::PollFlags;
use rustix::termios::Winsize;

use super::Supervisor;
use super::ends::number;
use crate::attach::Framing;
use crate::control::ReplyTo;
use crate::phase::PhaseEvent;
use crate::process::{INIT, Process, Stage};
use crate::runtime::{RuntimeCommand, Target};
use crate::stdio::InputMode;

/// The largest signal number.
const LAST_SIGNAL: u32 = 64;

impl Supervisor {
    pub(super) fn serve_control(&mut self, key: u32, events: PollFlags) {
        if events.contains(PollFlags::OUT) {
            self.control.flush(key);
        }
        if events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
            && let Some((reply, request)) = self.control.receive(key)
        {
            self.serve(reply, request);
        }
    }

    /// Answers now, or queues what will be answered later.
    fn serve(&mut self, reply: ReplyTo, request: ControlRequest) {
        let answer = match request {
            ControlRequest::Start => self.start(reply),
            ControlRequest::Exec {
                exec,
                process,
                terminal,
                stdin,
            } => self.start_exec(reply, &exec, process, exec_settings(terminal, stdin)),
            ControlRequest::Signal { signal, all } => {
                let target = if all { Target::All } else { Target::Init };
                self.signal(reply, signal, target)
            }
            ControlRequest::SignalExec { exec, signal } => self.signal_exec(&exec, signal),
            ControlRequest::Resize {
                exec,
                rows,
                columns,
            } => self.resize(exec.as_deref(), window(rows, columns)),
            ControlRequest::Pause => self.queue(reply, RuntimeCommand::Pause),
            ControlRequest::Update { resources } => {
                self.queue(reply, RuntimeCommand::Update { resources })
            }
            ControlRequest::Resume => self.queue(reply, RuntimeCommand::Resume),
            ControlRequest::Status => Ok(Some(self.status())),
            ControlRequest::Shutdown => self.shut_down(),
        };
        match answer {
            Ok(Some(answer)) => self.control.reply(reply, Ok(answer)),
            Ok(None) => {}
            Err(failure) => self.control.reply(reply, Err(failure)),
        }
    }

    fn start(&mut self, reply: ReplyTo) -> Answer {
        if self.phase != crate::phase::Phase::Waiting {
            let error = self.phase.on(PhaseEvent::StartAsked);
            return Err(conflict(error.expect_err("a run is started once")));
        }
        let terminal = self.config.terminal;
        let mode = match self.config.stdin {
            engine_shim_api::StdinMode::Null => InputMode::Nothing,
            engine_shim_api::StdinMode::Open => InputMode::Open,
            engine_shim_api::StdinMode::Once => InputMode::UntilEnd,
        };
        let init = self.init();
        init.input_mode = mode;
        init.framing = framing(terminal);
        init.stage = Stage::Starting;
        self.start_reply = Some(reply);
        self.step(PhaseEvent::StartAsked);
        Ok(None)
    }

    fn start_exec(
        &mut self,
        reply: ReplyTo,
        exec: &str,
        file: PathBuf,
        (framing, input_mode): (Framing, InputMode),
    ) -> Answer {
        self.check_running()?;
        let key = match self.exec(exec) {
            Some(process) if matches!(process.stage, Stage::Waiting) => process.key,
            Some(_) => return Err(conflict(format!("exec {exec} was started already"))),
            None => self.add_exec(exec)?,
        };
        if let Some(process) = self.process_mut(key) {
            process.framing = framing;
            process.input_mode = input_mode;
        }
        let command = RuntimeCommand::Exec { process: file };
        match self.spawn_process(key, &command) {
            Ok(command) => {
                self.set_stage(key, Stage::ExecStarting { command, reply });
                Ok(None)
            }
            Err(error) => {
                self.abandon_streams(Some(key));
                self.set_stage(key, Stage::Ended { end: None });
                Err(Failure::from_error(FailureKind::Internal, &error))
            }
        }
    }

    fn set_stage(&mut self, key: u32, stage: Stage) {
        if let Some(process) = self.process_mut(key) {
            process.stage = stage;
        }
    }

    /// Makes room for an exec and returns its key.
    pub(super) fn add_exec(&mut self, exec: &str) -> Result<u32, Failure> {
        self.check_running()?;
        if !base::id::is_valid_name(exec) {
            let message = format!("invalid exec id {exec:?}");
            return Err(Failure::new(FailureKind::Invalid, message));
        }
        if !self.has_room_for_exec() {
            let message = "too many execs run in this container";
            return Err(Failure::new(FailureKind::Exhausted, message));
        }
        let key = self.new_key();
        self.processes
            .push(Process::new(key, Some(exec.to_owned())));
        Ok(key)
    }

    fn signal(&mut self, reply: ReplyTo, signal: u32, target: Target) -> Answer {
        check_signal(signal)?;
        self.queue(reply, RuntimeCommand::Signal { signal, target })
    }

    fn signal_exec(&mut self, exec: &str, signal: u32) -> Answer {
        let signal = check_signal(signal)?;
        let process = self.exec(exec).ok_or_else(|| unknown_exec(exec))?;
        let pid = process.pid();
        let pid = pid.ok_or_else(|| conflict(format!("exec {exec} is not running")))?;
        crate::sys::kill(pid, signal).map_err(|error| {
            Failure::new(
                FailureKind::Internal,
                format!("cannot signal exec {exec}: {error}"),
            )
        })?;
        Ok(Some(ControlReply::Done))
    }

    fn resize(&mut self, exec: Option<&str>, size: Winsize) -> Answer {
        let key = match exec {
            None => INIT,
            Some(exec) => self.exec(exec).ok_or_else(|| unknown_exec(exec))?.key,
        };
        let has_terminal = self.config.terminal;
        let Some(process) = self.process_mut(key) else {
            return Err(conflict("the process has ended"));
        };
        let waits = matches!(process.stage, Stage::Waiting);
        if !(process.uses_terminal() || waits && (exec.is_some() || has_terminal)) {
            return Err(conflict("the process has no terminal"));
        }
        if process.streams.resize(size).is_err() {
            if process.has_started() {
                return Err(conflict("the terminal is closed"));
            }
            process.size = Some(size);
        }
        Ok(Some(ControlReply::Done))
    }

    /// Queues a command for the container that runs.
    fn queue(&mut self, reply: ReplyTo, command: RuntimeCommand) -> Answer {
        self.check_running()?;
        self.enqueue(command, reply);
        Ok(None)
    }

    fn status(&self) -> ControlReply {
        let execs = self.processes.iter().filter(|it| it.pid().is_some());
        ControlReply::Status {
            pid: self.process(INIT).and_then(Process::pid).map(number),
            started: self.started,
            paused: self.paused,
            execs: execs.filter_map(|process| process.exec.clone()).collect(),
        }
    }

    fn shut_down(&mut self) -> Answer {
        let (phase, _) = self.phase.on(PhaseEvent::ShutdownAsked).map_err(conflict)?;
        self.phase = phase;
        Ok(Some(ControlReply::Done))
    }

    fn check_running(&self) -> Result<(), Failure> {
        if self.phase.is_running() {
            return Ok(());
        }
        Err(conflict("the container is not running"))
    }
}

/// Nothing means that the answer comes later.
type Answer = Result<Option<ControlReply>, Failure>;

fn conflict(message: impl std::fmt::Display) -> Failure {
    Failure::new(FailureKind::Conflict, message)
}

fn unknown_exec(exec: &str) -> Failure {
    Failure::new(FailureKind::NotFound, format!("no exec {exec}"))
}

fn check_signal(signal: u32) -> Result<i32, Failure> {
    let number = i32::try_from(signal).ok();
    let valid = number.filter(|number| (1..=LAST_SIGNAL).contains(&number.unsigned_abs()));
    valid.ok_or_else(|| Failure::new(FailureKind::Invalid, format!("invalid signal {signal}")))
}

fn framing(terminal: bool) -> Framing {
    if terminal {
        Framing::Raw
    } else {
        Framing::Framed
    }
}

fn exec_settings(terminal: bool, stdin: bool) -> (Framing, InputMode) {
    let mode = if stdin {
        InputMode::UntilEnd
    } else {
        InputMode::Nothing
    };
    (framing(terminal), mode)
}

fn window(rows: u16, columns: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}
