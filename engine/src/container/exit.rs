//! What exits bring about: the monitor takes every fact of a shim from the
//! log, moves the container on, and decides restart and auto-removal.

use std::sync::Arc;
use std::time::Duration;

use base::RunId;
use engine_model::restart::Exit;
use engine_model::{ContainerEvent, ContainerState, RestartDecision, Status};
use engine_shim_api::event::{CLEANED, EXEC_EXITED, EXEC_STARTED, EXITED, STARTED};
use engine_shim_api::{ExecExited, ExecStarted, ExitRecord, Started};
use events::{Cursor, Position, Record};
use tokio::sync::{mpsc, oneshot};

use super::{Container, health, remove, start};
use crate::Engine;
use crate::error::{OrFail as _, Result};

/// When a restart is tried again that did not get as far as a start.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// How often the cursor is stored while records keep coming.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// Tells once that everything up to a position has been handled.
#[derive(Debug)]
pub struct CaughtUp {
    last: Position,
    told: Option<oneshot::Sender<()>>,
}

impl CaughtUp {
    /// Returns one that tells `sender` when `last` has been handled.
    pub fn new(last: Position, sender: oneshot::Sender<()>) -> Self {
        Self {
            last,
            told: Some(sender),
        }
    }

    fn handled(&mut self, position: Position) {
        if position >= self.last
            && let Some(sender) = self.told.take()
        {
            // Whoever asked may have given up.
            sender.send(()).unwrap_or_default();
        }
    }
}

/// Handles every record until the reader ends; the cursor follows behind.
pub async fn monitor(
    engine: Arc<Engine>,
    mut records: mpsc::Receiver<Arc<Record>>,
    mut cursor: Cursor,
    mut caught_up: CaughtUp,
) {
    let mut handled = cursor.position();
    caught_up.handled(handled);
    let mut tick = tokio::time::interval(CURSOR_INTERVAL);
    loop {
        tokio::select! {
            record = records.recv() => match record {
                Some(record) => {
                    handle(&engine, &record);
                    handled = record.position;
                    caught_up.handled(handled);
                    engine.bus.tell(record);
                }
                None => break,
            },
            _ = tick.tick() => store(&mut cursor, handled),
        }
    }
    store(&mut cursor, handled);
}

fn store(cursor: &mut Cursor, handled: Position) {
    if handled > cursor.position()
        && let Err(error) = cursor.store(handled)
    {
        tracing::warn!(
            error = base::failure::chain(&error),
            "cannot store the engine's cursor"
        );
    }
}

/// Handles one record; what cannot be handled is logged, not lost: the state
/// files and the runs' own files tell the same at the next start.
pub fn handle(engine: &Arc<Engine>, record: &Record) {
    if let Err(error) = try_handle(engine, record) {
        tracing::error!(position = %record.position, kind = record.kind, %error, "cannot handle an event");
    }
}

fn try_handle(engine: &Arc<Engine>, record: &Record) -> Result<()> {
    if !matches!(
        record.kind.as_str(),
        STARTED | EXITED | CLEANED | EXEC_STARTED | EXEC_EXITED
    ) {
        return Ok(());
    }
    let run: RunId = record.subject.parse().or_internal()?;
    match record.kind.as_str() {
        EXEC_STARTED => {
            let started: ExecStarted = record.payload().or_internal()?;
            engine.execs.started(&started.exec, started.pid);
            return Ok(());
        }
        EXEC_EXITED => {
            let exited: ExecExited = record.payload().or_internal()?;
            engine.execs.exited(&exited.exec, exited.exit_code);
            return Ok(());
        }
        _ => {}
    }
    // A container that is being removed is not in the registry any more, but
    // its removal waits for this run's end.
    let Some(container) = engine.container_of(&run) else {
        return Ok(());
    };
    match record.kind.as_str() {
        STARTED => {
            let started: Started = record.payload().or_internal()?;
            engine.steps.reached("exit.started");
            let event = ContainerEvent::Started {
                run: run.run,
                pid: started.pid,
                time: record.time,
            };
            container.apply(event)?;
            Ok(())
        }
        EXITED => exited(engine, &container, &record.payload().or_internal()?),
        _ => cleaned(engine, &container, &run),
    }
}

