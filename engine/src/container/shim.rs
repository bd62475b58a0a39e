//! The engine's side of a shim: starting it, speaking to it, noticing its death.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use base::file::{FileMode, make_directories, replace};
use base::lock::FileLock;
use base::{Failure, FailureKind, IdMappings, RunId};
use engine_model::container::StdinConfig;
use engine_shim_api::{
    CallError, ControlClient, ControlReply, ControlRequest, LogConfig, PROTOCOL_VERSION,
    RuntimeConfig, ShimConfig, StdinMode,
};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use super::{Container, start};
use crate::Engine;
use crate::config::{DEFAULT_RUNTIME, OWN_RUNTIME};
use crate::error::{OrFail as _, Result, internal, invalid};

/// How long a shim may take until its sockets listen.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// How long the runtime may take to start a container or a process in it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long any other request to a shim may take.
const CALL_LIMIT: Duration = Duration::from_secs(30);
/// How long it is waited for, and how much is read, of why a shim has ended.
const REASON_LIMIT: Duration = Duration::from_secs(1);
const REASON_LIMIT_BYTES: u64 = 4096;
/// What a shim says once it can be spoken to.
const READY: &[u8] = b"ready\n";

/// Starts the shim of a run; its sockets listen when this returns.
///
/// # Errors
/// When it cannot be started, or says nothing in time.
pub async fn spawn(engine: &Arc<Engine>, container: &Container, run: &RunId) -> Result<()> {
    let directory = engine.instance.shim(run);
    let log = super::log::for_shim(container).await?;
    let config = shim_config(engine, container, run, log)?;
    engine.steps.reached("start.run_directory");
    make_directories(&directory, 0o700).or_internal()?;
    let content = serde_json::to_vec(&config).or_internal()?;
    replace(&directory.join("config.json"), &content, FileMode::Private).or_internal()?;
    engine.steps.reached("start.shim");
    let mut child = Command::new(&engine.binaries.shim)
        .arg(&directory)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| internal(format!("cannot start {:?}: {error}", engine.binaries.shim)))?;
    let ready = wait_ready(&mut child).await;
    watch_child(engine, run, child);
    ready
}

async fn wait_ready(child: &mut Child) -> Result<()> {
    let mut said = [0; READY.len()];
    let Some(stdout) = child.stdout.as_mut() else {
        return Err(internal("the shim has no standard output"));
    };
    match tokio::time::timeout(READY_LIMIT, stdout.read_exact(&mut said)).await {
        Ok(Ok(_)) if said == READY => Ok(()),
        Ok(_) => Err(internal(why_ended(child).await)),
        Err(_) => Err(internal(format!(
            "the shim was not ready within {READY_LIMIT:?}"
        ))),
    }
}

/// Returns what a shim says that does not start.
async fn why_ended(child: &mut Child) -> String {
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut stderr = stderr.take(REASON_LIMIT_BYTES);
        let read = stderr.read_to_end(&mut said);
        // What was said by then has to do.
        drop(tokio::time::timeout(REASON_LIMIT, read).await);
    }
    let said = String::from_utf8_lossy(&said);
    match said.trim().trim_start_matches("engine-shim: ") {
        "" => "the shim ended before it was ready".to_owned(),
        reason => format!("failed to create task for container: {reason}"),
    }
}

/// Reaps the shim and, if it left its run unfinished, finishes it.
fn watch_child(engine: &Arc<Engine>, run: &RunId, mut child: Child) {
    let (engine, run) = (engine.clone(), run.clone());
    tokio::spawn(async move {
        if let Err(error) = child.wait().await {
            tracing::warn!(%run, %error, "cannot wait for the shim");
        }
        super::adopt::shim_ended(&engine, &run).await;
    });
}

fn shim_config(
    engine: &Engine,
    container: &Container,
    run: &RunId,
    log: Option<LogConfig>,
) -> Result<ShimConfig> {
    let config = &container.config();
    if let Some(files) = log.as_ref().and_then(|log| log.files.as_ref()) {
        make_directories(&files.place.directory, 0o700).or_internal()?;
    }
    let stdin = match config.process.stdin {
        StdinConfig::Closed => StdinMode::Null,
        StdinConfig::Open => StdinMode::Open,
        StdinConfig::Once => StdinMode::Once,
    };
    Ok(ShimConfig {
        protocol: PROTOCOL_VERSION,
        run: run.clone(),
        bundle: container.directory().join("bundle"),
        runtime: runtime(engine, config.runtime.as_deref())?,
        terminal: config.process.terminal,
        stdin,
        stream_owner: config.user_namespace.as_ref().map(IdMappings::root),
        log,
        events: engine.instance.events(),
        cgroup: start::cgroup_of(&engine.instance, container),
    })
}

