//! After a restart of the engine, or the death of a shim: finding out what
//! became of every run, from state files, locks and the log.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use base::{RunId, Timestamp};
use engine_model::{ContainerEvent, ContainerState, Status};
use engine_shim_api::event::{CLEANED, EXITED};
use engine_shim_api::{Cleaned, ControlClient, ControlReply, ControlRequest, ExitRecord};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Command;

use super::{Container, exit, health, remove, shim, start};
use crate::Engine;
use crate::error::{OrFail as _, Result, internal};

/// How long it may take to handle what a shim that has ended put into the log.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(10);
/// How long a shim may take to finish a start that the last engine asked for.
const START_LIMIT: Duration = Duration::from_secs(120);
/// How often it is asked meanwhile.
const START_POLL: Duration = Duration::from_millis(10);
/// How long the runtime may take to delete what a dead shim left.
const DELETE_LIMIT: Duration = Duration::from_secs(30);
/// The exit code of a process whose end nobody saw.
const UNKNOWN_EXIT: i32 = 255;
/// What became of a start that the engine did not live to finish.
const CUT_SHORT: &str = "the engine ended while the container was being started";
/// The back-off of a restart that was due when the engine went down.
const RESTART_DELAY: Duration = Duration::from_millis(100);

/// Brings one container that was read from disk up to date.
pub async fn adopt(engine: &Arc<Engine>, container: &Arc<Container>) {
    if let Err(error) = try_adopt(engine, container).await {
        tracing::error!(container = %container.id, %error, "cannot adopt the container");
    }
}

async fn try_adopt(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    let state = container.state();
    let run = container.run();
    let alive = shim::is_alive(&engine.instance.shim(&run))?;
    match (state.starting, state.is_live() || !state.cleaned, alive) {
        (true, _, true) => finish_start(engine, container, &run).await?,
        (_, true, true) => adopt_live(engine, container, &run).await?,
        (_, true, false) => finish_lost(engine, container, &run).await?,
        (_, false, _) => {
            // What stays mounted keeps nobody from being started or removed.
            if let Err(error) = super::archive::release_leftover(engine, container).await {
                tracing::warn!(container = %container.id, %error, "its files stay mounted");
            }
        }
    }
    match container.state().status {
        Status::Removing => remove::finish(engine, container, volumes_of(container)),
        Status::Restarting => exit::schedule_restart(engine, container, RESTART_DELAY),
        // One that was never started waits for its client.
        Status::Exited | Status::Created if container.config().auto_remove && run.run.0 > 0 => {
            remove::remove_after_exit(engine, container)?
        }
        Status::Exited if starts_with_engine(container, &container.state()) => {
            start::start(engine, container).await?;
        }
        _ => {}
    }
    Ok(())
}

fn starts_with_engine(container: &Container, state: &ContainerState) -> bool {
    container
        .config()
        .restart
        .starts_with_engine(state.stopped_by_user)
}

/// A removal that is finished later no longer knows what the user asked for;
/// volumes are kept unless the container's own option says otherwise.
fn volumes_of(container: &Container) -> remove::AnonymousVolumes {
    if container.config().auto_remove {
        remove::AnonymousVolumes::Remove
    } else {
        remove::AnonymousVolumes::Keep
    }
}

/// The engine died in the middle of a start: what runs is kept, else undone.
async fn finish_start(engine: &Arc<Engine>, container: &Arc<Container>, run: &RunId) -> Result<()> {
    if let Some(started) = await_start(engine, container, run).await? {
        engine.steps.reached("adopt.started");
        container.apply(started)?;
        return adopt_live(engine, container, run).await;
    }
    engine.bus.catch_up(CATCH_UP_LIMIT).await?;
    if !container.state().starting {
        // The log has told of it.
        return match shim::is_alive(&engine.instance.shim(run))? {
            true => adopt_live(engine, container, run).await,
            false => finish_lost(engine, container, run).await,
        };
    }
    let failure = start::undo(engine, container, run, internal(CUT_SHORT)).await;
    engine.steps.reached("adopt.failed");
    fail_start(engine, container, run, failure.message)
}