/// Moves a container to its end; decides what follows, once.
///
/// # Errors
/// When the state cannot be written.
pub fn exited(engine: &Arc<Engine>, container: &Arc<Container>, exit: &ExitRecord) -> Result<()> {
    let event = ContainerEvent::Exited {
        run: exit.run.run,
        exit_code: exit.exit_code,
        oom_killed: exit.oom_killed,
        time: exit.exited,
    };
    engine.steps.reached("exit.state");
    let mut restart = None;
    let (before, after) = container.apply_then(event, |state| {
        restart = restart_delay(container, state);
        restart.map(|_| ContainerEvent::RestartScheduled)
    })?;
    if before == after {
        return Ok(());
    }
    engine.steps.reached("exit.follow_up");
    health::end(container);
    engine.execs.container_ended(&container.id);
    match restart {
        Some(delay) => schedule_restart(engine, container, delay),
        None if container.goes_after(exit.run.run) => remove::remove_after_exit(engine, container)?,
        None => {}
    }
    Ok(())
}

/// Returns the back-off after which the policy starts a container again that
/// has come to `state`, if it does.
fn restart_delay(container: &Container, state: &ContainerState) -> Option<Duration> {
    let lasted = match (state.started, state.finished) {
        (Some(started), Some(finished)) => finished.since(started),
        _ => Duration::ZERO,
    };
    let exit = Exit {
        exit_code: state.exit_code,
        stopped_by_user: state.stopped_by_user,
        restarts: state.restarts,
        lasted,
    };
    match container.config().restart.decide(exit) {
        RestartDecision::Stay => None,
        RestartDecision::RestartAfter(delay) => Some(delay),
    }
}

/// Starts a container after `delay` unless somebody decides otherwise before.
pub fn schedule_restart(engine: &Arc<Engine>, container: &Arc<Container>, delay: Duration) {
    let (engine, container) = (engine.clone(), container.clone());
    tokio::spawn(async move {
        tokio::time::sleep(delay).await;
        let _operation = container.operation.lock().await;
        let state = container.state();
        if state.status != Status::Restarting || engine.is_stopping() {
            return;
        }
        engine.steps.reached("restart.start");
        let mut again = None;
        let started = start::start_then(&engine, &container, |failed| {
            again = delay_after_failure(&container, failed);
            again.map(|_| ContainerEvent::RestartScheduled)
        });
        let Err(error) = started.await else {
            return;
        };
        tracing::warn!(container = %container.id, %error, "cannot restart the container");
        engine.steps.reached("restart.schedule");
        if container.state().status == Status::Restarting {
            // One that did not get as far as a start is repeated as soon as the first.
            let delay = again.unwrap_or(FIRST_RETRY);
            schedule_restart(&engine, &container, delay);
        }
    });
}

/// A restart that failed counts as an exit, so that the policy's limit and
/// back-off hold for it too.
fn delay_after_failure(container: &Container, failed: &ContainerState) -> Option<Duration> {
    let mut state = failed.clone();
    state.started = state.finished;
    restart_delay(container, &state)
}

/// Moves a container on whose start failed; if the start was by policy, that decides
/// about the next in the same step.
///
/// # Errors
/// When the state cannot be written.
pub fn start_failed(container: &Container, event: ContainerEvent) -> Result<()> {
    let by_policy = container.state().status == Status::Restarting;
    let then = |failed: &ContainerState| {
        let again = delay_after_failure(container, failed).filter(|_| by_policy);
        again.map(|_| ContainerEvent::RestartScheduled)
    };
    container.apply_then(event, then).map(drop)
}

fn cleaned(engine: &Arc<Engine>, container: &Arc<Container>, run: &RunId) -> Result<()> {
    engine.steps.reached("exit.cleaned");
    container.apply(ContainerEvent::Cleaned { run: run.run })?;
    engine.leaving.forget(run);
    Ok(())
}
