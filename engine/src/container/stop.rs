//! Ending and freezing a container: stop, kill, restart, pause, unpause.

use std::sync::Arc;
use std::time::Duration;

use base::{RunId, RunNumber};
use engine_model::signal::Signal;
use engine_model::{ContainerEvent, Status};
use engine_shim_api::ControlRequest;

use super::{Container, remove, shim, start};
use crate::Engine;
use crate::error::{Result, conflict, internal};
use crate::event::{
    CONTAINER_KILLED, CONTAINER_PAUSED, CONTAINER_RESTARTED, CONTAINER_RESUMED, CONTAINER_STOPPED,
    Killed,
};

/// How long a killed container may take to be gone: the kernel may have to
/// free much memory first.
const KILL_LIMIT: Duration = Duration::from_secs(30);
/// How long the log may take to tell of an exit that a signal came too late for.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(2);

/// What a stop request brought about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopOutcome {
    Stopped,
    /// It did not run: Docker answers 304.
    NotRunning,
}

/// How a container is asked to end.
#[derive(Debug, Clone, Copy, Default)]
pub struct StopRequest {
    /// Else the container's own.
    pub signal: Option<Signal>,
    /// Seconds until SIGKILL, else the container's own; -1 waits for ever.
    pub timeout_seconds: Option<i64>,
}

/// Asks a container to end, and kills it when its time is over.
///
/// # Errors
/// When it cannot be signalled or does not even end when killed.
pub async fn stop(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: StopRequest,
) -> Result<StopOutcome> {
    let _operation = container.operation.lock().await;
    stop_locked(engine, container, request).await
}

pub(super) async fn stop_locked(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: StopRequest,
) -> Result<StopOutcome> {
    match container.state().status {
        Status::Restarting => {
            container.apply(ContainerEvent::StopRequested)?;
            container.apply(ContainerEvent::RestartDropped)?;
            return Ok(StopOutcome::Stopped);
        }
        Status::Running | Status::Paused => {}
        Status::Created | Status::Exited | Status::Removing | Status::Dead => {
            return Ok(StopOutcome::NotRunning);
        }
    }
    engine.steps.reached("stop.state");
    if let Err(failure) = container.apply(ContainerEvent::StopRequested) {
        return ended_by_itself(container, failure);
    }
    resume_if_paused(engine, container).await?;
    let config = &container.config();
    let signal = request.signal.unwrap_or(config.stop_signal);
    let seconds = request
        .timeout_seconds
        .unwrap_or(i64::from(config.stop_timeout_seconds));
    let patience = u64::try_from(seconds).ok().map(Duration::from_secs);
    if patience != Some(Duration::ZERO) {
        send(engine, container, signal).await?;
    }
    if !wait_exit(container, patience).await {
        send(engine, container, Signal::KILL).await?;
        if !wait_exit(container, Some(KILL_LIMIT)).await {
            return Err(internal(format!(
                "container {} does not end although it was killed",
                config.id
            )));
        }
    }
    engine.steps.reached("stop.tell");
    engine.bus.publish(
        CONTAINER_STOPPED,
        container.run().to_string(),
        &serde_json::json!({}),
    )?;
    Ok(StopOutcome::Stopped)
}

/// A frozen process cannot act on a signal.
async fn resume_if_paused(engine: &Engine, container: &Container) -> Result<()> {
    if container.state().status == Status::Paused {
        shim::call(engine, &container.run(), ControlRequest::Resume).await?;
        container.apply(ContainerEvent::Resumed)?;
    }
    Ok(())
}

/// Waits until the present run is over; false if it is not in time.
async fn wait_exit(container: &Container, patience: Option<Duration>) -> bool {
    let mut watch = container.watch();
    let over = watch.wait_for(|snapshot| !snapshot.state.is_live());
    match patience {
        None => over.await.is_ok(),
        Some(patience) => tokio::time::timeout(patience, over).await.is_ok(),
    }
}

/// Signals init; one that has just ended, which the log tells a moment later,
/// is no error. Told before it is done: the end that follows is told by the shim,
/// and comes after what brought it about.
async fn send(engine: &Engine, container: &Container, signal: Signal) -> Result<()> {
    let request = ControlRequest::Signal {
        signal: signal.number(),
        all: false,
    };
    engine.bus.publish(
        CONTAINER_KILLED,
        container.run().to_string(),
        &Killed {
            signal: signal.number(),
        },
    )?;
    engine.steps.reached("stop.signal");
    match shim::call(engine, &container.run(), request).await {
        Ok(_) => {}
        Err(_) if wait_exit(container, Some(CATCH_UP_LIMIT)).await => return Ok(()),
        Err(error) => return Err(error),
    }
    engine.steps.reached("stop.signalled");
    Ok(())
}