/// Waits until a shim knows what became of a start that it may have been asked for;
/// `None` when the log has told, or the shim has ended, by itself or as nobody had
/// asked it yet.
async fn await_start(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    run: &RunId,
) -> Result<Option<ContainerEvent>> {
    let directory = engine.instance.shim(run);
    let begun = tokio::time::Instant::now();
    while container.state().starting && shim::is_alive(&directory)? {
        if let Ok(ControlReply::Status {
            pid: Some(pid),
            started,
            ..
        }) = shim::call(engine, run, ControlRequest::Status).await
        {
            let time = started.unwrap_or_else(Timestamp::now);
            return Ok(Some(ContainerEvent::Started {
                run: run.run,
                pid,
                time,
            }));
        }
        // Refused while it starts the container; not heard before its socket listens.
        let ended = shim::call(engine, run, ControlRequest::Shutdown).await;
        if begun.elapsed() > START_LIMIT {
            return ended.map(|_| None);
        }
        tokio::time::sleep(START_POLL).await;
    }
    Ok(None)
}

/// Records that a start failed; one by policy is followed by the next.
fn fail_start(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    run: &RunId,
    error: String,
) -> Result<()> {
    let event = ContainerEvent::StartFailed {
        run: run.run,
        error,
        exit_code: UNKNOWN_EXIT,
        time: Timestamp::now(),
    };
    exit::start_failed(container, event)?;
    engine.leaving.forget(run);
    Ok(())
}

async fn adopt_live(engine: &Arc<Engine>, container: &Arc<Container>, run: &RunId) -> Result<()> {
    watch_adopted(engine, run)?;
    match shim::call(engine, run, ControlRequest::Status).await {
        Ok(ControlReply::Status { paused, .. }) => match (container.state().status, paused) {
            (Status::Running, true) => drop(container.apply(ContainerEvent::Paused)?),
            (Status::Paused, false) => drop(container.apply(ContainerEvent::Resumed)?),
            _ => {}
        },
        Ok(_) => {}
        // It is watched: a shim that is about to end answers nobody.
        Err(error) => tracing::warn!(%run, %error, "the shim does not say how its container is"),
    }
    if container.state().is_live() {
        health::begin(engine, container);
    }
    Ok(())
}

/// Notices the end of a shim that is not our child.
fn watch_adopted(engine: &Arc<Engine>, run: &RunId) -> Result<()> {
    let directory = engine.instance.shim(run);
    let pidfd = match ControlClient::connect(&directory) {
        Ok(connection) => {
            let peer = rustix::net::sockopt::socket_peercred(&connection).or_internal()?;
            let flags = rustix::process::PidfdFlags::NONBLOCK;
            let pidfd = rustix::process::pidfd_open(peer.pid, flags).or_internal()?;
            Some(async_pidfd(pidfd).or_internal()?)
        }
        // One that is about to end has taken its socket away; its lock goes last.
        Err(_) => None,
    };
    let (engine, run) = (engine.clone(), run.clone());
    tokio::spawn(async move {
        let ended = match pidfd {
            Some(pidfd) => pidfd.readable().await.map(drop).or_internal(),
            None => shim::wait_ended(&directory).await,
        };
        if let Err(error) = ended {
            tracing::warn!(%run, %error, "cannot watch the shim");
        }
        shim_ended(&engine, &run).await;
    });
    Ok(())
}