/// Returns how the runtime called `name` is run; ours if absent.
///
/// # Errors
/// Invalid for a name the configuration does not know.
pub fn runtime(engine: &Engine, name: Option<&str>) -> Result<RuntimeConfig> {
    let state_root = engine.instance.runtime_state();
    let own = || (engine.binaries.runtime.clone(), Vec::new());
    let (path, arguments) = match name {
        None | Some(OWN_RUNTIME) => own(),
        Some(name) => match engine.config.runtimes.get(name) {
            Some(entry) => (entry.path.clone(), entry.args.clone()),
            None if name == DEFAULT_RUNTIME => own(),
            None => return Err(invalid(format!("unknown or invalid runtime name: {name}"))),
        },
    };
    Ok(RuntimeConfig {
        path,
        arguments,
        state_root,
    })
}

/// Runs the container; returns the process id of init.
///
/// # Errors
/// The runtime's own message.
pub async fn start(engine: &Engine, run: &RunId) -> Result<u32> {
    match call_with(engine, run, ControlRequest::Start, START_LIMIT).await? {
        ControlReply::Started { pid } => Ok(pid),
        other => Err(internal(format!(
            "the shim answered a start with {other:?}"
        ))),
    }
}

/// Runs a further process; returns its process id.
///
/// # Errors
/// The runtime's own message.
pub async fn exec(engine: &Engine, run: &RunId, request: ControlRequest) -> Result<u32> {
    match call_with(engine, run, request, START_LIMIT).await? {
        ControlReply::Started { pid } => Ok(pid),
        other => Err(internal(format!(
            "the shim answered an exec with {other:?}"
        ))),
    }
}

/// Asks a shim for anything that is answered by `Done` or `Status`.
///
/// # Errors
/// What the shim says, or that it cannot be reached.
pub async fn call(engine: &Engine, run: &RunId, request: ControlRequest) -> Result<ControlReply> {
    call_with(engine, run, request, CALL_LIMIT).await
}

async fn call_with(
    engine: &Engine,
    run: &RunId,
    request: ControlRequest,
    limit: Duration,
) -> Result<ControlReply> {
    let directory = engine.instance.shim(run);
    crate::blocking(move || {
        let mut client = ControlClient::connect(&directory).or_internal()?;
        client.call(request, limit).map_err(control_failure)
    })
    .await
}

fn control_failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(failure) => failure,
        other => Failure::from_error(FailureKind::Internal, &other),
    }
}

/// Ends the shim of a start that failed, and removes its directory.
///
/// # Errors
/// When it lives on, or the directory stays.
pub async fn abandon(engine: &Engine, run: &RunId) -> Result<()> {
    let directory = engine.instance.shim(run);
    if !directory.exists() {
        return Ok(());
    }
    let asked = if is_alive(&directory)? {
        call(engine, run, ControlRequest::Shutdown).await.map(drop)
    } else {
        Ok(())
    };
    wait_ended(&directory).await?;
    forget(engine, run)?;
    asked
}

/// Waits until the shim of a directory has ended.
///
/// # Errors
/// When that takes too long.
pub async fn wait_ended(directory: &Path) -> Result<()> {
    let lock = directory.join("lock");
    let limit = tokio::time::Instant::now() + CALL_LIMIT;
    let mut pause = Duration::from_micros(200);
    while FileLock::is_held(&lock).or_internal()? {
        if tokio::time::Instant::now() > limit {
            return Err(internal(format!("the shim of {directory:?} does not end")));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    Ok(())
}

/// Returns whether the shim of this directory lives.
///
/// # Errors
/// When its lock cannot be tested.
pub fn is_alive(directory: &Path) -> Result<bool> {
    FileLock::is_held(&directory.join("lock")).or_internal()
}

/// Removes the directory of a shim that has ended.
///
/// # Errors
/// When something in it cannot be removed.
pub fn forget(engine: &Engine, run: &RunId) -> Result<()> {
    use std::io::ErrorKind as K;
    let directory = engine.instance.shim(run);
    let mut removed = std::fs::remove_dir_all(&directory);
    if removed
        .as_ref()
        .is_err_and(|it| it.kind() == K::DirectoryNotEmpty)
    {
        // An exec that fails as its container ends is written down at any moment, once.
        removed = std::fs::remove_dir_all(&directory);
    }
    match removed {
        Err(error) if error.kind() != K::NotFound => Err(error).or_internal(),
        _ => Ok(()),
    }
}
