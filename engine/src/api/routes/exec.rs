//! `/exec` and `/containers/{id}/exec`.

use std::sync::Arc;
use std::time::Duration;

use engine_api::exec::{
    ExecCreateBody, ExecCreateResponse, ExecInspect, ExecProcessConfig, ExecStartBody,
};
use hyper::{Response, StatusCode};

use super::containers::size;
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::stream::{self, Framing};
use crate::container::attach::Attachment;
use crate::container::exec::{self, Exec, Streams};
use crate::error::{Result, internal};

/// How long the end of an exec may become known after that of its output.
const END_LIMIT: Duration = Duration::from_secs(2);

/// `POST /containers/{id}/exec`.
pub(in crate::api) async fn create(
    engine: &Arc<Engine>,
    mut request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let container = engine.containers.find(id)?;
    let body: ExecCreateBody = request.json().await?;
    let exec = exec::create(engine, &container, body).await?;
    response::json(
        StatusCode::CREATED,
        &ExecCreateResponse {
            id: exec.id.clone(),
        },
    )
}

/// `POST /exec/{id}/start`.
pub(in crate::api) async fn start(
    engine: &Arc<Engine>,
    mut request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let exec = engine.execs.find(id)?;
    let body: ExecStartBody = request.json_or_default().await?;
    if !body.detach {
        stream::check_upgrade(&request)?;
    }
    let wanted = &exec.requested;
    let streams = Streams {
        stdin: wanted.attach_stdin,
        stdout: wanted.attach_stdout,
        stderr: wanted.attach_stderr,
    };
    let streams = (!body.detach).then_some(streams);
    let work = {
        let (engine, exec) = (engine.clone(), exec.clone());
        async move { exec::start(&engine, &exec, streams).await }
    };
    let framing = framing_of(&exec);
    let stream = match crate::uninterrupted(work).await {
        // The client is told as Docker tells it: as output, with an exit code
        // that inspecting the exec shows.
        Err(failure) if !body.detach && exec.status().exit_code.is_some() => {
            let said = stream::said(&format!("{}\r\n", failure.message), framing)?;
            let said = Attachment::Connected(said);
            return stream::hijack(request, said, framing, std::future::ready(()));
        }
        other => other?,
    };
    if let Some([rows, columns]) = body.console_size.or(wanted.console_size)
        && exec.process.terminal
    {
        let clip = |value: u32| u16::try_from(value).unwrap_or(u16::MAX);
        exec::resize(engine, &exec, clip(rows), clip(columns)).await?;
    }
    match stream {
        None if body.detach => response::empty(StatusCode::OK),
        None => Err(internal("the exec has no streams")),
        Some(connection) => stream::hijack(
            request,
            Attachment::Connected(connection),
            framing,
            ended(exec),
        ),
    }
}

fn framing_of(exec: &Exec) -> Framing {
    match exec.process.terminal {
        true => Framing::Raw,
        false => Framing::Multiplexed,
    }
}

/// Returns once an exec whose output is over has ended. One that closed its
/// output and goes on is not waited for longer.
async fn ended(exec: Arc<Exec>) {
    tokio::time::timeout(END_LIMIT, exec.wait()).await.ok();
}

/// `POST /exec/{id}/resize`.
pub(in crate::api) async fn resize(
    engine: &Arc<Engine>,
    request: &Request,
    id: &str,
) -> Result<Response<Body>> {
    let exec = engine.execs.find(id)?;
    let (rows, columns) = size(request)?;
    exec::resize(engine, &exec, rows, columns).await?;
    response::empty(StatusCode::OK)
}

/// `GET /exec/{id}/json`.
pub(in crate::api) fn inspect(engine: &Arc<Engine>, id: &str) -> Result<Response<Body>> {
    let exec = engine.execs.find(id)?;
    let status = exec.status();
    let (entrypoint, arguments) = exec
        .process
        .arguments
        .split_first()
        .ok_or_else(|| internal("an empty exec"))?;
    let answer = ExecInspect {
        id: exec.id.clone(),
        running: status.pid.is_some() && status.exit_code.is_none(),
        exit_code: status.exit_code.map(i64::from),
        process_config: ExecProcessConfig {
            tty: exec.process.terminal,
            entrypoint: entrypoint.clone(),
            arguments: arguments.to_vec(),
            privileged: exec.privileged,
            user: exec.process.user.clone(),
        },
        open_stdin: exec.requested.attach_stdin,
        open_stderr: exec.requested.attach_stderr,
        open_stdout: exec.requested.attach_stdout,
        can_remove: false,
        container_id: exec.run.container.to_string(),
        detach_keys: exec.requested.detach_keys.clone(),
        pid: i64::from(status.pid.unwrap_or_default()),
    };
    response::json(StatusCode::OK, &answer)
}
