//! Health checks: one task per running container with a check, each probe an
//! exec through the shim like any other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{RunId, Timestamp};
use engine_api::config::StringMap;
use engine_api::exec::ExecCreateBody;
use engine_model::{HealthConfig, HealthState, HealthStatus};
use tokio::io::AsyncReadExt as _;

use super::exec::{self, Exec, Streams};
use super::stop;
use super::{Container, lock};
use crate::Engine;
use crate::error::{OrFail as _, Result};
use crate::event::{CONTAINER_HEALTH, Health};

/// Results kept, as Docker does.
const RESULTS_KEPT: usize = 5;
/// Output kept of each probe.
const OUTPUT_LIMIT_BYTES: usize = 4096;
/// The exit code Docker gives a probe that ran out of time.
const TIMED_OUT: i32 = -1;

/// The label of containers that are restarted when they become unhealthy.
pub(super) const RESTART_LABEL: &str = "engine.restart-on-unhealthy";

/// What inspecting a container tells of its health.
#[derive(Debug, Default)]
pub struct HealthReport {
    pub state: Option<HealthState>,
    pub results: VecDeque<ProbeResult>,
}

/// One probe.
#[derive(Debug, Clone)]
pub struct ProbeResult {
    pub start: Timestamp,
    pub end: Timestamp,
    pub exit_code: i32,
    pub output: String,
}

/// Begins to probe a container that has just started or been adopted.
pub fn begin(engine: &Arc<Engine>, container: &Arc<Container>) {
    let Some(config) = container.config().health.clone() else {
        return;
    };
    let state = HealthState::starting();
    *lock(&container.health) = HealthReport {
        state: Some(state),
        results: VecDeque::new(),
    };
    container.set_health(Some(state));
    let (engine, container) = (engine.clone(), container.clone());
    tokio::spawn(async move { probe_until_exit(&engine, &container, &config).await });
}

/// Ends the report of a container that has exited: nobody looks at it any more, so
/// that it is shown as unhealthy, as with Docker; the last results stay.
pub fn end(container: &Container) {
    container.set_health(None);
    if let Some(state) = &mut lock(&container.health).state {
        state.status = HealthStatus::Unhealthy;
    }
}

/// Returns the health that is shown of a container with a check that was started.
pub fn shown(container: &Container) -> Option<HealthState> {
    container.config().health.as_ref()?;
    let state = container.state();
    state.started?;
    let report = lock(&container.health).state;
    let mut health = report.unwrap_or_else(HealthState::starting);
    if !state.is_live() {
        health.status = HealthStatus::Unhealthy;
    }
    Some(health)
}

async fn probe_until_exit(engine: &Arc<Engine>, container: &Arc<Container>, config: &HealthConfig) {
    let run = container.run();
    let mut watch = container.watch();
    let begun = Instant::now();
    loop {
        let over =
            watch.wait_for(|now| now.state.run != run.run || !now.state.is_live() || now.removed);
        let state = lock(&container.health).state;
        let state = state.unwrap_or_else(HealthState::starting);
        let pause = config.pause(state, begun.elapsed());
        if tokio::time::timeout(pause, over).await.is_ok() || engine.is_stopping() {
            return;
        }
        let result = probe(engine, container, config).await;
        if container.run() != run || !container.state().is_live() {
            return;
        }
        let becomes = record(engine, container, config, result, begun.elapsed());
        if becomes == Some(HealthStatus::Unhealthy) && is_restarted(&container.config().labels) {
            restart(engine, container, run.clone()).await;
        }
    }
}

/// Whether a container is restarted when it becomes unhealthy. Docker never does that,
/// so that it has to be asked for.
fn is_restarted(labels: &StringMap) -> bool {
    labels
        .get(RESTART_LABEL)
        .is_some_and(|value| value == "true")
}

async fn restart(engine: &Arc<Engine>, container: &Arc<Container>, run: RunId) {
    tracing::info!(container = %container.id, "restarting: it is unhealthy");
    let (engine, container) = (engine.clone(), container.clone());
    let work = async move { stop::restart_run(&engine, &container, &run).await };
    if let Err(error) = crate::uninterrupted(work).await {
        tracing::error!(%error, "cannot restart a container that is unhealthy");
    }
}

async fn probe(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    config: &HealthConfig,
) -> ProbeResult {
    engine.group_moves.ready().await;
    let start = Timestamp::now();
    let (exit_code, output) = match run_probe(engine, container, config).await {
        Ok(outcome) => outcome,
        Err(error) => (TIMED_OUT, error.message),
    };
    ProbeResult {
        start,
        end: Timestamp::now(),
        exit_code,
        output,
    }
}

async fn run_probe(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    config: &HealthConfig,
) -> Result<(i32, String)> {
    let body = ExecCreateBody {
        cmd: config.arguments.clone().into(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecCreateBody::default()
    };
    let exec = exec::create(engine, (container, container.id.as_str()), body).await?;
    let streams = Streams {
        stdin: false,
        stdout: true,
        stderr: true,
    };
    let stream = exec::claim(engine, &exec)?
        .start((Some(streams), None))
        .await?;
    let reading = read_output(stream, &exec);
    match tokio::time::timeout(config.timeout, reading).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let request = engine_shim_api::ControlRequest::SignalExec {
                exec: exec.id.clone(),
                signal: 9,
            };
            super::shim::call(engine, &exec.run, request).await?;
            Ok((
                TIMED_OUT,
                format!("Health check exceeded timeout ({:?})", config.timeout),
            ))
        }
    }
}

async fn read_output(
    stream: Option<std::os::unix::net::UnixStream>,
    exec: &Exec,
) -> Result<(i32, String)> {
    let mut decoder = engine_api::stdcopy::Decoder::new();
    let mut output = Vec::new();
    if let Some(stream) = stream {
        let mut stream = crate::api::stream::adopt(stream)?;
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.or_internal()?;
            if count == 0 {
                break;
            }
            for (_, piece) in decoder.feed(&buffer[..count]).or_internal()? {
                let room = OUTPUT_LIMIT_BYTES.saturating_sub(output.len());
                output.extend_from_slice(&piece[..piece.len().min(room)]);
            }
        }
    }
    Ok((
        exec.wait().await,
        String::from_utf8_lossy(&output).into_owned(),
    ))
}

/// Notes a result, and returns what the container's health becomes by it.
fn record(
    engine: &Engine,
    container: &Container,
    config: &HealthConfig,
    result: ProbeResult,
    age: Duration,
) -> Option<HealthStatus> {
    engine.metrics.count_probe(match result.exit_code {
        0 => "success",
        _ => "failure",
    });
    let (before, after) = {
        let mut report = lock(&container.health);
        if !container.state().is_live() {
            return None;
        }
        let before = report.state.unwrap_or_else(HealthState::starting);
        let after = before.after_probe(config, result.exit_code, age);
        report.state = Some(after);
        report.results.push_back(result);
        while report.results.len() > RESULTS_KEPT {
            report.results.pop_front();
        }
        (before, after)
    };
    container.set_health(Some(after));
    if before.status == after.status {
        return None;
    }
    let fact = Health {
        status: after.status,
    };
    if let Err(error) = engine
        .bus
        .publish(CONTAINER_HEALTH, container.run().to_string(), &fact)
    {
        tracing::error!(container = %container.id, %error, "cannot record the container's health");
    }
    Some(after.status)
}
