//! Attaching to a container's streams: at once when it runs, else when its
//! next run begins, before its first instruction.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use base::RunId;
use engine_model::Status;
use engine_shim_api::attach::NOT_RUNNING;
use engine_shim_api::log_reader::{LogPosition, LogReader};
use engine_shim_api::{AttachError, AttachHello, PROTOCOL_VERSION};
use tokio::sync::oneshot;

use super::exec::Streams;
use super::{Container, lock, logs};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, unsupported};

/// Clients that may wait for one start.
const WAITING_LIMIT: usize = 64;

/// Clients that attached before the start.
#[derive(Debug, Default)]
pub struct Waiting {
    clients: Mutex<Vec<(Streams, oneshot::Sender<UnixStream>)>>,
}

impl Waiting {
    fn add(&self, streams: Streams) -> Result<oneshot::Receiver<UnixStream>> {
        let mut clients = lock(&self.clients);
        clients.retain(|(_, sender)| !sender.is_closed());
        if clients.len() >= WAITING_LIMIT {
            return Err(conflict(format!(
                "more than {WAITING_LIMIT} clients wait for the container to start"
            )));
        }
        let (sender, receiver) = oneshot::channel();
        clients.push((streams, sender));
        Ok(receiver)
    }

    /// Connects every waiting client to the shim of a run that is about to start.
    ///
    /// # Errors
    /// When the shim refuses a connection.
    pub fn connect(&self, engine: &Engine, run: &RunId) -> Result<()> {
        let clients = std::mem::take(&mut *lock(&self.clients));
        for (streams, sender) in clients
            .into_iter()
            .filter(|(_, sender)| !sender.is_closed())
        {
            // A client that went away meanwhile drops the connection.
            drop(sender.send(connect(engine, run, streams)?));
        }
        Ok(())
    }

    /// Lets every waiting client go: the start failed.
    pub fn dismiss(&self) {
        lock(&self.clients).clear();
    }
}

/// A client's place: connected, waiting for the next start, or late for a run whose
/// streams are over though its end is not known yet.
#[derive(Debug)]
pub enum Attachment {
    Connected(UnixStream),
    Waiting(oneshot::Receiver<UnixStream>),
    Over,
}

impl Attachment {
    /// Returns the connection once it is there; none where the start failed, which is
    /// told by its own request.
    pub async fn connected(self) -> Option<UnixStream> {
        match self {
            Self::Connected(stream) => Some(stream),
            Self::Waiting(stream) => stream.await.ok(),
            Self::Over => None,
        }
    }
}

/// Attaches to the streams of a container.
///
/// # Errors
/// Conflict when it is frozen or being restarted.
pub async fn attach(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    streams: Streams,
) -> Result<Attachment> {
    check(container)?;
    if container.state().status != Status::Running {
        return container.waiting.add(streams).map(Attachment::Waiting);
    }
    let connected = connect_running(engine, container, hello(streams)).await?;
    Ok(connected.map_or(Attachment::Over, |(stream, _)| {
        Attachment::Connected(stream)
    }))
}

/// Connects to the shim of a run; `None` where its streams are over.
async fn connect_running(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    hello: AttachHello,
) -> Result<Option<(UnixStream, Option<LogPosition>)>> {
    let (engine, run) = (engine.clone(), container.run());
    let connected = crate::blocking(move || {
        Ok(engine_shim_api::connect_attach_at(
            &engine.instance.shim(&run),
            &hello,
        ))
    });
    match connected.await? {
        Err(AttachError::Refused(reason)) if reason == NOT_RUNNING => Ok(None),
        connected => connected.map(Some).or_internal(),
    }
}

/// Attaches like [`attach`]; returns too where the log ends that comes before the stream,
/// `None` where there is none.
///
/// # Errors
/// As [`attach`], and unsupported for a run whose shim cannot tell the position.
pub async fn attach_after_log(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    streams: Streams,
) -> Result<(Attachment, Option<LogPosition>)> {
    check(container)?;
    if container.state().status != Status::Running {
        // Nobody writes to the log until a start, which comes to whoever waits first.
        let end = log_end(container).await?;
        let waiting = container.waiting.add(streams)?;
        return Ok((Attachment::Waiting(waiting), end));
    }
    let hello = AttachHello {
        log_position: true,
        ..hello(streams)
    };
    match connect_running(engine, container, hello).await? {
        None => Ok((Attachment::Over, log_end(container).await?)),
        Some((stream, Some(end))) => Ok((Attachment::Connected(stream), Some(end))),
        Some((_, None)) => Err(unsupported(
            "the container was started by an earlier version of the engine, which cannot tell where its log ends; restart it, or read the log apart",
        )),
    }
}

/// Returns where the log ends of a container whose output is over.
async fn log_end(container: &Container) -> Result<Option<LogPosition>> {
    let Some(place) = logs::place(container) else {
        return Ok(None);
    };
    crate::blocking(move || LogReader::end_of(&place).or_internal()).await
}

/// Refuses to attach to a container whose processes do not run but are not over.
///
/// # Errors
/// Conflict, with Docker's sentences.
pub fn check(container: &Container) -> Result<()> {
    match container.state().status {
        Status::Paused => Err(conflict(
            "container is paused, unpause the container before attach",
        )),
        Status::Restarting => Err(conflict(
            "container is restarting, wait until the container is running",
        )),
        _ => Ok(()),
    }
}

fn connect(engine: &Engine, run: &RunId, streams: Streams) -> Result<UnixStream> {
    engine_shim_api::connect_attach(&engine.instance.shim(run), &hello(streams)).or_internal()
}

fn hello(streams: Streams) -> AttachHello {
    AttachHello {
        protocol: PROTOCOL_VERSION,
        exec: None,
        stdin: streams.stdin,
        stdout: streams.stdout,
        stderr: streams.stderr,
        log_position: false,
    }
}
