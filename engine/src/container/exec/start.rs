//! The start of an exec: claimed once, then performed by the container's shim.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use base::Failure;
use base::file::{FileMode, remove_if_there, replace};
use engine_model::container::{ConsoleSize, ProcessConfig, StdinConfig};
use engine_model::plan::exec_process;
use engine_shim_api::{AttachHello, ControlRequest, PROTOCOL_VERSION};

use super::super::{Container, create, shim, start};
use super::{Exec, check_running, record};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, not_found};

/// The exit code of an exec that did not get as far as the runtime.
const UNPREPARED_EXIT_CODE: i32 = 126;

/// Which streams a client wants.
#[derive(Debug, Clone, Copy)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// A start that nobody else can ask for any more. One that is given up before it is
/// performed leaves an exec that could not be prepared.
#[derive(Debug)]
pub struct Claim {
    engine: Arc<Engine>,
    container: Arc<Container>,
    exec: Arc<Exec>,
    is_open: bool,
}

/// Claims the start of an exec, so that whoever asks about it next, for a size of its
/// terminal say, waits until it runs.
///
/// # Errors
/// Conflict when it was started before or the container has ended.
pub fn claim(engine: &Arc<Engine>, exec: &Arc<Exec>) -> Result<Claim> {
    let container = check_startable(engine, exec)?;
    let first = exec
        .status
        .send_if_modified(|status| !std::mem::replace(&mut status.claimed, true));
    match first {
        true => Ok(Claim {
            engine: engine.clone(),
            container,
            exec: exec.clone(),
            is_open: true,
        }),
        false => Err(already_run(exec)),
    }
}

impl Claim {
    /// Starts the exec, its terminal of `size` in place of that of its create; with
    /// `streams`, returns the connection its bytes flow on, made before the process
    /// exists, so that nothing is missed.
    ///
    /// # Errors
    /// The runtime's own message.
    pub async fn start(
        self,
        (streams, size): (Option<Streams>, Option<ConsoleSize>),
    ) -> Result<Option<UnixStream>> {
        // Even if its client goes meanwhile: else nobody would tell of its end.
        crate::uninterrupted(async move {
            let mut claim = self;
            let (engine, exec) = (claim.engine.clone(), claim.exec.clone());
            let started = perform(&engine, &claim.container, &exec, (streams, size)).await;
            claim.is_open = false;
            engine.metrics.count_exec();
            started.map_err(|(failure, exit_code)| {
                engine.execs.exited(&exec.id, exit_code);
                failure
            })
        })
        .await
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.is_open {
            let execs = &self.engine.execs;
            execs.exited(&self.exec.id, UNPREPARED_EXIT_CODE);
        }
    }
}

fn check_startable(engine: &Engine, exec: &Exec) -> Result<Arc<Container>> {
    let container = engine
        .containers
        .by_id(&exec.run.container)
        .ok_or_else(|| not_found(format!("No such container: {}", exec.run.container)))?;
    check_running(&container, container.id.as_str())?;
    if container.run() != exec.run {
        return Err(conflict(format!(
            "container {} has been restarted",
            exec.run.container
        )));
    }
    Ok(container)
}

fn already_run(exec: &Exec) -> Failure {
    conflict(format!("exec {} has already run", exec.id))
}

/// Performs a start; a failure comes with the exit code Docker gives it.
async fn perform(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    (streams, size): (Option<Streams>, Option<ConsoleSize>),
) -> Result<Option<UnixStream>, (Failure, i32)> {
    let directory = engine.instance.shim(&exec.run);
    let path = record::process_file(&directory, &exec.id);
    let unprepared = |failure| (failure, UNPREPARED_EXIT_CODE);
    let stream = prepare(engine, container, exec, &path, (streams, size))
        .await
        .map_err(unprepared)?;
    let request = ControlRequest::Exec {
        exec: exec.id.clone(),
        process: path.clone(),
        terminal: exec.process.terminal,
        stdin: exec.process.stdin == StdinConfig::Open,
    };
    engine.steps.reached("exec.start");
    let started = shim::exec(engine, &exec.run, request).await;
    engine.steps.reached("exec.started");
    let removed = remove_if_there(&path).or_internal();
    let pid = started.map_err(|failure| {
        let exit_code = start::exit_code_of(&failure);
        let message = format_args!("OCI runtime exec failed: {}", failure.message);
        let is_runtime = failure.message.starts_with("exec failed: ");
        match is_runtime {
            true => (Failure::new(failure.kind, message), exit_code),
            false => (failure, exit_code),
        }
    })?;
    removed.map_err(unprepared)?;
    engine.execs.started(&exec.id, pid);
    Ok(stream)
}

/// Writes the process file and makes the connection.
async fn prepare(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    path: &Path,
    (streams, size): (Option<Streams>, Option<ConsoleSize>),
) -> Result<Option<UnixStream>> {
    let directory = engine.instance.shim(&exec.run);
    let work = {
        let (engine, container, exec, path) = (
            engine.clone(),
            container.clone(),
            exec.clone(),
            path.to_owned(),
        );
        move || {
            engine.steps.reached("exec.process");
            record::write(&exec);
            write_process(&container, &exec, &path, size)?;
            let Some(streams) = streams else {
                return Ok(None);
            };
            let hello = AttachHello {
                protocol: PROTOCOL_VERSION,
                exec: Some(exec.id.clone()),
                stdin: streams.stdin,
                stdout: streams.stdout,
                stderr: streams.stderr,
                log_position: false,
            };
            engine_shim_api::connect_attach(&directory, &hello)
                .map(Some)
                .or_internal()
        }
    };
    crate::blocking(work).await
}

fn write_process(
    container: &Container,
    exec: &Exec,
    path: &Path,
    size: Option<ConsoleSize>,
) -> Result<()> {
    let mut security = container.config().security.clone();
    security.privileged |= exec.privileged;
    let profile = create::security_profile(&security)?;
    let process = ProcessConfig {
        console_size: size.or(exec.process.console_size),
        ..exec.process.clone()
    };
    let process = exec_process(
        &process,
        &container.config().resources,
        &exec.user,
        &profile,
    )
    .or_invalid()?;
    let content = serde_json::to_vec(&process).or_internal()?;
    replace(path, &content, FileMode::Private).or_internal()
}
