//! `/exec` and `/containers/{id}/exec`.

use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use engine_api::exec::{
    ExecCreateBody, ExecCreateResponse, ExecInspect, ExecProcessConfig, ExecStartBody,
};
use engine_api::versions::Body as RequestBody;
use engine_model::container::ConsoleSize;
use hyper::header::UPGRADE;
use hyper::{Response, StatusCode};

use super::containers::size;
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::stream::{self, Framing, Source};
use crate::api::translate::translated;
use crate::container::exec::{self, Claim, Exec, Streams};
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
    let body: ExecCreateBody = request.versioned_json(RequestBody::ExecCreate).await?;
    let exec = exec::create(engine, (&container, id), body).await?;
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
    let body: ExecStartBody = request
        .versioned_json_or_default(RequestBody::ExecStart)
        .await?;
    let wanted = &exec.requested;
    let streams = Streams {
        stdin: wanted.attach_stdin,
        stdout: wanted.attach_stdout,
        stderr: wanted.attach_stderr,
    };
    // What the client says it can take, not what the exec writes to.
    let framing = framing(body.tty);
    let size = body.console_size.and_then(ConsoleSize::from_api);
    if body.detach {
        let claim = exec::claim(engine, &exec)?;
        claim.start((None, size)).await?;
        return response::empty(StatusCode::OK);
    }
    let keys = stream::detach_keys(Some(&wanted.detach_keys))?;
    let over = ended(exec.clone());
    let claim = exec::claim(engine, &exec)?;
    let process = connected(claim, exec, (streams, framing), size);
    let source = Source { log: None, process };
    if !request.headers.contains_key(UPGRADE) {
        return stream::output_only(request.caller, source, over);
    }
    stream::hijack(request, source, (framing, keys), over)
}

/// Starts an exec whose client has been answered already. Why it could not be it is
/// told as Docker tells it: as output, with an exit code that inspecting shows.
async fn connected(
    claim: Claim,
    exec: Arc<Exec>,
    (streams, framing): (Streams, Framing),
    size: Option<ConsoleSize>,
) -> Option<UnixStream> {
    match claim.start((Some(streams), size)).await {
        Ok(stream) => {
            let own = self::framing(exec.process.terminal);
            let translated = stream.map(|stream| translated(stream, own, framing));
            translated?
                .inspect_err(|error| tracing::warn!(exec = exec.id, %error, "cannot attach"))
                .ok()
        }
        Err(failure) => {
            let text = format!("{}\r\n", failure.message);
            stream::said(&text, framing).ok()
        }
    }
}

fn framing(terminal: bool) -> Framing {
    match terminal {
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
    let (rows, columns) = size(request)?;
    let exec = engine.execs.find(id)?;
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