/// Nothing is left to stop where a container has ended since it was looked at.
fn ended_by_itself(container: &Container, failure: base::Failure) -> Result<StopOutcome> {
    match container.state().is_live() {
        true => Err(failure),
        false => Ok(StopOutcome::Stopped),
    }
}

/// Sends one signal at a user's wish.
///
/// # Errors
/// Conflict, with Docker's sentence, when the container does not run.
pub async fn kill(engine: &Arc<Engine>, container: &Arc<Container>, signal: Signal) -> Result<()> {
    let status = container.state().status;
    if !matches!(status, Status::Running | Status::Paused) {
        let id = &container.id;
        return Err(conflict(format!("container {id} is not running")));
    }
    if signal == Signal::KILL || signal == container.config().stop_signal {
        container.apply(ContainerEvent::StopRequested)?;
    }
    if signal == Signal::KILL {
        resume_if_paused(engine, container).await?;
    }
    send(engine, container, signal).await?;
    if signal == Signal::KILL && !wait_exit(container, Some(KILL_LIMIT)).await {
        return Err(internal(format!(
            "container {} does not end although it was killed",
            container.id
        )));
    }
    Ok(())
}

/// Stops a container if it runs, and starts it.
///
/// # Errors
/// As stop and start.
pub async fn restart(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: StopRequest,
) -> Result<()> {
    let _operation = container.operation.lock().await;
    restart_locked(engine, container, request).await
}

/// Restarts a container because of what became of one run of it; one that has ended or
/// been followed by another meanwhile is left alone.
///
/// # Errors
/// As [`restart`].
pub async fn restart_run(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    run: &RunId,
) -> Result<()> {
    let _operation = container.operation.lock().await;
    if container.run() != *run || !container.state().is_live() {
        return Ok(());
    }
    restart_locked(engine, container, StopRequest::default()).await
}

/// The end of the present run removes nothing, even if it is one with `AutoRemove`; one
/// that has ended and could not be started again is removed.
async fn restart_locked(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: StopRequest,
) -> Result<()> {
    let run = container.run().run;
    container.keep_after(run);
    let restarted = stop_and_start(engine, container, request).await;
    if restarted.is_err() {
        container.keep_after(RunNumber(0));
        if container.goes_after(run) {
            remove::remove_after_exit(engine, container)?;
        }
    }
    restarted
}

async fn stop_and_start(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    request: StopRequest,
) -> Result<()> {
    stop_locked(engine, container, request).await?;
    start::start_locked(engine, container).await?;
    engine.steps.reached("restart.tell");
    engine.bus.publish(
        CONTAINER_RESTARTED,
        container.run().to_string(),
        &serde_json::json!({}),
    )?;
    Ok(())
}

/// Freezes a running container.
///
/// # Errors
/// Conflict when it does not run or is frozen already.
pub async fn pause(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let _operation = container.operation.lock().await;
    let id = &container.id;
    match container.state().status {
        Status::Running => {}
        Status::Paused => return Err(conflict(format!("Container {id} is already paused"))),
        _ => return Err(conflict(format!("container {id} is not running"))),
    }
    engine.steps.reached("pause.freeze");
    shim::call(engine, &container.run(), ControlRequest::Pause).await?;
    engine.steps.reached("pause.state");
    container.apply(ContainerEvent::Paused)?;
    engine.bus.publish(
        CONTAINER_PAUSED,
        container.run().to_string(),
        &serde_json::json!({}),
    )?;
    Ok(())
}

/// Thaws a frozen container.
///
/// # Errors
/// When it is not frozen; Docker's server takes the blame for that.
pub async fn unpause(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let _operation = container.operation.lock().await;
    if container.state().status != Status::Paused {
        return Err(internal(format!(
            "Container {} is not paused",
            container.id
        )));
    }
    engine.steps.reached("unpause.thaw");
    shim::call(engine, &container.run(), ControlRequest::Resume).await?;
    engine.steps.reached("unpause.state");
    container.apply(ContainerEvent::Resumed)?;
    engine.bus.publish(
        CONTAINER_RESUMED,
        container.run().to_string(),
        &serde_json::json!({}),
    )?;
    Ok(())
}
