//! Starting a container: network, root filesystem and shim side by side, then
//! the specification, then the process. What was done is undone when a later
//! step fails.

mod attempt;
mod propagation;
mod shared_memory;
pub(super) mod small_files;
mod spec;

pub(super) use attempt::{UNDO_LIMIT, mount, undo};
pub(crate) use spec::cgroup_of;

use std::sync::Arc;
use std::time::Duration;

use base::{Failure, FailureKind, RunId, RunNumber, Timestamp};
use engine_model::{ContainerEvent, ContainerState, Status};

use super::Container;
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, internal};
use crate::event::{CONTAINER_START_FAILED, StartFailed};

/// How long a start waits for the last run to be cleaned up.
const CLEANED_LIMIT: Duration = Duration::from_secs(30);

/// What a start request brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOutcome {
    Started,
    /// It ran already: Docker answers 304.
    AlreadyRunning,
}

/// Starts a container at a user's wish.
///
/// # Errors
/// Conflict in a state that cannot start; else what the failing step says.
pub async fn start(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<StartOutcome> {
    let _operation = container.operation.lock().await;
    start_locked(engine, container).await
}

/// As [`start`], for a caller that holds the operation lock.
///
/// # Errors
/// As [`start`].
pub async fn start_locked(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
) -> Result<StartOutcome> {
    start_then(engine, container, |_| None).await
}

/// As [`start_locked`]; what `then` says of a start that failed is recorded at once
/// with the failure.
///
/// # Errors
/// As [`start`].
pub async fn start_then(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    then: impl FnOnce(&ContainerState) -> Option<ContainerEvent>,
) -> Result<StartOutcome> {
    match container.state().status {
        Status::Running => return Ok(StartOutcome::AlreadyRunning),
        Status::Paused => {
            return Err(conflict(
                "cannot start a paused container, try unpause instead",
            ));
        }
        Status::Removing | Status::Dead => {
            return Err(conflict(
                "container is marked for removal and cannot be started",
            ));
        }
        Status::Created | Status::Exited | Status::Restarting => {}
    }
    wait_cleaned(container).await?;
    let run = RunId::new(container.id.clone(), RunNumber(container.state().run.0 + 1));
    engine.group_moves.prepare();
    engine.steps.reached("start.begin");
    container.apply(ContainerEvent::Starting { run: run.run })?;
    match attempt::perform(engine, container, &run).await {
        Ok(pid) => {
            engine.steps.reached("start.started");
            container.apply(ContainerEvent::Started {
                run: run.run,
                pid,
                time: Timestamp::now(),
            })?;
            super::health::begin(engine, container);
            tell_parents(engine, container);
            Ok(StartOutcome::Started)
        }
        Err(failure) => {
            engine.steps.reached("start.failed");
            let failure = as_docker_says(failure);
            let failure = record_failure(engine, container, (&run, failure), then);
            if container.config().auto_remove {
                super::remove::remove_after_exit(engine, container)?;
            }
            Err(failure)
        }
    }
}

/// Those that are linked to it find it where it is now. It runs all the same if a
/// file of theirs cannot be written.
fn tell_parents(engine: &Engine, container: &Container) {
    if let Err(failure) = super::links::tell_parents(engine, container) {
        let (container, error) = (&container.id, &failure.message);
        tracing::warn!(%container, %error, "links to it are not up to date");
    }
}

/// Waits until nothing of the last run is left.
///
/// # Errors
/// When that takes too long.
pub(super) async fn wait_cleaned(container: &Container) -> Result<()> {
    let mut watch = container.watch();
    let cleaned = watch.wait_for(|snapshot| snapshot.state.cleaned);
    match tokio::time::timeout(CLEANED_LIMIT, cleaned).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => {
            let run = container.run();
            Err(internal(format!(
                "the last run {run} has not been cleaned up within {CLEANED_LIMIT:?}"
            )))
        }
    }
}

/// Records a start that failed and was undone; a failure to record comes on top.
fn record_failure(
    engine: &Engine,
    container: &Container,
    (run, failure): (&RunId, Failure),
    then: impl FnOnce(&ContainerState) -> Option<ContainerEvent>,
) -> Failure {
    let exit_code = exit_code_of(&failure);
    let event = ContainerEvent::StartFailed {
        run: run.run,
        error: failure.message.clone(),
        exit_code,
        time: Timestamp::now(),
    };
    let fact = StartFailed {
        message: failure.message.clone(),
        exit_code,
    };
    let recorded = container.apply_then(event, then).and_then(|_| {
        engine
            .bus
            .publish(CONTAINER_START_FAILED, run.to_string(), &fact)
            .or_internal()
    });
    match recorded {
        Ok(_) => failure,
        Err(error) => Failure::new(
            failure.kind,
            format!("{}; and then: {error}", failure.message),
        ),
    }
}

/// What the runtime says, as clients know it from Docker's server; a program that is
/// not there or may not be executed is a wrong request.
fn as_docker_says(failure: Failure) -> Failure {
    let Some(reason) = failure.message.strip_prefix("runc run failed: ") else {
        return failure;
    };
    let kind = match exit_code_of(&failure) {
        126 | 127 => FailureKind::Invalid,
        _ => failure.kind,
    };
    Failure::new(
        kind,
        format_args!(
            "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: {reason}"
        ),
    )
}

/// Docker's exit codes of a process that could not start.
pub(super) fn exit_code_of(failure: &Failure) -> i32 {
    let text = failure.message.to_lowercase();
    if text.contains("executable file not found") || text.contains("no such file or directory") {
        return 127;
    }
    if text.contains("permission denied") || text.contains("is a directory") {
        return 126;
    }
    128
}