#[expect(
    deprecated,
    reason = "the safe constructor is unsound only for types that do not own their descriptor"
)]
fn async_pidfd(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

/// Forgets the runs that are nobody's latest: an engine that was killed may not
/// have lived to see their shims end.
///
/// # Errors
/// When a directory cannot be listed, looked at or removed.
pub fn forget_old_runs(engine: &Arc<Engine>) -> Result<()> {
    let shims = engine.instance.shims();
    for entry in std::fs::read_dir(&shims).or_internal()? {
        let path = entry.or_internal()?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Ok(run) = name.parse::<RunId>() else {
            continue;
        };
        let container = engine.container_of(&run);
        if container.is_some_and(|container| container.run() == run) {
            continue;
        }
        engine.steps.reached("adopt.old_run");
        if shim::is_alive(&path)? {
            watch_adopted(engine, &run)?;
        } else {
            shim::forget(engine, &run)?;
        }
    }
    Ok(())
}

/// Called when a shim has ended: forgets it, or finishes what it left.
pub async fn shim_ended(engine: &Arc<Engine>, run: &RunId) {
    let Some(container) = engine.container_of(run) else {
        return;
    };
    let finished = async {
        engine.bus.catch_up(CATCH_UP_LIMIT).await?;
        let state = container.state();
        match state.run == run.run && state.starting {
            // A start under way undoes itself.
            true => Ok(()),
            false => finish_lost(engine, &container, run).await,
        }
    };
    if let Err(error) = finished.await {
        tracing::error!(%run, %error, "cannot finish the run of a shim that ended");
    }
}

/// Finishes a run whose shim is gone. What the shim had to tell is in the log, which
/// is followed to its end first; if that is not all, takes the recorded exit or says
/// that it is unknown, ends what is left, and records both facts in the shim's place.
async fn finish_lost(engine: &Arc<Engine>, container: &Arc<Container>, run: &RunId) -> Result<()> {
    engine.bus.catch_up(CATCH_UP_LIMIT).await?;
    let state = container.state();
    if state.run != run.run || (state.cleaned && !state.is_live()) {
        return shim::forget(engine, run);
    }
    tracing::warn!(%run, "the shim is gone; finishing its run");
    let recorded = read_exit(engine, run)?;
    engine.steps.reached("lost.delete");
    delete_leftovers(engine, container, run).await?;
    if state.starting && recorded.is_none() {
        let failure = start::undo(engine, container, run, internal(CUT_SHORT)).await;
        return fail_start(engine, container, run, failure.message);
    }
    if state.is_live() {
        let exit = recorded.unwrap_or_else(|| ExitRecord {
            run: run.clone(),
            exit_code: UNKNOWN_EXIT,
            oom_killed: false,
            exited: Timestamp::now(),
            shim_lost: true,
        });
        engine.steps.reached("lost.exited");
        engine.bus.publish(EXITED, run.to_string(), &exit)?;
        exit::exited(engine, container, &exit)?;
    }
    engine.steps.reached("lost.cleaned");
    engine
        .bus
        .publish(CLEANED, run.to_string(), &Cleaned::default())?;
    container.apply(ContainerEvent::Cleaned { run: run.run })?;
    engine.leaving.forget(run);
    engine.steps.reached("lost.forget");
    shim::forget(engine, run)
}

fn read_exit(engine: &Engine, run: &RunId) -> Result<Option<ExitRecord>> {
    const LIMIT_BYTES: u64 = 64 << 10;
    let path = engine.instance.shim(run).join("exit.json");
    match base::file::read_bounded(&path, LIMIT_BYTES) {
        Ok(content) => serde_json::from_slice(&content).map(Some).or_internal(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).or_internal(),
    }
}

/// `delete --force` ends every process of the container and its cgroup; a
/// container the runtime does not know is no error.
async fn delete_leftovers(engine: &Engine, container: &Container, run: &RunId) -> Result<()> {
    let runtime = shim::runtime(engine, container.config().runtime.as_deref())?;
    let mut command = Command::new(&runtime.path);
    command
        .args(&runtime.arguments)
        .arg("--root")
        .arg(&runtime.state_root);
    command
        .args(["delete", "--force", &engine_shim_api::runtime_id(run)])
        .env_clear()
        .kill_on_drop(true);
    let output = tokio::time::timeout(DELETE_LIMIT, command.output()).await;
    let output = output
        .map_err(|_| internal(format!("the runtime did not delete {run} in time")))?
        .or_internal()?;
    let message = String::from_utf8_lossy(&output.stderr);
    if output.status.success() || message.contains("does not exist") {
        return Ok(());
    }
    Err(internal(format!(
        "the runtime cannot delete {run}: {}",
        message.trim()
    )))
}
