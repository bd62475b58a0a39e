//! The steps of a run, performed.

use std::time::{Duration, Instant};

use base::Timestamp;
use base::file::{FileMode, replace};
use engine_shim_api::control::{ControlReply, Notice};
use engine_shim_api::event::{self, Cleaned, Started};
use engine_shim_api::{EXIT_FILE, ExitRecord};
use rustix::process::Pid;

use super::commands::Job;
use super::ends::{number, started};
use super::{LINGER_LIMIT, Supervisor};
use crate::outbox::Weight;
use crate::phase::{Action, Phase, PhaseEvent};
use crate::process::{End, INIT, Stage};
use crate::runtime::{RuntimeCommand, runtime_failure};

/// How often `delete` is tried, and how long after a failure.
const DELETE_ATTEMPTS: u32 = 5;
const DELETE_PAUSE: Duration = Duration::from_millis(200);

impl Supervisor {
    /// Takes one step of the run.
    pub(super) fn step(&mut self, event: PhaseEvent) {
        match self.phase.on(event) {
            Ok((phase, action)) => {
                self.phase = phase;
                self.act(action);
            }
            Err(error) => self.report(Err(error)),
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Run => self.enqueue_first(RuntimeCommand::Run),
            Action::AnnounceStart | Action::Drain | Action::End => {}
            Action::RecordExit => self.record_exit(),
            Action::Delete => self.enqueue_first(RuntimeCommand::Delete),
            Action::RecordCleaned => self.record_cleaned(),
            Action::Linger => self.linger = Some(Instant::now() + LINGER_LIMIT),
            Action::AnswerFailure => self.answer_failure(),
        }
    }

    /// Takes the steps that follow from what has been waited for.
    pub(super) fn advance_phase(&mut self, now: Instant) {
        match self.phase {
            Phase::Recording if self.outbox.is_empty() => {
                self.notify_exit();
                self.step(PhaseEvent::ExitRecorded);
            }
            Phase::Clearing if self.outbox.is_empty() => self.step(PhaseEvent::CleanedRecorded),
            _ => {}
        }
        let over = self.linger.is_some_and(|due| due <= now);
        if self.phase == Phase::Lingering && (over || self.is_quiet()) {
            self.step(PhaseEvent::ClientsGone);
        }
    }

    /// Returns whether nobody waits for anything of this shim any more.
    fn is_quiet(&self) -> bool {
        let attached = self.clients.iter().any(|client| client.process.is_some());
        let execs = self.processes.iter().any(|process| process.pid().is_some());
        let sending = self.log.as_ref().is_some_and(|log| !log.is_idle());
        !attached && !execs && !sending
    }

    /// A serial command is done: answers whoever asked, takes the next step.
    pub(super) fn finish_job(&mut self, job: Job, result: Result<Option<Pid>, String>) {
        match job.command {
            RuntimeCommand::Run => return self.finish_run(result),
            RuntimeCommand::Delete => return self.finish_delete(result.map(|_| ())),
            RuntimeCommand::Pause if result.is_ok() => self.paused = true,
            RuntimeCommand::Resume if result.is_ok() => self.paused = false,
            RuntimeCommand::Pause
            | RuntimeCommand::Resume
            | RuntimeCommand::Update { .. }
            | RuntimeCommand::Signal { .. }
            | RuntimeCommand::Exec { .. } => {}
        }
        if let Some(reply) = job.reply {
            let answer = result.map(|_| ControlReply::Done);
            self.control.reply(reply, answer.map_err(runtime_failure));
        }
    }

    fn finish_run(&mut self, result: Result<Option<Pid>, String>) {
        match result {
            Ok(Some(pid)) => self.container_runs(pid),
            Ok(None) => unreachable!("a run that succeeds has a pid"),
            Err(reason) => {
                self.start_failure = Some(reason);
                self.init().stage = Stage::Ended { end: None };
                self.step(PhaseEvent::StartFailed);
            }
        }
    }

    fn container_runs(&mut self, pid: Pid) {
        self.started = Some(Timestamp::now());
        self.init().stage = Stage::Running { pid };
        self.step(PhaseEvent::Started);
        let payload = Started { pid: number(pid) };
        let pushed = self.outbox.push(event::STARTED, &payload, Weight::Vital);
        self.report(pushed);
        if let Some(reply) = self.start_reply.take() {
            self.control.reply(reply, Ok(started(pid)));
        }
        self.end_if_lost(INIT, pid);
    }

    fn answer_failure(&mut self) {
        let reason = self.start_failure.clone().unwrap_or_default();
        let failure = runtime_failure(reason);
        if let Some(reply) = self.start_reply.take() {
            self.control.reply(reply, Err(failure));
        }
    }

    fn finish_delete(&mut self, result: Result<(), String>) {
        self.deletion.attempts += 1;
        if let Err(reason) = result {
            self.diagnostics.report(format!("delete failed: {reason}"));
            if self.deletion.attempts < DELETE_ATTEMPTS {
                self.deletion.retry = Some(Instant::now() + DELETE_PAUSE);
                return self.enqueue_first(RuntimeCommand::Delete);
            }
            self.deletion.failure = Some(reason);
        }
        self.step(PhaseEvent::Deleted);
    }

    /// Writes `exit.json`, then the event: engine reconciles from the file if
    /// the log cannot be written.
    fn record_exit(&mut self) {
        self.finish_log();
        let record = self.exit_record();
        let path = self.directory.file(EXIT_FILE);
        let content = serde_json::to_vec(&record).expect("a record has string keys only");
        let written = replace(&path, &content, FileMode::Private);
        self.report(written);
        let pushed = self.outbox.push(event::EXITED, &record, Weight::Vital);
        self.report(pushed);
    }

    fn exit_record(&self) -> ExitRecord {
        let End { exit_code, exited } = self.init_end();
        ExitRecord {
            run: self.config.run.clone(),
            exit_code,
            oom_killed: crate::oom::was_killed(&self.config.cgroup),
            exited,
            shim_lost: false,
        }
    }

    fn init_end(&self) -> End {
        let end = self.process(INIT).and_then(crate::process::Process::end);
        end.expect("the exit is recorded after init has ended")
    }

    fn notify_exit(&mut self) {
        let exit_code = self.init_end().exit_code;
        self.control.notify(Notice::Exited { exit_code });
    }

    fn record_cleaned(&mut self) {
        let payload = Cleaned {
            failure: self.deletion.failure.clone(),
        };
        let pushed = self.outbox.push(event::CLEANED, &payload, Weight::Vital);
        self.report(pushed);
    }
}
