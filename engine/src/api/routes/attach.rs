//! `/containers/{id}/attach` and `…/attach/ws`: a container's streams, after its log if
//! that is asked for.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use engine_api::detach_keys::DetachKeys;
use hyper::Response;
use hyper::header::UPGRADE;

use super::log_stream;
use crate::Engine;
use crate::api::request::Request;
use crate::api::response::{self, Body};
use crate::api::stream::{self, Framing, Source};
use crate::api::websocket;
use crate::container::Container;
use crate::container::attach::{self as attachment, Attachment};
use crate::container::exec::Streams;
use crate::error::Result;
use crate::event::CONTAINER_ATTACHED;

/// `POST /containers/{id}/attach`. A refusal is no JSON, as with Docker: the connection is
/// as good as taken over then.
pub(in crate::api) async fn attach(
    engine: &Arc<Engine>,
    request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let prepared = match prepare(engine, &request, id).await {
        Ok(prepared) => prepared,
        Err(failure) => return response::not_connected(&failure),
    };
    let source = Source {
        log: prepared.log,
        process: connected(prepared.attachment),
    };
    if !request.headers.contains_key(UPGRADE) {
        return stream::output_only(request.caller, source, std::future::ready(()));
    }
    let keyed = (prepared.framing, prepared.keys);
    stream::hijack(request, source, keyed, std::future::ready(()))
}

/// `GET /containers/{id}/attach/ws`.
pub(in crate::api) async fn websocket(
    engine: &Arc<Engine>,
    request: Request,
    id: &str,
) -> Result<Response<Body>> {
    let accept = websocket::accept(&request.headers)?;
    let prepared = prepare(engine, &request, id).await?;
    let source = Source {
        log: prepared.log,
        process: connected(prepared.attachment),
    };
    let keyed = (prepared.framing, prepared.keys);
    websocket::connect(request, &accept, source, keyed)
}

/// What a client is to be connected with.
struct Prepared {
    keys: DetachKeys,
    framing: Framing,
    log: Option<tokio::sync::mpsc::Receiver<bytes::Bytes>>,
    /// None where only the log is wanted.
    attachment: Option<Attachment>,
}

async fn prepare(engine: &Arc<Engine>, request: &Request, id: &str) -> Result<Prepared> {
    let keys = stream::detach_keys(request.parameter("detachKeys"))?;
    let container = engine.containers.find(id)?;
    attachment::check(&container)?;
    let streams = Streams {
        stdin: request.flag("stdin"),
        stdout: request.flag("stdout"),
        stderr: request.flag("stderr"),
    };
    if streams.stdin {
        stream::check_upgrade(request)?;
    }
    let framing = match container.config().process.terminal {
        true => Framing::Raw,
        false => Framing::Multiplexed,
    };
    let (log, attachment) = match (request.flag("logs"), request.flag("stream")) {
        (false, false) => (None, None),
        (true, false) => (Some(log_stream::before(&container, streams, None)?), None),
        (false, true) => {
            let attached = attachment::attach(engine, &container, streams).await?;
            (None, Some(attached))
        }
        (true, true) => {
            log_stream::readable(&container)?;
            let (attached, end) = attachment::attach_after_log(engine, &container, streams).await?;
            let log = end.map(|end| log_stream::before(&container, streams, Some(end)));
            (log.transpose()?, Some(attached))
        }
    };
    if attachment.is_some() {
        tell(engine, &container)?;
    }
    Ok(Prepared {
        keys,
        framing,
        log,
        attachment,
    })
}

fn tell(engine: &Engine, container: &Container) -> Result<()> {
    let id = container.id.to_string();
    let nothing = serde_json::json!({});
    engine
        .bus
        .publish(CONTAINER_ATTACHED, id, &nothing)
        .map(drop)
}

async fn connected(attachment: Option<Attachment>) -> Option<UnixStream> {
    attachment?.connected().await
}
